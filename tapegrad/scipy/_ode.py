"""Solutions of ordinary differential equations, as in `scipy.integrate`."""

from __future__ import annotations

import inspect
import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import attrs
import numpy as np
from scipy import integrate

from tapegrad import tree
from tapegrad.arraylike.tensor import Tensor
from tapegrad.core.tensor import primals
from tapegrad.declare.abstract import call_unrecorded
from tapegrad.errors import TraceError
from tapegrad.errors.functions import check_callable, label
from tapegrad.errors.words import a_kind
from tapegrad.functions.creation import array
from tapegrad.loops.segments import Checkpointing, check_checkpoint
from tapegrad.scipy._adjoint import Equation, KnownSolution, run_solve_ivp, solution_at
from tapegrad.scipy._calls import (
    ShapeAndDtype,
    as_float64,
    check_options,
    recorded_again,
    recorded_tensors,
    solve_with_captured,
    split_tensors,
)
from tapegrad.scipy._protocols import IvpResult, OdeSolver
from tapegrad.scipy._steps import Record, Steps, record_steps
from tapegrad.tree.ownership import readonly_view
from tapegrad.types import Array, ArrayLike, PyTree

__all__ = ["OdeResult", "odeint", "solve_ivp"]
__dir__ = __all__.copy

_EXPLICIT = {
    "RK23": integrate.RK23,
    "RK45": integrate.RK45,
    "DOP853": integrate.DOP853,
}


@attrs.frozen(eq=False)
class OdeResult:
    """The result of `solve_ivp`, with SciPy's names.

    Attributes
    ----------
    t
        The times, with shape (m,).
    y
        The solution at these times, with shape (n, m).
    sol, t_events, y_events
        None: interpolated solutions and events are not supported.
    nfev, njev, nlu
        The numbers of SciPy's evaluations of the right-hand side and of its Jacobian, and of its
        factorizations; None if they differ from call to call, as inside `compile`.
    status, message, success
        0, a sentence and True, since a failure is an error.

    Examples
    --------
    >>> from tapegrad.scipy.integrate import solve_ivp
    >>> solution = solve_ivp(lambda t, y: -y, (0.0, 1.0), [1.0], t_eval=[0.0, 1.0])
    >>> solution.y.round(3), solution.status, solution.success
    (array([[1.   , 0.368]]), 0, True)
    """

    t: Array
    y: Array
    sol: None = None
    t_events: None = None
    y_events: None = None
    nfev: int | None = None
    njev: int | None = None
    nlu: int | None = None
    status: int = 0
    message: str = "The solver successfully reached the end of the integration interval."
    success: bool = True


