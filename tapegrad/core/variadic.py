"""VJP rules for any number of operands, and one rule for all operands together."""

from __future__ import annotations

from functools import partial
from typing import Any

import attrs

from tapegrad.core.tensor import Rule


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


@attrs.frozen
class Joint:
    """One rule for all operands, whose cotangents are computed together.

    Attributes
    ----------
    rule
        A VJP rule that returns a sequence with the cotangent of each operand, or None.
    """

    rule: Rule

    def rules(self, n: int) -> list[Rule | None]:
        """The rules of n operands: the first one called runs the joint rule for all."""
        cotangents: list[Any] = []

        def one(i: int, *args: Any, **options: Any) -> Any:
            if not cotangents:
                cotangents.extend(self.rule(*args, **options))
            return cotangents[i]

        return [partial(one, i) for i in range(n)]
