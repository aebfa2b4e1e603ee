"""Shape and arrays put together: what the tests of every op do not say."""

import inspect
import math
import warnings
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from op_cases import TABLE, Case, floating_operands, on_calls

import tapegrad as tg
from tapegrad.arraylike.table import ANSWERS
from tapegrad.functions import creation, manipulation, selection, stacking
from tapegrad.ops import shape, window
from tapegrad.testing import arrays

FILES = (stacking, manipulation, creation, selection, shape, window)
OURS = sorted(name for file in FILES for name in file.__all__ if name in TABLE)

X = np.array([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]])


def recorded(fn: Any, *args: Any) -> Any:
    """The values that fn gives for Tensors, all of which must be Tensors."""
    output, _ = tg.record(fn)(*args)
    return tg.tree.map(lambda t: t.value, output)


def same(got: Any, want: Any) -> None:
    for one, other in zip(tg.tree.leaves(got), tg.tree.leaves(want), strict=True):
        assert (np.shape(one), np.asarray(one).dtype) == (np.shape(other), np.asarray(other).dtype)
        np.testing.assert_array_equal(one, other)


# --- all of them ----------------------------------------------------------------------------


@pytest.mark.parametrize("name", OURS)
@on_calls("op, in every part")
def test_compiled_is_what_is_recorded(case: Case) -> None:
    fn, xs = floating_operands(case)
    if not tg.tree.leaves(fn(*xs)):  # unstacked along an axis of length 0
        return
    want, pullback = tg.vjp(fn, *xs)
    same(tg.compile(fn)(*xs), want)
    cotangent = tg.tree.map(np.ones_like, want)
    compiled = tg.compile(lambda *xs: tg.vjp(fn, *xs)[1](cotangent))
    eps = max(float(np.finfo(x.dtype).eps) for x in xs)
    for got, exact in zip(compiled(*xs), pullback(cotangent), strict=True):
        assert got.dtype == exact.dtype
        size = np.max(np.abs(exact), initial=1.0)
        np.testing.assert_allclose(got, exact, rtol=64 * eps, atol=64 * eps * size)


SIGNATURES = {
    op.name: function
    for function, op in ANSWERS.items()
    if getattr(op, "name", None) in OURS and not isinstance(function, np.ufunc)
}


@pytest.mark.parametrize("name", sorted(SIGNATURES))
def test_arguments_have_numpys_names_order_and_defaults(name: str) -> None:
    try:
        wanted = inspect.signature(SIGNATURES[name]).parameters
    except ValueError:  # of NumPy's functions in C, before it gave them signatures
        pytest.skip("NumPy does not say")
    if "newshape" in wanted:
        pytest.skip("this NumPy takes reshape's shape under its old name too")
    ours = inspect.signature(inspect.unwrap(TABLE[name])).parameters  # type: ignore[attr-defined]
    if getattr(TABLE[name], "read", None) is None:  # type: ignore[attr-defined]
        by_position = [p.name for p in ours.values() if p.kind is p.POSITIONAL_OR_KEYWORD]
        assert by_position == [*wanted][: len(by_position)]
        for parameter in ours.values():
            theirs = wanted.get(parameter.name)
            if theirs is not None and theirs.default is not theirs.empty:
                assert parameter.default == theirs.default


def test_an_op_of_any_number_of_arrays_knows_its_options() -> None:
    with pytest.raises(TypeError, match=r"meshgrid.*'wrong'"):
        tg.record(lambda t: tg.meshgrid(t, t, wrong=1))(X[0])  # type: ignore[call-arg]

    @tg.custom_op(vjps=(lambda g, y, x: g,))
    def first(x: Any, *others: Any) -> Any:
        return x

    with pytest.raises(TypeError, match="first takes x by position"):
        tg.record(lambda t: first(t, t))(X)


# --- lists that hold Tensors -----------------------------------------------------------------


