"""Builder: a program being made or improved.

An instruction keeps its number in a Builder wherever it stands in the order, so a pass touches
only what it changes.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from itertools import chain
from operator import attrgetter
from types import MappingProxyType
from typing import Any

import numpy as np

from tapegrad.core.rules import Rules
from tapegrad.declare.abstract import evaluate
from tapegrad.errors.words import as_text
from tapegrad.ops.shape import broadcast_to, reshape
from tapegrad.program.canonical import CANONICAL
from tapegrad.program.content import content, exact
from tapegrad.program.ir import (
    STAGES,
    Code,
    Constant,
    Input,
    Instruction,
    Operand,
    Ref,
    example,
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
    contents
        The contents of instructions that were compared, and the first of each with its number.
    op_of
        The op of each instruction, by number.
    here
        By number, 1 for each instruction that is still in the program.
    changed
        By number, 1 for each instruction that is new or has other operands since equal ones were
        shared.
    loose
        Values that may have lost their last use since unneeded ones were dropped.
    at, stage, place
        The instruction that `rewrite` has reached, and the stage and place of new instructions.
    replaced, absent
        During `rewrite`, what stands in the place of each value replaced so far, and by number, 1
        for each instruction that is not in the program, or not yet.
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
        self.contents: dict[Any, tuple[int, Instruction]] = {}
        self.op_of = [x.op for x in self.instructions]
        self.ops = set(self.op_of)
        self.here = bytearray(b"\1") * len(self.instructions)
        self.changed = self.here[:]
        self.loose: list[Any] = []
        self.at = 0
        self.stage = STAGES[0]
        self.place: Any = None
        self.replaced: dict[Any, Any] = {}
        self.absent = bytearray()
        self.is_tidy = False
        # the outputs, and how often each value is one
        self._given: tuple[Any, Counter[Any]] = (None, Counter())
        # made on first use
        self._uses: dict[Any, list[int]] | None = None
        self._holds_complex: bool | None = None
        # constants by digest, built on first use, and those that are numbers
        self._known: dict[Any, list[Ref]] | None = None
        self._numbers: dict[Any, Ref] = {}

    @classmethod
    def of_program(cls, program: Code, passes: tuple[Callable[..., Any], ...] = ()) -> Builder:
        """A Builder that holds a program, to be improved by these passes."""
        return cls(program.inputs, program.constants, program.instructions, program.outputs, passes)

    # --- writing ----------------------------------------------------------------------

    def constant(self, value: Any, captured: bool = False) -> Ref:
        """A Ref to a constant: the one of this content, if there is one."""
        new, ref = Constant(value, captured), Ref("constant", len(self.constants))
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
        """A Ref to an instruction, written last; its operands are `current`."""
        self.is_tidy = False
        if self.absent:
            instruction = self.current(instruction)
            self.absent.append(0)
        if instruction.op in CANONICAL:
            instruction = self.canonical(instruction)
        if self.place is not None and instruction.place is None:
            instruction = instruction.but(place=self.place)
        instructions = self.instructions
        i = len(instructions)
        ref: Ref = _new_ref(Ref, ("instruction", i))
        self.order.append(i)
        self.ops.add(instruction.op)
        instructions.append(instruction)
        self.refs.append(ref)
        self.op_of.append(instruction.op)
        self.here.append(1)
        self.changed.append(1)
        if self._uses is not None:
            self.loose.append(ref)
            self._use(i, instruction)
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

    def canonical(self, instruction: Instruction) -> Instruction:
        """An instruction with its options resolved; see `tapegrad.program.canonical`."""
        resolve = CANONICAL[instruction.op]
        x, operands, old = instruction, instruction.operands, instruction.options
        kinds = [getattr(self.dtype(x), "kind", "") for x in operands]
        op, options = resolve(x.op, old, [*map(self.shape, operands)], kinds, x.shape)
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

    def n_uses(self) -> list[int]:
        """How often the result of each instruction is used, by number; as an output too."""
        counts = [0] * len(self.instructions)
        operands = map(attrgetter("operands"), map(self.instructions.__getitem__, self.order))
        for x in chain(self.outputs, chain.from_iterable(operands)):
            if type(x) is Ref and x[0] == "instruction":
                counts[x[1]] += 1
        return counts

    @property
    def uses(self) -> dict[Any, list[int]]:
        """The numbers of the instructions that use each value, and of some that no longer do."""
        if self._uses is None:
            self._uses = {}
            for i, instruction in enumerate(self.instructions):
                self._use(i, instruction)
            self.loose = self.refs[:]
        return self._uses

    def _use(self, i: int, instruction: Instruction) -> None:
        uses = self.uses
        for x in instruction.operands:
            if type(x) is Ref:
                if x in uses:
                    uses[x].append(i)
                else:
                    uses[x] = [i]

    def is_used(self, x: Ref) -> bool:
        """Whether an instruction in the program uses a value."""
        users = self.uses.get(x, [])
        while users:
            i = users[-1]
            if self.here[i] and x in self.instructions[i].operands:
                return True
            users.pop()
        return False

    def users_of(self, x: Any) -> list[int]:
        """The numbers of the instructions that use a value, once a use; -1 for an output."""
        here, instructions = self.here, self.instructions
        if self._given[0] is not self.outputs:
            self._given = self.outputs, Counter(filter(_is_ref, self.outputs))
        users = [-1] * self._given[1][x]
        for i in {*self.uses.get(x, ())}:
            users += [i] * instructions[i].operands.count(x) if here[i] else []
        return users

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

    def rewrite(
        self, visit: Visit, ops: Collection[Rules] | None = None, marks: bytearray | None = None
    ) -> None:
        """Replace instructions with what `visit` returns for them.

        Parameters
        ----------
        visit
            A function of the Builder and of an instruction, whose operands are rewritten already.
            It returns an operand to use in place of the result, an instruction to put in its
            place, or None to leave it as it is. Instructions that it appends come before this one.
        ops
            The ops whose instructions are visited; all by default.
        marks
            By number, 1 for each instruction that is visited; a visit may mark later ones.
        """
        old = self.order
        places: Iterable[int]
        if marks is not None:
            places = (k for k, i in enumerate(old) if marks[i])
        elif ops is None:
            places = range(len(old))
        else:
            op_of, ops = self.op_of, frozenset(ops)
            # most passes visit few instructions
            places = [k for k, i in enumerate(old) if op_of[i] in ops] if self.has(ops) else []
            if not places:
                return
        self.start()
        instructions, order, absent, n = self.instructions, self.order, self.absent, 0
        for k in places:
            if n < k:
                self.go_on(old[n:k])
            i, n = old[k], k + 1
            instruction = instructions[i]
            self.at, self.stage, self.place = i, instruction.stage, instruction.place
            result = visit(self, instruction)
            if result is None:
                order.append(i)
                absent[i] = 0
            elif type(result) is Instruction:
                self.put(i, self.current(result))
                order.append(i)
                absent[i] = 0
            else:
                result = self.replaced.get(result, result)
                is_later = type(result) is Ref and result[0] == "instruction" and absent[result[1]]
                assert not is_later, f"{result} comes after what it replaces"
                # a replacement keeps the name
                self.name(result, instruction.name)
                self.replace(i, result)
        self.go_on(old[n:])
        self.finish()

    def go_on(self, kept: list[int]) -> None:
        """Leave these instructions as they are."""
        self.order += kept
        absent = self.absent
        for i in kept:
            absent[i] = 0

    def put(self, i: int, instruction: Instruction) -> None:
        """Put an instruction in the place of another."""
        if self._uses is not None:
            self.loose += self.instructions[i].operands
            self._use(i, instruction)
        self.instructions[i], self.op_of[i] = instruction, instruction.op
        self.changed[i] = 1
        self.ops.add(instruction.op)
        self.is_tidy = False

    def replace(self, i: int, x: Any) -> None:
        """Use an operand wherever the result of an instruction is used, which goes."""
        ref, instructions = self.refs[i], self.instructions
        self.replaced[ref] = x
        self.here[i] = 0
        uses = self.uses
        self.loose += instructions[i].operands
        moved = {j for j in uses.pop(ref, ()) if ref in instructions[j].operands}
        for j in moved:
            instructions[j] = instructions[j].using({ref: x})
            self.changed[j] = 1
        if moved and type(x) is Ref:
            uses.setdefault(x, []).extend(moved)
        self.is_tidy = False

    def start(self) -> None:
        """Begin to write the order again: so far nothing is in the program."""
        self.order, self.replaced = [], {}
        self.absent = bytearray(b"\1") * len(self.instructions)

    def finish(self) -> None:
        """End what `start` began: the outputs too are what stands in their place."""
        replaced, self.replaced, self.absent = self.replaced, {}, bytearray()
        self.place = None
        if replaced:
            self.outputs = tuple([replaced.get(x, x) if _is_ref(x) else x for x in self.outputs])

    def tidy(self) -> None:
        """Share equal instructions, and drop what no output depends on.

        Inputs stay: they are the program's signature.
        """
        if not self.is_tidy:
            self.rewrite(_merged, marks=self.changed)
            self.drop_unused()
            self.is_tidy = True

    def drop_unused(self) -> None:
        """Drop the instructions and the constants that no output depends on."""
        uses, here, instructions = self.uses, self.here, self.instructions
        results = {x for x in self.outputs if _is_ref(x)}
        waiting, self.loose = self.loose, [*results]
        while waiting:
            x = waiting.pop()
            if type(x) is not Ref or x[0] != "instruction" or not here[x[1]]:
                continue
            if x not in results and not self.is_used(x):
                here[x[1]] = 0
                waiting += instructions[x[1]].operands
        order = [i for i in self.order if here[i]]
        if len(order) < len(self.order):
            self.order = order
            self.ops = set(map(self.op_of.__getitem__, order))
        constants = [Ref("constant", i) for i in range(len(self.constants))]
        kept = [x.index for x in constants if x in results or self.is_used(x)]
        if len(kept) == len(constants):
            return
        moved: dict[Any, Any] = {
            Ref("constant", i): Ref("constant", place) for place, i in enumerate(kept) if i != place
        }
        self.constants = [self.constants[i] for i in kept]
        self._known, self._numbers = None, {}
        for i in {i for x in moved for i in uses.get(x, ())}:
            self.instructions[i] = self.instructions[i].using(moved)
            self.changed[i] = 1
        # each moves to a place that was another's before, or free
        for old, new in moved.items():
            uses[new] = uses.pop(old, [])
        self.outputs = tuple([moved.get(x, x) if _is_ref(x) else x for x in self.outputs])

    def finished(self) -> tuple[tuple[Constant, ...], tuple[Instruction, ...], tuple[Any, ...]]:
        """The constants, the instructions numbered in order, and the outputs.

        Raises
        ------
        KeyError
            If an instruction uses one that is no longer in the program, or that comes later.
        """
        moved: dict[Any, Any] = {}
        instructions = []
        for i, ref in zip(self.order, self.refs, strict=False):
            instruction = self.instructions[i]
            operands = instruction.operands
            constants = tuple(
                [moved[x] if type(x) is Ref and x[0] == "instruction" else x for x in operands]
            )
            instructions.append(instruction if constants == operands else instruction.on(constants))
            moved[self.refs[i]] = ref
        outputs = tuple([moved[x] if _is_computed(x) else x for x in self.outputs])
        return tuple(self.constants), tuple(instructions), outputs


Visit = Callable[[Builder, Instruction], Any]
# as the class makes one, in half the time
_new_ref: Any = tuple.__new__


def _merged(builder: Builder, instruction: Instruction) -> Ref | None:
    """The first instruction of the same content, if it is another."""
    operands: tuple[Any, ...] = instruction.operands
    for x in operands:
        if type(x) is not Ref:
            operands = exact(operands)
            break
    # as `content` of most, of which there are many
    key = content(instruction, operands) if instruction.options else (instruction.op, operands)
    at, contents, instructions = builder.at, builder.contents, builder.instructions
    builder.changed[at] = 0
    if key in contents:
        first, known = contents[key]
        now = instructions[first]
        is_same = now.operands is known.operands and now.options is known.options
        if first != at and is_same and now.op is known.op and builder.here[first]:
            if not builder.absent[first]:
                return builder.refs[first]
            builder.changed[first] = 1  # it comes later, and is this one then
    # it is kept, so that no other object takes the identity of one of its options
    contents[key] = at, instruction
    return None


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
