"""What layers, losses and optimizers refuse, and what they say."""

from typing import Any, NamedTuple

import attrs
import numpy as np
import pytest
from messages import said

import tapegrad as tg
from tapegrad.nn.initializers import centred_uniform, he_normal, split, zeros


def test_losses_say_which_shapes_do_not_fit():
    message = said(ValueError, lambda: tg.nn.mse_loss(np.ones((4, 1)), np.ones(4)))
    assert "(4, 1)" in message
    assert "(4,)" in message
    message = said(
        ValueError, lambda: tg.nn.cross_entropy_loss(np.ones((4, 3)), np.zeros((4, 1), int))
    )
    assert "(4, 3)" in message
    assert "(4, 1)" in message
    message = said(TypeError, lambda: tg.nn.cross_entropy_loss(np.ones((4, 3)), np.zeros(4)))
    assert "integer" in message
    assert "float64" in message
    assert "np.argmax" in message
    for logits in (np.ones(()), np.ones((4, 0))):
        message = said(
            ValueError, lambda x=logits: tg.nn.cross_entropy_loss(x, np.zeros(x.shape[:-1], int))
        )
        assert str(logits.shape) in message
    for loss, targets in (
        (tg.nn.mse_loss, np.ones((1, 2))),
        (tg.nn.cross_entropy_loss, np.zeros(1, int)),
    ):
        for reduction in ("avg", None, ["mean"]):
            message = said(
                ValueError, lambda f=loss, t=targets, r=reduction: f(np.ones((1, 2)), t, r)
            )
            assert repr(reduction) in message
            assert "mean" in message


@pytest.mark.parametrize("bad", [-1, 3, 100])
def test_a_target_that_is_no_class_is_named(bad):
    logits, targets = np.ones((2, 3)), np.array([0, bad])
    loss = tg.nn.cross_entropy_loss
    for call in (loss, tg.grad(loss), tg.compile(loss)):
        message = said(IndexError, lambda call=call: call(logits, targets))
        assert "cross_entropy_loss" in message
        assert "3 classes" in message
        assert f"index {bad} " in message
    compiled = tg.compile(loss)
    compiled(logits, np.array([0, 1]))
    assert f"index {bad} " in said(IndexError, lambda: compiled(logits, targets))


@pytest.mark.parametrize("size", [0, -1, 2.0, "3", True, None])
def test_a_size_that_is_no_positive_integer_is_refused_by_name(size):
    for make, name in (
        (lambda: tg.nn.Linear(size, 2), "n_inputs"),
        (lambda: tg.nn.Linear(2, size), "n_outputs"),
        (lambda: tg.nn.Embedding(size, 2), "vocab_size"),
        (lambda: tg.nn.RNNCell(2, size, 2), "n_hidden"),
    ):
        message = said(ValueError, make)
        assert name in message
        assert repr(size) in message


def test_an_activation_that_is_not_known_is_refused():
    message = said(ValueError, lambda: tg.nn.RNNCell(2, 2, 2, activation="step"))
    assert "activation" in message
    assert "step" in message
    assert "sigmoid" in message


@pytest.mark.parametrize("key", [None, 1.5, "key", True, np.random.default_rng(0), [1, 2]])
def test_a_key_that_is_none_is_refused(key):
    message = said(TypeError, lambda: tg.nn.Linear(2, 2).init(key))
    assert "key" in message
    assert "SeedSequence" in message


@pytest.mark.parametrize("shape", [3, (-1, 2), (2.0, 2), (True, 2), [2, 2], None])
@pytest.mark.parametrize(
    "make", [lambda s: he_normal(0, s), lambda s: centred_uniform(0, s), lambda s: zeros(s)]
)
def test_a_shape_that_is_none_is_refused(make, shape):
    assert repr(shape) in said(ValueError, lambda: make(shape))


