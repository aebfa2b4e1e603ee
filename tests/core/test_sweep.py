"""The reverse sweep gives what another engine gives, on any tape and any branch of one."""

import itertools
import weakref
from typing import Any, NamedTuple

import numpy as np
import pytest
from depth import depth
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule
from messages import Refusal, check_refusals
from tapes import check_tape

import tapegrad as tg
from tapegrad.core.broadcasting import unbroadcast
from tapegrad.errors import TapeError

FLOATS = st.floats(-3, 3, allow_subnormal=False)


def squares(value: Any = (1.0, 2.0, 3.0)) -> tuple[tg.Tape, tg.Tensor, tg.Tensor, tg.Tensor]:
    tape, x = tg.Tape().parameter(np.array(value), name="x")
    tape, y = tape.write(tg.multiply, x, x)
    tape, z = tape.write(tg.sum, y)
    return tape, x, y, z


@pytest.mark.parametrize("dtype", "fdeFg")
@pytest.mark.parametrize("layout", [np.asarray, np.asfortranarray, lambda x: x[..., ::-1]])
def test_what_broadcasting_repeats_is_summed_in_any_shape_and_layout(dtype, layout):
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


def test_the_gradients_are_a_read_only_mapping_with_one_entry_a_parameter():
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


def test_a_key_that_is_no_parameter_is_told_what_keys_there_are():
    tape, _, y, z = squares()
    gradients = tg.reverse_sweep(tape, z)
    with pytest.raises(KeyError, match=r"line 1 of the tape, multiply, is not a parameter .*show"):
        gradients[y]
    with pytest.raises(KeyError, match=r"not 'x'; .*p\.name: g for p, g in gradients"):
        gradients["x"]
    assert gradients.get(y) is None


def test_a_ladder_of_diamonds_is_swept_once_a_record():
    # 2**60 paths, 61 records
    tape, a = tg.Tape().parameter(1.0)
    b = a
    for _ in range(60):
        tape, b = tape.write(tg.add, b, b)
    assert tg.reverse_sweep(tape, b)[a] == 2.0**60


@given(st.lists(st.booleans(), min_size=1, max_size=6))
def test_a_gradient_frees_each_record_and_contribution_that_the_sweep_has_passed(with_options):
    records, made, left = [], [], []

    def alive(references):
        return sum(reference() is not None for reference in references)

    def first(g, y, a, b, shift=1.0):
        left.append((alive(records), alive(made)))
        return second(g, y, a, b)

    def second(g, y, a, b, shift=1.0):
        c = g * 0.5
        made.append(weakref.ref(c))
        return c

    watched = tg.custom_op(vjps=(first, second))(lambda a, b, shift=1.0: (a + b) / 2 + shift)

    def loss(x):
        for has_option in with_options:
            # options take the sweep's longer path, and two uses are summed
            x = watched(x, x, shift=2.0) if has_option else watched(x, x)
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


@pytest.mark.parametrize(
    ("shape", "dtype"),
    [
        *itertools.product([(), (1,), (1, 1), (3, 1), (1, 3), (2, 0)], ["f2", "f4", "f8"]),
        *itertools.product([(1,), (1, 3)], [">f4", ">f8"]),
    ],
)
def test_a_gradient_has_the_shape_and_dtype_of_its_parameter(shape, dtype):
    tape, x = tg.Tape().parameter(np.ones(shape, dtype))
    tape, y = tape.write(tg.multiply, x, x)
    tape, z = tape.write(tg.multiply, y, np.full((2, 3, 1), 2.0) if 0 not in shape else 2.0)
    tape, w = tape.write(tg.sum, z)
    # an output of one element needs no cotangent, whatever its shape; a parameter may be one
    for output in [w, *([x, y] if x.size == 1 else [])]:
        g = tg.reverse_sweep(tape, output)[x]
        assert g.shape == shape
        assert g.dtype == x.dtype == np.dtype(dtype)
        slope = {w: 24.0 if 0 not in shape else 0.0, y: 2.0, x: 1.0}[output]
        assert np.sum(g) == (slope if x.size == 1 else np.sum(g))


def other_tapes() -> list[Refusal]:
    """Sweeps and writes of records that are of another branch, or of another tape."""
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


def test_what_is_not_of_the_tape_is_refused():
    check_refusals(other_tapes())


def test_a_sweep_inside_its_own_recording_is_recorded():
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


