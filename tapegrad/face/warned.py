"""NumPy's floating-point warnings, given for the caller's line.

NumPy warns of an overflow at the line of Python that called it, which in a recording is
one of this package. Where it is told to log instead, it hands over the text of the
warning, and the line is found then. So it costs nothing until there is something to say.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from contextvars import Context, ContextVar
from functools import wraps
from typing import Any, Literal, ParamSpec, TypeVar

import numpy as np

from tapegrad.face.lines import users_level

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
