"""A page shows a tape, its values and its sweep in one file, and steps through them in a browser."""

import itertools
import json
import re
import sys
from collections import Counter
from html import escape
from html.parser import HTMLParser

import numpy as np
import pytest
from browser import in_a_browser, run
from depth import THOROUGH
from hypothesis import assume, given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from tapes import cotangents

import tapegrad as tg
from tapegrad.errors.words import short
from tapegrad.explain.show.events import Texts


def loss(w, x, b, unused):
    return tg.sum(tg.tanh(w * x + b) ** 2 * tg.round(w))


ARGS = np.array(1.7), np.array([[1.0, 3.0, -1.0], [0.5, 0.0, 2.0]]), np.full(3, 0.2), np.ones(2)


def long_loss(w, x, b, unused):
    y = loss(w, x, b, unused)
    for _ in range(9):
        y = tg.sin(y) * y
    return y


def abbreviate(value):
    return Texts().abbreviate(value)


def record_tape(fn=loss, args=ARGS):
    output, tape = tg.record(fn)(*args)
    return tape, output


class Elements(HTMLParser):
    """The tags of a page, with their attributes."""

    def __init__(self, page):
        super().__init__()
        self.found = []
        self.feed(page)

    def handle_starttag(self, tag, attrs):
        self.found.append((tag, dict(attrs)))


# --- content ------------------------------------------------------------------------------


def test_page_loads_nothing():
    page = tg.show.html(*record_tape())
    for tag, attributes in Elements(page).found:
        assert "src" not in attributes
        assert attributes.get("href", "#")[:1] == "#" or attributes["href"] == "data:,"
        assert tag not in ("iframe", "img", "base")
    assert "default-src 'none'" in page
    assert not re.search(r"https?://|@import|fetch\(|XMLHttpRequest", page)


def test_names_are_escaped_and_page_in_file_is_the_same(tmp_path):
    tags = []
    for name in ("x", "<script>alert(1)</script>", "</script><b>", "\"&'>", "<!--", "\u2028\n"):
        tape, x = tg.Tape().parameter([1.0, 2.0], name=name)
        tape, y = tape.write(tg.sum, x)
        page = tg.show.html(tape, y, tmp_path / "tape.html")
        assert (tmp_path / "tape.html").read_text(encoding="utf-8") == page
        assert tg.show.html(tape, y) == page
        tags.append([tag for tag, _ in Elements(page).found])
        tg.show.mermaid(tape), tg.show.dot(tape)
    assert "svg" in tags[0]
    assert tags == [tags[0]] * len(tags)


def test_notebook_shows_page_in_a_sandboxed_frame():
    page = tg.show.html(*record_tape(lambda x: x * x, (2.0,)))
    ((tag, attributes),) = Elements(page._repr_html_()).found
    assert (tag, attributes["srcdoc"], attributes["sandbox"]) == ("iframe", page, "allow-scripts")
    assert len(repr(page)) < 100


def test_gradient_check_finds_a_wrong_rule_and_skips_checkpoints():
    wrong = tg.custom_op(vjps=(lambda g, y, x: g * 3 * x,), name="wrong")(lambda x: x**2)

    def check_results(fn, *args):
        page = tg.show.html(*record_tape(fn, args))
        checked = page[page.index('<table id="checked">') :].split("</table>")[0]
        return re.findall(r'<td class="\w+">(.*?)</td>', checked)

    assert check_results(loss, *ARGS) == ["agrees"] * 4
    assert check_results(lambda x: tg.sum(wrong(x)), ARGS[1]) == ["differs"]
    passed = check_results(lambda x, y: np.sum(tg.checkpoint(np.sin)(x)) * y, np.ones(2), 2.0)
    assert passed == ["not checked: a checkpoint is on the way", "agrees"]


