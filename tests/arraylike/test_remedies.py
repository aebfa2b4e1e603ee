"""An error names the caller's line and the code to write instead, which works."""

import ast
import itertools
import re
import traceback
from collections.abc import Callable
from operator import attrgetter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from depth import THOROUGH
from user_files import in_a_file

import tapegrad as tg
from tapegrad.arraylike.table import full_table
from tapegrad.types import Array

X = np.array([0.3, 0.7, 0.2])


@pytest.fixture
def write_function(tmp_path: Path) -> Callable[[str], Any]:
    """Return a function that writes the body of a function of x to a file and imports it."""
    return lambda body: in_a_file(tmp_path, body)


def error_of(fn: Callable[..., Any], transform: Callable[..., Any] = tg.grad, x: Array = X) -> str:
    with pytest.raises((TypeError, tg.TraceError)) as caught:
        transform(fn)(x)
    # the traceback ends in this message: no other error follows
    assert caught.value.__cause__ is None
    assert "Traceback" not in "".join(traceback.format_exception(caught.value))[10:]
    return str(caught.value)


# code that converts a Tensor to an array, its name in the message, and the code to write instead
READ = [
    ("np.array([x[1], -2.0 * np.sin(x[0])])", "np.array", "np.stack([x[1], -2.0 * np.sin(x[0])])"),
    ("np.array((x[1], 1.0))", "np.array", "np.stack((x[1], 1.0))"),
    ("array([x[1], 1.0])", "array", "np.stack([x[1], 1.0])"),
    ("np.array([[x[0], 1.0], [2.0, x[1]]])", "np.array", "tg.array([[x[0], 1.0], [2.0, x[1]]])"),
    ("np.array([a * a for a in x])", "np.array", "tg.array([a * a for a in x])"),
    ("np.array([x[0]], dtype=np.float32)", "np.array", "tg.array([x[0]], dtype=np.float32)"),
    ("np.asarray(x)", "np.asarray", "tg.asarray(x)"),
    ("np.fromiter((a * a for a in x), float)", "np.fromiter", "tg.array([a * a for a in x])"),
    ("np.sum([x[0], x[1]])", "np.sum", "tg.sum([x[0], x[1]])"),
    ("exp([x[0], x[1]])", "exp", "tg.exp([x[0], x[1]])"),
    ("np.linalg.norm([x[0], x[1]])", "np.linalg.norm", "tg.linalg.norm([x[0], x[1]])"),
    ("np.full_like(np.ones(3), x[0])", "numpy.copyto", "tg.full_like(np.ones(3), x[0])"),
    ("np.full(3, x[0])", "np.full", "tg.full(3, x[0])"),
    ("np.sum(np.ones(2), initial=x[0])", "np.sum", "tg.sum(np.ones(2), initial=x[0])"),
    ("np.r_[x, 1.0]", "turning a Tensor into an array", "tg.r_[x, 1.0]"),
    ("np.vectorize(lambda a: a * 2)(x)", "np.vectorize", "tg.vmap(lambda a: a * 2)(x)"),
    ("math.exp(x[0])", "math.exp", "np.exp(x[0])"),
    ("math.fsum(x)", "math.fsum", "np.sum(x)"),
    ("math.sin(x[0])", "math.sin", "np.sin(x[0])"),
    ("math.log(x[0], 3)", "math.log", "np.log(x[0]) / np.log(3)"),
    ("np.ones(3) * float(x[0])", "float", "x[0]"),
    ("np.float32(x[0])", "np.float32", "x[0].astype(np.float32)"),
    ("x[0].item()", ".item()", "x[0]"),
]


@pytest.mark.parametrize(("code", "name", "instead"), READ)
def test_error_names_call_and_code_that_works(
    code: str, name: str, instead: str, write_function: Callable[..., Any]
) -> None:
    fn = write_function(f"return np.sum(\n  {code}\n)")
    message = error_of(fn)
    if name == "numpy.copyto":  # which np.full_like calls
        assert message == f"numpy.copyto is not supported on a Tensor; write {instead}"
    else:
        assert message.startswith(f"{name} would silently cut the gradient off (line ")
        assert f", at {fn.__code__.co_filename}:" in message
        assert f"; write {instead}; to read the numbers on purpose pass t.value" in message
    better = write_function(f"return np.sum({code.replace(code, instead)})")
    if name not in ("np.ones(3) * float(x[0])", "float"):
        np.testing.assert_allclose(better(X), fn(X), rtol=1e-6)
    if "float32" not in code:
        tg.testing.check_grads(better, (X,), order=1)
    if ".item" not in code and "float" not in name:
        assert f"; write {instead}" in error_of(fn, tg.compile)


