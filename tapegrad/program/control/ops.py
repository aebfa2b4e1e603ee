"""The ops of a `Loop` and of a `Branch`, with their rules.

A loop is a record of the op that is called what the user wrote. Of two programs, one of which is
chosen by a value, there is one record too. Derivatives of a loop are loops, and keep what the loop
computed. Derivatives of a branch are branches: only the chosen program is differentiated, and its
values are recomputed from the operands.

To batch a branch or to write it for another library, transform ``branch.on_true`` and
``branch.on_false``, which have the same inputs and outputs.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Container, Mapping, Sequence
from functools import cache, partial
from itertools import chain
from typing import Any, NamedTuple

import attrs
import numpy as np

from tapegrad.arraylike.table import called_lazily
from tapegrad.core.forward import apply
from tapegrad.core.primitive import Joint, Parts, Primitive
from tapegrad.core.tensor import Tensor
from tapegrad.core.writing import last_record
from tapegrad.declare import declare
from tapegrad.declare.batching import Batched, batch_size, with_batch, with_ndim
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
    """The results of a loop, as `Parts`; a record of them if an operand is a Tensor.

    A lean one keeps nothing for derivatives: it runs again when one asks.
    """
    moving = [i for i, x in enumerate(operands) if type(x) is Tensor and is_floating(x)]
    if moving and not lean:
        loop = _keeping(loop, moving)
    whole = apply(op, tuple(operands), {"loop": loop})
    if loop.moving and loop.length is not None and last_record().origin.outer is not None:
        # in a step of a loop around it, which keeps what is taken out
        for i in range(loop.first_kept, len(loop.body.outputs)):
            part(whole, i)
    return whole


def _looped(*operands: Any, loop: Loop) -> Parts:
    """A loop, run."""
    steps, body = loop.steps(operands), loop.body
    lines = sum([len(x.instructions) for x in nested_codes(body)])
    least = cost.WRITTEN_LINES + cost.WRITTEN_RUNS * lines
    if steps is not None and steps * count_lines(body) >= least:
        return _run_written(loop, operands)
    carry = loop.apart(operands)[1]
    likes = loop.like(operands).values[loop.n_carry :]
    # the rows by their numbers
    stacks: list[Any] = [{} if steps is None else np.empty(x.shape, x.dtype) for x in likes]
    for t, _, outputs in loop.stepped(operands, code_function(body)):
        carry = outputs[: loop.n_carry]
        for stack, x in zip(stacks, outputs[loop.n_carry :], strict=True):
            stack[t] = x
    if steps is None:
        pairs = zip(stacks, likes, strict=True)
        stacks = [stack_rows([*x.values()], y.shape[1:], y.dtype) for x, y in pairs]
    return freeze_results([*map(np.asarray, carry), *stacks])


def _run_written(loop: Loop, operands: Sequence[Any]) -> Parts:
    """The results of a long loop outside `compile`, whose source is written for that one run."""
    inputs = [input_for(x, "x") for x in operands]
    code = record_program(
        loop.body.label,
        inputs,
        lambda xs: parts_of(apply(SCAN, tuple(xs), {"loop": loop})),
    )
    return Parts(make_runner(code)()[0](*operands))


# --- derivatives of loops --------------------------------------------------------------------


def _pull(op: Primitive, g: Parts, y: Any, *operands: Any, loop: Loop) -> list[Any]:
    """The cotangents of the operands."""
    lean, loop, y = _kept(op, loop, y, operands)
    moved = {i: x for i, x in enumerate(g.values) if x is not None}
    beside = frozenset([i for i in moved if i >= loop.n_carry])
    back = _once(_backward, loop, beside, loop.moving)
    whole = repeat(op, *_divided(loop, y, operands, moved, back), lean)
    return [*map(_taken_out(whole, back.places), range(len(operands)))]


def _push(op: Primitive, tangents: Mapping[int, Any], y: Any, *operands: Any, loop: Loop) -> Parts:
    """The tangents of its results."""
    lean, loop, y = _kept(op, loop, y, operands)
    n, n_all = loop.first_kept, len(loop.body.outputs)
    is_recorded = any(type(x) is Tensor for x in (y, *operands, *tangents.values()))

    @cache
    def push(last: int) -> Callable[[int], Any]:
        forth = _once(_forward, loop, frozenset(tangents), last)
        whole = repeat(op, *_divided(loop, y, operands, tangents, forth), lean)
        return _taken_out(whole, forth.places)

    def tangent(i: int) -> Any:
        return push(n_all if is_recorded or i >= n else n)(i)

    # only a second derivative asks for the tangents of what is kept for derivatives
    return Parts((*map(tangent, range(n)), *[partial(tangent, i) for i in range(n, n_all)]))


class _Derivative(NamedTuple):
    """A step of a loop and its derivative, in one program.

    Attributes
    ----------
    joined
        The program.
    of
        The results whose cotangents, or the operands whose tangents, are its inputs after those of
        the step; -1 for a sum, which begins with 0. Parted: those that the new loop captures, those
        in its carry, and those that it goes through.
    places
        Where each of its outputs belongs, among the operands of the loop or among its results.
    is_backward
        Whether it begins with the last step.
    """

    joined: Program
    of: tuple[list[int], list[int], list[int]]
    places: list[int]
    is_backward: bool


def _once(record: Callable[..., _Derivative], loop: Loop, *of: Any) -> _Derivative:
    """A derivative that `record` gives of a loop, which remembers it: it is recorded once."""
    joint: _Derivative = loop.derivatives.get((record, of)) or record(loop, *of)
    loop.derivatives[record, of] = joint
    return joint


def _backward(loop: Loop, moved: frozenset[int], wanted: frozenset[int]) -> _Derivative:
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
    n = loop.n_captured
    captured, carry, rows = _moving(loop, wanted)
    sums, handed_on, beside = [-1] * len(captured), [i - n for i in carry], sorted(moved)
    # as if each step handed on what it captures: the cotangents are sums
    seeded = [*captured, *[len(loop.body.inputs) + i for i in (*handed_on, *beside)]]
    places = [*captured, *carry, *rows]
    joined = derivative_program(loop.body, True, seeded, places)
    return _Derivative(joined, ([], sums + handed_on, beside), places, True)


def _forward(loop: Loop, moved: frozenset[int], last: int) -> _Derivative:
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
    body, of = loop.body, _moving(loop, moved)
    wanted = [i for i, x in enumerate(body.outputs[:last]) if is_floating_value(body, x)]
    joined = derivative_program(body, False, [*chain(*of)], [len(body.inputs) + i for i in wanted])
    tangents = zip(wanted, joined.outputs, strict=True)
    # one that depends on nothing is 0
    moving = {i: x for i, x in tangents if i < loop.n_carry or x.kind != "constant"}
    joined = attrs.evolve(joined, outputs=tuple(moving.values()))
    return _Derivative(joined, of, [*moving], False)


def _moving(loop: Loop, moved: Container[int]) -> tuple[list[int], list[int], list[int]]:
    """The operands that move, parted; a floating carry always does."""
    captured, carry, rows = loop.apart(range(len(loop.body.inputs)))
    carry = [i for i in carry if is_floating_value(loop.body, Ref("input", i))]
    return [i for i in captured if i in moved], carry, [i for i in rows if i in moved]


def _divided(
    loop: Loop, y: Any, operands: Sequence[Any], moved: Mapping[int, Any], joint: _Derivative
) -> tuple[Loop, list[Any]]:
    """The part of a step's derivative that depends on what moves, as a loop, and its operands.

    Parameters
    ----------
    loop, y, operands
        The loop that is differentiated, what it returned, and its operands.
    moved
        The cotangents of its results, or the tangents of its operands.
    joint
        The derivative of its step.
    """
    joined, n = joint.joined, len(loop.body.inputs)
    inputs = input_refs(range(len(joined.inputs)))
    kept = {x: i for i, x in enumerate(loop.body.outputs) if i >= loop.first_kept}
    read = dependencies(joined, joined.outputs, kept)
    captured = [x for x in inputs[: loop.n_captured] if x in read]
    all_rows = [*dict.fromkeys((*inputs[loop.n_captured : n], *kept))]
    # a number of steps that a value decided is that of the rows
    needs_one = loop.length is None and not joint.of[2]
    rows = [x for x in all_rows if x in read] or all_rows[:needs_one]
    values = dict(zip(inputs, operands, strict=False))
    values |= {x: part(y, kept[x]) for x in rows if x in kept}
    further, first = inputs[n:], len(joint.of[0])
    last = first + len(joint.of[1])
    for x, i in zip(further, chain(*joint.of), strict=True):
        values[x] = moved[i] if i in moved else zeros_for(joined, x)
    taken = [*captured, *further[:first]], further[first:last], [*rows, *further[last:]]
    whole = attrs.evolve(loop, body=joined, stop=None, reverse=loop.reverse != joint.is_backward)
    return extract_loop(whole, *taken, joined.outputs), [values[x] for x in chain(*taken)]


# --- what is kept ---------------------------------------------------------------------------


def _keeping(loop: Loop, moving: Collection[int]) -> Loop:
    """A loop that also returns what its derivatives need.

    In a program it returns all that they could need: what none of them reads is dropped there.
    """
    body, n_carry = loop.body, loop.n_carry
    kept = _worth_keeping(body, loop.n_captured) if loop.remember else []
    if kept and not is_in_program():
        every = [
            i for i, x in enumerate(body.outputs) if i >= n_carry and is_floating_value(body, x)
        ]
        joined = _once(_backward, loop, frozenset(every), frozenset(moving)).joined
        read = dependencies(joined, joined.outputs, frozenset(kept))
        kept = [x for x in kept if x in read]
    outputs = (*body.outputs, *loop.inputs[1], *kept)
    more = attrs.evolve(loop, body=attrs.evolve(body, outputs=outputs), moving=frozenset(moving))
    more.derivatives.update(loop.derivatives)
    return more


def _worth_keeping(body: Code, n_captured: int) -> list[Ref]:
    """The values of a step that are quicker to keep than to compute again.

    Views are not, nor what depends only on captured values, which is the same in each step. Rows of
    a loop inside that a value ends stand in its body without rows, and differ in number.
    """
    varies = dependents(body, input_refs(range(n_captured, len(body.inputs))))
    used = {x for y in body.instructions if y.op is not PART for x in y.operands}
    used |= body.results
    return [
        x
        for x, y in zip(instruction_refs(body.instructions), body.instructions, strict=True)
        if x in varies and 0 not in y.shape
        # of several results each is kept by itself
        if y.op is PART or (x in used and not (y.is_view and len(y.operands) == 1))
    ]


def _kept(op: Primitive, loop: Loop, y: Any, operands: Sequence[Any]) -> tuple[bool, Loop, Any]:
    """Whether a loop is lean; and one that keeps what derivatives need, with its results."""
    if loop.moving:
        return False, loop, y
    loop = _keeping(loop, [i for i, x in enumerate(operands) if is_floating(x)])
    return True, loop, apply(op, tuple(operands), {"loop": loop})


# --- batches of loops ------------------------------------------------------------------------


def _batch(op: Primitive, batched: Batched, *operands: Any, loop: Loop) -> Parts:
    """A loop for all examples, which ends when all have ended."""
    n = batch_size(batched, operands)
    first, last = loop.n_captured, loop.n_captured + loop.n_carry
    own, carry = list(batched), None
    while carry != own[first:last]:
        carry = own[first:last]
        varying = find_varying(loop.body, own)
        ends_apart = loop.stop is not None and find_varying(loop.stop, own[:last])[0]
        own[first:last] = [a or b or ends_apart for a, b in zip(carry, varying, strict=False)]
    # a number of steps that depends on a value is no part of a shape where it is recorded, so the
    # step itself repeats what all examples share
    varying = [*carry, *[b or loop.length is None for b in varying[loop.n_carry :]]]
    body = batch_code(loop.body, own, n, varying)
    stop = loop.stop and batch_code(loop.stop, own[:last], n, [ends_apart])
    if ends_apart:
        body, stop = _until_all(loop, body, stop, own)
    n_ys = len(body.outputs) - loop.n_carry
    operands_of_all = [
        x if not b else np.swapaxes(x, 0, 1) if i >= last else with_batch(x, batched[i], n)
        for i, (x, b) in enumerate(zip(operands, own, strict=True))
    ]
    batch_loop = attrs.evolve(loop, body=body, stop=stop, n_ys=n_ys, moving=frozenset())
    whole = repeat(op, batch_loop, operands_of_all, lean=not loop.moving)

    def result(i: int) -> Any:
        x = part(whole, i)
        if i >= loop.n_carry and varying[i]:
            return np.swapaxes(x, 0, 1)
        return with_batch(x, varying[i], n)

    results = [partial(result, i) for i in range(len(body.outputs))]
    # what a step keeps is meaningless for an example that has ended
    return Parts((*results, *[None] * (len(loop.body.outputs) - len(results))))


def _until_all(loop: Loop, body: Code, stop: Any, own: list[bool]) -> tuple[Program, Program]:
    """A step that moves only the examples that go on, and whether there are any."""

    def goes_on(tensors: list[Any]) -> Any:
        return np.not_equal(replay_code(stop, tensors)[0], 0)

    def step(tensors: list[Any]) -> list[Any]:
        going = goes_on(tensors)
        results = replay_code(body, _safe(going, tensors, own))
        return [*map(partial(_where_each, going), results, loop.apart(tensors)[1])]

    any_goes_on = record_program(
        stop.label, stop.inputs, lambda tensors: [np.any(goes_on(tensors))]
    )
    return record_program(body.label, body.inputs, step), any_goes_on


# --- branches ---------------------------------------------------------------------------------


def choose(branch: Branch, operands: Sequence[Any]) -> Any:
    """The results of the chosen program, as `Parts`; a record of them if an operand is a Tensor.

    The first operand is what chooses.
    """
    return apply(COND, tuple(operands), {"branch": branch})


def _chosen(pred: Any, *operands: Any, branch: Branch) -> Parts:
    """The chosen program, run."""
    results = code_function(branch.on_true if pred else branch.on_false)(list(operands))
    # a result may be an operand, or a view of one
    return freeze_results([np.array(x) for x in results])


def _pull_branch(op: Primitive, g: Parts, y: Any, *operands: Any, branch: Branch) -> list[Any]:
    """The cotangents of the operands, by the chosen program's backward pass."""
    n = len(operands) - 1
    seeds = {n + i: x for i, x in enumerate(g.values) if x is not None}
    wanted = [i for i, x in enumerate(branch.on_true.inputs) if x.dtype.kind in "fc"]
    whole = choose(_derived(branch, True, [*seeds], wanted), [*operands, *seeds.values()])
    return [None, *map(_taken_out(whole, wanted), range(n))]


