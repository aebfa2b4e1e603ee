"""A leading axis for the examples of a batch: a recording of one, replayed for all.

A tape says all that one example went through. To go through it again with arrays that have
one more axis in front, each op has a batching rule, declared with it: a function of the op,
of which operands have the axis, the operands and the options, that gives the results of all
examples along a leading axis. An op without a rule is called once an example.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.lib.array_utils import normalize_axis_tuple

from tapegrad.core.fitting import fit
from tapegrad.core.forward import apply, by_transposing, schedule
from tapegrad.core.op import Joint
from tapegrad.core.operands import is_floating, primals
from tapegrad.core.parts import Parts
from tapegrad.core.seeds import SEED
from tapegrad.core.tape import CURRENT, PARAMETER, Tape, append
from tapegrad.core.tensor import Rules, Tensor
from tapegrad.core.whole import forward_of

Has = tuple[bool, ...]


def replay(tape: Tape, outputs: Iterable[Any], known: Mapping[Tensor, Any], n: int) -> Any:
    """What the records of one example's tape come to for a batch.

    Parameters
    ----------
    tape
        The recording of one example.
    outputs
        What is wanted; those that are no records of the tape stay as they are.
    known
        For the records that differ between examples from the start, the n values of each
        along a leading axis.
    n
        How many examples there are.

    Returns
    -------
    For each output what stands for it, and whether it has the leading axis.
    """
    outputs = list(outputs)
    values: dict[Tensor, tuple[Any, bool]] = {x: (value, True) for x, value in known.items()}
    origin = tape.start.origin

    def of(x: Any) -> tuple[Any, bool]:
        return values[x] if type(x) is Tensor and x.origin is origin else (x, False)

    wanted = frozenset([x for x in outputs if type(x) is Tensor and x.origin is origin])
    for record, done in schedule(tape, wanted):
        if record not in known:
            given = [of(x) for x in record._operands]
            operands, has = tuple([x for x, _ in given]), tuple([b for _, b in given])
            if any(has):
                of_all = for_all(record.op, record._options, has, operands, n, record._primal)
                values[record] = of_all, True
            else:
                values[record] = _once(record, operands), False
        for x in done:
            values.pop(x, None)
    return [of(x) for x in outputs]


def _once(record: Tensor, operands: tuple[Any, ...]) -> Any:
    """What a record is that is the same for all examples."""
    if record.op is PARAMETER:
        return operands[0] if operands else record._primal
    if any(type(x) is Tensor for x in operands):
        return append(record.op, operands, record._options)
    if record.op is SEED and (last := CURRENT.get()) is not None and last.origin.compiling:
        return append(SEED, (), record._options)
    if not operands:
        return record._primal
    # the record need not have the value: while batching, that of a loop is only like it
    op = record.op
    forward = forward_of(op, list(operands)) if op.keeps_weak else op.forward
    value = forward(*operands, **record._options)
    if type(record._primal) is np.ndarray:
        return np.asarray(value)
    return value.item() if isinstance(value, np.generic) else value


def for_all(
    op: Rules, options: Mapping[str, Any], has: Has, operands: tuple[Any, ...], n: int, like: Any
) -> Any:
    """What an op gives for each of n examples, along a leading axis; `like` is what one has."""
    if n == 0:
        if type(like) is Parts:
            return Parts(tuple([np.zeros((0, *x.shape), x.dtype) for x in like.values]))
        return np.zeros((0, *like.shape), like.dtype)
    if op is PARAMETER:
        return operands[0]
    made = NotImplemented
    if op.batch is not None:
        made = op.batch(op, has, *operands, **options)
    if made is NotImplemented:
        each = EACH if any(op.rules(len(operands))) else EACH_DRAWN
        made = apply(each, operands, {"of": op, "has": has, "options": options})
    return made if type(made) in (Tensor, Parts) else np.asarray(made)


class OneByOneError(Exception):
    """A batch that cannot be taken at once: the function is called for each example."""


def example(operands: Sequence[Any], has: Has, i: int) -> tuple[Any, ...]:
    """The operands of the i-th example."""
    return tuple([x[i] if b else x for x, b in zip(operands, has, strict=True)])


def _each(*operands: Any, of: Rules, has: Has, options: Mapping[str, Any]) -> Any:
    """An op without a batching rule, called once an example."""
    n = count(has, operands)
    return np.stack([of.forward(*example(operands, has, i), **options) for i in range(n)])


def _each_vjp(
    g: Any, y: Any, *operands: Any, of: Rules, has: Has, options: Mapping[str, Any]
) -> list[Any]:
    """the op's own rules, called once an example"""
    rows: list[list[Any]] = [[] for _ in operands]
    for k in range(count(has, operands)):
        given = example(operands, has, k)
        for i, rule in enumerate(of.rules(len(operands))):
            if rule is not None and is_floating(operands[i]):
                c = rule(g[k], y[k], *given, **options)
                if c is not None:
                    (like,) = primals([given[i]])
                    rows[i].append(fit(c, np.asarray(like), of.name, i))
    return [
        (np.stack(row) if b else sum(row[1:], row[0])) if row else None
        for row, b in zip(rows, has, strict=True)
    ]


