"""Keys: made of seeds, split, and combined with integers."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, TypeVar

import numpy as np

from tapegrad.arraylike.reading import is_count
from tapegrad.core.tensor import Tensor
from tapegrad.random import generator
from tapegrad.types import Key as Key

__all__ = ["Key", "fold_in", "key", "split"]

F = TypeVar("F", bound=Callable[..., Any])


def key(seed: Any) -> Any:
    """A key made of a seed.

    Parameters
    ----------
    seed
        A non-negative integer of any size or a `numpy.random.SeedSequence`; the key is its hash.
        An integer Tensor is recorded. A key is returned as it is.

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
            return generator.seeded(seed)
    elif isinstance(seed, int) and not isinstance(seed, bool):
        if seed < 0:
            raise ValueError(f"a key's seed must not be negative; got {seed}")
        return generator.of_sequence(np.random.SeedSequence(seed))
    elif isinstance(seed, np.random.SeedSequence):
        return generator.of_sequence(seed)
    what = f"{seed.dtype} {seed.shape}" if hasattr(seed, "dtype") else repr(seed)
    if what == "uint32 (2,)":
        what += ', as JAX holds keys before jax.config.update("jax_enable_x64", True)'
    raise TypeError(
        "a key is what tg.random.key, split or fold_in return, a non-negative integer or a numpy "
        f"SeedSequence; not {what}"
    )


def in_order(fn: F) -> F:
    """A function whose errors about its arguments say their order, which is not NumPy's."""
    code = fn.__code__
    order = ", ".join(code.co_varnames[: code.co_argcount])

    @functools.wraps(fn)
    def called(*args: Any, **kwargs: Any) -> Any:
        try:
            return fn(*args, **kwargs)
        except (TypeError, ValueError) as error:
            kind = next(kind for kind in (TypeError, ValueError) if isinstance(error, kind))
            raise kind(f"{error}; the order is {order}") from error.__cause__

    return called  # type: ignore[return-value]


@in_order
def split(key: Any, n: int = 2) -> Any:
    """Several new keys made of one.

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


@in_order
def fold_in(key: Any, data: Any) -> Any:
    """A new key made of a key and an integer, such as the number of a step.

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
        data = np.array(generator.folded_bits(data), np.uint64)
    elif not is_integer(data) or np.shape(data) != ():
        raise TypeError(f"fold_in takes one integer, such as the number of a step; not {data!r}")
    return generator.folded_in(as_key(key), data)


as_key = key


def is_integer(x: Any) -> bool:
    """Whether it is an integer, or an array or a Tensor of integers."""
    if isinstance(x, bool) or not isinstance(x, int | np.generic | np.ndarray | Tensor):
        return False
    return isinstance(x, int) or x.dtype.kind in "iu"
