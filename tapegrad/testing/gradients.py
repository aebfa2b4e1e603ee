"""check_grads: compare derivatives of any order with differences of the function."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import attrs
import numpy as np

from tapegrad.core.forward import apply
from tapegrad.core.recording import record
from tapegrad.core.tensor import Tensor
from tapegrad.errors.lines import warns_at_users_line
from tapegrad.ops.casting import stopped
from tapegrad.testing.differences import Comparison, Finding, Problem, coarsest_eps
from tapegrad.testing.leaves_as_vector import (
    FlatFunction,
    Fn,
    flatten_function,
    locate,
    pack,
    random_weights,
    unpack,
)
from tapegrad.testing.values import TOLERANCE, check_values
from tapegrad.transforms.products import jvp, linearize, vjp
from tapegrad.types import Array, Cotangent, Scalar, Tangent

FLOOR = 1e-3  # the rounding error relative to terms that cancel
_COARSE_FLOOR = 1 / 8  # the same, if the tolerance is for coarse rounding


def compare(
    f: FlatFunction, relative: float, what: str, got: Array, as_: str, want: Array, size: Array
) -> None:
    """Compare packed arrays with an entry for each element of a function's leaves.

    Parameters
    ----------
    f
        The function.
    relative
        The relative error allowed for rounding.
    what, as_
        The names of `got` and `want` in messages.
    got, want
        The arrays.
    size
        The size of the operands of each entry.
    """
    tolerance = relative * (size + FLOOR * np.max(size, initial=0.0))
    for at in np.flatnonzero(~(np.abs(got - want) <= tolerance))[:1]:
        raise AssertionError(
            f"{f.name}: {what} is {got[at]:.12g} at {locate(int(at), f.xs, f.paths)}, not {as_}, "
            f"{want[at]:.12g}"
        )


def norm_product(u: Array, v: Array) -> np.floating[Any]:
    """Return the largest possible dot product of two directions."""
    return np.linalg.norm(u) * np.linalg.norm(v)


def check_linear(
    f: FlatFunction, relative: float, name: str, weight: str, derivative: Fn, u: Array, w: Array
) -> None:
    """Check that a derivative maps zeros to zeros, and a sum of weights to the sum."""
    zero, one, other, both = (derivative(x) for x in (0 * u, u, w, 2 * u - 3 * w))
    # if terms cancel, the result is rounding in proportion to the weights
    part = FLOOR if relative == TOLERANCE else _COARSE_FLOOR
    size = np.abs(2 * one) + np.abs(3 * other) + part * np.max(np.abs(u), initial=0.0)
    compare(f, relative, f"{name} of zeros", zero, "zero", 0 * zero, 0 * size)
    of_sum, want = f"{name} of 2{weight} - 3w", 2 * one - 3 * other
    compare(f, relative, of_sum, both, "2 and -3 times theirs", want, size)


def check_transposed(
    f: FlatFunction,
    relative: float,
    by: tuple[str, str],
    u: Array,
    v: Array,
    pushed: Array,
    pulled: Array,
) -> None:
    """Check that a JVP and a VJP belong to one linear map; `by` has their names."""
    forward, reverse = u * pushed, pulled * v
    size = np.sum(np.abs(forward)) + np.sum(np.abs(reverse)) + FLOOR * norm_product(u, v)
    one, other = np.sum(forward), np.sum(reverse)
    if not np.abs(one - other) <= relative * size:
        raise AssertionError(
            f"{f.name}: <u, J v> by {by[0]} is {one:.12g}, but <J^T u, v> by {by[1]} is "
            f"{other:.12g}"
        )


_MAX_SPLITS = 128  # directions through kinks are split at most this number of times


def check_first(problem: Problem, modes: tuple[str, ...]) -> Comparison:
    """Check a function's first derivatives; return the comparison if they are right."""
    x = pack(problem.x)
    tangents = unpack(np.zeros_like(x), problem.x)
    if problem.pull is not None:
        output, pullback = problem.pull(problem.x)
    else:
        assert problem.push is not None
        output, pullback = problem.push(problem.x, tangents)[0], None
    outputs = tuple(np.asarray(y) for y in output)
    y = pack(outputs)
    if not np.isfinite(y).all():
        raise ValueError(f"{problem.name} is not finite at the point to check: {outputs}")
    rng = np.random.default_rng(problem.order)
    u = random_weights(rng, y.size)
    # an input that is not finite has no neighbours, so it stays fixed
    moves = np.isfinite(x)
    v = random_weights(rng, x.size) * np.where(moves, np.maximum(1, np.abs(x)), 0)
    cotangent = np.ones_like(x) if pullback is None else pack(pullback(list(unpack(u, outputs))))
    gradient = np.where(moves, cotangent, 0)
    for i in np.flatnonzero(~np.isfinite(gradient))[:1]:
        place = locate(i, problem.x, problem.paths)
        raise AssertionError(
            f"{problem.name} has a derivative of {gradient[i]} at {place} = {x[i]} "
            f"{problem.describe_derivative('reverse')}"
        )
    problem = attrs.evolve(problem, eps=coarsest_eps(outputs, problem.eps))
    comparison = Comparison(problem, modes, outputs, x, y, u, v, gradient, pullback, y[:0])
    tangent = comparison.tangent(np.flatnonzero(moves)) if "forward" in modes else y
    sizes = comparison.rows(np.max(np.abs(gradient * v), initial=0.0), np.abs(tangent))
    comparison = attrs.evolve(comparison, sizes=sizes)
    supports = comparison.supports()
    for _ in range(len(supports) + _MAX_SPLITS):
        if not supports:
            break
        support = supports.pop()
        finding = comparison.probe(support)
        if finding is None:
            continue
        wrong = finding.wrong.any()
        if support.size > 1:
            # several kinks together may seem wrong, or hide an error; single inputs decide
            halves = np.array_split(support, 2)
            supports = [*supports, *halves] if wrong else [*halves, *supports]
        elif wrong and not comparison.is_right_at_smaller_steps(support, finding):
            narrowed = comparison.narrow_to_one_output(support, finding)
            if narrowed is not None:
                single, finding = narrowed[0], narrowed[0].with_measured_noise(support, narrowed[1])
                if finding.wrong.any():
                    raise AssertionError(_message(single, finding, int(support[0])))
    return comparison


