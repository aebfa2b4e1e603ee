"""Splines through data, as in `scipy.interpolate`.

A spline is linear in its data, so it is a combination of SciPy's splines of the unit vectors.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar

import attrs
import numpy as np
from scipy import interpolate as _scipy

from tapegrad import tree
from tapegrad.core.forward import apply
from tapegrad.core.tensor import Tensor, primals
from tapegrad.declare import op
from tapegrad.errors.names import list_names
from tapegrad.ops.casting import floating

__all__ = ["CubicSpline", "Spline", "make_interp_spline"]
list_names(globals())


@attrs.frozen(eq=False, repr=False)
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
    """

    __tree_static__: ClassVar[bool] = True

    make: Callable[[Any], Any]
    key: tuple[Any, ...]
    basis: Any
    n: int
    axis: int
    extrapolate: Any

    def __eq__(self, other: object) -> bool:
        return type(other) is Pieces and self.key == other.key

    def __hash__(self) -> int:
        return hash(self.key)

    def __repr__(self) -> str:
        return f"{self.key[0]} through {self.n} points"

    def changed(self, name: str, nu: int) -> Pieces:
        """The pieces of a derivative or an antiderivative."""
        make = self.make
        return attrs.evolve(
            self,
            make=lambda y: getattr(make(y), name)(nu),
            key=(*self.key, name, nu),
            basis=getattr(self.basis, name)(nu),
        )


def _place_batch(op: Any, batched: Any, at: Any, **options: Any) -> Any:
    return apply(op, (at,), options)


def _by_place(g: Any, y: Any, at: Any, pieces: Pieces, nu: int, extrapolate: Any) -> Any:
    return np.sum(g * _basis_at(at, pieces, nu + 1, extrapolate), axis=-1)


@op(
    _by_place,
    name="spline_basis",
    scipy="",
    batch=_place_batch,
)
def _basis_at(at: Any, pieces: Pieces, nu: int, extrapolate: Any) -> Any:
    """The splines of the unit vectors at some points, along a last axis; 0 where they are nan."""
    basis = pieces.basis(np.asarray(at), nu, extrapolate)
    return np.where(np.isnan(basis), 0.0, basis)


@attrs.frozen(eq=False, repr=False)
class Spline:
    """A spline through data: a tree whose leaf is the data.

    It is made by `CubicSpline` or `make_interp_spline`, and called with the points to evaluate at.

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
            The points, of any shape, which replaces the data's axis.
        nu
            The order of the derivative.
        extrapolate
            Whether the spline continues beyond its ends, ``"periodic"``, or False for nan there; by
            default the attribute `extrapolate`.
        """
        pieces = self.pieces
        if not any(type(z) is Tensor for z in (x, self.y)):
            return pieces.make(self.y)(x, nu, extrapolate)
        _refuse_tensor("nu", nu)
        _refuse_tensor("extrapolate", extrapolate)
        if nu < 0:
            raise ValueError(f"a derivative must be 0 or more, not {nu}")
        extrapolate = pieces.extrapolate if extrapolate is None else extrapolate
        at, y = floating(x), np.moveaxis(floating(self.y, complex=True), pieces.axis, 0)
        basis = _basis_at(at.astype(float), pieces, nu, extrapolate)
        n, shape = pieces.n, y.shape[1:]
        values = basis[..., :n] @ np.reshape(y, (n, -1)) + basis[..., n:]
        if not extrapolate:
            low, high = _ends(pieces.basis)
            values = np.where(np.expand_dims((at < low) | (at > high), -1), np.nan, values)
        values = np.reshape(values, (*at.shape, *shape))
        order = [*range(at.ndim, at.ndim + pieces.axis), *range(at.ndim)]
        order += range(at.ndim + pieces.axis, values.ndim)
        return np.transpose(values, order)

    def derivative(self, nu: int = 1) -> Spline:
        """The derivative of this order, a spline of the same data."""
        return attrs.evolve(self, pieces=self.pieces.changed("derivative", nu))

    def antiderivative(self, nu: int = 1) -> Spline:
        """The antiderivative that is 0 at the first breakpoint, a spline of the same data."""
        return attrs.evolve(self, pieces=self.pieces.changed("antiderivative", nu))


