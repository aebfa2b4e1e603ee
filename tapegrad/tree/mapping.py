"""Maps over trees: a function is applied to each leaf of one tree, or of several in parallel."""

from __future__ import annotations

import builtins
from collections.abc import Callable, Sequence
from copy import copy
from functools import partial
from itertools import chain, compress
from types import BuiltinFunctionType
from typing import Any, NoReturn, TypeAlias, overload

from numpy import ufunc

from tapegrad.errors.lines import with_user_warnings
from tapegrad.errors.words import as_text
from tapegrad.tree.structure import (
    ARRAYS,
    LEAVES,
    Tree,
    build_node,
    child_names,
    flatten,
    is_frozen,
    open_node,
)
from tapegrad.types import PyTree

# The path of a node: the path of its parent and its name; () for the root.
Path: TypeAlias = "tuple[()] | tuple[Path, object]"

# A warning of these would name the line of this file that calls them.
_WITHOUT_LINES = frozenset({ufunc, BuiltinFunctionType})


# one overload for each number of trees, which is the number of arguments of `f`
@overload
def map(f: Callable[[Any], Any], tree: PyTree) -> Any: ...


@overload
def map(f: Callable[[Any, Any], Any], tree: PyTree, other: PyTree, /) -> Any: ...


@overload
def map(f: Callable[..., Any], tree: PyTree, a: PyTree, b: PyTree, /, *rest: PyTree) -> Any: ...


