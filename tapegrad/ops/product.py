"""Products: of matrices and vectors, and einsum."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.lib.array_utils import normalize_axis_index

from tapegrad.arraylike.table import answers
from tapegrad.core.forward import apply
from tapegrad.core.primitive import EachOperand, Primitive
from tapegrad.declare import linear_op
from tapegrad.declare.batching import (
    Batched,
    align_examples,
    batch_stacks,
    expand_to_ndim,
    flatten_examples,
    repeat_all_for_batch,
)
from tapegrad.ops.casting import conjugate_of
from tapegrad.ops.element_pairs import einsum_pairs, inner_product_pairs, product_pairs
from tapegrad.types import Array, ArrayLike, Cotangent

__all__ = ["einsum", "matmul", "matvec", "vecdot", "vecmat"]


def transpose_matrices(a: Array) -> Array:
    """Transpose the matrices of a stack."""
    return a.T if a.ndim == 2 else a.swapaxes(-1, -2)


def adjoint(a: Array) -> Array:
    """Transpose and conjugate the matrices of a stack."""
    return transpose_matrices(conjugate_of(a))


def _dot(a: Array, b: Array) -> Array:
    """Return the product of two matrices.

    For small matrices the method takes three quarters of the time, since it does not dispatch. It
    treats a matrix of one element as a number, and loses nan if the number is 0.
    """
    return a.dot(b) if a.size > 1 < b.size else a @ b


def _copy_if_broadcast(g: Cotangent) -> Cotangent:
    """Copy a cotangent whose rows repeat one number in memory, since BLAS needs strides."""
    return g.copy() if type(g) is np.ndarray and g.ndim and not g.strides[-1] else g


def _matmul_left_vjp(g: Cotangent, y: Array, x1: Array, x2: Array) -> Cotangent:
    """g @ x2.T, for each matrix of a stack."""
    g = _copy_if_broadcast(g)
    left, right = x1.ndim, x2.ndim
    if left == right == 2:
        return _dot(g, x2.T) if type(x2) is np.ndarray else g @ x2.T
    if left == right == 1:
        return g * x2
    if right == 1:
        return np.expand_dims(g, -1) * x2
    if left == 1:
        return np.squeeze(x2 @ np.expand_dims(g, -1), -1)
    if right == 2 and type(g) is type(x2) is np.ndarray:
        # one product instead of a stack
        return _dot(g.reshape(math.prod(g.shape[:-1]), g.shape[-1]), x2.T).reshape(x1.shape)
    return g @ transpose_matrices(x2)


def _matmul_right_vjp(g: Cotangent, y: Array, x1: Array, x2: Array) -> Cotangent:
    """x1.T @ g, for each matrix of a stack."""
    g = _copy_if_broadcast(g)
    left, right = x1.ndim, x2.ndim
    if left == right == 2:
        return _dot(x1.T, g) if type(g) is np.ndarray else x1.T @ g
    if left == right == 1:
        return g * x1
    if left == 1:
        return np.expand_dims(x1, -1) * np.expand_dims(g, -2)
    if right == 1:
        return np.squeeze(transpose_matrices(x1) @ np.expand_dims(g, -1), -1)
    if right == 2:
        # one product instead of a stack of products to sum
        n = math.prod(x1.shape[:-1])
        return x1.reshape(n, x1.shape[-1]).T @ g.reshape(n, g.shape[-1])
    return transpose_matrices(x1) @ g


def _matmul_batch(op: Primitive, batched: Batched, x1: Array, x2: Array) -> Array:
    """Compute one product if a factor is the same for all examples, else a stack of products."""
    left, right = np.ndim(x1) - batched[0], np.ndim(x2) - batched[1]
    if batched == (True, False):
        if right == 2 and left > 1:
            y = apply(op, (x1.reshape(-1, x1.shape[-1]) if x1.size else x1, x2), {})
            return y.reshape(*x1.shape[:-1], y.shape[-1])
        if left > 1 or right < 3:
            return apply(op, (expand_to_ndim(x1, max(left, right)) if right > 2 else x1, x2), {})
    if batched == (False, True) and right == 1 and left <= 2:
        return apply(op, (x2, x1 if left == 1 else transpose_matrices(x1)), {})
    if batched == (False, True) and left == right == 2 and x2.shape[-1] == 1:
        # a column for each example is a row of one matrix
        return np.expand_dims(apply(op, (np.squeeze(x2, -1), transpose_matrices(x1)), {}), -1)
    if batched == (True, True) and left == right == 1:
        return vecdot(conjugate_of(x1), x2)
    # vectors as matrices, and stacks with equally many axes
    row = np.expand_dims(x1, -2) if left == 1 else x1
    column = np.expand_dims(x2, -1) if right == 1 else x2
    y = apply(op, align_examples(batched, (row, column)), {})
    if right == 1:
        y = np.squeeze(y, -1)
    return np.squeeze(y, -1 if right == 1 else -2) if left == 1 else y


@linear_op(
    _matmul_left_vjp,
    _matmul_right_vjp,
    ufunc=np.matmul,
    batch=_matmul_batch,
    pairs=product_pairs("ik", "kj"),
    adds=True,
)
def matmul(x1: ArrayLike, x2: ArrayLike) -> Array:
    """The matrix product of vectors, matrices and stacks of them, as NumPy's ``@``.

    Stacks broadcast. A vector is a row on the left and a column on the right, and leaves no axis
    in the result.

    Examples
    --------
    >>> import tapegrad as tg
    >>> w = np.array([[1.0, 2.0], [3.0, 4.0]])
    >>> tg.grad(lambda w: tg.sum(np.ones((1, 2)) @ w))(w)
    array([[1., 1.],
           [1., 1.]])
    """


def move_axis(a: Array, source: int, target: int) -> Array:
    """Move an axis to another position."""
    source, target = (normalize_axis_index(axis, a.ndim) for axis in (source, target))
    if source == target:
        return a
    order = list(range(a.ndim))
    order.insert(target, order.pop(source))
    return np.transpose(a, tuple(order))


# typed as Any, since NumPy's stubs lack axis
_vecdot: Any = np.vecdot


def _vecdot_vjp(g: Cotangent, own: Array, other: Array, axis: int) -> Cotangent:
    c = np.expand_dims(g, -1) * move_axis(other, axis, -1)
    return move_axis(c, -1, axis if axis < 0 else axis - own.ndim)


def _vecdot_batch(op: Primitive, batched: Batched, x1: Array, x2: Array, axis: int = -1) -> Array:
    vectors_last = [
        move_axis(x, axis if axis < 0 else axis + b, -1)
        for x, b in zip((x1, x2), batched, strict=True)
    ]
    return apply(op, align_examples(batched, vectors_last), {})


@linear_op(
    lambda g, y, x1, x2, axis=-1: conjugate_of(_vecdot_vjp(g, x1, x2, axis)),
    lambda g, y, x1, x2, axis=-1: _vecdot_vjp(g, x2, conjugate_of(x1), axis),
    numpy=(np.vecdot, np.linalg.vecdot),
    batch=_vecdot_batch,
    pairs=product_pairs("k", "k"),
    adds=True,
)
def vecdot(x1: ArrayLike, x2: ArrayLike, *, axis: int = -1) -> Array:
    """The dot products of vectors along an axis; the other axes broadcast.

    The first vector is conjugated if it is complex.

    Parameters
    ----------
    x1, x2
        Arrays of the same length along the axis.
    axis
        The axis of the vectors in each array, the last by default.

    Examples
    --------
    >>> import tapegrad as tg
    >>> tg.grad(lambda x: tg.sum(tg.vecdot(x, np.array([1.0, 2.0]))))(np.ones((2, 2)))
    array([[1., 2.],
           [1., 2.]])
    """
    return _vecdot(x1, x2, axis=axis)


@linear_op(
    lambda g, y, x1, x2: np.expand_dims(g, -1) * np.expand_dims(x2, -2),
    lambda g, y, x1, x2: np.vecmat(conjugate_of(g), x1),
    numpy=np.matvec,
    batch=batch_stacks(2, 1),
    pairs=product_pairs("ik", "k"),
    adds=True,
)
def matvec(x1: ArrayLike, x2: ArrayLike) -> Array:
    """The products of a stack of matrices with a stack of vectors; the stacks broadcast.

    Examples
    --------
    >>> import tapegrad as tg
    >>> tg.grad(lambda v: tg.sum(tg.matvec(np.array([[1.0, 2.0], [3.0, 4.0]]), v)))(np.ones(2))
    array([4., 6.])
    """
    return np.matvec(x1, x2)


@linear_op(
    lambda g, y, x1, x2: conjugate_of(np.matvec(x2, g)),
    lambda g, y, x1, x2: np.expand_dims(conjugate_of(x1), -1) * np.expand_dims(g, -2),
    numpy=np.vecmat,
    batch=batch_stacks(1, 2),
    pairs=product_pairs("k", "kj"),
    adds=True,
)
def vecmat(x1: ArrayLike, x2: ArrayLike) -> Array:
    """The products of a stack of vectors with a stack of matrices; the stacks broadcast.

    Complex vectors are conjugated.

    Examples
    --------
    >>> import tapegrad as tg
    >>> tg.grad(lambda v: tg.sum(tg.vecmat(v, np.array([[1.0, 2.0], [3.0, 4.0]]))))(np.ones(2))
    array([3., 7.])
    """
    return np.vecmat(x1, x2)


# the number of elements that are added one by one; the sums of chunks are added in pairs
_CHUNK_SIZE = 1 << 14


def _inner_product_batch(op: Primitive, batched: Batched, a: Array, b: Array) -> Array:
    first, second = map(flatten_examples, repeat_all_for_batch(batched, (a, b)))
    return apply(vecdot, (conjugate_of(first), second), {})


@linear_op(
    lambda g, y, a, b: g * b,
    lambda g, y, a, b: g * a,
    batch=_inner_product_batch,
    pairs=inner_product_pairs,
    adds=True,
)
def inner_product(a: Array, b: Array) -> Array:
    """The sum of the products of two arrays of one shape and dtype, without an array of products.

    Examples
    --------
    >>> from tapegrad.ops.product import inner_product
    >>> inner_product(np.eye(2), np.array([[1.0, 2.0], [3.0, 4.0]]))
    np.float64(5.0)
    """
    a, b = a.reshape(-1), b.reshape(-1)
    if a.size <= _CHUNK_SIZE:
        return a.dot(b)
    starts = range(0, a.size, _CHUNK_SIZE)
    return np.add.reduce([a[i : i + _CHUNK_SIZE].dot(b[i : i + _CHUNK_SIZE]) for i in starts])


# letters for axes, in the order of use
LETTERS = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"


def _einsum_vjp(
    i: int,
    g: Cotangent,
    y: Array,
    *operands: Array,
    subscripts: str,
    optimize: bool | str | Sequence[Any] = False,
) -> Cotangent:
    """The einsum of g and the other operands."""
    inputs, output = subscripts.split("->")
    terms = inputs.split(",")
    unused_letters = iter([letter for letter in LETTERS if letter not in subscripts])
    factors = [(output, g), *zip(terms, operands, strict=True)]
    del factors[i + 1]
    known_axes = [pair for term, x in factors for pair in zip(term, np.shape(x), strict=True)]
    operand_term = ""
    for label, n in zip(terms[i], np.shape(operands[i]), strict=True):
        new_letter = label
        if label in operand_term:
            # a diagonal was taken; the cotangent lies on it
            new_letter = next(unused_letters)
            factors.append((label + new_letter, np.eye(n, dtype=g.dtype)))
        elif (label, n) not in known_axes:
            # no other operand has the axis; the cotangent is constant along it
            factors.append((label, np.ones(n, g.dtype)))
        operand_term += new_letter
    return contract(
        [x for _, x in factors],
        subscripts=",".join([term for term, _ in factors]) + "->" + operand_term,
        # an explicit path does not fit other operands
        optimize=optimize if isinstance(optimize, bool | str) else True,
    )


def _read_contract(
    operands: Sequence[Any], subscripts: str, optimize: bool | str | Sequence[Any] = False
) -> tuple[tuple[Any, ...], dict[str, Any]]:
    options = {"subscripts": subscripts}
    return tuple(operands), options if optimize is False else {**options, "optimize": optimize}


def _contract_batch(
    op: Primitive, batched: Batched, *operands: Array, subscripts: str, **options: Any
) -> Array:
    batch = next((letter for letter in LETTERS if letter not in subscripts), None)
    if batch is None:
        return NotImplemented
    inputs, output = subscripts.split("->")
    terms = [batch + x if b else x for x, b in zip(inputs.split(","), batched, strict=True)]
    return apply(op, operands, {"subscripts": f"{','.join(terms)}->{batch}{output}", **options})


@linear_op(
    name="einsum",
    each_operand=EachOperand(_einsum_vjp),
    read=_read_contract,
    batch=_contract_batch,
    pairs=einsum_pairs,
    adds=True,
)
def contract(
    *operands: Any, subscripts: str, optimize: bool | str | Sequence[Any] = False
) -> Array:
    """The op that `einsum` records, with a letter for each axis.

    Called as ``contract(operands, "ij,jk->ik")``.

    Examples
    --------
    >>> import tapegrad as tg
    >>> tg.einsum("ii", np.eye(3)).item()
    3.0
    """
    y = np.einsum(subscripts, *operands, optimize=optimize)
    # with one operand the result may be a view
    return np.array(y) if len(operands) == 1 else y


def einsum(*operands: Any, optimize: bool | str | Sequence[Any] = False) -> Array:
    """The sum of products that subscripts describe, as NumPy's ``einsum``.

    Parameters
    ----------
    *operands
        The subscripts, such as ``"ij,jk->ik"``, and the arrays: any expression that NumPy takes,
        with or without ``->``, with ellipses and with indices that repeat. Alternatively, each
        array followed by a list of integers for its axes and, optionally, a list for the result's
        axes at the end.
    optimize
        Whether, or how, to look for a better order than from left to right; it applies to the
        gradient too.

    Raises
    ------
    ValueError
        If the subscripts do not fit the arrays.

    Examples
    --------
    >>> import tapegrad as tg
    >>> x = np.array([[1.0, 2.0], [3.0, 4.0]])
    >>> tg.einsum("ij,j->i", x, np.ones(2))
    array([3., 7.])
    >>> tg.grad(lambda x: tg.einsum("ii", x))(x)
    array([[1., 0.],
           [0., 1.]])
    """
    if not operands:
        raise ValueError("einsum takes subscripts and arrays; none were given")
    if isinstance(operands[0], str):
        subscripts, arrays = operands[0], operands[1:]
    else:
        subscripts, arrays = _read_sublists(operands), operands[: len(operands) // 2 * 2 : 2]
    subscripts = _expand_subscripts(subscripts, [np.ndim(x) for x in arrays])
    return contract(arrays, subscripts=subscripts, optimize=optimize)


answers([np.einsum], einsum)


def _read_sublists(operands: tuple[Any, ...]) -> str:
    """Return the subscripts for arrays that are each followed by a list of integers."""
    letters = sorted(LETTERS)
    terms = [
        "".join(["..." if label is Ellipsis else letters[label] for label in labels])
        for labels in (*operands[1::2], *(operands[-1:] if len(operands) % 2 else ()))
    ]
    inputs = ",".join(terms[: len(operands) // 2])
    return f"{inputs}->{terms[-1]}" if len(operands) % 2 else inputs


def _expand_subscripts(subscripts: str, ndims: Sequence[int]) -> str:
    """Return subscripts with an explicit result, and letters in place of ellipses."""
    inputs, arrow, output = subscripts.replace(" ", "").partition("->")
    terms = inputs.split(",")
    if len(terms) != len(ndims):
        raise ValueError(
            f"einsum: {subscripts!r} has subscripts for {len(terms)} operands; "
            f"{len(ndims)} were given"
        )
    hidden = [n - len(term.replace("...", "")) for term, n in zip(terms, ndims, strict=True)]
    for i, (term, n) in enumerate(zip(terms, hidden, strict=True)):
        if n < 0 or (n > 0 and "..." not in term):
            raise ValueError(
                f"einsum: {term!r} in {subscripts!r} does not fit operand {i}, "
                f"which has {ndims[i]} axes"
            )
    letters = [letter for letter in LETTERS if letter not in subscripts]
    new = "".join(letters[: max(hidden)])
    if not arrow:
        once = [letter for letter, n in Counter(inputs).items() if n == 1 and letter.isalpha()]
        output = "..." * ("..." in inputs) + "".join(sorted(once))
    if new and "..." not in output:
        raise ValueError(
            f"einsum: the result in {subscripts!r} has no ellipsis, but the operands do"
        )
    full = [term.replace("...", new[len(new) - n :]) for term, n in zip(terms, hidden, strict=True)]
    return f"{','.join(full)}->{output.replace('...', new)}"