def solve_ivp(
    fun: Callable[..., Any],
    t_span: Sequence[ArrayLike] | Array,
    y0: ArrayLike,
    method: str | type[OdeSolver] = "RK45",
    t_eval: ArrayLike | None = None,
    dense_output: bool = False,
    events: object = None,
    vectorized: bool = False,
    args: Sequence[PyTree] | None = None,
    *,
    checkpoint: Checkpointing = None,
    **options: Any,
) -> OdeResult:
    r"""`scipy.integrate.solve_ivp`, with derivatives by `y0`, `args`, `t_span` and `t_eval`.

    SciPy solves ``dy/dt = fun(t, y, *args)``, ``y(t0) = y0``. The derivatives depend on the kind of
    method:

    - For an explicit method (RK23, RK45, DOP853), the steps that SciPy accepted are taken again as
      one `scan`, by SciPy's tableau. The derivative of these steps is exact, to the last digits.
    - For an implicit method (Radau, BDF, LSODA), derivatives are solutions of equations along the
      interpolated solution: of the adjoint equation ``dλ/dt = -(df/dy)ᵀ λ`` in reverse mode, and of
      ``ds/dt = df/dy s + df/dθ dθ`` in forward mode. They are as accurate as `rtol` and `atol`
      make the solution. The equation is never solved backward through ``y``, which would grow
      where the solution decays.

    Derivatives of any order follow, in both modes.

    Parameters
    ----------
    fun
        ``fun(t, y, *args)``, written like any function to differentiate. SciPy calls it with
        arrays; for derivatives it is recorded, and then it cannot read values (``if``,
        ``float``; write `where`). It may capture Tensors.
    t_span
        The first and the last time, ``(t0, tf)``.
    y0
        The initial state, with shape (n,). It may be complex for an explicit method.
    method
        "RK45", "RK23", "DOP853", "Radau", "BDF", "LSODA", or SciPy's class.
    t_eval
        The times at which to return the solution, in order; by default the ends of the steps, whose
        number depends on values.
    dense_output, events
        Refused: interpolated solutions and the times of events have no derivative here.
    vectorized
        Whether `fun` takes states with shape (n, k) too, as for SciPy.
    args
        A tuple of further arguments of `fun`: trees.
    checkpoint
        For an explicit method: the steps are taken again with this `checkpoint` of `scan`, so that
        few states are kept. By default all stages of all steps are kept, which is faster. An
        implicit method keeps only its interpolated solution.
    **options
        SciPy's options: rtol, atol, max_step, first_step, jac, and so on. They pass no gradient.

    Returns
    -------
    An `OdeResult`: ``t`` with shape (m,), ``y`` with shape (n, m), and SciPy's report on the
    solution.

    Raises
    ------
    RuntimeError
        If SciPy's solver fails, with its message.
    NotImplementedError
        For events, `dense_output`, and complex numbers with an implicit method.
    TapeError
        If `fun` captures a Tensor and reads values; pass the Tensor in `args`.
    TraceError
        Inside `compile`, `vmap` or the body of a loop without `t_eval`, since then the shape of
        the result depends on values; or if `fun` reads a value when it is recorded.
    ValueError, TypeError
        As SciPy does.

    Notes
    -----
    The choice of steps has no gradient: it is not smooth, and its effect is within the tolerance.
    So finite differences of a solution at default tolerances are the wrong check of a gradient:
    they measure the change of the steps, divided by a small number. Compare at a tolerance of
    1e-12, or with a solution that is known.

    Inside `compile`, `vmap` and loops, with `t_eval`, a call is one step of the program, which runs
    as it does outside; its derivatives are further steps. With ``check=True`` the equation is
    solved for drawn arguments too, which may take long.

    The adjoint equation is described by Cao, Li, Petzold and Serban (2003),
    https://doi.org/10.1137/S1064827501380630.

    Examples
    --------
    >>> import tapegrad as tg
    >>> from tapegrad.scipy.integrate import solve_ivp
    >>> def last(rate):
    ...     decay = lambda t, y, rate: -rate * y
    ...     return solve_ivp(decay, (0.0, 2.0), [1.0], args=(rate,), rtol=1e-9, atol=1e-9).y[0, -1]
    >>> print(np.round(tg.grad(last)(0.5), 6), np.round(-2 * np.exp(-1.0), 6))
    -0.735759 -0.735759
    """
    check_callable(fun, "solve_ivp")
    checkpoint = check_checkpoint("solve_ivp", checkpoint)
    if events is not None:
        raise NotImplementedError(
            "solve_ivp: events have no derivative here, so they are not taken; find the time of "
            "one with tg.implicit_root on the solution at t_eval=[t]"
        )
    if dense_output:
        raise NotImplementedError(
            "solve_ivp: dense_output gives a function without derivatives, so it is not taken; "
            "pass the times in t_eval"
        )
    check_options("solve_ivp", options)
    if args is not None and not isinstance(args, list | tuple):
        # SciPy takes anything that can be unpacked, and refuses the rest
        try:
            args = (*args,)
        except TypeError:
            raise TypeError(
                f"solve_ivp: args must be a tuple, not {a_kind(args)}: args=({args!r},)"
            ) from None
    args = tuple(args or ())
    jac = options.pop("jac", None)

    def solve(fns: Sequence[Any], captured: tuple[Any, ...]) -> OdeResult:
        jac = {} if fns[1] is None else {"jac": fns[1]}
        call = {"method": method, "vectorized": vectorized, **options, **jac}
        return _solve_ivp(fns[0], (t_span, y0, t_eval, (*args, *captured)), call, checkpoint)

    return solve_with_captured(
        "solve_ivp", (fun, jac), lambda: _example_arguments(y0, args, vectorized), solve
    )


def _example_arguments(
    y0: ArrayLike, args: tuple[Any, ...], vectorized: bool = False
) -> tuple[Any, ...]:
    """Arguments of a right-hand side, by shape and dtype."""
    if vectorized:
        raise TraceError("the number of states in a call is not known")
    y = array(y0)
    return 0.0, np.zeros(y.shape, complex if y.dtype.kind == "c" else float), *args


