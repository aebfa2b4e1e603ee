"""Tape, records in order, and the two ways to write one.

By hand, `Tape.parameter` and `Tape.write` return a new tape each time. Inside `record(fn)` a
context variable passes the tape from op to op (`tapegrad.core.writing`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, ClassVar, NoReturn, SupportsIndex, overload

import attrs
import numpy as np

from tapegrad.core.messages import refuse_branch, refuse_stranger
from tapegrad.core.op import Op, P
from tapegrad.core.tensor import Origin, Tensor
from tapegrad.core.writing import write, write_parameter
from tapegrad.errors.lines import with_user_warnings
from tapegrad.tree.numbers import describe, is_floating
from tapegrad.tree.ownership import Unchanging
from tapegrad.tree.structure import Records
from tapegrad.types import ArrayLike


@attrs.frozen(eq=False, repr=False, slots=False)
class Tape(Unchanging):
    """Records in order, from `start` (excluded) to `last`. It never changes.

    Writing returns a new tape; every older one still reads as it did.

    Attributes
    ----------
    last
        The newest record, or the `Origin` of a tape that has none.
    start
        The `Origin`, or the record before the first one for the tape of a recording inside another.
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
    # a record is an array to users, so a type checker must not see a bare Tensor
    parameters: Records = attrs.field(default=Records(), converter=Records)

    __tree_leaf__: ClassVar[bool] = True
    __recording__: ClassVar[bool] = True

    # `explain` puts these onto the class: the printed tape, and the error of `write` for a function
    show: ClassVar[Callable[..., str]]
    _refuse_function: ClassVar[Callable[..., NoReturn]]

    def parameter(self, value: ArrayLike, name: str | None = None) -> tuple[Tape, Any]:
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

    def write(self, op: Op[P], *operands: P.args, **options: P.kwargs) -> tuple[Tape, Any]:
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
        if not isinstance(op, Op) or hasattr(op, "results"):
            self._refuse_function(op, operands, options)
        bound, changed = op.bind(operands, options)
        for x in bound:
            if type(x) is Tensor and x.index > self.last.index:
                refuse_stranger(op.name, x, self.last)
        record = with_user_warnings(write, self.last, op, bound, changed)
        return Tape(record, self.start, self.parameters), record

    def __len__(self) -> int:
        return self.last.index - self.start.index

    def __iter__(self) -> Iterator[Any]:
        return iter(list(reversed(self))[::-1])

    def __reversed__(self) -> Iterator[Any]:
        record: Any = self.last
        while record is not self.start:
            yield record
            record = record.previous

    @overload
    def __getitem__(self, i: SupportsIndex) -> Any: ...

    @overload
    def __getitem__(self, i: slice) -> tuple[Any, ...]: ...

    def __getitem__(self, i: SupportsIndex | slice) -> Any:
        return Records(tuple(self)[i]) if isinstance(i, slice) else tuple(self)[i]

    def __contains__(self, x: object) -> bool:
        return any(record is x for record in reversed(self))

    def __repr__(self) -> str:
        return f"<Tape of {self.last.origin.label}: {len(self)} records>"


def descendants(tape: Tape) -> set[Tensor]:
    """Return the records of a tape that depend on its parameters."""
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
