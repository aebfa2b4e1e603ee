"""Programs as plain data, and in files."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import numpy as np

from tapegrad import tree
from tapegrad.archive import FilePath, write
from tapegrad.core.cotangents import SEED
from tapegrad.core.op import Op
from tapegrad.core.tensor import Rules
from tapegrad.core.writing import ASARRAY
from tapegrad.declare import OPS, key_of
from tapegrad.declare.custom import CUSTOM_VJP
from tapegrad.errors import FileError
from tapegrad.face.ownership import Array
from tapegrad.face.text import a_kind
from tapegrad.ops import scipy_special
from tapegrad.ops.indexing import HOLE
from tapegrad.program.arguments import Argument
from tapegrad.program.control.loop import PART, Branch, Loop
from tapegrad.program.ir import Code, Instruction, Ref
from tapegrad.random import generator
from tapegrad.transforms.replay import EACH, EACH_DRAWN

# loops and branches, whose ops are made of programs
_CONTROL = "tapegrad.program.control."
DRAWS = tuple([x for x in vars(generator).values() if isinstance(x, Op)])
# ops that are not declared under a name
_OTHERS = {
    "seed": SEED,
    "as_array": ASARRAY,
    **{f"random.{op.declared.__name__}": op for op in DRAWS},
    **{f"scipy.{op.name}": op for op in vars(scipy_special).values() if isinstance(op, Op)},
}


def name_of_op(op: Rules) -> str:
    """The name of an op in files; that of a user's op begins with its module and a colon.

    Raises
    ------
    TypeError
        For a `custom_vjp`, which each call makes anew, and for calls example by example.
    """
    if op is CUSTOM_VJP:
        raise TypeError(
            "a program that calls a custom_vjp function cannot be saved, since the function would "
            "have to be saved with it; declare it with tg.custom_op"
        )
    if op in (EACH, EACH_DRAWN):
        raise TypeError(
            "a program has a draw, or an op of your own, that vmap calls for each example of a "
            "batch; no file holds that, and JAX cannot do it: call the function for each example"
        )
    if key := key_of(op):
        return key
    for name, known in _OTHERS.items():
        if known is op:
            return name
    if op is PART:
        return "control.part"
    if op.forward.__module__.startswith(_CONTROL):
        return f"control.{op.name}"
    return _full(op)


def is_known(op: Rules) -> bool:
    """Whether an op is tapegrad's own, other than a loop or a branch."""
    return key_of(op) is not None or any(known is op for known in _OTHERS.values())


def op_named(name: str, using: Iterable[Any]) -> Rules:
    """The op with this name in a file.

    Raises
    ------
    FileError
        If there is none; the message says what to do.
    """
    op = OPS.get(name) or _OTHERS.get(name)
    if op is None:
        op = _handed(name, [x for x in using if isinstance(x, Op)])
    if op is not None:
        return op
    if ":" not in name:
        raise FileError(f"it has an op {name!r}, which this version of tapegrad does not know")
    raise FileError(
        f"it has the op {name!r}, which is not tapegrad's; hand it over: "
        f"tg.load_program(path, using=[{name.rpartition(':')[2]}])"
    )


def name_of_class(node: type) -> str:
    """The name in files of a class of records or a NamedTuple."""
    return _full(node)


def class_named(name: str, using: Iterable[Any]) -> type:
    """The class with this name in a file.

    Raises
    ------
    FileError
        If it neither belongs to the package nor was handed over.
    """
    module, _, qualified = name.partition(":")
    found = _handed(name, [x for x in using if isinstance(x, type)])
    if found is None and module.split(".")[0] == "tapegrad":
        # the package's own, whatever the file says
        from tapegrad import nn, optim  # noqa: F401

        found = getattr(sys.modules.get(module), qualified, None)
    if isinstance(found, type) and _is_node(found):
        return found
    raise FileError(
        f"it returns records of the class {name!r}; hand it over: "
        f"tg.load_program(path, using=[{qualified or name}])"
    )


def _is_node(node: type) -> bool:
    is_named = issubclass(node, tuple) and hasattr(node, "_fields")
    return is_named or tree.fields_of(node) is not None


def _full(thing: Any) -> str:
    return f"{thing.__module__}:{thing.__qualname__}"


def _handed(name: str, given: list[Any]) -> Any:
    """The one with this name, in this module or else in any other."""
    last = name.rpartition(":")[2]
    fitting = [x for x in given if _full(x) == name] or [x for x in given if x.__qualname__ == last]
    return fitting[0] if fitting else None


_KINDS = {"input": "i", "constant": "c", "instruction": "v"}
_LETTERS = {letter: kind for kind, letter in _KINDS.items()}
# real numbers; and text, for dict keys and results
_DTYPE = re.compile(r"[<>|=][biufU][0-9]{1,9}")
_PLAIN = (type(None), bool, int, float, str)


# --- refs -----------------------------------------------------------------------------------


def operand_to_json(x: Any) -> Any:
    """A ref as a word such as ``v12``; a number as itself."""
    return f"{_KINDS[x.kind]}{x.index}" if type(x) is Ref else x


def operand_from_json(x: Any) -> Any:
    """The inverse of `operand_to_json`."""
    if type(x) in (bool, int, float):
        return x
    if type(x) is not str or not re.fullmatch("[icv][0-9]{1,18}", x):
        raise FileError(f"{x!r} is not an operand")
    return Ref(_LETTERS[x[0]], int(x[1:]))


