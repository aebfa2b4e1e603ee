"""Calls read: which arguments vary, which are static, and which are refused."""

from __future__ import annotations

import enum
import operator
import types
from collections.abc import Callable, Collection, Hashable, Iterator, Mapping, Sequence
from itertools import islice
from typing import Any

import attrs
import numpy as np

from tapegrad import tree
from tapegrad.core.tensor import Tensor
from tapegrad.errors.lines import DEFAULT, STATE
from tapegrad.errors.words import a_kind, as_text
from tapegrad.program.ir import Input
from tapegrad.program.results import keys_in
from tapegrad.program.static import parts, static_key
from tapegrad.program.text import Runs
from tapegrad.tree.numbers import as_constant


@attrs.frozen
class Varying:
    """What a program depends on in a leaf that varies.

    Attributes
    ----------
    kind
        The dtype of an array, or the type of a Python number.
    shape
        That of an array; None for a number.
    """

    kind: Any
    shape: tuple[int, ...] | None = None

    def __repr__(self) -> str:
        return self.kind.__name__ if self.shape is None else f"{self.kind}{list(self.shape)}"


@attrs.frozen
class Static:
    """A static argument: the program depends on its value."""

    value: Any = attrs.field(eq=False)
    key: Hashable

    def __repr__(self) -> str:
        return as_text(self.value)


Leaf = Varying | Static


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

    structures: tuple[tuple[Any, tree.Structure], ...]
    leaves: tuple[Leaf, ...]
    # those of dicts, told apart: in a structure 1, True and 1.0 are equal
    _keys: Hashable

    def __repr__(self) -> str:
        shown = []
        for name, structure, leaves in self._arguments():
            text = tree.written(structure, map(repr, leaves), as_text, _with_names)
            shown.append(f"{name}={text}" if isinstance(name, str) else text)
        return f"({', '.join(shown)})"

    @property
    def _n_positional(self) -> int:
        """The number of arguments that are passed by position."""
        return sum([isinstance(name, int) for name, _ in self.structures])

    def _arguments(self) -> Iterator[tuple[Any, tree.Structure, list[Leaf]]]:
        """The name (or position), the structure and the leaves of each argument."""
        rest = iter(self.leaves)
        for name, structure in self.structures:
            yield name, structure, [*islice(rest, structure.size)]


def _with_names(node: Any, parts: Sequence[str]) -> str:
    """The text of a record, as its class writes it."""
    names = getattr(node, "_fields", None) or [name for name, _ in tree.fields_of(node) or ()]
    pairs = [f"{name}={part}" for name, part in zip(names, parts, strict=True)]
    return f"{node.__name__}({', '.join(pairs)})"


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
    keys: list[Hashable] = []
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
        keys += keys_in(structure, what)
        structures.append((name, structure))
        for leaf in leaves:
            if type(leaf) is Tensor:
                traced = True
            elif isinstance(leaf, np.ndarray | np.generic):
                if type(leaf) is not np.ndarray or leaf.dtype.hasobject:
                    # refused, or made plain, as it is when recorded
                    leaf = as_constant(leaf, what, True)
                kinds.append(Varying(leaf.dtype, leaf.shape))
                values.append(leaf)
            elif type(leaf) in (float, int, complex):
                kinds.append(Varying(type(leaf)))
                values.append(leaf)
            else:
                kinds.append(Static(leaf, static_key(leaf, what)))
    signature = Signature(tuple(structures), tuple(kinds), tuple(keys))
    return CallArguments(signature, values, traced)


# --- programs called by themselves -------------------------------------------------------------


@attrs.frozen
class Argument:
    """One argument of a program.

    Attributes
    ----------
    name
        Its position, or the keyword that it is passed by.
    structure
        Its tree.
    statics
        For each leaf, None if it varies; else what it is, in words (see `described`).
    """

    name: int | str
    structure: tree.Structure
    statics: tuple[str | None, ...]


def arguments_of(signature: Signature) -> tuple[Argument, ...]:
    """The arguments of the calls that have a signature."""
    arguments = []
    for name, structure, leaves in signature._arguments():
        statics = [described(x.value) if isinstance(x, Static) else None for x in leaves]
        arguments.append(Argument(name, structure, tuple(statics)))
    return tuple(arguments)


def described(x: Any) -> str:
    """A static value in words that do not depend on the process.

    Plain values that differ are described in different words. A function or a class is described
    by its name, and a record by its class and its fields.
    """
    if isinstance(x, enum.Enum):
        return f"{type(x).__qualname__}.{x.name}"
    if not isinstance(x, types.MethodType | types.BuiltinFunctionType):
        name = getattr(x, "__qualname__", None) or getattr(x, "__name__", None)
        if isinstance(name, str):
            return name
    inside = parts(x)
    if inside is None:
        return as_text(sorted(map(described, x)) if isinstance(x, frozenset) else x, ascii)
    return f"{type(x).__qualname__}({', '.join(map(described, inside))})"


