"""Programs in files: how each field is written, read and checked, said once.

No text in a file is ever run. What reads a field may raise anything for text that no program wrote:
`tapegrad.files.guarded` makes one error of it.
"""

from __future__ import annotations

import json
import re
import zipfile
from collections.abc import Callable, Iterable, Mapping
from operator import attrgetter
from typing import Any

import attrs
import numpy as np

from tapegrad import tree
from tapegrad.core.rules import Rules
from tapegrad.errors import FileError
from tapegrad.errors.words import a_kind
from tapegrad.files import Entry, FilePath, entries_of, guarded, text_of, write
from tapegrad.ops.indexing import HOLE
from tapegrad.program import naming
from tapegrad.program.checking import Malformed, check_code
from tapegrad.program.control.loop import Branch, Loop
from tapegrad.program.entry import Argument
from tapegrad.program.ir import Constant, Input, Instruction, Ref
from tapegrad.program.program import Program
from tapegrad.tree.ownership import Array


@attrs.define
class File:
    """A path or a file that programs are written to, or read from.

    Attributes
    ----------
    arrays
        The arrays written so far.
    entries
        The arrays that are still to be read, by name.
    statics
        The static parts of trees that were written or read so far.
    using
        What the caller handed over.
    label, what
        The program that is written, and what of it is being written, for messages.
    """

    arrays: list[Array] = attrs.Factory(list)
    entries: dict[str, Entry] = attrs.Factory(dict)
    statics: list[Any] = attrs.Factory(list)
    using: Iterable[Any] = ()
    label: str = ""
    what: str = ""


Convert = Callable[[Any, File], Any]


@attrs.frozen
class Field:
    """How a value is written as JSON, and how it is read again, and refused if it is wrong."""

    write: Convert
    read: Convert


# --- fields made of others --------------------------------------------------------------------


def _as_it_is(is_right: Callable[[Any], bool], what: str) -> Field:
    def read(x: Any, file: File) -> Any:
        if not is_right(x):
            raise FileError(f"{str(x)[:80]!r} is not {what}")
        return x

    return Field(lambda x, file: x, read)


def _mapped(field: Field, out: Callable[[Any], Any], back: Callable[[Any], Any]) -> Field:
    """A field that is written as something else: `out` gives that, and `back` the value again."""
    return Field(
        lambda x, file: field.write(out(x), file), lambda x, file: back(field.read(x, file))
    )


def _several(field: Field) -> Field:
    return Field(
        lambda x, file: [field.write(part, file) for part in x],
        lambda x, file: tuple([field.read(part, file) for part in _LIST.read(x, file)]),
    )


def _optional(field: Field) -> Field:
    return Field(
        lambda x, file: None if x is None else field.write(x, file),
        lambda x, file: None if x is None else field.read(x, file),
    )


def _named(make: Callable[..., Any], **fields: Field) -> Field:
    """The fields of a record, by their names."""
    return Field(
        lambda x, file: {name: y.write(getattr(x, name), file) for name, y in fields.items()},
        lambda x, file: make(**{name: y.read(x[name], file) for name, y in fields.items()}),
    )


def _row(make: Callable[..., Any], **fields: Field) -> Field:
    """The fields of a record, in a list."""
    named = _named(make, **fields)
    return Field(
        lambda x, file: [*named.write(x, file).values()],
        lambda x, file: named.read(dict(zip(fields, _LIST.read(x, file), strict=True)), file),
    )


_LIST = _as_it_is(lambda x: type(x) is list, "a list")
_TEXT = _as_it_is(lambda x: type(x) is str, "a name")
_LINE = _as_it_is(lambda x: type(x) is str and x.isprintable(), "one line of text")
_TRUTH = _as_it_is(lambda x: type(x) is bool, "true or false")
_COUNT = _as_it_is(lambda x: type(x) is int and x >= 0, "a number of things")
_INT = _as_it_is(lambda x: type(x) is int, "a whole number")
_FLOAT = _as_it_is(lambda x: type(x) is float, "a float")
_EMPTY = _as_it_is(lambda x: x is None, "nothing")

