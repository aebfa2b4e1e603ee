"""The table from ops to JAX.

An entry is called with the module ``jax``, the shape and dtype of the result in JAX, the operands,
and the options by name. JAX differentiates it. NumPy's ufuncs have functions of the same name in
``jax.numpy``, and are not listed.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Mapping
from functools import partial
from operator import attrgetter
from typing import Any

import numpy as np

from tapegrad.interop.jax import indexing, matrices, philox
from tapegrad.program.saved_names import op_named

Lowering = Callable[..., Any]


def _plain(name: str) -> Lowering:
    """The function of this name below ``jax``, on operands as they are."""
    function = attrgetter(name)
    return lambda jax, out, *xs, **options: function(jax)(*xs, **options)


def _same(name: str) -> Lowering:
    """The same on operands of the result's dtype."""
    function = attrgetter(name)
    return lambda jax, out, *xs, **options: function(jax)(*_cast(xs, out), **options)


def _along(name: str) -> Lowering:
    """The same along axes; for an array without axes NumPy takes axis -1 for none."""
    function = attrgetter(name)

    def lowered(jax: Any, out: Any, x: Any, **options: Any) -> Any:
        options |= {} if x.ndim else {"axis": None}
        return function(jax)(x.astype(out.dtype), **options)

    return lowered


def _after_options(name: str) -> Lowering:
    """The same on an operand that comes after the options, which are sorted by name."""
    function = attrgetter(name)

    def lowered(jax: Any, out: Any, x: Any, **options: Any) -> Any:
        return function(jax)(*[options[k] for k in sorted(options)], x.astype(out.dtype))

    return lowered


def _cast(xs: tuple[Any, ...], out: Any) -> list[Any]:
    return [x.astype(out.dtype) for x in xs]


def _itself(jax: Any, out: Any, x: Any, **options: Any) -> Any:
    return x


def _zeros_of_both(jax: Any, out: Any, x: Any, slope: Any) -> Any:
    return jax.numpy.zeros(out.shape, out.dtype)


# --- arithmetic -----------------------------------------------------------------------------


def _power(jax: Any, out: Any, x: Any, n: Any) -> Any:
    x = jax.numpy.asarray(x, out.dtype)
    # an integer exponent stays one, so that negative bases have slopes
    return jax.numpy.power(x, n if type(n) is int else jax.numpy.asarray(n, out.dtype))


def _ldexp(jax: Any, out: Any, x: Any, n: Any) -> Any:
    # JAX does not see that its own function is linear; two steps do not overflow
    one = jax.numpy.ones((), out.dtype)
    half = n // 2
    return x * jax.numpy.ldexp(one, half) * jax.numpy.ldexp(one, n - half)


def _isclose(
    jax: Any, out: Any, a: Any, b: Any, rtol: Any, atol: Any, equal_nan: Any = False
) -> Any:
    near = jax.numpy.abs(a - b) <= atol + rtol * jax.numpy.abs(b)
    near = (near & jax.numpy.isfinite(b)) | (a == b)
    return near | (jax.numpy.isnan(a) & jax.numpy.isnan(b)) if equal_nan else near


# --- shapes ---------------------------------------------------------------------------------


def _expand(jax: Any, out: Any, x: Any, axis: int, copies: int) -> Any:
    return jax.numpy.repeat(jax.numpy.expand_dims(x, axis), copies, axis)


def _joined(name: str) -> Lowering:
    return lambda jax, out, *xs, axis=0: getattr(jax.numpy, name)(_cast(xs, out), axis=axis)


def _windows(jax: Any, out: Any, x: Any, window_shape: Any, axis: Any = None) -> Any:
    if not math.prod(out.shape):
        return jax.numpy.zeros(out.shape, out.dtype)
    sizes = window_shape if isinstance(window_shape, tuple) else (window_shape,)
    axes = tuple(range(x.ndim)) if axis is None else axis if isinstance(axis, tuple) else (axis,)
    for size, at in zip(sizes, axes, strict=True):
        at %= len(out.shape) - len(sizes)
        places = np.arange(x.shape[at] - size + 1)[:, None] + np.arange(size)
        x = jax.numpy.moveaxis(jax.numpy.take(x, places, axis=at), at + 1, -1)
    return x


def _overlap_add(jax: Any, out: Any, values: Any, shape: Any, axis: Any = None) -> Any:
    axes = tuple(range(len(shape))) if axis is None else axis
    sizes = values.shape[len(shape) :]
    return _adjoint(jax, out, lambda x: _windows(jax, values, x, sizes, axes), values)