def _message(comparison: Comparison, finding: Finding, at: int) -> str:
    """Write the message about the wrong derivative by one input."""
    problem, outputs = comparison.problem, comparison.outputs
    i = int(np.flatnonzero(finding.wrong)[0])
    row = int(finding.rows[i])
    reverse = "reverse" in comparison.modes and row == 0
    place = locate(at, problem.x, problem.paths)
    per = comparison.v[at]
    (weighted,) = np.nonzero(comparison.u)
    if reverse and weighted.size > 1:
        u = np.array2string(comparison.u, threshold=8, max_line_width=1000, separator=", ")
        of = f"the outputs weighed with the cotangent {u}"
    else:
        output = int(weighted[0]) if reverse else row - ("reverse" in comparison.modes)
        numbered = [f"output {j}" for j in range(len(outputs))]
        of = locate(output, outputs, problem.output_paths or numbered)
        per = per * comparison.u[output] if reverse else per
    lines = [
        f"{problem.name} has a wrong derivative at {place} "
        f"{problem.describe_derivative('reverse' if reverse else 'forward')}",
        f"  {problem.by or 'analytic':<10} {finding.analytic[i] / per:.12g}",
    ]
    low, high = sorted((finding.low[i] / per, finding.high[i] / per))
    left, right = finding.left[i] / per, finding.right[i] / per
    if comparison.v[at] < 0:
        left, right = right, left
    apart, kink = abs(finding.right[i] - finding.left[i]), ""
    if finding.high[i] - finding.low[i] > apart + finding.error[i]:
        kink = f"from {low:.12g} to {high:.12g} at points close by"
    elif finding.kink[i] and apart > finding.error[i]:
        kink = f"{left:.12g} to the left, {right:.12g} to the right"
    if kink:
        lines += [
            f"  numeric    {kink}: this is a kink,",
            "             where a derivative between the two would be right",
        ]
    else:
        lines += [
            f"  numeric    {finding.numeric[i] / per:.12g}",
            f"  tolerance  {finding.error[i] / abs(per):.1e}, what the numeric may be off by",
        ]
    lines += [
        f"  point      {place} = {comparison.x[at]}",
        f"  direction  {place} alone",
        f"  of         {of}",
    ]
    return "\n".join(lines)


