"""Tape, records in order, and the two ways to write one.

By hand, `Tape.parameter` and `Tape.write` return a new tape each time. Inside `record(fn)` the
tape is threaded for the user (`tapegrad.core.writing`).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, ClassVar, NoReturn, SupportsIndex, overload

import attrs
import numpy as np

from tapegrad import tree
from tapegrad.arraylike.lines import with_user_warnings
from tapegrad.arraylike.table import lazy_import
from tapegrad.arraylike.text import Tabled, table
from tapegrad.core.callables import label
from tapegrad.core.messages import describe, refuse_branch, refuse_stranger
from tapegrad.core.operands import is_floating
from tapegrad.core.pickling import Unchanging
from tapegrad.core.tensor import Origin, Tensor
from tapegrad.core.writing import recorded_from, write, write_parameter


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
        if not isinstance(value, np.ndarray | np.generic | float | complex):
            value = np.asarray(value)
        if not is_floating(value):
            raise TypeError(
                f"a parameter must be floating, not {describe(value)}; write value.astype(float)"
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
            If the op does not take these operands, has several results, or is a function
            composed of ops.
        """
        if not hasattr(op, "bind") or hasattr(op, "results"):
            _refuse_function(op, operands, options)
        operands, options = op.bind(operands, options)
        for x in operands:
            if type(x) is Tensor and x.index > self.last.index:
                refuse_stranger(op.name, x, self.last)
        record = with_user_warnings(write, self.last, op, operands, options)
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
        A string that shows itself at the prompt. Below the table, each loop, branch and
        checkpointed call has a table of its own: of its last step, of the branch that was taken, of
        the call repeated. The last column says where the way back ends: at an op without a rule, at
        a value that is not floating, or at a parameter that the output does not depend on. It also
        says where a recording inside another begins and is swept.

        Raises
        ------
        TypeError, ValueError, TapeError
            As for `reverse_sweep`.

        Examples
        --------
        >>> import tapegrad as tg
        >>> output, tape = tg.record(lambda x, y: x * tg.stop_gradient(x))(2.0, 1.0)
        >>> tape.show(output)
        line  record         operands  shape  dtype    value  cotangent  gradient
           0  x                        ()     float64  2.0    2.0
           1  y                        ()     float64  1.0               gets none
           2  stop_gradient  %0        ()     float64  2.0    2.0        stops here
           3  multiply       %0, %2    ()     float64  4.0    1.0
        """
        return lazy_import("tapegrad.explain.text", "shown")(self, output, cotangent)  # type: ignore[no-any-return]

    def __repr__(self) -> str:
        return f"<Tape of {self.last.origin.label}: {len(self)} records>"

    def __str__(self) -> str:
        return table(self)


def ancestors(tape: Tape, outputs: Iterable[Tensor]) -> set[Tensor]:
    """The outputs, and the records of a tape that they depend on."""
    reached = set(outputs)
    for record in reversed(tape):
        if record in reached:
            reached.update(x for x in record._operands if type(x) is Tensor)
    return reached


def descendants(tape: Tape) -> set[Tensor]:
    """The records of a tape that depend on its parameters."""
    reached = set(tape.parameters)
    written, start = set(), tape.start
    for record in tape:
        written.add(record)
        for x in record._operands:
            if type(x) is Tensor:
                if x in reached:
                    reached.add(record)
                elif x not in written and x.index > start.index and x.origin is start.origin:
                    refuse_branch(x)
    return reached


def _refuse_function(fn: Any, operands: tuple[Any, ...], options: Mapping[str, Any]) -> NoReturn:
    """Raise for a function where an op of one result is needed, and say which ops it writes."""
    needed = "an op is needed, such as tg.multiply"
    if not callable(fn):
        raise TypeError(f"{needed}, not {fn!r}")
    if hasattr(fn, "results"):
        raise TypeError(
            f"{needed}; {fn.name} has several results, each a record of its own: call it inside "
            "tg.record"
        )
    name = label(fn)
    if str(getattr(fn, "__module__", "")).startswith("numpy") or type(fn) is np.ufunc:
        name = f"np.{name}"
    # recorded on a separate tape, to say what it is made of
    last: Any = Origin(label(fn))

    def mark(x: Any) -> Any:
        nonlocal last
        if type(x) is Tensor:
            x = last = write_parameter(last, x._primal, x.name)
        return x

    args, kwargs = tree.map(mark, (operands, dict(options)))
    try:
        _, last = recorded_from(last, fn, args, kwargs)
    except Exception as error:
        raise TypeError(
            f"{needed}; {name} is a function, and cannot be recorded with these operands either: "
            f"{error}"
        ) from error
    parts = dict.fromkeys(f"tg.{x.op.name}" for x in Tape(last) if x._operands)
    if not parts:
        raise TypeError(f"{needed}; {name} is a function that writes nothing")
    raise TypeError(
        f"{name} is not an op but a function: with these operands it writes {', '.join(parts)}; "
        f"write {'it' if len(parts) == 1 else 'them'}, or call {name} inside tg.record"
    )
