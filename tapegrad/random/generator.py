"""The ops that draws are recorded as, which read NumPy's generator Philox."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from tapegrad.core.forward import transposed_jvp
from tapegrad.core.op import Op
from tapegrad.declare.abstract import stand_in
from tapegrad.declare.signature import Signature
from tapegrad.tree.ownership import readonly_array
from tapegrad.types import Array

if TYPE_CHECKING:
    from numpy.random import Generator

# the highest word of the counter, which is 0 for draws
_SPLIT, _FOLD = 1, 2


def _drawing(
    n_operands: int, like: Callable[..., Any] | None = None, name: str = ""
) -> Callable[[Callable[..., Any]], Op[...]]:
    """An op whose first operand is the key, and that has no derivative.

    `like` stands in for a forward function that refuses some numbers. `name` is the public
    function's, if it has another.
    """

    def declare(forward: Callable[..., Any]) -> Op[...]:
        rules = (None,) * n_operands
        called = name or forward.__name__
        signature = Signature.of(forward, called, n_operands)
        return Op(
            called, forward, rules, transposed_jvp, declared=forward, like=like, signature=signature
        )

    return declare


@_drawing(1, name="key")
def seeded(seed: Any) -> Any:
    """The key of a seed."""
    return of_sequence(np.random.SeedSequence(int(seed)))


@_drawing(1)
def split(key: Any, *, n: int) -> Any:
    """New keys of a key."""
    return _blocks(key, (0, 0, 0, _SPLIT), n)


def folded_bits(data: int) -> int:
    """The 64 bits of an integer that is folded in; one that needs more raises."""
    if not -(2**63) <= data < 2**64:
        raise OverflowError(f"fold_in takes an integer of 64 bits; {data} is too large")
    return data % 2**64


@_drawing(2, name="fold_in")
def folded_in(key: Any, data: Any) -> Any:
    """The key of a key and an integer."""
    return _blocks(key, (folded_bits(int(data)), 0, 0, _FOLD), 1)[0]


def _of_options(key: Any, *, shape: tuple[int, ...], dtype: Any) -> Any:
    # of a file, they may be anything
    is_numeric = isinstance(dtype, np.dtype) and dtype.kind in "fciub"
    if not is_numeric or type(shape) is not tuple:
        raise TypeError(f"a shape and a dtype are needed, not {shape!r} and {dtype!r}")
    return stand_in(shape, dtype)


@_drawing(1, like=_of_options)
def uniform(key: Any, *, shape: tuple[int, ...], dtype: Any) -> Any:
    """Numbers from 0 to 1."""
    if dtype == np.float16:
        # rounding float32 could give 1
        return (_generator(key).integers(0, 2**11, shape) * 2.0**-11).astype(dtype)
    return _drawn(_generator(key).random, shape, dtype)


@_drawing(1, like=_of_options)
def normal(key: Any, *, shape: tuple[int, ...], dtype: Any) -> Any:
    """Normal numbers; complex ones of two parts, each of variance 1/2."""
    if dtype.kind != "c":
        return _drawn(_generator(key).standard_normal, shape, dtype)
    parts = _drawn(_generator(key).standard_normal, (*shape, 2), np.finfo(dtype).dtype)
    return (parts * math.sqrt(0.5)).view(dtype).reshape(shape)


def _between(key: Any, *, shape: tuple[int, ...], low: float, high: float, dtype: Any) -> Any:
    """A stand-in: numbers that are far out take forever."""
    if not low < high:
        raise ValueError(f"no number is between {low} and {high}")
    return _of_options(key, shape=shape, dtype=dtype)


@_drawing(1, like=_between)
def truncated_normal(
    key: Any, *, shape: tuple[int, ...], low: float, high: float, dtype: Any
) -> Any:
    """Normal numbers, redrawn until they are between the bounds."""
    generator = _generator(key)
    drawn = _drawn(generator.standard_normal, shape, dtype)
    flat = drawn.reshape(-1)
    while (outside := np.flatnonzero((flat < low) | (flat > high))).size:
        flat[outside] = _drawn(generator.standard_normal, outside.shape, dtype)
    return drawn


@_drawing(2)
def bernoulli(key: Any, p: Any, *, shape: tuple[int, ...]) -> Any:
    """Truth values."""
    if not np.all(np.less_equal(0, p) & np.less_equal(p, 1)):
        raise ValueError(f"a probability is from 0 to 1; p is {p}")
    return np.asarray(_generator(key).random(shape) < p)


def _bits(key: Any, low: Any, high: Any, *, shape: tuple[int, ...], dtype: Any) -> Any:
    np.broadcast_shapes(np.shape(low), np.shape(high), shape)
    if np.dtype(dtype).kind not in "iub":
        raise TypeError(f"integers have no dtype {dtype!r}")
    return _of_options(key, shape=shape, dtype=np.dtype(dtype))


@_drawing(3, like=_bits)
def integers(key: Any, low: Any, high: Any, *, shape: tuple[int, ...], dtype: Any) -> Any:
    """Integers between two bounds."""
    return np.asarray(_generator(key).integers(low, high, shape, dtype))


@_drawing(1)
def permutation(key: Any, *, n: int) -> Any:
    """The numbers from 0 to n - 1 in random order."""
    return _generator(key).permutation(n)


def _any_choice(key: Any, p: Any, **options: Any) -> Any:
    return choice.forward(key, np.full(np.shape(p), 1 / max(np.size(p), 1)), **options)


@_drawing(2, like=_any_choice)
def choice(key: Any, p: Any, *, n: int, shape: tuple[int, ...], replace: bool) -> Any:
    """Choices from the numbers from 0 to n - 1."""
    weights = p if np.size(p) or not n else None
    return np.asarray(_generator(key).choice(n, shape, replace, weights))


def of_sequence(sequence: np.random.SeedSequence) -> Array:
    """The key that is the hash of a seed sequence."""
    return readonly_array(sequence.generate_state(2, np.uint64))


def _generator(key: Any) -> Generator:
    return np.random.Generator(np.random.Philox(key=key))


def _blocks(key: Any, counter: tuple[int, ...], n: int) -> Array:
    """The first half of each of the n blocks of Philox that follow a counter."""
    philox = np.random.Philox(key=key, counter=np.array(counter, np.uint64))
    return readonly_array(philox.random_raw(4 * n).reshape(n, 4)[:, :2].copy())


def _drawn(draw: Callable[..., Array], shape: tuple[int, ...], dtype: Any) -> Array:
    """The dtype to draw in: float32, or float64."""
    native = np.float32 if dtype.itemsize <= 4 else np.float64
    return draw(shape, native).astype(dtype, copy=False)
