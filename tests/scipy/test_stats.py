"""SciPy's distributions: its values, with derivatives by every argument."""

import doctest
import pickle
from typing import Any

import numpy as np
import pytest
from depth import THOROUGH
from scipy_kit import prove, refuses_alike, same

import tapegrad as tg
from tapegrad.testing import check_batched, check_grads, check_properties

theirs: Any = pytest.importorskip("scipy.stats")
ours: Any = pytest.importorskip("tapegrad.scipy.stats")

# points inside the support, and shape parameters
CONTINUOUS: dict[str, tuple[Any, ...]] = {
    "norm": ([-2.0, 0.5],),
    "t": ([-2.0, 0.5], [0.75, 3.0]),
    "gamma": ([0.25, 9.0], [0.5, 4.0]),
    "chi2": ([0.25, 9.0], [1.5, 7.0]),
    "beta": ([0.125, 0.75], [0.5, 2.0], [2.5, 3.0]),
    "expon": ([0.25, 5.0],),
    "lognorm": ([0.25, 5.0], [0.5, 2.0]),
    "uniform": ([0.125, 0.875],),
}
DISCRETE: dict[str, tuple[Any, ...]] = {
    "poisson": ([0, 7], [0.5, 4.0]),
    "binom": ([0, 4], 5, [0.25, 0.875]),
}
LOC, SCALE = np.array([0.5, -1.0]), np.array([0.5, 2.0])
DENSITIES = ("pdf", "logpdf")
PROBABILITIES = ("cdf", "logcdf", "sf", "logsf")
QUANTILES = ("ppf", "isf")
Q = np.array([0.0625, 0.75])


def both(name: str, method: str) -> list[Any]:
    return [getattr(getattr(s, name), method) for s in (ours, theirs)]


@pytest.mark.parametrize("method", DENSITIES + PROBABILITIES + QUANTILES)
@pytest.mark.parametrize("name", CONTINUOUS)
def test_continuous_ones_are_scipys_in_every_argument(name: str, method: str) -> None:
    x, *shapes = (np.asarray(a, float) for a in CONTINUOUS[name])
    args = (Q if method in QUANTILES else LOC + SCALE * x, *shapes, LOC, SCALE)
    fns = both(name, method)
    if THOROUGH or method in ("logpdf", "cdf", "ppf"):
        # SciPy's are float64 in any case
        prove(*fns, args, rtol=2e-13, single=False, compiled=THOROUGH, batched=THOROUGH)
    else:
        same(*[fn(*args) for fn in fns], 2e-13)
        check_grads(fns[0], args, order=1)


@pytest.mark.parametrize("name", CONTINUOUS)
def test_densities_are_compiled_and_batched(name: str) -> None:
    args = [np.asarray(a, float) for a in CONTINUOUS[name]]
    for method in ("logpdf", "sf"):
        fn = getattr(getattr(ours, name), method)
        check_properties(fn, args, compiled=True)
        check_batched(fn, args)


@pytest.mark.parametrize("name", DISCRETE)
def test_discrete_ones_are_scipys_in_every_parameter(name: str) -> None:
    k, *shapes = DISCRETE[name]
    for method in ("pmf", "logpmf", *PROBABILITIES):

        def fn(p: Any, loc: Any, method: Any = method, s: Any = ours) -> Any:
            return getattr(getattr(s, name), method)(np.asarray(k) + 1, *shapes[:-1], p, loc=loc)

        p = np.array(shapes[-1])
        same(fn(p, 1), fn(p, 1, s=theirs), 1e-13)
        check_grads(lambda p, fn=fn: fn(p, 1), (p,))
        check_properties(lambda p, fn=fn: fn(p, 1), (p,), compiled=True)
    for method in QUANTILES:
        fns = both(name, method)
        np.testing.assert_array_equal(*[f(Q, *shapes) for f in fns])
        # a step, moved by the location
        slopes = tg.grad(lambda q, loc, fn=fns[0]: np.sum(fn(q, *shapes, loc)), (0, 1))(Q, 0.5)
        np.testing.assert_array_equal(slopes[0], 0)
        assert slopes[1] == 2


