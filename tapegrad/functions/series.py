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


def _series(
    name: str, first: Callable[[int, Any], Any], second: Callable[[int], float]
) -> Callable[..., Any]:
    """The sum of ``c[n] * p(n)``, where ``p(n) = first(n, x) * p(n - 1) - second(n) * p(n - 2)``.

    Its terms are added by Clenshaw's recurrence.
    """

    def value(x: Array, c: Array, tensor: bool = True) -> Array:
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
        NumPy's own functions of series are no ufuncs: one of a Tensor is wrong, without an error,
        where the coefficients have more than one axis, and so is ``polyvalfromroots``.

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
            sums = c[n - 1] + first(n, x) * sums[0] - second(n + 1) * sums[1], sums[0]
        return sums[0] if len(c) > 1 else sums[0] + 0 * x

    value.__name__ = value.__qualname__ = name
    value.__doc__ = (value.__doc__ or "").replace("chebval", name)
    return value


chebval = _series("chebval", lambda n, x: 2 * x if n > 1 else x, lambda n: 1)
hermeval = _series("hermeval", lambda n, x: x, lambda n: n - 1)
hermval = _series("hermval", lambda n, x: 2 * x, lambda n: 2 * (n - 1))
lagval = _series("lagval", lambda n, x: (2 * n - 1 - x) / n, lambda n: (n - 1) / n)
legval = _series("legval", lambda n, x: (2 * n - 1) / n * x, lambda n: (n - 1) / n)
polyval = _series("polyval", lambda n, x: x, lambda n: 0)
