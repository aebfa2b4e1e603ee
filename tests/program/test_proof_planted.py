"""The proofs proved: faults planted in the passes, the planner and the writer are found."""

import functools
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from depth import THOROUGH
from planting import PLANTED, planted
from proving import fault_of_writing, proof_of
from user_programs import NAMES, Drawn, drawn

import tapegrad as tg
from tapegrad.ops.arithmetic import add, divide, multiply, negative, reciprocal, subtract
from tapegrad.ops.elementary import exp
from tapegrad.ops.indexing import getitem
from tapegrad.ops.product import matmul
from tapegrad.program import PASSES
from tapegrad.program.builder import Builder
from tapegrad.program.compiled import trace
from tapegrad.program.ir import Instruction, Ref
from tapegrad.program.program import improvement, rule
from tapegrad.testing.evaluation import EndlessError, evaluated
from tapegrad.testing.proof import Fault, Known, Proof


def rows_and_all(x: Any) -> Any:
    return np.sum(np.sin(x)) + np.sum(np.tanh(x[0]) * np.cos(x[1]) * x[2])


@functools.cache
def proofs() -> list[Proof]:
    """Programs of each family, the shortest first."""
    seeds = range(20 if THOROUGH else 2)
    rows = Drawn(tg.grad(rows_and_all), (np.arange(6.0).reshape(3, 2),), "rows")
    made = [proof_of(x, 2) for x in [rows, *[drawn(y, seed) for seed in seeds for y in NAMES]]]
    made = [x for x in made if not any(True for _ in faults(x))]
    return sorted(made, key=lambda x: len(x.program.instructions))


def faults(proof: Proof) -> Iterator[Fault]:
    """What is wrong with a program after all passes, and with how it is written."""
    last = [proof.program]
    for _, fault, _ in proof.faults(PASSES, lambda _, after: last.append(after)):
        yield fault
    found = fault_of_writing(proof, last[-1])
    if found is not None:
        yield found[1]


@pytest.mark.thorough
@pytest.mark.parametrize("k", range(len(PLANTED) if THOROUGH else 3))
def test_a_fault_that_is_planted_is_found(k: int) -> None:
    known = proofs()
    with planted(*PLANTED[k]):
        assert any(any(True for _ in faults(x)) for x in known), PLANTED[k]


@pytest.mark.parametrize("k", range(len(PLANTED)))
def test_each_fault_still_has_its_line(k: int) -> None:
    with planted(*PLANTED[k]):
        pass


# --- the faults of passes that were taken out, or that an elementwise sum must not have ---------


@rule(add, subtract)
def add_numbers(builder: Builder, made: Instruction) -> Any:
    """``(x + a) + b`` as ``x + (a + b)``."""
    inner = builder.source(made.operands[0])
    signs = {add: 1, subtract: -1}
    if (
        inner is None
        or inner.op not in signs
        or Ref in map(type, (inner.operands[1], made.operands[1]))
    ):
        return None
    a, b = inner.operands[1] * signs[inner.op], made.operands[1] * signs[made.op]
    return builder.emit(add, inner.operands[0], a + b)


@rule(add)
def widen_numbers(builder: Builder, made: Instruction) -> Any:
    """The numbers of a sum as arrays of float64."""
    x, number = made.operands
    wide = None if type(number) is Ref else builder.constant(np.array(number))
    return wide and builder.emit(add, x, wide)


@rule(add, subtract)
def factor(builder: Builder, made: Instruction) -> Any:
    """``x * y - x * z`` as ``x * (y - z)``."""
    one, other = (builder.source(x, multiply) for x in made.operands)
    if one is None or other is None or one.operands[0] != other.operands[0]:
        return None
    inner = builder.emit(made.op, one.operands[1], other.operands[1])
    return builder.emit(multiply, one.operands[0], inner)


@rule(divide)
def multiply_by_reciprocals(builder: Builder, made: Instruction) -> Any:
    """``x / y`` as ``x * (1 / y)``."""
    x, y = made.operands
    return builder.emit(multiply, x, builder.emit(reciprocal, y))


@rule(divide)
def join_exponentials(builder: Builder, made: Instruction) -> Any:
    """``exp(x) / exp(y)`` as ``exp(x - y)``."""
    one, other = (builder.source(x, exp) for x in made.operands)
    if one is None or other is None:
        return None
    return builder.emit(exp, builder.emit(subtract, one.operands[0], other.operands[0]))


@rule(tg.sum)
def scale_late(builder: Builder, made: Instruction) -> Any:
    """``sum(a * x)`` as ``a * sum(x)``."""
    inner = builder.source(made.operands[0], multiply)
    if inner is None:
        return None
    return builder.emit(multiply, inner.operands[0], builder.emit(tg.sum, inner.operands[1]))


