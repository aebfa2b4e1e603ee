"""Splines through data, as in `scipy.interpolate`.

A spline is linear in its data, so it is a combination of SciPy's splines of the unit vectors. One
that keeps the shape of its data is linear in them and in its slopes at the knots.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, ClassVar

import attrs
import numpy as np
from scipy import interpolate as _scipy

from tapegrad import tree
from tapegrad.core.forward import apply
from tapegrad.core.tensor import Tensor, primals
from tapegrad.declare import op
from tapegrad.ops.casting import as_floating
from tapegrad.ops.scan import diff_along_axis, lay_along_axis

__all__ = ["Akima1DInterpolator", "BSpline", "CubicSpline", "PchipInterpolator", "Pieces"]
__all__ += ["Spline", "check_no_tensor", "content_key", "make_interp_spline"]
__dir__ = __all__.copy


@attrs.frozen(repr=False)
class Pieces:
    """The static part of a spline: all but its data, which pass a gradient.

    Attributes
    ----------
    make
        The function from data to SciPy's spline.
    key
        All that `make` depends on.
    basis
        The splines of the unit vectors, and the spline of zeros, which boundary values may bend.
    n
        The length of the data.
    axis
        The axis of the data.
    extrapolate
        The attribute of SciPy's splines.
    slopes
        The slopes at the knots, as a function of the data; None if these make a spline alone.
    """

    __tree_static__: ClassVar[bool] = True
    __unsaved__: ClassVar[str] = (
        "call the spline outside of the function, and pass its values to the program"
    )

    make: Callable[[Any], Any] = attrs.field(eq=False)
    key: tuple[Any, ...]
    basis: Any = attrs.field(eq=False)
    n: int = attrs.field(eq=False)
    axis: int = attrs.field(eq=False)
    extrapolate: Any = attrs.field(eq=False)
    slopes: Callable[[Any], Any] | None = attrs.field(default=None, eq=False)

    def __repr__(self) -> str:
        return f"{self.key[0]} through {self.n} points"

    def derive(self, name: str, nu: int) -> Pieces:
        """The pieces of a derivative or an antiderivative."""
        make = self.make
        return attrs.evolve(
            self,
            make=lambda y: getattr(make(y), name)(nu),
            key=(*self.key, name, nu),
            basis=getattr(self.basis, name)(nu),
        )


def _basis_batch(op: Any, batched: Any, at: Any, **options: Any) -> Any:
    return apply(op, (at,), options)


def _basis_vjp(g: Any, y: Any, at: Any, pieces: Pieces, nu: int, extrapolate: Any) -> Any:
    return np.sum(g * _basis_at(at, pieces, nu + 1, extrapolate), axis=-1)


@op(
    _basis_vjp,
    name="spline_basis",
    scipy="",
    batch=_basis_batch,
)
def _basis_at(at: Any, pieces: Pieces, nu: int, extrapolate: Any) -> Any:
    """The splines of the unit vectors at some points, along a last axis; 0 where they are nan."""
    # of a B-spline, older versions of SciPy abort at an order above the degree
    degree = getattr(pieces.basis, "k", nu)
    basis = pieces.basis(np.where(np.isfinite(at), at, np.nan), min(nu, degree), extrapolate)
    return np.where(np.isnan(basis) | (nu > degree), 0.0, basis)


@attrs.frozen(eq=False, repr=False)
class Spline:
    """A spline through data: a tree whose leaf is the data.

    It is made by `CubicSpline` and other functions, and called with the points to evaluate at.

    Attributes
    ----------
    y
        The data.

    Examples
    --------
    >>> import tapegrad as tg
    >>> from tapegrad.scipy.interpolate import CubicSpline
    >>> spline = CubicSpline([0.0, 1.0, 2.0, 3.0], np.array([0.0, 1.0, 8.0, 27.0]))
    >>> spline(1.5), spline(1.5, 1), spline.derivative()(1.5)
    (array(3.375), array(6.75), array(6.75))
    >>> tg.tree.paths(spline)
    ['y']
    """

    y: Any
    pieces: Pieces

    def __repr__(self) -> str:
        return f"<{self.pieces!r}>"

    @property
    def axis(self) -> int:
        """The axis of the data."""
        return self.pieces.axis

    @property
    def extrapolate(self) -> Any:
        """Whether the spline continues beyond its ends, or ``"periodic"``."""
        return self.pieces.extrapolate

    def __call__(self, x: Any, nu: int = 0, extrapolate: Any = None) -> Any:
        """The spline at some points, or a derivative of it.

        Parameters
        ----------
        x
            The points, of any shape, which replaces the data's axis. On Tensors one that is not
            finite gives nan.
        nu
            The order of the derivative.
        extrapolate
            Whether the spline continues beyond its ends, ``"periodic"``, or False for nan there; by
            default the attribute `extrapolate`.
        """
        pieces = self.pieces
        if not any(type(z) is Tensor for z in (x, self.y)):
            return pieces.make(self.y)(x, nu, extrapolate)
        check_no_tensor("nu", nu)
        check_no_tensor("extrapolate", extrapolate)
        if nu < 0:
            raise ValueError(f"a derivative must be 0 or more, not {nu}")
        extrapolate = pieces.extrapolate if extrapolate is None else extrapolate
        at, y = as_floating(x), np.moveaxis(as_floating(self.y, complex=True), pieces.axis, 0)
        basis, shape = _basis_at(at.astype(float), pieces, nu, extrapolate), y.shape[1:]
        y = y if pieces.slopes is None else np.concatenate([y, pieces.slopes(y)])
        n = len(y)
        values = basis[..., :n] @ np.reshape(y, (n, -1)) + basis[..., n:]
        is_inside = np.isfinite(at)
        if not extrapolate:
            low, high = _ends(pieces.basis)
            is_inside = is_inside & (at >= low) & (at <= high)
        values = np.where(np.expand_dims(is_inside, -1), values, np.nan)
        values = np.reshape(values, (*at.shape, *shape))
        order = [*range(at.ndim, at.ndim + pieces.axis), *range(at.ndim)]
        order += range(at.ndim + pieces.axis, values.ndim)
        return np.transpose(values, order)

    def derivative(self, nu: int = 1) -> Spline:
        """The derivative of this order, a spline of the same data."""
        return attrs.evolve(self, pieces=self.pieces.derive("derivative", nu))

    def antiderivative(self, nu: int = 1) -> Spline:
        """The antiderivative that is 0 at the first breakpoint, a spline of the same data."""
        return attrs.evolve(self, pieces=self.pieces.derive("antiderivative", nu))


def check_no_tensor(name: str, *options: Any) -> None:
    if any(type(x) is Tensor for x in tree.leaves(options)):
        raise NotImplementedError(
            f"a spline has no derivative by {name} here, and a Tensor was given; pass its value "
            "(t.value), or, where it is an argument, list it in static_argnums"
        )


def _make_spline(
    name: str,
    y: Any,
    axis: int,
    places: dict[str, Any],
    options: dict[str, Any],
    slopes: Any = None,
) -> Spline:
    """A spline from SciPy's function of a name.

    Parameters
    ----------
    name, y, axis
        The name of the function, the data and their axis.
    places
        The arguments without a gradient, by their names in messages.
    options
        The other arguments, by SciPy's names.
    slopes
        The slopes at the knots, as a function of these and of the data along axis 0; None if the
        data make a spline alone.
    """
    for place, x in places.items():
        check_no_tensor(place, x)
    bc_type = options.get("bc_type")
    check_no_tensor("bc_type", bc_type)
    fixed = {place[-1]: None if x is None else np.array(x) for place, x in places.items()}
    key = name, *map(content_key, (*fixed.values(), *options.values()))
    of = {**options, **fixed}
    data = "c" if name == "BSpline" else "y"

    def make(y: Any, axis: int, **more: Any) -> Any:
        return getattr(_scipy, name)(**{**of, data: y, "axis": axis, **more})

    y = as_floating(y, complex=True)
    (primal,) = primals((y,))
    is_known = type(y) is not Tensor or not y.origin.compiling
    # SciPy checks the arguments, by shapes alone if values are unknown
    theirs = make(primal if is_known else np.zeros(y.shape, y.dtype), axis)
    axis = axis % y.ndim
    n = y.shape[axis]
    units: Any = np.eye(n)
    if bc_type == "periodic":
        # the last number of the data is not read, since it equals the first
        units[-1], units[:, -1] = units[0], 0.0
    if slopes is not None:
        slopes = partial(slopes, theirs.x)
        units = _scipy.CubicHermiteSpline(theirs.x, *np.split(np.eye(2 * n), 2))
    elif bc_type is None:
        units = make(units, 0)
    else:
        units = make(units, 0, bc_type=_zero_values(bc_type, n))
    rest = make(np.zeros((n, *y.shape[:axis], *y.shape[axis + 1 :])), 0)
    c = [np.reshape(z.c, (*_leading_shape(z), -1)) for z in (units, rest)]
    together: Any = np.concatenate(c, axis=-1)
    if isinstance(units, _scipy.PPoly):
        basis = _scipy.PPoly(together, units.x, theirs.extrapolate)
    else:
        basis = _scipy.BSpline(units.t, together, units.k, theirs.extrapolate)
    key = (*key, axis, theirs.extrapolate, y.shape[:axis], y.shape[axis + 1 :])
    of_data = lambda y: make(y, axis)  # noqa: E731
    return Spline(y, Pieces(of_data, key, basis, n, axis, theirs.extrapolate, slopes))


def _leading_shape(spline: Any) -> tuple[int, ...]:
    """The axes of a spline's coefficients that are not of the data."""
    return spline.c.shape[: 2 if isinstance(spline, _scipy.PPoly) else 1]


