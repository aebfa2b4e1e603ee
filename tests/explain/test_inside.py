"""Each step, branch and call inside a record is a tape, swept with its cotangents."""

import json
import re
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from depth import depth
from hypothesis import given
from hypothesis import strategies as st
from loops import arguments, losses, same, terms
from messages import message_of
from tapes import cotangents

import tapegrad as tg
from tapegrad.core.tensor import primals
from tapegrad.explain.inside import displayed_value, runs
from tapegrad.types import Array

pytestmark = pytest.mark.filterwarnings("ignore::RuntimeWarning")


def sweep_error(fn: Callable[..., Any], *args: Any) -> str:
    """Return the error message of a function's checked sweep."""
    return message_of(tg.errors.NonFiniteError, lambda: tg.grad(fn, check_finite=True)(*args))


@depth("program")
@given(terms, st.integers(1, 3), st.booleans(), st.booleans())
def test_runs_inside_a_loop_have_its_values_and_cotangents(terms, n, reverse, remember):
    loss, _ = losses(terms, reverse, remember)
    output, tape = tg.record(loss)(*arguments(n))
    steps_by_record = {step.record: step for step in tg.sweep_steps(tape, output)}
    (loop,) = [record for record in tape if record.op.name == "scan"]
    loop_runs = list(runs(loop))
    assert [run.step for run in loop_runs] == list(range(n))
    # the last carry, and the rows of each step
    values, n_carry = loop._primal.values, loop._options["loop"].n_carry
    same(values[:n_carry], tuple(primals(loop_runs[-1].outputs[:n_carry])))
    rows = [run.outputs[n_carry:] for run in (loop_runs[::-1] if reverse else loop_runs)]
    same(values[n_carry:], tuple(np.stack([*primals(x)]) for x in zip(*rows, strict=True)))
    if loop not in steps_by_record:
        return
    # the cotangents of the steps' inputs add up to the cotangents of the loop's operands
    total = {c.position: np.zeros(c.summed.shape) for c in steps_by_record[loop].contributions}
    first = loop._options["loop"].n_captured
    inside = list(steps_by_record[loop].inside)
    assert [run.step for run in inside] == list(range(n))[::-1]
    for run in inside:
        found = cotangents(run.steps)
        for p, i in run.sources.items():
            if p in found and i >= first + n_carry:
                total[i][n - 1 - run.step if reverse else run.step] += found[p]
            elif p in found and (i < first or run.step == 0):
                total[i] += found[p]
    for c in steps_by_record[loop].contributions:
        same(np.asarray(c.summed), total[c.position])


def cond_of_sum(x: Array) -> Array:
    return tg.cond(tg.sum(x) > 1, lambda x: tg.sum(x * x), lambda x: tg.sum(x), x)


@pytest.mark.parametrize("x", [np.array([1.0, 2.0]), np.array([0.1, 0.2])])
@pytest.mark.parametrize("fn", [cond_of_sum, tg.checkpoint(lambda x: tg.sum(np.sin(x) * x))])
def test_branch_and_checkpoint_have_one_run(fn, x):
    output, tape = tg.record(fn)(x)
    (step,) = [step for step in tg.sweep_steps(tape, output) if step.inside]
    assert step.record.op.name in ("cond", "checkpoint")
    (run,) = step.inside
    assert run.step is None
    found = cotangents(run.steps)
    for c in step.contributions:
        terms = [found[p] for p, i in run.sources.items() if i == c.position]
        same(np.asarray(c.summed), np.asarray(sum(terms)))


def body(c, x):
    c = c * x
    return c, np.log(c)


def scan_logs(w, xs):
    c, ys = tg.scan(body, w, xs)
    return tg.sum(ys) + c


def outer(w, xs):
    return tg.scan(lambda c, x: (c + scan_logs(w, xs * x), None), 0.0, np.array([1.0, 0.0]))[0]


def fori_roots(w, xs):
    return tg.fori_loop(0, 3, lambda i, c: c * np.sqrt(w - i), 1.0)


def while_exp(w, xs):
    return tg.while_loop(lambda c: c < 1e300, lambda c: c + np.exp(c * w), 1.0)


