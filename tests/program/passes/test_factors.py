"""join_factors: successive factors are one."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from programs import SQUARE, after, improved, run, untouched

from tapegrad.program.compiled import trace
from tapegrad.program.passes import join_factors


def test_join_factors_leaves_one_number():
    assert after(join_factors, lambda x: -(x * 2.0) / 4.0, SQUARE) == ["multiply", "divide"]
    assert after(join_factors, lambda x: -(x * 2.0) * 4.0, SQUARE) == ["multiply"]
    assert after(join_factors, lambda x: 2.0 * (x * 0.1), SQUARE) == ["multiply"]
    assert after(join_factors, lambda x, y: x - (y * -2.0), SQUARE, SQUARE) == ["multiply", "add"]
    assert after(join_factors, lambda x, y: -x + y, SQUARE, SQUARE) == ["subtract"]
    assert untouched(join_factors, lambda x, y: -x - y, SQUARE, SQUARE)
    assert untouched(join_factors, lambda x, y: x * 2.0 - y * 2.0, SQUARE, SQUARE)
    assert untouched(join_factors, lambda x: (x * 2) * 3, np.arange(3))
    # products that would be rounded elsewhere, or overflow elsewhere
    assert untouched(join_factors, lambda x: (x * 0.3) * 0.1, SQUARE)
    assert untouched(join_factors, lambda x: (x * 3.0) * 0.5, SQUARE)


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
        got = run(improved(program, [join_factors] * 3), (x,))
        wanted = fn(x)
        difference = np.abs(got - wanted)
        least, y, grown = np.abs(x), x, 1.0
        for number, divide in zip(numbers, divides, strict=False):
            factor = 1 / abs(number) if divide else abs(number)
            y = (y * dtype(factor)).astype(dtype)
            least, grown = np.fmin(least, np.abs(y)), grown * max(factor, 1.0)
    # a product that is subnormal may be off by a few of the smallest numbers, and what is made of it
    few = 8 * float(info.smallest_subnormal) * grown
    same = (got == wanted) | (np.isnan(got) & np.isnan(wanted))
    assert (same | (least < info.tiny) & (difference <= few)).all()
