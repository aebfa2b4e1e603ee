"""Discrete Fourier transforms, along one axis and along several."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal, TypeAlias

import numpy as np
from numpy.lib.array_utils import normalize_axis_index

from tapegrad.core.forward import apply
from tapegrad.core.op import Op
from tapegrad.core.primitive import Primitive
from tapegrad.declare import OPS, linear_op
from tapegrad.declare.batching import Batched, batch_along_axis
from tapegrad.ops.indexing import scatter
from tapegrad.types import Array, ArrayLike, Cotangent

__all__ = ["fft", "ifft", "irfft", "rfft"]

Norm: TypeAlias = Literal["backward", "ortho", "forward"] | None

_SWAPPED: dict[Norm, Norm] = {
    None: "forward",
    "backward": "forward",
    "ortho": "ortho",
    "forward": "backward",
}


def swap_norm(norm: Norm) -> Norm:
    """Return the norm with the forward and backward factors exchanged."""
    if norm not in _SWAPPED:
        raise ValueError(f"norm must be None, 'backward', 'ortho' or 'forward', not {norm!r}")
    return _SWAPPED[norm]


def crop_or_pad(c: Array, shape: tuple[int, ...]) -> Array:
    """Crop an array to a shape, or pad it with zeros, at the end of each axis."""
    if c.shape == shape:
        return c
    index = tuple([slice(min(n, m)) for n, m in zip(c.shape, shape, strict=True)])
    if any(n < m for n, m in zip(shape, c.shape, strict=True)):
        c = c[index]
    return c if c.shape == shape else scatter(c, shape=shape, index=index)


def _pull_back(name: str, g: Cotangent, a: Array, **options: Any) -> Cotangent:
    """Return the cotangent of an array, by a transform of its transform's cotangent."""
    explicit = {option: x for option, x in options.items() if not (x is None or x is False)}
    return crop_or_pad(apply(OPS[name], (g,), explicit), a.shape)


@linear_op(
    lambda g, y, a, n=None, axis=-1, norm=None: _pull_back("fft", g, a, axis=axis, norm=norm),
    numpy=np.fft.fft,
    batch=batch_along_axis,
    adds=True,
)
def fft(a: ArrayLike, n: int | None = None, axis: int = -1, norm: Norm = None) -> Array:
    """The discrete Fourier transform along an axis.

    Parameters
    ----------
    a
        Real or complex numbers; float32 and float16 become complex64.
    n
        The length of the transform, to which the axis is cropped or padded with zeros; by default
        the length of the axis.
    axis
        The axis, the last by default.
    norm
        The place of the factor ``1 / n``: ``"backward"`` (the default) in `ifft`, ``"forward"``
        here, ``"ortho"`` with its root in each.

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


@linear_op(
    lambda g, y, a, n=None, axis=-1, norm=None: _pull_back("ifft", g, a, axis=axis, norm=norm),
    numpy=np.fft.ifft,
    batch=batch_along_axis,
    adds=True,
)
def ifft(a: ArrayLike, n: int | None = None, axis: int = -1, norm: Norm = None) -> Array:
    """The inverse of `fft`, which has its parameters.

    Examples
    --------
    >>> import tapegrad as tg
    >>> tg.fft.ifft(np.array([2.0, 0.0]))
    array([1.+0.j, 1.+0.j])
    """
    return np.fft.ifft(a, n, axis, norm)


def _rfft_vjp(
    g: Cotangent,
    y: Array,
    a: Array,
    n: int | None = None,
    axis: int = -1,
    norm: Norm = None,
) -> Cotangent:
    s, axes = (a.shape[axis] if n is None else n,), (normalize_axis_index(axis, a.ndim),)
    return _pull_back("irfft_axes", g, a, s=s, axes=axes, norm=swap_norm(norm), transposed=True)


@linear_op(_rfft_vjp, numpy=np.fft.rfft, batch=batch_along_axis, adds=True, complex=False)
def rfft(a: ArrayLike, n: int | None = None, axis: int = -1, norm: Norm = None) -> Array:
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
    g: Cotangent,
    y: Array,
    a: Array,
    n: int | None = None,
    axis: int = -1,
    norm: Norm = None,
) -> Cotangent:
    s, axes = (y.shape[axis],), (normalize_axis_index(axis, a.ndim),)
    return _pull_back("rfft_axes", g, a, s=s, axes=axes, norm=swap_norm(norm), transposed=True)


@linear_op(_irfft_vjp, numpy=np.fft.irfft, batch=batch_along_axis, adds=True)
def irfft(a: ArrayLike, n: int | None = None, axis: int = -1, norm: Norm = None) -> Array:
    """The inverse of `rfft`: real numbers, from the first half of their transform.

    Parameters
    ----------
    a
        The bins. Imaginary parts of the first, and of the last if the length is even, are ignored,
        and get no gradient.
    n
        The length of the result; by default the even one of the two possible, twice the number of
        bins less 2.
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
        # without bins, NumPy does not initialize the result
        shape = list(np.shape(a))
        shape[axis] = 1
        a = np.zeros(shape, np.result_type(a))
    return np.fft.irfft(a, n, axis, norm)


