"""Python ints in a compiled function: Python's own, of any size."""

import operator
import warnings

import numpy as np
import pytest
from alike import same_bits
from hypothesis import given
from hypothesis import strategies as st

import tapegrad as tg
from tapegrad.declare import OPS

BINARY = [
    *(operator.add, operator.sub, operator.mul, operator.truediv, operator.floordiv, operator.mod),
    *(operator.and_, operator.or_, operator.xor, np.maximum, np.minimum),
    lambda a, b: a << (b % 99),
    lambda a, b: a >> (b % 99),
    lambda a, b: a ** (b % 9),
    lambda a, b: divmod(a, b)[0],
]
UNARY = [operator.neg, operator.pos, abs, operator.invert, np.square]
INTS = st.integers(-9, 9) | st.integers(-(10**40), 10**40)


def outcome(fn, *args):
    """A function's result with its type, or the class of its error."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            result = fn(*args)
    except (ArithmeticError, ValueError, TypeError) as error:
        return type(error)
    return type(result), result


def plain(f, *values):
    """A function of ints, where NumPy's wrap or fail Python's."""
    python = {np.maximum: max, np.minimum: min, np.square: lambda x: x * x}
    return python.get(f, f)(*values)


@given(
    st.lists(st.sampled_from(BINARY + UNARY), min_size=1, max_size=5), st.lists(INTS, min_size=3)
)
def test_a_compiled_function_of_ints_gives_what_python_does(functions, numbers):
    def step(call, n, m):
        k = n
        for f in functions:
            k = call(f, k) if f in UNARY else call(f, k, m)
            if f is operator.truediv:
                break
        return k

    compiled = tg.compile(lambda n, m: step(lambda f, *x: f(*x), n, m))
    compiled(7, 2)
    for n in numbers:
        for m in (numbers[0], 3, 0):
            assert outcome(compiled, n, m) == outcome(lambda n, m: step(plain, n, m), n, m)


@pytest.mark.parametrize("first", [3, 10**30])
@pytest.mark.parametrize("n", [0, 3, -5, 2**63, 10**30])
def test_an_int_of_many_bits_meets_floats_and_arrays_as_in_python(first, n):
    x = np.array([0.5, 2.0])
    compiled = tg.compile(lambda n, rate, x: (n * rate, n * n * 0.5, x * n, n > 2))
    compiled(first, 2.0, x)
    scaled, squared, array, large = compiled(n, 2.0, x)
    assert (type(scaled), scaled) == (float, n * 2.0)
    assert squared == n * n * 0.5
    np.testing.assert_array_equal(array, x * float(n))
    assert large == (n > 2)


@pytest.mark.parametrize(("n", "dtype"), [(2**64, int), (300, np.uint8), (-1, np.uint16)])
def test_an_int_too_large_for_an_array_of_ints_is_an_error_as_in_numpy(n, dtype):
    compiled = tg.compile(lambda n, x: x * n)
    compiled(3, np.arange(3, dtype=dtype))
    with pytest.raises(OverflowError):
        compiled(n, np.arange(3, dtype=dtype))


@pytest.mark.parametrize(("first", "other"), [(5, 2**63), (2**63, -5), (5, 2**70)])
@pytest.mark.parametrize(
    "fn",
    [
        lambda n: tg.fori_loop(0, 3, lambda i, c: c + 1, n),
        lambda n: tg.scan(lambda c, x: (c, n), 0, np.arange(3))[1],
        lambda n: tg.cond(n > 0, lambda n: n, lambda n: n, n),
    ],
)
def test_an_int_in_a_loop_or_a_branch_has_the_bits_of_the_first(fn, first, other):
    compiled = tg.compile(fn, check=True)
    assert same_bits(compiled(first), np.asarray(fn(first)))
    with pytest.raises(OverflowError):
        compiled(other)


def test_a_negative_power_of_ints_raises_whenever_it_comes():
    compiled = tg.compile(lambda n: 2**n)
    for n in (-1, 5, -1):
        assert outcome(compiled, n) == (ValueError if n < 0 else (int, 32))


@pytest.mark.parametrize("name", sorted(name for name, op in OPS.items() if op.whole))
def test_an_op_of_ints_is_written_as_python_computes_it(name):
    op = OPS[name]
    ints = (10**30, 2)[: len(op.vjps)]
    compiled = tg.compile(op)
    compiled(*(7, 2)[: len(ints)])
    assert outcome(compiled, *ints) == outcome(op.whole, *ints)
    assert op.keeps_weak
    # with Python's own functions and operators, where they are used
    is_ours = op.whole.__module__ not in (abs.__module__, operator.add.__module__)
    assert ("whole_" in str(compiled.program(*ints))) == is_ours
