"""check_values: recorded values against what NumPy computes from plain arrays."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from tapegrad import tree
from tapegrad.core.recording import record
from tapegrad.core.tensor import Tensor
from tapegrad.face.lines import at_users_line
from tapegrad.testing.leaves_as_vector import flattened, floating

__all__ = ["CLOSE", "check_values", "on_plain_arrays", "rounding"]

Fn = Callable[..., Any]

CLOSE = 1e-9  # the relative error allowed for rounding


@at_users_line
def check_values(fn: Fn, args: Sequence[Any]) -> None:
    """Check that a function returns the same when recorded as on plain arrays.

    Nothing is checked if the function does not run on plain arrays because it uses
    attributes that only a Tensor has, such as ``x.at``.

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
    name = flattened(fn, args).name
    output, tape = record(fn)(*args)
    floating(fn, output)
    relative = rounding(tape)
    for plain in on_plain_arrays(fn, tree.map(_copied, tuple(args)), name):
        _compare(name, output, plain, relative)


def on_plain_arrays(fn: Fn, args: Sequence[Any], name: str) -> tuple[Any, ...]:
    """What a function returns on plain arrays; nothing if it needs a Tensor."""
    try:
        return (fn(*args),)
    except Exception as error:
        if isinstance(error, AttributeError) and hasattr(Tensor, error.name or ""):
            return ()
        error.add_note(f"{name} raised this when it was called on plain arrays, not recorded")
        raise


def rounding(tape: Any) -> float:
    """The relative error allowed for rounding, by the narrowest dtype on the way."""
    dtypes = {x.dtype for x in tape if x.dtype.kind in "fc"}
    return max([CLOSE, *[64 * float(np.finfo(dtype).eps) for dtype in dtypes]])


def _copied(leaf: Any) -> Any:
    return leaf.copy() if isinstance(leaf, np.ndarray) else leaf


def _compare(name: str, recorded: Any, plain: Any, relative: float) -> None:
    (got, structure), (want, other) = tree.flatten(recorded), tree.flatten(plain)
    if structure != other:
        raise AssertionError(
            f"{name} returns another tree recorded than on plain arrays\n"
            f"  recorded   {structure}\n"
            f"  plain      {other}"
        )
    for path, x, y in zip(tree.paths(plain), got, want, strict=True):
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
        close = a == b
        if b.dtype.kind in "fc":
            size = np.max(np.abs(b[np.isfinite(b)]), initial=0)
            close = np.isclose(a, b, relative, relative * size, equal_nan=True)
        for at in np.argwhere(~close)[:1]:
            index = ", ".join(str(int(i)) for i in at)
            raise AssertionError(
                f"{name} gives another value recorded than on plain arrays\n"
                f"  recorded   {a[tuple(at)]:.12g}\n"
                f"  plain      {b[tuple(at)]:.12g}\n"
                f"  of         {f'{place}[{index}]' if index else place}"
            )
