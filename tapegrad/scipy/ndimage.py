"""Images at points between their elements, as in `scipy.ndimage`."""

from __future__ import annotations

import itertools
from math import prod
from typing import Any

import numpy as np
from scipy import ndimage as _scipy

from tapegrad.core.tensor import Tensor
from tapegrad.errors.names import list_names
from tapegrad.functions.selection import take
from tapegrad.ops.casting import floating, to_array

__all__ = ["map_coordinates"]
list_names(globals())

_MODES: tuple[str, ...] = ("constant", "grid-constant", "nearest", "mirror", "reflect")
_MODES += ("grid-mirror", "wrap", "grid-wrap")


def _brought_back(c: Any, n: int) -> Any:
    """Coordinates moved into n elements, the last of which equals the first."""
    turns = np.trunc(c / max(n - 1, 1))
    # a coordinate on a seam belongs to the end on the side of 0
    return c - max(n - 1, 1) * np.where(c < 0, turns - 1, np.where(c > n - 1, turns, 0.0))


def _nearest(c: Any, n: int, mode: str) -> Any:
    """The element at a coordinate, before `_folded`; a half goes up, and down in a mirror."""
    up = np.floor(c + 0.5)
    if mode == "mirror":
        t = np.mod(c, max(2 * n - 2, 1))
        # coming from above, SciPy rounds up just after the last element
        down = np.where(c < 0, t > n - 1, t >= n)
    elif mode == "reflect":
        down = np.mod(c, 2 * n) >= n
    else:
        return up
    return np.where(down, np.ceil(c - 0.5), up)


def _folded(k: Any, n: int, mode: str) -> Any:
    """The element that stands for the one at k, which may lie outside."""
    if mode == "mirror":
        k = np.mod(k, max(2 * n - 2, 1))
        k = np.where(k > n - 1, 2 * n - 2 - k, k)
    elif mode == "reflect":
        k = np.mod(k, 2 * n)
        k = np.where(k > n - 1, 2 * n - 1 - k, k)
    elif mode == "grid-wrap":
        k = np.mod(k, n)
    return np.clip(k, 0, n - 1).astype(int)


def _neighbours(c: Any, n: int, mode: str, order: int) -> list[tuple[Any, Any, Any]]:
    """The neighbours along one axis: their indices, their weights, and masks of those inside."""
    if mode == "wrap":
        c = _brought_back(c, n)
    first = np.floor(c) if order else _nearest(c, n, mode)
    if order and mode in ("constant", "wrap"):
        # nothing follows the last element
        first = np.clip(first, 0, max(n - 2, 0))
    neighbours = []
    for k, weight in ((first, 1 - (c - first)), (first + 1, c - first))[: order + 1]:
        exists = (k >= 0) & (k < n) if mode == "grid-constant" else None
        neighbours.append((_folded(k, n, mode), weight if order else 1, exists))
    return neighbours


def _checked(input: Any, coordinates: Any, output: Any, order: Any, mode: Any) -> None:
    if order not in range(6):
        raise RuntimeError(f"spline order not supported: {order!r}")
    if order > 1:
        raise NotImplementedError(
            f"map_coordinates: order={order}, of splines, is not there; write order=1, which is "
            "linear between elements"
        )
    if mode not in _MODES:
        raise RuntimeError(f"boundary mode not supported: {mode!r}; it must be one of {_MODES}")
    if output is not None:
        raise NotImplementedError(
            "map_coordinates: output must be None, since nothing is overwritten; write "
            ".astype(dtype) after the call"
        )
    if coordinates.dtype.kind == "c":
        raise TypeError("Complex type not supported: coordinates must be real")
    if not input.ndim or coordinates.ndim < 2:
        raise RuntimeError("input and output rank must be > 0")
    if len(coordinates) != input.ndim:
        raise RuntimeError(
            f"invalid shape for coordinate array: {coordinates.shape}, where the first axis must "
            f"have a length of {input.ndim}, one for each axis of the input"
        )


def map_coordinates(
    input: Any,
    coordinates: Any,
    output: Any = None,
    order: int = 3,
    mode: str = "constant",
    cval: Any = 0.0,
    prefilter: bool = True,
) -> Any:
    """`scipy.ndimage.map_coordinates` of order 0 or 1, by the image and by the coordinates.

    Parameters
    ----------
    input
        The image, real or complex, with any number of axes.
    coordinates
        The points, of shape (``input.ndim``, ...), in elements from the first one.
    output
        Refused: nothing is overwritten.
    order
        1, linear between elements, or 0, the nearest element. SciPy's default, 3, is refused.
    mode
        The continuation outside, as in SciPy: ``"constant"``, ``"grid-constant"``, ``"nearest"``,
        ``"mirror"``, ``"reflect"`` or ``"grid-mirror"``, ``"wrap"``, ``"grid-wrap"``.
    cval
        The value outside, for ``"constant"`` and ``"grid-constant"``. A recorded coordinate that is
        not finite has it in every mode.
    prefilter
        Without effect, as in SciPy at these orders.

    Returns
    -------
    An array of shape ``coordinates.shape[1:]`` and the dtype of the input.

    Raises
    ------
    NotImplementedError
        For another order, and for `output`.
    RuntimeError
        For an unknown order or mode, and for shapes that do not fit.
    TypeError
        For complex coordinates, and for an input of integers beside a Tensor: SciPy's result
        consists of integers, and has no derivative.

    Notes
    -----
    On an element there is a kink: the slope by a coordinate is the slope of the cell after it, and
    on the last element, if ``mode`` is ``"constant"`` or ``"wrap"``, of the cell before it. With
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
    input, coordinates = to_array(input), to_array(coordinates)
    _checked(input, coordinates, output, order, mode)
    if not any(type(x) is Tensor for x in (input, coordinates, cval)):
        return _scipy.map_coordinates(input, coordinates, None, order, mode, cval, prefilter)
    if input.dtype.kind not in "fc":
        raise TypeError(
            f"map_coordinates: of an input of dtype {input.dtype} the result has that dtype, and "
            "no derivative; write input.astype(float)"
        )
    if input.dtype.kind != "c" and to_array(cval).dtype.kind == "c":
        raise TypeError("map_coordinates: cval is complex, and the input is real")
    if not input.size:
        raise ValueError(f"map_coordinates: the input is empty; its shape is {input.shape}")
    mode = "reflect" if mode == "grid-mirror" else mode
    places, inside, axes = floating(coordinates), True, []
    for i, n in enumerate(input.shape):
        c = places[i]
        here = (c >= 0) & (c <= n - 1) if mode == "constant" else np.abs(c) < np.inf
        inside = here & inside
        axes.append(_neighbours(np.where(here, c, 0.0), n, mode, order))
    elements, total = np.reshape(input, -1), 0.0
    strides = [prod(input.shape[i + 1 :]) for i in range(input.ndim)]
    for corner in itertools.product(*axes):
        at = sum(k * stride for (k, _, _), stride in zip(corner, strides, strict=True))
        value, weight = take(elements, at), prod(w for _, w, _ in corner)
        for _, _, exists in corner:
            value = value if exists is None else np.where(exists, value, cval)
        total = total + value * weight
    return np.where(inside, total, cval).astype(input.dtype)
