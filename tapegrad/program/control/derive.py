"""Derivatives and batches of loops and branches."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from functools import partial
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
    input_of,
    is_in_program,
    loop_of,
    program_of,
    replayed,
    written_again,
)
from tapegrad.program.control.loop import Loop, result_of
from tapegrad.program.ir import (
    Code,
    Constant,
    Input,
    Instruction,
    Ref,
    depending,
    inputs_at,
    interpreted,
    needed,
    refs_to,
)
from tapegrad.program.program import Program
from tapegrad.transforms.replay import for_all
from tapegrad.tree.ownership import Array


class Derivative(NamedTuple):
    """A step of a loop and its derivative, in one program.

    Attributes
    ----------
    joined
        The program.
    roles
        For each of its inputs after those of the step, which are cotangents or tangents,
        ``"captured"``, ``"carry"`` or ``"row"``: where it stands in the new loop.
    of
        The result or the operand that each of these belongs to; -1 for a sum, which begins with 0.
    places
        Where each of its outputs belongs, among the operands of the loop or among its results.
    """

    joined: Program
    roles: list[str]
    of: list[int]
    places: list[int]


def once(record: Callable[..., Derivative], loop: Loop, *of: Any) -> Derivative:
    """A derivative that `record` gives of a loop, which remembers it: it is recorded once."""
    if (record, of) not in loop.derivatives:
        loop.derivatives[record, of] = record(loop, *of)
    known: Derivative = loop.derivatives[record, of]
    return known


def floating(code: Code, x: Any) -> bool:
    """Whether a value of a program is floating."""
    return bool(np.dtype(code.like(x).dtype).kind in "fc")


def zeros(code: Code, x: Any) -> Array:
    """Zeros like a value of a program."""
    like = code.like(x)
    return np.zeros(like.shape, like.dtype)


def spread(whole: Any, places: Sequence[int], n: int) -> list[Any]:
    """The parts of what a loop or a branch returned, at these of n places; None at the others."""
    parts = {i: part(whole, at) for at, i in enumerate(places)}
    return [parts.get(i) for i in range(n)]


# --- programs of derivatives ----------------------------------------------------------------


def pulled_back(code: Code, seeded: Sequence[int], wanted: Sequence[int]) -> Program:
    """A program and its backward pass: the cotangents of the inputs at `wanted`.

    Its further inputs are the cotangents of the outputs at `seeded`.
    """
    n = len(code.inputs)

    def back(tensors: list[Tensor]) -> Iterable[Any]:
        outputs = replayed(code, tensors[:n])
        seeds: dict[Tensor, Any] = {}
        for i, g in zip(seeded, tensors[n:], strict=True):
            x = outputs[i]
            if type(x) is Tensor:
                seeds[x] = seeds[x] + g if x in seeds else g
        tape = Tape(last_written(), tensors[-1], tuple([tensors[i] for i in wanted]))
        return sweep([tape], seeds).values() if wanted else ()

    cotangents = [_like(code, code.outputs[i], "d_") for i in seeded]
    return program_of(code.label, [*code.inputs, *cotangents], back)


def pushed_forward(code: Code, moved: Sequence[int], wanted: Sequence[int]) -> Program:
    """A program and its forward pass: the tangents of the outputs at `wanted`.

    Its further inputs are the tangents of the inputs at `moved`.
    """
    n = len(code.inputs)

    def forth(tensors: list[Tensor]) -> list[Any]:
        outputs = replayed(code, tensors[:n])
        moves = {tensors[i]: t for i, t in zip(moved, tensors[n:], strict=True)}
        chosen = {i: outputs[i] for i in wanted if type(outputs[i]) is Tensor}
        tangents = push(Tape(last_written(), tensors[-1]), moves, chosen.values())
        known = {i: tangents[x] for i, x in chosen.items() if x in tangents}
        return [known[i] if i in known else zeros(code, code.outputs[i]) for i in wanted]

    tangents = [_like(code, Ref("input", i), "t_") for i in moved]
    return program_of(code.label, [*code.inputs, *tangents], forth)


def _like(code: Code, x: Any, prefix: str) -> Input:
    like = input_of(code.of(x))
    # a cotangent is an array, even that of a Python number
    return Input(prefix + like.path, like.shape, like.dtype)


# --- derivatives of a step ------------------------------------------------------------------


def backward(loop: Loop, moved: frozenset[int], wanted: frozenset[int]) -> Derivative:
    """A step of a loop and its backward pass.

    It returns the cotangents of the captured values (added to those of later steps), of the carry,
    and of the rows.

    Parameters
    ----------
    loop
        The loop.
    moved
        The results beside the carry that have cotangents; a floating carry always has one.
    wanted
        The operands whose cotangents are wanted.
    """
    body, n, first = loop.body, loop.n_captured, loop.n_captured + loop.n_carry
    captured = [i for i in range(n) if i in wanted]
    carry = [i for i in range(loop.n_carry) if floating(body, Ref("input", n + i))]
    rows = [i for i in range(first, len(body.inputs)) if i in wanted]
    seeded, n_sums = [*carry, *sorted(moved)], len(captured)
    # as if each step handed on what it captures: the cotangents are sums
    step = attrs.evolve(body, outputs=(*inputs_at(captured), *body.outputs))
    places = [*captured, *[n + i for i in carry], *rows]
    joined = pulled_back(step, [*range(n_sums), *[n_sums + i for i in seeded]], places)
    roles = ["carry"] * (n_sums + len(carry)) + ["row"] * len(moved)
    return Derivative(joined, roles, [-1] * n_sums + seeded, places)


def forward(loop: Loop, moved: frozenset[int], last: int) -> Derivative:
    """A step of a loop and its forward pass.

    It returns the tangents of the first `last` results, without those that are always 0.

    Parameters
    ----------
    loop
        The loop.
    moved
        The operands that have tangents; a floating carry always has one.
    last
        How many of the results' tangents are wanted.
    """
    body, n, first = loop.body, loop.n_captured, loop.n_captured + loop.n_carry
    roles = {i: "captured" for i in range(n) if i in moved}
    roles |= {i: "carry" for i in range(n, first) if floating(body, Ref("input", i))}
    roles |= {i: "row" for i in range(first, len(body.inputs)) if i in moved}
    wanted = [i for i, x in enumerate(body.outputs[:last]) if floating(body, x)]
    joined = pushed_forward(body, [*roles], wanted)
    # a tangent that depends on nothing is 0
    moving = {
        i: x
        for i, x in zip(wanted, joined.outputs, strict=True)
        if i < loop.n_carry or x.kind != "constant"
    }
    joined = attrs.evolve(joined, outputs=tuple(moving.values()))
    return Derivative(joined, [*roles.values()], [*roles], [*moving])


def divided(
    loop: Loop,
    y: Any,
    operands: Sequence[Any],
    moved: Mapping[int, Any],
    derivative: Derivative,
    reverse: bool,
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
    reverse
        Whether the new loop goes from the last row to the first.
    """
    joined, n = derivative.joined, len(loop.body.inputs)
    inputs = inputs_at(range(len(joined.inputs)))
    kept = {x: i for i, x in enumerate(loop.body.outputs) if i >= loop.first_kept}
    read = needed(joined, joined.outputs, kept)
    captured = [x for x in inputs[: loop.n_captured] if x in read]
    rows = [x for x in dict.fromkeys((*inputs[loop.n_captured : n], *kept)) if x in read]
    if loop.length is None and not rows and "row" not in derivative.roles:
        # the number of steps is that of the rows
        rows = inputs[loop.n_captured : n][:1]
    values = dict(zip(inputs, operands, strict=False))
    values |= {x: part(y, kept[x]) for x in rows if x in kept}
    carry: list[Ref] = []
    taken = {"captured": captured, "carry": carry, "row": rows}
    for x, role, of in zip(inputs[n:], derivative.roles, derivative.of, strict=True):
        taken[role].append(x)
        values[x] = moved[of] if of in moved else zeros(joined, x)
    whole = attrs.evolve(loop, body=joined, stop=None, reverse=reverse)
    left = loop_of(whole, captured, carry, rows, joined.outputs)
    return left, [values[x] for x in (*captured, *carry, *rows)]