def _patches(jax: Any, out: Any, x: Any, size: Any, stride: Any) -> Any:
    n = len(size)
    counts, parts = out.shape[x.ndim :], []
    # the places in the array that have an offset in a patch, of all patches
    for at in itertools.product(*map(range, size)):
        steps = zip(at, stride, counts, strict=True)
        parts.append(x[(..., *[slice(i, i + s * (c - 1) + 1, s) for i, s, c in steps])])
    return jax.numpy.stack(parts, axis=x.ndim - n).reshape(out.shape)


def _add_patches(jax: Any, out: Any, values: Any, sides: Any, stride: Any) -> Any:
    n = len(sides)
    size = values.shape[values.ndim - 2 * n : values.ndim - n]
    return _adjoint(jax, out, lambda x: _patches(jax, values, x, size, stride), values)


def _adjoint(jax: Any, out: Any, linear: Callable[[Any], Any], values: Any) -> Any:
    """The adjoint of a linear function of one array, which makes the result of it."""
    if not values.size:
        return jax.numpy.zeros(out.shape, out.dtype)
    return jax.linear_transpose(linear, out)(values.astype(out.dtype))[0]


# --- reductions, order, scans ---------------------------------------------------------------


def _ordered(name: str) -> Lowering:
    """A stable sort; it has the right elements at the places that a partition asks for, too."""
    return lambda jax, out, a, *, axis=-1, **options: getattr(jax.numpy, name)(
        a, axis=axis, stable=True
    )


def _piece(jax: Any, out: Any, x: Any, xp: Any) -> Any:
    places = jax.numpy.searchsorted(xp, x, side="right") - 1
    return jax.numpy.clip(places, 0, max(len(xp) - 2, 0))


def _recurrence(jax: Any, out: Any, a: Any, b: Any, axis: int = 0) -> Any:
    def after(first: Any, then: Any) -> Any:
        return first[0] * then[0], then[0] * first[1] + then[1]

    a, b = _cast((a, b), out)
    return jax.lax.associative_scan(after, (a, b), axis=axis % b.ndim)[1] if b.size else b


# --- draws ----------------------------------------------------------------------------------


def _uniform(jax: Any, out: Any, key: Any, shape: Any, dtype: Any) -> Any:
    if out.dtype in (np.float64, np.float32):
        return philox.uniform(jax, key, shape, out.dtype)
    return _callback("random.uniform")(jax, out, key, shape=shape, dtype=dtype)


def _callback(name: str) -> Lowering:
    """NumPy's draws, computed on the host: its rejections depend on all earlier numbers."""
    draw = op_named(name, ()).forward

    def lowered(jax: Any, out: Any, *xs: Any, **options: Any) -> Any:
        def drawn(*xs: Any) -> Any:
            return np.asarray(draw(*map(np.asarray, xs), **options), out.dtype)

        xs = tuple(map(jax.lax.stop_gradient, xs))
        return jax.pure_callback(drawn, out, *xs, vmap_method="sequential")

    return lowered


_DRAWN_BY_NUMPY = (
    *("random.seeded", "random.normal", "random.truncated_normal", "random.integers"),
    *("random.permutation", "random.choice"),
)

# --- functions of SciPy ----------------------------------------------------------------------


def _triangular(
    jax: Any, out: Any, a: Any, b: Any, trans: bool, lower: bool, unit: bool, finite: bool
) -> Any:
    stack = out.shape[:-2]
    a, b = (jax.numpy.broadcast_to(x, (*stack, *x.shape[-2:])) for x in _cast((a, b), out))
    options = {"trans": int(trans), "lower": lower, "unit_diagonal": unit}
    return jax.scipy.linalg.solve_triangular(a, b, **options)


def _pulled(jax: Any, out: Any, factor: Any, g: Any) -> Any:
    """The cotangent of a matrix, given the cotangent of its Cholesky factor."""
    factor, g = _cast((factor, g), out)
    half = jax.numpy.where(jax.numpy.eye(g.shape[-1], dtype=bool), 0.5, 1.0).astype(out.dtype)

    def solved(x: Any) -> Any:
        return jax.scipy.linalg.solve_triangular(factor, x, trans="C", lower=True).mT.conj()

    x = solved(solved(jax.numpy.tril(factor.mT.conj() @ g) * half))
    return jax.numpy.tril(x + x.mT.conj()) * half


