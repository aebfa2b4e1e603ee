"""Calls read: which arguments vary, which are static, and which are refused."""

from __future__ import annotations

import enum
import operator
import types
from collections.abc import Callable, Collection, Hashable, Iterator, Mapping, Sequence
from itertools import chain
from typing import Any

import attrs
import numpy as np

from tapegrad import tree
from tapegrad.core.tensor import Tensor
from tapegrad.errors.words import a_kind, as_text
from tapegrad.program.ir import WEAK, Input, input_like
from tapegrad.program.results import keys_in
from tapegrad.program.static import parts, static_key
from tapegrad.tree.numbers import as_constant


@attrs.frozen
class Static:
    """A static argument: the program depends on its value."""

    value: Any = attrs.field(eq=False)
    key: Hashable


# what a program depends on in a leaf that varies, or that does not
Leaf = Input | Static


@attrs.frozen(repr=False)
class Signature:
    """The key of a program: the trees, shapes, dtypes and static values of its arguments.

    Attributes
    ----------
    arguments
        The name (or position) of each argument, its structure, and its leaves.

    Examples
    --------
    >>> import tapegrad as tg
    >>> step = tg.compile(tg.grad(lambda p, x: tg.sum(p["w"] * x)))
    >>> gradients = step({"w": np.ones(2, np.float32)}, 3.0)
    >>> step.signatures
    (({'w': float32[2]}, float),)
    """

    arguments: tuple[tuple[Any, tree.Structure, tuple[Leaf, ...]], ...]
    # the keys of dicts, told apart: in a structure 1, True and 1.0 are equal
    _keys: Hashable

    def __repr__(self) -> str:
        shown = []
        for name, structure, leaves in self.arguments:
            text = tree.written(structure, map(_shown, leaves), as_text, _with_names)
            shown.append(f"{name}={text}" if isinstance(name, str) else text)
        return f"({', '.join(shown)})"

    @property
    def _n_positional(self) -> int:
        """The number of arguments that are passed by position."""
        return sum([isinstance(name, int) for name, _, _ in self.arguments])


def _shown(leaf: Leaf) -> str:
    if isinstance(leaf, Static):
        return as_text(leaf.value)
    return leaf.number or f"{leaf.dtype}{list(leaf.shape)}"


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
    arguments: list[tuple[Any, tree.Structure, tuple[Leaf, ...]]] = []
    values: list[Any] = []
    keys: list[Hashable] = []
    traced = False
    static = {i + len(args) if i < 0 else i for i in static_argnums}
    # a keyword may be of a subclass of str
    named = [(str.__str__(name), x) for name, x in kwargs.items()]
    for name, arg in [*enumerate(args), *named]:
        what = f"argument {name}"
        inside, structure = ([arg], tree.LEAF) if name in static else tree.flatten(arg)
        keys += keys_in(structure, what)
        leaves: list[Leaf] = []
        for leaf in inside:
            is_array = isinstance(leaf, np.ndarray | np.generic)
            if type(leaf) is Tensor and name not in static:
                traced = True
            elif name in static or not (is_array or type(leaf) in WEAK.values()):
                leaves.append(Static(leaf, static_key(leaf, what)))
            else:
                if is_array and (type(leaf) is not np.ndarray or leaf.dtype.hasobject):
                    # refused, or made plain, as it is when recorded
                    leaf = as_constant(leaf, what, True)
                leaves.append(input_like(leaf, ""))
                values.append(leaf)
        arguments.append((name, structure, tuple(leaves)))
    return CallArguments(Signature(tuple(arguments), tuple(keys)), values, traced)


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


