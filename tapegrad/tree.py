"""Parameter trees: nested containers with arrays for leaves.

Nodes are dict, list, tuple, NamedTuple, attrs classes (their ``__init__``
fields), dataclasses and None, which is an empty node. Anything else is a leaf. A
tree's `Structure` is what is left when the leaves are taken out.
"""

from __future__ import annotations

import builtins
import dataclasses
import functools
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NoReturn

import attrs
import numpy as np

from tapegrad.core.digits import as_text
from tapegrad.core.ownership import give
from tapegrad.core.tensor import Tensor
from tapegrad.face.notebook import Text

__all__ = [
    "Structure",
    "all_close",
    "flatten",
    "leaves",
    "map",
    "paths",
    "ravel",
    "size",
    "summary",
    "unflatten",
    "update",
]


@attrs.frozen(repr=False)
class Structure:
    """The shape of a tree: equal, hashed and pickled by content.

    Attributes
    ----------
    node
        The container's type, or None for a leaf.
    keys
        A dict's keys, in order, or the field names of an attrs class or a dataclass;
        empty elsewhere.
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
                f"{as_text(key)}: {child!r}"
                for key, child in zip(self.keys, self.children, strict=True)
            )
            return f"{{{inner}}}"
        inner = ", ".join([repr(child) for child in self.children])
        if self.node is list:
            return f"[{inner}]"
        if self.node is tuple:
            return f"({inner},)" if len(self.children) == 1 else f"({inner})"
        return f"{self.node.__name__}({inner})"


LEAF = Structure(None)
_ARRAYS = frozenset({np.ndarray, Tensor})


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
    return Structure(node, keys, tuple([_flatten(child, leaves) for child in children]))


def _open(tree: Any) -> tuple[type | None, tuple[Any, ...], Any]:
    """A node's type, keys and children; None for the type of a leaf."""
    node: Any = type(tree)
    if node is tuple or node is list or _is_named_tuple(node):
        return node, (), tree
    if node is dict:
        return node, tuple(tree), tuple(tree.values())
    if tree is None:
        return node, (), ()
    fields = fields_of(node)
    if fields is not None:
        if len(fields) < len(getattr(node, "__attrs_attrs__", ())):
            _refuse_computed(tree)
        keys = tuple([name for name, _ in fields])
        return node, keys, tuple([getattr(tree, key) for key in keys])
    return None, (), ()


def parts(tree: Any) -> dict[str, Any] | None:
    """What a node holds, by the names that paths have; None for a leaf."""
    node, keys, children = _open(tree)
    if node is None:
        return None
    shallow = Structure(node, keys, (LEAF,) * len(children))
    return dict(zip(structure_paths(shallow), children, strict=True))


def _refuse_computed(record: Any) -> None:
    """Raise for a Tensor in a field that ``__init__`` does not take: it would be lost."""
    for field in type(record).__attrs_attrs__:
        if not field.init and type(getattr(record, field.name, None)) is Tensor:
            raise TypeError(
                f"the field {field.name} of {type(record).__name__} has init=False and holds a "
                "Tensor, which would be lost; make it an ordinary field or a property"
            )


@functools.lru_cache(maxsize=256)
def fields_of(node: Any) -> tuple[tuple[str, str], ...] | None:
    """The fields of an attrs class or a dataclass, with the names its ``__init__`` has for them.

    None for any other class, and for those of tapegrad that are leaves.

    Raises
    ------
    TypeError
        For a dataclass whose ``__init__`` does not take exactly its fields, so that it
        cannot be rebuilt from them.
    """
    is_attrs = hasattr(node, "__attrs_attrs__")
    if not is_attrs and not hasattr(node, "__dataclass_fields__"):
        return None
    if hasattr(node, "__tree_leaf__"):
        return None
    if is_attrs:
        return tuple([(field.name, field.alias) for field in node.__attrs_attrs__ if field.init])
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


def _is_named_tuple(node: type) -> bool:
    return issubclass(node, tuple) and hasattr(node, "_fields")


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
    return _closed(node, structure.keys, [_unflatten(x, leaves) for x in structure.children])