@pytest.mark.parametrize(
    "fn",
    [
        lambda x: np.sum(tg.scan(lambda c, x: (np.tanh(c + x), c), x[0], x)[1]),
        lambda x: tg.cond(x[0] > 0, np.prod, np.sum, x),
        lambda x: np.sum(tg.vmap(np.tanh)(x)) + tg.fori_loop(0, 2, lambda i, c: c * x[0], x[1]),
        lambda x: np.sum(np.linalg.svd(np.outer(x, x) + np.eye(3))[1]),
        lambda x: tg.linearize(lambda y: np.sum(y**2), x)[1](x),
    ],
)
def test_records_of_all_kinds_are_shown_and_checked(fn):
    tape, output = record_tape(fn, (np.array([0.4, 0.9, 1.3]),))
    page = tg.show.html(tape, output)
    assert 'class="ok">agrees' in page
    assert 'class="off">' not in page
    assert tape.show(output).split("\n\n")[0].count("\n") == len(tape)


def test_page_without_script_shows_the_end_of_the_sweep():
    tape, output = record_tape()
    page = tg.show.html(tape, output).split("<script")[0]
    for step in tg.sweep_steps(tape, output):
        row = page[page.index(f'id="line-{step.record.index}"') :].split("</tr>")[0]
        assert escape(abbreviate(step.cotangent)) in row.split('class="cotangent"')[1]


def test_source_line_is_shown_once_for_its_records():
    output, tape = tg.record(loss, lines=True)(*ARGS)
    page = tg.show.html(tape, output)
    assert page.count('<span class="source" title=') == 2  # the call of loss, and its line
    assert escape("return tg.sum(tg.tanh(w * x + b) ** 2 * tg.round(w))") in page


def test_table_has_roles_for_every_layout():
    tape, output = record_tape()
    roles = Counter(x["role"] for _, x in Elements(tg.show.html(tape, output)).found if "role" in x)
    wanted = {"table": 1, "rowgroup": 2, "columnheader": 6}
    wanted |= {"row": len(tape) + 1, "rowheader": len(tape), "cell": 5 * len(tape)}
    assert roles.items() >= wanted.items()


def test_page_raises_where_reverse_sweep_raises():
    tape, x = tg.Tape().parameter([1.0, 2.0])
    with pytest.raises(TypeError, match="a gradient needs a scalar"):
        tg.show.html(tape, x)
    assert "4." in tg.show.html(tape, x, cotangent=[3.0, 4.0])
    with pytest.raises(tg.TraceError):
        tg.compile(lambda x: tg.show.html(*record_tape(lambda y: y * x, (x,))))(2.0)


# --- in a browser -------------------------------------------------------------------------


def test_zero_gradient_has_reason_with_link_to_record():
    def fn(w, x, b, unused):
        return np.sum(np.maximum(w * 0.0 - 1.0, 0.0) * x) + np.sum(np.round(b)) + np.sum(x)

    tape, output = record_tape(fn)
    page = tg.show.html(tape, output)
    reasons = re.findall(r'<td class="why">(.*)</td>', page)
    assert len(reasons) == len(tape.parameters)
    told = tg.why_zero(fn, *ARGS)
    for p, reason in zip(tape.parameters, reasons, strict=True):
        assert bool(reason) == (p.name in told)
        links = re.findall(r'<a href="#line-(\d+)">line (\d+), (\w+)', reason)
        assert bool(links) == (p.name in ("w", "b"))
        for index, line, op in links:
            assert index == line
            assert list(tape)[int(index)].op.name == op
    assert "maximum passes all of the cotangent to 0.0" in reasons[0]
    assert "below 0.0" in told["w"]
    # also with a given cotangent
    page = tg.show.html(*tg.record(tg.relu)(-np.ones(2))[::-1], cotangent=np.array([2.0, 0.0]))
    assert "wherever the cotangent is not 0" in page


