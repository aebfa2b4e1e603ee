"""Evaluate a program one instruction at a time, and perturb the rounding of its results.

A pass is right if its program differs from the program before by no more than rounding does, and
not at all where nothing rounds. An experiment shows how far rounding moves the outputs: evaluate
the program again, and move each rounded result by a unit in the last place, up or down by a hash.
An op needs no rule for this: an error passes through a logarithm, a loop or a decomposition as
values do.

A result is rounded if a wider dtype gives another result. So ``x * x - 1 + 1e-16`` is exact at 1,
and the experiment finds a pass that loses the epsilon. An elementwise op hashes its operands, up to
signs: the same result computed twice moves by the same amount, and results that are equal or cancel
still do.

The terms of a sum may be added in any order, and products among them without rounding, as a matrix
product does by fused multiply-add. Each result of a sum, of a matrix product, or of an addition of
several of these moves by a unit in the last place of the sum of its terms' magnitudes. It is exact
only if each partial sum is: if the dtype has a bit for each power of two from the sum of the
magnitudes to the lowest bit of all terms. A loop's carry to which each step only adds is such a
sum. Where the sum of the magnitudes overflows, the result in another order may be any number,
infinite or nan. Each part of a complex number moves on its own, by a unit in the last place of the
whole number, since products round so.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
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
from tapegrad.types import Array, DType, Scalar

# a loop whose length depends on a value counts as endless after this number of steps
_MAX_STEPS = 1000

Value = Array | Scalar
Options = Mapping[str, Any]
# a function of an op, its operands, its options and its result that returns a rounded result
Rounding = Callable[[Primitive, Sequence[Any], Options, Any], Any]


class EndlessError(Exception):
    """A loop whose length depends on a value did not end."""


def _keep_result(op: Primitive, operands: Sequence[Any], options: Options, result: Value) -> Value:
    return result


@np.errstate(all="ignore")
def evaluate(
    code: Code, inputs: Sequence[Any], rounding: Rounding = _keep_result, sums: _Sums | None = None
) -> list[Any]:
    """Compute a program's outputs; every instruction calls its op's forward function.

    Parameters
    ----------
    code, inputs
        The program and its inputs.
    rounding
        The function that rounds each result.
    sums
        A collection for the terms of the program's sums, if rounding perturbs sums.

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
    """Return the operands of a program's loops and branches, by the number of the instruction.

    If an instruction raises, return the operands of the instructions before it.
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
    op, options = instruction.op, instruction.options
    result = apply_instruction(instruction, values)
    if not isinstance(result, Parts):
        return rounding(op, values, options, result)
    each = enumerate(result.values)
    return Parts(tuple([rounding(_select_result(op, k), values, options, x) for k, x in each]))


def _select_result(op: Primitive, k: int) -> Primitive:
    """Make an op that returns one of the results of another op."""

    def forward(*operands: Any, **options: Any) -> Any:
        return op.forward(*operands, **options).values[k]

    return Primitive(op.name, forward, (), op.jvp)


def _run_loop(loop: Loop, operands: list[Any], rounding: Rounding) -> Parts:
    n, n_carry, n_outputs = loop.n_captured, loop.n_carry, len(loop.body.outputs)
    carry = operands[n : n + n_carry]
    rows: list[list[Any]] = []
    summands = _find_summands(loop) if isinstance(rounding, PerturbedRounding) else {}
    body = attrs.evolve(loop.body, outputs=(*loop.body.outputs, *summands.values()))
    terms = {k: Terms.of_value(carry[k]) for k in summands}

    def step(inputs: list[Any]) -> list[Any]:
        if loop.stop is not None and len(rows) == _MAX_STEPS:
            raise EndlessError
        sums = _Sums()
        results = evaluate(body, inputs, rounding, sums)
        for (k, ref), value in zip(summands.items(), results[n_outputs:], strict=True):
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


# the op whose result is the sum of a loop's steps
_SUM_OF_CARRY = Primitive("summed", np.asarray, (), add.jvp)


def _find_summands(loop: Loop) -> dict[int, Any]:
    """Find the summand of each floating carry to which a step only adds."""
    body, n = loop.body, loop.n_captured
    used = [x for instruction in body.instructions for x in instruction.operands]
    summands = {}
    for k, out in enumerate(body.outputs[: loop.n_carry]):
        instruction = body.definition(out) if type(out) is Ref else None
        if type(instruction) is not Instruction or instruction.op is not add:
            continue
        if instruction.dtype.kind not in "fc":
            continue
        carry = Ref("input", n + k)
        if carry in instruction.operands and used.count(carry) == 1 and out not in used:
            (summands[k],) = [x for x in instruction.operands if x != carry]
    return summands


# --- sums, whose terms may be added in any order --------------------------------------------


@attrs.frozen
class Terms:
    """Bounds of the terms of a sum, or of each sum of an array.

    Attributes
    ----------
    size
        The sum of the terms' magnitudes, in a wider dtype.
    inverse_bits
        The sum of the reciprocals of the terms' lowest bits.
    """

    size: Array
    inverse_bits: Array

    @classmethod
    def of_op(
        cls, op: Primitive, operands: Sequence[Any], options: Options, dtype: DType
    ) -> Terms | None:
        """Return the terms of an op that adds; return None if it raises for the magnitudes."""
        wide = _wider_dtype(dtype)
        values = [_widen(x, dtype, wide) for x in operands]
        try:
            size, inverse_bits = [
                op.forward(*map(f, values), **options)
                for f in (_finite_magnitude, _inverse_lowest_bit)
            ]
        except Exception:
            return None
        # the results of a Fourier transform are complex
        return cls(_magnitude(size), _magnitude(inverse_bits))

    @classmethod
    def of_value(cls, value: Value) -> Terms:
        """Return the terms of a sum of one known term."""
        x = np.asarray(value)
        x = x.astype(np.result_type(x, np.float16))
        dtype = np.finfo(x.dtype).dtype
        wide = _widen(x, dtype, _wider_dtype(dtype))
        return cls(_finite_magnitude(wide), _inverse_lowest_bit(wide))

    def plus(self, other: Terms) -> Terms:
        """Return the terms of the sum of two sums."""
        return Terms(self.size + other.size, self.inverse_bits + other.inverse_bits)

    def apply_op(self, op: Primitive, rest: Sequence[Any], options: Options) -> Terms:
        """Return the terms after an op of one operand, which moves the sums or adds them up."""
        return Terms(*[op.forward(x, *rest, **options) for x in (self.size, self.inverse_bits)])

    def are_exact(self, size: Array) -> Array:
        """Where no order of the additions rounds, with rounded terms or without.

        Parameters
        ----------
        size
            The sum of the magnitudes in the dtype of the result.
        """
        # partial sums are multiples of the lowest bit, and at most `size`, so they fit in `bits`
        bits = np.finfo(np.result_type(size)).nmant + 1
        exact: Array = (size == self.size) & (self.size * self.inverse_bits <= 2.0**bits)
        return exact


class _Sums:
    """The terms of a program's sums, and of products that later instructions may add."""

    def __init__(self) -> None:
        self.terms: dict[Any, Terms] = {}
        self.sums: set[Any] = set()
        self.numbers = count()

    def add_terms(self, instruction: Instruction, values: Sequence[Any]) -> Terms | None:
        """Add the next instruction; return its terms if it adds in one order of many, else None."""
        ref, op = Ref("instruction", next(self.numbers)), instruction.op
        operands = instruction.operands
        if instruction.dtype.kind not in "fc" or not operands:
            return None
        first = self.terms.get(operands[0])
        keeps_sums = facts(op).view or op is negative
        adds = facts(op).adds or _is_outer(instruction, values)
        terms = None
        if op is add and self.sums.issuperset(operands):
            one, other = [self.terms[x] for x in operands]
            terms, adds = one.plus(other), True
        elif first is not None and (keeps_sums or op is sum_):
            rest, adds = values[1:], op is sum_ or operands[0] in self.sums
            terms = first if op is negative else first.apply_op(op, rest, instruction.options)
        elif adds or op in (multiply, square):
            product, factors = (multiply, (*values, *values)) if op is square else (op, values)
            terms = Terms.of_op(
                product, factors, instruction.options, np.finfo(instruction.dtype).dtype
            )
        if terms is None:
            return None
        self.terms[ref] = terms
        if adds:
            self.sums.add(ref)
        return terms if op is add or facts(op).adds else None


