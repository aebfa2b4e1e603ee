"""Complex operands: every op that takes them as on real ones, and every other refuses them."""

import re
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from depth import THOROUGH
from op_cases import CASES, TAKING, Case, complex_cases, floating_of, without_phases

import tapegrad as tg
from tapegrad.testing import check_batched, check_grads, check_properties
from tapegrad.types import Array, DTypeLike

REFUSING = sorted(set(CASES) - set(TAKING))


def check_values(case: Case) -> bool:
    """Values and dtypes are NumPy's; False if an imaginary part would be lost, which raises."""
    with np.errstate(all="ignore"):
        with warnings.catch_warnings(record=True) as dropping:
            warnings.simplefilter("always", np.exceptions.ComplexWarning)
            want = tg.tree.leaves(case.reference_result())
        if dropping and case.operands[1].size:
            with pytest.raises(TypeError, match="complex"):
                case.fn(*case.operands)
            return False
        output, _ = tg.record(case.fn)(*case.operands)
        plain = tg.tree.leaves(case.fn(*case.operands))
    for y, x, w in zip(tg.tree.leaves(output), plain, want, strict=True):
        y, w = np.asarray(y.value if isinstance(y, tg.Tensor) else y), np.asarray(w)
        assert (y.shape, y.dtype) == (w.shape, w.dtype), case
        assert np.asarray(x).dtype == w.dtype
        many = 256 if case.name == "polyfit" else 64  # least squares lose more
        eps = many * float(np.finfo(w.dtype).eps) if w.dtype.kind in "fc" else 0
        size = np.max(np.abs(w), initial=1.0) if eps else 0
        np.testing.assert_allclose(y, w, rtol=eps, atol=eps * size)
    return True


def check_dtypes(fn: Callable[..., Any], operands: list[Any]) -> None:
    """Gradients and tangents have the dtypes of their primals."""
    output, pullback = tg.vjp(fn, *operands)
    cotangents = pullback(tg.tree.map(lambda y: np.ones(np.shape(y), y.dtype), output))
    for c, x in zip(cotangents, operands, strict=True):
        assert (c.dtype, c.shape) == (x.dtype, x.shape)
    _, tangents = tg.jvp(fn, operands, [np.ones_like(x) for x in operands])
    for t, y in zip(tg.tree.leaves(tangents), tg.tree.leaves(output), strict=True):
        assert t.dtype == y.dtype or np.asarray(y).dtype.kind not in "fc"


# whether its result is real depends on values
BY_VALUE = ("real_if_close",)
# with a narrow dtype for an option, what cancels is known to its rounding alone
CANCELLING = ("cov",)

CHECKS: tuple[Callable[[Any, list[Any]], None], ...] = (
    lambda fn, operands: check_grads(fn, operands, order=2),
    lambda fn, operands: check_properties(fn, operands, compiled=True),
    check_batched,
    check_dtypes,
)
LEFT_OUT = (("stopped", *BY_VALUE), (*BY_VALUE, *CANCELLING), BY_VALUE, ())


@pytest.mark.parametrize("name", TAKING)
def test_complex_operands_are_as_good_as_real_ones(name: str) -> None:
    cases = complex_cases(name)
    assert cases
    for case in cases:
        try:
            if not check_values(case):
                continue
        except TypeError as error:
            # of its modes, two order numbers
            if name != "pad" or not re.match("(min|max) does not take complex", str(error)):
                raise
            continue
        results = [np.asarray(y) for y in tg.tree.leaves(case.fn(*case.operands))]
        if not any(y.dtype.kind in "fc" for y in results):
            continue
        fn, operands = floating_of(case)
        # each for some, and all in the thorough run
        k = TAKING.index(name) % len(CHECKS)
        chosen = range(len(CHECKS)) if THOROUGH else [k]
        # a gradient that is not the derivative is the purpose of `stopped`
        if 0 not in chosen and name not in LEFT_OUT[0]:
            check_grads(fn, operands, order=1)
        for i in chosen:
            if name not in LEFT_OUT[i]:
                CHECKS[i](fn, operands)


@pytest.mark.parametrize("name", REFUSING)
def test_other_ops_refuse_complex_operands_by_name(name: str) -> None:
    for case in complex_cases(name, 2):
        for call in (case.fn, tg.record(case.fn)):
            with pytest.raises(TypeError, match="complex"):
                call(*case.operands)


A = np.array([[1.0, 2.0, 0.5], [-1.0, 0.5, 1.0], [0.25, -2.0, 2.0]])
Z = A + 1j * A.T[::-1]
SPINNING = np.array([[1.0, 2.0], [-1.0, 0.5]])


