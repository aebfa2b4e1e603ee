"""A program evaluated one instruction at a time, and how far rounding moves its results.

A program that a pass made is right if it differs from the program before by no more than rounding
does, and where nothing rounds, not at all. How far rounding moves a result is found by experiment:
the program is evaluated again with each result that is rounded off by a unit in the last place, up
or down by a hash, and the outputs are seen to move. This needs no rule for any op: an error passes
through a logarithm, a loop or a decomposition as values do.

What is rounded is found by a wider dtype, which gives another result. So ``x * x - 1 + 1e-16`` is
exact at 1, and a pass that loses the epsilon is seen. The hash of a function of elements is of
what it is given, up to signs: what is computed twice is off by the same, and what is equal or
cancels stays so. In a reduction, or a product of matrices, each result is off by itself and by a
unit in the last place of the sum of its terms' sizes, for these may be added in any order; it is
exact only if that sum is too. So is a loop's carry to which each step does nothing but add. Where
the sum overflows, another order may, and anything goes. Of a complex number each part is off by
itself, by a unit in the last place of the whole, for products are rounded so.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import attrs
import numpy as np

from tapegrad.core.tensor import Parts, Rules
from tapegrad.declare import facts, is_elementwise
from tapegrad.face.ownership import Array
from tapegrad.ops.arithmetic import add, multiply, square
from tapegrad.ops.reduction import sum as sum_
from tapegrad.program.control.loop import Branch, Loop, applied
from tapegrad.program.ir import Code, Instruction, Ref

# steps of a loop whose length depends on a value, after which it is taken to never end
_MOST_STEPS = 1000

# what rounding does to an op's result: a function of the op, the operands, the options, the result
Rounding = Callable[[Rules, Sequence[Any], Any, Any], Any]


class EndlessError(Exception):
    """A loop whose length depends on a value did not end."""


def _as_it_is(op: Rules, operands: Sequence[Any], options: Any, result: Any) -> Any:
    return result


def evaluated(code: Code, inputs: Sequence[Any], rounding: Rounding = _as_it_is) -> list[Any]:
    """The outputs of a program, of which every instruction calls its op's forward function.

    Raises
    ------
    EndlessError
        If a loop takes more than a thousand steps to end.
    """
    known: dict[Any, Any] = {Ref("input", i): x for i, x in enumerate(inputs)}
    known |= {Ref("constant", i): x.array for i, x in enumerate(code.constants)}
    for i, made in enumerate(code.instructions):
        given = [known[x] if type(x) is Ref else x for x in made.operands]
        if isinstance(rounding, Rounded) and made.op is sum_:
            given = [_uncertain(code, made.operands[0], known, rounding.seed)]
        known[Ref("instruction", i)] = _result(made, given, rounding)
    return [known[x] if type(x) is Ref else x for x in code.outputs]


def _uncertain(code: Code, x: Any, known: dict[Any, Any], seed: int) -> Any:
    """What is summed, where products that overflow may do so or not.

    Where a sum of products is a product of matrices, the products are not rounded.
    """
    summed = known[x] if type(x) is Ref else x
    made = code.of(x) if type(x) is Ref else None
    if type(made) is not Instruction or made.op not in (multiply, square):
        return summed
    factors: list[Any] = [known[y] if type(y) is Ref else y for y in made.operands]
    finite = np.all([np.broadcast_to(np.isfinite(y), summed.shape) for y in factors], axis=0)
    if summed.dtype.kind != "f":  # no pass makes products of sums of complex numbers
        return summed
    large = np.copysign(np.finfo(summed.dtype).max if seed % 2 else np.nan, summed)
    return np.where(finite & np.isinf(summed), large, summed).astype(summed.dtype)


def _result(made: Instruction, given: list[Any], rounding: Rounding) -> Any:
    loop, branch = made.options.get("loop"), made.options.get("branch")
    if isinstance(loop, Loop):
        return _looped(loop, given, rounding)
    if isinstance(branch, Branch):
        pred, *operands = given
        return Parts(
            tuple(evaluated(branch.on_true if pred else branch.on_false, operands, rounding))
        )
    result = applied(made, given)
    if isinstance(result, Parts):
        return Parts(
            tuple(
                [
                    rounding(_giving(made.op, k), given, made.options, x)
                    for k, x in enumerate(result.values)
                ]
            )
        )
    return rounding(made.op, given, made.options, result)


def _giving(op: Rules, k: int) -> Rules:
    """An op that gives one of the several results of another."""

    def forward(*operands: Any, **options: Any) -> Any:
        return op.forward(*operands, **options).values[k]

    return Rules(op.name, forward, (), op.jvp)


def _looped(loop: Loop, operands: Sequence[Any], rounding: Rounding) -> Parts:
    n, first = loop.n_captured, loop.n_captured + loop.n_carry
    captured, carry, xs = list(operands[:n]), list(operands[n:first]), operands[first:]
    steps = loop.steps(xs)
    rows: list[list[Any]] = []
    moves = isinstance(rounding, Rounded)
    sums = {k: _size(carry[k]) for k in _accumulated(loop)} if moves else {}
    while len(rows) != steps:
        if loop.stop is not None and not evaluated(loop.stop, [*captured, *carry])[0]:
            break
        if steps is None and len(rows) == _MOST_STEPS:
            raise EndlessError
        t = len(rows) if steps is None or not loop.reverse else steps - 1 - len(rows)
        given = evaluated(loop.body, [*captured, *carry, *[x[t, ...] for x in xs]], rounding)
        for k, size in sums.items():
            sums[k] = size + _size(given[k] - carry[k])
        carry = given[: loop.n_carry]
        rows.append(given[loop.n_carry :])
    for k, size in sums.items():
        carry[k] = rounding.reordered(carry[k], size)  # type: ignore[attr-defined]
    if loop.reverse:
        rows.reverse()
    stacks = []
    for j, x in enumerate(loop.body.outputs[loop.n_carry :]):
        like = loop.body.like(x)
        stack = np.empty((len(rows), *like.shape), like.dtype)
        for t, row in enumerate(rows):
            stack[t] = row[j]
        stacks.append(stack)
    return Parts((*carry, *stacks))


def _accumulated(loop: Loop) -> list[int]:
    """The floating carries to which each step does nothing but add."""
    body, n = loop.body, loop.n_captured
    used = [x for made in body.instructions for x in made.operands]
    found = []
    for k, out in enumerate(body.outputs[: loop.n_carry]):
        made = body.of(out) if type(out) is Ref else None
        if type(made) is not Instruction or made.op is not add or made.dtype.kind not in "fc":
            continue
        carry = Ref("input", n + k)
        if carry in made.operands and used.count(carry) == 1 and out not in used:
            found.append(k)
    return found


# --- rounding, off on purpose ---------------------------------------------------------------

_FAILS = (ValueError, TypeError, ArithmeticError, np.linalg.LinAlgError)


@attrs.frozen
class Rounded:
    """Results that are rounded are off by a unit in the last place, up or down."""

    seed: int

    def __call__(self, op: Rules, operands: Sequence[Any], options: Any, result: Any) -> Any:
        """The result, off where it was rounded."""
        if not _is_floating(result):
            return result
        dtype = np.finfo(np.result_type(result)).dtype
        wide = np.dtype(np.float64 if dtype.itemsize < 8 else np.longdouble)
        exact = _is_exact(op, operands, options, result, dtype, wide)
        ulp = _spacing(result)
        if is_elementwise(op):
            mixed = sum((_mixed(x) for x in operands), np.uint64(0))
            mixed = np.broadcast_to(mixed, np.shape(result))
        else:
            # terms that are exact in any order, are so by their sizes too
            places = np.arange(np.size(result), dtype=np.uint64).reshape(np.shape(result))
            # the same where the same is computed again, from operands in the same order
            hashes = [np.sum(_mixed(x)) for x in operands]
            mixed = places + sum(
                (np.uint64(2 * k + 1) * h for k, h in enumerate(hashes)), np.uint64(0)
            )
            sizes = [_size(x) for x in operands]
            try:
                summed = np.asarray(op.forward(*sizes, **options))
                exact = exact & _of_parts(
                    _is_exact(op, sizes, options, summed, dtype, wide), result
                )
            except _FAILS:
                summed, exact = None, np.False_
            if facts(op).adds and summed is not None:
                ulp = np.where(np.isfinite(result), np.spacing(np.abs(summed)), 0)
                # anything, where it overflows in this order or another, beside infinities too
                finite = [np.where(np.isfinite(x), x, 0) if _is_floating(x) else x for x in sizes]
                over = ~np.isfinite(np.asarray(op.forward(*finite, **options)))
                result = np.where(over, np.nan if self.seed % 2 else 0.0, result)
                exact = exact & _of_parts(~over, result)
        if np.all(exact):
            return result
        parts = _parts(result)
        off = _signs(mixed, self.seed, result) * np.copysign(_of_parts(ulp, result), parts)
        return _like(result, np.where(exact, parts, parts + off))

    def reordered(self, result: Any, size: Any) -> Any:
        """A sum that was added up step by step, whose terms have sizes of this sum."""
        places = np.arange(np.size(result), dtype=np.uint64).reshape(np.shape(result))
        ulp = np.where(np.isfinite(size), np.spacing(size), np.nan)
        off = _signs(places + np.sum(_mixed(size)), self.seed, result) * _of_parts(ulp, result)
        still = _of_parts((size == 0) | ~np.isfinite(result), result)
        return _like(result, np.where(still, _parts(result), _parts(result) + off))


def _is_exact(
    op: Rules,
    operands: Sequence[Any],
    options: Any,
    result: Any,
    dtype: np.dtype[Any],
    wide: np.dtype[Any],
) -> Any:
    """Where a result, or each part of a complex one, is what the wider dtype gives."""
    if wide.itemsize == dtype.itemsize:
        return np.False_
    try:
        found = op.forward(*[_widened(x, dtype, wide) for x in operands], **options)
    except _FAILS:
        return np.False_
    if np.shape(found) != np.shape(result) or np.iscomplexobj(found) != np.iscomplexobj(result):
        return np.False_
    found, result = _parts(found), _parts(result)
    return (found == result) | (np.isnan(found) & np.isnan(result))


def _widened(x: Any, dtype: np.dtype[Any], wide: np.dtype[Any]) -> Any:
    if not _is_floating(x):
        return x
    if type(x) in (float, complex):
        x = np.asarray(x).astype(np.result_type(dtype, 1j) if type(x) is complex else dtype)
    return x.astype(np.result_type(wide, 1j) if x.dtype.kind == "c" else wide)


def _is_floating(x: Any) -> bool:
    return type(x) in (float, complex) or (isinstance(x, np.ndarray) and x.dtype.kind in "fc")


def _parts(x: Any) -> Any:
    """An array; of a complex one, the two parts along a last axis."""
    x = np.asarray(x)
    return x if x.dtype.kind != "c" else np.stack([x.real, x.imag], -1)


def _of_parts(x: Any, like: Any) -> Any:
    """What holds for each element of a result, for each of its parts."""
    return np.asarray(x)[..., None] if np.iscomplexobj(like) else x


def _like(result: Any, parts: Any) -> Any:
    """As a result is, from its parts: a Python number, or an array of its dtype."""
    if np.iscomplexobj(result):
        made = np.empty(np.shape(result), np.result_type(result))
        made.real, made.imag = parts[..., 0], parts[..., 1]
        return made.item() if type(result) is complex else made
    return float(parts) if type(result) is float else np.asarray(parts, result.dtype)


def _size(x: Any) -> Any:
    """Of complex numbers the sum of the sizes of the parts, which is exact where they are."""
    if not _is_floating(x):
        return x
    return np.abs(x.real) + np.abs(x.imag) if np.iscomplexobj(x) else abs(x)


def _spacing(x: Any) -> Any:
    """A unit in the last place; 0 for what is not finite.

    Of what is smaller than the smallest normal number it is that number: such may become 0.
    """
    size = np.abs(np.asarray(x))
    tiny = np.finfo(size.dtype).tiny
    ulp = np.where((size > 0) & (size < tiny), tiny, np.spacing(size))
    return np.where(np.isfinite(size), ulp, np.zeros_like(size))


_ODD = np.uint64(0x9E3779B97F4A7C15)


def _mixed(x: Any) -> Any:
    """A hash of each element, the same for its negative, and for its conjugate."""
    if np.iscomplexobj(x):
        with np.errstate(over="ignore"):
            return _mixed(np.real(x)) + _mixed(np.imag(x)) * _ODD
    bits = np.abs(np.asarray(x, np.float64)).view(np.uint64)
    with np.errstate(over="ignore"):
        bits = (bits ^ (bits >> np.uint64(29))) * _ODD
        return bits ^ (bits >> np.uint64(32))


def _signs(mixed: Any, seed: int, like: Any) -> Array:
    """1 or -1 for each element, by its hash; two for a complex one."""
    if np.iscomplexobj(like):
        mixed = np.stack([mixed, ~np.asarray(mixed)], -1)
    with np.errstate(over="ignore"):
        bits = (mixed + np.uint64(2 * seed + 1)) * _ODD
        bits = (bits ^ (bits >> np.uint64(31))) * _ODD
    signs: Array = np.where((bits >> np.uint64(40)) & np.uint64(1), 1.0, -1.0).astype(np.float32)
    return signs
