"""Results that share an operand's memory: found on every op's calls, and declared."""

import importlib.util
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
from op_calls import sample_calls
from package_ops import package_ops
from sharing import SHORT, check_sharing, may_share, shared

import tapegrad as tg
from tapegrad.core.primitive import Primitive
from tapegrad.declare import OPS, declared_key, is_elementwise
from tapegrad.ops.scipy_special import SCIPY_OPS
from tapegrad.types import Array, PyTree


def calls_of(op: tg.Op[Any], complex: bool, n: int = 4) -> Iterator[tuple[Any, ...]]:
    """The operands and options of sample calls; none where a call is composed of other ops."""
    for call in sample_calls(op, n, seed=3, complex=complex):
        if not (op.general and op.signature.has_unknown_arguments(call.args, call.kwargs)):
            yield op.bind(call.args, call.kwargs)


def shared_in_calls(op: tg.Op[Any], complex: bool) -> set[int]:
    """The operands whose memory a result shares, in any of the op's calls."""
    of_calls: set[int] = set()
    of = op.complex if complex and isinstance(op.complex, Primitive) else op
    for operands, options in calls_of(op, complex):
        of_calls |= shared(of, operands, options)
    return of_calls


def test_ops_share_the_memory_that_they_declare() -> None:
    wrong = {}
    for name, op in OPS.items():
        of_calls = shared_in_calls(op, False)
        if op.complex:
            of_calls |= shared_in_calls(op, True)
        if of_calls != may_share(op):
            wrong[name] = of_calls
    assert not wrong


# --- ops without sample calls: each occurs in a program of one of these --------------------------

X = np.linspace(0.1, 1.0, 6)
A = np.array([[4.0, 1.0, 0.0], [1.0, 3.0, 0.5], [0.0, 0.5, 5.0]])
K = tg.random.key(0)


@tg.custom_vjp(lambda g, y, x: (g[0] + g[1],))
def two_views(x: Array) -> tuple[Array, Array]:
    return x, x[::-1]


@tg.custom_op(vjps=(lambda g, y, x: g,))
def itself(x: Array) -> Array:
    return x


def scan_of_views(x: Array) -> tuple[PyTree, PyTree]:
    return tg.scan(lambda c, r: (c[::-1], (r, c)), x, np.outer(x, x))


CALLED: dict[str, tuple[Callable[..., Any], tuple[Any, ...]]] = {
    "custom_op": (lambda x: itself(np.sin(x)), (X,)),
    "custom_op, large": (lambda x: itself(np.sin(x)), (np.ones(5000),)),
    "custom_op, example by example": (lambda x: tg.vmap(itself)(np.sin(x)), (X,)),
    "custom_vjp": (lambda x: two_views(np.sin(x)), (X,)),
    "custom_vjp, large": (lambda x: two_views(np.sin(x)), (np.ones(5000),)),
    "implicit_root": (lambda x: tg.implicit_root(lambda r, x: r - x, lambda x: x)(x * 2), (X,)),
    "cond": (lambda x: tg.cond(x[0] > 0, lambda a: a, lambda a: a[::-1], x), (X,)),
    "scan": (scan_of_views, (X,)),
    "fori_loop": (lambda x: tg.fori_loop(0, 3, lambda i, c: c[::-1], x), (X,)),
    "while_loop": (lambda x: tg.while_loop(lambda c: c[0] < 1, lambda c: c[::-1] + 1, x), (X,)),
    "cholesky": (np.linalg.cholesky, (A,)),
    "key": (lambda n: tg.random.key(n), (3,)),
    "split": (tg.random.split, (K,)),
    "fold_in": (tg.random.fold_in, (K, 3)),
    "uniform": (lambda k: tg.random.uniform(k, (3,)), (K,)),
    "normal": (lambda k: (tg.random.normal(k, (3,)), tg.random.normal(k, (3,), complex)), (K,)),
    "truncated_normal": (lambda k: tg.random.truncated_normal(k, (3,)), (K,)),
    "bernoulli": (lambda k: tg.random.bernoulli(k, 0.5, (3,)), (K,)),
    "integers": (lambda k: tg.random.integers(k, 0, 5, (3,)), (K,)),
    "permutation": (lambda k, x: tg.random.permutation(k, x), (K, X)),
    "choice": (lambda k, x: tg.random.choice(k, x, (3,)), (K, X)),
}