# --- what is kept ---------------------------------------------------------------------------


def keeping(loop: Loop, moving: Collection[int]) -> Loop:
    """A loop that also returns what its derivatives need.

    In a program it returns all that they could need: what none of them reads is dropped there.
    """
    body, n = loop.body, loop.n_captured
    assert len(body.outputs) == loop.first_kept
    if loop.remember and (inside := _kept_inside(body)):
        body = attrs.evolve(body, instructions=(*body.instructions, *inside))
        loop = attrs.evolve(loop, body=body)
    kept = _worth_keeping(body, n) if loop.remember else []
    if kept and not is_in_program():
        n_carry = loop.n_carry
        every = [i for i, x in enumerate(body.outputs) if i >= n_carry and floating(body, x)]
        joined = once(backward, loop, frozenset(every), frozenset(moving)).joined
        read = needed(joined, joined.outputs, frozenset(kept))
        kept = [x for x in kept if x in read]
    outputs = (*body.outputs, *inputs_at(range(n, n + loop.n_carry)), *kept)
    more = attrs.evolve(loop, body=attrs.evolve(body, outputs=outputs), moving=frozenset(moving))
    more.derivatives.update(loop.derivatives)
    return more


def _kept_inside(body: Code) -> list[Instruction]:
    """The instructions that take out the values kept by loops in a body, so that it keeps them."""
    # each is taken out once, in a derivative too, whose instructions begin with those of the body
    taken = {(y.operands[0], y.options["index"]) for y in body.instructions if y.op is PART}
    return [
        result_of(x, held, i)
        for x, y in zip(refs_to(body.instructions), body.instructions, strict=True)
        if (held := y.options.get("loop")) is not None and held.moving and held.length is not None
        for i in range(held.first_kept, len(held.body.outputs))
        if (x, i) not in taken
    ]


