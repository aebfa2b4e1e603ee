"""A program's source computes the same bits as the ops, whatever else the program holds."""

import warnings
from collections.abc import Callable
from typing import Any

import attrs
import numpy as np
import pytest
from depth import examples
from op_calls import sample_calls
from op_cases import CASES, TABLE, case_of, on_calls
from programs import trace

import tapegrad as tg
from tapegrad.declare import OPS, declaration
from tapegrad.ops.arithmetic import add, multiply, positive
from tapegrad.ops.casting import copy
from tapegrad.ops.indexing import getitem
from tapegrad.ops.joining import concatenate, stack
from tapegrad.ops.logic import keep
from tapegrad.ops.product import inner_product
from tapegrad.ops.shape import transpose
from tapegrad.program import cost, memory, text
from tapegrad.program.builder import Builder
from tapegrad.program.checking import check_code
from tapegrad.program.expressions import TEMPLATES
from tapegrad.program.ir import Ref
from tapegrad.program.memory import TOTALS
from tapegrad.program.program import Program
from tapegrad.program.text import make_runner
from tapegrad.testing.choices import RandomChoices
from tapegrad.testing.evaluation import evaluate
from tapegrad.types import Array

Among = Callable[[Any], Any]


def in_order(op: Any, operands: list[Any], options: Any, y: Array | float) -> Array | float:
    """A result in the memory order of a buffer, on which the order of a sum depends."""
    template = TEMPLATES.get(op, "{out}" if isinstance(op.forward, np.ufunc) else "")
    may_take_out = op is copy or not isinstance(template, str) or "{out}" in template
    return np.array(y, order="C") if may_take_out and isinstance(y, np.ndarray) else y


# --- users' calls outside the domains of the ops --------------------------------------------

DTYPES = ["f8", "f4", "f2", "i8", "i1", "u1", "u8", "?"]


def vary_operand(x: Array, among: Among) -> Array | complex:
    """An operand in another dtype or of few elements, or as a Python number."""
    how = among(["cast", "number", "row", "rows", "one", "scalar", *[""] * 6])
    with np.errstate(all="ignore"):
        if how == "cast":
            return x.astype(among(DTYPES if x.dtype.kind != "c" else ["F", "D", "d"]))
    if how == "number" and x.dtype.kind in "fic":
        first = x.reshape(-1)[:1].tolist()
        return first[0] if first else 1.0
    if how in ("row", "rows") and x.ndim:
        return x[: how == "row"]
    if how in ("one", "scalar") and x.size:
        return x.reshape(-1)[:1].reshape((1,) * x.ndim if how == "one" else ())
    return x


SPECIAL = [0.0, -0.0, np.inf, -np.inf, np.nan, 1.0, -1.0, 5e-324, 1e-45, 1e308, 3e38, 0.5]


def insert_special_numbers(x: Any, among: Among) -> Array | complex:
    """The operand with zeros of both signs, infinities, nans and numbers of any size in it."""
    if type(x) is float:
        return among(SPECIAL)
    if type(x) is complex:
        return complex(among(SPECIAL), among(SPECIAL))
    if type(x) is int or x.dtype.kind not in "fc":
        return x
    made = x.copy()
    if made.dtype.kind == "c":
        made.real, made.imag = (
            insert_special_numbers(made.real, among),
            insert_special_numbers(made.imag, among),
        )
        return made
    for i in range(made.size):
        if among([True, False]):
            with np.errstate(over="ignore"):
                made.flat[i] = among(SPECIAL)
    return made


def may_sprinkle(name: str) -> bool:
    # LAPACK may not return from these
    of_matrices = hasattr(np.linalg, name) or name.startswith("thin_")
    return not of_matrices and name not in ("cofactor", "complement", "corrcoef", "polyfit")


# --- programs around a call -----------------------------------------------------------------