def test_an_array_of_tensors_and_numbers_has_numpys_dtype() -> None:
    for dtype in (np.float64, np.float32, np.float16):
        x = dtype(3)
        for nested in (
            lambda t: [t, t],
            lambda t: [t, 1.0],
            lambda t: [[t, 1], [2, t]],
            lambda t: ([t, True], (np.float32(2), t)),
            lambda t: [[[t]], [[np.float16(1)]]],
            lambda t: t,
        ):
            same(recorded(lambda t, f=nested: tg.array(f(t)), x), np.array(nested(x)))
            assert recorded(lambda t, f=nested: tg.array(f(t), np.float32), x).dtype == np.float32


def test_an_array_of_tensors_sends_each_its_gradient() -> None:
    weights = np.arange(4.0).reshape(2, 2)
    gradients = tg.grad(
        lambda a, b: tg.sum(tg.array([[a, 1.0], [b, a * b]]) * weights), argnums=(0, 1)
    )(5.0, 7.0)
    np.testing.assert_array_equal(gradients, [0 + 3 * 7, 2 + 3 * 5])


def test_rows_of_tensors_and_arrays_are_one_array() -> None:
    got = recorded(lambda t: tg.array([t[0], [7.0, 8.0, 9.0], np.ones(3)]), X)
    same(got, np.array([X[0], [7.0, 8.0, 9.0], np.ones(3)]))


@pytest.mark.parametrize("ragged", [lambda t: [[t, t], [t]], lambda t: [t, [t]]])
def test_a_ragged_list_is_a_value_error(ragged: Any) -> None:
    with pytest.raises(ValueError, match="shape"):
        tg.record(lambda t: tg.array(ragged(t)))(1.0)


def test_an_array_is_a_copy() -> None:
    x = np.ones(3)
    assert not np.shares_memory(tg.array(x), x)
    assert not np.shares_memory(tg.copy(x), x)


# --- joined and taken apart ------------------------------------------------------------------

JOINS = {
    "vstack": lambda t: np.vstack([np.zeros(3), t, [7.0, 8.0, 9.0]]),
    "column_stack": lambda t: np.column_stack([t, [1.0, 2.0], t]),
    "hstack": lambda t: np.hstack((t, np.zeros((2, 1)))),
    "dstack": lambda t: np.dstack([t, np.zeros((2, 3, 2))]),
    "append": lambda t: np.append([1.0], t),
    "block": lambda t: np.block([[1.0, t[0]], [np.ones((2, 1)), t]]),
    "meshgrid": lambda t: np.meshgrid(t[0], t[1])[0],
    "insert": lambda t: np.insert(t, [0, 2], t[:, :2], axis=1),
    "select": lambda t: np.select([t > 4, t > 1], [t, -t]),
    "broadcast_to": lambda t: np.broadcast_to(t, (2, 2, 3)),
}


@pytest.mark.parametrize("name", sorted(JOINS))
def test_arrays_of_several_kinds_are_joined_as_numpy_joins_them(name: str) -> None:
    same(recorded(JOINS[name], X), JOINS[name](X))
    tg.testing.check_grads(JOINS[name], (X,))


@given(data=st.data())
def test_what_is_split_is_whole_when_joined(data: Any) -> None:
    x = data.draw(arrays((4, 3), dtypes="d"))
    cuts = sorted(data.draw(st.lists(st.integers(0, 4), max_size=3)))
    weights = np.arange(12.0).reshape(4, 3)

    def whole(t: Any) -> Any:
        return tg.sum(np.concatenate(np.split(t, cuts)) * weights)

    np.testing.assert_array_equal(tg.grad(whole)(x), weights)


@given(data=st.data())
def test_what_is_taken_out_can_be_put_back(data: Any) -> None:
    x = data.draw(arrays((2, 3), dtypes="d"))
    place = data.draw(st.integers(0, 2))

    def back(t: Any) -> Any:
        return np.insert(np.delete(t, place, axis=1), place, t[:, place], axis=1)

    same(recorded(back, x), x)


