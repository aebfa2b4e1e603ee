"""Functions of trees as functions of floating leaves, for checks of derivatives."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import attrs
import numpy as np

from tapegrad import tree
from tapegrad.domain import Call
from tapegrad.errors.functions import argument_names, label
from tapegrad.errors.words import got
from tapegrad.tree.numbers import is_floating
from tapegrad.tree.structure import replace_leaves
from tapegrad.types import Array, DTypeLike, PyTree, Scalar

Fn = Callable[..., Any]


@attrs.frozen(eq=False)
class FlatFunction:
    """A function from the floating leaves of its arguments to the floating leaves of its result.

    Attributes
    ----------
    name, paths
        The names of the function and of each leaf in messages.
    fn
        The function.
    xs
        The leaves.
    args
        The arguments with these leaves.
    """

    name: str
    fn: Fn
    xs: tuple[Any, ...]
    paths: tuple[str, ...]
    args: tuple[Any, ...]


def check_sequence(args: object) -> None:
    """Raise unless the arguments are a tuple or a list."""
    if not isinstance(args, tuple | list):
        write = "call.args" if isinstance(args, Call) else "(x,)"
        raise TypeError(
            f"args must be a sequence of arguments, not {type(args).__name__}; write {write}"
        )


def flatten_function(fn: Fn, args: Sequence[Any], dtype: DTypeLike | None = None) -> FlatFunction:
    """Convert a function to a function of floating leaves, in `dtype` if not None."""
    check_sequence(args)
    if dtype is not None:
        args = tree.map(partial(_cast_leaf, dtype), tuple(args))
    leaves, structure, paths, places = flatten_arguments(fn, args, is_floating)

    def flat(*xs: Array | Scalar) -> list[Any]:
        return floating_leaves(
            fn, fn(*tree.unflatten(structure, replace_leaves(leaves, places, xs)))
        )

    xs = tuple(leaves[i] for i in places)
    return FlatFunction(label(fn), flat, xs, tuple(paths[i] for i in places), tuple(args))


def flatten_arguments(
    fn: Fn, args: Sequence[Any], floats: Callable[[Any], bool]
) -> tuple[list[Any], tree.Structure, list[str], tuple[int, ...]]:
    """Return the arguments' leaves, structure and paths, and the positions of floating leaves."""
    leaves, structure = tree.flatten(tuple(args))
    named = zip(argument_names(fn, len(args)), args, strict=True)
    paths = [f"{name}.{path}" if path else name for name, x in named for path in tree.paths(x)]
    places = tuple(i for i, leaf in enumerate(leaves) if floats(leaf))
    if not places:
        raise TypeError(f"{label(fn)} has no floating argument to differentiate")
    return leaves, structure, paths, places


def floating_leaves(fn: Fn, output: PyTree) -> list[Any]:
    """Return the floating leaves of a function's result; raise if there are none."""
    outputs = [y for y in tree.leaves(output) if is_floating(y)]
    if not outputs:
        raise TypeError(f"{label(fn)} returns no floating leaf to differentiate, but {got(output)}")
    return outputs


def _cast_leaf(dtype: DTypeLike, leaf: Any) -> Any:
    """Cast a floating leaf; a Python number stays a Python number."""
    if not is_floating(leaf):
        return leaf
    array = np.array(leaf, np.result_type(dtype, np.complex64) if np.iscomplexobj(leaf) else dtype)
    return array if isinstance(leaf, np.ndarray) else array.item()


def locate(at: int, arrays: Sequence[Any], names: Sequence[str]) -> str:
    """Name an element by its array and index, from its position in the packed arrays."""
    for array, name in zip(arrays, names, strict=True):
        parts = (".real", ".imag") if np.iscomplexobj(array) else ("",)
        n = len(parts)
        if at < n * np.size(array):
            index = ", ".join(str(int(i)) for i in np.unravel_index(at // n, np.shape(array)))
            return (f"{name}[{index}]" if index else name) + parts[at % n]
        at -= n * np.size(array)
    raise IndexError(at)


def random_weights(rng: np.random.Generator, n: int) -> Array:
    """Draw weights of random sign and size near 1: none vanishes and hardly any two cancel."""
    return rng.choice([-1.0, 1.0], n) * rng.uniform(0.5, 1.5, n)


def pack(arrays: Sequence[Any]) -> Array:
    """Pack the elements of arrays into a vector of float64; a complex element is two numbers.

    The dot product of two such vectors equals ``Re(sum(conj(a) * b))`` of complex arrays.
    """
    parts = [
        np.asarray(a, np.complex128 if np.iscomplexobj(a) else np.float64).ravel().view(np.float64)
        for a in arrays
    ]
    return np.concatenate(parts) if parts else np.empty(0)


def unpack(vector: Array, like: Sequence[Any]) -> tuple[Any, ...]:
    """Unpack a vector into arrays and Python numbers of the shapes and kinds of `like`."""
    parts: list[Any] = []
    begin = 0
    for a in like:
        kind = np.complex128 if np.iscomplexobj(a) else np.float64
        end = begin + np.size(a) * (np.dtype(kind).itemsize // 8)
        part = np.ascontiguousarray(vector[begin:end]).view(kind).reshape(np.shape(a))
        parts.append(part if isinstance(a, np.ndarray) else part.item())
        begin = end
    return tuple(parts)
