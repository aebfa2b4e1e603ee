"""Programs from files. Each part of a file is checked, and none of its text is ever run."""

from __future__ import annotations

import json
import math
import zipfile
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from tapegrad.archive import Entry, FilePath, entries_of, guarded, text_of
from tapegrad.core.op import Op
from tapegrad.core.tensor import Rules
from tapegrad.declare import OPS
from tapegrad.errors import FileError
from tapegrad.program.arguments import Argument
from tapegrad.program.builder import infer
from tapegrad.program.encoding import (
    dtype_from_json,
    from_json,
    operand_from_json,
    structure_from_json,
)
from tapegrad.program.ir import STAGES, Constant, Input, Instruction, Ref
from tapegrad.program.naming import op_named
from tapegrad.program.program import Program
from tapegrad.program.saving import FORMAT, MOST_TEXT, TEXT, VERSION


def load_program(path: FilePath, using: Iterable[Any] = ()) -> Program:
    """Read a program from a file that `Program.save` wrote, to call it as before.

    No text of the file is run and nothing that it names is imported: its ops are looked up
    by name, and its source is written anew. It may be of another machine, and of another
    supported version of Python, NumPy or attrs.

    Parameters
    ----------
    path
        The file.
    using
        The ops and the classes of records that are not of tapegrad and that the program
        calls or returns; they are found by their names.

    Returns
    -------
    A `Program`, equal to the one that was saved.

    Raises
    ------
    FileError
        If it is not such a file, is of another version, damaged or not well-formed, or has
        an op or a class that is not known; the message names the file and says what to do.
    OSError
        If it cannot be read.

    Examples
    --------
    >>> import tempfile
    >>> import tapegrad as tg
    >>> @tg.custom_op(vjps=(lambda g, y, x: g * 3 * x**2,))
    ... def cube(x):
    ...     return x**3
    >>> program = tg.compile(lambda x: {"y": cube(x) + 1}).program(np.arange(3.0))
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     program.save(f"{folder}/cube.npz")
    ...     again = tg.load_program(f"{folder}/cube.npz", using=[cube])
    >>> again(np.arange(3.0)), again == program
    ({'y': array([1., 2., 9.])}, True)
    """
    handed = tuple(using)

    def read(file: Any) -> Program:
        with zipfile.ZipFile(file) as archive:
            content = json.loads(text_of(archive, TEXT, MOST_TEXT))
            _check_version(content)
            return _program(content, entries_of(archive, TEXT), handed)

    loaded: Program = guarded(path, read, "Program.save")
    return loaded


def _check_version(content: Any) -> None:
    if type(content) is not dict or content.get("format") != FORMAT:
        raise FileError("it does not hold a program of tapegrad")
    version = content.get("version")
    if version != VERSION:
        raise FileError(
            f"it is a program's file of version {str(version)[:20]}, and this tapegrad reads "
            f"version {VERSION}: save the program again with this one"
        )


def _program(content: Any, entries: Mapping[str, Entry], using: tuple[Any, ...]) -> Program:
    code = content["code"]
    if set(entries) != {str(i) for i in range(len(code["constants"]))}:
        raise FileError("its constants are not those that it lists")
    arrays = [_constant(entries[str(i)], *x) for i, x in enumerate(code["constants"])]
    given = content["arguments"]
    program = Program(
        _text(code["label"]),
        tuple([_input(*x) for x in code["inputs"]]),
        tuple(arrays),
        tuple([_instruction(using, *x) for x in code["instructions"]]),
        tuple([from_json(x) for x in code["outputs"]]),
        structure_from_json(code["structure"], using),
        None if given is None else tuple([_argument(using, *x) for x in given]),
    )
    _check(program)
    # the source is written, so that what is wrong shows here and not when it is called
    program._make  # noqa: B018
    return program


# --- the parts ------------------------------------------------------------------------------


def _expect(x: Any, kind: type, what: str) -> Any:
    if type(x) is not kind:
        raise FileError(f"{what} is {str(x)[:80]!r}, not {kind.__name__}")
    return x


def _text(x: Any) -> str:
    text: str = _expect(x, str, "a name")
    return text


def _shape(x: Any) -> tuple[int, ...]:
    sides = _expect(x, list, "a shape")
    if not all(type(side) is int and side >= 0 for side in sides):
        raise FileError(f"{str(x)[:80]} is not a shape")
    return tuple(sides)


def _input(path: Any, shape: Any, dtype: Any, number: Any) -> Input:
    if number not in (None, "float", "int"):
        raise FileError(f"{str(number)[:80]!r} is not a kind of number")
    made = Input(_text(path), _shape(shape), dtype_from_json(dtype), number)
    if number is not None and (made.shape, made.dtype.kind) != ((), number[0]):
        raise FileError(f"a Python {number} is not {made.dtype} of shape {made.shape}")
    return made


def _constant(entry: Entry, dtype: Any, captured: Any) -> Constant:
    if entry.dtype != dtype_from_json(dtype):
        raise FileError(f"a constant is {entry.dtype}, not {dtype}")
    return Constant(entry.read(), _expect(captured, bool, "whether a constant is captured"))


