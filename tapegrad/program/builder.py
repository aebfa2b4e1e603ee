"""Builder, a program that passes change. Start with the example in the docstring of the class."""

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

# the dtype of Python numbers; not None, which NumPy takes for float64
NUMBER = object()


class Builder:
    """A program under construction, which passes change in place.

    Each instruction has a number, which it keeps, and a rank, a tuple that sorts it. Two
    instructions of equal content are one. As an example, a pass replaces ``log(exp(x))``::

        number  rank     instruction            content
        0       (0,)     exp(x)                 exp, x
        1       (1,)     log(0)                 log, 0
        2       (2,)     sin(1)                 sin, 1
        3       (3,)     sin(x)                 sin, x

    `rewrite` visits the ranks in order, from a heap. At number 1 the pass returns ``x``: `replace`
    enters ``1 -> x`` in `replaced`, drops number 1, and marks its user, number 2, as stale. At
    number 2, which is stale, the instruction is put in its place again, on its new operands:
    ``sin(x)``. This content belongs to number 3, which comes later and would be computed too
    late, so number 2 takes it over in `by_content`, and number 3 is marked as stale. At number 3
    the content is found at number 2, so ``3 -> 2`` is entered and number 3 is dropped.

    An instruction that a pass appends at number 2 gets number 4 and the rank ``(1, 4)``: after
    ``(1,)``, before ``(2,)``, and in the order of appending. At the end of `rewrite`, number 0 has
    no user left; `drop_unused` drops it, and `build` numbers what remains in the order of ranks.

    Attributes
    ----------
    program
        The program that was to be changed.
    inputs, constants
        Its inputs, and its constants with those that passes added.
    instructions
        All instructions by number, those that were dropped included.
    refs
        A Ref to each instruction, by number.
    order
        The numbers of the instructions in the program, in the order in which they run.
    ranks
        The rank of each instruction in the program, by number.
    users
        The numbers of the instructions that use each result, by number.
    outputs
        The program's outputs.
    passes
        The passes that the program is improved by; bodies of loops and branches need them too.
    by_op
        The numbers of the instructions of each op that are in the program.
    forms
        The form of each instruction, by number; see `Form`.
    by_content
        For each content the number of the instruction that has it, or had it once.
    number, stage, place
        The number, stage and place of the instruction that `rewrite` visits; instructions that are
        appended meanwhile get this stage and place.
    rank
        The rank of that instruction; appended instructions come before it.
    replaced
        During `rewrite`, the operand that replaces each value that was replaced so far.
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
        self.by_content: dict[Any, int] = {}
        self.number = 0
        self.stage = STAGES[0]
        self.place: Any = None
        self.replaced: dict[Any, Any] = {}
        # the instructions with an operand that was replaced, and a heap of all instructions that
        # `rewrite` has yet to visit
        self._stale: set[int] = set()
        self._queue: list[tuple[tuple[int, ...], int]] = []
        # a Ref to each constant by its content, and to each that is filled with one number
        self._constant_refs = {x: Ref("constant", i) for i, x in enumerate(self.constants)}
        self._filled_refs: dict[Any, Ref] = {}
        replaced = self.replaced
        self.order = range(len(program.instructions))
        for i, x in enumerate(program.instructions):
            if replaced and not replaced.keys().isdisjoint(x.operands):
                x = x.substitute(replaced)
            self.instructions.append(x)
            self.users.append(set())
            first = self.by_content.setdefault(content_key(x), i)
            if first == i:
                self.by_op[x.op].add(i)
                self.forms.append(self._register(i, x))
            else:
                replaced[self.refs[i]] = self.refs[first]
                self.name_value(self.refs[first], x.name)
                self.forms.append(())
                del self.ranks[i]
        # the instructions that may have no user
        self._unused = [i for i, users in enumerate(self.users) if not users]
        self.outputs, self.replaced = tuple(map(self._resolve, program.outputs)), {}

    # --- writing ----------------------------------------------------------------------

    def constant(self, value: Any, captured: bool = False) -> Ref:
        """A Ref to a constant of this content, which is added if there is none."""
        new = value if type(value) is Constant else Constant(value, captured)
        n = len(self.constants)
        ref = self._constant_refs.setdefault(new, Ref("constant", n))
        if ref[1] == n:
            self.constants.append(new)
        return ref

    def filled_constant(self, x: Any, dtype: np.dtype[Any], shape: tuple[int, ...] = ()) -> Ref:
        """A Ref to a constant that is filled with a number."""
        # 0.0 equals -0.0, and nan does not equal itself
        key = type(x), as_text(x), dtype, shape
        if key not in self._filled_refs:
            self._filled_refs[key] = self.constant(np.full(shape, x, dtype))
        return self._filled_refs[key]

    def append(self, instruction: Instruction) -> Ref:
        """A Ref to an instruction of this content, which is appended if there is none before.

        Operands that were replaced during `rewrite` are replaced in it.
        """
        instruction = self.replace_operands(instruction)
        if instruction.op in CANONICAL:
            instruction = self.canonicalize(instruction)
        i = len(self.instructions)
        first = self._find_equal(i, content_key(instruction))
        if first != i:
            return self.refs[first]
        if self.place is not None and instruction.place is None:
            instruction = instruction.evolve(place=self.place)
        ref = Ref("instruction", i)
        self.refs.append(ref)
        self.instructions.append(instruction)
        self.by_op[instruction.op].add(i)
        self.users.append(set())
        self.forms.append(self._register(i, instruction))
        self._unused.append(i)
        # instructions appended before the same one are in the order of their numbers
        self.ranks[i] = (*self.rank[:-1], self.rank[-1] - 1, i)
        return ref

    def emit(
        self, op: Primitive, *operands: Operand, note: str = "", like: Any = None, **options: Any
    ) -> Ref:
        """Append an op. Shape and dtype are inferred unless `like` gives them."""
        if like is None:
            result = np.asarray(evaluate(op, [self.placeholder(x) for x in operands], options))
            like = result.shape, result.dtype
        rest = *like, False, note, "", self.stage, self.place
        return self.append(Fields(op, operands, options, *rest).as_instruction())

    def inline(self, code: Code, operands: Sequence[Any], stage: str) -> list[Any]:
        """Append a program's instructions, and return its outputs for these inputs."""
        inputs = input_refs(range(len(operands)))
        values: dict[Any, Any] = dict(zip(inputs, map(self._resolve, operands), strict=True))
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
        """The instruction with the operands that `rewrite` has replaced so far replaced."""
        if self.replaced and not self.replaced.keys().isdisjoint(instruction.operands):
            instruction = instruction.substitute(self.replaced)
        return instruction

    def name_value(self, ref: Any, name: str) -> None:
        """Name the result of an instruction, unless it has a name."""
        instruction = self.producer(ref)
        if instruction is not None and name and not instruction.name:
            self.instructions[ref.index] = instruction.evolve(name=name)

    def reshape(self, x: Operand, shape: tuple[int, ...]) -> Operand:
        """The operand in this shape; the operand itself, if it has this shape."""
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
        # an appended instruction has a longer rank than the instruction before which it stands
        self.ranks: dict[int, Any] = dict(zip(order, zip(range(len(order))), strict=True))
        self.rank: Any = (len(order),)

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
        """The entry for an operand in a `Form`."""
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
        # as `definition` does, which takes longer to call
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
        """How often each operand is used, outputs included; Python numbers are counted too."""
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
            place, or None to change nothing. Instructions that it appends come before this one.
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
        ranks, end = self.ranks, self.rank
        # a sorted list is a heap
        self._queue = queue = sorted([(ranks[i], i) for i in (*numbers, *stale)])
        while queue:
            rank, i = heappop(queue)
            if rank == self.rank or i not in ranks:
                continue
            self.rank = rank
            if i in stale:
                self._overwrite(i, self.instructions[i])
                form = forms[i]
                if i not in ranks or form[0] not in ops or not where(form):
                    continue
            instruction = self.instructions[i]
            self.number, self.stage, self.place = i, instruction.stage, instruction.place
            result: Any = visit(self, instruction)
            if type(result) is Instruction:
                self._overwrite(i, result)
            elif result is not None:
                self.replace(i, self.replaced.get(result, result))
        stale.clear()
        self.rank, self.place = end, None
        if self.replaced:
            self.outputs = tuple(map(self._resolve, self.outputs))
            self.replaced = {}

    def _overwrite(self, i: int, instruction: Instruction) -> None:
        """Replace instruction i; drop it if an earlier instruction has the new content."""
        instruction = self.replace_operands(instruction)
        self._unregister(i)
        self.instructions[i] = instruction
        op, self.forms[i] = self.forms[i][0], self._register(i, instruction)
        if op is not instruction.op:
            self.by_op[op].discard(i)
            self.by_op[instruction.op].add(i)
            # the forms of its users name the op
            self._mark_stale(self.users[i])
        first = self._find_equal(i, content_key(instruction))
        if first != i:
            self.replace(i, self.refs[first])

    def replace(self, i: int, x: Any) -> None:
        """Use an operand in place of the result of instruction i, and drop the instruction.

        The operand takes over its name. `rewrite` may have visited i or not.
        """
        self.name_value(x, self.instructions[i].name)
        self.replaced[self.refs[i]] = x
        self._mark_stale(self.users[i])
        self._drop(i)

    def _mark_stale(self, numbers: Iterable[int]) -> None:
        """Mark instructions whose operands or content changed, for `rewrite` to replace."""
        for i in numbers:
            self._stale.add(i)
            heappush(self._queue, (self.ranks[i], i))

    def _register(self, i: int, instruction: Instruction) -> Form:
        """Enter instruction i among the users of its operands; return its form."""
        users, forms = self.users, self.forms
        form: list[Any] = [instruction.op]
        # as `op_of` does, which takes longer to call
        for x in instruction.operands:
            producer: Any = x
            if type(x) is Ref:
                producer = x[0]
                if producer == "instruction":
                    try:
                        users[x[1]].add(i)
                    except IndexError:
                        raise _too_late(instruction, x) from None
                    producer = forms[x[1]][0]
                elif producer == "constant":
                    producer = self.constants[x[1]].kind
            form.append(producer)
        return tuple(form)

    def _unregister(self, i: int) -> None:
        """Remove instruction i from the users of its operands."""
        users = self.users
        for x in self.instructions[i].operands:
            if type(x) is Ref and x[0] == "instruction":
                others = users[x[1]]
                others.discard(i)
                if not others:
                    self._unused.append(x[1])

    def _drop(self, i: int) -> None:
        self._unregister(i)
        self.by_op[self.forms[i][0]].discard(i)
        del self.ranks[i]

    def _resolve(self, x: Any) -> Any:
        # static results need not be hashable
        return self.replaced.get(x, x) if type(x) is Ref else x

    def _find_equal(self, i: int, key: Any) -> int:
        """Return the number of an earlier instruction of this content, or i."""
        first = self.by_content.setdefault(key, i)
        if first != i and self._has_content(first, key):
            if self.ranks[first] < self.rank:
                return first
            # it comes later, and will be replaced by this one
            self._mark_stale([first])
        self.by_content[key] = i
        return i

    def _has_content(self, i: int, key: Any) -> bool:
        """Whether instruction i is in the program, and has this content."""
        return i in self.ranks and content_key(self.instructions[i]) == key

    def drop_unused(self) -> None:
        """Drop the instructions that no output depends on.

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
        """Build the program; instructions are numbered in the order in which they run.

        Raises
        ------
        AssertionError
            If an instruction uses a result that is dropped or comes later.
        """
        order = self.order
        instructions = [self.instructions[i] for i in order]
        returned = [x for x in self.outputs if type(x) is Ref]
        used = set(returned).union(*[x.operands for x in instructions])
        constants = sorted([x for x in used if type(x) is Ref and x[0] == "constant"])
        new_refs: dict[Any, Any] = {x: Ref("constant", i) for i, x in enumerate(constants)}

        def renumber(xs: tuple[Any, ...]) -> tuple[Any, ...]:
            return tuple([new_refs[x] if type(x) is Ref and x[0] != "input" else x for x in xs])

        numbered = []
        for i, instruction, ref in zip(order, instructions, self.refs, strict=False):
            try:
                operands = renumber(instruction.operands)
            except KeyError as error:
                raise _too_late(instruction, error.args[0]) from None
            is_same = operands == instruction.operands
            numbered.append(instruction if is_same else instruction.with_operands(operands))
            new_refs[self.refs[i]] = ref
        parts: dict[str, Any] = {"instructions": tuple(numbered), "outputs": renumber(self.outputs)}
        return attrs.evolve(self.program, constants=tuple(map(self.definition, constants)), **parts)


def _too_late(instruction: Instruction, x: Any) -> AssertionError:
    return AssertionError(f"{instruction.op.name} uses {x}: it is not computed before")


Visit = Callable[[Builder, Instruction], Any]
# an op, and for each operand the op that computes it, "input", the kind of the constant, or the
# Python number itself
Form = tuple[Any, ...]