def _closed(node: Any, keys: tuple[Any, ...], children: list[Any]) -> Any:
    """A node of these children; the counterpart of `_open`."""
    if node is list:
        return children
    if node is tuple:
        return tuple(children)
    if node is dict:
        return dict(zip(keys, children, strict=True))
    if _is_named_tuple(node):
        return node(*children)
    arguments = [argument for _, argument in fields_of(node) or ()]
    return node(**dict(zip(arguments, children, strict=True)))


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
    return _map_beside(f, (tree, *rest), ()) if rest else _map_one(f, tree)


def _map_one(f: Callable[[Any], Any], tree: Any) -> Any:
    """`map` over one tree."""
    # this, `map_with_path` and `_map_beside` run in every training step: no Structure
    if type(tree) is np.ndarray or type(tree) is Tensor:
        return f(tree)
    if tree is None:
        return None
    node, keys, children = _open(tree)
    if node is None:
        return f(tree)
    mapped = []
    for x in children:
        mapped.append(f(x) if type(x) in _ARRAYS else _map_one(f, x))
    return _closed(node, keys, mapped)


def map_up_to(f: Callable[..., Any], tree: Any, other: Any) -> Any:
    """`map` over a tree and another that may differ in some ways.

    The other may go deeper: `f` receives what is at the leaf's place. It may have None for
    any part, which stands for None at each leaf, and a plain tuple for a named one.
    """
    return _map_beside(f, (tree, other), (), strict=False)


def map_with_path(f: Callable[[Any, str], Any], tree: Any, path: str) -> Any:
    """Apply a function of leaf and path to each leaf of the tree that is at `path`."""
    node: Any = type(tree)
    if node is np.ndarray or node is Tensor:
        return f(tree, path)
    if tree is None:
        return None
    start = path + "." if path else ""
    mapped: list[Any] = []
    if node is tuple or node is list:
        for i, x in enumerate(tree):
            at = f"{start}{i}"
            mapped.append(f(x, at) if type(x) in _ARRAYS else map_with_path(f, x, at))
        return tuple(mapped) if node is tuple else mapped
    if node is dict:
        return {key: map_with_path(f, x, f"{start}{as_text(key, str)}") for key, x in tree.items()}
    if _is_named_tuple(node):
        for name, x in zip(node._fields, tree, strict=True):
            mapped.append(map_with_path(f, x, start + name))
        return node(*mapped)
    fields = fields_of(node)
    if fields is not None:
        return node(
            **{
                argument: map_with_path(f, getattr(tree, name), start + name)
                for name, argument in fields
            }
        )
    return f(tree, path)


def _map_beside(f: Callable[..., Any], row: Sequence[Any], path: Any, strict: bool = True) -> Any:
    """`map` over a row of trees; the path is a chain of (parent, name)."""
    tree = row[0]
    node: Any = type(tree)
    if node is np.ndarray or node is Tensor:
        if strict:
            for x in row:
                if type(x) not in _ARRAYS and _is_node(x):
                    _refuse_difference(row, path)
        return f(*row)
    if not strict and row[1] is None:
        return map(lambda leaf: f(leaf, None), tree)
    names: Any = ()
    rows: Any = ()
    if node is dict:
        for x in row:
            if type(x) is not dict or x.keys() != tree.keys():
                _refuse_difference(row, path)
        names = tuple(tree)
        rows = [[x[key] for x in row] for key in tree]
    elif tree is None:
        for x in row:
            if x is not None:
                _refuse_difference(row, path)
        return None
    elif node is tuple or node is list or _is_named_tuple(node):
        for x in row:
            alike = type(x) is node or (not strict and type(x) is tuple and node is not list)
            if not alike or len(x) != len(tree):
                _refuse_difference(row, path)
        names, rows = range(len(tree)), zip(*row, strict=True)
    else:
        fields = fields_of(node)
        if fields is None:
            if strict:
                for x in row:
                    if _is_node(x):
                        _refuse_difference(row, path)
            return f(*row)
        for x in row:
            if type(x) is not node:
                _refuse_difference(row, path)
        names = [name for name, _ in fields]
        rows = [[getattr(x, name) for x in row] for name in names]
    mapped = []
    for name, below in zip(names, rows, strict=True):
        # most are arrays; for them a call and a path would take as long as `f`
        if _ARRAYS.issuperset(builtins.map(type, below)):
            mapped.append(f(*below))
        else:
            mapped.append(_map_beside(f, below, (path, name), strict))
    return _closed(node, names, mapped)


