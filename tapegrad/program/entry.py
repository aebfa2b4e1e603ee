"""Calls read: which arguments vary, which are static, and which are refused."""

from __future__ import annotations

import operator
from collections.abc import Callable, Collection, Hashable, Iterator, Mapping, Sequence
from typing import Any

import attrs
import numpy as np

from tapegrad import tree
from tapegrad.core.tensor import Tensor
from tapegrad.errors.lines import DEFAULT, STATE
from tapegrad.errors.words import as_text
from tapegrad.program.results import check_keys
from tapegrad.program.static import static_key
from tapegrad.program.text import Runs
from tapegrad.tree.numbers import as_constant


@attrs.frozen
class ArrayLike:
    """The facts of an array argument that a program depends on."""

    dtype: np.dtype[Any]
    shape: tuple[int, ...]

    def __repr__(self) -> str:
        return f"{self.dtype}{list(self.shape)}"


@attrs.frozen
class NumberLike:
    """The fact of a varying Python number that a program depends on: its type."""

    kind: type

    def __repr__(self) -> str:
        return self.kind.__name__


@attrs.frozen
class Static:
    """A static argument: the program depends on its value."""

    value: Any = attrs.field(eq=False)
    key: Hashable

    def __repr__(self) -> str:
        return as_text(self.value)


Leaf = ArrayLike | NumberLike | Static


def _told_apart(structures: tuple[tuple[Any, tree.Structure], ...]) -> Hashable:
    return tuple([(name, _exact(structure)) for name, structure in structures])


def _exact(structure: tree.Structure) -> Hashable:
    """A structure in which the keys 1, True and 1.0 differ."""
    keys: Any = structure.keys
    if structure.node is dict:
        keys = tuple([static_key(key, "a dict") for key in keys])
    return structure.node, keys, tuple(map(_exact, structure.children))


@attrs.frozen(repr=False)
class Signature:
    """The key of a program: the trees, shapes, dtypes and static values of its arguments.

    Attributes
    ----------
    structures
        The name (or position) and the structure of each argument.
    leaves
        What the program depends on in each leaf.

    Examples
    --------
    >>> import tapegrad as tg
    >>> step = tg.compile(tg.grad(lambda p, x: tg.sum(p["w"] * x)))
    >>> gradients = step({"w": np.ones(2, np.float32)}, 3.0)
    >>> step.signatures
    (({'w': float32[2]}, float),)
    """

    structures: tuple[tuple[Any, tree.Structure], ...] = attrs.field(eq=_told_apart)
    leaves: tuple[Leaf, ...]

    def __repr__(self) -> str:
        rest = iter(self.leaves)
        parts = []
        for name, structure in self.structures:
            shown = tree.unflatten(structure, [next(rest) for _ in range(structure.size)])
            text = as_text(shown)
            parts.append(f"{name}={text}" if isinstance(name, str) else text)
        return f"({', '.join(parts)})"


@attrs.frozen
class CallArguments:
    """A call that was read: its signature, its varying leaves, and whether one is a Tensor."""

    signature: Signature
    values: list[Any]
    is_traced: bool


def read(
    args: tuple[Any, ...], kwargs: Mapping[str, Any], static_argnums: Collection[int]
) -> CallArguments:
    """Read the arguments of a call.

    Arrays and Python floats, ints and complex numbers vary. Everything else, and all of an
    argument that is listed in `static_argnums`, is static (`tapegrad.program.static`).

    Raises
    ------
    TypeError
        For an argument, or a dict's key, that can be none of these.
    """
    structures: list[tuple[Any, tree.Structure]] = []
    kinds: list[Leaf] = []
    values: list[Any] = []
    traced = False
    static = {i + len(args) if i < 0 else i for i in static_argnums}
    # a keyword may be of a subclass of str
    named = [(str.__str__(name), x) for name, x in kwargs.items()]
    for name, arg in [*enumerate(args), *named]:
        what = f"argument {name}"
        if name in static:
            structures.append((name, tree.LEAF))
            kinds.append(Static(arg, static_key(arg, what)))
            continue
        leaves, structure = tree.flatten(arg)
        check_keys(structure, what)
        structures.append((name, structure))
        for leaf in leaves:
            if type(leaf) is Tensor:
                traced = True
            elif isinstance(leaf, np.ndarray | np.generic):
                if type(leaf) is not np.ndarray:
                    # refused, or made plain, as it is when recorded
                    leaf = as_constant(leaf, "parameter", True)
                kinds.append(ArrayLike(leaf.dtype, leaf.shape))
                values.append(leaf)
            elif type(leaf) in (float, int, complex):
                kinds.append(NumberLike(type(leaf)))
                values.append(leaf)
            else:
                kinds.append(Static(leaf, static_key(leaf, what)))
    return CallArguments(Signature(tuple(structures), tuple(kinds)), values, traced)


Enter = Callable[[tuple[Any, ...], dict[str, Any]], Any]

# what `Enter` returns for a call with another signature
OTHER: Any = object()

# for these classes, equal values are the same value
_PLAIN = {str, bytes, int}


