"""Distributions have SciPy's values, precise far in the tails, with derivatives by every argument."""

import doctest
import pickle
from collections.abc import Callable
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from alike import same
from depth import THOROUGH
from scipy_kit import FIRST, prove, refuses_alike

import tapegrad as tg
from tapegrad.testing import check_batched, check_grads, check_properties
from tapegrad.types import Array

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
    **dict.fromkeys(("laplace", "cauchy", "logistic", "gumbel_l", "gumbel_r"), ([-2.0, 0.5],)),
    **dict.fromkeys(("halfnorm", "halfcauchy"), ([0.25, 3.0],)),
    "weibull_min": ([0.25, 3.0], [0.5, 2.0]),
    "pareto": ([1.25, 9.0], [0.5, 4.0]),
    "invgamma": ([0.25, 9.0], [0.5, 4.0]),
    "genpareto": ([0.25, 1.5], [0.5, -0.5]),
    "genextreme": ([-0.25, 1.5], [0.5, -0.5]),
    "f": ([0.25, 3.0], [1.5, 4.0], [2.5, 7.0]),
    "triang": ([0.125, 0.75], [0.25, 0.5]),
    "truncnorm": ([-0.25, 1.5], [-1.0, 0.5], [2.5, 3.0]),
    "skewnorm": ([-0.75, 0.5], [1.5, -2.0]),
    "invgauss": ([0.25, 3.0], [0.5, 2.0]),
    "vonmises": ([-1.0, 2.5], [0.5, 3.0]),
}
DISCRETE: dict[str, tuple[Any, ...]] = {
    "poisson": ([0, 7], [0.5, 4.0]),
    "binom": ([0, 4], 5, [0.25, 0.875]),
    "bernoulli": ([0, 0], [0.25, 0.875]),
    "nbinom": ([0, 7], [0.5, 4.0], [0.25, 0.875]),
    "geom": ([1, 4], [0.25, 0.875]),
    "betabinom": ([0, 4], 5, [0.5, 4.0], [2.5, 3.0]),
}
MANY = {"poisson": (1e3,), "binom": (2000, 0.5), "nbinom": (1e3, 0.5), "geom": (1e-3,)}
MANY |= {"bernoulli": (0.5,), "betabinom": (2000, 7.0, 4.0)}
LOC, SCALE = np.array([0.5, -1.0]), np.array([0.5, 2.0])
DENSITIES = ("pdf", "logpdf")
PROBABILITIES = ("cdf", "logcdf", "sf", "logsf")
QUANTILES = ("ppf", "isf")
MOMENTS = ("mean", "var", "entropy", "std", "median")
Q = np.array([0.0625, 0.75])
SLOW = [("beta", "ppf"), ("f", "ppf")]


def those_of(
    name: str, methods: tuple[str, ...] = DENSITIES + PROBABILITIES + QUANTILES
) -> list[str]:
    """The methods that a distribution has."""
    return [method for method in methods if hasattr(getattr(ours, name), method)]


def both(name: str, method: str) -> list[Any]:
    return [getattr(getattr(s, name), method) for s in (ours, theirs)]


@pytest.mark.parametrize(("name", "method"), [(x, m) for x in CONTINUOUS for m in those_of(x)])
def test_continuous_ones_are_scipys_in_every_argument(name: str, method: str) -> None:
    x, *shapes = (np.asarray(a, float) for a in CONTINUOUS[name])
    args = (Q if method in QUANTILES else LOC + SCALE * x, *shapes, LOC, SCALE)
    fns = both(name, method)
    if THOROUGH or (method in ("logpdf", "cdf", "ppf") and (name, method) not in SLOW):
        # SciPy's are float64 in any case
        prove(*fns, args, rtol=2e-13, single=False, compiled=THOROUGH, batched=THOROUGH)
    else:
        same(*[fn(*args) for fn in fns], 2e-13)
        check_grads(fns[0], args, order=1)


@pytest.mark.parametrize("name", DISCRETE)
def test_discrete_ones_are_scipys_in_every_parameter(name: str) -> None:
    (k, *shapes), whole = DISCRETE[name], getattr(ours, name).n_counts
    for method in those_of(name, ("pmf", "logpmf", *PROBABILITIES)):

        def fn(*p: Any, method: str = method, s: ModuleType = ours) -> Array:
            return getattr(getattr(s, name), method)(np.asarray(k) + 1, *shapes[:whole], *p, loc=1)

        p = [np.array(x) for x in shapes[whole:]]
        same(fn(*p), fn(*p, s=theirs), 1e-13)
        check_grads(fn, p)
        check_properties(fn, p, compiled=True)
        check_batched(fn, p)
    # of many counts, where products overflow
    same(*[f(np.array([900, 1000]), *MANY[name]) for f in both(name, "pmf")], 1e-11)
    for method in those_of(name, QUANTILES):
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
    cases = {"poisson": [(2.5,), (0.0,), (-1.0,)], "geom": [(0.25,), (1.0,), (1.5,)]}
    cases |= {"bernoulli": cases["geom"], "binom": [(5, 0.25), (5, 1.0), (5, 1.5)]}
    cases |= {"nbinom": [(2.5, 0.25), (2.5, 1.0), (2.5, 1.5)]}
    cases |= {"betabinom": [(5, 2.0, 3.5), (5, 2.0, 0.0), (2.5, 2.0, 3.5)]}
    cases |= {"truncnorm": [(-0.5, 2.0), (2.0, 1.0), (-np.inf, 1.0)]}
    cases |= {"beta": [(0.5, 0.5), (2.0, 3.0), (-1.0, -1.0)]}
    good = [tuple(a[i] for a in CONTINUOUS.get(name, ())[1:]) for i in (0, 1)]
    bad = [tuple(-1.0 for _ in good[0])]
    for shapes in cases.get(name, good + bad):
        densities = ("pmf", "logpmf") if is_discrete else DENSITIES
        for method in those_of(name, densities + PROBABILITIES + QUANTILES):
            x = LEVELS if method in QUANTILES else POINTS
            more = (0.0,) if is_discrete else (0.25, scale)
            with np.errstate(all="ignore"):
                got, want = (fn(x, *shapes, *more) for fn in both(name, method))
            if is_discrete and np.isnan(theirs.__dict__[name].pmf(0, *shapes)):
                want = np.full(want.shape, np.nan)  # SciPy knows its cdf beyond the largest count
            if method in DENSITIES and not np.isnan(want[1]):
                want[0] = (0.0, -np.inf)[method == "logpdf"]  # some of SciPy's are nan at -inf
            # SciPy's of a skew normal distribution have few digits in a tail
            rtol = 1e-7 if name == "skewnorm" else 1e-13
            np.testing.assert_allclose(got, want, rtol=rtol, err_msg=f"{method} {shapes}")


