"""Sparse arrays, their equations and eigenvalues are SciPy's, with the derivatives of dense ones.

They are trees of their numbers; one factorization serves all derivatives; iterations that fail
raise.
"""

import inspect
import pickle
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import attrs
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

sp: Any = pytest.importorskip("scipy.sparse")
sl: Any = pytest.importorskip("scipy.sparse.linalg")
ours: Any = pytest.importorskip("tapegrad.scipy.sparse")

LINALG = ours.linalg
RNG = np.random.default_rng(0)
N = 5
# some places occur twice, and some lie beside the diagonal
ROWS = np.array([0, 1, 2, 3, 4, 0, 1, 4, 2, 0])
COLS = np.array([0, 1, 2, 3, 4, 3, 0, 2, 2, 3])
DATA = np.array([3.0, -4.0, 2.5, 3.5, -3.0, 0.5, -1.0, 0.25, 0.75, 1.0])
B = RNG.normal(size=N)
BS = RNG.normal(size=(N, 3))
TURN = np.exp(1j * np.arange(10.0))


def of(data: Array, shape: tuple[int, ...] = (N, N)) -> Any:
    return ours.coo_array((data, (ROWS, COLS)), shape)


def theirs(data: Array, shape: tuple[int, ...] = (N, N)) -> Any:
    return sp.coo_array((data, (ROWS, COLS)), shape)


def dense(data: Array) -> Array:
    return np.einsum("k,ki,kj->ij", data, np.eye(N)[ROWS], np.eye(N)[COLS])


PROVED: dict[str, Any] = {
    "A x = b": (lambda solve, make, d, b: solve(make(d), b), DATA, B),
    "A X = B": (lambda solve, make, d, b: solve(make(d), b), DATA, BS),
    "A x = b, a column": (lambda solve, make, d, b: solve(make(d), b), DATA, BS[:, :1]),
    "A @ x": (lambda solve, make, d, x: make(d) @ x, DATA, B),
    "A @ X": (lambda solve, make, d, x: make(d) @ x, DATA, BS),
    "A.T @ x": (lambda solve, make, d, x: make(d).T @ x, DATA, B),
    "wide @ X": (lambda solve, make, d, x: make(d, (5, 7)) @ x, DATA, RNG.normal(size=(7, 2))),
    "X.T @ A": (lambda solve, make, d, x: x.T @ make(d), DATA, BS),
    "arithmetic": (
        lambda solve, make, d: (
            (2 * make(d) - make(d[::-1]).T / 4 + make(d) * 0.5).toarray(),
            (-make(d)).conj().toarray(),
        ),
        DATA,
    ),
}


@pytest.mark.parametrize("case", PROVED)
def test_it_is_scipys(case: str) -> None:
    fn, *args = PROVED[case]
    prove(
        lambda *a: fn(ours.linalg.spsolve, of, *a),
        lambda *a: fn(lambda A, b: sl.spsolve(A.tocsc(), b), theirs, *a),
        args,
        rtol=1e-12,
        order=ORDER,
        single=case != "arithmetic",  # SciPy divides in float64
    )


PARTS: dict[str, Any] = {
    "places": lambda make: (DATA, (ROWS, COLS)),
    "lists": lambda make: (list(DATA), [list(ROWS), list(COLS)]),
    "one of its own": lambda make: make((DATA, (ROWS, COLS))),
    "by rows": lambda make: theirs(DATA).tocsr(),
    "a matrix": lambda make: sp.coo_matrix((DATA, (ROWS, COLS))),
    "dense": lambda make: dense(DATA),
    "a row": lambda make: dense(DATA)[:1],
    "a vector": lambda make: sp.coo_array(DATA),
}


@pytest.mark.parametrize("part", PARTS)
def test_it_is_built_from_what_scipys_is_built_from(part: str) -> None:
    for shape in (None, (N, N), (N, 7), (6, N), (1, N), (2, 2), (N,)):

        def built(make: type[Any], shape: tuple[int, ...] | None = shape) -> Any:
            return make(PARTS[part](make), shape=shape)

        try:
            want = built(sp.coo_array)
        except ValueError:
            refuses_alike(lambda f=built: f(ours.coo_array), lambda f=built: f(sp.coo_array))
            continue
        if want.ndim != 2:
            with pytest.raises(ValueError, match="two axes"):
                built(ours.coo_array)
            continue
        if part == "one of its own" and shape not in (None, want.shape):
            # SciPy takes no notice
            with pytest.raises(ValueError, match="inconsistent shapes"):
                built(ours.coo_array)
            continue
        got = built(ours.coo_array)
        assert got.shape == want.shape
        same(got.toarray(), want.toarray())
        same((got * np.inf).toarray(), (want * np.inf).toarray())


