"""First derivatives, checked along one direction after another."""

from __future__ import annotations

import attrs
import numpy as np

from tapegrad.testing.differences import Comparison, Finding
from tapegrad.testing.flat import locate, pack, unpack, weights
from tapegrad.testing.problem import Problem

__all__ = ["check_first"]

_SPLITS = 128  # how many times directions through kinks are split at most


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
    u = weights(rng, y.size)
    # an input that is not finite has no neighbours, so it does not move
    moves = np.isfinite(x)
    v = weights(rng, x.size) * np.where(moves, np.maximum(1, np.abs(x)), 0)
    pulled = np.ones_like(x) if pullback is None else pack(pullback(list(unpack(u, outputs))))
    gradient = np.where(moves, pulled, 0)
    for i in np.flatnonzero(~np.isfinite(gradient))[:1]:
        raise AssertionError(
            f"{problem.name} has a derivative of {gradient[i]} at "
            f"{locate(i, problem.x, problem.paths)} = {x[i]} {problem.where('reverse')}"
        )
    eps = max([problem.eps, *[float(np.finfo(y.dtype).eps) for y in outputs]])
    problem = attrs.evolve(problem, eps=eps)
    comparison = Comparison(problem, modes, outputs, x, y, u, v, gradient, pullback, y[:0])
    tangent = comparison.tangent(np.flatnonzero(moves)) if "forward" in modes else y
    sizes = comparison.rows(np.max(np.abs(gradient * v), initial=0.0), np.abs(tangent))
    comparison = attrs.evolve(comparison, sizes=sizes)
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
            # several kinks together may look wrong, or hide an error: only single inputs tell
            halves = np.array_split(support, 2)
            supports = [*supports, *halves] if wrong else [*halves, *supports]
        elif wrong:
            raise AssertionError(_message(*comparison.sharpened(support, finding), int(support[0])))
    return comparison


def _message(comparison: Comparison, finding: Finding, at: int) -> str:
    """The message about the wrong derivative by one input."""
    problem, outputs = comparison.problem, comparison.outputs
    i = int(np.flatnonzero(finding.wrong)[0])
    row = int(finding.rows[i])
    reverse = "reverse" in comparison.modes and row == 0
    place = locate(at, problem.x, problem.paths)
    per = comparison.v[at]
    (weighed,) = np.nonzero(comparison.u)
    if reverse and weighed.size > 1:
        u = np.array2string(comparison.u, threshold=8, max_line_width=1000, separator=", ")
        of = f"the outputs weighed with the cotangent {u}"
    else:
        output = int(weighed[0]) if reverse else row - ("reverse" in comparison.modes)
        numbered = [f"output {j}" for j in range(len(outputs))]
        of = locate(output, outputs, problem.output_paths or numbered)
        per = per * comparison.u[output] if reverse else per
    lines = [
        f"{problem.name} has a wrong derivative at {place} "
        f"{problem.where('reverse' if reverse else 'forward')}",
        f"  {problem.by or 'analytic':<10} {finding.analytic[i] / per:.12g}",
    ]
    low, high = sorted((finding.low[i] / per, finding.high[i] / per))
    apart = abs(finding.right[i] - finding.left[i]) + finding.error[i]
    if finding.high[i] - finding.low[i] > apart:
        lines += [
            f"  numeric    from {low:.12g} to {high:.12g} at points close by: this is a kink,",
            "             where a derivative between the two would be right",
        ]
    elif finding.kink[i] and abs(finding.right[i] - finding.left[i]) > finding.error[i]:
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
