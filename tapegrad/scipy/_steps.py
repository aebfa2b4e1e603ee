"""Derivatives of the steps that an explicit method accepted, by SciPy's own tableau.

A step is ``Yᵢ = y + h Σⱼ aᵢⱼ Kⱼ``, ``Kᵢ = f(t + cᵢ h, Yᵢ)``; its result is one of the ``Yᵢ``. The
solution between is ``y + h Σᵢ wᵢ(x) Kᵢ``, where the weights are polynomials of ``x``, the fraction
of the step. SciPy has computed all of these. A cotangent of plain numbers is pulled back through
all steps at once, with the Jacobians of ``f`` at all ``Yᵢ``. All other derivatives are those of one
`scan` that takes the steps again.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Sequence
from functools import partial, reduce
from typing import Any

import attrs
import numpy as np
from scipy.integrate import DOP853

from tapegrad.core.forward import Tangents
from tapegrad.core.tensor import Tensor, primals
from tapegrad.errors import TraceError
from tapegrad.loops.repeating import scan
from tapegrad.loops.segments import Checkpointing
from tapegrad.ops.rows import index_select
from tapegrad.scipy._calls import SolverCall, pullback
from tapegrad.scipy._protocols import OdeSolver
from tapegrad.transforms.batches import vmap
from tapegrad.transforms.products import jvp, vjp
from tapegrad.tree.numbers import is_floating
from tapegrad.tree.structure import replace_leaves
from tapegrad.types import Array, Cotangent, Tangent

__all__ = ["Steps", "Tableau", "evaluate_slope", "record_steps", "transposed_jacobians"]
__dir__ = __all__.copy

Slope = Callable[..., Array]
# the end of a step, the state there and the stages
Record = tuple[float, Array, Array]

# the largest number of elements in the Jacobians of all stages
_MAX_JACOBIAN_SIZE = 4_000_000


@attrs.frozen(eq=False)
class Tableau:
    """A method's coefficients.

    Attributes
    ----------
    rows, nodes
        ``aᵢⱼ`` and ``cᵢ``, a row for each stage.
    last
        The stage at the end of the step.
    weights
        The coefficients of ``wᵢ(x)``, from the first power of ``x`` on; a row for each stage.
    """

    rows: Array
    nodes: Array
    last: int
    weights: Array

    @classmethod
    def from_method(cls, method: type[OdeSolver], between: bool) -> Tableau:
        """The tableau of SciPy's class, with the stages for times between the ends of steps."""
        n = method.n_stages
        with_more = between and issubclass(method, DOP853)
        size = n + 1 + (len(method.C_EXTRA) if with_more else 0)
        rows, nodes = np.zeros((size, size)), np.ones(size)
        inner = method.A[:n, :n]
        rows[:n, : inner.shape[1]], rows[n, :n], nodes[:n] = inner, method.B, method.C[:n]
        if with_more:
            rows[n + 1 :, : method.A_EXTRA.shape[1]] = method.A_EXTRA
            nodes[n + 1 :] = method.C_EXTRA
            return cls(rows, nodes, n, _dop853_weights(method, rows[n], n))
        weights: Any = None if issubclass(method, DOP853) else method.P
        return cls(rows, nodes, n, weights)

    def evaluate_weights(self, x: Array) -> Array:
        """The weights for x, an array or a Tensor; a row for each element."""
        powers = [x ** (i + 1) for i in range(self.weights.shape[1])]
        return np.stack(powers, axis=-1) @ self.weights.T

    def differentiate_weights(self, x: Array) -> Array:
        """The derivatives of the weights by x."""
        n = self.weights.shape[1]
        return np.vander(x, n, increasing=True) * np.arange(1, n + 1) @ self.weights.T


def _dop853_weights(method: type[OdeSolver], end: Array, n: int) -> Array:
    """DOP853's weights: SciPy nests its polynomial, in x and 1 - x in turn."""
    first, last = np.eye(len(end))[[0, n]]
    rows = [end, first - end, 2 * end - last - first, *method.D]
    total = np.zeros((len(end), len(rows) + 1))
    for i, row in enumerate(reversed(rows)):
        total[:, 0] += row
        moved = np.roll(total, 1, axis=1)
        total = moved if i % 2 == 0 else total - moved
    return total[:, 1:]


def record_steps(method: type[OdeSolver], records: list[Record]) -> type[OdeSolver]:
    """SciPy's class, made to note the end of each step, the state there and the stages."""

    class Recording(method):  # type: ignore[misc,valid-type]
        def step(self) -> str | None:
            message = super().step()
            if self.status != "failed":
                records.append((self.t, self.y, self.K.copy()))
            return message

        def dense_output(self) -> object:
            interpolant = super().dense_output()
            if hasattr(self, "K_extended"):
                records[-1] = (*records[-1][:2], self.K_extended.copy())
            return interpolant

    Recording.__name__ = method.__name__
    return Recording


