"""PART: one of the results of a loop or a branch."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tapegrad.core.forward import apply
from tapegrad.core.tensor import Parts, Rules, Tensor
from tapegrad.declare.batching import OneByOneError


def _part(whole: Parts, index: int) -> Any:
    """One of several values."""
    return whole.values[index]


def _pull(g: Any, y: Any, whole: Any, index: int) -> Parts:
    """The cotangent of this part, beside those of the other parts."""
    return Parts.only(count(whole), index, g)


def _push(op: Rules, tangents: Mapping[int, Parts], y: Any, whole: Any, index: int) -> Any:
    tangent = tangents[0].values[index]
    # parts that are rarely needed are computed on demand
    return tangent() if callable(tangent) else tangent


def _batch(op: Rules, batched: Any, whole: Parts, index: int) -> Any:
    value = whole.values[index]
    if value is None:
        raise OneByOneError
    return value


PART = Rules("part", _part, (_pull,), _push, takes_weak=True, batch=_batch)


def part(whole: Any, index: int) -> Any:
    """One of the values of `Parts`, or of a record of them."""
    return apply(PART, (whole,), {"index": index})


def count(whole: Any) -> int:
    """How many values there are."""
    return len((whole._primal if type(whole) is Tensor else whole).values)