_MAX_RECORDS = 200  # at most this number of ops of a failing function are checked one by one


@warns_at_users_line
def check_grads(
    fn: Fn,
    args: Sequence[Any],
    order: int = 2,
    modes: Sequence[str] = ("reverse", "forward"),
) -> None:
    """Check the derivatives of a function against central differences.

    The check computes in float64, whatever the dtype of the arguments. Inputs with derivatives of
    similar size move together, in fixed random directions. If there are at most 64 inputs and a
    direction does not agree at once, its inputs move one by one. The message of a failure names one
    input. Each run gives the same result.

    Parameters
    ----------
    fn
        A function of trees that returns a tree. The check differentiates the result's floating
        leaves with respect to the arguments' floating leaves; other leaves are constants.
    args
        The point to check at: a sequence of arguments.
    order
        The highest order: 2 also checks the derivatives of the VJP and of the JVP.
    modes
        ``"reverse"`` checks `vjp`, ``"forward"`` checks `jvp`.

    Raises
    ------
    AssertionError
        If a derivative is wrong; the message names the op whose rule is wrong, if one is. At a
        kink, where differences to the left and to the right disagree, any derivative between the
        two is right. Also raised if the recorded value differs from the value on plain arrays
        (`check_values`).
    TypeError
        If there is nothing to differentiate.
    ValueError
        If the function is not finite at the point, or returns another value each time.

    Examples
    --------
    >>> import tapegrad as tg
    >>> tg.testing.check_grads(lambda p, x: tg.tanh(p["w"] @ x), ({"w": np.eye(2)}, np.ones(2)))
    >>> tg.testing.check_grads(tg.relu, (np.array([-1.0, 0.0, 1.0]),))
    >>> @tg.custom_op(vjps=(lambda g, y, x: g * 2 * x,))
    ... def cube(x):
    ...     return x**3
    >>> try:
    ...     tg.testing.check_grads(cube, (2.0,))
    ... except AssertionError as error:
    ...     for line in str(error).splitlines()[:3]:
    ...         print(line)
    cube has a wrong derivative at x (order 1, reverse mode)
      analytic   4
      numeric    12
    """
    if isinstance(modes, str):
        raise ValueError(f"modes must be a sequence; write ({modes!r},)")
    if not isinstance(order, int) or order < 1 or not modes or set(modes) - {"reverse", "forward"}:
        raise ValueError(
            f"order must be at least 1, and modes 'reverse' or 'forward'; not {order}, {modes!r}"
        )
    f = flatten_function(fn, args, np.float64)
    problem = _make_problem(f.name, f.fn, f.xs, f.paths)
    once, again = pack(problem.evaluate(*f.xs)), pack(problem.evaluate(*f.xs))
    # values that are not finite are reported below
    finite = np.abs(once[np.isfinite(once)])
    if not np.allclose(
        once, again, TOLERANCE, TOLERANCE * np.max(finite, initial=0), equal_nan=True
    ):
        raise ValueError(
            f"{f.name} returns two values at one point, so differences say nothing; draw "
            "random numbers outside, or from a key that is an argument"
        )
    check_values(fn, f.args)
    problem = attrs.evolve(problem, evaluate=_choose_evaluation(f, problem.evaluate, once))
    try:
        _check_orders(problem, f.fn, order, tuple(modes))
    except AssertionError as error:
        raise AssertionError("\n".join([str(error), *_find_wrong_op(f)])) from None


def _choose_evaluation(f: FlatFunction, recorded: Fn, once: Array) -> Fn:
    """Choose the call on plain arrays if it is exact at the point, otherwise the recorded call."""

    def plain(*xs: Array | Scalar) -> Any:
        try:
            # NumPy code may write to its arguments
            return f.fn(*[x.copy() if isinstance(x, np.ndarray) else x for x in xs])
        except Exception:
            return recorded(*xs)

    return plain if pack(plain(*f.xs)).tobytes() == once.tobytes() else recorded


