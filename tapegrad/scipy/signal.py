"""Convolutions and filters, as in `scipy.signal`."""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy import signal as _scipy

from tapegrad.core.forward import apply
from tapegrad.core.tensor import Tensor
from tapegrad.declare import op
from tapegrad.declare.batching import (
    Batched,
    OneByOneError,
    all_with_batch,
    batch_axis,
)
from tapegrad.errors.names import list_names
from tapegrad.ops.casting import floating
from tapegrad.ops.indexing import scatter

__all__ = ["convolve", "correlate", "fftconvolve", "lfilter"]
list_names(globals())

# --- convolutions ---------------------------------------------------------------------------


def _convolved_vjp(
    g: Any, x: Any, other: Any, swapped: bool, mode: str, method: str, axes: Any
) -> Any:
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
    return _convolved(everywhere, back, "valid", method, axes)


def _convolved_batch(
    op: Any, batched: Batched, a: Any, b: Any, mode: str, method: str, axes: Any
) -> Any:
    if axes is None:
        raise OneByOneError
    # SciPy's result is as long as the first operand along other axes too
    a, b = all_with_batch(batched, (a, b))
    moved = tuple([i + 1 for i in axes])
    return apply(op, (a, b), {"mode": mode, "method": method, "axes": moved})


@op(
    lambda g, y, a, b, mode, method, axes: _convolved_vjp(g, a, b, False, mode, method, axes),
    lambda g, y, a, b, mode, method, axes: _convolved_vjp(g, b, a, True, mode, method, axes),
    name="convolve",
    scipy="",
    batch=_convolved_batch,
    complex=True,
    adds=True,
)
def _convolved(a: Any, b: Any, mode: str, method: str, axes: Any) -> Any:
    """A convolution by SciPy: along some axes by the FFT, or along all by `method`."""
    if axes is None:
        return _scipy.convolve(a, b, mode, method)
    return _scipy.fftconvolve(a, b, mode, axes)


def _on_tensors(*xs: Any) -> bool:
    return any(type(x) is Tensor for x in xs)


def _checked(in1: Any, in2: Any) -> tuple[Any, Any]:
    a, b = floating(in1, complex=True), floating(in2, complex=True)
    if a.ndim != b.ndim:
        raise ValueError(
            "the operands of a convolution must have the same number of axes; their shapes are "
            f"{a.shape} and {b.shape}"
        )
    return a, b


def convolve(in1: Any, in2: Any, mode: str = "full", method: str = "auto") -> Any:
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
    if not _on_tensors(in1, in2):
        return _scipy.convolve(in1, in2, mode, method)
    a, b = _checked(in1, in2)
    return _convolved(a, b, mode, method, None) if a.ndim else a * b


def correlate(in1: Any, in2: Any, mode: str = "full", method: str = "auto") -> Any:
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
    if not _on_tensors(in1, in2):
        return _scipy.correlate(in1, in2, mode, method)
    a, b = _checked(in1, in2)
    b = np.conj(b) if b.dtype.kind == "c" else b
    return _convolved(a, np.flip(b), mode, method, None) if a.ndim else a * b


def fftconvolve(in1: Any, in2: Any, mode: str = "full", axes: Any = None) -> Any:
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
    if not _on_tensors(in1, in2):
        return _scipy.fftconvolve(in1, in2, mode, axes)
    a, b = _checked(in1, in2)
    if not a.ndim:
        return a * b
    chosen = range(a.ndim) if axes is None else np.atleast_1d(axes).tolist()
    if not len(chosen):
        raise ValueError("when provided, axes cannot be empty")
    if not all(isinstance(i, int) and -a.ndim <= i < a.ndim for i in chosen):
        raise ValueError(f"axes exceeds dimensionality of input: {axes} of {a.ndim} axes")
    along = tuple([i % a.ndim for i in chosen])
    if mode == "same" and any(
        x < y for i, (x, y) in enumerate(zip(a.shape, b.shape, strict=True)) if i not in along
    ):
        raise NotImplementedError(
            "fftconvolve: with mode='same' in1 must not be broadcast along other axes, where SciPy "
            f"leaves out results; the shapes are {a.shape} and {b.shape}"
        )
    return _convolved(a, b, mode, "fft", along)


# --- filters --------------------------------------------------------------------------------


def _one(like: Any) -> Any:
    return np.ones(1, like.dtype)


def _backward(b: Any, a: Any, x: Any, axis: int) -> Any:
    """The adjoint of a filter: it runs from the end to the beginning."""
    return np.flip(_filtered(b, a, np.flip(x, axis), axis), axis)


def _before(a: Any, g: Any, axis: int) -> Any:
    """The cotangent of the sum that enters the recursion of a filter."""
    return _backward(_one(g), a, g, axis)


def _filtered_batch(op: Any, batched: Batched, b: Any, a: Any, x: Any, axis: int) -> Any:
    if batched[0] or batched[1]:
        raise OneByOneError
    return apply(op, (b, a, x), {"axis": batch_axis(axis, x.ndim - 1)})


def _by_b(g: Any, y: Any, b: Any, a: Any, x: Any, axis: int) -> Any:
    return _lagged(_before(a, g, axis), x, len(b), axis)


def _by_a(g: Any, y: Any, b: Any, a: Any, x: Any, axis: int) -> Any:
    return -_lagged(_before(a, g, axis), y, len(a), axis)


@op(
    _by_b,
    _by_a,
    lambda g, y, b, a, x, axis: _backward(b, a, g, axis),
    name="lfilter",
    scipy="",
    batch=_filtered_batch,
    complex=True,
    adds=True,
)
def _filtered(b: Any, a: Any, x: Any, axis: int) -> Any:
    """A filter by SciPy, which refuses an empty signal if the denominator is one number."""
    if not x.size:
        return np.zeros(x.shape, np.result_type(b, a, x))
    return _scipy.lfilter(b, a, x, axis)


@op(
    lambda g, y, v, x, n, axis: _filtered(g, _one(g), x, axis),
    lambda g, y, v, x, n, axis: _backward(g, _one(g), v, axis),
    name="lagged_products",
    scipy="",
    complex=True,
    adds=True,
)
def _lagged(v: Any, x: Any, n: int, axis: int) -> Any:
    """The sums of ``v[i] * x[i - k]`` over all i, for each k below n."""
    v, x = np.moveaxis(v, axis, -1), np.moveaxis(x, axis, -1)
    y = np.zeros(n, np.result_type(v, x))
    size = x.shape[-1]
    for k in range(min(n, size)):
        y[k] = np.sum(v[..., k:] * x[..., : size - k])
    return y


def lfilter(b: Any, a: Any, x: Any, axis: int = -1, zi: Any = None) -> Any:
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
    if not _on_tensors(b, a, x):
        return _scipy.lfilter(b, a, x, axis)
    b, a, x = (floating(z, complex=True) for z in (b, a, x))
    b, a = (np.reshape(z, (1,)) if z.ndim == 0 else z for z in (b, a))
    for name, z in (("b", b), ("a", a)):
        if z.ndim != 1 or not z.size:
            raise ValueError(f"lfilter: {name} must have one axis, not shape {z.shape}")
    return _filtered(b, a, x, axis)
