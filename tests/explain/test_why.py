"""why_zero names each reason of a zero gradient, and no other."""

import re
from functools import partial

import numpy as np
import pytest
from counting import calls_of
from depth import depth
from hypothesis import given
from hypothesis import strategies as st
from loops import arguments, losses, terms
from messages import check_refusals
from random_programs import programs

import tapegrad as tg
from tapegrad.declare import OPS, facts
from tapegrad.explain.reach import find_paths

X = np.array([1.0, 2.0])
ENCLOSED = np.array([3.0, 4.0])


@pytest.mark.parametrize(
    ("fn", "reason_part"),
    [
        (lambda x: tg.sum(np.ones(2)), "never used"),
        (lambda x: tg.sum(tg.stop_gradient(x) * 2), "without a rule: line 1, stop_gradient"),
        (lambda x: tg.sum(tg.where(x > 5, 1.0, 2.0)), "without a rule: line 1, greater"),
        (
            lambda x: tg.sum(tg.relu(x - 5)),
            "0 at line 2, relu.*: the result of line 1 is 0 or less for every",
        ),
        (
            lambda x: tg.sum(tg.tanh(x * 1000)),
            "0 at line 2, tanh.* that tanh has the slope 0 there",
        ),
        (
            lambda x: tg.sum(x * 0.0),
            "0 at line 1, multiply.*: 0.0 is 0 .* x gets the cotangent times 0",
        ),
        (
            lambda x: tg.sum(tg.where(x > 5, x, 0.0)),
            "line 2, where.* is False .* passes all of the cotangent to 0.0",
        ),
        (lambda x: tg.sum((x * 0 + 0.0) ** 2), "line 3, power.*: its slope is 0 there"),
        (lambda x: tg.sum(x - x), "the cotangents from its uses sum to zero"),
        (lambda x: (lambda y: tg.sum(y - y))(2 * x), "what the uses of line 1, "),
        (lambda x: tg.sum(x * 1e-200) * 1e-200, "1e-200, and the slope are so small that"),
        (lambda x: tg.sum(x[[0, 0]] * [1, -1]), "getitem takes elements of x more than once"),
        (
            lambda x: tg.sum((x + np.ones((2, 2))) * [[1], [-1]]),
            "the cotangent of x sums to zero over",
        ),
        (lambda x: tg.sum(np.minimum(x, -3.0)), "x is above -3.0 for every element, so minimum"),
        (lambda x: tg.sum(np.clip(x, 3.0, 4.0)), "x is below 3.0 or above 4.0 for every element"),
        (lambda x: tg.sum(np.maximum(x, [3.0, 1.0])[:1]), "wherever the cotangent is not 0, so"),
        (lambda x: 3.0, "never used"),
        (lambda x: sum(tg.sum(tg.round(x * k)) for k in range(5)), r"round.*; and 2 more"),
    ],
)
def test_why_zero_names_the_reason(fn, reason_part):
    reasons = tg.why_zero(fn, X)
    assert list(reasons) == ["x"]
    assert re.search(reason_part, reasons["x"]), reasons["x"]
    assert "\n" not in reasons["x"]
    np.testing.assert_array_equal(tg.grad(fn)(X), np.zeros(2))


def test_reason_names_the_variable_of_an_operand():
    def loss(w):
        h = w - 5.0
        return np.sum(np.maximum(h, 0.0))

    reason_part = (
        ": h is below 0.0 for every element, so maximum passes all of the cotangent to 0.0"
    )
    assert tg.why_zero(loss, X)["w"].endswith(reason_part)
    assert ": h is below 0.0, so maximum" in tg.why_zero(loss, np.float64(1.0))["w"]


# terms that pass no gradient to x, and a part of the reason
DEAD = {
    "relu": (lambda x: tg.relu(x - 5.0), "relu passes nothing on"),
    "tanh": (lambda x: tg.tanh(x * 1000.0), "tanh has the slope 0"),
    "product": (lambda x: x * 0.0, "gets the cotangent times 0.0"),
    "floor": (lambda x: np.floor(x), "at an op without a rule: line"),
    "read": (lambda x: x.value * 2.0, "read out by .value"),
    "difference": (lambda x: x - x, "cotangents from its uses sum to zero"),
    "branch": (lambda x: tg.cond(x[0] > -9.0, lambda: np.ones(2), lambda: x), "does not use it"),
    "loop": (lambda x: tg.fori_loop(0, 2, lambda i, c: c + np.ceil(x), 0.0 * X), "ceil"),
}


