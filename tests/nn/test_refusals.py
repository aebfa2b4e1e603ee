"""What layers, losses and optimizers refuse, and what they say."""

import inspect
from typing import Any, NamedTuple

import attrs
import numpy as np
import pytest
from layer_kinds import KINDS
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
def test_losses_name_a_target_that_is_no_class(bad):
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
def test_layer_size_that_is_no_positive_integer_is_refused(size):
    for make, name in (
        (lambda: tg.nn.Linear(size, 2), "n_inputs"),
        (lambda: tg.nn.Linear(2, size), "n_outputs"),
        (lambda: tg.nn.Embedding(size, 2), "vocab_size"),
        (lambda: tg.nn.RNNCell(2, size, 2), "n_hidden"),
    ):
        message = said(ValueError, make)
        assert name in message
        assert repr(size) in message


def test_layer_refuses_an_unknown_activation():
    message = said(ValueError, lambda: tg.nn.RNNCell(2, 2, 2, activation="step"))
    assert "activation" in message
    assert "step" in message
    assert "sigmoid" in message


@pytest.mark.parametrize("key", [None, 1.5, "key", True, np.random.default_rng(0), [1, 2]])
def test_layer_init_refuses_what_is_no_key(key):
    message = said(TypeError, lambda: tg.nn.Linear(2, 2).init(key))
    assert "key" in message
    assert "SeedSequence" in message


@pytest.mark.parametrize("shape", [3, (-1, 2), (2.0, 2), (True, 2), [2, 2], None])
@pytest.mark.parametrize(
    "make", [lambda s: he_normal(0, s), lambda s: centred_uniform(0, s), lambda s: zeros(s)]
)
def test_initializers_refuse_what_is_no_shape(make, shape):
    assert repr(shape) in said(ValueError, lambda: make(shape))


def test_initializers_refuse_what_they_cannot_do():
    said(ValueError, lambda: he_normal(0, ()))
    said(ValueError, lambda: centred_uniform(0, ()))
    assert zeros(()) == 0
    for dtype in (int, bool, "i4"):
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
def test_layer_refuses_parameters_of_another(layer, args):
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
def test_layer_names_shapes_that_do_not_fit(call, parts):
    for run in (call, lambda: tg.record(lambda _: call())(1.0)):
        message = said(ValueError, run)
        for part in parts:
            assert part in message


@pytest.mark.parametrize("bad", [-1, 5])
def test_embedding_refuses_an_index_outside(bad):
    params, indices = TABLE.init(0), np.array([0, bad])
    for call in (TABLE, tg.grad(lambda p, i: tg.sum(TABLE(p, i)))):
        message = said(IndexError, lambda call=call: call(params, indices))
        assert "Embedding(vocab_size=5" in message
        assert f"index {bad} " in message
        compiled = tg.compile(call)
        compiled(params, np.array([0, 1]))
        assert f"index {bad} " in said(IndexError, lambda c=compiled: c(params, indices))
    assert said(TypeError, lambda: TABLE(params, np.array([0.5])))


def test_sequential_refuses_a_wrong_number_of_parameters():
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
def test_sequential_refuses_what_is_no_layer(layers, part):
    assert part in said(TypeError, lambda: tg.nn.Sequential(*layers))


@pytest.mark.parametrize("delta", [0.0, -1.0, float("nan")])
def test_huber_delta_is_positive(delta):
    assert "delta" in said(ValueError, lambda: tg.nn.huber_loss(X, X, delta=delta))


@pytest.mark.parametrize("loss", [tg.nn.mse_loss, tg.nn.l1_loss, tg.nn.huber_loss])
@pytest.mark.parametrize("dtype", [np.uint8, np.int8, np.int64, bool])
def test_losses_of_whole_numbers_are_those_of_floats(loss: Any, dtype: Any) -> None:
    predictions, targets = np.array([0, 1, 100]).astype(dtype), np.array([1, 0, -100]).astype(dtype)
    expected = loss(predictions.astype(float), targets.astype(float))
    assert loss(predictions, targets) == expected == tg.compile(loss)(predictions, targets)


@pytest.mark.parametrize("bad", [-1.0, 1.5, 2])
def test_losses_refuse_targets_that_are_no_probabilities(bad: float) -> None:
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
def test_losses_refuse_a_label_that_is_no_class(bad: int) -> None:
    logits = np.ones((2, 3))
    assert "3 classes" in said(IndexError, lambda: tg.nn.accuracy(logits, np.array([0, bad])))
    assert tg.nn.accuracy(logits, np.array([0, 2])) == 0.5


