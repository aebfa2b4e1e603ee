"""The caller's line of source, for messages that quote it."""

from __future__ import annotations

import ast
import linecache
import re
import sys
from collections.abc import Iterator
from types import FrameType

import attrs
import numpy as np


@attrs.frozen
class Place:
    """A line of source: its file, number and text.

    Attributes
    ----------
    file, number, text
        The line.
    sweeps
        The number of reverse sweeps between that line and the code that it led to.
    """

    file: str
    number: int
    text: str
    sweeps: int = 0

    def __str__(self) -> str:
        if not self.file:
            return ""
        where = f"{self.file}:{self.number}"
        # the source of input typed into an interpreter is not kept
        return f"{where}: {self.text}" if self.text else where


_NOT_THE_USERS = ("tapegrad.", "numpy", "scipy.", "pandas.", "xarray.")


def users_place() -> Place:
    """The caller's line that led here."""
    sweeps = 0
    frame: FrameType | None = sys._getframe(1)
    while frame is not None:
        if _is_users(frame):
            file, number = frame.f_code.co_filename, frame.f_lineno
            return Place(file, number, linecache.getline(file, number).strip(), sweeps)
        in_core = frame.f_globals.get("__name__") == "tapegrad.core.sweep"
        sweeps += in_core and frame.f_code.co_name == "sweep"
        frame = frame.f_back
    return Place("", 0, "", sweeps)


def users_level() -> int:
    """How many calls up the caller's line is, as `warnings.warn` counts them; 1 if nowhere."""
    frame: FrameType | None = sys._getframe(1)
    level = 1
    while frame is not None:
        if _is_users(frame):
            return level
        frame = frame.f_back
        level += 1
    return 1


def _is_users(frame: FrameType) -> bool:
    # an example in a docstring runs under its module's name
    module, file = frame.f_globals.get("__name__", ""), frame.f_code.co_filename
    return not module.startswith(_NOT_THE_USERS) or file.startswith("<doctest")


def users_line() -> str:
    """The line of the caller's source that led here, for a message."""
    place = str(users_place())
    return f", at {place}" if place else ""


# SciPy's functions that read arrays and have a counterpart in tapegrad
_OF_SCIPY = ("polygamma", "logsumexp", "softmax", "log_softmax", "softplus")


def instead() -> str:
    """What to write instead of the caller's line, whose call takes no Tensor; for a message."""
    text = users_place().text
    of_math = [x for x in re.findall(r"\bmath\.(\w+)\(", text) if hasattr(np, x)]
    found = [f"np.{x} for math.{x}" for x in dict.fromkeys(of_math)]
    found += [f"tg.{x} for np.{x}" for x in dict.fromkeys(re.findall(r"\bnp\.([rc]_)\[", text))]
    if "initial=" in text:  # of a plain array, which NumPy asks alone
        reductions = re.findall(r"\bnp\.((?:nan)?(?:sum|prod|max|min))\(", text)
        found += [f"tg.{x} for np.{x}" for x in dict.fromkeys(reductions)]
    calls = list(_calls())
    of_scipy = [name for module, name in calls if module.startswith("scipy.")]
    found += [f"tg.{x} for scipy.special.{x}" for x in _OF_SCIPY if x in of_scipy]
    if any(module.startswith("pandas.") for module, _ in calls):
        found.append("column.to_numpy() for a column of pandas")
    return "".join([f"write {what}; " for what in found])


def _calls() -> Iterator[tuple[str, str]]:
    """The modules and functions that led from the caller's line here, the last one first."""
    frame: FrameType | None = sys._getframe(1)
    while frame is not None:
        module = frame.f_globals.get("__name__", "")
        if not module.startswith(_NOT_THE_USERS):
            break
        yield module, frame.f_code.co_name
        frame = frame.f_back


def augmented(symbol: str) -> str:
    """The caller's line with an in-place operator, written without it."""
    try:
        line = ast.parse(users_place().text)
    except SyntaxError:  # a part of a longer statement
        line = ast.Module([], [])
    found = [node for node in ast.walk(line) if isinstance(node, ast.AugAssign)]
    if len(found) != 1 or f" {symbol} " not in ast.unparse(found[0]):
        return f"t = t {symbol[:-1]} v"
    (node,) = found
    target = ast.unparse(node.target)
    result = ast.BinOp(ast.parse(target, mode="eval").body, node.op, node.value)
    return f"{target} = {ast.unparse(result)}"
