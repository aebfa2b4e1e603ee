"""Draws are pure functions of a key, equal when recorded or compiled, with the named distribution.

They have the given shape and dtype and gradients with respect to scale; errors name the argument.
"""

import copy
import math
import pickle
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from alike import same_bits
from hypothesis import given
from hypothesis import strategies as st

import tapegrad as tg
from tapegrad.types import Array, ArrayLike, Key

SEEDS = st.integers(0, 2**70)


SHAPES = st.lists(st.integers(0, 3), max_size=3).map(tuple)


# a draw of each kind, as a function of a key
DRAWS: dict[str, Any] = {
    "uniform": lambda k: tg.random.uniform(k, (3, 2)),
    "uniform between arrays": lambda k: tg.random.uniform(k, (3, 2), np.zeros(2), np.ones((3, 1))),
    "uniform float32": lambda k: tg.random.uniform(k, 5, -1.0, 1.0, np.float32),
    "uniform float16": lambda k: tg.random.uniform(k, 5, dtype=np.float16),
    "normal": lambda k: tg.random.normal(k, (3, 2)),
    "normal float32": lambda k: tg.random.normal(k, (3, 2), "float32"),
    "normal complex64": lambda k: tg.random.normal(k, (2, 3), np.complex64),
    "one normal complex number": lambda k: tg.random.normal(k, dtype=complex),
    "one normal number": tg.random.normal,
    "truncated_normal": lambda k: tg.random.truncated_normal(k, (2, 9), -0.5, 1.0),
    "bernoulli": lambda k: tg.random.bernoulli(k, 0.25, (4, 5)),
    "bernoulli of an array": lambda k: tg.random.bernoulli(k, np.linspace(0, 1, 64)),
    "integers": lambda k: tg.random.integers(k, -5, 1000, (4,)),
    "integers below an array": lambda k: tg.random.integers(k, 0, np.array([9, 2**40]), (3, 2)),
    "permutation": lambda k: tg.random.permutation(k, 50),
    "permutation of rows": lambda k: tg.random.permutation(k, np.arange(40.0).reshape(20, 2)),
    "choice": lambda k: tg.random.choice(k, 1000, (3, 2)),
    "choice of rows": lambda k: tg.random.choice(k, np.arange(40.0).reshape(20, 2), 3),
    "choice without replacement": lambda k: tg.random.choice(k, 50, 20, replace=False),
    "choice by weight": lambda k: tg.random.choice(k, 50, 20, p=np.arange(50) / 1225),
    "split": lambda k: tg.random.split(k, 3),
    "fold_in": lambda k: tg.random.fold_in(k, 7),
    "a key of a split": lambda k: tg.random.normal(tg.random.split(k)[1], 3),
}


every_draw = pytest.mark.parametrize("draw", DRAWS.values(), ids=DRAWS)


@every_draw
@given(seed=SEEDS)
def test_draws_of_equal_keys_are_equal(draw: Callable[..., Any], seed: int) -> None:
    key = tg.random.key(seed)
    before, state = key.tobytes(), np.random.get_state()[1].tobytes()  # noqa: NPY002
    want = draw(key)
    sequence = np.random.SeedSequence(seed)
    others = [seed, sequence, pickle.loads(pickle.dumps(key))]
    for equal in (key, copy.deepcopy(key), *others):
        assert same_bits(draw(equal), want)
    assert key.tobytes() == before
    assert sequence.n_children_spawned == 0
    assert np.random.get_state()[1].tobytes() == state  # noqa: NPY002


@every_draw
def test_draws_of_different_keys_differ(draw: Callable[..., Any]) -> None:
    drawn = [np.asarray(draw(seed)).tobytes() for seed in range(4)]
    assert len(set(drawn)) == 4


