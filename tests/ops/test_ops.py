"""Every op: its value, its derivatives, its dtypes, and what it leaves alone."""

import math
import operator
from collections.abc import Callable
from typing import Any
from unittest import mock

import numpy as np
import pytest
from depth import THOROUGH
from hypothesis import given
from hypothesis import strategies as st
from op_calls import operands_for, sample_calls
from op_cases import (
    CASES,
    SMOOTH,
    TABLE,
    Case,
    floating_operands,
    on_calls,
    passes,
)
from tampering import is_locked

import tapegrad as tg
from tapegrad.arraylike.table import ANSWERS
from tapegrad.core.broadcasting import unbroadcast
from tapegrad.core.forward import elementwise_jvp
from tapegrad.core.primitive import Parts, number_vjps
from tapegrad.core.tensor import primals
from tapegrad.declare import FUNCTIONS, OPS
from tapegrad.declare.parts import PART
from tapegrad.testing import check_grads, check_properties
from tapegrad.types import Array, ArrayLike, PyTree

BOTH = ("reverse", "forward")

every_op = pytest.mark.parametrize("name", sorted(CASES))
every_smooth_op = pytest.mark.parametrize("name", SMOOTH)


def is_floating(x: Array | float) -> bool:
    return isinstance(x, float) or (isinstance(x, np.ndarray | np.generic) and x.dtype.kind == "f")


def recorded(case: Case) -> Any:
    """What the op gives when each floating operand is a Tensor."""
    output, _ = tg.record(case.fn)(*case.operands)
    return tg.tree.map(lambda y: y.value if isinstance(y, tg.Tensor) else y, output)


def recorded_throughout(case: Case, function: Callable[..., Any]) -> Any:
    """What a function gives when all operands are Tensors, whole numbers too."""
    whole = case.recorded_whole

    def fn(*xs: Any) -> Any:
        operands = zip(xs, case.operands, whole, strict=True)
        return case.apply(function, *[x.astype(a.dtype) if w else x for x, a, w in operands])

    return tg.record(fn)(
        *[x.astype(np.float64) if w else x for x, w in zip(case.operands, whole, strict=True)]
    )[0]


def same_trees(got: Any, want: Any, ulps: int = 0) -> None:
    """`same` for each of several results."""
    for one, other in zip(tg.tree.leaves(got), tg.tree.leaves(want), strict=True):
        same(one, other, ulps)


def same(got: Array | float, want: Array | float, ulps: int = 0) -> None:
    """Same shape and dtype, and the same values down to the sign of zero, or nearly."""
    got, want = np.asarray(got), np.asarray(want)
    assert (got.shape, got.dtype) == (want.shape, want.dtype)
    if ulps == 0 or want.dtype.kind not in "fc":
        np.testing.assert_array_equal(got, want)
        if want.dtype.kind == "f":
            np.testing.assert_array_equal(np.signbit(got), np.signbit(want))
    else:
        eps = float(np.finfo(want.dtype).eps)
        size = np.max(np.abs(want), initial=1.0)
        np.testing.assert_allclose(got, want, rtol=ulps * eps, atol=ulps * eps * size)


def fingerprint(x: Array) -> tuple[Any, ...]:
    return x.tobytes(), x.shape, x.strides, x.dtype, x.flags.writeable


def gradients(case: Case) -> tuple[Any, ...]:
    """The pullback of a cotangent of ones."""
    fn, operands = floating_operands(case)
    output, pullback = tg.vjp(fn, *operands)
    return pullback(tg.tree.map(lambda y: np.ones(np.shape(y)), output))


def has_floating_result(case: Case) -> bool:
    results = tg.tree.leaves(case.fn(*case.operands))
    return any(np.asarray(y).dtype.kind in "fc" for y in results)


def test_the_table_has_an_entry_for_every_op() -> None:
    assert set(CASES) == set(TABLE) == OPS.keys() | FUNCTIONS.keys()
    assert not OPS.keys() & FUNCTIONS.keys()


