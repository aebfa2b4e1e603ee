"""The loss over the steps of a training, or pictures, drawn into a file by matplotlib."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from common.command_line import InputError, check_writable


def open_plot(path: str | None) -> Any:
    """An empty figure; None if none is asked for, or, with a message, if matplotlib is missing.

    Problems that would show at the end show here, before the training.
    """
    if path is None:
        return None
    check_writable(path)
    try:  # imported here, since it takes longer than some trainings
        figure = importlib.import_module("matplotlib.figure").Figure()
    except ImportError:
        print("to draw: pip install 'tapegrad[plot]'", file=sys.stderr)
        return None
    formats = figure.canvas.get_supported_filetypes()
    suffix = Path(path).suffix
    if suffix and suffix[1:].lower() not in formats:
        raise InputError(f"{path}: the format is none of {', '.join(sorted(formats))}")
    return figure


def draw(figure: Any, losses: Sequence[float], path: str | None, first: int = 1) -> None:
    """Draw the losses from step `first` on to a file, if there is a figure."""
    if figure is None or path is None:
        return
    axes = figure.add_subplot(xlabel="step", ylabel="mean cross entropy of the batch")
    axes.plot(range(first, first + len(losses)), losses, linewidth=1)
    _written(figure, path)
    print(f"loss curve: {path}")


def draw_pictures(figure: Any, pictures: Mapping[str, Any], path: str | None) -> None:
    """Draw arrays side by side under their titles, if there is a figure."""
    if figure is None or path is None:
        return
    figure.set_size_inches(3 * len(pictures), 3.2)
    for i, (title, picture) in enumerate(pictures.items()):
        axes = figure.add_subplot(1, len(pictures), i + 1, title=title, xticks=[], yticks=[])
        axes.imshow(picture, cmap="gray")
    _written(figure, path)
    print(f"picture: {path}")


def draw_curves(
    figure: Any, curves: Mapping[str, tuple[Any, Any]], points: Mapping[str, Any], path: str | None
) -> None:
    """Draw curves over time, and points of the same colours, if there is a figure."""
    if figure is None or path is None:
        return
    axes = figure.add_subplot(xlabel="time")
    for name, (times, values) in curves.items():
        (line,) = axes.plot(times, values, linewidth=1, label=name)
        axes.plot(*points[name], ".", color=line.get_color())
    axes.legend()
    _written(figure, path)
    print(f"picture: {path}")


def _written(figure: Any, path: str) -> None:
    try:
        figure.savefig(path, format=Path(path).suffix[1:].lower() or "png")
    except OSError as error:
        raise InputError(f"{path}: {error.strerror or error}") from None
