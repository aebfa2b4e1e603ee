"""The way into a program and out of it: trees taken apart and put together as source."""

from __future__ import annotations

import builtins
import keyword
import re
from collections.abc import Callable, Sequence
from typing import Any

import attrs
import numpy as np

from tapegrad import tree
from tapegrad.tensor import OPS


@attrs.frozen
class ArrayLike:
    """What a program depends on of an array argument."""

    dtype: np.dtype[Any]
    shape: tuple[int, ...]

    def __repr__(self) -> str:
        return f"{self.dtype}{list(self.shape)}"


@attrs.frozen
class NumberLike:
    """What a program depends on of a Python number that may vary: its type."""

    kind: type

    def __repr__(self) -> str:
        return self.kind.__name__


@attrs.frozen
class Static:
    """An argument that a program is made for: its value."""

    value: Any
    kind: type
    # equal values may not be the same: 0.0 and -0.0, (1,) and (True,)
    text: str = attrs.Factory(lambda self: repr(self.value), takes_self=True)

    def __repr__(self) -> str:
        return self.text


@attrs.frozen(repr=False)
class Signature:
    """What programs are told apart by: the trees, shapes, dtypes and static values.

    Attributes
    ----------
    structures
        The name (or position) and the structure of each argument.
    leaves
        What matters of each leaf.
    """

    structures: tuple[tuple[Any, tree.Structure], ...]
    leaves: tuple[ArrayLike | NumberLike | Static, ...]

    def __repr__(self) -> str:
        rest = iter(self.leaves)
        parts = []
        for name, structure in self.structures:
            text = repr(tree.unflatten(structure, [next(rest) for _ in range(structure.size)]))
            parts.append(f"{name}={text}" if isinstance(name, str) else text)
        return f"({', '.join(parts)})"


Unpack = Callable[[tuple[Any, ...], dict[str, Any]], "tuple[Any, ...] | None"]


def unpacker(signature: Signature) -> Unpack:
    """A function that gives the leaves that vary if a call has this signature, else None.

    It is straight-line source: a walk through the trees would take longer than a small
    program does.
    """
    namespace: dict[str, Any] = {"ndarray": np.ndarray}
    names = [name for name, _ in signature.structures]
    n_args = sum(isinstance(name, int) for name in names)
    keys = {name for name in names if isinstance(name, str)}
    namespace["keys"] = keys
    lines = [f"if len(args) != {n_args} or kwargs.keys() != keys: return None"]
    if not keys:
        lines = [f"if kwargs or len(args) != {n_args}: return None"]
    leaves = iter(signature.leaves)
    values: list[str] = []
    count = 0

    def fresh() -> str:
        nonlocal count
        count += 1
        return f"x{count}"

    def bind(value: Any) -> str:
        namespace[f"c{len(namespace)}"] = value
        return f"c{len(namespace) - 1}"

    def leaf(name: str) -> None:
        kind = next(leaves)
        if isinstance(kind, ArrayLike):
            values.append(name)
            lines.append(
                f"if type({name}) is not ndarray or {name}.dtype is not {bind(kind.dtype)} "
                f"or {name}.shape != {kind.shape}: return None"
            )
        elif isinstance(kind, NumberLike):
            values.append(name)
            lines.append(f"if type({name}) is not {kind.kind.__name__}: return None")
        else:
            value = bind(kind.value)
            same = f"{name} is {value}"
            if kind.kind in (str, bytes, int):
                same += f" or (type({name}) is {kind.kind.__name__} and {name} == {value})"
            lines.append(f"if not ({same}): return None")

    def walk(name: str, structure: tree.Structure) -> None:
        node = structure.node
        if node is None:
            leaf(name)
            return
        if node is type(None):
            lines.append(f"if {name} is not None: return None")
            return
        children = [fresh() for _ in structure.children]
        lines.append(f"if type({name}) is not {bind(node)}: return None")
        if node is dict:
            lines.append(f"if {name}.keys() != {bind(set(structure.keys))}: return None")
            for child, key in zip(children, structure.keys, strict=True):
                lines.append(f"{child} = {name}[{bind(key)}]")
        elif structure.keys:
            for child, key in zip(children, structure.keys, strict=True):
                lines.append(f"{child} = {name}.{key}")
        else:
            lines.append(f"if len({name}) != {len(children)}: return None")
            if children:
                lines.append(f"{', '.join(children)}, = {name}")
        for child, part in zip(children, structure.children, strict=True):
            walk(child, part)

    for name, structure in signature.structures:
        at = fresh()
        lines.append(
            f"{at} = args[{name}]" if isinstance(name, int) else f"{at} = kwargs[{name!r}]"
        )
        walk(at, structure)
    result = "(" + "".join(f"{value}, " for value in values) + ")"
    text = "\n    ".join(["def unpack(args, kwargs):", *lines, f"return {result}"])
    exec(compile(text, "<arguments>", "exec"), namespace)
    unpack: Unpack = namespace["unpack"]
    return unpack


# what the source calls its own: buffers, blocks, results, options
_RESERVED = re.compile(
    r"make|run|give|empty|buffer|array|apart|lo|n|[bt]\d+|b\d+_\d+|rows_\d+|RowUpdates|(flat|key|result|static|option|dtype|captured|k_).*"
)


def identifier(wanted: str, prefix: str) -> str:
    """A name for the source made of any text, that is no function's nor one of its own."""
    name = re.sub(r"\W", "_", wanted, flags=re.ASCII)
    if (
        not name.isidentifier()
        or keyword.iskeyword(name)
        or _RESERVED.fullmatch(name)
        or name in OPS
        or hasattr(np, name)
        or hasattr(builtins, name)
    ):
        name = prefix + name
    return name


def packed(
    structure: tree.Structure,
    leaves: Sequence[str],
    namespace: dict[str, Any],
    taken: set[str],
) -> str:
    """The expression that puts a tree together from the names of its leaves.

    The classes it needs enter the namespace, under names that are not taken.
    """
    rest = iter(leaves)

    def write(structure: tree.Structure) -> str:
        node = structure.node
        if node is None:
            return next(rest)
        if node is type(None):
            return "None"
        parts = [write(child) for child in structure.children]
        if node is dict:
            pairs = ", ".join(
                f"{_key(key, namespace)}: {part}"
                for key, part in zip(structure.keys, parts, strict=True)
            )
            return f"{{{pairs}}}"
        if node is list:
            return f"[{', '.join(parts)}]"
        if node is tuple:
            return f"({', '.join(parts)},)" if len(parts) == 1 else f"({', '.join(parts)})"
        name = identifier(node.__name__, "class_")
        while name in taken or namespace.setdefault(name, node) is not node:
            name += "_"
        if structure.keys:
            fields = tree.fields_of(node) or ()
            parts = [
                f"{argument}={part}" for (_, argument), part in zip(fields, parts, strict=True)
            ]
        return f"{name}({', '.join(parts)})"

    return write(structure)


def _key(key: Any, namespace: dict[str, Any]) -> str:
    if isinstance(key, str | int):
        return repr(key)
    name = f"key{len(namespace)}"
    namespace[name] = key
    return name