def cond_of_log(w, xs):
    return tg.cond(w > 1, lambda v: np.log(v - 2), lambda v: v, w)


@tg.checkpoint
def checkpointed_log(w, xs):
    return np.log(w - 2) + w


SCAN = "line 3 of the tape of body, step 2 of the scan on line {} of "


@pytest.mark.parametrize(
    ("fn", "where", "line"),
    [
        (scan_logs, SCAN.format(1) + "scan_logs, log,", "return c, np.log(c)"),
        (outer, SCAN.format(4) + "<lambda>, step 0 of the scan on line 1 of outer, log,", "log(c)"),
        (
            fori_roots,
            "cotangent that line 4 of the tape of <lambda>, step 2 of the fori_loop on",
            "sqrt",
        ),
        (
            while_exp,
            "<lambda>, step 2 of the while_loop on line 1 of while_exp, exp,",
            "while_loop(",
        ),
        (
            cond_of_log,
            "<lambda>, the branch taken by the cond on line 2 of cond_of_log, log,",
            "tg.cond(",
        ),
        (
            checkpointed_log,
            "of checkpointed_log, repeated by the checkpoint on line 1 of",
            "return np.log(w - 2)",
        ),
    ],
)
def test_error_names_step_and_line_of_non_finite_number(fn, where, line):
    first, place = sweep_error(fn, 2.0, np.array([1.0, 3.0, 0.0])).splitlines()[:2]
    assert where in first
    assert f"at {__file__}:" in place
    assert line in place


def test_only_numbers_that_a_result_needs_are_checked():
    def make_loss(which):
        def loss(w):
            step = lambda c, x: ((c[0] * x, c[1] + np.inf), np.log(c[0] - w))  # noqa: E731
            carry, ys = tg.scan(step, (w, w), np.array([1.0, 3.0]))
            return (carry[0], tg.sum(carry[1]), tg.sum(ys))[which]

        return loss

    assert tg.grad(make_loss(0), check_finite=True)(2.0) == 3.0
    for which, op in ((1, "add"), (2, "log")):
        assert re.search(f"step 0 of the scan.*{op}, is not", sweep_error(make_loss(which), 2.0))

    def loss_of_next_step(w):
        step = lambda c, x: ((c[0] + c[1] * x, np.log(c[1])), None)  # noqa: E731
        return tg.scan(step, (w, w), np.array([1.0, 2.0]))[0][0]

    assert re.search("step 0 of the scan .*, log, is not", sweep_error(loss_of_next_step, 0.0))


@pytest.mark.parametrize("checkpoint", [None, 1, 2, "binomial"])
def test_loop_in_segments_has_the_same_steps(checkpoint):
    def loss(w, xs):
        c, ys = tg.scan(body, w, xs, checkpoint=checkpoint)
        return tg.sum(ys) + c

    def rows(steps):
        """Yield the cotangents of the rows, from the last, in the innermost runs."""
        for run in (run for step in steps for run in step.inside):
            if any(step.inside for step in run.steps):
                yield from rows(run.steps)
            else:
                yield next(s.cotangent for s in run.steps if s.record.name == "x")

    xs = np.linspace(0.5, 1.5, 7)
    output, tape = tg.record(loss)(2.0, xs)
    found = [*rows(tg.sweep_steps(tape, output))]
    same(np.array(found[::-1]), tg.grad(loss, 1)(2.0, xs))
    text = sweep_error(loss, 2.0, np.append(xs, 0.0))
    assert re.search("line 3 of the tape of body, step .*, log", text)
    # steps of a segment are counted separately
    assert ("a segment of body, step" in text) == (checkpoint in (2, "binomial"))


def test_reading_steps_inside_writes_no_record():
    def record_and_sweep(w, inside):
        output, tape = tg.record(lambda w: scan_logs(w * w, XS) ** 2)(w)
        for step in tg.sweep_steps(tape, output):
            for run in step.inside if inside else ():
                assert all(type(s.cotangent) is np.ndarray for s in run.steps)
        return output

    assert len(tg.record(record_and_sweep)(2.0, False)[1]) == len(
        tg.record(record_and_sweep)(2.0, True)[1]
    )


# --- printed ----------------------------------------------------------------------------------