def test_what_initializers_cannot_do_is_refused():
    said(ValueError, lambda: he_normal(0, ()))
    said(ValueError, lambda: centred_uniform(0, ()))
    assert zeros(()) == 0
    for dtype in (int, complex, bool, "i4"):
        assert "floating" in said(TypeError, lambda d=dtype: tg.nn.Linear(2, 2).init(0, d))
    for n in (-1, 2.0, None):
        assert repr(n) in said(ValueError, lambda n=n: split(0, n))


LINEAR, CELL, TABLE = tg.nn.Linear(3, 2), tg.nn.RNNCell(3, 4, 2), tg.nn.Embedding(5, 3)


X = np.ones((4, 3))


@pytest.mark.parametrize(
    ("layer", "args"),
    [
        (LINEAR, (X,)),
        (CELL, (X, np.zeros((4, 4)))),
        (TABLE, (np.array([1]),)),
        (tg.nn.Sequential(LINEAR, tg.nn.Tanh()), (X,)),
        (tg.nn.Tanh(), (X,)),
    ],
    ids=lambda x: type(x).__name__,
)
def test_parameters_that_are_not_the_layers_are_refused(layer, args):
    class Other(NamedTuple):
        weight: Any
        bias: Any

    own = layer.init(0)
    layer(own, *args)
    others = [{"weight": X}, X, 1.0, layer, attrs.make_class("Other", ["weight"])(X)]
    if layer != tg.nn.Sequential(LINEAR, tg.nn.Tanh()):
        others += [(X, X), Other(X, X)]
    others += [None] if own is not None else []
    for params in others:
        message = said(TypeError, lambda p=params: layer(p, *args))
        assert type(layer).__name__ in message
        assert "layer(" in message


@pytest.mark.parametrize(
    ("call", "parts"),
    [
        (
            lambda: LINEAR(LINEAR.init(0), np.ones((4, 5))),
            ["Linear(n_inputs=3", "(4, 5)", "(3, 2)"],
        ),
        (lambda: LINEAR(LINEAR.init(0), 1.0), ["Linear(n_inputs=3", "()", "(3, 2)"]),
        (lambda: LINEAR(tg.nn.Linear(3, 4).init(0), X), ["weight", "(3, 4)", "(3, 2)"]),
        (
            lambda: LINEAR(attrs.evolve(LINEAR.init(0), bias=np.ones(1)), X),
            ["bias", "(1,)", "(2,)"],
        ),
        (lambda: TABLE(tg.nn.Embedding(7, 3).init(0), np.array([6])), ["(7, 3)", "(5, 3)"]),
        (
            lambda: CELL(CELL.init(0), np.ones((4, 4)), np.ones((4, 4))),
            ["RNNCell(n_inputs=3", "x has", "(4, 4)", "w_ih.weight", "(3, 4)"],
        ),
        (
            lambda: CELL(CELL.init(0), X, X),
            ["RNNCell(n_inputs=3", "hidden has", "(4, 3)", "w_hh.weight", "(4, 4)"],
        ),
        (
            lambda: CELL(CELL.init(0), X, CELL.initial_hidden(3)),
            ["RNNCell(n_inputs=3", "(4, 3)", "(3, 4)", "batch"],
        ),
        (
            lambda: CELL(
                attrs.evolve(CELL.init(0), w_ho=LINEAR.init(0)), X, CELL.initial_hidden(4)
            ),
            ["w_ho.weight", "(3, 2)", "(4, 2)"],
        ),
    ],
)
def test_shapes_that_do_not_fit_a_layer_are_named(call, parts):
    for run in (call, lambda: tg.record(lambda _: call())(1.0)):
        message = said(ValueError, run)
        for part in parts:
            assert part in message


