"""A carry keeps its structure, shapes and dtypes, and shares no memory with later calls."""

from unittest import mock

import numpy as np
import pytest
from loops import same
from trees import Checked

import tapegrad as tg
from tapegrad.core.tensor import primal_of
from tapegrad.explain.inside import runs


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_carry_of_a_number_takes_the_dtype_of_the_body(dtype):
    xs = np.ones(3, dtype)

    def loss(xs):
        return tg.scan(lambda c, x: ((c[0] + x, c[1] + 1), c[0]), (0.0, 0), xs)

    for result in (loss(xs), tg.record(loss)(xs)[0], tg.compile(loss)(xs)):
        (c, n), ys = result
        assert (c.dtype, n.dtype.kind, ys.dtype) == (dtype, "i", dtype)
    assert tg.grad(lambda xs: loss(xs)[0][0])(xs).dtype == dtype


# loops whose first step changes the dtype of one number, and whose second changes another
DTYPE_CHANGES = {
    "scan": lambda c, xs: tg.scan(lambda c, x: ((c[1], c[0] * 0.5 + x), c[0]), c, xs),
    "fori": lambda c, xs: tg.fori_loop(0, 3, lambda i, c: (xs[0] * c[1], c[0] * c[1]), c),
    "while": lambda c, xs: tg.while_loop(
        lambda c: c[0] < 3, lambda c: (c[1], c[0] + 0.5 + xs[0]), c
    ),
}


@pytest.mark.parametrize("name", DTYPE_CHANGES)
def test_numbers_of_a_carry_take_stable_dtypes(name):
    loop, xs = DTYPE_CHANGES[name], np.ones(3, np.float32)
    expected = loop((np.array(1.0), np.array(1.0)), xs)
    for transform in (
        loop,
        lambda c, xs: tg.record(lambda xs: loop(c, xs))(xs)[0],
        tg.compile(loop),
    ):
        result = tg.tree.map(lambda x: np.asarray(primal_of(x)), transform((1, 1), xs))
        same(result, expected)
        assert {x.dtype for x in tg.tree.leaves(result)} == {np.dtype(float)}


def test_carry_holds_only_arrays():
    halve = lambda s: Checked(s.x * 0.5)  # noqa: E731
    functions = (
        lambda x: tg.scan(lambda s, _: (halve(s), s), Checked(x), length=2)[1].x,
        lambda x: tg.fori_loop(0, 2, lambda i, s: halve(s), Checked(x)).x,
        lambda x: tg.while_loop(lambda s: tg.all(s.x > 0.2), halve, Checked(x)).x,
        lambda x: tg.compile(halve)(Checked(x)).x,
        lambda x: tg.vmap(halve)(Checked(x)).x,
        lambda x: tg.cond(x[0] > 0, halve, halve, Checked(x)).x,
    )
    x = np.ones(2)
    for fn in functions:
        tg.grad(lambda x, fn=fn: tg.sum(fn(x)))(x)
        np.testing.assert_array_equal(tg.compile(fn)(x), fn(x))


# float32 rows: a Python number as carry would give float32
ROWS = np.float32([0.1, 0.3])


def nested_scan(w, c):
    """Return a sum of nested scans whose steps return no writeable memory."""

    def step(d, x):
        other = lambda e, y: (np.where(y > 9, 0.0, e * x * y + np.ones(())), 0)  # noqa: E731
        return d, tg.scan(other, w, ROWS)[0]

    return np.sum(tg.scan(step, c, ROWS)[1]) * c


NUMBERS_AS_CARRY = [
    lambda w, c: tg.scan(lambda c, x: (c * x * w + np.ones(()), 0), c, ROWS)[0],
    nested_scan,
    lambda w, c: tg.while_loop(lambda c: c < 9, lambda c: c * w + 1, c),
    lambda w, c: w * tg.fori_loop(0, 0, lambda i, c: c * w, c),
    lambda w, c: tg.fori_loop(0, 2, lambda i, d: d + tg.fori_loop(0, 2, lambda j, e: e * w, c), c),
    lambda w, c: tg.fori_loop(0, 2, lambda i, d: d + tg.fori_loop(0, 2, lambda j, e: e * d, w), c),
    lambda w, c: tg.cond(w > 0, lambda w: tg.fori_loop(0, 2, lambda j, e: e * w, w), abs, w) + c,
]


