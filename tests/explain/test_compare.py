"""compare_tapes finds the first difference of two runs, or none."""

import pickle
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from messages import check_refusals

import tapegrad as tg
from tapegrad.core.tape import Tape
from tapegrad.core.writing import write_known
from tapegrad.program import PASSES
from tapegrad.program.program import Improvement, rule
from tapegrad.types import Array, ArrayLike, Scalar

X = np.linspace(-1.0, 2.0, 6)


@tg.checkpoint
def bell(h: Array) -> Array:
    return np.exp(-h * h)


def network(w: dict[str, Array], x: Array) -> Array:
    h = np.tanh(x * w["a"] + 0.5)
    h = np.where(h > 0, h, 0.1 * h)
    rows, sums = tg.scan(lambda c, r: (np.sin(c) * r, np.sum(c)), h, np.linspace(0.1, 1.0, 4))
    h = tg.cond(np.sum(sums) > 0, np.sin, np.cos, rows + h)
    h = bell(h)
    return np.sum(h.reshape(2, 3).T @ w["b"]) + np.max(h)


W = {"a": 0.7, "b": np.array([1.0, -2.0])}


def record_tape(fn: Callable[..., Any], *args: Any) -> Tape:
    return tg.record(fn, lines=True)(*args)[1]


def alter_line(tape: Tape, line: int, perturb: Callable[..., Any]) -> Tape:
    """Return a copy of a tape with a changed value on one line and recomputed later lines."""
    copies: dict[Any, Any] = {}
    last: Any = tape.start
    for record in tape:
        operands = tuple(copies.get(x, x) if type(x) is tg.Tensor else x for x in record._operands)
        value = record._primal
        if record.index == line:
            value = perturb(value)
        elif operands and record.op.name != "checkpoint":
            values = [x._primal if type(x) is tg.Tensor else x for x in operands]
            value = record.op.forward(*values, **record._options)
        last = write_known(last, record.op, operands, record._options, value, record.name)
        object.__setattr__(last, "_place", record.place)
        copies[record] = last
    return Tape(last, tape.start, tuple(copies[p] for p in tape.parameters))


def test_tape_has_no_difference_from_itself():
    tape = record_tape(network, W, X)
    for other in (tape, record_tape(network, W, X), pickle.loads(pickle.dumps(tape))):
        found = tg.compare_tapes(tape, other, rtol=0.0)
        assert found.first is None
        assert found.rows == ()
        assert found.matched == len(tape)
    assert str(found) == f"network and network: 0 of {len(tape)} lines differ"


def test_altered_line_is_the_first_difference():
    def perturb(value):
        if hasattr(value, "values"):
            return type(value)((perturb(value.values[0]), *value.values[1:]))
        if np.asarray(value).dtype == bool:
            return ~np.asarray(value)
        return (
            value * 1.001
            if np.ndim(value) == 0
            else value + np.eye(1, value.size).reshape(value.shape)
        )

    def is_first(line, a, b):
        found = tg.compare_tapes(a, b)
        first, *rest = found.rows
        # every other row has an operand that differs
        later = all(row.record.index > line and not row.agree for row in rest)
        at = first.a.index, first.b.index
        return found.first is first and first.agree and at == (line, line) and later

    tape = record_tape(network, W, X)
    alterations = [(line, alter_line(tape, line, perturb)) for line in range(len(tape))]
    missed = [line for line, other in alterations if not is_first(line, tape, other)]
    missed += [line for line, other in alterations if not is_first(line, other, tape)]
    assert not missed


def chain(names: list[str], x: ArrayLike) -> Tape:
    """Record functions of NumPy, one after another."""

    def fn(x: Array) -> Array:
        for name in names:
            x = getattr(np, name)(x)
        return x

    return tg.record(fn)(x)[1]


@given(
    st.lists(st.sampled_from(["sin", "cos", "arcsinh", "tanh"]), max_size=30),
    st.lists(
        st.tuples(st.integers(0, 30), st.sampled_from(["insert", "drop", "replace"])), max_size=4
    ),
)
def test_lines_of_tapes_of_different_length_are_paired(names, edits):
    changed = list(names)
    for at, edit in edits:
        at = min(at, len(changed))
        changed[at : at + (edit != "insert")] = [] if edit == "drop" else ["arctan"]
    a, b = chain(names, 0.3), chain(changed, 0.3)
    found = tg.compare_tapes(a, b)
    assert len(a) + len(b) >= 2 * found.matched
    assert len(a) + len(b) - 2 * found.matched <= 2 * len(edits)
    unpaired = [row for row in found.rows if row.a is None or row.b is None]
    assert len(unpaired) == len(a) + len(b) - 2 * found.matched
    # different lines with equal values are no first difference
    same = np.allclose(a.last.value, b.last.value, rtol=1e-5)
    assert same or found.first is not None


