"""Batches without end."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import Any

import tapegrad as tg


def endless(key: Any, arrays: Any, size: int) -> Iterator[Any]:
    """Batches of one size, in a new order in each epoch; the key determines all of them."""
    for epoch in itertools.count():
        yield from tg.data.batches(tg.random.fold_in(key, epoch), arrays, size, drop_last=True)
