"""Other libraries' arrays beside a Tensor: which of them compute with it themselves."""

from __future__ import annotations

from typing import Any

import numpy as np

# what NumPy's rule compares: an array's is 0, and a Tensor acts as one
_PRIORITY = 0.0


def has_ufuncs(x: Any) -> bool:
    """Whether an object's class answers for NumPy's ufuncs itself."""
    ours = getattr(type(x), "__recorded_ufuncs__", False)
    answers = getattr(type(x), "__array_ufunc__", None)
    return not ours and answers not in (None, np.ndarray.__array_ufunc__)


def has_functions(kind: type) -> bool:
    """Whether a class answers for NumPy's functions itself."""
    ours = getattr(kind, "__recorded_ufuncs__", False)
    answers = getattr(kind, "__array_function__", None)
    return not ours and answers not in (None, np.ndarray.__array_function__)


def takes_over(x: Any) -> bool:
    """Whether an operator of a Tensor leaves the work to the other operand's class.

    That is NumPy's rule for its own arrays (NEP 13, "Behavior in combination with
    Python's binary operations"): a class that answers for ufuncs, or says by None that it
    takes none, acts itself; of one that says neither, the priority decides.
    """
    if isinstance(x, np.ma.MaskedArray | np.matrix):
        return False  # these would read the Tensor out
    if hasattr(type(x), "__array_ufunc__"):
        return type(x).__array_ufunc__ is None or has_ufuncs(x)
    priority = getattr(type(x), "__array_priority__", None)
    return isinstance(priority, int | float) and priority > _PRIORITY