@pytest.mark.parametrize("method", DENSITIES + PROBABILITIES)
@pytest.mark.parametrize("name", [x for x in CONTINUOUS if getattr(ours, x).ends[0] in (0, 1)])
def test_outside_the_support_every_slope_is_zero(name: str, method: str) -> None:
    shapes = [a[1] for a in CONTINUOUS[name][1:]]
    for x in (-1.0, *((1.5,) if name in ("beta", "triang", "uniform") else ())):

        def loss(args: list[Array], x: float = x) -> Array:
            return getattr(getattr(ours, name), method)(*args)

        args = [x, *shapes, 0.0, 1.0]
        gradient, curvature = tg.grad(loss)(args), tg.grad(lambda a: np.sum(tg.grad(loss)(a)[0]))
        assert gradient == curvature(args) == [0.0] * len(args)


@pytest.mark.parametrize("method", ["pdf", "cdf", "sf"])
def test_at_an_end_and_where_a_logarithm_overflows_no_slope_is_nan(method: str) -> None:
    points = [("weibull_min", 0.0, 2.0), ("weibull_min", 1e200, 2.0), ("genpareto", 3.0, -1 / 3)]
    points += [("gumbel_l", 800.0), ("gumbel_r", -800.0), ("genextreme", 3.0, 1 / 3)]
    for name, *args in [*points, ("invgamma", 1e-320, 2.0), ("skewnorm", -1e160, 2.0)]:
        fn = getattr(getattr(ours, name), method)
        with np.errstate(over="ignore"):
            assert not np.any(tg.grad(fn, tuple(range(len(args))))(*args)), name


def at_both_ends(name: str, method: str) -> list[tuple[list[float], float]]:
    """Arguments at each finite end of the support, and the sign of a step into it."""
    d, n = getattr(ours, name), len(CONTINUOUS[name]) - 1
    points = []
    for value in (0.5, 1.0, 1.5, 2.5):
        shapes = {"truncnorm": [-value, value], "triang": [value / 4]}.get(name, [value] * n)
        low, high, _ = d._support_points(shapes)
        ends = (0.0, 1.0) if method in QUANTILES else (1.0 + 1.5 * low, 1.0 + 1.5 * high)
        for end, sign in zip(ends, (1.0, -1.0), strict=True):
            if np.isfinite(end):
                points.append(([float(end), *shapes, 1.0, 1.5], sign))
    return points


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
@pytest.mark.parametrize("method", DENSITIES + PROBABILITIES + QUANTILES)
@pytest.mark.parametrize("name", CONTINUOUS)
def test_at_both_ends_of_the_support_no_slope_is_nan(name: str, method: str) -> None:
    """Where the value is finite; also where the density is infinite, as for small shapes."""
    fn = getattr(getattr(ours, name), method, None)
    if fn is None:
        pytest.skip("has no such method")
    for args, sign in at_both_ends(name, method):
        value = float(fn(*args))
        if not np.isfinite(value):
            continue
        slopes = np.array(tg.grad(lambda args: fn(*args))(args), float)
        assert not np.isnan(slopes).any(), args
        compiled = tg.compile(tg.grad(lambda args: fn(*args)))(args)
        np.testing.assert_allclose(np.array(compiled, float), slopes, 1e-12)
        for i, slope in enumerate(slopes):
            tangents = [float(j == i) for j in range(len(args))]
            _, tangent = tg.jvp(lambda args: fn(*args), (args,), (tangents,))
            np.testing.assert_allclose(float(tangent), slope, 1e-12)
        if method not in PROBABILITIES:
            continue
        # the slope with respect to x is the slope of a small step into the support, or outside
        # of it, 0, where the end is a shape parameter or moves with one
        if name in ("truncnorm", "genextreme"):
            continue
        h = 1e-9
        step = (float(fn(args[0] + sign * h, *args[1:])) - value) / (sign * h)
        if np.isinf(slopes[0]):
            assert step * np.sign(slopes[0]) > 10
        else:
            assert slopes[0] == pytest.approx(step, 1e-3, 0.01)
        # a probability is constant at loc, whatever the scale and the shape parameters are
        if args[0] == 1.0:
            assert not slopes[-1]


def test_a_time_of_zero_leaves_the_gradient_of_a_survival_likelihood() -> None:
    times = np.array([0.0, 1.0, 2.0])
    slope = tg.grad(lambda s: np.sum(ours.weibull_min.logsf(times, 0.5, 0.0, s)))(1.5)
    assert slope == pytest.approx(0.657065706, 1e-8)


