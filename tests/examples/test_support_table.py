"""The table of what works on Tensors is what the ops declare."""

import importlib.util
import re
from pathlib import Path

import numpy as np
import pytest

import tapegrad as tg
from tapegrad.declare import declaration

EXAMPLES = Path(__file__).parents[2] / "examples"


def _load():
    spec = importlib.util.spec_from_file_location("support_table", EXAMPLES / "support_table.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


script = _load()
ROWS = {row.call.split("(")[0]: row for row in script.rows()}


def test_the_file_is_what_the_script_prints():
    written = (EXAMPLES / "ops.md").read_text(encoding="utf-8")
    printed = script.table()
    # which second names NumPy has is for its version to say
    unnamed = [re.sub(r"`np\.[\w.]+`(, )?", "", text) for text in (written, printed)]
    assert unnamed[0] == unnamed[1], "run python examples/support_table.py > examples/ops.md"


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
    ("name", "gradient"),
    [
        ("exp", "`x`"),
        ("where", "`x`, `y`"),
        ("copysign", "`x1`"),
        ("heaviside", "`x2`"),
        ("floor", "none"),
        ("stack", "`arrays`"),
        ("getitem", "`a`"),
        ("var", "by its parts"),
        ("modf", "by its parts"),
        ("nonzero", "none"),
        ("einsum", "by its parts"),
        ("linalg.cross", "by its parts"),
        ("np.shape", "none"),
        ("zeros_like", "none"),
    ],
)
def test_the_gradients_are_told(name, gradient):
    assert ROWS[name].gradient == gradient


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