def _ends(spline: Any) -> tuple[float, float]:
    """The ends of a spline."""
    if isinstance(spline, _scipy.PPoly):
        return spline.x[0], spline.x[-1]
    return spline.t[spline.k], spline.t[-spline.k - 1]


def content_key(x: Any) -> Any:
    """A key that differs between arguments."""
    if isinstance(x, list | tuple):
        return tuple(map(content_key, x))
    return x if x is None or isinstance(x, str) else (np.shape(x), np.asarray(x).tobytes())


def _zero_values(bc_type: Any, n: int) -> Any:
    """Conditions at the ends, with 0 in place of their values, for n splines."""
    if not isinstance(bc_type, list | tuple):
        return bc_type
    if len(bc_type) == 2 and isinstance(bc_type[0], int | np.integer):
        return (bc_type[0], np.zeros(n))
    return tuple([_zero_values(x, n) for x in bc_type])


def CubicSpline(
    x: Any, y: Any, axis: int = 0, bc_type: Any = "not-a-knot", extrapolate: Any = None
) -> Spline:
    """`scipy.interpolate.CubicSpline`, with derivatives by the data and by the points.

    Parameters
    ----------
    x
        The knots, increasing. They have no gradient: a Tensor is refused.
    y
        The data, real or complex; the leaf of the spline.
    axis
        The axis of `y` that goes with the knots.
    bc_type
        The conditions at the ends, as SciPy takes them: ``"not-a-knot"``, ``"natural"``,
        ``"clamped"``, ``"periodic"``, or a pair with one of these or ``(order, value)`` for each.
    extrapolate
        True, False for nan, or ``"periodic"``; see SciPy.

    Returns
    -------
    A `Spline`, called with points and the order of a derivative.

    Raises
    ------
    NotImplementedError
        For knots that are Tensors.
    ValueError
        As SciPy does.

    Notes
    -----
    On Tensors a spline is a product of the data and a matrix with a row for each point, so time
    and memory grow with the number of knots times the number of points. For periodic data, whose
    first and last numbers are equal, the gradient is in the first.

    Examples
    --------
    >>> import tapegrad as tg
    >>> from tapegrad.scipy.interpolate import CubicSpline
    >>> knots, y = np.arange(4.0), np.array([0.0, 1.0, 8.0, 27.0])
    >>> round(float(tg.grad(lambda x: CubicSpline(knots, y)(x))(1.5)), 12)
    6.75
    >>> tg.grad(lambda y: CubicSpline(knots, y)(1.5))(y).round(12)
    array([-0.0625,  0.5625,  0.5625, -0.0625])
    """
    options = {"bc_type": bc_type, "extrapolate": extrapolate}
    return _make_spline("CubicSpline", y, axis, {"the knots x": x}, options)


