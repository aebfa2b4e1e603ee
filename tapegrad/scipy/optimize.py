"""Minima, roots and fixed points that SciPy finds, with derivatives by the arguments.

No gradient passes through the steps of a solver. At a minimum the slope stays zero for all
arguments, at a root the function does; the implicit function theorem gives the derivative of the
solution, as for `tapegrad.implicit_root`. The theorem holds only at a solution: a derivative is
refused if SciPy has not converged, or if the solution is not differentiable.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from importlib import import_module
from typing import Any, NamedTuple, TypeVar

import attrs
import numpy as np

from tapegrad.arraylike.tensor import Tensor
from tapegrad.errors.lines import users_place
from tapegrad.errors.names import list_names
from tapegrad.ops.casting import stop_gradient
from tapegrad.scipy._calls import solve_with_captured, with_advice
from tapegrad.scipy._equations import (
    MATRIX_FREE_SIZE,
    DerivedFunction,
    Limits,
    MinimumResidual,
    RootResidual,
    check_solution,
    solve_by_cg,
    solve_by_gmres,
)
from tapegrad.scipy._protocols import Bounds, SciPyResult
from tapegrad.scipy._vectors import (
    LOSSES,
    Cost,
    Loss,
    SciPyObjective,
    Step,
    Values,
    as_floating,
    ravel_start,
    values_and_jacobian,
)
from tapegrad.transforms.gradients import value_and_grad
from tapegrad.transforms.implicit import make_implicit_root
from tapegrad.transforms.jacobians import hessian, jacobian
from tapegrad.tree.lists import LISTS, first_tensor
from tapegrad.tree.operations import Unravel
from tapegrad.types import Array, ArrayLike, PyTree

__all__ = ["Objective", "OptimizeResult", "fixed_point", "least_squares", "minimize", "objective"]
__all__ += ["root"]
list_names(globals())

R = TypeVar("R")
Fn = Callable[..., Any]

_scipys: Any = import_module("scipy.optimize")


@attrs.frozen
class OptimizeResult:
    """SciPy's result, under SciPy's names. `x`, and numbers computed from it, have derivatives.

    Inside `compile` and `vmap`, the numbers are Tensors, and `message` is not known.

    Attributes
    ----------
    x
        The solution, an array or a tree like ``x0``.
    fun
        The function's result at `x`.
    success, status, message
        Whether SciPy's solver succeeded, and why it ended.
    nfev, njev, nit
        The numbers of values, gradients and steps; -1 if the solver does not report one.
    jac
        The gradient of `minimize` at `x`, or the Jacobian of `least_squares` without a loss.
    cost, grad
        For `least_squares`: half the sum of squares, or of the losses, and its gradient.

    Examples
    --------
    >>> import tapegrad as tg
    >>> from tapegrad.scipy.optimize import minimize
    >>> result = minimize(lambda x, a: tg.sum((x - a) ** 2), [0.0, 0.0], 3.0)
    >>> result.x.round(6), result.success, result.nit
    (array([3., 3.]), True, 3)
    """

    x: Any
    fun: Any
    success: bool | Array
    status: int | Array
    message: str
    nfev: int | Array
    njev: int | Array
    nit: int | Array
    jac: Any = None
    cost: Array | None = None
    grad: Any = None


class Objective(NamedTuple):
    """The result of `objective`: functions of vectors and of further arguments, for SciPy.

    Attributes
    ----------
    fun
        ``fun(x, *args)``, a float.
    jac
        ``jac(x, *args)``, the gradient.
    hessp
        ``hessp(x, p, *args)``, the product of the Hessian and a vector.
    hess
        ``hess(x, *args)``, the sparse Hessian; by its name alone, not in the tuple.
    x0
        The tree as a vector.
    unravel
        The function from a vector back to a tree.

    Examples
    --------
    >>> import numpy as np
    >>> import tapegrad as tg
    >>> from tapegrad.scipy.optimize import objective
    >>> parts = objective(lambda p: tg.sum(p["w"] ** 3), {"w": np.array([1.0, 2.0])})
    >>> parts.fun(parts.x0), parts.jac(parts.x0), parts.hessp(parts.x0, [1.0, 0.0])
    (9.0, array([ 3., 12.]), array([6., 0.]))
    """

    fun: Callable[..., float]
    jac: Fn
    hessp: Fn
    x0: Array
    unravel: Unravel

    @property
    def hess(self) -> Fn:
        """``hess(x, *args)``, the sparse Hessian: an array of ``scipy.sparse``, by columns."""
        hessian_of: Fn = self.fun.__self__.hess  # type: ignore[attr-defined]
        return hessian_of


def objective(fun: Fn, tree: PyTree) -> Objective:
    """A function of a tree as SciPy's own solvers take it: as functions of a vector.

    Parameters
    ----------
    fun
        ``fun(tree, *args)``, a scalar function, which may be compiled.
    tree
        Floating arrays in any tree, at which the solver starts.

    Returns
    -------
    ``fun, jac, hessp, x0, unravel``, an `Objective`. All arrays are float64, and copies that may be
    written to.

    Notes
    -----
    Each function is compiled in its first call, as by `compile`: what `fun` captures stays as it is
    then, so pass what changes in ``args``. `fun` and `jac` at the same point share one run. A
    function that `compile` refuses, since it reads values or draws random numbers, runs in each
    call.

    Examples
    --------
    >>> import numpy as np
    >>> import tapegrad as tg
    >>> from scipy.optimize import minimize
    >>> from tapegrad.scipy.optimize import objective
    >>> def loss(p):
    ...     return tg.sum((p["w"] - 2.0) ** 2) + (p["b"] + 1.0) ** 2
    >>> fun, jac, hessp, x0, unravel = objective(loss, {"w": np.zeros(2), "b": 0.0})
    >>> result = minimize(fun, x0, jac=jac, hessp=hessp, method="trust-krylov")
    >>> unravel(result.x.round(6))
    {'w': array([2., 2.]), 'b': array(-1.)}
    """
    vector, unravel = ravel_start("objective", fun, tree, np.asarray)
    advice = "which cuts the gradient off; write tapegrad.scipy.optimize.minimize(fun, x0)"
    loss = SciPyObjective(Loss(with_advice("objective", fun, advice), unravel))
    return Objective(loss.fun, loss.jac, loss.hessp, np.array(vector, float), unravel)


# --- arguments and results --------------------------------------------------------------------


def _raise_unsupported(name: str, why: str, **arguments: Any) -> None:
    for argument, value in arguments.items():
        if value is not None:
            raise TypeError(f"{name}: {argument} is not supported: {why}")


def _bound_vectors(
    name: str, lower: ArrayLike, upper: ArrayLike, start: Array
) -> tuple[Array, Array]:
    """Bounds as two vectors."""
    limits = []
    for x in (lower, upper):
        x = as_floating(x).reshape(-1)
        if x.size not in (1, start.size):
            raise ValueError(f"{name}: there are {x.size} bounds for {start.size} variables")
        limits.append(np.broadcast_to(x, start.shape))
    return limits[0], limits[1]


def _split_bounds(
    bounds: Bounds | Sequence[Sequence[ArrayLike | None]] | Array,
) -> tuple[ArrayLike, ArrayLike]:
    """The lower and the upper bounds as SciPy takes them: in pairs, or as ``Bounds``."""
    if isinstance(bounds, _scipys.Bounds):
        return bounds.lb, bounds.ub
    if not isinstance(bounds, Sequence | np.ndarray) or any(len(pair) != 2 for pair in bounds):
        raise ValueError("minimize: bounds must be a pair (min, max) for each variable, or Bounds")
    ends = []
    for i, none in enumerate((-np.inf, np.inf)):
        bound: list[Any] = [none if pair[i] is None else pair[i] for pair in bounds]
        ends.append(np.array(bound) if first_tensor(bound) is None else np.stack(bound))
    return ends[0], ends[1]


def _differentiable_solution(
    equations: RootResidual | MinimumResidual, solve: Fn, operands: tuple[Any, ...]
) -> tuple[Array, dict[str, Any]]:
    """The vector that SciPy finds, with derivatives, and the rest of SciPy's result."""
    by_products: Any = solve_by_cg if isinstance(equations, MinimumResidual) else solve_by_gmres
    by_products = by_products if np.size(operands[0]) > MATRIX_FREE_SIZE else None
    judged = partial(check_solution, equations, str(users_place()))
    find = make_implicit_root(equations, solve, by_products, judged, True, _placeholder_solution)
    x, (numbers, message) = find(*operands)
    if type(numbers) is Tensor and numbers.origin.compiling:
        message = "not known while compiling or batching; see status"
        numbers = stop_gradient(numbers)
    else:
        numbers = np.asarray(getattr(numbers, "value", numbers)).astype(int).tolist()
    report = {name: numbers[i] for i, name in enumerate(_REPORT_FIELDS)}
    success = report.pop("success")
    report = {k: x.astype(int) if type(x) is Tensor else x for k, x in report.items()}
    is_success = success != 0
    return x, {**report, "success": is_success, "message": message}