def _is_node(x: Any) -> bool:
    return _open(x)[0] is not None


def _refuse_difference(row: Sequence[Any], path: Any) -> NoReturn:
    _, expected = flatten(row[0])
    got = next(s for x in row if (s := flatten(x)[1]) != expected)
    names = []
    while path:
        path, name = path
        names.append(str(name))
    where = ".".join(reversed(names)) or "the root"
    raise ValueError(f"the trees differ at {where}: expected {expected!r}, got {got!r}")


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
        f"{as_text(name, str)}.{path}" if path else as_text(name, str)
        for name, child in zip(names, structure.children, strict=True)
        for path in structure_paths(child)
    ]


def _fields(structure: Structure) -> Any:
    return getattr(structure.node, "_fields", range(len(structure.children)))


# --- whole trees --------------------------------------------------------------------------


def ravel(tree: Any) -> tuple[Any, Unravel]:
    """All numbers of a tree in one vector, and the function that restores the tree.

    With it, optimizers of vectors such as ``scipy.optimize.minimize`` take a function of
    any tree. Both directions are recorded when given Tensors.

    Parameters
    ----------
    tree
        A tree of floating arrays.

    Returns
    -------
    vector, unravel
        The vector, of the dtype that holds all leaves, and a function of such vectors
        that returns trees like this one.

    Raises
    ------
    TypeError
        If a leaf is not floating, with its path.

    Examples
    --------
    >>> import tapegrad as tg
    >>> vector, unravel = tg.tree.ravel({"w": np.array([[1.0, 2.0]]), "b": np.array(3.0)})
    >>> vector
    array([1., 2., 3.])
    >>> unravel(vector * 2)
    {'w': array([[2., 4.]]), 'b': array(6.)}
    """
    parts, structure = flatten(tree)
    parts = [x if type(x) is Tensor else np.asarray(x) for x in parts]
    for path, x in zip(structure_paths(structure), parts, strict=True):
        if x.dtype.kind != "f":
            raise TypeError(
                f"a vector is made of floating leaves; {path or 'the leaf'} is {x.dtype}"
            )
    unravel = Unravel(structure, tuple([(x.shape, x.dtype) for x in parts]))
    if not parts:
        return give(np.zeros(0)), unravel
    vector: Any = np.concatenate([x.reshape(-1) for x in parts])
    return vector if type(vector) is Tensor else give(vector), unravel


@attrs.frozen
class Unravel:
    """The way from a vector back to a tree; see `ravel`.

    Attributes
    ----------
    structure
        Of the tree.
    likes
        The shape and the dtype of each leaf.
    """

    structure: Structure
    likes: tuple[tuple[tuple[int, ...], np.dtype[Any]], ...]

    def __call__(self, vector: Any) -> Any:
        """The tree with the numbers of a vector.

        Raises
        ------
        ValueError
            If it is not a vector, or has another length.
        """
        sizes = [math.prod(shape) for shape, _ in self.likes]
        vector = vector if type(vector) is Tensor else np.asarray(vector)
        if vector.shape != (sum(sizes),):
            raise ValueError(
                f"a vector of {sum(sizes)} numbers is needed; this has shape {vector.shape}"
            )
        made: list[Any] = []
        start = 0
        for (shape, dtype), n in zip(self.likes, sizes, strict=True):
            x = vector[start : start + n].reshape(shape)
            start += n
            if type(x) is Tensor:
                made.append(x if x.dtype == dtype else x.astype(dtype))
            else:
                # the holder of the vector may write to it
                made.append(give(x.astype(dtype)))
        return unflatten(self.structure, made)


