"""One instruction as one line of NumPy."""

from __future__ import annotations

import builtins
import math
import re
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from tapegrad.core.op import Op
from tapegrad.core.tensor import Rules
from tapegrad.declare import OPS
from tapegrad.face.text import as_text
from tapegrad.program.ir import Code, Instruction, Ref
from tapegrad.program.names import HELPERS, Names
from tapegrad.program.templates import TEMPLATES, WHOLE

# the names of Python's numbers, by NumPy's kinds
KINDS = {"f": "float", "i": "int", "b": "bool"}


def takes_out(program: Code, instruction: Instruction) -> bool:
    """Whether an instruction can write its result to a buffer."""
    # an empty result needs no memory; one with a row a step is empty until the loop has run
    if instruction.number or 0 in instruction.shape:
        return False
    template = _template(program, instruction)
    if template is None:
        return isinstance(instruction.op.forward, np.ufunc)
    return "{out}" in template


def expression(
    program: Code, i: int, values: Mapping[Ref, str], out: str | None, names: Names
) -> str:
    """An instruction as an expression, which writes to `out` if it is given.

    The functions that it calls are added to the namespace of `names`.
    """
    instruction = program.instructions[i]
    template = _template(program, instruction)
    if template is None:
        template = _call(instruction, names)
    else:
        called = re.match(r"(\w+)[.(]", template)
        if called and not hasattr(builtins, called[1]):
            function = HELPERS.get(called[1]) or getattr(np, called[1])
            template = names.library(called[1], function) + template[called.end(1) :]
    text = _filled(instruction, template, values, out, names)
    if instruction.number and _whole(program, instruction) is None:
        # not .item(), since NumPy holds large ints as Python's own
        return f"{KINDS[instruction.dtype.kind]}({text})"
    return text


def _template(program: Code, instruction: Instruction) -> str | None:
    """The format string of an instruction, unless it is a call of its forward function."""
    whole = _whole(program, instruction)
    if whole is not None:
        return whole
    template = TEMPLATES.get(instruction.op)
    if template is None or isinstance(template, str):
        return template
    return template(*map(program.like, instruction.operands))


def _whole(program: Code, instruction: Instruction) -> str | None:
    """The format string of an instruction of Python ints alone; None for any other."""
    if not instruction.number:
        return None
    for x in instruction.operands:
        made = program.of(x) if type(x) is Ref else None
        is_whole = isinstance(x, int) if made is None else made.dtype.kind in "ib"
        if not is_whole or (made is not None and not getattr(made, "number", None)):
            return None
    return WHOLE.get(instruction.op)


def _call(instruction: Instruction, names: Names) -> str:
    """A format string that calls the forward function."""
    op = instruction.op
    inputs = ", ".join([f"{{{i}}}" for i in range(len(instruction.operands))])
    if isinstance(op.forward, np.ufunc):
        # for maximum and minimum a positional out= is deprecated, and the warning is slow
        out = "out={out}" if op.forward in (np.maximum, np.minimum) else "{out}"
        return f"{_function(op, names)}({inputs}, {out})"
    options = [f", {name}={_option(x, names)}" for name, x in instruction.options.items()]
    # only the operands' braces are for the format
    escaped = "".join(options).replace("{", "{{").replace("}", "}}")
    return f"{_function(op, names)}({inputs}{escaped})"


def _function(op: Rules, names: Names) -> str:
    """The name of an op's function: NumPy's, that of one of our ops, or a new one."""
    forward = op.forward
    if isinstance(forward, np.ufunc) and getattr(np, forward.__name__, None) is forward:
        return names.library(forward.__name__, forward)
    if OPS.get(op.name) is op:
        return names.library(op.name, forward)
    return names.of(forward, op.name)


def operand(x: Any, values: Mapping[Ref, str]) -> str:
    """An operand as it is written."""
    return values[x] if type(x) is Ref else number(x)


def number(x: Any) -> str:
    """A Python number as it is written."""
    if isinstance(x, int) or math.isfinite(x):
        return as_text(x)
    return f"float({str(x)!r})"


def _option(value: Any, names: Names) -> str:
    """An option as it is written: a literal, or a name where there is no literal."""
    if type(value) is tuple:
        parts = [_option(part, names) for part in value]
        return f"({', '.join(parts)},)" if len(parts) == 1 else f"({', '.join(parts)})"
    if value is None or type(value) in (int, bool) or (type(value) is str and value.isalnum()):
        return as_text(value)
    if type(value) is float:
        return number(value)
    if isinstance(value, np.integer):
        return repr(int(value))
    return names.of(value, "option")


def _filled(
    instruction: Instruction,
    template: str,
    values: Mapping[Ref, str],
    out: str | None,
    names: Names,
) -> str:
    """A format string filled with the operands, the options and the result's buffer."""
    operands = [operand(x, values) for x in instruction.operands]
    fields: dict[str, Any] = {}
    if instruction.op in TEMPLATES:
        defaults = instruction.op.signature.defaults if isinstance(instruction.op, Op) else {}
        fields = {**defaults, **instruction.options, "shape": instruction.shape}
        index = fields.pop("index", None)
        dtype = fields.pop("dtype", None)
        fields = {x: _option(value, names) for x, value in fields.items() if f"{{{x}}}" in template}
        if dtype is not None:
            fields["dtype"] = repr(np.dtype(dtype).str)
        if index is not None:
            fields["index"] = _index(index, iter(operands[1:]))
        fields["all"] = f"({', '.join(operands)}{',' * (len(operands) == 1)})"
    fields["out"] = out
    if out is None:
        template = template.replace(", out={out})", ")").replace(", {out})", ")")
    text = template.format(*operands, **fields)
    return text.replace(".transpose(None)", ".T")


def _index(index: tuple[Any, ...], arrays: Iterator[str]) -> str:
    """An index as it is written in brackets."""
    parts = []
    for part in index:
        if isinstance(part, slice):
            ends = ["" if end is None else repr(end) for end in (part.start, part.stop)]
            step = "" if part.step is None else f":{part.step!r}"
            parts.append(":".join(ends) + step)
        elif part is None or isinstance(part, int):
            parts.append(repr(part))
        elif part is Ellipsis:
            parts.append("...")
        else:
            parts.append(next(arrays))
    if len(parts) == 1 and not isinstance(index[0], slice | int):
        return f"{parts[0]},"
    return ", ".join(parts) or "()"
