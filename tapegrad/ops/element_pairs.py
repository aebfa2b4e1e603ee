"""Pairs of elements of a result and an operand that depend on each other, for sparsity patterns.

A function here takes an operand's position, the operands and the options, and returns the flat
positions of the paired elements in the result and in the operand. An operand that is an array is a
constant, whose zeros pair nothing; any other operand has only a shape.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

import numpy as np

from tapegrad.ops.indexing import insert_arrays
from tapegrad.types import Array, Shape

Pairs: TypeAlias = tuple[Array, Array] | None

# beyond this number of products, every element is paired with every other
_MAX_PAIRS = 1 << 24


def contraction_pairs(
    terms: Sequence[str], output: str, k: int, shapes: Sequence[Shape], operands: Sequence[Array]
) -> Pairs:
    """Return the pairs of a contraction; None for too many. Axes of length 1 broadcast."""
    sizes: dict[str, int] = {}
    for term, shape in zip(terms, shapes, strict=True):
        for letter, size in zip(term, shape, strict=True):
            sizes[letter] = size if sizes.get(letter, 1) == 1 else sizes[letter]
    if math.prod(sizes.values()) > _MAX_PAIRS:
        return None
    grid = dict(zip(sizes, np.indices([*sizes.values()], sparse=True), strict=True))

    def flat_positions(term: str, shape: Sequence[int]) -> Array:
        positions: Any = np.zeros((1,) * len(sizes), int)
        for letter, size in zip(term, shape, strict=True):
            positions = positions * size + (grid[letter] if size > 1 else 0)
        return np.broadcast_to(positions, tuple(sizes.values()))

    is_nonzero: Any = True
    for x, term, shape in zip(operands, terms, shapes, strict=True):
        if isinstance(x, np.ndarray):
            is_nonzero = is_nonzero & (x.reshape(-1)[flat_positions(term, shape)] != 0)
    ys, xs = flat_positions(output, [sizes[x] for x in output]), flat_positions(terms[k], shapes[k])
    is_nonzero = np.broadcast_to(is_nonzero, ys.shape)
    return ys[is_nonzero], xs[is_nonzero]


def product_pairs(*axes: str) -> Callable[..., Pairs]:
    """Return the pairs of a product of stacks, from the letters of their axes; k is summed."""

    def find_pairs(k: int, *operands: Array, axis: int = -1) -> Pairs:
        shapes = [np.shape(x) for x in operands]
        # a vector has only the summed axis
        axis_letters = [x if len(s) >= len(x) else "k" for x, s in zip(axes, shapes, strict=True)]
        n_stack_axes = max([len(s) - len(x) for x, s in zip(axis_letters, shapes, strict=True)])
        letters = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"[:n_stack_axes]
        terms = []
        for x, shape in zip(axis_letters, shapes, strict=True):
            stack = letters[n_stack_axes - (len(shape) - len(x)) :]
            position = axis % len(shape) if x == "k" else len(stack)
            terms.append(stack[:position] + x + stack[position:])
        output = letters + "".join([x for x in "ij" if x in axis_letters[0] + axis_letters[1]])
        return contraction_pairs(terms, output, k, shapes, operands)

    return find_pairs


def inner_product_pairs(k: int, a: Array, b: Array) -> Pairs:
    """Return the pairs of a sum of the products of all elements."""
    return contraction_pairs(["k", "k"], "", k, [(math.prod(np.shape(x)),) for x in (a, b)], (a, b))


def einsum_pairs(
    k: int, *operands: Array, subscripts: str, optimize: bool | str | Sequence[Any] = False
) -> Pairs:
    """Return the pairs of an einsum."""
    inputs, output = subscripts.split("->")
    shapes = [np.shape(x) for x in operands]
    return contraction_pairs(inputs.split(","), output, k, shapes, operands)


def selection_pairs(k: int, condition: Array, *sides: Array) -> Pairs:
    """Return the pairs of a selection by a constant condition."""
    if not isinstance(condition, np.ndarray):
        return None
    shape = np.broadcast_shapes(condition.shape, *map(np.shape, sides))
    x = np.shape(sides[k - 1])
    ys = np.flatnonzero(np.broadcast_to(condition.astype(bool) ^ (k == 2), shape))
    return ys, np.broadcast_to(np.arange(math.prod(x)).reshape(x), shape).reshape(-1)[ys]


def update_pairs(k: int, a: Array, values: Array, *arrays: Array, index: tuple[Any, ...]) -> Pairs:
    """Return the pairs of an update at an index, which must be a constant."""
    if k == 0:
        each = np.arange(math.prod(np.shape(a)))
        return each, each
    return _index_pairs(np.shape(a), np.shape(values), insert_arrays(index, arrays), arrays)


def segment_pairs(k: int, values: Array, indices: Array, n: int) -> Pairs:
    """Return the pairs of segments of rows, whose indices must be constants."""
    shape = (n, *np.shape(values)[np.ndim(indices) :])
    return _index_pairs(shape, np.shape(values), indices, [indices])


def _index_pairs(
    shape: Sequence[int],
    values: Sequence[int],
    index: Array | tuple[Any, ...],
    arrays: Sequence[Array],
) -> Pairs:
    """Return the pairs of values at an index of a shape; None if it is not constant."""
    if not all(isinstance(x, np.ndarray) for x in arrays):
        return None
    ys = np.arange(math.prod(shape)).reshape(shape)[index]
    xs = np.broadcast_to(np.arange(math.prod(values)).reshape(values), ys.shape)
    return ys.reshape(-1), xs.reshape(-1)