@in_a_browser
def test_steps_forward_and_back_fill_the_gradients(tmp_path):
    tape, output = record_tape()
    script = """
    report.start = state();
    while (!at("forward").disabled) at("forward").click();
    report.end = state(); report.steps = now; report.cotangents = cotangents();
    while (!at("back").disabled) at("back").click();
    report.again = state(); report.none = cotangents();
    for (let i = 0; i < 1000; i++) press("ArrowRight");
    report.keys = state(); report.reached = now;
    press("ArrowLeft"); report.left = now;
    press("Home"); report.home = now;
    press("End"); report.last = state();
    at("turn").click(); report.turn = document.getElementById("said").textContent;
    """
    report = run(tg.show.html(tape, output), script, tmp_path)
    wanted = [abbreviate(g) for g in tg.reverse_sweep(tape, output).values()]
    assert report["end"] == report["keys"] == report["last"] == wanted
    assert set(report["start"]) == set(report["again"]) == set(report["none"]) == {""}
    assert report["reached"] == report["steps"] == report["left"] + 1
    assert report["home"] == 0
    known = cotangents(tg.sweep_steps(tape, output))
    shown = [abbreviate(known[record]) if record in known else "" for record in tape]
    assert report["cotangents"] == shown
    assert "begins at the output" in report["turn"]


@in_a_browser
def test_predictions_are_judged(tmp_path):
    tape, output = record_tape(lambda w, x: tg.sum(w * x), (np.array(2.0), np.array([1.0, 3.0])))
    script = """
    at("first-guess").checked = true;
    report.judged = [];
    const submit = () => at("predict").requestSubmit();
    for (let i = 0; i < 40 && now < frames.length - 1; i++) {
      at("forward").click();
      if (at("predict").hidden) continue;
      const before = now, frame = frames[before + 1], right = frame.choices.findIndex((c) => c.kind === "right");
      const wrong = frame.choices.findIndex((c) => c.kind !== "right");
      answers()[wrong].checked = true; submit();
      const said = at("judged").textContent;
      report.judged.push([said, now === before, at("judged").className]);
      answers()[right].checked = true; submit();
      report.judged.push([at("judged").textContent, now === before + 1, at("judged").className]);
    }
    report.end = state();
    """
    report = run(tg.show.html(tape, output), script, tmp_path)
    assert len(report["judged"]) == 6
    for i, (said, as_it_should, kind) in enumerate(report["judged"]):
        assert as_it_should
        assert kind == ("right" if i % 2 else "wrong")
        assert said.startswith("Right: " if i % 2 else "Not yet. ")
        assert len(said) > 20
    assert report["end"] == ["4.0", "[2. 2.]"]


@in_a_browser
def test_keyboard_steps_before_during_and_after_a_question(tmp_path):
    tape, output = record_tape(lambda w: tg.sum(w * 3.0), (np.array([[1.0, 3.0]]),))
    script = """
    const key = (name) => (document.activeElement ?? document.body).dispatchEvent(
      new KeyboardEvent("keydown", { key: name, bubbles: true, cancelable: true }));
    const seen = () => [now, at("predict").hidden, at("judged").textContent.split(":")[0]];
    report.seen = [];
    go(data.records.length + 2);
    at("first-guess").focus(); at("first-guess").click();
    for (const name of ["ArrowLeft", "ArrowLeft", "ArrowRight", "ArrowRight", "ArrowRight", "ArrowRight"]) {
      key(name);
      report.seen.push(seen());
    }
    key("ArrowLeft"); key("ArrowLeft"); key("ArrowRight"); key("Escape");
    report.seen.push(seen());
    key("ArrowLeft"); key("ArrowRight");
    const right = frames[now + 1].choices.find((choice) => choice.kind === "right");
    answers()[frames[now + 1].choices.indexOf(right)].checked = true;
    report.seen.push(seen());
    at("predict").requestSubmit();
    report.seen.push(seen());
    report.question = at("predict").checkVisibility();
    report.focus = document.activeElement.id;
    key("ArrowRight");
    report.seen.push(seen());
    """
    report = run(tg.show.html(tape, output), script, tmp_path)
    n = len(tape)
    # the rule of the sum is at n + 2, its sum at n + 3, the rule of the product at n + 4
    seen = [[n + 1, True, ""], [n, True, ""], [n + 1, True, ""], [n + 1, False, ""]]
    seen += [[n + 2, True, ""], [n + 3, True, ""]]
    seen += [[n + 2, True, ""], [n + 1, False, ""], [n + 2, True, "Right"], [n + 3, True, ""]]
    assert report["seen"] == seen
    assert report["question"] is False
    assert report["focus"] == "forward"


