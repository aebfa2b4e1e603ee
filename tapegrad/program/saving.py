"""Save programs to files and load them. `_FORMS` has the JSON form of each type.

No text in a file is ever run. A reader of a field may raise any error for text that no program
wrote; `tapegrad.files.guarded` turns it into one kind of error.
"""

from __future__ import annotations

import json
import zipfile
from collections.abc import Callable, Iterable, Mapping
from functools import cache
from operator import attrgetter
from types import EllipsisType
from typing import Any, get_args, get_origin, get_type_hints

import attrs
import numpy as np

from tapegrad import tree
from tapegrad.core.primitive import Parts, Primitive
from tapegrad.errors import FileError
from tapegrad.errors.words import a_kind
from tapegrad.files import Entry, FilePath, entries_of, guarded, text_of, write
from tapegrad.ops.indexing import HOLE, ArrayPosition
from tapegrad.program.checking import Malformed, check_code
from tapegrad.program.control.loop import Branch, Loop
from tapegrad.program.entry import Argument
from tapegrad.program.ir import Code, Constant, Operand, Ref
from tapegrad.program.program import Program
from tapegrad.program.saved_names import class_named, full_name, name_of_op, op_named
from tapegrad.types import Array


@attrs.frozen
class File:
    """A program's file, while it is written or read.

    Attributes
    ----------
    reads
        Whether the file is read.
    label
        The program's label, for messages.
    entries
        The arrays that are still to be read, by name.
    using
        The ops and classes that the caller passed.
    arrays, statics
        The arrays written so far, and the static parts of trees written or read so far.
    """

    reads: bool
    label: str = ""
    entries: dict[str, Entry] = attrs.Factory(dict)
    using: Iterable[Any] = ()
    arrays: list[Array] = attrs.Factory(list)
    statics: list[Any] = attrs.Factory(list)


# converts a value to JSON; JSON to a value if the file is read
Convert = Callable[[Any, File], Any]

# --- any type ---------------------------------------------------------------------------------


@cache
def _form(kind: Any) -> Convert:
    """Return the form of a type: from `_FORMS`, of an attrs class, of a tuple, or of JSON."""
    origin, inner = get_origin(kind), get_args(kind)
    own = _FORMS.get(kind) or _FORMS.get(origin)
    if own is not None or attrs.has(kind):
        return own or _record(kind)

    def convert(x: Any, file: File) -> Any:
        if origin is tuple:
            if type(x) in (tuple, list):
                kinds = inner[:1] * len(x) if inner[-1] is ... else inner
                return tuple([_form(of)(part, file) for part, of in zip(x, kinds, strict=True)])
        elif type(x) in (kind, *inner):
            return x
        elif inner:
            # None is another of several types
            return _form(inner[0])(x, file)
        raise FileError(f"{str(x)[:80]!r} is not of the type {getattr(kind, '__name__', kind)}")

    return convert


def _converted_form(kind: Any, taken: Callable[[Any], Any], made: Callable[[Any], Any]) -> Convert:
    """Return the form of a type that is converted to another type, and made from it."""

    def convert(x: Any, file: File) -> Any:
        return made(_form(kind)(x, file)) if file.reads else _form(kind)(taken(x), file)

    return convert


def _fields(make: Callable[..., Any], **types: Any) -> Convert:
    """Return the form of a class that is made from these attributes: their list."""
    kind = tuple.__class_getitem__(tuple(types.values()))
    return _converted_form(kind, attrgetter(*types), lambda x: make(*x))


def _record(record: type, make: Any = None) -> Convert:
    """Return the form of an attrs class without `place`; `make` may make another class from it."""
    types = get_type_hints(record)
    names = [x.name for x in attrs.fields(record) if x.init and x.name != "place"]
    return _fields(make or record, **{name: types[name] for name in names})


# --- values: options, a dict's keys, results --------------------------------------------------

_PLAIN = (type(None), bool, int, float, str)


def _value(x: Any, file: File) -> Any:
    if type(x) in _PLAIN:
        return x
    if type(x) in (tuple, list):
        return tuple([_value(part, file) for part in x])
    if file.reads:
        ((name, content),) = x.items()
        return _VALUES[name][1](content, file)
    name, form = next((name, form) for name, (kind, form) in _VALUES.items() if isinstance(x, kind))
    return {name: form(x, file)}


