"""Find the first value, cotangent or tangent that is not finite.

A nan or an infinity is reported at the record that made it, with its operands and, for known
causes, a remedy. Inside a loop, a branch or a checkpointed call, the report names the line of the
step, of the branch that was taken, or of the repeated call.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from functools import partial, wraps
from itertools import accumulate
from operator import add
from typing import Any

import numpy as np

from tapegrad import tree
from tapegrad.core.forward import push_forward
from tapegrad.core.primitive import Parts
from tapegrad.core.recording import record_call
from tapegrad.core.sweep import SWEEP, add_contributions, sweep
from tapegrad.core.tape import Tape, descendants
from tapegrad.core.tensor import Tensor, primal_of, primals
from tapegrad.declare import facts
from tapegrad.declare.parts import PART
from tapegrad.errors import NonFiniteError, TraceError
from tapegrad.errors.functions import label
from tapegrad.errors.lines import users_place
from tapegrad.errors.words import short
from tapegrad.explain.inside import HOLDERS, Run, known_values, primal_cotangent, runs
from tapegrad.explain.rules import ancestors
from tapegrad.explain.steps import Inside, record_title
from tapegrad.ops.logic import where as where_
from tapegrad.program.control.ops import LOOPS
from tapegrad.tree.numbers import is_floating

# the code of ops that are not written np.name(x)
_SPELLINGS = {"divide": "1 / {}", "reciprocal": "1 / {}", "power": "{} ** p"}


def make_cotangent_check(tape: Tape, outputs: Iterable[Tensor]) -> Callable[..., None]:
    """Check a tape's values, and return the check of its cotangents."""
    check_values(tape, outputs)
    return partial(_check_cotangents, tape)


def _check_cotangents(tape: Tape, record: Tensor, g: Any, cotangents: Mapping[Tensor, Any]) -> None:
    """Raise if a record passes on a cotangent that is not finite, inside it at the first one."""
    if record.op in HOLDERS:
        _check_inside(record, g)
    for x in record._operands:
        if type(x) is Tensor and x in cotangents and not _is_finite(cotangents[x]):
            _check_contribution(tape, record, _first_bad_position(record, g, x), cotangents[x], g)


def _first_bad_position(record: Tensor, g: Any, operand: Tensor) -> int:
    """Return the position of an operand from which on its summed cotangent is not finite."""
    parts: dict[int, Any] = {}

    def note(i: int, x: Tensor, c: Any, part: Any) -> None:
        if x is operand:
            parts[i] = part

    with np.errstate(all="ignore"):
        add_contributions(record, g, {}, set(), type(g) is Tensor, None, note)
        sums = zip(parts, accumulate(parts.values(), add), strict=True)
        return next((i for i, total in sums if not _is_finite(total)), [*parts][-1])


def check_values(tape: Tape, outputs: Iterable[Tensor]) -> None:
    """Raise at the first record with a value that is not finite.

    Records that the outputs do not depend on may have any value; so may values inside a record
    that its results do not depend on.

    Raises
    ------
    NonFiniteError
        The message names the line, the op and its operands, and may give a hint.
    TraceError
        While compiling or batching, where values are not known.
    """
    if tape.start.origin.compiling:
        raise TraceError(
            f"check_finite reads values, which are unknown while {tape.start.origin.activity} "
            f"{tape.start.origin.label}; call the function itself to find where a number goes "
            "wrong, or compile it by tg.compile(fn, check_finite=True)"
        )
    needed = ancestors(tape, outputs)
    # the results that are read from records with several results
    read: dict[Tensor, set[int]] = {}
    for record in needed:
        if record.op is PART:
            read.setdefault(record._operands[0], set()).add(record._options["index"])
    for record in tape:
        if record not in needed:
            continue
        try:
            for inner in runs(record):
                check_values(inner.tape, _needed_results(inner, read.get(record)))
        except NonFiniteError:
            _check_sweep(tape, record)
            raise
        if type(record._primal) is not Parts and not _is_finite(record._primal):
            _check_sweep(tape, record)
            raise _make_error("the value of {}", tape, record, record._primal)


def _check_sweep(tape: Tape, record: Tensor) -> None:
    """If a sweep inside the recording wrote a record, raise at its first bad cotangent."""
    for x in tape:
        if x.op is SWEEP and x._options["since"] < record.index <= x.index:
            passed, ends = x._options["passed"].values, x._options["gradients"].values
            reached = descendants(Tape(x, tape.start, ends[::2]))
            for y, g in zip(passed[::2], passed[1::2], strict=True):
                g, cotangents = primal_cotangent(g), dict[Tensor, Any]()
                add_contributions(y, g, cotangents, set(), False, reached)
                _check_cotangents(tape, y, g, cotangents)