@every_op
@on_calls("op, cheap")
def test_value_is_numpys_on_arrays_and_on_tensors(case: Case) -> None:
    expected = case.reference_result()
    same_trees(case.fn(*case.operands), expected, case.ulps)
    same_trees(recorded(case), expected, case.ulps)
    if any(case.recorded_whole):
        output = recorded_throughout(case, TABLE[case.name])
        assert all(isinstance(y, tg.Tensor) for y in tg.tree.leaves(output))
        same_trees(tg.tree.map(lambda y: y.value, output), expected, case.ulps)


@every_smooth_op
@on_calls("op, by differences")
def test_derivatives_are_those_of_central_differences(case: Case) -> None:
    if has_floating_result(case):
        # the modes agree by check_transposes, below
        check_grads(case.fn, case.operands, modes=BOTH if THOROUGH else BOTH[:1])


@every_smooth_op
@on_calls("op, by every property")
def test_derivatives_have_the_properties_of_any_recorded_and_compiled(case: Case) -> None:
    if has_floating_result(case):
        # every other compiled: what is written for each op has tests of its own
        compiled = THOROUGH or SMOOTH.index(case.name) % 2 == 0
        check_properties(case.fn, case.operands, compiled=compiled)


@every_smooth_op
@on_calls("op")
def test_gradient_has_its_operands_shape_and_dtype(case: Case) -> None:
    if not has_floating_result(case):
        return
    _, operands = floating_operands(case)
    wide = Case(
        case.name,
        tuple(x.astype(np.float64) if is_floating(x) else x for x in case.operands),
        case.apply,
    )
    fn, wide_operands = floating_operands(wide)

    def total(*xs: Any) -> Array:
        parts = [np.sum(np.real(y)) for y in tg.tree.leaves(fn(*xs)) if y.dtype.kind in "fc"]
        return sum(parts[1:], parts[0])

    # a sum of many elements passes on one number for all, as a view
    with mock.patch("tapegrad.ops.reduction._LARGE", 0):
        exact_ones = tg.grad(total, argnums=tuple(range(len(operands))))(*wide_operands)
    for g, x, exact in zip(gradients(case), operands, exact_ones, strict=True):
        assert (g.shape, g.dtype) == (x.shape, x.dtype)
        # as near to the gradient in float64 as the narrowest dtype on the way allows
        eps = max(float(np.finfo(x.dtype).eps) for x in operands)
        size = np.max(np.abs(exact), initial=1.0)
        np.testing.assert_allclose(g, exact, rtol=64 * eps, atol=64 * eps * size)


def test_arguments_are_read_alike_by_position_and_by_name() -> None:
    for name, op in OPS.items():
        signature = op.signature
        for call in sample_calls(name, 4) if op.signature.read is None else ():
            if op.general and signature.has_unknown_arguments(call.args, call.kwargs):
                continue
            arguments = {**signature.defaults, **signature.bind_names(call.args, call.kwargs)}
            operands = tuple([arguments[x] for x in signature.names[: signature.n_operands]])
            options = {x: arguments[x] for x in signature.names[signature.n_operands :]}
            expected = operands, signature.changed_options(options)
            for k in range(signature.n_positional + 1):
                args = tuple([arguments[x] for x in signature.names[:k]])
                rest = signature.changed_options({x: arguments[x] for x in signature.names[k:]})
                read, kept = op.bind(args, rest)
                assert all(a is b for a, b in zip(read, expected[0], strict=True)), (name, k)
                assert kept == expected[1], (name, k)


@every_op
@on_calls("op, in every part")
def test_no_argument_is_changed_and_what_comes_out_is_read_only_and_apart(case: Case) -> None:
    before = [fingerprint(x) for x in case.operands]
    case.fn(*case.operands)
    output, _ = tg.record(case.fn)(*case.operands)
    handed_out = [y.value for y in tg.tree.leaves(output) if isinstance(y, tg.Tensor)]
    if handed_out:
        if has_floating_result(case):
            handed_out += gradients(case)
        for array in handed_out:
            assert is_locked(array)
            assert not any(np.shares_memory(array, x) for x in case.operands)
    assert [fingerprint(x) for x in case.operands] == before


def large(case: Case, order: str) -> list[Any]:
    """The operands of an elementwise op repeated, for what its rules do with large arrays alone."""
    return [np.resize(x, (60, 70)).copy(order) for x in np.broadcast_arrays(*case.operands)]


