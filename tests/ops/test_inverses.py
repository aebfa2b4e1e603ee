"""Inverses and determinants where the table's calls do not reach: singular matrices, at zero."""

from typing import Any

import numpy as np
import pytest

import tapegrad as tg
from tapegrad.testing import check_grads

A = np.array([[4.0, 0.5, -0.25], [0.375, -2.0, 0.5], [-0.5, 0.625, 1.0]])


def close(got: Any, want: Any) -> None:
    np.testing.assert_allclose(got, want, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize(
    ("matrix", "gradient"),
    [
        ([[1.0, 2.0], [2.0, 4.0]], [[4.0, -2.0], [-2.0, 1.0]]),
        (np.zeros((2, 2)), np.zeros((2, 2))),
        (np.diag([2.0, 3.0, 0.0]), np.diag([0.0, 0.0, 6.0])),
        (np.diag([2.0, 0.0, 0.0]), np.zeros((3, 3))),
        (np.eye(3)[[1, 0, 2]], -np.eye(3)[[1, 0, 2]]),
        ([[0.0]], [[1.0]]),
        (np.zeros((0, 0)), np.zeros((0, 0))),
    ],
)
def test_the_gradient_of_a_determinant_is_the_matrix_of_cofactors(
    matrix: Any, gradient: Any
) -> None:
    close(tg.grad(np.linalg.det)(np.asarray(matrix)), gradient)


def test_the_derivatives_of_a_determinant_at_zero_are_its_coefficients() -> None:
    zero = np.zeros((3, 3))
    permutations = np.zeros((3, 3, 3))
    for i in range(3):
        permutations[i, (i + 1) % 3, (i + 2) % 3] = 1
        permutations[i, (i + 2) % 3, (i + 1) % 3] = -1
    third = tg.jacobian(tg.hessian(np.linalg.det))(zero)
    close(third, np.einsum("ikm,jln->ijklmn", permutations, permutations))
    assert not tg.hessian(np.linalg.det)(zero).any()


def test_slogdet_of_a_singular_matrix_has_no_gradient_and_says_so() -> None:
    y = tg.slogdet(np.zeros((2, 2)))
    assert (y.sign, y.logabsdet) == (0, -np.inf)
    with pytest.raises(ValueError, match="Singular"):
        tg.grad(lambda a: tg.slogdet(a).logabsdet)(np.zeros((2, 2)))


def test_a_pseudo_inverse_has_derivatives_at_constant_rank() -> None:
    check_grads(lambda u, v: np.linalg.pinv(np.outer(u, v)), (A[0], A[1, :2]))
