"""Memory that arrays share by turns: one block, in which each lies while it is needed."""

from __future__ import annotations

import math
from bisect import insort
from collections.abc import Sequence
from typing import Any

import attrs
import numpy as np

from tapegrad.program import cost
from tapegrad.program.expressions import Names
from tapegrad.program.lines import Line
from tapegrad.tree.ownership import Array

# Moments: an int with a bit for each instruction of the outermost program.
Moments = int


def life(start: int, stop: int) -> Moments:
    """The moments from an instruction to another, both included."""
    return (1 << (stop + 1)) - (1 << start)


def places(arrays: Sequence[tuple[int, Moments]]) -> list[int]:
    """Where arrays of these sizes may begin, so that none overlap that are needed at one time.

    The largest are placed first, each as low as it fits between those that live when it does
    (Pisarchyk and Lee 2020, greedy by size). Sizes are in lines of the cache.
    """
    starts = [0] * len(arrays)
    # the places taken, the lowest first, and when; many arrays of a size take one place by turns
    taken: list[tuple[int, int]] = []
    moments: dict[tuple[int, int], Moments] = {}
    for k in sorted(range(len(arrays)), key=lambda k: -arrays[k][0]):
        size, alive = arrays[k]
        start = 0
        for begin, end in taken:
            if begin >= start + size:
                break
            if end > start and alive & moments[begin, end]:
                start = end
        starts[k] = start
        place = start, start + size
        if place not in moments:
            insort(taken, place)
        moments[place] = moments.get(place, 0) | alive
    return starts


@attrs.frozen
class Memory:
    """An array that a program allocates once, and fills anew in each call.

    Attributes
    ----------
    name
        Its name.
    shape, dtype
        Of the array.
    alive
        When it is needed.
    arena, start
        The name of the memory that it lies in, if it shares any, and where it begins there.
    """

    name: str
    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    alive: Moments
    arena: str = ""
    start: int = 0

    @property
    def lines(self) -> int:
        """How many lines of the cache it takes."""
        return -(-math.prod(self.shape) * self.dtype.itemsize // cost.CACHE_LINE)

    @property
    def text(self) -> str:
        """The line of a source that allocates it."""
        place = f", {self.arena}, {self.start}" if self.arena else ""
        return f"{self.name} = buffer({self.shape}, {self.dtype.str!r}{place})"


class Arena:
    """The arrays that a program makes once, while it is written.

    Attributes
    ----------
    memory
        Those that are allocated.
    once
        The lines that run once after that, before the first call; more are added.
    """

    def __init__(self, names: Names) -> None:
        self.memory: list[Memory] = []
        self.once: list[Line] = []
        self._names = names

    def new(self, name: str, shape: tuple[int, ...], dtype: np.dtype[Any], alive: Moments) -> str:
        """Have an array of this name allocated, which is needed at these moments."""
        self.memory.append(Memory(name, shape, dtype, alive))
        return name

    def settle(self) -> int:
        """Have the arrays share memory where that saves any; how many bytes there are in all."""
        size = sum(x.lines for x in self.memory) * cost.CACHE_LINE
        shared = [x for x in self.memory if x.lines * cost.CACHE_LINE >= cost.PLACED_BYTES]
        apart = sum(x.lines for x in shared)
        if apart * cost.CACHE_LINE < cost.ARENA_BYTES:
            return size
        starts = places([(x.lines, x.alive) for x in shared])
        whole = max([start + x.lines for start, x in zip(starts, shared, strict=True)], default=0)
        if whole == apart:
            return size
        name = self._names.new("arena")
        placed = {
            x.name: attrs.evolve(x, arena=name, start=start * cost.CACHE_LINE)
            for start, x in zip(starts, shared, strict=True)
        }
        arena = Memory(name, (whole * cost.CACHE_LINE,), np.dtype(np.uint8), 0)
        self.memory = [arena, *[placed.get(x.name, x) for x in self.memory]]
        return size - (apart - whole) * cost.CACHE_LINE


def buffer(shape: tuple[int, ...], dtype: Any, arena: Any = None, start: int = 0) -> Array:
    """An array that begins at a cache line, which `empty` gives only by chance, or in an arena."""
    size = math.prod(shape) * np.dtype(dtype).itemsize
    if arena is None:
        arena = np.empty(size + cost.CACHE_LINE, np.uint8)
        start = -arena.ctypes.data % cost.CACHE_LINE
    array: Array = arena[start : start + size].view(dtype).reshape(shape)
    return array
