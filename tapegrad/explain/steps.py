"""The reverse sweep as a value: an iterable of steps."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from typing import Any

import attrs
import numpy as np

from tapegrad.arraylike.text import operand_text, record_name
from tapegrad.core.primitive import Parts
from tapegrad.core.sweep import add_contributions, sweep_scope
from tapegrad.core.tape import Tape
from tapegrad.core.tensor import Tensor, primal_of, primals
from tapegrad.errors.lines import warns_at_users_line
from tapegrad.errors.words import short
from tapegrad.explain.inside import HOLDERS, Run, displayed_value, make_run, primal_cotangent, runs
from tapegrad.explain.inside import step_inputs as steps_of
from tapegrad.explain.rules import formula, formula_names
from tapegrad.program.control.ops import LOOPS
from tapegrad.transforms.reverse import initial_cotangents
from tapegrad.tree.cotangents import conjugate_cotangent
from tapegrad.tree.ownership import readonly_array, readonly_view


@attrs.frozen(eq=False)
class Contribution:
    """The part of an operand's cotangent that comes from one record.

    Attributes
    ----------
    record, position, operand
        The record, and the operand with its position.
    cotangent
        The result of the rule, in the shape that the operand was broadcast to.
    summed
        The same, summed to the operand's shape and dtype.
    """

    record: Tensor
    position: int
    operand: Tensor
    cotangent: Any
    summed: Any

    @property
    def formula(self) -> str:
        """The rule's formula in terms of the cotangent ``g``, the value ``y`` and the operands."""
        text = formula(self.record.op, self.position)
        if self.cotangent.dtype.kind != "c":
            return text
        # rules are written for conjugates
        g = "conj(g)" if self.record.dtype.kind == "c" else "g"
        text = re.sub(r"(?<![\w.])g(?![\w(])", g, text)
        return f"conj({text})"

    @property
    def formula_values(self) -> dict[str, Any]:
        """The values of the formula's names, except the cotangent ``g``."""
        record = self.record
        names = formula_names(record.op, self.position)[1:]
        pairs = zip(names, [record, *record._operands], strict=False)
        return {name: readonly_view(primal_of(x)) for name, x in pairs if name}

    def __str__(self) -> str:
        passed, summed = [
            short(displayed_value(self.operand, x)) for x in (self.cotangent, self.summed)
        ]
        summing = "" if np.shape(self.cotangent) == np.shape(self.summed) else f" -> {summed}"
        return f"{record_title(self.operand)} gets {self.formula}: {passed}{summing}"


@attrs.frozen(eq=False)
class Step:
    """One step of a reverse sweep; its ``str`` describes it.

    Attributes
    ----------
    record
        The record that the sweep has reached.
    cotangent
        The record's complete cotangent.
    contributions
        The cotangents that the record passes on, one for each operand that receives a gradient. A
        parameter of the tape passes nothing on: its cotangent is its gradient.
    """

    record: Tensor
    cotangent: Any
    contributions: tuple[Contribution, ...]

    @property
    def inside(self) -> Inside:
        """The sweeps inside the record, if it is a loop, a branch or a checkpointed call.

        An iterable of runs, from the last to the first; empty for any other record. Each run has
        the number of its ``step``, a separate ``tape`` with the values of that step, and the
        ``steps`` of the sweep on that tape.
        """
        return Inside(self.record, _public_cotangent(self.cotangent))

    def __str__(self) -> str:
        head = (
            f"{record_title(self.record)} has {short(displayed_value(self.record, self.cotangent))}"
        )
        return "\n".join([head, *[f"    {c}" for c in self.contributions]])


@attrs.frozen(eq=False)
class Steps:
    """The steps of a reverse sweep; each iteration sweeps again."""

    tape: Tape
    seeds: Mapping[Tensor, Any]

    def __iter__(self) -> Iterator[Step]:
        tape, cotangents = self.tape, dict(self.seeds)
        summed: set[Tensor] = set()
        recorded, reached = sweep_scope(tape)
        wanted = frozenset(tape.parameters)
        for record in reversed(tape):
            g = cotangents.pop(record, None)
            if g is None:
                continue
            summed.discard(record)
            passed: list[Contribution] = []
            if record not in wanted:
                note = partial(_append_contribution, passed, record)
                _add_contributions(record, g, cotangents, summed, recorded, reached, note)
            yield Step(record, _public_cotangent(g), tuple(passed))