def values_of(
    arguments: Sequence[Argument],
    inputs: Sequence[Input],
    args: tuple[Any, ...],
    kwargs: Mapping[str, Any],
) -> list[Any]:
    """The leaves of a call's arguments that vary, one an input.

    Raises
    ------
    TypeError
        If the call is not one that the program was made for: an argument is missing or
        superfluous, or differs in its tree, in a dtype or in a static value.
    ValueError
        If an array differs in its shape.
    """
    by_name: dict[Any, Any] = {**dict(enumerate(args)), **kwargs}
    wanted = [x.name for x in arguments]
    if set(by_name) != set(wanted):
        raise TypeError(
            f"the program was made for the arguments {_listed(wanted)}; got {_listed(by_name)}"
        )
    rest = iter(inputs)
    values = []
    for argument in arguments:
        x = by_name[argument.name]
        # one static value is no tree
        is_static = argument.structure.node is None and argument.statics[0] is not None
        leaves, structure = ([x], tree.LEAF) if is_static else tree.flatten(x)
        if structure != argument.structure:
            raise TypeError(
                f"argument {argument.name} is the tree {structure}; the program was made for "
                f"{argument.structure}"
            )
        for leaf, static in zip(leaves, argument.statics, strict=True):
            if static is None:
                values.append(_checked(leaf, next(rest)))
            elif leaf is not ... and described(leaf) != static:
                raise TypeError(
                    f"argument {argument.name} holds {described(leaf)} where the program was made "
                    f"for {static}; pass that, or ... in its place"
                )
    return values


def _checked(leaf: Any, wanted: Input) -> Any:
    """A leaf, checked against its input."""
    if wanted.number is not None:
        if type(leaf).__name__ != wanted.number or type(leaf) not in (int, float, complex):
            raise TypeError(f"{wanted.path} must be a Python {wanted.number}; got {a_kind(leaf)}")
        return leaf
    if type(leaf) is Tensor:
        raise TypeError(
            f"{wanted.path} is a Tensor; a program runs on arrays and records nothing: call the "
            "recorded function itself"
        )
    if not isinstance(leaf, np.ndarray | np.generic):
        raise TypeError(f"{wanted.path} must be an array; got {a_kind(leaf)}")
    if leaf.dtype != wanted.dtype:
        raise TypeError(f"{wanted.path} must be {wanted.dtype}; got {leaf.dtype}")
    if leaf.shape != wanted.shape:
        raise ValueError(f"{wanted.path} must have shape {wanted.shape}; got {leaf.shape}")
    return leaf


def _listed(names: Any) -> str:
    return ", ".join(map(str, names)) or "none"


# --- calls of compiled functions ---------------------------------------------------------------

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
    idle, make
        Those of the program: a run is taken for a call, and put back.
    """
    arrays = {"ndarray": np.ndarray, "is_": operator.is_, "other": OTHER, "__name__": __name__}
    # NumPy's error state is for the run
    runs = {"take": idle.pop, "put_back": idle.append, "state": STATE.get, "default": DEFAULT}
    checks = _Checks(iter(signature.leaves), {**arrays, **runs, "make": make})
    n = signature._n_positional
    names = tuple([name for name, _ in signature.structures])
    parts = tuple([structure for _, structure in signature.structures])
    checks.of_node("args", tree.Structure(tuple, (), parts[:n]))
    checks.of_node("kwargs", tree.Structure(dict, names[n:], parts[n:]))
    lines = [
        *checks.lines,
        "try:",
        "    runs = take()",
        "except IndexError:",
        "    runs = make()",
        "try:",
        f"    return runs[state(default) is default]({', '.join(checks.values)})",
        "finally:",
        "    put_back(runs)",
    ]
    text = "\n    ".join(["def enter(args, kwargs):", *lines])
    exec(compile(text, "<arguments>", "exec"), checks.namespace)
    # which holds the namespace
    enter: Enter = checks.namespace.pop("enter")
    return enter


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
    """

    leaves: Iterator[Leaf]
    namespace: dict[str, Any]
    lines: list[str] = attrs.Factory(list)
    values: list[str] = attrs.Factory(list)

    def bound(self, value: Any) -> str:
        """A name for a value to compare with."""
        self.namespace[f"c{len(self.namespace)}"] = value
        return f"c{len(self.namespace) - 1}"

    def refuse(self, condition: str) -> None:
        """A line for calls with another signature."""
        self.lines.append(f"if {condition}: return other")

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
        if leaf.shape is None:
            self.refuse(f"type({name}) is not {leaf.kind.__name__}")
        else:
            self.refuse(
                f"type({name}) is not ndarray or {name}.dtype is not {self.bound(leaf.kind)} "
                f"or {name}.shape != {leaf.shape}"
            )

    def of_node(self, name: str, structure: tree.Structure) -> None:
        """Check a tree, and name its leaves."""
        node, keys, parts = structure.node, structure.keys, name
        if node is None:
            self.of_leaf(name)
            return
        self.refuse(f"type({name}) is not {self.bound(node)}")
        if structure.is_static:
            self.refuse(f"{name} != {self.bound(keys[0])}")
        elif keys and node is dict:
            known, kinds = self.bound(keys), tuple(map(type, keys))
            self.refuse(f"tuple({name}) != {known}")
            if _PLAIN.issuperset(kinds):
                self.refuse(f"tuple(map(type, {name})) != {self.bound(kinds)}")
            else:
                self.refuse(f"not all(map(is_, {name}, {known}))")
            parts = f"{name}.values()"
        elif keys:
            parts = "".join([f"{name}.{key}, " for key in keys])
        elif issubclass(node, tuple | list | dict):
            self.refuse(f"len({name}) != {len(structure.children)}")
        children = [f"{name}_{i}" for i in range(len(structure.children))]
        if children:
            self.lines.append(f"{', '.join(children)}, = {parts}")
        for child, inside in zip(children, structure.children, strict=True):
            self.of_node(child, inside)
