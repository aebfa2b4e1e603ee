"""The reverse sweep: from a tape to the gradients of its parameters.

One loop over the records from the newest to the oldest, without recursion. Since operands stand on
earlier lines than the records made from them, a record's cotangent is complete when the loop
reaches it.
"""

from __future__ import annotations

from collections.abc import Callable, Container, Mapping
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy import ndarray

from tapegrad.core.cotangents import (
    FLOAT64,
    accumulate,
    conjugated,
    finish_gradient,
    initial_cotangents,
    is_alone,
    unbroadcast,
)
from tapegrad.core.messages import Gradients, note_rule, refuse_branch
from tapegrad.core.operands import primals
from tapegrad.core.tape import Tape, descendants
from tapegrad.core.tensor import Origin, Parts, Rules, Tensor, differentiable
from tapegrad.core.writing import advance, is_recording, last_written, write_known
from tapegrad.face.lines import at_users_line
from tapegrad.face.ownership import Array, give
from tapegrad.face.table import lazy_import

# What a recorded sweep writes last: it says that it is one. Options are the line before the first
# that it wrote, records and their cotangents in turn (those that the sweep passed, and parameters
# and their gradients), and for each that it passed the line before its rules were called.
SWEEP = Rules("sweep", lambda **options: _NOTHING, (), jvp=lambda *args: None)
_NOTHING: Array = give(np.zeros(()))


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
    gradients = sweep([tape], seeds, finite_check() if check_finite else None)
    return MappingProxyType(Gradients({p: conjugated(c) for p, c in gradients.items()}))


@at_users_line
def sweep(
    tapes: list[Tape], seeds: dict[Tensor, Any], checking: Callable[..., Any] | None = None
) -> dict[Tensor, Any]:
    """The sweep itself, from several outputs with a cotangent each; it consumes `seeds`.

    The tape is taken out of its list, so that a record that the sweep has passed is freed, with
    its value, unless the caller holds it. If the sweep is checked, `checking` is called with the
    tape and the outputs, and returns what to call with each contribution.
    """
    tape = tapes.pop()
    check = None if checking is None else checking(tape, seeds)
    recorded, reached = scope(tape)
    since = last_written().index if recorded else 0
    passed: list[Any] = []
    at: list[int] = []
    is_plain = not recorded and reached is None and check is None
    record: Any = tape.last
    x: Any
    start, parameters = tape.start, tape.parameters
    del tape
    wanted = frozenset(parameters)
    cotangents = seeds
    while record is not start:
        # a parameter's cotangent stays, as its gradient
        g = None if record in wanted else cotangents.pop(record, None)
        if g is not None:
            if recorded:
                passed += record, g
                at.append(last_written().index)
            if not (is_plain and accumulate_fast(record, g, cotangents)):
                for i, x, _, c in contributions(record, g, recorded, reached):
                    accumulate(cotangents, x, c)
                    if check is not None:
                        check(record, i, cotangents[x], g)
                x = _ = c = None  # or they would stay until the next contribution
        if reached:
            reached.discard(record)  # which would hold it
        record = record.previous
    for x in cotangents:
        if x not in wanted and x.index > start.index and x.origin is start.origin:
            refuse_branch(x)
    given: set[int] = set()
    gradients = {p: finish_gradient(p, cotangents.get(p), given) for p in parameters}
    if recorded:
        ends = [x for pair in gradients.items() if type(pair[1]) is Tensor for x in pair]
        pairs = {"passed": Parts(tuple(passed)), "gradients": Parts(tuple(ends))}
        said = {"since": since, "at": tuple(at), **pairs}
        advance(write_known(last_written(), SWEEP, (), said, _NOTHING))
    return gradients


def finite_check() -> Callable[..., Any]:
    """The check for numbers that are not finite, for `sweep`."""
    return lazy_import("tapegrad.explain.finite", "checked")  # type: ignore[no-any-return]


def scope(tape: Tape) -> tuple[bool, set[Tensor] | None]:
    """Whether a sweep of a tape is recorded, and the records that it is limited to, if any."""
    # inside the tape's own recording the rules see Tensors, so that they are recorded
    recorded = is_recording(tape.start.origin)
    return recorded, None if type(tape.start) is Origin else descendants(tape)


def contributions(
    record: Tensor, g: Any, recorded: bool = False, reached: Container[Tensor] | None = None
) -> list[tuple[int, Tensor, Any, Any]]:
    """What a record with the cotangent `g` contributes to its operands' cotangents.

    Parameters
    ----------
    record
        The record.
    g
        Its cotangent.
    recorded
        Whether the VJP rules are called on records, and so recorded, rather than on values.
    reached
        If given, the operands to consider; others are left out.

    Returns
    -------
    A list with an entry for each operand that receives a gradient: its position, the operand, its
    cotangent as the rule returns it, and the same after broadcasting is undone.
    """
    op, operands, options = record.op, record._operands, record._options
    args = [g, record, *operands] if recorded else [g, record._primal, *primals(operands)]
    found, n = [], len(operands)
    # this runs for every operand on a tape, so it does only what is necessary
    for i, rule in op.passing or differentiable(op.rules(n)):
        if i >= n:
            break
        x = operands[i]
        if type(x) is not Tensor or not (reached is None or x in reached):
            continue
        primal = x._primal
        if type(primal) is not ndarray:
            primal = np.asarray(primal)
        dtype = primal.dtype
        if dtype is not FLOAT64 and dtype.kind not in "fc":
            continue
        try:
            c = rule(*args, **options) if options else rule(*args)
        except Exception as error:
            note_rule(error, record, i)
            raise
        if c is not None:
            fits = c.dtype is dtype and c.shape == primal.shape
            found.append((i, x, c, c if fits else unbroadcast(c, primal, op.name, i)))
    return found


def accumulate_fast(record: Tensor, g: Any, cotangents: dict[Tensor, Any]) -> bool:
    """Add what a record with the cotangent `g` contributes to its operands' cotangents.

    The fast path, for an op of one or two operands in a sweep over values, as most records of most
    tapes are. It does what `contributions` and the loop around it do, in two thirds of the time: it
    is written out, without lists and pairs.

    Returns
    -------
    Whether the record is such a one; if not, nothing was done.
    """
    op, operands, y = record.op, record._operands, record._primal
    n, passing, options = len(operands), op.passing, record._options
    if (add := op.add_into) and type(x := operands[0]) is Tensor and is_alone(cotangents.get(x)):
        add(cotangents[x], g, *primals(operands), **options)
        return True
    if not passing:
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
        x, primal = (second, b) if i else (first, a)
        if primal is x:  # a constant
            continue
        if type(primal) is not ndarray:
            primal = np.asarray(primal)
        dtype = primal.dtype
        if dtype is not FLOAT64 and dtype.kind not in "fc":
            continue
        try:
            if options:
                c = rule(g, y, *primals(operands), **options)
            else:
                c = rule(g, y, a) if n == 1 else rule(g, y, a, b)
        except Exception as error:
            note_rule(error, record, i)
            raise
        if c is not None:
            fits = c.dtype is dtype and c.shape == primal.shape
            accumulate(cotangents, x, c if fits else unbroadcast(c, primal, op.name, i))
    return True