def _is_outer(product: Instruction, values: Sequence[Any]) -> bool:
    """Whether a product multiplies a column and a row, as a matrix product does."""
    height, width = product.shape if len(product.shape) == 2 else (1, 1)
    return min(height, width) > 1 and {*map(np.shape, values)} == {(height, 1), (1, width)}


# --- perturbed rounding ---------------------------------------------------------------------

# possible results of a sum that overflows in some order, up to the sign; if the order matters, a
# result that depends on the sum is not the same for all of these
_OVERFLOW_RESULTS = (0.0, np.nan, np.inf, 1.0)


@attrs.frozen
class PerturbedRounding:
    """A rounding that moves each rounded result by a unit in the last place, up or down.

    Attributes
    ----------
    seed
        The seed of the directions.
    terms
        The terms of the result, if it is a sum.
    """

    seed: int
    terms: Terms | None = None

    def __call__(
        self, op: Primitive, operands: Sequence[Any], options: Options, result: Any
    ) -> Any:
        """Move the elements of a result that are rounded."""
        if not _is_floating(result):
            return result
        dtype = np.finfo(np.result_type(result)).dtype
        exact = _is_exact(op, operands, options, result)
        ulp = _spacing(result)
        terms = self.terms
        if terms is not None:
            size = np.asarray(terms.size).astype(dtype)
            overflows = _repeat_for_parts(~np.isfinite(size), result)
            ulp = np.where(np.isfinite(result) & np.isfinite(size), np.spacing(size), 0)
            exact = exact & _repeat_for_parts(terms.are_exact(size), result) & ~overflows
        elif not is_elementwise(op):
            sizes = [_magnitude(x) for x in operands]
            try:
                size = np.asarray(op.forward(*sizes, **options))
                is_size_exact = _is_exact(op, sizes, options, size)
                exact = exact & _repeat_for_parts(is_size_exact, result)
            except Exception:
                exact = np.False_
        if np.all(exact):
            return result
        if is_elementwise(op):
            hashed = sum((_hash_elements(x) for x in operands), np.uint64(0))
            hashed = np.broadcast_to(hashed, np.shape(result))
        else:
            places = np.arange(np.size(result), dtype=np.uint64).reshape(np.shape(result))
            # the same op on the same operands in the same order has the same hashes
            hashes = [np.sum(_hash_elements(x)) for x in operands]
            hashed = places + sum(
                (np.uint64(2 * k + 1) * h for k, h in enumerate(hashes)), np.uint64(0)
            )
        parts, ulp = _split_complex(result), _repeat_for_parts(ulp, result)
        signs = _random_signs(hashed, self.seed, result)
        moved = parts + signs * np.copysign(ulp, parts)
        if terms is not None and self.seed % 2:
            # where large terms cancel, another order may lose other small terms
            moved = np.where(np.abs(parts) < ulp, parts * -(0.5 + signs / 2), moved)
        if terms is not None:
            # also for infinite terms
            moved = np.where(
                overflows, signs * _OVERFLOW_RESULTS[self.seed % len(_OVERFLOW_RESULTS)], moved
            )
        return _from_parts(result, np.where(exact, parts, moved))


