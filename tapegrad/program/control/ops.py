"""The ops of a `Loop` and of a `Branch`, with their rules.

A loop is one record, whose op has the name of the function that the user called: scan, fori_loop
or while_loop. A branch is one record of the op cond. The derivatives of a loop are loops, which
read the values that the loop has kept for them, its residuals. The derivatives of a branch are
branches: they differentiate only the chosen program, and compute its values again.

To batch a branch or to translate it for another library, transform ``branch.on_true`` and
``branch.on_false``, which have the same inputs and outputs. Start reading at `repeat`.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Container, Mapping, Sequence
from functools import cache, partial
from itertools import chain
from typing import Any, NamedTuple

import attrs
import numpy as np

from tapegrad.arraylike.table import lazy_function
from tapegrad.core.forward import apply
from tapegrad.core.primitive import Joint, Parts, Primitive
from tapegrad.core.tensor import Tensor
from tapegrad.core.writing import last_record
from tapegrad.declare import declare
from tapegrad.declare.batching import Batched, batch_size, expand_to_ndim, repeat_for_batch
from tapegrad.declare.parts import PART, part, parts_of
from tapegrad.ops.casting import stop_gradient
from tapegrad.ops.rows import index_select
from tapegrad.program import cost
from tapegrad.program.control.extraction import (
    extract_code,
    extract_loop,
    is_floating_value,
    zeros_for,
)
from tapegrad.program.control.loop import (
    Branch,
    Loop,
    code_function,
    count_lines,
    freeze_results,
    nested_codes,
    stack_rows,
)
from tapegrad.program.control.tracing import is_in_program, record_program, replay_code
from tapegrad.program.control.transforms import batch_code, derivative_program, find_varying
from tapegrad.program.dataflow import dependencies, dependents
from tapegrad.program.ir import Code, Ref, input_for, input_refs, instruction_refs
from tapegrad.program.program import Program
from tapegrad.program.text import make_runner
from tapegrad.tree.numbers import is_floating


def repeat(op: Primitive, loop: Loop, operands: Sequence[Any], lean: bool = False) -> Any:
    """Run a loop. The results are `Parts`, or a record of them if an operand is a Tensor.

    A lean loop returns no residuals: a derivative runs it again.
    """
    moving = [i for i, x in enumerate(operands) if type(x) is Tensor and is_floating(x)]
    if moving and not lean:
        loop = _keep_values(loop, moving)
    whole = apply(op, tuple(operands), {"loop": loop})
    if loop.moving and loop.length is not None and last_record().origin.outer is not None:
        # the step of an outer loop keeps the parts that are taken here
        for i in range(loop.first_residual, len(loop.body.outputs)):
            part(whole, i)
    return whole


def _run_loop(*operands: Any, loop: Loop) -> Parts:
    """The forward function of a loop."""
    steps, body = loop.count_steps(operands), loop.body
    lines = sum([len(x.instructions) for x in nested_codes(body)])
    least = cost.WRITTEN_LINES + cost.WRITTEN_RUNS * lines
    if steps is not None and steps * count_lines(body) >= least:
        return _run_written(loop, operands)
    carry = loop.partition(operands)[1]
    likes = loop.placeholders(operands).values[loop.n_carry :]
    # each result: its rows by number, or the array of all rows
    stacks: list[Any] = [{} if steps is None else np.empty(x.shape, x.dtype) for x in likes]
    for t, _, outputs in loop.run_steps(operands, code_function(body)):
        carry = outputs[: loop.n_carry]
        for stack, x in zip(stacks, outputs[loop.n_carry :], strict=True):
            stack[t] = x
    if steps is None:
        pairs = zip(stacks, likes, strict=True)
        stacks = [stack_rows([*x.values()], y.shape[1:], y.dtype) for x, y in pairs]
    return freeze_results([*map(np.asarray, carry), *stacks])


def _run_written(loop: Loop, operands: Sequence[Any]) -> Parts:
    """Run a long loop outside `compile`, by source that is written for this one run."""
    inputs = [input_for(x, "x") for x in operands]
    code = record_program(
        loop.body.label,
        inputs,
        lambda xs: parts_of(apply(SCAN, tuple(xs), {"loop": loop})),
    )
    return Parts(make_runner(code)()[0](*operands))


# --- derivatives of loops --------------------------------------------------------------------


def _pull_loop(op: Primitive, g: Parts, y: Any, *operands: Any, loop: Loop) -> list[Any]:
    """The VJP rule of a loop: the cotangents of the operands."""
    lean, loop, y = _rerun_keeping(op, loop, y, operands)
    moved = {i: x for i, x in enumerate(g.values) if x is not None}
    beside = frozenset([i for i in moved if i >= loop.n_carry])
    back = _recall_derivative(_backward, loop, beside, loop.moving)
    whole = repeat(op, *_derivative_loop(loop, y, operands, moved, back), lean)
    return [*map(_part_getter(whole, back.places), range(len(operands)))]


def _push_loop(
    op: Primitive, tangents: Mapping[int, Any], y: Any, *operands: Any, loop: Loop
) -> Parts:
    """The JVP rule of a loop: the tangents of the results."""
    lean, loop, y = _rerun_keeping(op, loop, y, operands)
    n, n_all = loop.first_residual, len(loop.body.outputs)
    is_recorded = any(type(x) is Tensor for x in (y, *operands, *tangents.values()))

    @cache
    def push(last: int) -> Callable[[int], Any]:
        forth = _recall_derivative(_forward, loop, frozenset(tangents), last)
        whole = repeat(op, *_derivative_loop(loop, y, operands, tangents, forth), lean)
        return _part_getter(whole, forth.places)

    def tangent(i: int) -> Any:
        return push(n_all if is_recorded or i >= n else n)(i)

    # only a second derivative asks for the tangents of the residuals
    return Parts((*map(tangent, range(n)), *[partial(tangent, i) for i in range(n, n_all)]))


class _Derivative(NamedTuple):
    """A step of a loop and its derivative, in one program.

    Attributes
    ----------
    program
        The program. Its inputs are the inputs of the step and then the seeds: the cotangents of
        some results, or the tangents of some operands.
    seeds
        The positions of these results or operands, in three lists: the seeds that the new loop
        captures, carries, and scans. -1 stands for a sum, which begins with 0.
    places
        For each output the position of the operand or result whose derivative it is.
    is_backward
        Whether the new loop begins with the last step.
    """

    program: Program
    seeds: tuple[list[int], list[int], list[int]]
    places: list[int]
    is_backward: bool


def _recall_derivative(
    record: Callable[..., _Derivative], loop: Loop, *arguments: Any
) -> _Derivative:
    """The derivative ``record(loop, *arguments)``, which is recorded once and kept in the loop."""
    known = loop.derivatives.get((record, arguments))
    joint: _Derivative = known or record(loop, *arguments)
    loop.derivatives[record, arguments] = joint
    return joint


def _backward(loop: Loop, moved: frozenset[int], wanted: frozenset[int]) -> _Derivative:
    """A step of a loop and its backward pass.

    The program returns the cotangents of the captured values (each added to the sum over later
    steps), of the carry, and of the rows.

    Parameters
    ----------
    loop
        The loop.
    moved
        The step's results that have cotangents; a floating carry always has one.
    wanted
        The operands whose cotangents are wanted.
    """
    n = loop.n_captured
    captured, carry, rows = _moving_operands(loop, wanted)
    sums, handed_on, beside = [-1] * len(captured), [i - n for i in carry], sorted(moved)
    # a sum over the steps is carried for each captured value
    seeded = [*captured, *[len(loop.body.inputs) + i for i in (*handed_on, *beside)]]
    places = [*captured, *carry, *rows]
    joined = derivative_program(loop.body, True, seeded, places)
    return _Derivative(joined, ([], sums + handed_on, beside), places, True)


def _forward(loop: Loop, moved: frozenset[int], last: int) -> _Derivative:
    """A step of a loop and its forward pass.

    The program returns the tangents of the first `last` results, except those that are 0.

    Parameters
    ----------
    loop
        The loop.
    moved
        The operands that have tangents; a floating carry always has one.
    last
        The number of results whose tangents may be wanted.
    """
    body, seeds = loop.body, _moving_operands(loop, moved)
    wanted = [i for i, x in enumerate(body.outputs[:last]) if is_floating_value(body, x)]
    joined = derivative_program(
        body, False, [*chain(*seeds)], [len(body.inputs) + i for i in wanted]
    )
    tangents = zip(wanted, joined.outputs, strict=True)
    # a tangent that depends on no input is 0
    moving = {i: x for i, x in tangents if i < loop.n_carry or x.kind != "constant"}
    joined = attrs.evolve(joined, outputs=tuple(moving.values()))
    return _Derivative(joined, seeds, [*moving], False)


def _moving_operands(loop: Loop, moved: Container[int]) -> tuple[list[int], list[int], list[int]]:
    """The operands that have derivatives, in three lists; a floating carry always has them."""
    captured, carry, rows = loop.partition(range(len(loop.body.inputs)))
    carry = [i for i in carry if is_floating_value(loop.body, Ref("input", i))]
    return [i for i in captured if i in moved], carry, [i for i in rows if i in moved]


def _derivative_loop(
    loop: Loop, y: Any, operands: Sequence[Any], moved: Mapping[int, Any], joint: _Derivative
) -> tuple[Loop, list[Any]]:
    """The loop over the derivative of a step, and the operands of this loop.

    Parameters
    ----------
    loop, y, operands
        The loop to differentiate, its results, and its operands.
    moved
        The cotangents of the loop's results, or the tangents of its operands.
    joint
        The derivative of the loop's step.
    """
    joined, n = joint.program, len(loop.body.inputs)
    inputs = input_refs(range(len(joined.inputs)))
    kept = {x: i for i, x in enumerate(loop.body.outputs) if i >= loop.first_residual}
    read = dependencies(joined, joined.outputs, kept)
    captured = [x for x in inputs[: loop.n_captured] if x in read]
    all_rows = [*dict.fromkeys((*inputs[loop.n_captured : n], *kept))]
    # the rows decide the number of steps, if the length is not fixed
    needs_one = loop.length is None and not joint.seeds[2]
    rows = [x for x in all_rows if x in read] or all_rows[:needs_one]
    values = dict(zip(inputs, operands, strict=False))
    values |= {x: part(y, kept[x]) for x in rows if x in kept}
    further, first = inputs[n:], len(joint.seeds[0])
    last = first + len(joint.seeds[1])
    for x, i in zip(further, chain(*joint.seeds), strict=True):
        values[x] = moved[i] if i in moved else zeros_for(joined, x)
    taken = [*captured, *further[:first]], further[first:last], [*rows, *further[last:]]
    whole = attrs.evolve(loop, body=joined, stop=None, reverse=loop.reverse != joint.is_backward)
    return extract_loop(whole, *taken, joined.outputs), [values[x] for x in chain(*taken)]


# --- residuals ------------------------------------------------------------------------------


def _keep_values(loop: Loop, moving: Collection[int]) -> Loop:
    """The loop with residuals, the values that its derivatives need, as further results.

    Inside a program it returns every value that they could need, and passes drop the unused ones.
    """
    body, n_carry = loop.body, loop.n_carry
    kept = _worth_keeping(body, loop.n_captured) if loop.remember else []
    if kept and not is_in_program():
        every = [
            i for i, x in enumerate(body.outputs) if i >= n_carry and is_floating_value(body, x)
        ]
        joined = _recall_derivative(_backward, loop, frozenset(every), frozenset(moving)).program
        read = dependencies(joined, joined.outputs, frozenset(kept))
        kept = [x for x in kept if x in read]
    outputs = (*body.outputs, *loop.inputs[1], *kept)
    more = attrs.evolve(loop, body=attrs.evolve(body, outputs=outputs), moving=frozenset(moving))
    more.derivatives.update(loop.derivatives)
    return more


def _worth_keeping(body: Code, n_captured: int) -> list[Ref]:
    """The values of a step that are quicker to keep than to compute again.

    Views are quick to compute, and a value that depends only on captured values is the same in each
    step. The results of a while loop inside have a varying number of rows, so they are not kept.
    """
    varies = dependents(body, input_refs(range(n_captured, len(body.inputs))))
    used = {x for y in body.instructions if y.op is not PART for x in y.operands}
    used |= body.results
    return [
        x
        for x, y in zip(instruction_refs(body.instructions), body.instructions, strict=True)
        if x in varies and 0 not in y.shape
        # each result of an op of several results is kept by itself
        if y.op is PART or (x in used and not (y.is_view and len(y.operands) == 1))
    ]


def _rerun_keeping(
    op: Primitive, loop: Loop, y: Any, operands: Sequence[Any]
) -> tuple[bool, Loop, Any]:
    """Whether a loop is lean, and the loop with residuals, with its results."""
    if loop.moving:
        return False, loop, y
    loop = _keep_values(loop, [i for i, x in enumerate(operands) if is_floating(x)])
    return True, loop, apply(op, tuple(operands), {"loop": loop})


# --- batches of loops ------------------------------------------------------------------------


def _batch_loop(op: Primitive, batched: Batched, *operands: Any, loop: Loop) -> Parts:
    """The batching rule of a loop: one loop for all examples, which ends when all have ended."""
    n = batch_size(batched, operands)
    first, last = loop.n_captured, loop.n_captured + loop.n_carry
    own, carry = list(batched), None
    while carry != own[first:last]:
        carry = own[first:last]
        varying = find_varying(loop.body, own)
        ends_apart = loop.stop is not None and find_varying(loop.stop, own[:last])[0]
        own[first:last] = [a or b or ends_apart for a, b in zip(carry, varying, strict=False)]
    # a number of steps that depends on a value is not part of a shape while recording, so the step
    # itself repeats the results that all examples share
    varying = [*carry, *[b or loop.length is None for b in varying[loop.n_carry :]]]
    body = batch_code(loop.body, own, n, varying)
    stop = loop.stop and batch_code(loop.stop, own[:last], n, [ends_apart])
    if ends_apart:
        body, stop = _run_until_all_end(loop, body, stop, own)
    n_ys = len(body.outputs) - loop.n_carry
    operands_of_all = [
        x if not b else np.swapaxes(x, 0, 1) if i >= last else repeat_for_batch(x, batched[i], n)
        for i, (x, b) in enumerate(zip(operands, own, strict=True))
    ]
    batch_loop = attrs.evolve(loop, body=body, stop=stop, n_ys=n_ys, moving=frozenset())
    whole = repeat(op, batch_loop, operands_of_all, lean=not loop.moving)

    def result(i: int) -> Any:
        x = part(whole, i)
        if i >= loop.n_carry and varying[i]:
            return np.swapaxes(x, 0, 1)
        return repeat_for_batch(x, varying[i], n)

    results = [partial(result, i) for i in range(len(body.outputs))]
    # the residuals of an example that has ended have no meaning
    return Parts((*results, *[None] * (len(loop.body.outputs) - len(results))))


def _run_until_all_end(
    loop: Loop, body: Code, stop: Any, own: list[bool]
) -> tuple[Program, Program]:
    """A step that changes only the examples that go on, and a program for whether any does."""

    def goes_on(tensors: list[Any]) -> Any:
        return np.not_equal(replay_code(stop, tensors)[0], 0)

    def step(tensors: list[Any]) -> list[Any]:
        going = goes_on(tensors)
        results = replay_code(body, _replace_idle_operands(going, tensors, own))
        return [*map(partial(_where_each, going), results, loop.partition(tensors)[1])]

    any_goes_on = record_program(
        stop.label, stop.inputs, lambda tensors: [np.any(goes_on(tensors))]
    )
    return record_program(body.label, body.inputs, step), any_goes_on


# --- branches ---------------------------------------------------------------------------------


def choose(branch: Branch, operands: Sequence[Any]) -> Any:
    """Run a branch. The results are `Parts`, or a record of them if an operand is a Tensor.

    The first operand chooses the program.
    """
    return apply(COND, tuple(operands), {"branch": branch})


def _run_chosen(pred: Any, *operands: Any, branch: Branch) -> Parts:
    """The forward function of a branch."""
    results = code_function(branch.on_true if pred else branch.on_false)(list(operands))
    # a result may be an operand, or a view of one
    return freeze_results([np.array(x) for x in results])


def _pull_branch(op: Primitive, g: Parts, y: Any, *operands: Any, branch: Branch) -> list[Any]:
    """The VJP rule of a branch: the cotangents of the operands, by the chosen backward pass."""
    n = len(operands) - 1
    seeds = {n + i: x for i, x in enumerate(g.values) if x is not None}
    wanted = [i for i, x in enumerate(branch.on_true.inputs) if x.dtype.kind in "fc"]
    whole = choose(_derivative_branch(branch, True, [*seeds], wanted), [*operands, *seeds.values()])
    return [None, *map(_part_getter(whole, wanted), range(n))]


def _push_branch(
    op: Primitive, tangents: Mapping[int, Any], y: Any, *operands: Any, branch: Branch
) -> Parts:
    """The JVP rule of a branch: the tangents of the chosen program's results."""
    n, outputs = len(operands) - 1, branch.on_true.outputs
    wanted = [n + i for i, x in enumerate(outputs) if is_floating_value(branch.on_true, x)]
    forth = _derivative_branch(branch, False, [i - 1 for i in tangents], wanted)
    whole = choose(forth, [*operands, *tangents.values()])
    return Parts(tuple(map(_part_getter(whole, wanted), range(n, n + len(outputs)))))