POINTS = np.array([-np.inf, -1.5, 0.0, 0.25, 1.0, 1.25, 2.5, 6.0, np.nan])
LEVELS = np.array([-0.5, 0.0, 0.25, 1.0, 1.5, np.nan])


@pytest.mark.parametrize("scale", [1.0, 2.0, 0.0, -1.0])
@pytest.mark.parametrize("name", [*CONTINUOUS, *DISCRETE])
@pytest.mark.filterwarnings("ignore:.*encountered:RuntimeWarning")
def test_values_outside_the_support_and_of_wrong_parameters_are_scipys(
    name: str, scale: float
) -> None:
    is_discrete = name in DISCRETE
    cases = {"poisson": [(2.5,), (0.0,), (-1.0,)], "binom": [(5, 0.25), (5, 1.0), (5, 1.5)]}
    good = [tuple(a[1] for a in CONTINUOUS.get(name, ())[1:])]
    bad = [tuple(-1.0 for _ in good[0])]
    for shapes in cases.get(name, good + bad):
        densities = ("pmf", "logpmf") if is_discrete else DENSITIES
        for method in densities + PROBABILITIES + QUANTILES:
            x = LEVELS if method in QUANTILES else POINTS
            more = (0.0,) if is_discrete else (0.25, scale)
            with np.errstate(all="ignore"):
                got, want = (fn(x, *shapes, *more) for fn in both(name, method))
            if is_discrete and np.isnan(theirs.__dict__[name].pmf(0, *shapes)):
                want = np.full(want.shape, np.nan)  # SciPy knows its cdf beyond the largest count
            np.testing.assert_allclose(got, want, rtol=1e-13, err_msg=f"{method} {shapes}")


@pytest.mark.parametrize("method", DENSITIES + PROBABILITIES)
@pytest.mark.parametrize("name", ["gamma", "chi2", "beta", "expon", "lognorm", "uniform"])
def test_outside_the_support_every_slope_is_zero(name: str, method: str) -> None:
    shapes = [a[1] for a in CONTINUOUS[name][1:]]
    for x in (-1.0, *((1.5,) if name in ("beta", "uniform") else ())):

        def loss(args: Any, x: float = x) -> Any:
            return getattr(getattr(ours, name), method)(*args)

        args = [x, *shapes, 0.0, 1.0]
        gradient, curvature = tg.grad(loss)(args), tg.grad(lambda a: np.sum(tg.grad(loss)(a)[0]))
        assert gradient == curvature(args) == [0.0] * len(args)


TAILS = [
    ("norm", "logcdf", -40.0, (), 40.02496884720727),
    ("norm", "logsf", 40.0, (), -40.02496884720727),
    ("norm", "logsf", 1e5, (), -100000.00001),
    ("lognorm", "logcdf", 1e-300, (1.0,), 6.9077697e302),
    ("expon", "logsf", 1e4, (), -1.0),
    ("expon", "logcdf", 1e-20, (), 1e20),
    ("t", "logcdf", -1e10, (3.0,), 3e-10),
    # where the probability has underflowed
    ("gamma", "logsf", 1e4, (2.0,), -1 + 1 / 1e4),
    ("gamma", "logcdf", 1e-200, (3.0,), 3e200),
    ("chi2", "logsf", 1e5, (2.0,), -0.5),
    ("beta", "logcdf", 1e-200, (3.0, 2.0), 3e200),
]


@pytest.mark.parametrize(("name", "method", "x", "shapes", "slope"), TAILS)
def test_far_in_a_tail_the_slope_is_right(
    name: str, method: str, x: float, shapes: Any, slope: float
) -> None:
    fn = getattr(getattr(ours, name), method)
    np.testing.assert_allclose(tg.grad(fn)(x, *shapes), slope, rtol=1e-6)