@every_smooth_op
@pytest.mark.filterwarnings("ignore::RuntimeWarning")
@on_calls("op, in every part")
def test_rules_on_arrays_are_those_on_records_and_write_to_nothing_they_are_given(
    case: Case,
) -> None:
    calls = [list(case.operands)]
    if (
        isinstance(case.op, tg.Op)
        and case.op.jvp is elementwise_jvp
        and all(map(np.size, calls[0]))
    ):
        calls += [large(case, "C"), large(case, "F")]
    for operands in calls:
        _, tape = tg.record(case.fn)(*operands)
        for record in tape:
            values = primals((record, *record._operands))
            # of several results there is no array that a rule might write to
            if record._operands and record.dtype.kind == "f" and Parts not in map(type, values):
                compare_rules(record)


def compare_rules(record: tg.Tensor) -> None:
    op, options = record.op, record.options
    y, *xs = [np.array(x) if is_floating(x) else x for x in primals((record, *record._operands))]
    g = np.random.default_rng(0).normal(size=y.shape).astype(y.dtype)
    arrays = [x for x in (g, y, *xs) if isinstance(x, np.ndarray)]
    before = [x.tobytes() for x in arrays]
    for i, _ in number_vjps(op.vjps_for(len(xs))):
        # of a joint rule the results are kept for the other operands of one sweep

        def rule(*args: Any, i: int = i) -> Any:
            return op.vjps_for(len(xs))[i](*args, **options)

        if i < len(xs) and is_floating(xs[i]):
            got = rule(g, y, *xs)
            want, _ = tg.record(rule)(g, y, *xs)
            assert [x.tobytes() for x in arrays] == before
            if got is None or want is None:
                assert got is want
                continue
            got, want = (
                unbroadcast(np.asarray(c), np.asarray(xs[i]), op.name, i) for c in (got, want.value)
            )
            tolerance = 64 * max(np.finfo(x.dtype).eps for x in (want, y))
            size = np.max(np.abs(want[np.isfinite(want)]), initial=0)
            np.testing.assert_allclose(got, want, rtol=tolerance, atol=tolerance * size)


NUMPY_FUNCTIONS = {
    name: [f for f, op in ANSWERS.items() if op is TABLE[name] and type(f) is not str]
    for name in sorted(CASES)
    # what a function composed of ops returns need not depend on its Tensors
    if name in OPS
}


@pytest.mark.parametrize("name", [name for name, functions in NUMPY_FUNCTIONS.items() if functions])
@on_calls("op, in every part")
def test_numpys_function_on_tensors_is_the_op(case: Case) -> None:
    ours = recorded_throughout(case, case.op)
    for function in NUMPY_FUNCTIONS[case.name]:
        numpys = recorded_throughout(case, function)
        for got, want in zip(tg.tree.leaves(numpys), tg.tree.leaves(ours), strict=True):
            assert isinstance(got, tg.Tensor), function
            # an op that is asked for more than it does is several
            op = got.operands[0].op if got.op is PART else got.op
            assert op is case.op or case.op.general, function
            same(got.value, want.value)


# of two operands, either of which may be the Tensor, and of one
OPERATORS: dict[str, Any] = {
    "add": operator.add,
    "subtract": operator.sub,
    "multiply": operator.mul,
    "divide": operator.truediv,
    "floor_divide": operator.floordiv,
    "remainder": operator.mod,
    "power": operator.pow,
    "matmul": operator.matmul,
    "equal": operator.eq,
    "not_equal": operator.ne,
    "less": operator.lt,
    "less_equal": operator.le,
    "greater": operator.gt,
    "greater_equal": operator.ge,
    "divmod": divmod,
    "bitwise_and": operator.and_,
    "bitwise_or": operator.or_,
    "bitwise_xor": operator.xor,
    "left_shift": operator.lshift,
    "right_shift": operator.rshift,
    "invert": operator.invert,
    "negative": operator.neg,
    "positive": operator.pos,
    "abs": abs,
    "round": round,
    "floor": math.floor,
    "ceil": math.ceil,
    "trunc": math.trunc,
}
# Python asks an array's comparison first, and a Tensor's operator answers mirrored
MIRRORED = {"less": "greater", "less_equal": "greater_equal"}
MIRRORED |= {y: x for x, y in MIRRORED.items()}


