"""Which operands of an op a gradient passes to."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any


def numbered(rules: Iterable[Any]) -> tuple[tuple[int, Any], ...]:
    """The rules that are not None, each after its operand's position."""
    return tuple([(i, rule) for i, rule in enumerate(rules) if rule is not None])


def passing_of(op: Any) -> tuple[tuple[int, Any], ...]:
    """`numbered` of an op's rules; empty if they depend on the number of operands."""
    return numbered(op.vjps) if type(op.vjps) is tuple else ()
