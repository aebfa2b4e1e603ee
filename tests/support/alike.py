"""Whether two trees are alike: but for rounding, or bit for bit."""

from typing import Any

import numpy as np

import tapegrad as tg
from tapegrad.types import Array, PyTree


def same(got: Any, wanted: Any, rtol: float = 1e-13) -> None:
    """Check that leaves have the same shapes and dtypes, and equal numbers but for rounding."""
    for x, y in zip(tg.tree.leaves(got), tg.tree.leaves(wanted), strict=True):
        x = x.value if isinstance(x, tg.Tensor) else x
        assert (np.shape(x), np.asarray(x).dtype) == (np.shape(y), np.asarray(y).dtype)
        size = np.max(np.abs(y), initial=0, where=np.isfinite(y))
        np.testing.assert_allclose(x, y, rtol=rtol, atol=rtol * size)


def same_bits(a: PyTree, b: PyTree) -> bool:
    """Whether two trees are of one structure, and their leaves of the same shapes and bits."""

    def bits(x: Array | complex) -> tuple[Any, ...]:
        x = np.asarray(x)
        return x.dtype, x.shape, x.tobytes()

    (xs, one), (ys, other) = map(tg.tree.flatten, (a, b))
    return one == other and [*map(bits, xs)] == [*map(bits, ys)]