@pytest.mark.parametrize("name", [x for x in CONTINUOUS if getattr(ours, x).ends[0] == -np.inf])
def test_at_zero_no_slope_of_a_probability_is_lost(name: str) -> None:
    d, shapes = getattr(ours, name), [a[1] for a in CONTINUOUS[name][1:]]
    for method, sign in (("cdf", 1), ("sf", -1)):
        if hasattr(d, method):
            slope = tg.grad(getattr(d, method))(0.0, *shapes)
            np.testing.assert_allclose(slope, sign * d.pdf(0.0, *shapes), 1e-13)


# a distribution, a method and its arguments; the value and the slopes by all arguments, or of a
# discrete one by the last, by mpmath at 100 digits and more
TAILS = """
norm logcdf -100000 | -5000000012.432 100000.00001
norm logsf -10 | -7.619853024161e-24 -7.694598626706e-23
expon logcdf 1e-300 | -690.7755278982 1e300
uniform logsf 1e-12 | -1.000000000001e-12 -1.000000000001
uniform logcdf 0.9999999999990905 | -9.094947017733e-13 1.000000000001
lognorm logcdf 1e-300 0.5 | -954349.8097873 2.76310355924e303 3817368.639542
lognorm logsf 1e300 0.01 | -2385854161.777 -6.90775528043e-294 477170830043.1
lognorm logpdf 1e300 1e10 | -714.7203173614 -1e-300 -1e-10
t logpdf 1 1e8 | -1.418938538205 -1 4.999999983333e-17
t logpdf 1e200 3 | -1840.871738668 -4e-200 -459.2745652739
t logpdf 3 1e300 | -5.418938533205 -3 0
t logcdf -50 1e6 | -1253.270212242 49.89524587732 -1.558552909734e-6
t logcdf 40 30 | -6.863022597203e-28 5.055489286173e-28 1.045138772878e-27
t logcdf -2 1e12 | -3.783184333676 2.373215532813 -5.933038832028e-24
t logcdf -1 100000 | -1.841014019381 1.525116020504 -7.625580102267e-11
t logsf -0.25 0.5 | -0.5701508861907 -0.4366080852097 0.07036929682996
t logsf 1e-100 4 | -0.6931471805599 -0.75 -1.138961458004e-102
t logcdf -1.25 0.0009765625 | -0.69742626416877 0.00078100585468897 -3.8815369219218
gamma logpdf 1e-300 0.25 | 516.793623399 -7.5e299 -686.5480743648
gamma logsf 1e-100 1e-12 | -22.19432844791 -4.353859141339e97 999999999885.2
gamma logsf 2e300 1e300 | -3.0685281944e299 -0.5 0.6931471805599
gamma logcdf 1e-9 2.5 | -53.00913819543 2499999999.286 -21.82642247767
gamma logcdf 5000000000 1e10 | -1931471817.338 1.0000000002 -0.6931471807099
gamma logcdf 9.999999e14 1e15 | -7.152759960519 1.086029785014e-7 -1.086029730713e-7
gamma logsf 1.0000001e15 1e15 | -7.152759308901 -1.086029584152e-7 1.086029638453e-7
chi2 logpdf 10000 10000 | -5.870698976139 -0.0001 5.000166666666e-5
chi2 logsf 100000 2 | -50000 -0.5 5.698506974456
beta logpdf 1e-300 0.5 3 | 345.323225428 -5e299 -687.7088612316 0.1803723055468
beta logpdf 0.75 1e-20 1e15 | -1.38629436112e15 -4e15 1e20 -1.38629436112
beta logsf 1e-12 2 3 | -5.99999999999e-24 -1.199999999998e-11 1.622861266954e-22 -3.49999999999e-24
beta logcdf 0.2 1e6 1e6 | -446294.7650712 3750003.333324 -0.9162918152055 0.4700042125781
beta logcdf 0.5 1e-9 2 | -1.93147180685e-10 1.0000000005e-9 -0.1931471808099 2.161199501528e-10
beta logcdf 1e-12 0.5 1e12 | -0.171143315241 246295898196.4 -0.4626046012888 2.462958981963e-13
beta logcdf 0.5 1.000003e12 1e12 | -4.07763532272 7017602.84988 -1.754396765078e-6 1.754399396671e-6
laplace logcdf 40 | -2.124177127646e-18 2.124177127646e-18
logistic logsf -40 | -4.248354255292e-18 -4.248354255292e-18
cauchy logsf -1e14 | -3.183098861838e-15 -3.183098861838e-29
cauchy logpdf 1e200 | -922.1787670835 -2.0e-200
gumbel_l logsf -40 | -4.248354255292e-18 -4.248354255292e-18
gumbel_r logcdf 40 | -4.248354255292e-18 4.248354255292e-18
weibull_min logsf 1e-9 2.5 | -3.162277660168e-23 -7.905694150421e-14 6.553272060191e-22
pareto logsf 1e300 0.01 | -6.907755278982 -1.0e-302 -690.7755278982
pareto logcdf 1e10 3 | -1.0e-30 3.0e-40 2.302585092994e-29
halfnorm logsf 1e-20 | -7.978845608029e-21 -0.7978845608029
halfcauchy logcdf 1e20 | -6.366197723676e-21 6.366197723676e-41
invgamma logcdf 1e20 1.5 | -7.522527780637e-31 1.128379167096e-50 3.517147219499e-29
genpareto logsf 1e200 0.5 | -919.6477428365 -2.0e-200 1835.295485673
genpareto logcdf 1e-200 -2 | -460.5170185988 1.0e+200 -5.0e-201
genpareto logpdf 40 1e-12 | -39.99999999924 -0.999999999961 759.9999999589
genpareto logcdf 60 -1e-3 | -1.342312392493e-27 1.427991906908e-27 -2.623393213151e-24
genextreme logcdf 20 1e-9 | -2.061153210208e-9 2.061153251431e-9 4.122306530344e-7
genextreme logsf 200 -0.01 | -109.8612288668 -0.3333333333333 -4319.456220014
genextreme logpdf -3 0.25 | -7.700058886194 4.930803571429 15.85384871295
f logpdf 1e60 2.5 7 | -616.3884374956 -4.5e-60 -0.5616712056726 -67.88971937391
triang logcdf 1e-200 0.25 | -919.6477428365 2.0e+200 -4.0
triang logcdf 1e-17 0 | -38.45079940034 1.0e+17 -5.0e+16
triang logcdf 1e-17 1e-18 | -38.50209269473 1.052631578947e+17 -5.263157894737e+16
triang logsf 1e-20 0.25 | -4.0e-40 -8.0e-20 1.6e-39
triang logsf 0.9999999999990905 0.25 | -55.16409237234 -2199023255552.0 1.333333333333
geom logcdf 1 1e-300 | -690.7755278982 1.0e+300
geom logsf 1e17 1e-17 | -1.0 -1.0e+17
geom logpmf 1e6 1e-9 | -20.72426583595 999000000.999
nbinom logsf 1000 3.5 0.75 | -1372.323749308 -4000.671102972
nbinom logcdf 3 100 1e-6 | -1369.467995918 99999997.0297
nbinom logpmf 1e5 2.5 1e-4 | -16.04162688642 -75010.0010001
poisson logpmf 0 1e-300 | -1e-300 -1
poisson logcdf 3 1e6 | -999960.3452248 -0.999997000003
poisson logsf 10000 1e-12 | -358455.9804576 1.0001e16
binom logpmf 0 100 1e-300 | -1e-298 -100
binom logcdf 1 1e6 0.9 | -2302569.080259 -9999988.88889
binom logsf 500 1000 1e-12 | -13153.67631552 5.009999999995e14
truncnorm logpdf 30.5 30 31 | -11.72269457686 -30.5 30.03325966744 -1.704593283823e-12
truncnorm logpdf 100000.00001 100000 inf | 10.51292512648 -100000.00001 100000.00001 0.0
truncnorm logcdf -39 -40 1 | -764.9104027854 39.02560741993 -2.733490924042e-16 -0.2875999709392
truncnorm logsf 8.5 -1 9 | -39.03661961272 -8.718392360005 0.2875999709392 0.1097483631531
skewnorm logcdf -1e-3 100 | -5.878152722061 131.132239607 -0.0113105650401
skewnorm logcdf -300 1000 | -45000045033.28 300000300.0067 -90000000.003
skewnorm logcdf -0.5 -3 | -0.4931402282534 1.075951536176 -0.01493310452117
skewnorm logcdf -1.5 -0.25 | -2.390852780282 1.828266800691 -0.9902337749822
skewnorm logsf 40 1.5 | -803.9152948332 -40.02496884721 0.0
skewnorm logsf 9 -3 | -413.9442002077 -90.22137625888 243.9309586249
skewnorm logcdf -1e-9 0.5 | -1.042941899194 1.132019680907 -0.7225768210251
skewnorm logpdf -100 50 | -12505009.66192 250100.01 -500000.02
skewnorm logcdf -0.25 1e-9 | -0.9130617655799 0.963553979965 -0.7688048442682
invgauss logcdf 0.001 1.5 | -503.0142216177 500498.7836234 -0.4441487377998
invgauss logsf 1000 1.5 | -231.339245009 -0.2237150806364 297.1763267836
invgauss logsf 1e6 1e12 | -7.133546799546 -4.9999983396e-7 1.252314346772e-21
invgauss logsf 0.5 1e8 | -0.1711433171076 -0.492591802238 1.866608050335e-17
invgauss logsf 0.01 1e-3 | -4057.123803295 -495151.9880698 9002019.573811
invgauss logcdf 1e-3 1e-3 | -0.6806135447034 24917.05854381 -24910.83394529
invgauss logcdf 100 1.5 | -7.299380490935e-13 1.726949990286e-13 -2.221963327661e-11
invgauss logpdf 1e-120 2 | -5e119 5e239 -0.25
vonmises logpdf 3 1e6 | -1989986.507784 -141120.0080599 -1.9899919966
vonmises logpdf 2 0.5 | -2.107500203868 -0.4546487134128 -0.6586464491279
betabinom logpmf 250000 1e6 2e5 6e5 | -7.395171315392 1.157408220093e-7
betabinom logpmf 5 5 1e-8 1e8 | -107.3460307125 -4.9999999e-8
"""


