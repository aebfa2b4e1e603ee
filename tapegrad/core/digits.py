"""Values as text, including ints with more digits than Python prints."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

# Python's limit on digits can be set as low as 640, which have more bits than this
_MOST_BITS = 2000


def as_text(x: Any, of: Callable[[Any], str] = repr) -> str:
    """The text of a value, by `repr` or another function; a huge int in hexadecimal.

    For a value with such an int in it, what it is.
    """
    if isinstance(x, int) and x.bit_length() > _MOST_BITS:
        return hex(x)
    try:
        return of(x)
    except ValueError:
        return f"<a {type(x).__name__}, which has too many digits>"
