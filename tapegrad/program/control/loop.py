"""Loop and Branch: control flow whose bodies are programs, and functions that run them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import count as numbers
from typing import Any, ClassVar

import attrs
import numpy as np

from tapegrad import tree
from tapegrad.core.primitive import Parts
from tapegrad.declare.abstract import exact_forward, stand_in
from tapegrad.errors.words import NamedValues
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
        result = exact_forward(instruction.op, operands)(*operands, **instruction.options)
        return result.item() if isinstance(result, np.generic) else result
    result = instruction.op.forward(*operands, **instruction.options)
    return np.asarray(result) if isinstance(result, np.generic | float | int | complex) else result


@attrs.frozen(repr=False)
class Loop:
    """A loop: its body, and the number of steps.

    Attributes
    ----------
    body
        One step, as a program. Its inputs are the captured values, the carry and a row of each
        scanned array; its outputs are the next carry, the step's results and the residuals,
        which are values that derivatives read.
    stop
        For a while loop, a program of the captured values and the carry that returns whether
        another step follows; else None.
    n_carry, n_xs, n_ys
        The numbers of leaves of the carry, of the scanned arrays, and of a step's results.
    length
        The number of steps; None if `stop` decides, or if the scanned arrays have as many rows.
    reverse
        Whether the loop goes from the last row to the first.
    remember
        Whether derivatives may read any value that a step computed, or only its carry.
    moving
        The positions of the operands that receive cotangents.
    derivatives
        The derivatives of the step that were recorded so far.
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
    def first_residual(self) -> int:
        """The position of the first residual among the outputs of the body."""
        return self.n_carry + self.n_ys

    def name_results(self, values: Parts) -> NamedValues:
        """The results, or their cotangents, by name, without the residuals.

        The leaves of the carry have the names of the step's parameters; the step's results have
        the names of their paths.
        """
        names, structure = (
            [x.path for x in self.partition(self.body.inputs)[1]],
            self.body.structure,
        )
        paths = [f"1.{i}" for i in range(self.n_ys)]
        if structure.node is tuple and structure.size == self.first_residual:
            paths = tree.structure_paths(structure)[self.n_carry :]
        # a key of a dict or a field of a class is the name; a position is numbered
        names += [x[2:] if x[2:3].isalpha() else f"y{x[1:]}" for x in paths]
        return NamedValues(zip(names, values.values, strict=False))

    def partition(self, operands: Sequence[Any]) -> tuple[Values, Values, Values]:
        """The operands in three lists: the captured values, the carry and the scanned arrays."""
        n, first = self.n_captured, self.n_captured + self.n_carry
        return [*operands[:n]], [*operands[n:first]], [*operands[first:]]

    @property
    def inputs(self) -> tuple[list[Ref], list[Ref], list[Ref]]:
        """The inputs of the body: the captured values, the carry and the rows."""
        return self.partition(input_refs(range(len(self.body.inputs))))

    def count_steps(self, operands: Sequence[Any]) -> int | None:
        """The number of steps; None for a while loop."""
        if self.stop is not None or self.length is not None:
            return self.length
        rows: int = self.partition(operands)[2][0].shape[0]
        return rows

    def placeholders(self, operands: Sequence[Any]) -> Parts:
        """Placeholder arrays of the shapes and dtypes of the results."""
        n, likes, rows = (
            self.n_carry,
            result_placeholders(self.body),
            self.count_steps(operands) or 0,
        )
        return Parts((*likes[:n], *[stand_in((rows, *x.shape), x.dtype) for x in likes[n:]]))

    def run_steps(
        self,
        operands: Sequence[Any],
        step: Call,
        make_function: Callable[[Code], Call] = code_function,
    ) -> Iterator[tuple[int, Values, Values]]:
        """Run the steps in order; yield the row, the inputs and the outputs of each.

        Parameters
        ----------
        operands
            The operands of the loop.
        step
            A function from the inputs of the body to its outputs.
        make_function
            A function that turns the program `stop` into a function, if there is one.
        """
        (captured, carry, xs), steps = self.partition(operands), self.count_steps(operands)
        goes_on = None if self.stop is None else make_function(self.stop)
        # a Python number in the carry becomes an array
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
    """Two programs; a value chooses which one runs.

    Attributes
    ----------
    on_true, on_false
        Programs with the same inputs (the operands after the first), and with outputs of the same
        shapes and dtypes.
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

    def placeholders(self, operands: Sequence[Any]) -> Parts:
        """Placeholder arrays of the shapes and dtypes of the results."""
        return Parts(tuple(result_placeholders(self.on_true)))


def result_placeholders(code: Code) -> list[Array]:
    """Placeholder arrays of the shapes and dtypes of a program's outputs."""
    return [stand_in(x.shape, np.dtype(x.dtype)) for x in map(code.spec, code.outputs)]


def bodies_in(options: Mapping[str, Any]) -> list[Code]:
    """The programs inside an instruction."""
    held = [x for x in options.values() if isinstance(x, Loop | Branch)]
    return [code for x in held for code in x.bodies.values()]


def nested_codes(code: Code) -> list[Code]:
    """A program and the programs inside its instructions, at any depth."""
    held = [x for y in code.instructions if y.options for x in bodies_in(y.options)]
    return [code, *[y for x in held for y in nested_codes(x)]]


def count_lines(code: Code) -> int:
    """The number of instructions that run in a call, in all steps of the loops inside."""
    loops = [x.options["loop"] for x in code.instructions if "loop" in x.options]
    return len(code.instructions) + sum([(x.length or 1) * count_lines(x.body) for x in loops])


def stack_rows(rows: list[Any], shape: tuple[int, ...], dtype: Any) -> Array:
    """Rows of a shape, possibly none, as one array."""
    return np.array(rows, dtype).reshape(len(rows), *shape)


def freeze_results(arrays: Sequence[Array]) -> Parts:
    """The results of a loop or of a branch, made read-only."""
    for x in arrays:
        x.setflags(write=False)
    return Parts(tuple(arrays))