@pytest.mark.parametrize("bad", [-1, 5])
def test_an_index_outside_an_embedding_is_an_error_also_compiled(bad):
    params, indices = TABLE.init(0), np.array([0, bad])
    for call in (TABLE, tg.grad(lambda p, i: tg.sum(TABLE(p, i)))):
        message = said(IndexError, lambda call=call: call(params, indices))
        assert "Embedding(vocab_size=5" in message
        assert f"index {bad} " in message
        compiled = tg.compile(call)
        compiled(params, np.array([0, 1]))
        assert f"index {bad} " in said(IndexError, lambda c=compiled: c(params, indices))
    assert said(TypeError, lambda: TABLE(params, np.array([0.5])))


def test_a_model_called_with_the_wrong_number_of_parameters_says_so():
    model = tg.nn.Sequential(tg.nn.Linear(2, 3), tg.nn.Tanh())
    params = model.init(0)
    for wrong in (params[:1], (*params, None), ()):
        message = said(ValueError, lambda p=wrong: model(p, np.ones((1, 2))))
        assert "Sequential" in message
        assert str(len(wrong)) in message
        assert "2" in message


@pytest.mark.parametrize(
    ("layers", "part"),
    [
        (([LINEAR, tg.nn.Tanh()],), "Sequential(*layers)"),
        ((LINEAR, tg.nn.Tanh), "Tanh(...)"),
        ((LINEAR, 3), "not 3"),
        ((LINEAR, None), "not None"),
        (("Linear",), "'Linear'"),
    ],
)
def test_what_is_no_layer_is_refused_at_once(layers, part):
    assert part in said(TypeError, lambda: tg.nn.Sequential(*layers))


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
def test_an_optimizer_says_where_trees_differ(momentum, grads, parts):
    optimizer = tg.optim.SGD(0.1, momentum)
    message = said(ValueError, lambda: optimizer.update(PARAMS, grads, optimizer.init(PARAMS)))
    for part in ("SGD.update", "params", *parts):
        assert part in message


@pytest.mark.parametrize("momentum", [0.0, 0.5])
def test_an_optimizer_needs_its_state_last(momentum):
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
def test_a_velocity_of_other_parameters_is_named(other):
    optimizer = tg.optim.SGD(0.1, 0.5)
    state = (optimizer if other else tg.optim.SGD(0.1)).init(other)
    assert "state.velocity" in said(ValueError, lambda: optimizer.update(PARAMS, PARAMS, state))


@pytest.mark.parametrize("rate", [-0.1, float("nan"), float("inf"), -1, np.float32(-1)])
def test_an_optimizers_numbers_are_not_negative(rate):
    assert "learning_rate" in said(ValueError, lambda: tg.optim.SGD(rate))
    assert "momentum" in said(ValueError, lambda: tg.optim.SGD(0.1, momentum=rate))
    assert "momentum" in said(ValueError, lambda: tg.optim.SGD(0.1, momentum=1.0))


@pytest.mark.parametrize("rate", ["0.1", None, True, [0.1], np.ones(2), 1j])
def test_an_optimizers_numbers_are_numbers(rate):
    assert "learning_rate" in said(TypeError, lambda: tg.optim.SGD(rate))
    assert "momentum" in said(TypeError, lambda: tg.optim.SGD(0.1, momentum=rate))


@pytest.mark.parametrize("delta", [0.0, -1.0, float("nan")])
def test_where_huber_turns_straight_is_positive(delta):
    assert "delta" in said(ValueError, lambda: tg.nn.huber_loss(X, X, delta=delta))


@pytest.mark.parametrize("loss", [tg.nn.mse_loss, tg.nn.l1_loss, tg.nn.huber_loss])
@pytest.mark.parametrize("dtype", [np.uint8, np.int8, np.int64, bool])
def test_losses_of_whole_numbers_are_those_of_floats(loss: Any, dtype: Any) -> None:
    predictions, targets = np.array([0, 1, 100]).astype(dtype), np.array([1, 0, -100]).astype(dtype)
    expected = loss(predictions.astype(float), targets.astype(float))
    assert loss(predictions, targets) == expected == tg.compile(loss)(predictions, targets)


