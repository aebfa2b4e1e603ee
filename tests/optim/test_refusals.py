"""What optimizers and schedules refuse, and what they say."""

from typing import Any

import numpy as np
import pytest
from messages import said

import tapegrad as tg

PARAMS = {"a": [np.ones(2), np.ones(3)], "b": np.ones(())}


@pytest.mark.parametrize("momentum", [0.0, 0.5])
@pytest.mark.parametrize(
    ("grads", "parts"),
    [
        ({"a": [np.ones(2)], "b": 1.0}, ["grads", "at a:"]),
        ({"a": PARAMS["a"]}, ["grads"]),
        ({"a": [np.ones(2), (np.ones(3),)], "b": 1.0}, ["grads", "a.1"]),
        ({"b": 1.0, "a": [np.ones(2), np.ones(4)]}, ["grads.a.1", "(3,)", "(4,)"]),
        ({"a": [np.ones(2), np.ones(1)], "b": 1.0}, ["grads.a.1", "(3,)", "(1,)"]),
        ({"a": PARAMS["a"], "b": np.ones(1)}, ["grads.b", "()", "(1,)"]),
        ({"a": PARAMS["a"], "b": "text"}, ["grads.b", "<U4"]),
        ({"a": PARAMS["a"], "b": np.longdouble(1)}, ["grads.b", str(np.dtype(np.longdouble))]),
        (None, ["grads"]),
        (1.0, ["grads"]),
    ],
)
def test_optimizer_says_where_trees_differ(momentum, grads, parts):
    optimizer = tg.optim.SGD(0.1, momentum)
    message = said(ValueError, lambda: optimizer.update(PARAMS, grads, optimizer.init(PARAMS)))
    for part in ("SGD.update", "params", *parts):
        assert part in message


@pytest.mark.parametrize("momentum", [0.0, 0.5])
def test_optimizer_needs_its_state_last(momentum):
    optimizer = tg.optim.SGD(0.1, momentum)
    state = optimizer.init(PARAMS)
    for args in ((PARAMS, state, PARAMS), (state, PARAMS, PARAMS), (PARAMS, PARAMS, None)):
        message = said(TypeError, lambda args=args: optimizer.update(*args))
        assert "SGD.update(params, grads, state)" in message
        assert type(args[2]).__name__ in message
    integers = {"w": np.arange(3)}
    message = said(
        ValueError, lambda: optimizer.update(integers, integers, optimizer.init(integers))
    )
    assert "params.w is int64" in message


@pytest.mark.parametrize(
    "other", [{"a": [np.ones(2), np.ones(1)], "b": np.ones(())}, {"a": np.ones(1)}, None]
)
def test_optimizer_names_a_velocity_of_other_parameters(other):
    optimizer = tg.optim.SGD(0.1, 0.5)
    state = (optimizer if other else tg.optim.SGD(0.1)).init(other)
    assert "state.velocity" in said(ValueError, lambda: optimizer.update(PARAMS, PARAMS, state))


@pytest.mark.parametrize("rate", [-0.1, float("nan"), float("inf"), -1, np.float32(-1)])
def test_optimizer_numbers_are_not_negative(rate):
    assert "learning_rate" in said(ValueError, lambda: tg.optim.SGD(rate))
    assert "momentum" in said(ValueError, lambda: tg.optim.SGD(0.1, momentum=rate))
    assert "momentum" in said(ValueError, lambda: tg.optim.SGD(0.1, momentum=1.0))


@pytest.mark.parametrize("rate", ["0.1", None, True, [0.1], np.ones(2), 1j])
def test_optimizer_numbers_are_numbers(rate):
    assert "learning_rate" in said(TypeError, lambda: tg.optim.SGD(rate))
    assert "momentum" in said(TypeError, lambda: tg.optim.SGD(0.1, momentum=rate))


OPTIMIZERS = [tg.optim.SGD, tg.optim.Adam, tg.optim.AdamW, tg.optim.RMSProp, tg.optim.Adagrad]


@pytest.mark.parametrize("kind", OPTIMIZERS)
def test_optimizer_parameters_and_gradients_are_plain_and_floating(kind: Any) -> None:
    optimizer, ones = kind(0.1), np.ones(2)
    for bad in (np.ma.array(ones, mask=[True, False]), ones.astype(object)):
        assert "init: params.w" in said(TypeError, lambda x=bad: optimizer.init({"w": x}))
        with pytest.raises((TypeError, ValueError)):
            optimizer.update({"w": ones}, {"w": bad}, optimizer.init({"w": ones}))
    assert "floating" in said(ValueError, lambda: optimizer.init({"w": ones.astype(int)}))


@pytest.mark.parametrize("kind", OPTIMIZERS)
@pytest.mark.parametrize("rate", [-1.0, float("nan"), np.float64(-0.5)])
def test_schedule_that_gives_no_rate_is_refused(kind: Any, rate: float) -> None:
    optimizer, params = kind(lambda step: rate), {"w": np.ones(2)}
    message = said(ValueError, lambda: optimizer.update(params, params, optimizer.init(params)))
    assert "must not be negative" in message
    assert "step 0" in message


@pytest.mark.parametrize("dtype", [np.uint8, np.int8, np.int16, bool])
def test_norm_of_whole_numbers_is_that_of_floats(dtype: Any) -> None:
    x = np.array([100, 127, 1]).astype(dtype)
    expected = np.linalg.norm(x.astype(float))
    np.testing.assert_allclose(tg.optim.global_norm([x]), expected)
    np.testing.assert_allclose(tg.compile(lambda x: tg.optim.global_norm([x]))(x), expected)
