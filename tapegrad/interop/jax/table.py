"""The table of lowerings from ops to JAX.

The arguments of a lowering are the module ``jax``, the shape and dtype of the result in JAX, the
operands, and the options by name. JAX differentiates it. NumPy's ufuncs have functions of the same
name in ``jax.numpy``, so they need no lowering.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Mapping
from functools import partial
from operator import attrgetter
from types import ModuleType
from typing import TYPE_CHECKING, Any

import numpy as np

from tapegrad.interop.jax import indexing, matrices, philox
from tapegrad.program.saved_names import op_named
from tapegrad.types import Array, Axis, DType, Shape

if TYPE_CHECKING:
    from jax import Array as JaxArray
    from jax import ShapeDtypeStruct

    from tapegrad.scipy.sparse.coo import Pattern

Lowering = Callable[..., Any]


def _call_jax(name: str) -> Lowering:
    """Make a lowering of a function below ``jax``; its operands keep their dtypes."""
    function = attrgetter(name)
    return lambda jax, out, *xs, **options: function(jax)(*xs, **options)


def _call_with_cast(name: str) -> Lowering:
    """Make a lowering that casts the operands to the result's dtype."""
    function = attrgetter(name)
    return lambda jax, out, *xs, **options: function(jax)(*_cast(xs, out), **options)


def _call_along_axis(name: str) -> Lowering:
    """Make a lowering with an axis; NumPy ignores axis -1 for an array without axes."""
    function = attrgetter(name)

    def lower(jax: ModuleType, out: ShapeDtypeStruct, x: JaxArray, **options: Any) -> JaxArray:
        options |= {} if x.ndim else {"axis": None}
        return function(jax)(x.astype(out.dtype), **options)

    return lower


def _call_after_options(name: str) -> Lowering:
    """Make a lowering of a function that takes the options, sorted by name, before the operand."""
    function = attrgetter(name)

    def lower(jax: ModuleType, out: ShapeDtypeStruct, x: JaxArray, **options: Any) -> JaxArray:
        return function(jax)(*[options[k] for k in sorted(options)], x.astype(out.dtype))

    return lower


def _cast(xs: tuple[JaxArray, ...], out: ShapeDtypeStruct) -> list[JaxArray]:
    return [x.astype(out.dtype) for x in xs]


def _identity(jax: ModuleType, out: ShapeDtypeStruct, x: JaxArray, **options: Any) -> JaxArray:
    return x


def _zeros(jax: ModuleType, out: ShapeDtypeStruct, x: JaxArray, slope: JaxArray) -> JaxArray:
    return jax.numpy.zeros(out.shape, out.dtype)


# --- arithmetic -----------------------------------------------------------------------------


def _power(jax: ModuleType, out: ShapeDtypeStruct, x: JaxArray, n: JaxArray | int) -> JaxArray:
    x = jax.numpy.asarray(x, out.dtype)
    # an integer exponent stays an integer, so that negative bases have derivatives
    return jax.numpy.power(x, n if type(n) is int else jax.numpy.asarray(n, out.dtype))


def _ldexp(jax: ModuleType, out: ShapeDtypeStruct, x: JaxArray, n: JaxArray) -> JaxArray:
    # JAX does not know that its ldexp is linear; two factors do not overflow
    one = jax.numpy.ones((), out.dtype)
    half = n // 2
    return x * jax.numpy.ldexp(one, half) * jax.numpy.ldexp(one, n - half)


def _isclose(
    jax: ModuleType,
    out: ShapeDtypeStruct,
    a: JaxArray,
    b: JaxArray,
    rtol: float | JaxArray,
    atol: float | JaxArray,
    equal_nan: bool = False,
) -> JaxArray:
    near = jax.numpy.abs(a - b) <= atol + rtol * jax.numpy.abs(b)
    near = (near & jax.numpy.isfinite(b)) | (a == b)
    return near | (jax.numpy.isnan(a) & jax.numpy.isnan(b)) if equal_nan else near


# --- shapes ---------------------------------------------------------------------------------


