"""An op without a domain has the widest one that works, said in words; test files are written of it."""

import subprocess
import sys
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from depth import depth
from hypothesis import Phase, given, seed, settings
from messages import check_refusals

import tapegrad as tg
from tapegrad.domain import Call, Elements, each
from tapegrad.testing import check_grads, check_properties, operands_for, sample_calls
from tapegrad.testing.__main__ import write_tests
from tapegrad.types import Array

# named as in a user's file
OPS = """
import numpy as np
import tapegrad as tg
from tapegrad.domain import Elements, each


@tg.custom_op(vjps=(lambda g, y, x: g * 3 * x**2,))
def cube(x):
    return x**3


@tg.custom_op(vjps=(lambda g, y, x: g / x,))
def log(x):
    return np.log(x)


@tg.custom_op(vjps=(lambda g, y, x: -g * y * y,))
def inverse(x):
    return 1 / x


@tg.custom_op(vjps=(lambda g, y, choose, shape: g @ shape.T, lambda g, y, choose, shape: choose.T @ g))
def product(choose, shape):
    return choose @ shape


def softmax_vjp(g, y, x, axis=-1):
    return y * (g - np.sum(g * y, axis=axis, keepdims=True))


@tg.custom_op(vjps=(softmax_vjp,))
def softmax(x, axis=-1):
    e = np.exp(x - np.max(x, axis=axis, keepdims=True))
    return e / np.sum(e, axis=axis, keepdims=True)


@tg.custom_op(vjps=(lambda g, y, x, i: tg.at(np.zeros(x.shape))[i].add(g), None))
def pick(x, i):
    return x[i]


@tg.custom_op(vjps=(lambda g, y, x, n, flag, scale: g * scale * (n if flag else 1), None, None, lambda g, y, x, n, flag, scale: np.sum(g * x * (n if flag else 1))))
def scaled(x, n: int, flag: bool, scale: float):
    return (x * (n if flag else 1) * scale).astype(x.dtype)


@tg.custom_op(vjps=(lambda g, y, x: (g * y)[..., None, None] * np.linalg.inv(x).mT,))
def det(x):
    return np.linalg.det(x)


class Ops:
    @tg.custom_op(vjps=(lambda g, y, x: g * 2 * x,), domain=each(Elements(1.0, 2.0)))
    def square(x):
        return x * x


@tg.custom_op(vjps=(lambda g, y, x: g * 2 * x**2,))
def wrong(x):
    return x**3


@tg.custom_op(vjps=(None,))
def sign(x):
    return np.sign(x)
"""
SPACE: dict[str, Any] = {}
exec(OPS, SPACE)

SAYS = {
    "cube": "x: real numbers from -4 to 4; any shape",
    "log": "x: real numbers from 0.0625 to 4; any shape",
    "inverse": "x: real numbers from -4 to 4, clear of 0; any shape",
    "product": "choose_: real numbers from -4 to 4; shape_: real numbers from -4 to 4; shapes (n, m) and (m, k)",
    "softmax": "x: real numbers from -4 to 4; any shape, at least 1-d, not empty; axis: chosen too",
    "pick": "x: real numbers from -4 to 4; i: 0 or 1; shapes (n, m) and (m, k), or shapes (n, m) and (k, m), "
    "or shapes (n, n) and (m, k), or shapes (n, m) and (k,)",
    "scaled": "x: real numbers from -4 to 4; n: 0 or 1; flag: truth values; scale: real numbers from -4 to 4; any shape",
    "det": "stacks of regular square matrices",
}


@pytest.mark.thorough
@pytest.mark.parametrize("name", sorted(SAYS))
def test_what_is_assumed_is_said_and_fits_the_op(name: str) -> None:
    op = SPACE[name]
    strategy = operands_for(op)
    assert SAYS[name] in " ".join(repr(strategy).split())

    @depth("op, in every part")
    @given(strategy)
    def test(call: Any) -> None:
        fn = partial(op, **call.kwargs)
        check_grads(fn, call.args)
        check_properties(fn, call.args)

    test()
    assert len(sample_calls(op, 3)) == 3


def test_a_failing_test_says_what_was_assumed_and_a_declared_domain_says_nothing() -> None:
    def failing(**options: Any) -> str:
        @settings(max_examples=2, database=None, phases=(Phase.generate,))
        @given(operands_for(SPACE["wrong"], **options))
        def test(call: Call) -> None:
            raise ZeroDivisionError

        with pytest.raises(ZeroDivisionError) as error:
            test()
        return "\n".join(error.value.__notes__)

    said = "wrong declares no domain; assumed: x: real numbers from -4 to 4; any shape"
    assert said in failing()
    assert "assumed" not in failing(domain=each(Elements(1.0, 2.0)))


@pytest.mark.thorough
def test_the_widest_that_works_is_assumed_and_a_wrong_rule_is_no_reason() -> None:
    # the rule has no value at 0, where the op has one: the check says so
    rule_is_wrong = tg.custom_op(vjps=(lambda g, y, x: g * 2 * x * x / x,))(lambda x: x * x)
    assert "from -4 to 4; any shape" in repr(operands_for(rule_is_wrong))

    @settings(max_examples=200, database=None, derandomize=True)
    @given(operands_for(rule_is_wrong))
    def test(call: Any) -> None:
        with np.errstate(all="ignore"):
            check_grads(rule_is_wrong, call.args)

    with pytest.raises(AssertionError, match="has a derivative of nan"):
        test()


