"""Compare derivatives with differences over a ladder of steps."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable
from typing import Any

import attrs
import numpy as np

from tapegrad.testing.leaves_as_vector import Fn, pack, unpack
from tapegrad.types import Array

EPS = float(np.finfo(np.float64).eps)
_MIN_SMALLER_STEPS = 5  # a limit must agree with this number of smaller steps


@attrs.frozen(eq=False)
class Steps:
    """The steps of the differences, in units of max(1, |x|).

    Attributes
    ----------
    ladder
        All steps from large to small; each is a quarter of the step before.
    first
        The first two steps to try.
    near
        Two distances from the point, up to which slopes show a kink.
    close
        The relative error below which a derivative is right at once.
    sure
        The largest relative error with which a one-sided slope counts as known.
    """

    ladder: Array
    first: Array
    near: tuple[float, float]
    close: float
    sure: float


# around the usual step, cbrt(eps): larger steps for functions with coarse rounding, and smaller
# steps for kinks and poles close by
_LADDER = np.cbrt(EPS) * 4.0 ** -np.arange(-6, 13)
FINE_STEPS = Steps(_LADDER, _LADDER[2:4], (1e-4, 1e-7), 1e-9, 1e-2)


def coarse_steps(eps: float) -> Steps:
    """Make the steps for inputs or outputs with a relative rounding coarser than float64's."""
    ladder = np.cbrt(eps) * 4.0 ** -np.arange(-3, 9)
    ladder = ladder[(ladder < 0.5) & (ladder > eps)]
    near = float(ladder[1]), float(ladder[4])
    return Steps(ladder, ladder[1:3], near, 8 * eps / ladder[2], 1e-1)


def coarsest_eps(values: Iterable[Any], least: float = 0.0) -> float:
    """Return the relative rounding of the coarsest floating value, and at least `least`."""
    dtypes = {x.dtype for x in values if x.dtype.kind in "fc"}
    return max([least, *[float(np.finfo(dtype).eps) for dtype in dtypes]])