WRONG = {
    "split": (lambda t: np.split(t, 2, axis=1), ValueError, "split.*3.*2"),
    "split of no parts": (lambda t: np.array_split(t, 0), ValueError, "0"),
    "vsplit": (lambda t: np.vsplit(t[0], 1), ValueError, "vsplit.*2"),
    "unstack": (lambda t: np.unstack(t[0, 0]), ValueError, "unstack"),
    "block": (lambda t: np.block([[t], t]), ValueError, "depth"),
    "empty block": (lambda t: np.block([[t], []]), ValueError, "empty"),
    "pad mode": (lambda t: np.pad(t, 1, mode="mode"), ValueError, "mode"),
    "pad negative": (lambda t: np.pad(t, -1), ValueError, "negative"),
    "pad float": (lambda t: np.pad(t, 1.5), TypeError, "integer"),
    "pad shape": (lambda t: np.pad(t, [(1, 2)] * 3), ValueError, "shape"),
    "pad option": (lambda t: np.pad(t, 1, reflect_type="odd"), ValueError, "reflect_type"),
    "pad of nothing": (lambda t: np.pad(t[:0], 1, mode="edge"), ValueError, "empty axis"),
    "take": (lambda t: np.take(t, [3], axis=1), IndexError, "out of bounds"),
    "take mode": (lambda t: np.take(t, [0], mode="wrong"), ValueError, "wrong"),
    "take axis": (lambda t: np.take(t, [0], axis=2), IndexError, "axis 2"),
    "take floats": (lambda t: np.take(t, [0.5]), TypeError, "integer"),
    "along": (lambda t: np.take_along_axis(t, np.zeros(2, int), 1), ValueError, "axes"),
    "along floats": (lambda t: np.take_along_axis(t, X, 1), IndexError, "integers"),
    "choose": (lambda t: np.choose([2, 0, 0], [t, t]), IndexError, "bounds"),
    "compress": (lambda t: np.compress([[True]], t), ValueError, "one axis"),
    "select": (lambda t: np.select([t > 0], [t, t]), ValueError, "1.*2"),
    "select numbers": (lambda t: np.select([np.ones(3, int)], [t]), TypeError, "booleans"),
    "diag": (lambda t: np.diag(t[None]), ValueError, "3"),
    "rot90": (lambda t: np.rot90(t, axes=(0, 0)), ValueError, "[Aa]xes"),
    "moveaxis": (lambda t: np.moveaxis(t, 0, 2), ValueError, "2"),
    "flip": (lambda t: np.flip(t, 2), ValueError, "2"),
    "resize": (lambda t: np.resize(t, (-1, 2)), ValueError, "-1"),
    "repeat": (lambda t: np.repeat(t, [1, 2, 3, 4], axis=1), ValueError, "shape|broadcast"),
    "meshgrid": (lambda t: np.meshgrid(t[0], indexing="yx"), ValueError, "yx"),
    "window": (
        lambda t: np.lib.stride_tricks.sliding_window_view(t, (3, 3)),
        ValueError,
        "window",
    ),
    "linspace": (lambda t: np.linspace(t, 1.0, -1), ValueError, "-1"),
    "insert of floats": (lambda t: tg.insert([1, 2], 0, t[0]), TypeError, "gradient"),
    "pad of floats": (lambda t: tg.pad([1, 2], 1, constant_values=t[0, 0]), TypeError, "gradient"),
    "full of floats": (lambda t: tg.full_like([1, 2], t[0, 0]), TypeError, "gradient"),
}


@pytest.mark.parametrize("name", sorted(WRONG))
def test_what_does_not_fit_is_an_error_that_says_so(name: str) -> None:
    fn, kind, words = WRONG[name]
    with pytest.raises(kind, match=words):
        tg.record(fn)(X)


@pytest.mark.parametrize("mode", ["constant", "edge", "reflect", "symmetric", "wrap"])
@given(data=st.data())
def test_padding_keeps_what_is_inside(mode: str, data: Any) -> None:
    x = data.draw(arrays((2, 3), dtypes="d"))
    (a, b), (c, d) = widths = data.draw(
        st.tuples(*(st.tuples(st.integers(0, 5), st.integers(0, 5)) for _ in range(2)))
    )
    inside = slice(a, a + 2), slice(c, c + 3)
    by_axis = {0: (a, b), -1: (c, d)}
    same(recorded(lambda t: np.pad(t, widths, mode)[inside], x), x)
    same(recorded(lambda t: np.pad(t, by_axis, mode=mode), x), np.pad(x, widths, mode))


