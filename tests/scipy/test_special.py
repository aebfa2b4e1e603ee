"""Special functions that are no ufuncs have SciPy's values far out too, and derivatives."""

import itertools
from typing import Any

import numpy as np
import pytest
from alike import same
from scipy_kit import prove, refuses_alike

import tapegrad as tg

theirs: Any = pytest.importorskip("scipy.special")
ours: Any = pytest.importorskip("tapegrad.scipy.special")

A = np.array([[0.5, -1.0, 2.0], [3.0, 0.25, -0.5]])
B = np.array([[0.5, 0.0, -2.0], [1.0, 0.75, 0.25]])
AXES = [None, 0, -1, (0, 1)]


@pytest.mark.parametrize("axis", AXES)
@pytest.mark.parametrize("name", ["softmax", "log_softmax"])
def test_softmax_is_scipys(name: str, axis: Any) -> None:
    fns = [lambda x, s=s: getattr(s, name)(x, axis=axis) for s in (ours, theirs)]
    prove(*fns, (A,))


@pytest.mark.parametrize("axis", AXES)
def test_the_logarithm_of_a_sum_of_exponentials_is_scipys(axis: Any) -> None:
    keepdims = axis == 0
    prove(*[lambda a, s=s: s.logsumexp(a, axis, keepdims=keepdims) for s in (ours, theirs)], (A,))
    prove(*[lambda a, b, s=s: s.logsumexp(a, axis, b=b, return_sign=True) for s in (ours, theirs)], (A, B))  # fmt: skip


def test_a_weight_of_zero_adds_nothing_and_has_a_gradient() -> None:
    a, b = np.array([0.0, np.inf, np.nan, 1e4]), np.array([2.0, 0.0, 0.0, 0.0])
    assert ours.logsumexp(a, b=b) == theirs.logsumexp(a, b=b) == np.log(2)
    by_a, by_b = tg.grad(lambda a, b: ours.logsumexp(a, b=b), (0, 1))(a, b)
    np.testing.assert_array_equal(by_a, [1.0, 0.0, 0.0, 0.0])
    np.testing.assert_allclose(by_b[:1], 0.5)
    np.testing.assert_allclose(
        tg.grad(lambda b: ours.logsumexp(np.array([0.0, 1.0]), b=b))(np.array([2.0, 0.0])),
        [0.5, np.e / 2],
    )


FAR = [0.0, 2.0, -np.inf, np.inf, np.nan, 50.0]


@pytest.mark.parametrize("dtype", ["f", "d"])
@pytest.mark.parametrize("b", [None, 2.0, -2, (1.0, 1.0), (1.0, -2.0)])
def test_sums_far_out_and_their_signs_are_scipys(b: Any, dtype: str) -> None:
    b = np.array(b, dtype) if isinstance(b, tuple) else b
    with np.errstate(all="ignore"):
        for pair in itertools.product(FAR, FAR):
            for sign in (False, True):
                a = np.array(pair, dtype)
                got, want = (s.logsumexp(a, b=b, return_sign=sign) for s in (ours, theirs))
                np.testing.assert_allclose(got, want, rtol=1e-6, err_msg=f"{pair} {b}")
                assert np.result_type(*np.atleast_1d(got)) == dtype


def test_the_dimension_of_a_gamma_function_is_a_whole_number() -> None:
    for d in (0, 2):
        same(ours.multigammaln(4.5, d), theirs.multigammaln(4.5, d))
    refuses_alike(lambda: ours.multigammaln(4.5, 1.5), lambda: theirs.multigammaln(4.5, 1.5))


@pytest.mark.parametrize("repetition", [False, True])
def test_combinations_are_scipys(repetition: bool) -> None:
    fns = [lambda n, k, s=s: s.comb(n, k, repetition=repetition) for s in (ours, theirs)]
    prove(*fns, (np.array([5.0, 4.5, 40.25]), np.array([[2.0], [3.5]])))
    # beyond the ends
    n, k = np.array([3.0, 2.5, -1.0, 3.0, 0.0]), np.array([4.0, 2.75, 2.0, -1.0, 0.0])
    same(fns[0](n, k)[[0, 1, 3]], fns[1](n, k)[[0, 1, 3]])
    assert fns[0](0, 0) == 1  # SciPy 1.15 has 0 with repetition
    same(fns[0](7, 3), fns[1](7, 3))
    assert ours.comb(30, 20, exact=True, repetition=repetition) == theirs.comb(
        30, 20, exact=True, repetition=repetition
    )
    if not repetition:
        same(fns[0](n, k), fns[1](n, k))
        for g in tg.grad(lambda n, k: np.sum(ours.comb(n, k)), (0, 1))(n[:4], k[:4]):
            np.testing.assert_array_equal(g, 0)
    with pytest.raises(TypeError, match=r"comb: an exact integer .* exact=False"):
        tg.grad(lambda n: ours.comb(n, 2, exact=True))(5.0)


@pytest.mark.parametrize("name", ["softmax", "log_softmax", "logsumexp"])
def test_an_axis_that_is_not_there_is_refused_as_by_scipy(name: str) -> None:
    refuses_alike(lambda a: getattr(ours, name)(a, axis=2), lambda a: getattr(theirs, name)(a, axis=2), A)  # fmt: skip


@pytest.mark.parametrize(
    "name", ["yn", "kn", "expn", "spherical_jn", "spherical_yn", "spherical_in", "spherical_kn"]
)
def test_an_order_that_scipy_would_cut_off_is_refused(name: str) -> None:
    """The value would be that of the whole order below, and the slope that of no order at all."""
    fn = getattr(ours, name)
    for order in (1, 2.0, np.array([0, 3])):
        x = np.array([0.75, 1.5])
        same(
            tg.record(lambda x, order=order: fn(order, x))(x)[0],
            getattr(theirs, name)(np.asarray(order, int), x),
        )
    for order in (1.5, np.array([1.0, 2.5])):
        with pytest.raises(ValueError, match=r"the order must be a whole number, not .*\.5"):
            tg.grad(lambda x, order=order: tg.sum(fn(order, x)))(np.ones(2))