_REPORT_FIELDS = ("success", "status", "nfev", "njev", "nit")


def _placeholder_solution(start: Array, *rest: Any) -> tuple[Array, tuple[Array, str]]:
    """A solution and a report whose values do not matter."""
    return start, (np.zeros(len(_REPORT_FIELDS)), "")


# --- the solvers ------------------------------------------------------------------------------

_GRADIENT_FREE = ("nelder-mead", "powell", "cobyla", "cobyqa")
_WITH_HESSP = ("newton-cg", "trust-ncg", "trust-krylov", "trust-constr")
_WITH_HESS = ("dogleg", "trust-exact")
_WITH_BOUNDS = (*_GRADIENT_FREE, "l-bfgs-b", "tnc", "slsqp", "trust-constr")


@attrs.frozen(slots=False)
class _ScipySolver(DerivedFunction):
    """One of SciPy's solvers, for a function of vectors."""

    find: Fn
    options: Mapping[str, Any]

    def __call__(
        self, start: Array, limits: Limits, *args: PyTree
    ) -> tuple[Array, tuple[Array, str]]:
        bounds = {} if limits is None else {"bounds": tuple(map(np.array, limits))}
        f = lambda x: self.f(x, *args)  # noqa: E731
        result = self.find(f, np.array(start, float), **self.options, **bounds)
        numbers = np.array([float(result.get(name, -1)) for name in _REPORT_FIELDS])
        x = np.asarray(result.x, start.dtype).reshape(start.shape)
        return x, (numbers, str(result.get("message", "")))


