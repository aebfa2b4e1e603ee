"""Each pass proved on a program: what it makes is well-formed, and computes the same.

The program that was recorded is evaluated on several inputs (`tapegrad.testing.evaluation`), with
and without its roundings off, which tells of every element of every result how far rounding moves
it, and whether it is exact. After each pass the new program is evaluated and compared. It must
have:

- the inputs, the tree, the shapes and the dtypes of the program before, inferred again;
- values within `BOUND` times as far as rounding moves the recorded ones, one unit in the last
  place at least;
- the zeros, and the elements that are equal to each other, that are exact in the recording;
- infinities and nans where the program before has them, and nowhere else, unless rounding decides
  between them (the sum of the sizes of the terms of a reduction overflows, say).
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import attrs
import numpy as np

from tapegrad import tree
from tapegrad.declare.declarations import facts
from tapegrad.errors import ProofError
from tapegrad.errors.lines import frame_place, is_users
from tapegrad.program.builder import Builder
from tapegrad.program.checking import check_code
from tapegrad.program.control.loop import Branch, Loop, nested_codes
from tapegrad.program.ir import Code, Input
from tapegrad.program.passes import PASSES
from tapegrad.program.passes.loops import improve_bodies
from tapegrad.program.program import Improvement, Pass, Program
from tapegrad.program.text import make_runner
from tapegrad.testing.evaluation import PerturbedRounding, evaluate, operands_of_bodies
from tapegrad.types import Array

# how many times as far as rounding moves a result a pass may
BOUND = 8.0
# experiments, and again where these show a fault; most passes move results by a few units in the
# last place, and then none is needed
_EXPERIMENT_COUNTS = (0, 4, 32)

Values = Sequence[Any]
Found = tuple["Pass | None", "Fault", Values]


@attrs.frozen
class Fault:
    """A fault of a program that a pass made.

    Attributes
    ----------
    kind
        ``"structure"``, ``"value"``, ``"zero"``, ``"tie"``, ``"limit"`` (an infinity or a nan) or
        ``"raises"``.
    path
        The output.
    text
        The values, in words.
    error
        What the pass raised; None if it made a program.
    within
        The body of a loop or of a branch where it is; None if it is in no body.
    """

    kind: str
    path: str
    text: str
    error: Exception | None = attrs.field(default=None, eq=False)
    within: Code | None = attrs.field(default=None, repr=False)


@attrs.frozen
class RoundingEffect:
    """How far rounding moves the outputs of a program, for each output.

    Attributes
    ----------
    by
        How far it moves each element.
    exact
        Where it moves nothing.
    steady
        Where it decides nothing between finite numbers, infinities and nans.
    """

    change: list[Any]
    exact: list[Any]
    steady: list[Any]


@attrs.frozen(eq=False)
class Results:
    """The results of a program for some inputs.

    Attributes
    ----------
    program, inputs, outputs
        The program, the inputs and what it gives for them.
    """

    program: Code
    inputs: Values
    outputs: list[Any]
    _effects: dict[int, RoundingEffect | None] = attrs.field(init=False, factory=dict)

    @classmethod
    def evaluate(cls, program: Code, inputs: Values) -> Results | None:
        """The results of a program for these inputs; None if it raises there."""
        try:
            return cls(program, inputs, evaluate(program, inputs))
        except Exception:
            return None

    def rounding_effect(self, n: int) -> RoundingEffect | None:
        """How far rounding moves the outputs, by n experiments.

        None if rounding decides between raising and not.
        """
        if n not in self._effects:
            self._effects[n] = self._measure_rounding(n)
        return self._effects[n]

    @np.errstate(all="ignore")
    def _measure_rounding(self, n: int) -> RoundingEffect | None:
        arrays = [np.asarray(x) for x in self.outputs]
        by = [np.zeros(x.shape) for x in arrays]
        exact = [np.ones(x.shape, bool) for x in arrays]
        steady = [np.ones(x.shape, bool) for x in arrays]
        for seed in range(n):
            try:
                others = evaluate(self.program, self.inputs, PerturbedRounding(seed))
            except Exception:
                return None
            for i, (x, other) in enumerate(zip(arrays, map(np.asarray, others), strict=True)):
                if x.dtype.kind not in "fciub":
                    continue
                if other.shape != x.shape:
                    return None
                exact[i] &= _is_same(x, other)
                steady[i] &= _is_same_kind(x, other)
                off = np.abs(np.subtract(x, other, dtype=_wide_dtype(x)))
                by[i] = np.fmax(by[i], np.where(np.isfinite(off), off, 0.0))
        return RoundingEffect(by, exact, steady)


def _wide_dtype(x: Array) -> Any:
    return np.complex128 if x.dtype.kind == "c" else np.float64


def _is_same(x: Array, y: Array) -> Any:
    return (x == y) | ((x != x) & (y != y))


def _is_same_kind(x: Array, y: Array) -> Any:
    """Where both are nans, both the same infinity, or both finite."""
    if x.dtype.kind not in "fc":
        return x == y
    return np.where(np.isfinite(x), np.isfinite(y), _is_same(x, y))


@np.errstate(all="ignore")
def find_fault(before: Values, after: Values, known: Results, paths: Sequence[str]) -> Fault | None:
    """The first fault in the outputs after a pass, beside those before; None without a fault."""
    pairs = [(np.asarray(a), np.asarray(b)) for a, b in zip(before, after, strict=True)]
    for path, (x, y) in zip(paths, pairs, strict=True):
        if (x.shape, x.dtype) != (y.shape, y.dtype):
            text = f"{y.dtype}{list(y.shape)} instead of {x.dtype}{list(x.shape)}"
            return Fault("structure", path, text)
    if all(x.tobytes() == y.tobytes() for x, y in pairs):
        return None
    fault = None
    for n in _EXPERIMENT_COUNTS:
        moved = known.rounding_effect(n)
        fault = None if moved is None else _find_wrong_value(pairs, moved, paths)
        if fault is None:
            break
    return fault


def _find_wrong_value(
    pairs: Sequence[tuple[Array, Array]], moved: RoundingEffect, paths: Sequence[str]
) -> Fault | None:
    """The fault in values that rounding may have moved so far."""
    for i, (x, y) in enumerate(pairs):
        if x.dtype.kind not in "fciub":
            continue
        by, exact, steady = moved.change[i], moved.exact[i], moved.steady[i]
        if x.dtype.kind in "fc":
            finite, off = (
                np.isfinite(x) & np.isfinite(y),
                np.abs(np.subtract(x, y, dtype=_wide_dtype(x))),
            )
            far = off > BOUND * (by + np.abs(np.spacing(np.abs(x))))
            kinds = {
                "limit": steady & ~_is_same_kind(x, y),
                "zero": exact & finite & (x == 0) & (y != 0),
                "value": finite & steady & far,
            }
        else:
            kinds = {"value": steady & (x != y)}
        for kind, wrong in kinds.items():
            if wrong.any():
                at = tuple(np.argwhere(wrong)[0].tolist())
                place = f" at {list(at)}" if at else ""
                return Fault(kind, paths[i], f"{x[at]!r} before, {y[at]!r} after{place}")
    return _find_broken_tie(pairs, moved, paths)


def _find_broken_tie(
    pairs: Sequence[tuple[Array, Array]], moved: RoundingEffect, paths: Sequence[str]
) -> Fault | None:
    """Elements of the outputs that were equal, exactly, and are not any more."""
    for dtype in {x.dtype for x, _ in pairs if x.dtype.kind in "fc"}:
        places = [i for i, (x, _) in enumerate(pairs) if x.dtype == dtype]
        before, after = (np.concatenate([pairs[i][k].reshape(-1) for i in places]) for k in (0, 1))
        still = np.concatenate([moved.exact[i].reshape(-1) for i in places])
        exact = np.isfinite(before) & still
        before, after = before[exact], after[exact]
        order = np.argsort(before)
        tied = np.diff(before[order]) == 0
        apart = tied & (np.diff(after[order]) != 0)
        if apart.any():
            k = order[np.argmax(apart)]
            at = next(i for i in places if before[k] in pairs[i][0])
            others = after[before == before[k]]
            text = f"{before[k]!r}, in several places, became {others.min()!r} and {others.max()!r}"
            return Fault("tie", paths[at], text)
    return None


# --- proofs ---------------------------------------------------------------------------------


class Proof:
    """The results of a recorded program for several inputs, to compare other programs with.

    Attributes
    ----------
    program
        The program that was recorded.
    tries
        The inputs that a program is tried on, by it and the values that were recorded.
    known
        What it gives, for each of the inputs that it does not raise for.
    """

    def __init__(
        self,
        program: Program,
        values: Values,
        tries: Callable[[Code, Values], Iterable[Values]] | None = None,
    ) -> None:
        self.program = program
        self.tries = tries or trials
        known = [Results.evaluate(program, x) for x in self.tries(program, values)]
        self.known = [x for x in known if x is not None]
        self.paths = [path or "the result" for path in tree.structure_paths(program.structure)]

    def faults(
        self, passes: Iterable[Pass], on_change: Callable[[Pass, Program], None] = lambda *_: None
    ) -> Iterator[Found]:
        """The passes at fault, each with the fault and the inputs that show it.

        The passes run one after another, without those at fault. `on_change` is called with each
        pass that changes the program, and with the new program. The bodies of loops and branches
        are proved as programs of their inputs, since the inputs of the program may never run them.
        """
        before, expected = self.program, [x.outputs for x in self.known]
        passes = tuple(passes)
        builder = Builder(before, passes)
        for improve in passes:
            if improve is improve_bodies:
                inside = list(self.faults_in_bodies(before, passes))
                yield from inside
                if inside:
                    continue
            try:
                if isinstance(improve, Improvement):
                    improve.change(builder)
                    builder.drop_unused()
                    after = builder.build()
                else:
                    after = improve(before)
                    builder = Builder(after, passes)
            except Exception as error:
                yield improve, Fault("raises", "", f"{type(error).__name__}: {error}", error), ()
                builder = Builder(before, passes)
                continue
            if after == before:
                continue
            on_change(improve, after)
            fault, inputs, results = self.compare(before, after, expected)
            if fault is None:
                before, expected = after, results
            else:
                yield improve, fault, inputs
                builder = Builder(before, passes)

    def faults_in_bodies(self, program: Code, passes: tuple[Pass, ...]) -> Iterator[Found]:
        """The passes at fault in the bodies of the loops and the branches of a program."""
        operands = operands_of_bodies(program, self.known[0].inputs) if self.known else {}
        for i, instruction in enumerate(program.instructions):
            for held in instruction.options.values():
                if not isinstance(held, Loop | Branch):
                    continue
                body: Any
                for body in held.bodies.values():
                    if len(body.outputs) != body.structure.size:
                        # it keeps more than its function returns, or returns less
                        _, structure = tree.flatten((0,) * len(body.outputs))
                        body = attrs.evolve(body, structure=structure)
                    proof = Proof(body, body_values(body, held, operands.get(i)), self.tries)
                    for improve, fault, inputs in proof.faults(passes):
                        inside = fault.within or body
                        yield improve, attrs.evolve(fault, within=inside), inputs

    def compare(
        self, before: Program, after: Program, expected: Sequence[list[Any]]
    ) -> tuple[Fault | None, Values, list[list[Any]]]:
        """The fault of a program after a pass, the inputs that show it, and its results so far."""
        results: list[list[Any]] = []
        fault = self.find_structure_fault(before, after)
        if fault is not None:
            return fault, (), results
        for known, old in zip(self.known, expected, strict=True):
            try:
                outputs = evaluate(after, known.inputs)
            except Exception as error:
                fault = Fault("raises", "", f"{type(error).__name__}: {error}")
                return fault, known.inputs, results
            fault = find_fault(old, outputs, known, self.paths)
            if fault is not None and fault.kind == "value" and before is not self.program:
                # its terms may be written out by now, as those of a softmax are
                further = Results.evaluate(before, known.inputs)
                fault = fault if further is None else find_fault(old, outputs, further, self.paths)
            if fault is not None:
                return fault, known.inputs, results
            results.append(outputs)
        return None, (), results

    @staticmethod
    def find_structure_fault(before: Program, after: Program) -> Fault | None:
        """A fault that a program has for any inputs."""
        try:
            check_code(after)
        except (AssertionError, LookupError, TypeError, ValueError) as error:
            return Fault("structure", "", f"{type(error).__name__}: {error}")
        if after.inputs != before.inputs or after.structure != before.structure:
            return Fault("structure", "", "the inputs or the tree of the results differ")
        if len(after.outputs) != len(before.outputs):
            return Fault("structure", "", "the number of the results differs")
        return None


def find_written_fault(
    program: Program, known: Sequence[Results], paths: Sequence[str]
) -> Found | None:
    """How a program that is written and run differs from the same evaluated; None if it does not.

    It runs twice on each of the inputs: the buffers are full then, of others' values. The results
    are compared at the end, since those of the first runs must not change.
    """
    run = make_runner(program)()[0]
    results: list[tuple[Results, list[Any]]] = []
    for x in (*known, *known):
        try:
            with np.errstate(all="ignore"):
                results.append((x, tree.leaves(run(*x.inputs))))
        except Exception as error:
            return None, Fault("raises", "", f"{type(error).__name__}: {error}"), x.inputs
    for x, outputs in results:
        fault = find_fault(x.outputs, outputs, x, paths)
        if fault is not None:
            return None, fault, x.inputs
    return None


def run_checked_passes(program: Program, passes: Iterable[Pass], values: Values) -> Program:
    """The program after these passes, each proved on these inputs and on others like them.

    Raises
    ------
    ProofError
        If a pass changes what is computed, or the program that is written does not compute it.
    """
    proof = Proof(program, values)
    last = [program]

    def on_change(improve: Pass, after: Program) -> None:
        last.append(after)

    fault = next(proof.faults(passes, on_change), None)
    if fault is None:
        known = [
            x for old in proof.known if (x := Results.evaluate(last[-1], old.inputs)) is not None
        ]
        fault = find_written_fault(last[-1], known, proof.paths)
    if fault is not None:
        raise ProofError(_message(program, *fault)) from fault[1].error
    return last[-1]


def _message(program: Program, improve: Pass | None, fault: Fault, inputs: Values) -> str:
    """The message about a fault."""
    name = getattr(improve, "__name__", repr(improve))
    who = f"the pass {name}" if improve is not None else "the written program"
    text = f"{fault.path}: {fault.text}" if fault.path else fault.text
    within = fault.within or program
    of = program.label if within is program else f"{within.label}, a body in {program.label},"
    verb = f"changes what {of} computes ({fault.kind})"
    if fault.error is not None:
        verb = f"raises for the program of {of.removesuffix(',')}"
    lines = [f"{who} {verb}: {text}"]
    for x, value in zip(within.inputs, inputs, strict=False):
        lines.append(f"  {x.path} = {np.array2string(np.asarray(value), threshold=50)}")
    if improve is not None and improve not in PASSES:
        lines.append(f"It is no pass of tapegrad's: it {_describe_origin(improve, fault)}")
        return "\n".join(lines)
    lines.append(
        "This is a fault of tapegrad: please report it with the function and this message."
    )
    if improve is not None:
        lines.append(
            "Until it is mended: tg.compile(fn, passes=[x for x in tg.program.PASSES "
            f"if x.__name__ != {name!r}])"
        )
    return "\n".join(lines)


def _describe_origin(improve: Pass, fault: Fault) -> str:
    """In words, that a pass raised or is wrong, and where, as far as that is the caller's code."""
    place: Any = ""
    if fault.error is not None:
        raised = fault.error.__traceback__
        while raised is not None:
            place = frame_place(raised.tb_frame) if is_users(raised.tb_frame) else place
            raised = raised.tb_next
        return f"raised at {place}" if place else "raised"
    code = getattr(inspect.unwrap(getattr(improve, "change", improve)), "__code__", None)
    # the code of lines of algebra is the package's
    if code is not None and code.co_name == getattr(improve, "__name__", ""):
        place = f", at {code.co_filename}:{code.co_firstlineno}"
    return f"is wrong{place}"