@pytest.mark.parametrize("name", OPERATORS)
@on_calls("op, cheap")
def test_an_operator_of_python_is_the_op_whichever_operand_is_the_tensor(case: Case) -> None:
    f, operands = OPERATORS[case.name], case.operands
    # the function's result, since NumPy's operators before 2.3 have other dtypes for some scalars
    want = getattr(np, case.name)(*operands)
    for which in range(1, 2 ** len(operands)):
        chosen = [i for i in range(len(operands)) if which >> i & 1]

        def fn(*tensors: Any, chosen: list[int] = chosen) -> PyTree:
            now = dict(enumerate(operands)) | dict(zip(chosen, tensors, strict=True))
            return f(*[now[i] for i in range(len(operands))])

        tensors = [operands[i] for i in chosen]
        if any(x.dtype.kind not in "f" for x in tensors):
            whole = lambda *xs, fn=fn, ts=tensors: fn(  # noqa: E731
                *[tg.stop_gradient(x).astype(t.dtype) for x, t in zip(xs, ts, strict=True)]
            )
            result, _ = tg.record(whole)(*[x.astype(float) for x in tensors])
        else:
            result, _ = tg.record(fn)(*tensors)
        for part, wanted in zip(tg.tree.leaves(result), tg.tree.leaves(want), strict=True):
            assert isinstance(part, tg.Tensor)
            assert case.name == "divmod" or part.op.name in (case.name, MIRRORED.get(case.name))
            same(part.value, wanted, 16 if case.name in ("matmul", "power") else 0)


TWO_ELEMENTS = sorted(name for name, op in OPS.items() if op.takes_weak and op.arity == 2)


@pytest.mark.parametrize("name", TWO_ELEMENTS)
@pytest.mark.parametrize("first", [False, True])
def test_a_python_float_that_is_recorded_is_weak_as_numpys(name: str, first: bool) -> None:
    x = np.array([0.1, 1.0, 2.0], np.float32)

    def fn(p: Array | float, t: Array) -> Array:
        return getattr(np, name)(p, t) if first else getattr(np, name)(t, p)

    try:
        want = fn(0.1, x)
    except TypeError:
        pytest.skip("of whole numbers only")
    result, tape = tg.record(fn)(0.1, x)
    # 0.1 is that of float32 where two are compared, too
    same(result.value, want)
    same(tg.compile(fn)(0.1, x), want)
    if passes(name):
        gradients = tg.reverse_sweep(tape, result, np.ones(3)).values()
        assert [(g.dtype, g.shape) for g in gradients] == [(np.float64, ()), (np.float32, (3,))]


# one operand of a call as another kind of number, or in another dtype
KINDS: dict[str, Any] = {
    "as it is": lambda x: x,
    "float": lambda x: 1.5,
    "np.float32": lambda x: np.float32(1.5),
    "np.float64": lambda x: np.float64(1.5),
    "float32": lambda x: x.astype(np.float32),
    "float64": lambda x: x.astype(np.float64),
}


# it is of two arrays of one dtype
@pytest.mark.parametrize("name", sorted(set(CASES) - {"inner_product"}))
@pytest.mark.filterwarnings("ignore::RuntimeWarning")
@on_calls("op")
def test_the_dtype_is_numpys_for_scalars_of_python_and_of_numpy(
    case: Case, choose: Callable[..., Any]
) -> None:
    kinds = [choose(list(KINDS)) for x in case.operands if is_floating(x)]
    chosen = iter(kinds)
    operands = [KINDS[next(chosen)](x) if is_floating(x) else x for x in case.operands]
    mixed = Case(case.name, tuple(operands), case.apply)
    fn, floating = floating_operands(mixed)
    try:
        want = dtypes(mixed.reference_result())
    except (AttributeError, TypeError, ValueError, IndexError, RuntimeError):
        return
    try:
        got = dtypes(tg.record(fn)(*floating)[0])
        compiled = dtypes(tg.compile(fn)(*floating))
    except (TypeError, ValueError, IndexError, RuntimeError, tg.TraceError):
        return  # what is refused has no dtype
    assert got == want, kinds
    assert compiled == want, kinds


