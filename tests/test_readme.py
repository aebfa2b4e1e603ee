"""The code of the README and the guides runs, and their tables are true."""

import contextlib
import importlib.util
import io
import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import numpy as np
import pytest
from reference import anchors

import tapegrad as tg
from tapegrad.arraylike.table import full_table
from tapegrad.declare import declaration

ROOT = Path(__file__).parents[1]
GUIDES = sorted((ROOT / "examples").glob("*.md"))


def read_page(name: str) -> str:
    return (ROOT / name).read_text(encoding="utf-8")


TEXT = read_page("README.md")


def blocks(text: str, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", text, re.M | re.S)


def table_rows(name: str) -> list[list[str]]:
    """Return the cells of a guide's table, without its head."""
    lines = [line for line in read_page(name).splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[2:]]


# --- code -----------------------------------------------------------------------------------


# a Python block, and the text block that immediately follows, if any
EXAMPLE = re.compile(r"^```python\n(.*?)^```$(?:\n\n^```text\n(.*?)^```$)?", re.M | re.S)
OPTIONAL = re.compile(r"^(?:from|import) (?:tapegrad\.)?(scipy|ray|autograd|jax|torch)\b", re.M)
WITH_CODE = [ROOT / "README.md", *(g for g in GUIDES if "```python" in read_page(g))]
RECIPES = ["train", "compute", "debug", "performance"]


@pytest.fixture
def restored_jax_settings():
    """Restore the settings of JAX that a page changes."""
    yield
    if jax := sys.modules.get("jax"):
        jax.config.update("jax_enable_x64", False)


@pytest.mark.usefixtures("restored_jax_settings")
@pytest.mark.parametrize("path", WITH_CODE, ids=lambda path: path.name)
def test_code_of_page_runs_in_order_and_prints_its_output(path, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    text = read_page(path)
    examples = [(m[1], m[2] or "", text.count("\n", 0, m.start())) for m in EXAMPLE.finditer(text)]
    assert len(examples) == len(blocks(text, "python")) > 0
    assert any(output for _, output, _ in examples)
    if path.name == "scipy.md":
        pytest.importorskip("scipy")
    namespace: dict[str, object] = {}
    for code, output, line in examples:
        if any(importlib.util.find_spec(name) is None for name in OPTIONAL.findall(code)):
            continue
        printed = io.StringIO()
        with contextlib.redirect_stdout(printed):
            # pad with empty lines, so that a traceback names the page's line
            exec(compile("\n" * (line + 1) + code, str(path), "exec"), namespace)
        assert printed.getvalue().rstrip() == output.rstrip(), f"{path.name}, line {line + 1}"


def recipes():
    """Return the code of each recipe, after the setup of its page."""
    found = []
    for name in RECIPES:
        setup, *sections = re.split(r"^## ", read_page(f"examples/{name}.md"), flags=re.M)
        (setup_code,) = blocks(setup, "python")
        for section in sections:
            if codes := blocks(section, "python"):
                title = section.splitlines()[0]
                found.append(pytest.param([setup_code, *codes], id=f"{name}: {title}"))
    return found


@pytest.mark.thorough
@pytest.mark.parametrize("codes", recipes())
def test_recipe_runs_alone_after_the_setup_of_its_page(codes, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    names = OPTIONAL.findall("\n".join(codes))
    if any(importlib.util.find_spec(name) is None for name in names):
        pytest.skip(f"needs {', '.join(names)}")
    namespace: dict[str, object] = {}
    with contextlib.redirect_stdout(io.StringIO()):
        for code in codes:
            exec(code, namespace)


def test_pool_of_the_guide_runs_as_a_script(tmp_path):
    script, *_ = blocks(read_page("examples/processes.md"), "python")
    path = tmp_path / "script.py"
    path.write_text(script, encoding="utf-8")
    (expected,) = re.findall(r"print\(.*\)  # (.*)$", script, re.M)
    done = subprocess.run(
        [sys.executable, path], cwd=ROOT, env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True, text=True, timeout=300,
    )  # fmt: skip
    assert (done.stdout, done.stderr) == (f"{expected}\n", "")


def test_readme_is_short():
    assert TEXT.count("\n") <= 250


def test_setup_commands_name_existing_extras_and_scripts():
    train, test = blocks(TEXT, "sh")
    assert (ROOT / train.split()[-1]).is_file()
    extra = re.search(r"'\.\[(\w+)\]'", test)
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert extra
    assert extra[1] in project["optional-dependencies"]


def test_lowest_versions_match_pyproject():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    for requirement in project["dependencies"]:
        name, lowest = requirement.split(">=")
        assert re.search(rf"\b{name}\s+{re.escape(lowest)}\s+or\s+newer", TEXT, re.I)
    named = [c.split(" :: ")[-1] for c in project["classifiers"] if "Python :: 3." in c]
    assert f"Python {named[0]} to {named[-1]}" in TEXT
    assert project["requires-python"] == f">={named[0]}"


# --- tables ---------------------------------------------------------------------------------


KINKS = table_rows("examples/kinks.md")


def unquote_code(cell: str) -> str:
    assert cell.startswith("`")
    assert cell.endswith("`")
    return cell.strip("`")


@pytest.mark.parametrize("row", KINKS, ids=[row[0] for row in KINKS])
def test_conventions_at_kinks_are_true(row):
    _, _, expression, result = row
    with np.errstate(all="ignore"):
        computed = eval(unquote_code(expression), {"tg": tg, "np": np})
    expected = eval(unquote_code(result), {"np": np})
    if isinstance(expected, tuple):
        assert isinstance(computed, tuple)
    else:
        computed, expected = (computed,), (expected,)
    for got, want in zip(computed, expected, strict=True):
        # to the last bit: these are conventions, not approximations
        dtype = complex if isinstance(want, complex) else float
        np.testing.assert_array_equal(got, np.asarray(want, dtype), strict=True)


def test_docstring_of_op_in_table_names_its_convention():
    named = 0
    for where, *_ in KINKS:
        if "far out" in where:  # it has a derivative there
            continue
        for name in re.findall(r"`(\w+)`", where):
            op = getattr(tg, name, None)
            rules = getattr(op, "vjps", True)
            if declaration(op) and (rules is True or any(rules)):
                assert declaration(op).kink, name
                named += 1
    assert named > 25


def test_readme_counts_the_functions_of_numpy():
    (count,) = re.findall(r"some\s(\d+)\sfunctions\sof\sNumPy", TEXT)
    assert abs(len([f for f in full_table() if type(f) not in (tuple, str)]) - int(count)) <= 10


PAGES = [ROOT / "README.md", *sorted((ROOT / "examples").rglob("*.md"))]
ANCHORS = {
    path: {anchor for _, anchor in anchors(path.read_text(encoding="utf-8"))} for path in PAGES
}


@pytest.mark.parametrize("path", PAGES, ids=lambda path: str(path.relative_to(ROOT)))
def test_links_lead_to_files_and_headings(path):
    prose = re.sub(
        r"^```.*?^```$|`[^`\n]*`", "", path.read_text(encoding="utf-8"), flags=re.M | re.S
    )
    for link in re.findall(r"\]\(([^)]+)\)", prose):
        if link.startswith("https://"):
            continue
        name, _, anchor = link.partition("#")
        page = (path.parent / name).resolve() if name else path
        assert page.exists(), link
        assert not anchor or anchor in ANCHORS[page], link


def test_anchor_is_written_as_github_writes_it():
    text = "# A `b.c`, d!\n\n```python\n# no heading\n```\n\n## Why?\n## Why\n"
    assert list(anchors(text)) == [("A `b.c`, d!", "a-bc-d"), ("Why?", "why"), ("Why", "why-1")]


def test_every_guide_and_script_is_in_the_contents():
    contents = read_page("examples/README.md")
    for path in (ROOT / "examples").glob("*.*"):
        if path.suffix in (".md", ".py") and path.name != "README.md":
            assert path.name in contents, path.name