def test_draws_have_the_bits_of_earlier_versions() -> None:
    # saved keys and published results depend on these
    key = tg.random.key(0)
    assert key.tolist() == [15793235383387715774, 12390638538380655177]
    assert tg.random.split(key).tolist() == [
        [5312087694084997812, 2167078804631760376],
        [6593286206677252513, 11570076281104695815],
    ]
    assert tg.random.fold_in(key, 3).tolist() == [4004728888094030335, 17097738721075660937]
    assert tg.random.fold_in(key, -3).tolist() == [12215742377095486139, 11777391666646269798]
    generator = np.random.Generator(np.random.Philox(key=key))
    assert same_bits(tg.random.uniform(key, 3), generator.random(3))
    generator = np.random.Generator(np.random.Philox(key=key))
    assert same_bits(tg.random.normal(key, 5, np.float32), generator.standard_normal(5, np.float32))


@every_draw
def test_compiled_draws_are_computed_in_each_run(draw: Callable[..., Any]) -> None:
    compiled, compiled_of_seed = tg.compile(draw), tg.compile(draw)
    for seed in (0, 1, 2**40):
        key = tg.random.key(seed)
        want = draw(key)
        assert same_bits(compiled(key), want)
        assert same_bits(compiled_of_seed(seed), want)
        assert same_bits(tg.record(draw)(key)[0], want)
    assert len(compiled.signatures) == len(compiled_of_seed.signatures) == 1


def test_draws_take_varying_bounds() -> None:
    def fn(k: Key, low: ArrayLike, high: ArrayLike, p: Array) -> tuple[Array, ...]:
        return (
            tg.random.integers(k, low, high, 4),
            tg.random.uniform(k, 4, low, high),
            tg.random.bernoulli(k, p, 9),
            tg.random.choice(k, 2, 9, p=tg.array([p, 1 - p])),
        )

    compiled = tg.compile(fn)
    for case in [(1, 0, 5, 0.5), (2, -7, 70, 0.125)]:
        for got, want in zip(compiled(*case), fn(*case), strict=True):
            assert same_bits(got, want)
    assert len(compiled.signatures) == 1


def test_draws_have_gradients_with_respect_to_scale_and_bounds() -> None:
    def loss(mean: ArrayLike, scale: ArrayLike, low: ArrayLike, rows: Array) -> Array:
        key = tg.random.key(1)
        shuffled = tg.random.permutation(key, rows) * np.arange(4.0)
        return (
            tg.sum(mean + scale * tg.random.normal(key, 3))
            + tg.sum(tg.random.uniform(key, 3, low, 2.0))
            + tg.sum(shuffled)
        )

    args = (1.0, 2.0, -1.0, np.arange(4.0))
    mean, scale, low, rows = tg.grad(loss, argnums=(0, 1, 2, 3))(*args)
    assert mean == 3
    np.testing.assert_allclose(scale, tg.random.normal(1, 3).sum())
    np.testing.assert_allclose(low, (1 - tg.random.uniform(1, 3)).sum())
    np.testing.assert_array_equal(tg.random.permutation(1, 4)[rows.astype(int)], np.arange(4))
    tg.testing.check_grads(loss, args)


@given(SEEDS, SHAPES, st.sampled_from(["e", "f", "d", "g"]))
def test_draws_have_the_given_shape_and_dtype(
    seed: int, shape: tuple[int, ...], dtype: str
) -> None:
    u = tg.random.uniform(seed, shape, dtype=dtype)
    between = tg.random.uniform(seed, shape, np.float64(-2), np.float64(3), dtype)
    n = tg.random.normal(seed, shape, dtype)
    t = tg.random.truncated_normal(seed, shape, dtype=dtype)
    for x in (u, between, n, t):
        assert (np.shape(x), x.dtype.char) == (shape, dtype)
    assert np.all((u >= 0) & (u < 1))
    assert np.all((between >= -2) & (between <= 3))
    assert np.all(np.abs(t) <= 2)
    assert tg.random.bernoulli(seed, 0.5, shape).shape == shape
    assert tg.random.integers(seed, 0, 9, shape, np.int8).dtype == np.int8
    assert tg.random.choice(seed, 9, shape).shape == shape


