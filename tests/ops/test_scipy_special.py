"""SciPy's functions on Tensors: its values and dtypes, with the derivatives of the rules.

Values are SciPy's; derivatives are those of differences, and of mpmath where digits are lost;
complex operands where SciPy takes them; choices at kinks; refusals by SciPy's names; pickling.
"""

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
from op_calls import sample_calls
from scripts import print_of_script

import tapegrad as tg
from tapegrad.arraylike.table import ANSWERS
from tapegrad.declare import facts
from tapegrad.ops.scipy_special import SCIPY_OPS
from tapegrad.testing import check_grads, check_properties
from tapegrad.types import Array

special: Any = pytest.importorskip("scipy.special")

OPS: dict[str, Any] = dict(SCIPY_OPS)
# by SciPy's function, unless SciPy has none or its own reads an array first
THEIRS = [
    name for name in OPS if f"scipy.special.{name}" in ANSWERS or name in ("zeta", "lambertw")
]
CALLED: dict[str, Any] = OPS | {name: getattr(special, name) for name in THEIRS}
CALLED |= {name: getattr(special, name) for name in ("airy", "sici", "fresnel")}
CALLED["polygamma"] = OPS["polygamma"] = tg.polygamma


def cases(name: str, n: int, seed: int = 0) -> Iterator[tuple[Any, ...]]:
    """Calls of SciPy's function, as one of arrays alone, and these."""
    for call in sample_calls(OPS[name], n, seed):
        arrays = [x for x in call.args if isinstance(x, np.ndarray)]
        order = call.args[: len(call.args) - len(arrays)]
        yield lambda *xs, order=order: CALLED[name](*order, *xs), arrays


@pytest.mark.parametrize("name", sorted(OPS))
def test_values_are_scipys_down_to_the_dtype(name: str) -> None:
    for fn, arrays in cases(name, 8):
        want = np.asarray(fn(*arrays))
        output, tape = tg.record(fn)(*arrays)
        assert output is tape.last
        assert output.op is OPS[name]
        assert (output.value.shape, output.dtype) == (want.shape, want.dtype)
        np.testing.assert_array_equal(output.value, want)
        for g, x in zip(
            tg.reverse_sweep(tape, output, np.ones(want.shape)).values(), arrays, strict=True
        ):
            assert (g.shape, g.dtype) == (x.shape, x.dtype)


@pytest.mark.parametrize("name", [name for name in sorted(OPS) if any(OPS[name].vjps)])
def test_derivatives_are_those_of_differences_recorded_and_compiled(name: str) -> None:
    for fn, arrays in cases(name, 2, seed=len(name)):
        check_grads(fn, arrays)
    check_properties(fn, arrays, compiled=True)


@pytest.mark.parametrize("name", ["xlogy", "rel_entr", "beta"])
def test_a_number_beside_a_tensor_is_what_it_is_to_scipy(name: str) -> None:
    x = np.array([0.5, 1.0], np.float32)
    for fn in (lambda x: CALLED[name](x, 2.0), lambda x: CALLED[name](2.0, x)):
        assert tg.record(fn)(x)[0].dtype == fn(x).dtype
        assert tg.compile(fn)(x).dtype == fn(x).dtype