# a moment and the shape parameters; the value and the slopes by these, likewise
FAR_MOMENTS = """
gamma entropy 1e-9 | -999999978.8539 9.99999999e17
beta entropy 1e-5 2e-5 | -83320.41499211 7777711109.466 277761109.4663
t entropy 1e-3 | 1004.454699617 -1000499.178513
f entropy 1e8 1e9 | -7.397173164226 -4.545454478512e-9 -4.54545465124e-11
invgamma entropy 1e12 | -40.02759314069 -1.500000000001e-12
genextreme mean 1e-9 | 0.5772156639125 -0.989055993513
genextreme var 1e-5 | 1.644891037248 -4.302842869725
genextreme var -0.0999 | 2.225466008796 -7.748159530164
genextreme var 3.5 | 400.3839097558 1399.114963023
weibull_min var 1e6 | 1.644929763783e-12 -3.289855224512e-18
weibull_min var 0.25 | 39744.0 -2734180.499653
lognorm var 1e-8 | 1.0e-16 2.0e-8
invgauss entropy 1e-8 | -26.21208259022 149999999.25
vonmises entropy 1e10 | -10.09398693174 -5.00000000025e-11
vonmises entropy 0.01 | 1.837852066878 -0.004999812505208
truncnorm mean 1 1.00000001 | 1.000000005 0.5000000016667 0.4999999983333
truncnorm entropy 1 1.00000001 | -18.42068075003 -100000000.6077 100000000.6077
truncnorm var -1e-6 2e-6 | 7.499999999998e-13 -4.999999999997e-7 4.999999999997e-7
truncnorm mean -8 3 | -0.004437839042121 4.04503513521e-14 0.01333321154174
truncnorm var -31 -30 | 0.001103771511835 -1.591209021286e-12 7.309993169431e-5
truncnorm entropy -4 6 | 1.418639173317 -0.001137628774873 1.124090194017e-7
"""


