"""Where two runs part: compare_tapes on a tape and itself, and on tapes that differ on purpose."""

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
from tapegrad.types import Array, Scalar

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


def recorded(fn: Callable[..., Any], *args: Any) -> Tape:
    return tg.record(fn, lines=True)(*args)[1]


def altered(tape: Tape, line: int, change: Callable[..., Any]) -> Tape:
    """A tape with another value on one line, and what follows computed anew from it."""
    copies: dict[Any, Any] = {}
    last: Any = tape.start
    for record in tape:
        operands = tuple(copies.get(x, x) if type(x) is tg.Tensor else x for x in record._operands)
        value = record._primal
        if record.index == line:
            value = change(value)
        elif operands and record.op.name != "checkpoint":
            values = [x._primal if type(x) is tg.Tensor else x for x in operands]
            value = record.op.forward(*values, **record._options)
        last = write_known(last, record.op, operands, record._options, value, record.name)
        object.__setattr__(last, "_place", record.place)
        copies[record] = last
    return Tape(last, tape.start, tuple(copies[p] for p in tape.parameters))


def test_a_tape_and_itself_have_no_difference():
    tape = recorded(network, W, X)
    for other in (tape, recorded(network, W, X), pickle.loads(pickle.dumps(tape))):
        found = tg.compare_tapes(tape, other, rtol=0.0)
        assert found.first is None
        assert found.rows == ()
        assert found.matched == len(tape)
    assert str(found) == f"network and network: 0 of {len(tape)} lines differ"


def test_a_difference_that_is_planted_at_a_line_is_the_first():
    def change(value):
        if hasattr(value, "values"):
            return type(value)((change(value.values[0]), *value.values[1:]))
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
        # of all others something before them differs
        later = all(row.record.index > line and not row.agree for row in rest)
        at = first.a.index, first.b.index
        return found.first is first and first.agree and at == (line, line) and later

    tape = recorded(network, W, X)
    planted = [(line, altered(tape, line, change)) for line in range(len(tape))]
    missed = [line for line, other in planted if not is_first(line, tape, other)]
    missed += [line for line, other in planted if not is_first(line, other, tape)]
    assert not missed


def chain(names: list[str], x: Array | float) -> Tape:
    """The tape of functions of NumPy, one after another."""

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
def test_lines_are_paired_where_the_tapes_differ_in_length(names, edits):
    changed = list(names)
    for at, edit in edits:
        at = min(at, len(changed))
        changed[at : at + (edit != "insert")] = [] if edit == "drop" else ["arctan"]
    a, b = chain(names, 0.3), chain(changed, 0.3)
    found = tg.compare_tapes(a, b)
    assert len(a) + len(b) >= 2 * found.matched
    assert len(a) + len(b) - 2 * found.matched <= 2 * len(edits)
    alone = [row for row in found.rows if row.a is None or row.b is None]
    assert len(alone) == len(a) + len(b) - 2 * found.matched
    # what leads to the same values is no beginning of a difference
    same = np.allclose(a.last.value, b.last.value, rtol=1e-5)
    assert same or found.first is not None


def test_long_tapes_are_paired_in_little_time_and_again_after_hundreds_that_differ():
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


def test_loops_are_entered_to_the_step():
    found = tg.compare_tapes(*[recorded(lambda x, k=k: loop(x, k), X) for k in (1.0, 1.5)])
    assert (found.first.a.op.name, found.first.step) == ("scan", 3)
    inside = found.first.inside
    assert inside.a.op.name == "where"
    assert inside.why == "operand 1 is 1.0 and 1.5"
    assert inside.a.place.text == "c = c * np.where(r > start, scale, 1.0)"
    text = str(found)
    assert "first: in step 3, line" in text
    assert "c = c * np.where(r > start, scale, 1.0)" in text


def test_loops_of_other_lengths_branches_and_checkpoints_are_entered():
    def until(x, most):
        return tg.while_loop(lambda c: c < most, lambda c: c * 2.0, x)

    found = tg.compare_tapes(*[recorded(lambda x, m=m: until(x, m), 1.0) for m in (10.0, 40.0)])
    assert found.first.why == "b goes on after step 4, and the other ends"

    def branch(x, by):
        return tg.checkpoint(lambda x: tg.cond(x > 0, lambda x: np.sin(x) * by, np.cos, x))(x)

    found = tg.compare_tapes(*[recorded(lambda x, k=k: branch(x, k), 1.0) for k in (2.0, 3.0)])
    inside = found.first.inside.inside
    assert (found.first.a.op.name, found.first.inside.a.op.name) == ("checkpoint", "cond")
    assert not found.first.why
    assert (inside.a.op.name, inside.why) == ("multiply", "operand 1 is 2.0 and 3.0")

    def of_results(n):
        return lambda x: tg.checkpoint(lambda x: (x * 2.0, x * 3.0, x * 4.0)[:n])(x)[0]

    found = tg.compare_tapes(*[recorded(of_results(n), 1.0) for n in (2, 3)])
    assert (found.first.a.op.name, found.first.error) == ("checkpoint", np.inf)


