"""The forward sweep: from a tape to the tangents of its records.

One loop over the records from the oldest to the newest; start with `push`. Most primitives have
one of three JVP rules: `elementwise` calls the VJP rules, `linear` applies the primitive to the
tangent, and `by_transposing` takes the VJP of the VJP, which is linear in the cotangent
(https://j-towns.github.io/2017/06/12/A-new-trick.html). A few primitives declare another.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import numpy as np

from tapegrad.core.broadcasting import broadcast_tangent, unbroadcast
from tapegrad.core.messages import refuse_branch
from tapegrad.core.primitive import Parts, Primitive, number_vjps
from tapegrad.core.recording import record_call
from tapegrad.core.sweep import sweep
from tapegrad.core.tape import Tape
from tapegrad.core.tensor import Tensor, primals
from tapegrad.core.writing import Operands, Options, append_record, is_recording
from tapegrad.errors.lines import call_at_record
from tapegrad.types import Array, Tangent

# the tangents of the operands that have one, by position
Tangents = Mapping[int, Tangent]


def push_forward(
    tape: Tape,
    tangents: Mapping[Tensor, Tangent],
    outputs: Iterable[Tensor],
    on_record: Callable[[Tensor, dict[Tensor, Tangent]], None] | None = None,
) -> dict[Tensor, Tangent]:
    """Return the tangents of the records that depend on the given tangents, by record.

    Parameters
    ----------
    tape
        The tape that the outputs are on.
    tangents
        The tangents of parameters, each of the parameter's shape and dtype.
    outputs
        The records whose tangents are wanted.
    on_record
        For tools that look at a sweep: a function that is called after each record with the record
        and the tangents so far.
    """
    # inside the tape's own recording the rules see Tensors, so that they are recorded
    recorded = is_recording(tape.start.origin)
    by_record = dict(tangents)
    for record, done in schedule(tape, frozenset(outputs)):
        if record.dtype.kind in "fc":
            t = call_at_record(record, _tangent, record, by_record, recorded)
            if t is not None:
                by_record[record] = broadcast_tangent(t, record)
                if on_record is not None:
                    on_record(record, by_record)
        for x in done:
            by_record.pop(x, None)
    return by_record


def schedule(tape: Tape, outputs: frozenset[Tensor]) -> list[tuple[Tensor, list[Tensor]]]:
    """Return the records that the outputs depend on, the oldest first.

    Each is paired with the operands that no later record uses.
    """
    needed = set(outputs)
    records = []
    for record in reversed(tape):
        if record in needed:
            operands = [x for x in record._operands if type(x) is Tensor and x not in needed]
            needed.update(operands)
            records.append((record, operands))
    for x in needed.difference(dict(records)):
        if x.index > tape.start.index and x.origin is tape.start.origin:
            refuse_branch(x)
    return records[::-1]


def _tangent(record: Tensor, tangents: Mapping[Tensor, Tangent], recorded: bool) -> Any:
    """Return the tangent of a record, given the tangents of its operands; None if it is zero."""
    op, operands = record.op, record._operands
    moved = {
        i: tangents[x]
        for i, (x, rule) in enumerate(zip(operands, op.vjps_for(len(operands)), strict=False))
        if rule is not None and type(x) is Tensor and x in tangents
    }
    if not moved:
        return None
    args = operands if recorded else primals(operands)
    return op.jvp(op, moved, record if recorded else record._primal, *args, **record._options)


def elementwise_jvp(
    op: Primitive, tangents: Tangents, y: Array, *operands: Any, **options: Any
) -> Tangent | None:
    """Return the tangent of an elementwise function, by VJP rules: its Jacobian is diagonal."""
    rules = dict(number_vjps(op.vjps_for(len(operands))))
    total = None
    for i, t in tangents.items():
        part = rules[i](t, y, *operands, **options)
        if part is not None:
            total = part if total is None else total + part
    return total


def linear_jvp(
    op: Primitive, tangents: Tangents, y: Array, *operands: Any, **options: Any
) -> Tangent | None:
    """Return the tangent of a function linear in each operand: it is applied to the tangents."""
    total = None
    for i, t in tangents.items():
        part = apply(op, (*operands[:i], t, *operands[i + 1 :]), options)
        total = part if total is None else total + part
    return total


def transposed_jvp(
    op: Primitive, tangents: Tangents, y: Array, *operands: Any, **options: Any
) -> Tangent | Parts:
    """Return the tangent of any function: the VJP of the VJP, which is linear in the cotangent."""
    return transpose_vjps(op, tangents, y, operands, options)


def transpose_vjps(
    op: Primitive,
    tangents: Tangents,
    y: Array,
    operands: Operands,
    options: Options,
    check: Callable[[Tape, Iterable[Tensor]], None] | None = None,
) -> Tangent | Parts:
    """Return the tangent of a record by a sweep through its recorded VJP rules.

    For users' rules, `check` is called with the recording, whose parameter is the cotangent, and
    with the results of the rules.
    """
    rules = dict(number_vjps(op.vjps_for(len(operands))))
    like, *rest = primals((y, *operands))
    values = [np.asarray(x) for x in rest]

    def back(g: Any) -> dict[int, Any]:
        g = Parts(tuple(g)) if type(g) is list else g
        cotangents = {i: rules[i](g, y, *operands, **options) for i in tangents}
        return {
            i: unbroadcast(c, values[i], op.name, i) for i, c in cotangents.items() if c is not None
        }

    zeros = list(map(_zeros, like.values)) if type(like) is Parts else _zeros(np.asarray(like))
    cotangents, tape, (g,) = record_call(back, (zeros,), argnums=(0,))
    seeds: dict[Tensor, Any] = {}
    for i, c in cotangents.items():
        if type(c) is Tensor:
            seeds[c] = seeds[c] + tangents[i] if c in seeds else tangents[i]
    if check is not None:
        check(tape, seeds)
    gradients = sweep([tape], seeds)
    return Parts(tuple(map(gradients.get, g))) if type(g) is list else gradients[g]


def _zeros(x: Any) -> Any:
    return np.zeros(x.shape, x.dtype) if x.dtype.kind in "fc" else None


def apply(op: Primitive, operands: Operands, options: Options) -> Any:
    """Apply a primitive to the operands and options of a record; return a value or a new record."""
    for x in operands:
        if type(x) is Tensor:
            return append_record(op, operands, options)
    return op.forward(*operands, **options)
