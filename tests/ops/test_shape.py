"""Shape and arrays put together: what the tests of every op do not say."""

import inspect
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from alike import same
from hypothesis import example, given
from hypothesis import strategies as st
from op_cases import TABLE

import tapegrad as tg
from tapegrad.arraylike.table import ANSWERS
from tapegrad.functions import creation, manipulation, selection, stacking
from tapegrad.ops import shape, window
from tapegrad.types import Array

FILES = (stacking, manipulation, creation, selection, shape, window)
OURS = sorted(name for file in FILES for name in file.__all__ if name in TABLE)

X = np.array([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]])


def recorded(fn: Callable[..., Any], *args: Any) -> tuple[Array, Array, Array]:
    """The values that fn gives for Tensors, all of which must be Tensors."""
    output, _ = tg.record(fn)(*args)
    return tg.tree.map(lambda t: t.value, output)


# --- all of them ----------------------------------------------------------------------------


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
    if getattr(getattr(TABLE[name], "signature", None), "read", None) is None:
        by_position = [p.name for p in ours.values() if p.kind is p.POSITIONAL_OR_KEYWORD]
        assert by_position == [*wanted][: len(by_position)]
        for parameter in ours.values():
            theirs = wanted.get(parameter.name)
            if theirs is not None and theirs.default is not theirs.empty:
                assert parameter.default == theirs.default


# --- selected --------------------------------------------------------------------------------


def test_indices_may_be_tensors_found_while_recording() -> None:
    def fn(t: Array) -> tuple[Array, Array, Array]:
        best = tg.argmax(t, axis=1)
        along = np.take_along_axis(t, np.expand_dims(best, 1), axis=1)
        return np.take(t, best, axis=1), along, np.choose(best, [t[:, 0], t[:, 1], t[:, 2]])

    want = fn(X)
    same(recorded(fn, X), want, rtol=0)
    same(tg.compile(fn)(X), want, rtol=0)
    # decided anew for another input
    same(tg.compile(fn)(-X), fn(-X), rtol=0)


# --- made ------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["zeros_like", "ones_like", "empty_like"])
def test_an_array_like_a_tensor_is_plain_and_writable(name: str) -> None:
    numpys, ours = getattr(np, name), getattr(tg, name)
    x = X.astype(np.float32)
    for options in ({}, {"dtype": int}, {"shape": (4,)}, {"shape": 2, "dtype": np.float64}):
        want = numpys(x, **options)
        for fn in (numpys, ours):

            def like(
                t: Array, f: Callable[..., Any] = fn, options: dict[str, Any] = options
            ) -> Array:
                y = f(t, **options)
                assert y.flags.writeable
                return y

            y, tape = tg.record(like)(x)
            assert type(y) is np.ndarray
            assert (y.shape, y.dtype) == (want.shape, want.dtype)
            assert len(tape) == 1
            if name != "empty_like":
                np.testing.assert_array_equal(y, want)
    assert tg.compile(lambda t: getattr(np, name)(t) + t)(x).dtype == np.float32


@given(a=st.floats(-4, 4), b=st.floats(-4, 4), n=st.integers(2, 9))
@example(a=3.0, b=0.1, n=2)
def test_a_range_has_exact_ends_and_is_constant_between_equal_ones(
    a: float, b: float, n: int
) -> None:
    between = tg.linspace(a, b, n)
    assert (between[0], between[-1]) == (a, b)
    assert (tg.linspace(a, a, n) == a).all()


def test_ranges_of_ratios_take_negative_and_far_ends() -> None:
    for ends in ((-1.0, -8.0), (1e-200, 1e200), (8.0, 1.0)):
        np.testing.assert_allclose(tg.geomspace(*ends, 7), np.geomspace(*ends, 7), rtol=1e-12)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert np.isnan(tg.geomspace(-1.0, 1.0, 3)[1])
    for f in (tg.geomspace, lambda *ends: tg.record(tg.geomspace)(*ends)):
        with pytest.raises(ValueError, match="from 0"):
            f(0.0, 1.0)


@given(st.sampled_from([bool, np.bool, np.uint8, np.int8, np.uint64, int]), st.integers(0, 1))
def test_the_gradient_of_roll_rolls_back_by_a_number_of_any_type(
    kind: type[Any], shift: int
) -> None:
    weights = np.arange(4.0)
    for given_shift, axis in ((kind(shift), None), ((kind(shift),), (0,))):

        def loss(x: Array, shift: Any = given_shift, axis: tuple[int, ...] | None = axis) -> Array:
            return np.sum(np.roll(x, shift, axis) * weights)

        np.testing.assert_array_equal(tg.grad(loss)(np.ones(4)), np.roll(weights, -shift))