def test_a_tensor_to_pad_with_has_the_gradient_of_all_its_copies() -> None:
    gradient = tg.grad(lambda c: tg.sum(tg.pad(X, ((1, 0), (0, 2)), constant_values=c)))(1.0)
    assert gradient == 5 * 3 - 6
    one = tg.grad(lambda c: tg.sum(tg.pad(X[0], (1, 2), constant_values=(c, 0.0))))(1.0)
    assert one == 1


def test_an_array_without_elements_is_resized_to_zeros() -> None:
    for x in (np.zeros(0, np.float32), np.zeros((0, 2))):
        same(tg.record(lambda t: np.resize(t, (2, 2)))(x)[0], np.resize(x, (2, 2)))


# --- selected --------------------------------------------------------------------------------


def test_what_is_not_selected_never_enters() -> None:
    x = np.array([1.0, 0.0, -1.0])
    for fn in (
        lambda t: tg.select([t > 0], [np.log(np.where(t > 0, t, 1.0))], np.inf),
        lambda t: tg.tril(np.full((3, 3), np.inf), -3) * 0 + np.diag(t),
        lambda t: tg.choose([0, 1, 1], [t, np.array([np.nan, 1.0, 1.0])]),
    ):
        assert np.isfinite(
            tg.grad(lambda t, f=fn: tg.sum(tg.where(np.arange(3) < 1, f(t), 0)))(x)
        ).all()


def test_select_promotes_as_numpy_does() -> None:
    x = np.ones(3, np.float32)
    for choices, default in (([0, 1.5], 0), ([x, 1], 0.0), ([1, 2], x), ([x, np.ones(3)], 0)):
        want = np.select([x > 0, x > 1], choices, default)
        same(tg.select([x > 0, x > 1], choices, default), want)
    result, _ = tg.record(lambda p, t: tg.select([t > 0], [t], p))(0.5, x)
    assert result.dtype == np.float32


def test_indices_may_be_tensors_found_while_recording() -> None:
    def fn(t: Any) -> Any:
        best = tg.argmax(t, axis=1)
        along = np.take_along_axis(t, np.expand_dims(best, 1), axis=1)
        return np.take(t, best, axis=1), along, np.choose(best, [t[:, 0], t[:, 1], t[:, 2]])

    want = fn(X)
    same(recorded(fn, X), want)
    same(tg.compile(fn)(X), want)
    # decided anew for another input
    same(tg.compile(fn)(-X), fn(-X))


SHAPED_BY_VALUES = {
    "compress": lambda t: np.compress(t[0] > 1, t[0]),
    "extract": lambda t: np.extract(t > 1, t),
    "repeat": lambda t: np.repeat(t[0], np.argmax(t, axis=0)),
    "insert": lambda t: np.insert(t, np.argmax(t, axis=1), 0.0),
    "delete": lambda t: np.delete(t, np.argmax(t), axis=None),
    "split": lambda t: np.split(t, np.argmax(t, axis=1)),
}


@pytest.mark.parametrize("name", sorted(SHAPED_BY_VALUES))
def test_a_tensor_that_a_shape_depends_on_is_not_known_while_compiling(name: str) -> None:
    fn = SHAPED_BY_VALUES[name]
    same(recorded(fn, X), fn(X))
    with pytest.raises(tg.TraceError):
        tg.compile(fn)(X)


WRITERS = {
    "copyto": lambda t: np.copyto(np.zeros((2, 3)), t),
    "fill_diagonal": lambda t: np.fill_diagonal(t, 0.0),
    "place": lambda t: np.place(np.zeros((2, 3)), X > 1, t),
    "put": lambda t: np.put(t, [0], 1.0),
    "put_along_axis": lambda t: np.put_along_axis(t, np.array([[0], [1]]), 0.0, 1),
    "putmask": lambda t: np.putmask(t, X > 1, 0.0),
    "full": lambda t: np.full_like(X, t),
}