def embed_program(program: Program, among: Among) -> Program:
    """The program, once or twice, on values in buffers, in views and joined, and used further.

    Between its results and their use, values are computed that are like the operands: they are
    written to whatever memory is not known to be in use.
    """
    builder = Builder(attrs.evolve(program, instructions=(), outputs=()))

    def lay_out_operand(x: Ref) -> Ref:
        given = builder.definition(x)
        if given.number or given.dtype.kind not in "fiuc":
            return x
        match among(["copy", "positive", "turned", "part", "layer", "", ""]):
            case "copy":
                return builder.emit(copy, x)
            case "positive":
                return builder.emit(positive, x)
            case "turned":
                return builder.emit(transpose, builder.emit(copy, builder.emit(transpose, x)))
            case "part" if given.shape:
                n = given.shape[0]
                joined = builder.emit(concatenate, x, x)
                return builder.emit(getitem, joined, index=(slice(n, 2 * n),))
            case "layer":
                return builder.emit(getitem, builder.emit(stack, x, x), index=(1,))
        return x

    def used(y: bool | Ref) -> list[Any]:
        made = builder.producer(y)
        if made is None or made.number or made.dtype.kind not in "fiuc":
            return [y]
        match among(["square", "copy", "stack", "concatenate", "both", ""]):
            case "square":
                return [builder.emit(multiply, y, y)]
            case "copy":
                return [builder.emit(copy, y)]
            case "stack":
                return [builder.emit(stack, y, builder.emit(positive, y))]
            case "concatenate" if made.shape:
                return [builder.emit(concatenate, y, builder.emit(positive, y))]
            case "both":
                product = builder.emit(multiply, builder.emit(positive, y), y)
                return [product, builder.emit(transpose, y)]
        return [y]

    results: list[Any] = []
    for _ in range(among([1, 2])):
        # so that it is computed again
        builder.by_content.clear()
        inputs = [Ref("input", i) for i in range(len(program.inputs))]
        known: dict[Any, Any] = {x: lay_out_operand(x) for x in inputs}
        for i, made in enumerate(program.instructions):
            operands = tuple([known.get(x, x) for x in made.operands])
            known[Ref("instruction", i)] = builder.append(made.with_operands(operands))
        results += [known[x] if type(x) is Ref and x in known else x for x in program.outputs]
    between = []
    for x in [Ref("input", i) for i in range(len(program.inputs))]:
        given = builder.definition(x)
        if not given.number and given.dtype.kind in "fiuc":
            # of other numbers than the operand
            other = builder.emit(add, x, x)
            between.append(builder.emit(add, other, x))
    builder.outputs = (*[x for y in results for x in used(y)], *between)
    structure = tg.tree.flatten([0] * len(builder.outputs))[1]
    return attrs.evolve(builder.build(), structure=structure, arguments=None)


def call_or_error(f: Callable[..., Any], *args: Any) -> Any:
    """A call's result, or its error."""
    try:
        return f(*args)
    except (ValueError, TypeError, IndexError, ArithmeticError, np.linalg.LinAlgError) as error:
        return error
    except tg.errors.TraceError as error:
        # of a real matrix with complex eigenvalues
        return error


def assert_same_bits(got: Array | float, wanted: Array | float) -> None:
    plain = type(wanted) in (bool, int, float, complex)
    assert type(got) is (type(wanted) if plain else np.ndarray)
    a, b = np.asarray(got), np.asarray(wanted)
    assert (a.shape, a.dtype) == (b.shape, b.dtype)
    parts = [(z.real, z.imag) if z.dtype.kind == "c" else (z,) for z in (a, b)]
    for x, y in zip(*parts, strict=True):
        np.testing.assert_array_equal(x, y)
        if x.dtype.kind == "f":
            there = ~np.isnan(x)
            np.testing.assert_array_equal(np.signbit(x[there]), np.signbit(y[there]))


# ufuncs that NumPy computes by vector instructions, to an error of some units in the last place
ROUNDED = {
    *(np.exp, np.exp2, np.expm1, np.log, np.log2, np.log10, np.log1p, np.cbrt, np.power),
    *(np.sin, np.cos, np.tan, np.arcsin, np.arccos, np.arctan, np.arctan2, np.float_power),
    *(np.sinh, np.cosh, np.tanh, np.arcsinh, np.arccosh, np.arctanh),
}


def assert_near(got: Array, wanted: Array) -> None:
    """Equal to four units in the last place, signs of zeros included."""
    a, b = np.asarray(got), np.asarray(wanted)
    if a.dtype.kind != "f":
        return assert_same_bits(got, wanted)
    assert (a.shape, a.dtype) == (b.shape, b.dtype)
    limits = np.finfo(a.dtype)
    np.testing.assert_allclose(a, b, 4 * limits.eps, 4 * limits.smallest_subnormal)
    np.testing.assert_array_equal(np.signbit(a[~np.isnan(a)]), np.signbit(b[~np.isnan(b)]))
    return None


def assert_close(got: Array, wanted: Array) -> None:
    a, b = np.asarray(got), np.asarray(wanted)
    assert (a.shape, a.dtype) == (b.shape, b.dtype)
    tolerance = {"e": 1e-2, "f": 1e-4, "F": 1e-4}.get(a.dtype.char, 1e-9)
    a, b = [x.astype(np.result_type(x, float)) for x in (a, b)]
    np.testing.assert_allclose(a, b, tolerance, tolerance)