@pytest.mark.parametrize("scale", [SCALE, -SCALE])
@pytest.mark.parametrize("name", [*CONTINUOUS, *DISCRETE])
def test_moments_are_scipys_in_every_parameter(name: str, scale: Array) -> None:
    _, *shapes = {**CONTINUOUS, **DISCRETE}[name]
    args = (*shapes[:1], *[np.asarray(a, float) for a in shapes[1:]], LOC)
    args = args if name in DISCRETE else (*args, scale)
    args = tuple(x if type(x) is int else np.asarray(x, float) for x in args)
    whole = getattr(getattr(ours, name), "n_counts", 0)
    for method in those_of(name, MOMENTS):
        fns = both(name, method)
        # broadcast, and of numbers alone
        cases = [(*args[:-1], args[-1][:, None])]
        cases += [(*[x if type(x) is int else float(x[0]) for x in args[:-1]], 2)]
        cases += [tuple(np.nan if type(x) is not int else x for x in args)]
        with np.errstate(all="ignore"):
            for case in cases:
                np.testing.assert_allclose(*[f(*case) for f in fns], rtol=1e-13, atol=1e-15)
            # Python's numbers divide by 0 as NumPy's do
            zeros = [[kind(0.0)] * len(args) for kind in (float, np.float64)]
            np.testing.assert_array_equal(*[fns[0](*x) for x in zeros])
        if scale[0] > 0:
            frozen = getattr(ours, name)(*args)
            np.testing.assert_array_equal(getattr(frozen, method)(), fns[0](*args))
            if np.all(np.isfinite(fns[0](*args))) and (method in MOMENTS[:3] or THOROUGH):
                bound = [lambda *p, f=f: f(*args[:whole], *p) for f in fns]
                checks: dict[str, Any] = {} if THOROUGH else FIRST
                prove(*bound, args[whole:], single=False, **checks)


@pytest.mark.parametrize("name", ["t", "pareto", "invgamma", "genpareto", "genextreme"])
def test_moments_that_do_not_exist_are_scipys(name: str) -> None:
    c = np.array([-3.0, -1.5, -0.75, 0.25, 0.75, 1.25, 1.75, 3.5, -np.inf, np.nan])
    for method in ("mean", "var", "std", "entropy"):
        with np.errstate(all="ignore"):
            got, want = (fn(c) for fn in both(name, method))
        np.testing.assert_allclose(got[:-2], want[:-2], rtol=1e-13)
        assert np.isnan(got[-1])
        with np.errstate(all="ignore"):
            slopes = tg.grad(
                lambda c, method=method: np.sum(getattr(getattr(ours, name), method)(c))
            )(c[:8])
        assert not np.any(np.isnan(slopes[np.isfinite(want[:8])]))
        assert np.all(slopes[np.isinf(want[:8])] == 0)


POLES = """
gamma pdf 0 0.5 | inf -inf -inf
chi2 pdf 0 1 | inf -inf -inf
beta pdf 0 0.3 0.3 | inf -inf -inf inf
beta logpdf 1 0.5 0.5 | inf inf 1.386294361120 -inf
f logpdf 0 1 3 | inf -inf -inf -0.1401861527734
f cdf 0 1 3 | 0 inf 0 0
"""


@pytest.mark.parametrize("table", [TAILS, FAR_MOMENTS, POLES], ids=["tails", "moments", "poles"])
@pytest.mark.filterwarnings("ignore:.*encountered:RuntimeWarning")
def test_far_out_and_at_poles_values_and_slopes_are_those_of_many_digits(table: str) -> None:
    for line in table.strip().splitlines():
        call, expected = line.split(" | ")
        name, method, *numbers = call.split()
        args, of = [float(x) for x in numbers], len(numbers)
        by = (of - 1,) if name in DISCRETE else tuple(range(of))
        value, slopes = tg.value_and_grad(getattr(getattr(ours, name), method), by)(*args)
        got, want = [value, *slopes], [float(x) for x in expected.split()]
        np.testing.assert_allclose(got, want, 1e-12, err_msg=call)


SHAPES = {"norm": (), "expon": (), "uniform": (), "t": (3.5,), "gamma": (1e6,), "chi2": (3.0,)}
SHAPES |= {"beta": (40.0, 0.25), "lognorm": (0.75,), "laplace": (), "cauchy": (), "logistic": ()}
SHAPES |= {"gumbel_l": (), "gumbel_r": (), "halfnorm": (), "halfcauchy": (), "weibull_min": (4.0,)}
SHAPES |= {"pareto": (3.5,), "invgamma": (2.5,), "genpareto": (0.25,), "genextreme": (-0.25,)}
SHAPES |= {"f": (3.5, 40.0), "triang": (0.25,), "truncnorm": (-40.0, 3.0)}