XS = np.array([1.0, 3.0, 0.5])


def test_printed_tape_has_the_last_run_of_each_record():
    output, tape = tg.record(scan_logs, lines=True)(2.0, XS)
    whole, inside = str(tape.show(output)).split("\n\n")
    # all results of the loop, and their cotangents
    (loop,) = [record for record in tape if record.op.name == "scan"]
    np.testing.assert_array_equal(loop.primal.values[1], np.log([2.0, 6.0, 3.0]))
    (line,) = [line for line in whole.splitlines() if " scan " in line]
    assert "  c = 3.0, y = [0.6931 1.7918 1.0986]  c = 1.0, y = [1. 1. 1.]  " in line
    head, columns, *rows = inside.splitlines()
    assert head == "inside line 2, scan, step 2, the last:"
    assert columns.split()[-2:] == ["cotangent", "source"]
    assert [row.split()[1] for row in rows] == ["c", "x", "multiply", "log"]
    assert rows[-1].endswith("return c, np.log(c)")
    assert " 3.0 " in rows[2]
    assert " 1.3333333333333333 " in rows[2]
    # without an output there are no cotangents; nested loops open in turn
    output, tape = tg.record(outer)(2.0, XS)
    heads = [part.splitlines()[0] for part in str(tape.show()).split("\n\n")[1:]]
    assert heads == [
        "inside line 2, scan, step 1, the last:",
        "inside line 5, scan, step 2, the last:",
    ]
    assert "cotangent" not in str(tape.show())
    assert "source" not in str(tape.show())
    output, tape = tg.record(cond_of_log)(3.0, XS)
    assert re.search(r"inside line \d, cond:", str(tape.show(output)))
    assert re.search(
        r"inside line \d, checkpoint:", str(tg.record(checkpointed_log)(3.0, XS)[1].show())
    )
    # a loop without steps has nothing inside
    _, tape = tg.record(lambda w: tg.while_loop(lambda c: c < 0, lambda c: c * w, w))(2.0)
    assert "inside" not in str(tape.show())


def test_loop_shows_carry_and_results_by_name():
    for ys, names in (
        (lambda x: None, []),
        (lambda x: x, ["y"]),
        (lambda x: (x, (x * x, x)), ["y.0", "y.1.0", "y.1.1"]),
        (lambda x: {"loss": x, "err": x}, ["loss", "err"]),
    ):
        step = lambda state, x: ((state[0] * x, state[1] + x), ys(state[0]))  # noqa: B023, E731
        record = tg.record(lambda xs: tg.scan(step, (1.0, 2.0), xs))(XS)[1][1]  # noqa: B023
        names_in_text = re.findall(r"([\w.]+) = ", str(displayed_value(record, record)))
        assert names_in_text == ["state.0", "state.1", *names]


def test_page_opens_loops_step_by_step():
    output, tape = tg.record(outer, lines=True)(2.0, XS)
    page = tg.show.html(tape, output)
    heads = re.findall("<summary>(Inside .*?)</summary>", page)
    pattern = "Inside %5 scan of &lt;lambda&gt;, step {} of the scan on line 2 of outer, step {}"
    assert heads == [
        *("Inside %2 scan of outer, step 1", *[pattern.format(1, t) for t in (2, 1, 0)]),
        *("Inside %2 scan of outer, step 0", *[pattern.format(0, t) for t in (2, 1, 0)]),
    ]
    assert page.count("return c, np.log(c)</span>") == 6
    data = json.loads(re.search(r'id="data">(.*?)</script>', page)[1])
    forward, events = (
        [(x["kind"], x.get("run")) for x in data[part] if x["line"] == 2]
        for part in ("forward", "events")
    )
    assert forward == [*(("forth", i) for i in range(8)[::-1]), ("forward", None)]
    assert events[:9] == [*(("back", i) for i in range(8)), ("rule", None)]
    output, tape = tg.record(lambda w: tg.fori_loop(0, 50, lambda i, c: c * w, w))(1.1)
    page = tg.show.html(tape, output)
    assert page.count("<summary>Inside") == 12
    assert "step 49</summary>" in page
    output, tape = tg.record(np.sin)(1.1)
    assert "Inside" not in tg.show.html(tape, output)
