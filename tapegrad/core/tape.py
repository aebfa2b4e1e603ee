"""Tape, records in order, and the two ways to write one.

By hand, `Tape.parameter` and `Tape.write` return a new tape each time. Inside
`record(fn)` the tape is threaded for the user: one context variable holds the
last record written, and an op called on a Tensor rebinds it to the next.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextvars import ContextVar, copy_context
from types import MappingProxyType
from typing import Any, ClassVar, ParamSpec, SupportsIndex, TypeVar, overload

import attrs
import numpy as np
from numpy import ndarray

from tapegrad import tree
from tapegrad.core.callables import Description, check_callable, label
from tapegrad.core.lists import LISTS, as_operand
from tapegrad.core.operands import PYTHON_NUMBERS, as_constant, is_floating, solvable
from tapegrad.core.ownership import keep, own
from tapegrad.core.parts import Parts
from tapegrad.core.pickling import Unchanging
from tapegrad.core.refusals import (
    describe,
    explained,
    refuse_function,
    refuse_leaf,
    refuse_leaks,
    refuse_stranger,
)
from tapegrad.core.tensor import NO_OPTIONS, Draft, Origin, Rules, Tensor
from tapegrad.core.whole import forward_of
from tapegrad.face.later import later
from tapegrad.face.lines import users_place
from tapegrad.face.text import Tabled, table
from tapegrad.face.warned import told, warn_at_users_line

P = ParamSpec("P")
R = TypeVar("R")
Last = Tensor | Origin
Operands = tuple[Any, ...]
Options = Mapping[str, Any]

# The last record of the recording that is running in this thread or task, if any. Only
# `recorded_from` and `advance` set it.
CURRENT: ContextVar[Tensor | Origin | None] = ContextVar("tapegrad_tape", default=None)
# Called with a record, from which the running recording continues.
advance = CURRENT.set

# The op of parameters, which also marks where a recording inside another begins.
PARAMETER = Rules(
    "parameter",
    lambda x: x,
    (lambda g, y, x: g,),
    jvp=lambda op, tangents, y, x: tangents[0],
    keeps_weak=True,
    takes_weak=True,
)

# The op that turns a Python number into an array, for ops that need one.
ASARRAY = Rules(
    "asarray",
    lambda a: np.asarray(a),
    (lambda g, y, a: g,),
    jvp=lambda op, tangents, y, a: tangents[0],
    takes_weak=True,
)


@attrs.frozen(eq=False, repr=False, slots=False)
class Tape(Tabled, Unchanging):
    """Records in order, from `start` (excluded) to `last`. It never changes.

    Writing returns a new tape; every older one still reads as it did.

    Attributes
    ----------
    last
        The newest record, or the `Origin` of a tape that has none.
    start
        Where the tape begins: its `Origin` or, for the tape of a recording inside another, the
        record before its own first one.
    parameters
        The records that `reverse_sweep` returns gradients for.

    Examples
    --------
    >>> import tapegrad as tg
    >>> tape, x = tg.Tape().parameter([1.0, 2.0, 3.0], name="x")
    >>> tape, y = tape.write(tg.multiply, x, x)
    >>> tape, z = tape.write(tg.sum, y)
    >>> print(tape)
    line  record      operands  shape  dtype    value
       0  x                     (3,)   float64  [1. 2. 3.]
       1  multiply    %0, %0    (3,)   float64  [1. 4. 9.]
       2  sum         %1        ()     float64  14.0
    >>> tg.reverse_sweep(tape, z)[x]
    array([2., 4., 6.])
    """

    last: Tensor | Origin = attrs.Factory(Origin)
    start: Tensor | Origin = attrs.Factory(lambda self: self.last.origin, takes_self=True)
    parameters: tuple[Tensor, ...] = ()

    __tree_leaf__: ClassVar[bool] = True
    __recording__: ClassVar[bool] = True

    def parameter(self, value: Any, name: str | None = None) -> tuple[Tape, Tensor]:
        """Write a parameter: a value whose gradient is wanted.

        Parameters
        ----------
        value
            A floating array, or anything that NumPy turns into one; it is copied. A Python float
            stays one, and takes part in promotion as one.
        name
            Its name in the printed tape.

        Returns
        -------
        tape, record

        Raises
        ------
        TypeError
            If the value is not floating.
        """
        if not isinstance(value, np.ndarray | np.generic | float):
            value = np.asarray(value)
        if not is_floating(value):
            raise TypeError(
                f"a parameter is floating, not {describe(value)}; write value.astype(float)"
            )
        record = write_parameter(self.last, value, name)
        return Tape(record, self.start, (*self.parameters, record)), record

    def write(self, op: Any, *operands: Any, **options: Any) -> tuple[Tape, Tensor]:
        """Apply an op and write the result.

        Parameters
        ----------
        op
            The op, such as ``tg.multiply``.
        *operands
            Tensors of this tape, and constants, which are copied.
        **options
            The op's options, such as ``axis``.

        Returns
        -------
        tape, record

        Raises
        ------
        TapeError
            If an operand is a record of another tape.
        TypeError, ValueError, IndexError
            If the op does not take these operands, or is a function composed of ops.
        """
        if not hasattr(op, "bind"):
            # recorded on a separate tape, to say what it is made of
            refuse_function(op, _taped, operands, options)
        operands, options = op.bind(operands, options)
        for x in operands:
            if type(x) is Tensor and x.index > self.last.index:
                refuse_stranger(op.name, x, self.last)
        record = told(write, self.last, op, operands, options)
        return Tape(record, self.start, self.parameters), record

    def __len__(self) -> int:
        return self.last.index - self.start.index

    def __iter__(self) -> Iterator[Tensor]:
        return iter(list(reversed(self))[::-1])

    def __reversed__(self) -> Iterator[Tensor]:
        record: Any = self.last
        while record is not self.start:
            yield record
            record = record.previous

    @overload
    def __getitem__(self, i: SupportsIndex) -> Tensor: ...

    @overload
    def __getitem__(self, i: slice) -> tuple[Tensor, ...]: ...

    def __getitem__(self, i: SupportsIndex | slice) -> Tensor | tuple[Tensor, ...]:
        return tuple(self)[i]

    def show(self, output: Tensor | None = None, cotangent: Any = None) -> str:
        """The printed tape with cotangents, and marks where no gradient passes.

        Parameters
        ----------
        output, cotangent
            As for `reverse_sweep`; without an output there are no cotangents.

        Returns
        -------
        A string that shows itself at the prompt. The last column says where the way back ends: at
        an op without a rule, at a value that is not floating, or at a parameter that the output
        does not depend on. It also says where a recording inside another begins and is swept.

        Raises
        ------
        TypeError, ValueError, TapeError
            As for `reverse_sweep`.

        Examples
        --------
        >>> import tapegrad as tg
        >>> output, tape = tg.record(lambda x, y: x * tg.stop_gradient(x))(2.0, 1.0)
        >>> tape.show(output)
        line  record      operands  shape  dtype    value  cotangent  gradient
           0  x                     ()     float64  2.0    2.0
           1  y                     ()     float64  1.0               gets none
           2  stopped     %0        ()     float64  2.0    2.0        stops here
           3  multiply    %0, %2    ()     float64  4.0    1.0
        """
        return later("tapegrad.show.text", "shown")(self, output, cotangent)  # type: ignore[no-any-return]

    def __repr__(self) -> str:
        return f"<Tape of {self.last.origin.label}: {len(self)} records>"

    def __str__(self) -> str:
        return table(self)


# --- writing ------------------------------------------------------------------


def write(last: Last, op: Rules, operands: Operands, options: Options) -> Tensor:
    """The record that follows `last`: `op` applied to `operands`.

    Constant operands and options are kept as described in `tapegrad.core.ownership`.
    """
    origin = last.origin
    given = options
    if options:
        options = {name: keep(value) for name, value in given.items()}
        # lists are kept as tuples, and NumPy does not accept a list as an axis
        given = {n: value if type(value) is list else options[n] for n, value in given.items()}
    values: list[Any] = []
    for x in operands:
        if type(x) is Tensor:
            if x.origin is not origin:
                return write(*brought_in(last, op, operands), given)
            value = x._primal
            if type(value) is ndarray or op.takes_weak:
                values.append(value)
                continue
            x = last = write(last, ASARRAY, (x,), NO_OPTIONS)
        elif type(x) is ndarray and x.dtype.kind == "f":
            x = own(x)
        elif type(x) in LISTS:
            last, x = as_operand(write, last, x, op.name)
        else:
            x = as_constant(x, op.name)
        value = x._primal if type(x) is Tensor else x
        i = len(values)
        operands = (*operands[:i], x, *operands[i + 1 :])
        values.append(value)
    forward = op.forward
    if origin.compiling and (op.keeps_weak or op.like is not None):
        forward = forward_of(op, values)
    try:
        value = forward(*values, **given) if given else forward(*values)
    except (ValueError, TypeError, IndexError) as error:
        if not origin.compiling or not isinstance(error, np.linalg.LinAlgError):
            raise explained(error, op, values, given, last) from error
        value = forward(*solvable(values), **given)
    if type(value) is ndarray:
        # positional, which takes half the time
        value.setflags(False)  # type: ignore[call-arg]
    elif op.keeps_weak and PYTHON_NUMBERS.issuperset(map(type, values)):
        value = value.item() if isinstance(value, np.generic) else value
    elif type(value) is not Parts:
        value = np.asarray(value)
        value.setflags(False)  # type: ignore[call-arg]
    return write_known(last, op, operands, options, value)


def write_known(
    last: Last, op: Rules, operands: Operands, options: Options, value: Any, name: str | None = None
) -> Tensor:
    """The record that follows `last`, from checked operands and a known value."""
    origin, kept = last.origin, MappingProxyType(options) if options else NO_OPTIONS
    draft = Draft()
    # up to three at a time, Python makes no tuple of them
    draft._primal, draft.op, draft._operands = value, op, operands
    draft._options, draft.index = kept, last.index + 1
    draft.previous, draft.origin, draft.name = last, origin, name
    if origin.place is not None:
        draft._place = origin.place()
    draft.__class__ = Tensor
    return draft  # type: ignore[return-value]


def write_parameter(last: Last, value: Any, name: str | None) -> Tensor:
    """The record of a parameter that follows `last`.

    In a recording inside another, a Tensor of the outer tape is marked: it becomes the operand of
    its parameter record, so that an outer sweep continues through it.
    """
    if type(value) is Tensor:
        return write_known(last, PARAMETER, (value,), NO_OPTIONS, value._primal, name)
    kept = own(value) if type(value) is ndarray else as_constant(value, "parameter")
    return write_known(last, PARAMETER, (), NO_OPTIONS, kept, name)


def brought_in(last: Last, op: Rules, operands: Any) -> tuple[Any, Any, Any]:
    """The arguments, with operands of an enclosing tape marked on this one.

    The body of a loop is recorded on a tape inside the loop's.
    """
    own = []
    for x in operands:
        if type(x) is Tensor and x.origin is not last.origin:
            if not last.origin.is_within(x.origin):
                refuse_stranger(op.name, x, last)
            x = last = write_parameter(last, x, x.name)
        own.append(x)
    return last, op, tuple(own)


# --- recording ------------------------------------------------------------------


def record(fn: Callable[P, R], lines: bool = False) -> Callable[P, tuple[R, Tape]]:
    """Record what a function does.

    Parameters
    ----------
    fn
        Any function. Every floating leaf in its arguments' trees (arrays and Python floats)
        becomes a parameter, and ops called on them are recorded.
    lines
        Whether each record keeps its ``place``, the line of source that it was written for, which
        `Tape.show` and messages then name. This takes time. Inside another recording, the outer
        one decides.

    Returns
    -------
    A function of the same arguments that returns what `fn` returned, its Tensors records of the
    tape, and the `Tape`. Called inside a recording, it continues on that recording's tape, and
    returns its own part of it.

    Raises
    ------
    TapeError
        When called: if the result holds a Tensor of a tape that has ended.

    Examples
    --------
    >>> import tapegrad as tg
    >>> output, tape = tg.record(lambda x, y: x * y + 1.0)(2.0, y=3.0)
    >>> print(tape)
    line  record      operands  shape  dtype    value
       0  x                     ()     float64  2.0
       1  y                     ()     float64  3.0
       2  multiply    %0, %1    ()     float64  6.0
       3  add         %2, 1.0   ()     float64  7.0
    """
    check_callable(fn)

    def recorded(*args: P.args, **kwargs: P.kwargs) -> tuple[R, Tape]:
        output, tape, _ = run(fn, args, kwargs, place=users_place if lines else None)
        return output, tape

    recorded.__name__ = recorded.__qualname__ = f"record({label(fn)})"
    recorded.__doc__ = fn.__doc__
    return recorded


def run(
    fn: Callable[..., Any],
    args: tuple[Any, ...],
    kwargs: Mapping[str, Any] = NO_OPTIONS,
    argnums: tuple[int, ...] | None = None,
    place: Callable[[], Any] | None = None,
    description: Description | None = None,
) -> tuple[Any, Tape, tuple[Any, ...]]:
    """Record one call, with the leaves of the given arguments as parameters.

    With `argnums` every leaf of those arguments must be floating; without, the
    floating leaves of all arguments are parameters and the others stay as they are.
    Returns the output, the tape, and the marked arguments, trees of parameters: as they were
    before the call, since the function is given containers of its own.
    """
    outer = CURRENT.get()
    of = description or Description.of(fn)
    start = last = Origin(of.label, False, of.line, place) if outer is None else outer
    parameters: list[Tensor] = []

    def mark(leaf: Any, path: str) -> Any:
        nonlocal last
        if type(leaf) is ndarray and leaf.dtype.kind == "f":
            last = write_known(last, PARAMETER, (), NO_OPTIONS, own(leaf), path)
        elif is_floating(leaf):
            if type(leaf) is Tensor:
                last, _, (leaf,) = brought_in(last, PARAMETER, (leaf,))
            last = write_parameter(last, leaf, path)
        else:
            return leaf if argnums is None else refuse_leaf(fn, leaf, path)
        parameters.append(last)
        return last

    given, which = list(args), range(len(args)) if argnums is None else dict.fromkeys(argnums)
    for i in which:
        given[i] = tree.map_with_path(mark, args[i], of.argument(i))
    if argnums is None:
        kwargs = {name: tree.map_with_path(mark, x, name) for name, x in kwargs.items()}
    marked = tuple(map(given.__getitem__, which))
    # the function may change what it is given; `marked` stays as it is
    given = [*map(tree.fresh, given)]
    kwargs = {name: tree.fresh(x) for name, x in kwargs.items()} if kwargs else kwargs
    if outer is None:
        output, last = recorded_from(last, fn, given, kwargs)
    else:
        # the outer recording continues from here, even if fn raises
        advance(last)
        output = fn(*given, **kwargs)
        last = last_written()
        refuse_leaks(output, last, of.label)
    return output, Tape(last, start, tuple(parameters)), marked


def recorded_from(
    last: Last | None, fn: Callable[..., Any], args: Iterable[Any], kwargs: Options = NO_OPTIONS
) -> tuple[Any, Any]:
    """What a function returns and the last record, in a recording that continues from `last`.

    With None, nothing is recorded. An enclosing recording is not advanced. The call runs in its
    own context (PEP 567), which ends with it, so no interrupt can leave a recording open. Other
    context variables that the function sets, such as NumPy's error state, end with it too.
    """
    context = copy_context()
    context.run(warn_at_users_line)
    context.run(advance, last)
    output = context.run(fn, *args, **kwargs)
    last = context[CURRENT]
    refuse_leaks(output, last)
    return output, last


def _taped(*call: Any) -> Any:
    return recorded_from(None, lambda: run(*call)[1], ())[0]


def is_recording(origin: Origin) -> bool:
    """Whether the running recording writes on the tape that begins there, or inside it."""
    last = CURRENT.get()
    return last is not None and last.origin.is_within(origin)


def last_written() -> Last:
    """The last record of the running recording."""
    last = CURRENT.get()
    assert last is not None
    return last


def append(op: Rules, operands: Operands, options: Options) -> Tensor:
    """Write on the tape of the running recording."""
    record = write(last_written(), op, operands, options)
    advance(record)
    return record
