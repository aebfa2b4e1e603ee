"""Why a gradient is zero, or as good as zero."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Iterator, Mapping
from types import ModuleType
from typing import Any

import attrs
import numpy as np

from tapegrad import tree
from tapegrad.core.callables import check_callable, label
from tapegrad.core.recording import run
from tapegrad.core.tape import Tape, ancestors, descendants
from tapegrad.core.tensor import Parts, Tensor
from tapegrad.declare import facts
from tapegrad.explain.inside import HOLDERS
from tapegrad.explain.reach import line, reach, receiving
from tapegrad.explain.steps import Step, sweep_steps
from tapegrad.face.lines import Place, users_place
from tapegrad.program.control.branch import COND
from tapegrad.program.control.ops import LOOPS
from tapegrad.transforms import check_scalar

_MOST = 3  # the most records that a reason names


class Watch:
    """The place of each record, and the places where records are read out.

    Called as `users_place` is, when a record is written.
    """

    def __init__(self) -> None:
        self.reads: dict[Tensor, Place] = {}

    def __call__(self) -> Place:
        return users_place()

    def note_read(self, record: Tensor) -> None:
        """Note that a record's value is read."""
        self.reads.setdefault(record, users_place())


def why_zero(fn: Callable[..., Any], *args: Any) -> dict[str, str]:
    """Why gradients of a function are zero.

    The function is recorded and its tape swept, and the result says what stopped the gradient:
    also inside loops, branches and checkpointed calls.

    Parameters
    ----------
    fn
        A function with a scalar floating result.
    *args
        Its arguments: trees. Every floating leaf is a parameter.

    Returns
    -------
    The reason, in a line, by the path of each leaf whose gradient is zero everywhere, or as good
    as zero: so small that a change of the leaf by its own size, or by 1 if that is more, moves the
    result by less than rounding does.

    Raises
    ------
    TypeError
        If the result is not a floating scalar.

    Examples
    --------
    >>> import tapegrad as tg
    >>> def loss(p):
    ...     a = np.log(p["a"].value)
    ...     return a + p["w"] * np.round(p["x"]) + tg.sum(tg.relu(p["b"]))
    >>> p = {"w": 1.0, "x": np.ones(()), "b": -np.ones(2), "a": 2.0, "c": 0.0}
    >>> for path, reason in tg.why_zero(loss, p).items():
    ...     print(path, "-", reason)
    p.x - every way to the output ends at an op without a rule: line 5, round (return a + p["w"] * np.round(p["x"]) + tg.sum(tg.relu(p["b"])))
    p.b - the cotangent is zero from line 8, relu (return a + p["w"] * np.round(p["x"]) + tg.sum(tg.relu(p["b"]))) on: it is off everywhere: its argument is never above 0
    p.a - read out by .value (a = np.log(p["a"].value)), through which no gradient passes
    p.c - never used
    """  # noqa: E501
    check_callable(fn)
    watch = Watch()
    output, tape, marked = run(fn, args, place=watch)
    check_scalar(fn, output)
    # a parameter record stands where its leaf does
    pairs = zip(tree.leaves(marked), tree.leaves(args), strict=True)
    leaves = {p: x for p, x in pairs if type(p) is Tensor}
    steps: dict[Tensor, Step] = {}
    if type(output) is Tensor:
        steps = {step.record: step for step in sweep_steps(tape, output)}
    asked = Asked(fn, tape, output, leaves, dict(watch.reads), steps)
    # the reads lead back to the watch, by the origin of their records
    watch.reads.clear()
    return {name: reason for name, reason in asked.reasons() if reason}


