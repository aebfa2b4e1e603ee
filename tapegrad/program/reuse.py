"""Updates of a few rows of a table, without a copy of it where nobody would notice.

A training loop gives back the table that it was given last, and keeps no older one. The
older one is like the new but for the rows that the last step changed, so that it takes
less to bring it up to date than to copy the new one.
"""

from __future__ import annotations

import sys
import weakref
from typing import Any

import numpy as np

from tapegrad.core.ownership import Array, give
from tapegrad.ops.adding import add_rows


class RowUpdates:
    """``table`` with values added to rows, as an array of its own: one line of a program.

    Memory is used again only if it was allocated here and no reference to it is left but
    the one kept here: whatever `give` hands out, and every view of that, refers to the
    array with the memory, which nobody else is given. Each run of a program has an
    instance of its own.

    Before NumPy 2.5 one thing is not noticed: ``ufunc.at`` writes to read-only arrays there,
    and what it writes to the newest table, other than in the rows that were updated last,
    is not in the table that the next call makes of it.
    """

    def __init__(self) -> None:
        self._older: Any = object()
        # how many references there are to what is kept here alone
        self._alone = sys.getrefcount(self._older)
        self._older = None
        # the array with the newest table's memory, and the base of what was handed out of it
        self._newest: weakref.ref[Array] | None = None
        self._handed_out: weakref.ref[Array] | None = None
        self._changed: Array = np.empty(0, np.intp)

    def __call__(self, table: Array, values: Array, indices: Any) -> Array:
        """A new table, which the caller owns until it drops it."""
        newest = self._memory_of(table)
        updated = np.array(table) if newest is None else self._up_to_date(table)
        self._older = self._newest = self._handed_out = None
        changed = np.array(indices)
        add_rows(updated, changed, values)
        result = give(updated)
        self._older = newest
        self._newest = weakref.ref(updated)
        self._handed_out = weakref.ref(result.base)  # type: ignore[arg-type]
        self._changed = changed
        return result

    def _memory_of(self, table: Array) -> Array | None:
        """The array with the table's memory, if it is the newest table as it was handed out."""
        if self._newest is None or self._handed_out is None:
            return None
        whole = table.base is not None and table.base is self._handed_out()
        # the caller may have set the strides of the object that it was given
        return self._newest() if whole and table.flags.c_contiguous else None

    def _up_to_date(self, table: Array) -> Array:
        """An array like the newest table: the one before it, or a copy."""
        if self._older is None or not self._is_older_dropped():
            return np.array(table)
        older: Array = self._older
        older.setflags(write=True)
        older[self._changed] = table.take(self._changed, 0)
        return older

    def _is_older_dropped(self) -> bool:
        # without the lock another thread may be about to take a reference
        locked: bool = getattr(sys, "_is_gil_enabled", lambda: True)()
        return locked and sys.getrefcount(self._older) == self._alone