def test_what_a_run_is_given_is_told_from_what_has_added_up():
    def scanned(xs, x):
        return tg.scan(lambda c, r: (np.sin(c) * r, None), x, np.array(xs))[0]

    def inside(fn: Callable[..., Any], *firsts: Any) -> tuple[int | None, str]:
        tapes = [recorded(partial(fn, first), X) for first in firsts]
        first = tg.compare_tapes(*tapes).first
        return first.step, first.inside.why

    told = inside(scanned, [1.0, 2.0, 3.0], [1.0, 2.0, 3.5])
    assert told == (2, "operand 1 of scan differs")

    def chosen(by, x):
        return tg.cond(x[0] < 9.0, lambda u, x: x * u, lambda u, x: x, np.array([by]), x)

    assert inside(chosen, 1.0, 2.0) == (None, "operand 1 of cond differs")

    def ranged(checkpoint, x):
        return tg.fori_loop(0, 7, lambda i, c: np.cos(c) * i, x, checkpoint=checkpoint)

    shapes = "the shapes are (2,) and (): other operands, or another checkpoint="
    assert inside(ranged, 2, None) == (0, shapes)


def why(*tapes: Tape, **terms: Any) -> tuple[str, str]:
    """The op at which two recordings part, and the reason."""
    first = tg.compare_tapes(*tapes, **terms).first
    return first.record.op.name, first.why


@np.errstate(all="ignore")
def widened(fn: Callable[..., Any], x: list[Scalar]) -> list[Tape]:
    """Recordings in float32 and in float64."""
    return [recorded(fn, np.asarray(x, dtype)) for dtype in ("f", "d")]