def dtypes(results: Any) -> list[Any]:
    """The dtypes of results, recorded or not."""
    return [
        y.dtype if hasattr(y, "dtype") else np.asarray(y).dtype for y in tg.tree.leaves(results)
    ]


@pytest.mark.parametrize("value", [2.0, np.float32(2), np.float64(2), np.array(2.0), 3, True])
@pytest.mark.parametrize("kind", [int, np.int8, np.asarray, np.atleast_1d])
def test_updates_at_one_integer_take_any_number(
    kind: Callable[..., Any], value: Array | float
) -> None:
    for x in (np.arange(3.0), np.arange(6.0).reshape(3, 2), np.arange(3)):
        if x.dtype.kind == "i" and np.asarray(value).dtype.kind == "f":
            continue
        for name in ("add", "set"):
            want = np.array(x)
            want[kind(1)] = value if name == "set" else want[kind(1)] + value

            def update(x: Array, i: Array | float, name: str = name) -> Array:
                return getattr(tg.at(x)[i], name)(value)

            same(update(x, kind(1)), want)
            recorded, _ = tg.record(lambda x, f=update: f(x, kind(1)))(x)
            same(getattr(recorded, "value", recorded), want)
            same(tg.compile(update)(x, np.asarray(kind(1))), want)
    summed = tg.grad(lambda x: tg.sum(tg.fori_loop(0, 3, lambda i, c: c.at[i].add(value) * i, x)))
    assert summed(np.ones(3)).tolist() == [0.0] * 3


@pytest.mark.parametrize("method", ["set", "add", "multiply", "max", "min"])
@given(data=st.data())
def test_updates_at_an_index_are_the_ops_of_tensor_and_array(
    method: str, data: st.DataObject
) -> None:
    a, values, index = data.draw(operands_for("index_set")).args

    expected = OPS[f"index_{method}"](a, values, index)
    for at in (lambda a: a.at, tg.at):
        update = tg.record(lambda a, v, at=at: getattr(at(a)[index], method)(v))
        same(update(a, values)[0].value, expected)
    same(getattr(tg.at(a)[index], method)(values), expected)


@pytest.mark.parametrize("method", ["set", "add", "multiply", "max", "min"])
def test_values_of_an_update_count_as_the_array_holds_them(method: str) -> None:
    def loss(v: Array) -> Array:
        return tg.sum(getattr(tg.at(np.float32([1, 2, 3]))[[0, 2]], method)(v) ** 2)

    v = np.array([3.1, 0.1])
    same(tg.grad(loss)(v), tg.grad(lambda v: loss(v.astype(np.float32)))(v))
    with pytest.raises(OverflowError, match="300"):
        getattr(tg.at(np.uint8([1, 2]))[0], method)(300)


@pytest.mark.parametrize("ids", [np.uint64([0, 2, 0, 4, 0]), [0, -1, 7, 0, 2]])
@pytest.mark.parametrize("n", [None, 3, 9])
def test_segments_are_those_of_jax(ids: ArrayLike, n: int | None) -> None:
    """Rows out of range are left out; the maximum of none is -inf, and ties share as in max."""
    x = np.array([[-np.inf, 2.0], [1, 1], [-np.inf, 2.0], [3, np.nan], [-np.inf, 0]])
    ids = np.array(ids)
    m = max(ids) + 1 if n is None else n
    for of, each, start in ((tg.segment_sum, np.sum, 0), (tg.segment_max, np.max, -np.inf)):
        wanted = np.array([each(x[ids == i], axis=0, initial=start) for i in range(m)])
        same(of(x, ids, n), wanted)
        same(tg.compile(of, static_argnums=2)(x, ids, m), wanted)
        same(tg.vmap(lambda i, of=of: of(x, i, m))(np.stack([ids, ids]))[1], wanted)
    first = tg.grad(lambda x: tg.sum(tg.segment_max(x, ids, n)[0]))(x)[ids == 0]
    same(first, tg.grad(lambda x: tg.sum(tg.max(x, axis=0)))(x[ids == 0]))


