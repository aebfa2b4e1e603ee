"""Batches of data, in an order that a key decides."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from tapegrad import tree
from tapegrad.arraylike.reading import is_count
from tapegrad.errors.names import list_names
from tapegrad.random import permutation
from tapegrad.tree import Tree
from tapegrad.tree.numbers import is_masked
from tapegrad.tree.ownership import readonly_array

__all__ = ["batches"]
list_names(globals())


def batches(key: Any, arrays: Tree, size: int, drop_last: bool = False) -> Iterator[Tree]:
    """Batches of rows in random order: one epoch.

    Parameters
    ----------
    key
        The key of this epoch; None to keep the order of the rows.
    arrays
        A tree of arrays with the same number of rows, along their first axes.
    size
        How many rows a batch has.
    drop_last
        Whether to leave out a smaller last batch, for which a step would compile again.

    Returns
    -------
    An iterator of trees like `arrays`.

    Raises
    ------
    TypeError
        If a leaf is not an array with rows.
    ValueError
        If the numbers of rows differ, with the path, or the size is less than 1.

    Examples
    --------
    >>> import tapegrad as tg
    >>> data = {"x": np.arange(10.0).reshape(5, 2), "y": np.arange(5)}
    >>> [batch["x"].shape for batch in tg.data.batches(0, data, 2)]
    [(2, 2), (2, 2), (1, 2)]
    >>> for epoch in range(2):
    ...     key = tg.random.fold_in(0, epoch)
    ...     print(*[batch["y"] for batch in tg.data.batches(key, data, 2, drop_last=True)])
    [3 1] [4 0]
    [3 2] [4 1]
    """
    if not is_count(size, 1):
        raise ValueError(f"size is {size!r}; a batch has a positive integer number of rows")
    n = count_rows(arrays)
    order = np.arange(n) if key is None else permutation(key, n)
    stop = n - n % size if drop_last else n
    return (
        tree.map(lambda x: readonly_array(x[order[start : start + size]]), arrays)  # noqa: B023
        for start in range(0, stop, size)
    )


def count_rows(arrays: Any) -> int:
    """The number of rows that all leaves have."""
    known: dict[str, int] = {}
    for path, x in zip(tree.paths(arrays), tree.leaves(arrays), strict=True):
        where = f"arrays.{path}" if path else "arrays"
        if not isinstance(x, np.ndarray) or x.ndim == 0:
            raise TypeError(f"{where} is not an array with rows; it is {x!r}")
        if is_masked(x):
            raise TypeError(f"{where} is masked, which rows are not; fill it first (x.filled(0))")
        known[where] = len(x)
    if len(set(known.values())) > 1:
        listed = ", ".join(f"{where} has {n}" for where, n in known.items())
        raise ValueError(f"the numbers of rows differ: {listed}")
    if not known:
        raise ValueError("there are no arrays to take rows of")
    return next(iter(known.values()))