def test_a_sweep_of_a_hand_written_tape_inside_a_recording_gives_arrays():
    tape, x, _, z = squares()

    def fn(a):
        g = tg.reverse_sweep(tape, z)[x]
        assert type(g) is np.ndarray
        return tg.sum(a * g)

    np.testing.assert_array_equal(tg.grad(fn)(np.ones(3)), [2.0, 4.0, 6.0])


# --- another engine ---------------------------------------------------------------


class Node(NamedTuple):
    """A value and its Jacobians, carried forward: nothing here is swept."""

    value: Any
    jacobians: dict[int, Any]  # by parameter, of shape value.shape + parameter.shape


def leaf(value: Any, number: int) -> Node:
    n = value.size
    return Node(value, {number: np.eye(n).reshape(value.shape + value.shape)})


def elementwise(value: Any, *parts: tuple[Any, Node]) -> Node:
    """A result from each operand's slopes, broadcast to the result's shape."""
    jacobians: dict[int, Any] = {}
    for slope, node in parts:
        slope = np.broadcast_to(slope, value.shape)
        for number, j in node.jacobians.items():
            inner = j.shape[node.value.ndim :]
            j = j.reshape((1,) * (value.ndim - node.value.ndim) + j.shape)
            j = np.broadcast_to(j, value.shape + inner)
            j = slope.reshape(value.shape + (1,) * len(inner)) * j
            jacobians[number] = jacobians.get(number, 0) + j
    return Node(value, jacobians)


def summed(node: Node, axis: int | None) -> Node:
    axes = tuple(range(node.value.ndim)) if axis is None else (axis,)
    return Node(
        np.sum(node.value, axis=axes),
        {number: np.sum(j, axis=axes) for number, j in node.jacobians.items()},
    )


UNARY = {
    tg.negative: lambda x: elementwise(-x.value, (-1.0, x)),
    tg.sin: lambda x: elementwise(np.sin(x.value), (np.cos(x.value), x)),
    tg.tanh: lambda x: elementwise(np.tanh(x.value), (1 - np.tanh(x.value) ** 2, x)),
    tg.sign: lambda x: Node(np.sign(x.value), {}),
}
BINARY = {
    tg.add: lambda x, y: elementwise(x.value + y.value, (1.0, x), (1.0, y)),
    tg.subtract: lambda x, y: elementwise(x.value - y.value, (1.0, x), (-1.0, y)),
    tg.multiply: lambda x, y: elementwise(x.value * y.value, (y.value, x), (x.value, y)),
}
SHAPES = st.sampled_from([(), (3,), (1, 3), (2, 3), (2, 1)])
# Python floats too, which tapes keep as they are
VALUES = FLOATS | SHAPES.flatmap(lambda shape: hnp.arrays(np.float64, shape, elements=FLOATS))
CHOICE = st.integers(0, 1_000_000)


class Branch(NamedTuple):
    tape: tg.Tape
    records: tuple[tg.Tensor, ...]
    nodes: tuple[Node, ...]
    lines: tuple[tg.Tensor, ...]
    text: str
    values: bytes