def _expand(
    jax: ModuleType, out: ShapeDtypeStruct, x: JaxArray, axis: int, copies: int
) -> JaxArray:
    return jax.numpy.repeat(jax.numpy.expand_dims(x, axis), copies, axis)


def _join(name: str) -> Lowering:
    return lambda jax, out, *xs, axis=0: getattr(jax.numpy, name)(_cast(xs, out), axis=axis)


def _windows(
    jax: ModuleType,
    out: ShapeDtypeStruct | JaxArray,
    x: JaxArray,
    window_shape: Shape,
    axis: Axis = None,
) -> JaxArray:
    if not math.prod(out.shape):
        return jax.numpy.zeros(out.shape, out.dtype)
    sizes = window_shape if isinstance(window_shape, tuple) else (window_shape,)
    axes = tuple(range(x.ndim)) if axis is None else axis if isinstance(axis, tuple) else (axis,)
    for size, at in zip(sizes, axes, strict=True):
        at %= len(out.shape) - len(sizes)
        places = np.arange(x.shape[at] - size + 1)[:, None] + np.arange(size)
        x = jax.numpy.moveaxis(jax.numpy.take(x, places, axis=at), at + 1, -1)
    return x


def _overlap_add(
    jax: ModuleType, out: ShapeDtypeStruct, values: JaxArray, shape: Shape, axis: Axis = None
) -> JaxArray:
    axes = tuple(range(len(shape))) if axis is None else axis
    sizes = values.shape[len(shape) :]
    return _adjoint(jax, out, lambda x: _windows(jax, values, x, sizes, axes), values)


def _patches(
    jax: ModuleType, out: ShapeDtypeStruct | JaxArray, x: JaxArray, size: Shape, stride: Shape
) -> JaxArray:
    n = len(size)
    counts, parts = out.shape[x.ndim :], []
    # for each offset in a patch, the elements of all patches at that offset
    for offset in itertools.product(*map(range, size)):
        steps = zip(offset, stride, counts, strict=True)
        parts.append(x[(..., *[slice(i, i + s * (c - 1) + 1, s) for i, s, c in steps])])
    return jax.numpy.stack(parts, axis=x.ndim - n).reshape(out.shape)


def _add_patches(
    jax: ModuleType, out: ShapeDtypeStruct, values: JaxArray, sides: Shape, stride: Shape
) -> JaxArray:
    n = len(sides)
    size = values.shape[values.ndim - 2 * n : values.ndim - n]
    return _adjoint(jax, out, lambda x: _patches(jax, values, x, size, stride), values)


def _adjoint(
    jax: ModuleType, out: ShapeDtypeStruct, linear: Callable[[JaxArray], JaxArray], values: JaxArray
) -> JaxArray:
    """Apply the adjoint of a linear function of one array, with the shape and dtype of `out`."""
    if not values.size:
        return jax.numpy.zeros(out.shape, out.dtype)
    return jax.linear_transpose(linear, out)(values.astype(out.dtype))[0]


# --- reductions, order, scans ---------------------------------------------------------------


def _sort_stably(name: str) -> Lowering:
    """Make a lowering to a stable sort, which is also a valid partition."""
    return lambda jax, out, a, *, axis=-1, **options: getattr(jax.numpy, name)(
        a, axis=axis, stable=True
    )


def _piece(jax: ModuleType, out: ShapeDtypeStruct, x: JaxArray, xp: JaxArray) -> JaxArray:
    places = jax.numpy.searchsorted(xp, x, side="right") - 1
    return jax.numpy.clip(places, 0, max(len(xp) - 2, 0))


def _recurrence(
    jax: ModuleType, out: ShapeDtypeStruct, a: JaxArray, b: JaxArray, axis: int = 0
) -> JaxArray:
    def compose(first: tuple[JaxArray, ...], second: tuple[JaxArray, ...]) -> tuple[JaxArray, ...]:
        return first[0] * second[0], second[0] * first[1] + second[1]

    a, b = _cast((a, b), out)
    return jax.lax.associative_scan(compose, (a, b), axis=axis % b.ndim)[1] if b.size else b