@given(st.lists(st.sampled_from(sorted(DEAD)), min_size=1, max_size=2, unique=True))
def test_reason_names_all_causes(names):
    terms = [DEAD[name][0] for name in names]
    reason = tg.why_zero(lambda x: sum(np.sum(term(x)) for term in terms), X)["x"]
    if names != ["read"]:
        for name in names:
            assert DEAD[name][1] in reason, reason


def test_each_op_has_a_text_for_a_zero_slope():
    n = 0
    for op in OPS.values():
        flat, words = facts(op).flat, {"x": "x", "other": "y", "op": op.name, "where": ""}
        for text in flat if isinstance(flat, tuple) else [flat]:
            assert "{" not in text.format("a", "b", "c", **words)
            n += bool(text)
    assert n > 20


def test_reason_names_a_captured_array():
    w = np.array([1.0, 2.0])
    assert "closed over the array (w)" in tg.why_zero(lambda v: tg.sum(w * 2), w)["v"]
    params = {"weight": w}
    assert "(params.weight)" in tg.why_zero(lambda v: tg.sum(params["weight"]), w)["v"]
    assert "(ENCLOSED)" in tg.why_zero(lambda v: tg.sum(ENCLOSED * 2), ENCLOSED)["v"]
    reasons = tg.why_zero(lambda v, x: tg.sum(w * x), w.copy(), X)
    assert list(reasons) == ["v"]
    assert "a constant of line 2, multiply" in reasons["v"]
    assert "has the same values" in reasons["v"]


@depth("program")
@given(programs())
def test_leaf_has_a_reason_exactly_if_its_gradient_is_zero(program):
    args = program.arguments[0]

    def loss(*args):
        results = [y for y in program.fn(*args) if isinstance(y, tg.Tensor)]
        return sum([tg.sum(y) for y in results if y.dtype.kind == "f"], start=np.float64(0.0))

    if not isinstance(tg.record(loss)(*args)[0], tg.Tensor):
        return
    value, gradients = tg.value_and_grad(loss, program.argnums)(*args)
    reasons = tg.why_zero(loss, *args)
    for i, g in zip(program.argnums, gradients, strict=True):
        size = np.max(np.abs(args[i]), initial=1.0) * np.max(np.abs(g), initial=0.0)
        small = np.any(g) and size <= np.finfo(value.dtype).eps * abs(value)
        assert (f"args.{i}" in reasons) == (not np.any(g) or small), reasons
        assert reasons.get(f"args.{i}", "as").startswith("as good as zero") or not small
    # unused="raise" names the same reason, and the gradient is zero
    try:
        tg.grad(loss, program.argnums, unused="raise")(*args)
    except ValueError as error:
        message = str(error)
        missed = [i for i in program.argnums if re.search(rf"(on|to) args\.{i}[:;]", message)]
        assert missed
        for i in missed:
            assert reasons[f"args.{i}"] in message
    else:
        missed = []
    for i in set(program.argnums) - set(missed):
        message = reasons.get(f"args.{i}", "")
        assert not message.startswith(("never", "used", "read", "every")), message


def test_custom_op_is_distinct_from_built_in_op_of_the_same_name():
    custom = tg.custom_op(vjps=(lambda g, y, x: g * 0 * x,), name="multiply")(lambda x: x + 1)
    (reason,) = tg.why_zero(lambda x: tg.sum(custom(x)), X).values()
    assert "its slope is 0 there" in reason


# --- inside loops, branches and checkpointed calls ------------------------------------------


def step(c, x):
    return c * np.round(x), np.maximum(c - 9.0, 0.0)


def scan_result(which):
    return lambda w, xs: np.sum(tg.scan(step, w, xs)[which])


def scan_of_rounded(w, xs):
    return np.sum(tg.scan(lambda c, x: (c * x, np.round(c)), w, xs)[1])


