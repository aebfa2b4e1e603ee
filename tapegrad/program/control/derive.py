"""Derivatives and batches of loops and branches."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from functools import wraps
from typing import Any, NamedTuple

import attrs
import numpy as np

from tapegrad.core.forward import push
from tapegrad.core.sweep import sweep
from tapegrad.core.tape import Tape
from tapegrad.core.tensor import Tensor
from tapegrad.core.writing import last_written
from tapegrad.declare.batching import with_batch
from tapegrad.declare.parts import PART, part
from tapegrad.ops.casting import stop_gradient
from tapegrad.ops.rows import index_select
from tapegrad.program.control.body import (
    from_these,
    input_of,
    is_in_program,
    program_of,
    replayed,
    written_again,
)
from tapegrad.program.control.loop import Loop
from tapegrad.program.ir import (
    Code,
    Input,
    Instruction,
    Ref,
    depending,
    inputs_at,
    interpreted,
    like_of,
    needed,
    refs_to,
)
from tapegrad.program.program import Program
from tapegrad.transforms.replay import apply_batched, take_place
from tapegrad.tree.ownership import Array


class Moving(NamedTuple):
    """An input of a derivative that is none of the step: a cotangent or a tangent.

    Attributes
    ----------
    role
        ``"captured"``, ``"carry"`` or ``"row"``: where it stands in the new loop.
    input
        Its shape and dtype.
    of
        The result or the operand that it belongs to; -1 for a sum, which begins with 0.
    """

    role: str
    input: Input
    of: int


@attrs.frozen
class Derivative:
    """A step of a loop and its derivative, in one program.

    Attributes
    ----------
    joined
        The program.
    moving
        Its inputs after those of the step.
    places
        Where each of its outputs belongs, among the operands of the loop or among its results.
    reverse
        Whether the steps are taken from the last row to the first.
    """

    joined: Program
    moving: list[Moving]
    places: list[int]
    reverse: bool


def _once(
    record: Callable[[Loop, frozenset[int], Any], Derivative],
) -> Callable[[Loop, frozenset[int], Any], Derivative]:
    """A function whose results the loop remembers: what is recorded twice is the same."""

    @wraps(record)
    def recorded(loop: Loop, moved: frozenset[int], of: Any) -> Derivative:
        key = record.__name__, moved, of
        if key not in loop.derivatives:
            loop.derivatives[key] = record(loop, moved, of)
        known: Derivative = loop.derivatives[key]
        return known

    return recorded


def floating(code: Code, x: Any) -> bool:
    """Whether a value of a program is floating."""
    return bool(np.dtype(code.like(x).dtype).kind in "fc")


def zeros(code: Code, x: Any, *axes: int) -> Array:
    """Zeros like a value of a program, with more axes before its own."""
    like = code.like(x)
    return np.zeros((*axes, *like.shape), like.dtype)


def spread(whole: Any, places: Sequence[int], n: int) -> list[Any]:
    """The parts of what a loop or a branch returned, at these of n places; None at the others."""
    parts = {i: part(whole, at) for at, i in enumerate(places) if i >= 0}
    return [parts.get(i) for i in range(n)]


# --- the backward pass ----------------------------------------------------------------------


def pulled_back(
    code: Code, tensors: Sequence[Tensor], seeded: Sequence[int], wanted: Sequence[int]
) -> list[Any]:
    """The cotangents of the inputs at `wanted`, recorded after the program itself.

    Parameters
    ----------
    code
        The program.
    tensors
        Its inputs, and last the cotangents of the outputs at `seeded`.
    seeded, wanted
        Positions among the outputs and the inputs.
    """
    outputs = replayed(code, tensors[: len(code.inputs)])
    seeds: dict[Tensor, Any] = {}
    for i, g in zip(seeded, tensors[len(tensors) - len(seeded) :], strict=True):
        x = outputs[i]
        if type(x) is Tensor:
            seeds[x] = seeds[x] + g if x in seeds else g
    tape = Tape(last_written(), tensors[-1], tuple([tensors[i] for i in wanted]))
    return [*sweep([tape], seeds).values()] if wanted else []


@_once
def backward(loop: Loop, moved: frozenset[int], wanted: frozenset[int]) -> Derivative:
    """A step of a loop and its backward pass.

    It returns the cotangents of the captured values (added to those of later steps), of the carry,
    and of the rows. What moves are the cotangents of the captured values, of the carry, and of what
    the step returned.

    Parameters
    ----------
    loop
        The loop.
    moved
        The results beside the carry that have cotangents; a floating carry always has one.
    wanted
        The operands whose cotangents are wanted.
    """
    body, n, n_carry = loop.body, loop.n_captured, loop.n_carry
    captured = [i for i in range(n) if i in wanted]
    carry = [i for i in range(n_carry) if floating(body, Ref("input", n + i))]
    rows = [i for i in range(n + n_carry, len(body.inputs)) if i in wanted]
    seeded = sorted(moved)
    moving = [
        *[Moving("carry", _like(body, Ref("input", i), "d_"), -1) for i in captured],
        *[Moving("carry", _like(body, body.outputs[i], "d_"), i) for i in carry],
        *[Moving("row", _like(body, body.outputs[i], "d_"), i) for i in seeded],
    ]
    order = [*captured, *[n + i for i in carry], *rows]

    def step(tensors: list[Any]) -> list[Any]:
        derivatives = pulled_back(body, tensors, [*carry, *seeded], order)
        sums = tensors[len(body.inputs) :][: len(captured)]
        added = [s + c if type(c) is Tensor else s for s, c in zip(sums, derivatives, strict=False)]
        return [*added, *derivatives[len(sums) :]]

    joined = program_of(body.label, [*body.inputs, *[x.input for x in moving]], step)
    return Derivative(joined, moving, order, not loop.reverse)


# --- the forward pass -----------------------------------------------------------------------


def pushed_forward(
    code: Code, tensors: Sequence[Tensor], moved: Sequence[int], wanted: Iterable[int]
) -> list[Any]:
    """The tangents of the outputs at `wanted`, recorded after the program itself; None is zero.

    The tensors are the inputs of the program, and last the tangents of those at `moved`.
    """
    n = len(code.inputs)
    outputs = replayed(code, tensors[:n])
    chosen = [outputs[i] for i in wanted]
    moves = {tensors[i]: t for i, t in zip(moved, tensors[n:], strict=True)}
    tape = Tape(last_written(), tensors[-1])
    tangents = push(tape, moves, [x for x in chosen if type(x) is Tensor])
    return [tangents.get(x) if type(x) is Tensor else None for x in chosen]


@_once
def forward(loop: Loop, moved: frozenset[int], last: int) -> Derivative:
    """A step of a loop and its forward pass.

    It returns the tangents of the first `last` results, without those that are always 0. What moves
    are the tangents of the operands, of which a floating carry always has one.

    Parameters
    ----------
    loop
        The loop.
    moved
        The operands that have tangents.
    last
        How many of the results' tangents are wanted.
    """
    body, n, first = loop.body, loop.n_captured, loop.n_captured + loop.n_carry
    roles = {i: "captured" for i in range(n) if i in moved}
    roles |= {i: "carry" for i in range(n, first) if floating(body, Ref("input", i))}
    roles |= {i: "row" for i in range(first, len(body.inputs)) if i in moved}
    moving = [Moving(x, _like(body, Ref("input", i), "t_"), i) for i, x in roles.items()]
    moving_outputs: list[int] = []

    def step(tensors: list[Tensor]) -> list[Any]:
        results = []
        for i, t in enumerate(pushed_forward(body, tensors, [*roles], range(last))):
            is_carry = roles.get(n + i) == "carry"
            if t is not None or is_carry:
                moving_outputs.append(i)
                results.append(zeros(body, body.outputs[i]) if t is None else t)
        return results

    joined = program_of(body.label, [*body.inputs, *[x.input for x in moving]], step)
    return Derivative(joined, moving, moving_outputs, loop.reverse)


# --- dividing -------------------------------------------------------------------------------


def divided(
    loop: Loop, y: Any, operands: Sequence[Any], moved: Mapping[int, Any], derivative: Derivative
) -> tuple[Loop, list[Any]]:
    """The part of a step's derivative that depends on what moves, as a loop, and its operands.

    Parameters
    ----------
    loop, y, operands
        The loop that is differentiated, what it returned, and its operands.
    moved
        The cotangents of its results, or the tangents of its operands.
    derivative
        Of its step.
    """
    body, n, joined = loop.body, loop.n_captured, derivative.joined
    kept = {x: loop.first_kept + i for i, x in enumerate(body.outputs[loop.first_kept :])}

    def row(x: Ref) -> tuple[str, Input, Any]:
        return "row", _like(joined, x, ""), part(y, kept[x])

    inputs, read = inputs_at(range(len(joined.inputs))), needed(joined, joined.outputs, kept)
    # the role of each input of the new loop, its shape and dtype, and its operand
    slots: dict[Ref, tuple[str, Input, Any]] = {}
    for x in dict.fromkeys((*inputs[: len(body.inputs)], *kept)):
        if x in read and x in kept:
            slots[x] = row(x)
        elif x in read:
            role = "captured" if x.index < n else "row"
            slots[x] = role, joined.inputs[x.index], operands[x.index]
    for x, (role, like, of) in zip(inputs[len(body.inputs) :], derivative.moving, strict=True):
        slots[x] = role, like, moved[of] if of in moved else np.zeros(like.shape, like.dtype)
    if loop.length is None and all(role != "row" for role, _, _ in slots.values()):
        # the number of steps is that of the rows
        slots[inputs[n]] = row(inputs[n])
    # in the order of the words: the captured, the carry, the rows
    order = sorted(slots, key=lambda x: slots[x][0])
    roles, likes, values = zip(*[slots[x] for x in order], strict=True)
    code = from_these(joined, order, likes)
    n_carry, n_rows = roles.count("carry"), roles.count("row")
    n_ys, terms = len(code.outputs) - n_carry, (loop.length, derivative.reverse)
    return Loop(code, n_carry, n_rows, n_ys, *terms, remember=loop.remember), list(values)


def _like(code: Code, x: Any, prefix: str) -> Input:
    like = code.like(x)
    # a cotangent is an array, even that of a Python number
    return Input(prefix + input_of(code.of(x)).path, like.shape, np.dtype(like.dtype))


# --- what is kept ---------------------------------------------------------------------------


def keeping(loop: Loop, moving: Collection[int]) -> Loop:
    """A loop that also returns what its derivatives need.

    In a program it returns all that they could need: what none of them reads is dropped there.
    """
    body, n = loop.body, loop.n_captured
    assert len(body.outputs) == loop.first_kept
    kept = _worth_keeping(body, n) if loop.remember else []
    if kept and not is_in_program():
        n_carry = loop.n_carry
        every = [i for i, x in enumerate(body.outputs) if i >= n_carry and floating(body, x)]
        joined = backward(loop, frozenset(every), frozenset(moving)).joined
        read = needed(joined, joined.outputs, frozenset(kept))
        kept = [x for x in kept if x in read]
    outputs = (*body.outputs, *inputs_at(range(n, n + loop.n_carry)), *kept)
    more = attrs.evolve(loop, body=attrs.evolve(body, outputs=outputs), moving=frozenset(moving))
    more.derivatives.update(loop.derivatives)
    return more


def _worth_keeping(body: Code, n_captured: int) -> list[Ref]:
    """The values of a step that are quicker to keep than to compute again.

    Views are not, nor what depends only on captured values, which is the same in each step. Rows of
    a loop inside that a value ends stand in its body without rows, and differ in number.
    """
    varies = depending(body, inputs_at(range(n_captured, len(body.inputs))))
    used = {x for y in body.instructions for x in y.operands}.union(body.outputs)
    # of several results each is kept by itself
    used -= {y.operands[0] for y in body.instructions if y.op is PART}
    return [
        x
        for x, y in zip(refs_to(body.instructions), body.instructions, strict=True)
        if x in varies and x in used and 0 not in y.shape
        if y.op is PART or not (y.is_view and len(y.operands) == 1)
    ]


def differing(code: Code, batched: Sequence[bool]) -> list[bool]:
    """Which outputs of a program differ between examples, if these inputs do."""
    differ = depending(code, [Ref("input", i) for i, b in enumerate(batched) if b])
    return [x in differ for x in code.outputs]


def run_for_all(
    code: Code, inputs: Sequence[Any], batched: Sequence[bool], n: int
) -> list[tuple[Any, bool]]:
    """The outputs of a program for a batch, recorded, and which of them have the batch axis."""

    def pair(x: Any) -> tuple[Any, bool]:
        return x if type(x) is tuple else (x, False)

    def apply(instruction: Instruction, values: list[Any]) -> tuple[Any, bool]:
        pairs, options = [*map(pair, values)], dict(instruction.options)
        operands, own = tuple([x for x, _ in pairs]), tuple([b for _, b in pairs])
        if not any(own):
            return written_again(instruction, operands), False
        before = last_written()
        of_all = apply_batched(instruction.op, options, own, operands, n, like_of(instruction))
        if instruction.place is not None:
            take_place(before, instruction.place)
        return of_all, True

    pairs = [*zip(inputs, batched, strict=True)]
    return [*map(pair, interpreted(code, pairs, apply))]


def batch_inputs(code: Code, batched: Sequence[bool], n: int) -> list[Input]:
    """The inputs of a program; those that differ get an axis for the examples."""
    return [
        attrs.evolve(x, shape=(n, *x.shape), number=None) if b else x
        for x, b in zip(code.inputs, batched, strict=True)
    ]


def code_for_all(code: Code, batched: Sequence[bool], n: int, wanted: Sequence[bool]) -> Program:
    """A program for a batch that returns these outputs for each example."""

    def fn(tensors: list[Tensor]) -> list[Any]:
        results = run_for_all(code, tensors, batched, n)
        return [with_batch(x, b, n) if w else x for (x, b), w in zip(results, wanted, strict=True)]

    return program_of(code.label, batch_inputs(code, batched, n), fn)


def nothing(code: Code, batched: Sequence[bool], n: int) -> Program:
    """A program with the same inputs that returns zeros for each example."""

    def fn(tensors: list[Tensor]) -> list[Any]:
        return [zeros(code, x, n) for x in code.outputs]

    return program_of(code.label, batch_inputs(code, batched, n), fn)


def where_each(condition: Any, x: Any, y: Any) -> Any:
    """One array for the examples where the condition holds, another for the rest.

    An array without a batch axis is the same for all examples.
    """
    shape = (condition.shape[0], *(1,) * (x.ndim - 1))
    return np.where(np.reshape(condition, shape), x, y)


def safe(condition: Any, operands: Sequence[Any], batched: Sequence[bool]) -> list[Any]:
    """The operands, where examples that take no part get those of one that does.

    Their results are discarded, but must be neither infinite nor nan: a zero cotangent times those
    would be nan.
    """
    first = np.argmax(condition)
    # an array cannot be indexed with a record, nor does np.take dispatch on indices
    return [
        where_each(condition, x, stop_gradient(index_select(x, first))) if b else x
        for x, b in zip(operands, batched, strict=True)
    ]