def test_a_quantiles_slopes_are_those_of_the_inverse_of_a_function() -> None:
    q, a = 0.25, 2.5
    x = ours.gamma.ppf(q, a)
    by_q, by_a = tg.grad(ours.gamma.ppf, (0, 1))(q, a)
    density = theirs.gamma.pdf(x, a)
    np.testing.assert_allclose(by_q, 1 / density, rtol=1e-13)
    np.testing.assert_allclose(by_a, -tg.grad(ours.gamma.cdf, 1)(x, a) / density, rtol=1e-13)


def test_float32_stays_float32() -> None:
    x = np.array([0.25, 0.5], np.float32)
    for name in CONTINUOUS:
        shapes = [a[1] for a in CONTINUOUS[name][1:]]
        for method in DENSITIES + PROBABILITIES + QUANTILES:
            got, want = (fn(x, *shapes, scale=1.25) for fn in both(name, method))
            assert got.dtype == np.float32
            np.testing.assert_allclose(got, want, rtol=1e-4)


def test_a_frozen_distribution_is_a_tree() -> None:
    assert ours.gamma(2.5, scale=2.0).cdf(1.5) == ours.gamma.cdf(1.5, 2.5, scale=2.0)
    slope = tg.grad(lambda d: d.logpdf(1.0))(ours.norm(0.5, 2.0))
    np.testing.assert_allclose(slope.parameters, [0.125, 0.0625 / 2 - 0.5])
    again = pickle.loads(pickle.dumps(ours.binom(5, 0.5)))
    assert again.distribution is ours.binom
    assert again.pmf(2) == ours.binom.pmf(2, 5, 0.5)
    with pytest.raises(AttributeError, match=r"stats\.norm has no 'rvs'"):
        _ = ours.norm(0.0, 1.0).rvs
    with pytest.raises(AttributeError, match=r"stats\.multivariate_normal has no 'cdf'"):
        ours.multivariate_normal.cdf(X)


@pytest.mark.parametrize("name", CONTINUOUS | DISCRETE)
def test_a_frozen_one_has_the_methods_of_its_distribution_and_no_more(name: str) -> None:
    made = getattr(ours, name)
    frozen = made(*[0.5] * len((CONTINUOUS | DISCRETE)[name]))
    own = {"distribution", "parameters"}
    for attribute in {*dir(made), "rvs"} - own - {x for x in dir(made) if x.startswith("__")}:
        has = not attribute.startswith("_") and callable(getattr(made, attribute, None))
        assert hasattr(frozen, attribute) == has, attribute


@pytest.mark.parametrize(
    ("args", "kwargs"), [((1.0, 2.0, 3.0, 4.0, 5.0), {}), ((1.0,), {}), ((1.0, 2.0), {"mu": 1.0})]
)
def test_arguments_that_do_not_fit_are_refused_as_by_scipy(args: Any, kwargs: Any) -> None:
    refuses_alike(*[lambda *a, f=f: f(*a, **kwargs) for f in both("gamma", "pdf")], *args)


MEAN, COV = np.array([0.5, -1.0]), np.array([[2.0, 0.5], [0.5, 1.0]])
X = np.array([[0.25, 1.0], [-1.0, 0.5], [2.0, -2.0]])


@pytest.mark.parametrize("method", DENSITIES)
def test_normal_vectors_are_scipys(method: str) -> None:
    fns = both("multivariate_normal", method)
    prove(*fns, (X, MEAN, COV), single=False)
    for args in ((X[0], MEAN, COV), (X, MEAN, np.array([1.0, 2.0])), (X, MEAN, 2.0), (X[:, 0],)):
        same(*[f(*args) for f in fns])
    # by a covariance that is one number
    check_grads(lambda c: fns[0](X, MEAN, c * np.eye(2)), (1.5,))


@pytest.mark.parametrize("method", DENSITIES)
def test_points_of_a_simplex_are_scipys(method: str) -> None:
    x, alpha = np.array([[0.25, 0.5], [0.5, 0.375], [0.25, 0.125]]), np.array([0.5, 2.0, 3.0])
    fns = both("dirichlet", method)
    for points in (x, x[:, 0], x[:2]):
        same(*[f(points, alpha) for f in fns])
    # all entries but one are free
    prove(*fns, (x[:2], alpha), single=False, batched=False)


