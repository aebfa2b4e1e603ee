"""Domains: the calls that an op can be tested on.

A domain is a function from `Choices` to a `Call`. It needs no other package: the test of an op
provides the choices (`tapegrad.testing.operands_for` those of Hypothesis).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

import attrs
import numpy as np

from tapegrad.types import Array

__all__ = ["NEAR_ONE", "NONZERO", "POSITIVE", "REAL", "TYING", "Call", "Choices", "Domain"]
__all__ += ["Elements", "along", "any_of", "each", "matrices", "on_array", "reduced"]
__dir__ = __all__.copy

T = TypeVar("T")
Shape = tuple[int, ...]


@attrs.frozen
class Elements:
    """The numbers in an interval, except those close to some points.

    Attributes
    ----------
    low, high
        The ends, which are included.
    poles
        Points from which the numbers stay at least 1/16 away: where the op is not defined, or
        where differences cannot determine its slope. Kinks are not among them.

    Examples
    --------
    >>> import tapegrad as tg
    >>> from tapegrad.domain import Elements, each
    >>> domain = each(Elements(0.5, 2.0, poles=(1.0,)))
    >>> f = tg.custom_op(vjps=(None,), domain=domain)(lambda x: np.log(abs(x - 1)))
    >>> all(np.all(abs(call.args[0] - 1) > 0.06) for call in tg.testing.sample_calls(f, 20))
    True
    """

    low: float = -4.0
    high: float = 4.0
    poles: tuple[float, ...] = ()


REAL = Elements()
POSITIVE = Elements(0.0625, 4.0)
NONZERO = Elements(poles=(0.0,))
# the product of many of these fits in float16
NEAR_ONE = Elements(-1.25, 1.25)
# a few eighths, so that two are often equal
TYING = Elements(-0.5, 0.5)


@attrs.frozen(eq=False)
class Call:
    """The arguments of one call, as a user writes it.

    Attributes
    ----------
    args
        A tree; derivatives are taken by its floating arrays.
    kwargs
        Options. A test may leave out those that have a default.
    needed
        The options without which the call means nothing.

    Examples
    --------
    >>> import tapegrad as tg
    >>> from tapegrad.domain import Call
    >>> def calls(choose):
    ...     x = choose.array(choose.shape(min_dims=1))
    ...     return Call((x,), {"axis": choose.axis(x.ndim)})
    >>> flip = tg.custom_op(vjps=(None,), domain=calls)(lambda a, *, axis: np.flip(a, axis))
    >>> [call.kwargs for call in tg.testing.sample_calls(flip, 2)]
    [{'axis': 1}, {'axis': -2}]
    """

    args: tuple[Any, ...]
    kwargs: Mapping[str, Any] = attrs.Factory(dict)
    needed: tuple[str, ...] = attrs.field(default=(), repr=False)


class Choices:
    """The source of a domain's choices, all made from integers and floats.

    Examples
    --------
    >>> import tapegrad as tg
    >>> from tapegrad.domain import Call
    >>> def calls(choose):
    ...     x = choose.array(choose.shape(min_dims=1))
    ...     return Call((x,), {"axis": choose.axis(x.ndim)})
    >>> flip = tg.custom_op(vjps=(None,), domain=calls)(lambda a, *, axis: np.flip(a, axis))
    >>> [call.kwargs for call in tg.testing.sample_calls(flip, 2)]
    [{'axis': 1}, {'axis': -2}]
    """

    def integer(self, low: int, high: int) -> int:
        """An integer from low to high, both included."""
        raise NotImplementedError

    def _number(self, elements: Elements) -> float:
        """A number that any floating dtype holds."""
        raise NotImplementedError

    def among(self, options: Sequence[T]) -> T:
        """One of several."""
        return options[self.integer(0, len(options) - 1)]

    def subset(self, options: Sequence[T]) -> list[T]:
        """Some of several, each once, in any order."""
        chosen = self.permutation(len(options))[: self.integer(0, len(options))]
        return [options[i] for i in chosen]

    def permutation(self, n: int) -> list[int]:
        """The numbers from 0 to n - 1 in any order."""
        order = [*range(n)]
        for i in range(n - 1):
            j = self.integer(i, n - 1)
            order[i], order[j] = order[j], order[i]
        return order

    def shape(
        self, min_dims: int = 0, max_dims: int = 3, min_side: int = 0, max_side: int = 3
    ) -> Shape:
        """A shape: small, 0-d, empty and with sides of 1 unless bounds forbid."""
        # so that not too many are empty
        least = self.among([max(min_side, 1)] * 3 + [min_side])
        sides = [self.integer(least, max_side) for _ in range(self.integer(min_dims, max_dims))]
        # if sides were equal, mixing up axes would raise no error
        alike = len(sides) > 1 and self.among([False, True])
        return tuple(sides[:1] * len(sides) if alike else sides)

    def broadcastable(self, n: int, max_dims: int = 2, max_side: int = 3) -> tuple[Shape, ...]:
        """Shapes that broadcast against each other."""
        full = self.shape(max_dims=max_dims, max_side=max_side)
        cut = [full[self.among([0, self.integer(0, len(full))]) :] for _ in range(n)]
        return tuple([tuple([self.among([side, side, 1]) for side in shape]) for shape in cut])

    def array(
        self, shape: Shape, elements: Elements = REAL, dtypes: str = "dfe", distinct: bool = False
    ) -> Array:
        """A floating array in any layout, of one of the dtypes; with ties, unless `distinct`."""
        n = math.prod(shape)
        if distinct:
            step = (elements.high - elements.low) / (n + 1)
            flat = [elements.low + step * (k + 1) for k in self.permutation(n)]
        else:
            flat = [self._number(elements) for _ in range(n)]
        dtype = self.among(dtypes)
        return self.laid_out(np.array(flat, dtype).reshape(shape))

    def integers(self, shape: Shape, low: int, high: int) -> Array:
        """An array of integers."""
        n = math.prod(shape)
        flat = [self.integer(low, high) for _ in range(n)]
        return np.array(flat, np.intp).reshape(shape)

    def booleans(self, shape: Shape) -> Array:
        """An array of truth values."""
        return self.integers(shape, 0, 1).astype(bool)

    def laid_out(self, array: Array) -> Array:
        """The same elements; the array is read-only, reversed or strided in memory."""
        layout = self.among(["C", "F", "reversed", "strided", "read-only"])
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

    def axis(self, ndim: int) -> int:
        """An axis, from either end."""
        return self.integer(-ndim, ndim - 1)

    def axes(self, ndim: int) -> Any:
        """An axis, several, or None."""
        kind = self.among(["all", "one", "several"]) if ndim else self.among(["all", "none"])
        if kind == "all":
            return None
        if kind == "one":
            return self.axis(ndim)
        several = self.subset(range(ndim))
        return tuple(axis - ndim if self.among([False, True]) else axis for axis in several)


Domain = Callable[[Choices], Call]


def each(*elements: Elements, dtypes: str = "dfe") -> Domain:
    """Elementwise calls: an operand for each of these, of shapes that broadcast.

    Examples
    --------
    >>> import tapegrad as tg
    >>> from tapegrad.domain import POSITIVE, REAL, each
    >>> f = tg.custom_op(vjps=(None, None), domain=each(REAL, POSITIVE))(lambda a, b: a / b)
    >>> for call in tg.testing.sample_calls(f, 2):
    ...     print([x.shape for x in call.args], bool(np.all(call.args[1] > 0)))
    [(2,), (2,)] True
    [(), (0,)] True
    """

    def call(choose: Choices) -> Call:
        shapes = choose.broadcastable(len(elements))
        return Call(
            tuple(choose.array(shape, e, dtypes) for shape, e in zip(shapes, elements, strict=True))
        )

    return call


def any_of(*domains: Domain) -> Domain:
    """The calls of several domains, chosen at random.

    Examples
    --------
    >>> import tapegrad as tg
    >>> from tapegrad.domain import NEAR_ONE, REAL, any_of, each
    >>> f = tg.custom_op(vjps=(None,), domain=any_of(each(REAL), each(NEAR_ONE)))(lambda a: a * a)
    >>> for call in tg.testing.sample_calls(f, 2):
    ...     print(call.args[0].shape)
    (1,)
    (3,)
    """
    return lambda choose: choose.among(domains)(choose)


# sides of matrices of any kind, and of stacks of them
SHAPES = ((2, 2), (3, 2), (2, 3), (1, 2), (0, 2), (2, 0))
STACKS = ((), (2,), (1, 2), (0,))
# it and its first rows and columns have singular values well apart, as are the eigenvalues from a
# triangle; `_NEAR` does not bring them together
WELL = np.array([[4.0, 0.5, -0.25], [0.375, -2.0, 0.5], [-0.5, 0.625, 1.0]])
_NEAR = Elements(-0.125, 0.125)


def matrix(choose: Choices, n: int, m: int, stack: tuple[int, ...] = (), base: Any = WELL) -> Any:
    """A stack of n by m matrices of full rank, in float64 or float32."""
    near = choose.array((*stack, n, m), _NEAR, "df")
    # a view, like any array that somebody may still change
    return choose.laid_out((near + base[:n, :m].astype(near.dtype))[...])


def matrices(*shapes: tuple[int, int], base: Any = WELL, **options: Sequence[Any]) -> Domain:
    """Calls on matrices of one of the shapes (square by default), with a choice for each option.

    Examples
    --------
    >>> import tapegrad as tg
    >>> from tapegrad.domain import matrices
    >>> f = tg.custom_op(vjps=(None,), domain=matrices((3, 2)))(lambda a: a.T @ a)
    >>> for call in tg.testing.sample_calls(f, 2):
    ...     print(call.args[0].shape)
    (0, 3, 2)
    (2, 3, 2)
    """

    def call(choose: Choices) -> Call:
        n, m = choose.among(shapes or [(2, 2), (3, 3), (1, 1), (0, 0)])
        chosen = {name: choose.among(values) for name, values in options.items()}
        return Call((matrix(choose, n, m, choose.among(STACKS), base),), chosen)

    return call


def reduced(elements: Elements = REAL, min_side: int = 0, dtypes: str = "dfe") -> Domain:
    """Calls on an array with axes to reduce, which may be kept.

    Examples
    --------
    >>> import tapegrad as tg
    >>> from tapegrad.domain import reduced
    >>> f = tg.custom_op(vjps=(None,), domain=reduced())(
    ...     lambda a, axis=None, keepdims=False: np.sum(a, axis=axis, keepdims=keepdims)
    ... )
    >>> for call in tg.testing.sample_calls(f, 2):
    ...     print(call.args[0].shape, call.kwargs)
    (2, 1) {'axis': (-1,), 'keepdims': True}
    (3, 3, 3) {'axis': (-3, 2), 'keepdims': False}
    """

    def call(choose: Choices) -> Call:
        x = choose.array(choose.shape(min_side=min_side), elements, dtypes)
        keepdims = choose.among([False, True])
        return Call((x,), {"axis": choose.axes(x.ndim), "keepdims": keepdims})

    return call


def along(elements: Elements = REAL, min_side: int = 1, dtypes: str = "dfe") -> Domain:
    """Calls on an array with one axis of it.

    Examples
    --------
    >>> import tapegrad as tg
    >>> from tapegrad.domain import along
    >>> f = tg.custom_op(vjps=(None,), domain=along())(lambda a, *, axis: np.flip(a, axis))
    >>> for call in tg.testing.sample_calls(f, 2):
    ...     print(call.args[0].shape, call.kwargs)
    (2, 1) {'axis': 1}
    (2, 2) {'axis': -2}
    """

    def call(choose: Choices) -> Call:
        x = choose.array(choose.shape(min_dims=1, min_side=min_side), elements, dtypes)
        return Call((x,), {"axis": choose.axis(x.ndim)})

    return call


def on_array(
    arguments: Callable[[Choices, Array], Mapping[str, Any]],
    *,
    min_dims: int = 0,
    max_dims: int = 3,
    min_side: int = 0,
) -> Domain:
    """Calls on one array, with keyword arguments chosen for it.

    Examples
    --------
    >>> import tapegrad as tg
    >>> from tapegrad.domain import on_array
    >>> domain = on_array(lambda choose, a: {"n": choose.integer(1, 3)})
    >>> f = tg.custom_op(vjps=(None,), domain=domain)(lambda a, *, n: a**n)
    >>> for call in tg.testing.sample_calls(f, 2):
    ...     print(call.args[0].shape, call.kwargs)
    (2, 1) {'n': 3}
    (2, 2) {'n': 1}
    """

    def call(choose: Choices) -> Call:
        x = choose.array(choose.shape(min_dims, max_dims, min_side))
        return Call((x,), arguments(choose, x))

    return call


def axis_or_flat(choose: Choices, a: Array) -> tuple[int | None, int]:
    """One of an array's axes and its length, or None and the number of all elements."""
    axis = choose.axis(a.ndim) if a.ndim and choose.among([False, True]) else None
    return axis, a.size if axis is None else a.shape[axis]