def _derivative_branch(
    branch: Branch, is_backward: bool, moved: list[int], wanted: list[int]
) -> Branch:
    """The branch of the derivatives of both programs."""
    codes = [
        derivative_program(x, is_backward, moved, wanted) for x in (branch.on_true, branch.on_false)
    ]
    return Branch(*[extract_code(x, input_refs(range(len(x.inputs))), x.outputs) for x in codes])


def _batch_branch(op: Primitive, batched: Batched, *operands: Any, branch: Branch) -> Any:
    """The batching rule of a branch: where examples choose differently, both programs run."""
    n, own, (pred, *rest) = batch_size(batched, operands), batched[1:], operands
    codes = [batch_code(x, own, n, [True] * len(x.outputs)) for x in branch.bodies.values()]
    if not batched[0]:
        return choose(Branch(*codes), operands)
    chosen = np.not_equal(pred, 0)
    results = []
    for code, takes in zip(codes, (chosen, np.logical_not(chosen)), strict=True):
        one = Branch(code, _zeros_like(code))
        results.append(
            parts_of(choose(one, [np.any(takes), *_replace_idle_operands(takes, rest, own)]))
        )
    return Parts(tuple([_where_each(chosen, x, y) for x, y in zip(*results, strict=True)]))


# --- the ops ---------------------------------------------------------------------------------


