"""Why a gradient is zero, or as good as zero."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from functools import cached_property, partial
from types import ModuleType
from typing import Any

import attrs
import numpy as np

from tapegrad import tree
from tapegrad.core.recording import run
from tapegrad.core.tape import Tape, ancestors
from tapegrad.core.tensor import Tensor
from tapegrad.declare import facts
from tapegrad.errors.functions import check_callable, label
from tapegrad.errors.lines import Place, users_place
from tapegrad.explain.inside import HOLDERS, values_in
from tapegrad.explain.reach import Ways, line, numbers_in, of_operands, union, ways
from tapegrad.explain.steps import Contribution, Step, sweep_steps
from tapegrad.program.control.ops import COND, LOOPS
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

    The function is recorded and its tape swept, and the result says where the gradient stopped:
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
        A function, and its recording.
    args
        The arguments that it is differentiated by.
    again
        Records it again, with the place that it is given; returns what `run` does.
    """
    outputs = list(outputs)
    sources = ways(tape, [[p] for p in tape.parameters]).sources
    reached = union(sources.get(x, 0) for x in outputs)
    missed = [i for i in range(len(tape.parameters)) if not reached >> i & 1]
    if not missed:
        return
    watch, output, leaves = Watch(), next(iter(outputs), None), {}
    if not tape.start.origin.compiling:
        output, tape, marked = again(place=watch)
        leaves = dict(zip(tree.leaves(marked), tree.leaves(args), strict=True))
    asked = Asked(fn, tape, output, leaves, dict(watch.reads), {})
    watch.reads.clear()
    lines = []
    for p in [tape.parameters[i] for i in missed]:
        passes = "passes no gradient to {}: {}", "does not depend on {}; it is {}"
        reason = passes[p not in asked.used].format(asked.name(p), asked.structural(p))
        lines.append(f"the result of {label(fn)} {reason}")
    raise ValueError("\n".join([*lines, 'leave it out of argnums, or pass unused="zero"']))