def make_interp_spline(
    x: Any,
    y: Any,
    k: int = 3,
    t: Any = None,
    bc_type: Any = None,
    axis: int = 0,
    check_finite: bool = True,
) -> Spline:
    """`scipy.interpolate.make_interp_spline`, with derivatives by the data and by the points.

    Parameters
    ----------
    x
        The positions of the data, increasing. They have no gradient: a Tensor is refused.
    y
        The data, real or complex; the leaf of the spline.
    k
        The degree.
    t
        The knots; by default as SciPy chooses them. They have no gradient.
    bc_type
        The conditions at the ends, as SciPy takes them.
    axis
        The axis of `y` that goes with the positions.
    check_finite
        Whether infinities and nan are refused.

    Returns
    -------
    A `Spline`, called with points and the order of a derivative.

    Raises
    ------
    NotImplementedError
        For positions of the data, or knots, that are Tensors.
    ValueError
        As SciPy does.

    Notes
    -----
    As for `CubicSpline`, time and memory grow with the number of data times the number of points.
    For periodic data, whose first and last numbers are equal, the gradient is in the first.

    Examples
    --------
    >>> import tapegrad as tg
    >>> from tapegrad.scipy.interpolate import make_interp_spline
    >>> spline = make_interp_spline([0.0, 1.0, 2.0], np.array([0.0, 1.0, 4.0]), k=2)
    >>> tg.grad(lambda s: s(0.5))(spline).y.round(12)
    array([ 0.375,  0.75 , -0.125])
    """
    places = {"the places x": x, "the knots t": t}
    options = {"k": k, "bc_type": bc_type, "check_finite": check_finite}
    return _make_spline("make_interp_spline", y, axis, places, options)


