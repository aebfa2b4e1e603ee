"""Splines through data, and data on grids, as in `scipy.interpolate`."""

from __future__ import annotations

import itertools
from math import prod
from typing import Any, ClassVar

import attrs
import numpy as np
from scipy import interpolate as _scipy

from tapegrad.errors.names import list_names
from tapegrad.ops.casting import as_floating, values_if_known
from tapegrad.ops.rows import index_select
from tapegrad.scipy._splines import (
    Akima1DInterpolator,
    BSpline,
    CubicSpline,
    PchipInterpolator,
    Spline,
    check_no_tensor,
    content_key,
    make_interp_spline,
)

# pickles name this op by this module
from tapegrad.scipy._splines import _basis_at as _basis_at

__all__ = ["Akima1DInterpolator", "BSpline", "CubicSpline", "GridInterpolator"]
__all__ += ["PchipInterpolator", "RegularGridInterpolator", "Spline", "make_interp_spline"]
list_names(globals())


# --- data on a grid ---------------------------------------------------------------------------


@attrs.frozen(repr=False)
class _Grid:
    """The static part of an interpolator on a grid: all but its data; `key` has its content."""

    __tree_static__: ClassVar[bool] = True
    __unsaved__: ClassVar[str] = (
        "make the interpolator in the function, of arrays that are arguments, or outside of it"
    )

    key: tuple[Any, ...]
    points: tuple[Any, ...] = attrs.field(eq=False)
    bounds_error: bool
    fill_value: Any = attrs.field(eq=False)

    def __repr__(self) -> str:
        return f"RegularGridInterpolator of {' x '.join(str(len(x)) for x in self.points)} points"


@attrs.frozen(eq=False, repr=False)
class GridInterpolator:
    """Data on a grid, with straight lines between: a tree whose leaf is the data.

    It is made by `RegularGridInterpolator`, and called with the points to evaluate at.

    Attributes
    ----------
    values
        The data.

    Examples
    --------
    >>> from tapegrad.scipy.interpolate import RegularGridInterpolator
    >>> grid = RegularGridInterpolator(([0.0, 1.0], [0.0, 2.0]), np.array([[0.0, 1.0], [2.0, 5.0]]))
    >>> grid([[0.5, 0.5], [1.0, 1.0]])
    array([1.5, 3.5])
    """

    values: Any
    grid: _Grid

    def __repr__(self) -> str:
        return f"<{self.grid!r}>"

    def __call__(self, xi: Any) -> Any:
        """The data at some points.

        Parameters
        ----------
        xi
            The points, with their coordinates along the last axis; or a tuple of coordinates.
            A coordinate that is nan gives nan, also where SciPy takes it for one outside.
        """
        points, values = self.grid.points, as_floating(self.values, complex=True)
        d, n = len(points), [len(x) for x in self.grid.points]
        if isinstance(xi, tuple):
            xi = np.stack(np.broadcast_arrays(*xi), -1)
        else:
            xi = as_floating(xi)
            xi = np.reshape(xi, (-1, d)) if xi.ndim == 1 else xi
        if xi.shape[-1] != d:
            raise ValueError(f"the points have {xi.shape[-1]} coordinates, and the grid has {d}")
        total: Any = 0.0
        is_outside, cells = np.zeros(xi.shape[:-1], bool), []
        for i, x in enumerate(points):
            at = xi[..., i].astype(float)
            is_outside = is_outside | (at < x[0]) | (at > x[-1])
            k = np.clip(np.searchsorted(x, at, "right") - 1, 0, max(n[i] - 2, 0))
            part = (at - index_select(x, k)) / index_select(np.append(np.diff(x), 1.0), k)
            cells.append(((k, 1 - part), (np.minimum(k + 1, n[i] - 1), part)))
        known = values_if_known(is_outside)
        if self.grid.bounds_error and known is not None and np.any(known):
            raise ValueError("one of the points is out of bounds; bounds_error=False gives nan")
        elements = np.reshape(values, (prod(n), *values.shape[d:]))
        for corner in itertools.product(*cells):
            row = sum(k * prod(n[i + 1 :]) for i, (k, _) in enumerate(corner))
            weight = prod(w for _, w in corner)
            weight = np.reshape(weight, (*weight.shape, *[1] * (values.ndim - d)))
            total = total + weight * index_select(elements, row)
        if self.grid.fill_value is None:
            return total
        is_outside = np.reshape(is_outside, (*is_outside.shape, *[1] * (values.ndim - d)))
        return np.where(is_outside, self.grid.fill_value, total)


def RegularGridInterpolator(
    points: Any,
    values: Any,
    method: str = "linear",
    bounds_error: bool = True,
    fill_value: Any = np.nan,
) -> GridInterpolator:
    """`scipy.interpolate.RegularGridInterpolator`, linear, by the data and by the points.

    Parameters
    ----------
    points
        The coordinates of the grid, an array for each axis, increasing or decreasing. They have no
        gradient: a Tensor is refused.
    values
        The data, real or complex, of a shape that begins with the grid's; the leaf of the result.
    method
        ``"linear"``; others are refused.
    bounds_error
        Whether a point outside is an error; where values are not known, as inside `compile`, it
        has `fill_value`.
    fill_value
        The value outside; None to continue the outermost lines.

    Returns
    -------
    A `GridInterpolator`, called with points.

    Raises
    ------
    NotImplementedError
        For coordinates of the grid that are Tensors, and for other methods.
    ValueError
        As SciPy does.

    Notes
    -----
    On a line of the grid there is a kink: the slope by a coordinate is that of the cell after it,
    and on the last line of the cell before it.

    Examples
    --------
    >>> import tapegrad as tg
    >>> from tapegrad.scipy.interpolate import RegularGridInterpolator
    >>> grid = RegularGridInterpolator(([0.0, 1.0], [0.0, 2.0]), np.array([[0.0, 1.0], [2.0, 5.0]]))
    >>> tg.grad(lambda at: grid(at)[0])(np.array([0.5, 0.5]))
    array([2.5, 1. ])
    """
    if method != "linear":
        raise NotImplementedError(f"RegularGridInterpolator takes no method but 'linear': {method}")
    check_no_tensor("the points of the grid", points)
    check_no_tensor("fill_value", fill_value)
    values = as_floating(values, complex=True)
    like = np.zeros(values.shape, values.dtype)
    # SciPy checks the arguments
    grid = _scipy.RegularGridInterpolator(points, like, method, bounds_error, fill_value).grid
    for i, x in enumerate(points):
        values = values if x[0] <= x[-1] else np.flip(values, i)
    key = tuple(map(content_key, (grid, values.shape, fill_value)))
    return GridInterpolator(values, _Grid(key, grid, bounds_error, fill_value))
