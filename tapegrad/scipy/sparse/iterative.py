"""Linear systems solved by products alone: `cg` and `gmres`.

A function of a vector is recorded once, as a program, and a second program, derived from it,
multiplies by the transpose. Both are an option of one op, whose operands are the right side and the
values that the function captured, so a solution is a step of a compiled program.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cached_property
from typing import Any, ClassVar

import attrs
import numpy as np
from scipy.sparse import issparse
from scipy.sparse import linalg as _scipy

from tapegrad.core.forward import apply
from tapegrad.core.primitive import Joint
from tapegrad.declare import op
from tapegrad.errors.words import got
from tapegrad.ops.casting import as_floating, conjugate_of
from tapegrad.program.control.loop import code_function
from tapegrad.program.control.tracing import trace_function
from tapegrad.program.control.transforms import derivative_program
from tapegrad.program.dataflow import make_interpreter
from tapegrad.program.ir import Code
from tapegrad.scipy._calls import pullback, reapply
from tapegrad.scipy.sparse.coo import check_recording, coo_array
from tapegrad.tree.numbers import is_floating

__all__ = ["cg", "gmres"]
__dir__ = __all__.copy

# --- linear functions -----------------------------------------------------------------------


@attrs.frozen(repr=False, slots=False)
class Linear:
    """A linear function of a vector as a program, and its transpose.

    Attributes
    ----------
    code
        The program from the captured values and the vector to the product.
    transpose
        The program from the captured values, any vector and another one to the product of the
        transpose with the other.
    """

    __tree_leaf__: ClassVar[bool] = True
    __unsaved__: ClassVar[str] = (
        "the linear function of cg or gmres; solve outside of the function, and pass the solution"
    )

    code: Code
    transpose: Code

    def __repr__(self) -> str:
        return self.code.label

    def __reduce__(self) -> Any:
        return Linear, (self.code, self.transpose)

    @cached_property
    def _callers(self) -> tuple[Any, Any]:
        return code_function(self.code), code_function(self.transpose)

    def product(self, captured: tuple[Any, ...], x: Any, trans: bool) -> Any:
        """The product with a vector, or the transpose's."""
        forward, back = self._callers
        operands = [*captured, x]
        return (back([*operands, x]) if trans else forward(operands))[0]


def _trace_linear(what: str, fn: Callable[[Any], Any], like: Any) -> tuple[Linear, tuple[Any, ...]]:
    """A linear function of vectors like this one, and the records that it captured."""
    done = trace_function(fn, (like,), ["x"])
    y = done.output
    if not isinstance(y, np.ndarray) or y.shape != like.shape or y.dtype.kind not in "fc":
        raise ValueError(
            f"{what}: A(x) must be a vector like x, of shape {like.shape}, not {got(y)}"
        )
    code = done.program(done.captured)
    back = derivative_program(code, True, [len(code.inputs)], [len(done.captured)])
    return Linear(code, attrs.evolve(back, label=f"{code.label}, transposed")), done.captured


def _as_function(what: str, A: Any, n: int) -> Callable[[Any], Any]:
    """A linear operator as a function."""
    if isinstance(A, _scipy.LinearOperator):
        raise TypeError(
            f"{what}: a LinearOperator of SciPy is not recorded; pass a function of a vector"
        )
    if callable(A):
        return A
    A = coo_array(A) if issparse(A) else A
    A = A if isinstance(A, coo_array) else as_floating(A, complex=True)
    if A.shape != (n, n):
        raise ValueError(
            f"{what}: A must be of shape {(n, n)}, as b has {n} numbers; not {A.shape}"
        )
    return lambda x: A @ x


# --- equations ------------------------------------------------------------------------------

_SOLVERS: Mapping[str, Any] = {"cg": _scipy.cg, "gmres": _scipy.gmres}


def _record_iterate(b: Any, x0: Any, *captured: Any, **options: Any) -> Any:
    return apply(_iterate, (b, x0, *captured), options)


def _iterate_vjp(
    g: Any, y: Any, b: Any, x0: Any, *captured: Any, linear: Linear, trans: bool, **options: Any
) -> list[Any]:
    terms = {"linear": linear, **options}
    c = _record_iterate(g, np.zeros(b.shape, b.dtype), *captured, trans=not trans, **terms)
    u, x = (y, c) if trans else (c, y)

    def product(*captured: Any) -> Any:
        return make_interpreter(linear.code, reapply)([*captured, x])[0]

    if not any(map(is_floating, captured)):
        return [c, *[None] * (1 + len(captured))]
    # cotangents of `vjp` are the conjugates of a rule's
    pulled = pullback(product, captured)[1](-conjugate_of(u))
    return [c, None, *[v if v is None else conjugate_of(v) for v in pulled]]


def _iterate_like(b: Any, *rest: Any, **options: Any) -> Any:
    return np.zeros(b.shape, b.dtype)


@op(
    each_operand=Joint(_iterate_vjp),
    read=lambda b, x0, captured, **options: ((b, x0, *captured), options),
    name="linear_solve",
    scipy="",
    like=_iterate_like,
    complex=True,
)
def _iterate(
    b: Any,
    x0: Any,
    *captured: Any,
    linear: Linear,
    trans: bool,
    method: str,
    M: Any,
    **options: Any,
) -> Any:
    """The solution of a linear system by products alone."""
    n, dtype = len(b), b.dtype

    def multiply(x: Any) -> Any:
        return linear.product(captured, np.asarray(x, dtype).reshape(n), trans)

    if M is not None and trans:
        try:
            M = M.T
            M.matvec(np.zeros(n, dtype))
        except NotImplementedError:
            # a preconditioner that cannot be transposed is left out
            M = None
    operator = _scipy.LinearOperator((n, n), matvec=multiply, dtype=dtype)
    x, info = _SOLVERS[method](operator, b, x0, M=M, **options)
    # a copy, since SciPy returns a right side of zeros itself
    x = np.array(x, dtype)
    size, left = np.linalg.norm(b), np.linalg.norm(multiply(x) - b)
    # the solver updates its residual, which is wrong if the function is not linear
    least = 1e3 * np.finfo(dtype).eps * (size + np.linalg.norm(x) * n)
    if info != 0 or not left <= 10 * max(options["rtol"] * size, options["atol"]) + least:
        raise np.linalg.LinAlgError(
            f"{method}: {linear!r} left a residual of {left:.2g} from {size:.2g} after "
            f"{'all its' if info > 0 else 'its'} iterations; it did not converge, or A is not "
            f"linear{', symmetric and positive definite' if method == 'cg' else ''}"
        )
    return x


