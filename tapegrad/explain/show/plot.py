"""Losses, plotted."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any


def loss(losses: Sequence[Any], path: str | os.PathLike[str]) -> None:
    """Plot a loss over the steps, to a file.

    Parameters
    ----------
    losses
        A number for each step.
    path
        The file; its extension sets the format, such as ``.png`` or ``.svg``.

    Raises
    ------
    ImportError
        If matplotlib is not installed.

    Examples
    --------
    Where matplotlib is installed::

        tg.show.loss([0.9, 0.4, 0.2], "loss.png")
    """
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise ImportError(
            "tg.show.loss draws with matplotlib: pip install matplotlib, or tapegrad[plot]"
        ) from error
    figure = Figure(figsize=(6, 4), layout="constrained")
    axes = figure.subplots()
    axes.plot([float(x) for x in losses])
    axes.set_xlabel("step")
    axes.set_ylabel("loss")
    figure.savefig(path)
