"""The setup of a source, which runs once, before the first call: buffers and views of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from tapegrad.program import cost
from tapegrad.program.arena import Buffer, buffer, place_buffers
from tapegrad.program.lines import Line


class Setup:
    """The buffers and lines of setup.

    Attributes
    ----------
    buffers
        The arrays that are allocated once.
    lines
        The lines that run once, after the buffers are allocated, such as a view of a buffer.
    size
        The bytes of all buffers, after `share_memory`.
    """

    def __init__(self) -> None:
        self.buffers: list[Buffer] = []
        self.lines: list[Line] = []
        self.size = 0

    def share_memory(self, new_name: Callable[[str], str]) -> None:
        """Place each buffer in memory; large buffers share an arena where that saves enough.

        Parameters
        ----------
        new_name
            A function that returns an unused name close to a wanted one.
        """
        large = [x for x in self.buffers if x.lines * cost.CACHE_LINE >= cost.PLACED_BYTES]
        apart = sum([x.lines for x in large])
        if apart * cost.CACHE_LINE >= cost.ARENA_BYTES and (whole := place_buffers(large)) < apart:
            name = new_name("arena")
            for x in large:
                x.arena = name
            arena = Buffer((whole * cost.CACHE_LINE,), np.dtype(np.uint8), name=name)
            self.buffers.insert(0, arena)
        for x in self.buffers:
            if not x.arena:
                x.start = self.size
                self.size += x.lines * cost.CACHE_LINE

    def run(self, namespace: Mapping[str, Any]) -> dict[str, Any]:
        """Allocate the buffers and run the lines.

        Returns
        -------
        The values of a namespace, and the buffers and results of lines, by name.
        """
        # one block for all buffers is faster to allocate
        values, block = {**namespace}, buffer((self.size,), np.uint8)
        for x in self.buffers:
            values[x.name] = np.ndarray(x.shape, x.dtype, values.get(x.arena, block), x.start)
        for line in self.lines:
            values[line.target] = line.take(values[line.base])
        return values