# --- draws ----------------------------------------------------------------------------------


def _uniform(
    jax: ModuleType, out: ShapeDtypeStruct, key: JaxArray, shape: Shape, dtype: DType
) -> JaxArray:
    if out.dtype in (np.float64, np.float32):
        return philox.uniform(jax, key, shape, out.dtype)
    return _call_on_host("random.uniform")(jax, out, key, shape=shape, dtype=dtype)


def _call_on_host(name: str) -> Lowering:
    """Make a lowering to NumPy's draw on the host, whose rejections depend on earlier numbers."""
    draw = op_named(name, ()).forward

    def lower(jax: ModuleType, out: ShapeDtypeStruct, *xs: JaxArray, **options: Any) -> JaxArray:
        def draw_on_host(*xs: JaxArray) -> Array:
            return np.asarray(draw(*map(np.asarray, xs), **options), out.dtype)

        xs = tuple(map(jax.lax.stop_gradient, xs))
        return jax.pure_callback(draw_on_host, out, *xs, vmap_method="sequential")

    return lower


_HOST_DRAWS = (
    *("random.seeded", "random.normal", "random.truncated_normal", "random.integers"),
    *("random.permutation", "random.choice"),
)

# --- functions of SciPy ----------------------------------------------------------------------


def _triangular(
    jax: ModuleType,
    out: ShapeDtypeStruct,
    a: JaxArray,
    b: JaxArray,
    trans: bool,
    lower: bool,
    unit: bool,
    finite: bool,
) -> JaxArray:
    stack = out.shape[:-2]
    a, b = (jax.numpy.broadcast_to(x, (*stack, *x.shape[-2:])) for x in _cast((a, b), out))
    options = {"trans": int(trans), "lower": lower, "unit_diagonal": unit}
    return jax.scipy.linalg.solve_triangular(a, b, **options)


def _cholesky_cotangent(
    jax: ModuleType, out: ShapeDtypeStruct, factor: JaxArray, g: JaxArray
) -> JaxArray:
    """Pull the cotangent of a Cholesky factor back to the matrix."""
    factor, g = _cast((factor, g), out)
    half = jax.numpy.where(jax.numpy.eye(g.shape[-1], dtype=bool), 0.5, 1.0).astype(out.dtype)

    def solve(x: JaxArray) -> JaxArray:
        return jax.scipy.linalg.solve_triangular(factor, x, trans="C", lower=True).mT.conj()

    x = solve(solve(jax.numpy.tril(factor.mT.conj() @ g) * half))
    return jax.numpy.tril(x + x.mT.conj()) * half


def _sparse_matmul(
    jax: ModuleType, out: ShapeDtypeStruct, data: JaxArray, x: JaxArray, pattern: Pattern
) -> JaxArray:
    terms = data[..., None] * x[..., pattern.cols, :]
    return jax.numpy.zeros(out.shape, out.dtype).at[..., pattern.rows, :].add(terms)


def _sparse_dot(
    jax: ModuleType, out: ShapeDtypeStruct, a: JaxArray, b: JaxArray, pattern: Pattern
) -> JaxArray:
    return jax.numpy.sum(a[..., pattern.rows, :] * b[..., pattern.cols, :], axis=-1)


def _distances(
    jax: ModuleType, out: ShapeDtypeStruct, a: JaxArray, b: JaxArray, metric: str
) -> JaxArray:
    differences = jax.numpy.abs(a[..., :, None, :] - b[..., None, :, :])
    terms = differences if metric == "cityblock" else differences**2
    total = jax.numpy.sum(terms, axis=-1)
    if metric != "euclidean":
        return total
    is_zero = total == 0
    return jax.numpy.where(is_zero, 0.0, jax.numpy.sqrt(jax.numpy.where(is_zero, 1.0, total)))


def _pair_distances(jax: ModuleType, out: ShapeDtypeStruct, x: JaxArray, metric: str) -> JaxArray:
    pairs = np.triu_indices(x.shape[-2], 1)
    return _distances(jax, out, x, x, metric)[..., *pairs]