@rule(add)
def reassociate(builder: Builder, made: Instruction) -> Any:
    """``(x + y) + z`` as ``x + (y + z)``."""
    inner = builder.source(made.operands[0], add)
    if inner is None:
        return None
    rest = builder.emit(add, inner.operands[1], made.operands[1])
    return builder.emit(add, inner.operands[0], rest)


@improvement
def part_ways(builder: Builder) -> None:
    """The first of two sums of products as a product of vectors."""
    sums = [i for i, made in builder.in_order() if made.op is tg.sum]
    product = builder.source(builder.instructions[sums[0]].operands[0], multiply)

    def visit(builder: Builder, made: Instruction) -> Any:
        first = product is not None and builder.at == sums[0]
        return builder.emit(matmul, *product.operands) if product and first else None

    builder.rewrite(visit, (tg.sum,))


@rule(tg.sum)
def stretch(builder: Builder, made: Instruction) -> Any:
    """``sum(x)`` as ``sum(x)`` and a unit in the last place."""
    total = builder.emit(tg.sum, *made.operands, **made.options)
    return builder.emit(multiply, total, 1 + 20 * np.finfo(made.dtype).eps.item())


@rule(tg.sum)
def drop_a_term(builder: Builder, made: Instruction) -> Any:
    """``sum(x)`` as ``sum(x[:-1])``."""
    rest = builder.emit(getitem, *made.operands, index=(slice(-1),))
    return builder.emit(tg.sum, rest, **made.options)


@rule(tg.matmul)
def turn_a_factor(builder: Builder, made: Instruction) -> Any:
    """``x @ y`` as ``x @ y[::-1]``."""
    x, y = made.operands
    return builder.emit(tg.matmul, x, builder.emit(getitem, y, index=(slice(None, None, -1),)))


@improvement
def drop_last(builder: Builder) -> None:
    """The last of the results is the first."""
    builder.outputs = (*builder.outputs[:-1], builder.outputs[0])


# --- those of passes that take complex numbers for real ones -------------------------------------


@rule(tg.conj, tg.conj.complex, complex=True)
def drop_conjugates(builder: Builder, made: Instruction) -> Any:
    """``conj(x)`` as ``x``."""
    return made.operands[0]


@rule(multiply, complex=True)
def drop_ones(builder: Builder, made: Instruction) -> Any:
    """``1 * x`` as ``x``."""
    one, x = made.operands
    return x if one == 1 else None


@rule(tg.square, complex=True)
def square_sizes(builder: Builder, made: Instruction) -> Any:
    """``abs(x) ** 2`` as the real part of ``x ** 2``."""
    (size,) = made.operands
    inner = builder.source(size, tg.abs.complex)
    return inner and builder.emit(tg.real.complex, builder.emit(tg.square, inner.operands[0]))


@rule(tg.sqrt, complex=True)
def drop_squares(builder: Builder, made: Instruction) -> Any:
    """``sqrt(x ** 2)`` as ``x``."""
    inner = builder.source(made.operands[0], tg.square)
    return inner and inner.operands[0]


@rule(tg.exp, complex=True)
def turn_back(builder: Builder, made: Instruction) -> Any:
    """``exp(x)`` as its conjugate, which is off in one part alone."""
    return (
        None
        if builder.source(made.operands[0], negative)
        else builder.emit(
            tg.conj.complex,
            builder.emit(tg.exp, builder.emit(negative, builder.emit(negative, *made.operands))),
        )
    )


