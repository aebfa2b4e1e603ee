"""The caller's line of source, for messages that quote it and for NumPy's warnings.

NumPy warns of an overflow at the line of Python that called it, which in a recording is one of
this package. Where it is told to log instead, it hands over the text of the warning, and the line
is found then. So it costs nothing until there is something to say.
"""

from __future__ import annotations

import ast
import linecache
import re
import sys
import warnings
from collections.abc import Callable, Iterator
from contextvars import Context, ContextVar
from functools import wraps
from types import FrameType
from typing import Any, Literal, ParamSpec, TypeVar

import attrs
import numpy as np


@attrs.frozen
class Place:
    """A line of source: its file, number and text.

    Attributes
    ----------
    file, number, text
        The line.
    """

    file: str
    number: int
    text: str

    def __str__(self) -> str:
        if not self.file:
            return ""
        where = f"{self.file}:{self.number}"
        # the source of input typed into an interpreter is not kept
        return f"{where}: {self.text}" if self.text else where


_NOT_THE_USERS = ("tapegrad.", "numpy", "scipy.", "pandas.", "xarray.")


def users_place() -> Place:
    """The caller's line that led here."""
    frame: FrameType | None = sys._getframe(1)
    while frame is not None:
        if _is_users(frame):
            file, number = frame.f_code.co_filename, frame.f_lineno
            return Place(file, number, linecache.getline(file, number).strip())
        frame = frame.f_back
    return Place("", 0, "")


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


P = ParamSpec("P")
R = TypeVar("R")
Mode = Literal["log", "warn"]


class Warner:
    """A log, as `numpy.seterrcall` takes one, whose lines are warnings at the user's line."""

    __slots__ = ()

    def write(self, text: str) -> None:
        """Warn; `text` is NumPy's, such as "Warning: overflow encountered in exp"."""
        message = text.removeprefix("Warning: ").rstrip()
        warnings.warn(message, RuntimeWarning, stacklevel=users_level())


def _state_of(mode: Mode, log: Warner | None) -> tuple[ContextVar[Any], Any]:
    """The context variable that NumPy keeps its error state in, and a state.

    In an empty context it is the only one, once it is set. If NumPy should keep it
    elsewhere, the state is one that it does not look at.
    """
    context = Context()
    context.run(np.seterr, divide=mode, over=mode, invalid=mode)
    context.run(np.seterrcall, log)
    return next(iter(context.items()), (ContextVar("elsewhere"), None))


# to set a state that is at hand takes a twentieth of the time of `numpy.errstate`
STATE, TOLD = _state_of("log", Warner())
# what NumPy goes by where none is set
DEFAULT = _state_of("warn", None)[1]


def warn_at_users_line() -> None:
    """From here on, in this context, warnings name the user's line.

    What the user ignores, or has raise, called or logged, stays as it is.
    """
    state = STATE.get(DEFAULT)
    if state is DEFAULT:
        STATE.set(TOLD)
    elif state is not TOLD:
        warned: dict[str, Mode] = {
            kind: "log" for kind, mode in np.geterr().items() if mode == "warn"
        }
        if warned and np.geterrcall() is None:
            np.seterr(**warned)
            np.seterrcall(Warner())


def at_users_line(fn: Callable[P, R]) -> Callable[P, R]:
    """A function in which warnings name the line of the user's that led to the call.

    For what computes with NumPy's own operators, or calls a function that it is given. The ops
    do this themselves; inside such a function they need not.
    """

    @wraps(fn)
    def called(*args: P.args, **options: P.kwargs) -> R:
        state = STATE.get(DEFAULT)
        if state is TOLD:
            return fn(*args, **options)
        # not in a context of its own, which takes longer: what the function sets in other context
        # variables holds on, the tape of a recording among them
        try:
            warn_at_users_line()
            return fn(*args, **options)
        finally:
            STATE.set(state)

    return called


@at_users_line
def told(fn: Callable[..., R], /, *args: Any, **options: Any) -> R:
    """The result of a call in which warnings name the user's line."""
    return fn(*args, **options)
