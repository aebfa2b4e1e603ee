"""The reverse sweep: from a tape to the gradients of its parameters.

One loop over the records from the newest to the oldest, without recursion. Since operands stand on
earlier lines than the records made from them, a record's cotangent is complete when the loop
reaches it.
"""

from __future__ import annotations

from collections.abc import Callable, Container, Mapping
from operator import iadd
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy import ndarray

from tapegrad.core.broadcasting import FLOAT64, unbroadcast
from tapegrad.core.messages import Gradients, note_rule, refuse_branch
from tapegrad.core.rules import Parts, Rules
from tapegrad.core.tape import Tape, descendants
from tapegrad.core.tensor import Origin, Tensor
from tapegrad.core.writing import advance, append, is_recording, last_written, write_known
from tapegrad.errors import TapeError
from tapegrad.errors.lines import (
    DEFAULT,
    LOGGING,
    STATE,
    at_record,
    warn_at_users_line,
    with_user_warnings,
)
from tapegrad.errors.words import got
from tapegrad.tree.numbers import refuse_unreal
from tapegrad.tree.ownership import LARGE, owned_copy, readonly_array
from tapegrad.types import Array

# The cotangent of ones that a sweep begins with. It is recorded while compiling, so that a pass
# can make the sweep begin with a multiple of it.
SEED = Rules("seed", lambda *, shape, dtype: np.ones(shape, dtype), (), jvp=lambda *args: None)

_ONE = {np.dtype(char): readonly_array(np.ones((), char)) for char in "fd"}

# The record that ends a recorded sweep. Its options say what the sweep did: `since` is the index of
# the last record before it; `passed` has the records that it passed, each before its cotangent;
# `gradients` has the parameters, each before its gradient.
SWEEP = Rules("sweep", lambda **options: _NOTHING, (), jvp=lambda *args: None)
_NOTHING: Array = readonly_array(np.zeros(()))


def reverse_sweep(
    tape: Tape, output: Tensor, cotangent: Any = None, check_finite: bool = False
) -> Mapping[Tensor, Any]:
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
    gradients = sweep([tape], seeds, Tape._check_finite if check_finite else None)
    return MappingProxyType(Gradients({p: conjugated(c) for p, c in gradients.items()}))


def sweep(
    tapes: list[Tape], cotangents: dict[Tensor, Any], checking: Callable[..., Any] | None = None
) -> dict[Tensor, Any]:
    """The sweep itself, from several outputs with a cotangent each; it consumes `cotangents`.

    The tape is taken out of its list, so that a record that the sweep has passed is freed, with
    its value, unless the caller holds it. If the sweep is checked, `checking` is called with the
    tape and the cotangents of its outputs, and returns a function to call with each record that
    the sweep has passed, its cotangent, and the cotangents so far.
    """
    tape = tapes.pop()
    # as `at_users_line`, in fewer calls
    state = STATE.get(DEFAULT)
    if state is DEFAULT:
        STATE.set(LOGGING)
    else:
        warn_at_users_line()
    try:
        check = None if checking is None else checking(tape, cotangents)
        recorded, reached = scope(tape)
        since = last_written().index if recorded else 0
        passed: list[Any] = []
        summed: set[Tensor] = set()
        record: Any = tape.last
        start, parameters = tape.start, tape.parameters
        del tape
        wanted = frozenset(parameters)
        while record is not start:
            # a parameter's cotangent stays, as its gradient
            g = None if record in wanted else cotangents.pop(record, None)
            if g is not None:
                summed.discard(record)
                if recorded:
                    passed += record, g
                    at_record(record, pass_on, record, g, cotangents, summed, True, reached)
                else:
                    pass_on(record, g, cotangents, summed, False, reached)
                if check is not None:
                    check(record, g, cotangents)
            if reached:
                reached.discard(record)  # which would hold it
            record = record.previous
        for x in cotangents:
            if x not in wanted and x.index > start.index and x.origin is start.origin:
                refuse_branch(x)
        gradients = {p: finish_gradient(p, cotangents.get(p)) for p in parameters}
        if recorded:
            ends = [x for pair in gradients.items() if type(pair[1]) is Tensor for x in pair]
            pairs = {"passed": Parts(tuple(passed)), "gradients": Parts(tuple(ends))}
            options = {"since": since, **pairs}
            advance(write_known(last_written(), SWEEP, (), options, _NOTHING))
        return gradients
    finally:
        STATE.set(state)