@pytest.mark.parametrize("module", ["np.polynomial.polynomial", "np.ma"])
def test_error_names_equivalent_of_function_of_other_module(
    module: str, write_function: Callable[..., Any]
) -> None:
    numpy_module = attrgetter(module.removeprefix("np."))(np)
    shared = [x for x in dir(numpy_module) if hasattr(tg, x) and callable(getattr(numpy_module, x))]
    n_raised = 0
    for name, given in itertools.product(shared, ("x", "x, x", "2.0, x")):
        if "empty" in name:
            continue
        fn = write_function(f"return {module}.{name}({given})")
        try:
            expected = fn(X)
        except Exception:  # the function takes other arguments
            continue
        try:
            tg.record(fn)(X)
        except Exception as fault:  # np.ma reads attributes that a Tensor lacks
            n_raised += 1
            if code := re.search("; write (.*?); to read", str(fault)):
                np.testing.assert_allclose(write_function(f"return {code[1]}")(X), expected)
    assert n_raised > 2


ASSIGNED = [
    ("out[1] = x[0] * 2", "out[1]", "out = tg.at(out)[1].set(x[0] * 2)"),
    ("out[:] = x * 2", "out[:]", "out = tg.at(out)[:].set(x * 2)"),
    ("out[0:2] = x[1:]", "out[0:2]", "out = tg.at(out)[0:2].set(x[1:])"),
    ("out[:] = [x[0], 1.0, x[1]]", "out[:]", "out = tg.at(out)[:].set([x[0], 1.0, x[1]])"),
    ("out[out > 0] = x[0]", "out[out > 0]", "out = tg.at(out)[out > 0].set(x[0])"),
    ("out[-1] += x[0]", "out[-1]", "out = tg.at(out)[-1].add(x[0])"),
    ("out[0] -= x[0]", "out[0]", "out = tg.at(out)[0].set(out[0] - x[0])"),
    ("table[0, 1] = x[2]", "table[0, 1]", "table = tg.at(table)[0, 1].set(x[2])"),
    ("table[1] *= x", "table[1]", "table = tg.at(table)[1].set(table[1] * x)"),
    ("out[0] = (\n  x[0]\n  + x[1])", "out[0]", "out = tg.at(out)[0].set(x[0] + x[1])"),
]


@pytest.mark.parametrize(("code", "name", "instead"), ASSIGNED)
@pytest.mark.parametrize("transform", [tg.grad, tg.compile])
def test_error_of_assignment_names_line_that_works(
    code: str,
    name: str,
    instead: str,
    transform: Callable[..., Any],
    write_function: Callable[..., Any],
) -> None:
    before = "out, table = np.ones(3), np.ones((2, 3))\n"
    after = "\nreturn np.sum(out * [1, 2, 3]) + np.sum(table * [[1], [2]])"
    fn = write_function(before + code + after)
    message = error_of(fn, transform)
    assert message.startswith(f"{name} = t ") or " *= " in code
    assert f" {instead}" in message
    better = write_function(before + instead + after)
    np.testing.assert_allclose(better(X), fn(X))
    tg.testing.check_grads(better, (X,), order=1)


LAYOUTS = [
    "y = np.asarray(x)",
    "y = np.sum(\n  np.asarray(x)\n)",
    "if True:\n  y = np.asarray(x)\nelse:\n  pass",
    "class A:\n  @staticmethod\n  def f():\n    'é'; return np.asarray(x)\nA.f()",
    "def g():\n  return [\n    lambda: np.asarray(x)\n  ][0]()\ng()",
    "try:\n  y = np.asarray(x)\nfinally:\n  pass",  # the whole file is parsed
]


