"""Scans along an axis, and what is made of neighbours: differences, integrals, convolution."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.lib.array_utils import normalize_axis_index, normalize_axis_tuple

from tapegrad.domain import NEAR_ONE, REAL, Call, Choices, Elements
from tapegrad.op import op
from tapegrad.ops.axes import in_front, kept, on_first_axis, shifted
from tapegrad.ops.indexing import scatter
from tapegrad.ops.record import array, floating
from tapegrad.ops.reduction import without_nan
from tapegrad.tensor import NUMPY

__all__ = [
    "convolve",
    "correlate",
    "cumprod",
    "cumsum",
    "cumulative_prod",
    "cumulative_sum",
    "diff",
    "ediff1d",
    "linear_recurrence",
    "nancumprod",
    "nancumsum",
    "trapezoid",
]

_ZEROS = "right with any number of zeros"

# Any, for by NumPy's stubs mode is a literal
_convolve: Any = np.convolve


def _scanned(elements: Elements) -> Any:
    """Calls on an array with one axis of it, or None."""

    def call(choose: Choices) -> Call:
        x = choose.array(choose.shape(), elements)
        axis = choose.among([None, choose.axis(x.ndim)]) if x.ndim else None
        return Call((x,), choose.among([{}, {"axis": axis}]))

    return call


def _carried_back(g: Any, a: Any) -> Any:
    """The cotangent of each step, that of later ones times what they multiply it with."""
    return linear_recurrence(shifted(a[::-1], 0), g[::-1])[::-1]


def _recurrences(choose: Choices) -> Call:
    shape = choose.shape(min_dims=1)
    a, b = choose.array(shape, NEAR_ONE), choose.array(shape)
    return Call((a, b), {"axis": choose.axis(len(shape))})


def _times_before(back: Any, before: Any) -> Any:
    """A cotangent times the step before it: where it is 0, even if that one overflowed."""
    lost = np.equal(back, 0) & ~np.less(np.abs(before), np.inf)
    return back * np.where(lost, 0, before)


@op(
    on_first_axis(lambda g, y, a, b: _times_before(_carried_back(g, a), shifted(y, 0)), 0),
    on_first_axis(lambda g, y, a, b: _carried_back(g, a), 0),
    domain=_recurrences,
)
def linear_recurrence(a: Any, b: Any, axis: int = 0) -> Any:
    """``y[k] = a[k] * y[k - 1] + b[k]`` along an axis, from ``y[0] = b[0]``.

    Parameters
    ----------
    a
        What each step multiplies the one before with; the first has none before it.
    b
        What each step adds: an array of the shape of `a`.
    axis
        The axis of the steps.

    Raises
    ------
    ValueError
        If the shapes differ.

    Examples
    --------
    >>> import tapegrad as tg
    >>> tg.linear_recurrence(np.full(4, 0.5), np.array([1.0, 0.0, 0.0, 1.0]))
    array([1.   , 0.5  , 0.25 , 1.125])
    >>> tg.grad(lambda b: tg.linear_recurrence(np.full(4, 0.5), b)[-1])(np.ones(4))
    array([0.125, 0.25 , 0.5  , 1.   ])
    """
    a, b = np.asarray(a), np.asarray(b)
    if a.shape != b.shape:
        raise ValueError(f"a and b have one shape; got {a.shape} and {b.shape}")
    y = np.array(b, np.result_type(a, b))
    steps, factors = np.swapaxes(y, 0, axis), np.swapaxes(a, 0, axis)
    for k in range(1, len(steps)):
        steps[k] += factors[k] * steps[k - 1]
    return y


@op(
    on_first_axis(lambda g, y, a: np.cumsum(g[::-1], axis=0)[::-1], None),
    numpy=np.cumsum,
    domain=_scanned(REAL),
)
def cumsum(a: Any, axis: int | None = None) -> Any:
    """The sums of the elements up to each, along an axis or of the array flattened.

    Examples
    --------
    >>> import tapegrad as tg
    >>> tg.cumsum(np.array([1.0, 2.0, 3.0]))
    array([1., 3., 6.])
    >>> tg.grad(lambda x: tg.sum(tg.cumsum(x)))(np.ones(3))
    array([3., 2., 1.])
    """
    return np.cumsum(a, axis)


@op(
    on_first_axis(lambda g, y, a: _times_before(_carried_back(g, a), shifted(y, 1)), None),
    numpy=np.cumprod,
    domain=_scanned(NEAR_ONE),
    kink=_ZEROS,
)
def cumprod(a: Any, axis: int | None = None) -> Any:
    """The products of the elements up to each, along an axis or of the array flattened.

    The gradient is right with any number of zeros.

    Examples
    --------
    >>> import tapegrad as tg
    >>> tg.cumprod(np.array([2.0, 0.0, 3.0]))
    array([2., 0., 0.])
    >>> tg.grad(lambda x: tg.sum(tg.cumprod(x)))(np.array([2.0, 0.0, 3.0]))
    array([1., 8., 0.])
    """
    return np.cumprod(a, axis)


@op(composite=True, numpy=np.nancumsum, domain=_scanned(REAL))
def nancumsum(a: Any, axis: int | None = None) -> Any:
    """`cumsum` with 0 for nan.

    Examples
    --------
    >>> import tapegrad as tg
    >>> tg.nancumsum(np.array([1.0, np.nan, 3.0]))
    array([1., 1., 4.])
    """
    return cumsum(without_nan(a, 0), axis=axis)


@op(composite=True, numpy=np.nancumprod, domain=_scanned(NEAR_ONE), kink=_ZEROS)
def nancumprod(a: Any, axis: int | None = None) -> Any:
    """`cumprod` with 1 for nan.

    Examples
    --------
    >>> import tapegrad as tg
    >>> tg.nancumprod(np.array([2.0, np.nan, 3.0]))
    array([2., 2., 6.])
    """
    return cumprod(without_nan(a, 1), axis=axis)


def _whole(scan: Any, first: int, x: Any, axis: int | None, include_initial: bool) -> Any:
    """A scan as the array API has it: of one axis, or with a first element before it."""
    x = array(x)
    if axis is None and x.ndim > 1:
        raise ValueError(f"an array of {x.ndim} axes needs axis=: the one to go along")
    y = scan(x, axis=axis)
    if not include_initial:
        return y
    along = 0 if axis is None else axis
    return np.concatenate([np.full(kept(y.shape, along), first, y.dtype), y], axis=along)


def _from_initial(elements: Elements) -> Any:
    """Calls on an array with one axis, and with the first element or without."""

    def call(choose: Choices) -> Call:
        x = choose.array(choose.shape(min_dims=1), elements)
        axis = choose.among([choose.axis(x.ndim), None]) if x.ndim == 1 else choose.axis(x.ndim)
        return Call((x,), {"axis": axis, "include_initial": choose.among([False, True])})

    return call


@op(composite=True, numpy=np.cumulative_sum, domain=_from_initial(REAL))
def cumulative_sum(x: Any, *, axis: int | None = None, include_initial: bool = False) -> Any:
    """`cumsum` along an axis, which an array of one need not name.

    Parameters
    ----------
    x
        An array.
    axis
        The axis, for an array that has several.
    include_initial
        Whether 0, the sum of none, comes first.

    Examples
    --------
    >>> import tapegrad as tg
    >>> tg.cumulative_sum(np.array([1.0, 2.0]), include_initial=True)
    array([0., 1., 3.])
    """
    return _whole(cumsum, 0, x, axis, include_initial)


@op(composite=True, numpy=np.cumulative_prod, domain=_from_initial(NEAR_ONE), kink=_ZEROS)
def cumulative_prod(x: Any, *, axis: int | None = None, include_initial: bool = False) -> Any:
    """`cumprod` along an axis; arguments as for `cumulative_sum`, with 1 for none.

    Examples
    --------
    >>> import tapegrad as tg
    >>> tg.cumulative_prod(np.array([2.0, 3.0]), include_initial=True)
    array([1., 2., 6.])
    """
    return _whole(cumprod, 1, x, axis, include_initial)


def _part(x: Any, axis: int, start: int | None, stop: int | None) -> Any:
    """A slice along an axis."""
    return x[(slice(None),) * normalize_axis_index(axis, x.ndim) + (slice(start, stop),)]


def _apart(x: Any, axis: int = 0) -> Any:
    """What each element along an axis is more than the one before; of booleans, whether other."""
    after, before = _part(x, axis, 1, None), _part(x, axis, None, -1)
    return np.not_equal(after, before) if x.dtype.kind == "b" else after - before


def _joined(a: Any, ends: tuple[Any, Any], axis: int) -> Any:
    """The array with what comes before and after it, numbers as often as they are needed."""
    parts = [array(end) for end in ends if end is not None]
    parts = [np.broadcast_to(x, kept(a.shape, axis)) if x.ndim == 0 else x for x in parts]
    if not parts:
        return a
    return np.concatenate([a, *parts] if ends[0] is None else [parts[0], a, *parts[1:]], axis=axis)


def _differences(choose: Choices) -> Call:
    x = choose.array(choose.shape(min_dims=1))
    axis = choose.axis(x.ndim)
    sides = list(x.shape)
    sides[axis] = choose.integer(0, 2)
    ends = [choose.array(choose.among([tuple(sides), ()])) for _ in range(2)]
    call = (x, choose.integer(0, 2), axis)
    return choose.among([Call(call), Call((*call, *ends[:1])), Call((*call, *ends))])


@op(composite=True, numpy=np.diff, domain=_differences)
def diff(a: Any, n: int = 1, axis: int = -1, prepend: Any = None, append: Any = None) -> Any:
    """What each element is more than the one before it.

    Parameters
    ----------
    a
        An array.
    n
        How often the differences are taken anew.
    axis
        The axis to go along.
    prepend, append
        What comes before and after the array: a number or an array, or None.

    Raises
    ------
    ValueError
        If n is negative, or the array has no axis.

    Examples
    --------
    >>> import tapegrad as tg
    >>> tg.diff(np.array([1.0, 4.0, 9.0])), tg.diff(np.array([1.0, 4.0, 9.0]), n=2)
    (array([3., 5.]), array([2.]))
    """
    a = array(a)
    if n < 0:
        raise ValueError(f"differences are taken 0 or more times, not {n}")
    if a.ndim == 0:
        raise ValueError("diff needs an array with an axis")
    axis = normalize_axis_index(axis, a.ndim)
    if n > 0:
        a = _joined(a, (prepend, append), axis)
    for _ in range(n):
        a = _apart(a, axis)
    return a


def _padded_differences(choose: Choices) -> Call:
    x = choose.array(choose.shape(), dtypes="d")
    to_end, to_begin = (
        choose.among([None, choose.array(choose.shape(max_dims=2))]) for _ in range(2)
    )
    return Call((x, to_end, to_begin))


@op(composite=True, numpy=np.ediff1d, domain=_padded_differences)
def ediff1d(ary: Any, to_end: Any = None, to_begin: Any = None) -> Any:
    """The differences of the array flattened, with others before and after them.

    Parameters
    ----------
    ary
        An array.
    to_end, to_begin
        What comes after and before the differences, or None.

    Raises
    ------
    TypeError
        If what comes before or after does not fit the array's dtype.

    Examples
    --------
    >>> import tapegrad as tg
    >>> tg.ediff1d(np.array([1.0, 4.0, 9.0]), to_begin=0.0)
    array([0., 3., 5.])
    """
    a = in_front(array(ary), None)
    parts = [array(x) for x in (to_begin, to_end) if x is not None]
    for x in parts:
        if not np.can_cast(x.dtype, a.dtype, casting="same_kind"):
            raise TypeError(f"differences of {a.dtype} cannot be joined with {x.dtype}")
    ends = [in_front(x, None).astype(a.dtype) for x in parts]
    y = _apart(a)
    if not ends:
        return y
    return np.concatenate([y, *ends] if to_begin is None else [ends[0], y, *ends[1:]])


def _across(x: Any, y: Any, axis: int) -> Any:
    """An array of one axis as one along an axis of another."""
    return np.reshape(x, (-1, *(1,) * (y.ndim - 1 - axis % y.ndim)))


def _integrals(choose: Choices) -> Call:
    y = choose.array(choose.shape(min_dims=1, min_side=1))
    axis = choose.axis(y.ndim)
    x = choose.among([None, choose.array(y.shape), choose.array((y.shape[axis],))])
    return Call((y, x), {"dx": choose.among([1.0, 0.5]), "axis": axis})


@op(composite=True, numpy=np.trapezoid, domain=_integrals)
def trapezoid(y: Any, x: Any = None, dx: Any = 1.0, axis: int = -1) -> Any:
    """The integral of a function that is straight between the points.

    Parameters
    ----------
    y
        Its values at the points.
    x
        Where the points are: an array of the shape of `y`, or of one axis, or None.
    dx
        How far they are apart, where x is not given.
    axis
        The axis to integrate along.

    Examples
    --------
    >>> import tapegrad as tg
    >>> tg.grad(lambda y: tg.trapezoid(y, dx=2.0))(np.ones(3))
    array([1., 2., 1.])
    """
    y = array(y)
    normalize_axis_index(axis, y.ndim)
    if x is not None:
        x = array(x)
        dx = _across(_apart(x), y, axis) if x.ndim == 1 else _apart(x, axis)
    both = _part(y, axis, 1, None) + _part(y, axis, None, -1)
    return np.sum(dx * both / 2.0, axis=axis)


def _edge(f: Any, h: Any, edge_order: int) -> Any:
    """The slope at the first point, by the two or three points there."""
    if edge_order == 1:
        return (f[1] - f[0]) / h[0]
    near, far = h[0], h[0] + h[1]
    return ((f[1] - f[0]) * (far / near) - (f[2] - f[0]) * (near / far)) / h[1]


def _slopes(f: Any, h: Any, axis: int, edge_order: int) -> Any:
    """The slopes along one axis, of points this far apart."""
    turned = in_front(f, axis)
    if len(turned) <= edge_order:
        raise ValueError(
            f"gradient with edge_order={edge_order} needs {edge_order + 1} points or more along "
            f"axis {axis}; it has {len(turned)}"
        )
    if np.ndim(h):
        h = _across(h, turned, 0)
        left, right = h[:-1], h[1:]
        back, ahead = (turned[1:-1] - turned[:-2]) / left, (turned[2:] - turned[1:-1]) / right
        inner = (back * right + ahead * left) / (left + right)
        edges = h[:2], h[::-1]
    else:
        inner = (turned[2:] - turned[:-2]) / (2.0 * h)
        edges = (h, h), (h, h)
    first = _edge(turned, edges[0], edge_order)
    last = -_edge(turned[::-1], edges[1], edge_order)
    y = np.concatenate([np.expand_dims(first, 0), inner, np.expand_dims(last, 0)])
    return np.swapaxes(y, 0, axis).astype(f.dtype)


# not among the public names, where it would be taken for `grad`
def gradient(f: Any, *varargs: Any, axis: Any = None, edge_order: int = 1) -> Any:
    """``np.gradient`` on a Tensor: slopes by differences between neighbouring points.

    Parameters
    ----------
    f
        The values at the points.
    *varargs
        The distance of neighbours, for all axes or for each one; or for each one where
        the points are.
    axis
        The axes along which slopes are taken; all by default.
    edge_order
        1 or 2: the order of the differences at the edges.

    Returns
    -------
    The slopes along the axis, or a tuple of those along each of several.
    """
    f = floating(f)
    axes = normalize_axis_tuple(range(f.ndim) if axis is None else axis, f.ndim)
    if edge_order not in (1, 2):
        raise ValueError(f"edge_order is 1 or 2, not {edge_order}")
    given: tuple[Any, ...] = varargs or (1.0,)
    if len(given) == 1 and np.ndim(given[0]) == 0:
        given *= len(axes)
    if len(given) != len(axes):
        raise TypeError(f"gradient takes one distance, or one for each of {len(axes)} axes")
    slopes = []
    for i, h in zip(axes, given, strict=True):
        if np.ndim(h):
            h = floating(h)
            if h.shape != f.shape[i : i + 1]:
                raise ValueError(f"axis {i} has {f.shape[i]} points, not shape {h.shape} of them")
            h = _apart(h)
        slopes.append(_slopes(f, h, i, edge_order))
    return slopes[0] if len(axes) == 1 else tuple(slopes)


NUMPY[np.gradient] = gradient


def _convolve_vjp(g: Any, x: Any, other: Any, mode: str) -> Any:
    """The cotangent of x, by those of all places where the two overlap."""
    n, shorter = x.size + other.size - 1, min(x.size, other.size)
    start = {"full": 0, "same": (shorter - 1) // 2, "valid": shorter - 1}[mode]
    everywhere = scatter(g, shape=(n,), index=(slice(start, start + g.size),))
    return np.reshape(convolve(everywhere, in_front(other, None)[::-1], mode="valid"), x.shape)


def _overlaps(choose: Choices) -> Call:
    a, v = (choose.array(choose.shape(min_dims=1, max_dims=1, min_side=1)) for _ in range(2))
    return Call((a, v), {"mode": choose.among(["full", "same", "valid"])})


@op(
    lambda g, y, a, v, mode="full": _convolve_vjp(g, a, v, mode),
    lambda g, y, a, v, mode="full": _convolve_vjp(g, v, a, mode),
    numpy=np.convolve,
    domain=_overlaps,
)
def convolve(a: Any, v: Any, mode: str = "full") -> Any:
    """The convolution of two sequences: ``y[k]`` is the sum of all ``a[i] * v[k - i]``.

    Parameters
    ----------
    a, v
        Arrays of one axis.
    mode
        ``"full"`` for all places where they overlap, ``"same"`` for as many in the
        middle as the longer has elements, ``"valid"`` for where they overlap wholly.

    Examples
    --------
    >>> import tapegrad as tg
    >>> tg.convolve(np.array([1.0, 2.0, 3.0]), np.array([1.0, -1.0]))
    array([ 1.,  1.,  1., -3.])
    """
    # NumPy takes their first letters too
    if mode not in ("full", "same", "valid"):
        raise ValueError(f"mode is 'full', 'same' or 'valid', not {mode!r}")
    return _convolve(a, v, mode)


@op(composite=True, numpy=np.correlate, domain=_overlaps)
def correlate(a: Any, v: Any, mode: str = "valid") -> Any:
    """The correlation of two sequences: ``y[k]`` is the sum of all ``a[i + k] * v[i]``.

    Arguments as for `convolve`.

    Examples
    --------
    >>> import tapegrad as tg
    >>> tg.correlate(np.array([1.0, 2.0, 4.0]), np.array([-1.0, 1.0]))
    array([1., 2.])
    """
    a, v = array(a), array(v)
    if a.ndim != 1 or v.ndim != 1:
        raise ValueError(f"correlate takes arrays of one axis; got shapes {a.shape} and {v.shape}")
    if a.size < v.size:
        return convolve(v, a[::-1], mode=mode)[::-1]
    return convolve(a, v[::-1], mode=mode)