X = np.linspace(0.5, 2.0, 4)
Z = X * np.exp(3j * X)
REFUSED = {
    "a conjugate": (drop_conjugates, lambda z: np.exp(z.conj()), (Z,)),
    "a conjugate in a gradient": (
        drop_conjugates,
        tg.grad(lambda z: np.sum(np.abs(z[0] + np.conj(z)))),
        (Z,),
    ),
    "an infinite part": (drop_ones, lambda z: 1 * np.exp(z), (Z * 0 + 800.0,)),
    "a size": (square_sizes, lambda z: np.square(np.abs(z)), (Z,)),
    "a branch": (drop_squares, lambda z: np.sqrt(np.square(z)), (Z,)),
    "an imaginary part": (turn_back, np.exp, (Z,)),
    "an epsilon beside one": (add_numbers, lambda x: (x * x - 1) + 1e-16, (X,)),
    "its logarithm": (add_numbers, lambda x: np.log((x * x - 1.0) + 1e-16), (X,)),
    "float32 and float64": (widen_numbers, lambda x: x * x + 1e-8, (X.astype("f"),)),
    "an infinity": (factor, lambda x, y: x * y - x * 3.0, (X, X)),
    "an exact zero": (multiply_by_reciprocals, lambda x: x / x - 1.0, (X,)),
    "exponentials that vanish": (join_exponentials, lambda x, y: np.exp(x) / np.exp(y), (X, X)),
    "a large sum": (scale_late, lambda x: np.sum(0.05 * x), (np.full(20, 3e37, "f"),)),
    "the order of a sum": (reassociate, lambda x, y: x + y + 1.0, (X, X)),
    "two sums that are equal": (part_ways, lambda x, y: np.sum(x * y) - np.sum(y * x), (X, 1 / X)),
    "a sum that is exact": (stretch, np.sum, (np.arange(4.0),)),
    "a term": (drop_a_term, lambda x, y: np.sum(x * y, 0), (np.outer(X, X), np.outer(X, 1 / X))),
    "the last term": (drop_a_term, lambda x: np.sum(x[:, None] * x, 1), (X,)),
    "a factor": (turn_a_factor, lambda x, y: x.T @ y + y.T @ x, (np.outer(X, X), np.outer(X, X))),
    "a result": (drop_last, lambda x: (x, x * 2.0), (X,)),
}


def test_a_pass_that_is_not_said_to_be_right_for_complex_numbers_leaves_them() -> None:
    visited: list[Any] = []

    @rule()
    def seeing(builder: Builder, made: Instruction) -> None:
        visited.append(made.op)

    @improvement
    def losing(builder: Builder) -> None:
        builder.outputs = builder.outputs[:0]

    program = trace(lambda x: (x * 2.0, np.abs(x * 1j), np.sin(x)), (X,), {})
    assert losing(program) == program
    seeing(program)
    assert visited == [multiply, tg.sin]
    seeing(trace(lambda x: x == 1j, (X,), {}))
    assert visited == [multiply, tg.sin]
    assert losing(trace(np.sin, (X,), {})).outputs == ()


@pytest.mark.parametrize(("wrong", "fn", "args"), REFUSED.values(), ids=REFUSED)
def test_a_wrong_pass_is_named(wrong: Any, fn: Any, args: Any) -> None:
    with np.errstate(all="ignore"):
        tg.compile(fn, check=True, passes=(*PASSES[:1],))(*args)
        with pytest.raises(
            tg.errors.ProofError, match=f"the pass {wrong.__name__} changes"
        ) as caught:
            tg.compile(fn, check=True, passes=(*PASSES[:1], wrong))(*args)
    assert "please report it" in str(caught.value)
    # the same holds for other functions
    assert isinstance(caught.value, AssertionError)


def test_the_values_and_the_arguments_of_a_fault_are_told() -> None:
    message = (
        r"the pass drop_last changes what <lambda> computes \(structure\): 1: float64\[\] instead of "
        r"float64\[4\]"
    )
    with pytest.raises(tg.errors.ProofError, match=message):
        tg.compile(lambda x: (np.sum(x), x), check=True, passes=(drop_last,))(X)
    message = (
        r"\(value\): 1: np.float64\(0.5\) before, np.float64\(1.0\) after at \[0\]\n  x = \[0.5 "
    )
    with pytest.raises(tg.errors.ProofError, match=message):
        tg.compile(lambda x: (x + x, x), check=True, passes=(drop_last,))(X)


@pytest.mark.parametrize("fn", [tg.grad(lambda x: np.sum(tg.softmax(x) ** 2)), np.cumsum, np.sort])
def test_what_is_proved_runs_as_usual(fn: Any, capfd: Any) -> None:
    proved, usual = tg.compile(fn, check=True), tg.compile(fn)
    np.testing.assert_array_equal(proved(X), usual(X))
    assert proved.program(X) == usual.program(X)
    assert capfd.readouterr() == ("", "")


# --- what the proofs rest on ---------------------------------------------------------------------


def off(fn: Any, *args: Any) -> Any:
    """How far rounding moves the result of a function, and where it is exact."""
    known = Known.of(trace(fn, args, {}), args)
    assert known is not None
    moved = known.moved(8)
    assert moved is not None
    return moved.by[0], moved.exact[0]


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_only_what_rounds_is_moved(dtype: Any) -> None:
    x = np.array([1.0, 3.0, 0.1], dtype)
    for fn in (np.sum, lambda x: x * 2.0, lambda x: np.flip(-x), lambda x: np.maximum(x, 1.0)):
        by, exact = off(fn, x[:2])
        assert exact.all()
        assert not by.any()
    epsilon = 2.0**-30 if dtype == np.float32 else 2.0**-60
    by, exact = off(lambda x: (x * x - 1.0) + epsilon, x)
    assert exact.tolist() == [True, False, False]
    assert by[0] == 0
    by, exact = off(lambda x: x / 3.0, x)
    assert exact.tolist() == [False, True, False]
    np.testing.assert_array_equal(by[[0, 2]], np.spacing(x / dtype(3.0))[[0, 2]])


