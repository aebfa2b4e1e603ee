"""Algebra on single instructions: each rule is a line with a pattern and its replacement.

A pattern is written in NumPy's notation, with the names of ops. A name stands for an operand, the
same wherever it occurs, and ``name := pattern`` names a part; a number stands for itself and for an
array that is filled with it. Products and sums match with their operands in either order. Options
are not compared.

A replacement must have the shape and the dtype of the result: if it is an operand, the rule applies
only where the operand has these. Conditions are words, after ``if``; see `_WORDS`.
"""

from __future__ import annotations

import ast
import math
import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import lru_cache
from typing import Any

import attrs
import numpy as np

from tapegrad.core.primitive import Primitive
from tapegrad.declare import OPS
from tapegrad.ops.arithmetic import add, divide, multiply, negative, positive, power, subtract
from tapegrad.ops.product import matmul
from tapegrad.ops.shape import reshape
from tapegrad.program.builder import Builder, Form
from tapegrad.program.ir import Instruction, Operand, Ref
from tapegrad.program.program import Improvement, rule

_OPERATORS: Mapping[type, Primitive] = {
    ast.Add: add,
    ast.Sub: subtract,
    ast.Mult: multiply,
    ast.Div: divide,
    ast.Pow: power,
    ast.MatMult: matmul,
    ast.USub: negative,
    ast.UAdd: positive,
}
Bound = dict[str, Operand]


def operand_orders(op: Any, operands: Sequence[Any]) -> tuple[Sequence[Any], ...]:
    """Return the operands of an op in each order that gives the same result."""
    return (operands, operands[::-1]) if op in (add, multiply) else (operands,)


@attrs.frozen
class Pattern:
    """A part of a pattern: an op with its parts, a number, or any operand; it may have a name."""

    op: Primitive | None = None
    parts: tuple[Pattern, ...] = ()
    number: float | None = None
    name: str = ""

    def names(self) -> set[str]:
        """Return the names in the pattern."""
        return {self.name}.union(*[part.names() for part in self.parts]) - {""}

    def may_be(self, op: Any) -> bool:
        """Whether the result of an op may match this part."""
        if self.number is not None:
            return bool(op == "constant" or op == self.number)
        return self.op is None or self.op is op

    def matches(self, builder: Builder, x: Any, bound: Bound) -> bool:
        """Whether an operand matches this part; names are added to `bound`."""
        if self.number is not None:
            return _is_number(splat(builder, x), self.number)
        if self.name in bound:
            return bool(bound[self.name] == x)
        if self.op is not None:
            instruction = builder.producer(x, self.op)
            if instruction is None or not self.fits(builder, instruction, bound):
                return False
        if self.name:
            bound[self.name] = x
        return True

    def fits(self, builder: Builder, instruction: Instruction, bound: Bound) -> bool:
        """Whether the operands of an instruction match the parts."""
        for operands in operand_orders(self.op, instruction.operands):
            tried = dict(bound)
            pairs = zip(self.parts, operands, strict=False)
            if all(part.matches(builder, x, tried) for part, x in pairs):
                bound.update(tried)
                return True
        return False

    def emit_part(self, builder: Builder, bound: Bound, whole: Instruction) -> Operand:
        """Append the instructions of this part, and return the operand that replaces it."""
        if self.number is not None:
            return self.number
        if self.op is None:
            return bound[self.name]
        parts = [part.emit_part(builder, bound, whole) for part in self.parts]
        if self.op is reshape:
            return builder.reshape(parts[0], whole.shape)
        return builder.emit(self.op, *parts)


