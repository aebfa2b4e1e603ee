"""Products of vectors, matrices and stacks of them."""

from __future__ import annotations

import itertools
import math
import operator
from collections.abc import Sequence

import numpy as np

from tapegrad.declare import function
from tapegrad.ops.arithmetic import multiply
from tapegrad.ops.axes import normalize_axes
from tapegrad.ops.casting import to_array
from tapegrad.ops.product import matmul, move_axis
from tapegrad.types import Array, ArrayLike

__all__ = ["cross", "dot", "inner", "kron", "multi_dot", "outer", "tensordot", "vdot"]


# --- any number of axes -----------------------------------------------------------------


@function(numpy=(np.tensordot, np.linalg.tensordot), complex=True)
def tensordot(a: ArrayLike, b: ArrayLike, axes: int | Sequence[int | Sequence[int]] = 2) -> Array:
    """The sum of products over axes of both arrays; a's other axes come first, then b's.

    Parameters
    ----------
    a, b
        Arrays.
    axes
        The number of last axes of `a` and first axes of `b`; or a pair, the axes of `a` and the
        matching ones of `b`, each an integer or a sequence.

    Raises
    ------
    ValueError
        If the axes of `a` and `b` differ in number or in length.

    Examples
    --------
    >>> import tapegrad as tg
    >>> tg.tensordot(np.ones((2, 3, 4)), np.ones((4, 3)), axes=([1, 2], [1, 0]))
    array([12., 12.])
    """
    a, b = to_array(a), to_array(b)
    if np.iterable(axes):
        a_axes, b_axes = axes
    else:
        n = operator.index(axes)
        a_axes, b_axes = range(-n, 0), range(n)
    a_axes = normalize_axes("tensordot", a_axes, a.ndim)
    b_axes = normalize_axes("tensordot", b_axes, b.ndim)
    summed_lengths = [a.shape[i] for i in a_axes]
    if summed_lengths != [b.shape[i] for i in b_axes]:
        raise ValueError(
            f"tensordot: axes {a_axes} of shape {a.shape} and {b_axes} of {b.shape} are summed "
            "over together, so they must be equally long"
        )
    a_outer = [i for i in range(a.ndim) if i not in a_axes]
    b_outer = [i for i in range(b.ndim) if i not in b_axes]
    a_shape, b_shape = [a.shape[i] for i in a_outer], [b.shape[i] for i in b_outer]
    n, k, m = (math.prod(lengths) for lengths in (a_shape, summed_lengths, b_shape))
    a_matrix = np.reshape(np.transpose(a, (*a_outer, *a_axes)), (n, k))
    b_matrix = np.reshape(np.transpose(b, (*b_axes, *b_outer)), (k, m))
    return np.reshape(matmul(a_matrix, b_matrix), (*a_shape, *b_shape))


@function(numpy=np.dot, complex=True)
def dot(a: ArrayLike, b: ArrayLike) -> Array:
    """The product of vectors and matrices; with a scalar, the multiple.

    For more axes it sums over the last axis of `a` and the second-to-last axis of `b`, and keeps
    the others; `matmul` is the product of stacks.

    Examples
    --------
    >>> import tapegrad as tg
    >>> tg.grad(lambda x: tg.dot(x, x))(np.array([1.0, 2.0]))
    array([2., 4.])
    """
    a, b = to_array(a), to_array(b)
    left, right = a.ndim, b.ndim
    if left == 0 or right == 0:
        return multiply(a, b)
    if left > 2 or right > 2:
        return tensordot(a, b, axes=(-1, -min(right, 2)))
    return matmul(a, b)


@function(numpy=np.inner, complex=True)
def inner(a: ArrayLike, b: ArrayLike) -> Array:
    """The sum of products over the last axis of each; with a scalar, the multiple.

    Examples
    --------
    >>> import tapegrad as tg
    >>> tg.grad(lambda x: tg.inner(x, x))(np.array([1.0, 2.0]))
    array([2., 4.])
    """
    a, b = to_array(a), to_array(b)
    if a.ndim == 0 or b.ndim == 0:
        return multiply(a, b)
    if a.ndim == b.ndim == 1:
        return matmul(a, b)
    return tensordot(a, b, axes=(-1, -1))


@function(numpy=np.vdot, complex=True)
def vdot(a: ArrayLike, b: ArrayLike) -> Array:
    """The sum of the products of all elements, in order; a complex first factor is conjugated.

    Examples
    --------
    >>> import tapegrad as tg
    >>> tg.grad(lambda x: tg.vdot(x, np.eye(2)))(np.ones((2, 2)))
    array([[1., 0.],
           [0., 1.]])
    """
    a = np.reshape(a, -1)
    return matmul(np.conj(a) if a.dtype.kind == "c" else a, np.reshape(b, -1))


@function(numpy=np.outer, complex=True)
def outer(a: ArrayLike, b: ArrayLike) -> Array:
    """All products of an element of `a` (in rows) and an element of `b` (in columns).

    Examples
    --------
    >>> import tapegrad as tg
    >>> tg.outer(np.array([1.0, 2.0]), np.array([3.0, 4.0]))
    array([[3., 4.],
           [6., 8.]])
    """
    return multiply(np.reshape(a, (-1, 1)), np.reshape(b, (1, -1)))