EACH = Rules("each", _each, Joint(_each_vjp), by_transposing)
EACH_DRAWN = Rules("each_drawn", _each, (), jvp=lambda *args: None)


# --- words that declarations say ------------------------------------------------------------


def pointwise(op: Rules, has: Has, *operands: Any, **options: Any) -> Any:
    """Element by element: all that is needed is that the examples' axes are in line."""
    return apply(op, aligned(has, operands), options)


def stacked(op: Rules, has: Has, a: Any, **options: Any) -> Any:
    """Of matrices, or of stacks of them: one more axis of the stack."""
    return apply(op, (a,), options) if a.ndim > 2 else NotImplemented


def along_axis(op: Rules, has: Has, a: Any, **options: Any) -> Any:
    """Along an axis, where it comes after the leading one; None is for the flat array."""
    axis = options.get("axis", op.signature.defaults["axis"])  # type: ignore[attr-defined]
    if axis is None:
        a, axis = flat(a), 0
    elif a.ndim == 1:
        return NotImplemented
    return apply(op, (a,), {**options, "axis": moved(axis, a.ndim - 1)})


# --- what rules are made of -----------------------------------------------------------------


def aligned(has: Has, operands: Sequence[Any]) -> tuple[Any, ...]:
    """The operands with axes of length 1 after the leading one, so that they broadcast."""
    ndims = [np.ndim(x) - b for x, b in zip(operands, has, strict=True)]
    most = max(ndims)
    return tuple(
        [
            lifted(x, most) if b and n < most else x
            for x, b, n in zip(operands, has, ndims, strict=True)
        ]
    )


def lifted(x: Any, ndim: int) -> Any:
    """A batch of arrays of so many axes, the first of them of length 1 where they had fewer."""
    missing = ndim - (x.ndim - 1)
    return x.reshape(x.shape[0], *(1,) * missing, *x.shape[1:]) if missing > 0 else x


def moved(axis: Any, ndim: int) -> Any:
    """An axis of an example of so many axes, or several or all of them, in the batch."""
    if type(axis) is int and -ndim <= axis < ndim:
        return axis % ndim + 1
    axes = range(ndim) if axis is None else normalize_axis_tuple(axis, ndim)
    places = tuple([i + 1 for i in axes])
    return places[0] if len(places) == 1 else places


def flat(a: Any) -> Any:
    """A batch of arrays of one axis."""
    return a if a.ndim == 2 else a.reshape(a.shape[0], math.prod(a.shape[1:]))


def filled(x: Any, has: bool, n: int) -> Any:
    """An operand with the leading axis, along which it is repeated where it had none."""
    return x if has else np.broadcast_to(x, (n, *np.shape(x)))


def count(has: Has, operands: Sequence[Any]) -> int:
    """How many examples there are."""
    n: int = operands[has.index(True)].shape[0]
    return n
