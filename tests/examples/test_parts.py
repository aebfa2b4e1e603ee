"""Each page for learners runs by itself, and judges a guess correctly."""

import re
import sys
from pathlib import Path

import pytest
from depth import THOROUGH

ROOT = Path(__file__).parents[2]
PARTS = ROOT / "examples" / "parts"
PAGES = sorted(PARTS.glob("*.py"))
BLANK = re.compile(r"^guess = \.\.\.(  # .*)?$", re.M)

# a right and a wrong guess for each page
GUESSES = {
    "01_tensors": ("1", "2"),
    "02_backward": ("[1, 2, 3, 4, 5]", "[1, 1, 1, 1, 1]"),
    "03_used_twice": ("np.full(5, 3)", "[2] * 5"),
    "04_order": ("1024", "20"),
    "05_negation": ("lambda g, y, x: -g", "lambda g, y, x: -x"),
    "06_more_ops": ("lambda g, x, w: x.T @ g", "lambda g, x, w: g.T @ x"),
    "07_two_matrices": ("8", "7"),
    "08_optimizer": ("12", "4"),
    "09_linear": ("[10, 10, 10]", "[1, 1, 1]"),
    "10_sequential": ("4", "6"),
    "11_losses": ("0.2", "0.0125"),
    "12_nonlinear": ("lambda g, y, x: g * y * (1 - y)", "lambda g, y, x: y * (1 - y)"),
    "13_index_select": ("[3, 0, 1, 0, 0]", "[1, 0, 1, 0, 0]"),
    "14_embedding": ("[0, 1, 2, 3, 4]", "[0]"),
    "15_training_embedding": ("2", "5"),
    "16_cross_entropy": ("0.4", "0.1"),
    "17_recurrent": ("0", "1"),
    "sweep_by_hand": ("lambda g, y, x: -2 * g * x * y", "lambda g, y, x: -2 * g * x"),
}


@pytest.fixture
def run(monkeypatch, capsys):
    """Return a function that runs the source of a page and returns its output."""

    def run(page, source):
        monkeypatch.setattr(sys, "path", list(sys.path))
        names = {"__name__": "__main__", "__file__": str(page)}
        exec(compile(source, str(page), "exec"), names)
        return capsys.readouterr().out

    return run


def test_all_pages_exist():
    assert [page.stem for page in PAGES] == sorted(GUESSES)
    assert [page.stem[:2] for page in PAGES[:17]] == [f"{i:02}" for i in range(1, 18)]


def test_line_that_writes_html_writes_the_file(run, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    page = PARTS / "03_used_twice.py"
    source, n = re.subn(
        r"^# (tg\.show\.html\()", r"\1", page.read_text(encoding="utf-8"), flags=re.M
    )
    assert n == 1
    run(page, source)
    assert [path.name for path in tmp_path.iterdir()] == ["used_twice.html"]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_page_asks_for_a_guess_and_judges_it(page, run):
    source = page.read_text(encoding="utf-8")
    assert len(BLANK.findall(source)) == 1
    if THOROUGH:
        output = run(page, source)
        assert "run this file again" in output.splitlines()[-1]
        assert "line  record" in output, "it prints no tape"
    right, wrong = GUESSES[page.stem]
    output_for_right = run(page, BLANK.sub(lambda _: f"guess = {right}", source))
    assert output_for_right.splitlines()[-1].endswith("is right.")
    if THOROUGH or PAGES.index(page) % 3 == 0:
        with pytest.raises(AssertionError):
            run(page, BLANK.sub(lambda _: f"guess = {wrong}", source))


def test_page_judges_the_learners_sweep(run):
    page = PARTS / "sweep_by_hand.py"
    source = page.read_text(encoding="utf-8")
    blank = "def your_sweep(tape, output):\n    return ...\n"
    assert blank in source
    solution = re.search(r"^def sweep\(.*?\n(.*?)\n\n", source, re.M | re.S)[1]
    assert len(solution.splitlines()) < 12

    def judge(body):
        return run(page, source.replace(blank, f"def your_sweep(tape, output):\n{body}\n"))

    assert "Your sweep is right." in judge(solution)
    # a number as seed, and all cotangents returned, as the page allows
    ones, returned = "np.ones(output.shape)", solution.splitlines()[-1]
    assert ones in solution
    assert "return {" in returned
    short = solution.replace(ones, "1.0").replace(returned, "    return cotangents")
    assert "Your sweep is right." in judge(short)
    for unfinished in ("    return None", "    return {}", "    return {output: 1.0}"):
        with pytest.raises(AssertionError, match="no gradient of a in what your sweep returned"):
            judge(unfinished)
    with pytest.raises(AssertionError, match="it should be"):
        judge(solution.replace("cotangents.get(x, 0) + ", ""))


def test_table_of_contents_names_every_page():
    contents = (PARTS / "README.md").read_text(encoding="utf-8")
    assert re.findall(r"\]\((\w+\.py)\)", contents) == [page.name for page in PAGES]
    assert contents.count("### Lesson") == 4