@attrs.frozen(eq=False)
class Inside:
    """The runs inside a record, from the last to the first, each swept with its cotangents.

    Each iteration computes them again; a loop of many steps takes the memory of its carries.
    """

    record: Tensor
    cotangent: Any

    def __bool__(self) -> bool:
        return self.record.op in HOLDERS

    def __iter__(self) -> Iterator[Run]:
        record, g = self.record, primal_cotangent(self.cotangent)
        loop = record._options.get("loop") if record.op in LOOPS else None
        if loop is None:
            for inner in runs(record):
                yield _sweep_run(inner, g.values if type(g) is Parts else [g])
            return
        operands = primals(record._operands)
        inputs, n_carry = list(steps_of(loop, operands)), loop.n_carry
        carried, rows = list(g.values[:n_carry]), g.values[n_carry:]
        for t in reversed(range(len(inputs))):
            row = len(inputs) - 1 - t if loop.reverse else t
            inner = make_run(record, t, inputs[t])
            swept = _sweep_run(
                inner, [*carried, *[None if c is None else c[row, ...] for c in rows]]
            )
            known = {step.record: conjugate_cotangent(step.cotangent) for step in swept.steps}
            carried = [known.get(x) for x in inner.carry]
            yield swept


def _sweep_run(inner: Run, cotangents: Sequence[Any]) -> Run:
    """Sweep a run, from these cotangents of its outputs."""
    seeds: dict[Tensor, Any] = {}
    for x, c in zip(inner.outputs, cotangents, strict=True):
        if type(x) is Tensor and c is not None:
            c = primal_of(c)
            seeds[x] = seeds[x] + c if x in seeds else c
    with np.errstate(all="ignore"):
        return attrs.evolve(inner, steps=tuple(Steps(inner.tape, seeds)))


def sweep_steps(tape: Tape, output: Tensor, cotangent: Any = None) -> Steps:
    """The reverse sweep step by step, from the output back to the parameters.

    Each step is a value: the record, its complete cotangent, and its contributions to its
    operands. Records that the output does not depend on have no step. A step is computed when the
    iteration reaches it.

    Parameters
    ----------
    tape, output, cotangent
        As for `reverse_sweep`.

    Returns
    -------
    An iterable of steps: each has a ``record``, a ``cotangent`` and ``contributions``; a
    contribution has an ``operand``, the ``cotangent`` as the rule returned it, the same ``summed``
    over the axes that the operand was broadcast along, and the ``formula`` of the rule. For a loop,
    a branch and a checkpointed call, ``inside`` has the runs of its body, each with a separate
    tape and the steps of its sweep. The cotangents of `Tape.parameters` are the result of
    `reverse_sweep`.

    Raises
    ------
    TypeError, ValueError, TapeError
        As for `reverse_sweep`.

    Examples
    --------
    >>> import tapegrad as tg
    >>> output, tape = tg.record(lambda w, x: w * x)(2.0, np.array([1.0, 3.0]))
    >>> for step in tg.sweep_steps(tape, output, cotangent=np.ones(2)):
    ...     print(step)
    %2 multiply has [1. 1.]
        %0 w gets g * x2: [1. 3.] -> 4.0
        %1 x gets g * x1: [2. 2.]
    %1 x has [2. 2.]
    %0 w has 4.0

    Inside a loop, from its last step to the first:

    >>> output, tape = tg.record(lambda w: tg.fori_loop(0, 3, lambda i, c: c * w, 1.0))(2.0)
    >>> for step in tg.sweep_steps(tape, output):
    ...     for run in step.inside:
    ...         print("step", run.step)
    ...         print(run.steps[0])
    step 2
    %3 multiply has 1.0
        %1 c gets g * x2: 2.0
        %0 w gets g * x1: 4.0
    step 1
    %3 multiply has 2.0
        %1 c gets g * x2: 4.0
        %0 w gets g * x1: 4.0
    step 0
    %3 multiply has 4.0
        %1 c gets g * x2: 8.0
        %0 w gets g * x1: 4.0
    """
    return Steps(tape, initial_cotangents(tape, output, cotangent))


_add_contributions = warns_at_users_line(add_contributions)


def _append_contribution(
    passed: list[Contribution], record: Tensor, i: int, x: Tensor, c: Any, part: Any
) -> None:
    passed.append(Contribution(record, i, x, _public_cotangent(c), _public_cotangent(part)))


def record_title(record: Tensor) -> str:
    """Return a title of a record: its index, with its name or its op's."""
    return f"{operand_text(record)} {record_name(record)}"


def _public_cotangent(c: Any) -> Any:
    """Return a cotangent as users see it."""
    if type(c) is Parts:
        return Parts(tuple([None if x is None else _public_cotangent(x) for x in c.values]))
    c = conjugate_cotangent(c)
    return c if type(c) is Tensor else readonly_array(c)
