"""Explain why a gradient is zero, or negligible."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from functools import cached_property
from types import ModuleType
from typing import Any, NamedTuple

import attrs
import numpy as np

from tapegrad import tree
from tapegrad.core.recording import record_call
from tapegrad.core.sweep import add_contributions
from tapegrad.core.tape import Tape
from tapegrad.core.tensor import Tensor, primal_of
from tapegrad.core.writing import PARAMETER
from tapegrad.declare import facts
from tapegrad.errors.functions import check_callable, label
from tapegrad.errors.lines import Place, users_place
from tapegrad.errors.words import short
from tapegrad.explain.inside import HOLDERS, known_values
from tapegrad.explain.reach import (
    GradientPaths,
    find_paths,
    line_title,
    operand_sources,
    source_numbers,
    union_sources,
)
from tapegrad.explain.rules import ancestors
from tapegrad.explain.steps import Contribution, Step, Steps
from tapegrad.program.control.ops import COND, LOOPS
from tapegrad.program.observe import Watch
from tapegrad.transforms import check_scalar
from tapegrad.transforms.reverse import initial_cotangents

_MAX_CAUSES = 3  # the most records that a reason names


class Reads(dict[Tensor, Place]):
    """The places where the values of records were first read."""

    def note(self, record: Tensor) -> None:
        """Note the user's line as the place of a record's first read."""
        self.setdefault(record, users_place())


def why_zero(fn: Callable[..., Any], *args: Any) -> dict[str, str]:
    """Explain why gradients of a function are zero.

    The function is recorded and its tape swept, to find where the gradient stops, also inside
    loops, branches and checkpointed calls.

    Parameters
    ----------
    fn
        A function with a scalar floating result.
    *args
        Its arguments: trees. Every floating leaf is a parameter.

    Returns
    -------
    A reason, in one line, for the path of each leaf whose gradient is zero everywhere, or
    negligible: a change of the leaf by its size, or by 1 if that is more, moves the result by less
    than rounding does. If several causes stop a gradient, three of them are named.

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
    p.b - the cotangent becomes 0 at line 8, relu (return a + p["w"] * np.round(p["x"]) + tg.sum(tg.relu(p["b"]))): p.b is 0 or less for every element, so relu passes nothing on to it
    p.a - read out by .value (a = np.log(p["a"].value)), through which no gradient passes
    p.c - never used
    """  # noqa: E501
    check_callable(fn)
    reads, frames = Reads(), Watch()

    def find_place() -> Place:
        frames.note()
        return users_place()

    output, tape, marked = record_call(fn, args, find_place=find_place, note_read=reads.note)
    check_scalar(fn, output)
    # the marked arguments have a parameter in the place of each leaf
    pairs = zip(tree.leaves(marked), tree.leaves(args), strict=True)
    leaves = {p: x for p, x in pairs if type(p) is Tensor}
    seed = initial_cotangents(tape, output, None) if type(output) is Tensor else {}
    names = frames.variables()
    explainer = ZeroExplainer(fn, tape, output, leaves, dict(reads), list(Steps(tape, seed)), names)
    # the records refer to both through their origin
    reads.clear()
    frames.close()
    return {explainer.name(p): str(reason) for p, reason in explainer.reasons()}


def zero_reasons(tape: Tape, output: Tensor, steps: Sequence[Step]) -> dict[Tensor, Sentence]:
    """Return the reason of each parameter of a tape whose gradient is zero everywhere."""
    explainer = ZeroExplainer(None, tape, output, {}, {}, steps, {})
    nonzero = {step.record for step in steps if _is_nonzero(step.cotangent)}
    return {p: reason for p, reason in explainer.reasons() if p not in nonzero}


def raise_for_unused(
    fn: Callable[..., Any],
    tape: Tape,
    outputs: Iterable[Tensor],
    args: tuple[Any, ...],
    record_again: Callable[..., Any],
) -> None:
    """Raise for parameters to which no gradient can pass from the outputs, and say why.

    Parameters
    ----------
    fn, tape, outputs
        A function, and its recording.
    args
        The arguments with respect to which it is differentiated.
    record_again
        A function that records `fn` again, and calls its argument with each record that is read;
        it returns the results of `record_call`.
    """
    outputs = list(outputs)
    sources = find_paths(tape, [[p] for p in tape.parameters]).sources
    reached = union_sources(sources.get(x, 0) for x in outputs)
    unreached = [i for i in range(len(tape.parameters)) if not reached >> i & 1]
    if not unreached:
        return
    reads, output, leaves = Reads(), next(iter(outputs), None), {}
    if not tape.start.origin.compiling:
        output, tape, marked = record_again(reads.note)
        leaves = dict(zip(tree.leaves(marked), tree.leaves(args), strict=True))
    explainer = ZeroExplainer(fn, tape, output, leaves, dict(reads), (), {})
    reads.clear()
    lines = []
    for p in [tape.parameters[i] for i in unreached]:
        templates = "passes no gradient to {}: {}", "does not depend on {}; it is {}"
        reason = templates[p not in explainer.used].format(
            explainer.name(p), explainer.structural_reason(p)
        )
        lines.append(f"the result of {label(fn)} {reason}")
    raise ValueError("\n".join([*lines, 'leave it out of argnums, or pass unused="zero"']))


@attrs.frozen
class Sentence:
    """A sentence about a tape, of texts and records of the tape."""

    parts: tuple[str | Tensor, ...]

    def __str__(self) -> str:
        return "".join([line_title(x) if type(x) is Tensor else str(x) for x in self.parts])


def _make_sentence(*parts: str | Tensor | Sentence) -> Sentence:
    """Join texts, records and sentences."""
    return Sentence(tuple([y for x in parts for y in (x.parts if type(x) is Sentence else (x,))]))  # type: ignore[misc]


def _join_sentences(sentences: Iterable[Sentence], most: int = _MAX_CAUSES) -> Sentence:
    """Join the first few of several sentences, without repetitions."""
    by_text = {str(x): x for x in sentences}
    first, *others = list(by_text.values())[:most]
    more = [f"; and {len(by_text) - most} more"] if len(by_text) > most else []
    return _make_sentence(first, *[y for x in others for y in ("; ", x)], *more)


@attrs.frozen(eq=False, slots=False)
class ZeroExplainer:
    """Explain the zero gradients of a recording.

    Each property is computed for all parameters at once, at its first access.

    Attributes
    ----------
    fn, tape, output
        The function, or None, and its recording.
    leaves
        The caller's leaf of each parameter, if it is known.
    reads
        The places where the values of records were read.
    steps
        The steps of the sweep; empty if values are not known.
    names
        The variables that hold records.
    """

    fn: Callable[..., Any] | None
    tape: Tape
    output: Any
    leaves: Mapping[Tensor, Any]
    reads: Mapping[Tensor, Place]
    steps: Sequence[Step]
    names: Mapping[Tensor, str]

    @cached_property
    def used(self) -> set[Tensor]:
        """The records that the output depends on."""
        return ancestors(self.tape, [self.output]) if type(self.output) is Tensor else set()

    @cached_property
    def numbers(self) -> dict[Tensor, int]:
        """The number of each parameter."""
        return {p: i for i, p in enumerate(self.tape.parameters)}

    @cached_property
    def paths(self) -> GradientPaths:
        """The paths of gradients to the parameters."""
        return find_paths(self.tape, [[p] for p in self.tape.parameters])

    def name(self, p: Tensor) -> str:
        """Return a parameter's path."""
        return p.name or f"line {p.index}"

    def reasons(self) -> Iterator[tuple[Tensor, Sentence]]:
        """Yield the reason of each parameter whose gradient is zero, or negligible."""
        swept = {step.record: step.cotangent for step in self.steps}
        gradients = {p: swept[p] for p in self.tape.parameters if p in swept}
        nonzero = {p for p, g in gradients.items() if np.any(g)}
        small = {p for p in nonzero if self._is_small(p, gradients[p])}
        zero = {p for p in self.tape.parameters if p not in nonzero}
        stops = _find_stops(self.steps, self.paths.sources, self._source_bits(zero))
        shrinks = _find_shrinkage(self.steps, self.paths.sources, self._source_bits(small))
        known: dict[Any, Sentence] = {}
        for p, i in self.numbers.items():
            if p in zero:
                yield p, self._zero_reason(p, stops.get(i, []), known)
            elif p in small:
                yield p, self._small_reason(p, gradients[p], *shrinks[i])

    def _zero_reason(self, p: Tensor, stops: list[Stop], known: dict[Any, Sentence]) -> Sentence:
        """Explain, by all causes, why the gradient of a parameter is zero."""
        i = self.numbers[p]
        if p not in self.used or not p.size:
            return self.structural_reason(p)
        causes = _stop_sentences(stops, self.paths.sources, 1 << i, self.names, known)
        if self.paths.sources.get(self.output, 0) >> i & 1:
            causes += self._dead_ends(i, "a way to the output ends")
            causes = causes or [_make_sentence("the cotangents from its uses sum to zero")]
        else:
            causes = [self.structural_reason(p)]
        if (record := self._first_reads.get(p)) is not None:
            causes.append(self._read_reason(p, record))
        return _join_sentences(causes)

    def _source_bits(self, parameters: Iterable[Tensor]) -> int:
        """Return parameters as a set of sources of `GradientPaths`."""
        return sum(1 << self.numbers[p] for p in parameters)

    def structural_reason(self, p: Tensor) -> Sentence:
        """Explain why no gradient passes to a parameter, whatever the values."""
        if p not in self.used:
            return self._unused_reason(p)
        if not p.size:
            return _make_sentence("it has no elements")
        return _join_sentences(self._dead_ends(self.numbers[p], "every way to the output ends"))

    def _dead_ends(self, i: int, ends: str) -> list[Sentence]:
        """Return the causes that block all gradients to parameter i, whatever the values."""
        at = self._ends.get(i, [])
        causes = (
            [_make_sentence(f"{ends} at an op without a rule: ", _join_sentences(at))] if at else []
        )
        lost = [x for x, of in self.paths.lost.items() if of >> i & 1 and x in self.used]
        # a path that ends inside a loop is among the ends
        known = {x for sentence in at for x in sentence.parts}
        return causes + [_lost_reason(x) for x in lost if _holder(x) not in known]

    @cached_property
    def _ends(self) -> dict[int, list[Sentence]]:
        """The ops where the paths to each parameter end, by its number."""
        all_ends: dict[int, list[Sentence]] = {}
        for record, ends in self.paths.ends.items():
            for sources, ops in ends if record in self.used else ():
                # the text of an end is the text of its record, or ends with it
                words = [_make_sentence(op.removesuffix(line_title(record)), record) for op in ops]
                for i in source_numbers(sources if ops else 0):
                    all_ends.setdefault(i, []).extend(words)
        return all_ends

    def _is_small(self, p: Tensor, g: Any) -> bool:
        """Return whether a gradient is negligible."""
        size, result = max(_max_magnitude(p._primal), 1.0), _max_magnitude(self.output._primal)
        return not _max_magnitude(g) * size > np.finfo(self.output.dtype).eps * result

    def _small_reason(self, p: Tensor, g: Any, step: Step, c: Contribution) -> Sentence:
        """Explain a negligible gradient, which shrinks most at a contribution of a step."""
        size, result = max(_max_magnitude(p._primal), 1.0), _max_magnitude(self.output._primal)
        many = sum(1 for _ in step.inside)
        by = f"in {many} steps" if many > 1 else c.formula
        return _make_sentence(
            f"as good as zero, {_max_magnitude(g):.2g}: a change by {size:.3g} moves the result, "
            f"{result:.3g}, by less than rounding does; the cotangent shrinks most at ",
            step.record,
            f", from {_max_magnitude(step.cotangent):.2g} to {_max_magnitude(c.summed):.2g} ({by})",
        )

    def _read_reason(self, p: Tensor, record: Tensor) -> Sentence:
        """Say where the value of a record that depends on a parameter is read."""
        place = self.reads[record]
        at = f" ({place.text})" if place.text else ""
        first = () if record is p else ("used up to ", record, ", which is ")
        return _make_sentence(*first, f"read out by .value{at}, through which no gradient passes")

    def _unused_reason(self, p: Tensor) -> Sentence:
        """Explain why the output does not depend on a parameter."""
        record = self._first_reads.get(p)
        if record is not None:
            return self._read_reason(p, record)
        name = self._enclosed_names.get(id(self.leaves.get(p)))
        if name is not None and self.fn is not None:
            return _make_sentence(
                f"never used: {label(self.fn)} closed over the array ({name}) instead of taking it"
            )
        use = self._first_uses.get(p)
        for record, x in self._constants.get(_array_key(p._primal), ()):
            if use is not None and use.index <= record.index:
                break
            if np.array_equal(x, p._primal):
                return _make_sentence(
                    "never used; a constant of ",
                    record,
                    ", has the same values: "
                    "did the function close over the array instead of taking it?",
                )
        if use is not None:
            return _make_sentence("used on ", use, ", but the output does not depend on it")
        return _make_sentence("never used")

    @cached_property
    def _first_reads(self) -> dict[Tensor, Tensor]:
        """The first record that depends on each parameter and whose value was read."""
        sources, first = {p: 1 << i for p, i in self.numbers.items()}, dict[Tensor, Tensor]()
        missing = self._source_bits(self.numbers)
        for record in self.tape:
            bits = sources.get(record, 0) | operand_sources(sources, record)
            if bits:
                sources[record] = bits
            if record in self.reads and record.dtype.kind in "fc":
                for i in source_numbers(bits & missing):
                    first[self.tape.parameters[i]] = record
                missing &= ~bits
        return first

    @cached_property
    def _enclosed_names(self) -> dict[int, str]:
        """The names of arrays in the function's closure and globals, by identity."""
        around = _enclosed_leaves(self.fn) if self.fn is not None else ()
        arrays = [(id(x), name) for name, x in around if isinstance(x, np.ndarray)]
        # of several names the first
        return dict(reversed(arrays))

    @cached_property
    def _first_uses(self) -> dict[Tensor, Tensor]:
        """The first record that has each record as an operand."""
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
                # arrays of one repeated number may be equal by chance
                if type(x) is np.ndarray and x.size and np.any(x != x.flat[0]):
                    constants.setdefault(_array_key(x), []).append((record, x))
        return constants


