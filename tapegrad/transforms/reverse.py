"""`reverse_sweep`, and the checks and defaults of the cotangents that a sweep begins with.

`core.sweep` has no checks, no defaults, and no convention for complex cotangents.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, NoReturn

import numpy as np
from numpy import ndarray

from tapegrad.arraylike.table import lazy_import
from tapegrad.core.primitive import Primitive
from tapegrad.core.sweep import sweep
from tapegrad.core.tape import Tape
from tapegrad.core.tensor import Tensor
from tapegrad.core.writing import append_record, is_recording
from tapegrad.errors import TapeError
from tapegrad.errors.lines import warns_at_users_line, with_user_warnings
from tapegrad.errors.words import got
from tapegrad.tree.cotangents import conjugate_cotangent
from tapegrad.tree.numbers import refuse_unreal
from tapegrad.tree.ownership import owned_copy, readonly_array
from tapegrad.types import Array, ArrayLike, Cotangent

# The cotangent of ones that a sweep begins with, recorded while compiling, so that a pass can
# begin the sweep with a multiple of it.
SEED = Primitive("seed", lambda *, shape, dtype: np.ones(shape, dtype), (), jvp=lambda *args: None)

_ONE = {np.dtype(char): readonly_array(np.ones((), char)) for char in "fd"}


@warns_at_users_line
def reverse_sweep(
    tape: Tape, output: Tensor, cotangent: ArrayLike | None = None, check_finite: bool = False
) -> Mapping[Tensor, Array]:
    """The gradients of an output with respect to the tape's parameters.

    Parameters
    ----------
    tape
        The tape that the output is on.
    output
        A floating record.
    cotangent
        The weights of the output's elements, an array of its shape. It may be omitted for a scalar
        output, and is 1 then.
    check_finite
        Whether to raise an error at the first value or cotangent that is not finite; only values
        that the output depends on count.

    Returns
    -------
    A read-only mapping with one entry for each parameter: an array of its shape and dtype, zero if
    the output does not depend on it. Inside the recording that the tape belongs to, the sweep is
    recorded too, and the gradients are Tensors.

    Raises
    ------
    TypeError
        If the output is not a floating record, or has several elements and no
        cotangent is given.
    ValueError
        If the cotangent's shape is not the output's.
    TapeError
        If the output is not on the tape, or depends on records that are not.
    NonFiniteError
        With `check_finite`: a `FloatingPointError` that says on which line of the tape a NaN or an
        infinity arose, from which operands and, if known, why.

    Examples
    --------
    >>> import tapegrad as tg
    >>> tape, x = tg.Tape().parameter([1.0, 2.0, 3.0], name="x")
    >>> tape, y = tape.write(tg.multiply, x, x)
    >>> tg.reverse_sweep(tape, y, cotangent=np.ones(3))[x]
    array([2., 4., 6.])
    """
    seeds = initial_cotangents(tape, output, cotangent)
    check = (
        lazy_import("tapegrad.explain.finite", "make_cotangent_check")(tape, seeds)
        if check_finite
        else None
    )
    gradients = sweep([tape], seeds, check)
    return MappingProxyType(Gradients({p: conjugate_cotangent(c) for p, c in gradients.items()}))


class Gradients(dict[Tensor, Array]):
    """Gradients by parameter; the error for a missing key describes the keys."""

    __slots__ = ()

    def __missing__(self, key: object) -> NoReturn:
        hint = "pass a record of tape.parameters"
        if type(key) is Tensor:
            what = f"{key._line()}, is not a parameter of the tape that was swept"
            hint += "; tape.show(output) and tg.sweep_steps give the cotangents of all records"
        else:
            what = f"gradients have parameters for keys, not {key!r}"
            hint += ", or name them: {p.name: g for p, g in gradients.items()}"
        raise KeyError(f"{what}; {hint}")


def check_tape(tape: object) -> None:
    """Raise unless the first argument of a function of a tape and an output is a tape."""
    if type(tape) is not Tape:
        raise TypeError(
            f"the first argument must be a Tape, not {got(tape)}: after output, tape = "
            "tg.record(fn)(x) it is tape, and output is the second"
        )


def initial_cotangents(
    tape: Tape, output: Tensor, cotangent: ArrayLike | None
) -> dict[Tensor, Cotangent]:
    """Check and return the cotangents that a sweep begins with."""
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


def initial_cotangent(
    output: Tensor, cotangent: ArrayLike | None, what: str = "the cotangent"
) -> Any:
    """Return the cotangent that a sweep from `output` begins with, ones by default."""
    if cotangent is None:
        if output.origin.compiling and is_recording(output.origin):
            return append_record(SEED, (), {"shape": output.shape, "dtype": output.dtype})
        primal = output._primal
        if type(primal) is ndarray and primal.ndim == 0 and primal.dtype in _ONE:
            return _ONE[primal.dtype]
        return np.ones(output.shape, output.dtype)
    weight = check_cotangent(output, cotangent, what, "its output")
    shared = type(weight) is not Tensor and output.dtype.kind != "c"
    return owned_copy(weight) if shared else conjugate_cotangent(weight)


def check_cotangent(record: Tensor, weight: Any, what: str, owner: str) -> Any:
    """Check a cotangent or tangent of a record and convert it to the record's dtype.

    `what` and `owner` name the weight and the record in messages.
    """
    if type(weight) is not Tensor:
        if isinstance(weight, ndarray) and type(weight) is not ndarray:
            refuse_unreal(what, (weight,), True)
        weight = np.asarray(weight)
    if weight.shape != record.shape:
        raise ValueError(
            f"{what} has shape {weight.shape}, {owner} {record.shape}; they must be the same"
        )
    if weight.dtype.kind not in ("fiubc" if record.dtype.kind == "c" else "fiub"):
        raise TypeError(f"{what} must be real numbers, as {owner} is, not {weight.dtype}")
    if type(weight) is Tensor and not is_recording(weight.origin):
        raise TapeError(
            f"{what} ({weight._line()}) belongs to the tape of {weight.origin.label}, which "
            "is not being recorded; use its value"
        )
    same = weight.dtype == record.dtype
    return weight if same else with_user_warnings(weight.astype, record.dtype)
