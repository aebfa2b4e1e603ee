"""Trees are raveled and unraveled, updated by path, counted and compared."""

import pickle
import re

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import tapegrad as tg
from tapegrad.testing import arrays
from tapegrad.types import Array


@given(st.lists(arrays(), max_size=4))
def test_unravel_undoes_ravel(parts: list[Array]) -> None:
    params = {"a": parts[:1], "b": (None, tuple(parts[1:]))}
    vector, unravel = tg.tree.ravel(params)
    assert vector.shape == (tg.tree.size(params),)
    writeable = np.array(vector)
    again = unravel(writeable)
    writeable[:] = 7
    assert tg.tree.flatten(again)[1] == tg.tree.flatten(params)[1]
    for x, y in zip(tg.tree.leaves(again), parts, strict=True):
        assert (x.dtype, x.shape, x.tobytes()) == (y.dtype, y.shape, y.tobytes())
    assert pickle.loads(pickle.dumps(unravel)) == unravel


def test_ravel_is_recorded_compiled_and_differentiated() -> None:
    params = {"w": np.arange(4.0).reshape(2, 2), "b": np.float32([1, 2])}
    vector, unravel = tg.tree.ravel(params)

    def loss(params: dict[str, Array]) -> Array:
        return tg.sum(tg.sin(params["w"]) @ params["b"])

    def loss_of_vector(vector: Array) -> Array:
        return loss(unravel(vector))

    want, _ = tg.tree.ravel(tg.grad(loss)(params))
    np.testing.assert_allclose(tg.grad(loss_of_vector)(vector), want)
    np.testing.assert_allclose(tg.compile(tg.grad(loss_of_vector))(vector), want)
    tg.testing.check_grads(lambda p: tg.tree.ravel(p)[0] ** 2, (params,))
    twice = tg.compile(lambda p: unravel(2 * tg.tree.ravel(p)[0]))(params)
    assert tg.tree.all_close(twice, tg.tree.map(lambda x: 2 * x, params))
    assert twice["b"].dtype == np.float32


def test_error_names_a_leaf_or_vector_that_does_not_fit() -> None:
    with pytest.raises(TypeError, match=r"a\.0 is int64"):
        tg.tree.ravel({"a": [np.arange(3)]})
    _, unravel = tg.tree.ravel({"w": np.ones(3)})
    for wrong in (np.ones(4), np.ones((3, 1)), 1.0):
        with pytest.raises(ValueError, match="a vector of 3 numbers"):
            unravel(wrong)


def test_update_changes_only_named_paths() -> None:
    params = [{"weight": 1.0, "bias": 2.0}, (3.0, None)]
    got = tg.tree.update(params, {"0.bias": np.ones(2), "1": "a node"})
    assert got[0]["weight"] == 1.0
    np.testing.assert_array_equal(got[0]["bias"], np.ones(2))
    assert got[1] == "a node"
    assert params == [{"weight": 1.0, "bias": 2.0}, (3.0, None)]
    assert tg.tree.update(params, {}) == params
    assert tg.tree.update(1.0, {"": 2.0}) == 2.0
    layer = tg.nn.Linear(2, 2).init(0)
    assert tg.tree.update(layer, {"bias": 0.0}).bias == 0.0
    for path in ("0.other", "0.bias.0", "2", "1.1.0"):
        with pytest.raises(ValueError, match=re.escape(f"no place at {path!r}")):
            tg.tree.update(params, {path: 1.0})
    with pytest.raises(ValueError, match=r"more than one place at 'a\.b'"):
        tg.tree.update({"a.b": 1, "a": {"b": 2}}, {"a.b": 3})
    for outer in ("0", ""):
        with pytest.raises(ValueError, match=f"'0.bias' is within '{outer}'"):
            tg.tree.update(params, {"0.bias": 1.0, outer: 1.0})


def test_sizes_and_summaries_count_every_leaf() -> None:
    params = {"w": np.ones((10, 200), np.float32), "rest": [np.ones(()), None, 1.0]}
    assert tg.tree.size(params) == 2002
    assert tg.tree.size(None) == 0
    table = [line.split() for line in tg.tree.summary(params).splitlines()]
    assert table[0] == ["path", "shape", "dtype", "numbers", "bytes"]
    assert table[1] == ["w", "(10,", "200)", "float32", "2,000", "8,000"]
    assert table[-1] == ["all", "2,002", "8,016"]
    assert len({len(line) for line in tg.tree.summary(params).splitlines()}) == 1


def test_all_close_compares_trees() -> None:
    a = {"w": np.ones((2, 2)), "b": [1.0, np.nan]}
    assert not tg.tree.all_close(a, a)
    assert tg.tree.all_close(a, a, equal_nan=True)
    b = {"w": np.ones((2, 2)) + 1e-4, "b": [1.0, np.nan]}
    assert not tg.tree.all_close(a, b, equal_nan=True)
    assert tg.tree.all_close(a, b, rtol=1e-3, equal_nan=True)
    # shapes that broadcast, and other structures, are not close
    assert not tg.tree.all_close({"w": np.ones((2, 2))}, {"w": np.ones(2)})
    assert not tg.tree.all_close({"w": 1.0}, [1.0])