@pytest.mark.parametrize("name", sorted(WRITERS))
def test_a_function_that_writes_raises_and_names_the_line_to_write(name: str) -> None:
    with pytest.raises(TypeError, match=rf"{'copyto' if name == 'full' else name}.*tg\."):
        tg.record(WRITERS[name])(X)


# --- made ------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["zeros_like", "ones_like", "empty_like"])
def test_an_array_like_a_tensor_is_plain_and_writable(name: str) -> None:
    numpys, ours = getattr(np, name), getattr(tg, name)
    x = X.astype(np.float32)
    for options in ({}, {"dtype": int}, {"shape": (4,)}, {"shape": 2, "dtype": np.float64}):
        want = numpys(x, **options)
        for fn in (numpys, ours):
            made, tape = tg.record(lambda t, f=fn, o=options: f(t, **o))(x)
            assert type(made) is np.ndarray
            assert made.flags.writeable
            assert (made.shape, made.dtype) == (want.shape, want.dtype)
            assert len(tape) == 1
            if name != "empty_like":
                np.testing.assert_array_equal(made, want)
    assert tg.compile(lambda t: getattr(np, name)(t) + t)(x).dtype == np.float32


def test_a_python_float_that_is_recorded_fills_an_array_of_float64() -> None:
    same(recorded(lambda p: tg.full(2, p), 1.5), np.full(2, 1.5))
    same(recorded(lambda p: tg.full_like(np.ones(2, np.float32), p), 1.5), np.full(2, 1.5, "f"))


@given(a=st.floats(-4, 4), b=st.floats(-4, 4), n=st.integers(2, 9))
@example(a=3.0, b=0.1, n=2)
def test_a_range_has_exact_ends_and_is_constant_between_equal_ones(
    a: float, b: float, n: int
) -> None:
    between = tg.linspace(a, b, n)
    assert (between[0], between[-1]) == (a, b)
    assert (tg.linspace(a, a, n) == a).all()


def test_a_range_gives_its_step() -> None:
    for start, num, endpoint in ((0.0, 5, True), (X, 3, False)):
        want = np.linspace(start, 10.0, num, endpoint, retstep=True)
        got = tg.record(lambda t, n=num, e=endpoint: np.linspace(t, 10.0, n, e, retstep=True))(
            start
        )[0]
        for one, other in zip(got, want, strict=True):
            np.testing.assert_allclose(one.value, other, rtol=1e-14)


def test_ranges_of_ratios_take_negative_and_far_ends() -> None:
    for ends in ((-1.0, -8.0), (1e-200, 1e200), (8.0, 1.0)):
        np.testing.assert_allclose(tg.geomspace(*ends, 7), np.geomspace(*ends, 7), rtol=1e-12)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert np.isnan(tg.geomspace(-1.0, 1.0, 3)[1])
    for f in (tg.geomspace, lambda *ends: tg.record(tg.geomspace)(*ends)):
        with pytest.raises(ValueError, match="from 0"):
            f(0.0, 1.0)


@pytest.mark.parametrize("base", [2, np.array([2.0, 3.0]), np.array([[2.0], [3.0]])])
@pytest.mark.parametrize("axis", [0, -1])
def test_a_base_broadcasts_with_the_ends(base: Any, axis: int) -> None:
    def fn(start: Any) -> Any:
        return tg.logspace(start, 2.0, 4, base=base, axis=axis)

    for start in (1.0, np.array([0.5, 1.0])):
        want = np.logspace(start, 2.0, 4, base=base, axis=axis)
        np.testing.assert_allclose(recorded(fn, start), want, rtol=1e-14)


def test_numbers_are_read_out_of_a_tensor_without_gradient_only() -> None:
    same(tg.record(lambda t: tg.argmax(t, axis=1).tolist())(X)[0], [2, 2])
    with pytest.raises(TypeError, match=r"tolist.*\.value"):
        tg.record(lambda t: t.tolist())(X)


