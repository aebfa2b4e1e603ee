"""The contributors' guide and the changelog are true; tests/test_readme.py runs their code."""

import contextlib
import io
import re
from pathlib import Path
from typing import Any
from unittest import mock

import pytest

import tapegrad as tg
from tapegrad.declare import OPS
from tapegrad.errors import ProofError

ROOT = Path(__file__).parents[2]
GUIDE = (ROOT / "examples" / "contributing.md").read_text(encoding="utf-8")
CHANGES = (ROOT / "examples" / "changelog.md").read_text(encoding="utf-8")


def sections(text: str) -> dict[str, str]:
    """Return the sections of a page by title."""
    titles = re.split(r"^## (.*)$", text, flags=re.M)
    return dict(zip(titles[1::2], titles[2::2], strict=True))


def run_sections(*texts: str) -> None:
    """Run the code blocks of sections in order."""
    namespace: dict[str, Any] = {"__name__": "contributing"}
    for code in re.findall(r"^```python\n(.*?)^```$", "".join(texts), re.M | re.S):
        with contextlib.redirect_stdout(io.StringIO()):
            exec(code, namespace)


# --- checks in the guide's examples ---------------------------------------------------------


FAULTS = {
    "a rule": ("g - np.mean(g", "g - 2 * np.mean(g", AssertionError),
    "a batching rule": ("axis % (a.ndim - 1) + 1", "axis % a.ndim", AssertionError),
    "a pass": ("builder.emit(instruction.op, x)", "builder.emit(tg.cos, x)", ProofError),
    "a layer": ("tg.sigmoid(x @ params.gate)", "tg.tanh(x @ params.gate)", AssertionError),
    "a dtype": ("he_normal(k, shape, dtype)", "he_normal(k, shape)", AssertionError),
    "a step": ("rate * direction, self.beta2", "rate * g, self.beta2", AssertionError),
    "a moment": ("(1 - self.beta2) * g", "self.beta2 * g", AssertionError),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_fault_in_an_example_of_the_guide_is_found(fault: str) -> None:
    right, wrong, error = FAULTS[fault]
    assert GUIDE.count(right) == 1
    before, *after = [x for x in sections(GUIDE.replace(right, wrong)).values() if "```python" in x]
    needed = [x for x in after if wrong in x]
    if needed:
        # only the imports of the first section
        before = before[: before.index("def center_batch")] + "```\n"
    with mock.patch.dict(OPS), pytest.raises(error):
        run_sections(before, *needed)


# --- names in the guide ---------------------------------------------------------------------


def test_files_and_folders_in_the_guide_exist() -> None:
    prose = re.sub(r"^```.*?^```$", "", GUIDE, flags=re.M | re.S)
    paths = re.findall(r"`(\.?\w+/[\w./]*)`", prose)
    assert len(paths) > 20
    for name in paths:
        assert (ROOT / name).exists() or (ROOT / "tapegrad" / name).exists(), name


def test_guide_names_every_subpackage() -> None:
    subpackages = {p.parent.name for p in (ROOT / "tapegrad").glob("*/__init__.py")}
    table = GUIDE[GUIDE.index("## Subpackages") : GUIDE.index("## The order")]
    assert subpackages == set(re.findall(r"`(\w+)/`", table)) - {"tapegrad"}


# --- the changelog --------------------------------------------------------------------------


def test_changelog_is_well_formed() -> None:
    versions = re.findall(r"^## (.*)$", CHANGES, re.M)
    assert versions[0] == "Unreleased" or versions[0].startswith(tg.__version__)
    released = [re.fullmatch(r"(\d+)\.(\d+)\.(\d+) - \d{4}-\d\d-\d\d", x) for x in versions]
    assert all(released[1:])
    numbers = [tuple(map(int, x.groups())) for x in released if x]
    assert numbers == sorted(numbers, reverse=True)
    assert tg.__version__ == ".".join(map(str, numbers[0]))
    kinds = {"Added", "Changed", "Deprecated", "Removed", "Fixed", "Security"}
    assert set(re.findall(r"^### (.*)$", CHANGES, re.M)) <= kinds
