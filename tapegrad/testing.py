"""check_grads: derivatives against differences of the function itself.

The numeric side is a central difference in float64, extrapolated over a ladder of
steps (Richardson's method), so that it comes with an estimate of its own error. A
derivative is called wrong only where it differs by more than that.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from typing import Any

import attrs
import numpy as np

from tapegrad import tree
from tapegrad.tape import argument_names, is_floating, label
from tapegrad.tensor import Array
from tapegrad.transforms import jvp, vjp

__all__ = ["check_grads"]

Fn = Callable[..., Any]

_EPS = float(np.finfo(np.float64).eps)
# steps in units of max(1, |x|), the usual cbrt(eps) among them: the large ones are
# for functions with much rounding, the small ones for kinks and poles close by
_LADDER = np.cbrt(_EPS) * 4.0 ** -np.arange(-6, 11)
_FIRST = _LADDER[2:4]
_FEW = 64  # up to so many inputs are each moved alone
_SPLITS = 128  # how often directions through kinks are split at most
_CLOSE = 1e-9


def check_grads(
    fn: Fn,
    args: Sequence[Any],
    order: int = 2,
    modes: Sequence[str] = ("reverse", "forward"),
) -> None:
    """Check the derivatives of a function against central differences.

    Everything is computed in float64, whatever the dtype of the arguments. Up to 64
    inputs are each moved alone; more are moved together, in fixed random directions
    through those whose derivatives are alike in size. What fails is pinned to one
    input. The result is the same in each run.

    Parameters
    ----------
    fn
        A function of trees that returns a tree. Floating leaves of the arguments are
        differentiated, others stay as they are; of the result, the floating leaves.
    args
        The point to check at: a sequence of arguments.
    order
        Up to which order: 2 checks the derivatives of the VJP and of the JVP too.
    modes
        ``"reverse"`` checks `vjp`, ``"forward"`` checks `jvp`.

    Raises
    ------
    AssertionError
        If a derivative is wrong. At a kink, where differences to the left and to the
        right disagree, a derivative between the two is right.
    TypeError
        If there is nothing to differentiate.
    ValueError
        If the function is not finite at the point.

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
    if not isinstance(args, tuple | list):
        raise TypeError(f"args is a sequence of arguments, not {type(args).__name__}; write (x,)")
    if order < 1 or not modes or set(modes) - {"reverse", "forward"}:
        raise ValueError(
            f"order is 1 or more and modes are of 'reverse', 'forward'; not {order}, {modes!r}"
        )
    leaves, structure = tree.flatten(tuple(args))
    paths = [
        f"{name}.{path}" if path else name
        for name, arg in zip(argument_names(inspect.unwrap(fn), len(args)), args, strict=True)
        for path in tree.paths(arg)
    ]
    places = [i for i, leaf in enumerate(leaves) if is_floating(leaf)]
    if not places:
        raise TypeError(f"{label(fn)} has no floating argument to differentiate")

    def flat(*xs: Any) -> list[Any]:
        filled = list(leaves)
        for i, x in zip(places, xs, strict=True):
            filled[i] = x
        output = fn(*tree.unflatten(structure, filled))
        outputs = [y for y in tree.leaves(output) if is_floating(y)]
        if not outputs:
            raise TypeError(f"{label(fn)} returns no floating leaf to differentiate")
        return outputs

    _check(
        _Problem(
            label(fn),
            flat,
            lambda *xs: vjp(flat, *xs)[0],
            tuple(np.array(leaves[i], np.float64) for i in places),
            tuple(paths[i] for i in places),
        ),
        order,
        tuple(modes),
    )


@attrs.frozen(eq=False)
class _Problem:
    """A function of arrays that returns arrays, and the point to check it at.

    Attributes
    ----------
    name, paths
        What messages call the function and each input.
    f
        The function, for recording.
    evaluate
        The same on plain arrays, as fast as may be.
    x
        The point, in float64.
    order
        Of the derivative that is checked.
    scale, eps
        The size of the numbers inside, as far as known, and their relative rounding.
    """

    name: str
    f: Fn
    evaluate: Fn
    x: tuple[Array, ...]
    paths: tuple[str, ...]
    order: int = 1
    scale: float = 0.0
    eps: float = _EPS


