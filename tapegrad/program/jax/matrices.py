"""Linear algebra in JAX, with the parts of a decomposition joined as the ops have them."""

from __future__ import annotations

from typing import Any

import numpy as np


def solve(jax: Any, out: Any, a: Any, b: Any) -> Any:
    """The solution of linear equations."""
    return jax.numpy.linalg.solve(a.astype(out.dtype), b.astype(out.dtype))


def pinv(jax: Any, out: Any, a: Any, rcond: Any = None, rtol: Any = None) -> Any:
    """The pseudoinverse."""
    given = 1e-15 if rcond is None and rtol is None else rtol if rcond is None else rcond
    return jax.numpy.linalg.pinv(a.astype(out.dtype), rtol=given)


def cofactor(jax: Any, out: Any, a: Any, *directions: Any) -> Any:
    """The gradient of the determinant, and its derivatives in directions."""

    def along(f: Any, d: Any) -> Any:
        return lambda a: jax.jvp(f, (a,), (d.astype(out.dtype),))[1]

    f = jax.grad(lambda a: jax.numpy.linalg.det(a).sum())
    for d in directions:
        f = along(f, d)
    return f(a.astype(out.dtype))


def cholesky(jax: Any, out: Any, a: Any, upper: bool = False) -> Any:
    """The Cholesky factor, of one triangle."""
    return jax.numpy.linalg.cholesky(a.astype(out.dtype), upper=upper, symmetrize_input=False)


def eigh(jax: Any, out: Any, a: Any, UPLO: str = "L") -> Any:  # noqa: N803
    """Eigenvalues and, in rows, eigenvectors."""
    w, v = jax.numpy.linalg.eigh(a.astype(out.dtype), UPLO=UPLO, symmetrize_input=False)
    return jax.numpy.concatenate([w[..., None], v.mT], axis=-1)


def eigvalsh(jax: Any, out: Any, a: Any, UPLO: str = "L") -> Any:  # noqa: N803
    """Eigenvalues."""
    return jax.numpy.linalg.eigh(a.astype(out.dtype), UPLO=UPLO, symmetrize_input=False)[0]


def qr(jax: Any, out: Any, a: Any) -> Any:
    """Both factors, the first one transposed."""
    q, r = jax.numpy.linalg.qr(a.astype(out.dtype))
    return jax.numpy.concatenate([q.mT, r], axis=-1)


def slogdet(jax: Any, out: Any, a: Any) -> Any:
    """The sign and the logarithm of the determinant."""
    return jax.numpy.stack(tuple(jax.numpy.linalg.slogdet(a.astype(out.dtype))), axis=-1)


def svd(jax: Any, out: Any, a: Any) -> Any:
    """Singular values, and the vectors of both sides in rows."""
    u, s, vh = jax.numpy.linalg.svd(a.astype(out.dtype), full_matrices=False)
    return jax.numpy.concatenate([s[..., None], u.mT, vh], axis=-1)


def matrix_rank(
    jax: Any,
    out: Any,
    A: Any,
    tol: Any = None,
    hermitian: bool = False,
    rtol: Any = None,  # noqa: N803
) -> Any:
    """How many singular values are not negligible."""
    s = jax.numpy.linalg.svd(A, compute_uv=False)
    if tol is None:
        least = max(A.shape[-2:]) * np.finfo(s.dtype).eps if rtol is None else rtol
        tol = s.max(axis=-1, initial=0) * least
    return (s > jax.numpy.asarray(tol)[..., None]).sum(axis=-1)