@in_a_browser
def test_large_cotangents_open_and_print_shows_the_end(tmp_path):
    tape, output = record_tape(lambda w, x: tg.sum(tg.exp(w @ x)), (np.eye(3), np.ones((3, 4))))
    script = """
    go(data.records.length + 5);
    const details = document.querySelector("#tape td.cotangent details");
    details.open = true;
    report.opened = details.querySelector("pre").textContent;
    report.current = document.querySelectorAll('[aria-current="step"]').length;
    report.before = state();
    dispatchEvent(new Event("beforeprint")); report.printed = state();
    dispatchEvent(new Event("afterprint")); report.after = state();
    """
    report = run(tg.show.html(tape, output), script, tmp_path)
    assert report["opened"] in {str(s.cotangent) for s in tg.sweep_steps(tape, output)}
    assert report["current"] == 1
    assert report["before"] == report["after"] == ["", ""]
    assert report["printed"] == [abbreviate(g) for g in tg.reverse_sweep(tape, output).values()]


def scan_three_results(w, xs):
    step = lambda c, x: ((c[0] * w + x, np.sin(c[1] + c[0])), (c[0] * c[1], *c))  # noqa: E731
    return sum(np.sum(y) for y in tg.tree.leaves(tg.scan(step, (0.0, 0.0), xs)))


@in_a_browser
def test_steps_enter_a_loop_without_changing_the_layout(tmp_path):
    script = """
    const heights = new Set(), seen = (run, kind) => getComputedStyle(run.querySelector(`td.${kind}`)).visibility;
    report.runs = [];
    for (; !at("forward").disabled; at("forward").click()) {
      heights.add(document.querySelector("nav").offsetHeight);
      const open = runs.filter((run) => run.open && frames[now].run !== undefined);
      report.runs.push(...open.map((run) => [run.id, seen(run, "value"), seen(run, "cotangent")]));
    }
    const svg = document.querySelector("svg"), box = svg.parentElement, summary = runs[0].querySelector("summary");
    const left = (element) => element.getBoundingClientRect().left, wide = () => box.scrollWidth > box.clientWidth;
    runs[0].open = true;
    report.head = [getComputedStyle(summary, "::after").content, left(summary) < left(runs[0].parentElement)];
    report.graph = [heights.size, wide(), svg.clientWidth < Number(svg.getAttribute("width"))];
    box.style.width = "150px";
    report.bar = [wide(), box.offsetHeight - box.clientHeight > 5];
    """
    page = tg.show.html(*record_tape(scan_three_results, (0.7, np.array([1.0, 3.0, 0.5]))))
    report = run(page, script, tmp_path)
    forth = [[f"run-{i}", "visible", "hidden"] for i in (2, 1, 0)]
    assert report["runs"] == forth + [[f"run-{i}", "visible", "visible"] for i in (0, 1, 2)]
    assert report["head"] == ["none", False]
    assert report["graph"] == [1, False, True]
    assert report["bar"] == [True, True]


def matrix_loss(w, x, b):
    return tg.sum(tg.exp(w @ x / 70 + b)) * 1.0


LONG = 1.7, np.array([1.0, 3.0]), np.array([0.2, 0.1]), 1.0
MATRICES = np.arange(36.0).reshape(6, 6), np.eye(6)[:, :4] / 3, np.full((1, 4), 1e-5)