def test_it_is_a_tree_of_its_numbers() -> None:
    A = of(DATA)
    assert tg.tree.paths(A) == ["data"]
    same(tg.tree.map(lambda x, y: x + y, A, A).toarray(), 2 * A.toarray())
    same(tg.tree.update({"A": A}, {"A.data": 3 * DATA})["A"].toarray(), 3 * A.toarray())
    again = pickle.loads(pickle.dumps(A))
    assert tg.tree.flatten(again)[1] == tg.tree.flatten(A)[1] != tg.tree.flatten(A.T)[1]
    assert hash(tg.tree.flatten(again)[1]) == hash(tg.tree.flatten(A)[1])
    with pytest.raises(ValueError, match="differ at pattern"):
        tg.tree.map(np.add, A, A.T)
    with pytest.raises(attrs.exceptions.FrozenInstanceError):
        A.data = DATA
    by_array = tg.grad(lambda A: np.sum(A @ B))(A)
    assert isinstance(by_array, ours.coo_array)
    same(by_array.data, B[COLS])
    several = tg.tree.map(lambda d: np.stack([d, 2 * d]), A)
    same(tg.vmap(lambda A, x: A @ x, in_axes=(0, None))(several, B), np.stack([A @ B, 2 * (A @ B)]))


def test_the_callers_arrays_are_copied_and_no_result_is_a_view_of_them() -> None:
    data, rows, b = DATA.copy(), ROWS.copy(), np.zeros(3)
    A = ours.coo_array((data, (rows, COLS)))
    before = A @ B
    solutions = [
        tg.compile(lambda b, f=f: f(np.eye(3), b)[0])(b) for f in (LINALG.cg, LINALG.gmres)
    ]
    data[:], rows[:], b[:] = 0, 0, 1
    same(A @ B, before)
    same(solutions, [np.zeros(3)] * 2)


def test_a_program_takes_and_returns_it() -> None:
    squares = tg.value_and_grad(lambda A, b: np.sum(ours.linalg.spsolve(A, b) ** 2))
    step = tg.compile(squares, check=True)
    for A in (of(DATA), of(2 * DATA), pickle.loads(pickle.dumps(of(DATA)))):
        value, gradient = step(A, B)
        same(value, np.sum(np.linalg.solve(A.toarray(), B) ** 2), 1e-12)
        assert gradient.pattern == A.pattern
    assert len(step.signatures) == 1
    step(of(DATA).T, B)
    assert len(step.signatures) == 2
    program = step.program(of(DATA), B)
    assert pickle.loads(pickle.dumps(program)) == program


def loss(d: Array, b: Array) -> Array:
    return np.sum(np.cos(ours.linalg.spsolve(of(d), b)))


def through_time(d: Array, b: Array) -> Array:
    def step(x: Array, _: Any) -> tuple[Any, ...]:
        return ours.linalg.spsolve(of(d), x) + b, None

    return np.sum(tg.scan(step, b, length=4)[0] ** 2)


@pytest.mark.parametrize(
    ("fn", "wanted"),
    [
        (tg.grad(loss, (0, 1)), 1),
        (tg.hessian(loss), 1),
        (tg.compile(tg.grad(loss, (0, 1))), 1),
        (tg.compile(tg.hessian(loss)), 1),
        (tg.compile(tg.grad(through_time)), 1),
        (tg.vmap(tg.grad(loss), (None, 0)), 1),
    ],
    ids=["gradient", "second", "compiled", "compiled second", "through time", "batch of sides"],
)
def test_one_factorization_serves_all(
    monkeypatch: pytest.MonkeyPatch, fn: Callable[..., Any], wanted: int
) -> None:
    made: list[Any] = []
    splu = sl.splu

    def counted(*args: Any, **kwargs: Any) -> Any:
        made.append(args)
        return splu(*args, **kwargs)

    batch = type(fn).__name__ == "Vmap"
    given = np.stack([B, 2 * B]) if batch else B
    fn(DATA, given)
    monkeypatch.setattr(sl, "splu", counted)
    fn(DATA, given)
    assert len(made) == wanted


