"""Sums in Horner's scheme: fewer instructions, and errors that stay what they were."""

import math
import operator
from fractions import Fraction

import numpy as np
import pytest
from depth import depth
from hypothesis import given
from hypothesis import strategies as st

import tapegrad as tg
from tapegrad.program.compiled import trace
from tapegrad.program.passes import drop_dead, factor_sums, fold
from tapegrad.program.program import check_program
from tapegrad.program.writing import runner

NAMES = range(4)
BINARY = {"+": operator.add, "-": operator.sub, "*": operator.mul}
SHAPES = [(2, 3), (3,), (2, 1), ()]

numbers = st.sampled_from([2.0, 0.5, 3.0, -0.7, 1e-12, -1e-12])
variables = st.sampled_from(NAMES)


def joined(ops, parts, least, most):
    """Some parts with ops between them."""

    def nested(drawn):
        formula = drawn[0][1]
        for op, part in drawn[1:]:
            formula = op, formula, part
        return formula

    return st.lists(st.tuples(st.sampled_from(ops), parts), min_size=least, max_size=most).map(
        nested
    )


# sums of products of sums of products, down to variables and numbers
inner = joined("+--", st.one_of(variables, joined("*", variables, 2, 2)), 2, 2)
factors = st.one_of(variables, variables, numbers, inner, st.tuples(st.just("square"), variables))
products = joined("*", factors, 1, 3)
terms = st.one_of(variables, products, products, st.tuples(st.just("negative"), products))
formulas = joined("+--", terms, 2, 4)


def value(formula, args):
    """What a formula comes to, of anything that adds and multiplies."""
    if isinstance(formula, int):
        return args[formula]
    if isinstance(formula, float):
        return formula
    op, *parts = formula
    given = [value(x, args) for x in parts]
    if op == "negative":
        return -given[0]
    return given[0] * given[0] if op == "square" else BINARY[op](*given)


class Running:
    """An exact value, and how far off it may be when it is computed, in units of eps."""

    def __init__(self, exact, error):
        self.exact, self.error = exact, error

    def rounded(self, exact, error):
        return Running(exact, error + abs(exact))

    def __neg__(self):
        return Running(-self.exact, self.error)

    def __add__(self, other):
        x = running(other)
        return self.rounded(self.exact + x.exact, self.error + x.error)

    def __sub__(self, other):
        return self + -running(other)

    def __rsub__(self, other):
        return -self + other

    def __mul__(self, other):
        x = running(other)
        error = abs(self.exact) * x.error + abs(x.exact) * self.error
        if isinstance(other, float) and math.frexp(abs(other))[0] == 0.5:
            return Running(self.exact * x.exact, error)
        return self.rounded(self.exact * x.exact, error)

    __radd__, __rmul__ = __add__, __mul__


def running(x):
    if isinstance(x, Running):
        return x
    return Running(Fraction(float(x)), 0)


def arguments(seed, shapes, close):
    """Arrays, of which some are almost equal, and some large."""
    rng = np.random.default_rng(seed)
    x, y, z, w = [rng.normal(size=shape) for shape in (SHAPES[0], *shapes)]
    return (x, x * (1 + 1e-9), 1e6 * z, 1e6 * z * (1 + 1e-9)) if close else (x, y, z, w)


def assert_precise(formula, args):
    """A formula is computed with no more instructions, and no larger an error."""

    def fn(*args):
        return value(formula, args)

    program = drop_dead(fold(trace(fn, args, {})))
    after = drop_dead(factor_sums(program))
    check_program(after)
    assert len(after.instructions) <= len(program.instructions)
    if after == program:
        return
    got, wanted = runner(after)()(*args), fn(*args)
    assert (got.shape, got.dtype) == (np.shape(wanted), np.asarray(wanted).dtype)
    got, *places = [np.broadcast_to(x, SHAPES[0]) for x in (got, *args)]
    for at in np.ndindex(SHAPES[0]):
        bound = value(formula, [running(x[at]) for x in places])
        off = abs(Fraction(float(got[at])) - bound.exact) / Fraction(2.0**-53)
        assert off <= 8 * bound.error


@depth("formula")
@given(
    formulas,
    st.integers(0, 999),
    st.lists(st.sampled_from(SHAPES), min_size=3, max_size=3),
    st.booleans(),
)
def test_sums_are_computed_with_fewer_instructions_as_precisely(formula, seed, shapes, close):
    args = arguments(seed, shapes, close)
    if isinstance(value(formula, [running(x.flat[0]) for x in args]), Running):
        assert_precise(formula, args)


@pytest.mark.parametrize(
    "formula",
    [
        # each would take fewer instructions, and have a millionfold error
        ("+", ("*", ("*", 2, ("-", 0, 1)), 3.0), ("*", ("*", 1e-12, 2), 0)),
        ("+", ("-", 0, 1), ("*", 1e-12, 0)),
        ("+", ("-", ("*", 2.0, 0), ("*", 2.0, 1)), ("*", 1e-12, 0)),
        (
            "+",
            ("+", ("-", 0, 1), ("-", 2, 3)),
            ("+", ("*", ("*", 1e-20, 0), 0), ("*", ("*", 1e-20, 0), 1)),
        ),
    ],
)
def test_what_may_be_exact_is_not_rounded(formula):
    args = arguments(0, [SHAPES[0]] * 3, close=True)
    assert_precise(formula, args)


def ops_of(fn, *args):
    program = tg.compile(fn).program(*args)
    return [x.op.name for x in program.instructions]


X, Y, Z = np.random.default_rng(0).normal(size=(3, 4))


@pytest.mark.parametrize(
    ("fn", "n"),
    [
        (lambda x, y, z: x * y + x * z, 2),
        (lambda x, y, z: x * y - z * x * 2.0 + y * x * z, 5),
        (lambda x, y, z: 0.9 * (x * y) - 0.9 * (y * z), 3),
        (lambda x, y, z: x * (1.0 - y * y) - z * y * x, 4),
        (lambda x, y, z: -(x * y) - x * z, 3),
        (lambda x, y, z: x - 0.1 * (y + 0.2 * y * z), 4),
        # the gradient of a product of functions of one array
        (tg.grad(lambda x, y, z: np.sum(np.tanh(0.7 * x) * np.exp(-(x * x)))), 11),
    ],
)
def test_a_common_factor_is_multiplied_once(fn, n):
    assert len(ops_of(fn, X, Y, Z)) <= n
    np.testing.assert_allclose(tg.compile(fn)(X, Y, Z), fn(X, Y, Z), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize(
    "fn",
    [
        # one of the products is needed besides
        lambda x, y, z: ((w := x * y) + x * z, w),
        # a value that is added as it is, is not multiplied
        lambda x, y, z: x + x * z,
        lambda x, y, z: x + y + z + x,
    ],
)
def test_what_would_be_no_less_is_left_alone(fn):
    program = trace(fn, (X, Y, Z), {})
    assert factor_sums(program) == program
