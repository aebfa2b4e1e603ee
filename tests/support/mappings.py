"""Vectors, and a function of them whose Jacobian is known."""

from typing import Any, NamedTuple

import numpy as np
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

import tapegrad as tg
from tapegrad.types import Array, PyTree

FLOATS = st.floats(-2, 2, allow_subnormal=False)


VECTORS = hnp.arrays(np.float64, 3, elements=FLOATS)


class Pair(NamedTuple):
    first: Any
    second: Any


def close(got: PyTree, want: PyTree, tolerance: float = 1e-10) -> None:
    """Check that trees are alike to a tolerance."""
    for x, y in zip(tg.tree.leaves(got), tg.tree.leaves(want), strict=True):
        np.testing.assert_allclose(x, y, rtol=tolerance, atol=tolerance)


def mix_elements(x: Array) -> Array:
    """A vector to a vector, with every kind of dependence."""
    return tg.sin(x) * tg.sum(x * x) + x[::-1] * tg.tanh(x[0])


def mixed_jacobian(x: Array) -> Array:
    reverse = np.eye(len(x))[::-1]
    jacobian = np.diag(np.cos(x) * np.sum(x * x)) + np.outer(np.sin(x), 2 * x)
    jacobian = jacobian + reverse * np.tanh(x[0])
    jacobian[:, 0] += x[::-1] * (1 - np.tanh(x[0]) ** 2)
    return jacobian
