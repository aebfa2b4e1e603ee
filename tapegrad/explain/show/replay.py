"""A tape recomputed with other parameters."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from tapegrad.core.tape import Tape
from tapegrad.core.tensor import Tensor
from tapegrad.core.writing import PARAMETER
from tapegrad.ops.casting import stopped
from tapegrad.transforms.checkpoint import CHECKPOINT


def replay(tape: Tape, values: Mapping[Tensor, Any]) -> dict[Tensor, Any]:
    """The values of a tape's records, for other values of some of them.

    The result of `stop_gradient` is a constant and keeps its value.
    """
    found = dict(values)
    for record in tape:
        if record in found:
            continue
        operands = [found.get(x, x._primal) if type(x) is Tensor else x for x in record._operands]
        if not operands or record.op is stopped:
            found[record] = record._primal
        elif record.op is PARAMETER:
            found[record] = operands[0]
        else:
            found[record] = record.op.forward(*operands, **record._options)
    return found


def slopes(
    tape: Tape, output: Tensor, cotangent: Any, gradients: Mapping[Tensor, Any]
) -> Iterator[tuple[Tensor, float, float | None, bool]]:
    """For each parameter, the slope along a direction, by its gradient and by finite differences.

    Also whether the two agree, as closely as rounding and the step allow. There are no differences
    if a checkpoint is on the way, since its records are not on the tape.
    """
    weight = np.ones(output.shape) if cotangent is None else np.asarray(cotangent)
    for p, gradient in gradients.items():
        value = np.asarray(p._primal)
        # without a symmetry that could hide a wrong gradient
        direction = np.cos(1.0 + np.arange(value.size)).reshape(value.shape)
        size = max(1.0, float(np.max(np.abs(value), initial=0)))
        if value.dtype.kind == "c":
            direction = direction + 1j * np.sin(2.0 + np.arange(value.size)).reshape(value.shape)
        step = float(np.cbrt(np.finfo(value.dtype).eps)) * size
        exact = _inner(gradient, direction)
        if _is_checkpointed(tape, p):
            yield p, exact, None, False
            continue
        ends = []
        for sign in (1, -1):
            moved = (value + sign * step * direction).astype(value.dtype)
            ends.append(_inner(weight, replay(tape, {p: moved})[output]))
        numeric = float((ends[0] - ends[1]) / (2 * step))
        most = max(abs(exact), abs(numeric), abs(float(ends[0])), 1e-3)
        agrees = abs(exact - numeric) <= 100 * np.cbrt(np.finfo(value.dtype).eps) ** 2 * most * 10
        yield p, exact, numeric, bool(agrees)


def _inner(gradient: Any, direction: Any) -> float:
    """The slope along a direction, by a gradient."""
    if np.iscomplexobj(gradient):
        gradient, direction = np.conj(gradient), np.asarray(direction)
    return float(np.sum(np.real(gradient * direction), dtype=float))


def _is_checkpointed(tape: Tape, parameter: Tensor) -> bool:
    """Whether a checkpointed call depends on a parameter."""
    made = {parameter}
    for record in tape:
        if any(type(x) is Tensor and x in made for x in record._operands):
            if record.op is CHECKPOINT:
                return True
            made.add(record)
    return False