@attrs.frozen
class AlgebraRule:
    """A rule of algebra.

    Attributes
    ----------
    text
        The line.
    pattern, replacement
        Two parts that are equal.
    conditions
        Words for conditions, each with the names that it applies to.
    """

    text: str
    pattern: Pattern
    replacement: Pattern
    conditions: tuple[tuple[str, ...], ...]

    def __call__(self, builder: Builder, instruction: Instruction) -> Any:
        """Return the replacement of an instruction, or None."""
        bound: Bound = {}
        if not self.pattern.fits(builder, instruction, bound):
            return None
        for word, *names in self.conditions:
            if not _WORDS[word](builder, instruction, *[bound[name] for name in names]):
                return None
        result = self.replacement.emit_part(builder, bound, instruction)
        if self.replacement.op is not None or self.replacement.number is not None:
            return result
        if type(result) is not Ref:
            return None
        x, whole = [
            (y.shape, y.dtype, bool(y.number)) for y in (builder.definition(result), instruction)
        ]
        return result if x == whole else None


def parse_rules(text: str) -> tuple[AlgebraRule, ...]:
    """Parse a table of rules, a line each.

    Examples
    --------
    >>> (rule,) = parse_rules("x * 1 -> x, if real")
    >>> rule.conditions, rule.pattern.op
    ((('real',),), <op multiply>)
    """
    joined = re.sub(r"([>,*])\s*\n\s*", r"\1 ", text)
    return tuple([_parse_rule(line) for line in map(str.strip, joined.splitlines()) if line])


def index_rules(rules: Iterable[AlgebraRule]) -> Callable[[Form], tuple[AlgebraRule, ...]]:
    """Make a function that returns the rules that may fit a form, in order."""
    by_op = defaultdict[Any, list[AlgebraRule]](list)
    for x in rules:
        by_op[x.pattern.op].append(x)

    @lru_cache(1 << 10)
    def find_rules(form: Form) -> tuple[AlgebraRule, ...]:
        known, ways = by_op[form[0]], operand_orders(form[0], form[1:])
        return tuple(
            [x for x in known for y in ways if all(map(Pattern.may_be, x.pattern.parts, y))]
        )

    return find_rules


def algebra(text: str, name: str = "algebra", complex: bool = False) -> Improvement:
    """Make a pass of rules, a line each; `complex` as in `rule`.

    Raises
    ------
    ValueError
        If a line is no rule.

    Examples
    --------
    >>> import numpy as np
    >>> import tapegrad as tg
    >>> flip = algebra("x - (y - x) -> x + (x - y)")
    >>> print(tg.compile(lambda x: x - (2.0 - x), passes=(flip,), check=True)(np.ones(2)))
    [0. 0.]
    """
    find_rules = index_rules(parse_rules(text))

    def visit(builder: Builder, instruction: Instruction) -> Any:
        return apply_rules(find_rules, builder, instruction)

    visit.__name__ = visit.__qualname__ = name
    return rule(complex=complex, where=find_rules)(visit)


def apply_rules(
    find_rules: Callable[[Form], Sequence[AlgebraRule]], builder: Builder, instruction: Instruction
) -> Any:
    """Return the replacement by the first rule of a table that fits, or None."""
    for line in find_rules((instruction.op, *map(builder.op_of, instruction.operands))):
        result = line(builder, instruction)
        if result is not None:
            return result
    return None


def _parse_rule(text: str) -> AlgebraRule:
    equation, _, conditions = text.partition(", if ")
    sides = equation.split("->")
    if len(sides) != 2:
        raise ValueError(f"{text}: a rule is a pattern, ->, and its replacement")
    try:
        pattern, replacement = [
            _parse_pattern(ast.parse(x.strip(), mode="eval").body) for x in sides
        ]
    except (SyntaxError, ValueError) as error:
        raise ValueError(f"{text}: {error.args[0]}") from None
    if pattern.op is None:
        raise ValueError(f"{text}: the pattern has no op")
    words = [tuple(x.split()) for x in conditions.split(", ") if x]
    for word, *_ in words:
        if word not in _WORDS:
            raise ValueError(f"{text}: {word} is no condition; there are {', '.join(_WORDS)}")
    read = replacement.names().union(*[names for _, *names in words])
    if unbound := read - pattern.names():
        raise ValueError(f"{text}: the pattern does not bind {', '.join(sorted(unbound))}")
    return AlgebraRule(text, pattern, replacement, tuple(words))


