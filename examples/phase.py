"""Recover a complex wave from intensities alone: phase retrieval, with Adam on complex numbers.

    python examples/phase.py
    python examples/phase.py --plot wave.png

A detector far behind a plate sees ``abs(fft2(wave)) ** 2``, and the phases are lost. A few images,
each behind another known mask of random phases, determine the wave up to one phase in all (Candes,
Li and Soltanolkotabi, Phase Retrieval from Coded Diffraction Patterns, 2015). The loss is real and
the wave complex: its gradient is ``dL/dx + i dL/dy``, so Adam takes it as it is.
"""

import argparse
import sys
from typing import Any

import numpy as np
from common.command_line import exit_status
from common.plots import draw_pictures, open_plot

import tapegrad as tg

N = 32
MASKS = 8


def made_up() -> Any:
    """A wave whose size is a ring, and whose phase a spiral."""
    i, j = np.indices((N, N)) - (N - 1) / 2
    radius, angle = np.hypot(i, j), np.arctan2(i, j)
    return (0.2 + np.exp(-(((radius - 9) / 4) ** 2))) * np.exp(1j * (2 * angle + radius / 4))


def intensities(wave: Any, masks: Any) -> Any:
    """What the detector sees behind each mask."""
    return np.abs(np.fft.fft2(masks * wave, norm="ortho")) ** 2


def loss(wave: Any, masks: Any, sizes: Any) -> Any:
    """The squared differences of the sizes in the far field."""
    return np.mean((np.abs(np.fft.fft2(masks * wave, norm="ortho")) - sizes) ** 2)


def aligned(wave: Any, true: Any) -> Any:
    """The wave turned by the one phase that no intensity tells."""
    return wave * np.exp(1j * np.angle(np.vdot(wave, true)))


def recover(seen: Any, masks: Any, key: Any, steps: int) -> Any:
    """Minimize the loss, beginning with a random wave."""
    optimizer = tg.optim.Adam(tg.optim.warmup_cosine(peak=0.3, warmup=5, total=steps))
    sizes = np.sqrt(seen)

    @tg.compile
    def step(wave: Any, state: Any) -> Any:
        value, gradient = tg.value_and_grad(loss)(wave, masks, sizes)
        return value, *optimizer.update(wave, gradient, state)

    wave = tg.random.normal(key, masks.shape[1:], dtype=complex)
    state = optimizer.init(wave)
    for i in range(steps):
        value, wave, state = step(wave, state)
        if i % 50 == 0:
            print(f"step {i:3d}  loss {float(value):.2e}", flush=True)
    return wave


def main(arguments: list[str] | None = None) -> int:
    """Measure, recover, print the error, and draw."""
    parser = argparse.ArgumentParser(description="Recover a wave from intensities.")
    parser.add_argument("--steps", type=int, default=400)
    parser.add_argument("--plot", metavar="FILE", help="draw sizes and phases into a file")
    options = parser.parse_args(arguments)

    def command() -> None:
        figure = open_plot(options.plot)
        mask_key, wave_key = tg.random.split(tg.random.key(0))
        turns = tg.random.uniform(mask_key, (MASKS, N, N), high=2 * np.pi)
        true, masks = made_up(), np.exp(1j * turns)
        wave = recover(intensities(true, masks), masks, wave_key, options.steps)
        wave = aligned(wave, true)
        error = np.linalg.norm(wave - true) / np.linalg.norm(true)
        print(f"relative error, up to one phase: {error:.1e}")
        pictures = {"true size": np.abs(true), "size": np.abs(wave)}
        pictures |= {"true phase": np.angle(true), "phase": np.angle(wave)}
        draw_pictures(figure, pictures, options.plot)

    return exit_status("phase.py", command)


if __name__ == "__main__":
    sys.exit(main())
