"""Equations with sparse arrays, as in `scipy.sparse.linalg`."""

from __future__ import annotations

import functools
import inspect
import operator
from typing import Any, ClassVar

import attrs
import numpy as np
import scipy.sparse
import scipy.sparse.linalg

from tapegrad.arraylike.tensor import Tensor
from tapegrad.core.forward import apply
from tapegrad.core.primitive import Joint, Parts
from tapegrad.core.writing import append_record
from tapegrad.declare import op
from tapegrad.declare.batching import Batched, align_stacks
from tapegrad.declare.parts import part
from tapegrad.errors.names import list_names
from tapegrad.errors.words import got
from tapegrad.ops.casting import conjugate_of
from tapegrad.ops.decompositions import check_phases
from tapegrad.scipy.sparse.coo import (
    Pattern,
    apply_to_columns,
    check_recording,
    coo_array,
    coo_dot,
    coo_matmul,
    made_pattern,
    map_stack,
)
from tapegrad.scipy.sparse.iterative import cg as cg
from tapegrad.scipy.sparse.iterative import gmres as gmres
from tapegrad.types import Array

__all__ = ["cg", "eigsh", "factorized", "gmres", "splu", "spsolve"]
list_names(globals())


class SingularError(RuntimeError, np.linalg.LinAlgError):
    """A sparse array has no inverse: an error of SciPy's class, and of NumPy's for dense arrays."""


# --- factors --------------------------------------------------------------------------------


