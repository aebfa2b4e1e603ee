"""The reverse sweep: from a tape to the gradients of its parameters.

One loop over the records from the newest to the oldest, without recursion. Since operands stand on
earlier lines than the records made from them, a record's cotangent is complete when the loop
reaches it.
"""

from __future__ import annotations

from collections.abc import Container, Mapping
from functools import partial
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy import ndarray

from tapegrad.core.finite import check_cotangent, check_values
from tapegrad.core.fitting import FLOAT64, fit, plus
from tapegrad.core.passing import numbered
from tapegrad.core.quick import passed_on
from tapegrad.core.reach import dependents
from tapegrad.core.refusals import Gradients, note_rule, refuse_branch
from tapegrad.core.seeds import begin, result_for
from tapegrad.core.tape import Tape, is_recording
from tapegrad.core.tensor import Origin, Tensor
from tapegrad.face.warned import at_users_line


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
    gradients = sweep([tape], begin(tape, output, cotangent), check_finite)
    return MappingProxyType(Gradients(gradients))


@at_users_line
def sweep(
    tapes: list[Tape], seeds: dict[Tensor, Any], check_finite: bool = False
) -> dict[Tensor, Any]:
    """The sweep itself, from several outputs with a cotangent each; it consumes `seeds`.

    The tape is taken out of its list, so that a record that the sweep has passed is freed,
    with its value, unless the caller holds it.
    """
    tape = tapes.pop()
    if check_finite:
        check_values(tape, seeds)
    check = partial(check_cotangent, tape) if check_finite else None
    recorded, reached = scope(tape)
    is_plain = not recorded and reached is None and check is None
    record: Any = tape.last
    start, parameters = tape.start, tape.parameters
    del tape
    wanted = frozenset(parameters)
    cotangents = seeds
    summed: set[Tensor] = set()  # records whose cotangent `plus` made
    while record is not start:
        # a parameter's cotangent stays, as its gradient
        g = None if record in wanted else cotangents.pop(record, None)
        if g is not None:
            summed.discard(record)
            if not (is_plain and passed_on(record, g, cotangents, summed)):
                for i, x, _, c in contributions(record, g, recorded, reached):
                    cotangents[x] = plus(cotangents[x], c, x, summed) if x in cotangents else c
                    if check is not None:
                        check(record, i, cotangents[x], g)
        record = record.previous
    for x in cotangents:
        if x not in wanted and x.index > start.index and x.origin is start.origin:
            refuse_branch(x)
    given: set[int] = set()
    gradients = {}
    for p in parameters:
        gradients[p] = result_for(p, cotangents.get(p), given)
    return gradients


def scope(tape: Tape) -> tuple[bool, set[Tensor] | None]:
    """Whether a sweep of a tape is recorded, and the records that it is limited to, if any."""
    # inside the tape's own recording the rules see Tensors, so that they are recorded
    recorded = is_recording(tape.start.origin)
    return recorded, None if type(tape.start) is Origin else dependents(tape)


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
    args = [g, record if recorded else record._primal]
    for x in operands:
        args.append(x._primal if type(x) is Tensor and not recorded else x)
    found, n = [], len(operands)
    # this runs for every operand on a tape, so it does only what is necessary
    for i, rule in op.passing or numbered(op.rules(n)):
        if i >= n:
            break
        x = operands[i]
        if type(x) is not Tensor or not (reached is None or x in reached):
            continue
        primal = x._primal
        if type(primal) is not ndarray:
            primal = np.asarray(primal)
        dtype = primal.dtype
        if dtype is not FLOAT64 and dtype.kind != "f":
            continue
        try:
            c = rule(*args, **options) if options else rule(*args)
        except Exception as error:
            note_rule(error, record, i)
            raise
        if c is not None:
            fits = c.dtype is dtype and c.shape == primal.shape
            found.append((i, x, c, c if fits else fit(c, primal, op.name, i)))
    return found
