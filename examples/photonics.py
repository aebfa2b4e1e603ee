"""Design a lens: an inverse problem with complex fields, one sparse system for each step.

    python examples/photonics.py
    python examples/photonics.py --plot lens.png

A wave of one frequency comes from the left, and light of wavelength 1 shall meet in a point on the
right. What may be chosen is the material at each place of a square between them. The field solves
the equation of Helmholtz on a grid, whose walls absorb: some 4,700 complex unknowns. The gradient
of the power in the point, by the material everywhere, costs one further solution with factors that
are there already. It is checked with a difference before the first step. SciPy comes with:
pip install '.[scipy]'; the plot needs matplotlib.
"""

import argparse
import time
from typing import Any

import numpy as np

import tapegrad as tg
from tapegrad.scipy.sparse import coo_array
from tapegrad.scipy.sparse.linalg import spsolve

ROWS, COLUMNS = 61, 77
STEP = 1 / 10
WAVE_NUMBER = 2 * np.pi
WALL = 10
SOURCE = 12
LENS = slice(15, 46), slice(20, 40)
FOCUS = 30, 60
GLASS = 2.25


def absorption() -> Any:
    """How much each place absorbs: nothing but close to a wall."""
    depth = [np.minimum(np.arange(n), np.arange(n)[::-1]) for n in (ROWS, COLUMNS)]
    rows, columns = (np.maximum(0, 1 - d / WALL) ** 2 for d in depth)
    return 3.0 * np.maximum(rows[:, None], columns)


def neighbours() -> tuple[Any, Any]:
    """The pairs of places that are next to each other, by their numbers, in either order."""
    number = np.arange(ROWS * COLUMNS).reshape(ROWS, COLUMNS)
    one = np.concatenate([number[:-1].ravel(), number[:, :-1].ravel()])
    other = np.concatenate([number[1:].ravel(), number[:, 1:].ravel()])
    return np.concatenate([one, other]), np.concatenate([other, one])


ABSORPTION = absorption()
FROM, TO = neighbours()
PLACES = np.arange(ROWS * COLUMNS)
LAPLACIAN = coo_array(
    (
        np.concatenate([np.full(len(PLACES), -4.0), np.ones(len(FROM))]) / STEP**2,
        (np.concatenate([PLACES, FROM]), np.concatenate([PLACES, TO])),
    )
)


def permittivity(design: Any) -> Any:
    """That of each place: between air and glass in the lens, by a number that may be any."""
    lens = 1 + (GLASS - 1) * tg.sigmoid(design)
    return tg.at(np.ones((ROWS, COLUMNS)))[LENS].set(lens)


def field(design: Any) -> Any:
    """The complex field of a sheet of light behind the left wall."""
    weights = WAVE_NUMBER**2 * (permittivity(design) + 1j * ABSORPTION)
    system = LAPLACIAN + coo_array((weights.reshape(-1), (PLACES, PLACES)))
    source = np.zeros((ROWS, COLUMNS), complex)
    source[:, SOURCE] = 1j / STEP
    return spsolve(system, source.reshape(-1)).reshape(ROWS, COLUMNS)


def loss(design: Any) -> Any:
    """The negative logarithm of the power in the focus."""
    return -np.log(np.abs(field(design)[FOCUS]) ** 2)


optimizer = tg.optim.Adam(0.2)


@tg.compile
def step(design: Any, state: Any) -> tuple[Any, Any, Any]:
    """One step of the optimizer; the factors are computed once, for the field and its adjoint."""
    value, gradient = tg.value_and_grad(loss)(design)
    return value, *optimizer.update(design, gradient, state)


def checked(design: Any) -> tuple[float, float]:
    """The slope of the loss along a direction, by the gradient and by a difference."""
    direction = tg.random.normal(tg.random.key(0), design.shape)
    slope = float(np.sum(tg.grad(loss)(design) * direction))
    ahead, behind = (loss(design + h * direction) for h in (1e-5, -1e-5))
    return slope, float((ahead - behind) / 2e-5)


def plot(design: Any, path: str) -> None:
    """Draw the lens and the power of the field into a file."""
    try:
        from matplotlib.figure import Figure
    except ImportError:
        raise SystemExit(f"{path} is not drawn: python -m pip install matplotlib") from None
    figure = Figure(figsize=(10, 4), layout="constrained")
    left, right = figure.subplots(1, 2)
    left.imshow(permittivity(design), cmap="bone_r")
    left.set_title("permittivity")
    right.imshow(np.abs(field(design)) ** 2, cmap="inferno")
    right.plot(FOCUS[1], FOCUS[0], "o", markerfacecolor="none", markeredgecolor="white")
    right.set_title("power")
    figure.savefig(path)


def main(arguments: list[str] | None = None) -> None:
    """Design the lens, and print how far the power rises."""
    parser = argparse.ArgumentParser(description="Design a lens for one wavelength.")
    parser.add_argument("--steps", type=int, default=40, help="of the optimizer (%(default)s)")
    parser.add_argument("--plot", metavar="FILE", help="draw into FILE (needs matplotlib)")
    options = parser.parse_args(arguments)
    design = np.zeros([part.stop - part.start for part in LENS])
    slope, difference = checked(design + 0.1)
    print(f"a slope by the gradient {slope:.6f}, by a difference {difference:.6f}")
    # with as good as no glass
    empty, state, start = loss(design - 50.0), optimizer.init(design), time.perf_counter()
    for number in range(options.steps + 1):
        value, *after = step(design, state)
        if number % 10 == 0 or number == options.steps:
            power = float(np.exp(empty - value))
            print(f"step {number:3d}  power in the focus {power:5.2f} times that without a lens")
        if number < options.steps:
            design, state = after
    taken = time.perf_counter() - start
    print(f"{options.steps} steps of {ROWS * COLUMNS:,} complex unknowns in {taken:.1f} s")
    if options.plot:
        plot(design, options.plot)


if __name__ == "__main__":
    main()
