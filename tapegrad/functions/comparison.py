"""Comparison of whole arrays, and tests for real and complex elements."""

from __future__ import annotations

import numpy as np

from tapegrad.core.forward import Tangents
from tapegrad.core.primitive import Primitive
from tapegrad.declare import function, op
from tapegrad.declare.batching import batch_elementwise
from tapegrad.ops.casting import asarray, read_values, safe_divide, to_array
from tapegrad.ops.logic import isclose
from tapegrad.ops.reduction import all
from tapegrad.types import Array, ArrayLike, Cotangent

__all__ = ["allclose", "angle", "array_equal", "array_equiv", "iscomplex", "isreal"]
__all__ += ["real_if_close"]


@function(numpy=np.allclose, complex=True)
def allclose(
    a: ArrayLike,
    b: ArrayLike,
    rtol: ArrayLike = 1e-5,
    atol: ArrayLike = 1e-8,
    equal_nan: bool = False,
) -> Array:
    """Whether `isclose` holds for all elements. It passes no gradient.

    Examples
    --------
    >>> import tapegrad as tg
    >>> bool(tg.allclose(np.array([1.0, 2.0]), [1.0, 2.0 + 1e-9]))
    True
    """
    return all(isclose(a, b, rtol, atol, equal_nan))


@function(numpy=np.array_equal, complex=True)
def array_equal(a1: ArrayLike, a2: ArrayLike, equal_nan: bool = False) -> Array | bool:
    """Whether arrays have one shape and the same elements. It passes no gradient.

    If the shapes differ, the result is a plain False, and nothing is recorded.

    Parameters
    ----------
    a1, a2
        Arrays.
    equal_nan
        Whether nan equals nan.

    Examples
    --------
    >>> import tapegrad as tg
    >>> bool(tg.array_equal(np.array([1.0, 2.0]), [1.0, 2.0])), tg.array_equal(np.ones(2), 1.0)
    (True, False)
    """
    a1, a2 = to_array(a1), to_array(a2)
    if a1.shape != a2.shape:
        return False
    same = np.equal(a1, a2)
    if equal_nan:
        same = same | (np.not_equal(a1, a1) & np.not_equal(a2, a2))
    return all(same)


@function(numpy=np.array_equiv, complex=True)
def array_equiv(a1: ArrayLike, a2: ArrayLike) -> Array | bool:
    """Whether arrays that broadcast have the same elements. It passes no gradient.

    Examples
    --------
    >>> import tapegrad as tg
    >>> bool(tg.array_equiv(np.ones(2), 1.0)), tg.array_equiv(np.ones(2), np.ones(3))
    (True, False)
    """
    a1, a2 = to_array(a1), to_array(a2)
    try:
        np.broadcast_shapes(a1.shape, a2.shape)
    except ValueError:
        return False
    return all(np.equal(a1, a2))


@op(None, numpy=np.isreal, batch=batch_elementwise, complex=True)
def isreal(x: ArrayLike) -> Array:
    """Whether the imaginary part of each element is 0.

    Examples
    --------
    >>> import tapegrad as tg
    >>> tg.isreal(np.ones(2))
    array([ True,  True])
    """
    return np.isreal(np.asarray(x))


@op(None, numpy=np.iscomplex, batch=batch_elementwise, complex=True)
def iscomplex(x: ArrayLike) -> Array:
    """Whether the imaginary part of each element is not 0.

    Examples
    --------
    >>> import tapegrad as tg
    >>> tg.iscomplex(np.ones(2))
    array([False, False])
    """
    return np.iscomplex(np.asarray(x))


@function(numpy=np.real_if_close, complex=True)
def real_if_close(a: ArrayLike, tol: float = 100) -> Array:
    """The real parts of complex numbers whose imaginary parts are all rounding errors.

    Otherwise, and for real numbers, the values are unchanged.

    Parameters
    ----------
    a
        An array.
    tol
        The largest error, in machine epsilons of the dtype if above 1.

    Raises
    ------
    TraceError
        For complex numbers in a compiled function, since the result's dtype depends on values.

    Examples
    --------
    >>> import tapegrad as tg
    >>> tg.grad(lambda x: tg.sum(tg.real_if_close(x)))(np.ones(2))
    array([1., 1.])
    """
    a = to_array(a)
    if a.dtype.kind != "c":
        return np.real(asarray(a))
    values = read_values(a, "real_if_close of")
    limit = tol * np.finfo(a.dtype).eps if tol > 1 else tol
    return np.real(a) if np.all(np.abs(values.imag) < limit) else a


def _divide_scaled(x: Array, z: Array, deg: bool) -> Array:
    """Return ``x / z`` in radians or degrees, and 0 where z is 0; a part may overflow alone."""
    limits = np.finfo(z.dtype)
    # NumPy multiplies by the reciprocal, which is infinite for a subnormal complex number
    scale = np.where(np.less(np.abs(z), 4 * limits.tiny), 1 / np.sqrt(limits.tiny), 1)
    quotient = safe_divide(x, z * scale) * scale
    return quotient * (180 / np.pi) if deg else quotient


def _angle_slope(g: Cotangent, y: Array, z: Array, deg: bool = False) -> Cotangent:
    return _divide_scaled(g * -1j, z, deg)


def _angle_tangent(
    op: Primitive, tangents: Tangents, y: Array, z: Array, deg: bool = False
) -> Array:
    return np.imag(_divide_scaled(tangents[0], z, deg))


@op(None, numpy=np.angle, jvp=_angle_tangent, batch=batch_elementwise, complex=(_angle_slope,))
def angle(z: ArrayLike, deg: bool = False) -> Array:
    """The angle of complex numbers in the plane, from -pi to pi. Its slope at 0 is 0.

    For real numbers it is pi if they are negative, otherwise 0, and it passes no gradient.

    Parameters
    ----------
    z
        An array.
    deg
        Whether the result is in degrees.

    Examples
    --------
    >>> import tapegrad as tg
    >>> tg.angle(np.array([2.0, -2.0]), deg=True)
    array([  0., 180.])
    """
    return np.angle(np.asarray(z), deg)
