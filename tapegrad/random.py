"""Random numbers as pure functions of a key: the same key gives the same numbers.

A key is a read-only array of two ``uint64`` words, the key of NumPy's counter-based
generator Philox (Salmon et al. 2011, "Parallel random numbers: as easy as 1, 2, 3"). A
draw reads the words that Philox makes of the counters from 0 on. `split` and `fold_in`
read a new key from a block of counters that no draw comes to: the highest of the
counter's four words is 0 for draws, 1 for `split` and 2 for `fold_in`. For one key Philox
maps counters to blocks one to one, without any structure that the usual batteries of tests
find, so keys made in this way collide as rarely as 128 random bits do (splitting by a keyed
function: Claessen and Palka 2013, "Splittable pseudorandom number generators using
cryptographic hashing"). Keys are not secrets.

Keys and what is split from them are the same on every platform and with every version of
NumPy. Draws are those of `numpy.random.Generator`: the same on every platform for one
version of NumPy, which may improve an algorithm in a later one.

Wherever a key is taken, an integer or a `numpy.random.SeedSequence` is taken too, and stands
for ``key(seed)``. Use a key once: two draws with the same key see the same random bits. In
a loop, split a new key off in each step::

    key, now = tg.random.split(key)
    noise = tg.random.normal(now, x.shape)

or make the key of step `i` with ``tg.random.fold_in(key, i)``.

Every function here is recorded where the key is a Tensor, so a key is an input of a
compiled program, and the program draws when it runs. A draw carries no gradient;
``mean + scale * tg.random.normal(key, shape)`` has one for ``mean`` and ``scale``.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
import numpy.typing as npt

from tapegrad.core.forward import by_transposing
from tapegrad.core.op import Op
from tapegrad.core.ownership import Array, give
from tapegrad.core.tensor import Tensor
from tapegrad.ops.indexing import index_select

if TYPE_CHECKING:
    from numpy.random import Generator

__all__ = [
    "Key",
    "bernoulli",
    "choice",
    "fold_in",
    "integers",
    "key",
    "normal",
    "permutation",
    "split",
    "truncated_normal",
    "uniform",
]

# a string, for numpy.random takes long to import
Key: TypeAlias = "int | np.random.SeedSequence | Array"
Shape: TypeAlias = "int | tuple[int, ...]"

_SPLIT, _FOLD = 1, 2
# less of the normal distribution between the bounds makes rejection slow
_LEAST_MASS = 0.01


# --- keys -----------------------------------------------------------------------------------


def key(seed: Any) -> Any:
    """A key made of a seed.

    Parameters
    ----------
    seed
        A non-negative integer of any size or a `numpy.random.SeedSequence`, whose hash the
        key is. An integer Tensor is recorded. A key is returned as it is.

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
            return _seeded(seed)
    elif isinstance(seed, int) and not isinstance(seed, bool):
        if seed < 0:
            raise ValueError(f"a key is made of a seed that is not negative; got {seed}")
        return _of_sequence(np.random.SeedSequence(seed))
    elif isinstance(seed, np.random.SeedSequence):
        return _of_sequence(seed)
    what = f"{seed.dtype} {seed.shape}" if hasattr(seed, "dtype") else repr(seed)
    raise TypeError(
        "a key is what tg.random.key, split or fold_in return, a non-negative integer or a numpy "
        f"SeedSequence; not {what}"
    )