class TwoEngines(RuleBasedStateMachine):
    """Tapes that branch at random, each record beside a node of the other engine."""

    def __init__(self) -> None:
        super().__init__()
        self.branches: list[Branch] = []
        self.n_parameters = 0

    def keep(self, branch: Branch, tape: tg.Tape, record: tg.Tensor, node: Node) -> None:
        np.testing.assert_allclose(record.value, node.value, rtol=1e-12, atol=1e-12)
        values = b"".join(r.value.tobytes() for r in tape)
        records, nodes = (*branch.records, record), (*branch.nodes, node)
        self.branches.append(Branch(tape, records, nodes, tuple(tape), str(tape), values))

    def parameter_on(self, branch: Branch, value: Any) -> None:
        tape, x = branch.tape.parameter(value)
        self.keep(branch, tape, x, leaf(np.asarray(value), self.n_parameters))
        # the number stands in the parameter's place among the tape's
        self.numbers[id(x)] = self.n_parameters
        self.n_parameters += 1

    def pick(self, at: int) -> Branch:
        # the newest branches more often, so that tapes grow
        return self.branches[-1 - min(at % 7, len(self.branches) - 1)]

    @initialize(value=VALUES)
    def begin(self, value: Any) -> None:
        self.numbers: dict[int, int] = {}
        self.parameter_on(Branch(tg.Tape(), (), (), (), "", b""), value)

    @rule(at=CHOICE, value=VALUES)
    def parameter(self, at: int, value: Any) -> None:
        self.parameter_on(self.pick(at), value)

    @rule(at=CHOICE, i=CHOICE, op=st.sampled_from(list(UNARY)))
    def unary(self, at: int, i: int, op: Any) -> None:
        branch = self.pick(at)
        i %= len(branch.records)
        tape, record = branch.tape.write(op, branch.records[i])
        self.keep(branch, tape, record, UNARY[op](branch.nodes[i]))

    @rule(at=CHOICE, i=CHOICE, j=CHOICE, op=st.sampled_from(list(BINARY)))
    def binary(self, at: int, i: int, j: int, op: Any) -> None:
        branch = self.pick(at)
        i, j = i % len(branch.records), j % len(branch.records)
        tape, record = branch.tape.write(op, branch.records[i], branch.records[j])
        self.keep(branch, tape, record, BINARY[op](branch.nodes[i], branch.nodes[j]))

    @rule(at=CHOICE, i=CHOICE, value=VALUES, left=st.booleans(), op=st.sampled_from(list(BINARY)))
    def with_constant(self, at: int, i: int, value: Any, left: bool, op: Any) -> None:
        branch = self.pick(at)
        i %= len(branch.records)
        operands = (value, branch.records[i]) if left else (branch.records[i], value)
        nodes = (Node(np.asarray(value), {}), branch.nodes[i])
        tape, record = branch.tape.write(op, *operands)
        self.keep(branch, tape, record, BINARY[op](*(nodes if left else nodes[::-1])))

    @rule(at=CHOICE, i=CHOICE, whole=st.booleans())
    def sum(self, at: int, i: int, whole: bool) -> None:
        branch = self.pick(at)
        i %= len(branch.records)
        if whole or not branch.records[i].ndim:
            tape, record = branch.tape.write(tg.sum, branch.records[i])
            self.keep(branch, tape, record, summed(branch.nodes[i], None))
        else:
            tape, record = branch.tape.write(tg.sum, branch.records[i], axis=0)
            self.keep(branch, tape, record, summed(branch.nodes[i], 0))

    @rule(at=CHOICE, i=CHOICE, seed=st.integers(0, 99))
    def sweep(self, at: int, i: int, seed: int) -> None:
        branch = self.pick(at)
        i %= len(branch.records)
        output, node = branch.records[i], branch.nodes[i]
        cotangent = np.random.default_rng(seed).integers(-3, 4, output.shape).astype(float)
        gradients = tg.reverse_sweep(branch.tape, output, cotangent)
        assert len(gradients) == len(branch.tape.parameters)
        for p, g in gradients.items():
            j = node.jacobians.get(self.numbers[id(p)])
            want = np.zeros(p.shape) if j is None else np.tensordot(cotangent, j, cotangent.ndim)
            assert g.shape == p.shape
            scale = np.max(np.abs(want), initial=1.0)
            np.testing.assert_allclose(g, want, rtol=1e-9, atol=1e-9 * scale)

    @rule(at=CHOICE)
    def well_formed(self, at: int) -> None:
        check_tape(self.pick(at).tape)

    @invariant()
    def older_tapes_read_as_they_did(self) -> None:
        for branch in self.branches[-3:]:
            self.reads_as_it_did(branch)

    def teardown(self) -> None:
        for branch in self.branches:
            self.reads_as_it_did(branch)

    def reads_as_it_did(self, branch: Branch) -> None:
        assert len(branch.tape) == len(branch.lines)
        assert all(a is b for a, b in zip(branch.tape, branch.lines, strict=True))
        assert b"".join(r.value.tobytes() for r in branch.tape) == branch.values
        assert str(branch.tape) == branch.text


TestTwoEngines = TwoEngines.TestCase
TestTwoEngines.settings = settings(depth("state machine"), stateful_step_count=25)


def test_arrays_and_tensors_add_up_in_any_order_in_a_sweep_that_is_recorded():
    x, arrays = np.ones(3), [np.full(3, i) for i in range(4)]

    def summed(p, orders):
        return np.sum(tg.grad(lambda x: np.sum(sum(x * terms(p)[i] for i in orders)))(x))

    def terms(p):
        return [*arrays, p, p * p]

    for orders in itertools.permutations(range(6), 4):
        slope = sum({4: 1.0, 5: 4.0}.get(i, 0.0) for i in orders)
        got = tg.grad(lambda p, orders=orders: summed(p, orders))(np.full(3, 2.0))
        np.testing.assert_array_equal(got, np.full(3, slope))