def _needed_results(inner: Run, read: set[int] | None) -> list[Tensor]:
    """Return the results of a run on which the read results depend; `read` is None for all."""
    record, outputs = inner.record, inner.outputs
    wanted = set(range(len(outputs))) if read is None else set(read)
    if record.op in LOOPS:
        loop, carry = record._options["loop"], inner.carry
        if loop.stop is not None:
            wanted.update(range(loop.n_carry))
        n_before = -1
        while n_before != len(wanted):
            # each part of the carry that a step needs comes from the previous step
            n_before = len(wanted)
            needed = ancestors(inner.tape, _select_records(outputs, wanted))
            wanted.update(k for k, x in enumerate(carry) if x in needed)
    return _select_records(outputs, wanted)


def _select_records(outputs: Sequence[Any], wanted: Iterable[int]) -> list[Tensor]:
    return [outputs[i] for i in wanted if type(outputs[i]) is Tensor]


def _check_inside(record: Tensor, g: Any) -> None:
    """Raise at the first cotangent inside a record that is not finite, in its backward order."""
    for inner in Inside(record, g):
        for step in inner.steps:
            if step.inside:
                _check_inside(step.record, step.cotangent)
            for c in step.contributions:
                _check_contribution(inner.tape, step.record, c.position, c.summed, step.cotangent)


# --- tangents -------------------------------------------------------------------------------


def make_tangent_check(tape: Tape, outputs: Iterable[Tensor]) -> Callable[..., None]:
    """Check a tape's values, and return the check of its tangents."""
    check_values(tape, outputs)
    return _make_tangent_check(tape, outputs)


def _make_tangent_check(tape: Tape, outputs: Iterable[Tensor]) -> Callable[..., None]:
    return partial(_check_tangent, tape)


def _check_tangent(tape: Tape, record: Tensor, tangents: Mapping[Tensor, Any]) -> None:
    """Raise if a record's tangent is not finite; inside a loop or a call, at the first one."""
    t = tangents[record]
    if _is_finite(t):
        return
    tangents_in = [tangents.get(x) if type(x) is Tensor else None for x in record._operands]
    if record.op in HOLDERS:
        _check_tangents_inside(record, tangents_in)
    further = [
        f"\n  tangent of operand {i}: {_describe_value(u)}"
        for i, u in enumerate(tangents_in)
        if u is not None
    ]
    raise _make_error("the tangent of {}", tape, record, t, *further)


def _check_tangents_inside(record: Tensor, tangents_in: list[Any]) -> None:
    loop = record._options.get("loop") if record.op in LOOPS else None
    first, last = (0, 0) if loop is None else (loop.n_captured, loop.n_captured + loop.n_carry)
    tangents_in = list(primals(tangents_in))
    for inner in runs(record):
        tangents = {}
        for x, i in inner.sources.items():
            if tangents_in[i] is not None:
                # select the row of this step
                step = 0 if loop is None else -1 - (inner.step or 0) if loop.reverse else inner.step
                is_row = loop is not None and i >= last
                tangents[x] = tangents_in[i][step, ...] if is_row else tangents_in[i]
        outputs = [x for x in inner.outputs if type(x) is Tensor]
        check = _make_tangent_check(inner.tape, outputs)
        results = push_forward(inner.tape, tangents, outputs, check)
        if loop is not None:
            carry = inner.outputs[: loop.n_carry]
            tangents_in[first:last] = [results.get(x) if type(x) is Tensor else None for x in carry]


def check_matrices(tape: Tape, mode: str, matrices: Mapping[Any, Any]) -> None:
    """Raise for values, or parts of a Jacobian, that are not finite, at their first bad record.

    The Jacobian was computed for all directions together; a direction that is not finite is
    computed again alone.
    """
    check_values(tape, {y for y, _ in matrices})
    for (y, x), part in matrices.items():
        part = primal_of(part)
        if not np.isfinite(part).all():
            index = tuple(np.argwhere(~np.isfinite(part))[0].tolist())
            check_direction(tape, mode, y, x, (index[: y.ndim], index[y.ndim :]))