@attrs.frozen(eq=False)
class _Finding:
    """What was found along one direction, for the rows that were not close at once."""

    rows: Array
    analytic: Array
    numeric: Array
    error: Array
    left: Array
    right: Array
    kink: Array
    wrong: Array


@attrs.frozen(eq=False)
class _Comparison:
    """The two sides of a problem's first derivatives, along any direction.

    What is compared are rows: in reverse mode the outputs weighed with a cotangent,
    then in forward mode each output.

    Attributes
    ----------
    problem, modes
        What is compared.
    outputs
        What the function returns at the point.
    x, y
        The point and the outputs, packed.
    u, v
        The cotangent, and what each input moves by.
    gradient
        The packed VJP of the cotangent.
    """

    problem: _Problem
    modes: tuple[str, ...]
    outputs: tuple[Array, ...]
    x: Array
    y: Array
    u: Array
    v: Array
    gradient: Array

    def rows(self, weighed: Array, each: Array) -> Array:
        """What the modes in question compare, of what both would."""
        return np.concatenate(
            [
                weighed[None] if "reverse" in self.modes else each[:0],
                each if "forward" in self.modes else each[:0],
            ]
        )

    def evaluate(self, point: Array) -> Array:
        y = _pack(self.problem.evaluate(*_unpack(point, self.problem.x)))
        # what is selected by value may be more or fewer a step away
        return y if y.size == self.y.size else np.full_like(self.y, np.nan)

    def analytic(self, support: Array) -> tuple[Array, Array]:
        """The derivative along a direction, and the size of what it is the sum of."""
        terms = self.gradient[support] * self.v[support]
        each = self.y
        if "forward" in self.modes:
            tangents = _unpack(self.direction(support), self.problem.x)
            each = _pack(jvp(self.problem.f, self.problem.x, tangents)[1])
        size = np.sqrt(np.sum(terms**2))
        return self.rows(terms.sum(), each), self.rows(size, np.abs(each))

    def direction(self, support: Array) -> Array:
        """The direction through some of the inputs."""
        direction = np.zeros_like(self.x)
        direction[support] = self.v[support]
        return direction

    def slopes(self, support: Array, h: float) -> tuple[Array, Array]:
        """One-sided differences, to the left and to the right."""
        step = h * self.direction(support)
        left = (self.y - self.evaluate(self.x - step)) / h
        right = (self.evaluate(self.x + step) - self.y) / h
        return self.rows(left @ self.u, left), self.rows(right @ self.u, right)

    def probe(self, support: Array) -> _Finding | None:
        """Compare along the direction through some of the inputs; None if all is close."""
        analytic, size = self.analytic(support)
        rounding = self.problem.eps * self.rows(
            np.sqrt(np.sum((self.u * self.y) ** 2)), np.abs(self.y)
        )
        # a step may leave the function's domain
        with np.errstate(all="ignore"):
            first, second = (np.mean(self.slopes(support, h), axis=0) for h in _FIRST)
            numeric = second + (second - first) / 15
            close = np.abs(numeric - analytic) <= _CLOSE * size + 2 * rounding / _FIRST[1]
            if close.all():
                return None
            (rows,) = np.nonzero(~close)
            sides = np.array([self.slopes(support, h) for h in _LADDER])[:, :, rows]
            rounding = rounding[rows]
            left, left_error = _limit(sides[:, 0], 1, rounding)
            right, right_error = _limit(sides[:, 1], 1, rounding)
            numeric, error = _limit(sides.mean(axis=1), 2, rounding)
            # the analytic side rounds too
            floor = 16 * self.problem.eps * max(self.problem.scale, np.max(np.abs(analytic)))
            analytic = analytic[rows]
            one_sided = np.isnan(left) != np.isnan(right)
            kink = one_sided | (np.abs(right - left) > right_error + left_error)
            low = np.fmin(left - left_error, right - right_error) - floor
            high = np.fmax(left + left_error, right + right_error) + floor
            outside = ~((low <= analytic) & (analytic <= high))
            wrong = (np.abs(analytic - numeric) > error + floor) & (outside | ~kink)
            wrong |= ~np.isfinite(analytic) | ~np.isfinite(sides).any(axis=(0, 1))
        return _Finding(rows, analytic, numeric, error + floor, left, right, kink, wrong)

    def supports(self) -> list[Array]:
        """The directions to begin with, as the inputs that move."""
        n = self.x.size
        if n <= _FEW:
            return list(np.arange(n)[:, None])
        # alike in size, so that none hides behind a larger one
        with np.errstate(divide="ignore"):
            sizes = np.floor(np.log2(np.abs(self.gradient * self.v)) / 4)
        sizes = np.maximum(sizes, np.max(sizes) - 14)
        return [np.arange(n), *[np.flatnonzero(sizes == size) for size in np.unique(sizes)]]