def test_a_window_is_a_view_of_any_size() -> None:
    x = np.zeros(100_000)
    window = tg.sliding_window_view(x, 50_000)
    assert np.shares_memory(window, x)


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64, np.longdouble])
def test_python_numbers_beside_an_array_leave_its_dtype(dtype: Any) -> None:
    x = np.array([1.5, 2.0], dtype)
    for call in (
        lambda x: np.linspace(x[0], 2, 3),
        lambda x: np.linspace(0.0, x, 3),
        lambda x: np.logspace(x[0], 2.0, 3),
        lambda x: np.geomspace(x[0], 2, 3),
        lambda x: np.choose([0, 1], [x, 1.5]),
    ):
        assert recorded(call, x).dtype == np.asarray(call(x)).dtype
    assert tg.record(lambda t: tg.linspace(t, np.float32(2), 3))(1.0)[0].dtype == np.float32


def test_an_array_without_axes_has_one_to_take_along_as_in_numpy() -> None:
    x = np.array(3.0)
    for fn in (
        lambda x: np.take(x, [0, 0], axis=0),
        lambda x: np.take(x, 0, axis=-1),
        lambda x: np.repeat(x, 2, axis=0),
        lambda x: np.repeat(x, [3], axis=-1),
        lambda x: np.compress([True], x, axis=0),
    ):
        want = fn(x)
        output, tape = tg.record(fn)(x)
        np.testing.assert_array_equal(output.value, want)
        assert output.shape == want.shape
        (g,) = tg.reverse_sweep(tape, output, np.ones(want.shape)).values()
        assert g == want.size
    for fn in (lambda x: np.take(x, 0, axis=1), lambda x: np.repeat(x, 2, axis=1)):
        with pytest.raises(np.exceptions.AxisError):
            tg.record(fn)(x)


def test_what_is_no_index_and_no_shape_is_refused_as_in_numpy() -> None:
    x = np.arange(3.0)
    with pytest.raises(IndexError, match="float64"):
        tg.record(lambda x: x[np.zeros(0)])(x)
    assert tg.record(lambda x: x[[]])(x)[0].shape == (0,)
    with pytest.raises(TypeError, match="True"):
        tg.record(lambda x: np.resize(x, True))(x)


def test_a_bias_of_none_is_not_no_bias_as_in_numpy() -> None:
    x = np.array([1.0, 2.0, 4.0])
    assert tg.cov(x, bias=None) == np.cov(x, bias=None)


def test_padding_with_what_nothing_depends_on_gives_zeros() -> None:
    output, _ = tg.record(lambda x: np.pad(x, (1, 2), mode="empty"))(np.array([3.0]))
    np.testing.assert_array_equal(output.value, [0.0, 3.0, 0.0, 0.0])
    assert tg.grad(lambda t: np.sum(tg.pad(np.ones(1), 2, mode="linear_ramp", end_values=t)))(
        3.0
    ) == pytest.approx(3.0)


@pytest.mark.parametrize(
    ("kind", "given"),
    [
        (TypeError, {"mode": lambda vector, width, axis, kwargs: None}),
        (ValueError, {"mode": "nonsense"}),
        (ValueError, {"mode": "edge", "stat_length": 1}),
        (ValueError, {"mode": "reflect", "reflect_type": "strange"}),
        (ValueError, {"mode": "maximum", "stat_length": 0}),
    ],
)
def test_a_padding_that_is_none_is_refused(kind: Any, given: Any) -> None:
    with pytest.raises(kind, match=r"pad|stat_length"):
        tg.pad(np.ones(2), 1, **given)


@pytest.mark.parametrize("shape", [(0,), (5,), (3, 4), (2, 0, 3), ()])
@pytest.mark.parametrize("order", "CF")
def test_an_array_is_rolled_as_numpy_rolls_it(shape, order):
    a = np.arange(math.prod(shape), dtype=float).reshape(shape, order=order)
    for axis in [None, *range(-a.ndim, a.ndim)]:
        for shift in (-7, -1, 0, 2, 9, np.int64(2)):
            expected, found = np.roll(a, shift, axis), tg.roll(a, shift, axis)
            np.testing.assert_array_equal(found, expected, strict=True)
            assert found.strides == expected.strides
    with pytest.raises(np.exceptions.AxisError):
        tg.roll(a, 1, a.ndim)
