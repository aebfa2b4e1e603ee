"""Which elements of results and operands ops pair: products by the letters of their axes, updates.

For sparsity patterns (`tapegrad.transforms.pattern`): a function of an operand's position, of the
operands and the options that returns the positions of elements of the result and of the operand. An
operand that is an array is a constant, whose zeros pair nothing; of all others only the shape is
known.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

import numpy as np

from tapegrad.ops.indexing import insert_arrays
from tapegrad.types import Array, Shape

Pairs: TypeAlias = tuple[Array, Array] | None

# the most products to write down; beyond it everything is paired
_MOST = 1 << 24


def pairs(
    terms: Sequence[str], output: str, k: int, shapes: Sequence[Shape], operands: Sequence[Array]
) -> Pairs:
    """The pairs of a contraction; None if there are too many. An axis of length 1 is broadcast."""
    sizes: dict[str, int] = {}
    for term, shape in zip(terms, shapes, strict=True):
        for letter, size in zip(term, shape, strict=True):
            sizes[letter] = size if sizes.get(letter, 1) == 1 else sizes[letter]
    if math.prod(sizes.values()) > _MOST:
        return None
    grid = dict(zip(sizes, np.indices([*sizes.values()], sparse=True), strict=True))

    def numbers(term: str, shape: Sequence[int]) -> Array:
        at: Any = np.zeros((1,) * len(sizes), int)
        for letter, size in zip(term, shape, strict=True):
            at = at * size + (grid[letter] if size > 1 else 0)
        return np.broadcast_to(at, tuple(sizes.values()))

    present: Any = True
    for x, term, shape in zip(operands, terms, shapes, strict=True):
        if isinstance(x, np.ndarray):
            present = present & (x.reshape(-1)[numbers(term, shape)] != 0)
    ys, xs = numbers(output, [sizes[x] for x in output]), numbers(terms[k], shapes[k])
    present = np.broadcast_to(present, ys.shape)
    return ys[present], xs[present]


def product_pairs(*axes: str) -> Callable[..., Pairs]:
    """The pairs of a product of stacks whose operands have these axes, of which k is summed."""

    def of(k: int, *operands: Array, axis: int = -1) -> Pairs:
        shapes = [np.shape(x) for x in operands]
        # a vector has no other axis than the one that is summed
        own = [x if len(s) >= len(x) else "k" for x, s in zip(axes, shapes, strict=True)]
        most = max([len(s) - len(x) for x, s in zip(own, shapes, strict=True)])
        letters = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"[:most]
        terms = []
        for x, shape in zip(own, shapes, strict=True):
            stack = letters[most - (len(shape) - len(x)) :]
            at = axis % len(shape) if x == "k" else len(stack)
            terms.append(stack[:at] + x + stack[at:])
        output = letters + "".join([x for x in "ij" if x in own[0] + own[1]])
        return pairs(terms, output, k, shapes, operands)

    return of


def inner_product_pairs(k: int, a: Array, b: Array) -> Pairs:
    """The pairs of a sum of the products of all elements."""
    return pairs(["k", "k"], "", k, [(math.prod(np.shape(x)),) for x in (a, b)], (a, b))


def einsum_pairs(
    k: int, *operands: Array, subscripts: str, optimize: bool | str | Sequence[Any] = False
) -> Pairs:
    """The pairs of an einsum."""
    inputs, output = subscripts.split("->")
    return pairs(inputs.split(","), output, k, [np.shape(x) for x in operands], operands)


def selection_pairs(k: int, condition: Array, *sides: Array) -> Pairs:
    """The pairs of a choice between sides; a constant condition says which."""
    if not isinstance(condition, np.ndarray):
        return None
    shape = np.broadcast_shapes(condition.shape, *map(np.shape, sides))
    x = np.shape(sides[k - 1])
    ys = np.flatnonzero(np.broadcast_to(condition.astype(bool) ^ (k == 2), shape))
    return ys, np.broadcast_to(np.arange(math.prod(x)).reshape(x), shape).reshape(-1)[ys]


def update_pairs(k: int, a: Array, values: Array, *arrays: Array, index: tuple[Any, ...]) -> Pairs:
    """The pairs of elements combined with values at an index, which must be a constant."""
    if k == 0:
        each = np.arange(math.prod(np.shape(a)))
        return each, each
    return _placed(np.shape(a), np.shape(values), insert_arrays(index, arrays), arrays)


def segment_pairs(k: int, values: Array, indices: Array, n: int) -> Pairs:
    """The pairs of rows combined by indices, which must be constants."""
    shape = (n, *np.shape(values)[np.ndim(indices) :])
    return _placed(shape, np.shape(values), indices, [indices])


def _placed(
    shape: Sequence[int],
    values: Sequence[int],
    index: Array | tuple[Any, ...],
    arrays: Sequence[Array],
) -> Pairs:
    if not all(isinstance(x, np.ndarray) for x in arrays):
        return None
    ys = np.arange(math.prod(shape)).reshape(shape)[index]
    xs = np.broadcast_to(np.arange(math.prod(values)).reshape(values), ys.shape)
    return ys.reshape(-1), xs.reshape(-1)
