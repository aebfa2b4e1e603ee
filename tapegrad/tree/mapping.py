"""Maps over trees: a function applied to each leaf of one, or of several in parallel."""

from __future__ import annotations

import builtins
from collections.abc import Callable, Sequence
from copy import copy
from functools import partial
from itertools import chain, compress
from types import BuiltinFunctionType
from typing import Any, NoReturn

from numpy import ufunc

from tapegrad.errors.lines import with_user_warnings
from tapegrad.errors.words import as_text
from tapegrad.tree.structure import (
    ARRAYS,
    LEAVES,
    closed,
    flatten,
    is_frozen,
    names_of,
    opened,
)

# NumPy would name the line of this file that calls one of these
_WITHOUT_LINES = frozenset({ufunc, BuiltinFunctionType})


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
    if not callable(f):
        raise TypeError(f"tree.map takes a function of leaves first, not {f!r}")
    if type(f) in _WITHOUT_LINES:
        f = partial(with_user_warnings, f)
    return _map_beside(f, (tree, *rest), ()) if rest else _map_one(f, tree)


def _map_one(f: Callable[[Any], Any], tree: Any) -> Any:
    """`map` over one tree."""
    # this, `map_with_path` and `_map_beside` run in every training step: no Structure
    node, keys, children = opened(tree)
    if node is None:
        return f(tree)
    # most are arrays; for them a call would take as long as `f`
    if ARRAYS.issuperset(builtins.map(type, children)):
        return closed(node, keys, [*builtins.map(f, children)])
    return closed(node, keys, [_map_one(f, x) for x in children])


def fresh(tree: Any, of: Callable[[Any], Any] | None = None) -> Any:
    """The leaves of a tree in containers of its own, which a function may change as it likes.

    What cannot change is shared: tuples and frozen records that hold no dict or list. A class
    that cannot be a node of a tree is a leaf here. With `of`, the leaves are what it makes of them.
    """
    kind = type(tree)
    if kind in LEAVES:
        return tree if of is None else of(tree)
    # in every training step, as `_map_one`: most containers hold leaves alone
    if kind is dict:
        plain = of is None and LEAVES.issuperset(builtins.map(type, tree.values()))
        return tree.copy() if plain else {key: fresh(x, of) for key, x in tree.items()}
    if kind is list or kind is tuple:
        if of is None and LEAVES.issuperset(builtins.map(type, tree)):
            return tree if kind is tuple else tree.copy()
        copied = [fresh(x, of) for x in tree]
        return copied if kind is list else tuple(copied)
    try:
        node, keys, children = opened(tree)
    except TypeError:
        return tree
    if node is None:
        return tree if of is None else of(tree)
    copied = [fresh(x, of) for x in children]
    changed = [x is not y for x, y in zip(copied, children, strict=True)]
    if is_frozen(node) and not any(changed):
        return tree
    if not keys or not copied:
        return closed(node, keys, copied)
    # fields that `__init__` does not take stay
    record = copy(tree)
    for name, x in compress(zip(keys, copied, strict=True), changed):
        object.__setattr__(record, name, x)
    return record


def beside(tree: Any, other: Any, strict: bool = True, path: Any = ()) -> list[tuple[Any, Any]]:
    """The leaves of a tree, each with what is at its place in another.

    Unless it is strict, the other may go deeper, have None for any part, which stands for None at
    each leaf, and have a plain tuple in place of a named one. The path is a chain of parent and
    name.
    """
    node, keys, children = opened(tree)
    if node is None and not (strict and opened(other)[0] is not None):
        return [(tree, other)]
    if other is None and not strict:
        return [(leaf, None) for leaf in flatten(tree)[0]]
    below = None if node is None else _children_like(node, keys, len(children), other, strict)
    if below is None:
        _refuse_difference((tree, other), path)
    names = names_of(node, keys, len(children))
    rows = zip(names, children, below, strict=False)
    return [pair for name, x, y in rows for pair in beside(x, y, strict, (path, name))]


def map_with_path(f: Callable[[Any, str], Any], tree: Any, path: str) -> Any:
    """Apply a function of leaf and path to each leaf of a tree that lies at `path`."""
    if type(tree) in ARRAYS:
        return f(tree, path)
    node, keys, children = opened(tree)
    if node is None:
        return f(tree, path)
    start = path + "." if path else ""
    mapped = []
    for name, child in zip(names_of(node, keys, len(children)), children, strict=False):
        at = f"{start}{name}" if type(name) is str else f"{start}{as_text(name, str)}"
        mapped.append(f(child, at) if type(child) in ARRAYS else map_with_path(f, child, at))
    return closed(node, keys, mapped)


def _map_beside(f: Callable[..., Any], row: Sequence[Any], path: Any) -> Any:
    """`map` over a row of trees; the path is as in `beside`."""
    tree = row[0]
    node, keys, children = (None, (), ()) if type(tree) in ARRAYS else opened(tree)
    if node is None:
        for x in row:
            if type(x) not in ARRAYS and opened(x)[0] is not None:
                _refuse_difference(row, path)
        return f(*row)
    columns = [children]
    for x in row[1:]:
        below = _children_like(node, keys, len(children), x, True)
        if below is None:
            _refuse_difference(row, path)
        columns.append(below)
    # most are arrays; for them a call and a path would take as long as `f`
    if ARRAYS.issuperset(builtins.map(type, chain(*columns))):
        return closed(node, keys, [*builtins.map(f, *columns)])
    names = names_of(node, keys, len(children))
    mapped = [
        _map_beside(f, below, (path, name))
        for name, below in zip(names, zip(*columns, strict=True), strict=False)
    ]
    return closed(node, keys, mapped)


def _children_like(node: Any, keys: tuple[Any, ...], n: int, tree: Any, strict: bool) -> Any:
    """The children of another tree, in the order of a node's own; None if it is no such node."""
    kind = type(tree)
    if kind is not node and (strict or kind is not tuple or not issubclass(node, tuple)):
        return None
    if node is dict:
        return [tree[key] for key in keys] if len(tree) == n and tree.keys() == {*keys} else None
    _, theirs, children = opened(tree)
    return children if len(children) == n and theirs == keys else None


def _refuse_difference(row: Sequence[Any], path: Any) -> NoReturn:
    _, expected = flatten(row[0])
    got = next(s for x in row if (s := flatten(x)[1]) != expected)
    names = []
    while path:
        path, name = path
        names.append(str(name))
    where = ".".join(reversed(names)) or "the root"
    raise ValueError(f"the trees differ at {where}: expected {expected!r}, got {got!r}")