@pytest.mark.parametrize("name", SHAPES)
def test_both_logarithms_and_their_slopes_fit_together(name: str) -> None:
    d, shapes = getattr(ours, name), SHAPES[name]
    q = np.array([1e-290, 1e-80, 1e-9, 0.1, 0.49])
    x = np.unique(np.concatenate([d.ppf(q, *shapes), d.isf(q, *shapes)]))
    logs = [d.logcdf(x, *shapes), d.logsf(x, *shapes)]
    np.testing.assert_allclose(np.exp(logs[0]) + np.exp(logs[1]), 1, 1e-13)
    np.testing.assert_allclose(d.cdf(x, *shapes), np.exp(logs[0]), 3e-13)
    np.testing.assert_allclose(d.sf(x, *shapes), np.exp(logs[1]), 3e-13)
    assert np.all(np.diff(logs[0]) >= 0)
    assert np.all(np.diff(logs[1]) <= 0)
    inner = x[(x > d.ppf(0, *shapes)) & (x < d.isf(0, *shapes))]
    for method, sign in (("logcdf", 1), ("logsf", -1)):
        fn = getattr(d, method)
        ratio = np.exp(d.logpdf(inner, *shapes) - fn(inner, *shapes))
        slope = tg.grad(lambda x, fn=fn: np.sum(fn(x, *shapes)))(inner)
        np.testing.assert_allclose(slope, sign * ratio, 1e-12)


QUANTILES_IN_TAILS = [
    ("t", (3.5,), [1e-200, 1e-9]),
    ("t", (1e6,), [1e-300, 1e-9]),
    ("gamma", (2.5,), [1e-300, 1e-9]),
    ("gamma", (1e10,), [1e-200, 1e-9]),
    ("chi2", (3.0,), [1e-300]),
    ("beta", (2.0, 3.0), [1e-200, 1e-60, 1e-9]),
    ("beta", (2.0, 3.5), [1e-300]),
    ("lognorm", (0.5,), [1e-300]),
    *[(x, (), [1e-300, 1e-9]) for x in ("laplace", "logistic", "gumbel_l", "gumbel_r", "halfnorm")],
    *[(x, (), [1e-150, 1e-9]) for x in ("cauchy", "halfcauchy")],
    ("weibull_min", (4.0,), [1e-300, 1e-9]),
    ("pareto", (3.5,), [1e-4]),
    ("invgamma", (2.5,), [1e-150, 1e-9]),
    ("genpareto", (1e-3,), [1e-150, 1e-9]),
    ("genextreme", (0.0,), [1e-150, 1e-9]),
    ("f", (3.5, 40.0), [1e-150, 1e-9]),
    ("triang", (0.25,), [1e-4]),
    ("triang", (0.0,), [1e-10]),
    ("truncnorm", (-1.0, 6.0), [1e-5]),
    ("truncnorm", (50.0, np.inf), [0.25]),
    ("truncnorm", (-np.inf, np.inf), [1e-150]),
]


@pytest.mark.parametrize(("name", "shapes", "levels"), QUANTILES_IN_TAILS)
def test_in_a_tail_a_quantile_is_the_inverse_and_has_its_slopes(
    name: str, shapes: tuple[float, ...], levels: list[float]
) -> None:
    d, by = getattr(ours, name), tuple(range(1 + len(shapes)))
    for q in levels:
        for inverse, method in (("ppf", "logcdf"), ("isf", "logsf")):
            x, slopes = tg.value_and_grad(getattr(d, inverse), by)(q, *shapes)
            if (name, inverse) == ("beta", "isf"):
                # the distance to the end is the quantile of the mirrored one
                mirrored = tg.grad(d.ppf, by)(q, *shapes[::-1])
                np.testing.assert_allclose(slopes, [-mirrored[0], -mirrored[2], -mirrored[1]], 1e-9)
                continue
            log, (by_x, *others) = tg.value_and_grad(getattr(d, method), by)(x, *shapes)
            np.testing.assert_allclose(log, np.log(q), 0, 1e-9 * abs(by_x * x))
            np.testing.assert_allclose(slopes[0], 1 / q / by_x, 1e-8)
            np.testing.assert_allclose(slopes[1:], -np.array(others) / by_x, 1e-8)


def test_float32_stays_float32() -> None:
    x = np.array([0.25, 0.5], np.float32)
    for name in CONTINUOUS:
        shapes = [a[1] for a in CONTINUOUS[name][1:]]
        for method in those_of(name):
            got, want = (fn(x, *shapes, scale=1.25) for fn in both(name, method))
            assert got.dtype == np.float32
            np.testing.assert_allclose(got, want, rtol=1e-4)


def test_a_frozen_distribution_is_a_tree() -> None:
    assert ours.gamma(2.5, scale=2.0).cdf(1.5) == ours.gamma.cdf(1.5, 2.5, scale=2.0)
    slope = tg.grad(lambda d: d.logpdf(1.0))(ours.norm(0.5, 2.0))
    np.testing.assert_allclose(slope.parameters, [0.125, 0.0625 / 2 - 0.5])
    again = pickle.loads(pickle.dumps(ours.binom(5, 0.5)))
    assert again.distribution is ours.binom
    assert again.pmf(k=2) == ours.binom.pmf(2, 5, 0.5)
    for name in ("rvs", "support", "fit", "interval", "stats", "moment", "expect"):
        for d in (ours.norm, ours.norm(0.0, 1.0)):
            with pytest.raises(AttributeError, match=rf"stats\.norm has no '{name}'"):
                getattr(d, name)
    with pytest.raises(AttributeError, match=r"stats\.multivariate_normal has no 'cdf'"):
        ours.multivariate_normal.cdf(X)
    with pytest.raises(TypeError, match=r"call a method of .*_normal`: pdf, logpdf"):
        ours.multivariate_normal(np.zeros(2))


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