# --- operands and dtypes ----------------------------------------------------------------------

_KINDS = {"input": "i", "constant": "c", "instruction": "v"}
_LETTERS = {letter: kind for kind, letter in _KINDS.items()}
# numbers; and text, for dict keys and results
_DTYPE = re.compile(r"[<>|=][biufcU][0-9]{1,9}")


def _write_dtype(dtype: Any, file: File) -> str:
    known = np.dtype(dtype)
    if not _DTYPE.fullmatch(known.str):
        raise TypeError(f"a program with values of {known} cannot be saved")
    text: str = known.str
    return text


def _read_operand(x: Any, file: File) -> Any:
    if type(x) in (bool, int, float):
        return x
    return (_COMPLEX if type(x) is list else _REF).read(x, file)


def _write_operand(x: Any, file: File) -> Any:
    field = {complex: _COMPLEX, Ref: _REF}.get(type(x))
    return field.write(x, file) if field else x


_SAVED_DTYPE = _as_it_is(lambda x: bool(_DTYPE.fullmatch(x)), "a dtype of numbers")
_A_DTYPE = Field(_write_dtype, lambda x, file: np.dtype(_SAVED_DTYPE.read(x, file)))
_COMPLEX = _mapped(_several(_FLOAT), lambda x: (x.real, x.imag), lambda x: complex(x[0], x[1]))
# as a word such as ``v12``
_REF = _mapped(
    _TEXT, lambda x: f"{_KINDS[x.kind]}{x.index}", lambda x: Ref(_LETTERS[x[0]], int(x[1:]))
)
_OPERAND = Field(_write_operand, _read_operand)

# --- values: options, a dict's keys, results --------------------------------------------------

_PLAIN = (type(None), bool, int, float, str)


def _write_value(x: Any, file: File) -> Any:
    if type(x) in _PLAIN:
        return x
    if type(x) in (tuple, list):
        return _VALUES.write(x, file)
    for name, (is_one, field) in _KINDS_OF_VALUES.items():
        if is_one(x):
            return {name: field.write(x, file)}
    raise TypeError(f"{file.what} is {a_kind(x)}, which a program's file cannot hold: {x!r}")


def _read_value(x: Any, file: File) -> Any:
    if type(x) in _PLAIN:
        return x
    if type(x) is list:
        return _VALUES.read(x, file)
    ((kind, content),) = x.items()
    return _KINDS_OF_VALUES[kind][1].read(content, file)


def _is_number(x: Any) -> bool:
    return isinstance(x, np.generic) and bool(_DTYPE.fullmatch(x.dtype.str))


def _write_number(x: Any, file: File) -> Any:
    return [x.dtype.str, x.item() if x.dtype.kind == "U" else x.tobytes().hex()]


def _read_number(x: Any, file: File) -> Any:
    text, content = x
    dtype = _A_DTYPE.read(text, file)
    if dtype.kind == "U":
        return np.str_(content)
    (number,) = np.frombuffer(bytes.fromhex(content), dtype)
    return number


def _is_dtype(x: Any) -> bool:
    numbers = (bool, int, float, complex, np.generic)
    return isinstance(x, np.dtype) or (isinstance(x, type) and issubclass(x, numbers))


def _write_array(x: Array, file: File) -> Any:
    file.arrays.append(x)
    return [len(file.arrays) - 1, _write_dtype(x.dtype, file)]


def _read_array(x: Any, file: File) -> Array:
    number, dtype = x
    entry = file.entries.pop(str(_COUNT.read(number, file)))
    if entry.dtype != _A_DTYPE.read(dtype, file):
        raise FileError(f"an array is {entry.dtype}, not {dtype}")
    return entry.read()