@attrs.frozen(eq=False, slots=False)
class Asked:
    """A function's recording, to explain why gradients are zero.

    Each property is found for all parameters at once, when it is first asked for.

    Attributes
    ----------
    fn, tape, output
        The function, and its recording.
    leaves
        The caller's leaf of each parameter, where it is known.
    reads
        Where records were read out.
    steps
        Those of the sweep, by record; empty where values are not known.
    """

    fn: Callable[..., Any]
    tape: Tape
    output: Any
    leaves: Mapping[Tensor, Any]
    reads: Mapping[Tensor, Place]
    steps: Mapping[Tensor, Step]

    @cached_property
    def used(self) -> set[Tensor]:
        """The records that the output depends on."""
        return ancestors(self.tape, [self.output]) if type(self.output) is Tensor else set()

    @cached_property
    def numbers(self) -> dict[Tensor, int]:
        """The number of each parameter."""
        return {p: i for i, p in enumerate(self.tape.parameters)}

    @cached_property
    def ways(self) -> Ways:
        """The ways to the parameters."""
        return ways(self.tape, [[p] for p in self.tape.parameters])

    def name(self, p: Tensor) -> str:
        """A parameter's path."""
        return p.name or f"line {p.index}"

    def reasons(self) -> Iterator[tuple[str, str]]:
        """The reason for each parameter; empty if its gradient is not as good as zero."""
        gradients = {p: self.steps[p].cotangent for p in self.tape.parameters if p in self.steps}
        some = {p for p, g in gradients.items() if np.any(g)}
        small = {p for p in some if self._is_small(p, gradients[p])}
        zero = {p for p in self.tape.parameters if p not in some}
        cuts = _cuts(self.steps.values(), self.ways.sources, self._all_of(zero))
        shrinks = _shrinks(self.steps.values(), self.ways.sources, self._all_of(small))
        slopes: dict[Any, str] = {}
        for p, i in self.numbers.items():
            if p in zero:
                of_cuts = partial(_stopped, cuts.get(i, []), self.ways.sources, 1 << i, slopes)
                reason = self.structural(p) or of_cuts() or "what its uses pass back sums to zero"
                yield self.name(p), reason
            else:
                yield self.name(p), self._small(p, gradients[p], *shrinks[i]) if p in small else ""

    def _all_of(self, parameters: Iterable[Tensor]) -> int:
        """A set of parameters, as `Ways` has it."""
        return sum(1 << self.numbers[p] for p in parameters)

    def structural(self, p: Tensor) -> str:
        """Why no gradient passes to a parameter, whatever the values; empty if it may pass."""
        if p not in self.used:
            return self._unused(p)
        if not p.size:
            return "it has no elements"
        i = self.numbers[p]
        if self.ways.sources.get(self.output, 0) >> i & 1:
            return ""
        if i in self._ends:
            return (
                f"every way to the output ends at an op without a rule: {_several(self._ends[i])}"
            )
        lost = self.ways.lost.items()
        return _several([_lost(x) for x, of in lost if of >> i & 1 and x in self.used])

    @cached_property
    def _ends(self) -> dict[int, list[str]]:
        """By the number of a parameter, the ops where ways to it end."""
        all_ends: dict[int, list[str]] = {}
        for record, ends in self.ways.ends.items():
            for sources, ops in ends if record in self.used else ():
                for i in numbers_in(sources if ops else 0):
                    all_ends.setdefault(i, []).extend(ops)
        return all_ends

    def _is_small(self, p: Tensor, g: Any) -> bool:
        """Whether a gradient is as good as zero."""
        size, result = max(_size(p._primal), 1.0), _size(self.output._primal)
        return not _size(g) * size > np.finfo(self.output.dtype).eps * result

    def _small(self, p: Tensor, g: Any, step: Step, c: Contribution) -> str:
        """Why a gradient is as good as zero, which shrinks most at a contribution of a step."""
        size, result = max(_size(p._primal), 1.0), _size(self.output._primal)
        many = sum(1 for _ in step.inside)
        by = f"in {many} steps" if many > 1 else c.formula
        return (
            f"as good as zero, {_size(g):.2g}: a change by {size:.3g} moves the result, "
            f"{result:.3g}, by less than rounding does; the cotangent shrinks most at "
            f"{line(step.record)}, from {_size(step.cotangent):.2g} to {_size(c.summed):.2g} ({by})"
        )

    def _unused(self, p: Tensor) -> str:
        """How a parameter is not used that the output does not depend on."""
        record = self._read_from.get(p)
        if record is not None:
            place = self.reads[record]
            at = f" ({place.text})" if place.text else ""
            first = "" if record is p else f"used up to {line(record)}, which is "
            return f"{first}read out by .value{at}, through which no gradient passes"
        name = self._enclosed.get(id(self.leaves.get(p)))
        if name is not None:
            return (
                f"never used: {label(self.fn)} closed over the array ({name}) instead of taking it"
            )
        use = self._first_uses.get(p)
        for record, x in self._constants.get(_key(p._primal), ()):
            if use is not None and use.index <= record.index:
                break
            if np.array_equal(x, p._primal):
                return (
                    f"never used; a constant of {line(record)}, has the same values: "
                    "did the function close over the array instead of taking it?"
                )
        if use is not None:
            return f"used on {line(use)}, but the output does not depend on it"
        return "never used"

    @cached_property
    def _read_from(self) -> dict[Tensor, Tensor]:
        """By parameter, the first record that depends on it and was read out."""
        sources, first = {p: 1 << i for p, i in self.numbers.items()}, dict[Tensor, Tensor]()
        missing = self._all_of(self.numbers)
        for record in self.tape:
            of = sources.get(record, 0) | of_operands(sources, record)
            if of:
                sources[record] = of
            if record in self.reads and record.dtype.kind in "fc":
                for i in numbers_in(of & missing):
                    first[self.tape.parameters[i]] = record
                missing &= ~of
        return first

    @cached_property
    def _enclosed(self) -> dict[int, str]:
        """The names of arrays that the function finds around it, by identity."""
        arrays = [(id(x), name) for name, x in _enclosed(self.fn) if isinstance(x, np.ndarray)]
        # of several names the first
        return dict(reversed(arrays))

    @cached_property
    def _first_uses(self) -> dict[Tensor, Tensor]:
        """By record, the first that has it for an operand."""
        return {
            x: record
            for record in reversed(self.tape)
            for x in record._operands
            if type(x) is Tensor
        }

    @cached_property
    def _constants(self) -> dict[Any, list[tuple[Tensor, Any]]]:
        """The constant arrays of the tape with their records, in groups that may be equal."""
        constants: dict[Any, list[tuple[Tensor, Any]]] = {}
        for record in () if self.tape.start.origin.compiling else self.tape:
            for x in record._operands:
                # equal numbers are equal by chance
                if type(x) is np.ndarray and x.size and np.any(x != x.flat[0]):
                    constants.setdefault(_key(x), []).append((record, x))
        return constants


