"""Prove each pass on a program: the new program is well-formed and computes the same.

The recorded program is evaluated on several inputs, with and without perturbed rounding
(`tapegrad.testing.evaluation`), which shows how far rounding moves each element of the results, and
whether the element is exact. After each pass the new program is evaluated and compared. It must
have:

- the inputs, the tree, the shapes and the dtypes of the program before, inferred again;
- values within a tolerance of the recorded values: `BOUND` times the effect of rounding plus one
  unit in the last place;
- the exact zeros of the recorded values, and their ties: exact elements that are equal;
- infinities and nans where the program before has them, and nowhere else, unless rounding decides
  between them (for example, the sum of the magnitudes of a reduction's terms overflows).
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, TypeAlias

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
from tapegrad.types import Array, DType, DTypeLike, Scalar, Shape

# a pass may move a result by this multiple of the effect of rounding
BOUND = 8.0
# numbers of experiments to try in turn while there is a fault; most passes move results by a few
# units in the last place, and need none
_EXPERIMENT_COUNTS = (0, 4, 32)

FloatInfo: TypeAlias = "np.finfo[Any]"
Values = Sequence[Any]
Found = tuple["Pass | None", "Fault", Values]


@attrs.frozen
class Fault:
    """A fault of a pass or of the program that it made.

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
        The error that the pass raised; None if it made a program.
    within
        The body of a loop or of a branch that has the fault; None outside a body.
    """

    kind: str
    path: str
    text: str
    error: Exception | None = attrs.field(default=None, eq=False)
    within: Code | None = attrs.field(default=None, repr=False)


@attrs.frozen
class RoundingEffect:
    """The effect of rounding on each output of a program, with an array for each output.

    Attributes
    ----------
    change
        The largest change of each element.
    exact
        Whether the element stays the same.
    steady
        Whether the element stays finite, the same infinity, or nan.
    """

    change: list[Array]
    exact: list[Array]
    steady: list[Array]


@attrs.frozen(eq=False)
class Results:
    """The results of a program for some inputs.

    Attributes
    ----------
    program, inputs, outputs
        The program, its inputs and its outputs.
    """

    program: Code
    inputs: Values
    outputs: list[Any]
    _effects: dict[int, RoundingEffect | None] = attrs.field(init=False, factory=dict)

    @classmethod
    def evaluate(cls, program: Code, inputs: Values) -> Results | None:
        """Evaluate a program for these inputs; return None if it raises."""
        try:
            return cls(program, inputs, evaluate(program, inputs))
        except Exception:
            return None

    def rounding_effect(self, n: int) -> RoundingEffect | None:
        """Return the effect of rounding in n experiments.

        Return None if rounding decides whether the program raises.
        """
        if n not in self._effects:
            self._effects[n] = self._measure_rounding(n)
        return self._effects[n]

    @np.errstate(all="ignore")
    def _measure_rounding(self, n: int) -> RoundingEffect | None:
        arrays = [np.asarray(x) for x in self.outputs]
        change = [np.zeros(x.shape) for x in arrays]
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
                distance = np.abs(np.subtract(x, other, dtype=_wide_dtype(x)))
                change[i] = np.fmax(change[i], np.where(np.isfinite(distance), distance, 0.0))
        return RoundingEffect(change, exact, steady)


def _wide_dtype(x: Array) -> DTypeLike:
    return np.complex128 if x.dtype.kind == "c" else np.float64


def _is_same(x: Array, y: Array) -> Array:
    same: Array = (x == y) | ((x != x) & (y != y))
    return same


def _is_same_kind(x: Array, y: Array) -> Array:
    """Whether two elements are both nan, the same infinity, or both finite, for each element."""
    if x.dtype.kind not in "fc":
        return np.asarray(x == y)
    return np.where(np.isfinite(x), np.isfinite(y), _is_same(x, y))


@np.errstate(all="ignore")
def find_fault(before: Values, after: Values, known: Results, paths: Sequence[str]) -> Fault | None:
    """Find the first fault in the outputs after a pass; `before` has the outputs before it."""
    pairs = [(np.asarray(a), np.asarray(b)) for a, b in zip(before, after, strict=True)]
    for path, (x, y) in zip(paths, pairs, strict=True):
        if (x.shape, x.dtype) != (y.shape, y.dtype):
            text = f"{y.dtype}{list(y.shape)} instead of {x.dtype}{list(x.shape)}"
            return Fault("structure", path, text)
    if all(x.tobytes() == y.tobytes() for x, y in pairs):
        return None
    fault = None
    for n in _EXPERIMENT_COUNTS:
        effect = known.rounding_effect(n)
        fault = None if effect is None else _find_wrong_value(pairs, effect, paths)
        if fault is None:
            break
    return fault


def _find_wrong_value(
    pairs: Sequence[tuple[Array, Array]], effect: RoundingEffect, paths: Sequence[str]
) -> Fault | None:
    """Find the first difference that rounding does not explain."""
    for i, (x, y) in enumerate(pairs):
        if x.dtype.kind not in "fciub":
            continue
        change, exact, steady = effect.change[i], effect.exact[i], effect.steady[i]
        if x.dtype.kind in "fc":
            finite = np.isfinite(x) & np.isfinite(y)
            distance = np.abs(np.subtract(x, y, dtype=_wide_dtype(x)))
            far = distance > BOUND * (change + np.abs(np.spacing(np.abs(x))))
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
    return _find_broken_tie(pairs, effect, paths)


def _find_broken_tie(
    pairs: Sequence[tuple[Array, Array]], effect: RoundingEffect, paths: Sequence[str]
) -> Fault | None:
    """Find exact elements that were equal before and differ after."""
    for dtype in {x.dtype for x, _ in pairs if x.dtype.kind in "fc"}:
        places = [i for i, (x, _) in enumerate(pairs) if x.dtype == dtype]
        before, after = (np.concatenate([pairs[i][k].reshape(-1) for i in places]) for k in (0, 1))
        exact = np.concatenate([effect.exact[i].reshape(-1) for i in places])
        exact &= np.isfinite(before)
        before, after = before[exact], after[exact]
        order = np.argsort(before)
        tied = np.diff(before[order]) == 0
        broken = tied & (np.diff(after[order]) != 0)
        if broken.any():
            k = order[np.argmax(broken)]
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
        The recorded program.
    tries
        A function of a program and its recorded inputs that returns the inputs to try.
    known
        The program's results for these inputs, except where it raises.
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
        """Run passes; yield each pass at fault, the fault and the inputs that show it.

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
        """Run passes on the bodies of a program's loops and branches; yield their faults."""
        operands = operands_of_bodies(program, self.known[0].inputs) if self.known else {}
        for i, instruction in enumerate(program.instructions):
            for control in instruction.options.values():
                if not isinstance(control, Loop | Branch):
                    continue
                body: Any
                for body in control.bodies.values():
                    if len(body.outputs) != body.structure.size:
                        # a body may have more or fewer outputs than its function's tree has leaves
                        _, structure = tree.flatten((0,) * len(body.outputs))
                        body = attrs.evolve(body, structure=structure)
                    proof = Proof(body, body_values(body, control, operands.get(i)), self.tries)
                    for improve, fault, inputs in proof.faults(passes):
                        within = fault.within or body
                        yield improve, attrs.evolve(fault, within=within), inputs

    def compare(
        self, before: Program, after: Program, expected: Sequence[list[Any]]
    ) -> tuple[Fault | None, Values, list[list[Any]]]:
        """Return the fault of a pass's program, the inputs that show it, and results until then."""
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
                # an earlier pass may have expanded a function such as softmax, which rounds more
                further = Results.evaluate(before, known.inputs)
                fault = fault if further is None else find_fault(old, outputs, further, self.paths)
            if fault is not None:
                return fault, known.inputs, results
            results.append(outputs)
        return None, (), results

    @staticmethod
    def find_structure_fault(before: Program, after: Program) -> Fault | None:
        """Find a fault that a program has for any inputs."""
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
    """Find a difference between a written program and its evaluation.

    The program runs twice on each of the inputs, so that its buffers hold values of other inputs.
    The comparison is at the end, since later runs must not change the results of earlier runs.
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
    """Run passes and prove each on these inputs and on similar inputs; return the last program.

    Raises
    ------
    ProofError
        If a pass changes the results, or the written program has other results.
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
    """Write the message about a fault."""
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
    """Describe whether a pass raised or is wrong, and where, if this is in the caller's code."""
    place: Any = ""
    if fault.error is not None:
        raised = fault.error.__traceback__
        while raised is not None:
            place = frame_place(raised.tb_frame) if is_users(raised.tb_frame) else place
            raised = raised.tb_next
        return f"raised at {place}" if place else "raised"
    code = getattr(inspect.unwrap(getattr(improve, "change", improve)), "__code__", None)
    # a pass made of lines of algebra has code of the package
    if code is not None and code.co_name == getattr(improve, "__name__", ""):
        place = f", at {code.co_filename}:{code.co_firstlineno}"
    return f"is wrong{place}"


