"""Builder: a program being made or improved.

An instruction keeps its number in a Builder wherever it stands in the order, so a pass touches
only what it changes.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Iterable, Sequence
from heapq import heappop, heappush
from itertools import chain
from typing import Any

import attrs
import numpy as np

from tapegrad.core.primitive import Primitive
from tapegrad.declare.abstract import evaluate
from tapegrad.errors.words import as_text
from tapegrad.ops.shape import reshape
from tapegrad.program.canonical import CANONICAL
from tapegrad.program.ir import (
    STAGES,
    Code,
    Constant,
    Fields,
    FrozenOptions,
    Instruction,
    Operand,
    Ref,
    content_key,
    input_refs,
    instruction_refs,
    placeholder,
)

# stands for a dtype; None would not do, for NumPy takes it for float64
NUMBER = object()


class Builder:
    """A program under construction, which passes change in place; what is equal is shared.

    Attributes
    ----------
    program
        The program that it begins as.
    inputs, constants
        As of the program.
    instructions
        By number, including those that are no longer in the program.
    refs
        A Ref to each, by number.
    order
        The numbers of those that are still in the program, in order.
    ranks
        Where each instruction that is still in the program stands among the others, by number.
    users
        The numbers of the instructions that use the result of each, by number.
    outputs
        As of the program.
    passes
        Those that the program is improved by, for the bodies of its loops and branches.
    by_op
        The numbers of the instructions of each op that are still in the program.
    forms
        The op of each instruction and those that make its operands, by number; see `Form`.
    contents
        The number of the instruction of each content, or of one that had it.
    at, stage, place
        The instruction that `rewrite` has reached, and the stage and place of new instructions.
    now
        The rank of that instruction, before which new ones are written.
    replaced
        During `rewrite`, what stands in the place of each value replaced so far.
    """

    def __init__(self, program: Code, passes: tuple[Callable[..., Any], ...] = ()) -> None:
        self.program = program
        self.inputs = program.inputs
        self.constants = list(program.constants)
        self.instructions: list[Instruction] = []
        self.refs = instruction_refs(program.instructions)
        self.passes = passes
        self.by_op = defaultdict[Primitive, set[int]](set)
        self.users: list[set[int]] = []
        self.forms: list[Form] = []
        self.contents: dict[Any, int] = {}
        self.at = 0
        self.stage = STAGES[0]
        self.place: Any = None
        self.replaced: dict[Any, Any] = {}
        # those that are put in their places again when `rewrite` reaches them, and all that it will
        # reach, with their ranks: a heap
        self._stale: set[int] = set()
        self._ahead: list[tuple[tuple[int, ...], int]] = []
        # constants by content, and those that a number fills
        self._alike = {x: Ref("constant", i) for i, x in enumerate(self.constants)}
        self._filled: dict[Any, Ref] = {}
        replaced = self.replaced
        self.order = range(len(program.instructions))
        for i, x in enumerate(program.instructions):
            if replaced and not replaced.keys().isdisjoint(x.operands):
                x = x.substitute(replaced)
            self.instructions.append(x)
            self.users.append(set())
            first = self.contents.setdefault(content_key(x), i)
            if first == i:
                self.by_op[x.op].add(i)
                self.forms.append(self._form(i, x))
            else:
                replaced[self.refs[i]] = self.refs[first]
                self.name_value(self.refs[first], x.name)
                self.forms.append(())
                del self.ranks[i]
        # those that may be needed no longer
        self._unused = [i for i, users in enumerate(self.users) if not users]
        self.outputs, self.replaced = tuple(map(self._current, program.outputs)), {}

    # --- writing ----------------------------------------------------------------------

    def constant(self, value: Any, captured: bool = False) -> Ref:
        """A Ref to a constant: the one of this content, if there is one."""
        new = value if type(value) is Constant else Constant(value, captured)
        n = len(self.constants)
        ref = self._alike.setdefault(new, Ref("constant", n))
        if ref[1] == n:
            self.constants.append(new)
        return ref

    def filled_constant(self, x: Any, dtype: np.dtype[Any], shape: tuple[int, ...] = ()) -> Ref:
        """A Ref to a constant that is filled with a number."""
        # 0.0 equals -0.0, and nan does not equal itself
        key = type(x), as_text(x), dtype, shape
        if key not in self._filled:
            self._filled[key] = self.constant(np.full(shape, x, dtype))
        return self._filled[key]

    def append(self, instruction: Instruction) -> Ref:
        """A Ref to an instruction, written last, or to one that is equal and stands there already.

        Its operands are `current`.
        """
        instruction = self.replace_operands(instruction)
        if instruction.op in CANONICAL:
            instruction = self.canonicalize(instruction)
        i = len(self.instructions)
        first = self._first(i, content_key(instruction))
        if first != i:
            return self.refs[first]
        if self.place is not None and instruction.place is None:
            instruction = instruction.evolve(place=self.place)
        ref = Ref("instruction", i)
        self.refs.append(ref)
        self.instructions.append(instruction)
        self.by_op[instruction.op].add(i)
        self.users.append(set())
        self.forms.append(self._form(i, instruction))
        self._unused.append(i)
        # those of one place are in the order of their numbers
        self.ranks[i] = (*self.now[:-1], self.now[-1] - 1, i)
        return ref

    def emit(
        self, op: Primitive, *operands: Operand, note: str = "", like: Any = None, **options: Any
    ) -> Ref:
        """Write an op; its shape and dtype are inferred, if they are not known."""
        if like is None:
            result = np.asarray(evaluate(op, [self.placeholder(x) for x in operands], options))
            like = result.shape, result.dtype
        rest = *like, False, note, "", self.stage, self.place
        return self.append(Fields(op, operands, options, *rest).as_instruction())

    def inline(self, code: Code, operands: Sequence[Any], stage: str) -> list[Any]:
        """Write a program's instructions; return what its outputs are for these inputs."""
        inputs = input_refs(range(len(operands)))
        values: dict[Any, Any] = dict(zip(inputs, map(self._current, operands), strict=True))
        values |= {Ref("constant", i): self.constant(x) for i, x in enumerate(code.constants)}
        for ref, instruction in zip(
            instruction_refs(code.instructions), code.instructions, strict=True
        ):
            place = instruction.place or self.place
            values[ref] = self.append(instruction.substitute(values, stage=stage, place=place))
        return [values.get(x, x) for x in code.outputs]

    def canonicalize(self, instruction: Instruction) -> Instruction:
        """An instruction with its options resolved; see `tapegrad.program.canonical`."""
        op, options = CANONICAL[instruction.op](instruction, self)
        if op is instruction.op and options == instruction.options:
            return instruction
        return instruction.evolve(op=op, options=FrozenOptions(options))

    def replace_operands(self, instruction: Instruction) -> Instruction:
        """An instruction on what stands in the place of its operands while `rewrite` runs."""
        if self.replaced and not self.replaced.keys().isdisjoint(instruction.operands):
            instruction = instruction.substitute(self.replaced)
        return instruction

    def name_value(self, ref: Any, name: str) -> None:
        """Name a value, if it is an instruction's and has no name yet."""
        instruction = self.producer(ref)
        if instruction is not None and name and not instruction.name:
            self.instructions[ref.index] = instruction.evolve(name=name)

    def reshape(self, x: Operand, shape: tuple[int, ...]) -> Operand:
        """The operand in this shape: itself, if it has that shape."""
        if self.shape(x) == shape:
            return x
        like = (shape, self.definition(x).dtype) if type(x) is Ref else None
        return self.emit(reshape, x, like=like, shape=shape)

    # --- reading ----------------------------------------------------------------------

    @property
    def order(self) -> list[int]:
        """The numbers of the instructions in the program, in order."""
        return sorted(self.ranks, key=self.ranks.__getitem__)

    @order.setter
    def order(self, order: Sequence[int]) -> None:
        # what is new has a further number in its rank, and so has what is written before that
        self.ranks: dict[int, Any] = dict(zip(order, zip(range(len(order))), strict=True))
        self.now: Any = (len(order),)

    def definition(self, ref: Any) -> Any:
        """The input, constant or instruction that a Ref names."""
        kind, index = ref
        if kind == "instruction":
            return self.instructions[index]
        return (self.inputs if kind == "input" else self.constants)[index]

    def producer(self, x: Any, op: Primitive | None = None) -> Instruction | None:
        """The instruction that makes a value, if there is one (of this op)."""
        if type(x) is not Ref or x[0] != "instruction":
            return None
        instruction = self.instructions[x[1]]
        return instruction if op is None or instruction.op is op else None

    def op_of(self, x: Any) -> Any:
        """The op that makes a value; see `Form`."""
        if type(x) is not Ref:
            return x
        kind, i = x
        if kind == "instruction":
            return self.forms[i][0]
        return self.constants[i].kind if kind == "constant" else kind

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

    def placeholder(self, x: Any) -> Any:
        """A value of the operand's shape and dtype."""
        if type(x) is not Ref:
            return x
        source = self.definition(x)
        if type(source) is Instruction and source.op.like is not None:
            return source.op.like(*map(self.placeholder, source.operands), **source.options)
        return placeholder(source)

    def list_instructions(self) -> list[Instruction]:
        """The instructions in the program, in order."""
        return [self.instructions[i] for i in self.order]

    def count_uses(self) -> Counter[Any]:
        """How often each value is used; as an output too. Numbers are counted with the values."""
        # static results need not be hashable
        used = [x for x in self.outputs if type(x) is Ref]
        return Counter(chain(used, *[x.operands for x in self.list_instructions()]))

    def find_instructions(self, ops: Collection[Primitive]) -> list[int]:
        """The numbers of the instructions of these ops, in order."""
        numbers = [i for op in ops for i in self.by_op.get(op, ())]
        return sorted(numbers, key=self.ranks.__getitem__)

    def is_complex(self, instruction: Instruction) -> bool:
        """Whether an instruction gives or takes complex numbers."""
        return instruction.dtype.kind == "c" or any(
            type(x) is complex or (type(x) is Ref and self.definition(x).dtype.kind == "c")
            for x in instruction.operands
        )

    # --- changing ---------------------------------------------------------------------

    def rewrite(
        self,
        visit: Visit,
        ops: Collection[Primitive] | None = None,
        where: Callable[[Form], object] = lambda form: True,
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
        where
            Whether instructions of a form are visited; all are by default.
        """
        stale, forms = self._stale, self.forms
        ops = self.by_op if ops is None else ops
        numbers = [i for op in ops for i in self.by_op.get(op, ()) if where(forms[i])]
        if not numbers and not stale:
            return
        ranks, end = self.ranks, self.now
        # what is sorted is a heap
        self._ahead = ahead = sorted([(ranks[i], i) for i in (*numbers, *stale)])
        while ahead:
            rank, i = heappop(ahead)
            if rank == self.now or i not in ranks:
                continue
            self.now = rank
            if i in stale:
                self._put(i, self.instructions[i])
                form = forms[i]
                if i not in ranks or form[0] not in ops or not where(form):
                    continue
            instruction = self.instructions[i]
            self.at, self.stage, self.place = i, instruction.stage, instruction.place
            result: Any = visit(self, instruction)
            if type(result) is Instruction:
                self._put(i, result)
            elif result is not None:
                self.replace(i, self.replaced.get(result, result))
        stale.clear()
        self.now, self.place = end, None
        if self.replaced:
            self.outputs = tuple(map(self._current, self.outputs))
            self.replaced = {}

    def _put(self, i: int, instruction: Instruction) -> None:
        """Put an instruction in the place of another, unless its content is there already."""
        instruction = self.replace_operands(instruction)
        self._release(i)
        self.instructions[i] = instruction
        op, self.forms[i] = self.forms[i][0], self._form(i, instruction)
        if op is not instruction.op:
            self.by_op[op].discard(i)
            self.by_op[instruction.op].add(i)
            # what uses it is of another form now
            self._renew(self.users[i])
        first = self._first(i, content_key(instruction))
        if first != i:
            self.replace(i, self.refs[first])

    def replace(self, i: int, x: Any) -> None:
        """Use an operand, which keeps the name, wherever the result of an instruction is used.

        It is one that `rewrite` has reached, or will reach.
        """
        self.name_value(x, self.instructions[i].name)
        self.replaced[self.refs[i]] = x
        self._renew(self.users[i])
        self._drop(i)

    def _renew(self, numbers: Iterable[int]) -> None:
        """Have `rewrite` put instructions in their places again."""
        for i in numbers:
            self._stale.add(i)
            heappush(self._ahead, (self.ranks[i], i))

    def _form(self, i: int, instruction: Instruction) -> Form:
        """The form of an instruction, which is kept as a user of its operands."""
        users, forms = self.users, self.forms
        form: list[Any] = [instruction.op]
        # as `op` says, which takes longer to call
        for x in instruction.operands:
            of: Any = x
            if type(x) is Ref:
                of = x[0]
                if of == "instruction":
                    try:
                        users[x[1]].add(i)
                    except IndexError:
                        raise _too_late(instruction, x) from None
                    of = forms[x[1]][0]
                elif of == "constant":
                    of = self.constants[x[1]].kind
            form.append(of)
        return tuple(form)

    def _release(self, i: int) -> None:
        """Keep that an instruction uses its operands no longer."""
        users = self.users
        for x in self.instructions[i].operands:
            if type(x) is Ref and x[0] == "instruction":
                of = users[x[1]]
                of.discard(i)
                if not of:
                    self._unused.append(x[1])

    def _drop(self, i: int) -> None:
        self._release(i)
        self.by_op[self.forms[i][0]].discard(i)
        del self.ranks[i]

    def _current(self, x: Any) -> Any:
        # static results need not be hashable
        return self.replaced.get(x, x) if type(x) is Ref else x

    def _first(self, i: int, key: Any) -> int:
        """The number of the instruction of a content before one; if there is none, its own."""
        first = self.contents.setdefault(key, i)
        if first != i and self._has(first, key):
            if self.ranks[first] < self.now:
                return first
            # it comes later, and is this one then
            self._renew([first])
        self.contents[key] = i
        return i

    def _has(self, first: int, key: Any) -> bool:
        """Whether an instruction is in the program, and still of the content that it was."""
        return first in self.ranks and content_key(self.instructions[first]) == key

    def drop_unused(self) -> None:
        """Drop what no output depends on.

        Inputs stay: they are the program's signature.
        """
        if not self._unused:
            return
        returned = {x[1] for x in self.outputs if type(x) is Ref and x[0] == "instruction"}
        while self._unused:
            i = self._unused.pop()
            if not self.users[i] and i in self.ranks and i not in returned:
                self._drop(i)

    def build(self) -> Any:
        """The program as it is now, with the instructions numbered in order.

        Raises
        ------
        AssertionError
            If an instruction uses one that is no longer in the program, or that comes later.
        """
        order = self.order
        instructions = [self.instructions[i] for i in order]
        returned = [x for x in self.outputs if type(x) is Ref]
        used = set(returned).union(*[x.operands for x in instructions])
        kept = sorted([x for x in used if type(x) is Ref and x[0] == "constant"])
        moved: dict[Any, Any] = {x: Ref("constant", at) for at, x in enumerate(kept)}

        def new(xs: tuple[Any, ...]) -> tuple[Any, ...]:
            return tuple([moved[x] if type(x) is Ref and x[0] != "input" else x for x in xs])

        numbered = []
        for i, instruction, ref in zip(order, instructions, self.refs, strict=False):
            try:
                operands = new(instruction.operands)
            except KeyError as error:
                raise _too_late(instruction, error.args[0]) from None
            is_same = operands == instruction.operands
            numbered.append(instruction if is_same else instruction.with_operands(operands))
            moved[self.refs[i]] = ref
        parts: dict[str, Any] = {"instructions": tuple(numbered), "outputs": new(self.outputs)}
        return attrs.evolve(self.program, constants=tuple(map(self.definition, kept)), **parts)


def _too_late(instruction: Instruction, x: Any) -> AssertionError:
    return AssertionError(f"{instruction.op.name} uses {x}: it is not computed before")


Visit = Callable[[Builder, Instruction], Any]
# an op, and for each operand the op that makes it, "input", "constant" or the number that it is
Form = tuple[Any, ...]