def refuse_unused(
    fn: Callable[..., Any],
    tape: Tape,
    outputs: Iterable[Tensor],
    args: tuple[Any, ...],
    again: Callable[..., Any],
) -> None:
    """Raise for parameters to which no gradient can pass from the outputs, and say why.

    Parameters
    ----------
    fn, tape, outputs
        A function, and what was recorded of it.
    args
        The arguments that it is differentiated by.
    again
        Records it again, with the place that it is given; returns what `run` does.
    """
    outputs = list(outputs)
    given = receiving(tape, outputs)
    missed = [i for i, p in enumerate(tape.parameters) if p not in given]
    if not missed:
        return
    watch, output, leaves = Watch(), next(iter(outputs), None), {}
    if not tape.start.origin.compiling:
        output, tape, marked = again(place=watch)
        leaves = dict(zip(tree.leaves(marked), tree.leaves(args), strict=True))
    asked = Asked(fn, tape, output, leaves, dict(watch.reads), {})
    watch.reads.clear()
    said = []
    for p in [tape.parameters[i] for i in missed]:
        path, reason = asked.name(p), asked.structural(p)
        said.append(
            f"the result of {label(fn)} passes no gradient to {path}: {reason}"
            if p in asked.used
            else f"the result of {label(fn)} does not depend on {path}; it is {reason}"
        )
    raise ValueError("\n".join([*said, 'leave it out of argnums, or pass unused="zero"']))


@attrs.frozen(eq=False)
class Asked:
    """A function's recording, of which to say why gradients are zero.

    Attributes
    ----------
    fn, tape, output
        The function, and what was recorded of it.
    leaves
        The caller's leaf of each parameter, where it is known.
    reads
        Where records were read out.
    steps
        Those of the sweep, by record; empty where values are not known.
    used
        The records that the output depends on.
    """

    fn: Callable[..., Any]
    tape: Tape
    output: Any
    leaves: Mapping[Tensor, Any]
    reads: Mapping[Tensor, Place]
    steps: Mapping[Tensor, Step]
    used: set[Tensor] = attrs.field(init=False)

    @used.default
    def _depended(self) -> set[Tensor]:
        return ancestors(self.tape, [self.output]) if type(self.output) is Tensor else set()

    def name(self, p: Tensor) -> str:
        """A parameter's path."""
        return p.name or f"line {p.index}"

    def reasons(self) -> Iterator[tuple[str, str]]:
        """The reason for each parameter; empty if its gradient is not as good as zero."""
        for p in self.tape.parameters:
            g = self.steps[p].cotangent if p in self.steps else None
            if g is not None and np.any(g):
                yield self.name(p), self._small(p, g)
            else:
                yield self.name(p), self.structural(p) or self._cut(p)

    def structural(self, p: Tensor) -> str:
        """Why no gradient passes to a parameter, whatever the values; empty if it may pass."""
        if p not in self.used:
            return self._unused(p)
        if not p.size:
            return "it has no elements"
        found = reach(self.tape, [p])
        if self.output in found.records:
            return ""
        ends = [end for record, ends in found.ends.items() if record in self.used for end in ends]
        if ends:
            return f"every way to the output ends at an op without a rule: {_several(ends)}"
        return _several([_lost(x) for x in self._held(found.records)])

    def _held(self, reached: set[Tensor]) -> Iterator[Tensor]:
        """The loops, branches and checkpointed calls beyond which nothing used is reached."""
        passing = [x for x in self.tape if x in self.used and (x in reached or x.op in HOLDERS)]
        on = {y for x in passing for y in x._operands if type(y) is Tensor}
        for x in passing:
            given = any(type(y) is Tensor and y in reached for y in x._operands)
            if given and x.op in HOLDERS and x not in on:
                yield x

    def _cut(self, p: Tensor) -> str:
        """Where the cotangent becomes zero."""
        said = _stopped(self.steps.values(), reach(self.tape, [p]).records)
        return said or "what its uses pass back sums to zero"

    def _small(self, p: Tensor, g: Any) -> str:
        """Why a gradient is as good as zero; empty if it is not."""
        size, result = max(_size(p._primal), 1.0), _size(self.output._primal)
        if _size(g) * size > np.finfo(self.output.dtype).eps * result:
            return ""
        reached = reach(self.tape, [p]).records
        most, before, after, by = None, 1.0, 1.0, ""
        for step in self.steps.values():
            passed = {
                _size(c.summed): c.formula for c in step.contributions if c.operand in reached
            }
            given, most_passed = _size(step.cotangent), max(passed, default=0.0)
            if passed and given and (most is None or most_passed * before < after * given):
                most, before, after, by = step, given, most_passed, passed[most_passed]
        assert most is not None
        many = sum(1 for _ in most.inside)
        by = f"in {many} steps" if many > 1 else by
        return (
            f"as good as zero, {_size(g):.2g}: a change by {size:.3g} moves the result, "
            f"{result:.3g}, by less than rounding does; the cotangent shrinks most at "
            f"{line(most.record)}, from {before:.2g} to {after:.2g} ({by})"
        )

    def _unused(self, p: Tensor) -> str:
        """How a parameter is not used that the output does not depend on."""
        made = Tape(self.tape.last, self.tape.start, (p,))
        for record in sorted(descendants(made), key=lambda x: x.index):
            place = self.reads.get(record)
            if place is not None and record.dtype.kind in "fc":
                at = f" ({place.text})" if place.text else ""
                first = "" if record is p else f"used up to {line(record)}, which is "
                return f"{first}read out by .value{at}, through which no gradient passes"
        leaf = self.leaves.get(p)
        for name, x in _enclosed(self.fn):
            if x is leaf and isinstance(x, np.ndarray):
                return (
                    f"never used: {label(self.fn)} closed over the array ({name}) instead of "
                    "taking it"
                )
        for record in self.tape:
            if any(x is p for x in record._operands):
                return f"used on {line(record)}, but the output does not depend on it"
            for x in record._operands:
                if not record.origin.compiling and _same(x, p._primal):
                    return (
                        f"never used; a constant of {line(record)}, has the same values: "
                        "did the function close over the array instead of taking it?"
                    )
        return "never used"


