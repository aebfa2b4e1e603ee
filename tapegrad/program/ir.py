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
from tapegrad.declare.abstract import stand_in, value_key
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
    """Return a Ref to each instruction, in order. Refs are cached."""
    n, refs = len(instructions), list[Ref]()
    for start in range(0, n, 64):
        refs += _refs(start)
    return refs[:n]


@lru_cache(1 << 10)
def _refs(start: int) -> list[Ref]:
    # tuple.__new__, since Ref(...) calls a Python function
    return [tuple.__new__(Ref, ("instruction", i)) for i in range(start, start + 64)]


def input_refs(positions: Iterable[int]) -> list[Ref]:
    """Return Refs to the inputs at these positions. Refs are cached."""
    return [*map(_input, positions)]


@lru_cache(1 << 12)
def _input(i: int) -> Ref:
    return Ref("input", i)


Operand = Ref | float | int | bool | complex


@attrs.frozen
class Input:
    """A value that the caller passes to a program.

    Attributes
    ----------
    path
        The path of the value in the arguments.
    shape, dtype
        The shape and dtype of the array. A Python number has shape () and is weakly typed.
    number
        ``"float"``, ``"int"`` or ``"complex"`` for a Python number, else None.
    """

    path: str
    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    number: str | None = None


def input_for(value: Any, path: str) -> Input:
    """Return the input that describes an array or a Python number."""
    if type(value) in PYTHON_NUMBERS:
        # an int may have more than 64 bits
        return Input(path, (), np.dtype(type(value)), type(value).__name__)
    array = np.asarray(value)
    return Input(path, array.shape, array.dtype)


def _content(array: Array) -> tuple[str, tuple[int, ...], bytes]:
    return array.dtype.str, array.shape, array.tobytes()


def _own_copy(array: Any) -> Array:
    # in C order, as in a file: the order in memory may decide the order of NumPy's sums
    kept: Array = readonly_view(owned_copy(np.asarray(array, order="C")))
    return kept


# the Python type of a number by the kind of its dtype; no bool is weakly typed
PYTHON_TYPES = {"f": float, "i": int, "u": int, "c": complex}


def number_text(x: Any) -> str:
    """Return the Python expression of a number."""
    if type(x) is complex:
        # repr() loses the signs of zeros
        return f"complex({number_text(x.real)}, {number_text(x.imag)})"
    if isinstance(x, int) or math.isfinite(x):
        return as_text(x)
    return f"float({as_text(x)!r})"


class Pickled:
    """A base of attrs classes that pickles their fields and none of their cached properties."""

    __slots__ = ()

    def __reduce__(self: Any) -> tuple[Any, ...]:
        fields = attrs.fields(type(self))
        return type(self), tuple([getattr(self, field.name) for field in fields])


@attrs.frozen(slots=False)
class Constant(Pickled):
    """An array that a program holds. It is a copy, and constants compare by content.

    Attributes
    ----------
    array
        The array.
    captured
        Whether the array comes from the recorded function, rather than from tapegrad.
    name
        The name of the array in the function, if known.
    """

    array: Array = attrs.field(eq=_content, converter=_own_copy)
    captured: bool = attrs.field(default=True, eq=False)
    name: str = attrs.field(default="", eq=False)

    # the attribute of inputs and instructions; a constant is never a Python number
    number = False

    @property
    def value(self) -> Array:
        """A read-only view of the array."""
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
        """The number that all elements are equal to, or None."""
        array = self.array
        if array.size == 0 or array.dtype.kind not in "fiub" or array.dtype.itemsize > 8:
            return None
        first = array.item(0)
        # false for NaNs, and for most arrays
        if first != array.item(-1):
            return None
        # compare bits, since -0.0 equals 0.0
        bits = array.tobytes()
        return first if bits == bits[: array.itemsize] * array.size else None

    @property
    def kind(self) -> Any:
        """The number in an array without axes; else ``"constant"``."""
        return "constant" if self.array.shape or self.splat is None else self.splat

    @cached_property
    def literal(self) -> str:
        """The text of a number that can replace this array of one element; "" if there is none."""
        if self.shape != () or self.splat is None or self.dtype.kind not in PYTHON_TYPES:
            return ""
        # the shortest number that rounds to the element
        short, dtype = str(self.array[()]), self.dtype
        is_same = (
            math.isfinite(self.splat) and dtype.type(PYTHON_TYPES[dtype.kind](short)) == self.splat
        )
        return short if is_same else number_text(self.splat)


