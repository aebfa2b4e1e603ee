"""Whether `vmap` of a function agrees with a loop over the examples."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np

from tapegrad import tree
from tapegrad.core.recording import record
from tapegrad.errors import TraceError
from tapegrad.errors.functions import label
from tapegrad.errors.lines import at_users_line
from tapegrad.testing.leaves_as_vector import check_sequence
from tapegrad.testing.values import agreeing, rounding
from tapegrad.transforms.batches import vmap
from tapegrad.tree.structure import substituted

__all__ = ["check_batched"]

Fn = Callable[..., Any]


@at_users_line
def check_batched(fn: Fn, args: Sequence[Any]) -> None:
    """Check that `vmap` of a function gives the results of calling it example by example.

    Parameters
    ----------
    fn
        A function of trees, as `vmap` takes it.
    args
        The arguments of one example. The check makes a second one of it, with floating arrays
        scaled and others reversed. It batches all arrays at once, then the floating ones alone,
        then each alone. A function may refuse to batch arrays that are not floating, if it has to
        read their values.

    Raises
    ------
    AssertionError
        If a value, a shape or a dtype differs; the message has the path and the batched arguments.
    TypeError
        If there is no array among the arguments.

    Examples
    --------
    >>> import tapegrad as tg
    >>> tg.testing.check_batched(lambda a, b: tg.tanh(a @ b), (np.eye(2), np.ones(2)))
    """
    check_sequence(args)
    leaves, structure = tree.flatten(tuple(args))
    arrays = [i for i, x in enumerate(leaves) if isinstance(x, np.ndarray)]
    floating = [i for i in arrays if leaves[i].dtype.kind in "fc"]
    if not arrays:
        raise TypeError(f"there is no array to batch among the arguments of {label(fn)}")
    examples = [leaves, [_varied(x) for x in leaves]]

    def called(leaves: Sequence[Any]) -> Any:
        return fn(*tree.unflatten(structure, leaves))

    for chosen in dict.fromkeys(tuple(x) for x in (arrays, floating, *[[i] for i in arrays]) if x):
        rows = [
            called([row[i] if i in chosen else x for i, x in enumerate(leaves)]) for row in examples
        ]

        def one(*parts: Any, chosen: tuple[int, ...] = chosen) -> Any:
            return called(substituted(leaves, chosen, parts))

        try:
            got = vmap(one)(*[np.stack([row[i] for row in examples]) for i in chosen])
        except TraceError:
            if set(chosen) <= set(floating):
                raise
            continue
        names = [path for i, path in enumerate(tree.paths(tuple(args))) if i in chosen]
        close = rounding(record(called)(leaves)[1])
        for path, x, y in _results(label(fn), got, rows):
            _compare(f"{label(fn)}, batched along {', '.join(names)}", path, x, y, close)


def _varied(x: Any) -> Any:
    """Another array of the same shape and dtype, which the function can take in its place."""
    if not isinstance(x, np.ndarray):
        return x
    return x * x.dtype.type(0.875) if x.dtype.kind in "fc" else np.flip(x)


def _results(name: str, got: Any, rows: list[Any]) -> Iterator[tuple[str, Any, Any]]:
    """The path of each array, its value in the batch, and its value in the loop."""
    structure, others = tree.flatten(got)[1], [tree.flatten(row)[1] for row in rows]
    for other in others:
        if other != structure:
            raise AssertionError(f"{name} returns {structure} for a batch, {other} for an example")
    for path, x, *parts in zip(tree.paths(got), *map(tree.leaves, (got, *rows)), strict=True):
        if isinstance(parts[0], np.ndarray | np.generic | float | int):
            yield path or "the result", np.asarray(x), np.stack(parts)


def _compare(name: str, path: str, got: Any, want: Any, close: float) -> None:
    if (got.shape, got.dtype) != (want.shape, want.dtype):
        raise AssertionError(
            f"{name}: {path} is {got.dtype} {got.shape}, but {want.dtype} {want.shape} in a loop"
        )
    if not np.all(agreeing(got, want, close)):
        raise AssertionError(f"{name}: {path} is\n{got}\nbut in a loop\n{want}")