# --- dtypes ---------------------------------------------------------------------------------


def dtype_to_json(dtype: Any) -> str:
    """A dtype as NumPy writes it in files.

    Raises
    ------
    TypeError
        If it is neither a dtype of real numbers nor of text.
    """
    made = np.dtype(dtype)
    if not _DTYPE.fullmatch(made.str):
        raise TypeError(f"a program with values of {made} cannot be saved")
    text: str = made.str
    return text


def dtype_from_json(x: Any) -> np.dtype[Any]:
    """The inverse of `dtype_to_json`."""
    if type(x) is not str or not _DTYPE.fullmatch(x):
        raise FileError(f"{x!r} is not a dtype of real numbers")
    return np.dtype(x)


# --- values ---------------------------------------------------------------------------------


def to_json(x: Any, what: str) -> Any:
    """A static value: an option, a dict's key or a result.

    Parameters
    ----------
    x
        The value.
    what
        What a message calls it.

    Raises
    ------
    TypeError
        If no file can hold it.
    """
    kind = type(x)
    if kind in _PLAIN:
        return x
    if kind is Ref:
        return {"value": operand_to_json(x)}
    if kind in (tuple, list):
        return [to_json(part, what) for part in x]
    if kind is slice:
        return {"slice": [to_json(end, what) for end in (x.start, x.stop, x.step)]}
    if x is ...:
        return {"ellipsis": None}
    if x is HOLE:
        return {"hole": None}
    if isinstance(x, np.dtype) or (isinstance(x, type) and issubclass(x, (*_NUMBERS, np.generic))):
        return {"dtype": dtype_to_json(x)}
    if kind is bytes:
        return {"bytes": x.hex()}
    if isinstance(x, np.generic) and _DTYPE.fullmatch(x.dtype.str):
        return {"number": [x.dtype.str, x.item() if x.dtype.kind == "U" else x.tobytes().hex()]}
    if isinstance(x, Mapping):
        return {"dict": [[to_json(key, what), to_json(part, what)] for key, part in x.items()]}
    raise TypeError(f"{what} is {a_kind(x)}, which a program's file cannot hold: {x!r}")


_NUMBERS = (bool, int, float)


def from_json(x: Any) -> Any:
    """The inverse of `to_json`."""
    if type(x) in _PLAIN:
        return x
    if type(x) is list:
        return tuple([from_json(part) for part in x])
    if type(x) is not dict or len(x) != 1:
        raise FileError(f"{str(x)[:80]} is not a value")
    ((kind, content),) = x.items()
    read = _READERS.get(kind)
    if read is None:
        raise FileError(f"{kind!r} is not a kind of value")
    return read(content)


def _slice(x: Any) -> slice:
    ends = [end for end in x if end is None or type(end) is int]
    if len(x) != 3 or len(ends) != 3:
        raise FileError(f"{x!r} is not a slice")
    return slice(*ends)


def _number(x: Any) -> Any:
    text, content = x
    dtype = dtype_from_json(text)
    if dtype.kind == "U":
        return np.str_(content)
    (number,) = np.frombuffer(bytes.fromhex(content), dtype)
    return number


_READERS: Mapping[str, Callable[[Any], Any]] = {
    "value": operand_from_json,
    "slice": _slice,
    "ellipsis": lambda x: ...,
    "hole": lambda x: HOLE,
    "dtype": dtype_from_json,
    "bytes": lambda x: bytes.fromhex(x),
    "number": _number,
    "dict": lambda x: {from_json(key): from_json(part) for key, part in x},
}


# --- trees ----------------------------------------------------------------------------------


def structure_to_json(structure: tree.Structure) -> Any:
    """A tree without its leaves: ``"*"`` is a leaf."""
    node = structure.node
    if node is None:
        return "*"
    if node is type(None):
        return None
    children = [structure_to_json(child) for child in structure.children]
    if node is dict:
        keys = [to_json(key, "a dict's key") for key in structure.keys]
        return {"dict": [[key, child] for key, child in zip(keys, children, strict=True)]}
    if node in (list, tuple):
        return {node.__name__: children}
    return {"record": [name_of_class(node), list(structure.keys), children]}


def structure_from_json(x: Any, using: Iterable[Any]) -> tree.Structure:
    """The inverse of `structure_to_json`; classes are looked up, see `class_named`."""
    if x == "*":
        return tree.LEAF
    if x is None:
        return tree.Structure(type(None))
    ((kind, content),) = x.items()
    if kind == "dict":
        keys = tuple([from_json(key) for key, _ in content])
        children = [child for _, child in content]
        node: type = dict
        if len(set(keys)) != len(keys):
            raise FileError("a dict has a key twice")
    elif kind in ("list", "tuple"):
        node, keys, children = list if kind == "list" else tuple, (), content
    elif kind == "record":
        name, fields, children = content
        node, keys = class_named(name, using), tuple(fields)
        wanted = tuple([field for field, _ in tree.fields_of(node) or ()])
        places = len(getattr(node, "_fields", ())) if issubclass(node, tuple) else len(wanted)
        if keys != wanted or len(children) != places:
            raise FileError(f"{name} has other fields than those of the file")
    else:
        raise FileError(f"{kind!r} is not a kind of tree")
    return tree.Structure(node, keys, tuple([structure_from_json(c, using) for c in children]))


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
