"""The forward sweep: from a tape to the tangents of its records.

One loop over the records from the oldest to the newest. Ops have no rules of their own
for it: elementwise ops use the VJP rule, linear ops themselves, and all others the VJP of
the VJP, which is linear in the cotangent
(https://j-towns.github.io/2017/06/12/A-new-trick.html).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import numpy as np

from tapegrad.core.broadcasting import broadcast_tangent, unbroadcast
from tapegrad.core.messages import refuse_branch
from tapegrad.core.recording import run
from tapegrad.core.rules import Parts, Rules
from tapegrad.core.sweep import sweep
from tapegrad.core.tape import Tape
from tapegrad.core.tensor import Tensor, primals
from tapegrad.core.writing import append, is_recording
from tapegrad.errors.lines import at_record, at_users_line


@at_users_line
def push(
    tape: Tape,
    tangents: Mapping[Tensor, Any],
    outputs: Iterable[Tensor],
    checking: Callable[..., Any] | None = None,
) -> Any:
    """The tangents of the records that depend on the given tangents, by record.

    Parameters
    ----------
    tape
        The tape that the outputs are on.
    tangents
        The tangents of parameters, each of the parameter's shape and dtype.
    outputs
        The records whose tangents are wanted.
    checking
        If the sweep is checked: it is called with the tape and the outputs, and returns what to
        call with each record and the tangents that are known.
    """
    check = None if checking is None else checking(tape, outputs)
    # inside the tape's own recording the rules see Tensors, so that they are recorded
    recorded = is_recording(tape.start.origin)
    by_record = dict(tangents)
    for record, done in schedule(tape, frozenset(outputs)):
        if record.dtype.kind in "fc":
            t = at_record(record, _tangent, record, by_record, recorded)
            if t is not None:
                by_record[record] = broadcast_tangent(t, record)
                if check is not None:
                    check(record, by_record)
        for x in done:
            by_record.pop(x, None)
    return by_record


def schedule(tape: Tape, outputs: frozenset[Tensor]) -> list[tuple[Tensor, list[Tensor]]]:
    """The records that the outputs depend on, the oldest first.

    Each comes with the operands that no later record uses.
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


def _tangent(record: Tensor, tangents: Mapping[Tensor, Any], recorded: bool) -> Any:
    """The tangent of a record from those of its operands; None if it is zero."""
    op, operands = record.op, record._operands
    rules = op.rules(len(operands))
    moved = {}
    for i, x in enumerate(operands[: len(rules)]):
        if type(x) is Tensor and x in tangents and rules[i] is not None:
            moved[i] = tangents[x]
    if not moved:
        return None
    args = operands if recorded else primals(operands)
    return op.jvp(op, moved, record if recorded else record._primal, *args, **record._options)


def elementwise(
    op: Rules, tangents: Mapping[int, Any], y: Any, *operands: Any, **options: Any
) -> Any:
    """The tangent of an elementwise function: its Jacobian is diagonal, so VJP rules serve."""
    rules = op.rules(len(operands))
    total = None
    for i, t in tangents.items():
        part = rules[i](t, y, *operands, **options)
        if part is not None:
            total = part if total is None else total + part
    return total


def linear(op: Rules, tangents: Mapping[int, Any], y: Any, *operands: Any, **options: Any) -> Any:
    """The tangent of a function linear in each operand: the function applied to the tangent."""
    total = None
    for i, t in tangents.items():
        part = apply(op, (*operands[:i], t, *operands[i + 1 :]), options)
        total = part if total is None else total + part
    return total


def by_transposing(
    op: Rules, tangents: Mapping[int, Any], y: Any, *operands: Any, **options: Any
) -> Any:
    """The tangent of any op: the VJP of the VJP, which is linear in the cotangent."""
    return _transposed(op, tangents, y, operands, options)


def by_users_rules(
    op: Rules, tangents: Mapping[int, Any], y: Any, *operands: Any, **options: Any
) -> Any:
    """`by_transposing` for rules of the user's, which may lose the cotangent on their way."""
    return _transposed(op, tangents, y, operands, options, check=True)


def _transposed(
    op: Rules,
    tangents: Mapping[int, Any],
    y: Any,
    operands: tuple[Any, ...],
    options: Mapping[str, Any],
    check: bool = False,
) -> Any:
    rules = op.rules(len(operands))
    like, *rest = primals((y, *operands))
    values = [np.asarray(x) for x in rest]

    def back(g: Any) -> dict[int, Any]:
        g = Parts(tuple(g)) if type(g) is list else g
        cotangents = {i: rules[i](g, y, *operands, **options) for i in tangents}
        return {
            i: unbroadcast(c, values[i], op.name, i) for i, c in cotangents.items() if c is not None
        }

    zeros = list(map(_zeros, like.values)) if type(like) is Parts else _zeros(np.asarray(like))
    cotangents, tape, (g,) = run(back, (zeros,), argnums=(0,))
    seeds: dict[Tensor, Any] = {}
    for i, c in cotangents.items():
        if type(c) is Tensor:
            seeds[c] = seeds[c] + tangents[i] if c in seeds else tangents[i]
    if check:
        tape._check_passed_on(op, seeds)
    gradients = sweep([tape], seeds)
    return Parts(tuple(map(gradients.get, g))) if type(g) is list else gradients[g]


def _zeros(x: Any) -> Any:
    return np.zeros(x.shape, x.dtype) if x.dtype.kind in "fc" else None


def apply(op: Rules, operands: tuple[Any, ...], options: Mapping[str, Any]) -> Any:
    """Apply an op to operands and options as stored in records: a value, or a new record."""
    for x in operands:
        if type(x) is Tensor:
            return append(op, operands, options)
    return op.forward(*operands, **options)