# --- trials: inputs that a program is tried on, ordinary, tied, huge, tiny, infinite ------

# elements that try many combinations at once
_SMALL_SIZE = 64


def _signs(rng: np.random.Generator, shape: tuple[int, ...]) -> Any:
    return rng.choice([1.0, -1.0], shape)


def _large(rng: np.random.Generator, shape: tuple[int, ...], limits: Any) -> Any:
    # some cancel each other; the square is still finite
    large = float(limits.max) ** 0.45 * _signs(rng, shape)
    return np.where(rng.random(shape) < 0.5, large, 1e2 * rng.normal(size=shape))


def _limits(rng: np.random.Generator, shape: tuple[int, ...], limits: Any) -> Any:
    most = float(limits.max)
    # here and there, or everywhere the same, or none
    places = shape if rng.random() < 0.5 else ()
    odd = rng.choice([np.inf, -np.inf, np.nan, most, most / 10], places)
    often = rng.random(shape) < rng.choice([0.0, 0.3, 0.3, 1.0])
    return np.where(often, odd, rng.normal(size=shape))


def _anything(rng: np.random.Generator, shape: tuple[int, ...], limits: Any) -> Any:
    odd = [0.0, 1.0, 1.0 + limits.eps, 3.0, float(limits.max) ** 0.45, np.inf]
    x = np.where(rng.random(shape) < 0.3, rng.normal(size=shape), rng.choice(odd, shape))
    return x * _signs(rng, shape)


