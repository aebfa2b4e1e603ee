"""The page of a tape: what is in it, and what it does in a real browser."""

import re
import sys
from html import escape
from html.parser import HTMLParser

import numpy as np
import pytest
from browser import in_a_browser, run

import tapegrad as tg
from tapegrad.face.text import short


def loss(w, x, b, unused):
    return tg.sum(tg.tanh(w * x + b) ** 2 * tg.round(w))


ARGS = np.array(1.7), np.array([[1.0, 3.0, -1.0], [0.5, 0.0, 2.0]]), np.full(3, 0.2), np.ones(2)


def long(w, x, b, unused):
    y = loss(w, x, b, unused)
    for _ in range(9):
        y = tg.sin(y) * y
    return y


def recorded(fn=loss, args=ARGS):
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


# --- what is in it ------------------------------------------------------------------------


def test_a_page_asks_nobody_for_anything():
    page = tg.show.html(*recorded())
    for tag, attributes in Elements(page).found:
        assert "src" not in attributes
        assert attributes.get("href", "#")[:1] == "#" or attributes["href"] == "data:,"
        assert tag not in ("iframe", "img", "base")
    assert "default-src 'none'" in page
    assert not re.search(r"https?://|@import|fetch\(|XMLHttpRequest", page)


def test_a_page_has_a_row_a_node_and_a_gradient_for_each():
    tape, output = recorded()
    ids = [
        attributes["id"]
        for _, attributes in Elements(tg.show.html(tape, output)).found
        if "id" in attributes
    ]
    assert len(ids) == len(set(ids))
    for record in tape:
        assert {f"line-{record.index}", f"node-{record.index}"} <= set(ids)


@pytest.mark.parametrize(
    "name", ["<script>alert(1)</script>", "</script><b>", "\"&'>", "<!--", "\u2028\n"]
)
def test_names_and_values_are_text(name):
    tape, x = tg.Tape().parameter([1.0, 2.0], name=name)
    tape, y = tape.write(tg.sum, x)
    before = Elements(tg.show.html(*_named("x"))).found
    tags = [tag for tag, _ in Elements(tg.show.html(tape, y)).found]
    assert tags == [tag for tag, _ in before]
    assert "<svg" in tg.show.html(tape, y)
    tg.show.mermaid(tape), tg.show.dot(tape)


def _named(name):
    tape, x = tg.Tape().parameter([1.0, 2.0], name=name)
    return tape.write(tg.sum, x)


def test_a_page_is_written_to_a_file_and_is_the_same_each_time(tmp_path):
    tape, output = recorded()
    page = tg.show.html(tape, output, tmp_path / "tape.html")
    assert (
        (tmp_path / "tape.html").read_text(encoding="utf-8") == page == tg.show.html(tape, output)
    )


def test_the_gradient_check_at_the_foot_agrees_and_finds_a_wrong_rule():
    wrong = tg.custom_op(vjps=(lambda g, y, x: g * 3 * x,), name="wrong")(lambda x: x**2)
    assert "differs" not in tg.show.html(*recorded()).split("</style>")[1].split("<script")[0]
    page = tg.show.html(*recorded(lambda x: tg.sum(wrong(x)), (ARGS[1],)))
    assert '<td class="off">differs</td>' in page


def test_what_goes_through_a_checkpoint_is_not_checked():
    def checkpointed(x, y):
        return np.sum(tg.checkpoint(np.sin)(x)) * y

    page = tg.show.html(*recorded(checkpointed, (np.ones(2), 2.0)))
    checked = page[page.index('<table id="checked">') :].split("</table>")[0]
    assert re.findall(r'<td class="\w+">(.*?)</td>', checked) == [
        *("not checked: a checkpoint is on the way", "agrees")
    ]


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
    tape, output = recorded(fn, (np.array([0.4, 0.9, 1.3]),))
    page = tg.show.html(tape, output)
    assert 'class="ok">agrees' in page
    assert 'class="off">' not in page
    assert tape.show(output).count("\n") == len(tape)


def test_without_a_script_a_page_shows_the_end_of_the_sweep():
    tape, output = recorded()
    page = tg.show.html(tape, output).split("<script")[0]
    for step in tg.sweep_steps(tape, output):
        row = page[page.index(f'id="line-{step.record.index}"') :].split("</tr>")[0]
        assert escape(short(step.cotangent)) in row.split('class="cotangent"')[1]


def test_a_line_of_source_stands_once_for_the_records_that_it_wrote():
    output, tape = tg.record(loss, lines=True)(*ARGS)
    page = tg.show.html(tape, output)
    assert page.count('<span class="source" title=') == 2  # where it is called, and its line
    assert escape("return tg.sum(tg.tanh(w * x + b) ** 2 * tg.round(w))") in page