# the function, its arguments, which of them, and the derivatives by it, by mpmath at 40 digits: in
# tails, where these are tiny, near poles and zeros, and where series take over
DIGITS: list[tuple[str, tuple[float, ...], int, float, float]] = [
    ("gammainc", (2.5, 1.0), 0, -0.18009960695404151, 0.17286396981617788),
    ("gammaincc", (3.0, 60.0), 0, 5.1959295826872728e-23, 1.592407022727946e-22),
    ("gammaincc", (0.001, 0.5), 0, 0.56035940010800309, 0.58485123986970825),
    ("gammainc", (1000.0, 980.0), 0, -0.010406175936332673, 0.00021025131566254319),
    ("betainc", (2.0, 3.0, 0.1), 0, -0.091175200363588596, 0.15068804323786855),
    ("betainc", (3.0, 0.02, 0.98), 1, 2.3558849687821815, -4.7524741366276488),
    ("betainc", (30.0, 40.0, 0.001), 1, 1.7178011229400594e-71, 9.3563015311852542e-72),
    ("stdtr", (3.0, -10.0), 0, -0.0015098155938360795, 0.0023506231127497354),
    ("stdtr", (2.0, 1e-06), 0, 2.0100507077828229e-8, -1.7430437951287835e-8),
    ("ellipk", (1e-09,), 0, 0.39269908214051062, 0.44178646783145315),
    ("ellipe", (-3.0,), 0, -0.22397570523118291, -0.024197900595041822),
    ("ellipkinc", (-5.0, -3.0), 1, -0.25439967734336549, -0.077203731692915033),
    ("exprel", (-50.0,), 0, 0.0004, 1.6e-5),
    ("hyp1f1", (-3.0, 2.5, 1e20), 2, -7.6190476190476190e38, -1.5238095238095238e19),
    ("kl_div", (1e300, 1.0000000001e300), 0, -9.999995396814989e-11, 1e-300),
    ("rel_entr", (1e6, 1000001.0), 0, 0.9999990000004999997, 1e-6),
    ("fresnel_s", (-100000000.25,), 0, 0.0980171403295606, -312646503.40943027),
    ("fresnel_c", (-100000000.25,), 0, 0.9951847266721969, 30792992.875505224),
    ("sici_s", (1e4,), 0, -3.056143888882521e-05, -9.521248068201261e-05),
    ("gamma", (-0.5,), 0, -0.12935358979554006, -31.677769243994666),
    ("gammaln", (0.25,), 0, -4.2274535333762654, 17.197329154507111),
    ("psi", (-1.25,), 0, 19.181879647671606, 123.72136678366236),
    ("erfc", (3.0,), 0, -0.00013925305194674785, 0.00083551831168048712),
    ("erfcx", (1.5,), 0, -0.16362291773256007, 0.1523020797109548),
    ("ndtr", (-5.0,), 0, 1.4867195147342977e-6, 7.4335975736714885e-6),
    ("log_ndtr", (-20.0,), 0, 20.049753068527851, -0.99753673838494784),
    ("log_ndtr", (-1e6,), 0, 1000000.0000010000, -0.99999999999900000),
    ("rgamma", (-1.0,), 0, -1.0, 0.8455686701969343),
    ("dawsn", (-1e8,), 0, -5.0000000000000005e-17, -1.0000000000000003e-24),
    ("ndtri", (0.975,), 0, 17.110083080332703, 573.78914460721513),
    ("i0e", (29.0,), 0, -0.00129435028283722, 6.755856776449627e-05),
    ("i0e", (31.0,), 0, -0.0011701038625981527, 5.7098278925799376e-05),
    ("i0e", (1e16,), 0, -1.9947114020071634e-25, 2.992067103010745e-41),
    ("i1e", (-1e16,), 0, -1.9947114020071632e-25, -2.9920671030107447e-41),
    ("k0e", (31.0,), 0, -0.0035880251753175963, 0.0001722774749968235),
    ("k1e", (1e4,), 0, -6.267275639066051e-07, 9.401618374378432e-11),
    ("i1", (0.0,), 0, 0.5, 0.0),
    ("j1", (0.0,), 0, 0.5, 0.0),
    ("spence", (1.0,), 0, -1.0, 0.5),
    ("spence", (1.25,), 0, -0.89257420525683902, 0.37029682102735609),
    ("spence", (0.001,), 0, -6.9146699489310681, 994.07940946052944),
    ("spence", (0.5,), 0, -1.3862943611198906, 1.2274112777602188),
    ("boxcox", (2.5, 1e-09), 1, 0.41979435291567315, 0.2564357832660738),
    ("boxcox", (0.001, 3.0), 1, 0.11111110869741491, -0.07407405655924894),
    ("boxcox", (30.0, 0.25), 0, 0.078011577310690531, -0.0019502894327672633),
    ("boxcox1p", (1e-10, 0.5), 0, 0.99999999995, -0.499999999925),
    ("inv_boxcox", (0.75, 1e-09), 1, -0.59540625390945049, 0.76286426224468363),
    ("inv_boxcox", (3.0, -0.3), 1, -160323.81121322526, 17325090.697201505),
    ("inv_boxcox", (3.0, 0.5), 0, 2.5, 0.5),
    ("inv_boxcox", (-2.0, 0.5), 0, 0.0, 0.5),
    ("inv_boxcox", (-1.0, 1.0), 0, 1.0, 0.0),
    ("inv_boxcox1p", (1e-10, 0.5), 1, -5.000000000166667e-21, 6.6666666668333341e-31),
    ("binom", (50.0, 25.5), 0, 88005635166739.315, 59344365668124.469),
    ("binom", (3.0, 5.0), 0, -0.05, -0.083333333333333333),
    ("binom", (3.0, 5.0), 1, 0.05, -0.12833333333333333),
    ("binom", (2.5, -1.0), 1, 0.28571428571428571, 1.1234780521491781),
    ("binom", (-1.5, 2.0), 0, -2.0, 1.0),
    ("poch", (100000000.0, 0.5), 0, 5.00000000625e-5, -2.500000009375e-13),
    ("poch", (-2.0, 3.0), 0, 2.0, -6.0),
    ("poch", (-3.0, 2.0), 0, -5.0, 2.0),
    ("poch", (-1.0, -1.0), 0, -0.25, -0.25),
    ("pseudo_huber", (100000.0, 0.001), 0, 2.5e-28, -7.4999999999999994e-33),
    ("eval_chebyt", (5, 1.0), 1, 25.0, 200.0),
    ("eval_chebyt", (2.5, -0.5), 1, -2.5, -2.5),
    ("eval_hermite", (7, 3.0), 1, 197904.0, 641088.0),
    ("eval_laguerre", (30, 0.5), 1, -1.8881260317261418, -14.639427794332197),
    ("eval_genlaguerre", (4, 0.5, 12.0), 2, 51.9375, 25.875),
    ("eval_gegenbauer", (6, 0.5, 0.25), 2, 2.1353759765625, 0.05126953125),
    ("exp10", (-300.0,), 0, 2.3025850929940457e-300, 5.301898110478398e-300),
]


