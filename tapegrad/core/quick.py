"""One step of a sweep over values, for an op of one or two operands without options.

It does what `tapegrad.core.sweep.contributions` and the loop around it do, in two thirds of the
time: most records of most tapes are such. So it is written out, without lists and pairs.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy import ndarray

from tapegrad.core.fitting import FLOAT64, fit, plus
from tapegrad.core.refusals import note_rule
from tapegrad.core.tensor import Tensor


def passed_on(record: Tensor, g: Any, cotangents: dict[Tensor, Any], summed: set[Tensor]) -> bool:
    """Add what a record with the cotangent `g` contributes to its operands' cotangents.

    Returns
    -------
    Whether the record is such a one; if not, nothing was done.
    """
    op, operands, y = record.op, record._operands, record._primal
    n, passing = len(operands), op.passing
    if not passing or record._options:
        return False
    if n == 2:
        first, second = operands
        b = second._primal if type(second) is Tensor else second
    elif n == 1:
        (first,) = operands
        second = b = None
    else:
        return False
    a = first._primal if type(first) is Tensor else first
    for i, rule in passing:
        if i:
            x, primal = second, b
        else:
            x, primal = first, a
        if primal is x:  # a constant
            continue
        if type(primal) is not ndarray:
            primal = np.asarray(primal)
        dtype = primal.dtype
        if dtype is not FLOAT64 and dtype.kind != "f":
            continue
        try:
            c = rule(g, y, a) if n == 1 else rule(g, y, a, b)
        except Exception as error:
            note_rule(error, record, i)
            raise
        if c is None:
            continue
        if c.dtype is not dtype or c.shape != primal.shape:
            c = fit(c, primal, op.name, i)
        if x in cotangents:
            c = plus(cotangents[x], c, x, summed)
        cotangents[x] = c
    return True
