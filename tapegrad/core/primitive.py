"""Primitive, a function of arrays with rules for its derivatives. A record holds one.

Start with `Primitive`. `EachOperand` and `Joint` hold the VJP rules of primitives that take any
number of operands, and `Parts` is the value of a record that has several.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import Any, ClassVar

import attrs
import numpy as np

from tapegrad.errors.functions import Named
from tapegrad.errors.words import short
from tapegrad.types import Cotangent

Rule = Callable[..., Any]


@attrs.frozen(eq=False, repr=False)
class Primitive(Named):
    """A function of arrays, with rules for cotangents, tangents and batches, and some facts.

    A record holds the primitive that computed its value. The public function that writes the record
    is an `Op`, which is a primitive with a signature.

    Attributes
    ----------
    name
        The name on tapes and in messages.
    forward
        The function on arrays: operands, then options.
    vjps
        A VJP rule for each operand, or None where no gradient passes: a function of the cotangent,
        the output, the operands and the options that returns the operand's cotangent. Rules are
        written in NumPy, so they are recorded when a derivative is itself differentiated. The
        sweep undoes broadcasting. A primitive that takes any number of operands has an
        `EachOperand` or a `Joint`.
    jvp
        The JVP rule: a function of the primitive, a dict of tangents by operand position, the
        output, the operands and the options that returns the output's tangent.
    keeps_weak
        Whether a call on Python numbers alone gives a Python number, as with the arithmetic
        operators.
    takes_weak
        Whether a float32 array stays float32 beside a Python number (NEP 50). Other primitives
        receive an array in its place.
    like
        A function to call instead of `forward` while compiling, where only shapes and dtypes
        matter; None to call `forward`.
    whole
        A function to call instead of `forward` on Python ints alone while compiling, which keeps
        them Python ints; None to call `forward`.
    batch
        The batching rule, for a leading axis of examples; None if each example takes a call.
    complex
        Whether complex operands are accepted; or the primitive to write instead where an operand
        is complex. Any other primitive raises an error before it computes anything.
    add_into
        For a primitive with one VJP rule, for its first operand: a function of an array, the
        cotangent, the operands and the options. It adds the operand's cotangent to the array in
        place, without making the cotangent.
    numbered_vjps
        The VJP rules that are not None, each after its operand's position; None if they depend on
        the number of operands.
    """

    name: str
    forward: Callable[..., Any]
    vjps: tuple[Rule | None, ...] | EachOperand | Joint
    jvp: Rule
    keeps_weak: bool = False
    takes_weak: bool = False
    like: Callable[..., Any] | None = attrs.field(default=None, kw_only=True)
    whole: Callable[..., Any] | None = attrs.field(default=None, kw_only=True)
    batch: Rule | None = attrs.field(default=None, kw_only=True)
    complex: bool | Primitive = attrs.field(default=False, kw_only=True)
    add_into: Rule | None = attrs.field(default=None, kw_only=True)
    numbered_vjps: tuple[tuple[int, Rule], ...] | None = attrs.field(init=False)

    @numbered_vjps.default
    def _(self) -> tuple[tuple[int, Rule], ...] | None:
        last = getattr(self.vjps, "last", None)
        if isinstance(self.vjps, tuple) or last is not None:
            return number_vjps(self.vjps_for(0 if last is None else last + 1))
        return None

    def __attrs_post_init__(self) -> None:
        self.__dict__["__module__"] = self.forward.__module__

    def __reduce__(self) -> str:
        # pickled by the name of a constant in its module
        return self.name.upper()

    def vjps_for(self, n: int) -> Sequence[Rule | None]:
        """Return the VJP rules of a call with n operands."""
        return self.vjps if isinstance(self.vjps, tuple) else self.vjps.vjps_for(n)


def number_vjps(rules: Iterable[Rule | None]) -> tuple[tuple[int, Rule], ...]:
    """Return the rules that are not None, each after its operand's position."""
    return tuple([(i, rule) for i, rule in enumerate(rules) if rule is not None])


@attrs.frozen
class EachOperand:
    """The VJP rules of a primitive that takes any number of operands.

    Attributes
    ----------
    rule
        A VJP rule that takes the operand's position as its first argument.
    last
        The position of the last operand that has a rule; None if all have.
    """

    rule: Rule
    last: int | None = None

    def vjps_for(self, n: int) -> list[Rule | None]:
        """Return the VJP rules of a call with n operands."""
        last = n if self.last is None else self.last
        return [partial(self.rule, i) if i <= last else None for i in range(n)]


@attrs.frozen
class Joint:
    """One VJP rule for all operands, whose cotangents are computed together.

    Attributes
    ----------
    rule
        A VJP rule that returns a sequence with the cotangent of each operand, or None.
    n
        The number of operands of every call; 0 if it varies.
    """

    rule: Rule
    n: int = 0

    def vjps_for(self, n: int) -> list[Rule | None]:
        """Return VJP rules for n operands: the first one called runs the joint rule for all."""
        cotangents: list[Cotangent | None] = []

        def cotangent(i: int, *args: Any, **options: Any) -> Cotangent | None:
            if not cotangents:
                cotangents.extend(self.rule(*args, **options))
            return cotangents[i]

        return [partial(cotangent, i) for i in range(n)]


@attrs.frozen(eq=False, repr=False)
class Parts:
    """The value of a record that has several, such as a loop: all results of the loop together.

    Further records each take one of the values out. The cotangent and the tangent of such a record
    are `Parts` too, with None for zeros, so unused values cost nothing. The sweeps take `Parts` for
    one floating number.

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
        """Return `Parts` of n values with `value` at position i, and None at the others."""
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
