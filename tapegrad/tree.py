"""Parameter trees: nested containers with arrays for leaves.

Nodes are dict, list, tuple, NamedTuple, attrs classes (their ``__init__``
fields) and None, which is an empty node. Anything else is a leaf. A tree's
`Structure` is what is left when the leaves are taken out.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import attrs

__all__ = ["Structure", "flatten", "leaves", "map", "paths", "unflatten"]


@attrs.frozen(repr=False)
class Structure:
    """The shape of a tree: equal, hashed and pickled by content.

    Attributes
    ----------
    node
        The container's type, or None for a leaf.
    keys
        A dict's keys, in order, or the field names of an attrs class; empty
        elsewhere.
    children
        The structures of what it contains.
    """

    node: type | None
    keys: tuple[Any, ...] = ()
    children: tuple[Structure, ...] = ()

    @property
    def size(self) -> int:
        """How many leaves it has places for."""
        return 1 if self.node is None else sum(child.size for child in self.children)

    def __repr__(self) -> str:
        if self.node is None:
            return "*"
        if self.node is type(None):
            return "None"
        if self.node is dict:
            inner = ", ".join(
                f"{key!r}: {child!r}" for key, child in zip(self.keys, self.children, strict=True)
            )
            return f"{{{inner}}}"
        inner = ", ".join([repr(child) for child in self.children])
        if self.node is list:
            return f"[{inner}]"
        if self.node is tuple:
            return f"({inner},)" if len(self.children) == 1 else f"({inner})"
        return f"{self.node.__name__}({inner})"


LEAF = Structure(None)
EMPTY = Structure(type(None))


def flatten(tree: Any) -> tuple[list[Any], Structure]:
    """Take a tree apart.

    Parameters
    ----------
    tree
        Any tree.

    Returns
    -------
    leaves, structure
        `unflatten` puts them together again. The leaves come in the order of a
        dict's keys and of a class's fields.

    Examples
    --------
    >>> import tapegrad as tg
    >>> tg.tree.flatten({"w": [1.0, 2.0], "b": None})
    ([1.0, 2.0], {'w': [*, *], 'b': None})
    """
    leaves: list[Any] = []
    return leaves, _flatten(tree, leaves)


def _flatten(tree: Any, leaves: list[Any]) -> Structure:
    node, keys, children = _open(tree)
    if node is None:
        leaves.append(tree)
        return LEAF
    if not children:
        return EMPTY if tree is None else Structure(node)
    return Structure(node, keys, tuple([_flatten(child, leaves) for child in children]))


def _open(tree: Any) -> tuple[type | None, tuple[Any, ...], Any]:
    """A node's type, keys and children; None for the type of a leaf."""
    node = type(tree)
    if node is tuple or node is list:
        return node, (), tree
    if node is dict:
        return node, tuple(tree), tuple(tree.values())
    if tree is None:
        return node, (), ()
    fields = getattr(node, "__attrs_attrs__", None)
    if fields is not None and not hasattr(node, "__tree_leaf__"):
        keys = tuple([field.name for field in fields if field.init])
        return node, keys, tuple([getattr(tree, key) for key in keys])
    if isinstance(tree, tuple) and hasattr(node, "_fields"):
        return node, (), tree
    return None, (), ()


def unflatten(structure: Structure, leaves: Any) -> Any:
    """Put a tree together.

    Parameters
    ----------
    structure
        From `flatten`.
    leaves
        As many as the structure has.

    Returns
    -------
    A new tree.

    Raises
    ------
    ValueError
        If there are more or fewer leaves than the structure has places.

    Examples
    --------
    >>> import tapegrad as tg
    >>> leaves, structure = tg.tree.flatten((1.0, {"a": 2.0}))
    >>> tg.tree.unflatten(structure, ["x", "y"])
    ('x', {'a': 'y'})
    """
    rest = iter(leaves)
    try:
        tree = _unflatten(structure, rest)
    except StopIteration:
        raise ValueError(f"fewer leaves than {structure} has places") from None
    for _ in rest:
        raise ValueError(f"more leaves than {structure} has places")
    return tree


