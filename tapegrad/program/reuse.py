"""Update a few rows of a table without copying the table, if no one can notice.

A training loop passes in the newest table, and drops the older one. The older table differs from
the newest one only in the rows that the last step changed, so updating it takes less time than
copying the newest one.
"""

from __future__ import annotations

import math
import weakref
from typing import Any

import numpy as np

from tapegrad.ops.adding import add_overwritten_rows, add_scaled_rows_into, set_rows
from tapegrad.ops.updates import add_scaled_rows
from tapegrad.tree.ownership import readonly_array
from tapegrad.types import Array

# a dead reference
_GONE: weakref.ref[Array] = weakref.ref(np.empty(0))


class RowUpdates:
    """A function that returns ``table`` with values added to some rows, as a separate array.

    Memory is reused only if it was allocated here and no array outside refers to it any more.
    `readonly_array` returns a view of a guard, and every further view keeps the guard alive, so a
    weak reference to the guard tells. A small table has no guard, and is copied. Each runner of a
    program has its own instance.

    Before NumPy 2.5 ``ufunc.at`` writes to read-only arrays. If a user so writes to the newest
    table, outside of the rows updated last, the next table lacks the change.
    """

    def __init__(self) -> None:
        # the array that owns the memory of the older table, and the older table's guard
        self._older: Array | None = None
        self._older_guard = _GONE
        # the same for the newest table
        self._newest = self._guard = _GONE
        self._changed: Array = np.empty(0, np.intp)
        # the number of updates so far, and the last one of each row of the table
        self._count = 0
        self._last: Array = np.empty(0, np.intp)

    def __call__(
        self,
        table: Array,
        values: Array,
        indices: Array,
        factor: Any = None,
        subtract: bool = False,
    ) -> Array:
        """Return a new table.

        Parameters
        ----------
        table
            The table.
        values
            The values to add, of shape ``indices.shape + row``.
        indices
            The rows to add to.
        factor, subtract
            As for `add_scaled_rows`; with None the values are added one by one, without a factor.
        """
        changed = np.array(indices, np.intp).reshape(-1)
        values = values.reshape(-1, *table.shape[1:])
        if factor is not None and not math.isfinite(factor):
            return readonly_array(add_scaled_rows(table, values, changed, factor, subtract))
        # this raises an IndexError for an index out of bounds
        rows = table.take(changed, 0)
        # for each row, its last place in this call
        if not self._last.size:
            self._last = np.full(len(table), -1)
        first = self._count
        self._count += changed.size
        self._last[changed] = np.arange(first, self._count)
        last = self._last.take(changed) - first
        # the caller may have set the strides of the array that it received
        guard, is_known = self._guard, table.base is not None and table.flags.c_contiguous
        newest = self._newest() if is_known and table.base is guard() else None
        # an error in this call loses the older table
        updated, self._older = self._older, None
        if newest is None or updated is None or self._older_guard() is not None:
            updated = np.array(table, order="C")
        else:
            updated.setflags(write=True)
            stale = self._changed[self._last.take(self._changed) < first]
            if stale.size:
                set_rows(updated, stale, table.take(stale, 0))
        if factor is None:
            set_rows(updated, changed, np.add(rows, values, rows))
            add_overwritten_rows(
                updated, changed, values, (last != np.arange(last.size)).nonzero()[0]
            )
        else:
            factor = -factor if subtract else factor
            add_scaled_rows_into(updated, changed, values, factor, last, rows)
        result = readonly_array(updated)
        self._older, self._older_guard = newest, guard
        self._newest = weakref.ref(updated)
        self._guard = weakref.ref(result.base)  # type: ignore[arg-type]
        self._changed = changed
        return result
