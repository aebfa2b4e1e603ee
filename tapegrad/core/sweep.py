"""The reverse sweep: from a tape to the gradients of its parameters.

One loop over the records from the newest to the oldest, without recursion. Since operands stand on
earlier lines than the records made from them, a record's cotangent is complete when the loop
reaches it.
"""

from __future__ import annotations

from collections.abc import Callable, Container
from typing import Any

import numpy as np
from numpy import ndarray

from tapegrad.core.broadcasting import unbroadcast
from tapegrad.core.messages import note_vjp_rule, refuse_branch
from tapegrad.core.primitive import Joint, Parts, Primitive, number_vjps
from tapegrad.core.tape import Tape, descendants
from tapegrad.core.tensor import Origin, Tensor
from tapegrad.core.writing import advance, is_recording, last_record, write_known
from tapegrad.errors.lines import call_at_record
from tapegrad.tree.cotangents import FLOAT64, as_dtype
from tapegrad.tree.ownership import readonly_array
from tapegrad.types import Array, Cotangent

# The primitive of the record that ends a recorded sweep, for `compile` and for tools that look at
# tapes. The options describe the sweep: `since` is the index of the last record before it, `passed`
# has the records that it passed, each before its cotangent, and `gradients` has the parameters,
# each before its gradient.
SWEEP = Primitive("sweep", lambda **options: _NOTHING, (), jvp=lambda *args: None)
_NOTHING: Array = readonly_array(np.zeros(()))


def sweep(
    tapes: list[Tape],
    cotangents: dict[Tensor, Cotangent],
    on_record: Callable[[Tensor, Cotangent, dict[Tensor, Cotangent]], None] | None = None,
) -> dict[Tensor, Array]:
    """Return the gradients of a tape's parameters, given the cotangents of some records.

    Parameters
    ----------
    tapes
        A list of one tape, which the sweep takes out of it. So a record that the sweep has passed
        is freed, with its value, unless the caller holds it.
    cotangents
        A cotangent for each output; the sweep consumes them.
    on_record
        For tools that look at a sweep: a function that is called after each record with the record,
        its cotangent, and the cotangents so far.
    """
    tape = tapes.pop()
    recorded, reached = sweep_scope(tape)
    since = last_record().index if recorded else 0
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
                call_at_record(
                    record, add_contributions, record, g, cotangents, summed, True, reached
                )
            else:
                add_contributions(record, g, cotangents, summed, False, reached)
            if on_record is not None:
                on_record(record, g, cotangents)
        if reached:
            reached.discard(record)  # otherwise the set holds its value
        record = record.previous
    for x in cotangents:
        if x not in wanted and x.index > start.index and x.origin is start.origin:
            refuse_branch(x)
    gradients: dict[Tensor, Any] = {p: finish_gradient(p, cotangents.get(p)) for p in parameters}
    if recorded:
        ends = [x for pair in gradients.items() if type(pair[1]) is Tensor for x in pair]
        pairs = {"passed": Parts(tuple(passed)), "gradients": Parts(tuple(ends))}
        advance(write_known(last_record(), SWEEP, (), {"since": since, **pairs}, _NOTHING))
    return gradients


def sweep_scope(tape: Tape) -> tuple[bool, set[Tensor] | None]:
    """Return whether a sweep of a tape is recorded, and the only records that it may pass."""
    # inside the tape's own recording the rules see Tensors, so that they are recorded
    recorded = is_recording(tape.last.origin)
    return recorded, None if type(tape.start) is Origin else descendants(tape)


def add_contributions(
    record: Tensor,
    g: Any,
    cotangents: dict[Tensor, Any],
    summed: set[Tensor],
    recorded: bool = False,
    reached: Container[Tensor] | None = None,
    on_contribution: Callable[[int, Tensor, Cotangent, Cotangent], None] | None = None,
) -> None:
    """Add the contributions of a record to the cotangents of its operands.

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
    on_contribution
        For tools that look at a sweep: a function that is called with each contribution, that is,
        with the operand's position, the operand, its cotangent as the rule returns it, and the same
        after broadcasting is undone.
    """
    op, operands, options = record.op, record._operands, record._options
    n = len(operands)
    # every record and operand of a tape passes here, so each step counts
    if recorded:
        args: tuple[Any, ...] = g, record, *operands
    else:
        values = [x._primal if type(x) is Tensor else x for x in operands]
        args = g, record._primal, *values
    cs: Any = None
    vjps: Any = op.vjps
    rules: Any = op.numbered_vjps
    if rules is None:
        joint = type(vjps) is Joint
        rules = enumerate([None] * n) if joint else number_vjps(vjps.vjps_for(n))
    add_into = op.add_into
    if add_into is not None and (recorded or on_contribution is not None or type(g) is Tensor):
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
                    own = np.zeros(primal.shape, dtype) if known is None else np.array(known)
                    known = cotangents[x] = own
                add_into(known, g, *args[2:], **options)
                continue
            if rule is None:
                # one call for all operands, and not one call with all operands for each
                cs = vjps.rule(*args, **options) if cs is None else cs
                c = cs[i]
            else:
                c = rule(*args, **options) if options else rule(*args)
        except Exception as error:
            note_vjp_rule(error, record, i)
            raise
        if c is None:
            continue
        fits = c.dtype is dtype and c.shape == primal.shape
        part = c if fits else unbroadcast(c, primal, op.name, i)
        if on_contribution is not None:
            on_contribution(i, x, c, part)
        cotangents[x] = part if known is None else _sum(x, known, part, summed)


def _sum(x: Tensor, known: Cotangent, part: Cotangent, summed: set[Tensor]) -> Cotangent:
    """Return the sum of two cotangents of a record, in place if the sweep made the first."""
    if x in summed and type(part) is type(known) is ndarray:
        known += part
        return known
    total = known + part
    if type(total) is ndarray:
        summed.add(x)
    return total


def finish_gradient(record: Tensor, c: Any) -> Array:
    """Return a record's gradient or tangent in the record's dtype, read-only; zeros for None."""
    if c is None:
        c = np.zeros(record.shape, record.dtype)
    elif type(record._primal) is ndarray:
        c = as_dtype(c, record._primal.dtype)
    return c if type(c) is Tensor else readonly_array(c)  # type: ignore[return-value]