def entrance(signature: Signature, run: Callable[..., Any]) -> Enter:
    """A function that runs a program if a call has this signature, and otherwise returns `OTHER`.

    It is one expression: walking through the trees would take longer than a small program. For a
    call with one array and no keywords it is, with names for what is compared::

        lambda args, kwargs: run(x2) if type(x0 := args) is tuple and len(x0) == 1 and
            type(x2 := x0[0]) is ndarray and x2.dtype is float64 and x2.shape == (3,) and
            type(x3 := kwargs) is dict and tuple(x3) == () else other

    Parameters
    ----------
    signature
        The signature of the program.
    run
        A function of the leaves that vary.
    """
    fixed = {"ndarray": np.ndarray, "is_": operator.is_, "other": OTHER, "run": run}
    leaves = chain(*[inside for _, _, inside in signature.arguments])
    checks = _Checks(leaves, {**fixed, "__name__": __name__})
    names = tuple([name for name, _, _ in signature.arguments])
    parts = tuple([structure for _, structure, _ in signature.arguments])
    n = signature._n_positional
    checks.of("args", tree.Structure(tuple, (), parts[:n]))
    checks.of("kwargs", tree.Structure(dict, names[n:], parts[n:]))
    same, values = " and ".join(checks.conditions), ", ".join(checks.values)
    text = f"lambda args, kwargs: run({values}) if {same} else other"
    enter: Enter = eval(compile(text, "<arguments>", "eval"), checks.namespace)
    return enter


@attrs.define
class _Checks:
    """Conditions under which the arguments of a call have a signature.

    Attributes
    ----------
    leaves
        What the program depends on in each leaf that is still to be checked.
    namespace
        The values of the names in the conditions.
    conditions, values
        The conditions, in order, and the names that they give to the leaves that vary.
    """

    leaves: Iterator[Leaf]
    namespace: dict[str, Any]
    conditions: list[str] = attrs.Factory(list)
    values: list[str] = attrs.Factory(list)

    def bound(self, value: Any) -> str:
        """A name for a value to compare with."""
        self.namespace[f"c{len(self.namespace)}"] = value
        return f"c{len(self.namespace) - 1}"

    def of(self, part: str, structure: tree.Structure) -> None:
        """Check a part of the arguments, and name its leaves."""
        node, keys = structure.node, structure.keys
        name = f"x{len(self.conditions)}"
        # the first condition assigns the part to its name, by :=
        kind = f"type({name} := {part})"
        if node is None:
            self.conditions.append(self._of_leaf(name, part, kind))
            return
        self.conditions.append(f"{kind} is {self.bound(node)}")
        inside: list[str] = []
        if structure.is_static:
            self.conditions.append(f"{name} == {self.bound(keys[0])}")
        elif node is dict:
            known, kinds = self.bound(keys), tuple(map(type, keys))
            self.conditions.append(f"tuple({name}) == {known}")
            if _PLAIN.issuperset(kinds):
                self.conditions.append(f"tuple(map(type, {name})) == {self.bound(kinds)}")
            else:
                self.conditions.append(f"all(map(is_, {name}, {known}))")
            inside = [f"{name}[{self.bound(key)}]" for key in keys]
        elif keys:
            inside = [f"{name}.{key}" for key in keys]
        elif issubclass(node, tuple | list):
            self.conditions.append(f"len({name}) == {len(structure.children)}")
            inside = [f"{name}[{i}]" for i in range(len(structure.children))]
        for within, child in zip(inside, structure.children, strict=True):
            self.of(within, child)

    def _of_leaf(self, name: str, part: str, kind: str) -> str:
        leaf = next(self.leaves)
        if isinstance(leaf, Static):
            # static values never change, so the same object has the same value
            value, known = self.bound(leaf.value), type(leaf.value)
            same = f"({name} := {part}) is {value}"
            if known in _PLAIN:
                same = f"({same} or type({name}) is {known.__name__} and {name} == {value})"
            return same
        self.values.append(name)
        if leaf.number:
            return f"{kind} is {leaf.number}"
        dtype = self.bound(leaf.dtype)
        return f"{kind} is ndarray and {name}.dtype is {dtype} and {name}.shape == {leaf.shape}"
