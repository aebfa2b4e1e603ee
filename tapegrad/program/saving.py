"""Programs in files: how values of each type are written and read, and of which types fields are.

No text in a file is ever run. What reads a field may raise anything for text that no program wrote:
`tapegrad.files.guarded` makes one error of it.
"""

from __future__ import annotations

import json
import re
import zipfile
from collections.abc import Callable, Iterable, Mapping
from functools import cache
from types import EllipsisType
from typing import Any, get_args, get_origin, get_type_hints

import attrs
import numpy as np

from tapegrad import tree
from tapegrad.core.rules import Rules
from tapegrad.errors import FileError
from tapegrad.errors.words import a_kind
from tapegrad.files import Entry, FilePath, entries_of, guarded, text_of, write
from tapegrad.ops.indexing import HOLE, Hole
from tapegrad.program import naming
from tapegrad.program.checking import Malformed, check_code
from tapegrad.program.control.loop import Branch, Loop
from tapegrad.program.entry import Argument
from tapegrad.program.ir import Code, Constant, Input, Instruction, Operand, Ref
from tapegrad.program.program import Program
from tapegrad.tree.ownership import Array


@attrs.frozen
class File:
    """A file that a program is written to, or read from.

    Attributes
    ----------
    what
        What is written, for messages.
    entries
        The arrays that are still to be read, by name.
    using
        What the caller handed over.
    arrays, statics
        The arrays written so far, and the static parts of trees written or read so far.
    """

    what: str = ""
    entries: dict[str, Entry] = attrs.Factory(dict)
    using: Iterable[Any] = ()
    arrays: list[Array] = attrs.Factory(list)
    statics: list[Any] = attrs.Factory(list)


Convert = Callable[[Any, File], Any]

# --- any type ---------------------------------------------------------------------------------


@cache
def _apart(kind: Any) -> tuple[tuple[Convert, Convert] | None, Any, tuple[Any, ...]]:
    """How values of a type are written and read, if that is said; its origin and arguments."""
    origin = get_origin(kind)
    return _TYPES.get(kind) or _TYPES.get(origin), origin, get_args(kind)


def _write(x: Any, kind: Any, file: File) -> Any:
    """A value of a type as JSON."""
    own, origin, inner = _apart(kind)
    if own is not None:
        return own[0](x, file)
    if origin is tuple:
        return [_write(part, inner[0], file) for part in x]
    # of the first of several types, or of another that JSON has
    return _write(x, inner[0], file) if inner and x is not None else x


def _read(x: Any, kind: Any, file: File) -> Any:
    """A value of a type from JSON."""
    own, origin, inner = _apart(kind)
    if own is not None:
        return own[1](x, file)
    if origin is tuple:
        if type(x) is list:
            return tuple([_read(part, inner[0], file) for part in x])
    elif type(x) in (kind, *inner):
        return x
    elif inner:
        return _read(x, inner[0], file)
    raise FileError(f"{str(x)[:80]!r} is not of the type {getattr(kind, '__name__', kind)}")


def _record(record: Any, names: str, kind: Any = list) -> tuple[Convert, Convert]:
    """How a record is written and read: its fields by their types, in a list, or in a dict."""
    types = get_type_hints(record)
    fields = {name: types[name] for name in names.split()}

    def write(x: Any, file: File) -> Any:
        parts = {name: _write(getattr(x, name), fields[name], file) for name in fields}
        return [*parts.values()] if kind is list else parts

    def read(x: Any, file: File) -> Any:
        if type(x) is not kind:
            raise FileError(f"{str(x)[:80]!r} is not a {kind.__name__}")
        parts = dict(zip(fields, x, strict=True)) if kind is list else x
        return record(**{name: _read(parts[name], fields[name], file) for name in fields})

    return write, read


# --- values: options, a dict's keys, results --------------------------------------------------

_PLAIN = (type(None), bool, int, float, str)
_NUMBERS = (bool, int, float, complex, np.generic)


def _write_value(x: Any, file: File) -> Any:
    if type(x) in _PLAIN:
        return x
    if type(x) in (tuple, list):
        return [_write_value(part, file) for part in x]
    if isinstance(x, Mapping):
        x = dict(x)
    elif isinstance(x, type) and issubclass(x, _NUMBERS):
        x = np.dtype(x)
    name = next(name for name, (kind, *_) in _VALUES.items() if isinstance(x, kind))
    return {name: _VALUES[name][1](x, file)}


def _read_value(x: Any, file: File) -> Any:
    if type(x) in _PLAIN:
        return x
    if type(x) is list:
        return tuple([_read_value(part, file) for part in x])
    ((name, content),) = x.items()
    return _VALUES[name][2](content, file)


def _write_static(x: Any, file: File) -> Any:
    """A static part of a tree by its parts; where it occurs again, by its number."""
    if not hasattr(type(x), "as_parts"):
        raise TypeError(f"{file.what} is {a_kind(x)}, which a program's file cannot hold: {x!r}")
    if x in file.statics:
        return file.statics.index(x)
    file.statics.append(x)
    return [naming.full_name(type(x)), _write_value(x.as_parts(), file)]


