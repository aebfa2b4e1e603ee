"""fold and join_factors: constants, identities, transposes, parts joined again, and one factor."""

import itertools

import numpy as np
import pytest
from depth import depth
from hypothesis import given
from hypothesis import strategies as st
from programs import apply_passes, kinds, ops_of, run, trace

import tapegrad as tg
from tapegrad.program.passes import fold, join_factors


def test_fold_makes_a_power_of_a_half_the_square_root():
    """As NumPy's operator has it: the function `np.power` has so from NumPy 2.3 on."""
    x = np.array([0.0, -0.0, np.inf, -np.inf, np.nan, 1.5, -2.0])
    with np.errstate(all="ignore"):
        recorded, _ = tg.record(lambda x: x**0.5)(x)
        for got in (recorded.value, tg.compile(lambda x: x**0.5)(x), x**0.5):
            assert repr(got) == repr(np.sqrt(x))


def test_fold_takes_a_row_before_it_is_broadcast():
    def fn(x):
        return np.exp(x) * np.broadcast_to(x[0], x.shape)

    assert "broadcast_to" not in kinds(fold(trace(fn, (np.ones((2, 3)),), {})))


@pytest.mark.parametrize("axis", [0, -1, ()])
def test_fold_sums_a_scalar_along_its_axis(axis):
    # NumPy takes axis 0 of none for no axis
    np.testing.assert_array_equal(tg.compile(lambda x: np.sum(x * 1.5, axis=axis))(2.0), 3.0)


@depth("program")
@given(st.integers(1, 4).flatmap(lambda n: st.tuples(st.permutations(range(n)), st.data())))
def test_fold_joins_transposes(drawn):
    order, data = drawn
    n = len(order)
    x = np.arange(float(np.prod(np.arange(2, 2 + n)))).reshape(np.arange(2, 2 + n))
    axis = st.integers(-n, n - 1)
    exchanges = data.draw(st.lists(st.tuples(axis, axis), max_size=3))

    def fn(x):
        x = np.transpose(x, order)
        for one, other in exchanges:
            x = np.swapaxes(x, one, other)
        return x.T * 2.0

    ops = ops_of(fn, x)
    expected = fn(x)
    assert len(ops) - 1 <= (expected.shape != x.shape)
    np.testing.assert_array_equal(tg.compile(fn)(x), expected)


@given(
    st.lists(st.integers(0, 3), min_size=1, max_size=4),
    st.integers(0, 2),
    st.permutations(range(4)),
    st.sampled_from(["slices", "rows", "columns"]),
)
def test_fold_joins_parts_in_order(lengths, width, order, kind):
    n = sum(lengths) if kind == "slices" else 4
    ends = np.cumsum([0, *lengths])
    x = np.arange(float(n * n * (width + 1))).reshape(n, n, width + 1)

    def fn(x):
        if kind == "slices":
            parts = [x[a:b] for a, b in itertools.pairwise(ends.tolist())]
            return np.concatenate([parts[i] for i in order if i < len(parts)])
        return np.concatenate([x[i] if kind == "rows" else x[:, i] for i in order])

    program = fold(trace(fn, (x,), {}))
    np.testing.assert_array_equal(run(program, (x,)), fn(x))
    if kind == "rows" and list(order) == [0, 1, 2, 3]:
        assert "concatenate" not in kinds(program)


@given(
    st.lists(
        st.sampled_from([-1.0, 2.0, 0.5, -4.0, 3.0, 0.1, 2.0**60, 2.0**-60]),
        min_size=2,
        max_size=4,
    ),
    st.lists(st.booleans(), min_size=4, max_size=4),
    st.sampled_from([np.float32, np.float64]),
)
def test_join_factors_is_exact_but_for_the_smallest_numbers(numbers, divides, dtype):
    def fn(x):
        for number, divide in zip(numbers, divides, strict=False):
            x = x / number if divide else number * x
        return x

    info = np.finfo(dtype)
    size = np.geomspace(info.tiny, info.max, 200, dtype=np.longdouble).astype(dtype)
    x = np.concatenate([size, -size, [0.0, np.inf, -np.inf, np.nan, info.smallest_subnormal]])
    x = x.astype(dtype)
    with np.errstate(all="ignore"):
        program = trace(fn, (x,), {})
        got = run(apply_passes(program, [join_factors] * 3), (x,))
        wanted = fn(x)
        difference = np.abs(got - wanted)
        least, y, grown = np.abs(x), x, 1.0
        for number, divide in zip(numbers, divides, strict=False):
            factor = 1 / abs(number) if divide else abs(number)
            y = (y * dtype(factor)).astype(dtype)
            least, grown = np.fmin(least, np.abs(y)), grown * max(factor, 1.0)
    # a subnormal product, and its later factors, may be off by a few of the smallest numbers
    few = 8 * float(info.smallest_subnormal) * grown
    same = (got == wanted) | (np.isnan(got) & np.isnan(wanted))
    assert (same | (least < info.tiny) & (difference <= few)).all()
