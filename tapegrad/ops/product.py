"""Matrix products."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from tapegrad.op import op
from tapegrad.ops.arithmetic import multiply
from tapegrad.tensor import NUMPY

__all__ = ["dot", "matmul"]


def _turned(a: Any) -> Any:
    """The matrices of a stack transposed."""
    return a.T if a.ndim == 2 else a.swapaxes(-1, -2)


def _matmul_left(g: Any, y: Any, x1: Any, x2: Any) -> Any:
    left, right = x1.ndim, x2.ndim
    if left == right == 2:
        return g @ x2.T
    if left == right == 1:
        return g * x2
    if right == 1:
        return np.expand_dims(g, -1) * x2
    if left == 1:
        return np.squeeze(x2 @ np.expand_dims(g, -1), -1)
    return g @ _turned(x2)


def _matmul_right(g: Any, y: Any, x1: Any, x2: Any) -> Any:
    left, right = x1.ndim, x2.ndim
    if left == right == 2:
        return x1.T @ g
    if left == right == 1:
        return g * x1
    if left == 1:
        return np.expand_dims(x1, -1) * np.expand_dims(g, -2)
    if right == 1:
        return np.squeeze(_turned(x1) @ np.expand_dims(g, -1), -1)
    if right == 2:
        # one product instead of a stack of them to be summed
        n = math.prod(x1.shape[:-1])
        return x1.reshape(n, x1.shape[-1]).T @ g.reshape(n, g.shape[-1])
    return _turned(x1) @ g


def _written(x1: Any, x2: Any) -> str:
    """How a program writes it: dot starts in a third of the time, where it can be used."""
    if x1.dtype == x2.dtype and x1.ndim <= 2 and x2.ndim <= 2 and x1.dtype.kind == "f":
        return "{0}.dot({1})" if x1.ndim == x2.ndim == 1 else "{0}.dot({1}, {out})"
    return "matmul({0}, {1}, {out})"


@op(_matmul_left, _matmul_right, ufunc=np.matmul, source=_written, jvp="linear")
def matmul(x1: Any, x2: Any) -> Any:
    """The matrix product of vectors, matrices and stacks of them, as NumPy's ``@``.

    Stacks broadcast; a vector on the left is a row, on the right a column, and
    leaves no axis in the result.

    Examples
    --------
    >>> import tapegrad as tg
    >>> w = np.array([[1.0, 2.0], [3.0, 4.0]])
    >>> tg.grad(lambda w: tg.sum(np.ones((1, 2)) @ w))(w)
    array([[1., 1.],
           [1., 1.]])
    """


def dot(a: Any, b: Any) -> Any:
    """The product of vectors and matrices; with a scalar, the multiple.

    Raises
    ------
    TypeError
        For stacks of matrices, which `matmul` takes.

    Examples
    --------
    >>> import tapegrad as tg
    >>> tg.grad(lambda x: tg.dot(x, x))(np.array([1.0, 2.0]))
    array([2., 4.])
    """
    n_axes = np.ndim(a), np.ndim(b)
    if 0 in n_axes:
        return multiply(a, b)
    if max(n_axes) > 2:
        raise TypeError(f"dot takes vectors and matrices, not {n_axes} axes; matmul takes stacks")
    return matmul(a, b)


NUMPY[np.dot] = dot
