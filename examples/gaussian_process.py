"""Fit the hyperparameters of a Gaussian process, and see how each measurement moves them.

    python examples/gaussian_process.py
    python examples/gaussian_process.py --points 400 --plot process.png

SciPy's L-BFGS-B maximizes the marginal likelihood with tapegrad's gradient. What it finds has a
derivative by the data, so that the script can tell which measurement moves the length scale most.
The picture needs Matplotlib: pip install '.[plot]'
"""

from __future__ import annotations

import argparse
from typing import Any

import numpy as np

import tapegrad as tg
from tapegrad.scipy.linalg import cho_factor, cho_solve
from tapegrad.scipy.optimize import minimize

START = {"size": 0.0, "length": -1.0, "noise": -1.0}


def measure(key: int, points: int) -> tuple[Any, Any]:
    """Noisy values of a curve at random places."""
    places, errors = tg.random.split(tg.random.key(key))
    x = np.sort(tg.random.uniform(places, (points,), low=0.0, high=10.0))
    y = np.sin(x) + 0.5 * np.sin(2.5 * x) + 0.2 * tg.random.normal(errors, (points,))
    return x, y


def covariance(logs: Any, a: Any, b: Any) -> Any:
    """Of the values at two sets of places: the squared exponential kernel."""
    between = (a[:, None] - b) / tg.exp(logs["length"])
    return tg.exp(2 * logs["size"] - 0.5 * between**2)


def solved(logs: Any, x: Any, y: Any) -> tuple[Any, Any]:
    """The Cholesky factor of the data's covariance, and the covariance's inverse times the data."""
    noise = tg.exp(2 * logs["noise"]) * np.eye(len(x))
    factor = cho_factor(covariance(logs, x, x) + noise, lower=True)
    return factor, cho_solve(factor, y)


def surprise(logs: Any, x: Any, y: Any) -> Any:
    """Minus the logarithm of the marginal likelihood (Rasmussen and Williams 2006, eq. 2.30)."""
    (lower, _), weights = solved(logs, x, y)
    half = tg.sum(tg.log(tg.diagonal(lower)))
    return 0.5 * y @ weights + half + 0.5 * len(x) * np.log(2 * np.pi)


def fit(x: Any, y: Any) -> Any:
    """The logarithms of the hyperparameters for which the data are likeliest."""
    return minimize(tg.compile(surprise), START, (x, y), method="L-BFGS-B", tol=1e-9)


def predict(logs: Any, x: Any, y: Any, at: Any) -> tuple[Any, Any]:
    """The mean and the standard deviation of the curve at other places."""
    factor, weights = solved(logs, x, y)
    across = covariance(logs, at, x)
    explained = np.sum(across * cho_solve(factor, across.T).T, axis=1)
    return across @ weights, np.sqrt(np.exp(2 * logs["size"]) - explained)


def plot(path: str, x: Any, y: Any, at: Any, mean: Any, spread: Any, influence: Any) -> None:
    """Draw the data, the larger the more they move the length scale, and the fitted curve."""
    try:
        import matplotlib
    except ImportError:
        raise SystemExit("--plot needs Matplotlib: pip install '.[plot]'") from None
    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    figure, axes = plt.subplots(figsize=(8, 4))
    low, high = mean - 2 * spread, mean + 2 * spread
    axes.fill_between(at, low, high, alpha=0.3, label="two standard deviations")
    axes.plot(at, mean, label="mean")
    axes.scatter(x, y, 60 * np.abs(influence) / np.max(np.abs(influence)), "k", label="data")
    axes.legend()
    figure.savefig(path, dpi=120)
    plt.close(figure)


def main(points: int = 80, key: int = 0, picture: str | None = None) -> Any:
    """Fit, print what was found, and return it with its derivative by the data."""
    x, y = measure(key, points)
    found = fit(x, y)
    print(f"{found.message} after {found.nit} steps: -log likelihood {found.fun:.4f}")
    for name, value in found.x.items():
        print(f"  {name:7} {np.exp(value):.4f}")
    influence = tg.grad(lambda y: tg.exp(fit(x, y).x["length"]))(y)
    i = int(np.argmax(np.abs(influence)))
    print(
        f"the length scale moves by {influence[i]:+.4f} of y[{i}], at x = {x[i]:.3f}, most of all"
    )
    if picture:
        at = np.linspace(0.0, 10.0, 400)
        plot(picture, x, y, at, *predict(found.x, x, y, at), influence)
        print(f"drawn to {picture}")
    return found, influence


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--points", type=int, default=80, help="how many measurements")
    parser.add_argument("--key", type=int, default=0, help="of the random numbers")
    parser.add_argument("--plot", metavar="PATH", help="draw to this file, with Matplotlib")
    options = parser.parse_args()
    main(options.points, options.key, options.plot)