@attrs.frozen(eq=False)
class Steps:
    """The steps that SciPy accepted.

    Attributes
    ----------
    slope
        The right-hand side, ``slope(t, y, *params)``.
    tableau
        The method's tableau.
    ts, states, stages
        The ends of the steps, the states there, and the stages of each step.
    segments
        The index of the step that contains each requested time; None for the ends of the steps.
    values
        The solution, as SciPy gives it: a row for each time.
    checkpoint
        As `scan` takes it.
    """

    slope: Slope
    tableau: Tableau
    ts: Array
    states: Array
    stages: Array
    segments: Array | None
    values: Array
    checkpoint: Checkpointing

    @classmethod
    def from_records(
        cls,
        slope: Slope,
        method: type[OdeSolver],
        first: tuple[Array, Array],
        records: Sequence[Record],
        at: Array | None,
        values: Array,
        checkpoint: Checkpointing,
    ) -> Steps:
        """The noted steps; `first` has the first time and state, `at` the times between."""
        tableau = Tableau.from_method(method, at is not None)
        ts = np.array([first[0], *[t for t, _, _ in records]], float)
        states = np.stack([first[1], *[y for _, y, _ in records]])
        stages = np.zeros((len(records), len(tableau.rows), states.shape[1]), states.dtype)
        for row, (_, _, stage_values) in zip(stages, records, strict=True):
            row[: len(stage_values)] = stage_values
        sign = np.sign(ts[-1] - ts[0])
        segments = None if at is None else np.searchsorted(sign * ts[1:], sign * at)
        return cls(slope, tableau, ts, states, stages, segments, values, checkpoint)

    def __call__(self, *operands: Array) -> Array:
        """The solution, a row for each time: a function of (t0, tf, at, y0, *params)."""
        like = self.values.shape, self.values.dtype
        call = SolverCall(
            lambda *xs: (self.retake(*xs),),
            (like,),
            self._vjp,
            self._jvp,
            (primals(operands), (self.values,)),
        )
        return call(*operands)[0]

    def _jvp(self, tangents: Tangents, *operands: Array) -> tuple[Tangent]:
        which = list(tangents)
        params, moved = [operands[i] for i in which], [tangents[i] for i in which]
        return (jvp(partial(self._retake_with, operands, which), params, moved)[1],)

    def _retake_with(
        self, operands: Sequence[Array], which: Sequence[int], *params: Array
    ) -> Array:
        return self.retake(*replace_leaves(operands, which, params))

    def _vjp(self, cotangents: tuple[Cotangent], *operands: Array) -> list[Cotangent | None]:
        which = [i for i, x in enumerate(operands) if is_floating(x)]
        n, size = self.states.shape[1], self.stages.size
        is_plain = not any(isinstance(x, Tensor) for x in (*cotangents, *operands))
        if (
            is_plain
            and self.states.dtype == float
            and n * size <= _MAX_JACOBIAN_SIZE
            and self.checkpoint is None
        ):
            return self.pull_plain(cotangents[0], which, *operands)
        return pullback(self.retake, operands)[1](cotangents[0])

    def retake(self, t0: Array, tf: Array, at: Array, y0: Array, *params: Array) -> Array:
        """The solution, computed by the same steps again."""
        tableau, slope = self.tableau, self.slope
        ends = [np.reshape(t, (1,)) for t in (t0, tf)]
        ts = np.concatenate([ends[0], self.ts[1:-1], ends[1]])
        starts, steps = ts[:-1], ts[1:] - ts[:-1]

        def step(carry: tuple[Array, Array], x: tuple[Array, Array]) -> tuple[Any, Any]:
            y, f = carry
            t, h = x
            stages, states = [f], [y]
            for row, node in zip(tableau.rows[1:], tableau.nodes[1:].tolist(), strict=True):
                states.append(y + h * _combine_stages(row, stages))
                stages.append(slope(t + node * h, states[-1], *params))
            carry = states[tableau.last], stages[tableau.last]
            return carry, (carry[0] if self.segments is None else (carry[0], np.stack(stages)))

        first = y0, slope(t0, y0, *params)
        options: dict[str, Any] = {} if self.checkpoint is None else {"checkpoint": self.checkpoint}
        outputs: Any = scan(step, first, (starts, steps), **options)[1]
        if self.segments is None:
            return np.concatenate([np.expand_dims(y0, 0), outputs])
        ends, stages = outputs
        states = np.concatenate([np.expand_dims(y0, 0), ends])
        y, h, t, stages = (index_select(x, self.segments) for x in (states, steps, starts, stages))
        weights = tableau.evaluate_weights((at - t) / h)
        return y + np.expand_dims(h, -1) * np.einsum("ks,ksn->kn", weights, stages)

    def _pull_results(
        self, g: Cotangent, at: Array
    ) -> tuple[Array, Array, Array | None, Array, Array]:
        """The cotangents of the stages, the states, the times, and the starts and lengths of steps.

        They are those that the results pass on directly.
        """
        into, direct = np.zeros(self.stages.shape), np.zeros_like(self.states)
        by_start, by_step = np.zeros(len(self.stages)), np.zeros(len(self.stages))
        if self.segments is None:
            return into, direct + g, None, by_start, by_step
        of, tableau = self.segments, self.tableau
        h = np.diff(self.ts)[of]
        x = (at - self.ts[of]) / h
        weights = tableau.evaluate_weights(x)
        np.add.at(into, of, (h[:, None] * weights)[..., None] * g[:, None])
        np.add.at(direct, of, g)
        along = np.einsum("kn,ksn->ks", g, self.stages[of])
        by_at = np.sum(tableau.differentiate_weights(x) * along, axis=-1)
        np.add.at(by_start, of, -by_at)
        np.add.at(by_step, of, np.sum(weights * along, axis=-1) - x * by_at)
        return into, direct, by_at, by_start, by_step

    def pull_plain(
        self,
        g: Cotangent,
        which: Sequence[int],
        t0: Array,
        tf: Array,
        at: Array,
        y0: Array,
        *params: Array,
    ) -> list[Cotangent | None]:
        """The cotangents of the operands, on arrays."""
        tableau, rows, last = self.tableau, self.tableau.rows, self.tableau.last
        starts, h = self.ts[:-1], np.diff(self.ts)
        before, n = self.states[:-1], self.states.shape[1]
        size = self.stages.shape[:2]
        combined = np.einsum("ij,kjn->kin", rows, self.stages)
        times = starts[:, None] + tableau.nodes * h[:, None]
        states = before[:, None] + h[:, None, None] * combined
        if self.segments is not None:
            unused = np.ones(len(h), bool)
            unused[self.segments] = False
            states[unused, last + 1 :] = before[unused, None]
        into, direct, by_at, by_start, by_step = self._pull_results(g, at)
        flat = times.ravel(), states.reshape(-1, n)
        jacobians = transposed_jacobians(self.slope, *flat, params).reshape(*size, n, n)
        jacobians *= h[:, None, None, None]

        def pull_stages(into: Cotangent, end: Cotangent | float) -> tuple[Cotangent, Cotangent]:
            """Pull cotangents of the stages and of the ends of steps back through the stages.

            The trailing axis holds several cotangents.
            """
            into, back = into.copy(), np.zeros(into.shape)
            for i in range(size[1] - 1, -1, -1):
                np.matmul(jacobians[:, i], into[:, i], out=back[:, i])
                if i == last:
                    back[:, i] += end
                for j in np.flatnonzero(rows[i]):
                    into[:, j] += rows[i, j] * back[:, i]
            return back, into

        # linear in both, so that only one product for each step must be done in sequence; the
        # factor h of the stages is in the Jacobians
        inputs = (into / h[:, None, None])[..., None]
        steps = pull_stages(np.zeros((*size, n, n)), np.eye(n))[0].sum(1)
        rests = pull_stages(inputs, 0.0)[0].sum(1)[..., 0] + direct[:-1]
        after = np.empty_like(self.states)
        after[-1] = direct[-1]
        for k in range(len(h) - 1, -1, -1):
            after[k] = steps[k] @ after[k + 1] + rests[k]
        back, stage_cotangents = pull_stages(inputs, after[1:, :, None])
        weights = stage_cotangents[..., 0] * h[:, None, None]
        by_step += np.einsum("kin,kin->k", back[..., 0], combined)
        by = pullback(
            lambda t, *params: evaluate_slope(self.slope, t, flat[1], params), (flat[0], *params)
        )[1](weights.reshape(-1, n))
        by_times = by[0].reshape(size)
        by_start += by_times.sum(-1)
        by_step += by_times @ tableau.nodes
        known = [by_start[0] - by_step[0], by_step[-1], by_at, after[0], *by[1:]]
        return [known[i] if i in which else None for i in range(len(known))]


def evaluate_slope(slope: Slope, times: Array, states: Array, params: Sequence[Array]) -> Array:
    """The right-hand side at several points, a row for each."""
    try:
        return vmap(lambda t, y: slope(t, y, *params))(times, states)
    except TraceError:
        # the function reads values
        rows = [slope(t, states[i], *params) for i, t in enumerate(times)]
        return np.stack(rows)


def transposed_jacobians(
    slope: Slope, times: Array, states: Array, params: Sequence[Array]
) -> Array:
    """The transposed Jacobians of the right-hand side by the state at several points."""
    pull = vjp(lambda y: evaluate_slope(slope, times, y, params), states)[1]
    rows = np.eye(states.shape[1])
    return np.stack([pull(np.broadcast_to(row, states.shape))[0] for row in rows], axis=-1)


def _combine_stages(weights: Array, stages: Sequence[Array]) -> Array:
    """The sum of stages, each times its weight."""
    # a row of the tableau is as long as the last one
    terms = [w * stage for w, stage in zip(weights.tolist(), stages, strict=False) if w]
    return reduce(operator.add, terms)