def _push_branch(
    op: Primitive, tangents: Mapping[int, Any], y: Any, *operands: Any, branch: Branch
) -> Parts:
    """The tangents of the chosen program's results."""
    n, outputs = len(operands) - 1, branch.on_true.outputs
    wanted = [n + i for i, x in enumerate(outputs) if is_floating_value(branch.on_true, x)]
    forth = _derived(branch, False, [i - 1 for i in tangents], wanted)
    whole = choose(forth, [*operands, *tangents.values()])
    return Parts(tuple(map(_taken_out(whole, wanted), range(n, n + len(outputs)))))


def _derived(branch: Branch, is_backward: bool, moved: list[int], wanted: list[int]) -> Branch:
    """A branch of the derivative of each program, without what no output needs."""
    codes = [
        derivative_program(x, is_backward, moved, wanted) for x in (branch.on_true, branch.on_false)
    ]
    return Branch(*[extract_code(x, input_refs(range(len(x.inputs))), x.outputs) for x in codes])


def _batch_branch(op: Primitive, batched: Batched, *operands: Any, branch: Branch) -> Any:
    """The chosen program for all examples; where they differ, each of the two that is needed."""
    n, own, (pred, *rest) = batch_size(batched, operands), batched[1:], operands
    codes = [batch_code(x, own, n, [True] * len(x.outputs)) for x in branch.bodies.values()]
    if not batched[0]:
        return choose(Branch(*codes), operands)
    chosen = np.not_equal(pred, 0)
    results = []
    for code, takes in zip(codes, (chosen, np.logical_not(chosen)), strict=True):
        one = Branch(code, _zeros_like(code))
        results.append(parts_of(choose(one, [np.any(takes), *_safe(takes, rest, own)])))
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
        like=lambda *operands, **held: held[kind].like(operands),
        batch=batch,
        complex=True,
    )
    declare(op, pattern=called_lazily("tapegrad.loops.pattern", f"of_{kind}"))
    return op


_OF_LOOP = "loop", _looped, _pull, _push, _batch
SCAN, FORI_LOOP, WHILE_LOOP = [_op(x, *_OF_LOOP) for x in ("scan", "fori_loop", "while_loop")]
LOOPS = frozenset({SCAN, FORI_LOOP, WHILE_LOOP})
COND = _op("cond", "branch", _chosen, _pull_branch, _push_branch, _batch_branch)


# --- parts and examples ----------------------------------------------------------------------


def _taken_out(whole: Any, places: Sequence[int]) -> Callable[[int], Any]:
    """A function that gives what a loop or a branch returned for a place; None for any other."""
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
    return np.where(with_ndim(condition, x.ndim - 1), x, y)


def _safe(condition: Any, operands: Sequence[Any], batched: Sequence[bool]) -> list[Any]:
    """The operands, where examples that take no part get those of one that does.

    Their results are discarded, but must be neither infinite nor nan: a zero cotangent times those
    would be nan.
    """
    first = np.argmax(condition)
    # an array cannot be indexed with a record, nor does np.take dispatch on indices
    return [
        _where_each(condition, x, stop_gradient(index_select(x, first))) if b else x
        for x, b in zip(operands, batched, strict=True)
    ]