def _solve(method: str, A: Any, b: Any, x0: Any, M: Any, callback: Any, **options: Any) -> Any:
    if callback is not None:
        raise TypeError(f"{method}: callback is not supported, for the iterations are not recorded")
    b = as_floating(b, complex=True)
    if b.ndim not in (1, 2) or (b.ndim == 2 and b.shape[1] != 1):
        raise ValueError(f"{method}: b must be a vector, not of shape {b.shape}")
    b = b.reshape(-1)
    check_recording(method, b, x0)
    fn = _as_function(method, A, len(b))
    linear, captured = _trace_linear(method, fn, np.zeros(b.shape, b.dtype))
    wanted = np.result_type(linear.code.spec(linear.code.outputs[0]).dtype, b.dtype)
    if wanted != b.dtype:
        b = b.astype(wanted)
        linear, captured = _trace_linear(method, fn, np.zeros(b.shape, b.dtype))
    start = np.zeros(b.shape, b.dtype) if x0 is None else as_floating(x0, complex=True).reshape(-1)
    if start.shape != b.shape:
        raise ValueError(f"{method}: x0 must have the shape of b, {b.shape}, not {start.shape}")
    if M is not None:
        M = _scipy.aslinearoperator(M.tocsc() if isinstance(M, coo_array) else M)
        if M.shape != (len(b), len(b)):
            raise ValueError(f"{method}: M must be of shape {(len(b),) * 2}, not {M.shape}")
    terms = {"linear": linear, "trans": False, "method": method, "M": M, **options}
    return _record_iterate(b, start, *captured, **terms), 0


def cg(
    A: Any,
    b: Any,
    x0: Any = None,
    *,
    rtol: float = 1e-05,
    atol: float = 0.0,
    maxiter: int | None = None,
    M: Any = None,
    callback: Any = None,
) -> Any:
    """The solution of ``A @ x = b`` by conjugate gradients, as `scipy.sparse.linalg.cg`.

    Parameters
    ----------
    A
        A function of a vector that is linear, symmetric (Hermitian) and positive definite, written
        like any function to differentiate: it may capture arrays and Tensors. Or a matrix (n, n):
        an array, or a `coo_array`.
    b
        The right side, of shape (n,) or (n, 1).
    x0
        The start of the iterations; no gradient passes to it.
    rtol, atol, maxiter
        The conditions for their end, as in SciPy.
    M
        An approximation of the inverse of A, as SciPy takes it; constant.
    callback
        Refused: it must be None.

    Returns
    -------
    x, info
        The solution (n,), and 0.

    Raises
    ------
    LinAlgError
        If they do not converge, for which SciPy returns another `info`; in the backward pass too.
    ValueError
        If shapes do not fit.

    Notes
    -----
    No gradient passes through the iterations. A cotangent is pulled back by the same solver, with
    the transpose of A, which is derived from the recorded function; derivatives of any order
    follow. Their accuracy is `rtol`.

    Examples
    --------
    >>> import tapegrad as tg
    >>> from tapegrad.scipy.sparse.linalg import cg
    >>> def total(scale):
    ...     return np.sum(cg(lambda x: scale * x, np.ones(3), rtol=1e-12)[0])
    >>> tg.grad(total)(2.0)
    array(-0.75)
    """
    options = {"rtol": rtol, "atol": atol, "maxiter": maxiter}
    return _solve("cg", A, b, x0, M, callback, **options)


def gmres(
    A: Any,
    b: Any,
    x0: Any = None,
    *,
    rtol: float = 1e-05,
    atol: float = 0.0,
    restart: int | None = None,
    maxiter: int | None = None,
    M: Any = None,
    callback: Any = None,
    callback_type: str | None = None,
) -> Any:
    """The solution of ``A @ x = b`` by minimal residuals, as `scipy.sparse.linalg.gmres`.

    Parameters
    ----------
    A
        A function of a vector that is linear, written like any function to differentiate: it may
        capture arrays and Tensors. Or a matrix (n, n): an array, or a `coo_array`.
    b, x0, M, callback
        See `cg`.
    rtol, atol, restart, maxiter
        The conditions for the end of the iterations, as in SciPy.
    callback_type
        Without effect.

    Returns
    -------
    x, info
        The solution (n,), and 0.

    Raises
    ------
    LinAlgError, ValueError
        See `cg`, whose notes on derivatives hold too.

    Examples
    --------
    >>> import tapegrad as tg
    >>> from tapegrad.scipy.sparse.linalg import gmres
    >>> def total(b):
    ...     return np.sum(gmres(np.array([[2.0, 1.0], [0.0, 4.0]]), b, rtol=1e-12)[0])
    >>> tg.grad(total)(np.ones(2)).round(6)
    array([0.5  , 0.125])
    """
    options = {"rtol": rtol, "atol": atol, "maxiter": maxiter, "restart": restart}
    return _solve("gmres", A, b, x0, M, callback, **options)
