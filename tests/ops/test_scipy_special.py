"""SciPy's functions on Tensors: its values, with the derivatives of the rules."""

import pickle
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import tapegrad as tg
from tapegrad.face.table import ANSWERS
from tapegrad.testing import check_grads, check_properties, sample_calls

special: Any = pytest.importorskip("scipy.special")

OPS: dict[str, Any] = {
    name.removeprefix("scipy.special."): op for name, op in ANSWERS.items() if type(name) is str
}
CALLED: dict[str, Any] = {name: getattr(special, name) for name in OPS}
CALLED["polygamma"] = OPS["polygamma"] = tg.polygamma


def cases(name: str, n: int, seed: int = 0) -> Any:
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


@pytest.mark.parametrize("name", sorted(OPS))
def test_derivatives_are_those_of_differences(name: str) -> None:
    for fn, arrays in cases(name, 2, seed=len(name)):
        check_grads(fn, arrays)


@pytest.mark.parametrize("name", sorted(OPS))
def test_derivatives_are_recorded_and_compiled(name: str) -> None:
    for fn, arrays in cases(name, 1, seed=len(name) + 1):
        check_properties(fn, arrays, compiled=True)


@pytest.mark.parametrize("name", ["xlogy", "rel_entr", "beta"])
def test_a_number_beside_a_tensor_is_what_it_is_to_scipy(name: str) -> None:
    x = np.array([0.5, 1.0], np.float32)
    for fn in (lambda x: CALLED[name](x, 2.0), lambda x: CALLED[name](2.0, x)):
        assert tg.record(fn)(x)[0].dtype == fn(x).dtype
        assert tg.compile(fn)(x).dtype == fn(x).dtype


# the function, where, and its first and second derivative there by mpmath at 30 digits
VALUES = [
    ("gamma", 2.5, 0.93473452162608553, 1.3091171559626735),
    ("gamma", -0.5, -0.12935358979554006, -31.677769243994666),
    ("gammaln", 0.25, -4.2274535333762654, 17.197329154507111),
    ("gammaln", 30.0, 3.3844381326855249, 0.033895060357739944),
    ("psi", 0.3, 12.245364546107731, -75.272536588726039),
    ("psi", -1.25, 19.181879647671606, 123.72136678366236),
    ("erf", 0.5, 0.87878257893544479, -0.87878257893544479),
    ("erfc", 3.0, -0.00013925305194674785, 0.00083551831168048712),
    ("erfinv", 0.75, 1.7174997693674523, 4.798860611815591),
    ("erfcx", 1.5, -0.16362291773256007, 0.1523020797109548),
    ("expit", -30.0, 9.3576229688384233e-14, 9.357622968836672e-14),
    ("log_expit", -30.0, 0.99999999999990642, -9.3576229688384233e-14),
    ("ndtr", -5.0, 1.4867195147342977e-6, 7.4335975736714885e-6),
    ("log_ndtr", -20.0, 20.049753068527851, -0.99753673838494784),
    ("log_ndtr", 6.0, 6.07588285581767645e-9, -3.64552971718224111e-8),
    ("log_ndtr", 40.0, 0.0, 0.0),
    ("log_ndtr", 1e3, 0.0, 0.0),
    ("log_ndtr", -1e3, 1000.0009999980000, -0.99999900000599995),
    ("log_ndtr", -1e6, 1000000.0000010000, -0.99999999999900000),
    ("rgamma", 0.0, 1.0, 1.1544313298030657),
    ("rgamma", -1.0, -1.0, 0.8455686701969343),
    ("rgamma", -2.0, 2.0, -3.6911373403938685),
    ("rgamma", -10.0, 3628800.0, -17068079.590410635),
    ("rgamma", 1e-20, 1.0, 1.1544313298030657),
    ("erfcx", 1e4, -5.6418957508491275e-9, 1.1283791332441388e-12),
    ("erfcx", 1e8, -5.641895835477562e-17, 1.1283791670955122e-24),
    ("dawsn", 1e4, -5.000000075e-9, 1.000000030000001e-12),
    ("dawsn", -1e8, -5.0000000000000005e-17, -1.0000000000000003e-24),
    ("ndtri", 0.975, 17.110083080332703, 573.78914460721513),
    ("entr", 0.1, 1.3025850929940456, -9.9999999999999994),
    ("i0e", 2.0, -0.09323903330473338, 0.078843421984997931),
    ("i1", 0.0, 0.5, 0.0),
    ("i1", 1.0, 0.70090677375952331, 0.42941143422544675),
    ("j0", 2.0, -0.57672480775687339, 0.064471624737201026),
    ("j1", 0.0, 0.5, 0.0),
    ("j1", 3.0, -0.37307160774391226, -0.17702853833063943),
    ("k0", 1.5, -0.27738780045684382, 0.39873076295208828),
    ("y0", 1.5, 0.4123086269739113, -0.65732134178036637),
]