# the numbers of each kind, by a generator, the shape and the limits of the dtype
_DRAWS: dict[str, Callable[..., Any]] = {
    "ordinary": lambda rng, shape, _: rng.normal(size=shape),
    "whole": lambda rng, shape, _: rng.integers(-2, 3, shape) / rng.choice([1.0, 2.0]),
    "zeros": lambda rng, shape, _: rng.choice([0.0, -0.0, 1.0], shape, p=[0.5, 0.3, 0.2]),
    "near ones": lambda rng, shape, limits: (
        rng.choice([1.0, 1.0 + limits.eps, 1.0 - limits.epsneg, 2.0, 0.5], shape)
        * _signs(rng, shape)
    ),
    "large": _large,
    "small": lambda rng, shape, limits: (
        rng.normal(size=shape)
        * rng.choice([1e-3, float(limits.tiny) ** 0.5, float(limits.tiny)], shape)
    ),
    "limits": _limits,
    "anything": _anything,
}
KINDS = (*_DRAWS, "mixed")
_MODERATE = ("ordinary", "whole", "zeros", "near ones", "small")


def body_values(body: Code, held: Loop | Branch, operands: Values | None) -> list[Any]:
    """Inputs of a body, from the operands of its loop or branch: for the first step, of a loop.

    Zeros stand for those that are not known, such as the rows of a loop of no steps.
    """
    values: list[Any] = [None] * len(body.inputs)
    if operands is not None and isinstance(held, Branch):
        values = list(operands[1:])
    elif operands is not None and isinstance(held, Loop):
        first = held.n_captured + held.n_carry
        rows = [x[0] if len(x) else None for x in operands[first:]]
        values = [*operands[:first], *rows]
    return [_convert_input(x, value) for x, value in zip(body.inputs, values, strict=False)]