def cond_of_dead_branches(w, xs):
    return tg.cond(w > 0, lambda w: np.maximum(w - 9.0, 0.0), lambda w: np.round(w), w)


def checkpoint_of_round(w, xs):
    return tg.checkpoint(lambda w: np.round(w) + xs[0])(w)


def nested_scan(w, xs):
    return tg.scan(lambda c, x: (scan_result(1)(c, xs), None), w, xs)[0]


def unrelated_carry(w, xs):
    return tg.fori_loop(0, 3, lambda i, c: (c[0] * 2.0, c[1] * w), (xs, w))[0][0]


def while_less_than_w(w, xs):
    return tg.while_loop(lambda c: c < w, lambda c: c * 2.0, xs[0])


def checkpoint_second_result(w, xs):
    return tg.checkpoint(lambda w, x: (w, x))(w, xs[0])[1]


def checkpoint_of_second_result(w, xs):
    return tg.checkpoint(np.sin)(checkpoint_second_result(w, xs))


def cond_with_captured(w, xs):
    return tg.cond(w > 0, lambda: w, lambda: w * xs[0])


def loop_without_steps(w, xs):
    return tg.fori_loop(0, 0, lambda i, c: c * w, xs[0])


# a function of w and xs, the argument with a zero gradient, and parts of the reason
INSIDE = [
    (scan_result(0), "xs", "op without a rule: round inside line 2, scan"),
    (scan_result(1), "xs", "op without a rule: round inside line 2, scan"),
    (
        scan_result(1),
        "w",
        "0 at line 2, scan, inside in step 1: the cotangent becomes 0 at line 5, max",
    ),
    (scan_of_rounded, "w", "op without a rule: round inside line 2, scan"),
    (
        cond_of_dead_branches,
        "w",
        "0 at line 3, cond, inside: the cotangent becomes 0 at line 2, maximum",
    ),
    (
        lambda w, xs: cond_of_dead_branches(w - 9.0, xs),
        "w",
        "line 3, greater; round inside line 4, cond",
    ),
    (checkpoint_of_round, "w", "line 2, round inside line 2, checkpoint"),
    (nested_scan, "xs", "round inside scan inside line 2, scan"),
    (unrelated_carry, "w", "no gradient passes to it from the used results of line 2, fori_loop"),
    (
        while_less_than_w,
        "w",
        "no gradient passes to it from the used results of line 3, while_loop",
    ),
    (
        checkpoint_second_result,
        "w",
        "no gradient passes to it from the used results of line 3, checkpoint",
    ),
    (
        checkpoint_of_second_result,
        "w",
        "no gradient passes to it from the used results of line 3, checkpoint",
    ),
    (cond_with_captured, "xs", "the branch that was taken does not use it: line 3, cond"),
    (loop_without_steps, "w", "0 at line 3, fori_loop: it makes no steps"),
]


@pytest.mark.parametrize(("fn", "path", "reason_part"), INSIDE)
def test_reason_names_the_cause_inside_loops_and_branches(fn, path, reason_part):
    reason = tg.why_zero(fn, 2.0, X)[path]
    # remove places, which are in brackets, some of them nested
    for _ in range(reason.count("(")):
        reason = re.sub(r" ?\([^()]*\)", "", reason)
    assert reason_part in reason
    assert "\n" not in reason


@depth("program")
@given(terms, st.integers(1, 2), st.booleans(), st.booleans())
def test_unreachable_leaf_has_zero_gradient(terms, n, reverse, remember):
    loss, _ = losses(terms, reverse, remember)
    args = arguments(n)
    output, tape = tg.record(loss)(*args)
    reachable = {p for p in tape.parameters if output in find_paths(tape, [[p]]).sources}
    for p, g in zip(tape.parameters, tg.grad(loss, (0, 1, 2))(*args), strict=True):
        assert p in reachable or not np.any(g)
    # the same while compiling, by shapes and ops alone
    messages = []
    for transform in (lambda f: f, tg.compile):
        try:
            transform(tg.grad(loss, (0, 1, 2), unused="raise"))(*args)
            messages.append([])
        except ValueError as error:
            messages.append(re.findall(r"(?:on|to) (args\.\d)[:;].*\w", str(error)))
    assert messages[0] == [p.name for p in tape.parameters if p not in reachable]
    # without values, either branch may be taken
    assert set(messages[1]) <= set(messages[0])


