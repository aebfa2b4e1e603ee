"""A call in a context of its own, for what computes outside a recording."""

from __future__ import annotations

from collections.abc import Callable
from contextvars import copy_context
from functools import wraps
from typing import Any, ParamSpec, TypeVar, cast

from tapegrad.core.tape import CURRENT
from tapegrad.face.warned import DEFAULT, STATE, TOLD, aside

P = ParamSpec("P")
R = TypeVar("R")


def told(fn: Callable[..., R], *args: Any, **options: Any) -> R:
    """The result of a call; outside a recording, NumPy's warnings name the user's line.

    A recording has a context for this already, and goes on with what the function writes.
    """
    state = STATE.get(DEFAULT)
    if state is TOLD or CURRENT.get() is not None:
        return fn(*args, **options)
    if state is DEFAULT:
        # what `aside` does in most calls
        return copy_context().run(_begun, fn, args, options)
    return aside(fn, *args, **options)


def _begun(fn: Callable[..., R], args: Any, options: Any) -> R:
    STATE.set(TOLD)
    return fn(*args, **options)


def apart(fn: Callable[P, R]) -> Callable[P, R]:
    """The function, such that NumPy's warnings name the user's line while it runs.

    It takes arguments by position. It is called in a context of its own, but for one in a
    recording, which has such a context already and goes on with what the function writes.
    """

    def begun(*args: Any) -> R:
        # what `aside` does in most calls; this runs in each step of a training loop
        STATE.set(TOLD)
        return fn(*args)  # type: ignore[call-arg]

    @wraps(fn)
    def called(*args: Any) -> R:
        state = STATE.get(DEFAULT)
        if state is TOLD or CURRENT.get() is not None:
            return fn(*args)  # type: ignore[call-arg]
        return copy_context().run(begun, *args) if state is DEFAULT else aside(fn, *args)

    return cast("Callable[P, R]", called)