def _run_minimize(
    loss: Fn,
    x0: Array,
    method: str | None,
    bounds: Limits = None,
    keep: bool | Array = False,
    **options: Any,
) -> SciPyResult:
    functions = SciPyObjective(loss, has_programs=False)
    extra: dict[str, Any] = {} if bounds is None else {"bounds": _scipys.Bounds(*bounds, keep)}
    name = str(method).lower()
    if name in _WITH_HESSP:
        extra["hessp"] = functions.hessp
    elif name in _WITH_HESS:
        extra["hess"] = lambda x: np.array(hessian(loss)(np.array(x)), float)
    if name not in _GRADIENT_FREE:
        extra["jac"] = functions.jac
    return _scipys.minimize(functions.fun, x0, method=method, **extra, **options)


def minimize(
    fun: Fn,
    x0: PyTree,
    args: PyTree = (),
    method: str | None = None,
    jac: None = None,
    hess: None = None,
    hessp: None = None,
    bounds: Bounds | Sequence[Sequence[ArrayLike | None]] | Array | None = None,
    constraints: object = None,
    tol: float | None = None,
    callback: Fn | None = None,
    options: Mapping[str, Any] | None = None,
) -> OptimizeResult:
    """The minimum of a scalar function, found by `scipy.optimize.minimize`.

    Parameters
    ----------
    fun
        ``fun(x, *args)``, a scalar function, written like any function to differentiate. The
        derivatives by Tensors that it captures follow too.
    x0
        The point at which SciPy starts: an array of any shape, a list of numbers, or a tree of
        floating arrays. A number stands for an array of shape (1,), as in SciPy. No gradient passes
        to it.
    args
        A tuple of further arguments, which are trees; anything else is a single argument. `x` has
        derivatives by them.
    method, tol, options
        As in SciPy. Methods get the gradient, and Hessians or products with them if they use
        these.
    jac, hess, hessp
        Not supported: they are derived from `fun`.
    bounds
        A pair for each number in `x`, or `scipy.optimize.Bounds`. A variable on its bound moves
        with the bound, and the others as if it were fixed; the bounds may be Tensors.
    constraints
        Not supported.
    callback
        As in SciPy; it gets vectors.

    Returns
    -------
    An `OptimizeResult`.

    Raises
    ------
    TypeError
        For `constraints`, and for a function in place of `method`, `jac`, `hess` or `hessp`.
    ValueError
        As in SciPy. For a derivative: if a variable lies on its bound, and would lie there without
        it too, so that there is no derivative.
    RuntimeError
        For a derivative: if the solver did not converge. For values, only `success` shows it.
    LinAlgError
        For a derivative: if the Hessian is singular, or has a negative eigenvalue.
    TapeError
        If `fun` captures a Tensor and reads values; pass the Tensor in `args`.

    Notes
    -----
    The derivative is ``dx = -H⁻¹ d(grad fun)``, with the Hessian H by the variables in `x` that no
    bound holds. For up to 256 variables it is computed as a matrix; for more, conjugate gradients
    need only products with it. The derivative is as accurate as the minimum: `tol` is for both.

    Examples
    --------
    >>> import numpy as np
    >>> import tapegrad as tg
    >>> from tapegrad.scipy.optimize import minimize
    >>> def loss(x, a):
    ...     return tg.sum((x - a) ** 2) + tg.sum(x) ** 2
    >>> def smallest(a):
    ...     return minimize(loss, np.zeros(2), (a,)).fun
    >>> tg.grad(smallest)(np.array([1.0, 2.0])).round(6)
    array([2., 2.])
    """
    _raise_unsupported("minimize", "tapegrad derives it from fun", jac=jac, hess=hess, hessp=hessp)
    if constraints is not None and constraints != () and constraints != []:
        _raise_unsupported(
            "minimize", "write them into fun, or pass bounds", constraints=constraints
        )
    if callable(method):
        _raise_unsupported("minimize", "pass the name of one of SciPy's", method=method)
    start, unravel = ravel_start("minimize", fun, x0)
    limits = None
    if bounds is not None:
        limits = _bound_vectors("minimize", *_split_bounds(bounds), start)
        if method is None:
            method = "L-BFGS-B"
        if method.lower() not in _WITH_BOUNDS:
            _raise_unsupported("minimize", f"{method} takes none", bounds=bounds)
    chosen = {"method": method, "tol": tol, "callback": callback, "options": options}
    if limits is not None:
        chosen["keep"] = getattr(bounds, "keep_feasible", False)

    def solve(fun: Fn, *further: PyTree) -> OptimizeResult:
        loss = Loss(fun, unravel)
        find = _ScipySolver(loss, _run_minimize, chosen)
        x, report = _differentiable_solution(MinimumResidual(loss), find, (start, limits, *further))
        value, slope = value_and_grad(loss)(x, *further)
        return OptimizeResult(unravel(x), value, jac=unravel(slope), **report)

    return _solve_with_captured("minimize", solve, fun, (start, unravel), args)