def _comparable_operands(operands: tuple[Any, ...]) -> tuple[Any, ...]:
    """Return operands that compare equal only if they are the same values."""
    for x in operands:
        if type(x) is not Ref:
            return tuple([x if type(x) is Ref else value_key(x, id) for x in operands])
    return operands


def _comparable_options(options: Mapping[str, Any]) -> dict[str, Any]:
    """Return options with their arrays replaced by values that compare by content."""
    return {n: _content(x) if type(x) is np.ndarray else x for n, x in options.items()}


STAGES = ("forward", "backward", "update")


_NO_OPTIONS: Mapping[str, Any] = owned_copy(NO_OPTIONS)
# the class of options that can never change, which an instruction need not copy
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
    """An application of an op.

    Passes make and read more instructions than anything else: see `Fields`.

    Attributes
    ----------
    op
        The primitive.
    operands
        Refs to values of the program, and Python numbers.
    options
        The op's options; a read-only mapping.
    shape, dtype
        The shape and dtype of the result.
    number
        Whether the result is a Python number.
    note
        An explanation for the reader, written as a comment.
    name
        A name for the result that a reader knows: the user's variable, or a name derived from a
        parameter's. Names are not unique.
    stage
        The part of a training step that the instruction belongs to, one of `STAGES`.
    place
        The line of the user's source that recorded the op, if places were asked for.
    """

    def with_operands(self, operands: tuple[Operand, ...], **fields: Any) -> Instruction:
        """Return a copy with other operands and with these fields replaced."""
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
        """Return a copy whose operands are replaced by a mapping."""
        return self.with_operands(tuple([values.get(x, x) for x in self.operands]), **fields)

    def evolve(self, **fields: Any) -> Instruction:
        """Return a copy with these fields replaced."""
        return self.with_operands(**{"operands": self.operands, **fields})

    @property
    def is_elementwise(self) -> bool:
        """Whether each element of the result depends on one element of each operand."""
        return is_elementwise(self.op)

    @property
    def nbytes(self) -> int:
        """The size of the result in bytes."""
        return math.prod(self.shape) * self.dtype.itemsize

    @property
    def is_view(self) -> bool:
        """Whether the result may share the first operand's memory."""
        return facts(self.op).view


def content_key(instruction: Instruction) -> Any:
    """Return a key that is equal only for instructions that compute the same value."""
    options, key = instruction.options, (instruction.op, _comparable_operands(instruction.operands))
    if not options:
        return key
    return *key, *[(name, value_key(options[name], _by_identity)) for name in sorted(options)]


def _by_identity(option: Any) -> Any:
    # other options than arrays may be equal and yet differ, as 1 and 1.0
    return _content(option) if type(option) is np.ndarray else id(option)


_new = object.__new__


@attrs.frozen(hash=False)
class Code(Pickled):
    """The inputs, constants, instructions and outputs of a program. It holds no values.

    Attributes
    ----------
    label
        The function that was recorded.
    inputs, constants, instructions
        The values of the program, in order. A `Ref` names one of them.
    outputs
        Refs to values, Python numbers, and static results.
    structure
        The structure of the tree of outputs.
    """

    label: str
    inputs: tuple[Input, ...]
    constants: tuple[Constant, ...]
    instructions: tuple[Instruction, ...]
    outputs: tuple[Any, ...]
    structure: tree.Structure

    def definition(self, ref: Ref) -> Any:
        """Return the input, constant or instruction that a Ref names."""
        kind, i = ref
        if kind == "instruction":
            return self.instructions[i]
        return (self.inputs if kind == "input" else self.constants)[i]

    def spec(self, x: Operand) -> Spec:
        """Return the shape and dtype of an operand; for a Python number, () and its class."""
        if type(x) is not Ref:
            return Spec((), type(x))
        value = self.definition(x)
        wide = complex if value.dtype.kind == "c" else float
        return Spec(value.shape, wide if value.number else value.dtype)

    @property
    def results(self) -> frozenset[Ref]:
        """The Refs among the outputs."""
        return frozenset(x for x in self.outputs if type(x) is Ref)


def placeholder(value: Any) -> Any:
    """Return an array that stands for a value and takes no memory; for a constant, its array."""
    if type(value) is Constant:
        return value.array
    return value.dtype.type(1).item() if value.number else stand_in(value.shape, value.dtype)


class Spec(NamedTuple):
    """The facts about an operand that are known before it is computed."""

    shape: tuple[int, ...]
    dtype: Any