def test_losses_refuse_masked_targets_and_labels() -> None:
    logits, labels = np.ones((2, 3)), np.ma.array([0, 1], mask=[True, False])
    for f in (tg.nn.cross_entropy_loss, tg.nn.accuracy):
        assert "masked" in said(TypeError, lambda f=f: f(logits, labels))
        assert "masked" in said(TypeError, lambda f=f: tg.compile(lambda x: f(x, labels))(logits))


def test_batch_norm_momentum_is_between_0_and_1() -> None:
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
        assert "training must be True or False" in message


nn = tg.nn


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda: nn.Conv2d(3, 4, 3, groups=2), "n_inputs=3"),
        (lambda: nn.Conv2d(4, 3, 3, groups=2), "n_outputs=3"),
        (lambda: nn.Conv2d(3, 4, 0), "size"),
        (lambda: nn.Conv2d(3, 4, (3, 3, 3)), "tuple of 2"),
        (lambda: nn.Conv1d(3, 4, 3, stride=(1, 1)), "stride"),
        (lambda: nn.Conv1d(3, 4, 3, padding=-1), "padding"),
        (lambda: nn.Conv1d(3, 4, True), "size"),
        (lambda: nn.Conv1d(0, 4, 3), "n_inputs"),
        (lambda: nn.MaxPool2d(2, stride=0), "stride"),
        (lambda: nn.AvgPool2d(1.5), "size"),
        (lambda: nn.LayerNorm(3, epsilon=0.0), "epsilon"),
        (lambda: nn.BatchNorm(3, momentum="0.1"), "momentum"),
        (lambda: nn.MultiHeadAttention(4, 3), "heads=3"),
        (lambda: nn.GRUCell(3, 0), "n_hidden"),
    ],
)
def test_layer_that_cannot_be_is_refused_by_argument(make: Any, says: str) -> None:
    with pytest.raises(ValueError, match=says):
        make()


@pytest.mark.parametrize("convolution", [nn.Conv1d, nn.Conv2d])
def test_layer_takes_former_names_of_arguments(convolution: Any) -> None:
    layer = convolution(4, 6, 3, groups=2)
    assert convolution(n_in=4, n_out=6, size=3, groups=2) == layer
    assert convolution(4, n_out=6, size=3, groups=2) == layer
    assert (layer.n_in, layer.n_out) == (4, 6)
    assert list(inspect.signature(convolution).parameters)[:2] == ["n_inputs", "n_outputs"]
    with pytest.raises(TypeError, match="n_inputs twice: n_in is its former name"):
        convolution(n_inputs=4, n_in=4, n_outputs=6, size=3)
    with pytest.raises(TypeError, match="multiple values for argument 'n_inputs'"):
        convolution(4, n_in=4, n_outputs=6, size=3)


WITH_PARAMETERS = [name for name, kind in KINDS.items() if kind.layer.init(0) is not None]


@pytest.mark.parametrize("name", WITH_PARAMETERS)
def test_layer_refuses_wrong_parameters_and_shapes(name: str) -> None:
    kind = KINDS[name]
    params, x, *others = kind.arguments()
    title = type(kind.layer).__name__
    with pytest.raises(TypeError, match=title):
        kind.fn(tuple(tg.tree.leaves(params)), x, *others)
    longer = tg.tree.map(lambda p: np.concatenate([p, p]), params)
    with pytest.raises(ValueError, match=title):
        kind.fn(longer, x, *others)
    with pytest.raises(ValueError, match=title):
        kind.fn(params, np.ones((2, 9)), *others)


@pytest.mark.parametrize("layer", [nn.Dropout(0.5), nn.Flatten(), nn.Relu(), nn.MaxPool2d(1)])
def test_layer_without_parameters_takes_none(layer: Any) -> None:
    # layer(x) or layer(x, key), with the parameters forgotten
    with pytest.raises(TypeError, match=rf"{type(layer).__name__}.*layer\(None, x\)"):
        layer(np.ones((2, 2)), tg.random.key(0))


def test_layer_says_what_a_call_lacks() -> None:
    norm, cell = nn.BatchNorm(2), nn.LSTMCell(2, 2)
    with pytest.raises(TypeError, match="state"):
        norm(norm.init(0), np.ones((3, 2)), None)
    with pytest.raises(ValueError, match="two numbers for each channel"):
        norm(norm.init(0), np.ones((1, 2)), norm.initial_state(), training=True)
    with pytest.raises(TypeError, match="pair"):
        cell(cell.init(0), np.ones((1, 2)), np.ones((1, 2)))


def test_a_table_names_itself_when_its_indices_are_not_integers() -> None:
    with pytest.raises(TypeError, match=r"^Embedding\(.*, not float64; write indices\.astype"):
        TABLE(TABLE.init(0), np.array([0.0, 1.0]))
