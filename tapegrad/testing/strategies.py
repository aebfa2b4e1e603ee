"""Hypothesis strategies: awkward arrays, and calls of any op of the table."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, TypeVar

import attrs
import numpy as np
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from tapegrad import tree
from tapegrad.domain import REAL, Call, Choices, Elements
from tapegrad.op import Op
from tapegrad.tensor import OPS, Array

__all__ = ["arrays", "broadcasting", "operands_for", "parameter_trees"]

T = TypeVar("T")
Shape = tuple[int, ...]
Strategy = st.SearchStrategy[Any]

_CLEAR = 1 / 16


@functools.cache
def whole(low: int, high: int) -> st.SearchStrategy[int]:
    """Whole numbers, by a strategy that is made once: to make one takes longer than to draw."""
    return st.integers(low, high)


@functools.cache
def numbers(elements: Elements) -> Strategy:
    """Numbers of an interval: eighths, which tie often, signed zeros, any others."""
    low, high = elements.low, elements.high

    def clear(x: float) -> bool:
        return low <= x <= high and all(abs(x - pole) >= _CLEAR for pole in elements.poles)

    eighths = [k / 8 for k in range(math.ceil(low * 8), math.floor(high * 8) + 1)]
    # the simplest first
    tying = sorted([x for x in [*eighths, -0.0] if clear(x)], key=abs)
    # every floating dtype holds these
    low_, high_ = float(np.float16(low)), float(np.float16(high))
    others = st.floats(low_, high_, width=16).filter(clear)
    return st.sampled_from(tying) | others if tying else others


_LAYOUTS = ("C", "F", "reversed", "strided", "read-only")


@st.composite
def layouts(draw: st.DrawFn, array: Array) -> Array:
    """The same elements, laid out in memory in one of many ways."""
    layout = _LAYOUTS[draw(whole(0, len(_LAYOUTS) - 1))]
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


@attrs.frozen
class Drawn(Choices):
    """The `Choices` that Hypothesis makes."""

    draw: st.DrawFn

    def integer(self, low: int, high: int) -> int:
        return self.draw(whole(low, high))

    def among(self, options: Sequence[T]) -> T:
        return options[self.draw(whole(0, len(options) - 1))]

    def subset(self, options: Sequence[T]) -> list[T]:
        n = len(options)
        chosen = self.draw(st.lists(st.integers(0, n - 1), unique=True)) if n else []
        return [options[i] for i in chosen]

    def permutation(self, n: int) -> list[int]:
        return self.draw(st.permutations(range(n)))

    def shape(
        self, min_dims: int = 0, max_dims: int = 3, min_side: int = 0, max_side: int = 3
    ) -> Shape:
        # not too many are empty
        least = self.among([max(min_side, 1)] * 3 + [min_side])
        sides = [self.integer(least, max_side) for _ in range(self.integer(min_dims, max_dims))]
        # where sides are alike, axes are mistaken without an error
        alike = len(sides) > 1 and self.among([False, True])
        return tuple(sides[:1] * len(sides) if alike else sides)

    def broadcastable(self, n: int, max_dims: int = 2, max_side: int = 3) -> tuple[Shape, ...]:
        full = self.shape(max_dims=max_dims, max_side=max_side)
        cut = [full[self.among([0, self.integer(0, len(full))]) :] for _ in range(n)]
        return tuple([tuple([self.among([side, side, 1]) for side in shape]) for shape in cut])

    def array(
        self, shape: Shape, elements: Elements = REAL, dtypes: str = "dfe", distinct: bool = False
    ) -> Array:
        n = math.prod(shape)
        if distinct:
            step = (elements.high - elements.low) / (n + 1)
            flat = [elements.low + step * (k + 1) for k in self.permutation(n)]
        else:
            flat = [self.draw(numbers(elements)) for _ in range(n)]
        dtype = self.among(dtypes)
        return self.laid_out(np.array(flat, dtype).reshape(shape))

    def integers(self, shape: Shape, low: int, high: int) -> Array:
        n = math.prod(shape)
        flat = [self.integer(low, high) for _ in range(n)]
        return np.array(flat, np.intp).reshape(shape)

    def booleans(self, shape: Shape) -> Array:
        return self.integers(shape, 0, 1).astype(bool)

    def laid_out(self, array: Array) -> Array:
        return self.draw(layouts(array))

    def axis(self, ndim: int) -> int:
        return self.integer(-ndim, ndim - 1)

    def axes(self, ndim: int) -> Any:
        kind = self.among(["all", "one", "several"]) if ndim else self.among(["all", "none"])
        if kind == "all":
            return None
        if kind == "one":
            return self.axis(ndim)
        several = self.subset(range(ndim))
        return tuple(axis - ndim if self.among([False, True]) else axis for axis in several)


def arrays(
    shape: Any = None,
    elements: Elements = REAL,
    dtypes: str = "dfe",
    scales: Sequence[float] = (1.0,),
) -> st.SearchStrategy[Array]:
    """Floating arrays of a shape, or of drawn shapes, in any layout.

    They tie often, have zeros of either sign, and lie in memory in C or Fortran order,
    reversed, strided, or read-only.

    Parameters
    ----------
    shape
        A shape, a strategy for shapes, or None for small ones: 0-d and empty too.
    elements
        The numbers: an interval without its poles.
    dtypes
        The characters of the dtypes to draw from.
    scales
        What the numbers are multiplied by, where the dtype can hold that: one of these
        for each array.

    Examples
    --------
    >>> from hypothesis import given, settings
    >>> import tapegrad as tg
    >>> @settings(max_examples=5, database=None)
    ... @given(tg.testing.arrays((2, 3), dtypes="d", scales=(1e-6, 1.0, 1e6)))
    ... def test(x):
    ...     assert (x.shape, x.dtype) == ((2, 3), np.float64)
    >>> test()
    """
    return _arrays(shape, elements, dtypes, tuple(scales))


@st.composite
def _arrays(
    draw: st.DrawFn, shape: Any, elements: Elements, dtypes: str, scales: Sequence[float]
) -> Array:
    choose = Drawn(draw)
    wanted = choose.shape() if shape is None else shape
    wanted = wanted if isinstance(wanted, tuple) else draw(wanted)
    scale = choose.among(scales)
    array = choose.array(wanted, elements, dtypes)
    largest = abs(scale) * max(abs(elements.low), abs(elements.high))
    if scale == 1 or largest > float(np.finfo(array.dtype).max):
        return array
    return choose.laid_out(array * array.dtype.type(scale))


def broadcasting(
    n: int, elements: Elements = REAL, dtypes: str = "dfe", scales: Sequence[float] = (1.0,)
) -> st.SearchStrategy[tuple[Array, ...]]:
    """Tuples of n arrays whose shapes broadcast against each other.

    Parameters
    ----------
    n
        How many.
    elements, dtypes, scales
        As for `arrays`.

    Examples
    --------
    >>> from hypothesis import given, settings
    >>> import tapegrad as tg
    >>> @settings(max_examples=5, database=None)
    ... @given(tg.testing.broadcasting(2))
    ... def test(arrays):
    ...     assert np.broadcast_shapes(*[x.shape for x in arrays]) == np.add(*arrays).shape
    >>> test()
    """

    @st.composite
    def drawn(draw: st.DrawFn) -> tuple[Array, ...]:
        shapes = Drawn(draw).broadcastable(n)
        return tuple([draw(arrays(shape, elements, dtypes, scales)) for shape in shapes])

    return drawn()


class Pair(NamedTuple):
    """A node of the trees that `parameter_trees` makes."""

    left: Any
    right: Any


@attrs.frozen(eq=False)
class Weights:
    """A node of the trees that `parameter_trees` makes."""

    weight: Any
    bias: Any


def parameter_trees(
    leaves: st.SearchStrategy[Any] | None = None, max_leaves: int = 6
) -> st.SearchStrategy[Any]:
    """Trees of parameters: nested dicts, lists, tuples, NamedTuples and attrs classes.

    Parameters
    ----------
    leaves
        What they hold; small `arrays` by default.
    max_leaves
        About how many leaves there may be; there is at least one.

    Examples
    --------
    >>> from hypothesis import given, settings
    >>> import tapegrad as tg
    >>> @settings(max_examples=5, database=None)
    ... @given(tg.testing.parameter_trees())
    ... def test(params):
    ...     total = lambda params: sum(map(tg.sum, tg.tree.leaves(params)))
    ...     grads = tg.grad(total)(params)
    ...     assert tg.tree.flatten(grads)[1] == tg.tree.flatten(params)[1]
    >>> test()
    """
    names = st.sampled_from(["w", "b", "layer", "0"])

    def nodes(children: Strategy) -> Strategy:
        several = st.lists(children, max_size=3)
        return (
            st.dictionaries(names, children, max_size=3)
            | several
            | several.map(tuple)
            | st.builds(Pair, children, children)
            | st.builds(Weights, children, children | st.none())
        )

    if leaves is None:
        leaves = arrays(hnp.array_shapes(min_dims=0, max_dims=2, min_side=0, max_side=2))
    return st.recursive(leaves, nodes, max_leaves=max_leaves).filter(tree.leaves)


def operands_for(op: Op[Any] | str) -> st.SearchStrategy[Call]:
    """Calls of an op: arguments from the domain that its declaration names.

    Parameters
    ----------
    op
        An op, or the name of one in the table.

    Returns
    -------
    A strategy for `tapegrad.domain.Call`: ``op(*call.args, **call.kwargs)``.

    Raises
    ------
    TypeError
        If the op declares no domain.

    Examples
    --------
    >>> from hypothesis import given, settings
    >>> import tapegrad as tg
    >>> @settings(max_examples=5, database=None)
    ... @given(tg.testing.operands_for(tg.maximum))
    ... def test(call):
    ...     assert tg.maximum(*call.args).shape == np.broadcast(*call.args).shape
    >>> test()
    """
    declared: Any = OPS[op] if isinstance(op, str) else op
    domain: Callable[[Any], Call] | None = declared.domain
    if domain is None:
        raise TypeError(f"{declared.name} declares no domain; name one where it is declared")

    @st.composite
    def calls(draw: st.DrawFn) -> Call:
        return domain(Drawn(draw))

    return calls()
