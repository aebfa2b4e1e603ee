"""Tensor, the frozen record that ops write on a tape, and the Origin where a tape begins.

A record knows its value, the primitive that computed it, its operands and the record before it. So
a tape is its last record: an immutable linked list. `arraylike` puts NumPy's operators, methods and
protocols onto the class when the package is imported.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from types import MappingProxyType
from typing import Any, ClassVar

import attrs
import numpy as np

from tapegrad.core.primitive import Primitive
from tapegrad.errors.functions import first_line, label
from tapegrad.tree.ownership import Unchanging, readonly_view
from tapegrad.tree.structure import ARRAYS, LEAVES, Records
from tapegrad.types import Array


@attrs.frozen(eq=False, repr=False, init=False)
class Tensor(Unchanging):
    """One immutable record of a tape: a value and how it was computed.

    Tensors are made by writing on a tape (`Tape.parameter`, `Tape.write`, or an
    op called inside `record`), not by calling the class. They hash by identity,
    so that they can be keys; ``==`` is NumPy's, element by element.

    Attributes
    ----------
    primal
        The value as primitives read it: a read-only array, or a Python number, which NumPy promotes
        weakly (NEP 50). To read the value, use `value`.
    op
        The op that wrote the record.
    operands
        The op's operands: Tensors of the same tape, constant arrays that the tape owns,
        and Python numbers.
    options
        The op's static options, such as ``axis``; a read-only mapping.
    index
        The record's line on the tape.
    previous
        The record on the line before, or the tape's `Origin`.
    origin
        The `Origin` that all records of one tape share.
    name
        A parameter's name, or None.
    place
        The `Place` in the caller's source that the record was written for, if asked for
        (``record(fn, lines=True)``); else None.

    Examples
    --------
    >>> import tapegrad as tg
    >>> tape, x = tg.Tape().parameter([1.0, 2.0], name="x")
    >>> tape, y = tape.write(tg.multiply, x, x)
    >>> y
    Tensor([1., 4.], line 1: multiply)
    >>> y.operands == (x, x), y.shape, y.dtype
    (True, (2,), dtype('float64'))
    """

    _primal: Any
    op: Primitive
    _operands: tuple[Any, ...]
    _options: Mapping[str, Any]
    index: int
    previous: Tensor | Origin
    origin: Origin
    name: str | None = None
    # set only if the origin asks for lines
    _place: Any = attrs.field(init=False)

    __tree_leaf__: ClassVar[bool] = True

    # `arraylike` puts these onto the class, beside NumPy's operators. The first returns the value,
    # or raises an error that names the reader where no value is known; the second says whether
    # NumPy would have a number or an array.
    _read: ClassVar[Callable[..., Any]]
    _is_a_number: ClassVar[Callable[..., bool]]

    @property
    def value(self) -> Array:
        """The value, a read-only array.

        NumPy before 2.5 writes even to such an array by ``np.add.at``: do not.

        Raises
        ------
        TraceError
            Inside `compile`, where only shape and dtype are known.
        """
        return self._read("reading .value")  # type: ignore[no-any-return]

    @property
    def operands(self) -> Records:
        """The op's operands."""
        return Records(readonly_view(self._operands))

    @property
    def options(self) -> Mapping[str, Any]:
        """The op's static options; a read-only mapping."""
        return MappingProxyType(readonly_view(dict(self._options)))

    @property
    def place(self) -> Any:
        """The `Place` in the caller's source, where ``record(fn, lines=True)`` asked for it."""
        return getattr(self, "_place", None)

    @property
    def shape(self) -> tuple[int, ...]:
        """The value's shape."""
        return self._primal.shape if type(self._primal) is np.ndarray else ()

    @property
    def dtype(self) -> np.dtype[Any]:
        """The value's dtype."""
        # `np.asarray` of a Python int with more than 64 bits would be an array of objects
        value = self._primal
        return value.dtype if type(value) is np.ndarray else np.dtype(type(value))

    @property
    def ndim(self) -> int:
        """The number of axes."""
        return len(self.shape)

    @property
    def size(self) -> int:
        """The number of elements."""
        return math.prod(self.shape)

    def _line(self) -> str:
        name = f" {self.name!r}" if self.name else ""
        return f"line {self.index} of the tape, {self.op.name}{name}"


ARRAYS.add(Tensor)
LEAVES.add(Tensor)
NO_OPTIONS: Mapping[str, Any] = MappingProxyType({})


class Draft(Tensor):
    """A record under construction: first its fields are set, then its class, which seals it.

    attrs sets each field of a frozen class through ``object.__setattr__``; this takes a third of
    that time, and every call of an op makes a record.
    """

    __slots__ = ()
    __init__ = object.__init__
    # both, since they share one slot of a class: beside an inherited function it is slow
    __setattr__ = object.__setattr__
    __delattr__ = object.__delattr__


# each recording makes an Origin, and a dict takes a third of the time of frozen slots
@attrs.frozen(eq=False, slots=False)
class Origin:
    """Where a tape begins; all records of a tape share it.

    Attributes
    ----------
    label
        The name of the recorded function, for error messages.
    compiling
        Whether only shapes and dtypes may be read from the records.
    line
        The line of source where the recorded function begins; 0 if there is none.
    find_place
        For messages and tools: a function that is called when a record is written, and returns its
        `Place` in the caller's source. None if places are not wanted.
    outer
        The Origin of the enclosing tape, whose records may be used here; the body of a loop has
        one. None for any other tape.
    activity
        Why only shapes and dtypes may be read, for error messages.
    evaluate
        For `compile` and `vmap`: a function that gives a record's value in place of the primitive's
        forward function, from the primitive, the operands' values, the options and the operands.
    note_read
        For `why_zero`: a function that is called with each record whose value is read.
    """

    label: str = "a Tape()"
    compiling: bool = False
    line: int = 0
    find_place: Callable[[], Any] | None = None
    outer: Origin | None = None
    activity: str = "compiling"
    evaluate: Callable[..., Any] | None = None
    note_read: Callable[[Tensor], None] | None = None
    index: ClassVar[int] = -1
    __tree_leaf__: ClassVar[bool] = True

    @property
    def origin(self) -> Origin:
        """The Origin itself, so that an empty tape reads like any other."""
        return self

    @property
    def has_lines(self) -> bool:
        """Whether each record keeps the line of source that it was written for."""
        return self.find_place is not None and not self.compiling

    def inner_origin(self, fn: Callable[..., Any]) -> Origin:
        """Return the Origin of a tape inside this one, with the same hooks."""
        find_place = self.find_place if self.has_lines else None
        hooks = find_place, self, self.activity, self.evaluate, self.note_read
        return Origin(label(fn), self.compiling, first_line(fn), *hooks)

    def is_within(self, other: Origin) -> bool:
        """Whether this tape is the other, or is recorded inside it."""
        here: Origin | None = self
        while here is not None and here is not other:
            here = here.outer
        return here is not None


def primal_of(x: Any) -> Any:
    """Return the value of a record, or x itself if it is no record."""
    return x._primal if type(x) is Tensor else x


def primals(operands: Iterable[Any]) -> list[Any]:
    """Return operands as forward functions and rules read them: values in place of records."""
    return [x._primal if type(x) is Tensor else x for x in operands]
