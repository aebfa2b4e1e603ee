"""The methods of ufuncs, by functions that do the same."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np

from tapegrad.face.table import ANSWERS, answers
from tapegrad.ops.normalisation import logsumexp
from tapegrad.ops.record import array
from tapegrad.ops.reduction import all, any, max, min, prod, sum
from tapegrad.ops.scan import cumprod, cumsum

__all__: list[str] = []


def _reduce(
    function: Any, array: Any, axis: Any = 0, dtype: Any = None, out: Any = None, **options: Any
) -> Any:
    """``ufunc.reduce``: unlike the function, it reduces the first axis unless another is given."""
    return function(array, axis=axis, dtype=dtype, out=out, **options)


def _outer(ufunc: Any, x1: Any, x2: Any, **options: Any) -> Any:
    """``ufunc.outer``: the ufunc of each element of x1 with each of x2."""
    x1, x2 = array(x1), array(x2)
    return ufunc(np.reshape(x1, x1.shape + (1,) * x2.ndim), x2, **options)


_REDUCTIONS = {
    np.add: sum,
    np.multiply: prod,
    np.maximum: max,
    np.minimum: min,
    np.logaddexp: logsumexp,
    np.logical_and: all,
    np.logical_or: any,
}
_SCANS = {np.add: cumsum, np.multiply: cumprod}

for _ufunc, _function in _REDUCTIONS.items():
    answers([("reduce", _ufunc)], partial(_reduce, _function))
for _ufunc, _scan in _SCANS.items():
    answers([("accumulate", _ufunc)], partial(_reduce, _scan))
for _ufunc in list(ANSWERS):
    if isinstance(_ufunc, np.ufunc) and (_ufunc.nin, _ufunc.nout, _ufunc.signature) == (2, 1, None):
        answers([("outer", _ufunc)], partial(_outer, _ufunc))
