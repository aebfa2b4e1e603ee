"""The norm of a tree, and clipping by it."""

import math

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from trees import bytes_of, random_tree

import tapegrad as tg
from tapegrad.types import DTypeLike


@given(st.floats(0.01, 100), st.sampled_from([np.float32, np.float64]))
def test_clipping_bounds_the_norm_of_a_tree(max_norm: float, dtype: DTypeLike) -> None:
    grads = random_tree(3, dtype)
    want = math.sqrt(sum(float(np.sum(np.square(x, dtype=float))) for x in tg.tree.leaves(grads)))
    clipped, norm = tg.optim.clip_by_global_norm(grads, max_norm)
    np.testing.assert_allclose(norm, want, rtol=1e-6)
    assert norm == tg.optim.global_norm(grads)
    np.testing.assert_allclose(tg.optim.global_norm(clipped), min(want, max_norm), rtol=1e-6)
    if want < max_norm * 0.999:
        assert bytes_of(clipped) == bytes_of(grads)
    for a, b in zip(tg.tree.leaves(clipped), tg.tree.leaves(grads), strict=True):
        assert (a.dtype, a.shape) == (b.dtype, b.shape)
        np.testing.assert_allclose(a * max(want / max_norm, 1), b, rtol=1e-5)
        assert not a.flags.writeable


def test_norm_of_zeros_of_no_leaves_and_of_nan() -> None:
    assert tg.optim.global_norm({}) == 0
    zeros = {"w": np.zeros(3)}
    clipped, norm = tg.optim.clip_by_global_norm(zeros, 1.0)
    assert norm == 0
    assert bytes_of(clipped) == bytes_of(zeros)
    np.testing.assert_array_equal(tg.grad(tg.optim.global_norm)(zeros)["w"], np.zeros(3))
    clipped, norm = tg.optim.clip_by_global_norm({"w": np.array([np.nan, 1.0])}, 1.0)
    assert np.isnan(norm)
    assert np.all(np.isnan(clipped["w"]))
    # squares of float16 overflow from 256 on
    assert tg.optim.global_norm([np.full(4, 300, np.float16)]) == 600


def test_norm_has_the_dtype_of_its_leaves() -> None:
    widths = {"e": "f", "f": "f", "d": "d", "F": "f", "D": "d", "?": "d", "b": "d", "q": "d"}
    for char, wanted in widths.items():
        x = np.array([1, 1, 0, 1, 1], char)
        norm = tg.optim.global_norm([x])
        assert (norm.dtype.char, norm) == (wanted, 2), char
        single = np.ones(2, np.float32)
        assert tg.optim.global_norm([x, single]).dtype.char == wanted.lower(), char
    third = np.array([1 / 3])
    assert tg.optim.global_norm([third]) == third[0]
    assert tg.optim.global_norm([np.array([300], np.int16)] * 4) == 600


def test_clipping_is_compiled_and_differentiated() -> None:
    grads = random_tree(2)
    compiled = tg.compile(tg.optim.clip_by_global_norm)
    for max_norm in (0.5, 100.0):
        got, want = compiled(grads, max_norm), tg.optim.clip_by_global_norm(grads, max_norm)
        for a, b in zip(tg.tree.leaves(got), tg.tree.leaves(want), strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-12, atol=1e-12)
        tg.testing.check_grads(
            lambda g, max_norm=max_norm: tg.optim.clip_by_global_norm(g, max_norm),
            (grads,),
            order=1,
        )
    assert len(compiled.signatures) == 1


def test_complex_gradients_are_clipped_by_absolute_values():
    z, x = np.array([3 - 4j], np.complex64), np.array([12.0], np.float32)
    clipped, norm = tg.optim.clip_by_global_norm({"z": z, "x": x}, 6.5)
    assert norm == 13
    np.testing.assert_array_equal(clipped["z"], z / 2)
    assert (clipped["z"].dtype, clipped["x"].dtype) == (np.complex64, np.float32)
    small = np.array([0.1 + 1j, 1.0 - 0.3j])
    assert tg.optim.clip_by_global_norm(small, 10.0)[0].tobytes() == small.tobytes()
    tg.testing.check_grads(lambda z: tg.optim.clip_by_global_norm(z, 1.0)[0], (small + 0.5j,))