def test_where_nothing_can_be_assumed_the_domain_is_to_be_named() -> None:
    op = tg.custom_op(vjps=(lambda g, y, x, how: g,))(lambda x, *, how: x)
    refusals = {
        "takes any number of operands": lambda *arrays: arrays[0],
        "takes no operands": lambda x=1.0: x,
        "no trial domain works (at last: AttributeError": lambda x: x.missing,
        "no trial domain works": lambda x: np.hypot.missing(x),
        "nothing says what its option how may be": op,
    }
    check_refusals(
        ((TypeError, partial(operands_for, fn), words) for words, fn in refusals.items()),
        common="domain=, see tapegrad.domain",
    )


@pytest.mark.parametrize("fn", [tg.sin, tg.mean, tg.linalg.solve])
def test_an_op_of_the_package_needs_a_domain(fn: tg.Op) -> None:
    for draw in (operands_for, partial(sample_calls, n=1)):
        with pytest.raises(TypeError, match=r"part of tapegrad.*give a domain"):
            draw(fn)
    assert operands_for(fn, each(Elements(1.0, 2.0))) is not None


# --- test files ---------------------------------------------------------------------------


@pytest.fixture
def ops(tmp_path: Path) -> Path:
    package = tmp_path / "mine"
    package.mkdir()
    (package / "__init__.py").write_text("")
    (package / "ops.py").write_text(OPS)
    return tmp_path


def run(folder: Path, *command: str) -> subprocess.CompletedProcess[str]:
    root = str(Path(tg.__file__).parents[1])
    code = f"import sys, runpy; sys.path[:0] = [{root!r}, '.']; sys.argv = {['', *command[1:]]!r}; runpy.run_module({command[0]!r}, run_name='__main__', alter_sys=True)"
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=folder)


def test_a_rule_that_is_wrong_beside_a_pole_is_found_and_shrinks_in_few_calls() -> None:
    def by_divisor(g: Array, y: Array, a: Array, b: Array) -> Array:
        slope = -g * y / b
        return np.where(np.abs(b) < 0.1, slope * 1.5, slope)

    @tg.custom_op(vjps=(lambda g, y, a, b: g / b, by_divisor))
    def divide(a: Array, b: Array) -> Array:
        return a / b

    drawn: list[Call] = []

    @seed(0)
    @settings(max_examples=100, deadline=None, database=None, phases=set(Phase) - {Phase.explain})
    @given(operands_for(divide))
    def test(call: Call) -> None:
        drawn.append(call)
        check_grads(divide, call.args)

    with pytest.raises(AssertionError, match=r"b = 0\.0625"):
        test()
    # the point that is shown is small, and a user waits for few others
    assert all(np.size(x) <= 1 for x in drawn[-1].args)
    assert len(drawn) < 200


@pytest.mark.thorough
def test_a_file_is_written_and_runs_as_it_is(ops: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = run(ops, "tapegrad.testing", "write", "mine.ops:log")
    assert made.returncode == 0, made.stderr
    monkeypatch.syspath_prepend(str(ops))
    for i, text in enumerate([made.stdout, write_tests("mine.ops:Ops.square")]):
        assert "phases=set(Phase) - {Phase.explain}" in text
        # fewer examples than a user would run
        fewer = text.replace("max_examples=50", "max_examples=2")
        (ops / f"test_written_{i}.py").write_text(fewer)
    done = run(ops, "pytest", "-q", "-p", "no:cacheprovider", ".")
    assert "4 passed" in done.stdout, done.stdout + done.stderr


def test_the_command_writes_a_test_that_finds_a_wrong_rule_or_says_what_it_needs(
    ops: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from tapegrad.testing.__main__ import main

    monkeypatch.syspath_prepend(str(ops))
    for name, message in {
        "mine.ops": "an op must be given as package.module:op, not 'mine.ops'",
        "mine.missing:cube": "No module named 'mine.missing'; run this where",
        "mine.ops:missing": "mine.ops has no missing",
        "mine.ops:OPS": "mine.ops has no OPS",
        "mine.ops:sign": "has no VJP rule, so there is nothing to check",
        "mine:__name__": "is a str; an op is needed",
        "mine.ops:Ops": "an op must be made of a Python function or a ufunc",
    }.items():
        with pytest.raises(SystemExit) as error:
            main(["write", name])
        assert error.value.code == 2
        assert message in capsys.readouterr().err
    main(["write", "mine.ops:wrong"])
    text = capsys.readouterr().out
    assert text == write_tests("mine.ops:wrong")
    assert "#   x: real numbers from -4 to 4\n#   any shape\n" in text
    space: dict[str, Any] = {}
    exec(text, space)
    with pytest.raises(AssertionError, match="wrong has a wrong derivative at x"):
        space["test_derivatives_of_wrong"].hypothesis.inner_test(call=Call((np.ones(2),)))
