"""A leading axis for the examples of a batch: a recording of one, replayed for all.

A tape records everything that one example went through. To replay it on arrays with one more axis
in front, each op has a batching rule, declared with it: a function of the op, of flags for the
operands that have the axis, of the operands and of the options, which returns the results of all
examples along a leading axis. An op without a rule is called once for each example.
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
from tapegrad.face.warned import at_users_line

Has = tuple[bool, ...]


@at_users_line
def replay(tape: Tape, outputs: Iterable[Any], known: Mapping[Tensor, Any], n: int) -> Any:
    """Compute the records of one example's tape for a batch.

    Parameters
    ----------
    tape
        The recording of one example.
    outputs
        The wanted values; those that are not records of the tape stay as they are.
    known
        For the records that differ between examples from the start, the n values of each
        along a leading axis.
    n
        The number of examples.

    Returns
    -------
    For each output, its replacement and whether that has the leading axis.
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
    """The value of a record that is the same for all examples."""
    if record.op is PARAMETER:
        return operands[0] if operands else record._primal
    if any(type(x) is Tensor for x in operands):
        return append(record.op, operands, record._options)
    if record.op is SEED and (last := CURRENT.get()) is not None and last.origin.compiling:
        return append(SEED, (), record._options)
    if not operands:
        return record._primal
    # not the record's own: while batching, a loop's value is only a placeholder
    op = record.op
    forward = forward_of(op, list(operands)) if op.keeps_weak else op.forward
    value = forward(*operands, **record._options)
    if type(record._primal) is np.ndarray:
        return np.asarray(value)
    return value.item() if isinstance(value, np.generic) else value


def for_all(
    op: Rules, options: Mapping[str, Any], has: Has, operands: tuple[Any, ...], n: int, like: Any
) -> Any:
    """An op's results for n examples, along a leading axis; `like` is the result for one."""
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
    """A batch that cannot be computed at once: the function is called for each example."""


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
    """The op's own rules, called once for each example."""
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


# --- rules for declarations -----------------------------------------------------------------


def pointwise(op: Rules, has: Has, *operands: Any, **options: Any) -> Any:
    """The rule of elementwise ops: it only has to align the examples' axes."""
    return apply(op, aligned(has, operands), options)


def stacked(op: Rules, has: Has, a: Any, **options: Any) -> Any:
    """The rule of ops on stacks of matrices: the stack gets one more axis."""
    return apply(op, (a,), options) if a.ndim > 2 else NotImplemented


def along_axis(op: Any, has: Has, a: Any, **options: Any) -> Any:
    """The rule of ops along an axis, which moves behind the leading one; None is the flat array."""
    axis = options.get("axis", op.signature.defaults["axis"])
    if axis is None:
        a, axis = flat(a), 0
    elif a.ndim == 1:
        return NotImplemented
    return apply(op, (a,), {**options, "axis": moved(axis, a.ndim - 1)})


# --- parts of rules ---------------------------------------------------------------------------


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
    """A batch of arrays with this number of axes; missing ones come first, with length 1."""
    missing = ndim - (x.ndim - 1)
    return x.reshape(x.shape[0], *(1,) * missing, *x.shape[1:]) if missing > 0 else x


def moved(axis: Any, ndim: int) -> Any:
    """The axis in the batch of an axis of an example, or of several, or of all (None)."""
    if type(axis) is int and -ndim <= axis < ndim:
        return axis % ndim + 1
    axes = range(ndim) if axis is None else normalize_axis_tuple(axis, ndim)
    places = tuple([i + 1 for i in axes])
    return places[0] if len(places) == 1 else places


def flat(a: Any) -> Any:
    """A batch of flattened arrays."""
    return a if a.ndim == 2 else a.reshape(a.shape[0], math.prod(a.shape[1:]))


def filled(x: Any, has: bool, n: int) -> Any:
    """An operand with the leading axis; one without it is repeated along it."""
    return x if has else np.broadcast_to(x, (n, *np.shape(x)))


def count(has: Has, operands: Sequence[Any]) -> int:
    """The number of examples."""
    n: int = operands[has.index(True)].shape[0]
    return n
