"""Recover a picture from its blurred and noisy image, by gradients through ``np.fft``.

    python examples/deblur.py
    python examples/deblur.py --plot deblurred.png

The blur is a convolution, so it is a product of spectra: ``irfft2(rfft2(x) * kernel)``. Adam
minimizes the squared difference of the blurred picture from the image, and a penalty on edges,
which keeps the noise out. The script prints how far the picture is from the true one, which it
made up.
"""

import argparse
import sys
from typing import Any

import numpy as np
from common.command_line import exit_status
from common.plots import draw_pictures, open_plot

import tapegrad as tg

N = 64
WIDTH = 1.8  # of the blur, in pixels
NOISE = 0.01
SMOOTH = 0.0015  # the weight of the penalty on edges


def made_up() -> Any:
    """A picture of a disk, a frame and a bar."""
    i, j = np.indices((N, N))
    picture = 0.8 * (np.hypot(i - 22, j - 22) < 12)
    picture += (np.maximum(np.abs(i - 40), np.abs(j - 42)) < 14) * 0.5
    picture -= (np.maximum(np.abs(i - 40), np.abs(j - 42)) < 9) * 0.5
    return picture + ((np.abs(i - 52) < 3) & (np.abs(j - 30) < 24))


def kernel() -> Any:
    """The spectrum of the blur, a Gaussian around the first pixel."""
    distances = np.minimum(np.arange(N), N - np.arange(N))
    bell = np.exp(-0.5 * (distances / WIDTH) ** 2)
    return np.fft.rfft2(np.outer(bell, bell) / bell.sum() ** 2)


def blurred(picture: Any, spectrum: Any) -> Any:
    """The picture as the lens sees it."""
    return np.fft.irfft2(np.fft.rfft2(picture) * spectrum, s=picture.shape)


def loss(picture: Any, spectrum: Any, image: Any) -> Any:
    """How badly a picture explains the image, and the length of its edges."""
    difference = blurred(picture, spectrum) - image
    down, right = (np.roll(picture, -1, axis) - picture for axis in (0, 1))
    return np.mean(difference**2) + SMOOTH * np.mean(np.sqrt(down**2 + right**2 + 1e-6))


def error(picture: Any, true: Any) -> float:
    """The root of the mean squared difference."""
    return float(np.sqrt(np.mean((picture - true) ** 2)))


def recover(image: Any, spectrum: Any, steps: int) -> Any:
    """Minimize the loss, beginning with the image itself."""
    optimizer = tg.optim.Adam(tg.optim.warmup_cosine(peak=0.03, warmup=5, total=steps))

    @tg.compile
    def step(picture: Any, state: Any) -> Any:
        value, gradient = tg.value_and_grad(loss)(picture, spectrum, image)
        return value, *optimizer.update(picture, gradient, state)

    picture, state = image, optimizer.init(image)
    for i in range(steps):
        value, picture, state = step(picture, state)
        if i % 50 == 0:
            print(f"step {i:3d}  loss {float(value):.6f}", flush=True)
    return picture


def main(arguments: list[str] | None = None) -> int:
    """Blur, recover, print both errors, and draw."""
    parser = argparse.ArgumentParser(description="Recover a blurred picture.")
    parser.add_argument("--steps", type=int, default=300)
    parser.add_argument("--plot", metavar="FILE", help="draw the pictures into a file")
    options = parser.parse_args(arguments)

    def command() -> None:
        figure = open_plot(options.plot)
        true, spectrum = made_up(), kernel()
        image = blurred(true, spectrum) + NOISE * tg.random.normal(tg.random.key(0), true.shape)
        picture = recover(image, spectrum, options.steps)
        print(f"error of the image {error(image, true):.3f}, recovered {error(picture, true):.3f}")
        draw_pictures(figure, {"true": true, "blurred": image, "recovered": picture}, options.plot)

    return exit_status("deblur.py", command)


if __name__ == "__main__":
    sys.exit(main())