def test_code_is_found_without_parsing_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    parsed: list[str] = []
    parse, other_functions = ast.parse, "def other():\n  pass\n" * 100
    monkeypatch.setattr(ast, "parse", lambda text: parsed.append(text) or parse(text))
    for i, layout in enumerate(LAYOUTS):
        path = tmp_path / f"layout_{i}.py"
        path.write_text(
            f"import numpy as np\n{other_functions}{layout}\n{other_functions}", "utf-8"
        )
        code = compile(path.read_text("utf-8"), str(path), "exec")
        parsed.clear()
        assert "; write tg.asarray(x);" in error_of(lambda x, code=code: exec(code, {"x": x})), (
            layout
        )
        assert layout == LAYOUTS[-1] or all(len(x.split()) < 30 for x in parsed), layout


def test_traceback_of_assignment_ends_in_users_line(
    write_function: Callable[..., Any],
) -> None:
    fn = write_function("out = np.zeros(2)\nout[0] = x[0]\nreturn np.sum(out)")
    with pytest.raises(TypeError) as caught:
        tg.grad(fn)(X)
    last = traceback.extract_tb(caught.value.__traceback__)[-1]
    assert (last.filename, last.line) == (fn.__code__.co_filename, "out[0] = x[0]")


def test_other_errors_of_assignments_are_unchanged() -> None:
    def assign_list(x: Array) -> Array:
        out = np.zeros(2)
        out[0] = [1.0, 2.0]
        return np.sum(x * out)

    class Unreadable:
        def __float__(self) -> float:
            raise TypeError("gone")

    def assign_unreadable(x: Array) -> Array:
        out = np.zeros(2)
        out[0] = Unreadable()
        return np.sum(x * out)

    with pytest.raises(ValueError, match="sequence"):
        tg.grad(assign_list)(np.ones(2))
    with pytest.raises(TypeError, match="gone"):
        tg.grad(assign_unreadable)(np.ones(2))


@pytest.mark.thorough
def test_numpy_function_of_a_list_raises_with_code_that_works(
    write_function: Callable[..., Any],
) -> None:
    """The code in the message computes for a list of Tensors what NumPy computes for numbers."""
    n_compared = 0
    # functions that count integers, return no values, differ with one argument, or take matrices
    excluded = ("bincount", "empty_like", "where", "multi_dot")
    lists = ("[x[0], x[1]]", "[[x[0], x[1]], [x[1], 2.0]]", "x[2], [x[0], x[1]]")
    for module, space in (("np", np), ("np.linalg", np.linalg)):
        for i, name in enumerate(dir(space)):
            function = getattr(space, name)
            if not callable(function) or isinstance(function, type) or function not in full_table():
                continue
            if name in excluded:
                continue
            for arguments in lists if THOROUGH else lists[i % 3 : i % 3 + 1]:
                fn = write_function(f"return {module}.{name}({arguments})")
                try:
                    want = fn(X)
                except Exception:
                    continue
                try:
                    got, _ = tg.record(fn)(X)
                except TypeError as error:
                    code = re.search("; write (.*); to read", str(error))
                    if code is None:
                        continue
                    got, _ = tg.record(write_function(f"return {code[1]}"))(X)
                n_compared += 1
                if name == "trim_zeros":  # it returns a list for a list
                    want = np.array(want)
                for a, b in zip(tg.tree.leaves(got), tg.tree.leaves(want), strict=True):
                    values = a.value if isinstance(a, tg.Tensor) else a
                    np.testing.assert_allclose(values, b, rtol=1e-6, err_msg=f"{name}{arguments}")
    assert n_compared > 60