def _array_key(x: Any) -> Any:
    """Return a key that is equal for equal arrays."""
    return (np.shape(x), *np.ravel(x)[:1].tolist())


def _max_magnitude(x: Any) -> float:
    """Return the largest magnitude in an array, or in several."""
    return max([float(np.max(np.abs(y), initial=0.0)) for y in known_values(x)], default=0.0)


def _find_shrinkage(
    steps: Iterable[Step], sources: Mapping[Tensor, int], wanted: int
) -> dict[int, tuple[Step, Contribution]]:
    """Return, by the number of a source, where the cotangent shrinks most on its paths there."""
    ratios: list[tuple[float, int, Step, Contribution]] = []
    for step in steps if wanted else ():
        remaining, before = wanted, _max_magnitude(step.cotangent)
        # the largest contribution towards a source counts, the last among equal ones
        passed = [(_max_magnitude(c.summed), i, c) for i, c in enumerate(step.contributions)]
        for after, _, c in sorted(passed, key=lambda x: x[:2], reverse=True) if before else ():
            bits = sources.get(c.operand, 0) & remaining
            remaining &= ~bits
            if bits:
                ratios.append((after / before, bits, step, c))
    shrinks: dict[int, tuple[Step, Contribution]] = {}
    for _, bits, step, c in sorted(ratios, key=lambda x: x[0]):
        shrinks |= dict.fromkeys(source_numbers(bits & wanted), (step, c))
        wanted &= ~bits
    return shrinks


