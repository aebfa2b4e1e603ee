"""Sparsity patterns of a tape: the inputs that each element of a record may depend on.

A `Dependence` has one key for each pair of an element and an input that it may depend on. An op
maps the dependences of its operands to the dependence of its result, by pairs of a result element
and an operand element. Elementwise ops pair by broadcasting. For ops that select or add up elements
the pairs are found by running them on the numbers of the elements, for other linear ops by running
them on unit arrays. Any other op pairs all elements of each example, unless its declaration has a
rule. No value that depends on an input is read, so a pattern is valid for all inputs of these
shapes.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any

import attrs
import numpy as np
from numpy.lib.array_utils import normalize_axis_tuple

from tapegrad.core.forward import linear_jvp, schedule
from tapegrad.core.primitive import Parts, Primitive
from tapegrad.core.tape import Tape
from tapegrad.core.tensor import Tensor
from tapegrad.core.writing import ASARRAY, PARAMETER
from tapegrad.declare import facts
from tapegrad.declare.batching import batch_along_axis, batch_elementwise, batch_stack
from tapegrad.declare.parts import PART
from tapegrad.ops import reduction
from tapegrad.ops.activation import log_softmax, logsumexp, softmax, standardize
from tapegrad.ops.joining import concatenate, stack
from tapegrad.ops.rows import add_at_places
from tapegrad.ops.scan import cumprod, cumsum, linear_recurrence
from tapegrad.ops.updates import index_add, index_set
from tapegrad.transforms.replay import apply_batched
from tapegrad.types import Array, ArrayLike, Shape

if TYPE_CHECKING:
    from tapegrad.transforms.checkpoint import CheckpointedCall

# elements of a result, and the elements of an operand that they depend on
Pairs = tuple[Array, Array]


class UnknownSizeError(Exception):
    """A value ends a loop that keeps a row of values for each step."""


@attrs.frozen(eq=False, slots=False)
class Dependence:
    """The inputs that each element of an array may depend on.

    Attributes
    ----------
    shape
        The shape of the array.
    n
        The number of inputs.
    keys
        ``element * n + input`` for each pair, sorted.
    """

    shape: Shape
    n: int
    keys: Array

    @property
    def size(self) -> int:
        """The number of elements."""
        return math.prod(self.shape)

    @property
    def pairs(self) -> Pairs:
        """The element and the input of each pair."""
        return np.divmod(self.keys, self.n)

    @cached_property
    def starts(self) -> Array:
        """The position of each element's first pair, followed by the number of pairs."""
        return np.searchsorted(self.keys, np.arange(self.size + 1) * self.n)

    def compose(self, pairs: Pairs) -> Array:
        """Return the keys of a result, from pairs of its elements with elements of this array."""
        ys, xs = pairs
        first = self.starts[xs]
        counts = self.starts[xs + 1] - first
        ends = np.cumsum(counts)
        at = np.arange(ends[-1] if len(ends) else 0) + np.repeat(first - ends + counts, counts)
        return np.repeat(ys, counts) * self.n + self.keys[at] % self.n


def merge_keys(keys: Sequence[Array]) -> Array:
    """Merge sorted arrays of keys into one without duplicates."""
    merged = keys[0] if len(keys) == 1 else np.concatenate([np.zeros(0, int), *keys])
    # a stable sort takes linear time for sorted runs
    merged = np.sort(merged, kind="stable")
    return merged[np.append(True, merged[1:] != merged[:-1])] if len(merged) else merged


def no_dependence(shape: Shape, n: int) -> Dependence:
    """Return the dependence of a variable array without a derivative, such as an index."""
    return Dependence(shape, n, np.zeros(0, int))


def as_dependence(x: Dependence | ArrayLike, n: int) -> Dependence:
    """Return a dependence; a constant array has none on any input."""
    return x if isinstance(x, Dependence) else no_dependence(np.shape(x), n)


def full_dependence(shape: Shape, n: int, inputs: Array) -> Dependence:
    """Return the dependence of an array whose elements may each depend on all these inputs."""
    keys = np.arange(math.prod(shape))[:, None] * n + inputs
    return Dependence(shape, n, keys.reshape(-1))


def identity_dependence(shape: Shape, n: int, start: int = 0) -> Dependence:
    """Return the dependence of an array of inputs, which are numbered from `start`."""
    k = np.arange(math.prod(shape))
    return Dependence(shape, n, k * (n + 1) + start)


# --- from the operands of an op to its result --------------------------------------------------