@attrs.frozen(eq=False, repr=False, slots=False)
class Factors:
    """The LU factors of a sparse array, or of a stack of them, computed by SciPy.

    Attributes
    ----------
    data
        The elements (..., nnz).
    pattern
        The positions of the elements.
    order
        The name of SciPy's permutation of the columns.
    """

    __tree_leaf__: ClassVar[bool] = True
    __unsaved__: ClassVar[str] = (
        "pass the coo_array as an argument, and factorize it in the function"
    )

    data: Array
    pattern: Pattern
    order: str | None
    each: Any = attrs.field(init=False)

    def __repr__(self) -> str:
        return f"<LU factors of a coo_array, {self.pattern!r}>"

    @each.default
    def _compute_factors(self) -> Any:
        """An array of SciPy's factors."""
        factors = np.empty(self.shape, object)
        for i in np.ndindex(*self.shape):
            matrix = self.pattern.to_scipy(self.data[i])
            try:
                factors[i] = scipy.sparse.linalg.splu(matrix, permc_spec=self.order)
            except RuntimeError as error:
                raise SingularError(f"{error}: the coo_array is {self.pattern!r}") from error
        return factors

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of the stack."""
        return self.data.shape[:-1]

    @property
    def dtype(self) -> np.dtype[Any]:
        """The dtype of the elements."""
        return self.data.dtype

    def solve(self, b: Any, k: int, trans: str) -> Any:
        """The solution for columns, by the k-th factors of the stack."""
        factor = self.each.reshape(-1)[k]
        b = np.asarray(b)
        if b.dtype.kind == "c" and self.dtype.kind != "c":
            x = factor.solve(b.real.copy(), trans) + 1j * factor.solve(b.imag.copy(), trans)
        else:
            x = factor.solve(b.astype(np.result_type(b, self.dtype), copy=False), trans)
        if not np.isfinite(x).all() and np.isfinite(b).all():
            raise SingularError(
                f"the solution is not finite: the coo_array ({self.pattern!r}) is nearly singular"
            )
        return x

    def __reduce__(self) -> Any:
        # SciPy's factors cannot be pickled
        return Factors, (self.data, self.pattern, self.order)


def _factors_batch(op: Any, batched: Batched, data: Any, **options: Any) -> Any:
    return apply(op, (data,), options)


@op(
    None,
    name="splu",
    scipy="",
    batch=_factors_batch,
    like=lambda data, **options: Parts((np.zeros(data.shape[:-1]),)),
    complex=True,
)
def factor(data: Any, pattern: Pattern, order: str | None = None) -> Any:
    """The LU factors, a separate step, which the solution and all its derivatives share."""
    return Parts((Factors(data, pattern, order),))


# --- solutions ------------------------------------------------------------------------------


def _record_solution(data: Any, b: Any, factors: Any, **options: Any) -> Any:
    """The solution for columns. Factors of constants are an option, since they are no numbers."""
    tensors = [type(x) is Tensor for x in (data, b, factors)]
    if tensors[2]:
        return append_record(solution, (data, b, factors), options)
    return apply(solution, (data, b), {**options, "factors": factors})


def _solution_vjp(
    g: Any, y: Any, data: Any, b: Any, *lu: Any, factors: Any = None, **options: Any
) -> list[Any]:
    c = _solve_transposed(data, g, *(lu or (factors,)), **options)
    ends = (y, c) if options["trans"] == "T" else (c, y)
    return [-coo_dot(*ends, pattern=options["pattern"]), c, None]


def _solve_transposed(data: Any, b: Any, factors: Any, pattern: Pattern, trans: str) -> Any:
    other = {"N": "T", "T": "N"}[trans]
    return _record_solution(data, b, factors, pattern=pattern, trans=other)


def _solution_jvp(
    op: Any,
    tangents: Any,
    y: Any,
    data: Any,
    b: Any,
    *lu: Any,
    factors: Any = None,
    **options: Any,
) -> Any:
    """The tangent: ``A dx = db - dA x``."""
    right = tangents.get(1)
    if 0 in tangents:
        pattern = options["pattern"]
        pattern = pattern.T if options["trans"] == "T" else pattern
        moved = coo_matmul(tangents[0], y, pattern=pattern)
        right = -moved if right is None else right - moved
    return _record_solution(data, right, *(lu or (factors,)), **options)


def _solution_batch(
    op: Any, batched: Batched, data: Any, b: Any, *lu: Any, factors: Any = None, **options: Any
) -> Any:
    data, b = align_stacks(batched[:2], (data, b), (1, 2))
    return _record_solution(data, b, *(lu or (factors,)), **options)


def _solution_like(data: Any, b: Any, *lu: Any, **options: Any) -> Any:
    stack = np.broadcast_shapes(data.shape[:-1], b.shape[:-2])
    return np.zeros((*stack, *b.shape[-2:]), np.result_type(data, b))


@op(
    each_operand=Joint(_solution_vjp),
    read=lambda data, b, lu=None, **options: ((data, b, lu), options),
    name="spsolve",
    takes_weak=True,
    scipy="",
    jvp=_solution_jvp,
    batch=_solution_batch,
    like=_solution_like,
    complex=True,
    takes_parts=True,
)
def solution(
    data: Any, b: Any, lu: Any = None, pattern: Any = None, trans: str = "N", factors: Any = None
) -> Any:
    """The solution for stacks of columns (..., n, k), with factors as an operand or an option."""
    (factored,) = (factors if lu is None else lu).values
    if data.ndim == 1:
        return apply_to_columns(lambda sides: factored.solve(sides, 0, trans), b)
    stack = np.broadcast_shapes(data.shape[:-1], b.shape[:-2])
    # a batch may have more axes than the factors had when they were computed
    places = np.arange(factored.each.size).reshape(data.shape[:-1])
    places = np.broadcast_to(places, stack)
    sides = np.broadcast_to(b, (*stack, *b.shape[-2:]))
    return map_stack(
        stack,
        lambda i: factored.solve(sides[i], places[i], trans),
        b.shape[-2:],
        np.result_type(data, b),
    )


@attrs.frozen(eq=False, repr=False)
class SuperLU:
    """The result of `splu`: the factors of a sparse array.

    Attributes
    ----------
    A
        The array.
    """

    __tree_leaf__: ClassVar[bool] = True
    __unsaved__: ClassVar[str] = "save the coo_array, and call splu(A) again where it is loaded"

    A: coo_array
    _factors: Any

    @property
    def shape(self) -> tuple[int, int]:
        """The shape of the array."""
        return self.A.shape

    def solve(self, rhs: Any, trans: str = "N") -> Any:
        """The solution of ``A @ x = rhs``, or with the transpose or the adjoint of A.

        Parameters
        ----------
        rhs
            A vector, or a matrix of columns.
        trans
            ``"N"``, ``"T"`` or ``"H"``.

        Raises
        ------
        ValueError
            If the shape does not fit, or for another `trans`.
        RuntimeError
            If the solution is not finite (a `LinAlgError` too).
        """
        if trans not in ("N", "T", "H"):
            raise ValueError("trans must be 'N', 'T', or 'H'")
        n = self.shape[0]
        check_recording("spsolve", rhs)
        b = rhs if type(rhs) is Tensor else np.asarray(rhs)
        if b.ndim not in (1, 2) or b.shape[0] != n:
            raise ValueError(
                f"rhs is of incompatible size: {n} rows are needed, and its shape is {b.shape}"
            )
        if b.dtype.kind not in "fc":
            b = b.astype(float)
        if trans == "H":
            return np.conj(self.solve(np.conj(b), "T"))
        columns = np.expand_dims(b, -1) if b.ndim == 1 else b
        options = {"pattern": self.A.pattern, "trans": trans}
        x = _record_solution(self.A.data, columns, self._factors, **options)
        return np.squeeze(x, -1) if b.ndim == 1 else x


def splu(A: Any, permc_spec: str | None = None) -> SuperLU:
    """The LU factors of a sparse array, for solving equations, as `scipy.sparse.linalg.splu`.

    Parameters
    ----------
    A
        A square `coo_array`, or a sparse array of SciPy, which is constant.
    permc_spec
        SciPy's permutation of the columns: ``"COLAMD"`` by default, ``"MMD_AT_PLUS_A"``,
        ``"MMD_ATA"`` or ``"NATURAL"``.

    Returns
    -------
    An object with the method ``solve(rhs, trans="N")``. It is no node of a tree, and belongs to its
    recording.

    Raises
    ------
    ValueError
        If the array is not square.
    RuntimeError
        If it is singular, as in SciPy (a `LinAlgError` too).

    Notes
    -----
    The factors are a record of the tape and a step of a compiled program, which every solution
    and its derivatives of any order use: no other factors are computed.

    Examples
    --------
    >>> import tapegrad as tg
    >>> from tapegrad.scipy.sparse import coo_array
    >>> from tapegrad.scipy.sparse.linalg import splu
    >>> lu = splu(coo_array(([2.0, 4.0], ([0, 1], [0, 1]))))
    >>> lu.solve(np.array([1.0, 1.0]))
    array([0.5 , 0.25])
    """
    A = _as_coo_array("splu", A)
    if A.shape[0] != A.shape[1]:
        raise ValueError(f"matrix must be square (has shape {A.shape})")
    if A.dtype.kind not in "fc":
        A = A.astype(float)
    return SuperLU(A, factor(A.data, pattern=A.pattern, order=permc_spec))


def factorized(A: Any) -> Any:
    """A function that solves ``A @ x = b`` for b, with the factors of A; see `splu`.

    Examples
    --------
    >>> import tapegrad as tg
    >>> from tapegrad.scipy.sparse import coo_array
    >>> from tapegrad.scipy.sparse.linalg import factorized
    >>> factorized(coo_array(([2.0, 4.0], ([0, 1], [0, 1]))))(np.array([1.0, 1.0]))
    array([0.5 , 0.25])
    """
    return splu(A).solve


def spsolve(A: Any, b: Any, permc_spec: str | None = None, use_umfpack: bool = True) -> Any:
    """The solution of ``A @ x = b`` with a sparse array, as `scipy.sparse.linalg.spsolve`.

    Parameters
    ----------
    A
        A square `coo_array` of shape (n, n), or a sparse array of SciPy, which is constant.
    b
        A vector, or a matrix of columns; the solution for a single column is a vector, as in SciPy.
    permc_spec
        The permutation of the columns; see `splu`.
    use_umfpack
        Without effect: the factors are always computed by SuperLU.

    Returns
    -------
    An array like `b`, in the common dtype.

    Raises
    ------
    ValueError
        If `A` is not square, or `b` has another number of rows.
    RuntimeError
        If `A` is singular, for which SciPy warns and returns nan (a `LinAlgError` too).

    Notes
    -----
    The cotangent of `b` is the solution l of the adjoint equations ``A^H l = g``, and an element of
    `A` has the cotangent ``-l[row] * conj(x[col])``. The factors are computed once: they are a
    record of the tape, and a step of a compiled program, which the solution, its derivatives of any
    order and the adjoint share.

    Examples
    --------
    >>> import tapegrad as tg
    >>> from tapegrad.scipy.sparse import coo_array
    >>> from tapegrad.scipy.sparse.linalg import spsolve
    >>> places = [0, 0, 1], [0, 1, 1]
    >>> def heat(data, b):
    ...     return np.sum(spsolve(coo_array((data, places)), b))
    >>> tg.grad(heat)(np.array([2.0, 1.0, 4.0]), np.array([1.0, 4.0]))
    array([-0.   , -0.5  , -0.125])
    """
    A = _as_coo_array("spsolve", A)
    if A.shape[0] != A.shape[1]:
        raise ValueError(f"matrix must be square (has shape {A.shape})")
    if isinstance(b, coo_array) or scipy.sparse.issparse(b):
        raise TypeError(f"spsolve: a dense right side is needed, not {got(b)}; write b.toarray()")
    b = b if type(b) is Tensor else np.asarray(b)
    if b.ndim not in (1, 2) or b.shape[0] != A.shape[0]:
        raise ValueError(
            f"matrix - rhs dimension mismatch ({A.shape} - {b.shape[0] if b.ndim else ()})"
        )
    dtype = np.result_type(A.dtype, b.dtype, np.float32)
    real = np.zeros((), dtype).real.dtype
    wanted = dtype if A.dtype.kind == "c" else real
    A = A if A.dtype == wanted else A.astype(wanted)
    b = b if b.dtype.kind in "fc" else b.astype(real)
    if b.ndim == 2 and b.shape[1] == 1:
        b = b[:, 0]
    return splu(A, permc_spec).solve(b)


def _as_coo_array(what: str, A: Any) -> coo_array:
    if isinstance(A, coo_array):
        return A
    if scipy.sparse.issparse(A):
        return coo_array(A)
    raise TypeError(f"{what} takes a coo_array, or a sparse array of SciPy, not {got(A)}")


# --- eigenvalues ----------------------------------------------------------------------------


def _eigsh_like(data: Any, *, pattern: Pattern, k: int, **options: Any) -> Parts:
    real = np.zeros((), data.dtype).real.dtype
    return Parts((np.zeros(k, real), np.zeros((pattern.shape[0], k), data.dtype)))


def _eigsh_vjp(g: Any, y: Any, data: Any, *, pattern: Pattern, k: int, **options: Any) -> Any:
    w, v = part(y, 0), part(y, 1)
    by_value, by_vector = g.values
    n = pattern.shape[0]
    left: Any = 0.0
    if by_value is not None:
        left = by_value * conjugate_of(v)
    if by_vector is not None:
        check_phases("eigsh", (v, conjugate_of(by_vector)))
        # the system [[A - w, v], [v^H, 0]], which is regular where the eigenvalue is simple
        each, last = np.arange(n), np.full(n, n)
        rows = np.concatenate([pattern.rows, each, each, last])
        cols = np.concatenate([pattern.cols, each, last, each])
        bordered = made_pattern(rows, cols, (n + 1, n + 1))
        shape = k, len(data)
        ones = np.ones((1, n), data.dtype)
        parts = [np.broadcast_to(data, shape), -w[:, None] * ones, v.T, conjugate_of(v).T]
        filled = np.concatenate(parts, axis=1)
        right = np.concatenate([by_vector, np.zeros((1, k), data.dtype)]).T[:, :, None]
        factors = factor(filled, pattern=bordered)
        solved = _record_solution(filled, right, factors, pattern=bordered, trans="T")
        left = left - solved[:, :n, 0].T
    # made Hermitian, since the array stays so
    own = coo_dot(left, v, pattern=pattern)
    other = coo_dot(conjugate_of(v), conjugate_of(left), pattern=pattern)
    return (own + other) / 2


@functools.cache
def _draws_from_rng() -> bool:
    """Whether SciPy's iterations draw the vectors that they restart from with a generator."""
    return "rng" in inspect.signature(scipy.sparse.linalg.eigsh).parameters