def _static(x: Any, file: File) -> Any:
    """Convert a static part of a tree: its parts, or its number if it occurred before."""
    statics = file.statics
    if file.reads:
        if type(x) is int:
            return statics[x]
        name, parts = x
        statics.append(class_named(name, ()).from_parts(*_value(parts, file)))
        return statics[-1]
    if not hasattr(type(x), "as_parts"):
        # one of several results may be no array
        inner = x.values if type(x) is Parts else ()
        held = next((value for value in inner if hasattr(value, "__unsaved__")), x)
        remedy = getattr(held, "__unsaved__", "pass an array that is computed with it instead")
        what = repr(held) if hasattr(held, "__unsaved__") else f"{a_kind(held)}, {held!r}"
        raise TypeError(
            f"{file.label} uses or returns {what}, which a program's file cannot hold: {remedy}"
        )
    if x in statics:
        return statics.index(x)
    statics.append(x)
    return full_name(type(x)), _value(x.as_parts(), file)


def _dtype(x: Any) -> np.dtype[Any]:
    """The dtype of numbers, which a class may stand for, or of the text of keys and results."""
    # of another class NumPy reads an attribute
    is_known = not isinstance(x, type) or issubclass(x, int | float | complex | np.generic)
    dtype = np.dtype(x if is_known else object)
    if dtype.kind not in "biufcU":
        raise TypeError(f"{x} is not a dtype of numbers, which a program's file can hold")
    return dtype


def _parts_of_number(x: Any) -> tuple[np.dtype[Any], str]:
    return x.dtype, x.item() if x.dtype.kind == "U" else x.tobytes().hex()


def _number(parts: tuple[np.dtype[Any], str]) -> Any:
    dtype, content = parts
    if dtype.kind == "U":
        return np.str_(content)
    return np.frombuffer(bytes.fromhex(content), dtype).reshape(())[()]


def _array(x: Any, file: File) -> Any:
    if not file.reads:
        file.arrays.append(x)
        return len(file.arrays) - 1, _dtype(x.dtype).str
    number, dtype = _form(tuple[int, np.dtype])(x, file)
    entry = file.entries.pop(str(number))
    if entry.dtype != dtype:
        raise FileError(f"an array is {entry.dtype}, not {dtype}")
    return entry.read()


# --- trees ------------------------------------------------------------------------------------


def _write_structure(structure: tree.Structure, file: File) -> Any:
    """A tree without its leaves: ``"*"`` is a leaf."""
    node = structure.node
    if node is None:
        return "*"
    if node is type(None) or structure.is_static:
        return _value(tree.unflatten(structure, ()), file)
    keys, children = structure.keys, [_write_structure(x, file) for x in structure.children]
    if node not in (dict, list, tuple):
        return {"record": [full_name(node), keys, children]}
    return {node.__name__: [*zip(_value(keys, file), children, strict=True)] if keys else children}


def _read_structure(x: Any, file: File) -> tree.Structure:
    """The tree; classes are looked up, see `class_named`."""
    if x == "*":
        return tree.LEAF
    if x is None or x.keys() == {"static"}:
        return tree.flatten(_value(x, file))[1]
    ((kind, content),) = x.items()
    node: type = {"dict": dict, "list": list, "tuple": tuple, "record": object}[kind]
    keys, children = (), content
    if node is dict:
        items = {_value(key, file): child for key, child in content}
        keys, children = tuple(items), items.values()
    elif node is object:
        name, fields, children = content
        node, keys = class_named(name, file.using), tuple(fields)
        wanted = tuple([field for field, _ in tree.init_fields(node) or ()])
        n = len(wanted or getattr(node, "_fields", ()))
        if (keys, len(children)) != (wanted, n) or hasattr(node, "__tree_static__"):
            raise FileError(f"{name} has other fields than those of the file")
    return tree.Structure(node, keys, tuple([_read_structure(child, file) for child in children]))


# --- programs ---------------------------------------------------------------------------------


def _constant(x: Any, file: File) -> Any:
    if not file.reads:
        return *_array(x.array, file), x.captured, x.name
    # the first files had no names of arrays
    rest = x[2:] if len(x) > 3 else [*x[2:], ""]
    return Constant(_array(x[:2], file), *_form(tuple[bool, str])(rest, file))


def _code(x: Any, file: File) -> Any:
    names = [x.name for x in attrs.fields(Code)]
    if file.reads:
        return _CODE([x[name] for name in names], file)
    return dict(zip(names, _CODE(x, file), strict=True))