def test_error_names_equivalent_of_scipys_function(write_function: Callable[..., Any]) -> None:
    pytest.importorskip("scipy")
    for imported, code, name in (
        ("from scipy.stats import moyal", "moyal.logpdf(x)", "moyal.logpdf"),
        ("from scipy.interpolate import interp1d", "interp1d([0, 1], [0, 1])(x)", "interp1d"),
        ("from scipy.optimize import nnls", "nnls(np.eye(3), x)[0]", "nnls"),
    ):
        message = error_of(write_function(f"{imported}\nreturn np.sum({code})"))
        assert message.startswith(name)
        assert "SciPy computes on arrays alone" in message
        compiled = error_of(write_function(f"{imported}\nreturn np.sum({code})"), tg.compile)
        assert "SciPy computes on arrays alone" in compiled
    product = error_of(write_function("import scipy.sparse\nreturn scipy.sparse.eye_array(3) @ x"))
    assert "write tapegrad.scipy.sparse.coo_array(A) @ t for" in product
    # the message names the called function, whichever function inside reads the Tensor
    fft = dict.fromkeys(dir(pytest.importorskip("tapegrad.scipy.fft")), "x")
    linalg = dict.fromkeys(("cholesky", "inv", "det", "eigh", "svd", "norm", "lu_factor"), "x")
    linalg |= {"solve": "np.eye(3), x", "solveh_banded": "np.ones((1, 3)), x"}
    integrals = dict.fromkeys(("trapezoid", "simpson", "cumulative_trapezoid"), "x")
    splines = dict.fromkeys(
        ("CubicSpline", "PchipInterpolator", "Akima1DInterpolator", "make_interp_spline"),
        "np.arange(3.0), x",
    )
    splines |= {"BSpline": "np.arange(5.0), x, 1", "RegularGridInterpolator": "([0, 1, 2],), x"}
    filters = dict.fromkeys(("sobel", "uniform_filter", "laplace", "spline_filter"), "x")
    filters |= {"gaussian_filter": "x, 1.0", "correlate1d": "x, x", "shift": "x, 0.5"}
    signal = dict.fromkeys(("hilbert", "detrend"), "x")
    signal |= {"savgol_filter": "x, 3, 1", "convolve2d": "x, x", "filtfilt": "[1.0], [1.0], x"}
    named = {"fft": fft, "linalg": linalg, "integrate": integrals, "interpolate": splines}
    named |= {"ndimage": filters, "signal": signal}
    named |= {"spatial.distance": {"cdist": "x, x", "pdist": "x"}}
    named |= {"special": dict.fromkeys(("logsumexp", "softmax", "log_softmax"), "x")}
    named |= {"stats": {"skew": "x"}}
    for module, calls in named.items():
        for name, args in calls.items():
            if "shift" not in name:  # shift and fftshift call functions of NumPy
                imported = f"global f\nfrom scipy.{module} import {name} as f"
                fn = write_function(f"{imported}\nreturn np.sum(f({args}))")
                assert f"write tapegrad.scipy.{module}.{name}({args});" in error_of(fn)
    message = error_of(
        write_function(
            "from scipy.interpolate import CubicSpline\nreturn CubicSpline([0.0, 1.0], [0.0, 1.0])(x)"
        )
    )
    assert "write tapegrad.scipy.interpolate.CubicSpline([0.0, 1.0], [0.0, 1.0])(x);" in message
    values = write_function(
        "global scipy\nimport scipy.linalg\nreturn scipy.linalg.eigvals(x * x[:, None])"
    )
    assert "write np.linalg.eigvals(" in error_of(values)


@pytest.mark.parametrize("distribution", ["norm", "laplace", "t", "poisson"])
def test_error_names_equivalent_of_scipys_distribution(
    distribution: str, write_function: Callable[..., Any]
) -> None:
    stats = pytest.importorskip("scipy.stats")
    tg_stats = pytest.importorskip("tapegrad.scipy.stats")
    method = "logpmf" if distribution == "poisson" else "logpdf"
    shapes = {"t": "3.5, ", "poisson": "2.5, "}.get(distribution, "")
    arguments = f"{shapes}loc=-1.0"
    call = f"{distribution}.{method}(x, {arguments})"
    frozen_call = f"{distribution}({arguments}).{method}(x)"
    codes = [
        (f"return stats.{call}", call),
        (f"return stats.{frozen_call}", frozen_call),
        (f"f = stats.{distribution}.{method}\nreturn f(x, {arguments})", call),
        (f"kind = stats.{distribution}\nreturn kind.{method}(x, {arguments})", call),
        (f"kind = stats.{distribution}\nreturn kind({arguments}).{method}(x)", frozen_call),
        (f"f = stats.{distribution}({arguments})\nreturn f.{method}(x)", frozen_call),
        (f"f = stats.{distribution}({arguments}).{method}\nreturn f(x)", frozen_call),
        (f"f = stats.{distribution}({arguments}).{method}\nreturn (lambda: f(x))()", frozen_call),
    ]
    for code, answer in codes:
        message = error_of(write_function(f"from scipy import stats\n{code}"))
        assert f"write tapegrad.scipy.stats.{answer};" in message
        x = np.arange(3.0)
        assert np.allclose(
            eval(answer, {**vars(tg_stats), "x": x}), eval(answer, {**vars(stats), "x": x})
        )
    # the Tensor is a parameter of the frozen distribution, whose variable is no function of SciPy
    message_of_method = error_of(
        write_function(
            f"from scipy import stats\nf = stats.{distribution}(x)\nreturn f.{method}(2.0)"
        )
    )
    assert "stats.f." not in message_of_method


