"""Ops that draw from NumPy's generator Philox; a recording holds them."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, ParamSpec

import numpy as np

from tapegrad.core.forward import transposed_jvp
from tapegrad.core.op import Op
from tapegrad.declare.abstract import stand_in
from tapegrad.declare.signature import Signature
from tapegrad.tree.ownership import readonly_array
from tapegrad.types import Array, DType, Shape

if TYPE_CHECKING:
    from numpy.random import Generator

P = ParamSpec("P")

# the highest word of the counter, which is 0 for draws
_SPLIT, _FOLD = 1, 2


def _draw_op(
    n_operands: int, like: Callable[..., Array] | None = None, name: str = ""
) -> Callable[[Callable[P, Array]], Op[P]]:
    """Declare an op without a derivative, whose first operand is the key.

    `like` replaces `forward` in abstract evaluation, if `forward` raises for some numbers. `name`
    is the public function's name, if it differs.
    """

    def declare(forward: Callable[P, Array]) -> Op[P]:
        rules = (None,) * n_operands
        op_name = name or forward.__name__
        signature = Signature.from_function(forward, op_name, n_operands)
        return Op(
            op_name,
            forward,
            rules,
            transposed_jvp,
            declared=forward,
            like=like,
            signature=signature,
        )

    return declare


@_draw_op(1, name="key")
def make_key(seed: Array) -> Array:
    """Hash a seed to a key."""
    return key_of_sequence(np.random.SeedSequence(int(seed)))


@_draw_op(1)
def split(key: Array, *, n: int) -> Array:
    """Derive n keys from a key."""
    return _read_blocks(key, (0, 0, 0, _SPLIT), n)


def to_uint64(data: int) -> int:
    """Wrap an integer of at most 64 bits to an unsigned one; raise for a larger one."""
    if not -(2**63) <= data < 2**64:
        raise OverflowError(f"fold_in takes an integer of 64 bits; {data} is too large")
    return data % 2**64


@_draw_op(2)
def fold_in(key: Array, data: Array | int) -> Array:
    """Derive a key from a key and an integer."""
    return _read_blocks(key, (to_uint64(int(data)), 0, 0, _FOLD), 1)[0]


def _placeholder_draw(key: Array, *, shape: Shape, dtype: DType) -> Array:
    # the options of a program from a file may be anything
    is_numeric = isinstance(dtype, np.dtype) and dtype.kind in "fciub"
    if not is_numeric or type(shape) is not tuple:
        raise TypeError(f"a shape and a dtype are needed, not {shape!r} and {dtype!r}")
    return stand_in(shape, dtype)


@_draw_op(1, like=_placeholder_draw)
def uniform(key: Array, *, shape: Shape, dtype: DType) -> Array:
    """Draw numbers from 0 to 1."""
    if dtype == np.float16:
        # rounding float32 could give 1
        return (_make_generator(key).integers(0, 2**11, shape) * 2.0**-11).astype(dtype)
    return _draw_native(_make_generator(key).random, shape, dtype)


@_draw_op(1, like=_placeholder_draw)
def normal(key: Array, *, shape: Shape, dtype: DType) -> Array:
    """Draw normal numbers; the two parts of complex ones have variance 1/2 each."""
    if dtype.kind != "c":
        return _draw_native(_make_generator(key).standard_normal, shape, dtype)
    parts = _draw_native(_make_generator(key).standard_normal, (*shape, 2), np.finfo(dtype).dtype)
    return (parts * math.sqrt(0.5)).view(dtype).reshape(shape)


def _placeholder_truncated(
    key: Array, *, shape: Shape, low: float, high: float, dtype: DType
) -> Array:
    # a draw between bounds that are far out would take forever
    if not low < high:
        raise ValueError(f"no number is between {low} and {high}")
    return _placeholder_draw(key, shape=shape, dtype=dtype)


@_draw_op(1, like=_placeholder_truncated)
def truncated_normal(key: Array, *, shape: Shape, low: float, high: float, dtype: DType) -> Array:
    """Draw normal numbers, and redraw those outside the bounds."""
    generator = _make_generator(key)
    x = _draw_native(generator.standard_normal, shape, dtype)
    flat = x.reshape(-1)
    while (outside := np.flatnonzero((flat < low) | (flat > high))).size:
        flat[outside] = _draw_native(generator.standard_normal, outside.shape, dtype)
    return x


@_draw_op(2)
def bernoulli(key: Array, p: Array | float, *, shape: Shape) -> Array:
    """Draw truth values."""
    if not np.all(np.less_equal(0, p) & np.less_equal(p, 1)):
        raise ValueError(f"a probability is from 0 to 1; p is {p}")
    return np.asarray(_make_generator(key).random(shape) < p)


def _placeholder_integers(
    key: Array, low: Array | int, high: Array | int, *, shape: Shape, dtype: DType
) -> Array:
    np.broadcast_shapes(np.shape(low), np.shape(high), shape)
    if np.dtype(dtype).kind not in "iub":
        raise TypeError(f"integers have no dtype {dtype!r}")
    return _placeholder_draw(key, shape=shape, dtype=np.dtype(dtype))


@_draw_op(3, like=_placeholder_integers)
def integers(
    key: Array, low: Array | int, high: Array | int, *, shape: Shape, dtype: DType
) -> Array:
    """Draw integers between two bounds."""
    return np.asarray(_make_generator(key).integers(low, high, shape, dtype))


@_draw_op(1)
def permutation(key: Array, *, n: int) -> Array:
    """Shuffle the numbers from 0 to n - 1."""
    return _make_generator(key).permutation(n)


def _placeholder_choice(key: Array, p: Array, **options: Any) -> Array:
    return choice.forward(key, np.full(np.shape(p), 1 / max(np.size(p), 1)), **options)


@_draw_op(2, like=_placeholder_choice)
def choice(key: Array, p: Array, *, n: int, shape: Shape, replace: bool) -> Array:
    """Choose from the numbers from 0 to n - 1."""
    weights = p if np.size(p) or not n else None
    return np.asarray(_make_generator(key).choice(n, shape, replace, weights))


# the names of two of these ops in pickled programs
seeded, folded_in = make_key, fold_in


def key_of_sequence(sequence: np.random.SeedSequence) -> Array:
    """Hash a seed sequence to a key."""
    return readonly_array(sequence.generate_state(2, np.uint64))


def _make_generator(key: Array) -> Generator:
    return np.random.Generator(np.random.Philox(key=key))


def _read_blocks(key: Array, counter: tuple[int, ...], n: int) -> Array:
    """Return the first half of each of the n blocks of Philox that follow a counter."""
    philox = np.random.Philox(key=key, counter=np.array(counter, np.uint64))
    return readonly_array(philox.random_raw(4 * n).reshape(n, 4)[:, :2].copy())


def _draw_native(draw: Callable[..., Array], shape: Shape, dtype: DType) -> Array:
    """Draw in float32 or float64, and convert to a dtype."""
    native = np.float32 if dtype.itemsize <= 4 else np.float64
    return draw(shape, native).astype(dtype, copy=False)