def check_direction(tape: Tape, mode: str, y: Tensor, x: Tensor, elements: tuple[Any, Any]) -> None:
    """Raise at the first bad record of a derivative of one element that is not finite."""
    parameter, index = (x, elements[1]) if mode == "forward" else (y, elements[0])
    unit = np.zeros(parameter.shape, parameter.dtype)
    unit[index] = 1
    if mode == "forward":
        push_forward(tape, {x: unit}, [y], _make_tangent_check(tape, [y]))
    else:
        sweep([tape], {y: unit}, make_cotangent_check(tape, [y]))


# --- compiled functions ---------------------------------------------------------------------


def check_result(
    fn: Callable[..., Any], static: Collection[int], args: Any, kwargs: Any, result: Any
) -> None:
    """Raise if a result of a compiled function is not finite, at its first bad record.

    The program keeps no values, so the function is recorded again with the same arguments.
    """
    leaves = zip(tree.paths(result), tree.leaves(result), strict=True)
    bad = [path or "the result" for path, x in leaves if is_floating(x) and not _is_finite(x)]
    if not bad:
        return
    n = len(args)
    varied = [i for i in range(n) if i not in static and i - n not in static]

    @wraps(fn)
    def varying_fn(*varying: Any, **named: Any) -> Any:
        known = dict(zip(varied, varying, strict=True))
        return fn(*[known.get(i, x) for i, x in enumerate(args)], **named)

    output, tape, _ = record_call(
        varying_fn, tuple([args[i] for i in varied]), kwargs, find_place=users_place
    )
    check_values(tape, [x for x in tree.leaves(output) if type(x) is Tensor])
    raise NonFiniteError(
        f"{bad[0]} of the compiled {label(fn)} is not finite, but every value is where the "
        "function itself is recorded: compare the two with .check(*args)"
    )


# --- messages -------------------------------------------------------------------------------


def _check_contribution(tape: Tape, record: Tensor, i: int, c: Any, g: Any) -> None:
    """Raise if the cotangent that a record gives its i-th operand is not finite."""
    if not _is_finite(c):
        subject = f"the cotangent that {{}} passes to operand {i}"
        further = (
            f"\n  value: {short(record._primal)}",
            f"\n  incoming cotangent: {_describe_value(g)}",
        )
        raise _make_error(subject, tape, record, c, *further)


def _make_error(subject: str, tape: Tape, record: Tensor, x: Any, *further: str) -> NonFiniteError:
    """Return the error, which names the line, the op and its operands, and may give a hint."""
    name = f" {record.name!r}" if record.name else ""
    where = f"line {record.index} of the tape of {record.origin.label}, {record.op.name}{name},"
    at = f"\n  at {record.place}" if record.place and record.place.file else ""
    operands = ""
    for i, y in enumerate(record._operands):
        of = f"{record_title(y)}, " if type(y) is Tensor else ""
        operands += f"\n  operand {i}: {of}{short(primal_of(y))}"
    return NonFiniteError(
        f"{subject.format(where)} is not finite: {_describe_value(x)}{at}{operands}"
        f"{''.join(further)}{_hint(tape, record)}"
    )


def _is_finite(x: Any) -> bool:
    return all(np.isfinite(value).all() for value in known_values(x))


def _describe_value(x: Any) -> str:
    """Describe a value, and the index of its first element that is not finite."""
    x = primal_of(x)
    if type(x) is Parts:
        return str(Parts(tuple([None if callable(part) else part for part in x.values])))
    bad_indices = np.argwhere(~np.isfinite(x))
    if np.ndim(x) == 0 or not len(bad_indices):
        return short(x)
    index = tuple(bad_indices[0].tolist())
    return f"{short(x)}, with {x[index]} at {list(index)}"


def _hint(tape: Tape, record: Tensor) -> str:
    """Return the likely cause, and a remedy if the record is one side of a `where`."""
    name, cause = record.op.name, facts(record.op).cause
    where = _find_selecting_where(tape, record) if cause else None
    hint = f"\n  hint: {cause}" if cause else ""
    if where is None:
        return hint
    guarded = _SPELLINGS.get(name, f"np.{name}({{}})").format("np.where(ok, x, 1.0)")
    return (
        f"{hint}; the where on line {where.index} selects among values that are all computed, "
        f"and so are their slopes: guard the argument too, np.where(ok, {guarded}, 0.0)"
    )


def _find_selecting_where(tape: Tape, record: Tensor) -> Tensor | None:
    """Return the first `where` with a side that is the record or depends on it."""
    reached = {record}
    later: Tensor
    for later in tape:
        is_reached = [type(x) is Tensor and x in reached for x in later._operands]
        if later.op is where_ and any(is_reached[1:]):
            return later
        if any(is_reached):
            reached.add(later)
    return None
