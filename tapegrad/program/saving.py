"""Programs to files: the instructions as JSON, the constants as arrays."""

from __future__ import annotations

import json
from typing import Any

from tapegrad.archive import FilePath, write
from tapegrad.program.arguments import Argument
from tapegrad.program.encoding import dtype_to_json, operand_to_json, structure_to_json, to_json
from tapegrad.program.ir import Code, Instruction
from tapegrad.program.naming import name_of_op

TEXT = "program.json"
FORMAT = "tapegrad program"
# of what is written; a change of the meaning makes it another
VERSION = 1
MOST_TEXT = 1 << 26  # bytes


def save(code: Code, arguments: tuple[Argument, ...] | None, path: FilePath) -> None:
    """Write a program; see `Program.save`."""
    content = {
        "format": FORMAT,
        "version": VERSION,
        "arguments": None if arguments is None else [_argument(x) for x in arguments],
        "code": code_to_json(code),
    }
    text = json.dumps(content, separators=(",", ":"))
    if len(text) > MOST_TEXT:
        raise ValueError(f"the program's text is larger than {MOST_TEXT:,} bytes")
    write(path, TEXT, text, {str(i): x.array for i, x in enumerate(code.constants)})


def code_to_json(code: Code) -> dict[str, Any]:
    """All of a program but its constants' values."""
    return {
        "label": code.label,
        "inputs": [[x.path, x.shape, dtype_to_json(x.dtype), x.number] for x in code.inputs],
        "constants": [[dtype_to_json(x.dtype), x.captured] for x in code.constants],
        "instructions": [_instruction(x) for x in code.instructions],
        "outputs": [to_json(x, f"a result of {code.label}") for x in code.outputs],
        "structure": structure_to_json(code.structure),
    }


def _argument(x: Argument) -> list[Any]:
    return [x.name, structure_to_json(x.structure), x.statics]


def _instruction(x: Instruction) -> list[Any]:
    name = name_of_op(x.op)
    options = {
        key: to_json(value, f"the option {key} of {x.op.name}") for key, value in x.options.items()
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
