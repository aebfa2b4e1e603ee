"""Which lines of two tapes belong together."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import zip_longest
from typing import Any

from tapegrad.core.tensor import Tensor
from tapegrad.core.writing import PARAMETER

# how many differences a search for the next line that two tapes have in common passes over
_FAR = 256

Pair = tuple[Tensor | None, Tensor | None]


def paired(a: Sequence[Tensor], b: Sequence[Tensor], alike: bool) -> Iterator[Pair]:
    """The lines of two tapes in pairs, in order, with None beside those that are in one alone.

    Lines of one op, written for one line of source, are paired, then, between these, lines of one
    op. Lines that stand in one another's place are a pair too, unless all pairs shall be `alike`.
    """
    placed = all(any(x.place is not None for x in tape) for tape in (a, b))
    return _pairs(a, b, [_by_source, _by_op] if placed else [_by_op], alike)


def _by_op(x: Tensor) -> Any:
    return x.op is PARAMETER, x.name if x.op is PARAMETER else x.op.name


def _by_source(x: Tensor) -> Any:
    # a line may have moved in the file
    return _by_op(x), x.place.text if x.place else ""


def _pairs(
    a: Sequence[Tensor],
    b: Sequence[Tensor],
    keys: Sequence[Callable[[Tensor], Any]],
    alike: bool,
) -> Iterator[Pair]:
    if not keys or not a or not b:
        for x, y in zip_longest(a, b):
            if x is None or y is None or (not alike and _exchanged(x, y)):
                yield x, y
            else:
                yield x, None
                yield None, y
        return
    i = j = 0
    for m, n in [*matches([*map(keys[0], a)], [*map(keys[0], b)]), (len(a), len(b))]:
        yield from _pairs(a[i:m], b[j:n], keys[1:], alike)
        if m < len(a):
            yield a[m], b[n]
        i, j = m + 1, n + 1


def _exchanged(x: Tensor, y: Tensor) -> bool:
    """Whether one line may stand in the place of another."""
    return x.shape == y.shape and (x.op is PARAMETER) == (y.op is PARAMETER)


def matches(a: Sequence[Any], b: Sequence[Any], far: int = _FAR) -> Iterator[tuple[int, int]]:
    """A longest common subsequence, as pairs of positions, unless the two differ for long.

    Each stretch of it has less than `far` differences; `far` is 2 or more.
    """
    i = j = 0
    while i < len(a) and j < len(b):
        runs, x, y = _stretch(a[i:], b[j:], far)
        pairs: list[tuple[int, int]] = []
        while runs is not None:
            (start, stop, k), runs = runs
            pairs += [(i + z, j + z - k) for z in reversed(range(start, stop))]
        yield from reversed(pairs)
        i, j = i + x, j + y


def _stretch(a: Sequence[Any], b: Sequence[Any], far: int) -> tuple[Any, int, int]:
    """The first stretch of two sequences: their common runs, and how far it leads in each.

    A run goes from one position of `a` to another; by how much these are beyond the positions of
    `b` is its diagonal. The runs are linked, each to the one before it. Myers, "An O(ND) difference
    algorithm and its variations" (1986): for each number of differences, how far each diagonal
    reaches. The stretch ends at the ends, or after many differences where it has come farthest.
    """
    # the position that each diagonal reaches, and the runs on the way
    reach: dict[int, tuple[int, Any]] = {1: (0, None)}
    for d in range(far):
        for k in range(-d, d + 1, 2):
            down = k == -d or (k != d and reach[k - 1][0] < reach[k + 1][0])
            x, runs = reach[k + 1] if down else reach[k - 1]
            x = start = x if down else x + 1
            while x < len(a) and x - k < len(b) and a[x] == b[x - k]:
                x += 1
            reach[k] = x, ((start, x, k), runs) if x > start else runs
            if x >= len(a) and x - k >= len(b):
                return reach[k][1], len(a), len(b)
    inside = [(2 * x - k, k) for k, (x, _) in reach.items() if x <= len(a) and x - k <= len(b)]
    k = max(inside)[1]
    x, runs = reach[k]
    return runs, x, x - k
