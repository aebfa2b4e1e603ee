"""Real eigenvalues and eigenvectors of matrices that need not be symmetric."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from tapegrad.declare import op
from tapegrad.declare.batching import stacked
from tapegrad.declare.domain import matrices
from tapegrad.ops.decomposition import apart, joined, on_diagonal
from tapegrad.ops.inverse import solve
from tapegrad.ops.product import turned

__all__ = ["eigvals"]


class EigResult(NamedTuple):
    """The results of `eig` for matrices of shape (..., n, n).

    Attributes
    ----------
    eigenvalues
        Of shape (..., n), in LAPACK's order.
    eigenvectors
        Of shape (..., n, n), each a column of length 1.
    """

    eigenvalues: Any
    eigenvectors: Any


def _real(x: Any) -> Any:
    """LAPACK's result, if it is real.

    Raises
    ------
    TypeError
        If it is complex.
    """
    if x.dtype.kind != "c":
        return x
    # some versions of NumPy always return complex numbers
    if np.any(x.imag):
        raise TypeError(
            "the matrix has complex eigenvalues, which are not supported; for a symmetric matrix "
            "take eigh or eigvalsh, else declare what you need with tg.custom_op"
        )
    return x.real


def _turned_back(inner: Any, vt: Any) -> Any:
    """A cotangent in the basis of the eigenvectors, the rows of `vt`, as one of the matrix."""
    return solve(vt, inner @ vt)


def _eigvals_vjp(g: Any, y: Any, a: Any) -> Any:
    # not NumPy's own eig, whose vectors are complex from 2.5 on
    _, vt = apart(eig_joined(a), 1, a.shape[-1])
    return _turned_back(np.where(on_diagonal(a), np.expand_dims(g, -1), 0), vt)


@op(
    _eigvals_vjp,
    numpy=np.linalg.eigvals,
    domain=matrices(),
    kink="equal ones: by the vectors that LAPACK takes",
    batch=stacked,
)
def eigvals(a: Any) -> Any:
    """The eigenvalues of a square matrix, which must all be real, in LAPACK's order.

    Parameters
    ----------
    a
        A square matrix, or a stack of them.

    Raises
    ------
    TypeError
        If eigenvalues are complex.

    Examples
    --------
    >>> import tapegrad as tg
    >>> a = np.array([[2.0, 1.0], [0.0, 1.0]])
    >>> tg.eigvals(a)
    array([2., 1.])
    >>> tg.grad(lambda a: tg.eigvals(a)[0])(a)
    array([[1., 0.],
           [1., 0.]])
    """
    return _real(np.linalg.eigvals(a))


def _eig_vjp(g: Any, y: Any, a: Any) -> Any:
    n = a.shape[-1]
    (w, vt), (gw, gvt) = apart(y, 1, n), apart(g, 1, n)
    # a vector keeps its length
    gvt = gvt - vt * np.sum(vt * gvt, axis=-1, keepdims=True)
    gaps = turned(w) - w + np.eye(n, dtype=w.dtype)
    return _turned_back(np.where(on_diagonal(gaps), gw, vt @ turned(gvt) / gaps), vt)


@op(_eig_vjp, domain=matrices(), batch=stacked)
def eig_joined(a: Any) -> Any:
    """The two results of `eig`: each row has an eigenvalue, then its vector."""
    w, v = map(_real, np.linalg.eig(a))
    return joined(w[..., None], turned(v))
