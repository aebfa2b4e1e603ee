"""check_values: compare the values of a recorded call with NumPy's on plain arrays."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from tapegrad import tree
from tapegrad.core.recording import record
from tapegrad.core.tape import Tape
from tapegrad.core.tensor import Tensor
from tapegrad.errors.lines import warns_at_users_line
from tapegrad.testing.differences import coarsest_eps
from tapegrad.testing.leaves_as_vector import Fn, flatten_function, floating_leaves
from tapegrad.types import Array

TOLERANCE = 1e-9  # the relative error allowed for rounding


@warns_at_users_line
def check_values(fn: Fn, args: Sequence[Any]) -> None:
    """Check that a function returns the same when recorded as on plain arrays.

    The check does nothing if the function does not run on plain arrays because it uses attributes
    that only a Tensor has, such as ``x.at``.

    Parameters
    ----------
    fn, args
        As for `check_grads`. Arrays are copied first, because NumPy code may write to them.

    Raises
    ------
    AssertionError
        If a value, a shape, a dtype or the tree differs.

    Examples
    --------
    >>> import tapegrad as tg
    >>> tg.testing.check_values(tg.tanh, (np.ones(3),))
    >>> def centred(x):
    ...     return x - (x.mean() if isinstance(x, np.ndarray) else 0.0)
    >>> try:
    ...     tg.testing.check_values(centred, (np.array([1.0, 3.0]),))
    ... except AssertionError as error:
    ...     print(error)
    centred gives another value recorded than on plain arrays
      recorded   1
      plain      -1
      of         output[0]
    """
    name = flatten_function(fn, args).name
    output, tape = record(fn)(*args)
    floating_leaves(fn, output)
    relative = rounding_tolerance(tape)
    for plain in call_on_plain_arrays(fn, tree.map(_copy_leaf, tuple(args)), name):
        (got, structure), (want, other) = tree.flatten(output), tree.flatten(plain)
        if structure != other:
            raise AssertionError(
                f"{name} returns another tree recorded than on plain arrays\n"
                f"  recorded   {structure}\n"
                f"  plain      {other}"
            )
        for i, (path, x, y) in enumerate(zip(tree.paths(plain), got, want, strict=True)):
            a, b = np.asarray(x.value if isinstance(x, Tensor) else x), np.asarray(y)
            if a.dtype.kind not in "fciub" or b.dtype.kind not in "fciub":
                continue
            place = f"output.{path}" if path else "output"
            if (a.shape, a.dtype) != (b.shape, b.dtype):
                raise AssertionError(
                    f"{name} gives another shape or dtype recorded than on plain arrays\n"
                    f"  recorded   {a.dtype} {a.shape}\n"
                    f"  plain      {b.dtype} {b.shape}\n"
                    f"  of         {place}"
                )
            close = is_close(a, b, relative)
            if b.dtype.kind in "fc" and not np.all(close):
                close |= np.abs(a - b) <= 4 * rounding_spread(fn, args)[i]
            for at in np.argwhere(~close)[:1].tolist():
                index = str(at) if at else ""
                raise AssertionError(
                    f"{name} gives another value recorded than on plain arrays\n"
                    f"  recorded   {a[tuple(at)]:.12g}\n"
                    f"  plain      {b[tuple(at)]:.12g}\n"
                    f"  of         {place}{index}"
                )


def call_on_plain_arrays(fn: Fn, args: Sequence[Any], name: str) -> tuple[Any, ...]:
    """Return a function's result on plain arrays in a tuple, or () if it needs a Tensor."""
    try:
        return (fn(*args),)
    except Exception as error:
        if isinstance(error, AttributeError) and hasattr(Tensor, error.name or ""):
            return ()
        error.add_note(f"{name} raised this when it was called on plain arrays, not recorded")
        raise


def rounding_tolerance(tape: Tape) -> float:
    """Return the relative error allowed for rounding, by the narrowest dtype on a tape."""
    return max(TOLERANCE, 64 * coarsest_eps(tape))


# rounding changes a result by at most this part of the largest argument or result
_JUMP = 1e-9


def rounding_spread(fn: Fn, args: Sequence[Any]) -> list[Array]:
    """Measure the change of each element of the results when the arguments round.

    The change is large where terms cancel. Where a result jumps, as at a kink, it counts as 0,
    since a jump is not due to rounding.
    """
    rng = np.random.default_rng(0)

    def round_leaf(x: Any) -> Any:
        kind = np.asarray(x).dtype
        if kind.kind not in "fc":
            return _copy_leaf(x)
        moved = x * (1 + 2 * np.finfo(kind).eps * rng.integers(-1, 2, np.shape(x)))
        return moved.astype(kind) if isinstance(x, np.ndarray) else type(x)(moved)

    results = [np.asarray(y) for y in tree.leaves(fn(*tree.map(_copy_leaf, tuple(args))))]
    moves = [np.zeros(y.shape) for y in results]
    sizes = [
        np.max(np.abs(x[np.isfinite(x)]), initial=0) for x in map(np.asarray, tree.leaves(args))
    ]
    for _ in range(8):
        try:
            moved = [np.asarray(y) for y in tree.leaves(fn(*tree.map(round_leaf, tuple(args))))]
        except Exception:
            # outside the domain
            continue
        for i, (x, y) in enumerate(zip(results, moved, strict=False)):
            if x.dtype.kind in "fc" and x.shape == y.shape:
                moves[i] = np.fmax(moves[i], np.abs(y - x))
    coarse = max(_JUMP, 64 * coarsest_eps(results))
    largest = [max([np.max(np.abs(y), initial=0, where=np.isfinite(y)), *sizes]) for y in results]
    return [np.where(x <= coarse * y, x, 0) for x, y in zip(moves, largest, strict=True)]


def is_close(x: Array, y: Array, relative: float) -> Array:
    """Whether two arrays agree, for each element; floating elements may differ by rounding."""
    if y.dtype.kind not in "fc":
        return np.asarray(x == y)
    size = np.max(np.abs(y[np.isfinite(y)]), initial=0)
    return np.isclose(x, y, relative, relative * size, equal_nan=True)


def _copy_leaf(leaf: Any) -> Any:
    return leaf.copy() if isinstance(leaf, np.ndarray) else leaf
