"""Cotangents: those a sweep begins with, how they add up, and the gradients it returns.

VJP rules may leave a cotangent in the shape that broadcasting gave the operand, and a tangent in
the shape of an operand. Only this file undoes that.
"""

from __future__ import annotations

from operator import iadd
from typing import Any

import numpy as np
from numpy import ndarray

from tapegrad.core.rules import Rules
from tapegrad.core.tape import Tape
from tapegrad.core.tensor import Tensor
from tapegrad.core.writing import append, is_recording
from tapegrad.errors import TapeError
from tapegrad.errors.lines import with_user_warnings
from tapegrad.errors.words import got
from tapegrad.tree.numbers import refuse_unreal
from tapegrad.tree.ownership import LARGE, Array, owned_copy, readonly_array

# The cotangent of ones that a sweep begins with. It is recorded while compiling, so that a pass
# can make the sweep begin with a multiple of it.
SEED = Rules("seed", lambda *, shape, dtype: np.ones(shape, dtype), (), jvp=lambda *args: None)

_ONE = {np.dtype(char): readonly_array(np.ones((), char)) for char in "fd"}


def check_tape(tape: Any) -> None:
    """Raise unless the first argument of a function of a tape, and its output, is a tape."""
    if type(tape) is not Tape:
        raise TypeError(
            f"the first argument must be a Tape, not {got(tape)}: after output, tape = "
            "tg.record(fn)(x) it is tape, and output is the second"
        )


def initial_cotangents(tape: Tape, output: Tensor, cotangent: Any) -> dict[Tensor, Any]:
    """The cotangents that a sweep begins with, checked."""
    check_tape(tape)
    if type(output) is not Tensor:
        raise TypeError(f"the output of a sweep must be a record of the tape, not {got(output)}")
    if output.origin is not tape.start.origin:
        raise TapeError(f"the output ({output._line()}) is a record of another tape")
    if output.dtype.kind not in "fc":
        raise TypeError(f"only a floating output has a gradient; this one is {output.dtype}")
    if cotangent is None and output.dtype.kind == "c":
        raise TypeError(
            f"a gradient needs a real output, and this one is {output.dtype}; take its real part "
            "or its absolute value (z.real, np.abs(z)), or give its cotangent"
        )
    if cotangent is None and output.size != 1:
        raise TypeError(
            f"a gradient needs a scalar, but the output has shape {output.shape}; "
            "give its cotangent, reduce it (tg.sum, tg.mean), or take tg.vjp or tg.jacobian"
        )
    return {output: initial_cotangent(output, cotangent)}


def initial_cotangent(output: Tensor, cotangent: Any, what: str = "the cotangent") -> Any:
    """The cotangent that a sweep from `output` begins with, ones by default."""
    if cotangent is None:
        if output.origin.compiling and is_recording(output.origin):
            return append(SEED, (), {"shape": output.shape, "dtype": output.dtype})
        primal = output._primal
        if type(primal) is ndarray and primal.ndim == 0 and primal.dtype in _ONE:
            return _ONE[primal.dtype]
        return np.ones(output.shape, output.dtype)
    cotangent = check_cotangent(output, cotangent, what, "its output")
    shared = type(cotangent) is not Tensor and output.dtype.kind != "c"
    return owned_copy(cotangent) if shared else conjugated(cotangent)


def conjugated(c: Any) -> Any:
    """A cotangent as it is inside, for one as users see it, and the reverse.

    Outside, that of a real loss is ``dL/dx + i dL/dy``, so that ``z - rate * g`` descends. Inside
    it is the conjugate of this, for which the rule of a holomorphic function is the one for real
    numbers, without a conjugate of any operand.
    """
    return without_signs(c.conj()) if c.dtype.kind == "c" else c


def without_signs(zs: Any) -> Any:
    """New complex numbers, with 0.0 for each -0.0.

    The conjugate of a derivative that is 0 by the imaginary part has -0.0 there. No branch cut is
    left to tell its sides by that: a derivative knows them from its operands.
    """
    recorded = type(zs) is Tensor
    return zs + 0 if recorded else readonly_array(iadd(zs, 0))  # type: ignore[no-untyped-call]


