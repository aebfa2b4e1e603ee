"""Series of polynomials, given by their coefficients from degree 0 up, as in ``np.polynomial``."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from tapegrad.errors.names import list_names
from tapegrad.ops.casting import as_floating
from tapegrad.types import Array

__all__ = ["chebval", "hermeval", "hermval", "lagval", "legval", "polyval"]
list_names(globals(), "polynomial")


def _define_series(
    name: str, x_factor: Callable[[int, Any], Any], previous_factor: Callable[[int], float]
) -> Callable[..., Any]:
    """Define the sum of ``c[n] * p(n)``, evaluated by Clenshaw's recurrence.

    ``p(n) = x_factor(n, x) * p(n - 1) - previous_factor(n) * p(n - 2)``.
    """

    def evaluate_series(x: Array, c: Array, tensor: bool = True) -> Array:
        """The values of a series of polynomials, as NumPy's ``chebval``.

        Parameters
        ----------
        x
            The points.
        c
            The coefficients, from degree 0 up along axis 0; each column is a series.
        tensor
            Whether each series is evaluated at each point, instead of the shapes being broadcast.

        Notes
        -----
        NumPy's functions of series are not ufuncs: for a Tensor they give wrong results, without an
        error, if the coefficients have more than one axis. So does ``polyvalfromroots``.

        Examples
        --------
        >>> import tapegrad as tg
        >>> x, c = np.array([0.0, 0.5]), np.ones(2)
        >>> tg.grad(lambda c: tg.sum(tg.polynomial.chebval(x, c)))(c)[0]
        np.float64(2.0)
        """
        x, c = as_floating(x, complex=True), np.atleast_1d(as_floating(c, complex=True))
        if tensor:
            c = np.reshape(c, (*c.shape, *[1] * x.ndim))
        sums = c[-1], 0
        for n in range(len(c) - 1, 0, -1):
            sums = c[n - 1] + x_factor(n, x) * sums[0] - previous_factor(n + 1) * sums[1], sums[0]
        return sums[0] if len(c) > 1 else sums[0] + 0 * x

    evaluate_series.__name__ = evaluate_series.__qualname__ = name
    evaluate_series.__doc__ = (evaluate_series.__doc__ or "").replace("chebval", name)
    return evaluate_series


chebval = _define_series("chebval", lambda n, x: 2 * x if n > 1 else x, lambda n: 1)
hermeval = _define_series("hermeval", lambda n, x: x, lambda n: n - 1)
hermval = _define_series("hermval", lambda n, x: 2 * x, lambda n: 2 * (n - 1))
lagval = _define_series("lagval", lambda n, x: (2 * n - 1 - x) / n, lambda n: (n - 1) / n)
legval = _define_series("legval", lambda n, x: (2 * n - 1) / n * x, lambda n: (n - 1) / n)
polyval = _define_series("polyval", lambda n, x: x, lambda n: 0)
