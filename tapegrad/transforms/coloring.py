"""Colorings of the columns of a sparse matrix; one product serves all columns of a color.

Two columns may share a color if no row has an element in both. For a symmetric matrix fewer
colors are enough, since each element occurs twice: a star coloring (Gebremedhin, Manne
and Pothen 2005, "What color is your Jacobian? Graph coloring for computing derivatives", sections
3.4 and 4.1). Sets of colors are the bits of Python ints.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

import numpy as np

from tapegrad.types import Array


def color_columns(rows: Array, cols: Array, n: int) -> Array:
    """Return a color for each of n columns, from 0; columns of a color share no row."""
    if not len(rows):
        return np.zeros(n, int)
    # a row needs as many colors as it has elements
    lower_bound = int(np.bincount(rows).max())
    if lower_bound == n or (2 * lower_bound > n and len(rows) > _DENSE_NNZ):
        return np.arange(n)
    rows_of = _rows_by_column(rows, cols, n)
    m = int(rows.max()) + 1

    def color_in_order(order: Iterable[int]) -> Array:
        taken = [0] * m  # by the columns of each row
        colors = np.zeros(n, int)
        for j in order:
            mask = 0
            for i in rows_of[j]:
                mask |= taken[i]
            bit = ~mask & (mask + 1)
            colors[j] = bit.bit_length() - 1
            for i in rows_of[j]:
                taken[i] |= bit
        return colors

    return _fewest_colors(color_in_order, np.bincount(cols, minlength=n), lower_bound)


def color_symmetric(rows: Array, cols: Array, n: int) -> Array:
    """Return a star coloring: a color for each column of a symmetric pattern.

    Neighbors differ, and every path of four columns has at least three colors. So the element at
    (i, j) or the one at (j, i) is alone in its row with the color of its column.
    """
    off = rows != cols
    neighbors = _rows_by_column(rows[off], cols[off], n)

    def color_in_order(order: Iterable[int]) -> Array:
        colors = [-1] * n
        # the colors of the neighbors of a column
        around = [0] * n
        # the colors that end a path of four over a neighbor
        beyond = [0] * n
        first: list[dict[int, int]] = [{} for _ in range(n)]
        for j in order:
            mask = 0
            for i in neighbors[j]:
                # a column without a color must not join two of one color
                mask |= around[i] if colors[i] < 0 else beyond[i] | 1 << colors[i]
            bit = ~mask & (mask + 1)
            color = colors[j] = bit.bit_length() - 1
            for i in neighbors[j]:
                around[i] |= bit
                other = first[i].setdefault(color, j)
                if other != j:
                    # i, which has a color, joins two columns of this one
                    beyond[j] |= 1 << colors[i]
                    beyond[other] |= 1 << colors[i]
        return np.array(colors)

    return _fewest_colors(color_in_order, np.bincount(cols, minlength=n), 1)


def _rows_by_column(rows: Array, cols: Array, n: int) -> list[list[int]]:
    """Return the rows of each column."""
    order = np.argsort(cols, kind="stable")
    ends = np.searchsorted(cols[order], np.arange(n + 1))
    in_order = rows[order].tolist()
    return [in_order[a:b] for a, b in zip(ends[:-1].tolist(), ends[1:].tolist(), strict=True)]


# a matrix with more elements than this and a row that is half full is treated as dense
_DENSE_NNZ = 1 << 20
# up to this many columns, further orders are worth their time
_MAX_RECOLORED = 1 << 14


def _fewest_colors(
    color_in_order: Callable[[Iterable[int]], Array], degrees: Array, lower_bound: int
) -> Array:
    """Return the best coloring of several orders: given, by degree, by the colors found so far.

    Coloring the columns again, one color after the other, takes no more colors than before, and
    often fewer (J. C. Culberson 1992, "Iterated greedy graph coloring and the difficulty
    landscape").
    """
    n = len(degrees)
    best = color_in_order(range(n))
    for k in range(4):
        if best.max(initial=-1) < lower_bound or (k and n > _MAX_RECOLORED):
            break
        first = [-degrees, -best, -np.bincount(best)[best], -best][k]
        other = color_in_order(np.argsort(first, kind="stable").tolist())
        best = min(other, best, key=np.max)
    return best
