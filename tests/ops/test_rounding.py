"""Derivatives where rounding could take the place of what is sought: large numbers, short dtypes."""

import zlib
from typing import Any

import numpy as np
import pytest
from depth import THOROUGH
from hypothesis import given
from hypothesis import strategies as st
from op_calls import sample_calls

import tapegrad as tg
from tapegrad import tree
from tapegrad.declare import OPS
from tapegrad.types import Array, DTypeLike

DTYPES = [np.float16, np.float32, np.float64]

# the slopes of these are weights, which add up to one, and stay the same if all elements move
MEANS: dict[str, Any] = {
    "logsumexp": tg.logsumexp,
    "logsumexp of rows": lambda x: tg.logsumexp(x[None], axis=1, keepdims=True)[0, 0],
    "logaddexp.reduce": np.logaddexp.reduce,
    "logaddexp": lambda x: np.logaddexp(x[0], x[1]),
    "logaddexp2": lambda x: np.logaddexp2(x[0], x[1]),
    "a log of a softmax": lambda x: x[0] - tg.log_softmax(x)[0],
    "max": np.max,
    "min": np.min,
    "mean": np.mean,
    "median": np.median,
    "quantile": lambda x: np.quantile(x, 0.25),
    "average": lambda x: np.average(x, weights=np.array([1.0, 2.0, 5.0], x.dtype)),
}


@st.composite
def far_out(draw: st.DrawFn, size: int = 3) -> tuple[Array, Array]:
    """Two arrays of a dtype: one of numbers near to each other, and the same far from 0."""
    dtype = draw(st.sampled_from(DTYPES))
    info = np.finfo(dtype)
    # units of one size, so that all sums and differences are exact
    unit = 2.0 ** draw(st.integers(-5, 2))
    steps = draw(st.lists(st.integers(-7, 7), min_size=size, max_size=size))
    near = np.array(steps, dtype) * dtype(unit)
    largest = min(unit * 2.0 ** (info.nmant - 1), float(info.max) / 4)
    offset = draw(st.sampled_from([-1, 1])) * unit * draw(st.integers(0, int(largest / unit)))
    return near, near + dtype(offset)


@pytest.mark.parametrize("name", MEANS)
@given(pair=far_out())
def test_weights_add_up_to_one_and_do_not_depend_on_an_offset(
    name: str, pair: tuple[Array, ...]
) -> None:
    near, far = pair
    fn, eps = MEANS[name], np.finfo(far.dtype).eps
    weights = tg.grad(fn)(far)
    assert weights.dtype == far.dtype
    np.testing.assert_allclose(weights, tg.grad(fn)(near), rtol=1e-12, atol=8 * eps)
    np.testing.assert_allclose(np.sum(weights.astype(float)), 1, atol=8 * eps)
    moved = tg.jvp(fn, (far,), (np.ones_like(far),))[1]
    np.testing.assert_allclose(moved, 1, atol=8 * eps)
    # weights that add up to one move by what adds up to nothing
    np.testing.assert_allclose(np.sum(tg.hessian(fn)(far), axis=1), 0, atol=8 * eps)


def batch_norm(x: Array) -> Array:
    layer = tg.nn.BatchNorm(2)
    params, state = layer.init(0, x.dtype), layer.initial_state(x.dtype)
    return layer(params, x.T, state, training=True)[0].T


def aweights(x: Array) -> Array:
    return np.cov(x, aweights=np.arange(1.0, x.shape[1] + 1))


# what only the differences of elements count for
SPREADS: dict[str, Any] = {
    "standardize": tg.standardize,
    "BatchNorm": batch_norm,
    "var": lambda x: np.var(x, axis=1),
    "var of some": lambda x: np.var(x, axis=1, where=np.arange(x.shape[1]) > 0, ddof=1),
    "var in a dtype": lambda x: np.var(x, axis=1, dtype=x.dtype),
    "std": lambda x: np.std(x, axis=1),
    "nanvar": lambda x: np.nanvar(x, axis=1),
    "nanstd": lambda x: np.nanstd(x),
    "cov": np.cov,
    "weighted cov": aweights,
    "corrcoef": np.corrcoef,
    "diff": lambda x: np.diff(x),
    "ptp": lambda x: np.ptp(x, axis=1),
    "softmax": tg.softmax,
    "log_softmax": tg.log_softmax,
    "distances": lambda x: np.sqrt(np.sum((x[0][:, None] - x[1] - 0.5) ** 2, axis=1)),
    "norms": lambda x: np.linalg.norm(x[0] - x[1]),
    "hypot": lambda x: np.hypot(x[0] - x[1, 0], x[1] - x[0, 0] - 0.5),
}


@pytest.mark.parametrize("name", SPREADS)
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("offset", [0.0, 16.0, 256.0, 512.0])
def test_spreads_and_their_slopes_do_not_depend_on_an_offset(
    name: str, dtype: type[Any], offset: float
) -> None:
    near = np.array([[0, 1, 3, -2, 6, 0, 1], [5, 5, 5, 4, 5, 5, 5]], dtype)
    # as far as halves are numbers of the dtype
    far = near + dtype(offset / 1024 * 2.0 ** np.finfo(dtype).nmant)
    fn = SPREADS[name]

    def loss(x: Array) -> Array:
        y = fn(x)
        return tg.sum(y * np.cos(np.arange(y.size)).reshape(y.shape).astype(dtype))

    # in float16 the variances are rounded as NumPy rounds them
    tolerance = 64 * np.finfo(dtype).eps
    of_near, slopes = tg.value_and_grad(loss)(near)
    tolerance = tolerance * max(1, float(np.abs(slopes).max()))
    for of_far in (tg.value_and_grad(loss), tg.compile(tg.value_and_grad(loss))):
        y, slopes_of_far = of_far(far)
        np.testing.assert_allclose(y, of_near, rtol=tolerance, atol=tolerance)
        np.testing.assert_allclose(slopes_of_far, slopes, rtol=0, atol=tolerance)
    _, tangent = tg.jvp(loss, (far,), (np.ones_like(far),))
    np.testing.assert_allclose(tangent, 0, atol=4 * tolerance)


