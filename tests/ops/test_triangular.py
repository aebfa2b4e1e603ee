"""Triangular equations and the rule of Cholesky factors, with SciPy and without it."""

from pathlib import Path

import numpy as np
import pytest
from scripts import print_of_script

import tapegrad as tg
from tapegrad.ops import triangular
from tapegrad.program.saved_names import name_of_op, op_named
from tapegrad.types import Array, DTypeLike

RNG = np.random.default_rng(5)


def positive(shape: tuple[int, ...], dtype: DTypeLike) -> Array:
    a = RNG.normal(size=shape).astype(dtype)
    if np.dtype(dtype).kind == "c":
        a = a + 1j * RNG.normal(size=shape)
    return (a @ np.conj(a).mT + 4 * np.eye(shape[-1])).astype(dtype)


def without_scipy(a: Array) -> None:
    """What stands for SciPy where it is not there."""


@pytest.mark.parametrize("dtype", ["f", "d", "F", "D"])
@pytest.mark.parametrize("shape", [(5, 5), (2, 20, 20), (2, 3, 3), (0, 3, 3), (0, 0)], ids=str)
@pytest.mark.parametrize("upper", [False, True])
def test_gradients_are_the_same_without_scipy(
    shape: tuple[int, ...], dtype: str, upper: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("scipy.linalg")
    a, w = positive(shape, dtype), positive(shape, dtype)

    def loss(a: Array) -> Array:
        return np.sum(np.real(w * np.linalg.cholesky(a, upper=upper)))

    def curvature(a: Array) -> Array:
        return np.sum(np.real(w * tg.grad(loss)(a)))

    fns = (tg.grad(loss), tg.grad(curvature), tg.compile(tg.grad(loss)))
    wanted = [fn(a) for fn in fns]
    monkeypatch.setattr(triangular, "_import_scipy_linalg", without_scipy)
    # a last block of fewer rows among them
    monkeypatch.setattr(triangular, "BLOCK", 3)
    for x, y in zip([fn(a) for fn in fns], wanted, strict=True):
        assert (x.dtype, x.shape) == (y.dtype, y.shape) == (a.dtype, a.shape)
        size = np.max(np.abs(y), initial=0)
        np.testing.assert_allclose(x, y, rtol=0, atol=size * (1e-4 if dtype in "fF" else 1e-11))


@pytest.mark.parametrize("trans", [False, True])
@pytest.mark.parametrize("lower", [False, True])
@pytest.mark.parametrize("unit", [False, True])
def test_triangular_equations_without_scipy(
    trans: bool, lower: bool, unit: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    scipy = pytest.importorskip("scipy.linalg")
    # what is not read is there all the same
    a, b = RNG.normal(size=(4, 4)) + 3 * np.eye(4), RNG.normal(size=(4, 2))
    monkeypatch.setattr(triangular, "_import_scipy_linalg", without_scipy)
    solution = triangular.triangular(a, b, trans, lower, unit, True)
    wanted = scipy.solve_triangular(a, b, int(trans), lower, unit_diagonal=unit)
    np.testing.assert_allclose(solution, wanted, rtol=1e-12)
    with pytest.raises(ValueError, match="infs or NaNs"):
        triangular.triangular(a * np.nan, b, trans, lower, unit, True)


@pytest.mark.thorough
def test_small_matrices_do_not_import_scipy_and_large_ones_need_none() -> None:
    code = (
        "import sys, numpy as np, tapegrad as tg\n"
        "f = lambda a: np.sum(np.linalg.cholesky(a))\n"
        "g = tg.grad(f)(np.eye(4)); print('scipy' in sys.modules)\n"
        "sys.modules['scipy'] = sys.modules['scipy.linalg'] = None\n"
        "print(tg.grad(f)(4 * np.eye(400))[7, 7].round(6))"
    )
    assert print_of_script(code) == "False\n0.25\n"


def test_a_program_saved_with_scipy_runs_without_it(tmp_path: Path) -> None:
    pytest.importorskip("scipy.linalg")
    a = positive((5, 5), float)
    loss = lambda a: np.sum(np.log(np.diag(np.linalg.cholesky(a))))  # noqa: E731
    program = tg.compile(tg.grad(lambda a: np.sum(tg.grad(loss)(a) ** 2))).program(a)
    program.save(tmp_path / "program.npz")
    np.save(tmp_path / "a.npy", a)
    code = (
        "import sys; sys.modules['scipy'] = sys.modules['scipy.linalg'] = None\n"
        "import numpy as np, tapegrad as tg\n"
        "found = tg.load_program(sys.argv[1] + '/program.npz')(np.load(sys.argv[1] + '/a.npy'))\n"
        "np.save(sys.argv[1] + '/found.npy', found)"
    )
    print_of_script(code, tmp_path)
    np.testing.assert_allclose(np.load(tmp_path / "found.npy"), program(a), rtol=1e-9, atol=1e-12)


def test_files_name_the_ops_as_before_too() -> None:
    for op in (triangular.triangular, triangular.pulled):
        assert op_named(name_of_op(op), ()) is op
    pytest.importorskip("scipy.linalg")
    assert op_named("tapegrad.scipy.linalg:_triangular", ()) is triangular.triangular
    assert op_named("tapegrad.scipy.linalg:_pulled", ()) is triangular.pulled