class Stop(NamedTuple):
    """A record at which a sweep's cotangents become zero.

    Attributes
    ----------
    record
        The record.
    step
        The step that passes on only zeros; None if the contributions to the record cancel.
    """

    record: Tensor
    step: Step | None


def _find_stops(
    steps: Iterable[Step], sources: Mapping[Tensor, int], wanted: int
) -> dict[int, list[Stop]]:
    """Return, by the number of a source, where cotangents become zero on their paths there."""
    stops: dict[int, list[Stop]] = {}
    has_nonzero: set[Tensor] = set()
    for step in steps if wanted else ():
        record = step.record
        bits, is_nonzero = sources.get(record, 0) & wanted, _is_nonzero(step.cotangent)
        if bits and not is_nonzero and record in has_nonzero:
            for i in source_numbers(bits):
                stops.setdefault(i, []).append(Stop(record, None))
        remaining = bits & operand_sources(sources, record) if is_nonzero else 0
        for c in step.contributions if remaining else ():
            if _is_nonzero(c.summed):
                has_nonzero.add(c.operand)
                remaining &= ~sources.get(c.operand, 0)
        for i in source_numbers(remaining):
            stops.setdefault(i, []).append(Stop(record, step))
    return stops


def _stop_sentences(
    stops: Iterable[Stop],
    sources: Mapping[Tensor, int],
    source: int,
    names: Mapping[Tensor, str],
    known: dict[Any, Sentence],
) -> list[Sentence]:
    """Explain where and why cotangents become zero on the paths to a source.

    Sentences are cached in `known`, by the record and the operands towards the source.
    """
    sentences = []
    for stop in stops:
        operands = enumerate(stop.record._operands)
        towards = [i for i, x in operands if type(x) is Tensor and sources.get(x, 0) & source]
        key = stop.record, stop.step is None, *towards
        if key not in known:
            known[key] = _stop_sentence(stop, towards, names)
        sentences.append(known[key])
    return sentences


