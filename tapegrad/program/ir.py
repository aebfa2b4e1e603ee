"""The parts of a program: inputs, constants, instructions, outputs, and references to values."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sized
from functools import cached_property, lru_cache
from typing import Any, NamedTuple

import attrs
import numpy as np

from tapegrad import tree
from tapegrad.core.primitive import Primitive
from tapegrad.core.tensor import NO_OPTIONS
from tapegrad.declare import facts, is_elementwise
from tapegrad.declare.abstract import stand_in, told
from tapegrad.errors.words import as_text
from tapegrad.tree.numbers import PYTHON_NUMBERS
from tapegrad.tree.ownership import owned_copy, readonly_view
from tapegrad.types import Array


class Ref(NamedTuple):
    """A value of a program: an ``"input"``, a ``"constant"`` or an ``"instruction"``.

    It is a tuple because passes hash Refs more often than anything else.
    """

    kind: str
    index: int  # type: ignore[assignment]  # in the place of tuple's method


def instruction_refs(instructions: Sized) -> list[Ref]:
    """A Ref to each instruction, in order; mostly the same objects."""
    n, refs = len(instructions), list[Ref]()
    for start in range(0, n, 64):
        refs += _refs(start)
    return refs[:n]


@lru_cache(1 << 10)
def _refs(start: int) -> list[Ref]:
    # without a call of Python's for each
    return [tuple.__new__(Ref, ("instruction", i)) for i in range(start, start + 64)]


def input_refs(places: Iterable[int]) -> list[Ref]:
    """Refs to the inputs at these places; mostly the same objects."""
    return [*map(_input, places)]


@lru_cache(1 << 12)
def _input(i: int) -> Ref:
    return Ref("input", i)


Operand = Ref | float | int | bool | complex


@attrs.frozen
class Input:
    """A value that a program is given.

    Attributes
    ----------
    path
        Its path in the arguments.
    shape, dtype
        Of the array; a Python number has shape () and takes part in promotion as one.
    number
        ``"float"``, ``"int"`` or ``"complex"`` for a Python number, else None.
    """

    path: str
    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    number: str | None = None


def input_for(value: Any, path: str) -> Input:
    """An input for values like an array or a Python number."""
    if type(value) in PYTHON_NUMBERS:
        # an int may have more than 64 bits
        return Input(path, (), np.dtype(type(value)), type(value).__name__)
    array = np.asarray(value)
    return Input(path, array.shape, array.dtype)


def _content(array: Array) -> tuple[str, tuple[int, ...], bytes]:
    return array.dtype.str, array.shape, array.tobytes()


def _own_copy(array: Any) -> Array:
    # in C order, as a file has it: NumPy may add up in the order in which the elements lie
    kept: Array = readonly_view(owned_copy(np.asarray(array, order="C")))
    return kept


# what a number of NumPy's kind is in Python; a bool is no weak number
PYTHON_TYPES = {"f": float, "i": int, "u": int, "c": complex}


def number_text(x: Any) -> str:
    """A Python number as it is written."""
    if type(x) is complex:
        # as it prints, its parts would lose the signs of zeros
        return f"complex({number_text(x.real)}, {number_text(x.imag)})"
    if isinstance(x, int) or math.isfinite(x):
        return as_text(x)
    return f"float({as_text(x)!r})"


class Pickled:
    """A base of classes of attrs, which pickle by their fields, without what is kept besides."""

    __slots__ = ()

    def __reduce__(self: Any) -> tuple[Any, ...]:
        fields = attrs.fields(type(self))
        return type(self), tuple([getattr(self, field.name) for field in fields])


@attrs.frozen(slots=False)
class Constant(Pickled):
    """An array that a program holds: a copy, equal by content.

    Attributes
    ----------
    array
        The array, as the program reads it.
    captured
        Whether it comes from the recorded function, rather than from tapegrad.
    name
        What the function calls it, if that is known.
    """

    array: Array = attrs.field(eq=_content, converter=_own_copy)
    captured: bool = attrs.field(default=True, eq=False)
    name: str = attrs.field(default="", eq=False)

    # as an input or a result has one; of a constant it is no Python number
    number = False

    @property
    def value(self) -> Array:
        """The array, as others may read it."""
        array: Array = readonly_view(self.array)
        return array

    @property
    def shape(self) -> tuple[int, ...]:
        """The array's shape."""
        return self.array.shape

    @property
    def dtype(self) -> np.dtype[Any]:
        """The array's dtype."""
        return self.array.dtype

    @cached_property
    def splat(self) -> Any:
        """The number that fills the array, if it can be written as one."""
        array = self.array
        if array.size == 0 or array.dtype.kind not in "fiub" or array.dtype.itemsize > 8:
            return None
        first = array.item(0)
        # which excludes NaNs, and most arrays
        if first != array.item(-1):
            return None
        # by their bits, since -0.0 equals 0.0
        bits = array.tobytes()
        return first if bits == bits[: array.itemsize] * array.size else None

    @property
    def kind(self) -> Any:
        """The number that the array is, if it has no axes; else ``"constant"``."""
        return "constant" if self.array.shape or self.splat is None else self.splat

    @cached_property
    def literal(self) -> str:
        """A number that NumPy takes for the array, of one element; "" if there is none."""
        if self.shape != () or self.splat is None or self.dtype.kind not in PYTHON_TYPES:
            return ""
        # the shortest number that is rounded to it
        short, dtype = str(self.array[()]), self.dtype
        is_same = (
            math.isfinite(self.splat) and dtype.type(PYTHON_TYPES[dtype.kind](short)) == self.splat
        )
        return short if is_same else number_text(self.splat)


