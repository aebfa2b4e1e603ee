"""The pages of reference are what the package declares and its docstrings say."""

import re
from pathlib import Path

import numpy as np
import pytest
import reference

import tapegrad as tg
from tapegrad.declare import declaration

EXAMPLES = Path(__file__).parents[2] / "examples"


script = reference.support_table
ROWS = {row.call.split("(")[0]: row for row in script.rows()}
PAGES = reference.pages()


@pytest.mark.parametrize("name", PAGES)
def test_a_page_is_what_the_script_writes(name):
    if name == "api.md":  # with the names of tapegrad.scipy
        pytest.importorskip("scipy")
    written = (EXAMPLES / name).read_text(encoding="utf-8")
    # which second names NumPy has is for its version to say
    unnamed = [re.sub(r"`np\.[\w.]+`(, )?", "", text) for text in (written, PAGES[name])]
    assert unnamed[0] == unnamed[1], "run python examples/reference.py"


def test_the_guide_to_scipy_names_what_every_module_has():
    scipy = pytest.importorskip("tapegrad.scipy", exc_type=ImportError)
    listed = set(re.findall(r"<!-- (\w+)", PAGES["scipy.md"]))
    assert listed - {"end"} == set(scipy.__all__)


# --- api.md: every public name ----------------------------------------------------------------

PUBLIC = reference.public_names()
ENTRIES = [entry for _, entries in reference.grouped() for entry in entries]


def test_every_public_name_is_on_the_page():
    code = set(re.findall(r"(?:`|^### )((?:tg|tapegrad)[\w.]*)", PAGES["api.md"], re.M))
    assert set(PUBLIC) <= code
    assert len(PUBLIC) > 500
    assert {id(thing) for thing in PUBLIC.values()} == {id(entry.thing) for entry in ENTRIES}


def test_what_the_documents_use_is_public():
    # the timings hand parameters to a layer, record by record
    paths = {EXAMPLES.parent / "README.md", *EXAMPLES.rglob("*.md"), *EXAMPLES.rglob("*.py")}
    paths -= set((EXAMPLES / "bench").rglob("*"))
    code = "\n".join(path.read_text(encoding="utf-8") for path in paths)
    used = set(re.findall(r"\btg(?:\.[a-z]\w*)*\.[a-zA-Z]\w*", code))
    modules = {name.rpartition(".")[0] for name in PUBLIC}
    # methods and fields too, of what has a name
    known = {
        name for name in used if name in {*PUBLIC, *modules} or name.rpartition(".")[0] in PUBLIC
    }
    assert used == known
    assert len(used) > 120


def test_every_entry_has_a_sentence_and_an_example():
    for entry in ENTRIES:
        if entry.name in reference.VALUES:
            assert reference.VALUES[entry.name].endswith(".")
            continue
        first = reference.summary(entry.thing)
        assert first.endswith("."), entry.name
        assert len(first) < 130, entry.name
        assert reference.example(entry.thing), entry.name


# --- ops.md: what works on Tensors ------------------------------------------------------------


def test_every_function_is_in_the_table():
    listed = [name for row in ROWS.values() for name in row.names]
    assert len(listed) == len(set(listed)) > 250
    for function in script.OF_NUMPY:
        assert any(name.split(".")[-1] == function.__name__ for name in listed), function
    assert {name for name in dir(tg) if isinstance(getattr(tg, name), tg.Op)} <= {
        *ROWS,
        *[name.removeprefix("np.") for name in listed],
    }


@pytest.mark.parametrize(
    ("name", "gradient", "takes_complex"),
    [
        ("where", "`x`, `y`", "yes"),
        ("copysign", "`x1`", "no"),
        ("floor", "none", "no"),
        ("getitem", "`a`", "yes"),
        ("var", "by its parts", "yes"),
        ("einsum", "by its parts", "by its parts"),
        ("fft.rfft", "`a`", "no"),
    ],
)
def test_gradients_and_complex_numbers_are_told(name, gradient, takes_complex):
    assert (ROWS[name].gradient, ROWS[name].complex) == (gradient, takes_complex)


def test_calls_are_written_as_a_user_writes_them():
    assert ROWS["concatenate"].call == "concatenate(arrays, axis=0)"
    assert ROWS["concatenate"].names == ["np.concat", "np.concatenate"]
    assert ROWS["pinv"].call == "pinv(a, rcond=None, hermitian=False, *, rtol=...)"
    assert ROWS["np.gradient"].module == "tapegrad.ops.scan"


ONE_BY_ONE = sorted(
    name
    for name, row in ROWS.items()
    if row.gradient == "`x`" and isinstance(getattr(tg, name, tg.erf).forward, np.ufunc)
)


@pytest.mark.parametrize("name", ONE_BY_ONE)
def test_where_a_slope_jumps_or_is_infinite_there_is_a_convention(name):
    op = getattr(tg, name)
    with np.errstate(all="ignore"):
        for at in (-1.0, 0.0, 1.0):
            left, here, right = (tg.grad(op)(x) for x in (at - 1e-9, at, at + 1e-9))
            smooth = np.isclose(left, here) and np.isclose(here, right)
            assert smooth or declaration(op).kink or not np.isfinite(op(at)), at
