"""Programs to files: the instructions as JSON, the constants as arrays."""

from __future__ import annotations

import json
from typing import Any

from tapegrad.archive import FilePath, write
from tapegrad.face.ownership import Array
from tapegrad.program.arguments import Argument
from tapegrad.program.control.loop import Branch, Loop
from tapegrad.program.encoding import dtype_to_json, operand_to_json, structure_to_json, to_json
from tapegrad.program.ir import Code, Instruction
from tapegrad.program.naming import name_of_op

TEXT = "program.json"
FORMAT = "tapegrad program"
# of the format; it changes with the meaning of what is written
VERSION = 1
MOST_TEXT = 1 << 26  # bytes


def save(code: Code, arguments: tuple[Argument, ...] | None, path: FilePath) -> None:
    """Write a program; see `Program.save`."""
    arrays: list[Array] = []
    content = {
        "format": FORMAT,
        "version": VERSION,
        "arguments": None if arguments is None else [_argument(x) for x in arguments],
        "code": _code(code, arrays),
    }
    text = json.dumps(content, separators=(",", ":"))
    if len(text) > MOST_TEXT:
        raise ValueError(f"the program's text is larger than {MOST_TEXT:,} bytes")
    write(path, TEXT, text, {str(i): x for i, x in enumerate(arrays)})


def _code(code: Code, arrays: list[Array]) -> dict[str, Any]:
    """All of a program except the values of its constants, which are added to `arrays`."""
    constants = []
    for x in code.constants:
        constants.append([len(arrays), dtype_to_json(x.dtype), x.captured])
        arrays.append(x.array)
    return {
        "label": code.label,
        "inputs": [[x.path, x.shape, dtype_to_json(x.dtype), x.number] for x in code.inputs],
        "constants": constants,
        "instructions": [_instruction(x, arrays) for x in code.instructions],
        "outputs": [to_json(x, f"a result of {code.label}") for x in code.outputs],
        "structure": structure_to_json(code.structure),
    }


def _argument(x: Argument) -> list[Any]:
    return [x.name, structure_to_json(x.structure), x.statics]


def _instruction(x: Instruction, arrays: list[Array]) -> list[Any]:
    name = name_of_op(x.op)
    options = {
        key: _option(value, f"the option {key} of {x.op.name}", arrays)
        for key, value in x.options.items()
    }
    return [
        name,
        [operand_to_json(operand) for operand in x.operands],
        options,
        x.shape,
        dtype_to_json(x.dtype),
        x.number,
        x.note,
        x.name,
        x.stage,
    ]


def _option(x: Any, what: str, arrays: list[Array]) -> Any:
    """An option, which may contain programs."""
    if type(x) is Branch:
        return {"branch": [_code(x.on_true, arrays), _code(x.on_false, arrays)]}
    if type(x) is Loop:
        stop = None if x.stop is None else _code(x.stop, arrays)
        numbers = [x.n_carry, x.n_xs, x.n_ys, x.length, x.reverse, x.remember, sorted(x.moving)]
        return {"loop": [_code(x.body, arrays), stop, *numbers]}
    return to_json(x, what)
