"""Tensor, the frozen record that ops write on a tape, and what it is made of.

A record knows its value, the op that wrote it, its operands and the record before it, so a tape is
its last record: an immutable linked list. Operators, reading values out and NumPy's protocols are
in `tapegrad.arraylike`; writing a tape is in `tapegrad.core.writing`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from functools import partial
from types import MappingProxyType
from typing import Any, ClassVar

import attrs
import numpy as np

from tapegrad.arraylike.advice import Absences
from tapegrad.arraylike.operators import Operators
from tapegrad.arraylike.ownership import Array, readonly_view
from tapegrad.arraylike.protocols import Protocols
from tapegrad.arraylike.reading import Reading
from tapegrad.arraylike.text import short
from tapegrad.core.callables import Named, first_line, label
from tapegrad.core.pickling import Pickled
from tapegrad.tree.structure import ARRAYS, LEAVES


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
        A function of an op, its operands' values and its options that gives the record's value;
        None to call the op's forward function.
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


def differentiable(rules: Iterable[Any]) -> tuple[tuple[int, Any], ...]:
    """The rules that are not None, each after its operand's position."""
    return tuple([(i, rule) for i, rule in enumerate(rules) if rule is not None])


def differentiable_operands(op: Any) -> tuple[tuple[int, Any], ...] | None:
    """`differentiable` of an op's rules; None if they depend on the number of operands."""
    if type(op.vjps) is tuple:
        return differentiable(op.vjps)
    last = getattr(op.vjps, "last", None)
    return None if last is None else differentiable(op.rules(last + 1))


@attrs.frozen(eq=False, repr=False)
class Parts:
    """The values of a record that has several, and their cotangents or tangents.

    A record holds one value; that of a loop holds all values that the loop returns, and further
    records each take one of them out. The cotangents and tangents of such a record are `Parts`
    too, with None for zeros, so unused values cost nothing. To the sweeps it all looks like one
    floating number.

    Attributes
    ----------
    values
        Arrays or Tensors, of any shapes and dtypes.
    """

    values: tuple[Any, ...]

    __tree_leaf__: ClassVar[bool] = True
    shape: ClassVar[tuple[int, ...]] = ()
    ndim: ClassVar[int] = 0
    dtype: ClassVar[np.dtype[Any]] = np.dtype(float)

    @classmethod
    def only(cls, n: int, i: int, value: Any) -> Parts:
        """The part at i of n; the others are zero."""
        return cls(tuple([value if j == i else None for j in range(n)]))

    def __getitem__(self, i: int) -> Any:
        return self.values[i]

    def __add__(self, other: Parts) -> Parts:
        pairs = zip(self.values, other.values, strict=True)
        return Parts(tuple([b if a is None else a if b is None else a + b for a, b in pairs]))

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> Any:
        return np.zeros((), dtype or float)

    def __repr__(self) -> str:
        return f"({', '.join(['0' if x is None else short(x) for x in self.values])})"


Rule = Callable[..., Any]

NO_OPTIONS: Mapping[str, Any] = MappingProxyType({})


@attrs.frozen(eq=False, repr=False)
class Rules(Named):
    """The part of an op that a record needs: its name, forward function and rules.

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
        `tapegrad.transforms.replay`.
    complex
        Whether it takes complex operands; or the op that is written in its place where an operand
        is complex. Any other op refuses them by name, before it computes anything.
    add_into
        Of an op with one rule, for its first operand: adds what this would give to an array, in
        place and without making it. A function of the array, the cotangent, the operands and the
        options.
    passing
        The rules there are, each after its operand's position; None if that depends on how many
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
    complex: Any = attrs.field(default=False, kw_only=True)
    add_into: Rule | None = attrs.field(default=None, kw_only=True)
    passing: Any = attrs.field(
        init=False, default=attrs.Factory(differentiable_operands, takes_self=True)
    )

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


@attrs.frozen(eq=False, repr=False, init=False)
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

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        raise TypeError(
            "a Tensor is a record of a tape, not made by its class: tg.grad(fn)(x) and "
            "tg.record(fn)(x) call fn with Tensors for arrays, and by hand it is "
            "tape, t = tg.Tape().parameter(x)"
        )

    @property
    def value(self) -> Array:
        """The value, a read-only array.

        NumPy before 2.5 writes to it all the same by ``np.add.at``: do not.

        Raises
        ------
        TraceError
            Inside `compile`, where only shape and dtype are known.
        """
        return self._read("reading .value")

    @property
    def primal(self) -> Any:
        """The value as the ops read it: a Python number stays one.

        Raises
        ------
        TraceError
            Inside `compile`, where only shape and dtype are known.
        """
        value = self._read("reading .primal")
        primal = self._primal
        if type(primal) is Parts:
            return Parts(readonly_view(primal.values))
        return value if type(primal) is np.ndarray else primal

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


ARRAYS.add(Tensor)
LEAVES.add(Tensor)


@attrs.frozen
class EachOperand:
    """The rules of an op that takes any number of operands.

    Attributes
    ----------
    rule
        A VJP rule that takes the operand's position as its first argument.
    last
        The position of the last operand that has a rule; None if all have.
    """

    rule: Rule
    last: int | None = None

    def rules(self, n: int) -> list[Rule | None]:
        """The rules of n operands."""
        last = n if self.last is None else self.last
        return [partial(self.rule, i) if i <= last else None for i in range(n)]

    def passing(self, n: int) -> Iterable[tuple[int, Rule | None]]:
        """The rules of n operands that are not None, each after its operand's position."""
        return differentiable(self.rules(n))


@attrs.frozen
class Joint:
    """One rule for all operands, whose cotangents are computed together.

    Attributes
    ----------
    rule
        A VJP rule that returns a sequence with the cotangent of each operand, or None.
    """

    rule: Rule

    def rules(self, n: int) -> list[Rule | None]:
        """The rules of n operands: the first one called runs the joint rule for all."""
        cotangents: list[Any] = []

        def one(i: int, *args: Any, **options: Any) -> Any:
            if not cotangents:
                cotangents.extend(self.rule(*args, **options))
            return cotangents[i]

        return [partial(one, i) for i in range(n)]

    def passing(self, n: int) -> Iterable[tuple[int, Rule | None]]:
        """The positions of n operands, each with None for the one rule of all."""
        return [(i, None) for i in range(n)]