@op(_eigsh_vjp, name="eigsh", scipy="", like=_eigsh_like, complex=True)
def _eigenpairs(
    data: Any, *, pattern: Pattern, k: int, which: str = "LM", v0: Any = None, **options: Any
) -> Parts:
    """A few eigenvalues, and their vectors as columns."""
    n = pattern.shape[0]
    # SciPy draws the vector, so that the same call may give other signs
    v0 = np.cos(np.arange(1.0, n + 1) ** 2) + 1.5 if v0 is None else v0
    solve, is_real = scipy.sparse.linalg.eigsh, data.dtype.kind != "c"
    if not is_real:
        # as SciPy's `eigsh`, which keeps the generator to itself
        solve = scipy.sparse.linalg.eigs
        which = {"LA": "LR", "SA": "SR"}.get(which, which)
    seeded = {"rng": 0} if _draws_from_rng() else {}
    v0 = v0.astype(data.dtype, copy=False)
    w, v = solve(pattern.to_scipy(data), k, which=which, v0=v0, **seeded, **options)
    w = w.real
    # for complex arrays SciPy returns them in any order
    order = np.arange(k) if is_real else np.argsort(w)
    return Parts((w[order], v[:, order]))


def eigsh(
    A: Any,
    k: int = 6,
    M: Any = None,
    sigma: float | None = None,
    which: str = "LM",
    v0: Any = None,
    ncv: int | None = None,
    maxiter: int | None = None,
    tol: float = 0,
    return_eigenvectors: bool = True,
) -> Any:
    """A few eigenvalues and vectors of a Hermitian sparse array, as `scipy.sparse.linalg.eigsh`.

    Parameters
    ----------
    A
        A Hermitian `coo_array` (n, n). Its gradient is Hermitian too, the derivative by changes of
        the elements that keep it so.
    k
        The number of eigenvalues, less than n.
    M
        Refused: it must be None.
    sigma, which, ncv, maxiter, tol
        The choice of eigenvalues, and the parameters of the iterations, as in SciPy.
    v0
        The start of the iterations; by default always the same vector, while SciPy draws one. From
        SciPy 1.17 on, restarts are the same every time too.
    return_eigenvectors
        Whether the vectors are returned too.

    Returns
    -------
    w, v
        The eigenvalues (k,), and the vectors as columns (n, k); or `w` alone. For a complex array
        they are in ascending order, while SciPy returns them in any order.

    Raises
    ------
    ArpackNoConvergence
        If the iterations do not converge, as in SciPy.
    RuntimeError
        In the backward pass of an eigenvector, if its eigenvalue is not simple.

    Notes
    -----
    An eigenvalue has the derivative ``v^H dA v``. The derivative of a vector is a solution of the
    equations of ``A - w`` with a border, with one factorization for each vector. The sign of a
    vector comes from the iterations; the phase of a complex vector does not change with A.

    Examples
    --------
    >>> import tapegrad as tg
    >>> from tapegrad.scipy.sparse import coo_array
    >>> from tapegrad.scipy.sparse.linalg import eigsh
    >>> A = coo_array((np.arange(1.0, 6.0), (range(5), range(5))))
    >>> tg.grad(lambda A: eigsh(A, 2)[0][-1])(A).data.round(6) + 0.0
    array([0., 0., 0., 0., 1.])
    """
    if M is not None:
        raise TypeError("eigsh: M is not supported; only the ordinary problem is differentiated")
    A = _as_coo_array("eigsh", A)
    if A.shape[0] != A.shape[1]:
        raise ValueError(f"expected square matrix (shape={A.shape})")
    k = operator.index(k)
    if not 0 < k < A.shape[0]:
        raise ValueError(f"k={k} must be greater than 0 and less than {A.shape[0]}")
    if A.dtype.kind not in "fc":
        A = A.astype(float)
    options = {"sigma": sigma, "which": which, "ncv": ncv, "maxiter": maxiter, "tol": tol, "v0": v0}
    chosen = {name: x for name, x in options.items() if x is not None}
    check_recording("eigsh", A.data)
    whole = apply(_eigenpairs, (A.data,), {"pattern": A.pattern, "k": k, **chosen})
    w = part(whole, 0)
    return (w, part(whole, 1)) if return_eigenvectors else w
