"""Values, trees and refs as JSON, and back.

A value that JSON has stands for itself, a list stands for a tuple, and an object with one key for
anything else: ``{"slice": [0, null, 2]}``.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import numpy as np

from tapegrad import tree
from tapegrad.errors import FileError
from tapegrad.face.text import a_kind
from tapegrad.ops.holes import HOLE
from tapegrad.program.ir import Ref
from tapegrad.program.naming import class_named, name_of_class

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