def entrance(signature: Signature, idle: list[Runs], make: Callable[[], Runs]) -> Enter:
    """A function that runs a program if a call has this signature, and otherwise returns `OTHER`.

    It is straight-line code: walking through the trees would take longer than a small program.

    Parameters
    ----------
    signature
        The signature of the program.
    idle
        Idle runs of the program, each with its own buffers. One is taken for a call, and put back.
    make
        Makes another run if none is idle.
    """
    checks = _Checks(iter(signature.leaves))
    checks.namespace.update(take=idle.pop, put_back=idle.append, make=make)
    values = checks.of_call(signature.structures)
    lines = [
        *checks.lines,
        "try:",
        "    runs = take()",
        "except IndexError:",
        "    runs = make()",
        "try:",
        f"    return runs[state(default) is default]({', '.join(values)})",
        "finally:",
        "    put_back(runs)",
    ]
    text = "\n    ".join(["def enter(args, kwargs):", *lines])
    exec(compile(text, "<arguments>", "exec"), checks.namespace)
    # which holds the namespace
    enter: Enter = checks.namespace.pop("enter")
    return enter


def _names() -> dict[str, Any]:
    """The names that checks use; NumPy's error state is for the run that follows them."""
    arrays = {"ndarray": np.ndarray, "is_": operator.is_, "other": OTHER}
    return {**arrays, "state": STATE.get, "default": DEFAULT, "__name__": __name__}


@attrs.define
class _Checks:
    """Lines that read the arguments of a call, and return where it has another signature.

    Attributes
    ----------
    leaves
        What the program depends on in each leaf that is still to be checked.
    namespace
        The values of the names in the lines.
    lines, values
        The lines, and the names of the varying leaves in them.
    count
        The number of names of parts.
    """

    leaves: Iterator[Leaf]
    namespace: dict[str, Any] = attrs.Factory(_names)
    lines: list[str] = attrs.Factory(list)
    values: list[str] = attrs.Factory(list)
    count: int = 0

    def of_call(self, structures: Sequence[tuple[Any, tree.Structure]]) -> list[str]:
        """Check the arguments, by position and by keyword; the names of the varying leaves."""
        parts = [(name, self.named(), structure) for name, structure in structures]
        positional = [part for name, part, _ in parts if isinstance(name, int)]
        keywords = tuple([name for name, _, _ in parts if isinstance(name, str)])
        others = f"tuple(kwargs) != {self.bound(keywords)}" if keywords else "kwargs"
        self.refuse(f"{others} or len(args) != {len(positional)}")
        self.unpack(positional, "args")
        for name, part, _ in parts[len(positional) :]:
            self.lines.append(f"{part} = kwargs[{self.bound(name)}]")
        for _, part, structure in parts:
            self.of_node(part, structure)
        return self.values

    def named(self) -> str:
        """A name for a part."""
        self.count += 1
        return f"x{self.count}"

    def bound(self, value: Any) -> str:
        """A name for a value to compare with."""
        self.namespace[f"c{len(self.namespace)}"] = value
        return f"c{len(self.namespace) - 1}"

    def refuse(self, condition: str) -> None:
        """A line for calls with another signature."""
        self.lines.append(f"if {condition}: return other")

    def unpack(self, names: Sequence[str], source: str) -> None:
        """A line that names the parts of a tuple."""
        if names:
            self.lines.append(f"{', '.join(names)}, = {source}")

    def of_leaf(self, name: str) -> None:
        """Check a leaf."""
        leaf = next(self.leaves)
        if isinstance(leaf, Static):
            # static values never change, so the same object has the same value
            value, kind = self.bound(leaf.value), type(leaf.value)
            same = f"{name} is {value}"
            if kind in _PLAIN:
                same += f" or (type({name}) is {kind.__name__} and {name} == {value})"
            self.refuse(f"not ({same})")
            return
        self.values.append(name)
        if isinstance(leaf, NumberLike):
            self.refuse(f"type({name}) is not {leaf.kind.__name__}")
        else:
            self.refuse(
                f"type({name}) is not ndarray or {name}.dtype is not {self.bound(leaf.dtype)} "
                f"or {name}.shape != {leaf.shape}"
            )

    def of_node(self, name: str, structure: tree.Structure) -> None:
        """Check a tree, and name its leaves."""
        node = structure.node
        if node is None:
            self.of_leaf(name)
            return
        self.refuse(f"type({name}) is not {self.bound(node)}")
        children = [self.named() for _ in structure.children]
        if structure.is_static:
            self.refuse(f"{name} != {self.bound(structure.keys[0])}")
        elif node is dict:
            keys, kinds = self.bound(structure.keys), tuple(map(type, structure.keys))
            self.refuse(f"tuple({name}) != {keys}")
            if _PLAIN.issuperset(kinds):
                self.refuse(f"tuple(map(type, {name})) != {self.bound(kinds)}")
            else:
                self.refuse(f"not all(map(is_, {name}, {keys}))")
            self.unpack(children, f"{name}.values()")
        elif structure.keys:
            self.lines += [
                f"{x} = {name}.{k}" for x, k in zip(children, structure.keys, strict=True)
            ]
        elif node is not type(None):
            self.refuse(f"len({name}) != {len(children)}")
            self.unpack(children, name)
        for child, inside in zip(children, structure.children, strict=True):
            self.of_node(child, inside)
