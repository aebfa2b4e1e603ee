"""Flatten a call's floating results into one array, so that one record holds them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import attrs
import numpy as np

from tapegrad import tree
from tapegrad.core.operands import is_floating, primals
from tapegrad.core.tensor import Tensor
from tapegrad.face.ownership import keep, lend
from tapegrad.tree.opaque import refuse_hidden


@attrs.frozen
class Layout:
    """The places of a tree's floating leaves in one array, and the other leaves unchanged."""

    structure: tree.Structure
    leaves: tuple[Any, ...]
    shape: tuple[int, ...]
    dtype: np.dtype[Any]

    @classmethod
    def of(cls, output: Any) -> Layout:
        """The layout of a tree."""
        leaves, structure = tree.flatten(output)
        places: list[Any] = []
        stop = 0
        for x in leaves:
            if is_floating(x):
                primal = x._primal if type(x) is Tensor else x
                start, stop = stop, stop + math.prod(np.shape(primal))
                x = _Place(start, stop, np.shape(primal), np.asarray(primal).dtype)
            else:
                refuse_hidden(x, "a result")
                x = keep(x) if type(x) is np.ndarray else x
            places.append(x)
        found = [x for x in places if type(x) is _Place]
        shape = found[0].shape if len(found) == 1 else (stop,)
        dtype = np.result_type(*{x.dtype for x in found}) if found else np.dtype(float)
        return cls(structure, tuple(places), shape, dtype)

    def pack(self, output: Any) -> Any:
        """The floating leaves of a tree of this layout as one array; a single one as it is."""
        leaves = floating_leaves(output)
        values = primals(leaves)
        if len(values) == 1:
            (x,) = values
            if type(x) is float:
                return x
            if type(x) is not np.ndarray:
                return np.array(x)
            leaf = leaves[0]
            # a record's array is ours, but a view would keep more than itself in memory
            ours = type(leaf) is Tensor and x.base is None and (x.shape or leaf._is_a_number())
            return x if ours else keep(x)
        # written once, and only read from then on
        flat = np.empty(self.shape, self.dtype)
        for place, x in zip(self._places(), values, strict=True):
            flat[place.start : place.stop] = np.reshape(x, -1)
        flat.setflags(write=False)
        return flat

    def apart(self, packed: Any) -> list[Any]:
        """The floating leaves, taken out of an array or a Tensor of them."""
        places = self._places()
        return [packed] if len(places) == 1 else [place.of(packed) for place in places]

    def joined(self, floating: Sequence[Any]) -> Any:
        """`pack`, recorded, of the floating leaves; None stands for zero."""
        places = self._places()
        flat = [
            np.zeros(place.shape, place.dtype) if x is None else x
            for place, x in zip(places, floating, strict=True)
        ]
        if len(flat) == 1:
            return flat[0]
        return np.concatenate([x.reshape(-1).astype(self.dtype) for x in flat])

    def tree(self, floating: Sequence[Any]) -> Any:
        """The tree with these for floating leaves."""
        rest = iter(floating)
        leaves = [next(rest) if type(x) is _Place else lend(x) for x in self.leaves]
        return tree.unflatten(self.structure, leaves)

    def _places(self) -> list[_Place]:
        return [x for x in self.leaves if type(x) is _Place]


@attrs.frozen
class _Place:
    """The place of one leaf."""

    start: int
    stop: int
    shape: tuple[int, ...]
    dtype: np.dtype[Any]

    def of(self, packed: Any) -> Any:
        x = packed[self.start : self.stop] if self.shape else packed[self.start]
        if len(self.shape) > 1:
            x = x.reshape(self.shape)
        return x if x.dtype == self.dtype else x.astype(self.dtype)


def floating_leaves(output: Any) -> list[Any]:
    """The floating leaves of a tree, in order."""
    return [x for x in tree.leaves(output) if is_floating(x)]
