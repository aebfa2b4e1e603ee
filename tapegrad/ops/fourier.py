"""Discrete Fourier transforms along one axis, of which those along several are composed."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.lib.array_utils import normalize_axis_index

from tapegrad.core.forward import linear
from tapegrad.declare import op
from tapegrad.declare.batching import along_axis
from tapegrad.declare.domain import Call, Choices
from tapegrad.ops.indexing import scatter

__all__ = ["fft", "ifft", "irfft", "rfft"]

_SWAPPED = {None: "forward", "backward": "forward", "ortho": "ortho", "forward": "backward"}
NORMS = (None, "backward", "ortho", "forward")


def swapped(norm: Any) -> Any:
    """The norm whose forward factor is the backward factor of another, and the reverse."""
    if norm not in _SWAPPED:
        raise ValueError(f"norm is None, 'backward', 'ortho' or 'forward', not {norm!r}")
    return _SWAPPED[norm]


def _fitted(c: Any, n: int, axis: int) -> Any:
    """The first n elements along an axis, zeros where there are fewer."""
    axis = normalize_axis_index(axis, c.ndim)
    m = c.shape[axis]
    if n == m:
        return c
    before = (slice(None),) * axis
    if n < m:
        return c[(*before, slice(n))]
    shape = (*c.shape[:axis], n, *c.shape[axis + 1 :])
    return scatter(c, shape=shape, index=(*before, slice(m)))


def _inner(c: Any, n: int, axis: int, factor: float) -> Any:
    """Bins, of which those that stand for two of the n of a whole transform are multiplied."""
    axis = normalize_axis_index(axis, c.ndim)
    factors = np.full(c.shape[axis], factor, np.finfo(c.dtype).dtype)
    factors[0] = 1
    if n % 2 == 0:
        factors[-1] = 1
    return c * factors.reshape(-1, *(1,) * (c.ndim - 1 - axis))


def _calls(choose: Choices) -> Call:
    a = choose.array(choose.shape(min_dims=1, min_side=1, max_side=4))
    axis = choose.axis(a.ndim)
    n = choose.among([None, choose.integer(1, 6)])
    return Call((a,), {"n": n, "axis": axis, "norm": choose.among(NORMS)})


def _halves(choose: Choices) -> Call:
    """Calls on the first half of the bins, which stand for one number at least."""
    call = _calls(choose)
    one = call.kwargs["n"] is None and call.args[0].shape[call.kwargs["axis"]] == 1
    return Call(call.args, {**call.kwargs, "n": 1}, needed=("n", "axis")) if one else call


def _fft_vjp(g: Any, y: Any, a: Any, n: Any = None, axis: int = -1, norm: Any = None) -> Any:
    # the matrix of a transform is symmetric
    return _fitted(fft(g, axis=axis, norm=norm), a.shape[axis], axis)


@op(
    _fft_vjp,
    numpy=np.fft.fft,
    domain=_calls,
    jvp=linear,
    batch=along_axis,
    adds=True,
    complex=True,
)
def fft(a: Any, n: int | None = None, axis: int = -1, norm: Any = None) -> Any:
    """The discrete Fourier transform along an axis.

    Parameters
    ----------
    a
        Real or complex numbers. Those of float32 and float16 become complex64.
    n
        The length of the transform: the axis is cropped to it, or padded with zeros. By default
        it is the axis's own.
    axis
        The axis, the last by default.
    norm
        Where the factor ``1 / n`` is: ``"backward"`` (the default) in `ifft`, ``"forward"`` here,
        ``"ortho"`` its root in each.

    Raises
    ------
    ValueError
        If the length is less than 1, or for another norm.

    Examples
    --------
    >>> import tapegrad as tg
    >>> tg.fft.fft(np.array([1.0, 0.0, 0.0]))
    array([1.+0.j, 1.+0.j, 1.+0.j])
    >>> tg.grad(lambda x: np.sum(np.abs(tg.fft.fft(x)) ** 2))(np.array([1.0, 2.0]))
    array([4., 8.])
    """
    return np.fft.fft(a, n, axis, norm)


def _ifft_vjp(g: Any, y: Any, a: Any, n: Any = None, axis: int = -1, norm: Any = None) -> Any:
    return _fitted(ifft(g, axis=axis, norm=norm), a.shape[axis], axis)


@op(
    _ifft_vjp,
    numpy=np.fft.ifft,
    domain=_calls,
    jvp=linear,
    batch=along_axis,
    adds=True,
    complex=True,
)
def ifft(a: Any, n: int | None = None, axis: int = -1, norm: Any = None) -> Any:
    """The inverse of `fft`, which has its parameters.

    Examples
    --------
    >>> import tapegrad as tg
    >>> tg.fft.ifft(np.array([2.0, 0.0]))
    array([1.+0.j, 1.+0.j])
    """
    return np.fft.ifft(a, n, axis, norm)


def _rfft_vjp(
    g: Any, y: Any, a: Any, n: int | None = None, axis: int = -1, norm: Any = None
) -> Any:
    m = a.shape[axis]
    n = m if n is None else n
    halved = _inner(np.conj(g), n, axis, 0.5)
    return _fitted(irfft(halved, n=n, axis=axis, norm=swapped(norm)), m, axis)


@op(
    _rfft_vjp,
    numpy=np.fft.rfft,
    domain=_calls,
    jvp=linear,
    batch=along_axis,
    adds=True,
)
def rfft(a: Any, n: int | None = None, axis: int = -1, norm: Any = None) -> Any:
    """The first half of the `fft` of real numbers, ``n // 2 + 1`` bins, which determines the rest.

    Examples
    --------
    >>> import tapegrad as tg
    >>> tg.fft.rfft(np.array([1.0, 0.0, 0.0, 0.0]))
    array([1.+0.j, 1.+0.j, 1.+0.j])
    >>> tg.grad(lambda x: np.sum(np.abs(tg.fft.rfft(x)) ** 2))(np.array([1.0, 2.0]))
    array([4., 8.])
    """
    return np.fft.rfft(a, n, axis, norm)


def _irfft_vjp(
    g: Any, y: Any, a: Any, n: int | None = None, axis: int = -1, norm: Any = None
) -> Any:
    n = y.shape[axis]
    bins = _inner(np.conj(rfft(g, axis=axis, norm=swapped(norm))), n, axis, 2.0)
    return _fitted(bins, a.shape[axis], axis)


@op(
    _irfft_vjp,
    numpy=np.fft.irfft,
    domain=_halves,
    jvp=linear,
    batch=along_axis,
    adds=True,
    complex=True,
)
def irfft(a: Any, n: int | None = None, axis: int = -1, norm: Any = None) -> Any:
    """The inverse of `rfft`: real numbers, from the first half of their transform.

    Parameters
    ----------
    a
        The bins. Imaginary parts of the first, and of the last if the length is even, are ignored,
        and get no gradient.
    n
        The length of the result, by default the even one, twice the number of bins less 2.
    axis, norm
        As in `fft`.

    Examples
    --------
    >>> import tapegrad as tg
    >>> tg.fft.irfft(np.array([2.0, 1.0]), 3)
    array([1.33333333, 0.33333333, 0.33333333])
    >>> gradient = tg.grad(lambda z: np.sum(tg.fft.irfft(z) ** 2))(np.full(3, 1 + 1j))
    >>> gradient.real, abs(gradient.imag)
    (array([0.5, 1. , 0.5]), array([0., 1., 0.]))
    """
    if n is not None and 0 in np.shape(a) and np.shape(a)[axis] == 0:
        # NumPy leaves the result of no bins as it finds the memory
        a = _fitted(a, 1, axis)
    return np.fft.irfft(a, n, axis, norm)