def _is_exact(
    op: Primitive, operands: Sequence[Any], options: Options, result: Value
) -> Array | np.bool_:
    """Where a result, or each part of a complex result, equals the result in a wider dtype."""
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
    exact, parts = _split_complex(exact), _split_complex(result)
    same: Array = (exact == parts) | (np.isnan(exact) & np.isnan(parts))
    return same


def _widen(x: Any, dtype: DType, wide: DType) -> Any:
    if not _is_floating(x):
        return x
    if type(x) in (float, complex):
        x = np.asarray(x).astype(np.result_type(dtype, 1j) if type(x) is complex else dtype)
    return x.astype(np.result_type(wide, 1j) if x.dtype.kind == "c" else wide)


def _is_floating(x: object) -> bool:
    return type(x) in (float, complex) or (isinstance(x, np.ndarray) and x.dtype.kind in "fc")


def _split_complex(x: Value) -> Array:
    """Return an array; split a complex array into its two parts along a last axis."""
    x = np.asarray(x)
    return x if x.dtype.kind != "c" else np.stack([x.real, x.imag], -1)


def _repeat_for_parts(x: Any, like: Value) -> Any:
    """Repeat an element's value for the parts of a complex element."""
    return np.asarray(x)[..., None] if np.iscomplexobj(like) else x