@pytest.mark.parametrize(
    ("body", "advice"),
    [
        ("if x[0] > 0:\n  return x\nreturn -x", "; select with tg.where, or branch with tg.cond"),
        ("return x if x[0] > 0 and x[1] > 0 else -x", "; select with tg.where, or branch"),
        ("while np.sum(x) < 10:\n  x = x * 2\nreturn x", "; loop with tg.while_loop"),
        ("return [a for a in x if a > 0]", "; select with tg.where"),
        ("return x[x > 0]", "np.where(mask, t, 0) keeps the shape"),
        ("return f'{x[0]:.3f}'", "; return it and convert it outside"),
        ("return int(x[0])", "; return it and convert it outside"),
        ("return x.value", "; select with tg.where, or branch with tg.cond, loop with"),
        ("return x[0] > 0 and x[1] > 0", "; join truth values with np.logical_and or &"),
        ("if x[0] > 0 or x[1] > 0:\n  return x", "tg.cond; join truth values with np.logical_or"),
        ("return not x[0] > 0", "; negate a truth value with np.logical_not"),
        ("return 0 < x[0] < 1", "; compare two at a time, and join with np.logical_and"),
        ("return np.unique(x)", "; a shape depends on it: compute it outside of the compiled"),
        ("return np.argwhere(x)", "finding elements that are not zero while compiling f"),
        ("return np.bincount(np.argsort(x))", "counting what occurs while compiling f"),
        ("return np.nonzero(x)", "; a shape depends on it: compute it outside of the compiled"),
        ("return x[:x[0].astype(int)]", "; a shape depends on it: compute it outside of the"),
        ("return x if 1.0 in x else -x", "; select with tg.where, or branch with tg.cond"),
        ("return tg.argmax(x).item()", "; return it and convert it outside"),
        ("return x.primal", "; select with tg.where, or branch with tg.cond, loop with"),
        ("return tg.sum(x, axis=tg.argmax(x) * 0)", "; select with tg.where, or branch"),
        ("return np.array([x, x])", "; write np.stack([x, x])"),
        ("for _ in range(int(x[0])):\n  x = x + x", "; loop with tg.fori_loop, "),
        ("return ['a', 'b'][x[0].astype(int)]", "; write tg.getitem(tg.array(rows), i), or choose"),
    ],
)
def test_advice_while_compiling_depends_on_the_code(
    body: str, advice: str, write_function: Callable[..., Any]
) -> None:
    fn = write_function(body)
    message = error_of(fn, tg.compile)
    assert advice in message
    # the op and the line
    known = r"while compiling f: only shape .* of line \d+ of the tape, \w+.* are known, at "
    cut_off = r"would silently cut the gradient off \(line \d+ of the tape, \w+.*\), at "
    assert re.search(f"({known}|{cut_off}){re.escape(fn.__code__.co_filename)}:", message)
    # an array cannot be static
    assert "static_argnums" not in message


@pytest.mark.parametrize(
    ("code", "instead"),
    [
        ("max(x[0], x[1])", "np.maximum(x[0], x[1])"),
        ("min(x[0], x[1], 0.5)", "tg.min([x[0], x[1], 0.5])"),
        ("min(x)", "tg.min(x)"),
        ("sorted(x)", "tg.sort(x)"),
        ("any(a > 0.5 for a in x)", "tg.any([a > 0.5 for a in x])"),
        ("all(a > 0.5 for a in x)", "tg.all([a > 0.5 for a in x])"),
        ("all([x[0] > 0, x[1] < 0])", "tg.all([x[0] > 0, x[1] < 0])"),
        ("x[int(x[0])]", "x[x[0].astype(int)]"),
        ("np.cos(X)[int(x[0])]", "tg.getitem(np.cos(X), x[0].astype(int))"),
    ],
)
def test_code_named_while_compiling_works(
    code: str, instead: str, write_function: Callable[..., Any]
) -> None:
    fn, better = (write_function(f"X = np.ones(3)\nreturn {x}") for x in (code, instead))
    message = error_of(fn, tg.compile)
    assert instead in message.rpartition("; write ")[2]
    assert "static_argnums" not in message
    np.testing.assert_array_equal(tg.compile(better)(X), fn(X))