def check_written(case: Any, among: Among, exact: bool = True) -> None:
    with np.errstate(all="ignore"), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        change = among([True, False])
        operands = [vary_operand(x, among) if change else x for x in case.operands]
        try:
            traced = trace(case.fn, tuple(operands), {})
        except (tg.errors.TraceError, ValueError, TypeError, IndexError, ArithmeticError):
            # a mask, or operands that the op refuses
            return
        except np.linalg.LinAlgError:
            return
        program = embed_program(traced, among)
        try:
            check_code(program)
        except AssertionError as error:
            # an op may notice such operands by their values alone
            if "refuses" in str(error):
                return
            raise
        # in blocks, sums are added up in another order
        exact = exact or not any(x.op in TOTALS for x in program.instructions)
        # of complex numbers NumPy's abs depends on where they are in memory
        exact = exact and not any(
            x.op.name == "abs" and program.spec(x.operands[0]).dtype in ("F", "D")
            for x in program.instructions
        )
        # BLAS adds strided vectors, such as the caller's may be, in another order
        exact = exact and not any(x.op is inner_product for x in program.instructions)
        # some processors compute the last elements of a block, or of a row, in another way
        rounds = any(x.op.forward in ROUNDED for x in program.instructions)
        same = assert_near if rounds else assert_same_bits
        run = make_runner(program)()[0]
        sprinkles = exact and may_sprinkle(case.name)
        others = [insert_special_numbers(x, among) if sprinkles else x for x in operands]
        # the buffers are full from the second run on
        for args in (operands, others, operands):
            wanted = call_or_error(
                evaluate, program, [np.copy(x) if np.ndim(x) else x for x in args], in_order
            )
            got = call_or_error(run, *args)
            if isinstance(wanted, Exception):
                assert type(got) is type(wanted), got
                continue
            assert not isinstance(got, Exception), got
            for a, b in zip(got, wanted, strict=True):
                (same if exact else assert_close)(a, b)


ZERO, NAN = np.zeros((1, 1)), np.array([[np.nan, 1.0]])


@pytest.mark.parametrize(
    ("fn", "args"),
    [
        (lambda x, y: x @ y, (ZERO, NAN)),
        (lambda x, y: y @ x, (ZERO[0], NAN.T)),
        (lambda x, y: x @ y, (ZERO[0], -ZERO[0])),
        (lambda x, y: keep(y, x), (ZERO, NAN)),
    ],
)
def test_of_one_element_all_is_computed_as_of_many(fn, args):
    program = trace(lambda x, y: (fn(x, y) * 1, fn(x * 1, y)), args, {})
    run = make_runner(program)()[0]
    for _ in range(2):
        for got, wanted in zip(run(*args), evaluate(program, args, in_order), strict=True):
            assert_same_bits(got, wanted)


# those with a form of their own in a source
FORMED = sorted(name for name in CASES if OPS.get(name) in TEMPLATES)


def check_large(case: Any, among: Among) -> None:
    with pytest.MonkeyPatch.context() as patch:
        # small ones get all that large arrays get: blocks, results as buffers, updated rows
        patch.setattr(cost, "BLOCKED_ELEMENTS", 4)
        patch.setattr(cost, "BLOCK_BYTES", 24)
        patch.setattr(cost, "TABLE_PER_ROWS", 1)
        for room in (memory, text):
            # more than one number takes, which no array holds
            patch.setattr(room, "LARGE", 17)
        patch.setattr(cost, "DROPPED_BYTES", 17)
        check_written(case, among, exact=False)


@pytest.mark.parametrize("name", sorted(CASES))
@on_calls("op, written")
def test_what_is_written_gives_what_the_ops_give(case, among):
    check_written(case, among)
    check_large(case, among)


@pytest.mark.parametrize("name", FORMED)
@on_calls("op, written in its own form")
def test_a_form_of_its_own_gives_what_the_op_gives(case, among):
    check_written(case, among)
    check_large(case, among)


COMPLEX = sorted(name for name in CASES if declaration(TABLE[name]).complex)


@pytest.mark.parametrize("name", COMPLEX)
def test_what_is_written_of_complex_numbers_gives_what_the_ops_give(name):
    choices = RandomChoices(np.random.default_rng(len(name)))
    for call in sample_calls(name, examples("op, written"), len(name), complex=True):
        check_written(case_of(name, call), choices.among)
        check_large(case_of(name, call), choices.among)


def test_complex_numbers_are_written_with_the_signs_of_their_zeros():
    numbers = [1j, -0.0 - 1j, complex(-0.0, 2.0), complex(1.0, -0.0), complex(np.inf, np.nan)]

    def fn(x):
        return [x * z for z in numbers] + [np.sqrt(x + z) for z in numbers]

    x = np.array([-1.0, 0.0])
    with np.errstate(all="ignore"):
        program = tg.compile(fn).program(x)
        for got, wanted in zip(program(x), fn(x), strict=True):
            assert_same_bits(got, wanted)
    assert "complex(0.0, 1.0)" in str(program)


def test_nans_have_their_signs_and_composites_their_byte_order():
    def fn(x, half):
        return np.mean(half, 0), [(np.copysign(x, z), x * complex(z, 0)) for z in (np.nan, -np.nan)]

    args = np.ones(2), np.ones((3, 2), ">f2")
    both = tg.compile(fn)(*args), tg.record(fn)(*args)[0]
    for got, wanted in zip(*map(tg.tree.leaves, both), strict=True):
        assert_same_bits(got, wanted.value)
    signed = tg.compile(np.copysign, static_argnums=1)
    assert [signed(1.0, x) for x in (np.nan, -np.nan)] == [1, -1]