def _refuse_tensor(name: str, *options: Any) -> None:
    if any(type(x) is Tensor for x in tree.leaves(options)):
        raise NotImplementedError(
            f"a spline has no derivative by {name} here, and a Tensor was given; pass its value "
            "(t.value), or, where it is an argument, list it in static_argnums"
        )


def _spline(
    name: str, y: Any, axis: int, make: Callable[..., Any], bc_type: Any, key: tuple[Any, ...]
) -> Spline:
    """A spline from SciPy's function of data, an axis and boundary conditions."""
    y = floating(y, complex=True)
    (primal,) = primals((y,))
    is_known = type(y) is not Tensor or not y.origin.compiling
    # SciPy checks the arguments, by shapes alone if values are unknown
    theirs = make(primal if is_known else np.zeros(y.shape), axis)
    axis = axis % y.ndim
    n = y.shape[axis]
    units: Any = np.eye(n)
    if bc_type == "periodic":
        # the last number of the data is not read, since it equals the first
        units[-1], units[:, -1] = units[0], 0.0
    units = make(units, 0, _without_values(bc_type, n))
    rest = make(np.zeros((n, *y.shape[:axis], *y.shape[axis + 1 :])), 0)
    c = [np.reshape(z.c, (*_leading(z), -1)) for z in (units, rest)]
    together: Any = np.concatenate(c, axis=-1)
    if isinstance(units, _scipy.PPoly):
        basis = _scipy.PPoly(together, units.x, theirs.extrapolate)
    else:
        basis = _scipy.BSpline(units.t, together, units.k, theirs.extrapolate)
    key = (name, *key, axis, theirs.extrapolate, y.shape[:axis], y.shape[axis + 1 :])
    return Spline(y, Pieces(lambda y: make(y, axis), key, basis, n, axis, theirs.extrapolate))


def _leading(spline: Any) -> tuple[int, ...]:
    """The axes of a spline's coefficients that are not of the data."""
    return spline.c.shape[: 2 if isinstance(spline, _scipy.PPoly) else 1]


def _ends(spline: Any) -> tuple[float, float]:
    """The ends of a spline."""
    if isinstance(spline, _scipy.PPoly):
        return spline.x[0], spline.x[-1]
    return spline.t[spline.k], spline.t[-spline.k - 1]


def _content(x: Any) -> Any:
    """A key that differs between arguments."""
    if isinstance(x, list | tuple):
        return tuple(map(_content, x))
    return x if x is None or isinstance(x, str) else (np.shape(x), np.asarray(x).tobytes())


def _without_values(bc_type: Any, n: int) -> Any:
    """Conditions at the ends, with 0 in place of their values, for n splines."""
    if not isinstance(bc_type, list | tuple):
        return bc_type
    if len(bc_type) == 2 and isinstance(bc_type[0], int | np.integer):
        return (bc_type[0], np.zeros(n))
    return tuple([_without_values(x, n) for x in bc_type])


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
    _refuse_tensor("the knots x", x)
    _refuse_tensor("bc_type", bc_type)
    x = np.array(x)

    def make(y: Any, axis: int, bc_type: Any = bc_type) -> Any:
        return _scipy.CubicSpline(x, y, axis, bc_type, extrapolate)

    key = _content(x), _content(bc_type), extrapolate
    return _spline("CubicSpline", y, axis, make, bc_type, key)


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
    _refuse_tensor("the places x", x)
    _refuse_tensor("the knots t", t)
    _refuse_tensor("bc_type", bc_type)
    x, t = np.array(x), None if t is None else np.array(t)

    def make(y: Any, axis: int, bc_type: Any = bc_type) -> Any:
        return _scipy.make_interp_spline(x, y, k, t, bc_type, axis, check_finite)

    key = _content(x), k, _content(t), _content(bc_type)
    return _spline("make_interp_spline", y, axis, make, bc_type, key)
