"""The examples with complex numbers recover the picture and the wave."""

import importlib.util
import re
from pathlib import Path

import deblur
import numpy as np
import phase
import pytest

import tapegrad as tg


def test_blurred_picture_is_recovered(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    path = tmp_path / "picture.png"
    assert deblur.main(["--steps", "60", "--plot", str(path)]) == 0
    image, recovered = map(float, re.findall(r"0\.\d+", capsys.readouterr().out)[-2:])
    assert recovered < 0.6 * image
    assert path.exists() == bool(importlib.util.find_spec("matplotlib"))


def test_blur_is_a_convolution() -> None:
    picture = deblur.made_up()
    spectrum = deblur.kernel()
    point = np.zeros_like(picture)
    point[5, 60] = 1
    spread = np.fft.irfft2(spectrum, s=picture.shape)
    np.testing.assert_allclose(
        deblur.blurred(point, spectrum), np.roll(spread, (5, 60), (0, 1)), atol=1e-15
    )
    assert abs(spread.sum() - 1) < 1e-12
    tg.testing.check_grads(lambda x: deblur.loss(x, spectrum, picture), (picture + 0.1,), order=1)


def test_wave_is_recovered_up_to_one_phase(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    assert phase.main(["--steps", "200"]) == 0
    assert float(capsys.readouterr().out.rsplit(" ", 1)[1]) < 1e-3
    assert phase.main(["--plot", str(tmp_path)]) == 2
    assert "Is a directory" in capsys.readouterr().err
