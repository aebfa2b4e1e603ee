"""The lens that photonics.py designs: its gradient is right, and it gathers light."""

import sys

import numpy as np
import pytest

pytest.importorskip("scipy")
photonics = pytest.importorskip("photonics")


def test_gradient_matches_a_difference_and_power_rises(capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(SystemExit, match="pip install matplotlib"):
        photonics.main(["--steps", "3", "--plot", "never-drawn.png"])
    first, *steps, last = capsys.readouterr().out.splitlines()
    slope, difference = (
        float(word.strip(",")) for word in first.split() if word[-1].isdigit() or word[-1] == ","
    )
    assert abs(slope - difference) < 1e-5
    before, after = (float(line.split()[6]) for line in steps)
    assert after > before > 1
    assert last.startswith("3 steps of 4,697 complex unknowns")


def test_walls_absorb_a_wave():
    field = np.abs(photonics.field(np.full((31, 20), -50.0)))
    # a wave reflected at the wall would leave dark places
    ahead = field[30, 20:50]
    assert np.max(ahead) < 2 * np.min(ahead)
    assert field[:, -1].max() < 0.1 * ahead.mean()