# ops with the same pattern as a linear op with the same options
_SAME_PATTERN: Mapping[Any, Any] = {
    **dict.fromkeys((reduction.max, reduction.min, reduction.prod, logsumexp), reduction.sum),
    **dict.fromkeys((cumprod, linear_recurrence), cumsum),
}
# ops whose elements all depend on each other along the axes of the option
_ALONG_AXES = (softmax, log_softmax, standardize)
# ops that are linear in all their operands at once
_AFFINE = (concatenate, stack, index_set, index_add, add_at_places)
# the largest matrix of pairs to probe with unit arrays
_MAX_PROBED = 1 << 24


def infer_dependence(
    op: Primitive, operands: Sequence[Any], options: Mapping[str, Any], like: ArrayLike | Parts
) -> Any:
    """Return the dependence of a result on operands: a `Dependence`, or `Parts` of these.

    Parameters
    ----------
    op, operands, options
        A call, with the `Dependence` of each operand that varies; other operands are constants.
    like
        A value like the result.
    """
    if op is PART:
        return operands[0].values[options["index"]]
    if op in (PARAMETER, ASARRAY):
        return operands[0]
    infer = facts(op).pattern
    if infer is not None:
        return infer(operands, like, **options)
    if isinstance(like, Parts):
        return Parts(tuple([_combine_operands(op, operands, options, x) for x in like.values]))
    return _combine_operands(op, operands, options, like)


def _combine_operands(
    op: Primitive, operands: Sequence[Any], options: Mapping[str, Any], like: ArrayLike
) -> Dependence:
    shape, n = np.shape(like), next(x.n for x in varying_parts(operands))
    rules = op.vjps_for(len(operands))
    keys = []
    if np.asarray(like).dtype.kind in "fc":
        for k, x in enumerate(operands):
            if k < len(rules) and rules[k] is not None:
                keys += [
                    _operand_keys(op, k, operands, options, shape, part)
                    for part in varying_parts([x])
                ]
    return Dependence(shape, n, merge_keys(keys))


def varying_parts(operands: Iterable[Any]) -> list[Dependence]:
    """Return the dependences among operands, with `Parts` flattened."""
    parts = [y for x in operands for y in (x.values if type(x) is Parts else (x,))]
    return [x for x in parts if type(x) is Dependence]


def _operand_keys(
    op: Primitive,
    k: int,
    operands: Sequence[Any],
    options: Mapping[str, Any],
    shape: Shape,
    x: Dependence,
) -> Array:
    """Return the keys that a result of this shape has through operand k, or a part of it."""
    if not len(x.keys):
        return x.keys
    declared = facts(op).pairs if x is operands[k] else None
    pairs = declared(k, *operands, **options) if declared is not None else None
    # the rule of a user's op is in a partial
    if pairs is None and batch_elementwise in (op.batch, *getattr(op.batch, "args", ())):
        if x.shape == shape:
            return x.keys
        xs = np.broadcast_to(np.arange(x.size).reshape(x.shape), shape).reshape(-1)
        pairs = np.arange(xs.size), xs
    elif pairs is None and x is operands[k]:
        pairs = _probe_pairs(op, k, operands, options, shape) or _pair_along_axes(
            op, x.shape, shape, options
        )
    if pairs is None:
        return full_dependence(shape, x.n, merge_keys([x.pairs[1]])).keys
    return x.compose(pairs)


def _pair_along_axes(
    op: Primitive, x_shape: Shape, y_shape: Shape, options: Mapping[str, Any]
) -> Pairs | None:
    """Pair all elements of each example, for an op that maps examples independently."""
    if op.batch is batch_stack:
        axes: Sequence[int] = range(len(x_shape) - 2, max(len(x_shape), len(y_shape)))
    elif op in _ALONG_AXES or op.batch is batch_along_axis:
        axis = options.get("axis", op.signature.defaults["axis"])  # type: ignore[attr-defined]
        axes = range(len(x_shape)) if axis is None else normalize_axis_tuple(axis, len(x_shape))
    else:
        return None

    def groups(shape: Shape) -> Array:
        """Return the elements of each example."""
        kept = [1 if i in axes else n for i, n in enumerate(shape)]
        numbers = np.arange(math.prod(kept)).reshape(kept)
        order = np.argsort(np.broadcast_to(numbers, shape).reshape(-1), kind="stable")
        return order.reshape(numbers.size, -1) if order.size else np.zeros((1, 0), int)

    ys, xs = groups(y_shape), groups(x_shape)
    if len(ys) != len(xs):
        return None  # flattened, for instance
    ys, xs = np.broadcast_arrays(ys[:, :, None], xs[:, None, :])
    return ys.reshape(-1), xs.reshape(-1)