def _read_static(x: Any, file: File) -> Any:
    if type(x) is int:
        return file.statics[x]
    name, parts = x
    file.statics.append(naming.class_named(name, ()).from_parts(*_read_value(parts, file)))
    return file.statics[-1]


# numbers; and text, for dict keys and results
_DTYPE = re.compile(r"[<>|=][biufcU][0-9]{1,9}")


def _write_dtype(x: np.dtype[Any], file: File) -> str:
    if not _DTYPE.fullmatch(x.str):
        raise TypeError(f"a program with values of {x} cannot be saved")
    return x.str


def _read_dtype(x: Any, file: File) -> np.dtype[Any]:
    if not _DTYPE.fullmatch(x):
        raise FileError(f"{x!r} is not a dtype of numbers")
    dtype: np.dtype[Any] = np.dtype(x)
    return dtype


def _write_number(x: Any, file: File) -> Any:
    return [_write_dtype(x.dtype, file), x.item() if x.dtype.kind == "U" else x.tobytes().hex()]


def _read_complex(x: Any, file: File) -> complex:
    real, imaginary = _read(x, tuple[float, ...], file)
    return complex(real, imaginary)


def _read_number(x: Any, file: File) -> Any:
    text, content = x
    dtype = _read_dtype(text, file)
    if dtype.kind == "U":
        return np.str_(content)
    (number,) = np.frombuffer(bytes.fromhex(content), dtype)
    return number


def _write_array(x: Array, file: File) -> Any:
    file.arrays.append(x)
    return [len(file.arrays) - 1, _write_dtype(x.dtype, file)]


def _read_array(x: Any, file: File) -> Array:
    number, dtype = x
    entry = file.entries.pop(str(number))
    if entry.dtype != _read_dtype(dtype, file):
        raise FileError(f"an array is {entry.dtype}, not {dtype}")
    return entry.read()


# --- trees ------------------------------------------------------------------------------------


def _write_structure(structure: tree.Structure, file: File) -> Any:
    """A tree without its leaves: ``"*"`` is a leaf."""
    node = structure.node
    if node is None:
        return "*"
    if node is type(None):
        return None
    if structure.is_static:
        return _write_value(structure.keys[0], attrs.evolve(file, what="a part of a tree"))
    children = [_write_structure(child, file) for child in structure.children]
    if node is dict:
        keys = _write_value(structure.keys, attrs.evolve(file, what="a dict's key"))
        return {"dict": [[key, child] for key, child in zip(keys, children, strict=True)]}
    if node in (list, tuple):
        return {node.__name__: children}
    return {"record": [naming.full_name(node), list(structure.keys), children]}


def _read_structure(x: Any, file: File) -> tree.Structure:
    """The tree; classes are looked up, see `naming.class_named`."""
    if x == "*":
        return tree.LEAF
    if x is None:
        return tree.Structure(type(None))
    ((kind, content),) = x.items()
    if kind == "static":
        return tree.flatten(_read_value(x, file))[1]
    node: type = {"dict": dict, "list": list, "tuple": tuple, "record": object}[kind]
    keys, children = (), content
    if node is dict:
        keys = tuple([_read_value(key, file) for key, _ in content])
        children = [child for _, child in content]
        if len(set(keys)) != len(keys):
            raise FileError("a dict has a key twice")
    elif node is object:
        name, fields, children = content
        node, keys = naming.class_named(name, file.using), tuple(fields)
        wanted = tuple([field for field, _ in tree.fields_of(node) or ()])
        places = len(getattr(node, "_fields", ())) if issubclass(node, tuple) else len(wanted)
        if keys != wanted or len(children) != places:
            raise FileError(f"{name} has other fields than those of the file")
    return tree.Structure(node, keys, tuple([_read_structure(child, file) for child in children]))


# --- programs ---------------------------------------------------------------------------------


def _read_operand(x: Any, file: File) -> Any:
    return _read(x, Ref if type(x) is str else complex if type(x) is list else type(x), file)


def _read_constant(x: Any, file: File) -> Constant:
    # the first files had no names of arrays
    number, dtype, captured, *name = x
    names = _read(name, tuple[str, ...], file)
    return Constant(_read_array([number, dtype], file), _read(captured, bool, file), *names)


def _write_options(options: Mapping[str, Any], file: File) -> dict[str, Any]:
    return {
        key: _write_value(x, attrs.evolve(file, what=f"the option {key} of {file.what}"))
        for key, x in options.items()
    }


