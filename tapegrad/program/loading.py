"""Programs from files. Each part of a file is checked, and no text in it is ever run."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Iterable, Mapping
from typing import Any

import attrs

from tapegrad.archive import Entry, FilePath, entries_of, guarded, text_of
from tapegrad.core.tensor import Rules
from tapegrad.errors import FileError
from tapegrad.program.arguments import Argument
from tapegrad.program.checking import Malformed, check_code
from tapegrad.program.control.branch import COND
from tapegrad.program.control.loop import PART, Branch, Loop
from tapegrad.program.control.ops import LOOP
from tapegrad.program.ir import Constant, Input, Instruction
from tapegrad.program.program import Program
from tapegrad.program.saving import (
    FORMAT,
    MOST_TEXT,
    TEXT,
    VERSION,
    dtype_from_json,
    from_json,
    op_named,
    operand_from_json,
    structure_from_json,
)


def load_program(path: FilePath, using: Iterable[Any] = ()) -> Program:
    """Read a program from a file that `Program.save` wrote, to call it as before.

    No text of the file is run and nothing that it names is imported: its ops are looked up by
    name, and its source is written anew. The file may come from another machine, and from another
    supported version of Python, NumPy or attrs.

    Parameters
    ----------
    path
        The file.
    using
        The ops that the program calls, and the classes of records that it returns, which are not
        tapegrad's own; they are found by name.

    Returns
    -------
    A `Program`, equal to the one that was saved.

    Raises
    ------
    FileError
        If it is not such a file, has another version, is damaged or malformed, or names an unknown
        op or class; the message names the file and says what to do.
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
    reader = _Reader(entries, using, set())
    program = reader.code(content["code"])
    given = content["arguments"]
    if given is not None:
        program = attrs.evolve(program, arguments=tuple([reader.argument(*x) for x in given]))
    if reader.read != set(entries):
        raise FileError("its constants are not those that it lists")
    try:
        check_code(program, all_inferred=False)
    except Malformed as error:
        raise FileError(str(error)) from None
    _check_arguments(program)
    # the source is written, so that errors show here and not in a call
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
    return Input(_text(path), _shape(shape), dtype_from_json(dtype), number)


@attrs.frozen
class _Reader:
    """Reads the parts of a program.

    Attributes
    ----------
    entries
        The file's arrays.
    using
        What the caller handed over.
    read
        The arrays read so far.
    """

    entries: Mapping[str, Entry]
    using: tuple[Any, ...]
    read: set[str]

    def code(self, x: Any) -> Program:
        """A program."""
        return Program(
            _text(x["label"]),
            tuple([_input(*part) for part in x["inputs"]]),
            tuple([self.constant(*part) for part in x["constants"]]),
            tuple([self.instruction(*part) for part in x["instructions"]]),
            tuple([from_json(part) for part in x["outputs"]]),
            structure_from_json(x["structure"], self.using),
        )

    def inner(self, x: Any) -> Program:
        """A program inside an instruction, which shows its label."""
        made = self.code(x)
        if not made.label.isprintable():
            raise FileError("the name of a loop's body is not one line of text")
        return made

    def constant(self, number: Any, dtype: Any, captured: Any) -> Constant:
        """An array of the file."""
        name = str(_expect(number, int, "the number of a constant"))
        entry = self.entries[name]
        if name in self.read or entry.dtype != dtype_from_json(dtype):
            raise FileError(f"a constant is {entry.dtype}, not {dtype}, or occurs twice")
        self.read.add(name)
        return Constant(entry.read(), _expect(captured, bool, "whether a constant is captured"))

    def instruction(
        self,
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
        """An op applied."""
        if not _text(note).isprintable():
            raise FileError("a note is not one line of text")
        return Instruction(
            _CONTROL.get(_text(op)) or op_named(op, self.using),
            tuple([operand_from_json(x) for x in _expect(operands, list, "operands")]),
            {key: self.option(x) for key, x in _expect(options, dict, "options").items()},
            _shape(shape),
            dtype_from_json(dtype),
            _expect(number, bool, "whether a result is a number"),
            note,
            _text(name),
            _text(stage),
        )

    def option(self, x: Any) -> Any:
        """An option, which may be made of programs."""
        if type(x) is dict and "branch" in x:
            return Branch(*[self.inner(code) for code in x["branch"]])
        if type(x) is dict and "loop" in x:
            body, stop, n_carry, n_xs, n_ys, length, reverse, remember, moving = x["loop"]
            return Loop(
                self.inner(body),
                _count(n_carry),
                _count(n_xs),
                _count(n_ys),
                None if length is None else _count(length),
                _expect(reverse, bool, "whether a loop is reversed"),
                None if stop is None else self.inner(stop),
                _expect(remember, bool, "whether a loop remembers"),
                frozenset(map(_count, moving)),
            )
        return from_json(x)

    def argument(self, name: Any, structure: Any, statics: Any) -> Argument:
        """What is known about an argument."""
        if type(name) not in (int, str) or not all(x is None or type(x) is str for x in statics):
            raise FileError("an argument is not described")
        return Argument(name, structure_from_json(structure, self.using), tuple(statics))


_CONTROL: Mapping[str, Rules] = {
    "control.loop": LOOP,
    "control.cond": COND,
    "control.part": PART,
}


def _count(x: Any) -> int:
    if type(x) is not int or x < 0:
        raise FileError(f"{str(x)[:80]!r} is not a number of things")
    return x


# --- the whole ------------------------------------------------------------------------------


def _check_arguments(program: Program) -> None:
    """Raise unless the inputs are the arguments' varying leaves."""
    if program.arguments is None:
        return
    varying = 0
    for argument in program.arguments:
        if len(argument.statics) != argument.structure.size:
            raise FileError(f"argument {argument.name} is not described")
        varying += argument.statics.count(None)
    if varying != len(program.inputs):
        raise FileError("its inputs are not the leaves of its arguments")
