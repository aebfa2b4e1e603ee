"""Polynomials, given by their coefficients from the highest power down."""

from __future__ import annotations

import numpy as np

from tapegrad.declare import function
from tapegrad.functions.creation import array
from tapegrad.functions.matrices import lstsq
from tapegrad.ops.axes import as_integer
from tapegrad.ops.casting import as_floating, real_of, squared_modulus_by_ops, values_if_known
from tapegrad.ops.decompositions import eigvals
from tapegrad.types import Array, ArrayLike

__all__ = ["poly", "polyadd", "polyder", "polydiv", "polyfit", "polyint", "polymul", "polysub"]
__all__ += ["polyval", "roots", "vander"]


@function(numpy=np.polyval, complex=True)
def polyval(p: ArrayLike, x: ArrayLike) -> Array:
    """``p[0] * x**n + ... + p[n - 1] * x + p[n]``, by Horner's rule.

    Parameters
    ----------
    p
        The coefficients: an array with one axis, or a list.
    x
        An array.

    Examples
    --------
    >>> import tapegrad as tg
    >>> tg.polyval(np.array([1.0, 0.0, 2.0]), 3.0)
    np.float64(11.0)
    >>> tg.grad(tg.polyval, argnums=(0, 1))(np.array([1.0, 0.0, 2.0]), 3.0)
    (array([9., 3., 1.]), array(6.))
    """
    p, x = array(p), array(x)
    y = np.zeros(x.shape, x.dtype)
    for coefficient in p:
        y = y * x + coefficient
    return y


@function(numpy=np.roots, kink="as `eigvals`", complex=True)
def roots(p: ArrayLike) -> Array:
    """The roots of a polynomial: the eigenvalues of its companion matrix.

    Parameters
    ----------
    p
        The coefficients from the highest power down. Real coefficients give a real array if all
        roots are real. Leading zeros are dropped, and trailing zeros are roots at 0; inside
        `compile` the first and the last coefficient must not be 0.

    Raises
    ------
    TypeError
        In a compiled program, if real coefficients have complex roots.
    ValueError
        If the array is not one-dimensional.

    Examples
    --------
    >>> import tapegrad as tg
    >>> tg.roots(np.array([1.0, -3.0, 2.0]))
    array([2., 1.])
    >>> tg.grad(lambda p: tg.roots(p)[0])(np.array([1.0, -3.0, 2.0]))
    array([-4., -2., -1.])
    """
    p = as_floating(array(p), complex=True)
    if p.ndim != 1:
        raise ValueError(f"roots takes coefficients along one axis, not {p.ndim}")
    n_zeros = 0
    values = values_if_known(p)
    if values is not None:
        nonzero = np.flatnonzero(values)
        if not nonzero.size:
            return real_of(p[:0]).astype(float)
        n_zeros = p.shape[0] - int(nonzero[-1]) - 1
        p = p[int(nonzero[0]) : int(nonzero[-1]) + 1]
    n = p.shape[0] - 1
    # NumPy's dtype if there are none
    eigenvalues = real_of(p[:0]).astype(float)
    if n > 0:
        first_row = np.expand_dims(-p[1:] / p[0], 0)
        eigenvalues = eigvals(np.concatenate([first_row, np.eye(n, k=-1, dtype=p.dtype)[1:]]))
    if not n_zeros:
        return eigenvalues
    return np.concatenate([eigenvalues, np.zeros(n_zeros, eigenvalues.dtype)])


def _pad_to_same_length(a1: ArrayLike, a2: ArrayLike) -> tuple[Array, Array]:
    """Return the coefficients of two polynomials, the shorter with leading zeros."""
    a1, a2 = np.atleast_1d(array(a1)), np.atleast_1d(array(a2))
    n = max(a1.shape[0], a2.shape[0])
    zeros = [np.zeros(n - a.shape[0], a.dtype) for a in (a1, a2)]
    return np.concatenate([zeros[0], a1]), np.concatenate([zeros[1], a2])