def _squareform(jax: ModuleType, out: ShapeDtypeStruct, values: JaxArray, n: int) -> JaxArray:
    upper = jax.numpy.zeros(out.shape, out.dtype).at[..., *np.triu_indices(n, 1)].set(values)
    return upper + upper.mT


def _convolve(
    jax: ModuleType,
    out: ShapeDtypeStruct,
    a: JaxArray,
    b: JaxArray,
    mode: str,
    method: str,
    axes: Axis,
) -> JaxArray:
    a, b = a.astype(out.dtype), b.astype(out.dtype)
    if axes is None:
        return jax.scipy.signal.convolve(a, b, mode, method)
    return jax.scipy.signal.fftconvolve(a, b, mode, axes)


_SCIPY_FUNCTIONS = (
    *("gamma", "gammaln", "beta", "betaln", "erf", "erfc", "erfinv", "ndtr", "ndtri", "log_ndtr"),
    *("expit", "logit", "xlogy", "xlog1py", "entr", "rel_entr", "kl_div"),
    *("i0", "i1", "i0e", "i1e", "gammainc", "gammaincc", "betainc", "expi", "exp1"),
)

_PARAMETERS_FIRST = ("expn", "zeta", "hyp1f1", "polygamma")

# --- the table ------------------------------------------------------------------------------

_FUNCTIONS = (
    *("all", "any", "argmax", "argmin", "count_nonzero", "flip", "roll", "reshape", "squeeze"),
    *("swapaxes", "transpose", "broadcast_to", "expand_dims", "searchsorted", "isneginf"),
    *("isposinf", "isreal", "iscomplex", "angle", "digitize"),
)
_FUNCTIONS_WITH_CAST = (
    *("max", "min", "sum", "prod", "mean", "cumsum", "cumprod", "convolve", "round", "i0"),
    *("matvec", "vecmat", "vecdot"),
)