def test_long_tapes_are_paired_quickly_and_after_long_differences():
    names, one = ["sin" if i * i % 7 else "cos" for i in range(3000)], np.ones(1)
    longer = list(names)
    for i in (2500, 1000, 10):
        longer.insert(i, "tanh")
    comparison = tg.compare_tapes(chain(names, one), chain(longer, one), atol=np.inf)
    assert comparison.matched == 3001
    assert [row.b.index for row in comparison.rows] == [11, 1002, 2503]
    tapes = [chain(["sin"] * 20 + [x] * 300 + ["tanh"] * 40, one) for x in ("cos", "arctan")]
    apart = tg.compare_tapes(*tapes)
    assert apart.matched == 361
    assert [(row.a.index, row.b.index) for row in apart.rows] == [(i, i) for i in range(21, 361)]


def loop(x, scale=1.0, start=2):
    def step(c, r):
        c = c * np.where(r > start, scale, 1.0)
        return np.tanh(c) + r * 0.1, c

    return np.sum(tg.scan(step, x, np.arange(6.0))[1])


def test_difference_in_a_loop_names_the_step():
    found = tg.compare_tapes(*[record_tape(lambda x, k=k: loop(x, k), X) for k in (1.0, 1.5)])
    assert (found.first.a.op.name, found.first.step) == ("scan", 3)
    inner = found.first.inside
    assert inner.a.op.name == "where"
    assert inner.why == "operand 1 is 1.0 and 1.5"
    assert inner.a.place.text == "c = c * np.where(r > start, scale, 1.0)"
    text = str(found)
    assert "first: in step 3, line" in text
    assert "c = c * np.where(r > start, scale, 1.0)" in text


def test_differences_inside_loops_branches_and_checkpoints_are_found():
    def until(x, most):
        return tg.while_loop(lambda c: c < most, lambda c: c * 2.0, x)

    found = tg.compare_tapes(*[record_tape(lambda x, m=m: until(x, m), 1.0) for m in (10.0, 40.0)])
    assert found.first.why == "b goes on after step 4, and the other ends"

    def branch(x, by):
        return tg.checkpoint(lambda x: tg.cond(x > 0, lambda x: np.sin(x) * by, np.cos, x))(x)

    found = tg.compare_tapes(*[record_tape(lambda x, k=k: branch(x, k), 1.0) for k in (2.0, 3.0)])
    inner = found.first.inside.inside
    assert (found.first.a.op.name, found.first.inside.a.op.name) == ("checkpoint", "cond")
    assert not found.first.why
    assert (inner.a.op.name, inner.why) == (
        "multiply",
        "operand 1 is 2.0 and 3.0",
    )

    def return_n_results(n):
        return lambda x: tg.checkpoint(lambda x: (x * 2.0, x * 3.0, x * 4.0)[:n])(x)[0]

    found = tg.compare_tapes(*[record_tape(return_n_results(n), 1.0) for n in (2, 3)])
    assert (found.first.a.op.name, found.first.error) == ("checkpoint", np.inf)


def test_reason_names_the_operand_that_differs():
    def scan_product(xs, x):
        return tg.scan(lambda c, r: (np.sin(c) * r, None), x, np.array(xs))[0]

    def first_step_and_reason(fn: Callable[..., Any], *firsts: Any) -> tuple[int | None, str]:
        tapes = [record_tape(partial(fn, first), X) for first in firsts]
        first = tg.compare_tapes(*tapes).first
        return first.step, first.inside.why

    reason = first_step_and_reason(scan_product, [1.0, 2.0, 3.0], [1.0, 2.0, 3.5])
    assert reason == (2, "operand 1 of scan differs")

    def scale_if_small(by, x):
        return tg.cond(x[0] < 9.0, lambda u, x: x * u, lambda u, x: x, np.array([by]), x)

    assert first_step_and_reason(scale_if_small, 1.0, 2.0) == (None, "operand 1 of cond differs")

    def fori_loop_of_cosines(checkpoint, x):
        return tg.fori_loop(0, 7, lambda i, c: np.cos(c) * i, x, checkpoint=checkpoint)

    shapes = "the shapes are (2,) and (): other operands, or another checkpoint="
    assert first_step_and_reason(fori_loop_of_cosines, 2, None) == (0, shapes)


def first_op_and_reason(*tapes: Tape, **terms: Any) -> tuple[str, str]:
    """Return the op of the first difference of two tapes, and the reason."""
    first = tg.compare_tapes(*tapes, **terms).first
    return first.record.op.name, first.why


