"""Two ways to compute a derivative, which must agree up to rounding."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np

from tapegrad.face.ownership import Array
from tapegrad.testing.flat import locate

__all__ = ["FLOOR", "Named", "agree", "compare", "length"]

FLOOR = 1e-3  # the rounding error where terms cancel, relative to the terms


class Named(Protocol):
    """A function's name in messages, and the leaves that it is differentiated by."""

    @property
    def name(self) -> str:
        """Its name in messages."""
        ...

    @property
    def xs(self) -> Sequence[Any]:
        """The leaves."""
        ...

    @property
    def paths(self) -> Sequence[str]:
        """The leaves' names in messages."""
        ...


def compare(
    f: Named, relative: float, what: str, got: Array, as_: str, want: Array, size: Array
) -> None:
    """Compare packed arrays like the leaves, entry by entry.

    Parameters
    ----------
    f
        The function that they belong to.
    relative
        The relative error that rounding may leave.
    what, as_
        The names of the two sides in messages.
    got, want
        The two sides.
    size
        The size of the numbers that they were computed from, for each entry.
    """
    tolerance = relative * (size + FLOOR * np.max(size, initial=0.0))
    for at in np.flatnonzero(~(np.abs(got - want) <= tolerance))[:1]:
        raise AssertionError(
            f"{f.name}: {what} is {got[at]:.12g} at {locate(int(at), f.xs, f.paths)}, not {as_}, "
            f"{want[at]:.12g}"
        )


def agree(f: Named, relative: float, what: str, got: Any, other: str, want: Any, size: Any) -> None:
    """Compare two numbers whose terms are as large as `size`."""
    if not np.abs(got - want) <= relative * size:
        raise AssertionError(f"{f.name}: {what} is {got:.12g}, but {other} is {want:.12g}")


def length(u: Array, v: Array) -> Any:
    """The largest possible product of two directions."""
    return np.linalg.norm(u) * np.linalg.norm(v)