def _size(x: Any) -> float:
    """The largest number in an array, or in any of several."""
    if type(x) is Parts:
        return max([_size(part) for part in x.values if part is not None], default=0.0)
    return float(np.max(np.abs(np.asarray(x)), initial=0.0))


def _stopped(steps: Iterable[Step], reached: set[Tensor]) -> str:
    """Where a sweep's cotangents become zero on the way to these records; empty if nowhere."""
    cuts = [step for step in steps if _cuts(step, reached)]
    if not cuts:
        return ""
    said = _several([line(step.record) for step in cuts])
    return f"the cotangent is zero from {said} on: {_slope(cuts[0], reached)}"


def _cuts(step: Step, reached: set[Tensor]) -> bool:
    """Whether a step has a cotangent and passes nothing but zeros on towards a parameter."""
    passed = [c.summed for c in step.contributions if c.operand in reached]
    return (
        step.record in reached
        and _is_some(step.cotangent)
        and any(type(x) is Tensor and x in reached for x in step.record._operands)
        and not any(map(_is_some, passed))
    )


def _is_some(c: Any) -> bool:
    """Whether a cotangent, of which there may be several, is not zero."""
    if type(c) is Parts:
        return any(_is_some(x) for x in c.values if x is not None)
    return bool(np.any(c))


def _slope(step: Step, reached: set[Tensor]) -> str:
    """Why a step passes nothing but zeros on."""
    record = step.record
    if record.op in HOLDERS:
        for made in step.inside:
            run_ = made.run
            operands = [x if type(x) is Tensor else None for x in record._operands]
            given = [x for x, i in run_.sources.items() if operands[i] in reached]
            said = _stopped(made.steps, reach(made.tape, [*given, *run_.carry]).records)
            if said:
                which = "" if made.step is None else f", step {made.step}"
                return f"inside{which}: {said}"
        none = record.op in LOOPS and next(iter(step.inside), None) is None
        return "it makes no steps" if none else "what it passes back inside sums to zero"
    if flat := facts(record.op).flat:
        return flat
    passed = [c for c in step.contributions if c.operand in reached]
    return f"its slope is 0 there ({', '.join(dict.fromkeys(c.formula for c in passed))})"


def _lost(record: Tensor) -> str:
    """Why no gradient passes to what is used inside a record, though each op there has a rule."""
    if record.op is COND and not record.origin.compiling:
        return f"the branch that was taken does not use it: {line(record)}"
    return f"what the output takes of {line(record)} passes no gradient to it"


def _several(said: list[str]) -> str:
    """The first few of several records in words."""
    said = list(dict.fromkeys(said))
    more = f"; and {len(said) - _MOST} more" if len(said) > _MOST else ""
    return "; ".join(said[:_MOST]) + more


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