# --- inputs to try a program on: ordinary, tied, huge, tiny, infinite --------------------

# with fewer elements, one array covers few combinations of numbers
_SMALL_SIZE = 64


def _signs(rng: np.random.Generator, shape: Shape) -> Array:
    return rng.choice([1.0, -1.0], shape)


def _large(rng: np.random.Generator, shape: Shape, limits: FloatInfo) -> Array:
    # some elements cancel each other; their squares are finite
    large = float(limits.max) ** 0.45 * _signs(rng, shape)
    return np.where(rng.random(shape) < 0.5, large, 1e2 * rng.normal(size=shape))


def _limits(rng: np.random.Generator, shape: Shape, limits: FloatInfo) -> Array:
    most = float(limits.max)
    # special numbers in some places, the same number everywhere, or none
    places = shape if rng.random() < 0.5 else ()
    special = rng.choice([np.inf, -np.inf, np.nan, most, most / 10], places)
    is_special = rng.random(shape) < rng.choice([0.0, 0.3, 0.3, 1.0])
    return np.where(is_special, special, rng.normal(size=shape))


def _anything(rng: np.random.Generator, shape: Shape, limits: FloatInfo) -> Array:
    special = [0.0, 1.0, 1.0 + limits.eps, 3.0, float(limits.max) ** 0.45, np.inf]
    x = np.where(rng.random(shape) < 0.3, rng.normal(size=shape), rng.choice(special, shape))
    return x * _signs(rng, shape)