def _solve_ivp(
    fun: Callable[..., Any],
    arguments: tuple[Any, ...],
    call: dict[str, Any],
    checkpoint: Checkpointing,
) -> OdeResult:
    tensors = recorded_tensors("solve_ivp", arguments)
    if not tensors:
        result = _solve_values(run_solve_ivp, fun, arguments, call)
        return OdeResult(result.t, result.y, **_statistics(result))
    if any(x.origin.compiling for x in tensors):
        return _solve_in_program(fun, arguments, {**call, "checkpoint": checkpoint})
    return _solve_on_tape(fun, arguments, call, checkpoint)


def _statistics(result: IvpResult) -> dict[str, Any]:
    return {name: getattr(result, name) for name in ("nfev", "njev", "nlu", "status", "message")}


def _solve_values(
    solve: Callable[..., Any],
    fun: Callable[..., Any],
    arguments: tuple[Any, ...],
    call: Mapping[str, Any],
) -> IvpResult:
    """SciPy's result for the values of the arguments."""
    t_span, y0, t_eval, args = tree.map(lambda x: readonly_view(primals((x,))[0]), arguments)
    call = {**call, "t_eval": t_eval, "args": args or None}
    t_span = tuple(t_span) if isinstance(t_span, list | tuple | np.ndarray) else t_span
    # outside of the recording
    return call_unrecorded(lambda: solve(fun, t_span, y0, **call))


def _solve_in_program(
    fun: Callable[..., Any], arguments: tuple[Any, ...], call: Mapping[str, Any]
) -> OdeResult:
    """A solution as one step of a program."""
    _, y0, t_eval, _ = arguments
    origin = next(x.origin for x in split_tensors(arguments)[0] if x.origin.compiling)
    if t_eval is None:
        raise TraceError(
            f"solve_ivp: the number of steps depends on values, which are not known while "
            f"{origin.activity} {origin.label}; pass the times in t_eval"
        )
    y0, t_eval = array(y0), array(t_eval)
    _check_vector("y0", y0)
    _check_vector("t_eval", t_eval)
    _check_method(call["method"], y0.dtype)

    def solve_again(arguments: tuple[Any, ...]) -> Array:
        t_span, y0, t_eval, args = arguments
        return solve_ivp(fun, t_span, y0, t_eval=t_eval, args=args, **call).y

    dtype = np.dtype(complex if y0.dtype.kind == "c" else float)
    y = _record_one_step(solve_again, arguments, ((y0.shape[0], t_eval.shape[0]), dtype))
    return OdeResult(t_eval, y)


def _record_one_step(
    fn: Callable[[Any], Array], arguments: tuple[Any, ...], like: ShapeAndDtype
) -> Array:
    """A function of a tree as one step of a program; the step runs it as it is."""
    tensors, fill = split_tensors(arguments)
    return recorded_again(lambda *operands: (fn(fill(operands)),), (like,))(*tensors)[0]


def _check_vector(name: str, x: Array) -> None:
    if x.ndim != 1:
        raise ValueError(f"solve_ivp: `{name}` must be 1-dimensional; it has shape {x.shape}")


def _check_method(method: str | type[OdeSolver], dtype: np.dtype[Any]) -> type[OdeSolver] | None:
    """SciPy's class of an explicit method; None for another method."""
    cls: Any = _EXPLICIT.get(method, method) if isinstance(method, str) else method
    is_explicit = inspect.isclass(cls) and issubclass(cls, tuple(_EXPLICIT.values()))
    if is_explicit:
        return cls
    if dtype.kind == "c":
        raise NotImplementedError(
            f"solve_ivp: complex numbers have derivatives with an explicit method alone, such as "
            f"RK45, not with {method}; solve for their real and imaginary parts"
        )
    return None


