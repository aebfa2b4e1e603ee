"""NumPy's functions that make arrays ``like=`` a Tensor: with Tensors in them, or plain."""

from __future__ import annotations

from typing import Any

import numpy as np

from tapegrad.face.table import answers
from tapegrad.functions.creation import array, full
from tapegrad.ops.record import array as as_array

__all__: list[str] = []


def _made(
    object: Any,
    dtype: Any = None,
    order: Any = None,
    *,
    copy: Any = None,
    subok: bool = False,
    ndmin: int = 0,
    device: Any = None,
) -> Any:
    """`tg.array`, called like `np.array` and its kin; order and copies have no effect."""
    y = array(object, dtype)
    return np.reshape(y, (1,) * (ndmin - y.ndim) + y.shape) if ndmin > y.ndim else y


def _with_an_axis(object: Any, dtype: Any = None) -> Any:
    return np.atleast_1d(_made(object, dtype))


def _filled(
    shape: Any, fill_value: Any, dtype: Any = None, order: Any = None, *, device: Any = None
) -> Any:
    return full(shape, as_array(fill_value), dtype)


def _plain(make: Any) -> Any:
    """A function whose result holds no Tensor."""

    def plain(*args: Any, **kwargs: Any) -> Any:
        return make(*args, **kwargs)

    return plain


answers([np.array, np.asarray, np.asanyarray], _made)
answers([np.ascontiguousarray, np.asfortranarray], _with_an_axis)
answers([np.full], _filled)
# np.empty always gives the same, so that a function's results are
answers([np.zeros, np.empty], _plain(np.zeros))
for _make in (np.arange, np.ones, np.eye, np.identity, np.tri):
    answers([_make], _plain(_make))
