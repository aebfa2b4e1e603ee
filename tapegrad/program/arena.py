"""Buffers, and the arena: one block of memory that buffers share by turns."""

from __future__ import annotations

import math
from bisect import insort
from collections.abc import Sequence
from typing import Any

import attrs
import numpy as np

from tapegrad.program import cost
from tapegrad.program.lines import Line
from tapegrad.types import Array

# Moments: an int with a bit for each instruction of the outermost program.
Moments = int


@attrs.define(eq=False)
class Buffer:
    """An array that each call fills anew: allocated once, or for a result in each call.

    Attributes
    ----------
    shape, dtype
        The array's shape and dtype.
    alive
        The moments at which it is needed.
    name
        Its name in the program.
    arena, start
        The name of the arena that it lies in, or ""; and its first byte there, or in the memory of
        the program.
    is_result
        Whether it is the array of a result, which is new in each call.
    """

    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    alive: Moments = 0
    name: str = ""
    arena: str = ""
    start: int = 0
    is_result: bool = False

    @property
    def lines(self) -> int:
        """The number of cache lines that it takes."""
        return -(-math.prod(self.shape) * self.dtype.itemsize // cost.CACHE_LINE)

    @property
    def line(self) -> Line:
        """The line of a source that allocates it."""
        place = f", {self.arena}, {self.start}" if self.arena else ""
        return Line(self.name, f"buffer({self.shape}, {self.dtype.str!r}{place})")


def place_buffers(arrays: Sequence[Buffer]) -> int:
    """Place buffers so that no two that are alive at one time overlap.

    The largest are placed first, each as low as it fits between those that are alive when it is
    (Pisarchyk and Lee 2020, greedy by size).

    Returns
    -------
    The number of cache lines that all buffers take together.
    """
    # where places begin and end, the lowest first, and when they are taken; many buffers of one
    # size take a place by turns
    taken: list[list[int]] = []
    known: dict[tuple[int, int], list[int]] = {}
    for x in sorted(arrays, key=lambda x: (-x.lines, -x.alive.bit_count())):
        size, alive = x.lines, x.alive
        start, stop = 0, size
        for begin, end, moments in taken:
            if begin >= stop:
                break
            if end > start and alive & moments:
                start, stop = end, end + size
        x.start = start * cost.CACHE_LINE
        place = known.get((start, size))
        if place is None:
            place = known[start, size] = [start, stop, 0]
            insort(taken, place)
        place[2] |= alive
    return max([end for _, end, _ in taken], default=0)


def buffer(shape: tuple[int, ...], dtype: Any, arena: Any = None, start: int = 0) -> Array:
    """Make an array that begins at a cache line, or at a byte of an arena."""
    if arena is None:
        size = math.prod(shape) * np.dtype(dtype).itemsize
        arena = np.empty(size + cost.CACHE_LINE, np.uint8)
        start = -arena.ctypes.data % cost.CACHE_LINE
    return np.ndarray(shape, dtype, arena, start)
