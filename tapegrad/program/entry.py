"""Calls read: which arguments vary, which are static, and which are refused."""

from __future__ import annotations

import operator
from collections.abc import Callable, Collection, Hashable, Mapping
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
    namespace: dict[str, Any] = {"ndarray": np.ndarray, "is_": operator.is_, "other": OTHER}
    namespace.update(take=idle.pop, put_back=idle.append, make=make)
    namespace.update(state=STATE.get, default=DEFAULT)
    namespace["__name__"] = __name__
    n_args = sum(isinstance(name, int) for name, _ in signature.structures)
    keywords = tuple([name for name, _ in signature.structures if isinstance(name, str)])
    lines = [f"if kwargs or len(args) != {n_args}: return other"]
    if keywords:
        namespace["keywords"] = keywords
        lines = [f"if len(args) != {n_args} or tuple(kwargs) != keywords: return other"]
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
                f"or {name}.shape != {kind.shape}: return other"
            )
        elif isinstance(kind, NumberLike):
            values.append(name)
            lines.append(f"if type({name}) is not {kind.kind.__name__}: return other")
        else:
            # static values never change, so the same object has the same value
            value, made = bind(kind.value), type(kind.value)
            same = f"{name} is {value}"
            if made in _PLAIN:
                same += f" or (type({name}) is {made.__name__} and {name} == {value})"
            lines.append(f"if not ({same}): return other")

    def node_of(name: str, structure: tree.Structure) -> list[tuple[str, tree.Structure]]:
        """Take a node apart; its parts are next."""
        node = structure.node
        if node is None:
            leaf(name)
            return []
        if node is type(None):
            lines.append(f"if {name} is not None: return other")
            return []
        children = [fresh() for _ in structure.children]
        lines.append(f"if type({name}) is not {bind(node)}: return other")
        if structure.is_static:
            lines.append(f"if {name} != {bind(structure.keys[0])}: return other")
        elif node is dict:
            lines.append(f"if tuple({name}) != {bind(structure.keys)}: return other")
            kinds = tuple(map(type, structure.keys))
            if kinds and set(kinds) <= _PLAIN:
                lines.append(f"if tuple(map(type, {name})) != {bind(kinds)}: return other")
            else:
                lines.append(f"if not all(map(is_, {name}, {bind(structure.keys)})): return other")
            if children:
                lines.append(f"{', '.join(children)}, = {name}.values()")
        elif structure.keys:
            for child, key in zip(children, structure.keys, strict=True):
                lines.append(f"{child} = {name}.{key}")
        else:
            lines.append(f"if len({name}) != {len(children)}: return other")
            if children:
                lines.append(f"{', '.join(children)}, = {name}")
        return list(zip(children, structure.children, strict=True))

    given = [(fresh(), name, structure) for name, structure in signature.structures]
    if n_args:
        lines.append(f"{''.join(f'{at}, ' for at, _, _ in given[:n_args])}= args")
    lines += [f"{at} = kwargs[{bind(name)}]" for at, name, _ in given[n_args:]]
    waiting = [(at, structure) for at, _, structure in reversed(given)]
    while waiting:
        waiting += reversed(node_of(*waiting.pop()))
    lines += [
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
    exec(compile(text, "<arguments>", "exec"), namespace)
    # which holds the namespace
    enter: Enter = namespace.pop("enter")
    return enter