def _convert_input(x: Input, value: Any) -> Any:
    if value is None or np.shape(value) != x.shape:
        value = np.zeros(x.shape, x.dtype)
    # an int may have more bits than its dtype
    return np.asarray(value).item() if x.number else np.asarray(value, x.dtype)


@np.errstate(all="ignore")
def inputs_like(
    inputs: Sequence[Input], values: Sequence[Any], kind: str, seed: int = 0
) -> list[Any]:
    """Inputs of the same shapes and dtypes; whole numbers are some of the given ones.

    Parameters
    ----------
    inputs
        Of the program.
    values
        The values of the inputs that were recorded.
    kind
        One of `KINDS`.
    seed
        Of the draws.
    """
    rng = np.random.default_rng([seed, KINDS.index(kind)])
    arrays: list[Any] = []
    for x, value in zip(inputs, values, strict=True):
        if x.dtype.kind not in "fc":
            drawn = value
            if isinstance(value, np.ndarray) and value.size:
                drawn = rng.permutation(value.reshape(-1)).reshape(value.shape)
            arrays.append(drawn)
            continue
        this = KINDS[rng.integers(len(_DRAWS))] if kind == "mixed" else kind
        drawn = _draw_array(this, x.shape, x.dtype, rng)
        drawn.setflags(write=False)
        arrays.append(drawn.item() if x.number else drawn)
    return arrays


