"""Each property check finds its fault and says why; strategies reach every awkward case.

Programs drawn print as the Python that writes them.
"""

import copy
import itertools
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from depth import depth
from hypothesis import HealthCheck, Phase, find, given, settings
from hypothesis import strategies as st
from programs import ALSO
from random_programs import programs

import tapegrad as tg
from tapegrad import testing
from tapegrad.domain import NONZERO
from tapegrad.testing import check_properties, properties
from tapegrad.types import Array, PyTree

X = np.array([[0.5, -1.0, 2.0], [1.5, 3.0, -0.25]])


def planted(forward: Callable[..., Any], *rules: Any) -> tg.Op:
    return tg.custom_op(vjps=rules)(forward)


def overwrite(x: Array) -> Array:
    if isinstance(x, np.ndarray):
        x *= 2
    return x * 3


def grow(params: dict[str, Any]) -> Array:
    params["seen"] = params.get("seen", 0.0)
    return tg.sum(params["w"])


def counted() -> Callable[..., Any]:
    numbers = itertools.count()
    return lambda x: x * float(next(numbers))


def centred_where_plain(x: Array) -> dict[str, list[Array]]:
    return {"out": [x - x.mean()] if isinstance(x, np.ndarray) else [x - 0.0]}


def broken_where_plain(x: Any) -> Array:
    return x / np.linalg.norm(x) if not isinstance(x, np.ndarray) else x.missing


SQUARED = planted(lambda x: x * x, lambda g, y, x: g * g * 2 * x)
LOPSIDED = planted(lambda a, b: a * b, lambda g, y, a, b: g * 2 * b, lambda g, y, a, b: g * a)

# the check that finds a fault, the function, its arguments and the message
WRONG: list[tuple[Any, Any, tuple[Any, ...], str]] = [
    (testing.check_linear_in_cotangent, SQUARED, (X,), "pullback of 2u"),
    (
        testing.check_linear_in_cotangent,
        planted(lambda x: x * x, lambda g, y, x: 2 * x),
        (X,),
        r"pullback of zeros is 1 at x\[0, 0\], not zero",
    ),
    (
        testing.check_linear_in_cotangent,
        planted(lambda x: x * x, lambda g, y, x: abs(g) * 2 * x),
        (X,),
        "not 2 and -3 times theirs",
    ),
    (testing.check_transposes, SQUARED, (X,), r"<u, J v> by the JVP is"),
    (testing.check_symmetric_hessian, LOPSIDED, (X, X + 1.5), "depend on the order"),
    (testing.check_deterministic, counted(), (X,), "another value in the second run"),
    (testing.check_unchanged, overwrite, (X.copy(),), "its argument 0"),
    (testing.check_unchanged, grow, ({"w": X},), "its argument 0.seen"),
    (
        testing.check_values,
        centred_where_plain,
        (X,),
        r"<?centred_where_plain>? gives another value recorded than on plain arrays\n"
        r"  recorded   0\.5\n  plain      -0\.458333333333\n  of         output\.out\.0\[0, 0\]$",
    ),
    (
        testing.check_values,
        lambda x: x if isinstance(x, np.ndarray) else x.astype(np.float32),
        (X,),
        r"dtype recorded than on plain arrays\n  recorded   float32 .*\n  plain      float64 \(2, 3\)",
    ),
    (
        testing.check_values,
        lambda x: [x * 2] * (1 + isinstance(x, np.ndarray)),
        (X,),
        "another tree",
    ),
    (
        testing.check_values,
        lambda x: (x, np.sum(x > 0) + isinstance(x, np.ndarray)),
        (X,),
        "recorded   4\n  plain      5\n  of         output.1",
    ),
    (testing.check_compiled, counted(), (X,), "compiled, gives"),
]


@pytest.mark.parametrize(("check", "fn", "args", "message"), WRONG)
def test_a_check_fails_and_says_why(
    check: Callable[..., Any], fn: Callable[..., Any], args: tuple[PyTree, ...], message: str
) -> None:
    with pytest.raises(AssertionError, match=message):
        check(fn, copy.deepcopy(args))
    if check is not testing.check_compiled:
        with pytest.raises(AssertionError):
            check_properties(fn, copy.deepcopy(args))
    if check is testing.check_values:
        with pytest.raises(AssertionError, match=message):
            testing.check_grads(fn, args)


def test_a_number_that_is_not_equal_to_itself_is_unchanged() -> None:
    testing.check_unchanged(lambda x, p: x * 1.0, (X, {"missing": float("nan")}))


def test_what_only_a_tensor_has_is_no_fault_and_what_neither_has_is() -> None:
    testing.check_values(lambda x: x.at[0].set(1.0), (X,))
    check_properties(lambda x: x.at[0].set(1.0), (X,))
    for broken in (broken_where_plain, lambda x: 1 / 0 if isinstance(x, np.ndarray) else x):
        for check in (testing.check_values, testing.check_grads, testing.check_unchanged):
            with pytest.raises((AttributeError, ZeroDivisionError)) as error:
                check(broken, (X,))
            assert "raised this when it was called on plain arrays" in error.value.__notes__[0]


