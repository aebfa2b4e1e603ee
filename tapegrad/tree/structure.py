"""Flattening and unflattening of pytrees: what counts as a node, and a tree's structure."""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import repeat
from typing import Any, NoReturn, SupportsIndex, TypeGuard, TypeVar

import attrs
import numpy as np

from tapegrad.errors.names import name_attributes
from tapegrad.errors.words import as_text, printable
from tapegrad.types import Array, PyTree

# A function that returns a tree of the same type as its argument. The bound lets checkers see
# through lambdas, whose arguments have no types.
Tree = TypeVar("Tree", bound=Any)


# The types of most leaves, which are recognized at once; `tapegrad.core.tensor` adds `Tensor`.
ARRAYS: set[type] = {np.ndarray}
LEAVES: set[type] = {np.ndarray, float, int, str, bool, complex, type(None)}


def is_record(x: object) -> TypeGuard[Array]:
    """Whether x is a record of a tape: a Tensor."""
    return type(x) is not np.ndarray and type(x) in ARRAYS


@attrs.frozen(repr=False)
class Structure:
    """The shape of a tree: equal, hashed and pickled by content.

    Attributes
    ----------
    node
        The container's type, or None for a leaf.
    keys
        The keys of a dict, in order, or the field names of an attrs class or a dataclass. For a
        static part (see `init_fields`) the part itself. Empty elsewhere.
    children
        The structures of the node's children.

    Examples
    --------
    >>> import tapegrad as tg
    >>> numbers, structure = tg.tree.flatten({"w": 1.0, "b": [2.0, 3.0]})
    >>> structure, structure.size
    ({'w': *, 'b': [*, *]}, 3)
    """

    node: type | None
    keys: tuple[Any, ...] = ()
    children: tuple[Structure, ...] = ()

    @property
    def size(self) -> int:
        """The number of places for leaves."""
        return 1 if self.node is None else sum(child.size for child in self.children)

    @property
    def is_static(self) -> bool:
        """Whether the node is static: it holds no leaves and is compared by content."""
        return hasattr(self.node, "__tree_static__")

    def __repr__(self) -> str:
        return format_structure(self, repeat("*"), as_text, _format_call)


LEAF = Structure(None)


def _format_call(node: type, parts: Sequence[str]) -> str:
    """Return the text of a record, without the names of its fields."""
    return f"{node.__name__}({', '.join(parts)})"


def format_structure(
    structure: Structure,
    leaves: Iterator[str],
    format_key: Callable[[Any], str],
    format_call: Callable[[Any, Sequence[str]], str],
) -> str:
    """Return the text of a tree, from its structure and the texts of its leaves.

    Parameters
    ----------
    structure
        The structure of the tree.
    leaves
        The texts of the leaves; one is taken for each leaf.
    format_key
        Returns the text of a dict's key, or of a static part.
    format_call
        Returns the text of a record or a named tuple, from its class and the texts of its
        children.
    """
    node = structure.node
    if node is None:
        return next(leaves)
    if node is type(None):
        return "None"
    if structure.is_static:
        return format_key(structure.keys[0])
    texts = [format_structure(x, leaves, format_key, format_call) for x in structure.children]
    if node is dict:
        pairs = zip(structure.keys, texts, strict=True)
        return f"{{{', '.join([f'{format_key(key)}: {text}' for key, text in pairs])}}}"
    if node is list:
        return f"[{', '.join(texts)}]"
    if node is tuple:
        return f"({texts[0]},)" if len(texts) == 1 else f"({', '.join(texts)})"
    return format_call(node, texts)


def flatten(tree: PyTree) -> tuple[list[Any], Structure]:
    """Take a tree apart into its leaves and its structure.

    Parameters
    ----------
    tree
        Any tree.

    Returns
    -------
    leaves, structure
        `unflatten` rebuilds the tree from them. The leaves come in the order of a
        dict's keys and of a class's fields.

    Examples
    --------
    >>> import tapegrad as tg
    >>> tg.tree.flatten({"w": [1.0, 2.0], "b": None})
    ([1.0, 2.0], {'w': [*, *], 'b': None})
    """
    leaves: list[Any] = []
    return leaves, _flatten(tree, leaves)


def _flatten(tree: PyTree, leaves: list[Any]) -> Structure:
    node, keys, children = open_node(tree)
    if node is None:
        leaves.append(tree)
        return LEAF
    return Structure(node, keys, tuple([_flatten(child, leaves) for child in children]))


def open_node(tree: Any) -> tuple[type | None, tuple[Any, ...], Any]:
    """Return the type, the keys and the children of a node; the type of a leaf is None."""
    node: Any = type(tree)
    if node in ARRAYS:
        return None, (), ()
    if node is tuple or node is list:
        return node, (), tree
    if node is dict:
        return node, tuple(tree), tuple(tree.values())
    if tree is None:
        return node, (), ()
    record = _class_fields(node)
    if record is None:
        if node is Records:
            return tuple, (), tree
        return (node, (), tree) if is_named_tuple(node) else (None, (), ())
    keys, _, is_partial = record
    if is_partial:
        _refuse_computed(tree)
    if not keys and hasattr(node, "__tree_static__"):
        return node, (tree,), ()
    return node, keys, [getattr(tree, key) for key in keys]


