"""Where a sweep begins and ends: the cotangents it is given and the gradients it returns."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy import ndarray

from tapegrad.core.kinds import a_kind
from tapegrad.core.operands import refuse_unreal
from tapegrad.core.ownership import LARGE, give, keep, lend
from tapegrad.core.tape import Tape, append, is_recording
from tapegrad.core.tensor import Rules, Tensor
from tapegrad.errors import TapeError
from tapegrad.face.warned import told

# The cotangent of ones that a sweep begins with. It is recorded while compiling, so that a pass
# can make the sweep begin with a multiple of it.
SEED = Rules("seed", lambda *, shape, dtype: np.ones(shape, dtype), (), jvp=lambda *args: None)

_ONE = {np.dtype(char): give(np.ones((), char)) for char in "fd"}


def begin(tape: Tape, output: Tensor, cotangent: Any) -> dict[Tensor, Any]:
    """The cotangents that a sweep begins with, checked."""
    if type(tape) is not Tape:
        raise TypeError(f"the tape of a sweep is a Tape, not {a_kind(tape)}")
    if type(output) is not Tensor:
        raise TypeError(f"the output of a sweep is a record of the tape, not {a_kind(output)}")
    if output.origin is not tape.start.origin:
        raise TapeError(f"the output ({output._line()}) is a record of another tape")
    if output.dtype.kind != "f":
        raise TypeError(f"only a floating output has a gradient; this one is {output.dtype}")
    if cotangent is None and output.size != 1:
        raise TypeError(
            f"a gradient needs a scalar, but the output has shape {output.shape}; "
            "give its cotangent, reduce it (tg.sum, tg.mean), or take tg.vjp or tg.jacobian"
        )
    return {output: seed(output, cotangent)}


def seed(output: Tensor, cotangent: Any, what: str = "the cotangent") -> Any:
    """The cotangent that a sweep from `output` begins with, ones by default."""
    if cotangent is None:
        if output.origin.compiling and is_recording(output.origin):
            return append(SEED, (), {"shape": output.shape, "dtype": output.dtype})
        primal = output._primal
        if type(primal) is ndarray and primal.ndim == 0 and primal.dtype in _ONE:
            return _ONE[primal.dtype]
        return np.ones(output.shape, output.dtype)
    cotangent = weighing(output, cotangent, what, "its output")
    return cotangent if type(cotangent) is Tensor else keep(cotangent)


def weighing(record: Tensor, weight: Any, what: str, of: str) -> Any:
    """A cotangent or a tangent of a record, checked and in its dtype; `what` and `of` name it."""
    if type(weight) is not Tensor:
        if isinstance(weight, ndarray) and type(weight) is not ndarray:
            refuse_unreal(what, (weight,))
        weight = np.asarray(weight)
    if weight.shape != record.shape:
        raise ValueError(
            f"{what} has shape {weight.shape}, {of} {record.shape}; they must be the same"
        )
    if weight.dtype.kind not in "fiub":
        raise TypeError(f"{what} is real numbers, not {weight.dtype}")
    if type(weight) is Tensor and not is_recording(weight.origin):
        raise TapeError(
            f"{what} ({weight._line()}) belongs to the tape of {weight.origin.label}, which "
            "is not being recorded; use its value"
        )
    return weight if weight.dtype == record.dtype else told(weight.astype, record.dtype)


def result_for(record: Tensor, c: Any, given: set[int]) -> Any:
    """A record's gradient or tangent as it is returned, sharing no memory with earlier ones."""
    if type(c) is ndarray:
        primal = record._primal
        if type(primal) is ndarray and c.dtype is not primal.dtype:
            c = c.astype(primal.dtype, copy=False)  # in another byte order
        # a number may be the seed, and one cotangent may belong to several records
        key = id(c)
        if key in given or not c.ndim:
            # a view may be a view of the caller's tangent
            return lend(c if c.base is None else c.copy("K"))
        given.add(key)
        if c.base is None and c.nbytes < LARGE:
            # as `give` does; there is one for each parameter
            c.setflags(False)
            return c.view()
    elif type(c) is Tensor:
        return c
    return give(np.zeros(record.shape, record.dtype) if c is None else c)