def estimate_limit(
    ladder: Array, slopes: Array, power: int, rounding: Array, size: float
) -> tuple[Array, Array]:
    """Estimate the limit of slopes as the step shrinks, and its possible error.

    Parameters
    ----------
    ladder, slopes
        The steps, and a row of slopes for each.
    power
        The leading power of the step in the error of a slope.
    rounding
        The least error of the values behind the slopes, in the shape of `slopes`.
    size
        The size of the values.
    """
    better = slopes[1:] + (slopes[1:] - slopes[:-1]) / (4**power - 1)
    better[~np.isfinite(better)] = np.nan
    steps = ladder[1:, None]
    # a step that is too small to change the value shows no slope
    resolved = (slopes[1:] != 0) | (slopes == 0).all(axis=0)
    value, error = better[0], np.full_like(better[0], np.inf)
    for i in range(len(better) - min(_MIN_SMALLER_STEPS, len(better) // 2)):
        # if this is the limit, the differences at smaller steps are noise in the values
        changes = np.fmax(np.abs(better[i + 1 :] - better[i]), 0)
        noise = np.max(steps[i + 1 :] * changes, axis=0)
        doubt = 4 * changes[0] + 8 * np.maximum(noise, rounding[i + 1]) / steps[i]
        sound = np.isfinite(better[i]) & resolved[i] & (noise <= 1e-3 * size)
        closer = sound & (doubt < error)
        value, error = np.where(closer, better[i], value), np.where(closer, doubt, error)
    return value, error


@attrs.frozen(eq=False)
class Problem:
    """A function of arrays that returns arrays, its derivatives, and the point of the check.

    Attributes
    ----------
    name, paths
        The names of the function and of each input in messages.
    evaluate
        The function on plain arrays.
    pull
        A function of a point that returns the outputs and the pullback of a list of cotangents;
        None if the problem checks only tangents.
    push
        A function of a point and tangents that returns the outputs and their tangents; None if the
        problem checks only cotangents.
    x
        The point, in float64.
    order
        The order of the derivative to check.
    scale, eps
        The known size of the intermediate numbers, from the function of lower order, and their
        relative rounding.
    resolution
        The relative rounding of the inputs.
    noise
        The known error of each output, if it is more than the rounding of its size.
    steps
        The steps of the differences.
    by
        The name in messages of the user's function that computes the derivatives, if there is one.
    output_paths
        The name of each output in messages; "output 0" and so on by default.
    """

    name: str
    evaluate: Fn
    pull: Fn | None
    push: Fn | None
    x: tuple[Array, ...]
    paths: tuple[str, ...]
    order: int = 1
    scale: float = 0.0
    eps: float = EPS
    resolution: float = EPS
    noise: Array | float = 0.0
    steps: Steps = FINE_STEPS
    by: str = ""
    output_paths: tuple[str, ...] = ()

    def describe_derivative(self, mode: str) -> str:
        """Describe for a message how the derivative is computed."""
        return f"({self.by})" if self.by else f"(order {self.order}, {mode} mode)"


_MAX_SINGLE_INPUTS = 64  # at most this number of inputs move one by one
_UNDERFLOW = 1e-290  # smaller numbers count as zero
_CONSTANT_STEPS = 8  # a constant function stays constant at this number of smallest steps
_JUMP = 1e-3  # a larger relative change, as the inputs round, is not due to rounding
_CELLS = 8  # this number of slopes near a point shows whether the function is smooth there
_SCALES = 6  # the number of step sizes to try, from the size of the input to the usual size
_SMALLEST_SCALE = 2.0**-12  # the smallest step size, in units of the input
_DISTANCES = (3e-2, 1e-2, 1e-3, 1e-4)  # between the points whose slopes show noise
_ORDER = 5  # the order of the differences of slopes that show noise
_NOISE_DEVIATIONS = 32  # the largest error of a slope, in standard deviations of the noise
_MAX_EXCUSED_ERROR = 2e-5  # the largest relative error that the noise excuses
_HIDDEN_FRACTION = 64  # a kink changes the mean slope of a cell by at least 1/64 of its size


@attrs.frozen(eq=False)
class Finding:
    """The result along one direction, for the rows that did not agree at first.

    Attributes
    ----------
    rows
        The indices of these rows.
    analytic, numeric, error
        The derivative by the rules, the derivative by differences, and the error of `numeric`.
    left, right
        The one-sided slopes.
    low, high
        The least and the largest slope at points close by, at a kink.
    kink, wrong
        Whether the sides differ, and whether the derivative is outside the permitted range.
    """

    rows: Array
    analytic: Array
    numeric: Array
    error: Array
    left: Array
    right: Array
    low: Array
    high: Array
    kink: Array
    wrong: Array


@attrs.frozen(eq=False)
class Comparison:
    """The comparison of a problem's first derivatives with differences, along any direction.

    Its rows are the outputs weighted with a cotangent, in reverse mode, then each output, in
    forward mode.

    Attributes
    ----------
    problem, modes
        The problem, and the modes to compare.
    outputs
        The results of the function at the point.
    x, y
        The point and the outputs, packed.
    u, v
        The cotangent of the outputs, and the change of each input.
    gradient, pullback
        The packed VJP of the cotangent, and the pullback for other cotangents.
    sizes
        The size of the derivative of each row with respect to all inputs.
    """

    problem: Problem
    modes: tuple[str, ...]
    outputs: tuple[Array, ...]
    x: Array
    y: Array
    u: Array
    v: Array
    gradient: Array
    pullback: Fn | None
    sizes: Array

    def rows(self, weighted: Array, each: Array) -> Array:
        """Join the rows of the chosen modes."""
        parts = [np.asarray(weighted)[..., None]] if "reverse" in self.modes else []
        return np.concatenate([*parts, each] if "forward" in self.modes else parts, axis=-1)

    def weighted_rows(self, each: Array, u: Array | None = None) -> Array:
        """Return the rows of a linear quantity from its values for each output."""
        return self.rows(each @ (self.u if u is None else u), each)

    def row_rounding(self, rounding: Array) -> Array:
        """Return the rounding of the rows from the rounding of each output."""
        return self.rows(_norm(self.u * rounding), rounding)

    def evaluate(self, point: Array) -> Array:
        """Return the outputs at another point; nan if their number differs there."""
        try:
            y = pack(self.problem.evaluate(*unpack(point, self.problem.x)))
        except ValueError:
            y = self.y[:0]
        return y if y.size == self.y.size else np.full_like(self.y, np.nan)

    def direction(self, support: Array) -> Array:
        """Return the direction that changes some of the inputs."""
        direction = np.zeros_like(self.x)
        direction[support] = self.v[support]
        return direction

    def tangent(self, support: Array) -> Array:
        """Return the packed JVP of a direction."""
        assert self.problem.push is not None
        tangents = unpack(self.direction(support), self.problem.x)
        return pack(self.problem.push(self.problem.x, tangents)[1])

    def analytic(self, support: Array) -> Array:
        """Return the derivative of each row along a direction by the rules."""
        tangent = self.tangent(support) if "forward" in self.modes else self.y
        return self.rows(np.sum(self.gradient[support] * self.v[support]), tangent)

    def slopes(self, support: Array, h: float) -> tuple[Array, Array]:
        """Return the left and the right difference quotient of each output."""
        step = h * self.direction(support)
        left = (self.y - self.evaluate(self.x - step)) / h
        right = (self.evaluate(self.x + step) - self.y) / h
        return left, right

    def compare_first_steps(
        self, support: Array
    ) -> tuple[Array, Array, dict[float, tuple[Array, Array]]]:
        """Compare at two steps; return the derivatives, where they agree, and the slopes."""
        analytic = self.analytic(support)
        size = np.abs(analytic)
        if "reverse" in self.modes:
            # the terms of the sum may cancel
            size[0] = _norm(self.gradient[support] * self.v[support])
        # a step may leave the function's domain
        steps = self.problem.steps
        with np.errstate(all="ignore"):
            sides = {float(h): self.slopes(support, h) for h in steps.first}
            first, second = ((left + right) / 2 for left, right in sides.values())
            numeric = second + (second - first) / 15
            # an output that does not change does not round
            least = np.maximum(self.problem.eps * np.abs(self.y), self.problem.noise)
            rounding = np.where(numeric == 0, 0, least)
            noise = 2 * self.row_rounding(rounding) / steps.first[1]
            numeric = self.weighted_rows(numeric)
            return analytic, np.abs(numeric - analytic) <= steps.close * size + noise, sides

    def probe(self, support: Array) -> Finding | None:
        """Compare along the direction of some inputs; return None if all rows agree."""
        analytic, close, sides = self.compare_first_steps(support)
        if close.all():
            return None
        with np.errstate(all="ignore"):
            return self.compare_all_steps(support, analytic, np.flatnonzero(~close), sides)

    def compare_all_steps(
        self,
        support: Array,
        analytic: Array,
        rows: Array,
        known: dict[float, tuple[Array, Array]],
        own_rounding: bool = False,
    ) -> Finding:
        """Compare some rows over the whole ladder of steps; `known` has the slopes at two steps.

        With `own_rounding`, each output has the tolerance of its rounding; otherwise all outputs
        have the tolerance of the largest.
        """
        ladder = self.problem.steps.ladder
        sides = np.array([known.get(h) or self.slopes(support, h) for h in ladder.tolist()])
        exists = np.isfinite(sides).any(axis=0)
        # at the edge of a domain, slopes exist on one side
        sides = np.where(exists, sides, sides[:, ::-1])
        # an output that does not change does not round
        moving = (sides != 0).any(axis=(0, 1))
        size, largest, rounding = self.sizes_around(sides, moving, own_rounding)
        left, right, doubt, spread = self.one_sided(sides, rounding, size, largest)
        central = self.weighted_rows(sides.mean(axis=1))[:, rows]
        noise = self.row_rounding(rounding)[:, rows]
        numeric, error = estimate_limit(ladder, central, 2, noise, largest)
        # the derivative by the rules rounds, too
        moving_outputs = np.where(moving, self.y, 0) if own_rounding else None
        floor = self.least_error(support, analytic, rows, size, moving_outputs)
        error += floor
        mean = self.weighted_rows((left + right) / 2)[rows]
        doubt, spread = (self.weighted_rows(x, np.abs(self.u))[rows] for x in (doubt, spread))
        spread += np.where(np.abs(numeric - mean) > error + doubt, np.abs(numeric - mean), 0)
        wrong = np.abs(analytic[rows] - numeric) > error + spread
        # zero is right if nothing changes for many steps; a change at a larger step is a kink
        constant = (central[-_CONSTANT_STEPS:] == 0).all(axis=0) & (np.abs(analytic[rows]) <= floor)
        numeric, error = np.where(constant, 0, numeric), np.where(constant, floor, error)
        wrong &= ~constant
        off = np.abs(analytic[rows] - numeric)
        # the change from rounding is at most this large, and takes derivatives at many points
        if (wrong & ~(off > error + spread + _JUMP * np.abs(analytic[rows]))).any():
            error += self.change_from_rounding(support, analytic)[rows]
            wrong &= off > error + spread
        low, high = np.full(error.shape, np.inf), np.full(error.shape, -np.inf)
        if wrong.any() and support.size == 1:
            least = np.min((off - error)[wrong])
            low, high = (side[rows] for side in self.slope_range_nearby(int(support[0]), least))
            wrong &= ~((low - error <= analytic[rows]) & (analytic[rows] <= high + error))
        nowhere = ~exists.any(axis=0)
        wrong |= ~np.isfinite(analytic[rows]) | self.rows(nowhere.any(), nowhere)[rows]
        left, right = self.weighted_rows(left)[rows], self.weighted_rows(right)[rows]
        values = rows, analytic[rows], numeric, error, left, right, low, high, spread > 0, wrong
        return Finding(*values)

    def sizes_around(
        self, sides: Array, moving: Array, own_rounding: bool
    ) -> tuple[float, float, Array]:
        """Return the largest value at the point and at all steps, and each output's rounding."""
        inherited, eps = 0.0 if own_rounding else self.problem.scale, self.problem.eps
        size = max(inherited, np.max(np.abs(self.y))) or 1.0
        # where values cancel at the point, nearby values show their size
        shown = np.abs(sides) * self.problem.steps.ladder[:, None, None]
        shown = np.max(np.where(np.isfinite(shown), shown, 0), axis=1)
        # the function of lower order rounds, too
        least = eps * np.maximum(np.maximum(np.abs(self.y), inherited), shown)
        rounding = np.where(moving, np.maximum(least, self.problem.noise), 0)
        return size, max(size, np.max(shown, initial=0.0)), rounding

    def one_sided(
        self, sides: Array, rounding: Array, size: float, largest: float
    ) -> tuple[Array, Array, Array, Array]:
        """Return each output's left and right slope, their error, and half their distance."""
        steps = self.problem.steps
        left, left_error = estimate_limit(steps.ladder, sides[:, 0], 1, rounding, largest)
        right, right_error = estimate_limit(steps.ladder, sides[:, 1], 1, rounding, largest)
        gap, doubt = np.abs(right - left), left_error + right_error
        # at a kink, the derivative may be any number between the left and the right slope; if the
        # kink is so close that the slopes are uncertain, any number within their error
        farthest = np.max(np.fmax(np.abs(sides[:, 1] - sides[:, 0]), 0), axis=0)
        known = doubt <= steps.sure * np.maximum(np.maximum(np.abs(left), np.abs(right)), size)
        spread = np.where(gap > doubt, (gap + doubt) / 2, 0)
        return left, right, doubt, np.where(known, spread, np.fmin(doubt, farthest))

    def least_error(
        self, support: Array, analytic: Array, rows: Array, size: float, outputs: Array | None
    ) -> Array:
        """Return the rounding of the derivative by the rules; `outputs` bound it if not None."""
        reach = max(1, np.max(np.abs(self.v[support])))
        if outputs is not None:
            floor = np.maximum(
                np.abs(self.weighted_rows(outputs)[rows]) * reach, np.abs(analytic[rows])
            )
        else:
            # terms that cancel in one output may be the derivative of another output
            floor = np.maximum(self.sizes[rows], max(size * reach, np.max(np.abs(analytic))))
        error: Array = 16 * self.problem.eps * floor + _UNDERFLOW
        return error

    def change_from_rounding(self, support: Array, analytic: Array) -> Array:
        """Measure the change of the derivative as the inputs round, which limits its accuracy.

        Larger changes count as 0: at a kink the derivative jumps, which is not due to rounding.
        """
        rng = np.random.default_rng(0)
        changes = []
        for _ in range(8):
            factors = 1 + self.problem.resolution * rng.integers(-1, 2, self.x.size)
            problem = attrs.evolve(self.problem, x=unpack(self.x * factors, self.problem.x))
            gradient = self.gradient
            if problem.pull is not None:
                output, pullback = problem.pull(problem.x)
                if pack(output).size != self.y.size:
                    continue
                gradient = pack(pullback(list(unpack(self.u, self.outputs))))
            rounded = attrs.evolve(self, problem=problem, gradient=gradient)
            derivative = rounded.analytic(support)
            if derivative.size == analytic.size:
                changes.append(np.abs(derivative - analytic))
        doubt = 4 * np.max(changes, axis=0, initial=0)
        return np.where(doubt <= _JUMP * np.abs(analytic), doubt, 0)

    def slope_range_nearby(self, at: int, least: float) -> tuple[Array, Array]:
        """Find the least and the largest slope of each row by one input, close to the point.

        Where several inputs tie, moving one alone does not show how the function behaves nearby:
        the median of three equal numbers stays the same. At such a point a derivative may be any
        number between the slopes at points close by (Clarke's generalised gradient, Optimization
        and Nonsmooth Analysis, 1983). All other inputs move apart, and this input moves past all of
        them. As the points come closer, the slopes of a smooth function converge, while rounding
        drives them apart; slopes at a kink stay apart. If a few long steps show no kink that spans
        `least`, no further steps follow.
        """
        moving = int(np.count_nonzero(self.v))
        steps = np.linspace(-1.25, 1.25, 3 * min(moving, _MAX_SINGLE_INPUTS) + 8)
        nears = self.problem.steps.near
        long = steps[np.linspace(0, steps.size - 1, _CELLS + 1).astype(int)]
        few = self.slopes_nearby(at, nears[-1], long)
        smooth = np.minimum(least / _HIDDEN_FRACTION, _JUMP * np.max(np.abs(few), axis=0))
        if (np.ptp(few, axis=0) <= smooth).all():
            nowhere = np.full(few.shape[1], np.inf)
            return nowhere, -nowhere
        sides = [self.slopes_nearby(at, near, steps) for near in nears]
        lows = [np.fmin.reduce(each) for each in sides]
        highs = [np.fmax.reduce(each) for each in sides]
        low, high = np.max(lows, axis=0), np.min(highs, axis=0)
        changes = np.maximum(np.ptp(lows, axis=0), np.ptp(highs, axis=0))
        stays = (changes <= (high - low) / 8) & (low < high)
        return np.where(stays, low, np.inf), np.where(stays, high, -np.inf)

    def slopes_nearby(self, at: int, near: float, steps: Array) -> Array:
        """Return each row's slopes by one input, from step to step, as it moves past all others."""
        rng = np.random.default_rng(0)
        scale = np.where(self.v != 0, np.maximum(1, np.abs(self.x)), 0)
        order = rng.permutation(np.linspace(-1, 1, self.x.size))
        lengths = near * scale[at] * np.diff(steps)
        slopes = []
        # each input is larger than another in one of the two orders
        for places in (order, -order):
            point = self.x + near * scale * places
            values = []
            for step in steps:
                point[at] = self.x[at] + near * scale[at] * step
                values.append(self.evaluate(point))
            slopes.append(np.diff(values, axis=0) / lengths[:, None])
        return self.weighted_rows(np.concatenate(slopes) * self.v[at])

    def narrow_to_one_output(
        self, support: Array, finding: Finding
    ) -> tuple[Comparison, Finding] | None:
        """Narrow a finding about weighted outputs to a single output if possible.

        Return None at a kink where the derivative of each output is right: the weighted sum may
        have a slope at the kink that it has at no point close by.
        """
        if "reverse" not in self.modes or not finding.wrong[0] or finding.rows[0] != 0:
            return self, finding
        assert self.pullback is not None
        with np.errstate(all="ignore"):
            slopes = np.mean(self.slopes(support, self.problem.steps.first[0]), axis=0)
        # the outputs that change most come first
        for j in np.argsort(-np.abs(slopes), kind="stable")[:_MAX_SINGLE_INPUTS]:
            u = np.zeros(self.y.size)
            u[j] = 1
            gradient = pack(self.pullback(list(unpack(u, self.outputs))))
            single = attrs.evolve(self, modes=("reverse",), u=u, gradient=gradient)
            narrowed = single.probe(support)
            if narrowed is not None and narrowed.wrong[0]:
                return single, narrowed
        is_kink = np.all(finding.low < finding.high, where=finding.wrong)
        if self.y.size <= _MAX_SINGLE_INPUTS and np.sum(finding.wrong) == 1 and is_kink:
            return None
        return self, finding

    def is_right_at_smaller_steps(self, support: Array, finding: Finding) -> bool:
        """Whether the derivative agrees with differences at smaller steps.

        Where a function varies over lengths far below 1, as near a pole or beside much larger
        inputs, the usual steps are too long for its derivative. The smallest steps that show a
        slope decide, and larger steps that agree with these and are more precise.
        """
        size = min(1.0, float(np.abs(self.x[support[0]])))
        rows, claimed = finding.rows[finding.wrong], np.abs(finding.numeric[finding.wrong])
        numeric, error = np.full(rows.shape, np.nan), np.full(rows.shape, np.inf)
        right = np.zeros(rows.shape, bool)
        with np.errstate(all="ignore"):
            for scale in np.geomspace(
                _SMALLEST_SCALE * (size or _SMALLEST_SCALE), 1, _SCALES, endpoint=False
            ):
                closer = attrs.evolve(self, v=self.v * scale)
                recheck = closer.compare_all_steps(
                    support, closer.analytic(support), rows, {}, own_rounding=True
                )
                slope, doubt = recheck.numeric / scale, recheck.error / scale
                # fine enough to show a slope of the size that contradicts the rule
                shown = np.maximum(np.abs(recheck.analytic / scale), claimed)
                agrees = np.isnan(numeric) | (np.abs(slope - numeric) <= doubt + error)
                better = (doubt <= self.problem.steps.sure * shown) & agrees & (doubt < error)
                numeric, error = np.where(better, slope, numeric), np.where(better, doubt, error)
                right = np.where(better, ~recheck.wrong, right)
        return bool(right.all())

    def with_measured_noise(self, support: Array, finding: Finding) -> Finding:
        """Return a finding whose error includes the noise of the slopes at points close by.

        The result of a solver that chooses its steps, for instance, jumps by its tolerance where
        the choice changes. Between two jumps it is smooth, but its slope has an error that
        differences at the point do not show. The noise excuses small errors alone.
        """
        with np.errstate(all="ignore"):
            noise = _NOISE_DEVIATIONS * self.slope_noise(support)[finding.rows]
        off = np.abs(finding.analytic - finding.numeric)
        small = _MAX_EXCUSED_ERROR * np.maximum(np.abs(finding.analytic), np.abs(finding.numeric))
        error = np.maximum(finding.error, np.minimum(noise, small))
        return attrs.evolve(finding, error=error, wrong=finding.wrong & ~(off <= error))

    def slope_noise(self, support: Array) -> Array:
        """Measure the noise of each row's slopes along a direction by differences of high order.

        High differences vanish for slopes of a smooth function, and have changing signs for noise
        (Moré and Wild, Estimating Computational Noise, SIAM J. Sci. Comput. 33, 2011). The
        distances between points vary, since noise may have any length.
        """
        h, direction = float(self.problem.steps.first[1]), self.direction(support)
        noises = []
        for distance in _DISTANCES:
            points = [self.x + j * distance * direction for j in range(-_CELLS, _CELLS + 1)]
            slopes = [
                self.evaluate(x + h * direction) - self.evaluate(x - h * direction) for x in points
            ]
            differences = np.diff(self.weighted_rows(np.array(slopes)) / (2 * h), _ORDER, axis=0)
            changes = np.sum(differences[1:] * differences[:-1] < 0, axis=0)
            # the median of noise with standard deviation 1, and the sum of squared binomials
            typical = np.median(np.abs(differences), axis=0) / (
                0.6745 * math.comb(2 * _ORDER, _ORDER) ** 0.5
            )
            is_noise = np.isfinite(typical) & (changes >= (len(differences) - 1) / 2)
            noises.append(np.where(is_noise, typical, 0))
        return np.asarray(np.max(noises, axis=0))

    def supports(self) -> list[Array]:
        """List the first directions to try, each as the indices of its inputs."""
        moving = np.flatnonzero(self.v)
        # inputs with derivatives of similar size, so that no error hides behind a larger derivative
        with np.errstate(divide="ignore"):
            sizes = np.floor(np.log2(np.abs(self.gradient * self.v)) / 4)
        sizes = np.maximum(sizes, np.max(sizes, initial=-np.inf) - 14)
        groups = [moving[sizes[moving] == size] for size in np.unique(sizes[moving])]
        fine = self.problem.steps is FINE_STEPS and self.problem.pull is not None
        if moving.size <= _MAX_SINGLE_INPUTS:
            # inputs that agree when they move together need not move one by one
            left = [
                x
                for x in groups
                if not fine or x.size == 1 or not self.compare_first_steps(x)[1].all()
            ]
            return [np.array([i]) for i in sorted(itertools.chain(*left))]
        if fine:
            return [moving, *groups]
        # coarse rounding hides more, and without cotangents the sizes are unknown
        return [
            part
            for group in groups
            for part in np.array_split(group, min(_MAX_SINGLE_INPUTS, group.size))
        ]


def _norm(vector: Array) -> Array:
    norm: Array = np.sqrt(np.sum(vector**2, axis=-1))
    return norm