_LETTERS = {"i": "input", "c": "constant", "v": "instruction"}
# by their names in files, the types of values, and how these are written and read
_VALUES: dict[str, tuple[Any, Convert, Convert]] = {
    "number": (np.generic, _write_number, _read_number),
    # such as ``v12``
    "value": (
        Ref,
        lambda x, file: f"{'v' if x.kind == 'instruction' else x.kind[0]}{x.index}",
        lambda x, file: Ref(_LETTERS[x[0]], int(x[1:])),
    ),
    "slice": (
        slice,
        lambda x, file: [x.start, x.stop, x.step],
        lambda x, file: slice(*_read(x, tuple[int | None, ...], file)),
    ),
    "ellipsis": (EllipsisType, lambda x, file: None, lambda x, file: {None: ...}[x]),
    "hole": (Hole, lambda x, file: None, lambda x, file: {None: HOLE}[x]),
    "dtype": (np.dtype, _write_dtype, _read_dtype),
    "bytes": (bytes, lambda x, file: x.hex(), lambda x, file: bytes.fromhex(x)),
    "complex": (complex, lambda x, file: [x.real, x.imag], _read_complex),
    "dict": (
        dict,
        lambda x, file: _write_value([*x.items()], file),
        lambda x, file: dict(_read_value(x, file)),
    ),
    "array": (np.ndarray, _write_array, _read_array),
    "branch": (Branch, *_record(Branch, "on_true on_false")),
    "loop": (
        Loop,
        *_record(Loop, "body stop n_carry n_xs n_ys length reverse remember moving"),
    ),
    # any other, or a refusal
    "static": (object, _write_static, _read_static),
}
_INSTRUCTION = _record(Instruction, "op operands options shape dtype number note name stage")
# of fields
_TYPES: dict[Any, tuple[Convert, Convert]] = {
    **{kind: (write, read) for kind, write, read in _VALUES.values()},
    Any: (_write_value, _read_value),
    Operand: (lambda x, file: _write(x, type(x), file), _read_operand),
    frozenset: (
        lambda x, file: sorted(x),
        lambda x, file: frozenset(_read(x, tuple[int, ...], file)),
    ),
    tree.Structure: (_write_structure, _read_structure),
    Rules: (
        lambda x, file: naming.name_of_op(x),
        lambda x, file: naming.op_named(x, file.using),
    ),
    Mapping: (
        _write_options,
        lambda x, file: {key: _read_value(content, file) for key, content in x.items()},
    ),
    Constant: (
        lambda x, file: [*_write_array(x.array, file), x.captured, x.name],
        _read_constant,
    ),
    Argument: _record(Argument, "name structure statics"),
    Input: _record(Input, "path shape dtype number"),
    Instruction: (
        lambda x, file: _INSTRUCTION[0](x, attrs.evolve(file, what=x.op.name)),
        _INSTRUCTION[1],
    ),
    Code: _record(Program, "label inputs constants instructions outputs structure", dict),
}

_ARGUMENTS = tuple[Argument, ...] | None
_ENTRY = "program.json"
_FORMAT = "tapegrad program"
# of the format; it changes with the meaning of what is written
_VERSION = 1
_MOST_TEXT = 1 << 26  # bytes


def save(program: Program, path: FilePath) -> None:
    """Write a program; see `Program.save`."""
    file = File(f"a result of {program.label}")
    content = {
        "format": _FORMAT,
        "version": _VERSION,
        "arguments": _write(program.arguments, _ARGUMENTS, file),
        "code": _write(program, Code, file),
    }
    text = json.dumps(content, separators=(",", ":"))
    if len(text) > _MOST_TEXT:
        raise ValueError(f"the program's text is larger than {_MOST_TEXT:,} bytes")
    write(path, _ENTRY, text, {str(i): x for i, x in enumerate(file.arrays)})


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
    loaded: Program = guarded(path, lambda file: _loaded(file, handed), "Program.save")
    return loaded


def _loaded(opened: Any, using: tuple[Any, ...]) -> Program:
    """The program of an open file, which is checked."""
    with zipfile.ZipFile(opened) as archive:
        content = json.loads(text_of(archive, _ENTRY, _MOST_TEXT))
        _check_version(content)
        file = File(entries=entries_of(archive, _ENTRY), using=using)
        arguments = _read(content["arguments"], _ARGUMENTS, file)
        program: Program = attrs.evolve(_read(content["code"], Code, file), arguments=arguments)
    if file.entries:
        raise FileError("its constants are not those that it lists")
    try:
        check_code(program, naming.own_name)
    except Malformed as error:
        raise FileError(str(error)) from None
    _check_arguments(program)
    # the source is written, so that errors show here and not in a call
    program._make  # noqa: B018
    return program


def _check_version(content: Any) -> None:
    if type(content) is not dict or content.get("format") != _FORMAT:
        raise FileError("it does not hold a program of tapegrad")
    version = content.get("version")
    if version != _VERSION:
        raise FileError(
            f"it is a program's file of version {str(version)[:20]}, and this tapegrad reads "
            f"version {_VERSION}: save the program again with this one"
        )


def _check_arguments(program: Program) -> None:
    """Raise unless the inputs are the arguments' varying leaves."""
    if program.arguments is None:
        return
    are_described = all(len(x.statics) == x.structure.size for x in program.arguments)
    varying = sum(x.statics.count(None) for x in program.arguments)
    if not are_described or varying != len(program.inputs):
        raise FileError("its inputs are not the leaves of its arguments")