@functools.lru_cache(maxsize=256)
def _class_fields(node: type) -> tuple[tuple[str, ...], tuple[str, ...], bool] | None:
    """Return the names and arguments of `init_fields`, and whether the class has more fields."""
    fields = init_fields(node)
    if fields is None:
        return None
    names, arguments = tuple([x for x, _ in fields]), tuple([y for _, y in fields])
    return names, arguments, len(fields) < len(getattr(node, "__attrs_attrs__", ()))


def named_children(tree: PyTree) -> dict[str, Any] | None:
    """Return the children of a node by their names in paths; None for a leaf."""
    node, keys, children = open_node(tree)
    if node is None:
        return None
    shallow = Structure(node, keys, (LEAF,) * len(children))
    return dict(zip(structure_paths(shallow), children, strict=True))


def _refuse_computed(record: attrs.AttrsInstance) -> None:
    """Raise for a Tensor in a field that ``__init__`` does not take, since it would be lost."""
    for field in type(record).__attrs_attrs__:
        if not field.init and is_record(getattr(record, field.name, None)):
            raise TypeError(
                f"the field {field.name} of {type(record).__name__} has init=False and holds a "
                "Tensor, which would be lost; make it an ordinary field or a property"
            )


@functools.lru_cache(maxsize=256)
def init_fields(node: Any) -> tuple[tuple[str, str], ...] | None:
    """Return the fields of an attrs class or a dataclass, with their names in ``__init__``.

    The result is None for any other class, and for the classes of tapegrad that are leaves. A
    class with ``__tree_static__`` has no fields: its objects belong to the structure, and are
    compared by content.

    Raises
    ------
    TypeError
        For a dataclass whose ``__init__`` does not take exactly its fields, so that it
        cannot be rebuilt from them.
    """
    if hasattr(node, "__tree_static__"):
        return ()
    is_attrs = hasattr(node, "__attrs_attrs__")
    if not is_attrs and not hasattr(node, "__dataclass_fields__"):
        return None
    if hasattr(node, "__tree_leaf__"):
        return None
    if is_attrs:
        return tuple([(field.name, field.alias) for field in node.__attrs_attrs__ if field.init])
    # imported here, since it takes long to import
    import dataclasses

    names = [field.name for field in dataclasses.fields(node)]
    init = node.__init__
    while hasattr(init, "__wrapped__"):
        init = init.__wrapped__
    code = init.__code__
    taken = code.co_varnames[1 : code.co_argcount + code.co_kwonlyargcount]
    other = [name for name in names if name not in taken]
    other += [name for name in taken if name not in names]
    if other:
        raise TypeError(
            f"the dataclass {node.__name__} cannot be a node of a tree: to be rebuilt from its "
            f"fields, its __init__ must take each and nothing else, unlike {', '.join(other)} "
            "(field(init=False), InitVar or an __init__ of its own)"
        )
    return tuple([(name, name) for name in names])


def is_named_tuple(node: type) -> bool:
    """Whether a class is a named tuple."""
    return issubclass(node, tuple) and hasattr(node, "_fields")


def unflatten(structure: Structure, leaves: Iterable[Any]) -> Any:
    """Rebuild a tree from its structure and leaves.

    Parameters
    ----------
    structure
        A structure from `flatten`.
    leaves
        One leaf for each place of the structure, in order.

    Returns
    -------
    A new tree.

    Raises
    ------
    ValueError
        If there are more or fewer leaves than the structure has places.
    TypeError
        If `structure` is not a `Structure`.

    Examples
    --------
    >>> import tapegrad as tg
    >>> leaves, structure = tg.tree.flatten((1.0, {"a": 2.0}))
    >>> tg.tree.unflatten(structure, ["x", "y"])
    ('x', {'a': 'y'})
    """
    if not isinstance(structure, Structure):
        raise TypeError(f"a structure must be what tree.flatten returns second, not {structure!r}")
    rest = iter(leaves)
    try:
        tree = _unflatten(structure, rest)
    except StopIteration:
        raise ValueError(f"fewer leaves than {structure} has places") from None
    for _ in rest:
        raise ValueError(f"more leaves than {structure} has places")
    return tree


def _unflatten(structure: Structure, leaves: Iterator[Any]) -> Any:
    node = structure.node
    if node is None:
        return next(leaves)
    return build_node(node, structure.keys, [_unflatten(x, leaves) for x in structure.children])