def test_draws_of_half_precision_are_never_one() -> None:
    assert tg.random.uniform(0, 100_000, dtype=np.float16).max() < 1


@given(SEEDS, st.integers(0, 30))
def test_permutation_has_each_number_once(seed: int, n: int) -> None:
    order = tg.random.permutation(seed, n)
    np.testing.assert_array_equal(np.sort(order), np.arange(n))
    rows = np.arange(2.0 * n).reshape(n, 2)
    np.testing.assert_array_equal(tg.random.permutation(seed, rows), rows[order])
    sample = tg.random.choice(seed, n, n // 2, replace=False) if n else np.zeros(0)
    assert len(set(sample.tolist())) == n // 2


N = 40_000


def assert_near(got: Array, want: float, deviation: float) -> None:
    """Check that the mean of N samples is within five standard deviations."""
    assert abs(float(np.mean(got)) - want) < 5 * deviation / math.sqrt(N)


@pytest.mark.parametrize("dtype", ["f", "d"])
@pytest.mark.parametrize("seed", range(3))
def test_draws_have_the_moments_of_their_distribution(seed: int, dtype: str) -> None:
    u = tg.random.uniform(seed, N, -1.0, 3.0, dtype)
    assert_near(u, 1.0, 4 / math.sqrt(12))
    assert_near((u - 1) ** 2, 16 / 12, 16 * math.sqrt(1 / 180))
    x = tg.random.normal(seed, N, dtype)
    for power, mean, square in [(1, 0, 1), (2, 1, 3), (3, 0, 15), (4, 3, 105)]:
        assert_near(x.astype(float) ** power, mean, math.sqrt(square - mean**2))
    # half the mass of the normal distribution is within 0.6745 of 0
    t = tg.random.truncated_normal(seed, N, -0.6745, 0.6745, dtype)
    assert_near(t, 0, 0.3775)
    assert_near(t > 0.3186, 0.25, 0.433)


@pytest.mark.parametrize("seed", range(3))
def test_draws_have_likely_frequencies(seed: int) -> None:
    assert_near(tg.random.bernoulli(seed, 0.3, N), 0.3, math.sqrt(0.21))
    p = np.array([0.1, 0.2, 0.7])
    samples = tg.random.choice(seed, 3, N, p=p)
    for i in range(3):
        assert_near(tg.random.integers(seed, 0, 3, N) == i, 1 / 3, math.sqrt(2) / 3)
        assert_near(samples == i, p[i], math.sqrt(p[i] * (1 - p[i])))


ERRORS: dict[str, tuple[Any, type[Exception], str]] = {
    "a generator": (lambda: tg.random.normal(np.random.default_rng(0)), TypeError, "Generator"),
    "a float seed": (lambda: tg.random.key(0.5), TypeError, "0.5"),
    "a negative seed": (lambda: tg.random.key(-1), ValueError, "-1"),
    "several keys": (lambda: tg.random.normal(tg.random.split(0)), ValueError, r"keys\[i\]"),
    "no number of keys": (lambda: tg.random.split(0, 2.5), ValueError, "2.5"),
    "a float folded in": (lambda: tg.random.fold_in(0, 1.5), TypeError, "1.5"),
    "too large to fold in": (lambda: tg.random.fold_in(0, 2**64), OverflowError, "64 bits"),
    "too large while a program runs": (lambda: tg.compile(tg.random.fold_in)(0, -(2**63) - 1), OverflowError, "64 bits"),
    "a negative side": (lambda: tg.random.normal(0, (2, -1)), ValueError, "-1"),
    "a float side": (lambda: tg.random.normal(0, 2.0), ValueError, "2.0"),
    "integer normals": (lambda: tg.random.normal(0, 2, int), TypeError, "int64"),
    "complex uniforms": (lambda: tg.random.uniform(0, 3, dtype=complex), TypeError, "floating dtype"),
    "bounds that would repeat draws": (lambda: tg.random.uniform(0, 2, np.zeros((3, 2))), ValueError, "low"),
    "a probability above 1": (lambda: tg.random.bernoulli(0, 1.5), ValueError, "1.5"),
    "a probability that is nan": (lambda: tg.random.bernoulli(0, math.nan), ValueError, "nan"),
    "a probability while a program runs": (lambda: tg.compile(tg.random.bernoulli)(0, 2.0), ValueError, "2"),
    "probabilities too": (lambda: tg.random.bernoulli(0, np.zeros(3), ()), ValueError, "p has"),
    "float bounds of integers": (lambda: tg.random.integers(0, 0, 2.5), TypeError, "high"),
    "a size that a program does not know": (lambda: tg.compile(lambda n: tg.random.permutation(0, n))(5), tg.TraceError, "index"),
    "no integers": (lambda: tg.random.integers(0, 3, 3), ValueError, "low >= high"),
    "floating integers": (lambda: tg.random.integers(0, 0, 3, dtype=float), TypeError, "float"),
    "a float permuted": (lambda: tg.random.permutation(0, 2.5), TypeError, "2.5"),
    "nothing to choose from": (lambda: tg.random.choice(0, 0, 2), ValueError, "a must|empty"),
    "too little to choose from": (lambda: tg.random.choice(0, 2, 3, replace=False), ValueError, "larger"),
    "weights that do not fit": (lambda: tg.random.choice(0, 2, 3, p=np.ones(3) / 3), ValueError, "each of 2 items"),
    "no weights": (lambda: tg.random.choice(0, 3, p=[]), ValueError, "each of 3 items"),
    "weights that are nan": (lambda: tg.random.choice(0, 2, p=np.array([math.nan, 1.0])), ValueError, "NaN"),
    "an end that is infinite": (lambda: tg.random.uniform(0, 2, 0, math.inf), ValueError, "must be finite"),
    "ends that are nan": (lambda: tg.random.uniform(0, 2, math.nan, 1.0), ValueError, "low must not be above"),
    "ends too far apart": (lambda: tg.random.uniform(0, 2, -1e308, 1e308), ValueError, "must be finite"),
    "bounds with nothing between": (lambda: tg.random.truncated_normal(0, 2, 3.0, 9.0), ValueError, "0.0013"),
    "bounds in the wrong order": (lambda: tg.random.truncated_normal(0, 2, 1.0, -1.0), ValueError, "-0.68"),
    "bounds that are no numbers": (lambda: tg.random.truncated_normal(0, 2, math.nan), ValueError, "nan"),
}  # fmt: skip


@pytest.mark.parametrize(("call", "error", "words"), ERRORS.values(), ids=ERRORS)
def test_error_names_the_wrong_argument(
    call: Callable[..., Any], error: type[Exception], words: str
) -> None:
    with pytest.raises(error, match=words):
        call()


@pytest.mark.parametrize("dtype", [np.int8, np.uint8, bool])
def test_integers_of_small_dtypes_reach_their_ends(dtype: type[Any]) -> None:
    low, high = (0, 1) if dtype is bool else (np.iinfo(dtype).min, np.iinfo(dtype).max)
    want = tg.random.uniform(0, 9, float(low), float(high))
    for ends in ((dtype(low), dtype(high)), (np.array(low, dtype), np.array(high, dtype))):
        np.testing.assert_array_equal(tg.random.uniform(0, 9, *ends), want)
        drawn = tg.compile(lambda low, high: tg.random.uniform(0, 9, low, high))(*ends)
        np.testing.assert_allclose(drawn, want, rtol=1e-15)


def test_complex_normal_has_unit_variance_and_independent_parts():
    x = tg.random.normal(0, 100_000, dtype=complex)
    moments = [np.mean(y) for y in (x.real**2, x.imag**2, x.real * x.imag, x.real, x.imag)]
    np.testing.assert_allclose(moments, [0.5, 0.5, 0, 0, 0], atol=0.01)
    assert tg.random.normal(0, (2, 3), np.complex64).dtype == np.complex64
