"""Functions whose result's shape depends on values: unique elements, trimmed zeros."""

from __future__ import annotations

from typing import Any

import numpy as np

from tapegrad.core.tensor import Tensor
from tapegrad.face.table import answers
from tapegrad.functions.selection import take
from tapegrad.ops.record import array

__all__ = ["trim_zeros", "unique"]


def _known(x: Any, what: str) -> Any:
    """The values, which determine a shape; unknown inside `compile`."""
    return x._read(what) if isinstance(x, Tensor) else x


def unique(
    ar: Any,
    return_index: bool = False,
    return_inverse: bool = False,
    return_counts: bool = False,
    axis: int | None = None,
    *,
    equal_nan: bool = True,
) -> Any:
    """The different elements of an array, in ascending order.

    Among equal elements, the first has the gradient.

    Parameters
    ----------
    ar
        An array.
    return_index, return_inverse, return_counts
        Whether to return also the first index of each, for each element the number of its unique
        one, and how often each occurs. These pass no gradient.
    axis
        The axis along which to find unique parts; None for elements.
    equal_nan
        Whether nan is the same as nan.

    Returns
    -------
    The elements, or a tuple with what else was asked for.

    Raises
    ------
    TraceError
        Inside `compile`, since the number of results depends on the values.

    Examples
    --------
    >>> import tapegrad as tg
    >>> tg.unique(np.array([3.0, 1.0, 3.0]))
    array([1., 3.])
    >>> tg.grad(lambda x: tg.unique(x)[1])(np.array([3.0, 1.0, 3.0]))
    array([1., 0., 0.])
    """
    ar = array(ar)
    _, first, inverse, counts = np.unique(
        _known(ar, "finding different elements"), True, True, True, axis, equal_nan=equal_nan
    )
    asked = (return_index, return_inverse, return_counts)
    more = [x for x, wanted in zip((first, inverse, counts), asked, strict=True) if wanted]
    y = take(ar, first, axis)
    return (y, *more) if more else y


def trim_zeros(filt: Any, trim: str = "fb") -> Any:
    """An array with one axis, without the zeros at its ends.

    Parameters
    ----------
    filt
        The array.
    trim
        ``"f"`` for the zeros in front, ``"b"`` for those at the back, ``"fb"`` for both.

    Raises
    ------
    ValueError
        For more than one axis, or another `trim`.
    TraceError
        Inside `compile`, since the number of results depends on the values.

    Examples
    --------
    >>> import tapegrad as tg
    >>> tg.trim_zeros(np.array([0.0, 1.0, 0.0, 2.0, 0.0]))
    array([1., 0., 2.])
    """
    filt = array(filt)
    ends = trim.lower()
    if filt.ndim != 1 or ends not in ("f", "b", "fb", "bf"):
        raise ValueError(
            f"trim_zeros takes an array of one axis, not {filt.ndim}, and trim 'f', 'b' or 'fb', "
            f"not {trim!r}"
        )
    places = np.flatnonzero(_known(filt, "trimming zeros"))
    n = filt.shape[0]
    if not places.size:
        return filt[:0]
    start, stop = int(places[0]), int(places[-1]) + 1
    return filt[start if "f" in ends else 0 : stop if "b" in ends else n]


answers([np.unique], unique)
answers([np.trim_zeros], trim_zeros)
