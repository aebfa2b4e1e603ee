"""The kind of an object, as messages name it."""

from __future__ import annotations

from typing import Any

import numpy as np


def a_kind(x: Any) -> str:
    """An object's kind, with its article: "an array", "a Tensor", "an int"."""
    if type(x) is np.ndarray:
        return "an array"
    # most names with u begin with the sound "you": a ufunc, a uint8
    name = type(x).__name__
    return f"{'an' if name[:1].lower() in 'aeio' else 'a'} {name}"