def _draw_array(
    kind: str, shape: tuple[int, ...], dtype: np.dtype[Any], rng: np.random.Generator
) -> Array:
    limits = np.finfo(dtype)
    if dtype.kind == "c":
        parts = np.empty((*shape, 2), limits.dtype)
        parts[..., 0], parts[..., 1] = [
            _draw_array(kind, shape, limits.dtype, rng) for _ in range(2)
        ]
        if kind == "zeros" and rng.random() < 0.5:
            parts[..., 1] = 0  # the real numbers among them
        return parts.view(dtype).reshape(shape)
    return np.asarray(_DRAWS[kind](rng, shape, limits), dtype)


def trials(program: Code, values: Sequence[Any]) -> Iterator[list[Any]]:
    """The given inputs, and two of each kind; more of those that differ most, if they are small.

    Where an op takes as many steps as the values ask for, all kinds are moderate.
    """
    yield list(values)
    inputs = program.inputs
    iterates = any(
        facts(x.op).iterates for code in nested_codes(program) for x in code.instructions
    )
    small = max([math.prod(x.shape) for x in inputs], default=0) < _SMALL_SIZE
    for kind in _MODERATE if iterates else KINDS:
        often = 20 if small and kind in ("limits", "anything") else 2
        for seed in range(often):
            yield inputs_like(inputs, values, kind, seed)
