"""Sparse arrays and their equations, as in `scipy.sparse`."""

from tapegrad.scipy.sparse import linalg as linalg
from tapegrad.scipy.sparse.coo import coo_array as coo_array

__all__ = ["coo_array", "linalg"]
__dir__ = __all__.copy