def test_values_are_compared_up_to_rounding_and_copies_are_given() -> None:
    def summed(x: Array) -> Array:
        return x[::-1].cumsum() if isinstance(x, np.ndarray) else np.cumsum(x[::-1]) * (1 + 1e-14)

    def in_place(x: Array) -> Array:
        if isinstance(x, np.ndarray):
            x *= 2
            return x
        return x * 2

    x = np.array([0.1, np.nan, np.inf, 0.3])
    testing.check_values(summed, (x[[0, 3]],))
    testing.check_values(in_place, (x,))
    testing.check_grads(in_place, (x[[0, 3]],))
    np.testing.assert_array_equal(x, [0.1, np.nan, np.inf, 0.3])
    for other in (1 + 1e-8, np.nan):
        with pytest.raises(AssertionError, match=r"output\[1\]"):
            testing.check_values(
                lambda x, other=other: x * [1, 1 if isinstance(x, np.ndarray) else other],
                (X[0, 1:],),
            )
    # integers exactly, and zeros with nothing to spare
    for unlike in (
        lambda x: (x, 2**40 + np.sum(np.isfinite(x)) + (not isinstance(x, np.ndarray))),
        lambda x: x * 0 + (not isinstance(x, np.ndarray)) * 1e-12,
    ):
        with pytest.raises(AssertionError, match="another value"):
            testing.check_values(unlike, (X,))


def said_of_the_hessian(fn: Callable[..., Any], *args: Any) -> str:
    with pytest.raises(AssertionError) as error:
        testing.check_symmetric_hessian(fn, args)
    return str(error.value)


@pytest.mark.parametrize("n", [3, 200])
def test_a_hessian_that_is_not_symmetric_is_pinned_to_two_inputs(n: int) -> None:
    twice = np.where(np.arange(n) == 1, 2.0, 1.0)
    wrong = planted(lambda a, b: a * b, lambda g, y, a, b: g * twice * b, lambda g, y, a, b: g * a)
    message = said_of_the_hessian(
        lambda p: tg.sum(wrong(p["a"], p["b"])), {"a": np.ones(n), "b": np.ones(n)}
    )
    first, *both, point, _, verdict = message.splitlines()[:6]
    assert first == "<lambda> has second derivatives that depend on the order"
    slopes = {line.rsplit(maxsplit=1)[0].strip(): float(line.split()[-1]) for line in both}
    # the rule of a is the wrong one: its slope by b is twice that of the other's by a
    ratio = slopes["by p.a[1], then by p.b[1]"] / slopes["by p.b[1], then by p.a[1]"]
    np.testing.assert_allclose(ratio, 2)
    assert "p.a[1] = 1.0" in point
    assert "at points close by too" in verdict


def test_a_hessian_that_is_not_symmetric_at_a_kink_alone_says_so() -> None:
    folded = planted(
        lambda a, b: np.where(a > 0, a * b, 2 * a * b),
        lambda g, y, a, b: g * b * tg.where(np.greater(a, 0), 1.0, 2.0),
        lambda g, y, a, b: g * a * tg.where(np.greater_equal(a, 0), 1.0, 2.0),
    )
    testing.check_symmetric_hessian(folded, (0.5, 3.0))
    testing.check_grads(folded, (0.0, 3.0), order=1)
    message = said_of_the_hessian(folded, 0.0, 3.0)
    assert "not at points close by: this is a kink" in message
    assert "a = 0.0, b = 3.0" in message or "b = 3.0, a = 0.0" in message


def test_what_passes_through_a_stopped_gradient_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(properties, "stop_gradient", lambda tree: tree)
    with pytest.raises(AssertionError, match="through stop_gradient is 2"):
        testing.check_stop_gradient(lambda x: 2 * x, (1.0,))
    monkeypatch.setattr(properties, "stop_gradient", lambda tree: [0 * x for x in tree])
    with pytest.raises(AssertionError, match="another value"):
        testing.check_stop_gradient(lambda x: 2 * x, (1.0,))


@pytest.mark.parametrize("size", [1e-6, 1.0, 1e6])
@pytest.mark.parametrize("dtype", ["d", "f"])
def test_right_derivatives_have_all_properties(size: float, dtype: str) -> None:
    x = (size * X).astype(dtype)
    for fn in (tg.tanh, tg.softmax, tg.logsumexp, lambda x: x @ x.T, lambda x: (x + 1e6) - 1e6):
        check_properties(fn, (x,), compiled=True)
    check_properties(lambda x: x.astype(np.float16).astype(np.float64), (x / size,))


