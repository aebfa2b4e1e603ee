"""The reverse sweep agrees with complex steps on any tape and any branch."""

import itertools
import weakref
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import pytest
from depth import depth
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule
from messages import Refusal, check_refusals
from tapes import check_tape, squares

import tapegrad as tg
from tapegrad.core.broadcasting import unbroadcast
from tapegrad.errors import TapeError
from tapegrad.ops.casting import stopped
from tapegrad.types import Array, ArrayLike

FLOATS = st.floats(-3, 3, allow_subnormal=False)


@pytest.mark.parametrize("dtype", "fdeFg")
@pytest.mark.parametrize("layout", [np.asarray, np.asfortranarray, lambda x: x[..., ::-1]])
def test_unbroadcast_sums_repeated_axes_of_any_shape_and_layout(dtype, layout):
    shapes = [(3,), (5, 2, 3), (2, 3, 1, 4), (0, 3), (3, 0), (1, 1), (3, 1030), (2, 1030, 2)]
    for shape in shapes:
        # whole numbers, whose sums have no rounding errors
        c = layout(np.random.default_rng(0).integers(-1, 2, size=shape).astype(dtype))
        for kept in itertools.product([True, False], repeat=len(shape)):
            narrow = [n if stays else 1 for n, stays in zip(shape, kept, strict=True)]
            axes = tuple(i for i, n in enumerate(narrow) if n != shape[i])
            want = np.sum(c, axis=axes, keepdims=True)
            for first in range(len(shape) + 1):
                if set(narrow[:first]) <= {1}:
                    primal = np.ones(narrow[first:], dtype)
                    found = unbroadcast(c, primal, "op", 0)
                    np.testing.assert_array_equal(found, want.reshape(primal.shape), strict=True)


def test_gradients_are_a_read_only_mapping_by_parameter():
    tape, x, y, z = squares()
    tape, p = tape.parameter(np.ones((2, 2), np.float32))
    gradients = tg.reverse_sweep(tape, z)
    assert len(gradients) == 2
    assert set(gradients) == {x, p}
    assert y not in gradients
    with pytest.raises(TypeError):
        gradients[x] = 0.0
    for parameter, g in gradients.items():
        assert type(g) is np.ndarray
        assert g.shape == parameter.shape
        assert g.dtype == parameter.dtype
        assert not g.flags.writeable


def test_error_for_a_wrong_key_names_the_keys():
    tape, _, y, z = squares()
    gradients = tg.reverse_sweep(tape, z)
    with pytest.raises(KeyError, match=r"line 1 of the tape, multiply, is not a parameter .*show"):
        gradients[y]
    with pytest.raises(KeyError, match=r"not 'x'; .*p\.name: g for p, g in gradients"):
        gradients["x"]
    assert gradients.get(y) is None


def test_sweep_visits_each_record_once():
    # 2**60 paths, 61 records
    tape, a = tg.Tape().parameter(1.0)
    b = a
    for _ in range(60):
        tape, b = tape.write(tg.add, b, b)
    assert tg.reverse_sweep(tape, b)[a] == 2.0**60


@given(st.lists(st.booleans(), min_size=1, max_size=6))
def test_sweep_frees_passed_records_and_contributions(with_options):
    records, made, left = [], [], []

    def count_alive(references):
        return sum(reference() is not None for reference in references)

    def first(g, y, a, b, shift=1.0):
        left.append((count_alive(records), count_alive(made)))
        return second(g, y, a, b)

    def second(g, y, a, b, shift=1.0):
        c = g * 0.5
        made.append(weakref.ref(c))
        return c

    op = tg.custom_op(vjps=(first, second))(lambda a, b, shift=1.0: (a + b) / 2 + shift)

    def loss(x):
        for has_option in with_options:
            # options take the sweep's longer path, and two uses are summed
            x = op(x, x, shift=2.0) if has_option else op(x, x)
            records.append(weakref.ref(x))
        return np.sum(x)

    n = len(with_options)
    tg.grad(loss)(np.ones(3))
    assert left == [(i, 0) for i in range(n, 0, -1)]
    for found in (left, records, made):
        found.clear()
    pullback = tg.vjp(loss, np.ones(3))[1]
    pullback(np.ones(()))
    assert left == [(n, 0)] * n


@pytest.mark.parametrize("shape", [(), (1,), (1, 1)])
@pytest.mark.parametrize("dtype", ["f2", ">f4", "f8"])
def test_output_of_one_element_needs_no_cotangent(shape, dtype):
    tape, x = tg.Tape().parameter(np.ones(shape, dtype))
    tape, y = tape.write(tg.multiply, x, x)
    for output, slope in ((y, 2.0), (x, 1.0)):
        g = tg.reverse_sweep(tape, output)[x]
        np.testing.assert_array_equal(g, np.full(shape, slope, x.dtype), strict=True)
    g = tg.compile(tg.grad(lambda x: tg.sum(x * x)))(np.ones(shape, dtype))
    np.testing.assert_array_equal(g, np.full(shape, 2.0, x.dtype), strict=True)


