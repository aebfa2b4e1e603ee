"""PART: one of the several values that a loop or a branch gives."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from tapegrad.core.forward import apply
from tapegrad.core.parts import Parts
from tapegrad.core.tensor import Rules, Tensor


def _part(whole: Parts, index: int) -> Any:
    """One of several values."""
    return whole.values[index]


def _pull(g: Any, y: Any, whole: Any, index: int) -> Parts:
    return Parts.only(count(whole), index, g)


def _push(op: Rules, tangents: Mapping[int, Parts], y: Any, whole: Any, index: int) -> Any:
    tangent = tangents[0].values[index]
    # one that is rarely asked for is computed when it is
    return tangent() if callable(tangent) else tangent


def _batch(op: Rules, has: Any, whole: Any, index: int) -> Any:
    """One of several values, with the axis of the examples in front."""
    if index >= count(whole):
        raise TypeError(
            "a while_loop makes as many steps for each example of a batch as that one needs, and "
            "its derivative is not batched: write scan or fori_loop with steps enough for all, or "
            "take the derivative example by example"
        )
    if type(whole) is Parts:
        return whole.values[index]
    x = part(whole, index)
    # what the steps of a loop gave is stacked along the first axis
    loop = whole.options.get("loop")
    return x if loop is None or index < loop.n_carry else np.swapaxes(x, 0, 1)


PART = Rules("part", _part, (_pull,), _push, takes_weak=True, batch=_batch)


def part(whole: Any, index: int) -> Any:
    """One of the values of `Parts`, or of a record of them."""
    return apply(PART, (whole,), {"index": index})


def count(whole: Any) -> int:
    """How many values there are."""
    return len((whole._primal if type(whole) is Tensor else whole).values)