def test_error_advises_a_static_number() -> None:
    with pytest.raises(tg.TraceError, match="; list x in static_argnums, select with"):
        tg.compile(lambda x: x.value)(1.0)


@pytest.mark.parametrize(
    ("code", "instead"),
    [
        ("np.random.permutation(x)", "tg.random.permutation(key, t)"),
        ("np.random.default_rng(0).permuted(x)", "tg.random.permutation(key, t)"),
        ("rng.choice(x)", "tg.random.choice(key, t, shape, replace, p)"),
        ("np.random.randint(x[0] * 9)", "tg.random.integers(key, low, high, shape)"),
        ("np.random.uniform(x, 2.0)", "tg.random.uniform(key, shape, low, high)"),
        ("np.random.normal(x)", "loc + scale * tg.random.normal(key, shape)"),
        ("rng.lognormal(x)", "np.exp(mean + sigma * tg.random.normal(key, shape))"),
        ("np.random.exponential(x)", "-scale * np.log1p(-tg.random.uniform(key, shape))"),
        ("np.random.gamma(x)", "the quantile function of the distribution at tg.random.uniform("),
        ("np.random.shuffle(x)", "t = tg.random.permutation(key, t)"),
        ("random.shuffle(x)", "t = tg.random.permutation(key, t)"),
    ],
)
@pytest.mark.filterwarnings("ignore:you are shuffling")
def test_error_names_draw_with_a_key(
    code: str, instead: str, write_function: Callable[..., Any]
) -> None:
    fn = write_function(f"rng = np.random.default_rng(0)\nreturn np.sum({code})")
    names: dict[str, Any] = {"key": 0, "shape": (3,), "replace": True, "p": None, "t": np.ones(3)}
    names |= {"loc": 0, "scale": 1, "mean": 0, "sigma": 1, "low": 0, "high": 9, "np": np, "tg": tg}
    draw = None if instead.startswith("the") else eval(instead.removeprefix("t = "), names)
    assert draw is None or draw.shape == (3,)
    for transform in (tg.grad, tg.compile):
        assert instead in error_of(fn, transform).partition("write")[2]


INTEGERS = [
    "[x for _ in range(n)]",
    "x.reshape((n, -1))",
    "np.zeros(n)",
    "x[:n]",
    "np.eye(n)",
    "np.arange(n + 1)",
    "np.linspace(0, 1, n)",
    "np.sum(x, axis=n)",
    "np.repeat(x, n)",
    "np.roll(x, n)",
    "np.full(n, 1.0)",
    "tg.expand(x, 0, n)",
    "tg.scan(lambda c, _: (c, c), x, length=n)",
    "x if n > 2 else -x",
    "tg.random.split(0, n)",
    "tg.random.normal(0, (n,))",
    "tg.random.normal(0, n)",
    "tg.random.permutation(0, n)",
    "tg.nn.Linear(n, 2).init(0)",
    "tg.nn.MaxPool2d(n)(None, np.ones((1, 1, 4, 4)))",
    "tg.data.batches(0, x, n)",
    "tg.checkpoint(lambda x: x[:n])(x)",
]


def test_error_names_number_to_list_in_static_argnums() -> None:
    for code in INTEGERS:
        function = eval(f"lambda x, n: {code}", {"np": np, "tg": tg})
        with pytest.raises(tg.TraceError, match="; list n in static_argnums"):
            tg.compile(function)(np.ones(4), 3)
        with pytest.raises(tg.TraceError, match=r"; pass x\.n beside the tree, listed in static_"):
            tg.compile(lambda x, f=function: f(x["x"], x["n"]))({"x": np.ones(4), "n": 3})
        with pytest.raises(tg.TraceError, match="; write None in in_axes for n, if"):
            tg.vmap(function)(np.ones((2, 4)), np.ones(2, int))


def test_error_after_recording_names_the_value() -> None:
    output, _ = tg.record(np.exp)(X)
    with pytest.raises(TypeError, match=r"np\.asarray .* its recording has ended; .* t\.value"):
        np.asarray(output)
    assert np.asarray(output.value).shape == (3,)