def rows(choose: Choices, side: int, shape: Shape | None = None) -> Any:
    """Indices along an axis, as an array or a list; some repeat, or count from the end."""
    if shape is None:
        shape = choose.shape(max_dims=2, max_side=4)
    dtype = choose.among([np.intp, np.int32, np.int8])
    array = choose.integers(shape, -side, side - 1).astype(dtype)
    # an empty list would be an array of floats
    return array.tolist() if array.ndim and array.size and choose.among([False, True]) else array


def index(choose: Choices, shape: Shape) -> Any:
    """Any index that fits a shape: basic, advanced, with masks, newaxis or ellipsis, or mixed."""
    kind = choose.among(["basic", "advanced", "mask", "mixed", "mixed"])
    if kind == "mask":
        return choose.booleans(shape[: choose.integer(0, len(shape))])
    if kind == "advanced" and shape and shape[0]:
        return rows(choose, shape[0])
    common = choose.shape(max_dims=2, min_side=1)
    parts: list[Any] = []
    n = choose.integer(0, len(shape))
    front = choose.among([n, choose.integer(0, n)])
    for side in shape[:front] + shape[len(shape) - n + front :]:
        if not side or choose.among([False, True]):
            start, stop = choose.integer(-side - 1, side + 1), choose.integer(-side - 1, side + 1)
            steps: list[int | None] = [None, 2, -1, -2]
            ends = choose.among([(None, None), (start, None), (None, stop), (start, stop)])
            parts.append(slice(*ends, choose.among(steps)))
        elif kind == "mixed" and choose.among([False, True]):
            parts.append(rows(choose, side, choose.among([common, ()])))
        else:
            parts.append(choose.integer(-side, side - 1))
    if front < n or choose.among([False, True]):
        parts.insert(front, Ellipsis)
    if choose.among([False, True]):
        parts.insert(choose.integer(0, len(parts)), None)
    return parts[0] if len(parts) == 1 and choose.among([False, True]) else tuple(parts)