def _unflatten(structure: Structure, leaves: Any) -> Any:
    node = structure.node
    if node is None:
        return next(leaves)
    if node is type(None):
        return None
    children = [_unflatten(child, leaves) for child in structure.children]
    if node is list:
        return children
    if node is tuple:
        return tuple(children)
    if node is dict:
        return dict(zip(structure.keys, children, strict=True))
    if structure.keys:
        aliases = _aliases(node)
        return node(**dict(zip(aliases, children, strict=True)))
    return node._make(children) if hasattr(node, "_make") else node()


def _aliases(node: type) -> list[str]:
    """What an attrs class's ``__init__`` calls its fields."""
    return [field.alias or field.name for field in attrs.fields(node) if field.init]


def map(f: Callable[..., Any], tree: Any, *rest: Any) -> Any:
    """Apply a function to each leaf.

    Parameters
    ----------
    f
        A function of one leaf of each tree.
    tree, *rest
        Trees of the same structure; dicts match by key.

    Returns
    -------
    A tree of that structure with the results for leaves.

    Raises
    ------
    ValueError
        If the structures differ, with the path of the first difference.

    Examples
    --------
    >>> import tapegrad as tg
    >>> tg.tree.map(lambda p, g: p - 0.1 * g, {"w": 1.0}, {"w": 10.0})
    {'w': 0.0}
    """
    first, structure = flatten(tree)
    columns = [first]
    for other in rest:
        column: list[Any] = []
        _flatten_as(structure, other, column, "")
        columns.append(column)
    return unflatten(structure, [f(*row) for row in zip(*columns, strict=True)])


def _flatten_as(structure: Structure, tree: Any, leaves: list[Any], path: str) -> None:
    """Flatten a tree that must have this structure, or say where it has not."""
    if structure.node is None:
        leaves.append(tree)
        return
    node, keys, children = _open(tree)
    if node is dict and structure.node is dict and set(keys) == set(structure.keys):
        children = [tree[key] for key in structure.keys]
    elif (node, keys, len(children)) != (
        structure.node,
        structure.keys,
        len(structure.children),
    ):
        what = structure if len(repr(structure)) < 80 else structure.node.__name__
        got = type(tree).__name__
        raise ValueError(
            f"the trees differ at {path or 'the root'}: expected {what}, got {got}"
            + (f" with keys {list(keys)}" if keys else f" of {len(children)}")
        )
    names = structure.keys or range(len(children))
    for child, name, part in zip(structure.children, names, children, strict=True):
        _flatten_as(child, part, leaves, f"{path}.{name}" if path else str(name))


def leaves(tree: Any) -> list[Any]:
    """The leaves of a tree, in the order of `flatten`.

    Examples
    --------
    >>> import tapegrad as tg
    >>> tg.tree.leaves(({"b": 1, "a": 2}, None, [3]))
    [1, 2, 3]
    """
    return flatten(tree)[0]


def paths(tree: Any) -> list[str]:
    """The path of each leaf: keys, field names and positions, joined by dots.

    Examples
    --------
    >>> import tapegrad as tg
    >>> tg.tree.paths([{"weight": 1.0, "bias": 2.0}, None, 3.0])
    ['0.weight', '0.bias', '2']
    """
    return structure_paths(flatten(tree)[1])


def structure_paths(structure: Structure) -> list[str]:
    """The path of each place for a leaf, in order; "" for a leaf alone."""
    if structure.node is None:
        return [""]
    names = structure.keys or _fields(structure)
    return [
        f"{name}.{path}" if path else str(name)
        for name, child in zip(names, structure.children, strict=True)
        for path in structure_paths(child)
    ]


def _fields(structure: Structure) -> Any:
    return getattr(structure.node, "_fields", range(len(structure.children)))