def calls_of_scipy() -> dict[str, tuple[Callable[..., Any], tuple[Any, ...]]]:
    """Calls of SciPy's functions, where a solution is what it is begun with too."""
    from tapegrad.scipy import fft, integrate, interpolate, linalg, signal, sparse, spatial, stats
    from tapegrad.scipy._calls import recorded_again

    rows, cols, n = np.array([0, 1, 2, 0, 2]), np.array([0, 1, 2, 2, 0]), (3, 3)
    d = np.array([3.0, 4.0, 5.0, 1.0, 1.0])

    def of(data: Array) -> Any:
        return sparse.coo_array((data, (rows, cols)), n)

    def decay(t: Array | float, y: Array) -> Array:
        return -y

    return {
        "expm": (linalg.expm, (A,)),
        "sqrtm": (linalg.sqrtm, (A,)),
        "solve_sylvester": (linalg.solve_sylvester, (A, A, A)),
        "solve_banded": (lambda a, b: linalg.solve_banded((1, 1), a, b), (A, A[0])),
        "cho_solve": (lambda a, b: linalg.cho_solve(linalg.cho_factor(a), b), (A, A[0])),
        "cho_factor, complex": (lambda a: linalg.cho_factor(a)[0], (A + 0j,)),
        "lu_solve": (lambda a, b: linalg.lu_solve(linalg.lu_factor(a), b), (A, A[0])),
        "inv, whose operand is checked": (tg.vmap(linalg.inv), (A[None],)),
        "solve_triangular": (linalg.solve_triangular, (A, A[0])),
        "a distribution with a pole": (
            lambda scale: stats.gamma.cdf(np.array([0.0, 1.0]), 0.5, 0.0, scale),
            (A[0, :2],),
        ),
        "cdist": (spatial.distance.cdist, (A, A)),
        "pdist": (spatial.distance.pdist, (A,)),
        "dct": (fft.dct, (X,)),
        "convolve": (signal.convolve, (X, X)),
        "fftconvolve": (signal.fftconvolve, (X, X)),
        "lfilter": (signal.lfilter, (X[:2], X[:2], X)),
        "CubicSpline": (lambda x: interpolate.CubicSpline(np.arange(6.0), x)(x), (X,)),
        "a step that returns its operand": (
            recorded_again(lambda x: (x,), (((6,), np.dtype(float)),)),
            (X,),
        ),
        "solve_ivp": (
            lambda y: integrate.solve_ivp(decay, (0.0, 1.0), y, t_eval=[0.0, 0.5]).y,
            (X,),
        ),
        "solve_ivp, at its beginning": (
            lambda y: integrate.solve_ivp(decay, (0.0, 1.0), y, t_eval=[0.0]).y,
            (X,),
        ),
        "coo_array": (lambda d, b: (of(d) @ b, b @ of(d)), (d, A[0])),
        "spsolve": (lambda d, b: sparse.linalg.spsolve(of(d), b), (d, A[0])),
        "cg": (lambda a, b: sparse.linalg.cg(a, b, b / 4)[0], (A, A[0])),
        "gmres": (lambda a, b: sparse.linalg.gmres(a, b)[0], (A, A[0])),
        "eigsh": (lambda d: sparse.linalg.eigsh(of(d), 1), (d,)),
    }


def test_ops_without_sample_calls_share_what_they_declare() -> None:
    calls, of_scipy = CALLED, importlib.util.find_spec("scipy") is not None
    if of_scipy:
        calls = calls | calls_of_scipy()
    seen: set[Any] = set()
    for fn, args in calls.values():
        floating = tuple(i for i, x in enumerate(args) if np.asarray(x).dtype.kind in "fc")

        def loss(*args: Any, fn: Any = fn) -> Array:
            results = [y for y in tg.tree.leaves(fn(*args)) if y.dtype.kind in "fc"]
            return sum(np.sum(np.sin(np.real(y))) for y in results)

        seen |= check_sharing(fn, args)
        if floating:
            seen |= check_sharing(tg.grad(loss, floating), args)
    if of_scipy:
        ours = {op for op in package_ops() if isinstance(op, tg.Op)}
        missing = {op.name for op in ours - seen if not declared_key(op) and op not in SCIPYS}
        assert not missing


SCIPYS = {*SCIPY_OPS.values(), *[op.complex for op in SCIPY_OPS.values()]}


def test_special_functions_of_scipy_share_nothing() -> None:
    pytest.importorskip("scipy")
    for op in SCIPY_OPS.values():
        if not is_elementwise(op):
            for operands, options in calls_of(op, False, 1):
                assert not shared(op, operands, options, SHORT)
