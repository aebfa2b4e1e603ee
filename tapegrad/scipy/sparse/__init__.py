"""Sparse arrays and their equations, as in `scipy.sparse`."""

from tapegrad.errors.names import list_names as _list_names
from tapegrad.scipy.sparse import linalg as linalg
from tapegrad.scipy.sparse.coo import coo_array as coo_array

__all__ = ["coo_array", "linalg"]
_list_names(globals())
