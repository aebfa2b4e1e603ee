"""A call in a context of its own, for what computes outside a recording."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any, ParamSpec, TypeVar

from tapegrad.core.operands import refuse_unreal
from tapegrad.core.tape import CURRENT
from tapegrad.core.tensor import Rules
from tapegrad.face.warned import context_aside

P = ParamSpec("P")
R = TypeVar("R")


def told(fn: Callable[..., R], *args: Any, **options: Any) -> R:
    """The result of a call; outside a recording, NumPy's warnings name the user's line.

    A recording has a context for this already, and goes on with what the function writes.
    """
    context = context_aside() if CURRENT.get() is None else None
    return fn(*args, **options) if context is None else context.run(fn, *args, **options)


def computed(op: Rules, operands: tuple[Any, ...], options: dict[str, Any]) -> Any:
    """The result of an op on arrays alone, which writes nothing."""
    refuse_unreal(op.name, operands)
    return told(op.forward, *operands, **options)


def apart(fn: Callable[P, R]) -> Callable[P, R]:
    """The function, such that NumPy's warnings name the user's line while it runs.

    See `told`.
    """

    @wraps(fn)
    def called(*args: P.args, **options: P.kwargs) -> R:
        # as `told`: one call more with arguments of any number takes as long as a record
        context = context_aside() if CURRENT.get() is None else None
        return fn(*args, **options) if context is None else context.run(fn, *args, **options)

    return called
