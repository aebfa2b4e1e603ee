"""Loop: a body that is repeated, one record for all of its steps.

The operands of its record are the captured values, then the initial carry, then the arrays that it
goes through, one row a step. Its results are the last carry, then what each step returned,
stacked, then what is kept for derivatives: the carry of each step, and the values that the rules
of its ops read. Both derivatives are loops themselves (`tapegrad.program.control.derive`), so
there are derivatives of any order.

To batch a loop or to write it for another library, transform ``loop.body``, a program of
one step, and the operands alike.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import count as numbers
from typing import Any, ClassVar

import attrs
import numpy as np

from tapegrad.core.tensor import Parts
from tapegrad.face.ownership import Array
from tapegrad.face.table import lazy_import
from tapegrad.program.control.interpreting import caller
from tapegrad.program.ir import Code

# from this number of lines run, writing source takes less time than interpreting
_LONG = 1 << 13


@attrs.frozen(repr=False)
class Loop:
    """What is repeated, and how often.

    Attributes
    ----------
    body
        A step, as a program: from the captured values, the carry and a row of each array to the
        next carry, the results of the step and what is kept.
    n_carry, n_xs, n_ys
        The numbers of leaves of the carry, of the arrays gone through, and of a step's results.
    length
        The number of steps; None if it is the number of rows of the arrays, or if `stop`
        decides.
    reverse
        Whether it goes from the last row to the first.
    stop
        For a loop that a value ends: the program that says whether it goes on, from the captured
        values and the carry.
    remember
        Whether derivatives may read the values that a step computed, and not only its carry.
    moving
        The operands that a gradient passes to, by position.
    """

    body: Code
    n_carry: int
    n_xs: int
    n_ys: int
    length: int | None
    reverse: bool = False
    stop: Code | None = None
    remember: bool = True
    moving: frozenset[int] = frozenset()

    __tree_leaf__: ClassVar[bool] = True

    def __repr__(self) -> str:
        return self.body.label

    @property
    def n_captured(self) -> int:
        """The number of operands before the carry."""
        return len(self.body.inputs) - self.n_carry - self.n_xs

    @property
    def n_kept(self) -> int:
        """The number of values kept for derivatives."""
        return len(self.body.outputs) - self.n_carry - self.n_ys

    @property
    def first_kept(self) -> int:
        """The position among the results of the first that is kept: a carry."""
        return self.n_carry + self.n_ys

    def steps(self, xs: Sequence[Any]) -> int | None:
        """The number of steps; None if it is known only at the end."""
        if self.stop is not None:
            return None
        return len(xs[0]) if self.length is None else self.length

    def like(self, operands: Sequence[Any]) -> Parts:
        """Arrays like its results."""
        rows = self.steps(operands[self.n_captured + self.n_carry :]) or 0
        made = []
        for i, x in enumerate(self.body.outputs):
            like = self.body.like(x)
            made.append(
                np.zeros(like.shape if i < self.n_carry else (rows, *like.shape), like.dtype)
            )
        return _closed(made)

    def run(self, operands: Sequence[Any]) -> Parts:
        """Its results."""
        steps = self.steps(operands[self.n_captured + self.n_carry :])
        if steps is not None and steps * len(self.body.instructions) >= _LONG:
            run: Any = lazy_import("tapegrad.program.control.running", "run_written")
            results: Parts = run(self, operands)
            return results
        step = caller(self.body)
        goes_on = None if self.stop is None else caller(self.stop)
        n, n_carry = self.n_captured, self.n_carry
        captured, carry = list(operands[:n]), list(operands[n : n + n_carry])
        xs = operands[n + n_carry :]
        kinds = [self.body.like(x) for x in self.body.outputs[n_carry:]]
        stacks: list[Any] = [
            [] if steps is None else np.empty((steps, *x.shape), x.dtype) for x in kinds
        ]
        for t in numbers() if steps is None else range(steps):
            if goes_on is not None and not goes_on([*captured, *carry])[0]:
                break
            t = steps - 1 - t if self.reverse and steps is not None else t
            given = step([*captured, *carry, *[x[t, ...] for x in xs]])
            carry = given[:n_carry]
            for stack, x in zip(stacks, given[n_carry:], strict=True):
                if steps is None:
                    stack.append(x)
                else:
                    stack[t] = x
        if steps is None:
            stacks = [_stacked(x, like) for x, like in zip(stacks, kinds, strict=True)]
        return _closed([*carry, *stacks])


@attrs.frozen(repr=False)
class Branch:
    """Two programs, one of which runs.

    Attributes
    ----------
    on_true, on_false
        Programs with the same inputs (the operands after the first) and like outputs.
    """

    on_true: Code
    on_false: Code

    __tree_leaf__: ClassVar[bool] = True

    def __repr__(self) -> str:
        return f"{self.on_true.label} or {self.on_false.label}"


def _stacked(rows: list[Any], like: Any) -> Array:
    stack: Array = np.empty((len(rows), *like.shape), like.dtype)
    for t, x in enumerate(rows):
        stack[t] = x
    return stack


def _closed(arrays: Sequence[Array]) -> Parts:
    for x in arrays:
        x.setflags(write=False)
    return Parts(tuple(arrays))