# --- along several axes ---------------------------------------------------------------------


def _transform_axis(
    transform: Op[Any],
    a: Array,
    n: int,
    axis: int,
    norm: Norm,
    overwrite: bool = False,
) -> Array:
    """Transform along an axis, in the operand's memory if `overwrite` and it fits."""
    if type(a) is not np.ndarray:
        return transform(a, n=n, axis=axis, norm=norm)
    if overwrite and n == a.shape[axis]:
        return getattr(np.fft, transform.name)(a, n, axis, norm, a)
    return transform.forward(a, n, axis, norm)


def _transform_each_axis(
    transform: Op[Any],
    a: Array,
    s: Sequence[int],
    axes: Sequence[int],
    norm: Norm,
    overwrite: bool = False,
) -> Array:
    """Transform along axes, one after the other."""
    for n, axis in zip(s, axes, strict=True):
        a, overwrite = _transform_axis(transform, a, n, axis, norm, overwrite), True
    return a


def _conjugate_and_weight(c: Array, n: int, axis: int, factor: float, overwrite: bool) -> Array:
    """Conjugate bins, and multiply each bin that stands for two of n by a factor."""
    factors = np.full(c.shape[axis], factor, c.dtype.char.lower())
    factors[0] = 1
    factors[(n + 1) // 2 :] = 1
    after = c.ndim - 1 - axis
    factors = factors.reshape(-1, *(1,) * after) if after else factors
    if overwrite and type(c) is np.ndarray:
        # the same as below, for infinities too
        return np.multiply(np.conj(c, c), factors, c)
    return np.conj(c) * factors


def batch_transform_axes(op: Primitive, batched: Batched, a: Array, **options: Any) -> Array:
    """Batch a transform along several axes, by the axes after the batch axis."""
    return apply(op, (a,), {**options, "axes": tuple([i + 1 for i in options["axes"]])})


_MULTI_AXIS: dict[str, Any] = {"batch": batch_transform_axes, "adds": True, "composite": True}


@linear_op(
    lambda g, y, a, s, axes, norm=None: _pull_back("fft_axes", g, a, s=s, axes=axes, norm=norm),
    name="fftn",
    **_MULTI_AXIS,
)
def fft_axes(a: Array, s: Sequence[int], axes: Sequence[int], norm: Norm = None) -> Array:
    """The `fft` along several axes, each with its length, the last one first."""
    return _transform_each_axis(fft, a, s[::-1], axes[::-1], norm)


@linear_op(
    lambda g, y, a, s, axes, norm=None: _pull_back("ifft_axes", g, a, s=s, axes=axes, norm=norm),
    name="ifftn",
    **_MULTI_AXIS,
)
def ifft_axes(a: Array, s: Sequence[int], axes: Sequence[int], norm: Norm = None) -> Array:
    """The `ifft` along several axes, each with its length, the last one first."""
    return _transform_each_axis(ifft, a, s[::-1], axes[::-1], norm)


@linear_op(
    lambda g, y, a, s, axes, norm=None, transposed=False: _pull_back(
        "irfft_axes", g, a, s=s, axes=axes, norm=swap_norm(norm), transposed=not transposed
    ),
    name="rfftn",
    complex=False,
    **_MULTI_AXIS,
)
def rfft_axes(
    a: Array, s: Sequence[int], axes: Sequence[int], norm: Norm = None, transposed: bool = False
) -> Array:
    """The `rfft` along the last of several axes, then the `fft` along the others.

    If `transposed`, the adjoint of `irfft_axes` with the other norm: the bins are conjugated, and a
    bin that stands for two numbers counts twice.
    """
    a = _transform_axis(rfft, a, s[-1], axes[-1], norm)
    a = _transform_each_axis(fft, a, s[-2::-1], axes[-2::-1], norm, True)
    return _conjugate_and_weight(a, s[-1], axes[-1], 2.0, True) if transposed else a


@linear_op(
    lambda g, y, a, s, axes, norm=None, transposed=False: _pull_back(
        "rfft_axes", g, a, s=s, axes=axes, norm=swap_norm(norm), transposed=not transposed
    ),
    name="irfftn",
    **_MULTI_AXIS,
)
def irfft_axes(
    a: Array, s: Sequence[int], axes: Sequence[int], norm: Norm = None, transposed: bool = False
) -> Array:
    """The `ifft` along all but the last of several axes, then the `irfft` along the last.

    If `transposed`, the adjoint of `rfft_axes` with the other norm: the bins are conjugated, and a
    bin that stands for two numbers counts half.
    """
    if transposed:
        # conjugate after transforming the other axes, in their memory; so they use fft
        a = _transform_each_axis(fft, a, s[:-1], axes[:-1], swap_norm(norm))
        a = _conjugate_and_weight(a, s[-1], axes[-1], 0.5, len(axes) > 1)
    else:
        a = _transform_each_axis(ifft, a, s[:-1], axes[:-1], norm)
    return _transform_axis(irfft, a, s[-1], axes[-1], norm)
