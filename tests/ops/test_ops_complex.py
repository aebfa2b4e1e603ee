"""Complex operands: every op that takes them as on real ones, and every other refuses them."""

import warnings
from typing import Any

import numpy as np
import pytest
from depth import examples
from op_cases import CASES, TABLE, Case, case_of, floating_operands

import tapegrad as tg
from tapegrad.declare import declaration
from tapegrad.testing import check_batched, check_grads, check_properties, sample_calls

TAKING = sorted(name for name in CASES if declaration(TABLE[name]).complex)
# a gradient that is not the derivative is their purpose
DERIVED = sorted({*TAKING} - {"stopped"})
REFUSING = sorted(set(CASES) - set(TAKING))
# what is real of complex numbers
REAL = {"abs", "angle", "imag", "real"}
# cotangents, tangents and values are compared in float64
WIDE = (np.float64, np.complex128)

every_taking_op = pytest.mark.parametrize("name", TAKING)


def complex_cases(name: str, check: Any) -> list[Case]:
    """Calls of an op on complex operands, others for each check."""
    seed = sum(check.__name__.encode())
    calls = sample_calls(name, examples("op, of complex numbers"), seed, complex=True)
    return [case_of(name, call) for call in calls]


def is_complex(x: Any) -> bool:
    return np.asarray(x).dtype.kind == "c"


def takes_complex(case: Case) -> bool:
    return any(map(is_complex, case.operands))


def columns(v: Any) -> Any:
    """What does not depend on the phases of vectors, given as columns."""
    return v * np.conj(v[..., :1, :])


def of_svd(y: Any) -> Any:
    if isinstance(y, np.ndarray | tg.Tensor):
        return y
    u, s, vh = y
    n = s.shape[-1]
    whole = (u[..., :n] * np.sqrt(1 + s)[..., None, :]) @ vh[..., :n, :]
    return columns(u), s, columns(vh.mT), whole


def of_svd_joined(y: Any, a: Any) -> Any:
    s, u, vh = np.split(y, [1, 1 + a.shape[-2]], axis=-1)
    return of_svd((u.mT, s[..., 0], vh))


# the phases of vectors are LAPACK's choice, and differences show it
PHASELESS: dict[str, Any] = {
    "complement": lambda y, a: y @ np.conj(y).mT,
    **dict.fromkeys(("eig", "eigh"), lambda y, a: (y[0], columns(y[1]))),
    **dict.fromkeys(
        ("eig_joined", "eigh_joined"), lambda y, a: (y[..., 0], columns(y[..., 1:].mT))
    ),
    "svd": lambda y, a: of_svd(y),
    "svd_joined": of_svd_joined,
}


def floating_of(case: Case) -> tuple[Any, list[Any]]:
    """The op as a function of its floating and complex operands alone, and these."""
    places = [i for i, x in enumerate(case.operands) if x.dtype.kind in "fc"]

    def fn(*xs: Any) -> Any:
        operands = list(case.operands)
        for i, x in zip(places, xs, strict=True):
            operands[i] = x
        y = case.fn(*operands)
        return PHASELESS[case.name](y, operands[0]) if case.name in PHASELESS else y

    return fn, [case.operands[i] for i in places]


@every_taking_op
def test_values_are_numpys(name: str) -> None:
    for case in complex_cases(name, test_values_are_numpys):
        with np.errstate(all="ignore"):
            with warnings.catch_warnings(record=True) as dropping:
                warnings.simplefilter("always", np.exceptions.ComplexWarning)
                want = tg.tree.leaves(case.expected())
            if dropping and case.operands[1].size:
                # an imaginary part would be lost
                with pytest.raises(TypeError, match="complex"):
                    case.fn(*case.operands)
                continue
            output, _ = tg.record(case.fn)(*case.operands)
            plain = tg.tree.leaves(case.fn(*case.operands))
        for y, x, w in zip(tg.tree.leaves(output), plain, want, strict=True):
            y, w = np.asarray(y.value if isinstance(y, tg.Tensor) else y), np.asarray(w)
            assert (y.shape, y.dtype) == (w.shape, w.dtype), case
            assert np.asarray(x).dtype == w.dtype
            eps = 64 * float(np.finfo(w.dtype).eps) if w.dtype.kind in "fc" else 0
            size = np.max(np.abs(w), initial=1.0) if eps else 0
            np.testing.assert_allclose(y, w, rtol=eps, atol=eps * size)