def build_node(node: type, keys: tuple[Any, ...], children: list[Any]) -> Any:
    """Build a node from the parts that `open_node` returns."""
    if node is list:
        return children
    if node is tuple:
        return tuple(children)
    if node is dict:
        return dict(zip(keys, children, strict=True))
    if node is type(None):
        return None
    if keys and not children:
        return keys[0]
    if is_named_tuple(node):
        return node(*children)
    record = _class_fields(node)
    return node(**dict(zip(record[1] if record else (), children, strict=True)))


def leaves(tree: PyTree) -> list[Any]:
    """Return the leaves of a tree, in the order of `flatten`.

    Examples
    --------
    >>> import tapegrad as tg
    >>> tg.tree.leaves(({"b": 1, "a": 2}, None, [3]))
    [1, 2, 3]
    """
    return flatten(tree)[0]


K = TypeVar("K", bound=type)


def immutable(cls: K) -> K:
    """Make the error of setting a field of a frozen class say how to make a new record."""

    def refuse(record: object, name: str, value: object) -> NoReturn:
        # a class that makes records, such as a layer, is no tree of arrays
        change = f"attrs.evolve(old, {name}=...)"
        if not hasattr(cls, "init"):
            change = f'tg.tree.update(old, {{"{name}": ...}})'
        message = f"{cls.__name__} is immutable; write new = {change}"
        error = attrs.exceptions.FrozenInstanceError()
        # the class of attrs takes no message
        AttributeError.__init__(error, message)
        raise error

    refuse.of_frozen = True  # type: ignore[attr-defined]
    cls.__setattr__ = refuse  # type: ignore[assignment, method-assign]
    if not hasattr(cls, "init"):
        name_attributes(cls, "record")
    return cls


def replace_leaves(
    leaves: Sequence[Any], positions: Iterable[int], others: Iterable[Any]
) -> list[Any]:
    """Return a copy of the leaves, with others at the given positions."""
    replaced = list(leaves)
    for i, x in zip(positions, others, strict=True):
        replaced[i] = x
    return replaced


def is_frozen(node: Any) -> bool:
    """Whether the fields of a class's objects cannot be set, as attrs or `immutable` make it."""
    setter, own = node.__setattr__, getattr(node, "__dataclass_params__", None)
    by_attrs = setter is Structure.__setattr__ or hasattr(setter, "of_frozen")
    return by_attrs or (own is not None and own.frozen)


class Records(tuple[Any, ...]):
    """A tuple that compares records by identity, where `==` of records would write another."""

    __slots__ = ()
    __hash__ = tuple.__hash__

    def __contains__(self, x: object) -> bool:
        return any(_is_same(x, y) for y in self)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, tuple) or len(self) != len(other):
            return False
        return all(_is_same(x, y) for x, y in zip(self, other, strict=True))

    def __ne__(self, other: object) -> bool:
        return not self == other

    def index(self, x: object, start: SupportsIndex = 0, stop: SupportsIndex = sys.maxsize) -> int:
        """Return the first position of a record or a constant."""
        for i in range(*slice(start, stop).indices(len(self))):
            if _is_same(self[i], x):
                return i
        raise ValueError("tuple.index(x): x not in tuple")

    def count(self, x: object) -> int:
        """Return how often a record or a constant occurs."""
        return sum(_is_same(x, y) for y in self)


def _is_same(x: object, y: object) -> bool:
    """Whether two operands are one record, or equal constants."""
    has_record = hasattr(x, "_operands") or hasattr(y, "_operands")
    # an object that is no array compares as an array of one object
    return x is y or (not has_record and bool(np.array_equal(x, y)))  # type: ignore[arg-type]


def paths(tree: PyTree) -> list[str]:
    """Return the path of each leaf: keys, field names and positions, joined by dots.

    Examples
    --------
    >>> import tapegrad as tg
    >>> tg.tree.paths([{"weight": 1.0, "bias": 2.0}, None, 3.0])
    ['0.weight', '0.bias', '2']
    """
    return structure_paths(flatten(tree)[1])


def named_leaves(tree: PyTree, name: str) -> list[tuple[str, Any]]:
    """Return the leaves of a tree, each after its path, which begins with `name` if given."""
    leaves, structure = flatten(tree)
    return [*zip(prefixed_paths(structure, name), leaves, strict=True)]


def prefixed_paths(structure: Structure, name: str) -> list[str]:
    """Return the printable path of each place for a leaf, which begins with `name`, if any."""
    return [printable(".".join(filter(None, (name, path)))) for path in structure_paths(structure)]


def structure_paths(structure: Structure) -> list[str]:
    """Return the path of each place for a leaf, in order; "" for a leaf alone."""
    if structure.node is None:
        return [""]
    names = child_names(structure.node, structure.keys, len(structure.children))
    return [
        f"{as_text(name, str)}.{path}" if path else as_text(name, str)
        for name, child in zip(names, structure.children, strict=False)
        for path in structure_paths(child)
    ]


def child_names(node: type | None, keys: tuple[Any, ...], n: int) -> Sequence[Any]:
    """Return the names in paths of a node's n children; a static part has one name more."""
    return keys or getattr(node, "_fields", tuple(range(n)))
