"""Make keys from seeds, split them, and fold integers into them."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import ParamSpec, TypeVar

import numpy as np

from tapegrad.arraylike.reading import is_count
from tapegrad.core.tensor import Tensor
from tapegrad.random import generator
from tapegrad.types import Array
from tapegrad.types import Key as Key

__all__ = ["Key", "fold_in", "key", "split"]

P = ParamSpec("P")
R = TypeVar("R")


def key(seed: Key) -> Array:
    """Make a key from a seed.

    Parameters
    ----------
    seed
        A non-negative integer of any size or a `numpy.random.SeedSequence`; the key is its hash.
        An integer Tensor is recorded. A key is returned unchanged.

    Returns
    -------
    A read-only array of two ``uint64``.

    Raises
    ------
    TypeError
        For anything else, such as a generator, which is changed by each draw.
    ValueError
        If the seed is negative, or is an array of several keys.

    Examples
    --------
    >>> import tapegrad as tg
    >>> k = tg.random.key(0)
    >>> k.shape, k.dtype
    ((2,), dtype('uint64'))
    >>> float(tg.random.normal(k)) == float(tg.random.normal(0))
    True
    """
    if isinstance(seed, np.ndarray | np.generic | Tensor):
        if seed.dtype == np.uint64 and seed.shape == (2,):
            return seed
        if seed.dtype == np.uint64 and seed.ndim == 2 and seed.shape[1] == 2:
            raise ValueError(f"one key is needed, not {seed.shape[0]} of them: take one, keys[i]")
        if seed.dtype.kind in "iu" and seed.shape == ():
            return generator.make_key(seed)
    elif isinstance(seed, int) and not isinstance(seed, bool):
        if seed < 0:
            raise ValueError(f"a key's seed must not be negative; got {seed}")
        return generator.key_of_sequence(np.random.SeedSequence(seed))
    elif isinstance(seed, np.random.SeedSequence):
        return generator.key_of_sequence(seed)
    got = f"{seed.dtype} {np.shape(seed)}" if hasattr(seed, "dtype") else repr(seed)
    if got == "uint32 (2,)":
        got += ', as JAX holds keys before jax.config.update("jax_enable_x64", True)'
    raise TypeError(
        "a key is what tg.random.key, split or fold_in return, a non-negative integer or a numpy "
        f"SeedSequence; not {got}"
    )


def explain_argument_order(fn: Callable[P, R]) -> Callable[P, R]:
    """Append the order of the arguments, which is not NumPy's, to a function's errors."""
    code = fn.__code__
    order = ", ".join(code.co_varnames[: code.co_argcount])

    @functools.wraps(fn)
    def explain(*args: P.args, **kwargs: P.kwargs) -> R:
        try:
            return fn(*args, **kwargs)
        except (TypeError, ValueError) as error:
            kind = next(kind for kind in (TypeError, ValueError) if isinstance(error, kind))
            raise kind(f"{error}; the order is {order}") from error.__cause__

    return explain


@explain_argument_order
def split(key: Key, n: int = 2) -> Array:
    """Derive several new keys from one.

    Parameters
    ----------
    key
        The key; do not draw with it afterwards.
    n
        The number of keys.

    Returns
    -------
    An array of shape (n, 2) with a key in each row, to unpack or index. The i-th key is the same
    for every n.

    Raises
    ------
    ValueError
        If n is not an integer or is negative.

    Examples
    --------
    >>> import tapegrad as tg
    >>> a, b = tg.random.split(0)
    >>> float(tg.random.uniform(a)) != float(tg.random.uniform(b))
    True
    """
    if not is_count(n):
        raise ValueError(f"n, the number of new keys, must be a non-negative integer; not {n!r}")
    return generator.split(as_key(key), n=int(n))


@explain_argument_order
def fold_in(key: Key, data: Array | int) -> Array:
    """Derive a new key from a key and an integer, such as the number of a step.

    Parameters
    ----------
    key
        The key.
    data
        An integer, or an integer array or Tensor without axes, of at most 64 bits.

    Raises
    ------
    TypeError
        If data is anything else.
    OverflowError
        If it needs more than 64 bits.

    Examples
    --------
    >>> import tapegrad as tg
    >>> a, b = (tg.random.fold_in(0, step) for step in (0, 1))
    >>> float(tg.random.uniform(a)) != float(tg.random.uniform(b))
    True
    """
    if isinstance(data, int) and not isinstance(data, bool):
        data = np.array(generator.to_uint64(data), np.uint64)
    elif not is_integer(data) or np.shape(data) != ():
        raise TypeError(f"fold_in takes one integer, such as the number of a step; not {data!r}")
    return generator.fold_in(as_key(key), data)


as_key = key


def is_integer(x: object) -> bool:
    """Whether x is an integer, or an array or a Tensor of integers."""
    if isinstance(x, bool) or not isinstance(x, int | np.generic | np.ndarray | Tensor):
        return False
    return isinstance(x, int) or x.dtype.kind in "iu"