def test_what_is_computed_alike_is_moved_alike_and_a_reduction_by_the_size_of_its_terms() -> None:
    x = np.array([0.3, 0.7, -0.9])
    for zero in (
        lambda x: np.exp(x) - np.exp(x),
        lambda x: x * 0.1 + -x * 0.1,
        lambda x: x @ x - x @ x,
    ):
        by, exact = off(zero, x)
        assert exact.all()
    large = np.array([1e16, 0.3, -1e16])
    by, exact = off(np.sum, large)
    assert by == np.spacing(2e16)
    # partial sums may overflow in another order
    known = Known.of(trace(np.sum, (X,), {}), (np.array([1e308, 1e308, -1e308, 0.0]),))
    assert known is not None
    moved = known.moved(4)
    assert moved is not None
    assert not moved.steady[0]


# sums of products, which a product of matrices does not round, and of sums in any order
RIGHT: dict[str, Any] = {
    "a matrix with itself": lambda a, b: np.sum(a[:, :, None] * a[:, None], 0),
    "two matrices": lambda a, b: np.sum(a[:, :, None] * b[:, None], 0),
    "rows": lambda a, b: np.sum(a * b, -1),
    "squares": lambda a, b: np.sum(np.square(a), 0),
    "what cancels": lambda a, b: np.sum(a * b) + np.sum(-a * b),
    "products of matrices": lambda a, b: a.T @ b + b.T @ a,
    "outer products": lambda a, b: (
        a[0][:, None] * b[0] + a[1][:, None] * b[1] + a[1][:, None] * a[0]
    ),
    "a sum of sums": lambda a, b: np.sum(np.sum(a * b, 0)),
    "slopes": tg.grad(lambda a, b: np.sum((a[:, None] - b) ** 2)),
}


@pytest.mark.thorough
@pytest.mark.parametrize("name", RIGHT)
def test_sums_of_products_raise_no_false_alarm(name: str) -> None:
    rng = np.random.default_rng(0)
    for shape, dtype in (((3, 3), "d"), ((6, 3), "d"), ((4, 2), "f"))[: 2 + THOROUGH]:
        a, b = rng.normal(size=(2, *shape)).astype(dtype)
        tg.compile(RIGHT[name], check=True)(a, b)


def test_what_the_wider_dtype_does_not_see_is_not_exact() -> None:
    for fn in (np.sum, lambda x: x @ np.ones(3)):
        by, exact = off(fn, np.array([1e138, 1.0, -1e138]))
        assert not exact
        assert by == np.spacing(2e138)


def test_shapes_come_from_shapes_where_an_op_refuses_placeholders() -> None:
    @tg.custom_op(vjps=(lambda g, y, x: -g * y * y,))
    def inverted(x: Any) -> Any:
        if np.any(x == 0):
            raise ValueError("there is no 1 / 0")
        return 1 / x

    def fn(x: Any) -> Any:
        return tg.scan(lambda c, r: (inverted(c) + r, inverted(r)), x[0], x)[1]

    for transform in (fn, tg.grad(lambda x: np.sum(fn(x) ** 2))):
        proved = tg.compile(transform, check=True)
        np.testing.assert_allclose(proved(X), transform(X))
        with pytest.raises(ValueError, match="there is no 1 / 0"):
            proved(X * 0)


def test_inputs_that_any_error_refuses_are_left_out() -> None:
    @tg.custom_op(vjps=(None,))
    def picky(x: Any) -> Any:
        if not np.all(np.abs(x) < 3):
            raise RuntimeError("too large")
        return x + 1

    np.testing.assert_array_equal(tg.compile(picky, check=True)(X), X + 1)


@pytest.mark.thorough
def test_loops_that_do_not_end_on_some_inputs_are_proved_on_others() -> None:
    def fn(x: Any) -> Any:
        return tg.while_loop(lambda c: c < 10.0, lambda c: c * 2.0 + 0.1, x)

    proved = tg.compile(fn, check=True)
    assert proved(1.0) == fn(1.0)
    with pytest.raises(EndlessError):
        evaluated(trace(fn, (1.0,), {}), (-np.inf,))
    # a loop of known length ends, however long it is
    rows = trace(lambda x: tg.scan(lambda c, r: (c + r, None), 0.0, x)[0], (np.ones(1200),), {})
    assert evaluated(rows, (np.ones(1200),)) == [1200.0]