def _worth_keeping(body: Code, n_captured: int) -> list[Ref]:
    """The values of a step that are quicker to keep than to compute again.

    Views are not, nor what depends only on captured values, which is the same in each step. Rows of
    a loop inside that a value ends stand in its body without rows, and differ in number.
    """
    varies = depending(body, inputs_at(range(n_captured, len(body.inputs))))
    used = {x for y in body.instructions if y.op is not PART for x in y.operands}
    used |= body.results
    return [
        x
        for x, y in zip(refs_to(body.instructions), body.instructions, strict=True)
        if x in varies and 0 not in y.shape
        # of several results each is kept by itself
        if y.op is PART or (x in used and not (y.is_view and len(y.operands) == 1))
    ]


def differing(code: Code, batched: Sequence[bool]) -> list[bool]:
    """Which outputs of a program differ between examples, if these inputs do."""
    differ = depending(code, [Ref("input", i) for i, b in enumerate(batched) if b])
    return [x in differ for x in code.outputs]


def run_for_all(
    code: Code, inputs: Sequence[Any], batched: Sequence[bool]
) -> list[tuple[Any, bool]]:
    """The outputs of a program for a batch, recorded, and which of them have the batch axis."""

    def pair(x: Any) -> tuple[Any, bool]:
        return x if type(x) is tuple else (x, False)

    def apply(instruction: Instruction, values: list[Any]) -> tuple[Any, bool]:
        call = instruction.op, dict(instruction.options), instruction.place
        return for_all(*call, [*map(pair, values)], partial(written_again, instruction))

    pairs = [*zip(inputs, batched, strict=True)]
    return [*map(pair, interpreted(code, pairs, apply))]


def batch_inputs(code: Code, batched: Sequence[bool], n: int) -> list[Input]:
    """The inputs of a program; those that differ get an axis for the examples."""
    return [
        Input(x.path, (n, *x.shape), x.dtype) if b else x
        for x, b in zip(code.inputs, batched, strict=True)
    ]


def code_for_all(code: Code, batched: Sequence[bool], n: int, wanted: Sequence[bool]) -> Program:
    """A program for a batch that returns these outputs for each example."""

    def fn(tensors: list[Tensor]) -> list[Any]:
        results = run_for_all(code, tensors, batched)
        return [with_batch(x, b, n) if w else x for (x, b), w in zip(results, wanted, strict=True)]

    return program_of(code.label, batch_inputs(code, batched, n), fn)


def zeros_like(code: Code) -> Code:
    """A program with the same inputs that returns zeros."""
    constants = tuple([Constant(zeros(code, x), False) for x in code.outputs])
    outputs = tuple([Ref("constant", i) for i in range(len(constants))])
    return attrs.evolve(code, constants=constants, instructions=(), outputs=outputs)


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
