"""Attention follows its mask, broadcasts leading axes, and names shapes that differ."""

import re

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from layer_kinds import KINDS

import tapegrad as tg

nn = tg.nn


def test_query_with_empty_mask_has_finite_value_and_gradient() -> None:
    x = np.arange(6.0).reshape(3, 2)
    nowhere = np.zeros((3, 3), bool)
    value, g = tg.value_and_grad(lambda x: tg.sum(nn.attention(x, x, x, nowhere)))(x)
    np.testing.assert_allclose(value, x.sum())
    assert np.isfinite(g).all()


def test_causal_attention_ignores_later_positions() -> None:
    layer = nn.MultiHeadAttention(4, 2, causal=True)
    params, x = KINDS["causal attention"].arguments()
    changed = np.concatenate([x[:, :2], x[:, 2:] + 5], axis=1)
    np.testing.assert_array_equal(layer(params, x)[:, :2], layer(params, changed)[:, :2])
    both = np.array([[True, False, False]] * 3)
    np.testing.assert_allclose(layer(params, x, mask=both)[:, 2], layer(params, x[:, :1])[:, 0])


@given(
    st.sampled_from([(), (1,), (2,), (3, 1)]), st.sampled_from([(), (2,), (3, 2)]), st.booleans()
)
def test_attention_broadcasts_leading_axes(
    leading_of_x: tuple[int, ...], leading_of_memory: tuple[int, ...], masked: bool
) -> None:
    layer = nn.MultiHeadAttention(4, 2)
    params, rng = layer.init(0), np.random.default_rng(0)
    x, memory = rng.normal(size=(*leading_of_x, 3, 4)), rng.normal(size=(*leading_of_memory, 5, 4))
    mask = rng.random((*leading_of_memory, 3, 5)) < 0.7 if masked else None
    leading = np.broadcast_shapes(leading_of_x, leading_of_memory)
    got = layer(params, x, memory, mask)
    whole = None if mask is None else np.broadcast_to(mask, (*leading, 3, 5))
    want = layer(
        params,
        np.broadcast_to(x, (*leading, 3, 4)),
        np.broadcast_to(memory, (*leading, 5, 4)),
        whole,
    )
    np.testing.assert_allclose(got, want, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize(
    ("x", "memory", "mask"),
    [
        ((4,), None, None),
        ((2, 3, 4), (4,), None),
        ((2, 3, 4), (3, 5, 4), None),
        ((2, 3, 4), None, (2, 3)),
        ((2, 3, 4), None, (2, 4, 3, 3)),
        ((3, 4), (5, 4), (5, 3)),
        ((3, 4), None, (2, 3, 3)),
    ],
)
def test_error_names_shapes_that_differ(
    x: tuple[int, ...], memory: tuple[int, ...] | None, mask: tuple[int, ...] | None
) -> None:
    layer = nn.MultiHeadAttention(4, 2)
    given_memory = None if memory is None else np.ones(memory)
    given_mask = None if mask is None else np.ones(mask, bool)
    with pytest.raises(
        ValueError, match=f"MultiHeadAttention.*{re.escape(str(mask or memory or x))}"
    ):
        layer(layer.init(0), np.ones(x), given_memory, given_mask)
