"""Jacobians are the same in both modes, in blocks of any size, and trees like the arguments."""

import functools

import alike
import numpy as np
import pytest
from counting import peak_of
from depth import depth
from hypothesis import given
from hypothesis import strategies as st
from random_programs import programs

import tapegrad as tg
from tapegrad.transforms import jacobians
from tapegrad.types import Array

same = functools.partial(alike.same, rtol=1e-9)

MODES = ("forward", "reverse")
every_mode = pytest.mark.parametrize("mode", MODES)


def fn(p: dict[str, Array | float], x: Array) -> dict[str, Array | float]:
    """Of two leaves and a number, with a leaf that nothing leads to."""
    return {"y": tg.tanh(p["w"] @ x) * p["b"], "n": tg.sum(x > 0), "s": tg.sum(p["w"]), "c": 2.0}


P = {"w": np.array([[1.0, -0.5], [0.25, 2.0], [0.5, 0.75]]), "b": 1.5}
X = np.array([0.5, -1.0])


@depth("batch")
@given(programs(max_steps=8))
def test_modes_agree(program):
    args = program.arguments[0]
    with np.errstate(all="ignore"):
        both = [tg.jacobian(program.fn, program.argnums, mode)(*args) for mode in MODES]
    eps = 2.0**10 * float(np.finfo(program.narrowest).eps)
    for one, other in zip(*map(tg.tree.leaves, both), strict=True):
        assert (one.shape, one.dtype) == (other.shape, other.dtype)
        size = np.max(np.abs(other[np.isfinite(other)]), initial=1.0)
        np.testing.assert_allclose(one, other, rtol=eps, atol=eps * size)


@every_mode
@given(block=st.integers(1, 200))
@depth("batch")
def test_blocks_are_put_together(mode, block):
    with pytest.MonkeyPatch.context() as patch:
        want = tg.jacobian(fn, (0, 1), mode)(P, X)
        patch.setattr(jacobians, "_BLOCK_BYTES", block)
        same(tg.jacobian(fn, (0, 1), mode)(P, X), want)


@every_mode
def test_trees_and_what_does_not_depend(mode):
    found = tg.jacobian(fn, (0, 1), mode)(P, X)
    assert {k: (v[0]["w"].shape, v[0]["b"].shape, v[1].shape) for k, v in found.items()} == {
        "y": ((3, 3, 2), (3,), (3, 2)),
        "n": ((3, 2), (), (2,)),
        "s": ((3, 2), (), (2,)),
        "c": ((3, 2), (), (2,)),
    }
    assert not any(np.any(x) for k in ("n", "c") for x in tg.tree.leaves(found[k]))
    assert np.all(found["s"][0]["w"] == 1)
    assert not found["y"][1].flags.writeable


@every_mode
@pytest.mark.parametrize("shape", [(0,), (2, 0)])
def test_of_nothing_it_is_empty(mode, shape):
    assert tg.jacobian(lambda x: np.ones(3) * np.sum(x), mode=mode)(np.zeros(shape)).shape == (
        3,
        *shape,
    )
    assert tg.jacobian(lambda x: x[:0], mode=mode)(np.ones(2)).shape == (0, 2)


def test_the_cheaper_mode_is_the_default():
    pulled = []
    op = tg.custom_op(vjps=(lambda g, y, x: pulled.append(1) or g,))(lambda x: np.array(x))
    tg.jacobian(lambda x: np.concatenate([op(x)] * 20))(np.ones(2))
    assert len(pulled) <= 20 * 2
    pulled.clear()
    tg.jacobian(lambda x: np.sum(op(x)) * np.ones(2))(np.ones(40))
    assert len(pulled) <= 2


def test_a_large_one_takes_memory_in_blocks(monkeypatch):
    x = np.linspace(0.0, 1.0, 10_000)
    jacobian = tg.jacobian(lambda p: np.reshape(np.exp(p[0] * x) * np.sin(p[1] * x), -1)[:40])
    largest = x.nbytes
    peaks = []
    for block in (1 << 30, 2 * largest):
        monkeypatch.setattr(jacobians, "_BLOCK_BYTES", block)
        # of 40 directions
        second = tg.jacobian(lambda p: jacobian(p[:2]) * p[2:, None], mode="forward")
        peaks.append(peak_of(lambda: second(np.ones(42))))  # noqa: B023
    assert peaks[1] < peaks[0] / 3


# --- value_and_jacobian -----------------------------------------------------------------------


@pytest.mark.parametrize("mode", [None, *MODES])
def test_the_value_comes_with_the_jacobian_from_one_recording(mode):
    calls = []

    def counted(p, x):
        calls.append(None)
        return fn(p, x)

    value, jacobian = tg.value_and_jacobian(counted, argnums=(1, 0), mode=mode)(P, X)
    assert len(calls) == 1
    same(value, fn(P, X))
    same(jacobian, tg.jacobian(fn, argnums=(1, 0), mode=mode)(P, X))
    value, aux = tg.value_and_jacobian(lambda x: (x * x, "aux"), mode=mode, has_aux=True)(X)[0]
    same(value, X * X)
    assert aux == "aux"
    assert repr(tg.value_and_jacobian(fn)) == "<value_and_jacobian of fn>"