def _instruction(
    using: tuple[Any, ...],
    op: Any,
    operands: Any,
    options: Any,
    shape: Any,
    dtype: Any,
    number: Any,
    note: Any,
    name: Any,
    stage: Any,
) -> Instruction:
    if stage not in STAGES:
        raise FileError(f"{str(stage)[:80]!r} is not a stage")
    if not _text(note).isprintable():
        raise FileError("a note is not one line of text")
    return Instruction(
        op_named(_text(op), using),
        tuple([operand_from_json(x) for x in _expect(operands, list, "operands")]),
        {key: from_json(x) for key, x in _expect(options, dict, "options").items()},
        _shape(shape),
        dtype_from_json(dtype),
        _expect(number, bool, "whether a result is a number"),
        note,
        _text(name),
        stage,
    )


def _argument(using: tuple[Any, ...], name: Any, structure: Any, statics: Any) -> Argument:
    if type(name) not in (int, str) or not all(x is None or type(x) is str for x in statics):
        raise FileError("an argument is not described")
    return Argument(name, structure_from_json(structure, using), tuple(statics))


# --- the whole ------------------------------------------------------------------------------


def _check(program: Program) -> None:
    """Raise unless operands come before their use, and each op can give what it should."""
    counts = {"input": len(program.inputs), "constant": len(program.constants)}
    for i, instruction in enumerate(program.instructions):
        for x in instruction.operands:
            if type(x) is Ref and x.index >= counts.get(x.kind, i):
                raise FileError(f"instruction {i} uses a value that is not there yet")
        if instruction.number and (instruction.shape or instruction.dtype.kind not in "fib"):
            raise FileError(f"instruction {i} is no Python number")
        _check_call(instruction.op, instruction)
        _check_result(program, instruction, i)
    counts["instruction"] = len(program.instructions)
    for x in program.outputs:
        if type(x) is Ref and x.index >= counts[x.kind]:
            raise FileError("a result is a value that is not there")
    if len(program.outputs) != program.structure.size:
        raise FileError("its results do not fill their tree")
    if program.arguments is not None:
        varying = 0
        for argument in program.arguments:
            if len(argument.statics) != argument.structure.size:
                raise FileError(f"argument {argument.name} is not described")
            varying += argument.statics.count(None)
        if varying != len(program.inputs):
            raise FileError("its inputs are not the leaves of its arguments")


def _check_call(op: Rules, instruction: Instruction) -> None:
    """Raise unless an op takes so many operands, and options of these names."""
    if not isinstance(op, Op):
        return
    n = len(op.vjps) if isinstance(op.vjps, tuple) else None
    if n is not None and n != len(instruction.operands):
        raise FileError(f"{op.name} takes {n} operands, not {len(instruction.operands)}")


# a result's shape and dtype are found out at once where all arrays are as small as this
_SMALL = 1 << 12
_FEW = 8


def _check_result(program: Program, instruction: Instruction, i: int) -> None:
    """Raise if an op would give another shape or dtype than the file says.

    Only a ufunc says so without computing. Any other op of the package is called, on small
    arrays alone: to load a file takes neither time nor memory that its size does not show.
    """
    op, operands = instruction.op, instruction.operands
    likes = [program.like(x) for x in operands]
    is_ufunc = isinstance(op.forward, np.ufunc) and op.forward.signature is None
    if not is_ufunc:
        sizes = [math.prod(x.shape) for x in likes] + [math.prod(instruction.shape)]
        if max(sizes) > _SMALL or len(operands) > _FEW or not _is_small(instruction.options):
            return
        if OPS.get(op.name) is not op:
            return
    stand_ins = [_stand_in(program.of(x), is_ufunc) if type(x) is Ref else x for x in operands]
    try:
        shape, dtype = infer(op, stand_ins, instruction.options)
    except (np.linalg.LinAlgError, ArithmeticError, ImportError):
        # not for these numbers, or not without SciPy
        return
    if not instruction.number and (shape, dtype) != (instruction.shape, instruction.dtype):
        raise FileError(
            f"instruction {i}, {op.name}, is said to give {instruction.dtype} "
            f"{instruction.shape}, but gives {dtype} {shape}"
        )


def _is_small(options: Any) -> bool:
    """Whether no option asks for a large result."""
    if isinstance(options, Mapping):
        return all(map(_is_small, options.values()))
    if isinstance(options, tuple):
        sides = [abs(x) for x in options if type(x) is int and x]
        return math.prod(sides[:32]) <= _SMALL and all(map(_is_small, options))
    return type(options) is not int or abs(options) <= _SMALL


def _stand_in(made: Any, is_ufunc: bool) -> Any:
    """A value like an input, a constant or a result, such that most ops are defined there."""
    shape, dtype = made.shape, made.dtype
    if getattr(made, "number", None):
        return dtype.type(1).item()
    if is_ufunc:
        return np.broadcast_to(np.zeros((), dtype), shape)
    if dtype.kind == "f" and shape[-2:] and shape[-1:] == shape[-2:-1]:
        return np.broadcast_to(np.eye(shape[-1], dtype=dtype), shape)
    return np.zeros(shape, dtype)
