"""Tensor, the frozen record that ops write on a tape, and the Origin where a tape begins.

A record knows its value, the op that wrote it, its operands and the record before it, so a tape is
its last record: an immutable linked list. NumPy's operators, methods and protocols are put onto the
class from outside, when the package is imported.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from types import MappingProxyType
from typing import Any, ClassVar

import attrs
import numpy as np

from tapegrad.core.rules import Rules
from tapegrad.errors.functions import first_line, label
from tapegrad.tree.ownership import Unchanging, readonly_view
from tapegrad.tree.structure import ARRAYS, LEAVES
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
        The value as ops read it: a read-only array, or a Python number, which NumPy promotes as
        one (NEP 50). To read the value, use `value`.
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
    op: Rules
    _operands: tuple[Any, ...]
    _options: Mapping[str, Any]
    index: int
    previous: Tensor | Origin
    origin: Origin
    name: str | None = None
    # set only if the origin asks for lines
    _place: Any = attrs.field(init=False)

    __tree_leaf__: ClassVar[bool] = True

    # Put onto the class. The first returns the value, or raises an error that names the reader
    # where no value is known; the second says whether NumPy would have a number or an array.
    _read: ClassVar[Callable[..., Any]]
    _is_a_number: ClassVar[Callable[..., bool]]

    @property
    def value(self) -> Array:
        """The value, a read-only array.

        NumPy before 2.5 writes to it all the same by ``np.add.at``: do not.

        Raises
        ------
        TraceError
            Inside `compile`, where only shape and dtype are known.
        """
        return self._read("reading .value")  # type: ignore[no-any-return]

    @property
    def operands(self) -> tuple[Any, ...]:
        """The op's operands."""
        return readonly_view(self._operands)  # type: ignore[no-any-return]

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
        # also that of a Python int, which may have more than 64 bits
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


# a dict takes a third of the time of frozen slots, and each recording makes an Origin
@attrs.frozen(eq=False, slots=False)
class Origin:
    """Where a tape begins; all records of a tape share it.

    Attributes
    ----------
    label
        What is recorded, for error messages.
    compiling
        Whether only shapes and dtypes may be read from the records.
    line
        The line of source where the recorded function begins; 0 if there is none.
    place
        A function that is called when a record is written and returns its place in the caller's
        source; None if places are not wanted. If it has a ``note_read``, that is called with each
        record that is read out.
    around
        The Origin of the enclosing tape, around the body of a loop for instance, whose records may
        be used here.
    doing
        Why only shapes and dtypes may be read, for error messages.
    evaluate
        A function of an op, its operands' values, its options and its operands that gives the
        record's value; None to call the op's forward function.
    """

    label: str = "a Tape()"
    compiling: bool = False
    line: int = 0
    place: Callable[[], Any] | None = None
    around: Origin | None = None
    doing: str = "compiling"
    evaluate: Callable[..., Any] | None = None
    index: ClassVar[int] = -1
    __tree_leaf__: ClassVar[bool] = True

    @property
    def origin(self) -> Origin:
        """Itself, so that an empty tape reads like any other."""
        return self

    @property
    def lines(self) -> bool:
        """Whether each record keeps the line of source that it was written for."""
        return self.place is not None and not self.compiling

    def inner(self, fn: Callable[..., Any]) -> Origin:
        """Where the tape of a function inside this one begins, written on the same terms."""
        place = self.place if self.lines else None
        terms = place, self, self.doing, self.evaluate
        return Origin(label(fn), self.compiling, first_line(fn), *terms)

    def is_within(self, other: Origin) -> bool:
        """Whether this tape is the other, or is recorded inside it."""
        here: Origin | None = self
        while here is not None and here is not other:
            here = here.around
        return here is not None


# NumPy turns a list into an array, so a list with Tensors in it is stacked.
LISTS = (list, tuple)


def primal_of(x: Any) -> Any:
    """The value of a record; anything else stays as it is."""
    return x._primal if type(x) is Tensor else x


def primals(operands: Iterable[Any]) -> list[Any]:
    """The operands as forward functions and rules read them: values in place of records."""
    return [x._primal if type(x) is Tensor else x for x in operands]


def first_tensor(x: Any) -> Tensor | None:
    """The first Tensor in a list or a tuple, at any depth; None if there is none."""
    if type(x) is Tensor:
        return x
    if type(x) in LISTS:
        for part in x:
            tensor = first_tensor(part)
            if tensor is not None:
                return tensor
    return None