def BSpline(t: Any, c: Any, k: int, extrapolate: Any = True, axis: int = 0) -> Spline:
    """`scipy.interpolate.BSpline`, with derivatives by the coefficients and by the points.

    Parameters
    ----------
    t
        The knots. They have no gradient: a Tensor is refused.
    c
        The coefficients, real or complex; the leaf of the spline.
    k
        The degree.
    extrapolate
        True, False for nan, or ``"periodic"``; see SciPy.
    axis
        The axis of `c` that goes with the knots.

    Returns
    -------
    A `Spline`, called with points and the order of a derivative.

    Raises
    ------
    NotImplementedError
        For knots that are Tensors.
    ValueError
        As SciPy does.

    Examples
    --------
    >>> import tapegrad as tg
    >>> from tapegrad.scipy.interpolate import BSpline
    >>> tg.grad(lambda c: BSpline([0.0, 0.0, 1.0, 2.0, 2.0], c, 1)(0.25))(np.ones(3))
    array([0.75, 0.25, 0.  ])
    """
    return _make_spline(
        "BSpline", c, axis, {"the knots t": t}, {"k": k, "extrapolate": extrapolate}
    )


# --- splines that keep the shape of their data ------------------------------------------------


def PchipInterpolator(x: Any, y: Any, axis: int = 0, extrapolate: Any = None) -> Spline:
    """`scipy.interpolate.PchipInterpolator`, a cubic spline that is monotonic where its data are.

    Parameters
    ----------
    x
        The knots, increasing. They have no gradient: a Tensor is refused.
    y
        The data; the leaf of the spline.
    axis
        The axis of `y` that goes with the knots.
    extrapolate
        Whether the spline continues beyond its ends; True by default.

    Returns
    -------
    A `Spline`, called with points and the order of a derivative.

    Raises
    ------
    NotImplementedError
        For knots that are Tensors.
    ValueError
        As SciPy does.

    Notes
    -----
    The slope at a knot is 0 where the data have a peak or are flat on one side, and so is its
    derivative by the data. Where it is limited at an end, its derivative is that of the limit.

    Examples
    --------
    >>> import tapegrad as tg
    >>> from tapegrad.scipy.interpolate import PchipInterpolator
    >>> knots, y = np.arange(4.0), np.array([0.0, 1.0, 1.0, 0.0])
    >>> tg.grad(lambda y: PchipInterpolator(knots, y)(1.5))(y)
    array([0. , 0.5, 0.5, 0. ])
    """
    options = {"extrapolate": extrapolate}
    return _make_spline("PchipInterpolator", y, axis, {"the knots x": x}, options, _pchip_slopes)


