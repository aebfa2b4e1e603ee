"""Read the arguments of calls: some vary, some are static, and others raise an error.

`read` is for the first call of a signature, `entrance` for all later ones.
"""

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
    """An argument of a call.

    Attributes
    ----------
    name
        The position of the argument, or its keyword.
    structure
        The structure of its tree.
    statics
        For each leaf, None if the leaf varies; else its description (see `describe_value`).
    """

    name: int | str
    structure: tree.Structure
    statics: tuple[str | None, ...]


@attrs.frozen
class Static:
    """A static argument: the program depends on its value."""

    value: Any = attrs.field(eq=False)
    key: Hashable


# a leaf that varies, or a static leaf
Leaf = Input | Static


@attrs.frozen(repr=False)
class Signature:
    """The key of a program: the trees, shapes, dtypes and static values of its arguments.

    Attributes
    ----------
    arguments
        The arguments.
    leaves
        The leaves of all arguments: an `Input` for a leaf that varies, a `Static` for the others.

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
    # the keys of dicts with their types, since in a structure 1, True and 1.0 are equal
    _keys: Hashable

    def __repr__(self) -> str:
        shown, leaves = [], map(_leaf_text, self.leaves)
        for x in self.arguments:
            text = tree.format_structure(x.structure, leaves, as_text, _record_text)
            shown.append(f"{x.name}={text}" if isinstance(x.name, str) else text)
        return f"({', '.join(shown)})"

    @property
    def _n_positional(self) -> int:
        """The number of arguments that are passed by position."""
        return sum([type(x.name) is int for x in self.arguments])


def describe_value(x: Any) -> str:
    """Describe a static value by a text that is the same in every process.

    Plain values that differ have different texts. The text of a function or a class is its name,
    the text of a record has its class and its fields.
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


def _record_text(node: Any, parts: Sequence[str]) -> str:
    """Return the text of a record: its class, and its fields with their names."""
    names = getattr(node, "_fields", None) or [name for name, _ in tree.init_fields(node) or ()]
    pairs = [f"{name}={part}" for name, part in zip(names, parts, strict=True)]
    return f"{node.__name__}({', '.join(pairs)})"


@attrs.frozen
class CallArguments:
    """The arguments of a call, read.

    Attributes
    ----------
    signature
        The signature of the call.
    values
        The leaves that vary.
    is_traced
        Whether a leaf is a Tensor.
    results
        The results of the user's ops while the call is recorded, which its run uses again.
    """

    signature: Signature
    values: list[Any]
    is_traced: bool
    results: Results = attrs.field(init=False, factory=Results)


def read(
    args: tuple[Any, ...], kwargs: Mapping[str, Any], static_argnums: Collection[int]
) -> CallArguments:
    """Read the arguments of a call.

    Arrays and Python floats, ints and complex numbers vary. All other leaves are static
    (`tapegrad.program.static`), and so are the arguments listed in `static_argnums`.

    Raises
    ------
    TypeError
        For an argument, or a dict's key, that neither varies nor can be static.
    """
    arguments: list[Argument] = []
    leaves: list[Leaf] = []
    values: list[Any] = []
    keys: list[Hashable] = []
    traced = False
    static = {i + len(args) if i < 0 else i for i in static_argnums}
    # a keyword may be an instance of a subclass of str
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
                    # convert it, or raise, as recording does
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
    """Return the leaves of a call's arguments that vary, one for each input.

    Raises
    ------
    TypeError
        If an argument is missing or superfluous, or if its tree, a dtype or a static value is not
        the recorded one.
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
        # a static argument is one leaf, whatever it holds
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
    """Raise unless a leaf has the shape and dtype of an input."""
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
    """Make a function that runs a program if a call has this signature, else returns `OTHER`.

    The function is one expression, since a walk through the trees would take longer than a small
    program. For a call with one array and no keywords the expression is, with readable names::

        lambda args, kwargs: run(x1) if len(args) == 1 and tuple(kwargs) == () and
            type(x1 := args[0]) is ndarray and x1.dtype is float64 and x1.shape == (3,) else other

    Parameters
    ----------
    signature
        The signature of the program.
    run
        The function that runs the program on the leaves that vary.
    """
    space = {"ndarray": np.ndarray, "is_": operator.is_, "other": OTHER, "run": run}
    space["__name__"] = __name__
    leaves, values = iter(signature.leaves), list[str]()
    n = signature._n_positional
    keywords = tuple([x.name for x in signature.arguments[n:]])
    conditions = [f"len(args) == {n} and tuple(kwargs) == {keywords}"]

    def bind(value: Any) -> str:
        """Bind a value to a new name of the expression, and return the name."""
        name = f"c{len(space)}"
        space[name] = value
        return name

    # a list instead of recursion, since a recursive inner function is a reference cycle
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
            conditions.append(_match_leaf(leaf, name, part, bind))
            continue
        conditions.append(f"type({name} := {part}) is {bind(node)}")
        within = [f"[{i}]" for i in range(len(children))]
        if structure.is_static:
            conditions.append(f"{name} == {bind(keys[0])}")
        elif node is dict:
            order, kinds = bind(keys), tuple(map(type, keys))
            same = f"all(map(is_, {name}, {order}))"
            if _PLAIN.issuperset(kinds):
                same = f"tuple(map(type, {name})) == {bind(kinds)}"
            conditions.append(f"tuple({name}) == {order} and {same}")
            within = [f"[{bind(key)}]" for key in keys]
        elif keys:
            within = [f".{key}" for key in keys]
        elif issubclass(node, tuple | list):
            conditions.append(f"len({name}) == {len(children)}")
        pairs = zip(within, children, strict=True)
        waiting += reversed([(f"{name}{suffix}", child) for suffix, child in pairs])
    text = f"lambda args, kwargs: run({', '.join(values)}) if {' and '.join(conditions)} else other"
    enter: Enter = eval(compile(text, "<arguments>", "eval"), space)
    return enter


def _match_leaf(leaf: Leaf, name: str, part: str, bind: Callable[[Any], str]) -> str:
    """Return the condition that a part of a call matches a leaf; it binds the part to a name."""
    if isinstance(leaf, Static):
        # static values never change, so the same object has the same value
        value, known = bind(leaf.value), type(leaf.value)
        same = f"({name} := {part}) is {value}"
        if known in _PLAIN:
            same = f"({same} or type({name}) is {known.__name__} and {name} == {value})"
        return same
    same = f"type({name} := {part}) is {leaf.number or 'ndarray'}"
    if not leaf.number:
        same += f" and {name}.dtype is {bind(leaf.dtype)} and {name}.shape == {leaf.shape}"
    return same