@pytest.mark.parametrize(("name", "args", "at", "first", "second"), DIGITS)
def test_derivatives_are_those_of_many_digits(
    name: str, args: tuple[float, ...], at: int, first: float, second: float
) -> None:
    gradient = tg.grad(CALLED[name], argnums=at)
    np.testing.assert_allclose(gradient(*args), first, rtol=2e-13 if len(args) > 1 else 2e-14)
    # the slope of log_ndtr is a product that its own slope differs from little
    np.testing.assert_allclose(
        tg.grad(gradient, argnums=at)(*args), second, rtol=1e-11, atol=1e-16 * (len(args) == 1)
    )


def test_student_t_in_the_middle_where_its_argument_has_no_slope() -> None:
    by_both = tg.hessian(lambda z: special.stdtr(z[0], z[1]))(np.array([3.0, 0.0]))
    # the slope of the density there by the degrees of freedom
    by_df = (special.psi(2.0) - special.psi(1.5)) / 2 - 1 / 6
    at_0 = special.gamma(2.0) / special.gamma(1.5) / np.sqrt(3 * np.pi)
    np.testing.assert_allclose(by_both, [[0, at_0 * by_df], [at_0 * by_df, 0]], atol=1e-16)


COMPLEX: dict[str, tuple[Any, ...]] = {
    **dict.fromkeys(
        ("expi", "exp1", "wofz", "lambertw", "erf", "erfc", "erfi", "log1p", "expm1"), ()
    ),
    **dict.fromkeys(("jv", "yv", "iv", "kv", "kve"), (1.5,)),
    "kve_derivative": (1, 1.5),
    **dict.fromkeys(("spherical_jn", "spherical_yn", "spherical_in", "spherical_kn"), (1,)),
    **dict.fromkeys(("airy_ai", "airy_aip", "airy_bi", "airy_bip", "gamma", "loggamma", "psi"), ()),
    "hyp0f1": (1.5,),
    "hyp1f1": (0.5, 1.5),
    "hyp2f1": (0.5, 1.5, 2.0),
    "spence": (),
    **dict.fromkeys(("eval_legendre", "eval_chebyt", "eval_chebyu", "eval_laguerre"), (2.5,)),
    **dict.fromkeys(("eval_gegenbauer", "eval_genlaguerre"), (2.5, 0.5)),
    "eval_jacobi": (2, 0.5, 1.0),
}


@pytest.mark.parametrize("name", COMPLEX)
def test_what_scipy_takes_complex_is_differentiated_so(name: str) -> None:
    assert set(COMPLEX) == {name for name, op in OPS.items() if facts(op).complex}
    z = np.array([0.5 + 0.25j])

    def fn(z: Array) -> Array:
        return CALLED[name](*COMPLEX[name], z)

    # the derivatives of the digamma function are those of real numbers alone
    order = 1 if name in ("gamma", "loggamma", "psi") else 2
    if name == "psi":
        with pytest.raises(TypeError, match="polygamma: an operand is complex128"):
            tg.vjp(fn, z)[1](z)
        return
    check_grads(fn, (z,), order=order)
    np.testing.assert_allclose(tg.compile(fn)(z), fn(z), rtol=1e-14)
    same = tg.record(fn)(z.astype(np.complex64))[0]
    assert same.dtype == fn(z.astype(np.complex64)).dtype


@pytest.mark.parametrize("name", ["airy", "sici", "fresnel"])
def test_functions_with_several_results(name: str) -> None:
    x = np.array([0.5, 1.5], np.float32)
    got, wanted = tg.record(CALLED[name])(x)[0], CALLED[name](x)
    assert all(np.array_equal(y.value, z) for y, z in zip(got, wanted, strict=True))
    check_grads(CALLED[name], (x,))


