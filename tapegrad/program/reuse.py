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
from tapegrad.ops.adding import add_lost, set_rows


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
        # how many updates of rows there were, and the last of each row of the table
        self._count = 0
        self._last: Array = np.empty(0, np.intp)

    def __call__(self, table: Array, values: Array, indices: Array, taken: Any = None) -> Array:
        """A new table, which the caller owns until it drops it.

        Parameters
        ----------
        table
            The one that rows are added to.
        values
            What is added, of shape ``indices.shape + row``.
        indices
            The rows that it is added to.
        taken
            These rows of the table, in an array that is written over; None if nobody took them.
        """
        changed = np.array(indices, np.intp).reshape(-1)
        values = values.reshape(-1, *table.shape[1:])
        # this raises an IndexError for an index out of bounds
        rows = table.take(changed, 0) if taken is None else taken.reshape(values.shape)
        np.add(rows, values, rows)
        first = self._count
        lost = self._lost(changed, len(table))
        newest = self._memory_of(table)
        updated = np.array(table, order="C") if newest is None else self._up_to_date(table, first)
        self._older = self._newest = self._handed_out = None
        set_rows(updated, changed, rows)
        add_lost(updated, changed, values, lost)
        result = give(updated)
        self._older = newest
        self._newest = weakref.ref(updated)
        self._handed_out = weakref.ref(result.base)  # type: ignore[arg-type]
        self._changed = changed
        return result

    def _lost(self, changed: Array, n_rows: int) -> Array:
        """Which of the rows that are updated now are updated again later on in this call."""
        if not self._last.size:
            self._last = np.full(n_rows, -1)
        numbers = np.arange(self._count, self._count + changed.size)
        self._count += changed.size
        self._last[changed] = numbers
        lost: Array = (self._last.take(changed) != numbers).nonzero()[0]
        return lost

    def _memory_of(self, table: Array) -> Array | None:
        """The array with the table's memory, if it is the newest table as it was handed out."""
        if self._newest is None or self._handed_out is None:
            return None
        whole = table.base is not None and table.base is self._handed_out()
        # the caller may have set the strides of the object that it was given
        return self._newest() if whole and table.flags.c_contiguous else None

    def _up_to_date(self, table: Array, first: int) -> Array:
        """An array like the newest table, or a copy, but for the updates from the first on."""
        if self._older is None or not self._is_older_dropped():
            return np.array(table)
        older: Array = self._older
        older.setflags(write=True)
        stale = self._changed[self._last.take(self._changed) < first]
        if stale.size:
            set_rows(older, stale, table.take(stale, 0))
        return older

    def _is_older_dropped(self) -> bool:
        # without the lock another thread may be about to take a reference
        locked: bool = getattr(sys, "_is_gil_enabled", lambda: True)()
        return locked and sys.getrefcount(self._older) == self._alone