@pytest.mark.parametrize(
    "fn",
    [
        lambda s, of: s.linalg.spsolve(of(DATA), B[:3]),
        lambda s, of: s.linalg.spsolve(of(DATA, (5, 6)), B),
        lambda s, of: s.linalg.splu(of(DATA, (6, 5))),
        lambda s, of: s.linalg.splu(of(DATA)).solve(B, "X"),
        lambda s, of: s.linalg.splu(of(DATA)).solve(B[:2]),
        lambda s, of: of(DATA) @ B[:2],
        lambda s, of: of(DATA[:3]),
        lambda s, of: of(DATA, (2, 2)),
        lambda s, of: of(DATA) + of(DATA, (6, 6)),
    ],
)
@pytest.mark.filterwarnings("ignore::scipy.sparse.SparseEfficiencyWarning")
def test_wrong_arguments_are_refused_as_by_scipy(fn: Callable[..., Any]) -> None:
    refuses_alike(lambda: fn(ours, of), lambda: fn(sp, theirs))


# --- by products alone --------------------------------------------------------------------

EXACT = {"rtol": 1e-13, "atol": 1e-14}
Q = RNG.normal(size=(4, 4))
B4 = RNG.normal(size=4)
REGULAR = Q + 5 * np.eye(4)
POSITIVE = Q @ Q.T + 4 * np.eye(4)
PLACES = np.divmod(np.arange(16), 4)
TURNED = POSITIVE + 0.5j * (Q - Q.T)


def solved(d: Array, b: Array) -> Array:
    return ours.linalg.spsolve(of(d), b)


def by_cg(a: Array, b: Array) -> Array:
    return ours.linalg.cg((a + np.conj(a).T) / 2, b, **EXACT)[0]


def by_gmres(a: Array, b: Array, *start: Any, **options: Any) -> Array:
    return ours.linalg.gmres(a, b, *start, **options, **EXACT)[0]


def by_matrix(d: Array, b: Array) -> Array:
    return np.linalg.solve(dense(d) if np.ndim(d) == 1 else d, b)


