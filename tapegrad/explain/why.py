"""Why a gradient is zero."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Iterator
from types import ModuleType
from typing import Any

import numpy as np

from tapegrad import tree
from tapegrad.core.callables import check_callable, label
from tapegrad.core.recording import run
from tapegrad.core.tape import Tape, ancestors
from tapegrad.core.tensor import Tensor
from tapegrad.declare import facts
from tapegrad.explain.rules import passes_gradient
from tapegrad.explain.steps import Step, sweep_steps
from tapegrad.face.lines import users_place
from tapegrad.transforms import check_scalar

_MOST = 3  # the most records that a reason names


def why_zero(fn: Callable[..., Any], *args: Any) -> dict[str, str]:
    """Why gradients of a function are zero.

    The function is recorded and its tape swept, and the result says what stopped the gradient.

    Parameters
    ----------
    fn
        A function with a scalar floating result.
    *args
        Its arguments: trees. Every floating leaf is a parameter.

    Returns
    -------
    The reason, in a line, by the path of each leaf whose gradient is zero everywhere.

    Raises
    ------
    TypeError
        If the result is not a floating scalar.

    Examples
    --------
    >>> import tapegrad as tg
    >>> def loss(p):
    ...     return p["w"] * np.round(p["x"]) + tg.sum(tg.relu(p["b"]))
    >>> p = {"w": 1.0, "x": np.ones(()), "b": -np.ones(2), "c": 0.0}
    >>> for path, reason in tg.why_zero(loss, p).items():
    ...     print(path, "-", reason)
    p.x - every way to the output ends at an op without a rule: line 4, round (return p["w"] * np.round(p["x"]) + tg.sum(tg.relu(p["b"])))
    p.b - the cotangent is zero from line 6, relu (return p["w"] * np.round(p["x"]) + tg.sum(tg.relu(p["b"]))) on: it is off everywhere: its argument is never above 0
    p.c - never used
    """  # noqa: E501
    check_callable(fn)
    output, tape, marked = run(fn, args, place=users_place)
    # a parameter record stands where its leaf does
    pairs = zip(tree.leaves(marked), tree.leaves(args), strict=True)
    leaves = {p: x for p, x in pairs if type(p) is Tensor}
    check_scalar(fn, output)
    steps: dict[Tensor, Step] = {}
    used: set[Tensor] = set()
    if type(output) is Tensor:
        steps = {step.record: step for step in sweep_steps(tape, output)}
        used = ancestors(tape, [output])
    reasons = {}
    for p in tape.parameters:
        if p not in steps or not np.any(steps[p].cotangent):
            reasons[p.name or f"line {p.index}"] = (
                _reason(tape, p, output, used, steps)
                if p in used
                else _unused(fn, tape, p, leaves[p])
            )
    return reasons


def _reason(
    tape: Tape,
    p: Tensor,
    output: Any,
    used: set[Tensor],
    steps: dict[Tensor, Step],
) -> str:
    if not p.size:
        return "it has no elements"
    reached = {p}
    ends: dict[Tensor, None] = {}
    for record in tape:
        for i, x in enumerate(record._operands):
            if record in used and type(x) is Tensor and x in reached:
                if passes_gradient(record, i):
                    reached.add(record)
                else:
                    ends[record] = None
    if output not in reached:
        return f"every way to the output ends at an op without a rule: {_lines(ends)}"
    cuts = [step.record for step in steps.values() if _cuts(step, reached)]
    if not cuts:
        return "what its uses pass back sums to zero"
    return f"the cotangent is zero from {_lines(cuts)} on: {_slope(steps[cuts[0]], reached)}"


def _cuts(step: Step, reached: set[Tensor]) -> bool:
    """Whether a step has a cotangent and passes nothing but zeros on towards a parameter."""
    passed = [c.summed for c in step.contributions if c.operand in reached]
    return (
        step.record in reached
        and bool(np.any(step.cotangent))
        and any(type(x) is Tensor and x in reached for x in step.record._operands)
        and not any(np.any(c) for c in passed)
    )


def _slope(step: Step, reached: set[Tensor]) -> str:
    """Why a step passes nothing but zeros on."""
    record = step.record
    if flat := facts(record.op).flat:
        return flat
    passed = [c for c in step.contributions if c.operand in reached]
    return f"its slope is 0 there ({', '.join(dict.fromkeys(c.formula for c in passed))})"


def _lines(records: Iterable[Tensor]) -> str:
    """Records in words, the first few of them."""
    first = list(records)
    said = [_line(record) for record in first[:_MOST]]
    return "; ".join(said) + (f"; and {len(first) - _MOST} more" if len(first) > _MOST else "")


def _line(record: Tensor) -> str:
    at = f" ({record.place.text})" if record.place and record.place.text else ""
    return f"line {record.index}, {record.op.name}{at}"


def _unused(fn: Callable[..., Any], tape: Tape, p: Tensor, leaf: Any) -> str:
    """How a parameter is not used that the output does not depend on."""
    for name, x in _enclosed(fn):
        if x is leaf and isinstance(x, np.ndarray):
            return f"never used: {label(fn)} closed over the array ({name}) instead of taking it"
    for record in tape:
        if any(x is p for x in record._operands):
            return f"used on {_line(record)}, but the output does not depend on it"
        for x in record._operands:
            if _same(x, p._primal):
                return (
                    f"never used; a constant of {_line(record)}, has the same values: "
                    "did the function close over the array instead of taking it?"
                )
    return "never used"


def _same(x: Any, primal: Any) -> bool:
    """Whether a constant is an array with the values of another, which are not all alike."""
    return (
        type(x) is np.ndarray
        and x.shape == np.shape(primal)
        and x.size > 1
        and bool(np.any(x != x.flat[0]))
        and np.array_equal(x, primal)
    )


def _enclosed(fn: Callable[..., Any]) -> Iterator[tuple[str, Any]]:
    """The leaves that a function finds around it, with their names."""
    fn = inspect.unwrap(fn)
    if not inspect.isfunction(fn):
        return
    around = inspect.getclosurevars(fn)
    for names in (around.nonlocals, around.globals):
        for name, thing in names.items():
            if type(thing) is not ModuleType:
                for path, leaf in zip(tree.paths(thing), tree.leaves(thing), strict=True):
                    yield f"{name}.{path}" if path else name, leaf
