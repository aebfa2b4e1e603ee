"""Filters of images, and images at points between their elements, as in `scipy.ndimage`."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence
from math import prod
from typing import Any

import numpy as np
from numpy.lib.array_utils import normalize_axis_index, normalize_axis_tuple
from scipy import ndimage as _scipy

from tapegrad.errors.names import list_names
from tapegrad.functions.selection import take
from tapegrad.ops.casting import as_double, as_floating, sqrt_with_zero_slope, to_array
from tapegrad.scipy._options import with_scipy_parameters
from tapegrad.scipy.signal import extend, filter_extended
from tapegrad.types import Array, ArrayLike, Axis, DType, Shape

__all__ = ["affine_transform", "convolve", "convolve1d", "correlate", "correlate1d", "laplace"]
__all__ += ["gaussian_filter", "gaussian_filter1d", "gaussian_gradient_magnitude", "zoom"]
__all__ += ["gaussian_laplace", "map_coordinates", "prewitt", "shift", "sobel", "spline_filter"]
__all__ += ["uniform_filter", "uniform_filter1d"]
list_names(globals())

_like_scipy = with_scipy_parameters(_scipy, for_tensors=True)
# SciPy's splines are inexact between few elements; its results from integers are integers
_like_splines = with_scipy_parameters(_scipy, for_tensors=True, kinds="biu")


def _check_floating(name: str, dtype: DType) -> None:
    if dtype.kind not in "fc":
        raise TypeError(f"{name} of {dtype} has no derivative; write input.astype(float)")


def _repeat_for_axes(parameter: object, n: int) -> list[Any]:
    """A parameter for each of n axes, from one for all or a sequence."""
    if isinstance(parameter, str) or not np.iterable(parameter):
        return [parameter] * n
    each = list(parameter)
    if len(each) != n:
        raise RuntimeError(f"sequence argument must have length equal to input rank, {n}")
    return each


def _axis_parameters(
    x: ArrayLike, axes: Axis, sorts: bool = False, **parameters: Any
) -> dict[int, Any]:
    """The parameters for each axis of an image, or for some."""
    chosen = normalize_axis_tuple(range(np.ndim(x)) if axes is None else axes, np.ndim(x))
    if sorts and len(chosen) == np.ndim(x):
        # of all axes, some of SciPy's filters do not see the order
        chosen = tuple(sorted(chosen))
    each = {name: _repeat_for_axes(x, len(chosen)) for name, x in parameters.items()}
    return {axis: {name: x[i] for name, x in each.items()} for i, axis in enumerate(chosen)}


def _sum_parts(parts: Iterable[Array]) -> Array:
    """The sum of arrays; 0 if there are none."""
    total: Any = sum(parts)
    return total


# --- filters --------------------------------------------------------------------------------


def _filter_window(
    name: str, input: ArrayLike, weights: ArrayLike, mode: str, cval: ArrayLike, **options: Any
) -> Array:
    """The correlation or convolution of an image with weights along some of its axes."""
    x, w = to_array(input), to_array(weights)
    # it refuses what is wrong
    getattr(_scipy, name)(np.zeros((1,) * x.ndim), np.zeros(w.shape), mode=mode, **options)
    dtype = np.promote_types(x.dtype, np.complex64) if w.dtype.kind == "c" else x.dtype
    _check_floating(name, dtype)
    along = _axis_parameters(
        x, options.get("axis", options.get("axes")), True, origin=options["origin"]
    )
    shape, widths = [1] * x.ndim, {}
    for i, n in zip(sorted(along), w.shape, strict=True):
        k = along[i]["origin"]
        shape[i], widths[i] = n, (n // 2 + k, (n - 1) // 2 - k)
    w = np.reshape(w, shape).astype(dtype)
    return filter_extended(name.startswith("correlate"), x.astype(dtype), w, widths, mode, cval)


@_like_scipy
def correlate(input: ArrayLike, weights: ArrayLike, **options: Any) -> Array:
    """The correlation of an image with weights, by both.

    Of Tensors, nan under a weight of 0 gives nan; of arrays SciPy leaves it out, in `convolve` too.

    Examples
    --------
    >>> import tapegrad as tg
    >>> from tapegrad.scipy.ndimage import correlate
    >>> tg.grad(lambda x: correlate(x, [1.0, 2.0, 3.0])[0])(np.zeros(4))
    array([3., 3., 0., 0.])
    """
    return _filter_window("correlate", input, weights, **options)


@_like_scipy
def convolve(input: ArrayLike, weights: ArrayLike, **options: Any) -> Array:
    """The convolution of an image with weights, by both.

    Examples
    --------
    >>> import tapegrad as tg
    >>> from tapegrad.scipy.ndimage import convolve
    >>> tg.grad(lambda w: convolve(np.array([1.0, 2.0, 4.0]), w, mode="wrap")[0])(np.zeros(3))
    array([2., 1., 4.])
    """
    return _filter_window("convolve", input, weights, **options)


@_like_scipy
def correlate1d(input: ArrayLike, weights: ArrayLike, **options: Any) -> Array:
    """The correlation of an image with weights along an axis.

    Examples
    --------
    >>> from tapegrad.scipy.ndimage import correlate1d
    >>> correlate1d(np.array([2.0, 8.0, 0.0]), [1.0, 3.0])
    array([ 8., 26.,  8.])
    """
    return _filter_window("correlate1d", input, weights, **options)


@_like_scipy
def convolve1d(input: ArrayLike, weights: ArrayLike, **options: Any) -> Array:
    """The convolution of an image with weights along an axis.

    Examples
    --------
    >>> from tapegrad.scipy.ndimage import convolve1d
    >>> convolve1d(np.array([2.0, 8.0, 0.0]), [1.0, 3.0])
    array([14., 24.,  0.])
    """
    return _filter_window("convolve1d", input, weights, **options)


@_like_scipy
def gaussian_filter1d(
    input: ArrayLike, sigma: float, order: int, truncate: float, radius: int | None, **options: Any
) -> Array:
    """The convolution of an image with a Gaussian, or a derivative of one, along an axis.

    Examples
    --------
    >>> import tapegrad as tg
    >>> from tapegrad.scipy.ndimage import gaussian_filter1d
    >>> tg.grad(lambda x: gaussian_filter1d(x, 1)[0])(np.zeros(3)).round(4)
    array([0.6409, 0.2961, 0.063 ])
    """
    radius = int(truncate * float(sigma) + 0.5) if radius is None else radius
    impulse = np.eye(1, 2 * int(radius) + 1, int(radius))[0]
    response = _scipy.gaussian_filter1d(impulse, sigma, -1, order, None, "constant", radius=radius)
    return correlate1d(input, response[::-1], **options)


@_like_scipy
def gaussian_filter(
    input: ArrayLike,
    sigma: ArrayLike,
    order: int | Sequence[int],
    mode: str | Sequence[str],
    radius: int | Sequence[int] | None,
    axes: Axis,
    **options: Any,
) -> Array:
    """The convolution of an image with a Gaussian, or derivatives of one.

    Examples
    --------
    >>> import tapegrad as tg
    >>> from tapegrad.scipy.ndimage import gaussian_filter
    >>> tg.grad(lambda x: gaussian_filter(x, 0.5)[0, 0])(np.zeros((2, 2))).round(4)
    array([[0.7975, 0.0955],
           [0.0955, 0.0114]])
    """
    each = _axis_parameters(input, axes, sigma=sigma, order=order, mode=mode, radius=radius)
    for axis, one in each.items():
        if one["sigma"] > 1e-15:
            input = gaussian_filter1d(input, axis=axis, **one, **options)
    return to_array(input)


@_like_scipy
def uniform_filter1d(input: ArrayLike, size: int, **options: Any) -> Array:
    """The mean of neighbours along an axis.

    Examples
    --------
    >>> from tapegrad.scipy.ndimage import uniform_filter1d
    >>> uniform_filter1d(np.array([2.0, 8.0, 0.0]), 2)
    array([2., 5., 4.])
    """
    return correlate1d(input, np.full(max(size, 0), 1 / max(size, 1)), **options)


@_like_scipy
def uniform_filter(
    input: ArrayLike,
    size: int | Sequence[int],
    mode: str | Sequence[str],
    origin: int | Sequence[int],
    axes: Axis,
    **options: Any,
) -> Array:
    """The mean of neighbours.

    Examples
    --------
    >>> import tapegrad as tg
    >>> from tapegrad.scipy.ndimage import uniform_filter
    >>> tg.grad(lambda x: uniform_filter(x, 2)[1, 1])(np.zeros((2, 2)))
    array([[0.25, 0.25],
           [0.25, 0.25]])
    """
    for axis, one in _axis_parameters(input, axes, size=size, mode=mode, origin=origin).items():
        if one["size"] > 1:
            input = uniform_filter1d(input, axis=axis, **one, **options)
    return to_array(input)


def _filter_edges(
    across: list[int], input: ArrayLike, axis: int, mode: str | Sequence[str], **options: Any
) -> Array:
    """Differences of neighbours along an axis, smoothed along the others."""
    each = _axis_parameters(input, None, mode=mode)
    axis = normalize_axis_index(axis, len(each))
    for i in sorted(each, key=lambda i: i != axis):
        weights = [-1, 0, 1] if i == axis else across
        input = correlate1d(input, weights, axis=i, **each[i], **options)
    return to_array(input)


@_like_scipy
def sobel(input: ArrayLike, **options: Any) -> Array:
    """Differences along an axis, smoothed along the others with weights 1, 2 and 1.

    Examples
    --------
    >>> from tapegrad.scipy.ndimage import sobel
    >>> sobel(np.array([1.0, 2.0, 4.0]))
    array([1., 3., 2.])
    """
    return _filter_edges([1, 2, 1], input, **options)


@_like_scipy
def prewitt(input: ArrayLike, **options: Any) -> Array:
    """Differences along an axis, smoothed along the others with equal weights.

    Examples
    --------
    >>> from tapegrad.scipy.ndimage import prewitt
    >>> prewitt(np.array([[1.0, 2.0], [3.0, 3.0]]))
    array([[2., 2.],
           [1., 1.]])
    """
    return _filter_edges([1, 1, 1], input, **options)


@_like_scipy
def laplace(
    input: ArrayLike, mode: str | Sequence[str], axes: Axis = None, **options: Any
) -> Array:
    """The sum of second differences along each axis.

    Examples
    --------
    >>> import tapegrad as tg
    >>> from tapegrad.scipy.ndimage import laplace
    >>> tg.grad(lambda x: laplace(x)[1])(np.zeros(3))
    array([ 1., -2.,  1.])
    """
    each = _axis_parameters(input, axes, mode=mode).items()
    return _sum_parts(correlate1d(input, [1, -2, 1], axis=i, **one, **options) for i, one in each)


def _gaussian_derivatives(
    n: int, input: ArrayLike, mode: str | Sequence[str], axes: Axis, **options: Any
) -> list[Array]:
    """The derivatives of order n along each axis of an image that is convolved with a Gaussian."""
    orders = n * np.eye(np.ndim(input), dtype=int)
    each = _axis_parameters(input, axes, mode=mode).items()
    return [gaussian_filter(input, order=orders[i], **one, **options) for i, one in each]


@_like_scipy
def gaussian_laplace(
    input: ArrayLike, sigma: ArrayLike, axes: Axis = None, **options: Any
) -> Array:
    """The sum of second derivatives of an image that is convolved with a Gaussian.

    Examples
    --------
    >>> import tapegrad as tg
    >>> from tapegrad.scipy.ndimage import gaussian_laplace
    >>> tg.grad(lambda x: gaussian_laplace(x, 0.5)[1])(np.zeros(3)).round(4)
    array([ 1.2932, -3.1463,  1.2932])
    """
    each = _axis_parameters(input, axes, True, sigma=sigma)
    widths = [each[i]["sigma"] if i in each else 0 for i in range(np.ndim(input))]
    return _sum_parts(_gaussian_derivatives(2, input, sigma=widths, axes=axes, **options))


@_like_scipy
def gaussian_gradient_magnitude(input: ArrayLike, axes: Axis = None, **options: Any) -> Array:
    """The length of the gradient of an image that is convolved with a Gaussian.

    Where it is 0, so is the slope.

    Examples
    --------
    >>> from tapegrad.scipy.ndimage import gaussian_gradient_magnitude
    >>> gaussian_gradient_magnitude(np.array([0.0, 1.0, 1.0]), 0.5).round(4)
    array([0.4258, 0.4279, 0.0021])
    """
    return sqrt_with_zero_slope(
        _sum_parts(map(np.square, _gaussian_derivatives(1, input, axes=axes, **options)))
    )


# --- points between elements ----------------------------------------------------------------


def _wrap_coordinates(c: Array, n: int) -> Array:
    """Coordinates moved into n elements, the last of which equals the first."""
    turns = np.trunc(c / max(n - 1, 1))
    # a coordinate on a seam belongs to the end on the side of 0
    return c - max(n - 1, 1) * np.where(c < 0, turns - 1, np.where(c > n - 1, turns, 0.0))


def _fold_coordinates(c: Array, n: int, mode: str) -> Array:
    """The coordinate among n elements, or beside one, that stands for one outside."""
    if mode not in ("mirror", "reflect"):
        return np.mod(c, n) if mode == "grid-wrap" else c
    is_mirror = mode == "mirror"
    period = max(2 * n - 2, 1) if is_mirror else 2 * n
    t = np.mod(c, period)
    # coming from above, SciPy passes the mirror, and turns an element later
    turns = np.where(c < 0, t > n - 1, t >= n) if is_mirror else t >= n
    return np.where(turns, period - t if is_mirror else period - 1 - t, t)


def _neighbour_weights(c: Array, n: int, mode: str, order: int) -> list[tuple[Array, Array]]:
    """The neighbours along one axis: their indices and their weights."""
    c = _wrap_coordinates(c, n) if mode == "wrap" else _fold_coordinates(c, n, mode)
    half = 0.0 if order % 2 else 0.5
    first = np.floor(c + half)
    if order == 1 and mode in ("constant", "wrap"):
        # nothing follows the last element
        first = np.clip(first, 0, max(n - 2, 0))
    elif order > 1:
        # coefficients of splines are continued where the image is not
        mode = {"constant": "mirror", "wrap": "mirror"}.get(mode, mode)
    part = c + half - first
    weights: list[Any] = [1.0]
    for i in range(1, order + 1):
        # a spline of degree i from two of the degree below
        falling = [(1 - part + j) * w / i for j, w in enumerate(weights)]
        rising = [w - f for w, f in zip(weights, falling, strict=True)]
        weights = [x + y for x, y in zip([*falling, 0.0], [0.0, *rising], strict=True)]
    places = [_fold_coordinates(first + k - order // 2, n, mode) for k in range(order + 1)]
    return [
        (np.clip(place, 0, n - 1).astype(int), weight)
        for place, weight in zip(places, weights, strict=True)
    ]


@with_scipy_parameters(_scipy)
def spline_filter(input: ArrayLike, order: int, mode: str) -> Array:
    """The coefficients of a spline through an image, for `map_coordinates` without `prefilter`.

    With ``"reflect"`` they are exact, where SciPy's are not along axes of few elements.

    Examples
    --------
    >>> from tapegrad.scipy.ndimage import spline_filter
    >>> spline_filter(np.array([1.0, 2.0, 4.0])).round(6)
    array([0.75, 1.5 , 5.25])
    """
    # the response to an impulse, which decays by a factor of 2 or more from element to element
    weights = _scipy.spline_filter(np.eye(1, 97, 48)[0], order, mode=mode)
    kinds = {
        "nearest": "reflect",
        "constant": "mirror",
        "grid-constant": "mirror",
        "wrap": "mirror",
    }
    x = as_double(input, complex=True)
    for axis in range(x.ndim):
        x = correlate1d(x, weights, axis, None, kinds.get(mode, mode))
    return x


@_like_splines
def map_coordinates(
    input: ArrayLike,
    coordinates: ArrayLike,
    order: int,
    mode: str,
    cval: ArrayLike,
    prefilter: bool,
) -> Array:
    """`scipy.ndimage.map_coordinates`, by the image and by the coordinates.

    Parameters
    ----------
    input
        The image, real or complex, with any number of axes.
    coordinates
        The points, of shape (``input.ndim``, ...), in elements from the first one.
    order
        The degree of the spline between elements, 3 by default: 1 for linear, 0 for the nearest
        element.
    mode
        The continuation outside, as in SciPy: ``"constant"``, ``"grid-constant"``, ``"nearest"``,
        ``"mirror"``, ``"reflect"`` or ``"grid-mirror"``, ``"wrap"``, ``"grid-wrap"``.
    cval
        The value outside, for ``"constant"`` and ``"grid-constant"``. A coordinate that is not
        finite has it in every mode.
    prefilter
        Whether the spline passes through the elements, at orders from 2 on; otherwise the image
        holds its coefficients, as `spline_filter` returns them.

    Returns
    -------
    An array of shape ``coordinates.shape[1:]`` and the dtype of the input.

    Raises
    ------
    NotImplementedError
        For `output`.
    RuntimeError
        For an unknown order or mode, and for shapes that do not fit.
    TypeError
        For complex coordinates, and for an input of integers beside a Tensor: SciPy's result
        consists of integers, and has no derivative.

    Notes
    -----
    At order 1 there is a kink on each element: the slope by a coordinate is the slope of the cell
    after it, and on the last element, if ``mode`` is ``"constant"`` or ``"wrap"``, of the cell
    before it. With
    ``"constant"`` the value jumps to `cval` at the ends, which no slope shows. At order 0 the slope
    by coordinates is 0.

    Examples
    --------
    >>> import tapegrad as tg
    >>> from tapegrad.scipy.ndimage import map_coordinates
    >>> image = np.array([[0.0, 1.0], [2.0, 5.0]])
    >>> at = np.array([[0.5], [0.25]])
    >>> map_coordinates(image, at, order=1)
    array([1.5])
    >>> tg.grad(lambda at: map_coordinates(image, at, order=1)[0])(at)
    array([[2.5],
           [2. ]])
    """
    input, coordinates, cval = to_array(input), to_array(coordinates), to_array(cval)
    # it refuses what is wrong
    rank = coordinates.shape[:1] + (1,) * (coordinates.ndim - 1)
    checked = np.zeros((1,) * input.ndim, input.dtype), np.zeros(rank, coordinates.dtype)
    _scipy.map_coordinates(*checked, None, order, mode, np.zeros((), cval.dtype))
    return _interpolate("map_coordinates", input, coordinates, order, mode, cval, prefilter)


def _interpolate(
    name: str,
    input: Array,
    places: Array | Sequence[Array],
    order: int,
    mode: str,
    cval: ArrayLike,
    prefilter: bool,
) -> Array:
    """The image at coordinates for each axis, of one shape or along the axes of a grid."""
    dtype, moved = input.dtype, 0
    _check_floating(name, dtype)
    if not input.size:
        raise ValueError(f"{name}: the input is empty; its shape is {input.shape}")
    mode = "reflect" if mode == "grid-mirror" else mode
    if order > 1 and prefilter:
        if mode in ("nearest", "grid-constant"):
            # as SciPy does, since no spline ends where the image does
            input, moved = extend(input, 12, mode, cval), 12
        input = spline_filter(input, order, mode=mode)
    if mode == "grid-constant":
        # the elements at the ends stand for all outside
        input, moved = extend(input, 1, mode, cval), moved + 1
    inside, axes = True, []
    for i, n in enumerate(input.shape):
        c = as_floating(places[i]) + moved
        here = (c >= 0) & (c <= n - 1) if mode == "constant" else np.abs(c) < np.inf
        inside = here & inside
        axes.append(_neighbour_weights(np.where(here, c, 0.0), n, mode, order))
    if name != "map_coordinates":
        total: Any = input
        for i, neighbours in enumerate(axes):
            total = _sum_parts(take(total, np.ravel(k), i) * w for k, w in neighbours)
    else:
        elements, total = np.reshape(input, -1), 0.0
        strides = [prod(input.shape[i + 1 :]) for i in range(input.ndim)]
        for corner in itertools.product(*axes):
            at = sum(k * stride for (k, _), stride in zip(corner, strides, strict=True))
            total = total + take(elements, at) * prod(w for _, w in corner)
    return np.where(inside, total, cval).astype(dtype)


@_like_splines
def affine_transform(
    input: ArrayLike,
    matrix: ArrayLike,
    offset: ArrayLike,
    output_shape: Shape | None,
    **options: Any,
) -> Array:
    """The image at ``matrix @ place + offset`` for each place, by all three.

    Examples
    --------
    >>> import tapegrad as tg
    >>> from tapegrad.scipy.ndimage import affine_transform
    >>> image = np.array([0.0, 1.0, 4.0, 9.0])
    >>> tg.grad(lambda offset: affine_transform(image, [[1.0]], offset, order=1)[1])(0.25)
    array(3.)
    """
    x, matrix = to_array(input), to_array(matrix)
    matrix = np.diag(matrix) if matrix.ndim == 1 else matrix
    if matrix.shape in ((x.ndim, x.ndim + 1), (x.ndim + 1, x.ndim + 1)):
        # homogeneous, which holds the offset
        matrix, offset = matrix[: x.ndim, :-1], matrix[: x.ndim, -1]
    grid = np.indices(x.shape if output_shape is None else output_shape, sparse=True)
    if matrix.shape != (x.ndim, len(grid)):
        raise RuntimeError(f"affine matrix has wrong number of rows or columns: {matrix.shape}")
    # in SciPy's order, so that places on an edge are the same
    column = (-1, *(1,) * len(grid))
    places = np.reshape(to_array(_repeat_for_axes(offset, x.ndim)), column)
    for j, along in enumerate(grid):
        places = places + np.reshape(matrix[:, j], column) * along
    return map_coordinates(x, places, **options)


@_like_splines
def shift(input: ArrayLike, shift: ArrayLike, **options: Any) -> Array:
    """The image moved along its axes, by the image and by the distances.

    Examples
    --------
    >>> import tapegrad as tg
    >>> from tapegrad.scipy.ndimage import shift
    >>> image = np.array([0.0, 1.0, 4.0, 9.0])
    >>> tg.grad(lambda distance: shift(image, distance, order=1)[1])(0.25)
    array(-1.)
    """
    x = to_array(input)
    # it refuses what is wrong
    _scipy.shift(np.zeros(1), 0, None, options["order"], options["mode"])
    positions: Any = np.indices(x.shape, sparse=True)
    grid = zip(positions, _repeat_for_axes(shift, x.ndim), strict=True)
    return _interpolate("shift", x, [place - distance for place, distance in grid], **options)


@_like_splines
def zoom(input: ArrayLike, zoom: float | Sequence[float], grid_mode: bool, **options: Any) -> Array:
    """The image with another number of elements along each axis.

    Examples
    --------
    >>> import tapegrad as tg
    >>> from tapegrad.scipy.ndimage import zoom
    >>> tg.grad(lambda x: zoom(x, 2, order=1)[1])(np.zeros(2)).round(6)
    array([0.666667, 0.333333])
    """
    x = to_array(input)
    shape = [round(n * z) for n, z in zip(x.shape, _repeat_for_axes(zoom, x.ndim), strict=True)]
    # it refuses what is wrong
    _scipy.zoom(np.zeros(1), 2, None, options["order"], options["mode"])
    # from the edges of the outer elements, or from their middles
    edge = 0.5 if grid_mode else 0.0
    places = [
        (i + edge) * ((n - 1 + 2 * edge) / max(i.size - 1 + 2 * edge, 1)) - edge
        for n, i in zip(x.shape, np.indices(shape, sparse=True), strict=True)
    ]
    return _interpolate("zoom", x, places, **options)
