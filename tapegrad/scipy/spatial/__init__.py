"""Distances between points, as in `scipy.spatial`."""

from tapegrad.errors.names import list_names as _list_names
from tapegrad.scipy.spatial import distance as distance

__all__ = ["distance"]
_list_names(globals())
