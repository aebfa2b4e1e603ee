"""The script that fits differential equations finds the rates of the data."""

import importlib.util
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("scipy")
fit_ode: Any = pytest.importorskip("fit_ode")


def test_rates_are_found_within_their_errors(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    path = tmp_path / "fit.png"
    assert fit_ode.main(["--points", "12", "--plot", str(path)]) == 0
    assert path.exists() == bool(importlib.util.find_spec("matplotlib"))
    rows = [line.split() for line in capsys.readouterr().out.splitlines() if "+-" in line]
    assert [row[0] for row in rows] == list(fit_ode.TRUE)
    for _, value, _, error, _, true in rows:
        assert abs(float(value) - float(true)) < 4 * float(error) < float(true)


def test_bad_option_and_bad_path_are_errors(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    assert fit_ode.main(["--plot", str(tmp_path)]) == 2
    assert "Is a directory" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        fit_ode.main(["--points", "3"])
    assert "--points must be 4 or more" in capsys.readouterr().err


def test_logarithms_are_of_the_solution() -> None:
    times = np.array([0.0, 1.0])
    parameters = {name: np.log(x) for name, x in fit_ode.TRUE.items()}
    found = fit_ode.logarithms(parameters, times)
    np.testing.assert_allclose(found[:, 0], np.log([30.0, 10.0]))
    assert found[0, 1] > found[0, 0]