def _check(problem: _Problem, order: int, modes: tuple[str, ...]) -> None:
    """Check a function's first derivatives, and by recursion those of its derivatives."""
    output, pullback = vjp(problem.f, *problem.x)
    outputs = tuple(np.asarray(y) for y in output)
    x, y = _pack(problem.x), _pack(outputs)
    if not np.isfinite(y).all():
        raise ValueError(f"{problem.name} is not finite at the point to check: {outputs}")
    rng = np.random.default_rng(problem.order)
    u = _weights(rng, y.size)
    v = _weights(rng, x.size) * np.maximum(1, np.abs(x))
    cotangents = _unpack(u, outputs)
    gradient = _pack(pullback(list(cotangents)))
    for i in np.flatnonzero(~np.isfinite(gradient))[:1]:
        raise AssertionError(
            f"{problem.name} has a derivative of {gradient[i]} at "
            f"{_locate(i, problem.x, problem.paths)} = {x[i]} (order {problem.order}, reverse mode)"
        )
    scale = max(problem.scale, np.max(np.abs(y), initial=0.0))
    eps = max([problem.eps, *[float(np.finfo(y.dtype).eps) for y in outputs]])
    problem = attrs.evolve(problem, scale=scale, eps=eps)
    comparison = _Comparison(problem, modes, outputs, x, y, u, v, gradient)
    supports = comparison.supports()
    for _ in range(len(supports) + _SPLITS):
        if not supports:
            break
        support = supports.pop()
        finding = comparison.probe(support)
        if finding is None:
            continue
        wrong = finding.wrong.any()
        if support.size > 1:
            # kinks together may look wrong, or hide what is: only an input alone tells
            halves = np.array_split(support, 2)
            supports = [*supports, *halves] if wrong else [*halves, *supports]
        elif wrong:
            raise AssertionError(_message(comparison, finding, int(support[0])))
    if problem.order < order:
        _check_next(problem, outputs, cotangents, _unpack(v, problem.x), order, modes)


def _check_next(
    problem: _Problem,
    outputs: tuple[Array, ...],
    cotangents: tuple[Array, ...],
    tangents: tuple[Array, ...],
    order: int,
    modes: tuple[str, ...],
) -> None:
    """Check the derivatives of the VJP and the JVP, functions of the point and a weight."""
    n = len(problem.x)

    def pulled_back(*inputs: Any) -> list[Any]:
        return list(vjp(problem.f, *inputs[:n])[1](list(inputs[n:])))

    def pushed_forward(*inputs: Any) -> list[Any]:
        return list(jvp(problem.f, inputs[:n], inputs[n:])[1])

    steps = (
        ("reverse", "VJP", pulled_back, cotangents, [f"output {i}" for i in range(len(outputs))]),
        ("forward", "JVP", pushed_forward, tangents, problem.paths),
    )
    for mode, name, f, weights, of in steps:
        if mode in modes:
            weight = "cotangent" if mode == "reverse" else "tangent"
            paths = (*problem.paths, *[f"{weight} of {path}" for path in of])
            derivative = attrs.evolve(
                problem,
                name=f"the {name} of {problem.name}",
                f=f,
                evaluate=f,
                x=(*problem.x, *weights),
                paths=paths,
                order=problem.order + 1,
                scale=problem.scale * max(1.0, *[np.max(np.abs(w), initial=0.0) for w in weights]),
            )
            _check(derivative, order, modes)