def _from_parts(result: Any, parts: Array) -> Value:
    """Join parts to a Python number or an array, as `result` is."""
    if np.iscomplexobj(result):
        array = np.empty(np.shape(result), np.result_type(result))
        array.real, array.imag = parts[..., 0], parts[..., 1]
        return array.item() if type(result) is complex else array
    return float(parts) if type(result) is float else np.asarray(parts, result.dtype)


def _wider_dtype(dtype: DType) -> DType:
    return np.dtype(np.float64 if dtype.itemsize < 8 else np.longdouble)


def _magnitude(x: Any) -> Any:
    """Return magnitudes; for complex numbers the sum of both parts', which rounds no exact part."""
    if not _is_floating(x):
        return x
    return np.abs(x.real) + np.abs(x.imag) if np.iscomplexobj(x) else abs(x)


def _finite_magnitude(x: Any) -> Any:
    size = _magnitude(x)
    return np.where(np.isfinite(size), size, 0) if _is_floating(x) else x


def _inverse_lowest_bit(x: Any) -> Any:
    """Return the reciprocal of each number's lowest bit, summed over complex parts."""
    if not _is_floating(x):
        return x
    if np.iscomplexobj(x):
        return _inverse_lowest_bit(np.real(x)) + _inverse_lowest_bit(np.imag(x))
    fraction, exponent = np.frexp(np.where(np.isfinite(x), x, 0))
    # convert to whole numbers of at most 53 bits
    whole = np.abs(np.ldexp(fraction, 53)).astype(np.int64)
    lowest = np.maximum(whole & -whole, 1)
    return np.where(whole == 0, 0, np.ldexp(np.ones_like(fraction), 53 - exponent) / lowest)


def _spacing(x: Value) -> Array:
    """Return a unit in the last place of each number; return 0 if it is not finite.

    The unit of subnormal numbers is the smallest normal number, since they may be flushed to 0.
    """
    size = np.abs(np.asarray(x))
    tiny = np.finfo(size.dtype).tiny
    ulp = np.where((size > 0) & (size < tiny), tiny, np.spacing(size))
    spacing: Array = np.where(np.isfinite(size), ulp, np.zeros_like(size))
    return spacing


_ODD = np.uint64(0x9E3779B97F4A7C15)


def _hash_elements(x: Value) -> Array:
    """Hash each element; its negative and its conjugate have the same hash."""
    if np.iscomplexobj(x):
        with np.errstate(over="ignore"):
            return _hash_elements(np.real(x)) + _hash_elements(np.imag(x)) * _ODD
    bits = np.abs(np.asarray(x, np.float64)).view(np.uint64)
    with np.errstate(over="ignore"):
        bits = (bits ^ (bits >> np.uint64(29))) * _ODD
        return bits ^ (bits >> np.uint64(32))


def _random_signs(hashed: Array, seed: int, like: Value) -> Array:
    """Draw 1 or -1 for each element, or for each part of a complex element, by its hash."""
    if np.iscomplexobj(like):
        hashed = np.stack([hashed, ~np.asarray(hashed)], -1)
    with np.errstate(over="ignore"):
        bits = (hashed + np.uint64(2 * seed + 1)) * _ODD
        bits = (bits ^ (bits >> np.uint64(31))) * _ODD
    signs: Array = np.where((bits >> np.uint64(40)) & np.uint64(1), 1.0, -1.0).astype(np.float32)
    return signs