TABLE: Mapping[str, Lowering] = {
    **{lowering.__name__: lowering for lowering in (*indexing.LOWERINGS, *matrices.LOWERINGS)},
    **{name: _call_jax(f"numpy.{name}") for name in _FUNCTIONS},
    **{name: _call_with_cast(f"numpy.{name}") for name in _FUNCTIONS_WITH_CAST},
    **{name: _call_jax(f"numpy.fft.{name}") for name in ("fft", "ifft", "irfft")},
    # JAX raises for float16
    "rfft": lambda jax, out, x, **options: jax.numpy.fft.rfft(
        x.astype(np.finfo(out.dtype).dtype), **options
    ),
    **{name: _call_with_cast(f"nn.{name}") for name in ("relu", "sigmoid", "softplus")},
    "sigmoid_derivative": lambda jax, out, x: (jax.nn.sigmoid(x) * jax.nn.sigmoid(-x)).astype(
        out.dtype
    ),
    **dict.fromkeys(("as_array", "asarray", "copy", "real", "from_zero"), _identity),
    "ascontiguousarray": lambda jax, out, a: a.reshape(out.shape),
    "astype": lambda jax, out, a, dtype: a.astype(out.dtype),
    "stopped": _call_jax("lax.stop_gradient"),
    "seed": lambda jax, out, shape, dtype: jax.numpy.ones(out.shape, out.dtype),
    # arithmetic
    "power": _power,
    "ldexp": _ldexp,
    "clip_both": _call_with_cast("numpy.clip"),
    "fix": _call_jax("numpy.trunc"),
    "imag": lambda jax, out, x: jax.numpy.zeros(out.shape, out.dtype),
    "real.complex": _call_jax("numpy.real"),
    "imag.complex": _call_jax("numpy.imag"),
    "exponent": lambda jax, out, x: jax.numpy.frexp(x)[1],
    "nan_to_num": lambda jax, out, x, copy=True, **options: jax.numpy.nan_to_num(x, **options),
    "isclose": _isclose,
    "even_edges": _call_with_cast("numpy.histogram_bin_edges"),
    "where": lambda jax, out, c, x, y: jax.numpy.where(c, *_cast((x, y), out)),
    "keep": lambda jax, out, c, x: jax.numpy.where(c, x, jax.numpy.zeros((), out.dtype)),
    "erf": _call_with_cast("scipy.special.erf"),
    # shapes
    "expand": _expand,
    **{name: _join(name) for name in ("concatenate", "stack")},
    "sliding_window_view": _windows,
    "overlap_add": _overlap_add,
    "patches": _patches,
    "add_patches": _add_patches,
    # indexing
    "index_select": lambda jax, out, x, indices: x[indices],
    **{
        f"index_{method}": indexing.lower_at_method(method)
        for method in ("add", "multiply", "max", "min")
    },
    "inner_product": _call_jax("numpy.vdot"),
    # reductions, order, scans
    **{name: _call_along_axis(f"nn.{name}") for name in ("logsumexp", "softmax", "log_softmax")},
    **dict.fromkeys(("sort", "partition"), _sort_stably("sort")),
    **dict.fromkeys(("argsort", "argpartition"), _sort_stably("argsort")),
    "piece": _piece,
    "linear_recurrence": _recurrence,
    # products and matrices
    "contract": lambda jax, out, *xs, subscripts, optimize=False: jax.numpy.einsum(
        subscripts, *_cast(xs, out)
    ),
    "inv": _call_with_cast("numpy.linalg.inv"),
    "solve": _call_with_cast("numpy.linalg.solve"),
    "thin_qr": _call_jax("numpy.linalg.qr"),
    "slogdet": _call_jax("numpy.linalg.slogdet"),
    "thin_svd": partial(_call_jax("numpy.linalg.svd"), full_matrices=False),
    # draws that only need the words of Philox; NumPy makes the others
    "random.split": philox.split,
    "random.folded_in": philox.fold_in,
    "random.bernoulli": philox.bernoulli,
    "random.uniform": _uniform,
    **{name: _call_on_host(name) for name in _HOST_DRAWS},
    # functions of SciPy
    **{f"scipy.{name}": _call_with_cast(f"scipy.special.{name}") for name in _SCIPY_FUNCTIONS},
    "scipy.psi": _call_with_cast("scipy.special.digamma"),
    "scipy.loggamma": _call_with_cast("scipy.special.gammaln"),
    "scipy.rgamma": lambda jax, out, x: 1 / jax.scipy.special.gamma(x.astype(out.dtype)),
    "scipy.log_expit": _call_with_cast("nn.log_sigmoid"),
    "scipy.log1p": _call_with_cast("numpy.log1p"),
    "scipy.expm1": _call_with_cast("numpy.expm1"),
    **{f"scipy.{name}": _call_after_options(f"scipy.special.{name}") for name in _PARAMETERS_FIRST},
    "tapegrad.ops.triangular:triangular": _triangular,
    "tapegrad.scipy._options:_finite": _identity,
    "tapegrad.scipy._distributions:zeros_with_infinite_slope": _zeros,
    "tapegrad.scipy.linalg:_cho_factor": lambda jax, out, a, lower, finite: matrices.cholesky(
        jax, out, a, upper=not lower
    ),
    "tapegrad.ops.triangular:pulled": _cholesky_cotangent,
    "tapegrad.scipy.linalg:_expm": _call_with_cast("scipy.linalg.expm"),
    "tapegrad.scipy.linalg:_frechet": partial(
        _call_with_cast("scipy.linalg.expm_frechet"), compute_expm=False
    ),
    "tapegrad.scipy.sparse.coo:coo_matmul": _sparse_matmul,
    "tapegrad.scipy.sparse.coo:coo_dot": _sparse_dot,
    "tapegrad.scipy.signal:_convolve": _convolve,
    "tapegrad.scipy.spatial.distance:_cdist": _distances,
    "tapegrad.scipy.spatial.distance:_pdist": _pair_distances,
    "tapegrad.scipy.spatial.distance:_squareform": _squareform,
}