def _limit(slopes: Array, power: int, rounding: Array) -> tuple[Array, Array]:
    """What slopes at the ladder's steps tend to, and how far off it may be.

    Parameters
    ----------
    slopes
        One row a step.
    power
        The power of the step that their error begins with.
    rounding
        The least error of the values that the slopes were made of.
    """
    # steps too small to change the value at all say nothing
    unresolved = (slopes == 0) & (slopes != 0).any(axis=0)
    slopes = np.where(unresolved | ~np.isfinite(slopes), np.nan, slopes)
    better = slopes[1:] + (slopes[1:] - slopes[:-1]) / (4**power - 1)
    change = np.abs(better[1:] - better[:-1])
    steps = _LADDER[1:-1, None]
    known = np.isfinite(change)
    # the changes at the smallest steps are rounding, which grows as the steps shrink
    last = known & (np.cumsum(known[::-1], axis=0)[::-1] <= 4)
    noise = np.max(np.where(last, steps * change, 0), axis=0)
    noise = 10 * np.maximum(noise, rounding) / steps
    # where rounding does not explain a change, the slopes at larger steps were not settled
    moved = np.where(known, np.maximum(change - noise, 0), 0)
    later = np.maximum.accumulate(moved[::-1], axis=0)[::-1]
    error = np.where(known, 3 * np.maximum(change, later) + noise, np.inf)
    best = np.argmin(error, axis=0)[None]
    limit: Array = np.take_along_axis(better, best, axis=0)[0]
    return limit, np.take_along_axis(error, best, axis=0)[0]


def _message(comparison: _Comparison, finding: _Finding, at: int) -> str:
    """What is wrong with the derivative by one input."""
    problem, outputs = comparison.problem, comparison.outputs
    i = int(np.flatnonzero(finding.wrong)[0])
    row = int(finding.rows[i])
    reverse = "reverse" in comparison.modes and row == 0
    place = _locate(at, problem.x, problem.paths)
    per = comparison.v[at]
    if reverse and comparison.u.size > 1:
        u = np.array2string(comparison.u, threshold=8, max_line_width=1000, separator=", ")
        of = f"the outputs weighed with the cotangent {u}"
    else:
        output = 0 if reverse else row - ("reverse" in comparison.modes)
        of = _locate(output, outputs, [f"output {j}" for j in range(len(outputs))])
        per = per * comparison.u[0] if reverse else per
    lines = [
        f"{problem.name} has a wrong derivative at {place} "
        f"(order {problem.order}, {'reverse' if reverse else 'forward'} mode)",
        f"  analytic   {finding.analytic[i] / per:.12g}",
    ]
    if finding.kink[i]:
        left, right = finding.left[i] / per, finding.right[i] / per
        if comparison.v[at] < 0:
            left, right = right, left
        lines += [
            f"  numeric    {left:.12g} to the left, {right:.12g} to the right: this is a kink,",
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


def _locate(at: int, arrays: Sequence[Array], names: Sequence[str]) -> str:
    """The name and index of an element, given its number in the packed arrays."""
    for array, name in zip(arrays, names, strict=True):
        if at < array.size:
            index = ", ".join(str(int(i)) for i in np.unravel_index(at, array.shape))
            return f"{name}[{index}]" if array.ndim else name
        at -= array.size
    raise IndexError(at)


def _weights(rng: np.random.Generator, n: int) -> Array:
    """Random signs, and sizes near 1: none vanishes, and no two cancel by design."""
    return rng.choice([-1.0, 1.0], n) * rng.uniform(0.5, 1.5, n)


def _pack(arrays: Sequence[Any]) -> Array:
    return np.concatenate([np.empty(0), *[np.ravel(np.asarray(a, np.float64)) for a in arrays]])


def _unpack(vector: Array, like: Sequence[Array]) -> tuple[Array, ...]:
    ends = np.cumsum([a.size for a in like])
    parts = np.split(vector, ends[:-1])
    return tuple(part.reshape(a.shape) for part, a in zip(parts, like, strict=True))
