"""Records with several results: the op that selects one, and trees of results.

A call that returns one array or number writes a record of it. A call that returns several, such as
a decomposition, a loop or a function of trees, writes a record of `Parts`, and one further record
for each value that is selected from it.
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


def _select_part(whole: Parts, index: int) -> Any:
    """Select one of several values."""
    return whole[index]


def _pull_part(g: Any, y: Any, whole: Any, index: int) -> Parts:
    """Return the cotangents of all parts: `g` for the selected one, None for the others."""
    return Parts.only(count_values(whole), index, g)


def _push_part(op: Primitive, tangents: Mapping[int, Parts], y: Any, whole: Any, index: int) -> Any:
    return compute_part(tangents[0][index])


def compute_part(x: Any) -> Any:
    """Return a part; a part that is rarely needed is a function that computes it."""
    return x() if callable(x) else x


def _batch_part(op: Primitive, batched: Any, whole: Any, index: int) -> Any:
    value = compute_part(part(whole, index))
    if value is None:
        raise OneByOneError
    return value


# files and pickles of older versions name it GETITEM
PART = GETITEM = Primitive(
    "part",
    _select_part,
    (_pull_part,),
    _push_part,
    takes_weak=True,
    batch=_batch_part,
    complex=True,
)


def part(whole: Any, index: int) -> Any:
    """Select one value of `Parts`, or of a record of them."""
    return apply(PART, (whole,), {"index": index})


def count_values(whole: Any) -> int:
    """Return the number of values of `Parts`, or of a record of them."""
    return len((whole._primal if type(whole) is Tensor else whole).values)


def parts_of(whole: Any) -> list[Any]:
    """Return all values of `Parts`, or of a record of them."""
    if type(whole) is Parts:
        return list(whole.values)
    return [part(whole, i) for i in range(count_values(whole))]


@attrs.frozen(eq=False, repr=False)
class MultiOutputOp(Op[P]):
    """An op with several results; a call returns a named tuple of them.

    Its forward function returns `Parts`.

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
    """Return whether a leaf is an array or a number; a call returns other leaves unchanged."""
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
    def from_output(cls, output: Any) -> Layout:
        """Return the layout of a tree."""
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
    def floating(self) -> list[_FloatingLeaf]:
        """Return the shapes and dtypes of the floating leaves."""
        return [x for x in self.leaves if type(x) is _FloatingLeaf]

    @property
    def shapes(self) -> str:
        """Return the shapes of the floating leaves, for messages."""
        return ", ".join([str(place.shape) for place in self.floating])

    def placeholder(self) -> Any:
        """Return zeros in the shapes and dtypes of the results, as a record holds them."""
        if [place.number for place in self.floating] == [True]:
            return self.floating[0].dtype.type(1).item()
        return join_parts([place.zeros() for place in self.floating])

    def to_primal(self, output: Any) -> Any:
        """Return the floating leaves of an output, as a record holds them."""
        leaves = floating_leaves(output)
        return join_parts([_record_value(x, len(leaves) == 1) for x in leaves])

    def partition(self, whole: Any) -> list[Any]:
        """Return the floating leaves of a record of results, or of its value."""
        return [whole] if len(self.floating) == 1 else parts_of(whole)

    def join(self, floating: Sequence[Any]) -> Any:
        """Join the leaves' cotangents or tangents into the record's; None stands for zero."""
        if len(floating) != 1:
            return Parts(tuple(floating))
        (place,), (x,) = self.floating, floating
        return place.zeros() if x is None else x

    def to_tree(self, floating: Sequence[Any]) -> Any:
        """Return the tree with these floating leaves; None stands for zero."""
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


def join_parts(values: list[Any]) -> Any:
    """Return `Parts` of several values, or a single value itself."""
    return values[0] if len(values) == 1 else Parts(tuple(values))


def _record_value(leaf: Any, alone: bool) -> Any:
    """Return a result as a record holds it; a Python number becomes an array unless `alone`."""
    x = primal_of(leaf)
    if type(x) in (float, complex) and alone:
        return x
    if type(x) is not np.ndarray:
        return owned_copy(np.asarray(x))
    # the array of a record is not copied, unless a view would keep a larger array in memory
    ours = type(leaf) is Tensor and x.base is None and (x.shape or leaf._is_a_number())
    return x if ours else readonly_view(owned_copy(x))


def floating_leaves(output: Any) -> list[Any]:
    """Return the floating leaves of a tree, in order."""
    return [x for x in tree.leaves(output) if is_floating(x)]