def map(f: Callable[..., Any], tree: PyTree, *rest: PyTree) -> Any:
    """Apply a function to each leaf.

    Parameters
    ----------
    f
        A function of one leaf of each tree.
    tree, *rest
        Trees of the same structure; dicts match by key.

    Returns
    -------
    A tree of the same structure, with the results as leaves.

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
    if not callable(f):
        raise TypeError(f"tree.map takes a function of leaves first, not {f!r}")
    if type(f) in _WITHOUT_LINES:
        f = partial(with_user_warnings, f)
    return _map_trees(f, (tree, *rest), ()) if rest else _map_tree(f, tree)


def _map_tree(f: Callable[[Any], Any], tree: PyTree) -> Any:
    """`map` over one tree."""
    # this, `map_with_path` and `_map_trees` run in every training step, so they make no Structure
    node, keys, children = open_node(tree)
    if node is None:
        return f(tree)
    # most children are arrays; a call for each would take as long as `f`
    if ARRAYS.issuperset(builtins.map(type, children)):
        return build_node(node, keys, [*builtins.map(f, children)])
    return build_node(node, keys, [_map_tree(f, x) for x in children])


def copy_containers(tree: Tree, f: Callable[[Any], Any] | None = None) -> Tree:
    """Copy the containers of a tree, so that a function may change them as it likes.

    Tuples and frozen records that hold no dict or list cannot change and are shared. An object
    whose class cannot be a node of a tree is a leaf here. If `f` is given, it is applied to each
    leaf.
    """
    kind = type(tree)
    copied: Any
    if kind in LEAVES:
        return tree if f is None else f(tree)
    # this runs in every training step, as `_map_tree` does; most containers hold leaves alone
    if kind is dict:
        plain = f is None and LEAVES.issuperset(builtins.map(type, tree.values()))
        copied = tree.copy() if plain else {key: copy_containers(x, f) for key, x in tree.items()}
        return copied
    if kind is list or kind is tuple:
        if f is None and LEAVES.issuperset(builtins.map(type, tree)):
            return tree if kind is tuple else tree.copy()
        children = [copy_containers(x, f) for x in tree]
        copied = children if kind is list else tuple(children)
        return copied
    try:
        node, keys, children = open_node(tree)
    except TypeError:
        return tree
    if node is None:
        return tree if f is None else f(tree)
    copied = [copy_containers(x, f) for x in children]
    changed = [x is not y for x, y in zip(copied, children, strict=True)]
    if is_frozen(node) and not any(changed):
        return tree
    if not keys or not copied:
        return build_node(node, keys, copied)
    # a copy keeps the fields that `__init__` does not take
    record = copy(tree)
    for name, x in compress(zip(keys, copied, strict=True), changed):
        object.__setattr__(record, name, x)
    return record


def zip_leaves(
    tree: PyTree, other: PyTree, strict: bool = True, path: Path = ()
) -> list[tuple[Any, Any]]:
    """Return pairs: each leaf of a tree, and the part of another tree at the same position.

    Unless `strict`, the other tree may go deeper, may have None for any part, which stands for
    None at each leaf, and may have a plain tuple in place of a named one.
    """
    node, keys, children = open_node(tree)
    if node is None and not (strict and open_node(other)[0] is not None):
        return [(tree, other)]
    if other is None and not strict:
        return [(leaf, None) for leaf in flatten(tree)[0]]
    below = None if node is None else _matching_children(node, keys, len(children), other, strict)
    if below is None:
        _refuse_difference((tree, other), path)
    names = child_names(node, keys, len(children))
    rows = zip(names, children, below, strict=False)
    return [pair for name, x, y in rows for pair in zip_leaves(x, y, strict, (path, name))]


def map_with_path(f: Callable[[Any, str], Any], tree: PyTree, path: str) -> Any:
    """Apply a function of leaf and path to each leaf of the tree at `path`."""
    if type(tree) in ARRAYS:
        return f(tree, path)
    node, keys, children = open_node(tree)
    if node is None:
        return f(tree, path)
    start = path + "." if path else ""
    mapped = []
    for name, child in zip(child_names(node, keys, len(children)), children, strict=False):
        at = f"{start}{name}" if type(name) is str else f"{start}{as_text(name, str)}"
        mapped.append(f(child, at) if type(child) in ARRAYS else map_with_path(f, child, at))
    return build_node(node, keys, mapped)


def _map_trees(f: Callable[..., Any], row: Sequence[Any], path: Path) -> Any:
    """`map` over a row of trees."""
    tree = row[0]
    node, keys, children = (None, (), ()) if type(tree) in ARRAYS else open_node(tree)
    if node is None:
        for x in row:
            if type(x) not in ARRAYS and open_node(x)[0] is not None:
                _refuse_difference(row, path)
        return f(*row)
    columns = [children]
    for x in row[1:]:
        below = _matching_children(node, keys, len(children), x, True)
        if below is None:
            _refuse_difference(row, path)
        columns.append(below)
    # most children are arrays; a call and a path for each would take as long as `f`
    if ARRAYS.issuperset(builtins.map(type, chain(*columns))):
        return build_node(node, keys, [*builtins.map(f, *columns)])
    names = child_names(node, keys, len(children))
    mapped = [
        _map_trees(f, below, (path, name))
        for name, below in zip(names, zip(*columns, strict=True), strict=False)
    ]
    return build_node(node, keys, mapped)


def _matching_children(
    node: type, keys: tuple[Any, ...], n: int, tree: PyTree, strict: bool
) -> Sequence[Any] | None:
    """Return the children of another tree in the order of a node's; None if the nodes differ."""
    kind = type(tree)
    if kind is not node and (strict or kind is not tuple or not issubclass(node, tuple)):
        return None
    if type(tree) is dict:
        return [tree[key] for key in keys] if len(tree) == n and tree.keys() == {*keys} else None
    _, theirs, children = open_node(tree)
    return children if len(children) == n and theirs == keys else None


def _refuse_difference(row: Sequence[Any], path: Path) -> NoReturn:
    _, expected = flatten(row[0])
    got = next(s for x in row if (s := flatten(x)[1]) != expected)
    names = []
    while path:
        path, name = path
        names.append(str(name))
    where = ".".join(reversed(names)) or "the root"
    raise ValueError(f"the trees differ at {where}: expected {expected!r}, got {got!r}")
