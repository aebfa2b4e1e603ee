"""Arrays of other libraries beside a Tensor, and which of them do the computing."""

from __future__ import annotations

from typing import Any

import numpy as np

# what NumPy's rule compares: that of an array is 0, and a Tensor acts like an array
_PRIORITY = 0.0


def has_ufuncs(x: Any) -> bool:
    """Whether an object's class handles NumPy's ufuncs itself."""
    ours = getattr(type(x), "__recorded_ufuncs__", False)
    answers = getattr(type(x), "__array_ufunc__", None)
    return not ours and answers not in (None, np.ndarray.__array_ufunc__)


def has_functions(kind: type) -> bool:
    """Whether a class handles NumPy's functions itself."""
    ours = getattr(kind, "__recorded_ufuncs__", False)
    answers = getattr(kind, "__array_function__", None)
    return not ours and answers not in (None, np.ndarray.__array_function__)


def takes_over(x: Any) -> bool:
    """Whether a Tensor's operator leaves the work to the other operand's class.

    That is NumPy's rule for its own arrays (NEP 13, "Behavior in combination with Python's binary
    operations"): a class that handles ufuncs, or refuses them by None, acts itself; for any other
    class, the priority decides.
    """
    if isinstance(x, np.ma.MaskedArray | np.matrix):
        return False  # these would read the Tensor out
    if hasattr(type(x), "__array_ufunc__"):
        return type(x).__array_ufunc__ is None or has_ufuncs(x)
    priority = getattr(type(x), "__array_priority__", None)
    return isinstance(priority, int | float) and priority > _PRIORITY
