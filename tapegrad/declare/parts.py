"""Parts of a record with several results: the op that selects one, and trees of results.

A call that returns one array or number is a record of it. A call that returns several, such as a
decomposition, a loop or a call of a function of trees, is a record of `Parts`, and one further
record selects each of them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ParamSpec

import attrs
import numpy as np

from tapegrad import tree
from tapegrad.core.forward import apply
from tapegrad.core.op import Op
from tapegrad.core.primitive import Parts, Primitive
from tapegrad.core.tensor import Tensor, primal_of
from tapegrad.declare.batching import OneByOneError
from tapegrad.tree.numbers import is_floating
from tapegrad.tree.opaque import refuse_hidden
from tapegrad.tree.ownership import owned_copy, readonly_view

P = ParamSpec("P")


def _part(whole: Parts, index: int) -> Any:
    """One of several values."""
    return whole[index]


def _pull_part(g: Any, y: Any, whole: Any, index: int) -> Parts:
    """The cotangents of all parts: `g` for the selected one, none for the others."""
    return Parts.only(count_values(whole), index, g)


def _push_part(op: Primitive, tangents: Mapping[int, Parts], y: Any, whole: Any, index: int) -> Any:
    return on_demand(tangents[0][index])


def on_demand(x: Any) -> Any:
    """A part; one that is rarely needed is a function, which computes it."""
    return x() if callable(x) else x


def _batch_part(op: Primitive, batched: Any, whole: Any, index: int) -> Any:
    value = on_demand(part(whole, index))
    if value is None:
        raise OneByOneError
    return value


# files and pickles of older versions name it GETITEM
PART = GETITEM = Primitive(
    "part", _part, (_pull_part,), _push_part, takes_weak=True, batch=_batch_part, complex=True
)


def part(whole: Any, index: int) -> Any:
    """One of the values of `Parts`, or of a record of them."""
    return apply(PART, (whole,), {"index": index})


def count_values(whole: Any) -> int:
    """The number of values of `Parts`, or of a record of them."""
    return len((whole._primal if type(whole) is Tensor else whole).values)


def parts_of(whole: Any) -> list[Any]:
    """All values of `Parts`, or of a record of them."""
    if type(whole) is Parts:
        return list(whole.values)
    return [part(whole, i) for i in range(count_values(whole))]


@attrs.frozen(eq=False, repr=False)
class MultiOutputOp(Op[P]):
    """An op whose forward function returns `Parts`; a call returns them as a named tuple.

    Its `like` returns parts of the same shapes and dtypes. Its rules receive a cotangent for each
    part, None for a part that was not used.

    Attributes
    ----------
    results
        The class of the named tuple that a call returns.
    """

    results: Any = attrs.field(kw_only=True)

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> Any:
        return self.results(*parts_of(super().__call__(*args, **kwargs)))


def is_numeric(x: Any) -> bool:
    """Whether a leaf is an array or a number; other leaves of results are returned unchanged."""
    return isinstance(x, Tensor | np.ndarray | np.generic | float | int | complex)


@attrs.frozen
class Layout:
    """A tree of results: the positions of its floating leaves, and its other leaves.

    Attributes
    ----------
    structure, leaves
        The tree; each floating leaf is replaced by its shape and dtype.
    """

    structure: tree.Structure
    leaves: tuple[Any, ...]

    @classmethod
    def of(cls, output: Any) -> Layout:
        """The layout of a tree."""
        leaves, structure = tree.flatten(output)
        places: list[Any] = []
        for x in leaves:
            if is_floating(x):
                primal = x._primal if type(x) is Tensor else x
                x = _FloatingLeaf(
                    np.shape(primal), np.asarray(primal).dtype, type(primal) in (float, complex)
                )
            else:
                refuse_hidden(x, "a result")
                x = owned_copy(x) if type(x) is np.ndarray else x
            places.append(x)
        return cls(structure, tuple(places))

    @property
    def places(self) -> list[_FloatingLeaf]:
        """The shapes and dtypes of the floating leaves."""
        return [x for x in self.leaves if type(x) is _FloatingLeaf]

    @property
    def shapes(self) -> str:
        """The shapes of the floating leaves."""
        return ", ".join([str(place.shape) for place in self.places])

    def like(self) -> Any:
        """A value of the shapes and dtypes of a record of such results."""
        if [place.number for place in self.places] == [True]:
            return self.places[0].dtype.type(1).item()
        return together([place.zeros() for place in self.places])

    def primal(self, output: Any) -> Any:
        """The floating leaves of a tree of this layout, as a record holds them."""
        leaves = floating_leaves(output)
        return together([_held(x, len(leaves) == 1) for x in leaves])

    def partition(self, whole: Any) -> list[Any]:
        """The floating leaves of the value of such a record, or of the record."""
        return [whole] if len(self.places) == 1 else parts_of(whole)

    def together(self, floating: Sequence[Any]) -> Any:
        """The cotangent or tangent of such a record, joined from its leaves'; None for zero."""
        if len(floating) != 1:
            return Parts(tuple(floating))
        (place,), (x,) = self.places, floating
        return place.zeros() if x is None else x

    def tree(self, floating: Sequence[Any]) -> Any:
        """The tree with these for floating leaves; None for zero."""
        rest = iter(floating)
        leaves = []
        for x in self.leaves:
            if type(x) is _FloatingLeaf:
                leaf = next(rest)
                leaves.append(x.zeros() if leaf is None else leaf)
            else:
                leaves.append(readonly_view(x))
        return tree.unflatten(self.structure, leaves)


@attrs.frozen
class _FloatingLeaf:
    """The shape and dtype of a floating leaf, and whether it is a Python number."""

    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    number: bool

    def zeros(self) -> Any:
        return np.zeros(self.shape, self.dtype)


def together(values: list[Any]) -> Any:
    """Several values as a record holds them: `Parts`, or a single value itself."""
    return values[0] if len(values) == 1 else Parts(tuple(values))


def _held(leaf: Any, alone: bool) -> Any:
    """A result as a record holds it; a Python number becomes an array unless it is alone."""
    x = primal_of(leaf)
    if type(x) in (float, complex) and alone:
        return x
    if type(x) is not np.ndarray:
        return owned_copy(np.asarray(x))
    # a record's array is ours, but a view would keep more than itself in memory
    ours = type(leaf) is Tensor and x.base is None and (x.shape or leaf._is_a_number())
    return x if ours else readonly_view(owned_copy(x))


def floating_leaves(output: Any) -> list[Any]:
    """The floating leaves of a tree, in order."""
    return [x for x in tree.leaves(output) if is_floating(x)]
