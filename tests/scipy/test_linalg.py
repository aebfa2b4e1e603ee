"""Structured equations and functions of matrices have SciPy's values, with derivatives of any order.

A gradient is nonzero in what is read alone, and no equation without a solution has a wrong one.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from alike import same
from depth import THOROUGH
from scipy_kit import prove, refuses_alike

import tapegrad as tg
from tapegrad.testing import check_grads, check_properties
from tapegrad.types import Array

# of derivatives by differences; properties hold those of the second order against the first
ORDER = 2 if THOROUGH else 1

theirs: Any = pytest.importorskip("scipy.linalg")
ours: Any = pytest.importorskip("tapegrad.scipy.linalg")

RNG = np.random.default_rng(1)
A = RNG.normal(size=(3, 3)) + 4 * np.eye(3)
C = A + 1j * RNG.normal(size=(3, 3))
B = RNG.normal(size=3)
BS = RNG.normal(size=(3, 2))
POSITIVE = A @ A.T
AB = RNG.normal(size=(4, 5)) + np.array([0, 0, 6, 0])[:, None]
B5 = RNG.normal(size=(5, 2))

# a function of the module and of arrays, which begins with its name
CASES: dict[str, Any] = {
    "solve_triangular": (lambda s, a, b: s.solve_triangular(a, b), A, B),
    "solve_triangular, lower": (lambda s, a, b: s.solve_triangular(a, b, lower=True), A, BS),
    "solve_triangular, turned": (lambda s, a, b: s.solve_triangular(a, b, "T"), A, BS),
    "solve_triangular, unit": (
        lambda s, a, b: s.solve_triangular(a, b, 1, True, unit_diagonal=True),
        A,
        B,
    ),
    "cho_solve": (lambda s, a, b: s.cho_solve(s.cho_factor(a), b), POSITIVE, B),
    "cho_solve, lower": (lambda s, a, b: s.cho_solve(s.cho_factor(a, True), b), POSITIVE, BS),
    "cho_factor": (lambda s, a: np.triu(s.cho_factor(a)[0]), POSITIVE),
    "cho_factor, lower": (lambda s, a: np.tril(s.cho_factor(a, lower=True)[0]), POSITIVE),
    "solve_banded": (lambda s, ab, b: s.solve_banded((1, 2), ab, b), AB, B5),
    "solve_banded, a vector": (lambda s, ab, b: s.solve_banded((2, 1), ab, b), AB[::-1], B5[:, 0]),
    "solve_banded, a diagonal": (lambda s, ab, b: s.solve_banded((0, 0), ab, b), AB[2:3], B5[:, 0]),
    "solve_sylvester": (lambda s, a, b, q: s.solve_sylvester(a, b, q), A, A[:2, :2] + 1, BS),
    "expm": (lambda s, a: s.expm(a), A / 4),
    "expm, large": (lambda s, a: s.expm(a), A),
    "expm_frechet": (
        lambda s, a, e: s.expm_frechet(a, e, compute_expm=False),
        A[:2, :2] / 4,
        C.imag[:2, :2],
    ),
    "expm_frechet, both": (lambda s, a, e: s.expm_frechet(a, e), A[:2, :2] / 4, A[1:, 1:]),
    "sqrtm": (lambda s, a: s.sqrtm(a), POSITIVE + A / 8),
    "block_diag": (lambda s, a, b, c: s.block_diag(a, b, c, 2.0), BS, B, A),
    "toeplitz": (lambda s, c, r: s.toeplitz(c, r), B, B5[:, 1]),
    "toeplitz, of a column": (lambda s, c: s.toeplitz(c), B),
}


@pytest.mark.parametrize("case", CASES)
def test_it_is_scipys(case: str) -> None:
    fn, *args = CASES[case]
    # SciPy computes this in float64, from float32 too
    single = not case.startswith("expm_frechet")
    prove(lambda *a: fn(ours, *a), lambda *a: fn(theirs, *a), args, 1e-12, ORDER, single=single)


COMPLEX: dict[str, Any] = {
    "solve_triangular": (lambda s, a, b: s.solve_triangular(a, b, "C"), C, B),
    "solve_triangular, turned": (lambda s, a, b: s.solve_triangular(a, b, "T"), A, BS + 1j),
    "cho_solve": (lambda s, a, b: s.cho_solve(s.cho_factor(a), b), C @ C.conj().T, B),
    "cho_solve, lower": (lambda s, a, b: s.cho_solve(s.cho_factor(a, True), b), C @ C.conj().T, B),
    "solve_banded": (lambda s, ab, b: s.solve_banded((1, 2), ab, b), AB * (1 + 0.5j), B5),
    "solve_sylvester": (lambda s, a, b, q: s.solve_sylvester(a, b, q), C, C.T, A),
    "expm": (lambda s, a: s.expm(a), C / 4),
    "sqrtm": (lambda s, a: s.sqrtm(a), C),
    "block_diag": (lambda s, a, b: s.block_diag(a, b), C, B),
    "toeplitz": (lambda s, c: s.toeplitz(c), C[0]),
}


@pytest.mark.parametrize("case", COMPLEX)
def test_complex_numbers_have_the_adjoint(case: str) -> None:
    fn, *args = COMPLEX[case]
    same(fn(ours, *args), fn(theirs, *args), 1e-12)
    check_grads(lambda *a: fn(ours, *a), args, order=ORDER)
    check_properties(lambda *a: fn(ours, *a), args, compiled=True)


def test_a_real_matrix_beside_a_complex_one_is_right_where_scipy_is_wrong() -> None:
    turning = np.array([[1.0, 2.0], [-2.0, 1.0]])
    x = ours.solve_sylvester(C, turning, BS)
    np.testing.assert_allclose(C @ x + x @ turning, BS, atol=1e-12)


def test_gradients_are_in_what_is_read() -> None:
    def gradient(fn: Callable[..., Any], *args: Any) -> Array:
        return tg.grad(lambda *a: np.sum(fn(*a)))(*args)

    upper = gradient(ours.solve_triangular, A, B)
    unit = gradient(lambda a, b: ours.solve_triangular(a, b, unit_diagonal=True), A, B)
    assert np.array_equal(upper, np.triu(upper))
    assert np.array_equal(unit, np.triu(unit, 1))
    banded = gradient(lambda ab, b: ours.solve_banded((1, 2), ab, b), AB, B5)
    outside = [(0, 0), (0, 1), (1, 0), (3, 4)]
    assert all(banded[place] == 0 for place in outside)
    assert np.count_nonzero(banded) == banded.size - len(outside)
    # what lies outside is not read, even if it is nan
    ab = AB.copy()
    ab[0, 0] = np.nan
    unchecked = gradient(lambda ab, b: ours.solve_banded((1, 2), ab, b, check_finite=False), ab, B5)
    same(unchecked, banded)


def test_stacks_are_solved_one_by_one() -> None:
    several = np.stack([A, 2 * A, A.T])
    for fn, args in [
        (ours.solve_triangular, (several, BS)),
        (ours.expm, (several / 4,)),
        (ours.sqrtm, (several @ several.swapaxes(1, 2),)),
        (ours.solve_sylvester, (several, A, A)),
    ]:
        same(fn(*args), np.stack([fn(x, *args[1:]) for x in args[0]]))
        check_grads(fn, args, order=1)
    assert (
        ours.expm(np.zeros((0, 2, 2))).shape == ours.sqrtm(np.zeros((0, 2, 2))).shape == (0, 2, 2)
    )


def test_a_root_that_must_be_complex_is_so_unless_that_is_unknown() -> None:
    a = np.array([[-1.0, 0.5], [0.0, 2.0]])
    same(ours.sqrtm(a), theirs.sqrtm(a))
    assert tg.grad(lambda a: np.sum(np.abs(ours.sqrtm(a))))(a).dtype == float
    with pytest.raises(TypeError, match=r"astype\(complex\)"):
        tg.compile(ours.sqrtm)(a)
    same(tg.compile(lambda a: ours.sqrtm(a.astype(complex)))(a), theirs.sqrtm(a))


SINGULAR = np.array([[0.0, 1.0], [0.0, 0.0]])


@pytest.mark.parametrize(
    "fn",
    [
        lambda s: s.solve_triangular(SINGULAR, B[:2]),
        lambda s: s.solve_triangular(BS, B),
        lambda s: s.solve_triangular(A, B[:2]),
        lambda s: s.solve_triangular(A * np.nan, B),
        lambda s: s.cho_factor(-A),
        lambda s: s.cho_factor(BS),
        lambda s: s.cho_factor(np.full((2, 2), np.nan)),
        lambda s: s.cho_solve((A, True), B[:2]),
        lambda s: s.solve_banded((1, 1), np.zeros((3, 3)), B),
        lambda s: s.solve_banded((1, 2), np.zeros((3, 3)), B),
        lambda s: s.solve_banded((1, 1), np.ones((3, 3)), B[:2]),
        lambda s: s.solve_sylvester(A, A, B5),
        lambda s: s.expm(BS),
        lambda s: s.sqrtm(BS),
    ],
)
def test_wrong_arguments_are_refused_as_by_scipy(fn: Callable[..., Any]) -> None:
    refuses_alike(lambda: fn(ours), lambda: fn(theirs))


@pytest.mark.parametrize(
    "fn",
    [
        lambda: ours.solve_sylvester(A, -A, A),
        lambda: ours.sqrtm(SINGULAR),
        lambda: tg.grad(lambda a: np.sum(ours.sqrtm(a)))(np.zeros((2, 2))),
        lambda: tg.compile(ours.solve_triangular)(SINGULAR, B[:2]),
    ],
)
@pytest.mark.filterwarnings("ignore::scipy.linalg.LinAlgWarning")
def test_where_there_is_no_solution_there_is_no_wrong_one(fn: Callable[..., Any]) -> None:
    with pytest.raises(np.linalg.LinAlgError):
        fn()


def test_whether_there_is_a_solution_does_not_depend_on_the_size_of_the_right_side() -> None:
    b = A[:2, :2] + 1
    x = ours.solve_sylvester(A, b, BS)
    for scale in 2.0 ** np.array([-400, -60, 60, 400]):
        same(ours.solve_sylvester(A, b, scale * BS), scale * x)
        with pytest.raises(np.linalg.LinAlgError, match="no single solution"):
            ours.solve_sylvester(A, -A, scale * A)