def _probe_pairs(
    op: Primitive,
    k: int,
    operands: Sequence[Any],
    options: Mapping[str, Any],
    shape: Shape,
) -> Pairs | None:
    """Find the pairs of a linear op by running it on numbers of elements, or on unit arrays.

    Other operands that vary are filled with random numbers, so that no term cancels. An operand
    without a derivative, such as an index, must be constant.
    """
    if op in _SAME_PATTERN:
        axis = op.signature.defaults["axis"]  # type: ignore[attr-defined]
        op, k, operands, options = _SAME_PATTERN[op], 0, [operands[k]], {"axis": axis, **options}
    if op.jvp is not linear_jvp and op not in _AFFINE:
        return None
    rules = op.vjps_for(len(operands))
    random = np.random.default_rng(0)
    values = list(operands)
    for i, x in enumerate(operands):
        has_rule = i < len(rules) and rules[i] is not None
        if op in _AFFINE and has_rule:
            values[i] = np.zeros(x.shape if type(x) is Dependence else np.shape(x))
        elif type(x) is Dependence:
            if not has_rule:
                return None
            values[i] = random.uniform(1, 2, x.shape)
    x_shape = operands[k].shape

    def forward(value: Array) -> Array:
        return np.asarray(op.forward(*values[:k], value, *values[k + 1 :], **options))

    def pull(g: Array) -> Array:
        arguments = (*values[:k], random.uniform(1, 2, x_shape), *values[k + 1 :])
        rule: Any = rules[k]
        return np.asarray(rule(g, np.zeros(shape), *arguments, **options))

    with np.errstate(all="ignore"):
        at = _find_selected(forward, x_shape, shape)
        if at is not None:
            ys = np.flatnonzero(at >= 0)
            return ys, at[ys]
        at = _find_selected(pull, shape, x_shape)
        if at is not None:
            xs = np.flatnonzero(at >= 0)
            return at[xs], xs
        size, m = math.prod(x_shape), math.prod(shape)
        if size * m > _MAX_PROBED:
            return None
        units = np.eye(size).reshape(size, *x_shape)
        batched = tuple([i == k for i in range(len(values))])
        rows = apply_batched(op, options, batched, (*values[:k], units, *values[k + 1 :]))
    xs, ys = np.nonzero(np.asarray(rows).reshape(size, m))
    return ys, xs


def _find_selected(fn: Callable[[Array], Array], x_shape: Shape, y_shape: Shape) -> Array | None:
    """Return the operand element that each element of a linear function's result is a multiple of.

    It is -1 where the result is 0. Return None if an element depends on several.
    """
    size = math.prod(x_shape)
    scale = fn(np.ones(x_shape))
    if scale.shape != y_shape:
        return None
    scale = scale.reshape(-1)
    nonzero = scale != 0
    safe = np.where(nonzero, scale, 1)
    numbers = fn(np.arange(1.0, size + 1).reshape(x_shape)).reshape(-1) / safe
    at = np.where(nonzero, np.rint(np.real(numbers)), 0).astype(int) - 1
    if not ((at < size) & ((at >= 0) == nonzero)).all():
        return None
    values = np.random.default_rng(1).uniform(1, 2, size)
    expected = np.where(nonzero, scale * values[at], 0) if size else scale
    is_same = np.allclose(fn(values.reshape(x_shape)).reshape(-1), expected, rtol=1e-6, atol=0)
    return at if is_same else None


# --- tapes -----------------------------------------------------------------------------------


def tape_dependences(tape: Tape, known: Mapping[Tensor, Any], outputs: Iterable[Any]) -> list[Any]:
    """Return the dependences of outputs, given the dependences of some records.

    Constants stay the same. Records of another tape vary too, but are no inputs.
    """
    outputs = list(outputs)
    dependences: dict[Tensor, Any] = dict(known)
    n = varying_parts(known.values())[0].n if known else 0
    origin, start = tape.start.origin, tape.start.index

    def get_dependence(x: Any) -> Any:
        if type(x) is not Tensor:
            return x
        if x in dependences:
            return dependences[x]
        is_known = x.origin is origin and x.index > start and not origin.compiling
        return x._primal if is_known else no_dependence(x.shape, n)

    wanted = frozenset([x for x in outputs if type(x) is Tensor and x.origin is origin])
    for record, done in schedule(tape, wanted):
        operands = [get_dependence(x) for x in record._operands]
        if record not in known and varying_parts(operands):
            dependences[record] = infer_dependence(
                record.op, operands, record._options, record._primal
            )
        for x in done:
            if x not in known:
                dependences.pop(x, None)
    return [get_dependence(x) for x in outputs]


def call_dependences(
    operands: Sequence[Any], like: ArrayLike | Parts, call: CheckpointedCall
) -> Any:
    """Return the dependences of the results of a checkpointed call, which is repeated."""
    tape, outputs = call.repeat()
    known = {x: y for x, y in zip(call.reads, operands, strict=True) if varying_parts([y])}
    n = varying_parts(operands)[0].n
    return call.layout.join([as_dependence(x, n) for x in tape_dependences(tape, known, outputs)])