def _sparse_matmul(jax: Any, out: Any, data: Any, x: Any, pattern: Any) -> Any:
    terms = data[..., None] * x[..., pattern.cols, :]
    return jax.numpy.zeros(out.shape, out.dtype).at[..., pattern.rows, :].add(terms)


def _sparse_dot(jax: Any, out: Any, a: Any, b: Any, pattern: Any) -> Any:
    return jax.numpy.sum(a[..., pattern.rows, :] * b[..., pattern.cols, :], axis=-1)


def _distances(jax: Any, out: Any, a: Any, b: Any, metric: str) -> Any:
    apart = jax.numpy.abs(a[..., :, None, :] - b[..., None, :, :])
    total = jax.numpy.sum(apart if metric == "cityblock" else apart**2, axis=-1)
    if metric != "euclidean":
        return total
    is_zero = total == 0
    return jax.numpy.where(is_zero, 0.0, jax.numpy.sqrt(jax.numpy.where(is_zero, 1.0, total)))


def _pair_distances(jax: Any, out: Any, x: Any, metric: str) -> Any:
    pairs = np.triu_indices(x.shape[-2], 1)
    return _distances(jax, out, x, x, metric)[..., *pairs]


def _squareform(jax: Any, out: Any, values: Any, n: int) -> Any:
    upper = jax.numpy.zeros(out.shape, out.dtype).at[..., *np.triu_indices(n, 1)].set(values)
    return upper + upper.mT


def _convolved(jax: Any, out: Any, a: Any, b: Any, mode: str, method: str, axes: Any) -> Any:
    a, b = a.astype(out.dtype), b.astype(out.dtype)
    if axes is None:
        return jax.scipy.signal.convolve(a, b, mode, method)
    return jax.scipy.signal.fftconvolve(a, b, mode, axes)


_SCIPYS = (
    *("gamma", "gammaln", "beta", "betaln", "erf", "erfc", "erfinv", "ndtr", "ndtri", "log_ndtr"),
    *("expit", "logit", "xlogy", "xlog1py", "entr", "rel_entr", "kl_div"),
    *("i0", "i1", "i0e", "i1e", "gammainc", "gammaincc", "betainc", "expi", "exp1"),
)

_PARAMETERS_FIRST = ("expn", "zeta", "hyp1f1", "polygamma")

# --- the table ------------------------------------------------------------------------------

_AS_THEY_ARE = (
    *("all", "any", "argmax", "argmin", "count_nonzero", "flip", "roll", "reshape", "squeeze"),
    *("swapaxes", "transpose", "broadcast_to", "expand_dims", "searchsorted", "isneginf"),
    *("isposinf", "isreal", "iscomplex", "angle", "digitize"),
)
_OF_THE_RESULTS_DTYPE = (
    *("max", "min", "sum", "prod", "mean", "cumsum", "cumprod", "convolve", "round", "i0"),
    *("matvec", "vecmat", "vecdot"),
)

