"""Rules, the part of an op that a record needs: how values, cotangents and tangents pass."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial
from typing import Any, ClassVar

import attrs
import numpy as np

from tapegrad.errors.functions import Named
from tapegrad.errors.words import short

Rule = Callable[..., Any]


@attrs.frozen(eq=False, repr=False)
class Rules(Named):
    """The part of an op that a record needs: its name, forward function and rules.

    Attributes
    ----------
    name
        Its name on tapes and in messages.
    forward
        The function on arrays: operands, then options.
    vjps
        A rule for each operand, or None where no gradient passes: a function of the cotangent, the
        output, the operands and the options that returns the operand's cotangent. Rules are
        written in NumPy, so they are recorded when a derivative is itself differentiated. The
        sweep undoes broadcasting. An op that takes any number of operands has an `EachOperand` or
        a `Joint`.
    jvp
        How tangents pass: a function of the op, a dict of tangents by operand position, the
        output, the operands and the options.
    keeps_weak
        Whether a call on Python numbers alone gives a Python number, as with the arithmetic
        operators.
    takes_weak
        Whether a float32 array stays float32 beside a Python number (NEP 50). Other ops
        receive an array in its place.
    like
        A function to call instead of `forward` while compiling, where only shapes and dtypes
        matter; None to call `forward`.
    whole
        A function to call instead of `forward` on Python ints alone while compiling, which keeps
        them Python ints; None to call `forward`.
    batch
        The rule for a leading axis of examples; None if each example takes a call.
    complex
        Whether it takes complex operands; or the op that is written in its place where an operand
        is complex. Any other op refuses them by name, before it computes anything.
    add_into
        Of an op with one rule, for its first operand: adds what this would give to an array, in
        place and without making it. A function of the array, the cotangent, the operands and the
        options.
    passing
        The rules there are, each after its operand's position; None if that depends on how many
        operands there are.
    """

    name: str
    forward: Callable[..., Any]
    vjps: Any
    jvp: Rule
    keeps_weak: bool = False
    takes_weak: bool = False
    like: Callable[..., Any] | None = attrs.field(default=None, kw_only=True)
    whole: Callable[..., Any] | None = attrs.field(default=None, kw_only=True)
    batch: Rule | None = attrs.field(default=None, kw_only=True)
    complex: Any = attrs.field(default=False, kw_only=True)
    add_into: Rule | None = attrs.field(default=None, kw_only=True)
    passing: Any = attrs.field(
        init=False, default=attrs.Factory(lambda op: differentiable_operands(op), takes_self=True)
    )

    def __attrs_post_init__(self) -> None:
        self.__dict__["__module__"] = self.forward.__module__

    def __reduce__(self) -> str:
        # pickled by the name of a constant in its module
        return self.name.upper()

    def rules(self, n: int) -> Any:
        """The VJP rules of n operands."""
        return self.vjps if type(self.vjps) is tuple else self.vjps.rules(n)


def differentiable(rules: Iterable[Any]) -> tuple[tuple[int, Any], ...]:
    """The rules that are not None, each after its operand's position."""
    return tuple([(i, rule) for i, rule in enumerate(rules) if rule is not None])


def differentiable_operands(op: Any) -> tuple[tuple[int, Any], ...] | None:
    """`differentiable` of an op's rules; None if they depend on the number of operands."""
    if type(op.vjps) is tuple:
        return differentiable(op.vjps)
    last = getattr(op.vjps, "last", None)
    return None if last is None else differentiable(op.rules(last + 1))


@attrs.frozen
class EachOperand:
    """The rules of an op that takes any number of operands.

    Attributes
    ----------
    rule
        A VJP rule that takes the operand's position as its first argument.
    last
        The position of the last operand that has a rule; None if all have.
    """

    rule: Rule
    last: int | None = None

    def rules(self, n: int) -> list[Rule | None]:
        """The rules of n operands."""
        last = n if self.last is None else self.last
        return [partial(self.rule, i) if i <= last else None for i in range(n)]

    def passing(self, n: int) -> Iterable[tuple[int, Rule | None]]:
        """The rules of n operands that are not None, each after its operand's position."""
        return differentiable(self.rules(n))


@attrs.frozen
class Joint:
    """One rule for all operands, whose cotangents are computed together.

    Attributes
    ----------
    rule
        A VJP rule that returns a sequence with the cotangent of each operand, or None.
    n
        The number of operands of every call, if that is one.
    """

    rule: Rule
    n: int = 0

    def rules(self, n: int) -> list[Rule | None]:
        """The rules of n operands: the first one called runs the joint rule for all."""
        cotangents: list[Any] = []

        def one(i: int, *args: Any, **options: Any) -> Any:
            if not cotangents:
                cotangents.extend(self.rule(*args, **options))
            return cotangents[i]

        return [partial(one, i) for i in range(n)]

    def passing(self, n: int) -> Iterable[tuple[int, Rule | None]]:
        """The positions of n operands, each with None for the one rule of all."""
        return [(i, None) for i in range(n)]


@attrs.frozen(eq=False, repr=False)
class Parts:
    """The values of a record that has several, and their cotangents or tangents.

    A record holds one value; that of a loop holds all values that the loop returns, and further
    records each take one of them out. The cotangents and tangents of such a record are `Parts`
    too, with None for zeros, so unused values cost nothing. To the sweeps it all looks like one
    floating number.

    Attributes
    ----------
    values
        Arrays or Tensors, of any shapes and dtypes.
    """

    values: tuple[Any, ...]

    __tree_leaf__: ClassVar[bool] = True
    shape: ClassVar[tuple[int, ...]] = ()
    ndim: ClassVar[int] = 0
    dtype: ClassVar[np.dtype[Any]] = np.dtype(float)

    @classmethod
    def only(cls, n: int, i: int, value: Any) -> Parts:
        """The part at i of n; the others are zero."""
        return cls(tuple([value if j == i else None for j in range(n)]))

    def __getitem__(self, i: int) -> Any:
        return self.values[i]

    def __add__(self, other: Parts) -> Parts:
        pairs = zip(self.values, other.values, strict=True)
        return Parts(tuple([b if a is None else a if b is None else a + b for a, b in pairs]))

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> Any:
        return np.zeros((), dtype or float)

    def __repr__(self) -> str:
        return f"({', '.join(['0' if x is None else short(x) for x in self.values])})"
