"""Inputs that a program is tried on: ordinary, tied, near ones, huge, tiny, infinite."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np

from tapegrad.declare.declarations import facts
from tapegrad.program.control.loop import codes_in
from tapegrad.program.ir import Code, Input
from tapegrad.tree.ownership import Array

# elements that try many combinations at once
_FEW = 64


def _signs(rng: np.random.Generator, shape: tuple[int, ...]) -> Any:
    return rng.choice([1.0, -1.0], shape)


def _large(rng: np.random.Generator, shape: tuple[int, ...], limits: Any) -> Any:
    # some cancel each other; the square is still finite
    large = float(limits.max) ** 0.45 * _signs(rng, shape)
    return np.where(rng.random(shape) < 0.5, large, 1e2 * rng.normal(size=shape))


def _limits(rng: np.random.Generator, shape: tuple[int, ...], limits: Any) -> Any:
    most = float(limits.max)
    # here and there, or everywhere the same, or none
    places = shape if rng.random() < 0.5 else ()
    odd = rng.choice([np.inf, -np.inf, np.nan, most, most / 10], places)
    often = rng.random(shape) < rng.choice([0.0, 0.3, 0.3, 1.0])
    return np.where(often, odd, rng.normal(size=shape))


def _anything(rng: np.random.Generator, shape: tuple[int, ...], limits: Any) -> Any:
    odd = [0.0, 1.0, 1.0 + limits.eps, 3.0, float(limits.max) ** 0.45, np.inf]
    x = np.where(rng.random(shape) < 0.3, rng.normal(size=shape), rng.choice(odd, shape))
    return x * _signs(rng, shape)


# the numbers of each kind, by a generator, the shape and the limits of the dtype
_DRAWN: dict[str, Callable[..., Any]] = {
    "ordinary": lambda rng, shape, _: rng.normal(size=shape),
    "whole": lambda rng, shape, _: rng.integers(-2, 3, shape) / rng.choice([1.0, 2.0]),
    "zeros": lambda rng, shape, _: rng.choice([0.0, -0.0, 1.0], shape, p=[0.5, 0.3, 0.2]),
    "near ones": lambda rng, shape, limits: (
        rng.choice([1.0, 1.0 + limits.eps, 1.0 - limits.epsneg, 2.0, 0.5], shape)
        * _signs(rng, shape)
    ),
    "large": _large,
    "small": lambda rng, shape, limits: (
        rng.normal(size=shape)
        * rng.choice([1e-3, float(limits.tiny) ** 0.5, float(limits.tiny)], shape)
    ),
    "limits": _limits,
    "anything": _anything,
}
KINDS = (*_DRAWN, "mixed")
_MODERATE = ("ordinary", "whole", "zeros", "near ones", "small")


def inputs_like(
    inputs: Sequence[Input], values: Sequence[Any], kind: str, seed: int = 0
) -> list[Any]:
    """Inputs of the same shapes and dtypes; whole numbers are some of the given ones.

    Parameters
    ----------
    inputs
        Of the program.
    values
        The values of the inputs that were recorded.
    kind
        One of `KINDS`.
    seed
        Of the draws.
    """
    rng = np.random.default_rng([seed, KINDS.index(kind)])
    arrays: list[Any] = []
    for x, value in zip(inputs, values, strict=True):
        if x.dtype.kind not in "fc":
            drawn = value
            if isinstance(value, np.ndarray) and value.size:
                drawn = rng.permutation(value.reshape(-1)).reshape(value.shape)
            arrays.append(drawn)
            continue
        this = KINDS[rng.integers(len(_DRAWN))] if kind == "mixed" else kind
        drawn = _drawn(this, x.shape, x.dtype, rng)
        drawn.setflags(write=False)
        arrays.append(drawn.item() if x.number else drawn)
    return arrays


def _drawn(
    kind: str, shape: tuple[int, ...], dtype: np.dtype[Any], rng: np.random.Generator
) -> Array:
    limits = np.finfo(dtype)
    if dtype.kind == "c":
        parts = np.empty((*shape, 2), limits.dtype)
        parts[..., 0], parts[..., 1] = [_drawn(kind, shape, limits.dtype, rng) for _ in range(2)]
        if kind == "zeros" and rng.random() < 0.5:
            parts[..., 1] = 0  # the real numbers among them
        return parts.view(dtype).reshape(shape)
    return np.asarray(_DRAWN[kind](rng, shape, limits), dtype)


def trials(program: Code, values: Sequence[Any]) -> Iterator[list[Any]]:
    """The given inputs, and two of each kind; more of those that differ most, if they are small.

    Where an op takes as many steps as the values ask for, all kinds are moderate.
    """
    yield list(values)
    inputs = program.inputs
    iterates = any(facts(x.op).iterates for code in codes_in(program) for x in code.instructions)
    small = max([math.prod(x.shape) for x in inputs], default=0) < _FEW
    for kind in _MODERATE if iterates else KINDS:
        often = 20 if small and kind in ("limits", "anything") else 2
        for seed in range(often):
            yield inputs_like(inputs, values, kind, seed)
