"""Operations on whole trees: conversion to a vector, updates, sizes, a table, comparison."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import attrs
import numpy as np

from tapegrad.errors.lines import with_user_warnings
from tapegrad.errors.words import Text, columns
from tapegrad.tree.mapping import zip_leaves
from tapegrad.tree.numbers import refuse_unreal
from tapegrad.tree.ownership import as_readonly_leaf, readonly_array
from tapegrad.tree.structure import (
    Structure,
    Tree,
    build_node,
    flatten,
    is_record,
    leaves,
    named_children,
    named_leaves,
    open_node,
    paths,
    structure_paths,
    unflatten,
)
from tapegrad.types import Array, ArrayLike, PyTree


def ravel(tree: PyTree) -> tuple[Array, Unravel]:
    """Put all numbers of a tree into one vector, and return a function that restores the tree.

    Optimizers of vectors, such as ``scipy.optimize.minimize``, can then take a function of any
    tree. Both directions are recorded when they are given Tensors.

    Parameters
    ----------
    tree
        A tree of floating or complex arrays.

    Returns
    -------
    vector, unravel
        The vector, of a real dtype that holds all leaves, with the real and the imaginary part of
        each complex number in turn, and a function that turns such vectors into
        trees like this one.

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
    refuse_unreal("ravel", parts, True)
    parts = [x if is_record(x) else np.asarray(x) for x in parts]
    for path, x in zip(structure_paths(structure), parts, strict=True):
        if x.dtype.kind not in "fc":
            raise TypeError(
                f"a vector must be made of floating leaves; {path or 'the leaf'} is {x.dtype}"
            )
    unravel = Unravel(structure, tuple([(x.shape, x.dtype) for x in parts]))
    if not parts:
        return readonly_array(np.zeros(0)), unravel
    vector: Any = np.concatenate([_real_vector(x) for x in parts])
    return as_readonly_leaf(vector), unravel


def _real_vector(x: Array) -> Array:
    """Return the numbers of a leaf as a vector of real numbers."""
    x = x.reshape(-1)
    return x if x.dtype.kind != "c" else np.stack([np.real(x), np.imag(x)], -1).reshape(-1)


@attrs.frozen
class Unravel:
    """The function that turns a vector back into a tree; see `ravel`.

    Attributes
    ----------
    structure
        The structure of the tree.
    likes
        The shape and the dtype of each leaf.
    """

    structure: Structure
    likes: tuple[tuple[tuple[int, ...], np.dtype[Any]], ...]

    def __call__(self, vector: ArrayLike) -> Any:
        """Return the tree with the numbers of a vector.

        Raises
        ------
        ValueError
            If `vector` has several axes, or another length.
        """
        sizes = [math.prod(shape) * (1 + (dtype.kind == "c")) for shape, dtype in self.likes]
        refuse_unreal("unravel", (vector,))
        flat: Any = vector if is_record(vector) else np.asarray(vector)
        if flat.shape != (sum(sizes),):
            raise ValueError(
                f"a vector of {sum(sizes)} numbers is needed; this has shape {flat.shape}"
            )
        parts: list[Any] = []
        start = 0
        for (shape, dtype), n in zip(self.likes, sizes, strict=True):
            x: Any = flat[start : start + n]
            start += n
            x = (x if dtype.kind != "c" else x[::2] + 1j * x[1::2]).reshape(shape)
            if is_record(flat):
                parts.append(x if x.dtype == dtype else x.astype(dtype))
            else:
                # the holder of the vector may write to it
                parts.append(readonly_array(with_user_warnings(x.astype, dtype)))
        return unflatten(self.structure, parts)


def update(tree: Tree, changes: Mapping[str, Any]) -> Tree:
    """Return a copy of a tree with some of its parts replaced.

    Parameters
    ----------
    tree
        Any tree; it is not changed.
    changes
        The replacements, by the path of a leaf or of a node within the tree.

    Returns
    -------
    A new tree.

    Raises
    ------
    ValueError
        If a path does not exist, occurs twice, or lies within another one.

    Examples
    --------
    >>> import tapegrad as tg
    >>> tg.tree.update([{"weight": 1.0, "bias": 2.0}, 3.0], {"0.weight": 5.0})
    [{'weight': 5.0, 'bias': 2.0}, 3.0]
    """
    replaced: list[str] = []
    updated = _replace_parts(tree, "", changes, replaced)
    for path in changes:
        if replaced.count(path) != 1:
            outer = next((x for x in replaced if not x or path.startswith(f"{x}.")), None)
            if path not in replaced and outer is not None:
                raise ValueError(f"{path!r} is within {outer!r}, which is replaced as well")
            how = "no place" if path not in replaced else "more than one place"
            raise ValueError(f"there is {how} at {path!r}; the leaves are at {paths(tree)}")
    return updated


def _replace_parts(x: PyTree, path: str, changes: Mapping[str, Any], replaced: list[str]) -> Any:
    """Replace parts of the subtree at `path`; add the paths of replaced parts to `replaced`."""
    if path in changes:
        replaced.append(path)
        return changes[path]
    own = named_children(x)
    if not own:
        return x
    start = f"{path}." if path else ""
    children = [
        _replace_parts(child, start + name, changes, replaced) for name, child in own.items()
    ]
    node, keys, _ = open_node(x)
    assert node is not None
    return build_node(node, keys, children)


def size(tree: PyTree) -> int:
    """Count the numbers in a tree, such as the parameters of a model.

    Examples
    --------
    >>> import tapegrad as tg
    >>> tg.tree.size(tg.nn.Linear(784, 256).init(0))
    200960
    """
    return sum(math.prod(np.shape(x)) for x in leaves(tree))


def summary(tree: PyTree) -> str:
    """Return a table of a tree: the path, shape, dtype, count and bytes of each leaf, and totals.

    Examples
    --------
    >>> import tapegrad as tg
    >>> print(tg.tree.summary(tg.nn.Linear(3, 2).init(0)))
    path    shape   dtype    numbers  bytes
    weight  (3, 2)  float64        6     48
    bias    (2,)    float64        2     16
    all                            8     64
    """
    rows = []
    total = n_bytes = 0
    for path, x in named_leaves(tree, ""):
        x = x if hasattr(x, "dtype") else np.asarray(x)
        n = math.prod(x.shape)
        total, n_bytes = total + n, n_bytes + n * x.dtype.itemsize
        rows.append((path, str(x.shape), str(x.dtype), f"{n:,}", f"{n * x.dtype.itemsize:,}"))
    rows.append(("all", "", "", f"{total:,}", f"{n_bytes:,}"))
    return Text(columns(("path", "shape", "dtype", "numbers", "bytes"), rows, (3, 4)))


def all_close(
    a: PyTree, b: PyTree, rtol: float = 1e-5, atol: float = 1e-8, equal_nan: bool = False
) -> bool:
    """Whether two trees have the same structure and shapes, and nearly the same numbers.

    Parameters
    ----------
    a, b
        Trees of arrays and numbers.
    rtol, atol, equal_nan
        See `numpy.allclose`.

    Examples
    --------
    >>> import tapegrad as tg
    >>> tg.tree.all_close({"w": np.ones(2)}, {"w": np.ones(2) + 1e-9})
    True
    >>> tg.tree.all_close({"w": np.ones(2)}, {"w": np.ones(1)})
    False
    """
    try:
        pairs = zip_leaves(a, b)
    except ValueError:
        return False
    return all(
        np.shape(x) == np.shape(y) and bool(np.allclose(x, y, rtol, atol, equal_nan))
        for x, y in pairs
    )