@depth("properties")
@given(params=testing.parameter_trees())
def test_trees_and_integers_are_taken_as_they_are(params: Any) -> None:
    def fn(params: Any, index: Array) -> tuple[PyTree, PyTree]:
        return {"rows": [leaf[index] for leaf in tg.tree.leaves(params)]}, index

    padded = tg.tree.map(lambda x: np.append(x, [1.0, 2.0]).astype(x.dtype), params)
    check_properties(fn, (padded, np.array([0, 1, 1])))


@pytest.mark.parametrize("name", [name for name in dir(testing) if name.startswith("check_")])
def test_misuse_says_what_to_do(name: str) -> None:
    check = getattr(testing, name)
    derivative = [tg.sin] if name in ("check_vjp", "check_jvp") else []
    with pytest.raises(TypeError, match=r"write \(x,\)"):
        check(tg.sin, *derivative, X)
    if name == "check_batched":  # which derives nothing
        with pytest.raises(TypeError, match="no array"):
            check(lambda n: n, (1,))
        return
    with pytest.raises(TypeError, match="no floating argument"):
        check(lambda n: n, *derivative, (1,))
    with pytest.raises(TypeError, match="no floating leaf"):
        check(lambda x: tg.argmax(x), *derivative, (X,))


# --- strategies --------------------------------------------------------------------------------


SCALED = testing.arrays(scales=(1.0, 1e-6, 1e6))
REACHED: dict[str, tuple[Any, Any]] = {
    "0-d": (SCALED, lambda x: x.ndim == 0),
    "empty": (SCALED, lambda x: x.size == 0),
    "tied": (SCALED, lambda x: x.size > len(set(x.ravel().tolist()))),
    "zero": (SCALED, lambda x: (x == 0).any()),
    "a negative zero": (SCALED, lambda x: (np.signbit(x) & (x == 0)).any()),
    "Fortran order": (SCALED, lambda x: x.flags.f_contiguous and not x.flags.c_contiguous),
    "reversed": (SCALED, lambda x: any(stride < 0 for stride in x.strides)),
    "strided": (SCALED, lambda x: not (x.flags.f_contiguous or x.flags.c_contiguous)),
    "read-only": (SCALED, lambda x: not x.flags.writeable),
    "narrow": (SCALED, lambda x: x.dtype == np.float16),
    "large": (SCALED, lambda x: (np.abs(x.astype(float)) > 1e5).any()),
    "small": (SCALED, lambda x: ((np.abs(x.astype(float)) < 1e-5) & (x != 0)).any()),
    "other shapes": (testing.broadcasting(2), lambda p: p[0].shape != p[1].shape and p[0].ndim),
    "many lines": (programs(), lambda p: len(p.lines) >= 35 and len(p.parameters) >= 4),
    **{
        kind: (programs(12, [kind]), lambda p, call=call: call in "".join(p.lines))
        for kind, call in {"complex": "np.fft.", "cells": "range(100)", "scipy": "linalg."}.items()
        if kind in ALSO
    },
}


@pytest.mark.thorough
@pytest.mark.parametrize("kind", REACHED)
def test_strategies_reach_what_is_awkward(kind: str) -> None:
    strategy, wanted = REACHED[kind]
    phases, quiet = [Phase.generate], list(HealthCheck)
    thorough = settings(max_examples=2000, phases=phases, suppress_health_check=quiet)
    assert wanted(find(strategy, wanted, settings=settings(thorough, derandomize=True)))


@depth("properties")
@given(data=st.data())
def test_arrays_are_as_they_are_asked_for(data: st.DataObject) -> None:
    x = data.draw(testing.arrays((2, 3), NONZERO, "f"))
    assert (x.shape, x.dtype) == ((2, 3), np.float32)
    assert ((np.abs(x) >= 1 / 16) & (np.abs(x) <= 4)).all()
    assert data.draw(testing.arrays(st.just((4,)))).shape == (4,)


# --- programs ----------------------------------------------------------------------------------


@depth("properties")
@given(program=st.one_of(programs(), programs(also=ALSO)))
def test_a_program_prints_as_the_python_that_writes_it(program: Any) -> None:
    namespace: dict[str, Any] = {}
    exec(repr(program), namespace)
    known, args = program.arguments[0], namespace["args"]
    pairs = [*zip(known, args, strict=True)]
    pairs += zip(program.fn(*known), namespace["fn"](*args), strict=True)
    for x, y in pairs:
        assert np.asarray(x).dtype == np.asarray(y).dtype
        np.testing.assert_array_equal(x, y)


def test_programs_have_no_lines_of_other_kinds() -> None:
    with pytest.raises(ValueError, match="no lines of the kind 'quantum'"):
        programs(also=["complex", "quantum"])


def test_a_gradient_that_cancels_to_rounding_is_linear():
    x = np.array([-4 / 3, 4 / 3])
    testing.check_linear_in_cotangent(lambda a, b: tg.corrcoef(a, b, rowvar=False), (x, x))