def split(key: Any, n: int = 2) -> Any:
    """Several new keys made of one.

    Parameters
    ----------
    key
        The key; do not draw with it afterwards.
    n
        How many.

    Returns
    -------
    An array of shape (n, 2) with a key in each row, to be unpacked or indexed. The i-th
    is the same for every n.

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
    if not _is_count(n):
        raise ValueError(f"n is the number of new keys, a non-negative integer; not {n!r}")
    return _split(as_key(key), n=int(n))


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
        if not -(2**63) <= data < 2**64:
            raise OverflowError(f"fold_in takes an integer of 64 bits; {data} is too large")
        data = np.array(data % 2**64, np.uint64)
    elif not _is_integer(data) or np.shape(data) != ():
        raise TypeError(f"fold_in takes one integer, such as the number of a step; not {data!r}")
    return _folded_in(as_key(key), data)


as_key = key


# --- draws ----------------------------------------------------------------------------------


def uniform(
    key: Any, shape: Shape = (), low: Any = 0.0, high: Any = 1.0, dtype: npt.DTypeLike = float
) -> Any:
    """Uniform numbers from low (included) to high (excluded, up to rounding).

    Parameters
    ----------
    key
        The key.
    shape
        Of the result.
    low, high
        Numbers, arrays or Tensors that broadcast to the shape; gradients pass to them.
    dtype
        A floating dtype.

    Examples
    --------
    >>> import tapegrad as tg
    >>> x = tg.random.uniform(0, (2, 3), low=-1.0, high=1.0, dtype=np.float32)
    >>> x.shape, x.dtype, bool(np.all(np.abs(x) <= 1))
    ((2, 3), dtype('float32'), True)
    """
    shape, dtype = _shape(shape), _floating(dtype)
    _check_fits(shape, low=low, high=high)
    drawn = _uniform(as_key(key), shape=shape, dtype=dtype)
    if type(low) is type(high) is float and (low, high) == (0.0, 1.0):
        return drawn
    scaled = low + (high - low) * drawn
    return scaled if scaled.dtype == dtype else scaled.astype(dtype)


def normal(key: Any, shape: Shape = (), dtype: npt.DTypeLike = float) -> Any:
    """Normal numbers of mean 0 and variance 1.

    Parameters
    ----------
    key
        The key.
    shape
        Of the result.
    dtype
        A floating dtype.

    Examples
    --------
    >>> import tapegrad as tg
    >>> def loss(mean, scale):
    ...     return tg.sum(mean + scale * tg.random.normal(0, 3))
    >>> tg.grad(loss)(1.0, 2.0)
    array(3.)
    """
    return _normal(as_key(key), shape=_shape(shape), dtype=_floating(dtype))


def truncated_normal(
    key: Any,
    shape: Shape = (),
    low: float = -2.0,
    high: float = 2.0,
    dtype: npt.DTypeLike = float,
) -> Any:
    """Normal numbers between two bounds, by rejection.

    Parameters
    ----------
    key
        The key.
    shape
        Of the result.
    low, high
        The bounds, plain numbers, with at least 1% of the normal distribution between them.
    dtype
        A floating dtype.

    Raises
    ------
    ValueError
        If the bounds are too close together or too far out.

    Examples
    --------
    >>> import tapegrad as tg
    >>> bool(np.all(np.abs(tg.random.truncated_normal(0, 1000)) <= 2))
    True
    """
    low, high = float(low), float(high)
    mass = _below(high) - _below(low)
    if not mass >= _LEAST_MASS:
        raise ValueError(
            f"truncated_normal redraws what is not between {low} and {high}; only {mass:.2g} of "
            f"the distribution is, and {_LEAST_MASS} is needed"
        )
    return _truncated_normal(
        as_key(key), shape=_shape(shape), low=low, high=high, dtype=_floating(dtype)
    )


def bernoulli(key: Any, p: Any = 0.5, shape: Shape | None = None) -> Any:
    """Truth values, each True with probability p.

    Parameters
    ----------
    key
        The key.
    p
        A number, an array or a Tensor that broadcasts to the shape.
    shape
        Of the result; that of p by default.

    Raises
    ------
    ValueError
        If p is not from 0 to 1, also as a compiled program runs.

    Examples
    --------
    >>> import tapegrad as tg
    >>> tg.random.bernoulli(0, 1.0, (2,))
    array([ True,  True])
    """
    shape = np.shape(p) if shape is None else _shape(shape)
    _check_fits(shape, p=p)
    return _bernoulli(as_key(key), p, shape=shape)


def integers(
    key: Any, low: Any, high: Any, shape: Shape = (), dtype: npt.DTypeLike = np.int64
) -> Any:
    """Equally likely integers from low (included) to high (excluded).

    Parameters
    ----------
    key
        The key.
    low, high
        Integers, or integer arrays or Tensors that broadcast to the shape.
    shape
        Of the result.
    dtype
        An integer dtype.

    Raises
    ------
    ValueError
        If no number is from low up to high, or the dtype does not hold them.

    Examples
    --------
    >>> import tapegrad as tg
    >>> throws = tg.random.integers(0, 1, 7, 1000)
    >>> int(throws.min()), int(throws.max())
    (1, 6)
    """
    shape = _shape(shape)
    for name, end in {"low": low, "high": high}.items():
        if not _is_integer(end):
            raise TypeError(f"{name} is an integer, or an array of integers; not {end!r}")
    _check_fits(shape, low=low, high=high)
    if np.dtype(dtype).kind not in "iu":
        raise TypeError(f"an integer dtype is needed, not {dtype!r}")
    return _integers(as_key(key), low, high, shape=shape, dtype=np.dtype(dtype))


def permutation(key: Any, x: Any) -> Any:
    """The numbers from 0 to n - 1, or the rows of an array, in random order.

    Parameters
    ----------
    key
        The key.
    x
        The number n; or an array or a Tensor, whose rows are along the first axis.

    Examples
    --------
    >>> import tapegrad as tg
    >>> order = tg.random.permutation(0, 5)
    >>> sorted(order.tolist())
    [0, 1, 2, 3, 4]
    >>> tg.random.permutation(0, np.arange(5) * 10) == order * 10
    array([ True,  True,  True,  True,  True])
    """
    n, rows = _rows(x)
    order = _permutation(as_key(key), n=n)
    return order if rows is None else index_select(rows, order)


def choice(key: Any, x: Any, shape: Shape = (), replace: bool = True, p: Any = None) -> Any:
    """Random choices from the numbers 0 to n - 1, or from the rows of an array.

    Parameters
    ----------
    key
        The key.
    x
        The number n; or an array or a Tensor, whose rows are along the first axis.
    shape
        Of the choices.
    replace
        Whether an item may be chosen more than once.
    p
        The probability of each item, summing to 1; uniform by default.

    Raises
    ------
    ValueError
        If there is nothing to choose from, or too little without replacement, or the
        probabilities do not fit.

    Examples
    --------
    >>> import tapegrad as tg
    >>> tg.random.choice(0, np.array([10.0, 20.0]), 3, p=np.array([0.0, 1.0]))
    array([20., 20., 20.])
    """
    n, rows = _rows(x)
    # operands are arrays: an empty one stands for no probabilities
    chosen = _choice(
        as_key(key), np.empty(0) if p is None else p, n=n, shape=_shape(shape), replace=replace
    )
    return chosen if rows is None else index_select(rows, chosen)


# --- what draws are recorded as ---------------------------------------------------------------


def _drawing(n_operands: int) -> Callable[[Callable[..., Any]], Op[...]]:
    """An op of this module, with the key for its first operand and no derivative."""

    def declare(forward: Callable[..., Any]) -> Op[...]:
        rules = (None,) * n_operands
        name = forward.__name__.strip("_")
        return Op(name, forward, rules, by_transposing, declared=forward)

    return declare


@_drawing(1)
def _seeded(seed: Any) -> Any:
    return _of_sequence(np.random.SeedSequence(int(seed)))


@_drawing(1)
def _split(key: Any, *, n: int) -> Any:
    return _blocks(key, (0, 0, 0, _SPLIT), n)


@_drawing(2)
def _folded_in(key: Any, data: Any) -> Any:
    return _blocks(key, (int(data) % 2**64, 0, 0, _FOLD), 1)[0]


@_drawing(1)
def _uniform(key: Any, *, shape: tuple[int, ...], dtype: Any) -> Any:
    if dtype == np.float16:
        # rounding float32 could give 1
        return (_generator(key).integers(0, 2**11, shape) * 2.0**-11).astype(dtype)
    return _drawn(_generator(key).random, shape, dtype)


@_drawing(1)
def _normal(key: Any, *, shape: tuple[int, ...], dtype: Any) -> Any:
    return _drawn(_generator(key).standard_normal, shape, dtype)


@_drawing(1)
def _truncated_normal(
    key: Any, *, shape: tuple[int, ...], low: float, high: float, dtype: Any
) -> Any:
    generator = _generator(key)
    drawn = _drawn(generator.standard_normal, shape, dtype)
    flat = drawn.reshape(-1)
    while (outside := np.flatnonzero((flat < low) | (flat > high))).size:
        flat[outside] = _drawn(generator.standard_normal, outside.shape, dtype)
    return drawn


@_drawing(2)
def _bernoulli(key: Any, p: Any, *, shape: tuple[int, ...]) -> Any:
    if not np.all(np.less_equal(0, p) & np.less_equal(p, 1)):
        raise ValueError(f"a probability is from 0 to 1; p is {p}")
    return np.asarray(_generator(key).random(shape) < p)


@_drawing(3)
def _integers(key: Any, low: Any, high: Any, *, shape: tuple[int, ...], dtype: Any) -> Any:
    return np.asarray(_generator(key).integers(low, high, shape, dtype))


@_drawing(1)
def _permutation(key: Any, *, n: int) -> Any:
    return _generator(key).permutation(n)


@_drawing(2)
def _choice(key: Any, p: Any, *, n: int, shape: tuple[int, ...], replace: bool) -> Any:
    weights = p if np.size(p) or not n else None
    return np.asarray(_generator(key).choice(n, shape, replace, weights))


def _of_sequence(sequence: np.random.SeedSequence) -> Array:
    return give(sequence.generate_state(2, np.uint64))


def _generator(key: Any) -> Generator:
    return np.random.Generator(np.random.Philox(key=key))


def _blocks(key: Any, counter: tuple[int, ...], n: int) -> Array:
    """The first half of each of the n blocks of Philox that follow a counter."""
    philox = np.random.Philox(key=key, counter=np.array(counter, np.uint64))
    return give(philox.random_raw(4 * n).reshape(n, 4)[:, :2].copy())


def _drawn(draw: Callable[..., Array], shape: tuple[int, ...], dtype: Any) -> Array:
    """The dtype to draw in: float32, or float64."""
    native = np.float32 if dtype.itemsize <= 4 else np.float64
    return draw(shape, native).astype(dtype, copy=False)


# --- arguments --------------------------------------------------------------------------------


def _is_count(n: Any) -> bool:
    return isinstance(n, int | np.integer) and not isinstance(n, bool) and bool(n >= 0)


def _is_integer(x: Any) -> bool:
    if isinstance(x, bool) or not isinstance(x, int | np.generic | np.ndarray | Tensor):
        return False
    return isinstance(x, int) or x.dtype.kind in "iu"


def _shape(shape: Any) -> tuple[int, ...]:
    sides = (shape,) if _is_count(shape) else shape
    if not isinstance(sides, tuple | list) or not all(map(_is_count, sides)):
        raise ValueError(f"a shape is a tuple of non-negative integers; not {shape!r}")
    return tuple(map(int, sides))


def _floating(dtype: Any) -> np.dtype[Any]:
    made: np.dtype[Any] = np.dtype(dtype)
    if made.kind != "f":
        raise TypeError(f"a floating dtype such as float32 or float64 is needed; not {made}")
    return made


def _check_fits(shape: tuple[int, ...], **given: Any) -> None:
    """Raise where NumPy would broadcast the draws, and repeat them."""
    for name, x in given.items():
        fits = np.ndim(x) <= len(shape) and all(
            side in (1, whole) for side, whole in zip(np.shape(x)[::-1], shape[::-1], strict=False)
        )
        if not fits:
            raise ValueError(f"{name} has shape {np.shape(x)}, which does not broadcast to {shape}")


def _rows(x: Any) -> tuple[int, Any]:
    """How many there are to choose from, and the array that they are rows of."""
    if isinstance(x, list | tuple):
        x = np.asarray(x)
    if np.ndim(x):
        return len(x), x
    n = x.__index__() if _is_integer(x) else None
    if n is None or n < 0:
        raise TypeError(f"an integer or an array to choose from is needed, not {x!r}")
    return n, None


def _below(x: float) -> float:
    """How much of the normal distribution is below x."""
    return (1 + math.erf(x / math.sqrt(2))) / 2