def _solve_on_tape(
    fun: Callable[..., Any],
    arguments: tuple[Any, ...],
    call: dict[str, Any],
    checkpoint: Checkpointing,
) -> OdeResult:
    """A solution on the tape."""
    t_span, y0, t_eval, args = arguments
    t0, tf = [as_float64(array(t)) for t in t_span]
    y0 = array(y0)
    _check_vector("y0", y0)
    dtype = np.dtype(complex if y0.dtype.kind == "c" else float)
    y0 = y0 if y0.dtype == dtype else y0.astype(dtype)
    method = _check_method(call["method"], dtype)
    records: list[Record] = []
    # the derivatives of an implicit method need the interpolated solution
    how = {"dense_output": True} if method is None else {"method": record_steps(method, records)}
    result = _solve_values(run_solve_ivp, fun, arguments, {**call, **how})
    statistics = _statistics(result)
    equation, params = _make_equation(_Slope(fun, call["vectorized"]), args, call)
    if t_eval is None:
        times = np.concatenate([np.reshape(t0, (1,)), result.t[1:-1], np.reshape(tf, (1,))])
    else:
        times = as_float64(array(t_eval))
    start, end, first, at = primals((t0, tf, y0, times))
    if start == end:
        past = np.expand_dims(times - t0, -1)
        return OdeResult(
            times, np.transpose(y0 + past * equation.slope(t0, y0, *params)), **statistics
        )
    if method is not None:
        inside = t_eval is not None
        steps = Steps.from_records(
            equation.slope,
            method,
            (start, first),
            records,
            at if inside else None,
            result.y.T,
            checkpoint,
        )
        rows = steps(t0, tf, times if inside else np.zeros(0), y0, *params)
    else:
        operands = t0, times, y0, *params
        known = KnownSolution(tuple(primals(operands)), result.y.T, result.sol)
        rows = solution_at(equation, known, *operands)
    return OdeResult(times, np.transpose(rows), **statistics)


@attrs.frozen(eq=False)
class _Slope:
    """The caller's right-hand side, whose result has the shape and dtype of the state."""

    fun: Callable[..., Any]
    vectorized: bool = False

    def __call__(self, t: Array | float, y: Array, *args: PyTree) -> Array:
        f = self.fun(t, np.expand_dims(y, -1), *args) if self.vectorized else self.fun(t, y, *args)
        f = f if isinstance(f, Tensor) else array(f)
        f = f[..., 0] if self.vectorized else f
        if f.dtype != y.dtype:
            f = np.real(f) if f.dtype.kind == "c" and y.dtype.kind != "c" else f
            f = f.astype(y.dtype)
        if f.shape == y.shape:
            return f
        try:
            return np.broadcast_to(f, y.shape)
        except ValueError:
            raise ValueError(
                f"{label(self.fun)} returned an array of shape {f.shape} for a state of shape "
                f"{y.shape}"
            ) from None


def _make_equation(
    slope: _Slope, args: Sequence[PyTree], call: Mapping[str, Any]
) -> tuple[Equation, list[Any]]:
    """The equation as a function of the Tensors among its arguments, and these Tensors."""
    tensors, fill = split_tensors(tuple(args))
    options = {k: v for k, v in call.items() if k not in ("method", "vectorized")}
    jac, jacobian = options.pop("jac", None), None
    if callable(jac):

        def jacobian(t: Array | float, y: Array, *params: Array) -> Array:
            return jac(t, y, *fill(params))

    elif jac is not None:
        jacobian = lambda t, y, *params: jac  # noqa: E731
    equation = Equation(
        lambda t, y, *params: slope(t, y, *fill(params)), call["method"], options, jacobian
    )
    return equation, tensors