@function(numpy=np.kron, complex=True)
def kron(a: ArrayLike, b: ArrayLike) -> Array:
    """The Kronecker product: blocks, each an element of `a` times all of `b`.

    Examples
    --------
    >>> import tapegrad as tg
    >>> tg.kron(np.eye(2), np.array([[1.0, 2.0]]))
    array([[1., 2., 0., 0.],
           [0., 0., 1., 2.]])
    """
    a, b = to_array(a), to_array(b)
    n = max(a.ndim, b.ndim)
    a_lengths, b_lengths = ((1,) * (n - x.ndim) + x.shape for x in (a, b))
    # each axis becomes two: one of blocks, and one within a block
    blocks = np.reshape(a, tuple(itertools.chain(*[(x, 1) for x in a_lengths])))
    within = np.reshape(b, tuple(itertools.chain(*[(1, x) for x in b_lengths])))
    shape = tuple(x * y for x, y in zip(a_lengths, b_lengths, strict=True))
    return np.reshape(multiply(blocks, within), shape)


@function(numpy=np.cross, complex=True)
def cross(
    a: ArrayLike,
    b: ArrayLike,
    axisa: int = -1,
    axisb: int = -1,
    axisc: int = -1,
    axis: int | None = None,
) -> Array:
    """The cross products of vectors with 3 components, or 2.

    Parameters
    ----------
    a, b
        Arrays of vectors; the other axes broadcast. A vector with 2 components has 0 for the third.
        If both have 2, the result is the third component of the product.
    axisa, axisb, axisc
        The axes of the components in `a`, in `b` and in the result.
    axis
        One axis for all three.

    Raises
    ------
    ValueError
        If a vector has neither 2 nor 3 components.

    Examples
    --------
    >>> import tapegrad as tg
    >>> tg.cross(np.array([1.0, 0.0, 0.0]), np.array([0.0, 1.0, 0.0]))
    array([0., 0., 1.])
    """
    if axis is not None:
        axisa = axisb = axisc = axis
    a, b = move_axis(to_array(a), axisa, -1), move_axis(to_array(b), axisb, -1)
    n, m = a.shape[-1], b.shape[-1]
    if n not in (2, 3) or m not in (2, 3):
        raise ValueError(f"cross takes vectors with 2 or 3 components, not {n} and {m}")
    a0, a1, a2 = a[..., 0], a[..., 1], a[..., 2] if n == 3 else 0
    b0, b1, b2 = b[..., 0], b[..., 1], b[..., 2] if m == 3 else 0
    third = a0 * b1 - a1 * b0
    if n == m == 2:
        return third
    return move_axis(np.stack([a1 * b2 - a2 * b1, a2 * b0 - a0 * b2, third], axis=-1), -1, axisc)


@function(lists=("arrays",), numpy=np.linalg.multi_dot, complex=True)
def multi_dot(arrays: Sequence[ArrayLike]) -> Array:
    """The product of two or more matrices, computed in the order that takes the least work.

    Parameters
    ----------
    arrays
        Matrices, each with as many rows as the previous one has columns. The first may be a vector,
        taken as a row; the last may be a vector, taken as a column.

    Raises
    ------
    ValueError
        If there are fewer than two, or one is not a matrix.

    Examples
    --------
    >>> import tapegrad as tg
    >>> tg.multi_dot([np.ones((2, 3)), np.ones((3, 4)), np.ones(4)])
    array([12., 12.])
    """
    factors = [to_array(x) for x in arrays]
    n = len(factors)
    ndims = [x.ndim for x in factors]
    if n < 2:
        raise ValueError(f"multi_dot takes two or more matrices; got {n}")
    if not {ndims[0], ndims[-1]} <= {1, 2} or any(ndim != 2 for ndim in ndims[1:-1]):
        raise np.linalg.LinAlgError(
            "multi_dot takes two or more matrices, of which the first and the last may be "
            f"vectors; got arrays of {ndims} axes"
        )
    lengths = [factors[0].shape[0] if ndims[0] == 2 else 1, *[x.shape[-1] for x in factors]]
    if ndims[-1] == 1:
        lengths[-2:] = [*factors[-1].shape, 1]

    # the cost of the product of the matrices from i to j, and where to split it
    cuts = {(i, i + 1): (0, i) for i in range(n)}
    for length in range(2, n + 1):
        for i in range(n - length + 1):
            j = i + length
            cuts[i, j] = min(
                (cuts[i, k][0] + cuts[k, j][0] + lengths[i] * lengths[k] * lengths[j], k)
                for k in range(i + 1, j)
            )
    return _multiply_chain(factors, cuts, 0, n)


def _multiply_chain(
    factors: list[Array], cuts: dict[tuple[int, int], tuple[int, int]], i: int, j: int
) -> Array:
    """Multiply the matrices from the i-th to the one before the j-th."""
    if j - i == 1:
        return factors[i]
    k = cuts[i, j][1]
    return matmul(_multiply_chain(factors, cuts, i, k), _multiply_chain(factors, cuts, k, j))