def _write_static(x: Any, file: File) -> Any:
    """A static part of a tree by its parts; where it occurs again, by its number."""
    if x in file.statics:
        return file.statics.index(x)
    file.statics.append(x)
    return [naming.full_name(type(x)), _VALUES.write(x.as_parts(), file)]


def _read_static(x: Any, file: File) -> Any:
    if type(x) is int:
        return file.statics[_COUNT.read(x, file)]
    name, parts = x
    file.statics.append(naming.static_named(name).from_parts(*_VALUES.read(parts, file)))
    return file.statics[-1]


_VALUE = Field(_write_value, _read_value)
_VALUES = _several(_VALUE)
# by the name in files, which values are of the kind
_KINDS_OF_VALUES: dict[str, tuple[Callable[[Any], bool], Field]] = {
    "value": (lambda x: type(x) is Ref, _REF),
    "slice": (
        lambda x: type(x) is slice,
        _mapped(
            _several(_optional(_INT)), attrgetter("start", "stop", "step"), lambda x: slice(*x)
        ),
    ),
    "ellipsis": (lambda x: x is ..., _mapped(_EMPTY, lambda x: None, lambda x: ...)),
    "hole": (lambda x: x is HOLE, _mapped(_EMPTY, lambda x: None, lambda x: HOLE)),
    "dtype": (_is_dtype, _A_DTYPE),
    "bytes": (lambda x: type(x) is bytes, _mapped(_TEXT, bytes.hex, bytes.fromhex)),
    "number": (_is_number, Field(_write_number, _read_number)),
    "complex": (lambda x: type(x) is complex, _COMPLEX),
    "dict": (
        lambda x: isinstance(x, Mapping),
        _mapped(_several(_VALUES), lambda x: x.items(), dict),
    ),
    "array": (lambda x: type(x) is np.ndarray, Field(_write_array, _read_array)),
    "static": (lambda x: hasattr(type(x), "as_parts"), Field(_write_static, _read_static)),
}

# --- trees ------------------------------------------------------------------------------------


def _write_structure(structure: tree.Structure, file: File) -> Any:
    """A tree without its leaves: ``"*"`` is a leaf."""
    node = structure.node
    if node is None:
        return "*"
    if node is type(None):
        return None
    if structure.is_static:
        file.what = "a part of a tree"
        return _write_value(structure.keys[0], file)
    children = [_write_structure(child, file) for child in structure.children]
    if node is dict:
        file.what = "a dict's key"
        keys = _VALUES.write(structure.keys, file)
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
        return tree.flatten(_read_static(content, file))[1]
    node: type = {"dict": dict, "list": list, "tuple": tuple, "record": object}[kind]
    keys, children = (), content
    if node is dict:
        keys, children = _VALUES.read([key for key, _ in content], file), [x for _, x in content]
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


_STRUCTURE = Field(_write_structure, _read_structure)

# --- programs ---------------------------------------------------------------------------------


def _write_constant(x: Constant, file: File) -> list[Any]:
    return [*_write_array(x.array, file), x.captured, x.name]


def _read_constant(x: Any, file: File) -> Constant:
    # the first files had no names of arrays
    number, dtype, captured, *name = x
    names = [_TEXT.read(text, file) for text in name]
    return Constant(_read_array([number, dtype], file), _TRUTH.read(captured, file), *names)


def _write_op(op: Rules, file: File) -> str:
    file.what = op.name
    return naming.name_of_op(op)


def _write_options(options: Mapping[str, Any], file: File) -> dict[str, Any]:
    written, op = {}, file.what
    for key, x in options.items():
        file.what = f"the option {key} of {op}"
        written[key] = _write_value(x, file)
    return written


def _read_options(x: Any, file: File) -> dict[str, Any]:
    return {key: _read_value(content, file) for key, content in x.items()}


def _write_result(x: Any, file: File) -> Any:
    file.what = f"a result of {file.label}"
    return _write_value(x, file)