def _pchip_slopes(x: Any, y: Any) -> Any:
    """The slopes at the knots: harmonic means of those beside, by the method of Fritsch."""
    h = lay_along_axis(np.diff(x), y, 0)
    m = diff_along_axis(y) / h
    if len(y) == 2:
        return np.concatenate([m, m])
    w0, w1 = 2 * h[1:] + h[:-1], h[1:] + 2 * h[:-1]
    is_monotonic = np.equal(np.sign(m[:-1]), np.sign(m[1:])) & np.not_equal(m[1:], 0)
    m0, m1 = (np.where(is_monotonic, z, 1.0) for z in (m[:-1], m[1:]))
    inside = np.where(is_monotonic, (w0 + w1) / (w0 / m0 + w1 / m1), 0.0)
    return np.concatenate([_end_slope(h[:2], m[:2]), inside, _end_slope(h[:-3:-1], m[:-3:-1])])


def _end_slope(h: Any, m: Any) -> Any:
    """The slope at an end, of a parabola through three points, within limits."""
    h0, h1, m0, m1 = h[:1], h[1:], m[:1], m[1:]
    slope = ((2 * h0 + h1) * m0 - h0 * m1) / (h0 + h1)
    turns = np.not_equal(np.sign(m0), np.sign(m1))
    is_steep = turns & np.greater(np.abs(slope), 3 * np.abs(m0))
    slope = np.where(is_steep, 3 * m0, slope)
    return np.where(np.equal(np.sign(slope), np.sign(m0)), slope, 0.0)


def Akima1DInterpolator(
    x: Any, y: Any, axis: int = 0, *, method: str = "akima", extrapolate: Any = None
) -> Spline:
    """`scipy.interpolate.Akima1DInterpolator`, a cubic spline that hardly overshoots.

    Parameters
    ----------
    x
        The knots, increasing. They have no gradient: a Tensor is refused.
    y
        The data; the leaf of the spline.
    axis
        The axis of `y` that goes with the knots.
    method
        ``"akima"``, or ``"makima"``, which weighs flat parts more.
    extrapolate
        Whether the spline continues beyond its ends; nan there by default.

    Returns
    -------
    A `Spline`, called with points and the order of a derivative.

    Raises
    ------
    NotImplementedError
        For knots that are Tensors, and for other methods.
    ValueError
        As SciPy does.

    Notes
    -----
    The weights are sizes of differences of slopes. Where such a difference is 0, there is a kink,
    and its size has a derivative of 0.

    Examples
    --------
    >>> import tapegrad as tg
    >>> from tapegrad.scipy.interpolate import Akima1DInterpolator
    >>> y = np.array([0.0, 1.0, 3.0, 2.0, 2.0])
    >>> tg.grad(lambda y: Akima1DInterpolator(np.arange(5.0), y)(1.5))(y).round(3)
    array([ 0.023,  0.398,  0.539,  0.133, -0.094])
    """
    slopes = partial(_akima_slopes, method == "makima")
    options = {"method": method, "extrapolate": extrapolate}
    return _make_spline("Akima1DInterpolator", y, axis, {"the knots x": x}, options, slopes)


def _akima_slopes(is_modified: bool, x: Any, y: Any) -> Any:
    """The slopes at the knots: means of those beside, with weights from those beyond."""
    m = diff_along_axis(y) / lay_along_axis(np.diff(x), y, 0)
    if len(y) == 2:
        return np.concatenate([m, m])
    for _ in range(2):
        m = np.concatenate([2 * m[:1] - m[1:2], m, 2 * m[-1:] - m[-2:-1]])
    weights = np.abs(diff_along_axis(m))
    if is_modified:
        weights = weights + 0.5 * np.abs(m[1:] + m[:-1])
    total = weights[2:] + weights[:-2]
    is_defined = np.greater(total, 1e-9 * np.max(total))
    part = weights[:-2] / np.where(is_defined, total, 1.0)
    mixed = m[1:-2] + part * (m[2:-1] - m[1:-2])
    return np.where(is_defined, mixed, 0.5 * (m[3:] + m[:-3]))