def odeint(
    func: Callable[..., Any],
    y0: ArrayLike,
    t: ArrayLike,
    args: PyTree = (),
    Dfun: Callable[..., Any] | None = None,
    col_deriv: bool = False,
    full_output: bool = False,
    *,
    tfirst: bool = False,
    rtol: ArrayLike | None = None,
    atol: ArrayLike | None = None,
    **options: Any,
) -> Array:
    """`scipy.integrate.odeint`, with derivatives by `y0`, `args` and `t`.

    SciPy solves ``dy/dt = func(y, t, *args)`` by LSODA, for stiff equations and others. Derivatives
    are as for the method LSODA of `solve_ivp`, which explains them.

    Parameters
    ----------
    func
        ``func(y, t, *args)``, or ``func(t, y, *args)`` with `tfirst`; written like any function to
        differentiate. It may capture Tensors.
    y0
        The initial state, with shape (n,) or a number.
    t
        The times, with shape (m,), in order; the state is `y0` at the first time.
    args
        A tuple of further arguments of `func`: trees.
    Dfun, col_deriv
        The Jacobian of `func`, called as `func` is, and whether each of its rows has the
        derivatives by one number of the state.
    full_output
        Refused: it reports on one run of the solver.
    tfirst
        Whether `func` takes the time first.
    rtol, atol
        The tolerances; about 1.5e-8 by default.
    **options
        Further options of SciPy, such as hmax and mxstep. They pass no gradient.

    Returns
    -------
    The solution, with shape (m, n).

    Raises
    ------
    RuntimeError
        If SciPy's solver fails, with its message.
    NotImplementedError
        For `full_output`.
    TapeError
        If `func` captures a Tensor and reads values; pass the Tensor in `args`.

    Examples
    --------
    >>> import tapegrad as tg
    >>> from tapegrad.scipy.integrate import odeint
    >>> def last(rate):
    ...     return odeint(lambda y, t, rate: -rate * y, [1.0], np.array([0.0, 2.0]), (rate,))[-1, 0]
    >>> print(np.round(tg.grad(last)(0.5), 5), np.round(-2 * np.exp(-1.0), 5))
    -0.73576 -0.73576
    """
    check_callable(func, "odeint")
    if full_output:
        raise NotImplementedError(
            "odeint: full_output is about one run of the solver, and has no derivative; leave it "
            "out, or call scipy.integrate.odeint"
        )
    call = {"rtol": rtol, "atol": atol, **options}
    check_options("odeint", call)
    args = args if isinstance(args, tuple) else (args,)
    how = {"col_deriv": col_deriv, "tfirst": tfirst, **call}

    def example() -> tuple[Any, ...]:
        at, y, *rest = _example_arguments(np.reshape(array(y0), (-1,)), args)
        return (at, y, *rest) if tfirst else (y, at, *rest)

    def solve(fns: Sequence[Any], captured: tuple[Any, ...]) -> Array:
        return _solve_odeint(fns[0], (y0, t, (*args, *captured)), {"Dfun": fns[1], **how})

    return solve_with_captured("odeint", (func, Dfun), example, solve)


def _solve_odeint(
    func: Callable[..., Any], arguments: tuple[Any, ...], how: dict[str, Any]
) -> Array:
    y0, t, args = arguments
    tensors = recorded_tensors("odeint", arguments)

    def values() -> Array:
        arguments = tree.map(lambda x: readonly_view(primals((x,))[0]), (y0, t, args))
        return call_unrecorded(lambda: _run_odeint(func, *arguments, **how))

    if not tensors:
        return values()
    first, times = np.reshape(array(y0), (-1,)), as_float64(array(t))
    if first.dtype.kind == "c":
        raise TypeError("odeint: y0 must be real; solve for real and imaginary parts")
    if any(x.origin.compiling for x in tensors):
        like = ((times.shape[0], first.shape[0]), np.dtype(float))
        again = lambda arguments: odeint(func, *arguments, **how)  # noqa: E731
        return _record_one_step(again, arguments, like)
    solution = values()

    def take_time_first(fn: Callable[..., Any]) -> Callable[..., Any]:
        return fn if how["tfirst"] else lambda t, y, *args: fn(y, t, *args)

    options = {name: 1.49012e-8 if how[name] is None else how[name] for name in ("rtol", "atol")}
    if how["Dfun"] is not None:
        jac = take_time_first(how["Dfun"])
        options["jac"] = lambda *xs: np.transpose(jac(*xs)) if how["col_deriv"] else jac(*xs)
    equation, params = _make_equation(
        _Slope(take_time_first(func)), args, {"method": "LSODA", **options}
    )
    operands = times[0], times, as_float64(first), *params
    known = KnownSolution(tuple(primals(operands)), solution, None)
    return solution_at(equation, known, *operands)


def _run_odeint(
    func: Callable[..., Any], y0: Array, t: Array, args: tuple[PyTree, ...], **how: Any
) -> Array:
    """SciPy's result; an error if SciPy fails."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", integrate.ODEintWarning)
        y, report = integrate.odeint(func, y0, t, args, full_output=True, **how)
    # there is nothing to do if all times are the first one
    if not report["message"].startswith(("Integration successful", "Nothing was done")):
        raise RuntimeError(f"odeint: {report['message']}")
    return y
