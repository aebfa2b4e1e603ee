"""Convolutions and pools are the sums and extremes of patches, in any layout."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import tapegrad as tg

nn = tg.nn


@given(
    side=st.tuples(st.integers(1, 5), st.integers(1, 5)),
    size=st.tuples(st.integers(1, 3), st.integers(1, 3)),
    stride=st.tuples(st.integers(1, 3), st.integers(1, 3)),
    padding=st.tuples(st.integers(0, 2), st.integers(0, 2)),
    groups=st.integers(1, 3),
    inner=st.integers(1, 2),
    batch=st.integers(0, 2),
)
def test_convolution_is_the_sum_over_patches(
    side: tuple[int, ...],
    size: tuple[int, ...],
    stride: tuple[int, ...],
    padding: tuple[int, ...],
    groups: int,
    inner: int,
    batch: int,
) -> None:
    counts = [
        (n + 2 * p - k) // s + 1 for n, k, s, p in zip(side, size, stride, padding, strict=True)
    ]
    layer = nn.Conv2d(groups * inner, 2 * groups, size, stride, padding, groups)
    rng = np.random.default_rng(0)
    params = tg.tree.map(lambda p: rng.normal(size=p.shape), layer.init(0))
    x = rng.normal(size=(batch, groups * inner, *side))
    if min(counts) < 1:
        with pytest.raises(ValueError, match="fits"):
            layer(params, x)
        return
    padded = np.pad(x, ((0, 0), (0, 0), *((p, p) for p in padding)))
    want = np.zeros((batch, 2 * groups, *counts))
    for out in range(2 * groups):
        channels = slice(out // 2 * inner, (out // 2 + 1) * inner)
        for place in np.ndindex(*counts):
            part = tuple(
                slice(i * s, i * s + k) for i, s, k in zip(place, stride, size, strict=True)
            )
            products = padded[:, channels, *part] * params.weight[out]
            want[:, out, *place] = products.sum(axis=(1, 2, 3)) + params.bias[out]
    np.testing.assert_allclose(layer(params, x), want, rtol=1e-12, atol=1e-12)