def _comparable_operands(operands: tuple[Any, ...]) -> tuple[Any, ...]:
    """Operands by which a content is told from another."""
    for x in operands:
        if type(x) is not Ref:
            return tuple([x if type(x) is Ref else told(x, id) for x in operands])
    return operands


def _comparable_options(options: Mapping[str, Any]) -> dict[str, Any]:
    """Options with arrays by their content, which would have no truth value."""
    return {n: _content(x) if type(x) is np.ndarray else x for n, x in options.items()}


STAGES = ("forward", "backward", "update")


_NO_OPTIONS: Mapping[str, Any] = owned_copy(NO_OPTIONS)
# a class of options that an instruction need not copy, as nothing in them can change
FrozenOptions: Any = type(_NO_OPTIONS)


def _freeze_options(options: Mapping[str, Any]) -> Mapping[str, Any]:
    if type(options) is FrozenOptions:
        return options
    return FrozenOptions({n: owned_copy(x) for n, x in options.items()}) if options else _NO_OPTIONS


@attrs.define(eq=False, repr=False, on_setattr=attrs.setters.NO_OP)
class Fields(Pickled):
    """An instruction whose fields can be set.

    Passes make more instructions than anything else, and setting the fields of a frozen object
    takes longer. So the fields are set here, and `as_instruction` then turns this
    object into an `Instruction`, which is frozen, without copying it.
    """

    op: Primitive
    operands: tuple[Operand, ...] = attrs.field(eq=_comparable_operands)
    options: Mapping[str, Any] = attrs.field(eq=_comparable_options, converter=_freeze_options)
    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    number: bool = False
    note: str = attrs.field(default="", eq=False)
    name: str = attrs.field(default="", eq=False)
    stage: str = attrs.field(default="forward", eq=False)
    place: Any = attrs.field(default=None, eq=False)

    def as_instruction(self) -> Instruction:
        """Freeze this object by assigning its class; nothing else may hold it."""
        self.__class__ = Instruction
        return self  # type: ignore[return-value]


