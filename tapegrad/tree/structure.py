"""Flattening and unflattening of pytrees: what counts as a node, and a tree's structure."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import repeat
from typing import Any, NoReturn, TypeVar

import attrs
import numpy as np

from tapegrad.errors.words import as_text

# what is given and comes back as a tree of the same type; bound, so that checkers see
# through lambdas, whose arguments have no types
Tree = TypeVar("Tree", bound=Any)


# the types of most leaves, known at once; `tapegrad.core.tensor` adds that of records
ARRAYS: set[type] = {np.ndarray}
LEAVES: set[type] = {np.ndarray, float, int, str, bool, complex, type(None)}


def is_record(x: Any) -> bool:
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
        A dict's keys, in order, or the field names of an attrs class or a dataclass; of a static
        part (see `fields_of`) that part itself; empty elsewhere.
    children
        The structures of what it contains.

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
        """Whether it is that of a static part of a tree."""
        return hasattr(self.node, "__tree_static__")

    def __repr__(self) -> str:
        return written(self, repeat("*"), as_text, _called)


LEAF = Structure(None)


def _called(node: type, parts: Sequence[str]) -> str:
    """The text of a record without the names of its fields."""
    return f"{node.__name__}({', '.join(parts)})"


def written(
    structure: Structure,
    leaves: Iterator[str],
    of: Callable[[Any], str],
    call: Callable[[Any, Sequence[str]], str],
) -> str:
    """The text of a tree, which is not put together for that.

    Parameters
    ----------
    structure, leaves
        The tree, and the texts of its leaves, which are taken.
    of
        Gives the text of a dict's key, or of a static part.
    call
        Gives the text of a record or of a tuple with names, from its class and the texts of its
        parts.
    """
    node = structure.node
    if node is None:
        return next(leaves)
    if node is type(None):
        return "None"
    if structure.is_static:
        return of(structure.keys[0])
    parts = [written(child, leaves, of, call) for child in structure.children]
    if node is dict:
        parts = [f"{of(key)}: {part}" for key, part in zip(structure.keys, parts, strict=True)]
        return f"{{{', '.join(parts)}}}"
    if node is list:
        return f"[{', '.join(parts)}]"
    if node is tuple:
        return f"({parts[0]},)" if len(parts) == 1 else f"({', '.join(parts)})"
    return call(node, parts)


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
    node, keys, children = opened(tree)
    if node is None:
        leaves.append(tree)
        return LEAF
    return Structure(node, keys, tuple([_flatten(child, leaves) for child in children]))


def opened(tree: Any) -> tuple[type | None, tuple[Any, ...], Any]:
    """A node's type, keys and children; None for the type of a leaf."""
    node: Any = type(tree)
    if node in ARRAYS:
        return None, (), ()
    if node is tuple or node is list:
        return node, (), tree
    if node is dict:
        return node, tuple(tree), tuple(tree.values())
    if tree is None:
        return node, (), ()
    record = _record_class(node)
    if record is None:
        return (node, (), tree) if is_named_tuple(node) else (None, (), ())
    keys, _, is_partial = record
    if is_partial:
        _refuse_computed(tree)
    if not keys and hasattr(node, "__tree_static__"):
        return node, (tree,), ()
    return node, keys, [getattr(tree, key) for key in keys]


@functools.lru_cache(maxsize=256)
def _record_class(node: Any) -> tuple[tuple[str, ...], tuple[str, ...], bool] | None:
    """The fields of a class as `fields_of` has them, and whether its objects have more."""
    fields = fields_of(node)
    if fields is None:
        return None
    names, arguments = tuple([x for x, _ in fields]), tuple([y for _, y in fields])
    return names, arguments, len(fields) < len(getattr(node, "__attrs_attrs__", ()))


def parts(tree: Any) -> dict[str, Any] | None:
    """A node's children by their names in paths; None for a leaf."""
    node, keys, children = opened(tree)
    if node is None:
        return None
    shallow = Structure(node, keys, (LEAF,) * len(children))
    return dict(zip(structure_paths(shallow), children, strict=True))


def _refuse_computed(record: Any) -> None:
    """Raise for a Tensor in a field that ``__init__`` does not take: it would be lost."""
    for field in type(record).__attrs_attrs__:
        if not field.init and is_record(getattr(record, field.name, None)):
            raise TypeError(
                f"the field {field.name} of {type(record).__name__} has init=False and holds a "
                "Tensor, which would be lost; make it an ordinary field or a property"
            )


