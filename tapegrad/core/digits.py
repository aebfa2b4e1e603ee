"""Values as text, also ints of more digits than Python prints."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

# Python may be told to print no more than 640 digits, which is more bits than these
_MOST_BITS = 2000


def as_text(x: Any, of: Callable[[Any], str] = repr) -> str:
    """The text of a value, by `repr` unless by another function; of a huge int in hex."""
    if isinstance(x, int) and x.bit_length() > _MOST_BITS:
        return hex(x)
    return of(x)