def _parse_pattern(node: ast.expr) -> Pattern:
    """Parse an expression as a part of a pattern."""
    if isinstance(node, ast.Name):
        return Pattern(name=node.id)
    if isinstance(node, ast.NamedExpr):
        return attrs.evolve(_parse_pattern(node.value), name=node.target.id)
    if isinstance(getattr(node, "operand", node), ast.Constant):
        return Pattern(number=ast.literal_eval(node))
    op: Primitive | None
    parts = [x for x in ast.iter_child_nodes(node) if isinstance(x, ast.expr)]
    if isinstance(node, ast.Call):
        if node.keywords:
            raise ValueError(f"{ast.unparse(node)}: a rule has no options")
        op = OPS.get(ast.unparse(parts.pop(0)))
    else:
        op = _OPERATORS.get(type(getattr(node, "op", None)))
    if op is None:
        raise ValueError(f"{ast.unparse(node)} is the value of no op")
    return Pattern(op, tuple(map(_parse_pattern, parts)))


# --- operands ---------------------------------------------------------------------------------


def splat(builder: Builder, x: Any) -> Any:
    """Return the real number that fills an operand, or None."""
    if type(x) is not Ref:
        return None if type(x) is complex else x
    return builder.constants[x[1]].splat if x[0] == "constant" else None


def _is_number(x: Any, number: float) -> bool:
    """Whether an operand equals a number; zeros must have the same sign."""
    return bool(x == number) and (number != 0 or math.copysign(1, x) == math.copysign(1, number))


def split_operands(builder: Builder, instruction: Instruction, op: Primitive) -> tuple[Any, Any]:
    """Find an operand that an op makes; return the other operand, and the op's instruction."""
    for x, y in operand_orders(instruction.op, instruction.operands):
        if (source := builder.producer(y, op)) is not None:
            return x, source
    return None, None


# --- conditions -------------------------------------------------------------------------------


def _real(builder: Builder, whole: Instruction) -> bool:
    """1 times a complex number is nan where one part is infinite."""
    return whole.dtype.kind != "c"


def _precise(builder: Builder, whole: Instruction) -> bool:
    """The result is of single or double precision."""
    return whole.dtype.char in "fd"


def _typed(builder: Builder, whole: Instruction, x: Any) -> bool:
    """The operand has the dtype of the result."""
    return bool(builder.dtype(x) == whole.dtype)


def _array(builder: Builder, whole: Instruction, x: Any) -> bool:
    """The operand has axes."""
    return builder.shape(x) != ()


def _mask(builder: Builder, whole: Instruction, x: Any) -> bool:
    """The operand is a truth value for each element of the result."""
    return builder.shape(x) == whole.shape and builder.dtype(x) == np.dtype(bool)


def _python(builder: Builder, whole: Instruction) -> bool:
    """The last operand is a Python number."""
    return type(whole.operands[-1]) in (int, float)


def _last(builder: Builder, whole: Instruction, x: Any) -> bool:
    """The reduction of the operand is over its last axis."""
    # without an axis, the reduction of a single axis is over the last one
    return bool(whole.options.get("axis", 0) == len(builder.shape(x)) - 1)


def _alike(builder: Builder, whole: Instruction, *reduced: Any) -> bool:
    """The reductions are over the same axes."""
    axes = [builder.instructions[x.index].options.get("axis") for x in reduced]
    return axes.count(axes[0]) == len(axes)


_WORDS: Mapping[str, Callable[..., bool]] = {
    fn.__name__[1:]: fn for fn in (_real, _precise, _typed, _array, _mask, _python, _last, _alike)
}


def words() -> str:
    """Return the conditions that a rule may have, a line each."""
    return "\n".join(f"{word}: {fn.__doc__}" for word, fn in _WORDS.items())