def test_reason_names_a_value_that_is_read():
    def loss(p):
        scale = float(np.max(p["a"].value))
        y = np.sin(p["b"]) * 2
        return np.sum(p["w"] * scale) + y.value[0] + np.sum(p["c"] * 0 + p["c"].value)

    p = {name: X + i for i, name in enumerate("abcdw")}
    reasons = tg.why_zero(loss, p)
    assert list(reasons) == ["p.a", "p.b", "p.c", "p.d"]
    assert reasons["p.a"].startswith("read out by .value (scale = float(np.max(p[")
    assert re.match(
        r"used up to line \d, multiply .*, which is read out by \.value", reasons["p.b"]
    )
    assert "p.c gets the cotangent times 0" in reasons["p.c"]
    assert "; read out by .value (return" in reasons["p.c"]
    assert reasons["p.d"] == "never used"
    with pytest.raises(
        ValueError, match=r"does not depend on p\.a; it is read out by \.value \(sc"
    ):
        tg.grad(loss, unused="raise")(p)


def test_reason_names_a_negligible_gradient():
    def loss(w, v):
        return tg.fori_loop(0, 60, lambda i, c: np.tanh(0.5 * c * w), 1.0) + v

    (reason,) = tg.why_zero(loss, 1.0, 3.0).values()
    assert reason.startswith("as good as zero, ")
    assert re.search("a change by 1 moves the result, 3, by less than rounding does; ", reason)
    assert re.search(r"shrinks most at line \d, fori_loop .*, from 1 to .*\(in 60 steps\)", reason)
    reason = tg.why_zero(lambda w: np.exp(-40.0 * w) + 1.0, 1.0)["w"]
    assert re.search(r"shrinks most at line 3, exp .*, from 1 to 4.2e-18 \(g \* y\)", reason)
    # a result of that size changes
    assert tg.why_zero(lambda w: np.exp(-40.0 * w), 1.0) == {}


# --- unused -------------------------------------------------------------------------------


def test_unused_leaf_raises_with_unused_raise():
    def loss(p, x):
        return tg.sum(p["a"] * x)

    p = {"a": X, "b": {"c": 2.0}}
    assert tg.grad(loss, unused="zero")(p, X)["b"]["c"] == 0.0
    assert tg.grad(loss, argnums=1, unused="raise")(p, X).tolist() == X.tolist()
    assert tg.grad(lambda x: tg.relu(x), unused="raise")(-1.5) == 0.0
    strict = partial(tg.grad, unused="raise")
    part = "passes no gradient to x: every way |: line 2, round"
    refusals = [
        (lambda: strict(loss)(p, X), "loss does not depend on p.b.c; it is never used"),
        (lambda: tg.value_and_grad(loss, unused="raise")(p, X), "loss does not depend on p.b.c"),
        (lambda: strict(lambda x: 1.0)(X), "does not depend on x"),
        (lambda: tg.compile(strict(lambda x: 1.0))(X), "does not depend on x"),
        (lambda: strict(lambda x: tg.round(x))(1.5), part),
        (lambda: strict(lambda x: (tg.round(x), x), has_aux=True)(1.5), part),
        (lambda: tg.grad(loss, unused="ignore"), '"zero" or "raise"'),
    ]
    check_refusals((ValueError, *row) for row in refusals)


@pytest.mark.parametrize(
    ("term", "start", "reason_part"),
    [
        (lambda x: tg.relu(x - 1.0), 0.0, "0 or less"),
        (lambda x: x, 1e20, "as good as zero"),
        (lambda x: x.value, 0.0, "read out by .value"),
    ],
)
def test_work_for_reasons_is_linear_in_leaves(term, start, reason_part):
    def loss(p):
        return sum(map(term, p.values()), start)

    def make_leaves(n):
        return {f"w{i}": np.float64(0.0) for i in range(n)}

    reasons = tg.why_zero(loss, make_leaves(2))
    assert len(reasons) == 2
    assert reason_part in reasons["p.w1"]
    few, many = (calls_of(partial(tg.why_zero, loss, make_leaves(n))) for n in (20, 80))
    assert many < 6 * few
