"""Linear algebra and special functions in JAX."""

from __future__ import annotations

from types import ModuleType
from typing import TYPE_CHECKING, Any

import numpy as np

from tapegrad.ops.inverses import cofactor_by
from tapegrad.ops.special import sinc_by

if TYPE_CHECKING:
    from jax import Array as JaxArray
    from jax import ShapeDtypeStruct

# for type checkers: these functions return arrays of the module that they are given
_cofactor: Any = cofactor_by
_sinc: Any = sinc_by


def _cast(a: JaxArray, out: ShapeDtypeStruct) -> JaxArray:
    """Cast an operand to the dtype of the result, unless the operand is complex."""
    return a if a.dtype.kind == "c" else a.astype(out.dtype)


def _adjoint(a: JaxArray) -> JaxArray:
    return a.conj().mT


def pinv(
    jax: ModuleType,
    out: ShapeDtypeStruct,
    a: JaxArray,
    rcond: float | JaxArray | None = None,
    rtol: float | JaxArray | None = None,
) -> JaxArray:
    """The pseudoinverse."""
    tolerance = 1e-15 if rcond is None and rtol is None else rtol if rcond is None else rcond
    return jax.numpy.linalg.pinv(a.astype(out.dtype), rtol=tolerance)


def cofactor(
    jax: ModuleType, out: ShapeDtypeStruct, a: JaxArray, *directions: JaxArray
) -> JaxArray:
    """See `tapegrad.ops.inverses.cofactor`."""
    if not a.size:
        return a.astype(out.dtype)
    return _cofactor(jax.numpy, *[_cast(x, out) for x in (a, *directions)])


def det(jax: ModuleType, out: ShapeDtypeStruct, a: JaxArray) -> JaxArray:
    """The determinant; 1 for a matrix without elements."""
    if not a.shape[-1]:
        return jax.numpy.ones(out.shape, out.dtype)
    return jax.numpy.linalg.det(a.astype(out.dtype))


def cholesky(jax: ModuleType, out: ShapeDtypeStruct, a: JaxArray, upper: bool = False) -> JaxArray:
    """The Cholesky factor, of one triangle."""
    # NumPy reads the triangle that it returns; JAX's gradient would be in both triangles
    triangle = jax.numpy.tril((a.mT if upper else a).astype(out.dtype))
    full = triangle + jax.numpy.tril(triangle, -1).mT.conj()
    factor = jax.numpy.linalg.cholesky(full, symmetrize_input=False)
    return factor.mT if upper else factor


def eigh(
    jax: ModuleType,
    out: ShapeDtypeStruct,
    a: JaxArray,
    UPLO: str = "L",  # noqa: N803
) -> tuple[JaxArray, JaxArray]:
    """Eigenvalues and eigenvectors."""
    return jax.numpy.linalg.eigh(a, UPLO=UPLO, symmetrize_input=False)


def eig(
    jax: ModuleType, out: ShapeDtypeStruct, a: JaxArray, real: bool = False
) -> tuple[JaxArray, ...]:
    """Eigenvalues and eigenvectors; JAX computes them only on CPUs."""
    w, v = jax.numpy.linalg.eig(a)
    return (w, v) if a.dtype.kind == "c" or not real else _real(jax, w, v)


def eigvals(jax: ModuleType, out: ShapeDtypeStruct, a: JaxArray, real: bool = False) -> JaxArray:
    """Eigenvalues; JAX computes them only on CPUs."""
    w = jax.numpy.linalg.eigvals(a.astype(out.dtype))
    return w if out.dtype.kind == "c" else _real(jax, w)[0]


def _real(jax: ModuleType, w: JaxArray, *vectors: JaxArray) -> tuple[JaxArray, ...]:
    """Take the real parts of results of `eig`; nan for a matrix with complex eigenvalues."""
    # NumPy raises for such a matrix, but JAX cannot raise depending on a value
    is_real = jax.numpy.all(w.imag == 0, axis=-1, keepdims=True)
    values = jax.numpy.where(is_real, w.real, jax.numpy.nan)
    return values, *[jax.numpy.where(is_real[..., None], v.real, jax.numpy.nan) for v in vectors]


def eigvalsh(jax: ModuleType, out: ShapeDtypeStruct, a: JaxArray, UPLO: str = "L") -> JaxArray:  # noqa: N803
    """Eigenvalues."""
    return jax.numpy.linalg.eigh(_cast(a, out), UPLO=UPLO, symmetrize_input=False)[0]


def svdvals(jax: ModuleType, out: ShapeDtypeStruct, x: JaxArray) -> JaxArray:
    """Singular values."""
    return jax.numpy.linalg.svd(_cast(x, out), compute_uv=False)


def complement(jax: ModuleType, out: ShapeDtypeStruct, a: JaxArray, of: str = "u") -> JaxArray:
    """The columns that complete a matrix, by the named decomposition."""
    n, a = a.shape[-1], a.astype(out.dtype)
    if of == "q":
        return jax.numpy.linalg.qr(a, mode="complete")[0][..., n:]
    if of == "v":
        return _adjoint(jax.numpy.linalg.svd(_adjoint(a))[2][..., n:, :])
    return jax.numpy.linalg.svd(a)[0][..., n:]


def matrix_rank(
    jax: ModuleType,
    out: ShapeDtypeStruct,
    a: JaxArray,
    tol: float | JaxArray | None = None,
    hermitian: bool = False,
    rtol: float | JaxArray | None = None,
) -> JaxArray:
    """The number of singular values above the tolerance."""
    s = jax.numpy.linalg.svd(a, compute_uv=False)
    if tol is None:
        least = max(a.shape[-2:]) * np.finfo(s.dtype).eps if rtol is None else rtol
        tol = s.max(axis=-1, initial=0) * least
    return (s > jax.numpy.asarray(tol)[..., None]).sum(axis=-1)


def i0_derivative(jax: ModuleType, out: ShapeDtypeStruct, x: JaxArray, order: int) -> JaxArray:
    """See `tapegrad.ops.special.i0_derivative`; this adds all terms at once."""
    cosine = np.cos((np.arange(64) + 0.5) * (np.pi / 128)).astype(out.dtype)
    hyperbolic = jax.numpy.sinh if order % 2 else jax.numpy.cosh
    terms = cosine**order / 64 * hyperbolic(x.astype(out.dtype)[..., None] * cosine)
    return terms.sum(axis=-1)


def sinc(jax: ModuleType, out: ShapeDtypeStruct, x: JaxArray) -> JaxArray:
    """``sin(pi * x) / (pi * x)``."""
    return _sinc(jax.numpy, x.astype(out.dtype), 0)


def sinc_derivative(jax: ModuleType, out: ShapeDtypeStruct, x: JaxArray, order: int) -> JaxArray:
    """See `tapegrad.ops.special.sinc_derivative`."""
    return _sinc(jax.numpy, x.astype(out.dtype), order)


LOWERINGS = (
    *(pinv, cofactor, det, cholesky, eigh, eig, eigvals, eigvalsh, svdvals, complement),
    *(matrix_rank, i0_derivative, sinc, sinc_derivative),
)
