"""Loops and branches in JAX: `jax.lax.scan`, ``while_loop`` and ``cond``."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from tapegrad.program.control.loop import Branch, Loop
from tapegrad.program.ir import Code

Run = Callable[[Code, list[Any]], list[Any]]


def loop(jax: Any, run: Run, operands: list[Any], loop: Loop) -> tuple[Any, ...]:
    """The results of a loop; None for a result with a row for each step of a ``while``."""
    body, n, n_carry = loop.body, loop.n_captured, loop.n_carry
    captured, xs = operands[:n], operands[n + n_carry :]
    carried = body.inputs[n : n + n_carry]
    # a loop's carry keeps its dtype, even if it is a Python number
    carry = tuple(
        [
            jax.numpy.asarray(x, held(jax, like.dtype))
            for x, like in zip(operands[n : n + n_carry], carried, strict=True)
        ]
    )

    def step(carry: Any, rows: Any) -> Any:
        results = _outputs(jax, run, body, [*captured, *carry, *rows])
        return results[:n_carry], results[n_carry:]

    if not loop.remember:
        # JAX too repeats a step for its derivatives
        step = jax.checkpoint(step)
    if loop.stop is None:
        steps = loop.steps(xs)
        last, stacks = jax.lax.scan(step, carry, tuple(xs), length=steps, reverse=loop.reverse)
        return *last, *stacks
    stop = loop.stop

    def goes_on(carry: Any) -> Any:
        return _outputs(jax, run, stop, [*captured, *carry])[0].reshape(()) != 0

    last = jax.lax.while_loop(goes_on, lambda carry: step(carry, ())[0], carry)
    return *last, *[None] * (len(body.outputs) - n_carry)


def branch(jax: Any, run: Run, operands: list[Any], branch: Branch) -> tuple[Any, ...]:
    """The results of the chosen program."""
    pred, *rest = operands

    def side(code: Code) -> Callable[..., Any]:
        return lambda *xs: _outputs(jax, run, code, list(xs))

    chosen = jax.numpy.asarray(pred).reshape(()) != 0
    results: tuple[Any, ...] = jax.lax.cond(
        chosen, side(branch.on_true), side(branch.on_false), *rest
    )
    return results


def part(whole: tuple[Any, ...], index: int) -> Any:
    """One of the several values.

    Raises
    ------
    TypeError
        If the value is known only at the end of a ``while``.
    """
    if whole[index] is None:
        raise TypeError(
            "a gradient through a while_loop needs a value of each of its steps, and JAX must "
            "know how many there are: repeat with tg.fori_loop or tg.scan"
        )
    return whole[index]


def _outputs(jax: Any, run: Run, code: Code, values: list[Any]) -> tuple[Any, ...]:
    """A program's outputs as arrays of its own dtypes."""
    results = run(code, values)
    likes = [code.like(x) for x in code.outputs]
    pairs = zip(results, likes, strict=True)
    return tuple([jax.numpy.asarray(y, held(jax, like.dtype)) for y, like in pairs])


def held(jax: Any, dtype: Any) -> np.dtype[Any]:
    """The dtype in which JAX holds numbers of another."""
    narrow: np.dtype[Any] = np.dtype(jax.dtypes.canonicalize_dtype(np.dtype(dtype)))
    return narrow