def _stop_sentence(stop: Stop, towards: list[int], names: Mapping[Tensor, str]) -> Sentence:
    """Explain where and why cotangents become zero."""
    if stop.step is None:
        whose = "its uses" if stop.record.op is PARAMETER else "the uses of "
        which = () if stop.record.op is PARAMETER else (stop.record,)
        return _make_sentence(f"the cotangents from {whose}", *which, " sum to zero")
    return _make_sentence(
        "the cotangent becomes 0 at ", stop.record, _explain_zero_slope(stop.step, towards, names)
    )


def _is_nonzero(c: Any) -> bool:
    """Return whether a cotangent, or any of several, is not zero."""
    return any(np.any(x) for x in known_values(c))


def _explain_zero_slope(step: Step, towards: Collection[int], names: Mapping[Tensor, str]) -> str:
    """Explain why a step passes only zeros to these operands."""
    record = step.record
    if record.op in HOLDERS:
        for inner in step.inside:
            inputs = [x for x, i in inner.sources.items() if i in towards]
            sources = find_paths(inner.tape, [[*inputs, *inner.carry]]).sources
            stops = _find_stops(inner.steps, sources, 1).get(0, [])
            if stops:
                which = "" if inner.step is None else f" in step {inner.step}"
                reasons = _stop_sentences(stops, sources, 1, {}, {})
                return f", inside{which}: {_join_sentences(reasons)}"
        none = record.op in LOOPS and next(iter(step.inside), None) is None
        return ": it makes no steps" if none else ": the cotangents inside sum to zero"
    passed = [c for c in step.contributions if c.position in towards]
    for c in passed:
        if _is_nonzero(c.cotangent):
            name = _operand_name(c.operand, names)
            return f": the cotangent of {name} sums to zero over the axes of its broadcast"
    if not _is_flat(step, towards):
        size = f"{_max_magnitude(step.cotangent):.2g}"
        return f": the cotangent, {size}, and the slope are so small that their product is 0"
    if reason := _flat_reason(step, towards, names):
        return f": {reason}"
    formulas = dict.fromkeys([c.formula for c in passed])
    return f": its slope is 0 there ({', '.join(formulas)})"