@pytest.mark.parametrize("f", NUMBERS_AS_CARRY)
def test_number_as_carry_equals_array_and_adds_no_record(f):
    forward = lambda w, c: tg.jvp(f, (w, c), (1.0, 2.0))  # noqa: E731
    for g in (f, tg.grad(tg.grad(f, 1)), tg.compile(f), forward, tg.grad(f, (0, 1))):
        array = g(np.asarray(1.3), np.asarray(0.7))
        tg.tree.map(np.testing.assert_array_equal, g(1.3, 0.7), array)
        with mock.patch.multiple("tapegrad.program.cost", WRITTEN_LINES=0, WRITTEN_RUNS=0):
            tg.tree.map(np.testing.assert_array_equal, g(1.3, 0.7), array)
    tapes = [tg.record(f)(1.3, 0.7)[1]]
    for tape in tapes:
        assert {record.op.name for record in tape}.isdisjoint({"asarray", "astype"})
        inside = [run for record in tape for run in runs(record)]
        assert {type(x.primal) for run in inside for x in run.carry} <= {np.ndarray}
        tapes += [run.tape for run in inside]


LOOPS = {
    "scan": lambda c, xs: tg.scan(lambda c, x: (np.sin(c + x), (c, c * 2)), c, xs),
    "reversed": lambda c, xs: tg.scan(lambda c, x: (np.sin(c + x),) * 2, c, xs, reverse=True),
    "while": lambda c, xs: tg.while_loop(lambda c: c[0] < 3, lambda c: c + xs[1], c),
    "branch": lambda c, xs: tg.cond(c[0] > 0, lambda c: (c, xs[0]), lambda c: (np.sin(c), c), c),
    "gradient": lambda c, xs: tg.vjp(lambda c: tg.scan(lambda c, x: (np.sin(c + x), c), c, xs), c)[
        1
    ]((c, xs)),
}


@pytest.mark.parametrize("loop", LOOPS)
def test_carry_shares_no_memory_with_later_calls(loop):
    c, xs = np.linspace(0.1, 1, 3), np.linspace(0.2, 1, 12).reshape(4, 3)
    compiled = tg.compile(LOOPS[loop])
    first = tg.tree.leaves(compiled(c, xs))
    before = tg.tree.map(np.array, first)
    for scale in (2.0, -1.0):
        tg.tree.map(same, compiled(c * scale, xs), LOOPS[loop](c * scale, xs))
    tg.tree.map(np.testing.assert_array_equal, first, before)
    for i, x in enumerate(first):
        assert not any(np.shares_memory(x, y) for y in (*first[:i], c, xs))


LARGE_CARRIES = (
    lambda n: tg.while_loop(lambda c: abs(c) < 1e20, lambda c: c * 1.5, n),
    lambda n: tg.while_loop(lambda c: c[1] < 3, lambda c: (c[0] * 1.5, c[1] + 1), (n, 0))[0],
    lambda n: tg.scan(lambda c, x: (c * x, c), n, np.arange(3.0))[0],
)


@pytest.mark.parametrize("n", [2**64, -(2**63) - 1, 2**70, 10**400])
def test_carry_raises_for_an_int_of_more_than_64_bits(n):
    ranges = (
        lambda n: tg.fori_loop(n, n + 2, lambda i, c: c + i * 1.0, 0.0),
        lambda n: tg.fori_loop(0, n, lambda i, c: c, 0.0),
    )
    for loop in (*LARGE_CARRIES, *ranges):
        for fn in (loop, tg.compile(loop)):
            with pytest.raises(TypeError, match="must be an integer of at most 64 bits"):
                fn(n)


@pytest.mark.parametrize("n", [2**63 - 1, 2**63, 2**64 - 1, -(2**63)])
def test_carry_of_a_large_int_becomes_a_float(n):
    for loop in LARGE_CARRIES:
        assert loop(n) == tg.compile(loop)(n) == loop(float(n))
