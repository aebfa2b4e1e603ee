"""Linear algebra at its edges: unused results, equal values, singular matrices, other ranks."""

import itertools
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from op_calls import sample_calls

import tapegrad as tg
from tapegrad.core.primitive import Parts
from tapegrad.core.writing import primitive_for
from tapegrad.declare import OPS
from tapegrad.declare.parts import MultiOutputOp
from tapegrad.testing import arrays, check_grads
from tapegrad.types import Array

A = np.array([[4.0, 0.5, -0.25], [0.375, -2.0, 0.5], [-0.5, 0.625, 1.0]])
TALL = np.array([[1.0, 2.0], [0.5, -1.0], [3.0, 0.25], [-1.0, 1.5]])
SEVERAL = [name for name, op in OPS.items() if isinstance(op, MultiOutputOp)]


def close(got: Any, want: Any) -> None:
    np.testing.assert_allclose(got, want, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("name", ["eigh", "qr", "slogdet", "svd"])
def test_several_results_have_numpys_names(name: str) -> None:
    want = getattr(np.linalg, name)(A)
    for y in (getattr(tg, name)(A), tg.record(getattr(np.linalg, name))(A)[0]):
        assert type(y).__name__ == type(want).__name__
        assert y._fields == want._fields
        for field in want._fields:
            got = getattr(y, field)
            close(
                got if isinstance(got, np.ndarray | np.generic) else got.value,
                want._asdict()[field],
            )


@pytest.mark.filterwarnings("ignore:.*phases")
@pytest.mark.parametrize("name", SEVERAL)
def test_a_result_that_is_not_used_is_as_one_of_cotangent_zero(name: str) -> None:
    calls = sample_calls(name, 4) + sample_calls(name, 4, complex=True)
    for call in calls:
        a = call.args[0].astype(np.result_type(call.args[0], np.float64))
        op = OPS[name]
        op = op if op.complex is True else primitive_for(op, [a])
        y = op.forward(a, **call.kwargs)
        weights = [np.cos(np.arange(x.size)).reshape(x.shape).astype(x.dtype) for x in y.values]
        weights = [w * (1 + 2j) if w.dtype.kind == "c" else w for w in weights]
        for used in itertools.product([False, True], repeat=len(weights)):
            if not any(used):
                continue
            of_zeros, of_none = (
                op.vjps[0](
                    Parts(tuple([w if u else of(w) for u, w in zip(used, weights, strict=True)])),
                    y,
                    a,
                    **call.kwargs,
                )
                for of in (np.zeros_like, lambda w: None)
            )
            assert np.isfinite(of_zeros).all()
            close(0 * of_zeros if of_none is None else of_none, of_zeros)


def test_equal_eigenvalues_have_the_gradients_that_do_not_tell_them_apart() -> None:
    for f, gradient in (
        (lambda a: np.sum(np.linalg.eigvalsh(a) ** 2), 4 * np.eye(3)),
        (lambda a: np.linalg.norm(a, "nuc"), np.eye(3)),
        (lambda a: np.linalg.norm(a, 2), np.eye(3) / 3),
    ):
        close(tg.grad(f)(2 * np.eye(3)), gradient)


@pytest.mark.parametrize("x", [2 * np.eye(3), np.diag([1.0, 3.0, 1.0]), np.zeros((3, 3)), A])
def test_values_without_their_vectors_have_the_gradient_of_values(x: Array) -> None:
    for f, alone in (
        (lambda a: np.linalg.eigh(a).eigenvalues, np.linalg.eigvalsh),
        (lambda a: np.linalg.eig(a).eigenvalues, np.linalg.eigvals),
        (lambda a: np.linalg.svd(a).S, np.linalg.svdvals),
    ):
        of = lambda f: lambda a: np.sum(f(a) * [1.0, 2.0, -0.5])  # noqa: E731
        want = tg.grad(of(alone))(x)
        assert np.isfinite(want).all()
        close(tg.grad(of(f))(x), want)
        close(tg.compile(tg.grad(of(f)))(x), want)


@pytest.mark.parametrize(
    "f",
    [
        lambda a: np.sum(np.linalg.eigh(a).eigenvectors[0]),
        lambda a: np.sum(tg.grad(lambda a: np.sum(np.linalg.eigh(a).eigenvalues ** 2))(a)),
        lambda a: np.sum(np.linalg.svd(a).U),
        lambda a: np.sum(tg.grad(lambda a: np.sum(np.linalg.eigvalsh(a) ** 2))(a)),
        lambda a: np.sum(tg.grad(lambda a: np.linalg.norm(a, "nuc"))(a)),
    ],
)
def test_what_equal_values_leave_undefined_is_nan_and_never_a_number(f: Callable[..., Any]) -> None:
    with np.errstate(all="ignore"):
        gradient = tg.grad(f)(np.eye(2))
    # of a symmetric matrix the lower triangle is read
    assert np.isnan(gradient[np.tri(2, dtype=bool)]).all()


def test_vectors_that_no_singular_value_names_pass_what_does_not_depend_on_their_choice() -> None:
    # two vectors each way, of which just the plane is known
    def planes(a: Array) -> list[Array]:
        u, _, vh = np.linalg.svd(a)
        q, _ = np.linalg.qr(a if a.shape[0] > a.shape[1] else a.T, "complete")
        return [x @ x.T for x in (u[:, 2:], vh[2:].T, q[:, 2:])]

    for a in (TALL, TALL.T):
        check_grads(lambda a: [x for x in planes(a) if x.size], (a,))


@pytest.mark.parametrize("kind", "fdFD")
@given(data=st.data())
def test_a_symmetric_matrix_has_singular_vectors_at_any_rank(
    kind: str, data: st.DataObject
) -> None:
    n = data.draw(st.integers(0, 4))
    u = data.draw(arrays((n, data.draw(st.integers(0, n))), dtypes=kind)).round()
    a = (u * np.resize([1, -1], u.shape[1:])) @ u.conj().T
    for compute_uv in (True, False):
        f = lambda a, uv=compute_uv: np.linalg.svd(a, compute_uv=uv, hermitian=True)  # noqa: E731
        for got in (tg.record(f)(a)[0], tg.compile(f)(a)):
            got = tg.tree.map(np.asarray, tg.tree.map(lambda x: getattr(x, "value", x), got))
            s = got[1] if compute_uv else got
            np.testing.assert_allclose(s, np.linalg.svd(a)[1], atol=1e-4 * np.max(s, initial=1))
            if compute_uv:
                u, _, vh = got
                for x in (u, vh):
                    np.testing.assert_allclose(x @ x.conj().T, np.eye(n), atol=1e-5)
                np.testing.assert_allclose(u * s @ vh, a, atol=1e-4 * np.max(s, initial=1))


def test_the_gradient_of_a_determinant_is_the_matrix_of_cofactors() -> None:
    for matrix, gradient in (
        ([[1.0, 2.0], [2.0, 4.0]], [[4.0, -2.0], [-2.0, 1.0]]),
        (np.zeros((2, 2)), np.zeros((2, 2))),
        (np.diag([2.0, 3.0, 0.0]), np.diag([0.0, 0.0, 6.0])),
        (np.diag([2.0, 0.0, 0.0]), np.zeros((3, 3))),
        (np.eye(3)[[1, 0, 2]], -np.eye(3)[[1, 0, 2]]),
        ([[0.0]], [[1.0]]),
        (np.zeros((0, 0)), np.zeros((0, 0))),
    ):
        close(tg.grad(np.linalg.det)(np.asarray(matrix)), gradient)


def test_slogdet_of_a_singular_matrix_has_no_gradient_and_says_so() -> None:
    y = tg.slogdet(np.zeros((2, 2)))
    assert (y.sign, y.logabsdet) == (0, -np.inf)
    with pytest.raises(ValueError, match="Singular"):
        tg.grad(lambda a: tg.slogdet(a).logabsdet)(np.zeros((2, 2)))


def test_a_pseudo_inverse_has_derivatives_at_constant_rank() -> None:
    check_grads(lambda u, v: np.linalg.pinv(np.outer(u, v)), (A[0], A[1, :2]))
