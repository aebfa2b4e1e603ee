"""Fit a system of differential equations to noisy data, by gradients of its solution.

    python examples/fit_ode.py
    python examples/fit_ode.py --plot fit.png

Hares and lynxes: ``dh/dt = h (birth - hunting l)``, ``dl/dt = l (growth h - death)``. The data are
made up: counts at a few times, with errors of some percent. SciPy's BFGS minimizes the squared
errors of the logarithms by the four rates and the two initial numbers, and the Jacobian of the
solution says how well the data determine each. The script prints both, beside the true numbers.
"""

import argparse
import sys
from typing import Any

import numpy as np
from common.command_line import exit_status
from common.plots import draw_curves, open_plot
from scipy.optimize import minimize

import tapegrad as tg
from tapegrad.scipy.integrate import solve_ivp
from tapegrad.scipy.optimize import objective

TRUE = {"birth": 0.8, "hunting": 0.04, "growth": 0.02, "death": 0.6, "hares": 30.0, "lynxes": 10.0}
GUESS = {
    "birth": 0.6,
    "hunting": 0.03,
    "growth": 0.015,
    "death": 0.5,
    "hares": 25.0,
    "lynxes": 12.0,
}
NOISE = 0.05
END = 20.0


def slopes(t: Any, numbers: Any, rates: Any) -> Any:
    """How the numbers of both change."""
    hares, lynxes = numbers
    return np.stack(
        [
            hares * (rates["birth"] - rates["hunting"] * lynxes),
            lynxes * (rates["growth"] * hares - rates["death"]),
        ]
    )


def logarithms(parameters: Any, times: Any) -> Any:
    """The logarithms of both numbers at some times; the parameters are logarithms too."""
    rates = {name: np.exp(x) for name, x in parameters.items()}
    start = np.stack([rates["hares"], rates["lynxes"]])
    # tighter than the default: the optimizer compares solutions that differ little
    found = solve_ivp(slopes, (0.0, END), start, t_eval=times, args=(rates,), rtol=1e-6, atol=1e-6)
    return np.log(found.y)


def made_up(times: Any) -> Any:
    """The logarithms of counts at some times, with errors."""
    true = {name: np.log(x) for name, x in TRUE.items()}
    noise = tg.random.normal(tg.random.key(1), (2, len(times)))
    return logarithms(true, times) + NOISE * noise


def fit(times: Any, data: Any) -> Any:
    """The parameters that explain the data best."""

    def loss(parameters: Any) -> Any:
        return np.sum((logarithms(parameters, times) - data) ** 2)

    start = {name: np.array(np.log(x)) for name, x in GUESS.items()}
    fun, jac, _, x0, unravel = objective(loss, start)
    found = minimize(fun, x0, jac=jac, method="BFGS", options={"gtol": 1e-4})
    print(f"{found.nit} steps, squared error {found.fun:.4f}")
    return unravel(found.x)


def uncertainties(parameters: Any, times: Any) -> dict[str, float]:
    """The standard error of each parameter, to first order."""
    jacobian = tg.jacobian(lambda p: logarithms(p, times).reshape(-1))(parameters)
    matrix = np.stack([jacobian[name] for name in parameters], axis=1)
    covariance = NOISE**2 * np.linalg.inv(matrix.T @ matrix)
    return dict(zip(parameters, np.sqrt(np.diag(covariance)).tolist(), strict=True))


def main(arguments: list[str] | None = None) -> int:
    """Make up data, fit, print the parameters, and draw."""
    parser = argparse.ArgumentParser(description="Fit a predator-prey system to noisy data.")
    parser.add_argument("--points", type=int, default=25, help="how often both are counted")
    parser.add_argument("--plot", metavar="FILE", help="draw data and solution into a file")
    options = parser.parse_args(arguments)
    if options.points < 4:
        parser.error("--points must be 4 or more")

    def command() -> None:
        figure = open_plot(options.plot)
        times = np.linspace(0.0, END, options.points)
        data = made_up(times)
        parameters = fit(times, data)
        errors = uncertainties(parameters, times)
        for name, true in TRUE.items():
            value = float(np.exp(parameters[name]))
            print(f"{name:8} {value:8.4f} +- {value * errors[name]:.4f}  true {true}")
        fine = np.linspace(0.0, END, 400)
        curves = np.exp(logarithms(parameters, fine))
        draw_curves(
            figure,
            {"hares": (fine, curves[0]), "lynxes": (fine, curves[1])},
            {"hares": (times, np.exp(data[0])), "lynxes": (times, np.exp(data[1]))},
            options.plot,
        )

    return exit_status("fit_ode.py", command)


if __name__ == "__main__":
    sys.exit(main())
