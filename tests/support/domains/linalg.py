"""Calls to test linear algebra on."""

from __future__ import annotations

from typing import Any

import numpy as np

from domains import words as w
from tapegrad.domain import (
    REAL,
    SHAPES,
    STACKS,
    WELL,
    Call,
    Choices,
    Domain,
    Elements,
    matrices,
    matrix,
)
from tapegrad.ops.product import move_axis
from tapegrad.types import Array


def _hermitian(choose: Choices, a: Array) -> bool:
    """Whether a matrix is to count as hermitian: if it is square, it may."""
    return a.shape[-1] == a.shape[-2] and choose.among(w.FLAG)


def _solve_calls(choose: Choices) -> Call:
    n, stack = choose.among([2, 3, 1, 0]), choose.among(STACKS)
    a = matrix(choose, n, n, stack)
    right = choose.among([(n,), (n, 2), (n, 0), (*stack, n, 1), (1, n, 2)])
    return Call((a, choose.array(right, REAL, "df")))


def _det_calls(choose: Choices) -> Call:
    """Calls on a matrix that may be singular."""
    (a,) = matrices()(choose).args
    if a.size and choose.among(w.FLAG):
        a = np.array(a)
        a[..., -1, :] = choose.among([0, 1]) * a[..., 0, :]
    return Call((a,))


def _cofactor_calls(choose: Choices) -> Call:
    (a,) = _det_calls(choose).args
    n = choose.integer(0, 1)
    return Call(([a, *[choose.array(a.shape, REAL, a.dtype.char) for _ in range(n)]],))


_ORDERS = [None, 2, 1, np.inf, -np.inf, 0, 3, 2.5, 0.5, -1, -2]
_MATRIX_ORDERS = ["fro", "nuc", 1, -1, 2, -2, np.inf, -np.inf]


def _vectors(choose: Choices, ord: float | None) -> Array:
    """An array of vectors to take norms of."""
    # the slopes of powers below 1, and second slopes of those below 2, are infinite at 0
    elements = Elements(poles=(0.0,)) if ord in (2.5, 0.5, -1, -2) else REAL
    return choose.array(choose.shape(min_dims=1, min_side=1), elements)


def _norm_calls(choose: Choices) -> Call:
    ord: Any
    axis: Any
    if choose.among(w.FLAG):
        (x,) = matrices(*SHAPES[:4])(choose).args
        ord, axes = choose.among(_MATRIX_ORDERS), (x.ndim - 2, x.ndim - 1)
        axis = choose.among([axes, axes[::-1]] + [None] * (x.ndim == 2))
        if x.ndim == 3:
            x, axis = move_axis(x, 0, 1), choose.among([(0, 2), (-1, 0)])
    else:
        ord = choose.among(_ORDERS)
        x = _vectors(choose, ord)
        axis = choose.axis(x.ndim)
        if x.ndim == 1 or ord is None:
            axis = choose.among([None, axis])
    return Call((x,), {"ord": ord, "axis": axis, "keepdims": choose.among(w.FLAG)})


def _vector_norm_calls(choose: Choices) -> Call:
    ord = choose.among(_ORDERS[1:])
    x = _vectors(choose, ord)
    return Call(
        (x,), {"axis": w.axes(choose, x) or None, "keepdims": choose.among(w.FLAG), "ord": ord}
    )


def _right_side(choose: Choices, a: Array) -> Array:
    return choose.array(choose.among([a.shape[:1], (len(a), 2)]), REAL, "df")


def _tensorsolve_calls(choose: Choices) -> Call:
    a = matrix(choose, 2, 2).reshape(2, 1, 2)
    axes = choose.among([None, (0,), [1, 2], (0, 1)])
    if isinstance(axes, tuple):
        a = np.transpose(a, (2, 0, 1) if len(axes) == 1 else (1, 2, 0))
    return Call((a, choose.array((2,), REAL, "df")), {"axes": axes})


_ANY, _SQUARE = matrices(*SHAPES), matrices()
_WAYS: list[dict[str, Any]] = [{"full_matrices": False}, {"compute_uv": False}, {}]

# By the name of the op or the function.
DOMAINS: dict[str, Domain] = {
    **dict.fromkeys(("inv", "slogdet", "eigvals", "eig"), _SQUARE),
    "pinv": w.more(matrices(*SHAPES, rcond=[None, 1e-3]), hermitian=_hermitian),
    "solve": _solve_calls,
    "cofactor": _cofactor_calls,
    "det": _det_calls,
    "matrix_rank": matrices(*SHAPES, tol=[None, 1.5]),
    "cholesky": matrices(base=np.abs(WELL), upper=w.FLAG),
    **dict.fromkeys(("eigvalsh", "eigh"), matrices(UPLO=["L", "U"])),
    "svdvals": _ANY,
    "thin_svd": matrices(*SHAPES, (3, 3)),
    "thin_qr": matrices((2, 2), (3, 2), (3, 3), (1, 1), (2, 0)),
    "complement": matrices((2, 1), (3, 2), (2, 0), of=["u", "v", "q"]),
    "norm": _norm_calls,
    "vector_norm": _vector_norm_calls,
    "matrix_norm": matrices(*SHAPES[:4], ord=_MATRIX_ORDERS, keepdims=w.FLAG),
    "cond": matrices((2, 2), (3, 3), p=[None, *_MATRIX_ORDERS]),
    "svd": w.more(_ANY, ways=_WAYS, hermitian=_hermitian),
    "qr": matrices(*SHAPES, mode=["reduced", "r", "complete"]),
    "lstsq": w.calls(
        lambda c: matrix(c, *c.among(SHAPES)), _right_side, rcond=[None, -1, 0, 1e-3, 1.0, 2]
    ),
    "tensorsolve": _tensorsolve_calls,
    "tensorinv": w.calls(lambda c: matrix(c, 3, 3).reshape(3, 1, 3), ind=[1, 2]),
    "matrix_power": w.more(_SQUARE, w.whole(-3, 5)),
}