def test_a_covariance_may_be_singular() -> None:
    a = np.array([[1.0, 0.0], [2.0, 1.0], [0.0, 1.0]])
    x = np.vstack([np.array([[0.5, 0.25], [1.0, 2.0]]) @ a.T, [1.0, 0.0, 0.0]])
    fns = both("multivariate_normal", "logpdf")
    for cov in (a @ a.T, a @ a.T + np.eye(3)):
        same(*[f(x, None, cov, True) for f in fns], 1e-12)
        same(*[f(None, cov) for f in both("multivariate_normal", "entropy")], 1e-12)
    # inside the support, and along matrices of the same rank
    bound = [lambda x, a, f=f: f(x @ a.T, None, a @ a.T, True) for f in fns]
    checks: dict[str, Any] = {} if THOROUGH else FIRST
    prove(*bound, (X, a), single=False, **checks)
    line = np.array([1.0, 2.0])
    check_grads(lambda a: fns[0](0.5 * a, None, a[:, None] * a, True), (line,), order=2)
    entropies = both("multivariate_normal", "entropy")
    prove(*[lambda m, c, f=f: f(m, c) for f in entropies], (MEAN, COV), single=False)
    same(*[f(cov=2.5) for f in entropies])
    refuses_alike(*[lambda f=f: f(X, MEAN, np.diag([1.0, -1.0]), True) for f in fns])


@pytest.mark.parametrize("method", DENSITIES)
def test_vectors_of_students_distribution_are_scipys(method: str) -> None:
    fns = both("multivariate_t", method)
    checks: dict[str, Any] = {} if THOROUGH else FIRST
    prove(*fns, (X, MEAN, COV, np.array(3.5)), single=False, **checks)
    for args in ((X[0], MEAN, COV), (X[:, 0], 0.5, 2.0, 1.5)):
        same(*[f(*args) for f in fns])
    normal = getattr(ours.multivariate_normal, method)
    same(fns[0](X, MEAN, COV, np.inf), normal(X, MEAN, COV))
    # of one number, it is Student's; slopes by df do not cancel
    for df in (0.5, 1e8, 1e12):
        slopes = [
            tg.value_and_grad(lambda x, df, f=f: f(x, df=df), (0, 1))(np.array(1.5), df)
            for f in (getattr(ours.multivariate_t, method), getattr(ours.t, method))
        ]
        np.testing.assert_allclose(slopes[0][0], slopes[1][0], 1e-13)
        np.testing.assert_allclose(slopes[0][1], slopes[1][1], 1e-7)
    with np.errstate(all="ignore"):
        assert np.isnan(fns[0](X, MEAN, COV, -1.0)).all()


@pytest.mark.parametrize("method", ["pmf", "logpmf"])
def test_counts_of_several_kinds_are_scipys(method: str) -> None:
    p = np.array([[0.25, 0.5, 0.25], [0.125, 0.375, 0.5]])
    k = np.array([[[1, 2, 3]], [[0, 6, 0]], [[1, 1, 1]], [[-1, 4, 3]], [[2, 2, 2]]])
    fns = both("multinomial", method)
    same(*[f(k, 6, p) for f in fns])
    same(
        *[f(np.array([[400, 600], [0, 1000]]), 1000, np.array([0.375, 0.625])) for f in fns], 1e-12
    )
    # the probabilities but one are free
    bound = [lambda p, f=f: f(k[:2], 6, np.stack([p, 0.75 - p, 0 * p + 0.25], -1)) for f in fns]
    prove(*bound, (np.array([0.25, 0.625]),), single=False)
    for n, wrong in ((-1, p), (2.5, p), (6, p * 1.01), (6, np.array([-0.5, 1.0, 0.5]))):
        assert np.isnan(fns[0](k, n, wrong)).all()
    assert np.all(fns[0]([1.5, 1.5, 3.0], 6, p) == (0 if method == "pmf" else -np.inf))
    # by each probability, that of the formula
    value, by_p = tg.value_and_grad(lambda p: fns[0](k[0, 0], 6, p))(p[0])
    np.testing.assert_allclose(by_p, k[0, 0] / p[0] * (value if method == "pmf" else 1), 1e-13)
    # at an end
    by_p = tg.grad(lambda p: ours.multinomial.pmf([1, 2], 3, p))(np.array([0.0, 1.0]))
    np.testing.assert_allclose(by_p, [3.0, 0.0])
    same(*[f(7, p[0]) for f in both("multinomial", "mean")])


SAMPLES = np.array([[1.0, 2.0, 4.0], [2.0, 5.0, 3.0], [7.0, 1.0, 1.5], [0.5, 1.25, 8.0]])
STATISTICS = [
    *[
        ("zscore", x)
        for x in ({}, {"axis": 1, "ddof": 1, "nan_policy": "propagate"}, {"axis": None})
    ],
    *[("gmean", x) for x in ({"axis": None}, {"axis": 1, "weights": [1, 2, 3], "keepdims": True})],
    *[(x, kw) for x in ("skew", "kurtosis") for kw in ({}, {"axis": None, "keepdims": True})],
    *[(x, {"axis": 1, "bias": False}) for x in ("skew", "kurtosis")],
    ("kurtosis", {"fisher": False, "bias": False}),
]


