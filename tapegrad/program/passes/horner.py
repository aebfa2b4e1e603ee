"""A factor that several terms of a sum share is multiplied once.

A sum of products is expanded into terms and written in Horner's scheme: the factor that most terms
share is taken out, and so on for the rest. ``e * (1 - u * u) * a - 2 * x * (u * e)`` becomes ``e *
(a - u * (a * u + 2 * x))``.

Rounding errors stay within a small multiple of what they were. A term that was rounded before it
was added, such as a product of arrays, may be multiplied out and regrouped: that adds no more than
the error which the term had already. A term that was added without rounding must not be rounded,
so ``a * (x - y)`` is left alone: the difference of two arrays may be exact, and that of their
products is not. Near the largest numbers of a dtype, a sum may overflow where one of smaller terms
did not.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from tapegrad.core.tensor import Rules
from tapegrad.ops.arithmetic import add, divide, multiply, negative, square, subtract
from tapegrad.program.builder import Builder
from tapegrad.program.improvement import improvement
from tapegrad.program.ir import Instruction, Ref
from tapegrad.program.passes.factors import finite

# limits on terms, on factors of a term, and on instructions; larger sums are left alone
_MOST_TERMS = 8
_MOST_FACTORS = 8
_MOST_EXPANDED = 32

_SUMS = frozenset({add, subtract})
_PARTS = frozenset({add, subtract, multiply, divide, negative, square})

Users = Mapping[Ref, Sequence[int]]


class _Term(NamedTuple):
    """A number times values, in order. Exact if it is added without being rounded first."""

    number: float
    factors: tuple[Any, ...]
    is_exact: bool


class _Expression(NamedTuple):
    """An expression to write: an op of expressions, values and numbers."""

    op: Rules
    operands: tuple[Any, ...]


# terms, and what was computed for this sum alone on the way to them
_Expansion = tuple[list[_Term], frozenset[Any]]
# with its sign apart
_Signed = tuple[int, Any]


class _TooLargeError(Exception):
    """A sum has too many terms or factors, or a number out of range, to be expanded."""


@improvement
def factor_sums(builder: Builder) -> None:
    """``a * b + a * c`` becomes ``a * (b + c)``, where that takes fewer instructions.

    Fires on gradients of products of functions of one array, as of ``tanh(x) * exp(-x)``,
    and on updates that decay.
    """
    if not (builder.has(_SUMS) and builder.has((multiply, square))):
        return
    users = builder.users()

    def visit(builder: Builder, instruction: Instruction) -> Any:
        if instruction.number or instruction.dtype.char not in "fd" or 0 in instruction.shape:
            return None
        user = _only_user(users, builder.refs[builder.at])
        if user is not None and builder.instructions[user].op in _SUMS:
            # a part of a larger sum
            return None
        if not any(_is_part(builder, users, instruction, x) for x in instruction.operands):
            return None
        region = _Region(builder, users, instruction, multiplies_out=True)
        improved = region.improved()
        if improved is None and region.has_sums:
            improved = _Region(builder, users, instruction, multiplies_out=False).improved()
        return improved

    builder.rewrite(visit, _SUMS)


def _only_user(users: Users, x: Any) -> int | None:
    """The only instruction that uses a value, if there is just one."""
    by = users.get(x, (-1,))
    # an instruction that uses a value twice stands there twice
    return by[0] if by[0] >= 0 and by.count(by[0]) == len(by) else None


def _is_part(builder: Builder, users: Users, whole: Instruction, x: Any) -> bool:
    """Whether a value is computed for one sum alone, by an op that can be expanded."""
    made = builder.source(x)
    if made is None or made.op not in _PARTS or made.number:
        return False
    same = made.shape == whole.shape and made.dtype == whole.dtype
    return same and _only_user(users, x) is not None


class _Region:
    """A sum, with the instructions that are computed for it alone."""

    def __init__(
        self, builder: Builder, users: Users, whole: Instruction, multiplies_out: bool
    ) -> None:
        self.builder, self.users, self.whole = builder, users, whole
        self.multiplies_out = multiplies_out
        self.limits = np.finfo(whole.dtype)
        self.has_sums = False
        self.n_expanded = 0

    def improved(self) -> Any:
        """The sum, written with fewer instructions; None if it cannot be."""
        try:
            terms, expanded = self._expanded(self.whole)
            exact = [x for x in terms if x.is_exact]
            rounded = self._merged([x for x in terms if not x.is_exact])
        except _TooLargeError:
            return None
        if not rounded or len(exact) > 2:
            return None
        apart = [self._product(x.number, x.factors) for x in exact]
        sign, result = _total([*apart, self._factored(rounded)])
        if sign < 0:
            result = _Expression(negative, (result,))
        shape, cost = self._cost_of(result)
        # the sum itself is not one of its parts
        if shape != self.whole.shape or cost >= len(expanded) + 1:
            return None
        return self._written(result)

    # --- expanding ----------------------------------------------------------------------

    def _terms(self, x: Any) -> _Expansion:
        """The terms of an operand."""
        number = finite(self.builder, x)
        if number is not None:
            return _alone(_Term(number, (), True))
        if self.builder.dtype(x) != self.whole.dtype:
            raise _TooLargeError
        if _is_part(self.builder, self.users, self.whole, x):
            made = self.builder.of(x)
            if all(map(self._is_simple, made.operands)) and self._is_multiple(made):
                terms, expanded = self._expanded(made)
                return terms, expanded | {x}
        return _alone(_Term(1.0, (x,), True))

    def _is_simple(self, x: Any) -> bool:
        return self.builder.dtype(x) == self.whole.dtype or finite(self.builder, x) is not None

    def _is_multiple(self, made: Instruction) -> bool:
        return made.op is not divide or bool(finite(self.builder, made.operands[1]))

    def _expanded(self, made: Instruction) -> _Expansion:
        self.n_expanded += 1
        if self.n_expanded > _MOST_EXPANDED:
            raise _TooLargeError
        if made.op is negative:
            terms, expanded = self._terms(made.operands[0])
            return [x._replace(number=-x.number) for x in terms], expanded
        if made.op in _SUMS:
            (left, expanded), (right, further) = map(self._terms, made.operands)
            sign = -1.0 if made.op is subtract else 1.0
            terms = [*left, *[x._replace(number=sign * x.number) for x in right]]
            if len(terms) > _MOST_TERMS:
                raise _TooLargeError
            return terms, expanded | further
        if made.op is divide:
            number = finite(self.builder, made.operands[1])
            assert number is not None
            return self._multiplied(
                self._factor(made.operands[0]), _alone(_Term(1 / number, (), True))
            )
        operands = made.operands * 2 if made.op is square else made.operands
        left_terms, right_terms = map(self._factor, operands)
        if len(left_terms[0]) > 1 and len(right_terms[0]) > 1:
            left_terms, right_terms = [_alone(_Term(1.0, (x,), True)) for x in operands]
        return self._multiplied(left_terms, right_terms)

    def _factor(self, x: Any) -> _Expansion:
        """The terms of a factor: more than one only where the sum was rounded."""
        terms, expanded = self._terms(x)
        if len(terms) == 1:
            return terms, expanded
        self.has_sums = True
        is_rounded = sum(term.is_exact for term in terms) < 2
        if self.multiplies_out and is_rounded:
            return terms, expanded
        return _alone(_Term(1.0, (x,), True))

    def _multiplied(self, left: _Expansion, right: _Expansion) -> _Expansion:
        """The terms of a product."""
        terms = []
        for a in left[0]:
            for b in right[0]:
                number, factors = a.number * b.number, tuple(sorted(a.factors + b.factors))
                if len(factors) > _MOST_FACTORS or not self._is_in_range(number):
                    raise _TooLargeError
                is_whole = len(left[0]) == len(right[0]) == 1
                is_exact = is_whole and ((_keeps(a) and b.is_exact) or (_keeps(b) and a.is_exact))
                terms.append(_Term(number, factors, is_exact))
        return terms, left[1] | right[1]

    def _is_in_range(self, number: float) -> bool:
        return bool(self.limits.tiny <= abs(number) <= self.limits.max)

    def _merged(self, terms: Iterable[_Term]) -> list[_Term]:
        """The terms, with those of the same factors merged."""
        numbers: dict[tuple[Any, ...], float] = {}
        for x in terms:
            numbers[x.factors] = numbers.get(x.factors, 0.0) + x.number
        if not all(map(self._is_in_range, numbers.values())):
            raise _TooLargeError
        return [_Term(number, factors, False) for factors, number in numbers.items()]

    # --- putting together ---------------------------------------------------------------

    def _factored(self, terms: list[_Term]) -> _Signed:
        """The sum of terms, in Horner's scheme."""
        if len(terms) == 1:
            return self._product(terms[0].number, terms[0].factors)
        counts = Counter(x for term in terms for x in set(term.factors))
        common: Any = max(sorted(counts), key=lambda x: (counts[x], self._size(x)), default=None)
        if counts[common] > 1:
            within = [term for term in terms if common in term.factors]
            left = [_Term(x.number, _without(x.factors, common), False) for x in within]
        else:
            numbers = Counter(abs(term.number) for term in terms)
            common, n = numbers.most_common(1)[0]
            if n < 2 or common == 1:
                return _total([self._product(x.number, x.factors) for x in terms])
            within = [term for term in terms if abs(term.number) == common]
            left = [_Term(math.copysign(1, x.number), x.factors, False) for x in within]
        sign, inner = self._factored(left)
        product = sign, _Expression(multiply, (common, inner))
        rest = [term for term in terms if term not in within]
        return _total([self._factored(rest), product]) if rest else product

    def _product(self, number: float, factors: Sequence[Any]) -> _Signed:
        """A number times values, the smaller first."""
        sign, number = int(math.copysign(1, number)), abs(number)
        ordered: list[Any] = sorted(factors, key=self._size)
        if number != 1 or not ordered:
            ordered.insert(0, number)
        result, *rest = ordered
        for x in rest:
            result = _Expression(multiply, (result, x))
        return sign, result

    def _size(self, x: Any) -> int:
        return math.prod(self.builder.shape(x))

    def _cost_of(self, x: Any) -> tuple[tuple[int, ...], float]:
        """The shape of an expression, and its cost in instructions of the whole sum's shape."""
        if type(x) is not _Expression:
            return self.builder.shape(x), 0
        parts = [self._cost_of(y) for y in x.operands]
        shapes = {shape for shape, _ in parts}
        shape = shapes.pop() if len(shapes) == 1 else np.broadcast_shapes(*shapes)
        own = math.prod(shape) / math.prod(self.whole.shape)
        return shape, own + sum(cost for _, cost in parts)

    def _written(self, x: Any) -> Any:
        if type(x) is not _Expression:
            return x
        return self.builder.emit(x.op, *map(self._written, x.operands))


def _alone(term: _Term) -> _Expansion:
    return [term], frozenset()


def _keeps(x: _Term) -> bool:
    """Whether a product with a term is exact: it is a power of two."""
    return not x.factors and math.frexp(abs(x.number))[0] == 0.5


def _without(factors: tuple[Any, ...], x: Any) -> tuple[Any, ...]:
    i = factors.index(x)
    return factors[:i] + factors[i + 1 :]


def _total(parts: list[_Signed]) -> _Signed:
    """The sum of expressions with signs."""
    (sign, total), *rest = parts
    for other, x in rest:
        if other == sign:
            total = _Expression(add, (total, x))
        else:
            ordered = (total, x) if sign > 0 else (x, total)
            sign, total = 1, _Expression(subtract, ordered)
    return sign, total
