"""Calls read: which arguments vary, which are static, and which are refused."""

from __future__ import annotations

import enum
import operator
import types
from collections.abc import Callable, Collection, Hashable, Mapping, Sequence
from typing import Any

import attrs
import numpy as np

from tapegrad import tree
from tapegrad.core.tensor import Tensor
from tapegrad.declare.abstract import Results
from tapegrad.errors.words import a_kind, as_text
from tapegrad.program.ir import PYTHON_TYPES, Input, input_for
from tapegrad.program.results import keys_in
from tapegrad.program.static import parts, static_key
from tapegrad.tree.numbers import as_constant


@attrs.frozen
class Argument:
    """One argument of a call.

    Attributes
    ----------
    name
        Its position, or the keyword that it is passed by.
    structure
        Its tree.
    statics
        For each leaf, None if it varies; else what it is, in words (see `describe_value`).
    """

    name: int | str
    structure: tree.Structure
    statics: tuple[str | None, ...]


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
        Each argument.
    leaves
        What the program depends on in each of its leaves.

    Examples
    --------
    >>> import tapegrad as tg
    >>> step = tg.compile(tg.grad(lambda p, x: tg.sum(p["w"] * x)))
    >>> gradients = step({"w": np.ones(2, np.float32)}, 3.0)
    >>> step.signatures
    (({'w': float32[2]}, float),)
    """

    arguments: tuple[Argument, ...]
    leaves: tuple[Leaf, ...]
    # the keys of dicts, told apart: in a structure 1, True and 1.0 are equal
    _keys: Hashable

    def __repr__(self) -> str:
        shown, leaves = [], map(_leaf_text, self.leaves)
        for x in self.arguments:
            text = tree.format_structure(x.structure, leaves, as_text, _with_names)
            shown.append(f"{x.name}={text}" if isinstance(x.name, str) else text)
        return f"({', '.join(shown)})"

    @property
    def _n_positional(self) -> int:
        """The number of arguments that are passed by position."""
        return sum([type(x.name) is int for x in self.arguments])


def describe_value(x: Any) -> str:
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
        return as_text(sorted(map(describe_value, x)) if isinstance(x, frozenset) else x, ascii)
    return f"{type(x).__qualname__}({', '.join(map(describe_value, inside))})"


def _leaf_text(leaf: Leaf) -> str:
    if isinstance(leaf, Static):
        return as_text(leaf.value)
    return leaf.number or f"{leaf.dtype}{list(leaf.shape)}"


def _with_names(node: Any, parts: Sequence[str]) -> str:
    """The text of a record, as its class writes it."""
    names = getattr(node, "_fields", None) or [name for name, _ in tree.init_fields(node) or ()]
    pairs = [f"{name}={part}" for name, part in zip(names, parts, strict=True)]
    return f"{node.__name__}({', '.join(pairs)})"


@attrs.frozen
class CallArguments:
    """A call that was read.

    Attributes
    ----------
    signature, values
        Its signature, and its leaves that vary.
    is_traced
        Whether one is a Tensor.
    results
        What the user's ops return while it is recorded, for its run.
    """

    signature: Signature
    values: list[Any]
    is_traced: bool
    results: Results = attrs.field(init=False, factory=Results)


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
    arguments: list[Argument] = []
    leaves: list[Leaf] = []
    values: list[Any] = []
    keys: list[Hashable] = []
    traced = False
    static = {i + len(args) if i < 0 else i for i in static_argnums}
    # a keyword may be of a subclass of str
    named: list[Any] = [(str.__str__(name), x) for name, x in kwargs.items()]
    for name, arg in [*enumerate(args), *named]:
        what, is_static = f"argument {name}", name in static
        inside, structure = ([arg], tree.LEAF) if is_static else tree.flatten(arg)
        keys += keys_in(structure, what)
        start = len(leaves)
        for leaf in inside:
            is_array = isinstance(leaf, np.ndarray | np.generic)
            if type(leaf) is Tensor and not is_static:
                traced = True
            elif is_static or not (is_array or type(leaf) in PYTHON_TYPES.values()):
                leaves.append(Static(leaf, static_key(leaf, what)))
            else:
                if is_array and (type(leaf) is not np.ndarray or leaf.dtype.hasobject):
                    # refused, or made plain, as it is when recorded
                    leaf = as_constant(leaf, what, True)
                leaves.append(input_for(leaf, ""))
                values.append(leaf)
        statics = [
            describe_value(x.value) if isinstance(x, Static) else None for x in leaves[start:]
        ]
        arguments.append(Argument(name, structure, tuple(statics)))
    return CallArguments(Signature(tuple(arguments), tuple(leaves), tuple(keys)), values, traced)


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
    names = [x.name for x in arguments]
    if set(names) != set(by_name):
        known, passed = [", ".join(map(str, x)) or "none" for x in (names, by_name)]
        raise TypeError(f"the program was made for the arguments {known}; got {passed}")
    rest = iter(inputs)
    values = []
    for argument in arguments:
        x, statics = by_name[argument.name], argument.statics
        # one static value is no tree
        is_static = argument.structure == tree.LEAF and statics[0] is not None
        leaves, structure = ([x], tree.LEAF) if is_static else tree.flatten(x)
        if structure != argument.structure:
            raise TypeError(
                f"argument {argument.name} is the tree {structure}; the program was made for "
                f"{argument.structure}"
            )
        for leaf, words in zip(leaves, statics, strict=True):
            if words is None:
                wanted = next(rest)
                kind = (leaf.shape, leaf.dtype, None) if type(leaf) is np.ndarray else None
                if kind != (wanted.shape, wanted.dtype, wanted.number):
                    _check(leaf, wanted)
                values.append(leaf)
            elif leaf is not ... and describe_value(leaf) != words:
                raise TypeError(
                    f"argument {argument.name} holds {describe_value(leaf)} where the program was "
                    f"made for {words}; pass that, or ... in its place"
                )
    return values


def _check(leaf: Any, wanted: Input) -> None:
    """Raise unless a leaf is one that an input is given."""
    varies = isinstance(leaf, np.ndarray | np.generic) or type(leaf) in PYTHON_TYPES.values()
    got = input_for(leaf, wanted.path) if varies else None
    if got != wanted:
        of_kind = got is not None and (got.dtype, got.number) == (wanted.dtype, wanted.number)
        error = ValueError if of_kind else TypeError
        needs = f"a Python {wanted.number}" if wanted.number else _leaf_text(wanted)
        what = _leaf_text(got) if got and not (got.number or wanted.number) else a_kind(leaf)
        if type(leaf) is Tensor:
            what += "; a program records nothing: call the recorded function itself"
        raise error(f"{wanted.path} must be {needs}; got {what}")


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

        lambda args, kwargs: run(x1) if len(args) == 1 and tuple(kwargs) == () and
            type(x1 := args[0]) is ndarray and x1.dtype is float64 and x1.shape == (3,) else other

    Parameters
    ----------
    signature
        The signature of the program.
    run
        A function of the leaves that vary.
    """
    space = {"ndarray": np.ndarray, "is_": operator.is_, "other": OTHER, "run": run}
    space["__name__"] = __name__
    leaves, values = iter(signature.leaves), list[str]()
    n = signature._n_positional
    keywords = tuple([x.name for x in signature.arguments[n:]])
    conditions = [f"len(args) == {n} and tuple(kwargs) == {keywords}"]

    def bound(value: Any) -> str:
        """A name for a value to compare with."""
        name = f"c{len(space)}"
        space[name] = value
        return name

    # by a list, for a function that calls itself would be left as a cycle
    waiting = [
        (f"{'args' if type(x.name) is int else 'kwargs'}[{x.name!r}]", x.structure)
        for x in reversed(signature.arguments)
    ]
    while waiting:
        # check a part of the arguments, and name its leaves
        part, structure = waiting.pop()
        node, keys, children = structure.node, structure.keys, structure.children
        name = f"x{len(conditions)}"
        if node is None:
            leaf = next(leaves)
            values += [] if isinstance(leaf, Static) else [name]
            conditions.append(_same_leaf(leaf, name, part, bound))
            continue
        conditions.append(f"type({name} := {part}) is {bound(node)}")
        within = [f"[{i}]" for i in range(len(children))]
        if structure.is_static:
            conditions.append(f"{name} == {bound(keys[0])}")
        elif node is dict:
            order, kinds = bound(keys), tuple(map(type, keys))
            same = f"all(map(is_, {name}, {order}))"
            if _PLAIN.issuperset(kinds):
                same = f"tuple(map(type, {name})) == {bound(kinds)}"
            conditions.append(f"tuple({name}) == {order} and {same}")
            within = [f"[{bound(key)}]" for key in keys]
        elif keys:
            within = [f".{key}" for key in keys]
        elif issubclass(node, tuple | list):
            conditions.append(f"len({name}) == {len(children)}")
        pairs = zip(within, children, strict=True)
        waiting += reversed([(f"{name}{suffix}", child) for suffix, child in pairs])
    text = f"lambda args, kwargs: run({', '.join(values)}) if {' and '.join(conditions)} else other"
    enter: Enter = eval(compile(text, "<arguments>", "eval"), space)
    return enter


def _same_leaf(leaf: Leaf, name: str, part: str, bound: Callable[[Any], str]) -> str:
    """The condition that a part of a call is like a leaf; it gives the part its name, by :=."""
    if isinstance(leaf, Static):
        # static values never change, so the same object has the same value
        value, known = bound(leaf.value), type(leaf.value)
        same = f"({name} := {part}) is {value}"
        if known in _PLAIN:
            same = f"({same} or type({name}) is {known.__name__} and {name} == {value})"
        return same
    same = f"type({name} := {part}) is {leaf.number or 'ndarray'}"
    if not leaf.number:
        same += f" and {name}.dtype is {bound(leaf.dtype)} and {name}.shape == {leaf.shape}"
    return same
