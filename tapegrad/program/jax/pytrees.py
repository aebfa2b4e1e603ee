"""Records as pytrees of JAX: each class of a tree's nodes is registered once."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import attrs

from tapegrad import tree


def register(jax: Any, structure: tree.Structure | None, records: Iterable[type] = ()) -> None:
    """Register the classes of a tree's nodes, and others, as pytrees.

    Raises
    ------
    TypeError
        If one of the others is not a class of records.
    """
    for node in records:
        if not isinstance(node, type) or tree.fields_of(node) is None:
            raise TypeError(
                f"{node!r} is neither an attrs class nor a dataclass, but a record's is"
            )
        _register(jax, node)
    if structure is None:
        for node in _ours():
            _register(jax, node)
    else:
        _walk(jax, structure)


def _walk(jax: Any, structure: tree.Structure) -> None:
    if structure.node is not None and structure.keys and structure.node is not dict:
        _register(jax, structure.node)
    for child in structure.children:
        _walk(jax, child)


def _ours() -> list[type]:
    """tapegrad's classes of parameters and states."""
    from tapegrad import nn, optim

    found = []
    for package in (nn, optim):
        for module in [package, *vars(package).values()]:
            if getattr(module, "__name__", "").startswith(package.__name__):
                found += [x for x in vars(module).values() if isinstance(x, type)]
    return [x for x in dict.fromkeys(found) if attrs.has(x) and tree.fields_of(x) is not None]


def _register(jax: Any, node: type) -> None:
    fields = tree.fields_of(node) or ()
    util = jax.tree_util

    def flatten(record: Any) -> Any:
        return [(util.GetAttrKey(name), getattr(record, name)) for name, _ in fields], None

    def unflatten(aux: None, children: Any) -> Any:
        arguments = [argument for _, argument in fields]
        return node(**dict(zip(arguments, children, strict=True)))

    try:
        util.register_pytree_with_keys(node, flatten, unflatten)
    except ValueError:
        # it is one already
        return
