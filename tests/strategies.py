"""Hypothesis strategies that the tests share: awkward arrays, shapes, axes and indices."""

import math
from typing import Any

import numpy as np
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

Shape = tuple[int, ...]

DTYPES = st.sampled_from([np.float64, np.float32, np.float16])

# eighths tie often, and every dtype can hold them
EIGHTHS = st.integers(-24, 24).map(lambda k: k / 8) | st.just(-0.0)
NUMBERS = EIGHTHS | st.floats(-4, 4, width=16)
POSITIVE = st.integers(1, 24).map(lambda k: k / 8) | st.floats(0.0625, 4, width=16)
NONZERO = st.builds(math.copysign, POSITIVE, st.sampled_from([1.0, -1.0]))


def shapes(min_dims: int = 0, max_dims: int = 3, min_side: int = 0, max_side: int = 3) -> Any:
    """Small shapes: 0-d, empty and of length 1 among them."""
    return hnp.array_shapes(
        min_dims=min_dims, max_dims=max_dims, min_side=min_side, max_side=max_side
    )


def broadcastable(n: int, max_dims: int = 2, max_side: int = 3) -> Any:
    """n shapes that broadcast."""
    return hnp.mutually_broadcastable_shapes(
        num_shapes=n, max_dims=max_dims, max_side=max_side, min_side=0
    ).map(lambda drawn: drawn.input_shapes)


@st.composite
def layouts(draw: Any, array: Any) -> Any:
    """The same elements, laid out in memory in one of many ways."""
    layout = draw(st.sampled_from(["C", "F", "reversed", "strided", "read-only"]))
    if array.ndim == 0 or layout == "C":
        return array
    if layout == "F":
        return np.asfortranarray(array)
    if layout == "reversed":
        return array[::-1].copy()[::-1]
    if layout == "strided":
        return np.repeat(array, 2, axis=-1)[..., ::2]
    array.flags.writeable = False
    return array


@st.composite
def arrays(draw: Any, shape: Any, elements: Any = NUMBERS, dtype: Any = DTYPES) -> Any:
    """Arrays of a shape (or of drawn shapes), of any floating dtype and layout."""
    if not isinstance(shape, tuple):
        shape = draw(shape)
    if not isinstance(dtype, type):
        dtype = draw(dtype)
    flat = draw(st.lists(elements, min_size=math.prod(shape), max_size=math.prod(shape)))
    return draw(layouts(np.array(flat, dtype).reshape(shape)))


def axes(ndim: int) -> Any:
    """An axis to reduce along, from either end; a tuple of them; or None."""
    if ndim == 0:
        return st.sampled_from([None, ()])
    one = st.integers(-ndim, ndim - 1)
    several = st.lists(one, max_size=ndim, unique_by=lambda axis: axis % ndim).map(tuple)
    return st.none() | one | several


def _along(side: int) -> Any:
    """An index for one axis that leaves it, or takes it away."""
    every = st.slices(side)
    return every | st.integers(-side, side - 1) if side else every


@st.composite
def indices(draw: Any, shape: Shape) -> Any:
    """Any index that fits a shape: basic, advanced, masks, newaxis, ellipsis, mixed."""
    kind = draw(st.sampled_from(["basic", "advanced", "mask", "mixed", "mixed"]))
    if kind == "basic":
        return draw(hnp.basic_indices(shape, allow_newaxis=True, allow_ellipsis=True))
    if kind == "mask":
        return draw(masks(shape))
    if kind == "advanced" or not shape:
        return draw(repeated(shape[0])) if shape and shape[0] else Ellipsis
    common = draw(shapes(max_dims=2, min_side=1, max_side=3))
    parts: list[Any] = []
    for side in shape[: draw(st.integers(0, len(shape)))]:
        if draw(st.booleans()) and side:
            parts.append(draw(repeated(side, draw(st.sampled_from([common, ()])))))
        else:
            parts.append(draw(_along(side)))
    for _ in range(draw(st.integers(0, 1))):
        parts.insert(draw(st.integers(0, len(parts))), None)
    if draw(st.booleans()):
        parts.append(Ellipsis)
    return tuple(parts)


@st.composite
def masks(draw: Any, shape: Shape) -> Any:
    """A mask over the first axes of a shape."""
    covered = shape[: draw(st.integers(0, len(shape)))]
    flat = draw(st.lists(st.booleans(), min_size=math.prod(covered), max_size=math.prod(covered)))
    return np.array(flat, bool).reshape(covered)


@st.composite
def repeated(draw: Any, side: int, shape: Any = None) -> Any:
    """An array, or a list, of indices along an axis, with repetitions and from either end."""
    if shape is None:
        shape = draw(shapes(max_dims=2, max_side=4))
    n = math.prod(shape)
    flat = draw(st.lists(st.integers(-side, side - 1), min_size=n, max_size=n))
    array = np.array(flat, draw(st.sampled_from([np.intp, np.int32, np.int8]))).reshape(shape)
    return array.tolist() if shape and draw(st.booleans()) else array