TABLE: Mapping[str, Lowering] = {
    **{lowering.__name__: lowering for lowering in (*indexing.LOWERINGS, *matrices.LOWERINGS)},
    **{name: _plain(f"numpy.{name}") for name in _AS_THEY_ARE},
    **{name: _same(f"numpy.{name}") for name in _OF_THE_RESULTS_DTYPE},
    **{name: _plain(f"numpy.fft.{name}") for name in ("fft", "ifft", "irfft")},
    # JAX refuses float16
    "rfft": lambda jax, out, x, **options: jax.numpy.fft.rfft(
        x.astype(np.finfo(out.dtype).dtype), **options
    ),
    **{name: _same(f"nn.{name}") for name in ("relu", "sigmoid", "softplus")},
    "sigmoid_derivative": lambda jax, out, x: (jax.nn.sigmoid(x) * jax.nn.sigmoid(-x)).astype(
        out.dtype
    ),
    **dict.fromkeys(("as_array", "asarray", "copy", "real", "from_zero"), _itself),
    "ascontiguousarray": lambda jax, out, a: a.reshape(out.shape),
    "astype": lambda jax, out, a, dtype: a.astype(out.dtype),
    "stopped": _plain("lax.stop_gradient"),
    "seed": lambda jax, out, shape, dtype: jax.numpy.ones(out.shape, out.dtype),
    # arithmetic
    "power": _power,
    "ldexp": _ldexp,
    "clip_both": _same("numpy.clip"),
    "fix": _plain("numpy.trunc"),
    "imag": lambda jax, out, x: jax.numpy.zeros(out.shape, out.dtype),
    "real.complex": _plain("numpy.real"),
    "imag.complex": _plain("numpy.imag"),
    "exponent": lambda jax, out, x: jax.numpy.frexp(x)[1],
    "nan_to_num": lambda jax, out, x, copy=True, **options: jax.numpy.nan_to_num(x, **options),
    "isclose": _isclose,
    "even_edges": _same("numpy.histogram_bin_edges"),
    "where": lambda jax, out, c, x, y: jax.numpy.where(c, *_cast((x, y), out)),
    "keep": lambda jax, out, c, x: jax.numpy.where(c, x, jax.numpy.zeros((), out.dtype)),
    "erf": _same("scipy.special.erf"),
    # shapes
    "expand": _expand,
    **{name: _joined(name) for name in ("concatenate", "stack")},
    "sliding_window_view": _windows,
    "overlap_add": _overlap_add,
    "patches": _patches,
    "add_patches": _add_patches,
    # indexing
    "index_select": lambda jax, out, x, indices: x[indices],
    **{
        f"index_{method}": indexing.combined(method) for method in ("add", "multiply", "max", "min")
    },
    "inner_product": _plain("numpy.vdot"),
    # reductions, order, scans
    **{name: _along(f"nn.{name}") for name in ("logsumexp", "softmax", "log_softmax")},
    **dict.fromkeys(("sort", "partition"), _ordered("sort")),
    **dict.fromkeys(("argsort", "argpartition"), _ordered("argsort")),
    "piece": _piece,
    "linear_recurrence": _recurrence,
    # products and matrices
    "contract": lambda jax, out, *xs, subscripts, optimize=False: jax.numpy.einsum(
        subscripts, *_cast(xs, out)
    ),
    "inv": _same("numpy.linalg.inv"),
    "solve": _same("numpy.linalg.solve"),
    "thin_qr": _plain("numpy.linalg.qr"),
    "slogdet": _plain("numpy.linalg.slogdet"),
    "thin_svd": partial(_plain("numpy.linalg.svd"), full_matrices=False),
    # draws that need no more than Philox; NumPy makes the others
    "random.split": philox.split,
    "random.folded_in": philox.fold_in,
    "random.bernoulli": philox.bernoulli,
    "random.uniform": _uniform,
    **{name: _callback(name) for name in _DRAWN_BY_NUMPY},
    # functions of SciPy
    **{f"scipy.{name}": _same(f"scipy.special.{name}") for name in _SCIPYS},
    "scipy.psi": _same("scipy.special.digamma"),
    "scipy.loggamma": _same("scipy.special.gammaln"),
    "scipy.rgamma": lambda jax, out, x: 1 / jax.scipy.special.gamma(x.astype(out.dtype)),
    "scipy.log_expit": _same("nn.log_sigmoid"),
    "scipy.log1p": _same("numpy.log1p"),
    "scipy.expm1": _same("numpy.expm1"),
    **{f"scipy.{name}": _after_options(f"scipy.special.{name}") for name in _PARAMETERS_FIRST},
    "tapegrad.ops.triangular:triangular": _triangular,
    "tapegrad.scipy._options:_finite": _itself,
    "tapegrad.scipy._distributions:zeros_with_infinite_slope": _zeros_of_both,
    "tapegrad.scipy.linalg:_cho_factor": lambda jax, out, a, lower, finite: matrices.cholesky(
        jax, out, a, upper=not lower
    ),
    "tapegrad.ops.triangular:pulled": _pulled,
    "tapegrad.scipy.linalg:_expm": _same("scipy.linalg.expm"),
    "tapegrad.scipy.linalg:_frechet": partial(
        _same("scipy.linalg.expm_frechet"), compute_expm=False
    ),
    "tapegrad.scipy.sparse.coo:coo_matmul": _sparse_matmul,
    "tapegrad.scipy.sparse.coo:coo_dot": _sparse_dot,
    "tapegrad.scipy.signal:_convolve": _convolved,
    "tapegrad.scipy.spatial.distance:_cdist": _distances,
    "tapegrad.scipy.spatial.distance:_pdist": _pair_distances,
    "tapegrad.scipy.spatial.distance:_squareform": _squareform,
}