@pytest.mark.parametrize("method", ["multiply", "max", "min"])
def test_an_update_in_one_place_twice_is_the_reduction_of_its_values(method: str) -> None:
    """With ties and any number of zeros, to the second derivative."""
    index = np.array([0, 0, 1, 0, 2, 2])
    reduce = {"multiply": tg.prod, "max": tg.max, "min": tg.min}[method]
    a, v = np.array([2.0, 0.0, 1.0, 5.0]), np.array([0.0, 3.0, 0.0, 0.0, 1.0, 1.0])

    def updated(x: Array) -> Array:
        return getattr(tg.at(x[:4])[index], method)(x[4:])

    def reduced(x: Array) -> Array:
        return tg.stack([reduce(x[[i, *(4 + np.flatnonzero(index == i))]]) for i in range(4)])

    x = np.r_[a, v]
    for of in (lambda f: f, tg.jacobian, lambda f: tg.jacobian(tg.jacobian(f))):
        same(of(updated)(x), of(reduced)(x))


class Column:
    """What a column of a table is to NumPy: an object that becomes an array."""

    def __init__(self, values: list[int]) -> None:
        self.values = np.asarray(values)

    def __array__(self, dtype: Any = None, copy: Any = None) -> Array:
        return self.values if dtype is None else self.values.astype(dtype)


INDICES: dict[str, Any] = {
    "range": range(2),
    "an empty range": range(0),
    "range backwards": (slice(None), range(2, -1, -1)),
    "integers": Column([2, 0, 2]),
    "integers on an axis": (slice(1), Column([2, 0, 2])),
    "a mask": Column([True, False, True]),
    "a mask on an axis": (slice(None), Column([True, False, True])),
}


@pytest.mark.parametrize("name", INDICES)
@pytest.mark.parametrize("compiled", [False, True])
def test_an_index_may_be_a_range_or_any_object_that_becomes_an_array(
    name: str, compiled: bool
) -> None:
    x, index = np.arange(9.0).reshape(3, 3), INDICES[name]
    as_numpys = tg.tree.map(lambda i: np.asarray(i) if isinstance(i, Column) else i, index)
    f = tg.grad(lambda x: tg.sum(x[index] ** 2))
    want = tg.grad(lambda x: tg.sum(x[as_numpys] ** 2))(x)
    same((tg.compile(f) if compiled else f)(x), want)
    updated = tg.at(x)[index].set(7.0)
    expected = x.copy()
    expected[as_numpys] = 7.0
    same(updated, expected)


@pytest.mark.parametrize(
    "fn",
    [
        lambda x, m: np.where(m, x, 0.0),
        lambda x, m: tg.where(m, 0.0, x),
        lambda x, m: np.sum(x, where=m),
        lambda x, m: x * np.logical_not(m),
        lambda x, m: tg.select([m], [x]),
        lambda x, m: x.at[m].set(1.0),
        lambda x, m: np.compress(m, x),
        lambda x, m: np.extract(m, x),
    ],
)
def test_a_condition_may_be_any_object_that_becomes_an_array(fn: Callable[..., Any]) -> None:
    x, mask = np.arange(3.0), [True, False, True]

    def values(m: Array | Column) -> list[Any]:
        recorded, _ = tg.record(lambda x: fn(x, m))(x)
        return [recorded.value, tg.compile(lambda x: fn(x, m))(x)]

    for got, want in zip(values(Column(mask)), values(np.array(mask)), strict=True):
        same(got, want)


@pytest.mark.parametrize("compare", [operator.lt, operator.le, operator.gt, operator.ge])
@given(values=st.lists(st.complex_numbers(max_magnitude=4), min_size=2, max_size=6))
def test_a_comparison_orders_complex_numbers_as_numpy_does(
    compare: Callable[..., Any], values: list[complex]
) -> None:
    def check(z: Array, other: Array | complex) -> None:
        want = compare(z, other)
        recorded, _ = tg.record(lambda z: compare(z, other))(z)
        same(recorded.value, want)
        same(tg.compile(lambda z: compare(z, other))(z), want)
        selected = tg.grad(lambda z: tg.sum(tg.real(tg.where(compare(z, other), z, 0))))(z)
        same(selected, want.astype(complex))

    z = np.round(np.array(values))
    for other in (2, 1 - 1j, z[::-1]):
        check(z, other)
