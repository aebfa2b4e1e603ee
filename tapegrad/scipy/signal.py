"""Convolutions and filters, as in `scipy.signal`."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from scipy import signal as _scipy

from tapegrad.core.forward import apply
from tapegrad.core.primitive import Primitive
from tapegrad.declare import op
from tapegrad.declare.batching import Batched, OneByOneError, batch_axis, repeat_all_for_batch
from tapegrad.errors.names import list_names
from tapegrad.functions.padding import pad
from tapegrad.ops.casting import as_floating, conjugate_of, to_array
from tapegrad.ops.indexing import scatter
from tapegrad.ops.window import add_patches, patches
from tapegrad.scipy._options import with_scipy_parameters
from tapegrad.types import Array, ArrayLike, Axis, Cotangent

__all__ = ["convolve", "convolve2d", "correlate", "correlate2d", "detrend", "fftconvolve"]
__all__ += ["filtfilt", "hilbert", "istft", "lfilter", "savgol_filter", "sosfilt", "stft"]
list_names(globals())

_like_scipy = with_scipy_parameters(_scipy, for_tensors=True)

# --- convolutions ---------------------------------------------------------------------------


def _convolve_vjp(
    g: Cotangent,
    x: Array,
    other: Array,
    swapped: bool,
    mode: str,
    method: str,
    axes: tuple[int, ...] | None,
) -> Cotangent:
    """The cotangent of x, from the cotangents of all positions where the two overlap."""
    along = range(x.ndim) if axes is None else axes
    if not g.size:
        return np.zeros(x.shape, x.dtype)
    full, index = list(g.shape), [slice(None)] * g.ndim
    for i in along:
        n, m = x.shape[i], other.shape[i]
        # "same" is as long as the first operand
        second = n if swapped else m
        start = {"full": 0, "same": (second - 1) // 2, "valid": min(n, m) - 1}[mode]
        full[i], index[i] = n + m - 1, slice(start, start + g.shape[i])
    everywhere = scatter(g, shape=tuple(full), index=tuple(index))
    back = other[tuple([slice(None, None, -1 if i in along else None) for i in range(x.ndim)])]
    return _convolve(everywhere, back, "valid", method, axes)


def _convolve_batch(
    op: Primitive,
    batched: Batched,
    a: Array,
    b: Array,
    mode: str,
    method: str,
    axes: tuple[int, ...] | None,
) -> Array:
    if axes is None:
        raise OneByOneError
    # SciPy's result is as long as the first operand along other axes too
    a, b = repeat_all_for_batch(batched, (a, b))
    moved = tuple([i + 1 for i in axes])
    return apply(op, (a, b), {"mode": mode, "method": method, "axes": moved})


@op(
    lambda g, y, a, b, mode, method, axes: _convolve_vjp(g, a, b, False, mode, method, axes),
    lambda g, y, a, b, mode, method, axes: _convolve_vjp(g, b, a, True, mode, method, axes),
    name="convolve",
    scipy="",
    batch=_convolve_batch,
    complex=True,
    adds=True,
)
def _convolve(a: Array, b: Array, mode: str, method: str, axes: tuple[int, ...] | None) -> Array:
    """A convolution by SciPy: along some axes by the FFT, or along all by `method`.

    Directly and along several axes, NumPy is ten times as fast.
    """
    if mode == "valid" and method == "direct" and a.ndim > 1:
        a, b = (b, a) if a.size < b.size else (a, b)
        first, last = range(a.ndim), range(a.ndim, 2 * a.ndim)
        windows = sliding_window_view(a, b.shape)
        return np.einsum(windows, [*first, *last], np.flip(b), last, first)
    if axes is None:
        return _scipy.convolve(a, b, mode, method)
    return _scipy.fftconvolve(a, b, mode, axes)


def _check_operands(
    name: str, in1: ArrayLike, in2: ArrayLike, *options: Any
) -> tuple[Array, Array]:
    """The operands, unless SciPy refuses their numbers of axes or the options."""
    a, b = as_floating(in1, complex=True), as_floating(in2, complex=True)
    getattr(_scipy, name)(np.zeros((1,) * a.ndim), np.zeros((1,) * b.ndim), *options)
    return a, b


@_like_scipy
def convolve(in1: ArrayLike, in2: ArrayLike, mode: str, method: str) -> Array:
    """`scipy.signal.convolve`: the convolution of two arrays with the same number of axes.

    Parameters
    ----------
    in1, in2
        The arrays, real or complex.
    mode
        ``"full"`` for all positions where they overlap, ``"valid"`` for positions of complete
        overlap, ``"same"`` for the middle positions, as many as `in1` has.
    method
        ``"direct"``, ``"fft"``, or ``"auto"`` for the faster one.

    Raises
    ------
    ValueError
        If they have different numbers of axes, for another mode or method, and for
        ``mode="valid"`` if neither is at least as long as the other along every axis.

    Examples
    --------
    >>> import tapegrad as tg
    >>> from tapegrad.scipy.signal import convolve
    >>> tg.grad(lambda x: tg.sum(convolve(x, [1.0, 2.0], "valid")))(np.ones(4))
    array([2., 3., 3., 1.])
    """
    a, b = _check_operands("convolve", in1, in2, mode, method)
    return _convolve(a, b, mode, method, None) if a.ndim else a * b


@_like_scipy
def correlate(in1: ArrayLike, in2: ArrayLike, mode: str, method: str) -> Array:
    """`scipy.signal.correlate`: the convolution of `in1` with `in2` reversed and conjugated.

    Parameters
    ----------
    in1, in2
        The arrays, real or complex, with the same number of axes.
    mode, method
        As for `convolve`.

    Examples
    --------
    >>> import tapegrad as tg
    >>> from tapegrad.scipy.signal import correlate
    >>> tg.grad(lambda x: correlate(x, [1.0, 2.0, 3.0], "same")[1])(np.zeros(3))
    array([1., 2., 3.])
    """
    a, b = _check_operands("correlate", in1, in2, mode, method)
    return _convolve(a, np.flip(conjugate_of(b)), mode, method, None) if a.ndim else a * b


@_like_scipy
def fftconvolve(in1: ArrayLike, in2: ArrayLike, mode: str, axes: Axis) -> Array:
    """`scipy.signal.fftconvolve`: a convolution by the FFT, along some axes or all.

    Parameters
    ----------
    in1, in2
        The arrays, real or complex, with the same number of axes. They broadcast along axes that
        are not among `axes`.
    mode
        As for `convolve`.
    axes
        An axis, or several; all by default.

    Examples
    --------
    >>> import tapegrad as tg
    >>> from tapegrad.scipy.signal import fftconvolve
    >>> kernel = np.array([[1.0, 2.0]])
    >>> y = lambda x: tg.sum(fftconvolve(x, kernel, "valid", axes=1))
    >>> tg.grad(y)(np.ones((2, 3))).round(12)
    array([[2., 3., 1.],
           [2., 3., 1.]])
    """
    a, b = _check_operands("fftconvolve", in1, in2, mode, axes)
    if not a.ndim:
        return a * b
    chosen = range(a.ndim) if axes is None else np.atleast_1d(axes).tolist()
    along = tuple([i % a.ndim for i in chosen])
    if mode == "same" and any(
        x < y for i, (x, y) in enumerate(zip(a.shape, b.shape, strict=True)) if i not in along
    ):
        raise NotImplementedError(
            "fftconvolve: with mode='same' in1 must not be broadcast along other axes, where SciPy "
            f"leaves out results; the shapes are {a.shape} and {b.shape}"
        )
    return _convolve(a, b, mode, "fft", along)


# SciPy's names of continuations, by NumPy's
MODES = dict.fromkeys(("constant", "grid-constant", "fill"), "constant")
MODES |= dict.fromkeys(("reflect", "grid-mirror", "symm"), "symmetric")
MODES |= dict.fromkeys(("mirror", "even", "odd"), "reflect")
MODES |= {"nearest": "edge", "wrap": "wrap", "grid-wrap": "wrap"}


def extend(
    x: Array, widths: int | dict[int, tuple[int, int]], mode: str, cval: ArrayLike = 0.0
) -> Array:
    """An array with elements around it, by one of SciPy's continuations."""
    options: dict[str, Any] = {"constant_values": cval} if MODES[mode] == "constant" else {}
    if mode == "odd":
        options = {"reflect_type": "odd"}
    return pad(x, widths, MODES[mode], **options)