@attrs.frozen(hash=False)
class Instruction(Fields):
    """One op applied.

    Passes make and read more instructions than anything else: see `Fields`.

    Attributes
    ----------
    op
        The op.
    operands
        Values of the program, and Python numbers.
    options
        The op's options; a read-only mapping.
    shape, dtype
        Of the result.
    number
        Whether the result is a Python number.
    note
        An explanation for the reader, written as a comment.
    name
        A name for the result that a reader knows: the user's variable, or one derived from a
        parameter's. Not unique.
    stage
        The part of a training step that it belongs to, one of `STAGES`.
    place
        The line of source that it was recorded for, if places were asked for.
    """

    def with_operands(self, operands: tuple[Operand, ...], **fields: Any) -> Instruction:
        """The same instruction with other operands, and other fields of these names."""
        copied = _new(Fields)
        copied.op, copied.operands, copied.options = self.op, operands, self.options
        copied.shape, copied.dtype, copied.number = self.shape, self.dtype, self.number
        copied.note, copied.name = self.note, self.name
        copied.stage, copied.place = self.stage, self.place
        for name in fields:
            setattr(
                copied, name, _freeze_options(fields[name]) if name == "options" else fields[name]
            )
        return copied.as_instruction()

    def substitute(self, values: Mapping[Any, Any], **fields: Any) -> Instruction:
        """The same instruction on what stands in the place of its operands."""
        return self.with_operands(tuple([values.get(x, x) for x in self.operands]), **fields)

    def evolve(self, **fields: Any) -> Instruction:
        """The same instruction but for these fields."""
        return self.with_operands(**{"operands": self.operands, **fields})

    @property
    def is_elementwise(self) -> bool:
        """Whether each element of the result is made of one element of each operand."""
        return is_elementwise(self.op)

    @property
    def nbytes(self) -> int:
        """The bytes of the result."""
        return math.prod(self.shape) * self.dtype.itemsize

    @property
    def is_view(self) -> bool:
        """Whether the result may share the first operand's memory."""
        return facts(self.op).view


def content_key(instruction: Instruction) -> Any:
    """A key that is equal for two instructions that compute the same."""
    options, key = instruction.options, (instruction.op, _comparable_operands(instruction.operands))
    if not options:
        return key
    return *key, *[(name, told(options[name], _by_identity)) for name in sorted(options)]


def _by_identity(option: Any) -> Any:
    # for anything but an array, equal text does not mean equal values
    return _content(option) if type(option) is np.ndarray else id(option)


_new = object.__new__


@attrs.frozen(hash=False)
class Code(Pickled):
    """Inputs, constants, instructions in order, and outputs. It holds no values and never changes.

    Attributes
    ----------
    label
        The function that was recorded.
    inputs, constants, instructions
        In order; a `Ref` names one of them.
    outputs
        Values of the program, Python numbers, and other static results as they are.
    structure
        The tree that the outputs are returned in.
    """

    label: str
    inputs: tuple[Input, ...]
    constants: tuple[Constant, ...]
    instructions: tuple[Instruction, ...]
    outputs: tuple[Any, ...]
    structure: tree.Structure

    def definition(self, ref: Ref) -> Any:
        """The input, constant or instruction that a Ref names."""
        kind, i = ref
        if kind == "instruction":
            return self.instructions[i]
        return (self.inputs if kind == "input" else self.constants)[i]

    def spec(self, x: Operand) -> Spec:
        """The shape and dtype of an operand; for a Python number, () and its class."""
        if type(x) is not Ref:
            return Spec((), type(x))
        value = self.definition(x)
        wide = complex if value.dtype.kind == "c" else float
        return Spec(value.shape, wide if value.number else value.dtype)

    @property
    def results(self) -> frozenset[Ref]:
        """The outputs that are values."""
        return frozenset(x for x in self.outputs if type(x) is Ref)


def placeholder(value: Any) -> Any:
    """A value like an input or a result, which takes no memory; the array of a constant."""
    if type(value) is Constant:
        return value.array
    return value.dtype.type(1).item() if value.number else stand_in(value.shape, value.dtype)


class Spec(NamedTuple):
    """The facts about an operand that are known before it is computed."""

    shape: tuple[int, ...]
    dtype: Any
