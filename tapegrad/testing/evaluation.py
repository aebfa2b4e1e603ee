"""A program evaluated one instruction at a time, and how far rounding moves its results.

A program that a pass made is right if it differs from the program before by no more than rounding
does, and where nothing rounds, not at all. How far rounding moves a result is found by experiment:
the program is evaluated again with each result that is rounded off by a unit in the last place, up
or down by a hash, and the outputs are seen to move. This needs no rule for any op: an error passes
through a logarithm, a loop or a decomposition as values do.

What is rounded is found by a wider dtype, which gives another result. So ``x * x - 1 + 1e-16`` is
exact at 1, and a pass that loses the epsilon is seen. The hash of a function of elements is of
what it is given, up to signs: what is computed twice is off by the same, and what is equal or
cancels stays so.

The terms of a sum may be added in any order, and where they are products, with these not rounded:
so does a product of matrices, with instructions that multiply and add at once. Each result of a
sum, of a product of matrices, or of what adds several of these, is off by itself and by a unit in
the last place of the sum of its terms' sizes. It is exact only if each partial sum is: if the
dtype has a bit for each, from the highest of the sum of the sizes to the lowest of all terms. A
loop's carry to which each step does nothing but add is such a sum. Where the sum of the sizes
overflows, the result of another order may be any number, infinite or nan. Of a complex number each
part is off by itself, by a unit in the last place of the whole, for products are rounded so.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial
from itertools import count
from typing import Any

import attrs
import numpy as np

from tapegrad.core.primitive import Parts, Primitive
from tapegrad.declare import facts, is_elementwise
from tapegrad.ops.arithmetic import add, multiply, negative, square
from tapegrad.ops.reduction import sum as sum_
from tapegrad.program.control.loop import Branch, Loop, apply_instruction, bodies_in, stack_rows
from tapegrad.program.dataflow import make_interpreter
from tapegrad.program.ir import Code, Instruction, Ref
from tapegrad.types import Array

# steps of a loop whose length depends on a value, after which it is taken to never end
_MAX_STEPS = 1000

# what rounding does to an op's result: a function of the op, the operands, the options, the result
Rounding = Callable[[Primitive, Sequence[Any], Any, Any], Any]


class EndlessError(Exception):
    """A loop whose length depends on a value did not end."""


def _keep_result(op: Primitive, operands: Sequence[Any], options: Any, result: Any) -> Any:
    return result


@np.errstate(all="ignore")
def evaluate(
    code: Code, inputs: Sequence[Any], rounding: Rounding = _keep_result, sums: _Sums | None = None
) -> list[Any]:
    """The outputs of a program, of which every instruction calls its op's forward function.

    Parameters
    ----------
    code, inputs
        The program and its inputs.
    rounding
        What rounding does to each result.
    sums
        Filled with the terms of the program's sums, if rounding moves them.

    Raises
    ------
    EndlessError
        If a loop takes more than a thousand steps to end.
    """
    known = _Sums() if sums is None else sums

    def apply(instruction: Instruction, operands: list[Any]) -> Any:
        this = rounding
        if isinstance(rounding, PerturbedRounding):
            this = attrs.evolve(rounding, terms=known.add_terms(instruction, operands))
        return _compute_result(instruction, operands, this)

    return make_interpreter(code, apply)(inputs)


@np.errstate(all="ignore")
def operands_of_bodies(code: Code, inputs: Sequence[Any]) -> dict[int, list[Any]]:
    """The operands of the loops and the branches of a program, by the number of the instruction.

    If the program raises, those up to there.
    """
    operands: dict[int, list[Any]] = {}
    numbers = count()

    def apply(instruction: Instruction, values: list[Any]) -> Any:
        i = next(numbers)
        if bodies_in(instruction.options):
            operands[i] = values
        return _compute_result(instruction, values, _keep_result)

    with suppress(Exception):
        make_interpreter(code, apply)(inputs)
    return operands


def _compute_result(instruction: Instruction, values: list[Any], rounding: Rounding) -> Any:
    loop, branch = instruction.options.get("loop"), instruction.options.get("branch")
    if isinstance(loop, Loop):
        return _run_loop(loop, values, rounding)
    if isinstance(branch, Branch):
        pred, *operands = values
        return Parts(
            tuple(evaluate(branch.on_true if pred else branch.on_false, operands, rounding))
        )
    op, options, result = (
        instruction.op,
        instruction.options,
        apply_instruction(instruction, values),
    )
    if not isinstance(result, Parts):
        return rounding(op, values, options, result)
    each = enumerate(result.values)
    return Parts(tuple([rounding(_select_result(op, k), values, options, x) for k, x in each]))


def _select_result(op: Primitive, k: int) -> Primitive:
    """An op that gives one of the several results of another."""

    def forward(*operands: Any, **options: Any) -> Any:
        return op.forward(*operands, **options).values[k]

    return Primitive(op.name, forward, (), op.jvp)


def _run_loop(loop: Loop, operands: list[Any], rounding: Rounding) -> Parts:
    n, n_carry, n_outputs = loop.n_captured, loop.n_carry, len(loop.body.outputs)
    carry = operands[n : n + n_carry]
    rows: list[list[Any]] = []
    added = _find_sums(loop) if isinstance(rounding, PerturbedRounding) else {}
    body = attrs.evolve(loop.body, outputs=(*loop.body.outputs, *added.values()))
    terms = {k: Terms.of_value(carry[k]) for k in added}

    def step(inputs: list[Any]) -> list[Any]:
        if loop.stop is not None and len(rows) == _MAX_STEPS:
            raise EndlessError
        sums = _Sums()
        results = evaluate(body, inputs, rounding, sums)
        for (k, ref), value in zip(added.items(), results[n_outputs:], strict=True):
            terms[k] = terms[k].plus(sums.terms.get(ref) or Terms.of_value(value))
        return results

    for _, _, results in loop.run_steps(operands, step, lambda stop: partial(evaluate, stop)):
        carry = results[:n_carry]
        rows.append(results[n_carry:n_outputs])
    for k, total in terms.items():
        assert isinstance(rounding, PerturbedRounding)
        carry[k] = attrs.evolve(rounding, terms=total)(
            _SUM_OF_CARRY, carry[k : k + 1], {}, carry[k]
        )
    if loop.reverse:
        rows.reverse()
    likes = [loop.body.spec(x) for x in loop.body.outputs[n_carry:]]
    return Parts((*carry, *[stack_rows([x[j] for x in rows], *y) for j, y in enumerate(likes)]))


# gives what a loop has added up
_SUM_OF_CARRY = Primitive("summed", np.asarray, (), add.jvp)


def _find_sums(loop: Loop) -> dict[int, Any]:
    """The term of each floating carry to which a step does nothing but add."""
    body, n = loop.body, loop.n_captured
    used = [x for instruction in body.instructions for x in instruction.operands]
    added = {}
    for k, out in enumerate(body.outputs[: loop.n_carry]):
        instruction = body.definition(out) if type(out) is Ref else None
        if type(instruction) is not Instruction or instruction.op is not add:
            continue
        if instruction.dtype.kind not in "fc":
            continue
        carry = Ref("input", n + k)
        if carry in instruction.operands and used.count(carry) == 1 and out not in used:
            (added[k],) = [x for x in instruction.operands if x != carry]
    return added


# --- sums, whose terms may be added in any order --------------------------------------------


@attrs.frozen
class Terms:
    """Bounds of the terms of a sum, or of each sum of an array.

    Attributes
    ----------
    size
        The sum of their sizes, in a wider dtype.
    units
        The sum of one over the lowest bit of each.
    """

    size: Any
    inverse_bits: Any

    @classmethod
    def of_op(
        cls, op: Primitive, operands: Sequence[Any], options: Any, dtype: Any
    ) -> Terms | None:
        """Those of an op that adds; None if it refuses the sizes."""
        wide = _wider_dtype(dtype)
        values = [_widen(x, dtype, wide) for x in operands]
        try:
            added = [
                op.forward(*map(f, values), **options)
                for f in (_finite_magnitude, _inverse_lowest_bit)
            ]
        except Exception:
            return None
        # those of a Fourier transform are complex
        return cls(*map(_magnitude, added))

    @classmethod
    def of_value(cls, value: Any) -> Terms:
        """Those of a sum of one term, which is known."""
        x = np.asarray(value)
        x = x.astype(np.result_type(x, np.float16))
        dtype = np.finfo(x.dtype).dtype
        wide = _widen(x, dtype, _wider_dtype(dtype))
        return cls(_finite_magnitude(wide), _inverse_lowest_bit(wide))

    def plus(self, other: Terms) -> Terms:
        """Those of the sum of both."""
        return Terms(self.size + other.size, self.inverse_bits + other.inverse_bits)

    def apply_op(self, op: Primitive, rest: Sequence[Any], options: Any) -> Terms:
        """Those of the same sums, or of sums of them, after an op of one operand."""
        return Terms(*[op.forward(x, *rest, **options) for x in (self.size, self.inverse_bits)])

    def are_exact(self, size: Any) -> Any:
        """Where no order rounds, nor would one without rounding of the terms.

        Parameters
        ----------
        size
            The sum of the sizes in the dtype of the result.
        """
        # all partial sums are multiples of the lowest bit, so those of so many bits have no more
        bits = np.finfo(np.result_type(size)).nmant + 1
        return (size == self.size) & (self.size * self.inverse_bits <= 2.0**bits)


class _Sums:
    """The terms of the sums of a program, and of the products that are yet to be added."""

    def __init__(self) -> None:
        self.terms: dict[Any, Terms] = {}
        self.sums: set[Any] = set()
        self.numbers = count()

    def add_terms(self, instruction: Instruction, values: Sequence[Any]) -> Terms | None:
        """The terms of what adds in one order of many; None for all else.

        It is asked about each instruction in turn.
        """
        ref, op = Ref("instruction", next(self.numbers)), instruction.op
        operands = instruction.operands
        if instruction.dtype.kind not in "fc" or not operands:
            return None
        first = self.terms.get(operands[0])
        moves = facts(op).view or op is negative
        adds = facts(op).adds or _is_outer(instruction, values)
        terms = None
        if op is add and self.sums.issuperset(operands):
            one, other = [self.terms[x] for x in operands]
            terms, adds = one.plus(other), True
        elif first is not None and (moves or op is sum_):
            rest, adds = values[1:], op is sum_ or operands[0] in self.sums
            terms = first if op is negative else first.apply_op(op, rest, instruction.options)
        elif adds or op in (multiply, square):
            of, factors = (multiply, (*values, *values)) if op is square else (op, values)
            terms = Terms.of_op(of, factors, instruction.options, np.finfo(instruction.dtype).dtype)
        if terms is None:
            return None
        self.terms[ref] = terms
        if adds:
            self.sums.add(ref)
        return terms if op is add or facts(op).adds else None


def _is_outer(product: Instruction, values: Sequence[Any]) -> bool:
    """Whether a product is one of a column and a row, which is a product of matrices."""
    height, width = product.shape if len(product.shape) == 2 else (1, 1)
    return min(height, width) > 1 and {*map(np.shape, values)} == {(height, 1), (1, width)}


# --- rounding, off on purpose ---------------------------------------------------------------

# the result of a sum that overflows in some order, up to the sign; what depends on it may be the
# same for some of these, but not for all if the order matters
_OVERFLOW_RESULTS = (0.0, np.nan, np.inf, 1.0)


@attrs.frozen
class PerturbedRounding:
    """Results that are rounded are off by a unit in the last place, up or down.

    Attributes
    ----------
    seed
        Of the directions.
    terms
        The terms of the result, if it is a sum.
    """

    seed: int
    terms: Terms | None = None

    def __call__(self, op: Primitive, operands: Sequence[Any], options: Any, result: Any) -> Any:
        """The result, off where it was rounded."""
        if not _is_floating(result):
            return result
        dtype = np.finfo(np.result_type(result)).dtype
        exact = _is_exact(op, operands, options, result)
        ulp = _spacing(result)
        terms = self.terms
        if terms is not None:
            size = np.asarray(terms.size).astype(dtype)
            over = _repeat_for_parts(~np.isfinite(size), result)
            ulp = np.where(np.isfinite(result) & np.isfinite(size), np.spacing(size), 0)
            exact = exact & _repeat_for_parts(terms.are_exact(size), result) & ~over
        elif not is_elementwise(op):
            sizes = [_magnitude(x) for x in operands]
            try:
                of_sizes = np.asarray(op.forward(*sizes, **options))
                still = _is_exact(op, sizes, options, of_sizes)
                exact = exact & _repeat_for_parts(still, result)
            except Exception:
                exact = np.False_
        if np.all(exact):
            return result
        if is_elementwise(op):
            mixed = sum((_hash_elements(x) for x in operands), np.uint64(0))
            mixed = np.broadcast_to(mixed, np.shape(result))
        else:
            places = np.arange(np.size(result), dtype=np.uint64).reshape(np.shape(result))
            # the same where the same is computed again, from operands in the same order
            hashes = [np.sum(_hash_elements(x)) for x in operands]
            mixed = places + sum(
                (np.uint64(2 * k + 1) * h for k, h in enumerate(hashes)), np.uint64(0)
            )
        parts, ulp, signs = (
            _split_complex(result),
            _repeat_for_parts(ulp, result),
            _random_signs(mixed, self.seed, result),
        )
        moved = parts + signs * np.copysign(ulp, parts)
        if terms is not None and self.seed % 2:
            # where large terms cancel, another order leaves others of the small ones
            moved = np.where(np.abs(parts) < ulp, parts * -(0.5 + signs / 2), moved)
        if terms is not None:
            # beside infinities too
            moved = np.where(
                over, signs * _OVERFLOW_RESULTS[self.seed % len(_OVERFLOW_RESULTS)], moved
            )
        return _from_parts(result, np.where(exact, parts, moved))


def _is_exact(op: Primitive, operands: Sequence[Any], options: Any, result: Any) -> Any:
    """Where a result, or each part of a complex one, is what the wider dtype gives."""
    dtype = np.finfo(np.result_type(result)).dtype
    wide = _wider_dtype(dtype)
    if wide.itemsize == dtype.itemsize:
        return np.False_
    try:
        exact = op.forward(*[_widen(x, dtype, wide) for x in operands], **options)
    except Exception:
        return np.False_
    if np.shape(exact) != np.shape(result) or np.iscomplexobj(exact) != np.iscomplexobj(result):
        return np.False_
    exact, result = _split_complex(exact), _split_complex(result)
    return (exact == result) | (np.isnan(exact) & np.isnan(result))


def _widen(x: Any, dtype: np.dtype[Any], wide: np.dtype[Any]) -> Any:
    if not _is_floating(x):
        return x
    if type(x) in (float, complex):
        x = np.asarray(x).astype(np.result_type(dtype, 1j) if type(x) is complex else dtype)
    return x.astype(np.result_type(wide, 1j) if x.dtype.kind == "c" else wide)


def _is_floating(x: Any) -> bool:
    return type(x) in (float, complex) or (isinstance(x, np.ndarray) and x.dtype.kind in "fc")


def _split_complex(x: Any) -> Any:
    """An array; of a complex one, the two parts along a last axis."""
    x = np.asarray(x)
    return x if x.dtype.kind != "c" else np.stack([x.real, x.imag], -1)


def _repeat_for_parts(x: Any, like: Any) -> Any:
    """A fact about each element of a result, for each of its parts."""
    return np.asarray(x)[..., None] if np.iscomplexobj(like) else x


def _from_parts(result: Any, parts: Any) -> Any:
    """As a result is, from its parts: a Python number, or an array of its dtype."""
    if np.iscomplexobj(result):
        array = np.empty(np.shape(result), np.result_type(result))
        array.real, array.imag = parts[..., 0], parts[..., 1]
        return array.item() if type(result) is complex else array
    return float(parts) if type(result) is float else np.asarray(parts, result.dtype)


def _wider_dtype(dtype: Any) -> np.dtype[Any]:
    return np.dtype(np.float64 if dtype.itemsize < 8 else np.longdouble)


def _magnitude(x: Any) -> Any:
    """Of complex numbers the sum of the sizes of the parts, which is exact where they are."""
    if not _is_floating(x):
        return x
    return np.abs(x.real) + np.abs(x.imag) if np.iscomplexobj(x) else abs(x)


def _finite_magnitude(x: Any) -> Any:
    size = _magnitude(x)
    return np.where(np.isfinite(size), size, 0) if _is_floating(x) else x


def _inverse_lowest_bit(x: Any) -> Any:
    """One over the lowest bit of each number; for complex ones, the sum of it for both parts."""
    if not _is_floating(x):
        return x
    if np.iscomplexobj(x):
        return _inverse_lowest_bit(np.real(x)) + _inverse_lowest_bit(np.imag(x))
    fraction, exponent = np.frexp(np.where(np.isfinite(x), x, 0))
    # as whole numbers of at most 53 bits
    whole = np.abs(np.ldexp(fraction, 53)).astype(np.int64)
    lowest = np.maximum(whole & -whole, 1)
    return np.where(whole == 0, 0, np.ldexp(np.ones_like(fraction), 53 - exponent) / lowest)


def _spacing(x: Any) -> Any:
    """A unit in the last place; 0 for what is not finite.

    Of what is smaller than the smallest normal number it is that number: such may become 0.
    """
    size = np.abs(np.asarray(x))
    tiny = np.finfo(size.dtype).tiny
    ulp = np.where((size > 0) & (size < tiny), tiny, np.spacing(size))
    return np.where(np.isfinite(size), ulp, np.zeros_like(size))


_ODD = np.uint64(0x9E3779B97F4A7C15)


def _hash_elements(x: Any) -> Any:
    """A hash of each element, the same for its negative, and for its conjugate."""
    if np.iscomplexobj(x):
        with np.errstate(over="ignore"):
            return _hash_elements(np.real(x)) + _hash_elements(np.imag(x)) * _ODD
    bits = np.abs(np.asarray(x, np.float64)).view(np.uint64)
    with np.errstate(over="ignore"):
        bits = (bits ^ (bits >> np.uint64(29))) * _ODD
        return bits ^ (bits >> np.uint64(32))


def _random_signs(mixed: Any, seed: int, like: Any) -> Array:
    """1 or -1 for each element, by its hash; two for a complex one."""
    if np.iscomplexobj(like):
        mixed = np.stack([mixed, ~np.asarray(mixed)], -1)
    with np.errstate(over="ignore"):
        bits = (mixed + np.uint64(2 * seed + 1)) * _ODD
        bits = (bits ^ (bits >> np.uint64(31))) * _ODD
    signs: Array = np.where((bits >> np.uint64(40)) & np.uint64(1), 1.0, -1.0).astype(np.float32)
    return signs