@pytest.mark.parametrize("dtype", DTYPES)
def test_activations_far_out_are_their_argument_or_nothing(dtype: DTypeLike) -> None:
    x = np.array([-6e4, -300, 300, 6e4], dtype)
    for fn in (tg.gelu, lambda x: tg.gelu(x, True), tg.relu, tg.softplus):
        y, slopes = tg.vjp(fn, x)
        np.testing.assert_allclose(y, [0, 0, 300, x[-1]], rtol=0, atol=1e-100)
        # the exponential of an infinite square is 0
        with np.errstate(over="ignore"):
            np.testing.assert_allclose(
                slopes(np.ones_like(x))[0], [0, 0, 1, 1], rtol=0, atol=1e-100
            )
    # in the left tail, by mpmath at 60 digits
    for x, y, slope in (
        (-3.0, -0.003637392081773019, -0.011584166630969728),
        (-9.0, -1.336459594734876e-28, -2.5157352850674315e-27),
    ):
        fn = tg.value_and_grad(lambda x: tg.gelu(x, approximate=True))
        for values in (fn(x), tg.compile(fn)(x)):
            np.testing.assert_allclose(values, (y, slope), rtol=1e-13)


# --- a short dtype against a long one ---------------------------------------------------------

# in short dtypes these have no more digits, by nature or by what they are computed with
LOSE_DIGITS = {
    **dict.fromkeys(
        ("softmax", "log_softmax", "standardize", "tanh"),
        "saturated, the slope is a difference of numbers near to each other",
    ),
    **dict.fromkeys(
        ("inv", "pinv", "solve", "cofactor", "cholesky", "eig", "eigh", "eigvals", "eigvalsh"),
        "the matrices may be nearly singular",
    ),
    **dict.fromkeys(("svdvals", "thin_svd", "thin_qr", "complement", "slogdet", "det"), "the same"),
    **dict.fromkeys(("fresnel_s", "fresnel_c"), "a zero of the slope is a multiple of pi, rounded"),
    "log_ndtr_slope": "of an exponential of a square",
    "rel_entr": "at a zero of the slope a logarithm cancels a 1",
    "partition": "its order is of NumPy's choice",
}


def scipy_ops() -> dict[str, Any]:
    """The ops of SciPy's functions, but for integrals that need a density in double precision."""
    pytest.importorskip("scipy.special")
    from tapegrad.ops.scipy_special import SCIPY_OPS

    left_out = ("betainc", "gammainc", "stdtr", "elliptic", "binom", "poisson", "density")
    return {name: op for name, op in SCIPY_OPS.items() if not any(x in name for x in left_out)}


def slopes_in(op: Any, call: Any, dtype: Any) -> Any:
    """The gradient of a weighted sum of all results, in a dtype, by all floating operands."""
    leaves, structure = tree.flatten(call.args)
    places = [i for i, x in enumerate(leaves) if isinstance(x, np.ndarray) and x.dtype.kind == "f"]

    def loss(*xs: Any) -> Any:
        now = dict(enumerate(leaves)) | dict(zip(places, xs, strict=True))
        results = tree.leaves(op(*tree.unflatten(structure, list(now.values())), **call.kwargs))
        results = [y for y in results if isinstance(y, tg.Tensor) and y.dtype.kind == "f"]
        weights = [np.reshape(np.cos(np.arange(y.size)) + 2, y.shape) for y in results]
        return sum((tg.sum(y * w) for y, w in zip(results, weights, strict=True)), xs[0].sum() * 0)

    xs = [leaves[i].astype(dtype) for i in places]
    return tg.grad(loss, tuple(range(len(places))))(*xs) if places else ()


@pytest.mark.thorough
@pytest.mark.parametrize("dtype", [np.float16, np.float32])
@pytest.mark.parametrize("of_scipy", [False, True], ids=["ours", "scipy's"])
def test_slopes_in_short_dtypes_are_those_in_float64(dtype: Any, of_scipy: bool) -> None:
    info = np.finfo(dtype)
    wrong = []

    def near_and_far(x: Any, scale: float, offset: float) -> Any:
        is_floating = isinstance(x, np.ndarray) and x.dtype.kind == "f"
        return (x.astype(float) * scale + offset).astype(dtype) if is_floating else x

    for name, op in (scipy_ops() if of_scipy else OPS).items():
        if name in LOSE_DIGITS:
            continue
        for call in sample_calls(op, 20 if THOROUGH else 2, zlib.crc32(name.encode())):
            for scale, offset in [(1, 0), (2**-4, 0), (2**5, 0), (1, 512), (1, 4096)]:
                args = tree.map(lambda x, s=scale, o=offset: near_and_far(x, s, o), call.args)
                moved = type(call)(args, call.kwargs)
                try:
                    with np.errstate(all="ignore"):
                        pairs = [slopes_in(op, moved, x) for x in (dtype, np.float64)]
                except (TypeError, ValueError, np.linalg.LinAlgError):  # outside of its domain
                    continue
                for short, long in zip(*pairs, strict=True):
                    size = np.abs(long).max(initial=0)
                    # neither subnormal numbers nor an overflow on the way
                    if info.tiny / info.eps < size < float(info.max) ** 0.5:
                        error = np.abs(short - long).max() / size / info.eps
                        if not error < 32:
                            wrong.append((name, scale, offset, error))
    assert not wrong
