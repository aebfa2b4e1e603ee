"""Words for calls: operands and options, each drawn with the operands before it in view.

A word is a list to choose from; a function of the choices and of the operands so far; or any other
value, which is taken literally.
"""

from __future__ import annotations

from collections.abc import Callable
from types import FunctionType
from typing import Any

import numpy as np

from tapegrad.domain import Call, Choices, Domain
from tapegrad.types import Array

Word = Callable[..., Any]

FLAG = [False, True]
DTYPES = [None, np.float32, np.float64]


def calls(*operands: Any, **options: Any) -> Domain:
    """Calls with these operands and options."""
    return more(lambda choose: Call(()), *operands, **options)


def more(domain: Domain, *operands: Any, ways: Any = None, **options: Any) -> Domain:
    """The calls of a domain with further operands and options; `ways` are several at once."""

    def call(choose: Choices) -> Call:
        first = domain(choose)
        args = [*first.args]
        for word in operands:
            args.append(_draw_word(choose, word, args))
        kwargs = {**first.kwargs, **(_draw_word(choose, ways, args) or {})}
        kwargs |= {name: _draw_word(choose, word, args) for name, word in options.items()}
        return Call(tuple(args), kwargs, first.needed)

    return call


def _draw_word(choose: Choices, word: Any, args: list[Any]) -> Any:
    if isinstance(word, list):
        word = choose.among(word)
    return word(choose, *args) if isinstance(word, FunctionType) else word


def array(*bounds: int, **of: Any) -> Word:
    """An array, of a shape within the bounds of `Choices.shape`."""
    return lambda choose, *_: choose.array(choose.shape(*bounds), **of)


def sparse(*bounds: int) -> Word:
    """An array with some zeros."""

    def word(choose: Choices, *_: Any) -> Array:
        x = choose.array(choose.shape(*bounds))
        return choose.laid_out(np.where(choose.booleans(x.shape), x, np.zeros_like(x)))

    return word


def same(choose: Choices, x: Array, *_: Any) -> Array:
    """An array of the first operand's shape."""
    return choose.array(x.shape)


def alike(choose: Choices, x: Array, *_: Any) -> Array:
    """An array of the first operand's shape and dtype."""
    return choose.array(x.shape, dtypes=x.dtype.char)


def whole(low: int, high: int) -> Word:
    """An integer."""
    return lambda choose, *_: choose.integer(low, high)


def axis(choose: Choices, x: Array, *_: Any) -> int:
    """One of the first operand's axes."""
    return choose.axis(x.ndim)


def axis_or_none(choose: Choices, x: Array, *_: Any) -> int:
    """One of the first operand's axes, or None."""
    return choose.among([None, choose.axis(x.ndim)]) if x.ndim else None


def axes(choose: Choices, x: Array, *_: Any) -> Any:
    """Axes of the first operand: one, several, all, or None."""
    return choose.axes(x.ndim)


def from_either_end(choose: Choices, places: list[int], ndim: int) -> list[int]:
    """Axes, some of them counted from the end."""
    return [place - ndim if choose.among(FLAG) else place for place in places]


def broadcast(*operands: Word) -> Domain:
    """Calls on operands of shapes that broadcast, each a function of the choices and its shape."""

    def call(choose: Choices) -> Call:
        shapes = choose.broadcastable(len(operands))
        return Call(tuple(word(choose, x) for word, x in zip(operands, shapes, strict=True)))

    return call


def reals(choose: Choices, shape: tuple[int, ...]) -> Array:
    """An array of a shape."""
    return choose.array(shape)


def truths(choose: Choices, shape: tuple[int, ...] | None = None) -> Array:
    """Truth values, of a shape or of any."""
    return choose.booleans(choose.shape() if shape is None else shape)


def integers(low: int, high: int) -> Word:
    """Integers of a shape."""
    return lambda choose, shape: choose.integers(shape, low, high)
