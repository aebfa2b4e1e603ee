"""Tensor, the frozen record that ops write on a tape.

A record knows its value, the op that wrote it, its operands and the record before it, so a tape is
its last record: an immutable linked list. Operators, reading values out and NumPy's protocols are
in `tapegrad.face`; writing a tape is in `tapegrad.core.tape`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, ClassVar

import attrs
import numpy as np

from tapegrad.core.callables import Named
from tapegrad.core.origin import Origin as Origin
from tapegrad.core.ownership import Array
from tapegrad.core.passing import passing_of
from tapegrad.core.pickling import Pickled
from tapegrad.face.absent import Absences
from tapegrad.face.operators import Operators
from tapegrad.face.protocols import Protocols
from tapegrad.face.reading import Reading

Rule = Callable[..., Any]

NO_OPTIONS: Mapping[str, Any] = MappingProxyType({})


@attrs.frozen(eq=False, repr=False)
class Rules(Named):
    """What a record needs to know about the op that wrote it.

    Attributes
    ----------
    name
        Its name on tapes and in messages.
    forward
        The function on arrays: operands, then options.
    vjps
        A rule for each operand, or None where no gradient passes: a function of the cotangent, the
        output, the operands and the options that returns the operand's cotangent. Rules are
        written in NumPy, so they are recorded when a derivative is itself differentiated. The
        sweep undoes broadcasting. An op that takes any number of operands has an `EachOperand` or
        a `Joint`.
    jvp
        How tangents pass: a function of the op, a dict of tangents by operand position, the
        output, the operands and the options.
    keeps_weak
        Whether a call on Python numbers alone gives a Python number, as with the arithmetic
        operators.
    takes_weak
        Whether a float32 array stays float32 beside a Python number (NEP 50). Other ops
        receive an array in its place.
    like
        A function to call instead of `forward` while compiling, where only shapes and dtypes
        matter; None to call `forward`.
    whole
        A function to call instead of `forward` on Python ints alone while compiling, which keeps
        them Python ints; None to call `forward`.
    batch
        The rule for a leading axis of examples; None if each example takes a call. See
        `tapegrad.core.batch`.
    passing
        The rules there are, each after its operand's position; empty if that depends on how many
        operands there are.
    """

    name: str
    forward: Callable[..., Any]
    vjps: Any
    jvp: Rule
    keeps_weak: bool = False
    takes_weak: bool = False
    like: Callable[..., Any] | None = attrs.field(default=None, kw_only=True)
    whole: Callable[..., Any] | None = attrs.field(default=None, kw_only=True)
    batch: Rule | None = attrs.field(default=None, kw_only=True)
    passing: Any = attrs.field(init=False, default=attrs.Factory(passing_of, takes_self=True))

    def __attrs_post_init__(self) -> None:
        self.__dict__["__module__"] = self.forward.__module__

    def __reduce__(self) -> str:
        # pickled by the name of a constant in its module
        return self.name.upper()

    def rules(self, n: int) -> Any:
        """The VJP rules of n operands."""
        return self.vjps if type(self.vjps) is tuple else self.vjps.rules(n)


@attrs.define(eq=False, repr=False, init=False)
class Draft:
    """A record under construction: first its fields are set, then its class, which seals it.

    attrs sets each field of a frozen class through ``object.__setattr__``; this takes a third of
    that time, and every call of an op makes a record.
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


@attrs.frozen(eq=False, repr=False)
class Tensor(Draft, Reading, Operators, Protocols, Pickled, Absences):
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

    __tree_leaf__: ClassVar[bool] = True
    __hash__ = object.__hash__

    @property
    def value(self) -> Array:
        """The value, a read-only array.

        Raises
        ------
        TraceError
            Inside `compile`, where only shape and dtype are known.
        """
        return self._read("reading .value")

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
        return int(np.prod(self.shape))

    def _line(self) -> str:
        name = f" {self.name!r}" if self.name else ""
        return f"line {self.index} of the tape, {self.op.name}{name}"