def make_misplaced_records() -> list[Refusal]:
    """Return sweeps and writes of records of another branch or another tape."""
    stem, x = tg.Tape().parameter(2.0)
    left, a = stem.write(tg.multiply, x, 3.0)
    right, b = stem.write(tg.multiply, x, x)
    _, p = stem.parameter(5.0, name="stray")
    other, q = tg.Tape().parameter(1.0)
    dead, _ = tg.record(lambda x: x * x)(2.0)
    assert tg.reverse_sweep(left, a)[x] == 3.0
    return [
        (TapeError, lambda: tg.reverse_sweep(right, a), "branch"),
        (TapeError, lambda: tg.reverse_sweep(stem, a), "line 1"),
        (TapeError, lambda: tg.reverse_sweep(*right.write(tg.add, a, b)), "line 1|multiply"),
        (TapeError, lambda: tg.reverse_sweep(*right.write(tg.multiply, b, p)), "stray"),
        (TapeError, lambda: stem.write(tg.sin, a), "line 1"),
        (TapeError, lambda: tg.reverse_sweep(squares()[0], a), "line 1"),
        (TapeError, lambda: other.write(tg.add, q, x), "line 0"),
        (TapeError, lambda: tg.reverse_sweep(left, a, cotangent=dead), "line 1"),
    ]


def test_record_of_another_tape_or_branch_raises():
    check_refusals(make_misplaced_records())


def test_sweep_inside_a_recording_is_recorded():
    def fn(x):
        y, inner = tg.record(lambda a: tg.sum(a * a * a))(x)
        (p,) = inner.parameters
        g = tg.reverse_sweep(inner, y)[p]
        assert type(g) is tg.Tensor
        return tg.sum(g)

    output, tape = tg.record(fn)(np.array([1.0, 2.0]))
    check_tape(tape)
    (x,) = tape.parameters
    assert output.value == 15.0  # 3 x^2
    np.testing.assert_array_equal(tg.reverse_sweep(tape, output)[x], [6.0, 12.0])


def test_sweep_of_hand_written_tape_in_a_recording_returns_arrays():
    tape, x, _, z = squares()

    def fn(a):
        g = tg.reverse_sweep(tape, z)[x]
        assert type(g) is np.ndarray
        return tg.sum(a * g)

    np.testing.assert_array_equal(tg.grad(fn)(np.ones(3)), [2.0, 4.0, 6.0])


# --- compared with complex steps ------------------------------------------------------


# each record has a number with its tangent as imaginary part, times a step too small to round
STEP = 1e-100
UNARY = {
    tg.negative: np.negative,
    tg.sin: np.sin,
    tg.tanh: np.tanh,
    stopped: lambda z: np.real(z) + 0j,
}
BINARY = {tg.add: np.add, tg.subtract: np.subtract, tg.multiply: np.multiply}
SHAPES = st.sampled_from([(), (3,), (1, 3), (2, 3), (2, 1)])
# Python floats too, which tapes keep
VALUES = FLOATS | SHAPES.flatmap(lambda shape: hnp.arrays(np.float64, shape, elements=FLOATS))
CHOICE = st.integers(0, 1_000_000)


class Branch(NamedTuple):
    tape: tg.Tape
    records: tuple[tg.Tensor, ...]
    numbers: tuple[Any, ...]
    lines: tuple[tg.Tensor, ...]
    text: str
    values: bytes