@functools.lru_cache(maxsize=256)
def fields_of(node: Any) -> tuple[tuple[str, str], ...] | None:
    """The fields of an attrs class or a dataclass, with their names in ``__init__``.

    None for any other class, and for those of tapegrad that are leaves. A class with
    ``__tree_static__`` has none: its objects, compared by content, are a part of the structure.

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
    # not imported above, because it takes long to import
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
    """Whether a class is a NamedTuple."""
    return issubclass(node, tuple) and hasattr(node, "_fields")


def unflatten(structure: Structure, leaves: Any) -> Any:
    """Put a tree together.

    Parameters
    ----------
    structure
        From `flatten`.
    leaves
        The leaves, as many as the structure has places.

    Returns
    -------
    A new tree.

    Raises
    ------
    ValueError
        If there are more or fewer leaves than the structure has places.
    TypeError
        If the structure is not one.

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


def _unflatten(structure: Structure, leaves: Any) -> Any:
    node = structure.node
    if node is None:
        return next(leaves)
    return closed(node, structure.keys, [_unflatten(x, leaves) for x in structure.children])


def closed(node: Any, keys: tuple[Any, ...], children: list[Any]) -> Any:
    """A node with these children; the counterpart of `opened`."""
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
    record = _record_class(node)
    return node(**dict(zip(record[1] if record else (), children, strict=True)))


def leaves(tree: Any) -> list[Any]:
    """The leaves of a tree, in the order of `flatten`.

    Examples
    --------
    >>> import tapegrad as tg
    >>> tg.tree.leaves(({"b": 1, "a": 2}, None, [3]))
    [1, 2, 3]
    """
    return flatten(tree)[0]


K = TypeVar("K", bound=type)


def immutable(cls: K) -> K:
    """A frozen class whose records say, where a field is set, how to make a new one."""

    def refuse(record: Any, name: str, value: Any) -> NoReturn:
        # what makes records is no tree of arrays
        change = f"attrs.evolve(old, {name}=...)"
        if not hasattr(cls, "init"):
            change = f'tg.tree.update(old, {{"{name}": ...}})'
        message = f"{cls.__name__} is immutable; write new = {change}"
        error = attrs.exceptions.FrozenInstanceError()
        # the class of attrs takes no message of ours
        AttributeError.__init__(error, message)
        raise error

    refuse.of_frozen = True  # type: ignore[attr-defined]
    cls.__setattr__ = refuse  # type: ignore[assignment, method-assign]
    return cls


def substituted(leaves: Sequence[Any], places: Iterable[int], others: Iterable[Any]) -> list[Any]:
    """A copy of the leaves, with others in these places."""
    filled = list(leaves)
    for i, x in zip(places, others, strict=True):
        filled[i] = x
    return filled


def is_frozen(node: Any) -> bool:
    """Whether the fields of a class's objects cannot be set: by attrs, by `immutable`, or so."""
    setter, own = node.__setattr__, getattr(node, "__dataclass_params__", None)
    by_attrs = setter is Structure.__setattr__ or hasattr(setter, "of_frozen")
    return by_attrs or (own is not None and own.frozen)


def paths(tree: Any) -> list[str]:
    """The path of each leaf: keys, field names and positions, joined by dots.

    Examples
    --------
    >>> import tapegrad as tg
    >>> tg.tree.paths([{"weight": 1.0, "bias": 2.0}, None, 3.0])
    ['0.weight', '0.bias', '2']
    """
    return structure_paths(flatten(tree)[1])


def named_leaves(tree: Any, name: str) -> list[tuple[str, Any]]:
    """The leaves of a tree of this name, each with its path; the name may be empty."""
    leaves, structure = flatten(tree)
    return [*zip(paths_within(structure, name), leaves, strict=True)]


def paths_within(structure: Structure, name: str) -> list[str]:
    """The path of each place for a leaf in a tree of this name, which may be empty."""
    return [".".join(filter(None, (name, path))) for path in structure_paths(structure)]


def structure_paths(structure: Structure) -> list[str]:
    """The path of each place for a leaf, in order; "" for a leaf alone."""
    if structure.node is None:
        return [""]
    names = names_of(structure.node, structure.keys, len(structure.children))
    return [
        f"{as_text(name, str)}.{path}" if path else as_text(name, str)
        for name, child in zip(names, structure.children, strict=False)
        for path in structure_paths(child)
    ]


def names_of(node: Any, keys: tuple[Any, ...], n: int) -> Any:
    """The names in paths of a node's n children; there may be one more, of a static part."""
    return keys or getattr(node, "_fields", tuple(range(n)))