def _op(name: str, kind: str, forward: Any, pull: Any, push: Any, batch: Any) -> Primitive:
    """An op whose option, of this name, is a `Loop` or a `Branch`."""
    op: Primitive = Primitive(
        name,
        forward,
        Joint(lambda *args, **held: pull(op, *args, **held)),
        push,
        takes_weak=True,
        like=lambda *operands, **held: held[kind].placeholders(operands),
        batch=batch,
        complex=True,
    )
    declare(op, pattern=lazy_function("tapegrad.loops.pattern", f"{kind}_dependences"))
    return op


_OF_LOOP = "loop", _run_loop, _pull_loop, _push_loop, _batch_loop
SCAN, FORI_LOOP, WHILE_LOOP = [_op(x, *_OF_LOOP) for x in ("scan", "fori_loop", "while_loop")]
LOOPS = frozenset({SCAN, FORI_LOOP, WHILE_LOOP})
COND = _op("cond", "branch", _run_chosen, _pull_branch, _push_branch, _batch_branch)


# --- parts and examples ----------------------------------------------------------------------


def _part_getter(whole: Any, places: Sequence[int]) -> Callable[[int], Any]:
    """A function from a place to the part of the result at this place; None for other places."""
    return lambda i: part(whole, places.index(i)) if i in places else None


def _zeros_like(code: Code) -> Code:
    """A program with the same inputs that returns zeros."""
    return record_program(
        code.label, code.inputs, lambda _: [zeros_for(code, x) for x in code.outputs]
    )


def _where_each(condition: Any, x: Any, y: Any) -> Any:
    """One array for the examples where the condition holds, another for the rest.

    An array without a batch axis is the same for all examples.
    """
    return np.where(expand_to_ndim(condition, x.ndim - 1), x, y)


def _replace_idle_operands(
    condition: Any, operands: Sequence[Any], batched: Sequence[bool]
) -> list[Any]:
    """The operands, where idle examples get the operands of an example that takes part.

    The results of idle examples are discarded, but must be finite: a zero cotangent times infinity
    would be nan.
    """
    first = np.argmax(condition)
    # an array cannot be indexed with a record, nor does np.take dispatch on indices
    return [
        _where_each(condition, x, stop_gradient(index_select(x, first))) if b else x
        for x, b in zip(operands, batched, strict=True)
    ]