def _key(x: Any) -> Any:
    """A key that is equal for equal arrays."""
    return (np.shape(x), *np.ravel(x)[:1].tolist())


def _size(x: Any) -> float:
    """The largest number in an array, or in any of several."""
    return max([float(np.max(np.abs(y), initial=0.0)) for y in values_in(x)], default=0.0)


def _shrinks(
    steps: Iterable[Step], sources: Mapping[Tensor, int], wanted: int
) -> dict[int, tuple[Step, Contribution]]:
    """By the number of a source, where the cotangent shrinks most on its ways there."""
    ratios: list[tuple[float, int, Step, Contribution]] = []
    for step in steps if wanted else ():
        left, before = wanted, _size(step.cotangent)
        # the largest that is passed to a source counts, and of equal ones the last
        passed = [(_size(c.summed), i, c) for i, c in enumerate(step.contributions)]
        for after, _, c in sorted(passed, key=lambda x: x[:2], reverse=True) if before else ():
            of = sources.get(c.operand, 0) & left
            left &= ~of
            if of:
                ratios.append((after / before, of, step, c))
    shrinks: dict[int, tuple[Step, Contribution]] = {}
    for _, of, step, c in sorted(ratios, key=lambda x: x[0]):
        shrinks |= dict.fromkeys(numbers_in(of & wanted), (step, c))
        wanted &= ~of
    return shrinks


def _cuts(
    steps: Iterable[Step], sources: Mapping[Tensor, int], wanted: int
) -> dict[int, list[Step]]:
    """By the number of a source, the steps that pass nothing but zeros on towards it."""
    cuts: dict[int, list[Step]] = {}
    for step in steps if wanted else ():
        of = sources.get(step.record, 0) & wanted
        if not of or not _is_some(step.cotangent):
            continue
        left = of & of_operands(sources, step.record)
        for c in step.contributions:
            if left and _is_some(c.summed):
                left &= ~sources.get(c.operand, 0)
        for i in numbers_in(left):
            cuts.setdefault(i, []).append(step)
    return cuts


def _stopped(
    cuts: list[Step], sources: Mapping[Tensor, int], source: int, slopes: dict[Any, str]
) -> str:
    """Where a sweep's cotangents become zero on the way to a source; empty if nowhere.

    The slope of the first of these steps is looked up by its record and the operands towards the
    source, and kept.
    """
    if not cuts:
        return ""
    operands = enumerate(cuts[0].record._operands)
    towards = [i for i, x in operands if type(x) is Tensor and sources.get(x, 0) & source]
    key = cuts[0].record, *towards
    if key not in slopes:
        slopes[key] = _slope(cuts[0], towards)
    places = _several([line(step.record) for step in cuts])
    return f"the cotangent is zero from {places} on: {slopes[key]}"


def _is_some(c: Any) -> bool:
    """Whether a cotangent, or any of several, is not zero."""
    return any(np.any(x) for x in values_in(c))


def _slope(step: Step, towards: Collection[int]) -> str:
    """Why a step passes nothing but zeros on to these operands."""
    record = step.record
    if record.op in HOLDERS:
        for inner in step.inside:
            inputs = [x for x, i in inner.sources.items() if i in towards]
            sources = ways(inner.tape, [[*inputs, *inner.carry]]).sources
            reason = _stopped(_cuts(inner.steps, sources, 1).get(0, []), sources, 1, {})
            if reason:
                which = "" if inner.step is None else f", step {inner.step}"
                return f"inside{which}: {reason}"
        none = record.op in LOOPS and next(iter(step.inside), None) is None
        return "it makes no steps" if none else "what it passes back inside sums to zero"
    if flat := facts(record.op).flat:
        return flat
    passed = [c.formula for c in step.contributions if c.position in towards]
    return f"its slope is 0 there ({', '.join(dict.fromkeys(passed))})"


def _lost(record: Tensor) -> str:
    """Why no gradient passes to an operand used inside a record, though each op has a rule."""
    record = record if record.op in HOLDERS else record._operands[0]
    if record.op is COND and not record.origin.compiling:
        return f"the branch that was taken does not use it: {line(record)}"
    return f"what the output takes of {line(record)} passes no gradient to it"


def _several(words: list[str]) -> str:
    """The first few of several records in words."""
    words = list(dict.fromkeys(words))
    more = f"; and {len(words) - _MOST} more" if len(words) > _MOST else ""
    return "; ".join(words[:_MOST]) + more


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
