"""Replay of a recording of one example for a batch, on which `vmap` is built.

Each op's batching rule (`tapegrad.declare.batching`) computes the results of all examples; an op
without a rule is called once for each example.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np

from tapegrad.core.broadcasting import unbroadcast
from tapegrad.core.forward import apply, schedule
from tapegrad.core.primitive import Joint, Parts, Primitive
from tapegrad.core.tape import Tape
from tapegrad.core.tensor import Tensor, primal_of
from tapegrad.core.writing import CURRENT, PARAMETER, append_record
from tapegrad.declare.abstract import exact_forward
from tapegrad.declare.batching import Batched, batch_size
from tapegrad.declare.custom import users_jvp
from tapegrad.declare.parts import parts_of
from tapegrad.errors.lines import call_at_place, warns_at_users_line
from tapegrad.transforms.reverse import SEED
from tapegrad.tree.numbers import is_floating
from tapegrad.types import Array, ArrayLike


@warns_at_users_line
def replay(
    tape: Tape, outputs: Iterable[Any], known: Mapping[Tensor, Array | Tensor], n: int
) -> list[tuple[Any, bool]]:
    """Compute the records of one example's tape for a batch.

    Parameters
    ----------
    tape
        The recording of one example.
    outputs
        The values to compute; a value that is not a record of the tape stays the same.
    known
        The n values, along a leading axis, of each record that differs between examples from the
        start.
    n
        The number of examples.

    Returns
    -------
    For each output, its replacement, and whether the replacement has the leading axis.
    """
    outputs = list(outputs)
    values: dict[Tensor, tuple[Any, bool]] = {x: (value, True) for x, value in known.items()}
    origin = tape.start.origin

    def get_value(x: Any) -> tuple[Any, bool]:
        return values[x] if type(x) is Tensor and x.origin is origin else (x, False)

    records = frozenset([x for x in outputs if type(x) is Tensor and x.origin is origin])
    for record, done in schedule(tape, records):
        if record not in known:
            pairs = [get_value(x) for x in record._operands]
            if n == 0 and any(b for _, b in pairs):
                values[record] = _stack_zeros(0, record._primal), True
            else:
                call = record.op, record._options, pairs, partial(_evaluate_once, record)
                values[record] = call_at_place(record.place, batch_call, *call)
        for x in done:
            values.pop(x, None)
    return [get_value(x) for x in outputs]


def batch_call(
    op: Primitive,
    options: Mapping[str, Any],
    pairs: Sequence[tuple[Any, bool]],
    evaluate_once: Callable[[tuple[Any, ...]], Any],
) -> tuple[Any, bool]:
    """Return the result of a recorded call for a batch, and whether it has the leading axis.

    Parameters
    ----------
    op, options
        The op that was called, and its options.
    pairs
        The operands, and whether each has the leading axis.
    evaluate_once
        A function of the operands that returns the result for all examples, if no operand has the
        leading axis.
    """
    operands, batched = tuple([x for x, _ in pairs]), tuple([b for _, b in pairs])
    is_batched = any(batched)
    result = (
        apply_batched(op, options, batched, operands) if is_batched else evaluate_once(operands)
    )
    return result, is_batched


def _evaluate_once(record: Tensor, operands: tuple[Any, ...]) -> Any:
    """Return the value of a record that is the same for all examples."""
    if record.op is PARAMETER:
        return operands[0] if operands else record._primal
    if any(type(x) is Tensor for x in operands):
        return append_record(record.op, operands, record._options)
    if record.op is SEED and (last := CURRENT.get()) is not None and last.origin.compiling:
        return append_record(SEED, (), record._options)
    # the record's own value is a placeholder while batching
    op = record.op
    forward = exact_forward(op, list(operands)) if op.keeps_weak else op.forward
    value = forward(*operands, **record._options)
    if type(record._primal) is np.ndarray:
        return np.asarray(value)
    return value.item() if isinstance(value, np.generic) else value


def apply_batched(
    op: Primitive, options: Mapping[str, Any], batched: Batched, operands: tuple[Any, ...]
) -> Any:
    """Return an op's results for a batch, along a leading axis."""
    if op is PARAMETER:
        return operands[0]
    result = NotImplemented
    if op.batch is not None:
        result = op.batch(op, batched, *operands, **options)
    if result is NotImplemented:
        each = EACH if any(op.vjps_for(len(operands))) else EACH_DRAWN
        result = apply(each, operands, {"of": op, "batched": batched, "options": options})
    return result if type(result) in (Tensor, Parts) else np.asarray(result)


def take_example(operands: Sequence[Any], batched: Batched, i: int) -> tuple[Any, ...]:
    """Return the operands of the i-th example."""
    return tuple([x[i] if b else x for x, b in zip(operands, batched, strict=True)])


def _call_each(
    *operands: Array, of: Primitive, batched: Batched, options: Mapping[str, Any]
) -> Array | Parts:
    """Call an op without a batching rule once for each example."""
    n = batch_size(batched, operands)
    rows = [of.forward(*take_example(operands, batched, i), **options) for i in range(n)]
    if type(rows[0]) is Parts:
        return Parts(tuple(map(np.stack, zip(*[x.values for x in rows], strict=True))))
    return np.stack(rows)


def _stack_placeholders(
    *operands: Array, of: Primitive, batched: Batched, options: Mapping[str, Any]
) -> Array | Parts:
    """Return zeros of the shapes and dtypes of the results."""
    n, example_operands = batch_size(batched, operands), take_example(operands, batched, 0)
    forward = of.like or exact_forward(of, list(example_operands))
    return _stack_zeros(n, forward(*example_operands, **options))


def _stack_zeros(n: int, like: ArrayLike | Parts) -> Array | Parts:
    """Return zeros for n results of the shape and dtype of `like`, or of each of its parts."""
    if isinstance(like, Parts):
        return Parts(tuple([_stack_zeros(n, x) for x in like.values]))
    return np.zeros((n, *np.shape(like)), np.asarray(like).dtype)


def _take_row(x: Any, k: int) -> Any:
    """Return the value or cotangent of one example; x may be `Parts`, or a record of them."""
    if type(x) is not Parts and (type(x) is not Tensor or type(x._primal) is not Parts):
        return x[k]
    return Parts(tuple([None if value is None else value[k] for value in parts_of(x)]))


def _pull_each(
    g: Any, y: Any, *operands: Array, of: Primitive, batched: Batched, options: Mapping[str, Any]
) -> list[Any]:
    """Call the VJPs of an op without a batching rule once for each example."""
    rows: list[list[Any]] = [[] for _ in operands]
    for k in range(batch_size(batched, operands)):
        example_operands = take_example(operands, batched, k)
        for i, rule in enumerate(of.vjps_for(len(operands))):
            if rule is not None and is_floating(operands[i]):
                c = rule(_take_row(g, k), _take_row(y, k), *example_operands, **options)
                if c is not None:
                    like = primal_of(example_operands[i])
                    rows[i].append(unbroadcast(c, np.asarray(like), of.name, i))
    return [
        (np.stack(row) if b else sum(row[1:], row[0])) if row else None
        for row, b in zip(rows, batched, strict=True)
    ]


EACH = Primitive(
    "each", _call_each, Joint(_pull_each), users_jvp, like=_stack_placeholders, complex=True
)
EACH_DRAWN = Primitive(
    "each_drawn", _call_each, (), jvp=lambda *args: None, like=_stack_placeholders, complex=True
)
