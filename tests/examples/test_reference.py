"""The reference pages match the package's declarations and docstrings."""

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
def test_page_is_the_output_of_the_script(name):
    if name == "api.md":  # it has the names of tapegrad.scipy
        pytest.importorskip("scipy")
    written = (EXAMPLES / name).read_text(encoding="utf-8")
    # the aliases depend on the version of NumPy
    unnamed = [re.sub(r"`np\.[\w.]+`(, )?", "", text) for text in (written, PAGES[name])]
    assert unnamed[0] == unnamed[1], "run python examples/reference.py"


def test_scipy_guide_lists_every_module():
    scipy = pytest.importorskip("tapegrad.scipy", exc_type=ImportError)
    listed = set(re.findall(r"<!-- (\w+)", PAGES["scipy.md"]))
    assert listed - {"end"} == set(scipy.__all__)


# --- api.md: every public name ----------------------------------------------------------------

PUBLIC = reference.public_names()
ENTRIES = [entry for _, entries in reference.grouped() for entry in entries]


def test_api_page_has_every_public_name():
    code = set(re.findall(r"(?:`|^### )((?:tg|tapegrad)[\w.]*)", PAGES["api.md"], re.M))
    assert set(PUBLIC) <= code
    assert len(PUBLIC) > 500
    assert {id(thing) for thing in PUBLIC.values()} == {id(entry.thing) for entry in ENTRIES}


def test_documents_use_only_public_names():
    # the benchmarks pass parameters to a layer, record by record
    paths = {EXAMPLES.parent / "README.md", *EXAMPLES.rglob("*.md"), *EXAMPLES.rglob("*.py")}
    paths -= set((EXAMPLES / "bench").rglob("*"))
    code = "\n".join(path.read_text(encoding="utf-8") for path in paths)
    used = set(re.findall(r"\btg(?:\.[a-z]\w*)*\.[a-zA-Z]\w*", code))
    modules = {name.rpartition(".")[0] for name in PUBLIC}
    # methods and fields of public objects too
    public = {
        name for name in used if name in {*PUBLIC, *modules} or name.rpartition(".")[0] in PUBLIC
    }
    assert used == public
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


# --- ops.md: functions on Tensors -------------------------------------------------------------


def test_table_has_every_function():
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
def test_row_states_gradient_and_complex_support(name, gradient, takes_complex):
    assert (ROWS[name].gradient, ROWS[name].complex) == (gradient, takes_complex)


def test_row_has_the_call_as_users_write_it():
    assert ROWS["concatenate"].call == "concatenate(arrays, axis=0)"
    assert ROWS["concatenate"].names == ["np.concat", "np.concatenate"]
    assert ROWS["pinv"].call == "pinv(a, rcond=None, hermitian=False, *, rtol=...)"
    assert ROWS["np.gradient"].module == "tapegrad.ops.scan"


ELEMENTWISE_OPS = sorted(
    name
    for name, row in ROWS.items()
    if row.gradient == "`x`" and isinstance(getattr(tg, name, tg.erf).forward, np.ufunc)
)


@pytest.mark.parametrize("name", ELEMENTWISE_OPS)
def test_op_with_a_kink_declares_its_convention(name):
    op = getattr(tg, name)
    with np.errstate(all="ignore"):
        for at in (-1.0, 0.0, 1.0):
            left, here, right = (tg.grad(op)(x) for x in (at - 1e-9, at, at + 1e-9))
            smooth = np.isclose(left, here) and np.isclose(here, right)
            assert smooth or declaration(op).kink or not np.isfinite(op(at)), at