def test_a_table_keeps_its_roles_where_it_is_laid_out_anew():
    found = Elements(tg.show.html(*recorded())).found
    roles = {"table": 0, "rowgroup": 0, "row": 0, "columnheader": 0, "rowheader": 0, "cell": 0}
    for _, attributes in found:
        if attributes.get("role") in roles:
            roles[attributes["role"]] += 1
    n = len(recorded()[0])
    wanted = {"table": 1, "rowgroup": 2, "row": n + 1, "columnheader": 6, "rowheader": n}
    assert roles == wanted | {"cell": 5 * n}


def test_what_reverse_sweep_refuses_is_refused():
    tape, x = tg.Tape().parameter([1.0, 2.0])
    with pytest.raises(TypeError, match="a gradient needs a scalar"):
        tg.show.html(tape, x)
    assert "4." in tg.show.html(tape, x, cotangent=[3.0, 4.0])
    with pytest.raises(tg.TraceError):
        tg.compile(lambda x: tg.show.html(*recorded(lambda y: y * x, (x,))))(2.0)


# --- in a browser -------------------------------------------------------------------------


@in_a_browser
@pytest.mark.parametrize(
    ("fn", "args"),
    [(loss, ARGS), (lambda x: tg.grad(lambda y: tg.sin(y) ** 3)(x) * x, (np.array(0.7),))],
)
def test_stepping_to_the_end_fills_the_mapping_and_back_and_forth_again(fn, args, tmp_path):
    tape, output = recorded(fn, args)
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
    wanted = [short(g) for g in tg.reverse_sweep(tape, output).values()]
    assert report["end"] == report["keys"] == report["last"] == wanted
    assert set(report["start"]) == set(report["again"]) == set(report["none"]) == {""}
    assert report["reached"] == report["steps"] == report["left"] + 1
    assert report["home"] == 0
    known = {s.record: short(s.cotangent) for s in tg.sweep_steps(tape, output)}
    assert report["cotangents"] == [known.get(record, "") for record in tape]
    assert "begins at the output" in report["turn"]


@in_a_browser
def test_predictions_are_judged(tmp_path):
    tape, output = recorded(lambda w, x: tg.sum(w * x), (np.array(2.0), np.array([1.0, 3.0])))
    script = """
    at("first-guess").checked = true;
    report.judged = [];
    const submit = () => at("predict").requestSubmit();
    for (let i = 0; i < 40 && now < frames.length - 1; i++) {
      at("forward").click();
      if (at("predict").hidden) continue;
      const before = now, frame = frames[before + 1], right = frame.choices.findIndex((c) => c.right);
      const wrong = frame.choices.findIndex((c) => !c.right);
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
def test_a_number_is_typed(tmp_path):
    tape, output = recorded(lambda w: w * 3.0, (np.array(2.0),))
    script = """
    at("first-guess").checked = true;
    at("turn").click(); at("forward").click();
    report.said = [];
    for (const typed of ["1", "-3", "17", "3,0"]) {
      answers()[0].value = typed; at("predict").requestSubmit();
      report.said.push(at("judged").textContent);
    }
    """
    said = run(tg.show.html(tape, output), script, tmp_path)["said"]
    assert "g, which came in" in said[0]
    assert "the sign is not" in said[1]
    assert "Put the numbers into the rule: g * x2" in said[2]
    assert said[3].startswith("Right")


@in_a_browser
def test_large_cotangents_open_and_print_shows_the_end(tmp_path):
    tape, output = recorded(lambda w, x: tg.sum(tg.exp(w @ x)), (np.eye(3), np.ones((3, 4))))
    script = """
    go(data.records.length + 4);
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
    assert report["printed"] == [short(g) for g in tg.reverse_sweep(tape, output).values()]


@in_a_browser
def test_a_phone_and_a_zoom_to_four_times_scroll_neither_the_page_nor_the_table(tmp_path):
    # a window of a browser has a least width
    page = tg.show.html(*recorded(long)).replace("<html ", '<html style="width: 320px" ')
    script = """
    at("last").click();
    const table = document.getElementById("tape"), box = table.parentElement;
    report.body = document.body.scrollWidth;
    report.table = box.scrollWidth - box.clientWidth;
    """
    report = run(page, script, tmp_path, width=500)
    assert report["body"] <= 320
    assert report["wide"] <= 0
    assert report["table"] <= 0


# --- plots -------------------------------------------------------------------------------


def test_losses_are_plotted_or_it_says_how(tmp_path):
    pytest.importorskip("matplotlib")
    tg.show.loss([3.0, np.float32(2.0), 1.5], tmp_path / "loss.png")
    assert (tmp_path / "loss.png").read_bytes()[:4] == b"\x89PNG"


def test_without_matplotlib_it_says_how_to_install_it(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(ImportError, match="pip install matplotlib"):
        tg.show.loss([1.0], tmp_path / "loss.png")
