"""Functions of NumPy's and of one family's, in SciPy's spelling, have SciPy's values and defaults.

One table: a call with SciPy's options, and awkward inputs. Eigenvectors and others that may have
either sign are multiplied out.
"""

from collections.abc import Callable
from itertools import product
from typing import Any

import numpy as np
import pytest
from alike import same
from depth import THOROUGH
from scipy_kit import prove, refuses_alike

from tapegrad import compile
from tapegrad.testing import check_grads
from tapegrad.types import Array

theirs: Any = pytest.importorskip("scipy")
ours: Any = pytest.importorskip("tapegrad.scipy")
for _name in ("fft", "linalg"):
    pytest.importorskip(f"scipy.{_name}")

RNG = np.random.default_rng(3)
X = RNG.normal(size=(3, 4))
Z = X + 1j * X[::-1]
A = RNG.normal(size=(3, 3)) + 3 * np.eye(3)
C = A + 1j * RNG.normal(size=(3, 3))
S, H = A @ A.T, C @ C.conj().T
B = RNG.normal(size=(3, 2))
AB = np.array([[0.25, -0.5, 0.75, 0.5], [0.5, 0.25, -1.0, 0.25], [5.0, 6.0, 7.0, 8.0]])


def pairs(w: Array, v: Array) -> tuple[Array, Array]:
    """Eigenvalues, and what the vectors' phases do not change."""
    return w, v * np.conj(v)[..., ::-1, :] if v.dtype.kind != "c" else v * np.conj(v)


# a function of `scipy` or `tapegrad.scipy` and of arrays
LINALG: dict[str, Any] = {
    "cholesky": (lambda s, a: s.cholesky(a), H),
    "cholesky, lower": (lambda s, a: s.cholesky(a, lower=True, overwrite_a=False), S),
    "solve": (lambda s, a, b: s.solve(a, b), C, B),
    "solve, transposed": (lambda s, a, b: s.solve(a, b, transposed=True), A, B[:, 0]),
    "inv": (lambda s, a: s.inv(a), C),
    "det": (lambda s, a: s.det(a), A[:2, :2]),
    "eigh": (lambda s, a: pairs(*s.eigh(a)), H),
    "eigh, upper": (
        lambda s, a: pairs(*s.eigh(a, lower=False, subset_by_index=[1, 2])),
        S + X[:, :3],
    ),
    "eigh, of two": (lambda s, a, b: pairs(*s.eigh(a, b)), A, S),
    "eigh, of two, upper": (lambda s, a, b: s.eigh(a, b, lower=False, eigvals_only=True), C, H),
    "eigvalsh": (lambda s, a: s.eigvalsh(a, subset_by_index=[0, 1]), H),
    "svd": (lambda s, a: (lambda u, w, v: (u[:, :3] * w) @ v[:3])(*s.svd(a)), Z),
    "svdvals": (lambda s, a: s.svdvals(a), X),
    "qr, full": (lambda s, a: s.qr(a)[1], X.T),
    "qr, economic": (lambda s, a: s.qr(a, mode="economic"), X.T),
    "qr, r": (lambda s, a: s.qr(a, mode="r"), X.T),
    "norm": (lambda s, a: s.norm(a), Z),
    "norm, nuclear": (lambda s, a: s.norm(a, "nuc"), X),
    "pinv": (lambda s, a: s.pinv(a), Z),
    "pinv, of a rank": (lambda s, a: s.pinv(a, rtol=0.3, return_rank=True)[0], S),
    "lstsq": (lambda s, a, b: s.lstsq(a, b)[:2], X.T, X[:2, ::-1].T),
    "lstsq, a vector": (lambda s, a, b: s.lstsq(a, b)[:2], X.T, X[0, ::-1]),
    "lu_factor": (lambda s, a: s.lu_factor(a)[0], C[::-1]),
    "lu_solve": (lambda s, a, b: s.lu_solve(s.lu_factor(a), b), A[::-1], B),
    "lu_solve, turned": (lambda s, a, b: s.lu_solve(s.lu_factor(a), b, 1), A[[1, 2, 0]], B[:, 0]),
    "lu_solve, adjoint": (lambda s, a, b: s.lu_solve(s.lu_factor(a), b, trans=2), C[::-1], B),
    "solveh_banded": (lambda s, ab, b: s.solveh_banded(ab, b), AB, X.T),
    "solveh_banded, lower": (
        lambda s, ab, b: s.solveh_banded(ab, b, lower=True),
        AB[::-1] + 0.5j * AB,
        X[0],
    ),
    "solve_toeplitz": (lambda s, c, b: s.solve_toeplitz(c, b), C[0], B),
    "solve_toeplitz, a row": (lambda s, c, r, b: s.solve_toeplitz((c, r), b), A[0], A[0], B[:, 0]),
} | {
    f"solve, {kind}": (lambda s, a, b, k=kind: s.solve(a, b, assume_a=k, lower=k[0] == "h"), m, B)
    for kind, m in {
        **dict.fromkeys(("diagonal", "tridiagonal", "upper triangular", "lower triangular"), A),
        "gen": A,
        "sym": C,
        "her": C + C.T.conj(),
        "pos": H,
    }.items()
}


@pytest.mark.parametrize("case", LINALG)
@pytest.mark.filterwarnings("ignore::scipy.linalg.LinAlgWarning")
def test_linear_algebra_is_scipys(case: str) -> None:
    fn, *args = LINALG[case]
    # SciPy computes these in float64
    order = 2 if THOROUGH or case.startswith(("lu", "eigh, of")) else 1
    fns = (lambda *a, s=s: fn(s.linalg, *a) for s in (ours, theirs))
    single = not case.startswith(("det", "solve_toeplitz"))
    # programs of the same ops of NumPy are proved elsewhere
    prove(*fns, args, 1e-10, order, single=single, proved=False)


