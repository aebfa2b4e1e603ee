"""Builder: a program being made or improved.

An instruction keeps its number in a Builder wherever it stands in the order, so a pass touches
only what it changes.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from itertools import chain
from types import MappingProxyType
from typing import Any

import numpy as np

from tapegrad.core.rules import Rules
from tapegrad.declare.abstract import evaluate
from tapegrad.errors.words import as_text
from tapegrad.ops.shape import broadcast_to, reshape
from tapegrad.program.canonical import CANONICAL, Spelled
from tapegrad.program.ir import (
    STAGES,
    Code,
    Constant,
    Input,
    Instruction,
    Operand,
    Ref,
    content,
    exact,
    example,
    inputs_at,
    refs_to,
)

# stands for a dtype; None would not do, for NumPy takes it for float64
NUMBER = object()


class Builder:
    """A program under construction, which passes change in place.

    Attributes
    ----------
    inputs, constants
        As of the program.
    instructions
        By number, including those that are no longer in the program.
    refs
        A Ref to each, by number.
    order
        The numbers of those that are still in the program, in order.
    outputs
        As of the program.
    passes
        Those that the program is improved by, for the bodies of its loops and branches.
    ops
        The ops of the instructions, and of some that were dropped.
    op_of
        The op of each instruction, by number.
    contents, keys
        The number of the first instruction of each content, and the content of each, by number;
        None and nothing until equal instructions are shared.
    absent
        By number, 1 for each instruction that is not in the program; during `rewrite`, not yet.
    at, stage, place
        The instruction that `rewrite` has reached, and the stage and place of new instructions.
    replaced, repeated
        During `rewrite`, what stands in the place of each value replaced so far, and the numbers of
        instructions to come whose content is there already.
    is_tidy
        Whether the program is unchanged since `tidy`.
    """

    def __init__(
        self,
        inputs: tuple[Input, ...],
        constants: Iterable[Constant] = (),
        instructions: Iterable[Instruction] = (),
        outputs: tuple[Any, ...] = (),
        passes: tuple[Callable[..., Any], ...] = (),
    ) -> None:
        self.inputs = inputs
        self.constants = list(constants)
        self.instructions = list(instructions)
        self.order = list(range(len(self.instructions)))
        self.refs = refs_to(self.instructions)
        self.outputs = outputs
        self.passes = passes
        self.op_of = [x.op for x in self.instructions]
        self.ops = set(self.op_of)
        self.contents: dict[Any, int] | None = None
        self.keys: dict[int, Any] = {}
        self.absent = bytearray(len(self.instructions))
        self.at = 0
        self.stage = STAGES[0]
        self.place: Any = None
        self.replaced: dict[Any, Any] = {}
        self.repeated: set[int] = set()
        self.is_tidy = False
        # made on first use
        self._holds_complex: bool | None = None
        # constants by digest, built on first use, and those that are numbers
        self._known: dict[Any, list[Ref]] | None = None
        self._numbers: dict[Any, Ref] = {}

    @classmethod
    def of_program(
        cls, program: Code, passes: tuple[Callable[..., Any], ...] | None = None
    ) -> Builder:
        """A Builder that holds a program; it shares what is equal if it is for passes."""
        parts = program.inputs, program.constants, program.instructions, program.outputs
        builder = cls(*parts, passes or ())
        if passes is not None:
            builder._share()
        return builder

    # --- writing ----------------------------------------------------------------------

    def constant(self, value: Any, captured: bool = False) -> Ref:
        """A Ref to a constant: the one of this content, if there is one."""
        new = value if type(value) is Constant else Constant(value, captured)
        ref = Ref("constant", len(self.constants))
        if self._known is None:
            self._known = {}
            for i, x in enumerate(self.constants):
                self._known.setdefault(_digest(x), []).append(Ref("constant", i))
        alike = self._known.setdefault(_digest(new), [])
        for known in alike:
            if self.constants[known.index].array.tobytes() == new.array.tobytes():
                return known
        alike.append(ref)
        self.constants.append(new)
        return ref

    def number(self, x: Any, dtype: np.dtype[Any]) -> Ref:
        """A Ref to a constant without axes that holds a number."""
        # 0.0 equals -0.0, and nan does not equal itself
        key = type(x), as_text(x), dtype
        if key not in self._numbers:
            self._numbers[key] = self.constant(np.full((), x, dtype))
        return self._numbers[key]

    def append(self, instruction: Instruction) -> Ref:
        """A Ref to an instruction, written last, or to one that is equal and stands there already.

        Its operands are `current`.
        """
        instruction = self.current(instruction)
        if instruction.op in CANONICAL:
            instruction = self.canonical(instruction)
        if self.place is not None and instruction.place is None:
            instruction = instruction.but(place=self.place)
        i = len(self.instructions)
        first = self._first(i, instruction)
        if first is not None:
            return first
        ref: Ref = _new_ref(Ref, ("instruction", i))
        self.refs.append(ref)
        self.order.append(i)
        self.absent.append(0)
        self.ops.add(instruction.op)
        self.instructions.append(instruction)
        self.op_of.append(instruction.op)
        self.is_tidy = False
        return ref

    def emit(self, op: Rules, *operands: Operand, note: str = "", **options: Any) -> Ref:
        """Write an op; its shape and dtype are inferred."""
        if self.replaced:
            operands = tuple([self.replaced.get(x, x) for x in operands])
        shape, dtype = self._infer(op, operands, options)
        stage, place = self.stage, self.place
        return self.append(
            Instruction(op, operands, options, shape, dtype, False, note, "", stage, place)
        )

    def inlined(self, code: Code, operands: Sequence[Any], stage: str) -> list[Any]:
        """Write a program's instructions; return what its outputs are for these inputs."""
        values: dict[Any, Any] = dict(zip(inputs_at(range(len(operands))), operands, strict=True))
        values |= {Ref("constant", i): self.constant(x) for i, x in enumerate(code.constants)}
        for ref, instruction in zip(refs_to(code.instructions), code.instructions, strict=True):
            current = tuple([values.get(x, x) for x in instruction.operands])
            values[ref] = self.append(instruction.but(operands=current, stage=stage))
        return [values.get(x, x) for x in code.outputs]

    def canonical(self, instruction: Instruction) -> Instruction:
        """An instruction with its options resolved; see `tapegrad.program.canonical`."""
        resolve = CANONICAL[instruction.op]
        x, operands, old = instruction, instruction.operands, instruction.options
        kinds = [getattr(self.dtype(x), "kind", "") for x in operands]
        op, options = resolve(Spelled(x.op, old, [*map(self.shape, operands)], kinds, x.shape))
        if op is x.op and options == old:
            return instruction
        # nothing in them can change
        kept = MappingProxyType(options)
        return Instruction(
            op, operands, kept, x.shape, x.dtype, x.number, x.note, x.name, x.stage, x.place
        )

    def current(self, instruction: Instruction) -> Instruction:
        """An instruction on what stands in the place of its operands while `rewrite` runs.

        Raises
        ------
        AssertionError
            If an operand is not in the program, or comes later.
        """
        if not self.replaced.keys().isdisjoint(instruction.operands):
            instruction = instruction.using(self.replaced)
        absent = self.absent
        for x in instruction.operands:
            if type(x) is Ref and x[0] == "instruction" and absent[x[1]]:
                raise AssertionError(f"{instruction.op.name} uses {x}, which is not computed yet")
        return instruction

    def _infer(self, op: Rules, operands: tuple[Operand, ...], options: Mapping[str, Any]) -> Any:
        if op in (reshape, broadcast_to) and min(options["shape"], default=1) > 0:
            return options["shape"], self.dtype(operands[0])
        return infer(op, [self.like(x) for x in operands], options)

    def name(self, ref: Any, name: str) -> None:
        """Name a value, if it is an instruction's and has no name yet."""
        instruction = self.source(ref)
        if instruction is not None and name and not instruction.name:
            self.instructions[ref.index] = instruction.but(name=name)

    def reshaped(self, x: Operand, shape: tuple[int, ...]) -> Operand:
        """The operand in this shape: itself, if it has that shape."""
        return x if self.shape(x) == shape else self.emit(reshape, x, shape=shape)

    # --- reading ----------------------------------------------------------------------

    def of(self, ref: Any) -> Any:
        """The input, constant or instruction that a Ref names."""
        kind, index = ref
        if kind == "instruction":
            return self.instructions[index]
        return (self.inputs if kind == "input" else self.constants)[index]

    def source(self, x: Any, op: Rules | None = None) -> Instruction | None:
        """The instruction that makes a value, if there is one (of this op)."""
        if type(x) is not Ref:
            return None
        kind, index = x
        if kind != "instruction":
            return None
        instruction = self.instructions[index]
        return instruction if op is None or instruction.op is op else None

    def op(self, x: Any) -> Any:
        """The op that makes a value: None for constants and numbers, "input" for inputs."""
        if type(x) is not Ref or x[0] == "constant":
            return None
        return self.op_of[x[1]] if x[0] == "instruction" else x[0]

    def shape(self, x: Any) -> tuple[int, ...]:
        """The shape of an operand."""
        if type(x) is not Ref:
            return ()
        # as `of` does, which takes longer to call
        kind, i = x
        if kind == "instruction":
            return self.instructions[i].shape
        return self.inputs[i].shape if kind == "input" else self.constants[i].array.shape

    def dtype(self, x: Any) -> Any:
        """The dtype of an operand; `NUMBER` for a Python number."""
        if type(x) is not Ref:
            return NUMBER
        kind, i = x
        if kind == "constant":
            return self.constants[i].array.dtype
        source = self.instructions[i] if kind == "instruction" else self.inputs[i]
        return NUMBER if source.number else source.dtype

    def like(self, x: Any) -> Any:
        """A value of the operand's shape and dtype."""
        if type(x) is not Ref:
            return x
        source = self.of(x)
        if type(source) is Instruction and source.op.like is not None:
            return source.op.like(*map(self.like, source.operands), **source.options)
        return example(source)

    def in_order(self) -> Iterator[tuple[int, Instruction]]:
        """The instructions with their numbers, in order."""
        return zip(self.order, map(self.instructions.__getitem__, self.order), strict=True)

    def uses(self) -> Counter[Any]:
        """How often each value is used; as an output too."""
        operands = [x.operands for _, x in self.in_order()]
        return Counter(filter(_is_ref, chain(self.outputs, *operands)))

    def of_ops(self, ops: Collection[Rules]) -> list[int]:
        """The numbers of the instructions of these ops, in order."""
        op_of = self.op_of
        return [i for i in self.order if op_of[i] in ops] if self.has(ops) else []

    def has(self, ops: Collection[Rules]) -> bool:
        """Whether an instruction is of one of these ops, or was before it was dropped."""
        return not self.ops.isdisjoint(ops)

    def is_complex(self, instruction: Instruction) -> bool:
        """Whether an instruction gives or takes complex numbers."""
        return instruction.dtype.kind == "c" or any(map(self._holds, instruction.operands))

    def _holds(self, x: Any) -> bool:
        return type(x) is complex or (type(x) is Ref and self.of(x).dtype.kind == "c")

    @property
    def holds_complex(self) -> bool:
        """Whether there are complex numbers in the program, of which no pass makes any."""
        if self._holds_complex is None:
            leaves: tuple[Any, ...] = (*self.inputs, *self.constants)
            # a Python number stands in no list
            self._holds_complex = any(x.dtype.kind == "c" for x in leaves) or any(
                x.dtype.kind == "c" or complex in map(type, x.operands) for _, x in self.in_order()
            )
        return self._holds_complex

    # --- changing ---------------------------------------------------------------------

    def rewrite(self, visit: Visit, ops: Collection[Rules] | None = None) -> None:
        """Replace instructions with what `visit` returns for them.

        Parameters
        ----------
        visit
            A function of the Builder and of an instruction, whose operands are rewritten already.
            It returns an operand to use in place of the result, an instruction to put in its
            place, or None to leave it as it is. Instructions that it appends come before this one.
        ops
            The ops whose instructions are visited; all by default.
        """
        old, op_of = self.order, self.op_of
        places: Sequence[int] = range(len(old))
        if ops is not None:
            ops = frozenset(ops)
            # most passes visit few instructions
            places = [k for k, i in enumerate(old) if op_of[i] in ops] if self.has(ops) else []
        if not places:
            return
        self._start()
        instructions, absent, n = self.instructions, self.absent, 0
        is_old, repeated = self.replaced.keys().isdisjoint, self.repeated
        for k in places:
            if n < k:
                self._go_on(old[n:k])
            i, n = old[k], k + 1
            instruction = instructions[i]
            if not is_old(instruction.operands) or i in repeated:
                if not self._renewed(i, instruction):
                    continue
                instruction = instructions[i]
            self.at, self.stage, self.place = i, instruction.stage, instruction.place
            result = visit(self, instruction)
            if result is None or (type(result) is Instruction and self._renewed(i, result)):
                self.order.append(i)
                absent[i] = 0
            elif type(result) is not Instruction:
                result = self.replaced.get(result, result)
                is_later = _is_computed(result) and absent[result[1]]  # type: ignore[index]
                assert not is_later, f"{result} comes after what it replaces"
                self._replace(i, result)
        self._go_on(old[n:])
        self._finish()

    def _start(self) -> None:
        """Begin to write the order again: so far nothing is in the program."""
        self.order, self.replaced, self.repeated = [], {}, set()
        self.absent = bytearray(b"\1") * len(self.instructions)

    def _go_on(self, kept: list[int]) -> None:
        """Leave these instructions, on what stands in the place of their operands."""
        absent, order, instructions = self.absent, self.order, self.instructions
        # both grow on the way
        is_old, repeated = self.replaced.keys().isdisjoint, self.repeated
        if not self.replaced and not repeated:
            order += kept
            for i in kept:
                absent[i] = 0
            return
        for i in kept:
            instruction = instructions[i]
            same = is_old(instruction.operands) and i not in repeated
            if same or self._renewed(i, instruction):
                order.append(i)
                absent[i] = 0

    def _finish(self) -> None:
        """End what `_start` began: the outputs too are what stands in their place."""
        replaced, self.replaced, self.place = self.replaced, {}, None
        if replaced:
            self.outputs = tuple([replaced.get(x, x) if _is_ref(x) else x for x in self.outputs])

    def _renewed(self, i: int, instruction: Instruction) -> bool:
        """Put an instruction in the place of another, unless its content is there already."""
        self.put(i, self.current(instruction))
        first = self._first(i, self.instructions[i])
        if first is not None:
            self._replace(i, first)
        return first is None

    def put(self, i: int, instruction: Instruction) -> None:
        """Put an instruction in the place of another."""
        self.instructions[i], self.op_of[i] = instruction, instruction.op
        self.keys.pop(i, None)
        self.ops.add(instruction.op)
        self.is_tidy = False

    def _replace(self, i: int, x: Any) -> None:
        """Use an operand, which keeps the name, wherever the result of an instruction is used."""
        self.name(x, self.instructions[i].name)
        self.replaced[self.refs[i]] = x
        self.is_tidy = False

    def _first(self, i: int, instruction: Instruction) -> Ref | None:
        """The value of this content that is in the program; if there is none, it is this one."""
        if self.contents is None:
            return None
        operands: tuple[Any, ...] = instruction.operands
        for x in operands:
            if type(x) is not Ref:
                operands = exact(operands)
                break
        # as `content` of most, of which there are many
        key = content(instruction, operands) if instruction.options else (instruction.op, operands)
        first = self.contents.get(key, i)
        if first != i and self.keys.get(first) == key:
            if not self.absent[first]:
                return self.refs[first]
            # it comes later, if at all, and is this one then
            self.repeated.add(first)
        self.contents[key], self.keys[i] = i, key
        return None

    def _share(self) -> None:
        """From now on equal instructions are shared."""
        self.contents, old = {}, self.order
        self._start()
        for i in old:
            if self._renewed(i, self.instructions[i]):
                self.order.append(i)
                self.absent[i] = 0
        self._finish()

    def tidy(self) -> None:
        """Drop what no output depends on; equal instructions are shared.

        Inputs stay: they are the program's signature.
        """
        if not self.is_tidy:
            self.drop_unused()
            self.is_tidy = True

    def drop_unused(self) -> None:
        """Drop the instructions that no output depends on."""
        needed: set[Any] = {x for x in self.outputs if _is_ref(x)}
        refs, instructions, order = self.refs, self.instructions, []
        for i in reversed(self.order):
            if refs[i] in needed:
                needed.update(instructions[i].operands)
                order.append(i)
            else:
                self.absent[i] = 1
        if len(order) < len(self.order):
            self.order = order[::-1]
            self.ops = set(map(self.op_of.__getitem__, order))

    def finished(self) -> tuple[tuple[Constant, ...], tuple[Instruction, ...], tuple[Any, ...]]:
        """The constants, the instructions numbered in order, and the outputs.

        Raises
        ------
        KeyError
            If an instruction uses one that is no longer in the program, or that comes later.
        """
        instructions = [self.instructions[i] for i in self.order]
        used = chain(self.outputs, *[x.operands for x in instructions])
        kept = sorted({x for x in used if _is_ref(x) and x.kind == "constant"})
        moved: dict[Any, Any] = {x: Ref("constant", at) for at, x in enumerate(kept)}

        def new(x: Any) -> Any:
            return moved[x] if type(x) is Ref and x[0] != "input" else x

        numbered = []
        for i, instruction, ref in zip(self.order, instructions, self.refs, strict=False):
            operands = tuple(map(new, instruction.operands))
            same = operands == instruction.operands
            numbered.append(instruction if same else instruction.on(operands))
            moved[self.refs[i]] = ref
        return tuple([self.of(x) for x in kept]), tuple(numbered), tuple(map(new, self.outputs))


Visit = Callable[[Builder, Instruction], Any]
# as the class makes one, in half the time
_new_ref: Any = tuple.__new__


def _digest(constant: Constant) -> Any:
    return constant.dtype.str, constant.shape, hash(constant.array.tobytes())


def _is_ref(x: Any) -> bool:
    # static results need not be hashable
    return type(x) is Ref


def _is_computed(x: Any) -> bool:
    """Whether an operand or an output is an instruction's result."""
    return type(x) is Ref and x.kind == "instruction"


def infer(op: Rules, operands: list[Any], options: Mapping[str, Any]) -> Any:
    """The shape and dtype of an op's result, for operands like these."""
    like = evaluate(op, operands, options)
    return np.shape(like), np.asarray(like).dtype