def scope(tape: Tape) -> tuple[bool, set[Tensor] | None]:
    """Whether a sweep of a tape is recorded, and the records that it is limited to, if any."""
    # inside the tape's own recording the rules see Tensors, so that they are recorded
    recorded = is_recording(tape.last.origin)
    return recorded, None if type(tape.start) is Origin else descendants(tape)


def pass_on(
    record: Tensor,
    g: Any,
    cotangents: dict[Tensor, Any],
    summed: set[Tensor],
    recorded: bool = False,
    reached: Container[Tensor] | None = None,
    note: Callable[..., Any] | None = None,
) -> None:
    """Add what a record contributes to its operands' cotangents.

    Parameters
    ----------
    record, g
        The record, and its cotangent.
    cotangents
        The cotangents so far, by record.
    summed
        The records whose cotangent is an array that was made here: nothing else refers to it, so
        contributions are added to it in place.
    recorded
        Whether the VJP rules are called on records, and so recorded, rather than on values.
    reached
        If given, the operands to consider; others are left out.
    note
        If given, it is called with each contribution: the operand's position, the operand, its
        cotangent as the rule returns it, and the same after broadcasting is undone.
    """
    op, operands, options = record.op, record._operands, record._options
    n = len(operands)
    # this runs for every record and operand on a tape, so it does only what is necessary
    if recorded:
        args: tuple[Any, ...] = g, record, *operands
    else:
        values = [x._primal if type(x) is Tensor else x for x in operands]
        args = g, record._primal, *values
    cs, rules = None, op.passing
    if rules is None:
        rules = op.vjps.passing(n)
    add_into = op.add_into
    if add_into is not None and (recorded or note is not None or type(g) is Tensor):
        add_into = None
    for i, rule in rules:
        if i >= n:
            break
        x = operands[i]
        if type(x) is not Tensor or (reached is not None and x not in reached):
            continue
        primal = x._primal
        if type(primal) is not ndarray:
            primal = np.asarray(primal)
        dtype = primal.dtype
        if dtype is not FLOAT64 and dtype.kind not in "fc":
            continue
        known = cotangents.get(x)
        try:
            if add_into is not None and type(known) is not Tensor:
                if x not in summed:
                    summed.add(x)
                    # one that nothing else refers to
                    own = np.zeros(primal.shape, dtype) if known is None else np.array(known)
                    known = cotangents[x] = own
                add_into(known, g, *args[2:], **options)
                continue
            if rule is None:
                cs = op.vjps.rule(*args, **options) if cs is None else cs
                c = cs[i]
            else:
                c = rule(*args, **options) if options else rule(*args)
        except Exception as error:
            note_rule(error, record, i)
            raise
        if c is None:
            continue
        fits = c.dtype is dtype and c.shape == primal.shape
        part = c if fits else unbroadcast(c, primal, op.name, i)
        if note is not None:
            note(i, x, c, part)
        cotangents[x] = part if known is None else _added(x, known, part, summed)


def _added(x: Tensor, known: Any, part: Any, summed: set[Tensor]) -> Any:
    """The sum of a record's cotangents so far and another, in place if the sweep made the first."""
    if x in summed and type(part) is type(known) is ndarray:
        known += part
        return known
    total = known + part
    if type(total) is ndarray:
        summed.add(x)
    return total


# --- the cotangents that a sweep begins with, and the gradients that it returns ---------------


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

    The conjugate of a real derivative has the imaginary part -0.0. The sign of a zero tells the
    sides of a branch cut apart, but a rule reads the side off its operands, not off a cotangent.
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
    c = np.zeros(record.shape, record.dtype) if c is None else c
    primal: Any = record._primal
    if type(primal) is ndarray and c.dtype is not primal.dtype and c.dtype != primal.dtype:
        # in another byte order, which a NumPy scalar cannot have
        is_scalar = isinstance(c, np.generic)
        c = np.asarray(c, primal.dtype) if is_scalar else c.astype(primal.dtype)
    if type(c) is ndarray and c.base is None and c.nbytes < LARGE:
        # as `readonly_array` does; there is one for each parameter
        c.setflags(write=False)
        return c.view()
    return c if type(c) is Tensor else readonly_array(c)