# functions in float32 and in float64: the argument, the op at which they part, and the reason
ROUNDED = [
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


def summed(x: Array, axis: int) -> Array:
    return np.sum(x.reshape(2, 3), axis)


def running(x: Array, axis: int) -> Array:
    return np.cumsum(x.reshape(2, 3), axis)


# functions that do not do the same, the op at which they part, and the reason
OTHERWISE = [
    (np.sin, np.cos, "sin", "another branch, or another version: sin in a, cos in b"),
    (lambda x: x * 2.0, lambda x: x * 3.0, "multiply", "operand 1 is 2.0 and 3.0"),
    (np.sum, lambda x: np.sum(x[::-1] * 2.0), "getitem", "b alone has it: another branch, or "),
    (partial(running, axis=0), partial(running, axis=1), "cumsum", "axis is 0 and 1"),
    (partial(summed, axis=0), partial(summed, axis=1), "sum", "the shapes are (3,) and (2,)"),
    (
        lambda x: np.divide(*(np.sin(x), np.cos(x))),
        lambda x: np.divide(*(np.sin(x), np.cos(x))[::-1]),
        "divide",
        "operand 0 is line 1 in a, and line 2 in b",
    ),
]


def test_it_says_why():
    cases = [(widened(fn, x), op, reason) for fn, x, op, reason in ROUNDED]
    cases += [((recorded(f, X), recorded(g, X)), op, reason) for f, g, op, reason in OTHERWISE]
    for tapes, op, reason in cases:
        name, text = why(*tapes)
        assert name == op
        assert text.startswith(reason)
    assert why(*widened(np.sin, [1.0]), rtol=1e-9) == ("sin", "float32 has 7 digits")
    assert why(recorded(np.sin, 1.0), recorded(np.sin, 1.5)) == (
        "parameter",
        "the arguments differ",
    )


def test_nan_is_nan_and_what_is_kept_for_derivatives_is_no_value():
    with np.errstate(all="ignore"):
        a, b = (recorded(lambda x: np.sum(np.sqrt(x)), X) for _ in range(2))
    assert np.isnan(a.last.value)
    assert tg.compare_tapes(a, b, rtol=0.0).rows == ()

    def body(c, r):
        return np.sin(np.exp(c) * r), None

    tapes = [
        recorded(lambda x, f=f: tg.scan(f, x, np.ones(3))[0], X)
        for f in (body, tg.checkpoint(body))
    ]
    assert len(tapes[0][1]._primal.values) > len(tapes[1][1]._primal.values)
    assert tg.compare_tapes(*tapes).rows == ()


def test_a_line_that_changes_no_value_is_no_beginning():
    found = tg.compare_tapes(recorded(np.sin, X), recorded(lambda x: np.sin(x + 0.0), X))
    assert found.first is None
    (row,) = found.rows
    assert (row.a, row.b.op.name) == (None, "add")
    assert "not in a  add" in str(found)
    # results that are no pair are compared too
    for more, first in ((0.0, None), (1.0, "add")):
        tapes = recorded(np.sin, X), recorded(lambda x, more=more: np.sin(x) + more, X)
        begins = tg.compare_tapes(*tapes).first
        assert (begins and begins.record.op.name) == first


@pytest.mark.parametrize(("dtype", "differs"), [(int, True), (float, False), (complex, False)])
def test_whole_numbers_must_be_equal_and_others_near(dtype, differs):
    def fn(x, more):
        return (x > -9).astype(dtype) * 10**9 + more

    tapes = [recorded(lambda x, more=more: fn(x, more), X) for more in (1, 2)]
    first = tg.compare_tapes(*tapes).first
    assert (first is not None) == differs
    assert tg.compare_tapes(*tapes, rtol=0.0).first.record.op.name == "add"


def test_it_shows_itself():
    found = tg.compare_tapes(
        recorded(lambda x: np.sum(x * 2.0), X), recorded(lambda x: np.sum(x * 3.0), X)
    )
    text, html = str(found), found._repr_html_()
    assert repr(found) == "<Comparison of <lambda> and <lambda>: 2 of 3 lines differ>"
    assert text.splitlines()[2].startswith(f"first: line 1, multiply, at {__file__}:")
    assert "\n  a: [" in text
    assert "they differ by 0.33 of their size at [" in text
    assert "&lt;lambda&gt;" in html
    assert html.count("<tr>") == 3
    repeated = lambda x, k: [x := np.sin(x * k) for _ in range(30)]  # noqa: E731
    long = [recorded(repeated, 1.0, k) for k in (1.0, 1.1)]
    assert "... and 38 more" in str(tg.compare_tapes(*long))
    assert "lines=True" not in text
    bare = [tg.record(lambda x, k=k: x * k)(X)[1] for k in (1.0, 2.0)]
    assert "tg.record(fn, lines=True) records" in str(tg.compare_tapes(*bare))


def test_what_cannot_be_compared():
    tape, pair = tg.record(np.sum)(np.ones(2))[1], tg.record(np.sin)(1.0)
    compare = partial(tg.compare_tapes, tape)
    refusals = [
        (TypeError, lambda: compare(pair), "b must be a Tape, not a tuple: output, tape = tg.rec"),
        (ValueError, lambda: compare(tape, rtol=-1.0), "rtol must be"),
        (ValueError, lambda: compare(tape, atol=np.nan), "atol must be"),
        (TypeError, lambda: compare(tape, rtol="a"), "rtol must be"),
    ]
    check_refusals(refusals)


def test_check_names_the_first_line_of_a_program_that_differs():
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
def cosine(builder, instruction):
    return builder.emit(tg.cos, *instruction.operands)


@Improvement
def first_again(builder):
    builder.outputs = (*builder.outputs[:-1], builder.outputs[0])


@pytest.mark.parametrize(
    ("wrong", "fn", "match"),
    [
        (cosine, lambda x: np.sum(np.sin(tg.softmax(x) * 3.0) ** 2), r"line \d+, cos"),
        (cosine, lambda x: tg.scan(lambda c, r: (np.sin(c) * r, c), 1.0, x)[0], "sin in a, cos in"),
        (first_again, lambda x: (x * 2.0, x), "gives another value of the recording"),
    ],
)
def test_check_names_the_line_that_a_wrong_pass_wrote(wrong, fn, match):
    for passes in ((wrong, *PASSES), (*PASSES, wrong)):
        with pytest.raises(AssertionError, match=match) as caught:
            tg.compile(fn, passes=passes).check(np.array([0.5, 1.0, 2.0]))
        assert "gives what the recording does" not in str(caught.value)


def test_check_says_if_no_line_differs():
    calls = iter([1.0, 1.0, 2.0, 1.0])
    compiled = tg.compile(lambda x: np.sin(x) * next(calls))
    compiled(X)
    compiled.check(X)
    with pytest.raises(AssertionError, match="run line by line, the program gives what the"):
        compiled.check(X)
