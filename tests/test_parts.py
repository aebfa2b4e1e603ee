"""The pages for learners: each runs by itself, and judges a guess rightly."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PARTS = ROOT / "examples" / "parts"
PAGES = sorted(PARTS.glob("*.py"))
BLANK = re.compile(r"^guess = \.\.\.(  # .*)?$", re.M)

# for each page a right guess and a wrong one
GUESSES = {
    "01_tensors": ("1", "2"),
    "02_backward": ("[1, 2, 3, 4, 5]", "[1, 1, 1, 1, 1]"),
    "03_used_twice": ("3", "2"),
    "04_order": ("1024", "20"),
    "05_negation": ("lambda g, y, x: -g", "lambda g, y, x: -x"),
    "06_more_ops": ("lambda g, x, w: x.T @ g", "lambda g, x, w: g.T @ x"),
    "07_two_matrices": ("5", "4"),
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


def run(source, folder):
    """Run a page from another folder, as a learner would: its status and what it prints."""
    page = folder / "parts" / "page.py"
    page.parent.mkdir(exist_ok=True)
    page.write_text(source, encoding="utf-8")
    for name in ("stateful.py", "train_babi.py"):
        (folder / name).write_bytes((ROOT / "examples" / name).read_bytes())
    done = subprocess.run(
        [sys.executable, "-W", "error", str(page)],
        capture_output=True,
        text=True,
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        timeout=60,
    )
    return done.returncode, done.stdout, done.stderr


def test_all_pages_are_there():
    assert [page.stem for page in PAGES] == sorted(GUESSES)
    assert [page.stem[:2] for page in PAGES[:17]] == [f"{i:02}" for i in range(1, 18)]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_a_page_runs_and_judges_guesses(page, tmp_path):
    source = page.read_text(encoding="utf-8")
    assert len(BLANK.findall(source)) == 1
    right, wrong = GUESSES[page.stem]

    status, said, errors = run(source, tmp_path)
    assert status == 0, errors
    assert "run this file again" in said.splitlines()[-1]
    assert "line  record" in said, "it prints no tape"

    status, said, errors = run(BLANK.sub(lambda _: f"guess = {right}", source), tmp_path)
    assert status == 0, errors
    assert said.splitlines()[-1].endswith("is right.")

    status, said, errors = run(BLANK.sub(lambda _: f"guess = {wrong}", source), tmp_path)
    assert status == 1
    assert "AssertionError" in errors.splitlines()[-1] or "wrong derivative" in errors


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_a_page_is_made_of_cells_and_of_moderate_length(page):
    lines = page.read_text(encoding="utf-8").splitlines()
    assert lines[0] == "# %% [markdown]"
    assert lines[1].startswith("# # ")
    assert len(lines) < 200


def test_a_sweep_of_ones_own_is_judged(tmp_path):
    source = (PARTS / "sweep_by_hand.py").read_text(encoding="utf-8")
    solution = re.search(r"^def sweep\(.*?\n(.*?)\n\n", source, re.M | re.S)[1]
    blank = "def your_sweep(tape, output):\n    return ...\n"
    assert blank in source
    for body, status in ((solution, 0), (solution.replace("cotangents.get(x, 0) + ", ""), 1)):
        filled = source.replace(blank, f"def your_sweep(tape, output):\n{body}\n")
        ended, said, errors = run(filled, tmp_path)
        assert ended == status, errors
        assert ("Your sweep is right." in said) is (status == 0)
    assert "it should be" in errors


def test_the_table_of_contents_names_every_page():
    contents = (PARTS / "README.md").read_text(encoding="utf-8")
    assert re.findall(r"\]\((\w+\.py)\)", contents) == [page.name for page in PAGES]
    assert contents.count("### Lesson") == 4


def test_the_stateful_framework_is_short_and_stands_alone():
    lines = (ROOT / "examples" / "stateful.py").read_text(encoding="utf-8").splitlines()
    assert len(lines) < 200
    for module in (ROOT / "tapegrad").rglob("*.py"):
        assert "stateful" not in re.findall(r"import (\w+)", module.read_text(encoding="utf-8"))