@np.errstate(all="ignore")
def record_float32_and_float64(fn: Callable[..., Any], x: list[Scalar]) -> list[Tape]:
    """Record a function in float32 and in float64."""
    return [record_tape(fn, np.asarray(x, dtype)) for dtype in ("f", "d")]


# functions in float32 and float64: the argument, the op of the first difference, the reason
ROUNDING_CASES = [
    (np.sum, [1e8, 1.0, -1e8], "sum", "cancellation: terms that add up to 2e+08 in size leave 1, "),
    (lambda x: x - 1.0, [1 + 1e-6], "subtract", "cancellation: terms that add up to 2 in size"),
    (np.exp, [100.0], "exp", "overflow: float32 ends at 3.4e+38"),
    (np.exp, [-100.0], "exp", "underflow: float32 has all its digits from 1.2e-38 on"),
    (np.exp, [-150.0], "exp", "underflow: float32 has all its digits from 1.2e-38 on"),
    (lambda x: np.sin(x * 1e6), [1.23456789], "sin", "operands that differ by "),
    (
        lambda x: (x * 3.0 > 0.3) * x,
        [np.float32(0.1)],
        "greater",
        "its operands agree up to rounding",
    ),
]


def sum_rows(x: Array, axis: int) -> Array:
    return np.sum(x.reshape(2, 3), axis)


def cumsum_rows(x: Array, axis: int) -> Array:
    return np.cumsum(x.reshape(2, 3), axis)


# two functions, the op of the first difference, the reason
DIFFERENT_FUNCTIONS = [
    (np.sin, np.cos, "sin", "another branch, or another version: sin in a, cos in b"),
    (lambda x: x * 2.0, lambda x: x * 3.0, "multiply", "operand 1 is 2.0 and 3.0"),
    (np.sum, lambda x: np.sum(x[::-1] * 2.0), "getitem", "b alone has it: another branch, or "),
    (partial(cumsum_rows, axis=0), partial(cumsum_rows, axis=1), "cumsum", "axis is 0 and 1"),
    (partial(sum_rows, axis=0), partial(sum_rows, axis=1), "sum", "the shapes are (3,) and (2,)"),
    (
        lambda x: np.divide(*(np.sin(x), np.cos(x))),
        lambda x: np.divide(*(np.sin(x), np.cos(x))[::-1]),
        "divide",
        "operand 0 is line 1 in a, and line 2 in b",
    ),
]


def test_reason_of_a_difference_is_named():
    cases = [
        (record_float32_and_float64(fn, x), op, reason) for fn, x, op, reason in ROUNDING_CASES
    ]
    cases += [
        ((record_tape(f, X), record_tape(g, X)), op, reason)
        for f, g, op, reason in DIFFERENT_FUNCTIONS
    ]
    for tapes, op, reason in cases:
        name, text = first_op_and_reason(*tapes)
        assert name == op
        assert text.startswith(reason)
    assert first_op_and_reason(*record_float32_and_float64(np.sin, [1.0]), rtol=1e-9) == (
        "sin",
        "float32 has 7 digits",
    )
    assert first_op_and_reason(record_tape(np.sin, 1.0), record_tape(np.sin, 1.5)) == (
        "parameter",
        "the arguments differ",
    )


def test_nan_equals_nan_and_residuals_are_not_compared():
    with np.errstate(all="ignore"):
        a, b = (record_tape(lambda x: np.sum(np.sqrt(x)), X) for _ in range(2))
    assert np.isnan(a.last.value)
    assert tg.compare_tapes(a, b, rtol=0.0).rows == ()

    def body(c, r):
        return np.sin(np.exp(c) * r), None

    tapes = [
        record_tape(lambda x, f=f: tg.scan(f, x, np.ones(3))[0], X)
        for f in (body, tg.checkpoint(body))
    ]
    assert len(tapes[0][1]._primal.values) > len(tapes[1][1]._primal.values)
    assert tg.compare_tapes(*tapes).rows == ()


def test_line_that_changes_no_value_is_no_first_difference():
    found = tg.compare_tapes(record_tape(np.sin, X), record_tape(lambda x: np.sin(x + 0.0), X))
    assert found.first is None
    (row,) = found.rows
    assert (row.a, row.b.op.name) == (None, "add")
    assert "not in a  add" in str(found)
    # results on unpaired lines are compared too
    for more, first in ((0.0, None), (1.0, "add")):
        tapes = record_tape(np.sin, X), record_tape(lambda x, more=more: np.sin(x) + more, X)
        begins = tg.compare_tapes(*tapes).first
        assert (begins and begins.record.op.name) == first


