"""Linear algebra and special functions in JAX."""

from __future__ import annotations

from typing import Any

import numpy as np

from tapegrad.ops.inverses import cofactor_by
from tapegrad.ops.special import sinc_by


def _cast(a: Any, out: Any) -> Any:
    """An operand in the dtype of the result; a complex one stays so where the result is real."""
    return a if a.dtype.kind == "c" else a.astype(out.dtype)


def _adjoint(a: Any) -> Any:
    return a.conj().mT


def pinv(jax: Any, out: Any, a: Any, rcond: Any = None, rtol: Any = None) -> Any:
    """The pseudoinverse."""
    tolerance = 1e-15 if rcond is None and rtol is None else rtol if rcond is None else rcond
    return jax.numpy.linalg.pinv(a.astype(out.dtype), rtol=tolerance)


def cofactor(jax: Any, out: Any, a: Any, *directions: Any) -> Any:
    """See `tapegrad.ops.inverses.cofactor`."""
    if not a.size:
        return a.astype(out.dtype)
    return cofactor_by(jax.numpy, *[_cast(x, out) for x in (a, *directions)])


def det(jax: Any, out: Any, a: Any) -> Any:
    """The determinant; 1 for a matrix without elements."""
    if not a.shape[-1]:
        return jax.numpy.ones(out.shape, out.dtype)
    return jax.numpy.linalg.det(a.astype(out.dtype))


def cholesky(jax: Any, out: Any, a: Any, upper: bool = False) -> Any:
    """The Cholesky factor, of one triangle."""
    # NumPy reads the triangle that it returns; JAX's gradient would be in both
    read = jax.numpy.tril((a.mT if upper else a).astype(out.dtype))
    whole = read + jax.numpy.tril(read, -1).mT.conj()
    factor = jax.numpy.linalg.cholesky(whole, symmetrize_input=False)
    return factor.mT if upper else factor


def eigh(jax: Any, out: Any, a: Any, UPLO: str = "L") -> Any:  # noqa: N803
    """Eigenvalues and eigenvectors."""
    return jax.numpy.linalg.eigh(a, UPLO=UPLO, symmetrize_input=False)


def eig(jax: Any, out: Any, a: Any, real: bool = False) -> Any:
    """Eigenvalues and eigenvectors; JAX computes them only on CPUs."""
    w, v = jax.numpy.linalg.eig(a)
    return (w, v) if a.dtype.kind == "c" or not real else _real(jax, w, v)


def eigvals(jax: Any, out: Any, a: Any, real: bool = False) -> Any:
    """Eigenvalues; JAX computes them only on CPUs."""
    w = jax.numpy.linalg.eigvals(a.astype(out.dtype))
    return w if out.dtype.kind == "c" else _real(jax, w)[0]


def _real(jax: Any, w: Any, *vectors: Any) -> tuple[Any, ...]:
    """Results of `eig`, made real; nan for a matrix with complex ones, for which NumPy raises."""
    # JAX can raise nothing that depends on a value
    is_real = jax.numpy.all(w.imag == 0, axis=-1, keepdims=True)
    values = jax.numpy.where(is_real, w.real, jax.numpy.nan)
    return values, *[jax.numpy.where(is_real[..., None], v.real, jax.numpy.nan) for v in vectors]


def eigvalsh(jax: Any, out: Any, a: Any, UPLO: str = "L") -> Any:  # noqa: N803
    """Eigenvalues."""
    return jax.numpy.linalg.eigh(_cast(a, out), UPLO=UPLO, symmetrize_input=False)[0]


def svdvals(jax: Any, out: Any, x: Any) -> Any:
    """Singular values."""
    return jax.numpy.linalg.svd(_cast(x, out), compute_uv=False)


def complement(jax: Any, out: Any, a: Any, of: str = "u") -> Any:
    """The columns that complete a matrix, by the named decomposition."""
    n, a = a.shape[-1], a.astype(out.dtype)
    if of == "q":
        return jax.numpy.linalg.qr(a, mode="complete")[0][..., n:]
    if of == "v":
        return _adjoint(jax.numpy.linalg.svd(_adjoint(a))[2][..., n:, :])
    return jax.numpy.linalg.svd(a)[0][..., n:]


def matrix_rank(
    jax: Any, out: Any, a: Any, tol: Any = None, hermitian: bool = False, rtol: Any = None
) -> Any:
    """How many singular values are not negligible."""
    s = jax.numpy.linalg.svd(a, compute_uv=False)
    if tol is None:
        least = max(a.shape[-2:]) * np.finfo(s.dtype).eps if rtol is None else rtol
        tol = s.max(axis=-1, initial=0) * least
    return (s > jax.numpy.asarray(tol)[..., None]).sum(axis=-1)


def i0_derivative(jax: Any, out: Any, x: Any, order: int) -> Any:
    """See `tapegrad.ops.special.i0_derivative`; this adds up all terms at once."""
    cosine = np.cos((np.arange(64) + 0.5) * (np.pi / 128)).astype(out.dtype)
    both = jax.numpy.sinh if order % 2 else jax.numpy.cosh
    terms = cosine**order / 64 * both(x.astype(out.dtype)[..., None] * cosine)
    return terms.sum(axis=-1)


def sinc(jax: Any, out: Any, x: Any) -> Any:
    """``sin(pi * x) / (pi * x)``."""
    return sinc_by(jax.numpy, x.astype(out.dtype), 0)


def sinc_derivative(jax: Any, out: Any, x: Any, order: int) -> Any:
    """See `tapegrad.ops.special.sinc_derivative`."""
    return sinc_by(jax.numpy, x.astype(out.dtype), order)


LOWERINGS = (
    *(pinv, cofactor, det, cholesky, eigh, eig, eigvals, eigvalsh, svdvals, complement),
    *(matrix_rank, i0_derivative, sinc, sinc_derivative),
)