def update(tree: Any, changes: Mapping[str, Any]) -> Any:
    """A tree with some of its parts replaced.

    Parameters
    ----------
    tree
        Any tree; it stays as it is.
    changes
        The replacements, by the path of a leaf or of a node within the tree.

    Returns
    -------
    A new tree.

    Raises
    ------
    ValueError
        If there is no such path, there are two, or it lies within another one.

    Examples
    --------
    >>> import tapegrad as tg
    >>> tg.tree.update([{"weight": 1.0, "bias": 2.0}, 3.0], {"0.weight": 5.0})
    [{'weight': 5.0, 'bias': 2.0}, 3.0]
    """
    found: list[str] = []

    def walk(x: Any, path: str) -> Any:
        if path in changes:
            found.append(path)
            return changes[path]
        node, keys, children = _open(x)
        if node is None or node is type(None):
            return x
        shallow = Structure(node, keys, (LEAF,) * len(children))
        start = f"{path}." if path else ""
        names = structure_paths(shallow)
        return unflatten(
            shallow,
            [walk(child, start + name) for name, child in zip(names, children, strict=True)],
        )

    made = walk(tree, "")
    for path in changes:
        if found.count(path) != 1:
            outer = next((x for x in found if not x or path.startswith(f"{x}.")), None)
            if path not in found and outer is not None:
                raise ValueError(f"{path!r} is within {outer!r}, which is replaced as well")
            how = "no place" if path not in found else "more than one place"
            raise ValueError(f"there is {how} at {path!r}; the leaves are at {paths(tree)}")
    return made


def size(tree: Any) -> int:
    """How many numbers a tree holds, such as a model's parameter count.

    Examples
    --------
    >>> import tapegrad as tg
    >>> tg.tree.size(tg.nn.Linear(784, 256).init(0))
    200960
    """
    return sum(math.prod(np.shape(x)) for x in leaves(tree))


def summary(tree: Any) -> str:
    """A table of a tree: the path, shape, dtype, count and bytes of each leaf, and of all.

    Examples
    --------
    >>> import tapegrad as tg
    >>> print(tg.tree.summary(tg.nn.Linear(3, 2).init(0)))
    path    shape   dtype    numbers  bytes
    weight  (3, 2)  float64        6     48
    bias    (2,)    float64        2     16
    all                            8     64
    """
    rows = [("path", "shape", "dtype", "numbers", "bytes")]
    total = n_bytes = 0
    for path, x in zip(paths(tree), leaves(tree), strict=True):
        x = x if hasattr(x, "dtype") else np.asarray(x)
        n = math.prod(x.shape)
        total, n_bytes = total + n, n_bytes + n * x.dtype.itemsize
        row = (path, str(x.shape), str(x.dtype), f"{n:,}", f"{n * x.dtype.itemsize:,}")
        rows.append(row)
    rows.append(("all", "", "", f"{total:,}", f"{n_bytes:,}"))
    widths = [max(len(row[i]) for row in rows) for i in range(5)]
    lines = [
        "  ".join(
            cell.rjust(width) if i > 2 else cell.ljust(width)
            for i, (cell, width) in enumerate(zip(row, widths, strict=True))
        )
        for row in rows
    ]
    return Text("\n".join(lines))


def all_close(
    a: Any, b: Any, rtol: float = 1e-5, atol: float = 1e-8, equal_nan: bool = False
) -> bool:
    """Whether two trees have the same structure and shapes, and nearly the same numbers.

    Parameters
    ----------
    a, b
        Trees of arrays and numbers.
    rtol, atol, equal_nan
        As in `numpy.allclose`.

    Examples
    --------
    >>> import tapegrad as tg
    >>> tg.tree.all_close({"w": np.ones(2)}, {"w": np.ones(2) + 1e-9})
    True
    >>> tg.tree.all_close({"w": np.ones(2)}, {"w": np.ones(1)})
    False
    """
    pairs: list[tuple[Any, Any]] = []
    try:
        map(lambda *pair: pairs.append(pair), a, b)
    except ValueError:
        return False
    return all(
        np.shape(x) == np.shape(y) and bool(np.allclose(x, y, rtol, atol, equal_nan))
        for x, y in pairs
    )