def _find_wrong_op(f: FlatFunction) -> list[str]:
    """Find the first op on the tape with a wrong rule; return a line of the message."""
    _, tape = record(f.fn)(*f.xs)
    # the derivative of stop_gradient is 0 on purpose
    for x in [x for x in tape if x.op is not stopped][:_MAX_RECORDS]:
        operands = [a.value if isinstance(a, Tensor) else a for a in x._operands]

        def apply_alone(*operands: Any, x: Tensor = x) -> Any:
            return apply(x.op, operands, x._options)

        try:
            check = flatten_function(apply_alone, operands, np.float64)
            check_first(_make_problem(x.op.name, check.fn, check.xs, check.paths), ("reverse",))
        except AssertionError:
            return [f"  op         {x.op.name}, line {x.index} of the tape, is wrong by itself"]
        except Exception:
            # an op that is not differentiable or not finite may still have a right rule
            continue
    return []


def _make_problem(
    name: str,
    fn: Fn,
    x: tuple[Any, ...],
    paths: Sequence[str],
    evaluate: Fn | None = None,
    **fields: Any,
) -> Problem:
    """Make the problem of checking a recorded function."""
    point: Sequence[Array] | None = None
    linearized: Any = None

    def push(xs: Sequence[Array], tangents: Sequence[Tangent]) -> tuple[Any, Any]:
        # one recording for all directions at a point
        nonlocal point, linearized
        if point is not xs:
            point, linearized = xs, linearize(fn, *xs)
        output, pushforward = linearized
        return output, pushforward(*tangents)

    def pull(xs: Sequence[Array]) -> tuple[Any, Fn]:
        return vjp(fn, *xs)

    evaluate = evaluate or (lambda *xs: pull(xs)[0])
    return Problem(name, evaluate, pull, push, x, tuple(paths), **fields)


def _check_orders(problem: Problem, fn: Fn, order: int, modes: tuple[str, ...]) -> None:
    """Check a function's first derivatives and, by recursion, its higher derivatives.

    Higher derivatives are derivatives of the VJP and the JVP, functions of the point and a weight.
    """
    comparison = check_first(problem, modes)
    # the same problem with the outputs' rounding, if it is coarser
    problem = comparison.problem
    if problem.order == order:
        return
    outputs, x, n = comparison.outputs, problem.x, len(problem.x)
    scale = max(problem.scale, np.max(np.abs(comparison.y), initial=0.0))

    # if only the weight changes, the recording at the point serves again

    def pull_back(*inputs: Array) -> list[Cotangent]:
        pullback = comparison.pullback if _are_equal_arrays(inputs[:n], x) else None
        return _zero_where_not_finite((pullback or vjp(fn, *inputs[:n])[1])(list(inputs[n:])), x)

    def push_forward(*inputs: Array) -> list[Tangent]:
        push = problem.push if _are_equal_arrays(inputs[:n], x) else None
        tangents = _zero_where_not_finite(inputs[n:], x)
        return list(push(x, tangents)[1] if push else jvp(fn, list(inputs[:n]), tangents)[1])

    output_names = [f"cotangent of output {i}" for i in range(len(outputs))]
    input_names = [f"tangent of {path}" for path in problem.paths]
    for mode, name, derivative, weight, like, weight_names in (
        ("reverse", "VJP", pull_back, comparison.u, outputs, output_names),
        ("forward", "JVP", push_forward, comparison.v, x, input_names),
    ):
        if mode in modes:
            further = _make_problem(
                f"the {name} of {problem.name}",
                derivative,
                (*x, *unpack(weight, like)),
                (*problem.paths, *weight_names),
                evaluate=derivative,
                order=problem.order + 1,
                scale=scale * np.max(np.abs(weight), initial=1.0),
                eps=problem.eps,
            )
            _check_orders(further, derivative, order, modes)


def _are_equal_arrays(xs: Sequence[Any], ys: Sequence[Array]) -> bool:
    """Whether these are plain arrays, and equal."""
    pairs = zip(xs, ys, strict=True)
    return all(type(x) is not Tensor and np.array_equal(x, y) for x, y in pairs)


def _zero_where_not_finite(derivatives: Sequence[Array], xs: Sequence[Array]) -> list[Array]:
    """Replace cotangents or tangents by zero for inputs that are not finite."""
    return [
        d if np.isfinite(x).all() else np.where(np.isfinite(x), d, 0.0)
        for d, x in zip(derivatives, xs, strict=True)
    ]