@pytest.mark.parametrize("case", LINALG)
def test_numbers_that_are_not_finite_are_refused_unless_they_are_wanted(case: str) -> None:
    fn, *args = LINALG[case]
    step = compile(lambda *args: fn(ours.linalg, *args))
    for i, x in enumerate(args):
        bad = [*args[:i], np.append(x.ravel()[:-1], np.nan).reshape(x.shape), *args[i + 1 :]]
        for run in (step, lambda *args: fn(ours.linalg, *args)):
            refuses_alike(run, lambda *args: fn(theirs.linalg, *args), *bad)
    assert np.isnan(ours.linalg.solve([[np.nan]], [1.0], check_finite=False))


def test_stacks_are_computed_one_by_one() -> None:
    several, banded = np.stack([A, A[::-1], S]), np.stack([AB, 2 * AB])
    for fn, x in [
        (lambda a: ours.linalg.lu_solve(ours.linalg.lu_factor(a), B), several),
        (lambda a: ours.linalg.lu_solve(ours.linalg.lu_factor(a), B[:, 0], 2), several),
        (lambda a: ours.linalg.lu_solve(ours.linalg.lu_factor(A), a, 1), several),
        (lambda a: ours.linalg.solve(a, B, assume_a="sym"), several),
        (lambda a: ours.linalg.eigh(a, S, eigvals_only=True), several[:2]),
        (lambda ab: ours.linalg.solveh_banded(ab, X.T), banded),
    ]:
        same(fn(x), np.stack([fn(one) for one in x]), 1e-12)
        check_grads(fn, (x,), order=1)


FOURIER = [x for x in dir(ours.fft) if "fft" in x]


@pytest.mark.parametrize("name", FOURIER)
def test_fourier_transforms_are_scipys(name: str) -> None:
    lengths: list[Any] = [{"workers": 1}, {"axis": 0, "n": 5}, {"n": 3}]
    if name[-1] in "2n":
        lengths = [{"overwrite_x": False}, {"s": (4, -1), "axes": [-1, 0]}, {"s": (2, 5)}]
    lengths = [{}, {"axes": 1}, {"axes": None}] if "shift" in name else lengths
    x = X if name.startswith(("r", "ih")) else Z
    for i, norm in enumerate(("forward", "ortho", None)):
        options = lengths[i] if "shift" in name else {"norm": norm, **lengths[i]}
        fns = [lambda x, s=s, o=options: getattr(s.fft, name)(x, **o) for s in (ours, theirs)]
        prove(*fns, (x,), 1e-12, order=1 + THOROUGH, compiled=i == 1, batched=i == 1)


# norms and `orthogonalize`
KINDS = [(None, None), ("forward", True)] + THOROUGH * [("ortho", None), ("ortho", False)]


@pytest.mark.parametrize("name", ["dct", "idct", "dst", "idst", "dctn", "idctn", "dstn", "idstn"])
def test_cosine_and_sine_transforms_are_scipys(name: str) -> None:
    lengths: list[Any] = [{"n": 5}, {"axis": 0, "n": 2}]
    lengths = [{"s": (2, 5)}, {"axes": (1,)}] if name[-1] == "n" else lengths
    for type, (i, (norm, orthogonal)) in product((1, 2, 3, 4), enumerate(KINDS)):
        options = {"type": type, "norm": norm, "orthogonalize": orthogonal, **lengths[i % 2]}
        fns = [lambda x, s=s, o=options: getattr(s.fft, name)(x, **o) for s in (ours, theirs)]
        whole = THOROUGH or (type, i) == (2, 0)
        prove(*fns, (X,), 1e-12, order=1 + THOROUGH, compiled=whole, batched=whole)
        # of complex numbers SciPy loses the last option
        same(fns[0](Z), fns[1](Z.real) + 1j * fns[1](Z.imag))


@pytest.mark.parametrize(
    "fn",
    [
        lambda s: s.linalg.solve(A, B, assume_a="round"),
        lambda s: s.linalg.solve(A, B, assume_a="pos", lower=X),
        lambda s: s.linalg.solve(A - A, B),
        lambda s: s.linalg.solve(A, X.T),
        lambda s: s.linalg.cholesky(-S),
        lambda s: s.linalg.cholesky(S * np.nan),
        lambda s: s.linalg.qr(A, mode="thin"),
        lambda s: s.linalg.det(A, "whole", True, 3),
        lambda s: s.fft.dct(X, n=0),
        lambda s: s.fft.dct(X[:, :1], 1),
        lambda s: s.fft.dctn(X, 2, (3, 4, 5)),
        lambda s: s.fft.fftn(X, axes=(1, 1)),
        lambda s: s.fft.rfft(X, norm="other"),
    ],
)
def test_wrong_arguments_are_refused_as_by_scipy(fn: Callable[..., Any]) -> None:
    refuses_alike(lambda: fn(ours), lambda: fn(theirs))


def test_options_that_are_not_here_are_refused_by_name() -> None:
    with pytest.raises(NotImplementedError, match="qr takes no pivoting but False"):
        ours.linalg.qr(A, pivoting=True)
    with pytest.raises(NotImplementedError, match="eigh takes no type but 1"):
        ours.linalg.eigh(A, S, type=2)
