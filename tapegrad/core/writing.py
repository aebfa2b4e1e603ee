"""Writing a record, and the recording that runs.

One context variable holds the last record written. An op called on a Tensor writes the next one
and rebinds the variable to it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from contextvars import ContextVar, copy_context
from typing import Any

import numpy as np
from numpy import ndarray

from tapegrad.core.messages import check_output, explain_error, refuse_stranger
from tapegrad.core.primitive import Parts, Primitive
from tapegrad.core.tensor import NO_OPTIONS, Draft, Origin, Tensor
from tapegrad.errors.functions import note_lists
from tapegrad.errors.lines import unmask_error, warn_at_users_line
from tapegrad.tree.lists import has_tensor, stack_nested
from tapegrad.tree.numbers import PYTHON_NUMBERS, as_constant, refuse_complex
from tapegrad.tree.ownership import as_primal, owned_copy

Last = Tensor | Origin
Operands = tuple[Any, ...]
Options = Mapping[str, Any]

# The last record of the recording that is running in this thread or task, if any. Only
# `record_from` and `advance` set it.
CURRENT: ContextVar[Tensor | Origin | None] = ContextVar("tapegrad_tape", default=None)
# Let the running recording continue from a record.
advance = CURRENT.set

# The primitive of parameters. Inside an outer recording its operand is a record of that recording.
PARAMETER = Primitive(
    "parameter",
    lambda x: x,
    (lambda g, y, x: g,),
    jvp=lambda op, tangents, y, x: tangents[0],
    keeps_weak=True,
    takes_weak=True,
    complex=True,
)

# The primitive that turns a Python number into an array, for primitives that need one.
ASARRAY = Primitive(
    "asarray",
    lambda a, dtype=None: np.asarray(a, dtype),
    (lambda g, y, a, dtype=None: g,),
    jvp=lambda op, tangents, y, a, dtype=None: tangents[0],
    takes_weak=True,
    complex=True,
)


# --- writing ------------------------------------------------------------------


def write(last: Last, op: Primitive, operands: Operands, options: Options) -> Tensor:
    """Return the record that follows `last`: a primitive applied to operands.

    Constant operands and options are copied as `tapegrad.tree.ownership` describes.
    """
    origin = last.origin
    call_options = options
    if options:
        options = {name: owned_copy(value) for name, value in call_options.items()}
        # lists are kept as tuples, and NumPy does not accept a list as an axis
        lists = {n: value for n, value in call_options.items() if type(value) is list}
        call_options = {**options, **lists} if lists else options
    values: list[Any] = []
    kept: list[Any] = []
    for x in operands:
        if type(x) is Tensor and x.origin is origin:
            value = x._primal
            if type(value) is ndarray or op.takes_weak:
                values.append(value)
                continue
        if type(x) is ndarray and x.dtype.kind == "f":
            x = value = owned_copy(x)
        elif type(x) in PYTHON_NUMBERS:
            values.append(x)
            continue
        else:
            last, x = read_operand(last, op, x)
            value = x._primal if type(x) is Tensor else x
        kept = kept or list(operands)
        kept[len(values)] = x
        values.append(value)
    operands = tuple(kept) if kept else operands
    if op.complex is not True:
        op = primitive_for(op, values)
    evaluate = origin.evaluate
    try:
        if evaluate is not None:
            value = evaluate(op, values, call_options, operands)
        else:
            value = op.forward(*values, **call_options) if call_options else op.forward(*values)
    except (ValueError, TypeError, IndexError) as error:
        raise explain_error(error, op, values, call_options, last) from error
    if type(value) is ndarray:
        # positional, which takes half the time
        value.setflags(False)  # type: ignore[call-arg]
    elif type(value) is not Parts:
        value = as_primal(value, op.keeps_weak and PYTHON_NUMBERS.issuperset(map(type, values)))
    return write_known(last, op, operands, options, value)


def write_known(
    last: Last,
    op: Primitive,
    operands: Operands,
    options: Options,
    value: Any,
    name: str | None = None,
) -> Tensor:
    """Return the record that follows `last`, given checked operands and the value."""
    origin = last if type(last) is Origin else last.origin
    draft: Any = Draft()
    # up to three at a time, Python makes no tuple of them
    draft._primal, draft.op, draft._operands = value, op, operands
    draft._options, draft.index = options or NO_OPTIONS, last.index + 1
    draft.previous, draft.origin, draft.name = last, origin, name
    if origin.find_place is not None:
        draft._place = origin.find_place()
    draft.__class__ = Tensor
    return draft  # type: ignore[no-any-return]


def write_parameter(last: Last, value: Any, name: str | None) -> Tensor:
    """Return the record of a parameter that follows `last`.

    In a recording inside another, a Tensor of the outer tape becomes the operand of the parameter,
    so that an outer sweep continues through it.
    """
    if type(value) is Tensor:
        return write_known(last, PARAMETER, (value,), NO_OPTIONS, value._primal, name)
    kept = owned_copy(value) if type(value) is ndarray else as_constant(value, "parameter", True)
    return write_known(last, PARAMETER, (), NO_OPTIONS, kept, name)


def read_operand(last: Last, op: Primitive, x: Any) -> tuple[Last, Any]:
    """Return the last record, and an operand in the form that a tape keeps; may write records.

    A list with Tensors in it is stacked, and a record of an outer tape is lifted.
    """
    if type(x) is Tensor:
        last, x = lift(last, op, x)
        if type(x._primal) is not ndarray and not op.takes_weak:
            x = last = write(last, ASARRAY, (x,), NO_OPTIONS)
        return last, x
    if has_tensor(x):
        record, last = record_from(last, stack_nested, (x,))
        return last, record
    return last, as_constant(x, op.name, True)


def primitive_for(op: Primitive, values: Iterable[Any]) -> Primitive:
    """Return the primitive for these operands; raise if they are complex and there is none."""
    for x in values:
        if x.dtype.kind == "c" if type(x) is ndarray else type(x) is complex:
            return op.complex if isinstance(op.complex, Primitive) else refuse_complex(op.name, x)
    return op


def lift(last: Last, op: Primitive, x: Tensor) -> tuple[Last, Tensor]:
    """Return the last record, and x on its tape: a record of an outer tape becomes a parameter.

    The body of a loop, for instance, is recorded on a tape inside the loop's tape.
    """
    if x.origin is last.origin:
        return last, x
    if not last.origin.is_within(x.origin):
        refuse_stranger(op.name, x, last)
    record = write_parameter(last, x, x.name)
    return record, record


def record_from(
    last: Last | None, fn: Callable[..., Any], args: Iterable[Any], kwargs: Options = NO_OPTIONS
) -> tuple[Any, Any]:
    """Return a function's result and the last record, in a recording that continues from `last`.

    With None, nothing is recorded. An outer recording is not advanced. The call runs in a separate
    context (PEP 567), which ends with the call, so no interrupt can leave a recording open. Other
    context variables that the function sets, such as NumPy's error state, end with it too.
    """
    context = copy_context()
    context.run(warn_at_users_line)
    context.run(advance, last)
    try:
        output = context.run(fn, *args, **kwargs)
    except (TypeError, AttributeError) as error:
        note_lists(error, fn, args)
        raise
    except ValueError as error:
        shown = unmask_error(error)
        try:
            if shown is error:
                raise
            raise shown from None
        finally:
            del shown  # its traceback holds this frame
    last = context[CURRENT]
    if last is None or type(output) is not Tensor or output.origin is not last.origin:
        check_output(output, last)
    return output, last


def is_recording(origin: Origin) -> bool:
    """Whether the running recording writes on the tape that begins at `origin`, or inside it."""
    last = CURRENT.get()
    return last is not None and last.origin.is_within(origin)


def last_record() -> Last:
    """Return the last record of the running recording."""
    last = CURRENT.get()
    assert last is not None
    return last


def append_record(op: Primitive, operands: Operands, options: Options) -> Tensor:
    """Write a record on the tape of the running recording."""
    record = write(last_record(), op, operands, options)
    advance(record)
    return record
