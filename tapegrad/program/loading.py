"""Programs from files. Each field of a file is checked, and no text in it is ever run."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Iterable, Mapping
from typing import Any

import attrs

from tapegrad.core.rules import Rules
from tapegrad.declare.parts import PART
from tapegrad.errors import FileError
from tapegrad.files import Entry, FilePath, entries_of, guarded, text_of
from tapegrad.program.checking import Malformed, check_code
from tapegrad.program.control.branch import COND
from tapegrad.program.control.ops import LOOPS, SCAN
from tapegrad.program.program import Program
from tapegrad.program.saving import ARGUMENTS, CODE, FORMAT, MOST_TEXT, TEXT, VERSION, File


def load_program(path: FilePath, using: Iterable[Any] = ()) -> Program:
    """Read a program from a file that `Program.save` wrote, to call it as before.

    No text of the file is run, and nothing that it names is imported but tapegrad's own modules:
    its ops are looked up by name, and its source is written anew. The file may come from another
    machine, and from another supported version of Python, NumPy or attrs.

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
    file = File(entries=dict(entries), using=using, control=_CONTROL, program=Program)
    arguments = ARGUMENTS.read(content["arguments"], file)
    program: Program = attrs.evolve(CODE.read(content["code"], file), arguments=arguments)
    if file.entries:
        raise FileError("its constants are not those that it lists")
    try:
        check_code(program, all_inferred=False)
    except Malformed as error:
        raise FileError(str(error)) from None
    _check_arguments(program)
    # the source is written, so that errors show here and not in a call
    program._make  # noqa: B018
    return program


_CONTROL: Mapping[str, Rules] = {
    # of the first files
    "control.loop": SCAN,
    **{f"control.{op.name}": op for op in LOOPS},
    "control.cond": COND,
    "control.part": PART,
}


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