# the function, another way to its value, and the arguments
CASES: dict[str, Any] = {
    "both complex": (solved, by_matrix, DATA * TURN, B + 1j),
    "a complex side": (solved, by_matrix, DATA, BS * (1 + 2j)),
    "a complex array": (solved, by_matrix, DATA * TURN, B),
    "adjoint": (
        lambda d, b: ours.linalg.splu(of(d)).solve(b, "H"),
        lambda d, b: np.linalg.solve(dense(d).conj().T, b),
        DATA * TURN,
        B + 1j,
    ),
    "transposed": (
        lambda d, b: ours.linalg.splu(of(d)).solve(b, "T"),
        lambda d, b: np.linalg.solve(dense(d).T, b),
        DATA * TURN,
        B + 1j,
    ),
    "product": (
        lambda d, b: of(d).conj().T @ b,
        lambda d, b: dense(d).conj().T @ b,
        DATA * TURN,
        BS + 1j,
    ),
    "cg": (by_cg, by_matrix, POSITIVE, B4),
    "cg, complex": (by_cg, by_matrix, TURNED, B4 + 1j),
    "gmres": (by_gmres, by_matrix, REGULAR, B4),
    "gmres, complex": (by_gmres, by_matrix, REGULAR + 1j * Q.T, B4),
    "gmres, begun elsewhere": (
        lambda a, b: by_gmres(a, b, B4, M=np.diag(1 / np.diag(REGULAR))),
        by_matrix,
        REGULAR,
        B4,
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_solutions_have_the_adjoint(case: str) -> None:
    fn, other, *args = CASES[case]
    same(fn(*args), other(*args), 1e-9)
    check_grads(fn, args, order=ORDER)
    check_properties(fn, args, compiled=True)


@pytest.mark.parametrize("name", ["cg", "gmres"])
def test_a_function_may_capture_what_it_likes(name: str) -> None:
    solve = getattr(ours.linalg, name)

    def by_function(d: Array, scale: Array | float, b: Array) -> Array:
        sparse = ours.coo_array((d, PLACES))
        return solve(lambda x: scale * (sparse @ x + sparse.T @ x) + 2 * x, b, **EXACT)[0]

    def by_array(d: Array, scale: Array, b: Array) -> Array:
        a = d.reshape(4, 4)
        return np.linalg.solve(scale * (a + a.T) + 2 * np.eye(4), b)

    args = POSITIVE.ravel(), 0.5, B4
    slopes = [
        tg.value_and_grad(lambda *a, fn=fn: np.sum(fn(*a) ** 2), (0, 1, 2))(*args)
        for fn in (by_function, by_array)
    ]
    same(*slopes, 1e-9)
    check_properties(by_function, args, compiled=True)
    tg.testing.check_batched(by_function, args)


def test_neither_direction_makes_a_matrix() -> None:
    # one of 100,000 unknowns would take 80 GB
    n = 100_000
    weights = np.linspace(1.0, 2.0, n)
    gradient = tg.grad(lambda w: np.sum(ours.linalg.cg(lambda x: w * x, np.ones(n), rtol=1e-10)[0]))
    np.testing.assert_allclose(gradient(weights), -1 / weights**2, rtol=1e-6)


# --- eigenvalues --------------------------------------------------------------------------


def band(d: Array, e: Array, module: ModuleType | None = None) -> Any:
    """A Hermitian array with these diagonals."""
    i, j = np.arange(len(d)), np.arange(len(e))
    places = np.concatenate([i, j, j + 1]), np.concatenate([i, j + 1, j])
    make = ours.coo_array if module is None else module.coo_array
    return make((np.concatenate([d, e, np.conj(e)]), places), (len(d), len(d)))


D, E = np.array([1.0, 2.5, 4.5, 5.0, 7.5]), np.array([0.5, -1.0, 0.75, 1.5])
OFF = E * np.exp(1j * np.arange(4))
PAIRS: dict[str, Any] = {
    "largest": ({"which": "LA"}, E),
    "in the middle": ({"sigma": 3.0}, E),
    "complex": ({"which": "LA"}, OFF),
}


@pytest.mark.parametrize("case", PAIRS)
def test_eigenpairs_are_scipys(case: str) -> None:
    options, e = PAIRS[case]

    def pairs(d: Array, e: Array) -> tuple[Array, Array]:
        w, v = ours.linalg.eigsh(band(d, e), 2, **options)
        # whatever its sign or phase
        return w, np.abs(v) ** 2

    w, v = sl.eigsh(band(D, e, sp).tocsc(), 2, **options)
    order = np.argsort(w)
    same(pairs(D, e), (w[order], np.abs(v[:, order]) ** 2), 1e-10)
    same(ours.linalg.eigsh(band(D, e), 2, return_eigenvectors=False, **options), w[order], 1e-10)
    check_grads(pairs, (D, e), order=ORDER)
    check_properties(pairs, (D, e), compiled=True)
    if ORDER == 2:
        tg.testing.check_batched(pairs, (D, e))


@pytest.mark.skipif(
    "rng" not in inspect.signature(sl.eigsh).parameters, reason="SciPy draws restarts unseeded"
)
@pytest.mark.parametrize("dtype", [float, complex])
def test_eigenpairs_are_the_same_in_each_call_wherever_the_iterations_restart(dtype: type) -> None:
    # the iterations end early in a subspace, and restart at vectors that SciPy draws
    places = np.indices((9, 9)).reshape(2, -1)
    for matrix in (np.eye(9), np.ones((9, 9)), np.diag(np.arange(9) % 2 + 1.0)):

        def pairs(elements: Array) -> tuple[Array, Array]:
            return ours.linalg.eigsh(ours.coo_array((elements, places), (9, 9)), 3)

        elements = matrix.astype(dtype).ravel()
        first = [x.tobytes() for x in pairs(elements)]
        assert all([x.tobytes() for x in pairs(elements)] == first for _ in range(3))
        tg.compile(pairs, check=True)(elements)


def test_gradients_of_eigenvalues_are_hermitian_and_need_no_simple_ones() -> None:
    gradient = tg.grad(lambda A: np.sum(ours.linalg.eigsh(A, 3)[0]))(band(np.ones(5), np.zeros(4)))
    # the sum of three that are equal
    assert np.isclose(np.sum(gradient.data[:5]), 3.0)
    by_array = tg.grad(lambda A: ours.linalg.eigsh(A, 2)[0][0])(band(D, OFF)).toarray()
    same(by_array, by_array.conj().T)
    with pytest.warns(UserWarning, match="phases of complex vectors"):
        tg.grad(lambda A: np.sum(ours.linalg.eigsh(A, 2)[1].imag))(band(D, OFF))


NO_RESULT: list[tuple[Any, Any]] = [
    (np.linalg.LinAlgError, lambda: LINALG.spsolve(of(0 * DATA), B)),
    (RuntimeError, lambda: LINALG.spsolve(of(DATA * 1e-310), B)),
    (RuntimeError, lambda: tg.compile(tg.grad(loss))(0 * DATA, B)),
    (TypeError, lambda: of(DATA) @ of(DATA)),
    (TypeError, lambda: of(DATA) * B),
    (TypeError, lambda: np.sin(of(DATA))),
    (TypeError, lambda: np.asarray(of(DATA))),
    (TypeError, lambda: LINALG.spsolve(of(DATA), of(DATA))),
    (TypeError, lambda: tg.grad(lambda x: np.sum(ours.coo_array(x).data))(np.eye(2))),
    (TypeError, lambda: tg.grad(lambda d: of(d).tocsc().sum())(DATA)),
    (np.linalg.LinAlgError, lambda: LINALG.cg(-POSITIVE + 6 * np.diag(B4), B4, maxiter=2, **EXACT)),
    (np.linalg.LinAlgError, lambda: LINALG.gmres(lambda x: x + 1.0, B4, **EXACT)),
    (np.linalg.LinAlgError, lambda: LINALG.gmres(lambda x: x * x, B4, maxiter=2)),
    (ValueError, lambda: LINALG.cg(lambda x: x[:2], B4)),
    (ValueError, lambda: LINALG.cg(POSITIVE, B4[:3])),
    (ValueError, lambda: LINALG.cg(POSITIVE, B4, x0=B4[:2])),
    (ValueError, lambda: LINALG.cg(POSITIVE, B4, M=np.eye(2))),
    (TypeError, lambda: LINALG.cg(POSITIVE, B4, callback=print)),
    (TypeError, lambda: LINALG.gmres(sl.aslinearoperator(POSITIVE), B4)),
    (TypeError, lambda: LINALG.eigsh(np.eye(4), 2)),
    (TypeError, lambda: LINALG.eigsh(of(DATA), 2, M=of(DATA))),
    (ValueError, lambda: LINALG.eigsh(of(DATA), 5)),
    (ValueError, lambda: LINALG.eigsh(of(DATA, (5, 6)), 2)),
    (
        sl.ArpackNoConvergence,
        lambda: LINALG.eigsh(band(np.arange(60.0), np.ones(59)), 2, maxiter=1),
    ),
    (
        RuntimeError,
        lambda: tg.grad(lambda d: np.sum(LINALG.eigsh(band(d, np.zeros(4)), 2)[1]))(np.ones(5)),
    ),
]


def test_refusals_of_sparse_arrays_say_what_to_pass(tmp_path: Path) -> None:
    array = ours.coo_array(np.eye(3))
    for fn in (sl.splu, sp.csc_array, lambda A: sl.spsolve(A, np.ones(3))):
        with pytest.raises(ValueError, match=r"input: <coo_array .* pass A\.tocsc\(\)"):
            fn(array)
    assert f"{array}" == repr(array)
    with pytest.raises(TypeError, match=r"factors is a SuperLU; save the coo_array, and call splu"):
        tg.save(tmp_path / "held", {"factors": LINALG.splu(array)})


@pytest.mark.parametrize(("kind", "fn"), NO_RESULT)
def test_what_has_no_result_raises(kind: type[Any], fn: Callable[..., Any]) -> None:
    with pytest.raises(kind):
        fn()


def test_products_are_moved_to_jax() -> None:
    jax: Any = pytest.importorskip("jax")
    with jax.enable_x64(True):
        for fn in (lambda A, x: A @ x, tg.grad(lambda A, x: np.sum(np.sin(A @ x)))):
            got, want = tg.to_jax(fn)(of(DATA), B), fn(of(DATA), B)
            np.testing.assert_allclose(*[tg.tree.leaves(x)[0] for x in (got, want)], rtol=1e-12)