class ReverseAndComplexStep(RuleBasedStateMachine):
    """Tapes that branch at random, and a complex number for each record, which needs no sweep."""

    def add_branch(self, branch: Branch, tape: tg.Tape, record: tg.Tensor, number: Array) -> None:
        if np.max(np.abs([np.real(number), np.imag(number) / STEP])) > 1e4:
            return  # a later cancellation or overflow would leave no digits
        # complex operations round differently
        np.testing.assert_allclose(record.value, np.real(number), rtol=1e-9, atol=1e-9)
        values = b"".join(r.value.tobytes() for r in tape)
        records, numbers = (*branch.records, record), (*branch.numbers, number)
        self.branches.append(Branch(tape, records, numbers, tuple(tape), str(tape), values))

    def pick(self, at: int) -> Branch:
        # the newest branches more often, so that tapes grow
        return self.branches[-1 - min(at % 7, len(self.branches) - 2)]

    @initialize(value=VALUES)
    def begin(self, value: ArrayLike) -> None:
        tape = tg.Tape()
        self.branches = [Branch(tape, (), (), (), str(tape), b"")]
        self.parameter(0, value)

    @rule(at=CHOICE, value=VALUES)
    def parameter(self, at: int, value: ArrayLike) -> None:
        branch = self.branches[0] if at % 9 == 0 else self.pick(at)
        tape, x = branch.tape.parameter(value)
        tangent = np.random.default_rng(len(self.branches)).normal(size=x.shape)
        self.add_branch(branch, tape, x, value + 1j * STEP * tangent)

    def write(
        self, at: int, op: tg.Op, rule: Callable[..., Any], *arguments: ArrayLike, **options: Any
    ) -> None:
        """Write an op; an integer argument selects a record, others are constants."""
        branch = self.pick(at)
        arguments = [i % len(branch.records) if type(i) is int else i for i in arguments]
        records, numbers = (
            [values[i] if type(i) is int else i for i in arguments]
            for values in (branch.records, branch.numbers)
        )
        tape, record = branch.tape.write(op, *records, **options)
        self.add_branch(branch, tape, record, rule(*numbers, **options))

    @rule(at=CHOICE, i=CHOICE, op=st.sampled_from(list(UNARY)))
    def unary(self, at: int, i: int, op: tg.Op) -> None:
        self.write(at, op, UNARY[op], i)

    @rule(
        at=CHOICE, i=CHOICE, j=CHOICE | VALUES, swapped=st.booleans(), op=st.sampled_from([*BINARY])
    )
    def binary(self, at: int, i: int, j: ArrayLike, swapped: bool, op: tg.Op) -> None:
        self.write(at, op, BINARY[op], *((j, i) if swapped else (i, j)))

    @rule(at=CHOICE, i=CHOICE, axis=st.sampled_from([None, -1]))
    def sum(self, at: int, i: int, axis: int | None) -> None:
        records = self.pick(at).records
        scalar = not records[i % len(records)].ndim
        # the result broadcasts with all shapes
        self.write(at, tg.sum, np.sum, i, axis=None if scalar else axis, keepdims=True)

    @rule(at=CHOICE, i=CHOICE, seed=st.integers(0, 99))
    def sweep(self, at: int, i: int, seed: int) -> None:
        branch = self.pick(at)
        i %= len(branch.records)
        output = branch.records[i]
        cotangent = np.random.default_rng(seed).integers(-3, 4, output.shape).astype(float)
        gradients = tg.reverse_sweep(branch.tape, output, cotangent)
        assert len(gradients) == len(branch.tape.parameters)
        assert all(g.shape == p.shape for p, g in gradients.items())
        tangents = {
            r: np.imag(z) / STEP for r, z in zip(branch.records, branch.numbers, strict=True)
        }
        parts = [np.sum(g * tangents[p]) for p, g in gradients.items()]
        want = np.sum(cotangent * tangents[output])
        size = max(1.0, sum(map(abs, parts)))
        np.testing.assert_allclose(sum(parts), want, rtol=1e-9, atol=1e-9 * size)

    @rule(at=CHOICE)
    def check(self, at: int) -> None:
        check_tape(self.pick(at).tape)

    @invariant()
    def older_tapes_are_unchanged(self) -> None:
        for branch in self.branches[-3:]:
            self.assert_unchanged(branch)

    def teardown(self) -> None:
        for branch in self.branches:
            self.assert_unchanged(branch)

    def assert_unchanged(self, branch: Branch) -> None:
        assert len(branch.tape) == len(branch.lines)
        assert all(a is b for a, b in zip(branch.tape, branch.lines, strict=True))
        assert b"".join(r.value.tobytes() for r in branch.tape) == branch.values
        assert str(branch.tape) == branch.text


TestReverseAndComplexStep = ReverseAndComplexStep.TestCase
TestReverseAndComplexStep.settings = settings(depth("state machine"), stateful_step_count=25)


def test_recorded_sweep_adds_arrays_and_tensors_in_any_order():
    x, arrays = np.ones(3), [np.full(3, i) for i in range(4)]

    def sum_of_gradient(p, orders):
        return np.sum(tg.grad(lambda x: np.sum(sum(x * terms(p)[i] for i in orders)))(x))

    def terms(p):
        return [*arrays, p, p * p]

    for orders in itertools.permutations(range(6), 4):
        slope = sum({4: 1.0, 5: 4.0}.get(i, 0.0) for i in orders)
        got = tg.grad(lambda p, orders=orders: sum_of_gradient(p, orders))(np.full(3, 2.0))
        np.testing.assert_array_equal(got, np.full(3, slope))