@in_a_browser
@pytest.mark.parametrize("is_short", [True, False][: 1 + THOROUGH])
def test_page_fits_the_window_and_opened_details_move_nothing(is_short, tmp_path):
    fn, args = (long_loss, LONG) if is_short else (matrix_loss, MATRICES)
    script = """
    at("last").click();
    const table = document.getElementById("tape"), box = table.parentElement;
    const opened = [...document.querySelectorAll("details")], cells = [...table.querySelectorAll("td, th")];
    const places = () => cells.map((cell) => cell.getBoundingClientRect()).map(({ left, width }) => [left, width]);
    report.opened = opened.length;
    report.short = table.className === "short";
    report.wrapped = cells.filter((cell) => cell.matches("td.value, td.cotangent") && getComputedStyle(cell).whiteSpace !== "pre").length;
    report.found = [320, 380, 1024, 1280].map((width) => {
      document.documentElement.style.width = `${width}px`;
      for (const details of opened) details.open = false;
      const before = JSON.stringify(places());
      for (const details of opened) details.open = true;
      return [document.body.scrollWidth - width, box.scrollWidth - box.clientWidth, before === JSON.stringify(places())];
    });
    """
    report = run(tg.show.html(*record_tape(fn, args)), script, tmp_path, width=1400)
    assert report["opened"] > 2
    assert report["short"] == is_short
    assert report["wrapped"] == 0
    assert all(body <= 0 for body, _, _ in report["found"])
    assert [(table, kept) for _, table, kept in report["found"]] == [(0, True)] * 4


# --- values ------------------------------------------------------------------------------


def split_numbers(text):
    return [word for word in re.split(r"[\s\[\],()]+", text) if word not in ("", "...")]


@given(
    arrays(st.sampled_from([float, np.float32, int, bool]), array_shapes(max_dims=3, max_side=7))
)
def test_array_is_shown_in_rows_and_columns_of_uncut_numbers(value):
    # rounding up may overflow
    assume(not np.any(np.abs(value, dtype=float) > 1e300, where=np.isfinite(value)))
    text = abbreviate(value)
    for number in split_numbers(text):
        assert number in ("True", "False", "nan", "inf", "-inf") or np.isfinite(float(number))
    if value.ndim == 2 and max(value.shape) <= 4:
        lines = text.split("\n")
        assert [len(split_numbers(line)) for line in lines] == [value.shape[1]] * value.shape[0]
        assert len({len(line.rstrip("]")) for line in lines}) == 1
    # a value in one line is cut between numbers too
    whole = np.array2string(value, precision=4, threshold=10**6, max_line_width=10**6)
    assert value.size > 6 or set(split_numbers(short(value))) <= set(split_numbers(whole))


def test_cut_matrix_has_a_heat_map():
    value = np.arange(-200.0, 200.0).reshape(20, 20)
    value[0, -1] = np.inf
    (heat,) = re.findall(r"data-heat='(.*?)'", Texts().html(value))
    rows = json.loads(heat)
    assert np.shape(rows) == (16, 16)
    assert (rows[0][0], rows[0][-1], rows[-1][-1]) == (-1.0, 0.0, 1.0)


def test_colors_have_enough_contrast():
    css = re.search(r"<style>(.*?)</style>", tg.show.html(*record_tape()), re.DOTALL)[1]
    themes = re.findall(r"--ink: .*?}", css, re.DOTALL)
    assert len(themes) == 3

    def luminance(color):
        parts = [int(color[i : i + 2], 16) / 255 for i in (0, 2, 4)]
        linear = [x / 12.92 if x <= 0.04045 else ((x + 0.055) / 1.055) ** 2.4 for x in parts]
        return linear[0] * 0.2126 + linear[1] * 0.7152 + linear[2] * 0.0722

    for theme in themes:
        light = {name: luminance(x) for name, x in re.findall(r"--(\w+): #(\w{6})", theme)}
        names = ("ink", "quiet", "link", "back", "right", "wrong", "edge")
        for name, ground in itertools.product(names, ("paper", "soft", "now")):
            low, high = sorted([light[name], light[ground]])
            assert (high + 0.05) / (low + 0.05) >= (3 if name == "edge" else 4.5), (name, ground)


# --- plots -------------------------------------------------------------------------------


def test_losses_are_plotted_or_error_names_matplotlib(monkeypatch, tmp_path):
    path = tmp_path / "loss.png"
    with monkeypatch.context() as patch:
        patch.setitem(sys.modules, "matplotlib.figure", None)
        with pytest.raises(ImportError, match="pip install matplotlib"):
            tg.show.loss([1.0], path)
    pytest.importorskip("matplotlib")
    tg.show.loss([3.0, np.float32(2.0), 1.5], path)
    assert path.read_bytes()[:4] == b"\x89PNG"
