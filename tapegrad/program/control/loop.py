"""Loop: the body of a loop as a program, and how it is called."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import count as numbers
from typing import Any, ClassVar

import attrs
import numpy as np

from tapegrad import tree
from tapegrad.core.primitive import Parts
from tapegrad.declare.abstract import exactly, stand_in
from tapegrad.errors.words import Named
from tapegrad.program.dataflow import make_interpreter
from tapegrad.program.ir import Code, Instruction, Ref, input_refs
from tapegrad.types import Array

Values = list[Any]
Call = Callable[[Values], Values]


def code_function(code: Code) -> Call:
    """A function that computes a program's outputs from its inputs."""
    return make_interpreter(code, apply_instruction)


def apply_instruction(instruction: Instruction, operands: Values) -> Any:
    """The result of an instruction for these operands: an array, or a Python number."""
    if instruction.number:
        result = exactly(instruction.op, operands)(*operands, **instruction.options)
        return result.item() if isinstance(result, np.generic) else result
    result = instruction.op.forward(*operands, **instruction.options)
    return np.asarray(result) if isinstance(result, np.generic | float | int | complex) else result


@attrs.frozen(repr=False)
class Loop:
    """A loop: the body that is repeated, and how often.

    Attributes
    ----------
    body
        A step, as a program: from the captured values, the carry and a row of each array to the
        next carry, the results of the step and what is kept.
    stop
        For a loop that a value ends: the program that says whether it goes on, from the captured
        values and the carry.
    n_carry, n_xs, n_ys
        The numbers of leaves of the carry, of the arrays gone through, and of a step's results.
    length
        The number of steps; None if it is the number of rows of the arrays, or if `stop`
        decides.
    reverse
        Whether it goes from the last row to the first.
    remember
        Whether derivatives may read the values that a step computed, and not only its carry.
    moving
        The operands that a gradient passes to, by position.
    derivatives
        Those of its step, as they are recorded.
    """

    body: Code
    stop: Code | None
    n_carry: int
    n_xs: int
    n_ys: int
    length: int | None
    reverse: bool = False
    remember: bool = True
    moving: frozenset[int] = frozenset()
    derivatives: dict[Any, Any] = attrs.field(init=False, factory=dict, eq=False)

    __tree_leaf__: ClassVar[bool] = True

    def __repr__(self) -> str:
        return self.body.label

    @property
    def bodies(self) -> Mapping[str, Code]:
        """The programs inside, by the names of their fields."""
        return {"body": self.body} | ({} if self.stop is None else {"stop": self.stop})

    @property
    def n_captured(self) -> int:
        """The number of operands before the carry."""
        return len(self.body.inputs) - self.n_carry - self.n_xs

    @property
    def first_kept(self) -> int:
        """The position among the results of the first that is kept: a carry."""
        return self.n_carry + self.n_ys

    def named(self, values: Parts) -> Named:
        """Its results, or their cotangents, by name, without what is kept for derivatives.

        The carry is named as the step calls it, then what else it returns.
        """
        names, structure = [x.path for x in self.apart(self.body.inputs)[1]], self.body.structure
        paths = [f"1.{i}" for i in range(self.n_ys)]
        if structure.node is tuple and structure.size == self.first_kept:
            paths = tree.structure_paths(structure)[self.n_carry :]
        # what has a name in a dict or a class is known by that
        names += [x[2:] if x[2:3].isalpha() else f"y{x[1:]}" for x in paths]
        return Named(zip(names, values.values, strict=False))

    def apart(self, operands: Sequence[Any]) -> tuple[Values, Values, Values]:
        """Its operands, parted: the captured values, the carry and the arrays gone through."""
        n, first = self.n_captured, self.n_captured + self.n_carry
        return [*operands[:n]], [*operands[n:first]], [*operands[first:]]

    @property
    def inputs(self) -> tuple[list[Ref], list[Ref], list[Ref]]:
        """The inputs of its body: the captured values, the carry and the rows."""
        return self.apart(input_refs(range(len(self.body.inputs))))

    def steps(self, operands: Sequence[Any]) -> int | None:
        """The number of steps; None if it is known only at the end."""
        if self.stop is not None or self.length is not None:
            return self.length
        rows: int = self.apart(operands)[2][0].shape[0]
        return rows

    def like(self, operands: Sequence[Any]) -> Parts:
        """Arrays like its results."""
        n, likes, rows = self.n_carry, result_placeholders(self.body), self.steps(operands) or 0
        return Parts((*likes[:n], *[stand_in((rows, *x.shape), x.dtype) for x in likes[n:]]))

    def stepped(
        self, operands: Sequence[Any], step: Call, calling: Callable[[Code], Call] = code_function
    ) -> Iterator[tuple[int, Values, Values]]:
        """Each step in order: its row, and the inputs and the outputs of the body.

        Parameters
        ----------
        operands
            The operands of the loop.
        step
            A function that computes the body's outputs.
        calling
            What gives a function that computes those of `stop`, if there is one.
        """
        (captured, carry, xs), steps = self.apart(operands), self.steps(operands)
        goes_on = None if self.stop is None else calling(self.stop)
        # a Python number begins it as an array
        carry = [*map(np.asarray, carry)]
        for row in numbers() if steps is None else range(steps)[:: -1 if self.reverse else 1]:
            if goes_on is not None and not goes_on([*captured, *carry])[0]:
                return
            inputs = [*captured, *carry, *[x[row, ...] for x in xs]]
            outputs = step(inputs)
            carry = outputs[: self.n_carry]
            yield row, inputs, outputs


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

    @property
    def bodies(self) -> Mapping[str, Code]:
        """The programs inside, by the names of their fields."""
        return {"on_true": self.on_true, "on_false": self.on_false}

    def __repr__(self) -> str:
        return f"{self.on_true.label} or {self.on_false.label}"

    def like(self, operands: Sequence[Any]) -> Parts:
        """Arrays like its results."""
        return Parts(tuple(result_placeholders(self.on_true)))


def result_placeholders(code: Code) -> list[Array]:
    """Arrays like a program's outputs."""
    return [stand_in(x.shape, np.dtype(x.dtype)) for x in map(code.spec, code.outputs)]


def bodies_in(options: Mapping[str, Any]) -> list[Code]:
    """The programs inside an instruction."""
    held = [x for x in options.values() if isinstance(x, Loop | Branch)]
    return [code for x in held for code in x.bodies.values()]


def nested_codes(code: Code) -> list[Code]:
    """A program, and those inside its instructions, at any depth."""
    held = [x for y in code.instructions if y.options for x in bodies_in(y.options)]
    return [code, *[y for x in held for y in nested_codes(x)]]


def count_lines(code: Code) -> int:
    """The number of instructions that run in a call, each step of a loop inside with its own."""
    loops = [x.options["loop"] for x in code.instructions if "loop" in x.options]
    return len(code.instructions) + sum([(x.length or 1) * count_lines(x.body) for x in loops])


def stack_rows(rows: list[Any], shape: tuple[int, ...], dtype: Any) -> Array:
    """Rows of a shape, possibly none, as one array."""
    return np.array(rows, dtype).reshape(len(rows), *shape)


def freeze_results(arrays: Sequence[Array]) -> Parts:
    """The results of a loop or of a branch, which nobody can change."""
    for x in arrays:
        x.setflags(write=False)
    return Parts(tuple(arrays))
