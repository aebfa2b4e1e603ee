"""Fourier, cosine and sine transforms, as in `scipy.fft`.

Those of ``np.fft`` are here with SciPy's parameters. A cosine or a sine transform is linear, and
its transpose is a transform of the same family, so one op computes all of them.
"""

from __future__ import annotations

import operator
from collections.abc import Callable

import numpy as np
from numpy.lib.array_utils import normalize_axis_tuple
from scipy import fft as _scipy

from tapegrad.core.forward import linear_jvp
from tapegrad.declare import op
from tapegrad.errors.names import list_names
from tapegrad.functions import fft as _numpy
from tapegrad.functions.fft import fftshift as fftshift
from tapegrad.functions.fft import ifftshift as ifftshift
from tapegrad.ops.casting import as_floating, conjugate_of, to_array
from tapegrad.ops.fourier import Norm, batch_transform_axes, crop_or_pad, swap_norm
from tapegrad.scipy._options import with_scipy_parameters
from tapegrad.types import Array, ArrayLike, Axis, Cotangent, Shape, ShapeLike

__all__ = ["dct", "dctn", "dst", "dstn", "idct", "idctn", "idst", "idstn"]
__all__ += ["fft", "fft2", "fftn", "hfft", "hfft2", "hfftn", "ifft", "ifft2", "ifftn"]
__all__ += ["ihfft", "ihfft2", "ihfftn", "irfft", "irfft2", "irfftn", "rfft", "rfft2", "rfftn"]
__all__ += ["fftshift", "ifftshift"]
list_names(globals())


def _lengths_and_axes(x: Array, s: ShapeLike | None, axes: Axis) -> tuple[Shape, tuple[int, ...]]:
    """The lengths of a transform and its axes, as SciPy reads them."""
    last = range(-x.ndim if s is None else -np.size(s), 0)
    along = normalize_axis_tuple(last if axes is None else axes, x.ndim)
    sizes = np.full(len(along), -1) if s is None else np.atleast_1d(s)
    lengths = [operator.index(n) for n in sizes.tolist()]
    lengths = [x.shape[i] if n == -1 else n for n, i in zip(lengths, along, strict=True)]
    if any(n < 1 for n in lengths):
        raise ValueError(f"the lengths of a transform must be 1 or more, not {lengths}")
    return tuple(lengths), along


# --- cosine and sine transforms -------------------------------------------------------------

_TRANSPOSED = {1: 1, 2: 3, 3: 2, 4: 4}


def _scale_ends(x: Array, of: str, kind: int, axes: tuple[int, ...], weight: float) -> Array:
    """x with weights at the ends of axes that a transform without orthogonality treats apart."""
    if kind == 4 or (of, kind) == ("dst", 1):
        return x
    ends = [0, -1] if kind == 1 else [0] if of == "dct" else [-1]
    for axis in axes:
        weights = np.ones(x.shape[axis], x.dtype.char.lower())
        weights[ends] = weight
        x = x * weights.reshape(-1, *(1,) * (x.ndim - 1 - axis))
    return x


def _trigonometric_vjp(
    g: Cotangent,
    y: Array,
    x: Array,
    of: str,
    kind: int,
    axes: tuple[int, ...],
    norm: Norm,
    orthogonal: bool,
) -> Cotangent:
    if not orthogonal and kind in (1, 2):
        g = _scale_ends(g, of, kind, axes, 2.0)
    c = _trigonometric(g, of, _TRANSPOSED[kind], axes, norm, orthogonal)
    return c if orthogonal or kind in (2, 4) else _scale_ends(c, of, kind, axes, 0.5)


@op(
    _trigonometric_vjp,
    name="dctn",
    scipy="",
    jvp=linear_jvp,
    batch=batch_transform_axes,
    adds=True,
    complex=True,
)
def _trigonometric(
    x: Array, of: str, kind: int, axes: tuple[int, ...], norm: Norm, orthogonal: bool
) -> Array:
    """A transform by SciPy, which loses an option for complex numbers."""
    transform = getattr(_scipy, of + "n")
    parts = [x.real, x.imag] if x.dtype.kind == "c" else [x]
    y = [transform(z, kind, axes=axes, norm=norm, orthogonalize=orthogonal) for z in parts]
    return y[0] + 1j * y[1] if len(y) == 2 else y[0]


def _call_trigonometric(
    name: str,
    x: ArrayLike,
    kind: int,
    s: ShapeLike | None,
    axes: Axis,
    norm: Norm,
    orthogonalize: bool | None,
) -> Array:
    """The transform of a name; an inverse is a transform too."""
    if kind not in _TRANSPOSED:
        raise ValueError(f"the type must be 1, 2, 3 or 4, not {kind!r}")
    backward = swap_norm(norm)
    if name.startswith("i"):
        kind, norm = _TRANSPOSED[kind], backward
    x = as_floating(x, complex=True)
    x = x.astype(np.float32) if x.dtype == np.float16 else x
    lengths, axes = _lengths_and_axes(x, s, axes)
    shape = list(x.shape)
    for n, axis in zip(lengths, axes, strict=True):
        shape[axis] = n
    of = name.strip("in")
    orthogonal = norm == "ortho" if orthogonalize is None else bool(orthogonalize)
    x = crop_or_pad(x, tuple(shape))
    return _trigonometric(x, of, kind, axes, norm, orthogonal) if axes else x


# --- the functions --------------------------------------------------------------------------


def _make_transform(name: str) -> Callable[..., Array]:
    """The function of a name, with its docstring."""
    kind = "Fourier" if "fft" in name else "cosine" if "dct" in name else "sine"
    one = name.endswith("t")
    # such a signal is its own conjugate, so it is transformed the other way
    known = "irfftn" if name.startswith("h") else "rfftn" if name.startswith("ih") else name

    def transform(
        x: ArrayLike,
        s: ShapeLike | None,
        axes: Axis,
        norm: Norm,
        type: int = 2,
        orthogonalize: bool | None = None,
    ) -> Array:
        if kind != "Fourier":
            return _call_trigonometric(name, x, type, s, axes, norm, orthogonalize)
        if one:
            return getattr(_numpy, name)(x, s, axes, norm)
        x = to_array(x)
        lengths, axes = _lengths_and_axes(x, s, axes)
        s = None if s is None else lengths
        if known == name:
            return getattr(_numpy, name)(x, s, axes, norm)
        return conjugate_of(getattr(_numpy, known)(conjugate_of(x), s, axes, swap_norm(norm)))

    inverse = name[1:] if name.startswith("i") else f"i{name}"
    transform.__name__ = transform.__qualname__ = name
    transform.__doc__ = (
        f"A {kind} transform, `scipy.fft.{name}`.\n\n    Examples\n    --------\n"
        f"    >>> from tapegrad.scipy.fft import {name}, {inverse}\n"
        f"    >>> np.allclose({name}({inverse}(np.ones((4, 4)))), 1)\n    True\n    "
    )
    return with_scipy_parameters(_scipy, n="s", axis="axes")(transform)


dct, dctn, dst, dstn, idct, idctn, idst, idstn, *_rest = map(_make_transform, __all__[:-2])
fft, fft2, fftn, hfft, hfft2, hfftn, ifft, ifft2, ifftn, *_rest = _rest
ihfft, ihfft2, ihfftn, irfft, irfft2, irfftn, rfft, rfft2, rfftn = _rest