@pytest.mark.parametrize("bad", [-1.0, 1.5, 2])
def test_targets_that_are_no_probabilities_are_refused(bad: float) -> None:
    logits, targets = np.zeros((2, 2)), np.array([[0.0, 1.0], [bad, 0.5]])
    for loss in (tg.nn.binary_cross_entropy_loss, tg.nn.kl_loss):
        step = tg.compile(lambda x, f=loss: f(x, targets))
        for call in (
            lambda x, f=loss: f(x, targets),
            lambda x, f=loss: tg.grad(f)(x, targets),
            step,
        ):
            assert "from 0 to 1" in said(ValueError, lambda call=call: call(logits))
        loss(logits, np.array([[0.0, 1.0], [0.5, 0.5]]))


@pytest.mark.parametrize("bad", [-1, 3, -100])
def test_a_label_that_is_no_class_is_refused(bad: int) -> None:
    logits = np.ones((2, 3))
    assert "3 classes" in said(IndexError, lambda: tg.nn.accuracy(logits, np.array([0, bad])))
    assert tg.nn.accuracy(logits, np.array([0, 2])) == 0.5


def test_masked_targets_and_labels_are_refused() -> None:
    logits, labels = np.ones((2, 3)), np.ma.array([0, 1], mask=[True, False])
    for f in (tg.nn.cross_entropy_loss, tg.nn.accuracy):
        assert "masked" in said(TypeError, lambda f=f: f(logits, labels))
        assert "masked" in said(TypeError, lambda f=f: tg.compile(lambda x: f(x, labels))(logits))


def test_a_running_mean_is_between_the_old_and_the_new() -> None:
    for momentum in (1.5, 2, -0.1, float("nan")):
        assert "momentum" in said(ValueError, lambda m=momentum: tg.nn.BatchNorm(3, momentum=m))
    layer = tg.nn.BatchNorm(3, momentum=1.0)
    for training in ("False", 0, None):
        message = said(
            TypeError,
            lambda t=training: layer(
                layer.init(0), np.ones((2, 3)), layer.initial_state(), training=t
            ),
        )
        assert "training is True or False" in message


OPTIMIZERS = [tg.optim.SGD, tg.optim.Adam, tg.optim.AdamW, tg.optim.RMSProp, tg.optim.Adagrad]


@pytest.mark.parametrize("kind", OPTIMIZERS)
def test_parameters_and_gradients_are_real_and_floating(kind: Any) -> None:
    optimizer, ones = kind(0.1), np.ones(2)
    for bad in (np.ma.array(ones, mask=[True, False]), ones * 1j, ones.astype(object)):
        assert "init: params.w" in said(TypeError, lambda x=bad: optimizer.init({"w": x}))
        with pytest.raises((TypeError, ValueError)):
            optimizer.update({"w": ones}, {"w": bad}, optimizer.init({"w": ones}))
    assert "floating" in said(ValueError, lambda: optimizer.init({"w": ones.astype(int)}))


@pytest.mark.parametrize("kind", OPTIMIZERS)
@pytest.mark.parametrize("rate", [-1.0, float("nan"), np.float64(-0.5)])
def test_a_schedule_that_gives_no_rate_is_refused(kind: Any, rate: float) -> None:
    optimizer, params = kind(lambda step: rate), {"w": np.ones(2)}
    message = said(ValueError, lambda: optimizer.update(params, params, optimizer.init(params)))
    assert "must not be negative" in message
    assert "step 0" in message


@pytest.mark.parametrize("dtype", [np.uint8, np.int8, np.int16, bool])
def test_the_norm_of_whole_numbers_is_that_of_floats(dtype: Any) -> None:
    x = np.array([100, 127, 1]).astype(dtype)
    expected = np.linalg.norm(x.astype(float))
    np.testing.assert_allclose(tg.optim.global_norm([x]), expected)
    np.testing.assert_allclose(tg.compile(lambda x: tg.optim.global_norm([x]))(x), expected)