def test_second_names_and_families_are_answered_for() -> None:
    x = np.array([0.5, 1.5])
    for fn, slope in (
        (lambda x: special.digamma(x), lambda x: special.polygamma(1, x)),
        (lambda x: special.jn(2, x), lambda x: (special.j1(x) - special.jv(3, x)) / 2),
        (lambda x: special.iv(0, x), special.i1),
        (lambda x: special.kv(0, x), lambda x: -special.k1(x)),
    ):
        np.testing.assert_allclose(tg.grad(lambda x, fn=fn: np.sum(fn(x)))(x), slope(x), rtol=1e-14)


@pytest.mark.parametrize(
    ("fn", "x", "slopes"),
    [
        (lambda x: special.xlogy(0.0, x), [0.0, 2.0], [0.0, 0.0]),
        (lambda x: special.xlog1py(0.0, x), [-1.0, 2.0], [0.0, 0.0]),
        (lambda x: special.xlogy(x, 0.0), [0.0], [-np.inf]),
        (lambda x: special.rel_entr(0.0, x), [0.0, 2.0], [0.0, 0.0]),
        (lambda x: special.i0e(x), [0.0], [0.0]),
        (lambda x: special.entr(x), [0.0], [np.inf]),
        (lambda x: special.cbrt(x), [-8.0, 8.0], [1 / 12, 1 / 12]),
        (lambda x: special.gammasgn(x), [-1.5, 2.0], [0.0, 0.0]),
        (lambda r: special.huber(2.0, r), [-2.0, 2.0, 3.0], [-2.0, 2.0, 2.0]),
        (lambda delta: special.huber(delta, 2.0), [2.0, 1.0], [0.0, 1.0]),
        (lambda r: special.pseudo_huber(2.0, r), [0.0], [0.0]),
        (lambda r: special.pseudo_huber(0.0, r), [0.0, 3.0], [0.0, 0.0]),
        (lambda delta: special.pseudo_huber(delta, 3.0), [0.0], [3.0]),
        (lambda x: special.entr(x)[1:], [0.0, 0.5], [0.0, -1 - np.log(0.5)]),
        (lambda x: special.betaln(x, 1.0), [12.0, 1e10, 1e16], [-1 / 12, -1e-10, -1e-16]),
        (lambda x: special.log_expit(x), [-1e4, 1e4], [1.0, 0.0]),
        (lambda x: special.log_ndtr(x), [-1e4, 1e4], [1e4, 0.0]),
        (lambda x: special.expit(x), [-1e4, 1e4], [0.0, 0.0]),
    ],
)
def test_at_the_ends_and_the_kinks_the_slope_is_as_the_table_says(
    fn: Callable[..., Any], x: list[float], slopes: list[float]
) -> None:
    np.testing.assert_allclose(tg.grad(lambda x: np.sum(fn(x)))(np.array(x)), slopes, rtol=1e-7)


@pytest.mark.parametrize(
    ("name", "call"),
    [
        ("hyp2f1: c is an option", lambda t: special.hyp2f1(1.0, 2.0, t, 0.5)),
        ("scipy.special.ellipkm1", lambda t: special.ellipkm1(t)),
        ("scipy.special.stdtridf", lambda t: special.stdtridf(t, 2.0)),
        ("eval_hermite: n is an option", lambda t: special.eval_hermite(t, 2.0)),
        ("zeta: x is an option", lambda t: special.zeta(t, 2.0)),
        ("scipy.special._ufuncs._riemann_zeta", lambda t: special.zeta(t)),
        ("scipy.special.xlogy.outer", lambda t: special.xlogy.outer(t, t)),
        ("jv: order is an option", lambda t: special.jv(t, 1.0)),
        ("scipy.special.expit: out=", lambda t: special.expit(t, out=np.ones(2))),
        ("where", lambda t: special.expit(t, where=np.array([True, False]))),
        ("polygamma: order is an option", lambda t: tg.polygamma(t, 1.0)),
    ],
)
def test_what_is_refused_is_named_as_what_it_is(name: str, call: Callable[..., Any]) -> None:
    with pytest.raises(TypeError, match=name.replace(".", r"\.")):
        tg.record(call)(np.array([0.5, 1.5]))


def test_a_function_that_reads_arrays_names_ours() -> None:
    with pytest.raises(TypeError, match=r"; write tg\.polygamma\("):
        tg.record(lambda t: special.polygamma(1, t))(np.ones(2))


def test_the_package_does_not_import_scipy() -> None:
    code = (
        "import sys, tapegrad as tg; assert not [m for m in sys.modules if m.startswith('scipy')]\n"
        "try: tg.polygamma(1, 2.0)\n"
        "except ImportError as error: print(error)"
    )
    assert "import scipy.special first" in print_of_script(code)
