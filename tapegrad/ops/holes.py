"""The place of an array in an index, which is an operand and not a part of the option."""

from __future__ import annotations

import enum


class Hole(enum.Enum):
    """The place of an array in an index."""

    HOLE = "array"

    def __repr__(self) -> str:
        return "array"


HOLE = Hole.HOLE