def _is_flat(step: Step, towards: Collection[int]) -> bool:
    """Return whether a step would pass on zeros for a large cotangent, too."""
    g = primal_of(step.cotangent)
    if type(g) is not np.ndarray:
        return True
    # scale by powers of two, so that sums that cancel still cancel
    k = np.finfo(g.dtype).maxexp // 2 - int(np.frexp(_max_magnitude(g))[1])
    large = np.asarray(g * g.dtype.type(2.0 ** (k // 2)) * g.dtype.type(2.0 ** (k - k // 2)))
    passed: dict[Tensor, Any] = {}
    with np.errstate(all="ignore"):
        add_contributions(step.record, large, passed, set())
    return not any(_is_nonzero(passed.get(step.record._operands[i])) for i in towards)


def _flat_reason(step: Step, towards: Collection[int], names: Mapping[Tensor, str]) -> str:
    """Return the declared reason of an op for a zero slope with respect to these operands."""
    record, first = step.record, min(towards)
    flat = facts(record.op).flat
    flat = flat if isinstance(flat, str) else flat[first]
    operand_names = [_operand_name(x, names) for x in record._operands]
    others = [name for i, name in enumerate(operand_names) if i != first]
    is_every, where = bool(np.all(step.cotangent)), ""
    if record.size > 1:
        where = " for every element" if is_every else " wherever the cotangent is not 0"
    words = {"x": operand_names[first], "other": " and ".join(others), "op": record.op.name}
    return flat.format(*operand_names, **words, where=where)


def _operand_name(x: Any, names: Mapping[Tensor, str]) -> str:
    """Name an operand: by its variable or parameter, the line of a result, or its value."""
    if type(x) is not Tensor:
        return short(x)
    return names.get(x) or x.name or f"the result of line {x.index}"


def _holder(record: Tensor) -> Tensor:
    """Return the loop, branch or call that a record is, or is a result of."""
    return record if record.op in HOLDERS else record._operands[0]


def _lost_reason(record: Tensor) -> Sentence:
    """Explain why a record passes no gradient to an operand, though each op has a rule."""
    record = _holder(record)
    if record.op is COND and not record.origin.compiling:
        return _make_sentence("the branch that was taken does not use it: ", record)
    return _make_sentence("no gradient passes to it from the used results of ", record)


def _enclosed_leaves(fn: Callable[..., Any]) -> Iterator[tuple[str, Any]]:
    """Yield the leaves in a function's closure and globals, with their names."""
    fn = inspect.unwrap(fn)
    if not inspect.isfunction(fn):
        return
    around = inspect.getclosurevars(fn)
    for names in (around.nonlocals, around.globals):
        for name, thing in names.items():
            if type(thing) is not ModuleType:
                for path, leaf in zip(tree.paths(thing), tree.leaves(thing), strict=True):
                    yield f"{name}.{path}" if path else name, leaf
