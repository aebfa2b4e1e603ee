"""Covariance and correlation."""

from __future__ import annotations

import builtins
from typing import Any

import numpy as np

from tapegrad.declare import function
from tapegrad.declare.domain import POSITIVE, Call, Choices
from tapegrad.ops.record import array, double, real, seen, stopped

__all__ = ["corrcoef", "cov"]


def _observations(choose: Choices) -> tuple[list[Any], dict[str, Any]]:
    """One or two arrays of variables with distinct elements, and the axis of the variables."""
    n, rowvar = choose.integer(2, 4), choose.among([False, True])

    def some(*others: tuple[int, int]) -> Any:
        k = choose.integer(1, 2)
        shapes = [(n,), (k, n) if rowvar else (n, k), *others]
        return choose.array(choose.among(shapes), distinct=True)

    # one row is always one variable
    return [some(), choose.among([None, some((1, n))])], {"rowvar": rowvar}


def _covariances(choose: Choices) -> Call:
    args, given = _observations(choose)
    m = args[0]
    n = m.shape[-1] if given["rowvar"] or m.ndim == 1 else m.shape[0]
    weights: dict[str, Any] = choose.among(
        [
            {},
            {},
            {"fweights": choose.integers((n,), 1, 3)},
            {"aweights": choose.array((n,), POSITIVE, "d"), "fweights": np.full(n, 2)},
            {"aweights": choose.array((n,), POSITIVE, "d")},
        ]
    )
    given |= weights
    given |= choose.among([{}, {"bias": True}, {"ddof": 0}])
    if not weights:
        given["dtype"] = choose.among([None, np.float32])
    return Call(tuple(args), given)


@function(numpy=np.cov, domain=_covariances)
def cov(
    m: Any,
    y: Any = None,
    rowvar: bool = True,
    bias: bool = False,
    ddof: Any = None,
    fweights: Any = None,
    aweights: Any = None,
    *,
    dtype: Any = None,
) -> Any:
    """The covariance matrix of variables.

    Parameters
    ----------
    m
        A variable's observations, or several variables, each in a row.
    y
        More variables, with as many observations.
    rowvar
        Whether each row is a variable, rather than each column; a single row of `y` is one
        variable in any case.
    bias
        Whether to divide by the number of observations, rather than by one less.
    ddof
        Subtracted from the number of observations instead.
    fweights
        How often each observation counts: integers.
    aweights
        The weight of each observation. A gradient passes to them.
    dtype
        The dtype to compute in; float64 or wider by default.

    Returns
    -------
    A square array of float64, or a number for one variable.

    Raises
    ------
    ValueError
        If there are more than two axes, or the numbers of observations differ.

    Examples
    --------
    >>> import tapegrad as tg
    >>> tg.cov(np.array([[1.0, 2.0, 3.0], [3.0, 2.0, 1.0]]))
    array([[ 1., -1.],
           [-1.,  1.]])
    >>> tg.grad(lambda x: tg.cov(x, np.array([0.0, 1.0, 2.0]))[0, 1])(np.zeros(3))
    array([-0.5,  0. ,  0.5])
    """
    variables = [
        double(x) if dtype is None else array(x).astype(dtype) for x in (m, y) if x is not None
    ]
    if builtins.max(x.ndim for x in variables) > 2:
        raise ValueError("cov takes arrays of up to two axes")
    rows = [v if rowvar or v.ndim < 2 else v.T for v in variables[:1]]
    # as NumPy does, which takes one row for one variable here
    rows += [v if rowvar or v.ndim < 2 or v.shape[0] == 1 else v.T for v in variables[1:]]
    observed = [np.atleast_2d(v) for v in rows]
    if observed[0].shape[1] != observed[-1].shape[1]:
        raise ValueError(
            f"cov: m and y have {observed[0].shape[1]} and {observed[-1].shape[1]} observations "
            f"with rowvar={rowvar!r}; they must be as many"
        )
    x = np.concatenate(observed)
    # as in NumPy, where None is not 0
    ddof = int(bias == 0) if ddof is None else ddof
    if ddof != int(ddof):
        raise ValueError(f"cov: ddof is an integer, not {ddof!r}")
    weights, fact = _weights(x.shape[1], ddof, fweights, aweights)
    apart = x - np.expand_dims(np.average(x, axis=1, weights=weights), 1)
    if weights is None:
        return np.squeeze(apart @ apart.T / builtins.max(fact, 0))
    return np.squeeze(apart @ (apart * weights).T / np.maximum(fact, 0))


def _weights(n: int, ddof: Any, fweights: Any, aweights: Any) -> tuple[Any, Any]:
    """The weights of n observations (None if they are equal), and the divisor."""
    given = []
    for name, weights in (("fweights", fweights), ("aweights", aweights)):
        if weights is None:
            continue
        weights = real(weights, name)
        if weights.ndim != 1 or weights.shape[0] != n:
            raise ValueError(f"{name}, of shape {weights.shape}, are not for {n} observations")
        known = seen(weights)
        if known is not None:
            if name == "fweights" and (known != np.round(known)).any():
                raise TypeError("fweights are integers")
            if (known < 0).any():
                raise ValueError(f"{name} are not negative")
        given.append(weights.astype(float))
    if not given:
        return None, n - ddof
    product = given[0] if len(given) == 1 else given[0] * given[1]
    total = np.sum(product)
    if ddof == 0 or aweights is None:
        return product, total - ddof
    return product, total - ddof * np.sum(product * given[-1]) / total


def _correlations(choose: Choices) -> Call:
    args, given = _observations(choose)
    return Call(tuple(args), given)


@function(numpy=np.corrcoef, domain=_correlations)
def corrcoef(x: Any, y: Any = None, rowvar: bool = True) -> Any:
    """The correlation matrix of variables, from -1 to 1; arguments as for `cov`.

    Examples
    --------
    >>> import tapegrad as tg
    >>> tg.corrcoef(np.array([[1.0, 2.0, 3.0], [3.0, 2.0, 1.0]]))
    array([[ 1., -1.],
           [-1.,  1.]])
    """
    c = array(cov(x, y, rowvar))
    if c.ndim == 0:
        return c / c
    deviation = np.sqrt(np.diagonal(c))
    c = c / deviation[:, None] / deviation
    # rounding is clipped, but derivatives are not
    return c + stopped(np.clip(c, -1, 1) - c)
