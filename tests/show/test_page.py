"""The page of a tape: what is in it, and what it does in a real browser."""

import base64
import json
import re
import shutil
import subprocess
import sys
from html.parser import HTMLParser

import numpy as np
import pytest

import tapegrad as tg
from tapegrad.face.text import short

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser"))), None)
in_a_browser = pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium")


def loss(w, x, b, unused):
    return tg.sum(tg.tanh(w * x + b) ** 2 * tg.round(w))


ARGS = np.array(1.7), np.array([[1.0, 3.0, -1.0], [0.5, 0.0, 2.0]]), np.full(3, 0.2), np.ones(2)


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


def test_what_reverse_sweep_refuses_is_refused():
    tape, x = tg.Tape().parameter([1.0, 2.0])
    with pytest.raises(TypeError, match="a gradient needs a scalar"):
        tg.show.html(tape, x)
    assert "4." in tg.show.html(tape, x, cotangent=[3.0, 4.0])
    with pytest.raises(tg.TraceError):
        tg.compile(lambda x: tg.show.html(*recorded(lambda y: y * x, (x,))))(2.0)


# --- in a browser -------------------------------------------------------------------------

WATCH = """<script>
window.errors = [];
addEventListener("error", (event) => errors.push(event.message));
addEventListener("securitypolicyviolation", (event) => errors.push(event.blockedURI));
console.error = (...words) => errors.push(words.join(" "));
</script>"""

SCRIPT = """<script>
const state = () => [...document.querySelectorAll("#mapping tbody tr")].map((row) => row.lastElementChild.textContent);
const cotangents = () => [...document.querySelectorAll("#tape td.cotangent")].map((cell) => cell.textContent);
const press = (key) => document.body.dispatchEvent(new KeyboardEvent("keydown", { key, bubbles: true, cancelable: true }));
const answers = () => [...document.querySelectorAll("#answers input")];
const report = {};
{%s}
report.errors = errors;
report.requests = performance.getEntriesByType("resource").length;
report.wide = document.documentElement.scrollWidth - document.documentElement.clientWidth;
const out = document.createElement("pre");
out.id = "report";
out.textContent = btoa(unescape(encodeURIComponent(JSON.stringify(report))));
document.body.append(out);
</script>"""


def run(page, script, tmp_path, width=1200):
    """What a script reports that runs on the page in a headless Chromium."""
    file = tmp_path / "page.html"
    page = page.replace("<title>", WATCH + "<title>").replace(
        "</body>", SCRIPT % script + "</body>"
    )
    file.write_text(page, encoding="utf-8")
    done = subprocess.run(
        [
            CHROMIUM,
            *("--headless", "--no-sandbox", "--disable-gpu", "--dump-dom"),
            f"--window-size={width},800",
            f"--user-data-dir={tmp_path / 'profile'}",
            file.as_uri(),
        ],
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    found = re.search(r'<pre id="report">([^<]*)</pre>', done.stdout)
    assert found, done.stdout[-2000:] + done.stderr[-2000:]
    report = json.loads(base64.b64decode(found[1]))
    assert report["errors"] == []
    assert report["requests"] == 0
    return report


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
def test_a_phone_scrolls_boxes_and_not_the_page(tmp_path):
    # a window of a browser has a least width
    page = tg.show.html(*recorded()).replace("<html ", '<html style="width: 340px" ')
    report = run(page, "report.body = document.body.scrollWidth;", tmp_path, width=500)
    assert report["body"] <= 340
    assert report["wide"] <= 0


# --- graphs, plots, notebooks -------------------------------------------------------------


def test_graphs_have_a_node_for_each_record_and_an_edge_for_each_operand():
    tape, _ = recorded()
    edges = [(x.index, r.index) for r in tape for x in r.operands if isinstance(x, tg.Tensor)]
    for text, pattern in (
        (tg.show.mermaid(tape), r"n(\d+) (?:-->|-\.->) n(\d+)"),
        (tg.show.dot(tape), r"n(\d+) -> n(\d+)"),
    ):
        found = [(int(a), int(b)) for a, b in re.findall(pattern, text)]
        assert found == edges
        assert sum(f"%{r.index} " in text for r in tape) == len(tape)


def test_losses_are_plotted_or_it_says_how(tmp_path):
    pytest.importorskip("matplotlib")
    tg.show.loss([3.0, np.float32(2.0), 1.5], tmp_path / "loss.png")
    assert (tmp_path / "loss.png").read_bytes()[:4] == b"\x89PNG"


def test_without_matplotlib_it_says_how_to_install_it(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(ImportError, match="pip install matplotlib"):
        tg.show.loss([1.0], tmp_path / "loss.png")