# functions of a generator, a shape and the limits of a dtype that draw numbers of each kind
_DRAWS: dict[str, Callable[[np.random.Generator, Shape, FloatInfo], Array]] = {
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


def body_values(body: Code, control: Loop | Branch, operands: Values | None) -> list[Any]:
    """Return the inputs of a branch's body, or of a loop's body in the first step.

    An unknown input is zeros, for example a row of a loop without steps.
    """
    values: list[Any] = [None] * len(body.inputs)
    if operands is not None and isinstance(control, Branch):
        values = list(operands[1:])
    elif operands is not None and isinstance(control, Loop):
        first = control.n_captured + control.n_carry
        rows = [x[0] if len(x) else None for x in operands[first:]]
        values = [*operands[:first], *rows]
    return [_convert_input(x, value) for x, value in zip(body.inputs, values, strict=False)]


def _convert_input(x: Input, value: Array | Scalar | None) -> Array | Scalar:
    if value is None or np.shape(value) != x.shape:
        value = np.zeros(x.shape, x.dtype)
    # an int may have more bits than its dtype
    return np.asarray(value).item() if x.number else np.asarray(value, x.dtype)


@np.errstate(all="ignore")
def inputs_like(
    inputs: Sequence[Input], values: Sequence[Any], kind: str, seed: int = 0
) -> list[Any]:
    """Draw inputs of the same shapes and dtypes; integers are permuted recorded values.

    Parameters
    ----------
    inputs
        The inputs of the program.
    values
        The recorded values of the inputs.
    kind
        One of `KINDS`.
    seed
        The seed of the draws.
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
        chosen = KINDS[rng.integers(len(_DRAWS))] if kind == "mixed" else kind
        drawn = _draw_array(chosen, x.shape, x.dtype, rng)
        drawn.setflags(write=False)
        arrays.append(drawn.item() if x.number else drawn)
    return arrays


def _draw_array(kind: str, shape: Shape, dtype: DType, rng: np.random.Generator) -> Array:
    limits = np.finfo(dtype)
    if dtype.kind == "c":
        parts = np.empty((*shape, 2), limits.dtype)
        parts[..., 0], parts[..., 1] = [
            _draw_array(kind, shape, limits.dtype, rng) for _ in range(2)
        ]
        if kind == "zeros" and rng.random() < 0.5:
            parts[..., 1] = 0  # real numbers
        return parts.view(dtype).reshape(shape)
    return np.asarray(_DRAWS[kind](rng, shape, limits), dtype)


def trials(program: Code, values: Sequence[Any]) -> Iterator[list[Any]]:
    """Yield the given inputs and two draws of each kind; more draws of small extreme inputs.

    If the values determine how many steps an op takes, all kinds are moderate.
    """
    yield list(values)
    inputs = program.inputs
    iterates = any(
        facts(x.op).iterates for code in nested_codes(program) for x in code.instructions
    )
    small = max([math.prod(x.shape) for x in inputs], default=0) < _SMALL_SIZE
    for kind in _MODERATE if iterates else KINDS:
        n_draws = 20 if small and kind in ("limits", "anything") else 2
        for seed in range(n_draws):
            yield inputs_like(inputs, values, kind, seed)