def test_eigenvalues_of_a_real_matrix_are_complex_where_they_must_be() -> None:
    for f in (np.linalg.eigvals, lambda a: tg.linalg.eig(a).eigenvalues):
        output, _ = tg.record(f)(SPINNING)
        assert output.dtype == np.complex128
        assert tg.record(f)(np.diag([1.0, 2.0]))[0].dtype == np.float64
        assert tg.record(f)(np.diag([1.0, 2.0]) + 0j)[0].dtype == np.complex128
        check_grads(f, (SPINNING,), 1)
    check_grads(lambda a: without_phases(np.linalg.eig(a)[1]), (SPINNING,))
    program = tg.compile(lambda a: np.sum(np.linalg.eigvals(a)))
    assert program(np.diag([1.0, 2.0])) == 3
    for call in (program, tg.compile(lambda a: np.linalg.eig(a)[0])):
        with pytest.raises(tg.TraceError, match=r"astype\(complex\)"):
            call(SPINNING)


# of a Hermitian matrix each reads one triangle, and of the diagonal the real part
HERMITIAN: dict[str, Any] = {
    "eigvalsh": np.linalg.eigvalsh,
    "eigh": lambda a: without_phases(np.linalg.eigh(a)[1]),
    "cholesky": lambda a: np.linalg.cholesky(a + 9 * np.eye(3)),
    "pinv": lambda a: np.linalg.pinv(a, hermitian=True),
    "svd": lambda a: np.linalg.svd(a, hermitian=True, compute_uv=False),
}


@pytest.mark.parametrize("name", HERMITIAN)
def test_of_a_hermitian_matrix_one_triangle_is_read(name: str) -> None:
    f = HERMITIAN[name]
    y, pullback = tg.vjp(f, Z)
    np.testing.assert_allclose(
        y, f(np.tril(Z, -1) + np.tril(Z, -1).conj().T + np.diag(A.diagonal()))
    )
    (g,) = pullback(np.cos(np.arange(y.size)).reshape(y.shape))
    assert not np.triu(g, 1).any()
    assert not g.diagonal().imag.any()
    check_grads(f, (Z,), 1)


@pytest.mark.parametrize("name", ["eigh", "eig", "svd"])
def test_a_loss_that_depends_on_phases_is_warned_of_by_name(name: str) -> None:
    def vectors(a: Array) -> Array:
        results = getattr(np.linalg, name)(a)
        return results[0] if name == "svd" else results[1]

    with pytest.warns(UserWarning, match=f"^{name}: the result depends on the phases") as caught:
        tg.grad(lambda a: np.sum(np.imag(vectors(a))))(Z)
    assert len(caught) == 1
    # and none that does not, to the second order either, nor what a rule takes for itself
    loss = lambda a: np.sum(np.abs(vectors(a)) ** 3)  # noqa: E731
    tg.hvp(loss, (Z,), (Z,))
    tg.hvp(lambda a: np.sum(np.linalg.eigvalsh(a) ** 3 + np.linalg.svdvals(a) ** 3), (Z,), (Z,))


@pytest.mark.parametrize("ord", [None, 1, 2, 3, 0.5, np.inf])
def test_norms_square_nothing_and_have_the_slope_0_at_0(ord: float | None) -> None:
    tiny = np.array([3e-23 + 4e-23j, 0], np.complex64)
    large = np.array([3e30 + 4e30j, 0], np.complex64)
    for x in (tiny, large):
        y, pullback = tg.vjp(lambda z: np.linalg.norm(z, ord), x)
        np.testing.assert_allclose(y / np.abs(x[0]), 1, rtol=1e-5)
        np.testing.assert_allclose(pullback(np.ones_like(y))[0], [0.6 + 0.8j, 0], rtol=1e-5)
    assert not tg.grad(lambda z: np.linalg.norm(z, ord))(np.zeros(3, complex)).any()
    assert tg.norm(np.array([np.inf + 1j, 2.0]), ord) == np.inf


@pytest.mark.filterwarnings("ignore:overflow:RuntimeWarning")
@pytest.mark.parametrize("dtype", [np.complex64, np.complex128])
def test_an_angle_has_no_slope_of_nan_however_small_the_number(dtype: DTypeLike) -> None:
    least = np.finfo(dtype).smallest_subnormal
    for direction in (1, 1j, -1, -1j, 3 - 4j, 1 + 1j):
        for size in (least, 4 * least, np.finfo(dtype).tiny / 2, np.finfo(dtype).tiny * 2):
            z = np.array(size * direction, dtype)
            parts = np.array([z.real, z.imag], np.longdouble)
            # dL/dx + i dL/dy, by parts, rounded to the dtype, where it may overflow
            x, y = (parts / np.sum((parts / size) ** 2) / size / size).astype(size.dtype)
            for g in (tg.grad(tg.angle)(z), tg.compile(tg.grad(tg.angle))(z)):
                np.testing.assert_allclose([g.real, g.imag], [-y, x], rtol=1e-6)
            tangents = [tg.jvp(tg.angle, (z,), (np.array(t, dtype),))[1] for t in (1, 1j)]
            np.testing.assert_allclose(tangents, [-y, x], rtol=1e-6)
