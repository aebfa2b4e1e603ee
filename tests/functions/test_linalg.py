"""Norms and roots at zeros, at ties, of no elements, and by their orders."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

import tapegrad as tg
from tapegrad.testing import arrays, check_grads
from tapegrad.types import ArrayLike

A = np.array([[4.0, 0.5, -0.25], [0.375, -2.0, 0.5], [-0.5, 0.625, 1.0]])
ORDERS = [None, 1, 2, np.inf, -np.inf, 0, 3, 2.5, 0.5, -1, -2]
MATRIX_ORDERS = ["fro", "nuc", 1, -1, 2, -2, np.inf, -np.inf]


def assert_close(got: ArrayLike, want: ArrayLike) -> None:
    np.testing.assert_allclose(got, want, rtol=1e-12, atol=1e-12)


# --- names that both np and np.linalg have ------------------------------------------------------


@given(data=st.data())
def test_linalg_diagonal_and_trace_are_over_the_last_two_axes(data: st.DataObject) -> None:
    x = data.draw(
        arrays(hnp.array_shapes(min_dims=2, max_dims=3, min_side=0, max_side=3), dtypes="d")
    )
    offset = data.draw(st.integers(-4, 4))
    if -x.shape[-2] <= offset <= x.shape[-1]:
        for f in (np.linalg.diagonal, np.linalg.trace):
            want = f(x, offset=offset)
            y, _ = tg.record(lambda x, f=f: f(x, offset=offset))(x)
            assert y.shape == want.shape
            assert_close(y.value, want)
            check_grads(lambda x, f=f: f(x, offset=offset), (x,))


@pytest.mark.parametrize("name", sorted(set(np.linalg.__all__) - {"LinAlgError", "test"}))
def test_linalg_has_every_name_of_numpys_linalg(name: str) -> None:
    assert hasattr(tg.linalg, name)


# --- norms -------------------------------------------------------------------------------------


@pytest.mark.parametrize("ord", ORDERS)
@given(data=st.data())
def test_gradient_of_norm_is_zero_at_zero_slices(ord: float | None, data: st.DataObject) -> None:
    x = data.draw(hnp.arrays(float, (3, 2), elements=st.sampled_from([1.0, -2.0, 3.0])))
    x = np.array(x)
    x[1] = 0
    f = lambda x: tg.sum(np.linalg.norm(x, ord, axis=1))  # noqa: E731
    gradient = tg.grad(f)(x)
    np.testing.assert_array_equal(gradient[1], 0)
    assert_close(gradient[::2], tg.grad(f)(x[::2]))
    second = tg.hessian(f)(x)
    np.testing.assert_array_equal(second[1], 0)
    assert np.isfinite(second).all()


def test_norms_and_gradients_at_zeros_and_ties() -> None:
    x, tied = np.array([3.0, 0.0, -4.0]), np.array([2.0, -2.0, 1.0, -1.0])
    for ord in (2.5, 0.5):
        assert np.linalg.norm(x, ord) == tg.norm(x, ord)
        g = tg.grad(lambda x, p=ord: np.linalg.norm(x, p))
        assert_close(g(x), np.insert(g(x[::2]), 1, 0))
    for ord in (-1, -2):
        assert tg.norm(x, ord) == 0
        assert not tg.grad(lambda x, p=ord: np.linalg.norm(x, p))(x).any()
    assert_close(tg.grad(lambda x: np.linalg.norm(x, np.inf))(tied), [0.5, -0.5, 0, 0])
    assert_close(tg.grad(lambda x: np.linalg.norm(x, -np.inf))(tied), [0, 0, 0.5, -0.5])
    stack = np.stack([A, np.zeros((3, 3)), -A])
    for ord in MATRIX_ORDERS:
        g = tg.grad(lambda x, p=ord: tg.sum(np.linalg.norm(x, p, axis=(1, 2))))(stack)
        assert not g[1].any()
        assert g[0].any()
        assert_close(g[0], -g[2])
    # without axes, the norm is over all elements
    assert_close(tg.grad(np.linalg.norm)(stack), stack / np.linalg.norm(stack))
    assert_close(tg.norm(2.0), 2.0)


@pytest.mark.parametrize("ord", ["nuc", 2, -2])
@pytest.mark.parametrize("scale", [1e-170, 1e170])
def test_second_derivatives_of_singular_values_are_scale_invariant(
    ord: int | str, scale: float
) -> None:
    slope = tg.grad(lambda x: tg.norm(x, ord))
    for a in (A, A[:, :2], A[:1]):
        v = np.cos(a)
        want = tg.vjp(slope, a)[1](v)[0]
        assert_close(tg.vjp(slope, a * scale)[1](v * scale)[0], want)
        assert_close(tg.jvp(slope, (a * scale,), (v * scale,))[1], want)


@pytest.mark.parametrize("ord", [1.0, 2.0, 3.0, 0.5, -1.0, -2.0])
@pytest.mark.parametrize("norm", [tg.norm, lambda x, p: tg.vector_norm(x, ord=p)])
def test_norm_has_a_gradient_with_respect_to_its_order(
    ord: float, norm: Callable[..., Any]
) -> None:
    x = np.array([1.0, -2.0, 3.0])
    check_grads(norm, (x, ord))
    s = np.abs(x)
    y, total = norm(x, ord), np.sum(s**ord)
    slope = y * (np.sum(s**ord * np.log(s)) / (ord * total) - np.log(total) / ord**2)
    assert_close(tg.grad(norm, argnums=1)(x, ord), slope)
    # np.linalg.norm calls tg.norm if the array is a Tensor
    assert_close(tg.grad(np.linalg.norm, argnums=(0, 1))(x, ord)[1], slope)


# --- roots -------------------------------------------------------------------------------------


def test_roots_of_polynomials_with_zero_coefficients_match_numpy() -> None:
    for p in ([0, 0, 1, -3, 2, 0, 0], [0, 0], [2], [0, 2, 0], []):
        want = np.roots(np.array(p, float))
        output, _ = tg.record(tg.roots)(np.array(p, float))
        assert_close(output.value, want)
    assert_close(
        tg.grad(lambda p: tg.sum(tg.roots(p)))(np.array([0.0, 2.0, 4.0, 0.0])), [0, 1, -0.5, 0]
    )