def filter_extended(
    correlates: bool,
    x: Array,
    w: Array,
    widths: dict[int, tuple[int, int]],
    mode: str,
    cval: ArrayLike,
) -> Array:
    """The correlation of an array, continued at its ends, or a convolution with the ends turned."""
    if correlates:
        w = np.flip(conjugate_of(w))
    else:
        widths = {axis: pair[::-1] for axis, pair in widths.items()}
    return _convolve(extend(x, widths, mode, cval), w, "valid", "direct", None)


def _convolve_matrices(
    correlates: bool, in1: ArrayLike, in2: ArrayLike, mode: str, boundary: str, fillvalue: ArrayLike
) -> Array:
    a, b = _check_operands("convolve2d", in1, in2, mode, boundary)
    ends = [((m - 1) // 2, m // 2) if mode == "same" else (m - 1, m - 1) for m in b.shape]
    if correlates and mode == "valid" and a.size < b.size:
        # SciPy takes the conjugate of the smaller one
        a, b = conjugate_of(a), conjugate_of(b)
    widths = {} if mode == "valid" else dict(enumerate(ends))
    return filter_extended(correlates, a, b, widths, boundary, fillvalue)


@_like_scipy
def convolve2d(in1: ArrayLike, in2: ArrayLike, **options: Any) -> Array:
    """The convolution of two matrices, the first of which is continued by `boundary`.

    Examples
    --------
    >>> import tapegrad as tg
    >>> from tapegrad.scipy.signal import convolve2d
    >>> kernel = np.array([[1.0, 2.0]])
    >>> tg.grad(lambda x: np.sum(convolve2d(x, kernel, boundary="wrap")))(np.ones((1, 2)))
    array([[4., 5.]])
    """
    return _convolve_matrices(False, in1, in2, **options)


@_like_scipy
def correlate2d(in1: ArrayLike, in2: ArrayLike, **options: Any) -> Array:
    """The correlation of two matrices; arguments as for `convolve2d`.

    Examples
    --------
    >>> import tapegrad as tg
    >>> from tapegrad.scipy.signal import correlate2d
    >>> tg.grad(lambda x: correlate2d(x, [[1.0, 2.0]], "valid")[0, 0])(np.ones((1, 3)))
    array([[1., 2., 0.]])
    """
    return _convolve_matrices(True, in1, in2, **options)


# the name of the op in older files
_convolved = _convolve

# --- filters --------------------------------------------------------------------------------


def _filter_backward(b: Array, a: Array, x: Array, axis: int) -> Array:
    """The adjoint of a filter: it runs from the end to the beginning."""
    return np.flip(_lfilter(b, a, np.flip(x, axis), axis), axis)


def _recursion_cotangent(a: Array, g: Cotangent, axis: int) -> Array:
    """The cotangent of the sum that enters the recursion of a filter."""
    return _filter_backward(np.ones(1, g.dtype), a, g, axis)


def _lfilter_batch(
    op: Primitive, batched: Batched, b: Array, a: Array, x: Array, axis: int
) -> Array:
    if batched[0] or batched[1]:
        raise OneByOneError
    return apply(op, (b, a, x), {"axis": batch_axis(axis, x.ndim - 1)})


@op(
    lambda g, y, b, a, x, axis: _lagged_products(_recursion_cotangent(a, g, axis), x, len(b), axis),
    lambda g, y, b, a, x, axis: (
        -_lagged_products(_recursion_cotangent(a, g, axis), y, len(a), axis)
    ),
    lambda g, y, b, a, x, axis: _filter_backward(b, a, g, axis),
    name="lfilter",
    scipy="",
    batch=_lfilter_batch,
    complex=True,
    adds=True,
)
def _lfilter(b: Array, a: Array, x: Array, axis: int) -> Array:
    """A filter by SciPy, which refuses an empty signal if the denominator is one number."""
    if not x.size:
        return np.zeros(x.shape, np.result_type(b, a, x))
    return _scipy.lfilter(b, a, x, axis)


def _lagged_products(v: Array, x: Array, n: int, axis: int) -> Array:
    """The sums of ``v[i] * x[i - k]`` over all i, for each k below n."""
    if not x.size:
        return np.zeros(n, x.dtype)
    v, x = (np.reshape(np.moveaxis(z, axis, -1), (-1, z.shape[axis])) for z in (v, x))
    return _convolve(pad(v, {-1: (0, n - 1)}), np.flip(x), "valid", "direct", None)[0]


# the name of the op in older files
_filtered = _lfilter


def lfilter(
    b: ArrayLike, a: ArrayLike, x: ArrayLike, axis: int = -1, zi: ArrayLike | None = None
) -> Array:
    """`scipy.signal.lfilter`: a recursive filter, with derivatives by all three operands.

    ``a[0] y[n] = b[0] x[n] + b[1] x[n - 1] + ... - a[1] y[n - 1] - ...``. The adjoint of a filter
    is the same filter from the end to the beginning.

    Parameters
    ----------
    b, a
        The coefficients of the numerator and the denominator, with one axis.
    x
        The signal, real or complex.
    axis
        The axis along which it is filtered.
    zi
        Refused: a filter begins at rest.

    Raises
    ------
    ValueError
        If ``a[0]`` is 0, or coefficients have more than one axis.
    NotImplementedError
        For `zi`.

    Examples
    --------
    >>> import tapegrad as tg
    >>> from tapegrad.scipy.signal import lfilter
    >>> x = np.array([1.0, 0.0, 0.0])
    >>> lfilter([1.0], [1.0, -0.5], x)
    array([1.  , 0.5 , 0.25])
    >>> tg.grad(lambda a: lfilter([1.0], a, x)[2])(np.array([1.0, -0.5]))
    array([-0.75, -1.  ])
    """
    if zi is not None:
        raise NotImplementedError(
            "lfilter: zi, the state that a filter begins with, is not taken; let x begin with what "
            "comes before, and leave that out of the result"
        )
    b, a, x = (as_floating(z, complex=True) for z in (b, a, x))
    b, a = (np.reshape(z, (1,)) if z.ndim == 0 else z for z in (b, a))
    for name, z in (("b", b), ("a", a)):
        if z.ndim != 1 or not z.size:
            raise ValueError(f"lfilter: {name} must have one axis, not shape {z.shape}")
    return _lfilter(b, a, x, axis)


# SciPy's takes no coefficients that are read-only
@with_scipy_parameters(_scipy)
def sosfilt(sos: ArrayLike, x: ArrayLike, axis: int) -> Array:
    """A recursive filter in sections of second order, by the signal and the coefficients.

    Examples
    --------
    >>> import tapegrad as tg
    >>> from tapegrad.scipy.signal import sosfilt
    >>> sos = np.array([[1.0, 0.0, 0.0, 1.0, -0.5, 0.0]])
    >>> tg.grad(lambda sos: sosfilt(sos, np.array([1.0, 0.0]))[1])(sos)
    array([[ 0.5,  1. ,  0. , -1. , -1. ,  0. ]])
    """
    sos = to_array(sos)
    if sos.ndim != 2 or sos.shape[1] != 6:
        raise ValueError(f"sos must have shape (sections, 6), not {sos.shape}")
    x = to_array(x)
    for i in range(len(sos)):
        x = lfilter(sos[i, :3], sos[i, 3:], x, axis)
    return x


@_like_scipy
def filtfilt(
    b: ArrayLike, a: ArrayLike, x: ArrayLike, axis: int, padtype: str | None, padlen: int | None
) -> Array:
    """A recursive filter forward and then backward, by the signal and the coefficients.

    Examples
    --------
    >>> import tapegrad as tg
    >>> from tapegrad.scipy.signal import filtfilt
    >>> x = np.array([1.0, 3.0, 2.0])
    >>> tg.grad(lambda b: filtfilt(b, [1.0], x, padlen=1)[1])(np.array([0.5, 0.5]))
    array([4.5, 4.5])
    """
    b, a, x = (as_floating(z, complex=True) for z in (b, a, x))
    x = np.moveaxis(x, axis, -1)
    n = 0 if padtype is None else 3 * max(b.size, a.size) if padlen is None else padlen
    if padtype not in ("odd", "even", "constant", None) or x.shape[-1] <= n:
        raise ValueError(f"filtfilt: {x.shape[-1]} elements cannot be extended by {n}, {padtype!r}")
    y = extend(x, {-1: (n, n)}, padtype if padtype in ("odd", "even") else "nearest")
    steady = np.sum(b) / np.sum(a)
    for _ in range(2):
        # it begins as if the first element had always been there
        first = y[..., :1]
        y = np.flip(lfilter(b, a, y - first) + steady * first, -1)
    return np.moveaxis(y[..., n : n + x.shape[-1]], -1, axis)


# --- trends, envelopes and spectra ----------------------------------------------------------


@_like_scipy
def detrend(data: ArrayLike, axis: int, type: str, bp: ArrayLike) -> Array:
    """The signal without its mean, or without the lines that fit its parts.

    Examples
    --------
    >>> import tapegrad as tg
    >>> from tapegrad.scipy.signal import detrend
    >>> tg.grad(lambda x: detrend(x)[1])(np.ones(3)).round(6)
    array([-0.333333,  0.666667, -0.333333])
    """
    x = np.moveaxis(as_floating(data, complex=True), axis, -1)
    # it refuses what is wrong
    _scipy.detrend(np.zeros(x.shape[-1:]), type=type, bp=bp)
    ends = np.unique([0, x.shape[-1], *(np.ravel(bp) if type[0] == "l" else ())])
    parts = []
    for i, j in itertools.pairwise(ends.tolist()):
        basis = np.vander(np.linspace(-1, 1, j - i), 1 + (type[0] == "l"))
        q = np.linalg.qr(basis)[0].astype(x.dtype)
        parts.append(x[..., i:j] - x[..., i:j] @ q @ q.T)
    return np.moveaxis(np.concatenate(parts, -1), -1, axis)


@_like_scipy
def savgol_filter(
    x: ArrayLike,
    window_length: int,
    polyorder: int,
    axis: int,
    mode: str,
    cval: ArrayLike,
    **options: Any,
) -> Array:
    """The polynomials that fit the parts of a signal, or their derivatives, at the middles.

    Examples
    --------
    >>> import tapegrad as tg
    >>> from tapegrad.scipy.signal import savgol_filter
    >>> tg.grad(lambda x: savgol_filter(x, 3, 1)[0])(np.ones(4)).round(6)
    array([ 0.833333,  0.333333, -0.166667,  0.      ])
    """
    x, n, end = np.moveaxis(as_floating(x), axis, -1), window_length, window_length // 2
    args = (n, polyorder, options["deriv"], options["delta"], -1)
    # it refuses what is wrong
    _scipy.savgol_filter(np.zeros(x.shape[-1:]), *args, mode)
    weights = _scipy.savgol_coeffs(*args[:-1]).reshape(*(1,) * (x.ndim - 1), n)
    inside = "constant" if mode == "interp" else mode
    y = filter_extended(False, x, weights.astype(x.dtype), {-1: (end, (n - 1) // 2)}, inside, cval)
    if mode == "interp":
        fit = _scipy.savgol_filter(np.eye(n), *args).astype(x.dtype)
        first, last = x[..., :n] @ fit[:, :end], x[..., -n:] @ fit[:, n - end :]
        y = np.concatenate([first, y[..., end : y.shape[-1] - end], last], -1)
    return np.moveaxis(y, -1, axis)


@_like_scipy
def hilbert(x: ArrayLike, N: int | None, axis: int) -> Array:
    """The analytic signal, of positive frequencies alone.

    Examples
    --------
    >>> import tapegrad as tg
    >>> from tapegrad.scipy.signal import hilbert
    >>> tg.grad(lambda x: hilbert(x)[1].imag)(np.ones(4))
    array([ 0.5,  0. , -0.5,  0. ])
    """
    x = np.moveaxis(as_floating(x, complex=True), axis, -1)
    # it refuses what is wrong, and gives the factor of each frequency
    impulse = np.eye(1, x.shape[-1] if N is None else N, dtype=x.dtype)[0]
    factors = np.fft.fft(_scipy.hilbert(impulse)).real.round()
    return np.moveaxis(np.fft.ifft(np.fft.fft(x, len(impulse)) * factors), -1, axis)


def _window(
    window: str | tuple[str, Any] | ArrayLike, n: int, noverlap: int | None, scaling: str, fs: float
) -> tuple[Array, int, float]:
    """The window of n elements, the step from one to the next, and the scale of a transform."""
    w = _scipy.get_window(window, n) if isinstance(window, str | tuple) else np.asarray(window)
    scale = np.sum(w) if scaling == "spectrum" else np.sqrt(fs * np.sum(w * w))
    return w[:, None], n - (n // 2 if noverlap is None else int(noverlap)), scale


@_like_scipy
def stft(
    x: ArrayLike, nperseg: int, nfft: int | None, axis: int, **options: Any
) -> tuple[Array, Array, Array]:
    """The frequencies, the times, and the Fourier transforms of the parts of a signal.

    Examples
    --------
    >>> import tapegrad as tg
    >>> from tapegrad.scipy.signal import stft
    >>> tg.grad(lambda x: np.sum(np.abs(stft(x, nperseg=4)[2]) ** 2))(np.ones(4)).round(4)
    array([1.5  , 0.875, 1.5  , 0.875])
    """
    x = np.moveaxis(as_floating(x, complex=True), axis, -1)
    # it refuses what is wrong
    like = np.zeros(x.shape[-1:], x.dtype)
    f, t, _ = _scipy.stft(like, nperseg=nperseg, nfft=nfft, **options)
    detrended, padded = options["detrend"], options["padded"]
    if detrended or not padded:
        raise NotImplementedError("stft takes no detrend but False, and no padded but True")
    n, (boundary, fs) = min(int(nperseg), like.size), (options["boundary"], options["fs"])
    w, step, scale = _window(options["window"], n, options["noverlap"], options["scaling"], fs)
    if boundary is not None:
        kinds = {"zeros": "fill", "constant": "nearest"}
        x = extend(x, {-1: (n // 2, n // 2)}, kinds.get(boundary, boundary))
    x = pad(x, {-1: (0, n + (t.size - 1) * step - x.shape[-1])})
    is_half = options["return_onesided"] and x.dtype.kind == "f"
    parts = patches(x, (n,), (step,)) * (w / scale).astype(x.dtype)
    z = (np.fft.rfft if is_half else np.fft.fft)(parts, nfft, axis=-2)
    return f, t, np.moveaxis(z, -2, axis - (axis < 0))


# SciPy's has wrong times for several signals
@with_scipy_parameters(_scipy)
def istft(
    Zxx: ArrayLike, nperseg: int | None, nfft: int | None, **options: Any
) -> tuple[Array, Array]:
    """The times, and the signal whose parts have Fourier transforms.

    Examples
    --------
    >>> import tapegrad as tg
    >>> from tapegrad.scipy.signal import istft, stft
    >>> x = np.array([1.0, 2.0, 4.0, 3.0])
    >>> istft(stft(x, nperseg=4)[2])[1].round(12)
    array([1., 2., 4., 3.])
    """
    z = np.moveaxis(to_array(Zxx), (options["freq_axis"], options["time_axis"]), (-2, -1))
    # it refuses what is wrong
    like: Any = np.zeros(z.shape[-2:], z.dtype)
    other = {"time_axis": -1, "freq_axis": -2}
    t, _ = _scipy.istft(like, nperseg=nperseg, nfft=nfft, **{**options, **other})
    is_half = options["input_onesided"]
    most = 2 * (len(like) - 1) if is_half else len(like)
    n = most if nperseg is None else int(nperseg)
    length = (n if is_half and n == most + 1 else most) if nfft is None else int(nfft)
    w, step, scale = _window(
        options["window"], n, options["noverlap"], options["scaling"], options["fs"]
    )
    parts = (np.fft.irfft if is_half else np.fft.ifft)(z, length, axis=-2)[..., :n, :]
    sides = (n + (like.shape[1] - 1) * step,)
    weights = add_patches(np.broadcast_to(w * w, (n, like.shape[1])), sides, (step,))
    y = add_patches(parts * (scale * w).astype(parts.real.dtype), sides, (step,))
    y = y / np.where(weights > 1e-10, weights, 1).astype(parts.real.dtype)
    y = y[..., n // 2 : sides[0] - n // 2] if options["boundary"] else y
    time, frequency = (options[k] % z.ndim for k in ("time_axis", "freq_axis"))
    return t, np.moveaxis(y, -1, time - (frequency < time))