@pytest.mark.parametrize(("name", "x", "first", "second"), VALUES)
def test_derivatives_are_those_of_many_digits(
    name: str, x: float, first: float, second: float
) -> None:
    gradient = tg.grad(lambda t: CALLED[name](t))
    np.testing.assert_allclose(gradient(x), first, rtol=1e-14)
    # the slope of this one is a product that its own slope differs from little
    np.testing.assert_allclose(tg.grad(gradient)(x), second, rtol=2e-13, atol=1e-16)


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
        (lambda x: special.log_expit(x), [-1e4, 1e4], [1.0, 0.0]),
        (lambda x: special.log_ndtr(x), [-1e4, 1e4], [1e4, 0.0]),
        (lambda x: special.expit(x), [-1e4, 1e4], [0.0, 0.0]),
    ],
)
def test_at_the_ends_and_the_kinks_the_slope_is_as_the_table_says(
    fn: Any, x: Any, slopes: Any
) -> None:
    np.testing.assert_allclose(tg.grad(lambda x: np.sum(fn(x)))(np.array(x)), slopes, rtol=1e-7)


def test_no_cotangent_meets_an_infinite_slope() -> None:
    slope = tg.grad(lambda p: np.sum(special.entr(p)[1:]))(np.array([0.0, 0.5]))
    np.testing.assert_allclose(slope, [0.0, -1 - np.log(0.5)])


@pytest.mark.parametrize(
    ("name", "call"),
    [
        ("scipy.special.hyp2f1", lambda t: special.hyp2f1(1.0, 2.0, 3.0, t)),
        ("scipy.special.binom", lambda t: special.binom(t, 2.0)),
        ("scipy.special._ufuncs._zeta", lambda t: special.zeta(2.0, t)),
        ("scipy.special.xlogy.outer", lambda t: special.xlogy.outer(t, t)),
        ("jv: order is an option", lambda t: special.jv(t, 1.0)),
        ("scipy.special.expit: out=", lambda t: special.expit(t, out=np.ones(2))),
        ("where", lambda t: special.expit(t, where=np.array([True, False]))),
        ("polygamma: order is an option", lambda t: tg.polygamma(t, 1.0)),
    ],
)
def test_what_is_refused_is_named_as_what_it_is(name: str, call: Any) -> None:
    with pytest.raises(TypeError, match=name.replace(".", r"\.")):
        tg.record(call)(np.array([0.5, 1.5]))


@pytest.mark.parametrize("name", ["polygamma", "logsumexp", "softmax", "log_softmax"])
def test_a_function_that_reads_arrays_names_ours(name: str) -> None:
    function = getattr(special, name)
    with pytest.raises(TypeError, match=rf"; write tg\.{name}\("):
        tg.record(lambda t: function(1, t) if name == "polygamma" else function(t))(np.ones(2))


def test_a_program_with_scipys_functions_can_be_pickled() -> None:
    x = np.array([0.5, 1.5])
    step = tg.compile(tg.grad(lambda x: np.sum(special.gammaln(x) * special.jv(1, x))))
    program = step.program(x)
    copy = pickle.loads(pickle.dumps(program))
    assert copy == program
    assert str(copy) == str(program)
    assert pickle.loads(pickle.dumps(OPS["psi"])) is OPS["psi"]


def test_the_package_does_not_import_scipy() -> None:
    code = (
        "import sys, tapegrad as tg; assert not [m for m in sys.modules if m.startswith('scipy')]\n"
        "try: tg.polygamma(1, 2.0)\n"
        "except ImportError as error: print(error)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=True,
        cwd=Path(__file__).parents[2],
    )
    assert "import scipy.special first" in done.stdout
