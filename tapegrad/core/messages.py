"""The errors of recording and sweeping, and their messages."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from contextvars import ContextVar
from functools import partial
from typing import Any, NoReturn

import numpy as np

from tapegrad import tree
from tapegrad.core.primitive import Primitive
from tapegrad.core.tensor import Origin, Tensor
from tapegrad.errors import TapeError
from tapegrad.tree.numbers import describe, refuse_lossy

_KINDS = (np.linalg.LinAlgError, np.exceptions.AxisError, IndexError, TypeError, ValueError)


def explain_error(
    error: Exception,
    op: Primitive,
    values: list[Any],
    options: Mapping[str, Any],
    last: Tensor | Origin,
) -> Exception:
    """Return an error of the same kind whose message names the op, its operands and the line."""
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


# The messages of `refuse_stranger`, for a caller whose function may have caught the errors.
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


def check_output(output: Any, last: Tensor | Origin | None, called: str | None = None) -> None:
    """Raise for a leaf that a function must not return.

    Such a leaf is a Tensor of another tape than the one that was written and its outer tapes. A
    loop's body, an example of a batch, a checkpointed call and the functions of `cond` each have a
    separate tape, whose Tensors no other function may return. An array that would lose its mask or
    its unit is such a leaf too.
    """
    here = None if last is None else last.origin
    try:
        leaves = tree.leaves(output)
    except TypeError:
        # `record` returns an object that is no tree unchanged
        return
    of = called or (here.label if here else "a function that is not recorded")
    refuse_lossy(of, leaves, partial(tree.paths, output))
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


def note_vjp_rule(error: Exception, record: Tensor, i: int) -> None:
    """Add a note to an error in a VJP rule: the operand and the record."""
    at = f", at {record.place}" if record.place else ""
    error.add_note(f"in the VJP rule for operand {i} of {record._line()}{at}")


def refuse_branch(x: Tensor) -> NoReturn:
    """Raise for a record that an output depends on and that is on another branch of the tape."""
    raise TapeError(
        f"the output depends on {x._line()}, a record that this tape does not have: it was "
        "written on another branch; sweep the tape that both were written on"
    )
