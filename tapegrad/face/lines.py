"""The caller's line of source, for messages that quote it and for NumPy's warnings.

NumPy warns of an overflow at the line of Python that called it, which in a recording is one of
this package. Where it is told to log instead, it hands over the text of the warning, and the line
is found then. So it costs nothing until there is something to say.
"""

from __future__ import annotations

import linecache
import sys
import warnings
from collections.abc import Callable
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


def called_from(level: int) -> tuple[str, str]:
    """The name and the module of the function that is so many calls above the one that asks."""
    frame = sys._getframe(level + 1)
    return frame.f_code.co_name, str(frame.f_globals.get("__name__", ""))


def users_frame() -> FrameType | None:
    """The frame of the caller's line that led here."""
    frame: FrameType | None = sys._getframe(1)
    while frame is not None and not is_users(frame):
        frame = frame.f_back
    return frame


def users_place() -> Place:
    """The caller's line that led here."""
    frame = users_frame()
    return Place("", 0, "") if frame is None else place_of(frame)


def place_of(frame: FrameType) -> Place:
    """The line that a frame has reached."""
    file, number = frame.f_code.co_filename, frame.f_lineno
    return Place(file, number, linecache.getline(file, number).strip())


def users_level() -> int:
    """How many calls up the caller's line is, as `warnings.warn` counts them; 1 if nowhere."""
    frame: FrameType | None = sys._getframe(1)
    level = 1
    while frame is not None:
        if is_users(frame):
            return level
        frame = frame.f_back
        level += 1
    return 1


def is_users(frame: FrameType) -> bool:
    """Whether a frame is of the caller's code, not of a library that takes Tensors for arrays."""
    # an example in a docstring runs under its module's name
    module, file = frame.f_globals.get("__name__", ""), frame.f_code.co_filename
    return not module.startswith(_NOT_THE_USERS) or file.startswith("<doctest")


def users_line() -> str:
    """The line of the caller's source that led here, for a message."""
    place = str(users_place())
    return f", at {place}" if place else ""


P = ParamSpec("P")
R = TypeVar("R")
Mode = Literal["log", "warn", "ignore"]


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
# NumPy's state where a context has set none, and a state without warnings
DEFAULT, SILENT = _state_of("warn", None)[1], _state_of("ignore", None)[1]


def warn_at_users_line() -> None:
    """From here on, in this context, warnings name the user's line.

    What the user ignores, or has raise, called or logged, stays as it is.
    """
    state = STATE.get(DEFAULT)
    if state is DEFAULT:
        STATE.set(TOLD)
    elif state is not TOLD and state is not SILENT:
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
        if state is TOLD or state is SILENT:
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
def with_user_warnings(fn: Callable[..., R], /, *args: Any, **options: Any) -> R:
    """The result of a call in which warnings name the user's line."""
    return fn(*args, **options)


class Gate:
    """A class that users call: in a call of its instances, warnings name the line of the call."""

    __slots__ = ()

    def __init_subclass__(cls) -> None:
        call = vars(cls).get("__call__")
        # attrs makes a class anew for its slots
        if call is not None and not hasattr(call, "__wrapped__"):
            cls.__call__ = at_users_line(call)  # type: ignore[method-assign]
