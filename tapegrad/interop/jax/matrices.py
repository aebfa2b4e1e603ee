"""Linear algebra and special functions in JAX."""

from __future__ import annotations

import itertools
import string
from typing import Any

import numpy as np


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
    """See `tapegrad.ops.inverses.cofactor`, which this follows line by line."""
    if not a.size:
        return a.astype(out.dtype)
    numpy = jax.numpy
    u, s, vh = numpy.linalg.svd(_cast(a, out))
    n, order = s.shape[-1], len(directions) + 1
    inner = [_adjoint(u) @ _cast(d, out) @ _adjoint(vh) for d in directions]
    rows = np.indices((n,) * order)
    taken = (rows[..., None] == np.arange(n)).sum(axis=0)
    values = s.reshape(*s.shape[:-1], *(1,) * order, n)
    others = numpy.where(taken > 0, 1, values).prod(axis=-1) * (taken < 2).all(axis=-1)
    y, diagonal = numpy.zeros(u.shape, out.dtype), np.eye(n, dtype=bool)
    row = string.ascii_letters[:order]
    for columns in itertools.permutations(range(order)):
        odd = sum(x > z for x, z in itertools.combinations(columns, 2)) % 2
        terms = [row[j] + row[columns[j]] for j in range(order)]
        terms_of_rows = ",".join(["..." + term for term in (row, *terms[:-1])])
        on_diagonal = columns[-1] == order - 1
        result = row[-1] if on_diagonal else terms[-1]
        part = numpy.einsum(f"{terms_of_rows}->...{result}", others, *inner)
        if on_diagonal:
            part = numpy.where(diagonal, part[..., None], 0)
        y = y - part if odd else y + part
    sign = numpy.sign(numpy.linalg.det(u) * numpy.linalg.det(vh))
    return sign[..., None, None] * (u.conj() @ y @ vh.conj())


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
    return (w, v) if a.dtype.kind == "c" or not real else (w.real, v.real)


def eigvals(jax: Any, out: Any, a: Any, real: bool = False) -> Any:
    """Eigenvalues; JAX computes them only on CPUs."""
    w = jax.numpy.linalg.eigvals(a.astype(out.dtype))
    return w if out.dtype.kind == "c" else w.real


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
    return _sinc(jax, x.astype(out.dtype), 0)


def sinc_derivative(jax: Any, out: Any, x: Any, order: int) -> Any:
    """See `tapegrad.ops.special.sinc_derivative`."""
    return _sinc(jax, x.astype(out.dtype), order)


def _sinc(jax: Any, x: Any, n: int) -> Any:
    """A power series near 0, where quotients would cancel, and a recurrence elsewhere."""
    where, z = jax.numpy.where, np.asarray(np.pi, x.dtype) * x
    near = abs(z) < n + 1
    small, large = where(near, z, 0), where(near, 1, z)
    term, series = jax.numpy.ones_like(z), jax.numpy.zeros_like(z)
    for k in range(6 * n + 24):
        if (n + k) % 2 == 0:
            series += (-1) ** ((n + k) // 2) * term / (n + k + 1)
        term = term * small / (k + 1)
    sines = jax.numpy.sin(large), jax.numpy.cos(large)
    quotient = sines[0] / large
    for k in range(1, n + 1):
        quotient = (sines[k % 2] * (1, 1, -1, -1)[k % 4] - k * quotient) / large
    return np.asarray(np.pi**n, x.dtype) * where(near, series, quotient)


LOWERINGS = (
    *(pinv, cofactor, det, cholesky, eigh, eig, eigvals, eigvalsh, svdvals, complement),
    *(matrix_rank, i0_derivative, sinc, sinc_derivative),
)
