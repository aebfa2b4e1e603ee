"""Add methods to a tape that few programs need, and whose modules are imported when called."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NoReturn

import numpy as np

from tapegrad import tree
from tapegrad.arraylike.tensor import add_attributes
from tapegrad.core.tape import Tape
from tapegrad.core.tensor import Origin, Tensor
from tapegrad.core.writing import record_from, write_parameter
from tapegrad.errors.functions import label


class TapeMethods:
    """The methods that are added to `Tape`."""

    def show(self: Any, output: Tensor | None = None, cotangent: Any = None) -> str:
        """The printed tape with cotangents, and marks where no gradient passes.

        Parameters
        ----------
        output, cotangent
            As for `reverse_sweep`; without an output there are no cotangents.

        Returns
        -------
        A string that shows itself at the prompt. Below the table, each loop, branch and
        checkpointed call has a further table: of its last step, of the branch that was taken, or of
        the repeated call. The last column marks where a gradient stops: at an op without a rule, at
        a value that is not floating, or at a parameter that the output does not depend on. It also
        marks where an inner recording begins, and its sweep.

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
        from tapegrad.explain.text import format_tape

        return format_tape(self, output, cotangent)

    def _refuse_function(
        self, fn: Any, operands: tuple[Any, ...], options: Mapping[str, Any]
    ) -> NoReturn:
        """Raise for a function where an op of one result is needed, and say which ops it writes."""
        needed = "an op is needed, such as tg.multiply"
        if not callable(fn):
            raise TypeError(f"{needed}, not {fn!r}")
        if hasattr(fn, "results"):
            raise TypeError(
                f"{needed}; {fn.name} has several results, each a record of its own: call it "
                "inside tg.record"
            )
        name = label(fn)
        if str(getattr(fn, "__module__", "")).startswith("numpy") or type(fn) is np.ufunc:
            name = f"np.{name}"
        # record the function on a separate tape, for the ops that it is composed of
        last: Any = Origin(label(fn))

        def mark(x: Any) -> Any:
            nonlocal last
            if type(x) is Tensor:
                x = last = write_parameter(last, x._primal, x.name)
            return x

        args, kwargs = tree.map(mark, (operands, dict(options)))
        try:
            _, last = record_from(last, fn, args, kwargs)
        except Exception as error:
            raise TypeError(
                f"{needed}; {name} is a function, and cannot be recorded with these operands "
                f"either: {error}"
            ) from error
        parts = dict.fromkeys(f"tg.{x.op.name}" for x in Tape(last) if x._operands)
        if not parts:
            raise TypeError(f"{needed}; {name} is a function that writes nothing")
        raise TypeError(
            f"{name} is not an op but a function: with these operands it writes "
            f"{', '.join(parts)}; write {'it' if len(parts) == 1 else 'them'}, or call {name} "
            "inside tg.record"
        )


add_attributes(Tape, TapeMethods)
