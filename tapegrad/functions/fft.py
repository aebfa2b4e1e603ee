"""The functions of ``np.fft``: transforms along one axis or several, and shifts."""

from __future__ import annotations

import operator
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.lib.array_utils import normalize_axis_index

from tapegrad.core.op import Op
from tapegrad.declare import function
from tapegrad.errors.names import list_names
from tapegrad.ops.casting import to_array
from tapegrad.ops.fourier import Norm, fft_axes, ifft_axes, irfft_axes, rfft_axes, swap_norm
from tapegrad.ops.fourier import fft as fft
from tapegrad.ops.fourier import ifft as ifft
from tapegrad.ops.fourier import irfft as irfft
from tapegrad.ops.fourier import rfft as rfft
from tapegrad.types import Array, ArrayLike, Axis

__all__ = ["fft", "fft2", "fftn", "fftshift", "hfft", "ifft", "ifft2", "ifftn"]
__all__ += ["ifftshift", "ihfft", "irfft", "irfft2", "irfftn", "rfft", "rfft2", "rfftn"]
list_names(globals(), "fft")


def _shift_by_half(x: ArrayLike, axes: Axis, sign: int) -> Array:
    """Roll each axis by half of its length, forward or backward by the sign."""
    x = to_array(x)
    shift_axes: Any = range(x.ndim) if axes is None else axes
    if np.ndim(shift_axes) == 0:
        return np.roll(x, sign * (x.shape[shift_axes] // 2), shift_axes)
    return np.roll(x, tuple(sign * (x.shape[i] // 2) for i in shift_axes), tuple(shift_axes))


@function(numpy=np.fft.fftshift, complex=True)
def fftshift(x: ArrayLike, axes: Axis = None) -> Array:
    """The array with frequency 0 moved from the first place to the middle, along axes or all.

    Examples
    --------
    >>> import tapegrad as tg
    >>> tg.fft.fftshift(np.array([0, 1, 2, -2, -1]))
    array([-2, -1,  0,  1,  2])
    """
    return _shift_by_half(x, axes, 1)


@function(numpy=np.fft.ifftshift, complex=True)
def ifftshift(x: ArrayLike, axes: Axis = None) -> Array:
    """The array with frequency 0 moved back from the middle to the first place, along axes or all.

    Examples
    --------
    >>> import tapegrad as tg
    >>> tg.fft.ifftshift(np.array([-2, -1, 0, 1, 2]))
    array([ 0,  1,  2, -2, -1])
    """
    return _shift_by_half(x, axes, -1)


# --- transforms along several axes ----------------------------------------------------------


def _transform_axes(
    transform: Op[Any],
    a: ArrayLike,
    s: Sequence[int] | None,
    axes: Sequence[int] | None,
    norm: Norm,
) -> Array:
    """Transform several axes, with NumPy's defaults for lengths and axes."""
    a = to_array(a)
    if axes is None:
        axes = range(-a.ndim if s is None else -len(s), 0)
    axes = tuple([normalize_axis_index(i, a.ndim) for i in axes])
    sizes = [a.shape[i] for i in axes]
    if s is None:
        lengths = sizes if transform is not irfft_axes else [*sizes[:-1], (sizes[-1] - 1) * 2]
    elif len(s) != len(sizes):
        raise ValueError(f"s and axes must have the same length; got {len(s)} and {len(sizes)}")
    else:
        lengths = [m if n == -1 else operator.index(n) for n, m in zip(s, sizes, strict=True)]
    if len(set(axes)) == len(axes) > 1:
        return transform(a, s=tuple(lengths), axes=axes, norm=norm)
    # fewer than two axes, or an axis named twice; without axes the result is still an array
    transformed = transform.forward(a, lengths, axes, norm)
    return transformed if axes else transformed[...]


@function(numpy=np.fft.fftn, complex=True)
def fftn(
    a: ArrayLike,
    s: Sequence[int] | None = None,
    axes: Sequence[int] | None = None,
    norm: Norm = None,
) -> Array:
    """The `fft` along several axes, or all.

    Parameters
    ----------
    a
        Real or complex numbers.
    s
        The length of the transform along each axis, which is cropped or padded with zeros to it;
        -1 keeps the axis's length.
    axes
        The axes; by default all, or with `s` the last ones, as many as it has lengths.
    norm
        As in `fft`.

    Raises
    ------
    ValueError
        If there are not as many lengths as axes.

    Examples
    --------
    >>> import tapegrad as tg
    >>> tg.fft.fftn(np.eye(2))
    array([[2.+0.j, 0.+0.j],
           [0.+0.j, 2.+0.j]])
    """
    return _transform_axes(fft_axes, a, s, axes, norm)


@function(numpy=np.fft.ifftn, complex=True)
def ifftn(
    a: ArrayLike,
    s: Sequence[int] | None = None,
    axes: Sequence[int] | None = None,
    norm: Norm = None,
) -> Array:
    """The inverse of `fftn`, which has its parameters.

    Examples
    --------
    >>> import tapegrad as tg
    >>> tg.fft.ifftn(2 * np.eye(2))
    array([[1.+0.j, 0.+0.j],
           [0.+0.j, 1.+0.j]])
    """
    return _transform_axes(ifft_axes, a, s, axes, norm)


@function(numpy=np.fft.fft2, complex=True)
def fft2(
    a: ArrayLike, s: Sequence[int] | None = None, axes: Sequence[int] = (-2, -1), norm: Norm = None
) -> Array:
    """The `fftn` along two axes, the last ones by default.

    Examples
    --------
    >>> import tapegrad as tg
    >>> tg.fft.fft2(np.eye(2))
    array([[2.+0.j, 0.+0.j],
           [0.+0.j, 2.+0.j]])
    """
    return _transform_axes(fft_axes, a, s, axes, norm)


@function(numpy=np.fft.ifft2, complex=True)
def ifft2(
    a: ArrayLike, s: Sequence[int] | None = None, axes: Sequence[int] = (-2, -1), norm: Norm = None
) -> Array:
    """The inverse of `fft2`, which has its parameters.

    Examples
    --------
    >>> import tapegrad as tg
    >>> tg.fft.ifft2(2 * np.eye(2))
    array([[1.+0.j, 0.+0.j],
           [0.+0.j, 1.+0.j]])
    """
    return _transform_axes(ifft_axes, a, s, axes, norm)


@function(numpy=np.fft.rfftn)
def rfftn(
    a: ArrayLike,
    s: Sequence[int] | None = None,
    axes: Sequence[int] | None = None,
    norm: Norm = None,
) -> Array:
    """The `fftn` of real numbers; its last axis keeps the first half of the bins, as in `rfft`.

    Examples
    --------
    >>> import tapegrad as tg
    >>> tg.fft.rfftn(np.eye(3)).shape
    (3, 2)
    """
    return _transform_axes(rfft_axes, a, s, axes, norm)


@function(numpy=np.fft.irfftn, complex=True)
def irfftn(
    a: ArrayLike,
    s: Sequence[int] | None = None,
    axes: Sequence[int] | None = None,
    norm: Norm = None,
) -> Array:
    """The inverse of `rfftn`: real numbers, of an even length along the last axis by default.

    Examples
    --------
    >>> import tapegrad as tg
    >>> tg.fft.irfftn(tg.fft.rfftn(np.eye(3)), (3, 3), (0, 1)).round(12)
    array([[1., 0., 0.],
           [0., 1., 0.],
           [0., 0., 1.]])
    """
    return _transform_axes(irfft_axes, a, s, axes, norm)


@function(numpy=np.fft.rfft2)
def rfft2(
    a: ArrayLike, s: Sequence[int] | None = None, axes: Sequence[int] = (-2, -1), norm: Norm = None
) -> Array:
    """The `rfftn` along two axes, the last ones by default.

    Examples
    --------
    >>> import tapegrad as tg
    >>> tg.fft.rfft2(np.eye(2))
    array([[2.+0.j, 0.+0.j],
           [0.+0.j, 2.+0.j]])
    """
    return _transform_axes(rfft_axes, a, s, axes, norm)


@function(numpy=np.fft.irfft2, complex=True)
def irfft2(
    a: ArrayLike, s: Sequence[int] | None = None, axes: Sequence[int] = (-2, -1), norm: Norm = None
) -> Array:
    """The inverse of `rfft2`, which has its parameters.

    Examples
    --------
    >>> import tapegrad as tg
    >>> tg.fft.irfft2(2 * np.eye(2))
    array([[1., 0.],
           [0., 1.]])
    """
    return _transform_axes(irfft_axes, a, s, axes, norm)


# --- transforms of symmetric signals --------------------------------------------------------


@function(numpy=np.fft.hfft, complex=True)
def hfft(a: ArrayLike, n: int | None = None, axis: int = -1, norm: Norm = None) -> Array:
    """The `fft` of a signal that is its own conjugate in reverse, from its first half: real bins.

    Parameters
    ----------
    a
        The first half of the signal.
    n
        The length of the result; by default the even one of the two possible, as in `irfft`.
    axis, norm
        As in `fft`.

    Examples
    --------
    >>> import tapegrad as tg
    >>> tg.fft.hfft(np.array([1.0, 1j, 0.0]))
    array([ 1.,  3.,  1., -1.])
    """
    return irfft(np.conj(to_array(a)), n=n, axis=axis, norm=swap_norm(norm))


@function(numpy=np.fft.ihfft)
def ihfft(a: ArrayLike, n: int | None = None, axis: int = -1, norm: Norm = None) -> Array:
    """The inverse of `hfft`: from a signal's `fft`, in real numbers, the first half of the signal.

    Examples
    --------
    >>> import tapegrad as tg
    >>> tg.fft.ihfft(np.array([1.0, 3.0, 1.0, -1.0]))
    array([1.-0.j, 0.+1.j, 0.-0.j])
    """
    return np.conj(rfft(to_array(a), n=n, axis=axis, norm=swap_norm(norm)))
