"""Tools to prove a gradient right: check_grads, and strategies for Hypothesis.

The strategies need Hypothesis, which is imported when one of them is first used.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tapegrad.testing.gradients import check_grads as check_grads

if TYPE_CHECKING:
    from tapegrad.testing.strategies import arrays as arrays
    from tapegrad.testing.strategies import operands_for as operands_for

_STRATEGIES = ("arrays", "operands_for")


def __getattr__(name: str) -> Any:
    if name not in _STRATEGIES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from tapegrad.testing import strategies

    return getattr(strategies, name)


def __dir__() -> list[str]:
    return ["check_grads", *_STRATEGIES]