@pytest.mark.parametrize(("dtype", "differs"), [(int, True), (float, False), (complex, False)])
def test_integers_must_be_equal_and_floats_close(dtype, differs):
    def fn(x, more):
        return (x > -9).astype(dtype) * 10**9 + more

    tapes = [record_tape(lambda x, more=more: fn(x, more), X) for more in (1, 2)]
    first = tg.compare_tapes(*tapes).first
    assert (first is not None) == differs
    assert tg.compare_tapes(*tapes, rtol=0.0).first.record.op.name == "add"


def test_comparison_prints_text_and_html():
    found = tg.compare_tapes(
        record_tape(lambda x: np.sum(x * 2.0), X), record_tape(lambda x: np.sum(x * 3.0), X)
    )
    text, html = str(found), found._repr_html_()
    assert repr(found) == "<Comparison of <lambda> and <lambda>: 2 of 3 lines differ>"
    assert text.splitlines()[2].startswith(f"first: line 1, multiply, at {__file__}:")
    assert "\n  a: [" in text
    assert "they differ by 0.33 of their size at [" in text
    assert "&lt;lambda&gt;" in html
    assert html.count("<tr>") == 3
    sin_30_times = lambda x, k: [x := np.sin(x * k) for _ in range(30)]  # noqa: E731
    long = [record_tape(sin_30_times, 1.0, k) for k in (1.0, 1.1)]
    assert "... and 38 more" in str(tg.compare_tapes(*long))
    assert "lines=True" not in text
    bare = [tg.record(lambda x, k=k: x * k)(X)[1] for k in (1.0, 2.0)]
    assert "tg.record(fn, lines=True) records" in str(tg.compare_tapes(*bare))


def test_wrong_arguments_raise():
    tape, pair = tg.record(np.sum)(np.ones(2))[1], tg.record(np.sin)(1.0)
    compare = partial(tg.compare_tapes, tape)
    refusals = [
        (TypeError, lambda: compare(pair), "b must be a Tape, not a tuple: output, tape = tg.rec"),
        (ValueError, lambda: compare(tape, rtol=-1.0), "rtol must be"),
        (ValueError, lambda: compare(tape, atol=np.nan), "atol must be"),
        (TypeError, lambda: compare(tape, rtol="a"), "rtol must be"),
    ]
    check_refusals(refusals)


def test_check_names_first_line_that_differs():
    scale = np.array([2.0, 3.0])

    def loss(x):
        y = np.sin(x)
        z = y * scale
        return np.sum(z * z)

    x = np.array([0.3, 0.4])
    for fn in (loss, tg.grad(loss)):
        compiled = tg.compile(fn)
        scale[1] = 3.0
        compiled(x)
        compiled.check(x)
        scale[1] = 5.0
        with pytest.raises(AssertionError) as caught:
            compiled.check(x)
        text = str(caught.value)
        assert "captured arrays: scale" in text
        assert "first (a is recorded, b compiled): line" in text
        assert ", multiply, at " in text
        assert ": z = y * scale" in text
        assert "is [2. 5.] and [2. 3.]" in text


@rule(tg.sin)
def sin_to_cos(builder, instruction):
    return builder.emit(tg.cos, *instruction.operands)


@Improvement
def repeat_first_output(builder):
    builder.outputs = (*builder.outputs[:-1], builder.outputs[0])


@pytest.mark.parametrize(
    ("wrong_pass", "fn", "match"),
    [
        (sin_to_cos, lambda x: np.sum(np.sin(tg.softmax(x) * 3.0) ** 2), r"line \d+, cos"),
        (
            sin_to_cos,
            lambda x: tg.scan(lambda c, r: (np.sin(c) * r, c), 1.0, x)[0],
            "sin in a, cos in",
        ),
        (repeat_first_output, lambda x: (x * 2.0, x), "gives another value of the recording"),
    ],
)
def test_check_names_line_of_a_wrong_pass(wrong_pass, fn, match):
    for passes in ((wrong_pass, *PASSES), (*PASSES, wrong_pass)):
        with pytest.raises(AssertionError, match=match) as caught:
            tg.compile(fn, passes=passes).check(np.array([0.5, 1.0, 2.0]))
        assert "gives what the recording does" not in str(caught.value)


def test_check_reports_that_no_line_differs():
    calls = iter([1.0, 1.0, 2.0, 1.0])
    compiled = tg.compile(lambda x: np.sin(x) * next(calls))
    compiled(X)
    compiled.check(X)
    with pytest.raises(AssertionError, match="run line by line, the program gives what the"):
        compiled.check(X)