WRONG: list[tuple[str, tuple[Any, ...]]] = [
    ("multivariate_normal", (X, MEAN, np.ones((2, 3)))),
    ("multivariate_normal", (X, MEAN, np.eye(3))),
    ("multivariate_normal", (X, np.zeros(3), np.eye(3))),
    ("multivariate_normal", (X, MEAN, np.array([[1.0, 2.0], [2.0, 1.0]]))),
    ("dirichlet", (np.array([0.5, 0.6]), np.ones(2))),
    ("dirichlet", (np.array([0.5, 0.5]), np.array([1.0, -1.0]))),
    ("dirichlet", (np.full(4, 0.25), np.ones(2))),
    ("dirichlet", (np.array([0.0, 1.0]), np.array([0.5, 1.0]))),
]


@pytest.mark.parametrize(("name", "args"), WRONG)
def test_vectors_that_do_not_fit_are_refused_as_by_scipy(name: str, args: Any) -> None:
    refuses_alike(*both(name, "logpdf"), *args)


@pytest.mark.parametrize("name", ours.__all__)
def test_the_example_in_a_distributions_docstring_is_true(name: str) -> None:
    (test,) = doctest.DocTestFinder().find(getattr(ours, name), name, globs={"np": np})[:1]
    assert test.examples
    assert doctest.DocTestRunner(verbose=False).run(test).failed == 0


def test_scipys_own_name_ours() -> None:
    with pytest.raises(TypeError, match=r"write tapegrad\.scipy\.stats\.norm\.logpdf\("):
        tg.record(lambda t: theirs.norm.logpdf(t))(np.ones(2))


@pytest.mark.parametrize("method", ["pdf", "logpdf", "cdf", "sf", "logcdf", "logsf"])
def test_at_the_end_of_a_logarithm_values_are_scipys_and_slopes_zero(method: str) -> None:
    def value(x: Any, s: Any) -> Any:
        return getattr(ours.lognorm, method)(x, s)

    assert value(0.0, 0.75) == getattr(theirs.lognorm, method)(0.0, 0.75)
    for by in (0, 1):
        assert tg.grad(value, by)(0.0, 0.75) == 0
    assert tg.grad(tg.grad(value, 1), 1)(0.0, 0.75) == 0


EDGES = [
    ("binom", lambda p, k: (k, 6, p), [0.0, 1.0], range(7)),
    ("poisson", lambda mu, k: (k, mu), [0.0], range(4)),
]


@pytest.mark.parametrize(("name", "arguments", "ends", "counts"), EDGES)
def test_at_an_end_of_a_parameter_the_slope_of_a_probability_is_one_sided(
    name: str, arguments: Any, ends: Any, counts: Any
) -> None:
    for end in ends:
        for k in counts:

            def pmf(x: Any, of: Any = ours, k: int = k) -> Any:
                return getattr(of, name).pmf(*arguments(x, k))

            inside = 1e-7 if end == 0 else -1e-7
            slope = (pmf(end + inside, theirs) - pmf(end, theirs)) / inside
            np.testing.assert_allclose(pmf(end), pmf(end, theirs), rtol=1e-14)
            np.testing.assert_allclose(tg.grad(pmf)(end), slope, rtol=1e-5, atol=2e-6)
            np.testing.assert_allclose(tg.jvp(pmf, (end,), (1.0,))[1], slope, rtol=1e-5, atol=2e-6)


@pytest.mark.parametrize("name", ["gamma", "chi2", "beta"])
def test_both_modes_agree_where_a_density_ends_in_zero(name: str) -> None:
    density = getattr(ours, name).pdf
    args = (0.0, *[3.0 for _ in CONTINUOUS[name][1:]])
    for i, x in enumerate(args):

        def fn(x: Any, i: int = i) -> Any:
            return density(*args[:i], x, *args[i + 1 :])

        assert tg.grad(fn)(x) == tg.jvp(fn, (x,), (1.0,))[1] == 0.0