def _solve_with_captured(
    name: str, solve: Callable[..., R], fun: Fn, start: tuple[Array, Unravel], args: PyTree
) -> R:
    """The result of a solver of a function and its arguments, which may capture Tensors."""
    args = args if type(args) is tuple else (args,)
    return solve_with_captured(
        name,
        (fun,),
        lambda: (start[1](start[0]), *args),
        lambda fns, captured: solve(*fns, *args, *captured),
    )


def _run_root(f: Fn, x0: Array, method: str, **options: Any) -> SciPyResult:
    fun, jac = values_and_jacobian(f)
    extra = {"jac": jac} if method.lower() in ("hybr", "lm") else {}
    return _scipys.root(fun, x0, method=method, **extra, **options)


def root(
    fun: Fn,
    x0: PyTree,
    args: PyTree = (),
    method: str = "hybr",
    jac: None = None,
    tol: float | None = None,
    callback: Fn | None = None,
    options: Mapping[str, Any] | None = None,
) -> OptimizeResult:
    """A root of a function, found by `scipy.optimize.root`.

    Parameters
    ----------
    fun
        ``fun(x, *args)``, which returns as many numbers as `x` has: an array, a list or a tree. It
        may capture Tensors.
    x0, args
        As for `minimize`.
    method, tol, callback, options
        As in SciPy. The methods "hybr" and "lm" get the Jacobian.
    jac
        Not supported: it is derived from `fun`.

    Returns
    -------
    An `OptimizeResult`.

    Raises
    ------
    TypeError
        For a function in place of `jac`.
    ValueError
        As in SciPy; if there are more or fewer numbers than unknowns.
    RuntimeError
        For a derivative: if SciPy has not converged to a root. Otherwise look at `success`.
    LinAlgError
        For a derivative: if the Jacobian is singular.
    TapeError
        If `fun` captures a Tensor and reads values; pass the Tensor in `args`.

    Examples
    --------
    >>> import tapegrad as tg
    >>> from tapegrad.scipy.optimize import root
    >>> def kepler(anomaly, eccentricity):
    ...     return anomaly - eccentricity * tg.sin(anomaly) - 1.0
    >>> tg.grad(lambda e: root(kepler, 1.0, e).x[0])(0.5).round(6)
    np.float64(1.034667)
    """
    _raise_unsupported("root", "tapegrad derives it from fun", jac=jac)
    if not isinstance(method, str):
        _raise_unsupported("root", "pass the name of one of SciPy's", method=method)
    start, unravel = ravel_start("root", fun, x0)
    chosen = {"method": method, "tol": tol, "callback": callback, "options": options}

    def solve(fun: Fn, *further: PyTree) -> OptimizeResult:
        f = Values(fun, unravel)
        find = _ScipySolver(f, _run_root, chosen)
        x, report = _differentiable_solution(RootResidual(f), find, (start, None, *further))
        solution = unravel(x)
        y = fun(solution, *further)
        return OptimizeResult(solution, f(x, *further) if type(y) in LISTS else y, **report)

    return _solve_with_captured("root", solve, fun, (start, unravel), args)


