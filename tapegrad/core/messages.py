"""Error messages for recording and sweeping."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from contextvars import ContextVar
from typing import Any, NoReturn

import numpy as np

from tapegrad import tree
from tapegrad.core.rules import Rules
from tapegrad.core.tensor import Origin, Tensor
from tapegrad.errors import TapeError
from tapegrad.tree.numbers import describe, refuse_lossy

_KINDS = (np.linalg.LinAlgError, np.exceptions.AxisError, IndexError, TypeError, ValueError)


def explained(
    error: Exception,
    op: Rules,
    values: list[Any],
    options: Mapping[str, Any],
    last: Tensor | Origin,
) -> Exception:
    """The same error, naming the op, its operands and the line."""
    arguments = ", ".join(map(describe, values))
    arguments += "".join(f", {name}={value!r}" for name, value in options.items())
    message = (
        f"{op.name}({arguments}), line {last.index + 1} of the tape of {last.origin.label}: {error}"
    )
    for name in ("axis", "axes"):
        if isinstance(error, TypeError) and isinstance(options.get(name), list | np.ndarray):
            message += f"; {name} is an integer or a tuple of integers, not an array or a list"
    # including NumPy's own kinds, since a function may catch them
    return next(kind for kind in _KINDS if isinstance(error, kind))(message)


class Gradients(dict[Tensor, Any]):
    """Gradients by parameter; a missing key raises an error that says what the keys are."""

    __slots__ = ()

    def __missing__(self, key: Any) -> NoReturn:
        hint = "pass a record of tape.parameters"
        if type(key) is Tensor:
            what = f"{key._line()}, is not a parameter of the tape that was swept"
            hint += "; tape.show(output) and tg.sweep_steps give the cotangents of all records"
        else:
            what = f"gradients have parameters for keys, not {key!r}"
            hint += ", or name them: {p.name: g for p, g in gradients.items()}"
        raise KeyError(f"{what}; {hint}")


# The refusals in the call of a function that is not recorded, which may catch the errors.
REFUSED: ContextVar[deque[str]] = ContextVar("refused", default=deque(maxlen=0))  # noqa: B039


def refuse_stranger(what: str, x: Tensor, last: Tensor | Origin | None) -> NoReturn:
    """Raise for an operand that is not on the tape being written."""
    text = f"{what}: an operand ({x._line()}) belongs to the tape of {x.origin.label}"
    if last is None:
        text += (
            ", and no recording is running in this thread or task; write with "
            "tape.write(op, ...), do the work inside the recorded function, or use its value"
        )
    elif x.origin is last.origin:
        text += ", but to a record after this tape's last: use the newer tape"
    else:
        there = last.origin.label
        if x.origin.label == there:  # two lambdas
            text += f" at line {x.origin.line} of its source"
            there += f" at line {last.origin.line}"
        text += (
            f", not to that of {there}, which is being written; "
            "pass it as an argument, or use its value (t.value)"
        )
    REFUSED.get().append(text)
    raise TapeError(text)


def check_returned(output: Any, last: Tensor | Origin | None, called: str | None = None) -> None:
    """Raise for a leaf that a function must not return.

    That is a Tensor which is not of the tape that was written, or one around it. A loop's body, an
    example of a batch, a checkpointed call and the functions of `cond` are recorded on tapes of
    their own. What such a function sets aside, instead of returning it, is out of place in any
    other. And it is an array that would lose its mask or its unit.
    """
    here = None if last is None else last.origin
    try:
        leaves = tree.leaves(output)
    except TypeError:
        # an object that is no tree, which `record` hands on
        return
    of = called or (here.label if here else "a function that is not recorded")
    try:
        refuse_lossy(of, leaves)
    except TypeError:
        for path, x in zip(tree.paths(output), leaves, strict=True):
            refuse_lossy(f"{of}: the result{path and f' at {path}'}", (x,))
    for i, x in enumerate(leaves):
        if type(x) is Tensor and x.origin is not here and not (here and here.is_within(x.origin)):
            path, there = tree.paths(output)[i], x.origin
            what = f"{of} returned a Tensor{path and f' at {path}'} ({x._line()}) of the tape of "
            if here is None:
                raise TapeError(f"{what}{there.label}; pass it as an argument")
            at = f", at line {there.line} of its source," if there.line else ""
            raise TapeError(
                f"{what}{there.label}{at} whose recording has ended; return it from there, among "
                "that function's results, and use what the loop or transform makes of it"
            )


def note_rule(error: Exception, record: Tensor, i: int) -> None:
    """Note on an error in a VJP rule where it arose."""
    at = f", at {record.place}" if record.place else ""
    error.add_note(f"in the VJP rule for operand {i} of {record._line()}{at}")


def refuse_branch(x: Tensor) -> NoReturn:
    """Raise for a record on another branch that an output depends on."""
    raise TapeError(
        f"the output depends on {x._line()}, a record that this tape does not have: it was "
        "written on another branch; sweep the tape that both were written on"
    )