def check_cotangent(record: Tensor, weight: Any, what: str, of: str) -> Any:
    """A cotangent or a tangent of a record, checked and in its dtype; `what` and `of` name it."""
    if type(weight) is not Tensor:
        if isinstance(weight, ndarray) and type(weight) is not ndarray:
            refuse_unreal(what, (weight,), True)
        weight = np.asarray(weight)
    if weight.shape != record.shape:
        raise ValueError(
            f"{what} has shape {weight.shape}, {of} {record.shape}; they must be the same"
        )
    if weight.dtype.kind not in ("fiubc" if record.dtype.kind == "c" else "fiub"):
        raise TypeError(f"{what} must be real numbers, as {of} is, not {weight.dtype}")
    if type(weight) is Tensor and not is_recording(weight.origin):
        raise TapeError(
            f"{what} ({weight._line()}) belongs to the tape of {weight.origin.label}, which "
            "is not being recorded; use its value"
        )
    same = weight.dtype == record.dtype
    return weight if same else with_user_warnings(weight.astype, record.dtype)


def finish_gradient(record: Tensor, c: Any) -> Any:
    """A record's gradient or tangent as it is returned."""
    if type(c) is ndarray:
        primal = record._primal
        if type(primal) is ndarray and c.dtype is not primal.dtype:
            c = c.astype(primal.dtype, copy=False)  # in another byte order
        if c.base is None and c.nbytes < LARGE:
            # as `readonly_array` does; there is one for each parameter
            c.setflags(False)
            return c.view()
    c = np.zeros(record.shape, record.dtype) if c is None else c
    return c if type(c) is Tensor else readonly_array(c)


# NumPy has one object for it, and asking which object takes less time than asking its kind
FLOAT64 = np.dtype(float)
# making these would take as long as adding up a small array
_ONES: dict[str, Any] = {char: readonly_array(np.ones(1024, char)) for char in "fd"}


def unbroadcast(c: Any, primal: Array, name: str, i: int | str) -> Any:
    """A rule's cotangent summed over broadcast axes, in the operand's dtype."""
    shape = primal.shape
    if c.ndim > 1 and c.shape[-1:] == shape and type(c) is ndarray and c.size:
        # a bias: a product takes a third of the time of a sum over the first axes
        c = c.reshape(-1, shape[0])
        n, ones = len(c), _ONES.get(c.dtype.char, ())
        c = (ones[:n] if n < len(ones) else filled((n,), 1, c.dtype)).dot(c)
    elif c.shape != shape:
        whole = (*(1,) * (c.ndim - len(shape)), *shape)
        if len(whole) > c.ndim or any(n not in (1, m) for n, m in zip(whole, c.shape, strict=True)):
            raise ValueError(
                f"the VJP rule of {name} for operand {i} gives a cotangent of shape {c.shape}, "
                f"which does not fit the operand's {shape}"
            )
        c = sums(c, tuple([j for j, m in enumerate(c.shape) if m != whole[j]]))
        c = c if c.shape == shape else c.reshape(shape)
    return c if c.dtype == primal.dtype else cast(c, primal.dtype)


def cast(c: Any, dtype: np.dtype[Any]) -> Any:
    """A cotangent or a tangent in a dtype: of complex numbers, the real part in a real one."""
    c = c.real if c.dtype.kind == "c" and dtype.kind != "c" else c
    return c if c.dtype == dtype else c.astype(dtype)


def filled(shape: tuple[int, ...], value: Any, dtype: Any) -> Array:
    """``np.full``, in half the time for a small array."""
    x = np.empty(shape, dtype)
    x.fill(value)
    return x


def sums(x: Any, axes: tuple[int, ...]) -> Any:
    """The sums over axes, in order; those over few last elements as a product, in half the time."""
    last, n, ones = x.ndim, 1, _ONES.get(x.dtype.char, ())
    while last - 1 in axes and n < len(ones):
        last, n = last - 1, n * x.shape[last - 1]
    if 1 < n < len(ones) and type(x) is ndarray:
        axes = axes[: len(axes) - x.ndim + last]
        x = x.reshape(-1, n).dot(ones[:n]).reshape(x.shape[:last])
    return (np.add.reduce if type(x) is ndarray else np.sum)(x, axes) if axes else x


def broadcast_tangent(t: Any, record: Tensor) -> Any:
    """A tangent in the shape and dtype of its record."""
    t = t if t.shape == record.shape else np.broadcast_to(t, record.shape)
    return t if t.dtype == record.dtype else cast(t, record.dtype)