_SHAPE = _several(_COUNT)
_NAME = _as_it_is(lambda x: type(x) in (int, str), "an argument's name")
_ARGUMENT = _row(Argument, name=_NAME, structure=_STRUCTURE, statics=_several(_optional(_TEXT)))
_NUMBER = _as_it_is(lambda x: x in (None, "float", "int", "complex"), "a kind of number")
_INPUT = _row(Input, path=_TEXT, shape=_SHAPE, dtype=_A_DTYPE, number=_NUMBER)
_INSTRUCTION = _row(
    Instruction,
    op=Field(_write_op, lambda x, file: naming.op_named(x, file.using)),
    operands=_several(_OPERAND),
    options=Field(_write_options, _read_options),
    shape=_SHAPE,
    dtype=_A_DTYPE,
    number=_TRUTH,
    note=_LINE,
    name=_TEXT,
    stage=_TEXT,
)
_ARGUMENTS = _optional(_several(_ARGUMENT))
_CODE = _named(
    Program,
    label=_LINE,
    inputs=_several(_INPUT),
    constants=_several(Field(_write_constant, _read_constant)),
    instructions=_several(_INSTRUCTION),
    outputs=_several(Field(_write_result, _read_value)),
    structure=_STRUCTURE,
)
_KINDS_OF_VALUES |= {
    "branch": (lambda x: type(x) is Branch, _row(Branch, on_true=_CODE, on_false=_CODE)),
    "loop": (
        lambda x: type(x) is Loop,
        _row(
            Loop,
            body=_CODE,
            stop=_optional(_CODE),
            **dict.fromkeys(("n_carry", "n_xs", "n_ys"), _COUNT),
            length=_optional(_COUNT),
            reverse=_TRUTH,
            remember=_TRUTH,
            moving=_mapped(_several(_COUNT), sorted, frozenset),
        ),
    ),
}

_ENTRY = "program.json"
_FORMAT = "tapegrad program"
# of the format; it changes with the meaning of what is written
_VERSION = 1
_MOST_TEXT = 1 << 26  # bytes


def save(program: Program, path: FilePath) -> None:
    """Write a program; see `Program.save`."""
    file = File(label=program.label)
    content = {
        "format": _FORMAT,
        "version": _VERSION,
        "arguments": _ARGUMENTS.write(program.arguments, file),
        "code": _CODE.write(program, file),
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

    def read(file: Any) -> Program:
        with zipfile.ZipFile(file) as archive:
            content = json.loads(text_of(archive, _ENTRY, _MOST_TEXT))
            _check_version(content)
            return _program(content, entries_of(archive, _ENTRY), handed)

    loaded: Program = guarded(path, read, "Program.save")
    return loaded


def _check_version(content: Any) -> None:
    if type(content) is not dict or content.get("format") != _FORMAT:
        raise FileError("it does not hold a program of tapegrad")
    version = content.get("version")
    if version != _VERSION:
        raise FileError(
            f"it is a program's file of version {str(version)[:20]}, and this tapegrad reads "
            f"version {_VERSION}: save the program again with this one"
        )


def _program(content: Any, entries: Mapping[str, Entry], using: tuple[Any, ...]) -> Program:
    file = File(entries=dict(entries), using=using)
    arguments = _ARGUMENTS.read(content["arguments"], file)
    program: Program = attrs.evolve(_CODE.read(content["code"], file), arguments=arguments)
    if file.entries:
        raise FileError("its constants are not those that it lists")
    try:
        check_code(program, naming.is_known)
    except Malformed as error:
        raise FileError(str(error)) from None
    _check_arguments(program)
    # the source is written, so that errors show here and not in a call
    program._make  # noqa: B018
    return program


def _check_arguments(program: Program) -> None:
    """Raise unless the inputs are the arguments' varying leaves."""
    if program.arguments is None:
        return
    are_described = all(len(x.statics) == x.structure.size for x in program.arguments)
    varying = sum(x.statics.count(None) for x in program.arguments)
    if not are_described or varying != len(program.inputs):
        raise FileError("its inputs are not the leaves of its arguments")