@pytest.mark.parametrize(("name", "options"), STATISTICS)
@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_statistics_of_samples_are_scipys(name: str, options: dict[str, Any]) -> None:
    fns = [lambda a, s=s: getattr(s, name)(a, **options) for s in (ours, theirs)]
    # some of older SciPy's are float64 in any case
    prove(*fns, (SAMPLES,), single=False, **({} if THOROUGH or name == "zscore" else FIRST))
    assert "weights" in options or fns[0](SAMPLES.astype(np.float32)).dtype == np.float32
    edges = [
        np.full((3, 2), 0.1),
        np.array([[1.0, np.nan, 2.0]]),
        np.array([[0.0, 2.0], [-1.0, 3.0]]),
    ]
    with np.errstate(all="ignore"):
        for a in edges[: 0 if "weights" in options else 3]:
            np.testing.assert_allclose(*[f(a) for f in fns], rtol=1e-13)


def test_a_correlation_is_scipys() -> None:
    x, y = SAMPLES, SAMPLES[::-1] ** 2
    fns = [
        lambda *xs, s=s: tuple(s.pearsonr(*xs, axis=1, alternative="two-sided"))
        for s in (ours, theirs)
    ]
    prove(*fns, (x, y), single=False)
    assert {r.dtype for r in fns[0](x.astype(np.float32), y)} == {np.dtype(np.float64)}
    assert {r.dtype for r in fns[0](*[a.astype(np.float32) for a in (x, y)])} == {np.dtype("f")}
    for args in ((x[:2], y[:2]), (x[:, 0], y[:, 1]), (x, y)):
        np.testing.assert_allclose(*[tuple(s.pearsonr(*args)) for s in (ours, theirs)], rtol=1e-12)
    r = ours.pearsonr(x[:, 0], 3 * x[:, 0])
    assert (r.statistic, r.pvalue) == (1, 0)
    assert np.isnan(ours.pearsonr(np.full(3, 0.1), x[:3, 0])).all()
    with pytest.raises(NotImplementedError, match="pearsonr takes no alternative but 'two-sided'"):
        ours.pearsonr(x, y, alternative="less")


WRONG: list[tuple[str, tuple[Any, ...]]] = [
    ("multivariate_normal", (X, MEAN, np.ones((2, 3)))),
    ("multivariate_normal", (X, MEAN, np.eye(3))),
    ("multivariate_normal", (X, np.zeros(3), np.eye(3))),
    ("multivariate_normal", (X, MEAN, np.array([[1.0, 2.0], [2.0, 1.0]]))),
    ("multivariate_t", (X, np.zeros(3), np.eye(3))),
    ("dirichlet", (np.array([0.5, 0.6]), np.ones(2))),
    ("dirichlet", (np.array([0.5, 0.5]), np.array([1.0, -1.0]))),
    ("dirichlet", (np.full(4, 0.25), np.ones(2))),
    ("dirichlet", (np.array([0.0, 1.0]), np.array([0.5, 1.0]))),
    ("gamma", (1.0, 2.0, 3.0, 4.0, 5.0)),
    ("gamma", (1.0,)),
]


@pytest.mark.parametrize(("name", "args"), WRONG)
def test_arguments_that_do_not_fit_are_refused_as_by_scipy(
    name: str, args: tuple[Array | float, ...]
) -> None:
    refuses_alike(*both(name, "logpdf"), *args)


def test_an_argument_of_another_name_is_refused_as_by_scipy() -> None:
    refuses_alike(*[lambda f=f: f(1.0, 2.0, mu=1.0) for f in both("gamma", "pdf")])


@pytest.mark.parametrize("name", ours.__all__)
def test_the_example_in_a_distributions_docstring_is_true(name: str) -> None:
    (test,) = doctest.DocTestFinder().find(getattr(ours, name), name, globs={"np": np})[:1]
    assert test.examples
    assert doctest.DocTestRunner(verbose=False).run(test).failed == 0


def test_scipys_own_name_ours() -> None:
    with pytest.raises(TypeError, match=r"write tapegrad\.scipy\.stats\.truncnorm\.mean\("):
        tg.record(lambda t: theirs.truncnorm.mean(-1.0, t))(np.ones(2))
    # what it has not is not named
    assert not hasattr(ours.vonmises, "cdf")
    with pytest.raises(TypeError, match="SciPy computes on arrays alone"):
        tg.record(lambda t: theirs.vonmises.cdf(t, 2.0))(np.ones(2))
    with pytest.raises(
        AttributeError, match=r"stats\.vonmises has no 'cdf'; call SciPy's on values"
    ):
        ours.vonmises(2.0).cdf(1.0)


EDGES = [
    ("binom", lambda p, k: (k, 6, p), [0.0, 1.0], range(7)),
    ("poisson", lambda mu, k: (k, mu), [0.0], range(4)),
    ("bernoulli", lambda p, k: (k, p), [0.0, 1.0], range(2)),
    ("nbinom", lambda p, k: (k, 2.5, p), [1.0], range(4)),
    ("geom", lambda p, k: (k, p), [1.0], range(1, 4)),
]


@pytest.mark.parametrize(("name", "arguments", "ends", "counts"), EDGES)
def test_at_an_end_of_a_parameter_the_slope_of_a_probability_is_one_sided(
    name: str, arguments: Callable[..., Any], ends: list[float], counts: Any
) -> None:
    for end in ends:
        for k in counts:

            def pmf(x: Array | float, of: ModuleType = ours, k: int = k) -> Array:
                return getattr(of, name).pmf(*arguments(x, k))

            inside = 1e-7 if end == 0 else -1e-7
            slope = (pmf(end + inside, theirs) - pmf(end, theirs)) / inside
            np.testing.assert_allclose(pmf(end), pmf(end, theirs), rtol=1e-14)
            np.testing.assert_allclose(tg.grad(pmf)(end), slope, rtol=1e-5, atol=2e-6)
            np.testing.assert_allclose(tg.jvp(pmf, (end,), (1.0,))[1], slope, rtol=1e-5, atol=2e-6)
