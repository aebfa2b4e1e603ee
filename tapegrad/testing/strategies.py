"""Hypothesis strategies: awkward arrays, and calls of any op."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, TypeVar

import attrs
import numpy as np
from hypothesis import currently_in_test_context, note
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from tapegrad import tree
from tapegrad.domain import REAL, Call, Choices, Domain, Elements
from tapegrad.testing.assumed_domains import AssumedDomain
from tapegrad.testing.calls import domain_of
from tapegrad.testing.choices import clear_numbers, is_clear
from tapegrad.types import Array

T = TypeVar("T")
Strategy = st.SearchStrategy[Any]


@functools.cache
def integers(low: int, high: int) -> st.SearchStrategy[int]:
    """Return a cached strategy for integers: its creation takes longer than a draw."""
    return st.integers(low, high)


@functools.cache
def numbers(elements: Elements) -> Strategy:
    """Return a strategy for numbers in an interval: eighths, which tie, signed zeros, others."""
    # every floating dtype can hold the numbers of float16
    low, high = float(np.float16(elements.low)), float(np.float16(elements.high))
    others = st.floats(low, high, width=16).filter(lambda x: is_clear(x, elements))
    tying = clear_numbers(elements)
    return st.sampled_from(tying) | others if tying else others


@attrs.frozen
class HypothesisChoices(Choices):
    """Choices by Hypothesis."""

    draw: st.DrawFn

    def integer(self, low: int, high: int) -> int:
        return self.draw(integers(low, high))

    def _number(self, elements: Elements) -> float:
        number: float = self.draw(numbers(elements))
        return number


def arrays(
    shape: Any = None,
    elements: Elements = REAL,
    dtypes: str = "dfe",
    scales: Sequence[float] = (1.0,),
) -> st.SearchStrategy[Array]:
    """Draw floating arrays of a shape, or of drawn shapes, in any layout.

    Elements often tie, and zeros have either sign. The memory is in C or Fortran order, reversed or
    strided; some arrays are read-only.

    Parameters
    ----------
    shape
        A shape, a strategy for shapes, or None for small shapes, also 0-d and empty.
    elements
        The interval of the numbers, without its poles.
    dtypes
        The characters of the dtypes to draw from.
    scales
        Factors for the numbers; each array has one of them if its dtype can hold the products.

    Returns
    -------
    A strategy for arrays.

    Examples
    --------
    >>> from hypothesis import given, settings
    >>> import tapegrad as tg
    >>> @settings(max_examples=5, deadline=None, database=None)
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
    choose = HypothesisChoices(draw)
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
    """Draw tuples of n arrays whose shapes broadcast against each other.

    Parameters
    ----------
    n
        The number of arrays.
    elements, dtypes, scales
        As for `arrays`.

    Returns
    -------
    A strategy for tuples of arrays, each with its own shape and dtype.

    Examples
    --------
    >>> from hypothesis import given, settings
    >>> import tapegrad as tg
    >>> @settings(max_examples=5, deadline=None, database=None)
    ... @given(tg.testing.broadcasting(2))
    ... def test(arrays):
    ...     assert np.broadcast_shapes(*[x.shape for x in arrays]) == np.add(*arrays).shape
    >>> test()
    """

    @st.composite
    def broadcasting_arrays(draw: st.DrawFn) -> tuple[Array, ...]:
        shapes = HypothesisChoices(draw).broadcastable(n)
        return tuple([draw(arrays(shape, elements, dtypes, scales)) for shape in shapes])

    return broadcasting_arrays()


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
    """Draw trees of parameters: nested dicts, lists, tuples, NamedTuples and attrs classes.

    Parameters
    ----------
    leaves
        A strategy for the leaves; small `arrays` by default.
    max_leaves
        The approximate maximum number of leaves; there is at least one.

    Returns
    -------
    A strategy for trees.

    Examples
    --------
    >>> from hypothesis import given, settings
    >>> import tapegrad as tg
    >>> @settings(max_examples=5, deadline=None, database=None)
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


def operands_for(
    op: Callable[..., Any], domain: Domain | None = None, complex: bool = False
) -> st.SearchStrategy[Call]:
    """Draw calls of an op: arguments from its domain.

    For an op that declares no domain, its signature and trial calls determine a domain: the widest
    numbers and the most general shapes for which the op and its rules do not raise and the results
    are finite. The strategy's repr and a failing test show these assumptions. Give a domain if the
    op is meant for other calls.

    Parameters
    ----------
    op
        A user's op, or any function of arrays.
    domain
        The op's domain (`tapegrad.domain`); its declared domain by default.
    complex
        Whether some of the floating operands are complex, in the declared domain.

    Returns
    -------
    A strategy for `tapegrad.domain.Call`: ``op(*call.args, **call.kwargs)``.

    Raises
    ------
    TypeError
        If the op declares no domain, and no trial domain works; or if the op is part of the
        package, whose own tests draw its calls, and no domain is given.

    Examples
    --------
    >>> from hypothesis import given, settings
    >>> import tapegrad as tg
    >>> @settings(max_examples=5, deadline=None, database=None)
    ... @given(tg.testing.operands_for(lambda x, y: np.maximum(x, y)))
    ... def test(call):
    ...     assert np.maximum(*call.args).shape == np.broadcast(*call.args).shape
    >>> test()
    >>> @tg.custom_op(vjps=(lambda g, y, x: g / x,))
    ... def log(x):
    ...     return np.log(x)
    >>> tg.testing.operands_for(log)
    calls(assumed='x: real numbers from 0.0625 to 4; any shape')
    """
    used_domain: Any = domain_of(op, complex) if domain is None else domain

    @st.composite
    def calls(draw: st.DrawFn, assumed: str = "") -> Call:
        if assumed and currently_in_test_context():
            note(f"{used_domain.name} declares no domain; assumed: {assumed}")
        call: Call = used_domain(HypothesisChoices(draw))
        return call

    if isinstance(used_domain, AssumedDomain):
        return calls(assumed="; ".join(used_domain.assumptions))
    return calls()
