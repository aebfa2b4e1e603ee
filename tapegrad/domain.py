# ruff: noqa: F403, F405
"""Calls to test an op on, by the path that declarations of the user's own import them from."""

from tapegrad.declare.domain import *

__all__ = ["NEAR_ONE", "NONZERO", "POSITIVE", "REAL", "TYING", "Call", "Choices", "Domain"]
__all__ += ["Elements", "along", "any_of", "each", "matrices", "on_array", "reduced"]
__dir__ = __all__.copy
