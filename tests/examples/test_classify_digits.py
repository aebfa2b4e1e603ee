"""The script that a reader copies is short, and its model learns."""

import runpy
import sys
from pathlib import Path

import numpy as np
import pytest

import tapegrad as tg

SCRIPT = Path(__file__).parents[2] / "examples" / "classify_digits.py"


def test_script_is_short_and_imports_no_other_example():
    text = SCRIPT.read_text()
    assert text.count("\n") <= 120
    assert "from common" not in text


def test_missing_scikit_learn_is_one_line_with_install_command(monkeypatch):
    monkeypatch.setitem(sys.modules, "sklearn.datasets", None)
    with pytest.raises(SystemExit) as caught:
        runpy.run_path(str(SCRIPT))
    assert caught.value.code.count("\n") == 0
    assert "pip install 'tapegrad[examples]'" in caught.value.code


@pytest.fixture(scope="module")
def script():
    pytest.importorskip("sklearn")
    import classify_digits

    return classify_digits


def test_key_decides_the_fifth_that_is_held_out(script):
    training, held_out = script.load(tg.random.key(0))
    assert training["x"].shape[1:] == held_out["x"].shape[1:] == (1, 8, 8)
    assert len(held_out["y"]) == (len(held_out["y"]) + len(training["y"])) // 5
    again, other = script.load(tg.random.key(0))[1], script.load(tg.random.key(1))[1]
    assert tg.tree.all_close(held_out, again, rtol=0, atol=0)
    assert not np.array_equal(held_out["y"], other["y"])


def test_model_learns(script, capsys):
    script.main(seed=0, epochs=4)
    *progress, _, last = capsys.readouterr().out.splitlines()
    assert [line.split()[:2] for line in progress] == [["epoch", str(i)] for i in range(1, 5)]
    accuracy = float(last.split()[3])
    assert last.endswith("(359 images)")
    assert accuracy > 0.9