_KINDS = {"i": "input", "c": "constant", "v": "instruction"}
_LETTERS = {kind: letter for letter, kind in _KINDS.items()}
# by their names in files, the types of values and their forms
_VALUES: dict[str, tuple[Any, Convert]] = {
    "number": (np.generic, _converted_form(tuple[np.dtype[Any], str], _parts_of_number, _number)),
    # such as ``v12``
    "value": (
        Ref,
        _converted_form(
            str, lambda x: f"{_LETTERS[x.kind]}{x.index}", lambda x: Ref(_KINDS[x[0]], int(x[1:]))
        ),
    ),
    "slice": (slice, _fields(slice, start=int | None, stop=int | None, step=int | None)),
    "ellipsis": (EllipsisType, _converted_form(type(None), lambda x: None, lambda x: ...)),
    "hole": (ArrayPosition, _converted_form(type(None), lambda x: None, lambda x: HOLE)),
    "dtype": (np.dtype | type, _converted_form(str, lambda x: _dtype(x).str, _dtype)),
    "bytes": (bytes, _converted_form(str, bytes.hex, bytes.fromhex)),
    "complex": (complex, _fields(complex, real=float, imag=float)),
    "dict": (Mapping, _converted_form(Any, lambda x: [*x.items()], dict)),
    "array": (np.ndarray, _array),
    "branch": (Branch, _record(Branch)),
    "loop": (Loop, _record(Loop)),
    # any other, or a refusal
    "static": (object, _static),
}
_CODE = _record(Code, Program)
# what JSON has for operands; other numbers are themselves
_OPERANDS: dict[type, type] = {str: Ref, list: complex}
# of fields
_FORMS: dict[Any, Convert] = {
    **dict(_VALUES.values()),
    Any: _value,
    np.dtype: _VALUES["dtype"][1],
    Operand: lambda x, file: _form(_OPERANDS.get(type(x), type(x)))(x, file),
    frozenset: _converted_form(tuple[int, ...], sorted, frozenset),
    tree.Structure: lambda x, file: (_read_structure if file.reads else _write_structure)(x, file),
    Primitive: lambda x, file: op_named(x, file.using) if file.reads else name_of_op(x),
    Mapping[str, Any]: lambda x, file: {name: _value(y, file) for name, y in x.items()},
    Constant: _constant,
    Code: _code,
}

_ARGUMENTS = tuple[Argument, ...] | None
_ENTRY = "program.json"
_FORMAT = "tapegrad program"
# the version of the format, which changes with its meaning
_VERSION = 1
_MOST_TEXT = 1 << 26  # bytes


def save(program: Program, path: FilePath) -> None:
    """Write a program; see `Program.save`."""
    file = File(False, program.label)
    content = {
        "format": _FORMAT,
        "version": _VERSION,
        "arguments": _form(_ARGUMENTS)(program.arguments, file),
        "code": _form(Code)(program, file),
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
    return guarded(path, lambda _, file: _read_program(file, handed), "Program.save")


def _read_program(opened: Any, using: tuple[Any, ...]) -> Program:
    """The program of an open file, which is checked."""
    with zipfile.ZipFile(opened) as archive:
        content = json.loads(text_of(archive, _ENTRY, _MOST_TEXT))
        if type(content) is not dict or content.get("format") != _FORMAT:
            raise FileError("it does not hold a program of tapegrad")
        if (version := content.get("version")) != _VERSION:
            raise FileError(
                f"it is a program's file of version {str(version)[:20]}, and this tapegrad reads "
                f"version {_VERSION}: save the program again with this one"
            )
        file = File(True, entries=entries_of(archive, _ENTRY), using=using)
        arguments = _form(_ARGUMENTS)(content["arguments"], file)
        program: Program = attrs.evolve(_form(Code)(content["code"], file), arguments=arguments)
    if file.entries:
        raise FileError("its constants are not those that it lists")
    try:
        check_code(program, lambda op: ":" not in name_of_op(op))
    except Malformed as error:
        raise FileError(str(error)) from None
    if arguments is not None:
        are_described = all(len(x.statics) == x.structure.size for x in arguments)
        varying = sum(x.statics.count(None) for x in arguments)
        if not are_described or varying != len(program.inputs):
            raise FileError("its inputs are not the leaves of its arguments")
    # the source is written, so that errors show here and not in a call
    program._run  # noqa: B018
    return program
