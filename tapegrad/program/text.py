"""The source of a program: its header, its lines, definitions made once, and runs."""

from __future__ import annotations

import builtins
import math
import sys
from collections.abc import Callable
from contextvars import Context
from functools import partial
from types import BuiltinFunctionType, CodeType, FunctionType, MethodDescriptorType
from typing import Any

import numpy as np

from tapegrad.errors.lines import warn_at_users_line, with_user_warnings
from tapegrad.program.arena import buffer
from tapegrad.program.control.loop import nested_codes
from tapegrad.program.frame import Frame
from tapegrad.program.instruction_lines import write_instructions
from tapegrad.program.ir import Code, Constant, Ref, input_refs
from tapegrad.program.lines import Block, Line, format_lines
from tapegrad.program.results import packing_expression
from tapegrad.program.source_names import Names
from tapegrad.tree.ownership import LARGE, readonly_array


def source(program: Code) -> str:
    """Return the source of a program: a header, its function, and its setup.

    The source that runs has arrays in place of numbers, which NumPy need not convert.

    Examples
    --------
    >>> import tapegrad as tg
    >>> step = tg.compile(lambda w, x: tg.grad(lambda w: tg.sum(tg.tanh(x * w)))(w))
    >>> print(step.program(np.ones(3), np.ones(3)))  # doctest: +ELLIPSIS
    # <lambda>: 2 inputs, ...
    """
    frame = write_program(program, names := Names(literal=True))
    once = [*[x.line for x in names.setup.buffers], *names.setup.lines]
    head = [Line("", "", "made once, before the first call")] if once else []
    return "\n".join([*_header(frame), *format_lines([*frame.lines, *head, *once], True), ""])


# a run for any error state of NumPy, and a run for the default state
Runs = tuple[Callable[..., Any], Callable[..., Any]]


def make_runner(program: Code) -> Callable[[], Runs]:
    """Make a function that makes runs of a program: functions of its inputs, with own buffers.

    The second of a pair of runs has one context for all its calls, which sets the filter of
    warnings once and so takes a quarter of the time. It does not see the caller's context
    variables, so it differs from the first only for programs that call NumPy and this package
    alone.
    """
    names = Names()
    text = source_to_run(write_program(program, names))
    code = compile(text, f"<program of {_one_line(program.label)}>", "exec")
    (function,) = [x for x in code.co_consts if type(x) is CodeType]
    # from Python 3.14 on, the filters of warnings may be context variables
    are_seen = getattr(sys.flags, "context_aware_warnings", False)
    alone = not are_seen and all(map(_is_plain, names.namespace.values()))

    def make() -> Runs:
        # warnings name the user's line, not the program's; NumPy imports modules in its calls
        values = {
            **names.setup.run(names.namespace),
            "__name__": __name__,
            "__builtins__": builtins,
        }
        # a copy of the code, since Python caches the lookups of names in it
        run = FunctionType(function.replace(), values)
        warning = partial(with_user_warnings, run)
        if not alone:
            return warning, warning
        context = Context()
        context.run(warn_at_users_line)
        return warning, partial(context.run, run)

    return make


def write_program(program: Code, names: Names) -> Frame:
    """Write the lines of a program, and give its values names."""
    names.name_of(buffer, "buffer")
    names.new("run")
    frame = Frame(program, names)
    write_instructions(frame)
    _write_results(frame)
    names.setup.share_memory(names.new)
    inputs = [frame.values[x] for x in input_refs(range(len(program.inputs)))]
    frame.lines = [Block(f"def run({', '.join(inputs)}):", frame.lines)]
    return frame


def source_to_run(frame: Frame) -> str:
    """Return the text that Python compiles; lines have the same numbers as in the printed text."""
    # the header has a line for the program, each input and each constant
    n_above = 1 + len(frame.program.inputs) + len(_header_constants(frame))
    return "\n" * n_above + "\n".join([*format_lines(frame.lines, False), ""])


def _header_constants(frame: Frame) -> dict[str, Constant]:
    """Return the constants that have a line in the header."""
    return {name: x for name, x in frame.names.constants.items() if x.splat is None}


def _header(frame: Frame) -> list[str]:
    """Return the comments at the top: inputs, constants, and the size of buffers."""
    program, memory = frame.program, frame.names.setup.buffers
    parts = {
        "input": len(program.inputs),
        "instruction": sum([len(code.instructions) for code in nested_codes(program)]),
        "buffer": len(memory),
    }
    counts = ", ".join(f"{n} {part}{'s' * (n != 1)}" for part, n in parts.items())
    size = frame.names.setup.size
    whole = f" of {size:,} bytes in all" if size else ""
    lines = [f"# {_one_line(program.label)}: {counts}{whole}"]
    for i, x in enumerate(program.inputs):
        kind = f"a Python {x.number}" if x.number else f"{x.dtype} {x.shape}"
        lines.append(f"#   {frame.values[Ref('input', i)]}: {_one_line(x.path)}, {kind}")
    for name, constant in _header_constants(frame).items():
        kind = "captured" if constant.captured else "computed when compiled"
        lines.append(f"#   {name}: {kind}, {constant.dtype} {constant.shape}")
    return lines


def _one_line(text: str) -> str:
    """Return text that fits a one-line comment."""
    return text if text.isprintable() else repr(text)


# --- results --------------------------------------------------------------------------------


def _write_results(frame: Frame) -> None:
    """Write the lines that return the outputs: new arrays that no one else holds."""
    program, values, names = frame.program, frame.values, frame.names
    returned: list[str] = []
    seen: set[Ref] = set()
    for x in program.outputs:
        value = program.definition(x) if type(x) is Ref else None
        if value is None:
            text = names.name_of(x, f"static{len(returned)}")
        elif value.number or (x in frame.updates and x not in seen):
            # `RowUpdates` returns an array of the caller's own
            text = values[x]
        elif x.kind == "input":
            # its view is copied, unless no one can change it
            text = f"{names.name_of(readonly_array, 'readonly_array')}({values[x]}.view())"
        else:
            name, held = values[x], x in frame.places or x in frame.plan.owner_of
            if held or x in seen or value.shape == ():
                # copy a view, a loop's memory, a scalar, or an array that is returned already
                name = names.new(f"result{len(returned)}")
                frame.write(name, f"{names.library('array')}({values[x]})")
            if math.prod(value.shape) * value.dtype.itemsize < LARGE:
                # as `readonly_array` returns a small array
                frame.write("", f"{name}.setflags(False)")
                text = f"{name}.view()"
            else:
                text = f"{names.name_of(readonly_array, 'readonly_array')}({name})"
        returned.append(text)
        seen.update([x] if value is not None else [])
    frame.write("", f"return {packing_expression(program.structure, returned, names)}")


# classes of values that run no code of the user
_PLAIN = (
    *(np.ndarray, np.generic, np.ufunc, np.dtype, type(np.concatenate)),
    *(BuiltinFunctionType, MethodDescriptorType),
)


def _is_plain(x: Any) -> bool:
    """Whether a value in a program's namespace runs no code of the user."""
    if isinstance(x, FunctionType | type):
        # None for a function of code that was executed in a namespace without a name
        return str(x.__module__).startswith(("tapegrad.", "numpy", "builtins", "itertools"))
    if type(x) is tuple:
        return all(map(_is_plain, x))
    return isinstance(x, _PLAIN) or type(x) in (int, float, bool, str, type(None), slice)