@pytest.mark.parametrize("name", DERIVED)
def test_derivatives_are_those_of_differences(name: str) -> None:
    for case in complex_cases(name, test_derivatives_are_those_of_differences):
        fn, operands = floating_operands(case)
        if passes_complex(case):
            check_grads(fn, operands, order=2)


@every_taking_op
def test_properties_hold(name: str) -> None:
    for case in complex_cases(name, test_properties_hold):
        fn, operands = floating_operands(case)
        if passes_complex(case):
            check_properties(fn, operands)


@every_taking_op
def test_batches_are_loops(name: str) -> None:
    for case in complex_cases(name, test_batches_are_loops):
        fn, operands = floating_operands(case)
        if passes_complex(case):
            check_batched(fn, operands)


def passes_complex(case: Case) -> bool:
    """Whether the result has a derivative."""
    return any(np.asarray(y).dtype.kind in "fc" for y in tg.tree.leaves(case.fn(*case.operands)))


@every_taking_op
def test_gradients_and_tangents_have_the_dtypes_of_their_primals(name: str) -> None:
    for case in complex_cases(name, test_gradients_and_tangents_have_the_dtypes_of_their_primals):
        fn, operands = floating_operands(case)
        if not passes_complex(case):
            continue
        output, pullback = tg.vjp(fn, *operands)
        cotangents = pullback(tg.tree.map(lambda y: np.ones(np.shape(y), y.dtype), output))
        for c, x in zip(cotangents, operands, strict=True):
            assert (c.dtype, c.shape) == (x.dtype, x.shape)
        _, tangents = tg.jvp(fn, operands, [np.ones_like(x) for x in operands])
        for t, y in zip(tg.tree.leaves(tangents), tg.tree.leaves(output), strict=True):
            assert t.dtype == y.dtype or np.asarray(y).dtype.kind not in "fc"


@pytest.mark.parametrize("name", REFUSING)
def test_other_ops_refuse_complex_operands_by_name(name: str) -> None:
    for case in complex_cases(name, test_other_ops_refuse_complex_operands_by_name)[:3]:
        if not takes_complex(case):
            continue
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
        check_grads(f, (SPINNING,))
    check_grads(lambda a: columns(np.linalg.eig(a)[1]), (SPINNING,))
    check_grads(lambda a: columns(np.linalg.eig(a)[1]), (A,))
    program = tg.compile(lambda a: np.sum(np.linalg.eigvals(a)))
    assert program(np.diag([1.0, 2.0])) == 3
    for call in (program, tg.compile(lambda a: np.linalg.eig(a)[0])):
        with pytest.raises(TypeError, match=r"astype\(complex\)"):
            call(SPINNING)


# of a Hermitian matrix each reads one triangle, and of the diagonal the real part
HERMITIAN: dict[str, Any] = {
    "eigvalsh": np.linalg.eigvalsh,
    "eigh": lambda a: columns(np.linalg.eigh(a)[1]),
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
    check_grads(f, (Z,))


@pytest.mark.parametrize("name", ["eigh", "eig", "svd"])
def test_a_loss_that_depends_on_phases_is_warned_of_by_name(name: str) -> None:
    def vectors(a: Any) -> Any:
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
def test_norms_square_nothing_and_have_the_slope_0_at_0(ord: Any) -> None:
    tiny = np.array([3e-23 + 4e-23j, 0], np.complex64)
    large = np.array([3e30 + 4e30j, 0], np.complex64)
    for x in (tiny, large):
        y, pullback = tg.vjp(lambda z: np.linalg.norm(z, ord), x)
        np.testing.assert_allclose(y / np.abs(x[0]), 1, rtol=1e-5)
        np.testing.assert_allclose(pullback(np.ones_like(y))[0], [0.6 + 0.8j, 0], rtol=1e-5)
    assert not tg.grad(lambda z: np.linalg.norm(z, ord))(np.zeros(3, complex)).any()
    assert tg.norm(np.array([np.inf + 1j, 2.0]), ord) == np.inf