def _run_least_squares(f: Fn, x0: Array, **options: Any) -> SciPyResult:
    return _scipys.least_squares(
        (functions := values_and_jacobian(f))[0], x0, functions[1], **options
    )


def least_squares(
    fun: Fn,
    x0: PyTree,
    jac: None = None,
    bounds: Bounds | tuple[ArrayLike, ArrayLike] | list[ArrayLike] = (-np.inf, np.inf),
    method: str = "trf",
    ftol: float | None = 1e-8,
    xtol: float | None = 1e-8,
    gtol: float | None = 1e-8,
    loss: str = "linear",
    f_scale: float = 1.0,
    *,
    args: PyTree = (),
    kwargs: Mapping[str, Any] | None = None,
    **options: Any,
) -> OptimizeResult:
    """The least sum of squares, found by `scipy.optimize.least_squares`.

    Parameters
    ----------
    fun
        ``fun(x, *args, **kwargs)``, the residuals, in an array, a list or a tree. It may capture
        Tensors.
    x0, args
        As for `minimize`.
    bounds
        ``(lower, upper)``, numbers or arrays like `x0`, or `scipy.optimize.Bounds`; as for
        `minimize`.
    loss
        One of "linear", "huber", "soft_l1", "cauchy" and "arctan".
    method, ftol, xtol, gtol, f_scale, kwargs
        As in SciPy. `kwargs` are not differentiated.
    **options
        ``x_scale, tr_solver, tr_options, max_nfev, verbose`` and the like, as in SciPy.
    jac
        Not supported, nor are ``diff_step`` and ``jac_sparsity``: SciPy gets the Jacobian.

    Returns
    -------
    An `OptimizeResult`.

    Raises
    ------
    TypeError
        For an argument that is not supported.
    ValueError, RuntimeError, LinAlgError, TapeError
        As for `minimize`.

    Notes
    -----
    The derivative is taken at the minimum of the cost, with the whole Hessian instead of the
    Gauss-Newton model's: so it is right even if residuals are left.

    Examples
    --------
    The derivative of a fit by the measurements:

    >>> import numpy as np
    >>> import tapegrad as tg
    >>> from tapegrad.scipy.optimize import least_squares
    >>> times = np.array([0.0, 1.0, 2.0])
    >>> def residuals(p, measured):
    ...     return p[0] * np.exp(-p[1] * times) - measured
    >>> def rate(measured):
    ...     return least_squares(residuals, [1.0, 1.0], args=(measured,)).x[1]
    >>> tg.grad(rate)(np.array([4.0, 2.0, 1.0])).round(4)
    array([ 0.1818, -0.2273, -0.2727])
    """
    why = "tapegrad derives it from fun"
    of_ours = {x: options.pop(x, None) for x in ("diff_step", "jac_sparsity")}
    _raise_unsupported("least_squares", why, jac=jac, **of_ours)
    if callable(loss):
        _raise_unsupported("least_squares", "pass the name of one of SciPy's", loss=loss)
    if loss not in LOSSES:
        raise ValueError(f"least_squares: loss must be one of {', '.join(LOSSES)}, not {loss!r}")
    start, unravel = ravel_start("least_squares", fun, x0)
    ends: Any = (bounds.lb, bounds.ub) if isinstance(bounds, _scipys.Bounds) else bounds
    if type(ends) not in LISTS or len(ends) != 2:
        raise ValueError("least_squares: bounds must be (lower, upper)")
    is_free = first_tensor(ends) is None and not any(np.isfinite(x).any() for x in ends)
    limits = None if is_free else _bound_vectors("least_squares", ends[0], ends[1], start)
    chosen = {"method": method, "ftol": ftol, "xtol": xtol, "gtol": gtol, "loss": loss}
    chosen |= {"f_scale": float(f_scale), **options}

    def solve(fun: Fn, *further: PyTree) -> OptimizeResult:
        f = Values(fun, unravel)
        cost = Cost(f, LOSSES[loss], float(f_scale))
        find = _ScipySolver(f, _run_least_squares, chosen)
        x, report = _differentiable_solution(MinimumResidual(cost), find, (start, limits, *further))
        half, slope = value_and_grad(cost)(x, *further)
        slopes = jacobian(f)(x, *further) if loss == "linear" else None
        y = f(x, *further)
        return OptimizeResult(unravel(x), y, jac=slopes, cost=half, grad=unravel(slope), **report)

    fun = partial(fun, **kwargs) if kwargs else fun
    return _solve_with_captured("least_squares", solve, fun, (start, unravel), args)