@function(numpy=np.polyadd, complex=True)
def polyadd(a1: ArrayLike, a2: ArrayLike) -> Array:
    """The coefficients of the sum of two polynomials.

    Examples
    --------
    >>> import tapegrad as tg
    >>> tg.polyadd(np.array([1.0, 2.0]), np.array([3.0, 0.0, 1.0]))
    array([3., 1., 3.])
    """
    a1, a2 = _pad_to_same_length(a1, a2)
    return a1 + a2


@function(numpy=np.polysub, complex=True)
def polysub(a1: ArrayLike, a2: ArrayLike) -> Array:
    """The coefficients of the difference of two polynomials.

    Examples
    --------
    >>> import tapegrad as tg
    >>> tg.polysub(np.array([1.0, 2.0]), np.array([3.0, 0.0, 1.0]))
    array([-3.,  1.,  1.])
    """
    a1, a2 = _pad_to_same_length(a1, a2)
    return a1 - a2


@function(numpy=np.polymul, complex=True)
def polymul(a1: ArrayLike, a2: ArrayLike) -> Array:
    """The coefficients of the product of two polynomials.

    Unlike NumPy, it keeps leading zeros, so that no shape depends on values.

    Examples
    --------
    >>> import tapegrad as tg
    >>> tg.polymul(np.array([1.0, 2.0]), np.array([1.0, -2.0]))
    array([ 1.,  0., -4.])
    """
    return np.convolve(np.atleast_1d(array(a1)), np.atleast_1d(array(a2)))


@function(numpy=np.polydiv, complex=True)
def polydiv(u: ArrayLike, v: ArrayLike) -> tuple[Array, Array]:
    """The quotient and the remainder of two polynomials.

    Parameters
    ----------
    u, v
        The coefficients; the first one of `v` must not be 0.

    Returns
    -------
    q, r
        Unlike NumPy, the remainder keeps leading zeros, so that no shape depends on values: it has
        one coefficient less than `v`, and at least one.

    Examples
    --------
    >>> import tapegrad as tg
    >>> tg.polydiv(np.array([3.0, 5.0, 2.0]), np.array([2.0, 1.0]))
    (array([1.5 , 1.75]), array([0.25]))
    """
    u, v = (_to_vector("polydiv", np.atleast_1d(array(p))) for p in (u, v))
    u, v = as_floating(u, complex=True), as_floating(v, complex=True)
    n, m = len(v), len(u) - len(v) + 1
    quotient, scale = [], 1 / v[0]
    for i in range(m):
        quotient.append(scale * u[i])
        u = np.concatenate([u[: i + 1], u[i + 1 : i + n] - quotient[i] * v[1:], u[i + n :]])
    dtype = np.result_type(u, v)
    q = np.stack(quotient) if quotient else np.zeros(1, dtype)
    # nan where v is 0
    r = u[m:] if n > 1 else q[-1:] * 0
    return q, (r if m > 0 else u).astype(dtype)


@function(numpy=np.poly, complex=True)
def poly(seq_of_zeros: ArrayLike) -> Array:
    """The coefficients of the polynomial with these roots, or with a matrix's eigenvalues.

    Parameters
    ----------
    seq_of_zeros
        An array with one axis, or a square matrix. A real matrix gives real coefficients.
        Complex roots give complex coefficients, in conjugate pairs too, since no dtype depends on
        values; NumPy's are real there.

    Raises
    ------
    ValueError
        For an array of another shape.

    Examples
    --------
    >>> import tapegrad as tg
    >>> tg.poly(np.array([1.0, 2.0]))
    array([ 1., -3.,  2.])
    >>> tg.grad(lambda x: tg.poly(x)[2])(np.array([1.0, 2.0]))
    array([2., 1.])
    """
    zeros = as_floating(array(seq_of_zeros), complex=True)
    # NumPy computes float16 in float64
    zeros = zeros.astype(float) if zeros.dtype == np.float16 else zeros
    is_real = False
    if zeros.ndim == 2 and zeros.shape[0] == zeros.shape[1] > 0:
        # the eigenvalues of a real matrix come in conjugate pairs
        is_real = zeros.dtype.kind == "f"
        zeros = eigvals(zeros)
    zeros = _to_vector("poly", zeros)
    y = np.ones(1, zeros.dtype)
    for i in range(len(zeros)):
        y = np.convolve(y, np.stack([np.ones((), y.dtype), -zeros[i]]))
    return real_of(y) if is_real else y