def _run_fixed_point(step: Fn, x0: Array, **options: Any) -> SciPyResult:
    x = _scipys.fixed_point(lambda x: x - np.array(step(np.array(x))), x0, **options)
    return _scipys.OptimizeResult(x=x, success=True)


def fixed_point(
    func: Fn,
    x0: PyTree,
    args: PyTree = (),
    xtol: float = 1e-8,
    maxiter: int = 500,
    method: str = "del2",
) -> Any:
    """A fixed point of a function, ``func(x, *args) == x``, found by `scipy.optimize.fixed_point`.

    Parameters
    ----------
    func
        ``func(x, *args)``, which returns a tree like `x`. It may capture Tensors.
    x0, args
        As for `minimize`; a number stays one.
    xtol, maxiter, method
        As in SciPy.

    Returns
    -------
    The fixed point, an array or a tree like `x0`.

    Raises
    ------
    RuntimeError
        If the iteration did not converge.
    LinAlgError
        For a derivative: if the Jacobian of ``func(x) - x`` is singular.
    TapeError
        If `func` captures a Tensor and reads values; pass the Tensor in `args`.

    Examples
    --------
    >>> import tapegrad as tg
    >>> from tapegrad.scipy.optimize import fixed_point
    >>> def cosine(x, a):
    ...     return tg.cos(a * x)
    >>> tg.value_and_grad(lambda a: fixed_point(cosine, 0.5, (a,), xtol=1e-12))(1.0)
    (array(0.73908513), array(-0.29747434))
    """
    start, unravel = ravel_start("fixed_point", func, x0, np.asarray)
    chosen = {"xtol": xtol, "maxiter": maxiter, "method": method}

    def solve(func: Fn, *further: PyTree) -> Any:
        step = Step(func, unravel)
        find = _ScipySolver(step, _run_fixed_point, chosen)
        return unravel(
            _differentiable_solution(RootResidual(step), find, (start, None, *further))[0]
        )

    return _solve_with_captured("fixed_point", solve, func, (start, unravel), args)