@function(numpy=np.vander, complex=True)
def vander(x: ArrayLike, N: int | None = None, increasing: bool = False) -> Array:  # noqa: N803
    """The powers of the elements, one column for each power.

    Parameters
    ----------
    x
        An array with one axis.
    N
        The number of columns; None for the number of rows.
    increasing
        Whether the powers increase from 0 instead of decreasing to it.

    Raises
    ------
    ValueError
        If x does not have one axis, or the number of columns is negative.

    Examples
    --------
    >>> import tapegrad as tg
    >>> tg.vander(np.array([2.0, 3.0]), 3)
    array([[4., 2., 1.],
           [9., 3., 1.]])
    """
    x = array(x)
    if x.ndim != 1:
        raise ValueError(f"vander takes an array with one axis, not {x.ndim}")
    n = len(x) if N is None else as_integer("vander: N", N)
    if n < 0:
        raise ValueError(f"vander must have 0 columns or more, not {n}")
    powers = np.arange(n)
    return x[:, None] ** (powers if increasing else powers[::-1])


def _to_vector(name: str, p: ArrayLike) -> Array:
    """Return coefficients or roots as an array, which must have one axis."""
    p = array(p)
    if p.ndim != 1:
        # NumPy's error for an array without an axis
        error = ValueError if p.ndim else TypeError
        raise error(f"{name} takes an array with one axis, not of shape {p.shape}")
    return p


@function(numpy=np.polyder, complex=True)
def polyder(p: ArrayLike, m: int = 1) -> Array:
    """The coefficients of the m-th derivative of a polynomial.

    Examples
    --------
    >>> import tapegrad as tg
    >>> tg.polyder(np.array([1.0, 4.0, 5.0]))
    array([2., 4.])
    """
    if m < 0:
        raise ValueError(f"polyder takes a derivative of order 0 or more, not {m}")
    p = _to_vector("polyder", p)
    for _ in range(m):
        p = p[:-1] * np.arange(len(p) - 1, 0, -1)
    return p


@function(numpy=np.polyint, complex=True)
def polyint(p: ArrayLike, m: int = 1) -> Array:
    """The coefficients of the m-th integral of a polynomial, which is 0 at 0.

    Examples
    --------
    >>> import tapegrad as tg
    >>> tg.polyint(np.array([2.0, 4.0]))
    array([1., 4., 0.])
    """
    if m < 0:
        raise ValueError(f"polyint takes an integral of order 0 or more, not {m}")
    p = _to_vector("polyint", p)
    for _ in range(m):
        p = np.concatenate([p / np.arange(len(p), 0, -1), np.zeros(1, p.dtype)])
    return p


@function(numpy=np.polyfit, complex=True)
def polyfit(x: ArrayLike, y: ArrayLike, deg: int) -> Array:
    """The coefficients of the polynomial that fits best by least squares.

    Parameters
    ----------
    x
        The points: an array with one axis.
    y
        The values at the points, a vector or one column for each fit.
    deg
        The degree of the polynomial.

    Raises
    ------
    ValueError
        If the shapes of x and y do not match, or the degree is negative.

    Examples
    --------
    >>> import tapegrad as tg
    >>> tg.polyfit(np.array([0.0, 1.0, 2.0]), np.array([1.0, 3.0, 5.0]), 1).round(12)
    array([2., 1.])
    """
    x, y = as_floating(x, complex=True), as_floating(y, complex=True)
    if x.ndim != 1 or y.ndim not in (1, 2) or x.shape != y.shape[:1] or deg < 0 or not x.size:
        raise ValueError(
            "polyfit takes x with one axis, not empty, y as long, and a degree from 0; got shapes "
            f"{x.shape} and {y.shape}, and deg={deg}"
        )
    columns = vander(x, deg + 1)
    # the fit is most accurate if the columns are similar in size
    column_norms = np.sqrt(np.sum(squared_modulus_by_ops(columns), axis=0))
    fit = lstsq(columns / column_norms, y)[0]
    return (fit.T / column_norms).T
