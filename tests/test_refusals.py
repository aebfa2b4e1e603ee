"""The wording of refusals: what layers, losses and optimizers refuse, and what they say."""

import inspect
from typing import Any, NamedTuple

import attrs
import numpy as np
import pytest
from layer_kinds import KINDS
from messages import said

import tapegrad as tg
from tapegrad import nn
from tapegrad.nn.initializers import centred_uniform, he_normal, split, zeros

LINEAR, CELL, TABLE = nn.Linear(3, 2), nn.RNNCell(3, 4, 2), nn.Embedding(5, 3)
NORM, LSTM, MODEL = nn.BatchNorm(2), nn.LSTMCell(2, 2), nn.Sequential(nn.Linear(2, 3), nn.Tanh())
X, ONES, CLASSES = np.ones((4, 3)), np.ones((1, 2)), np.zeros(1, int)
OF = {layer: layer.init(0) for layer in (LINEAR, CELL, TABLE)}
MASKED = np.ma.array([0, 1], mask=[True, False])

# what each is refused with: parts of the message, apart by |
NN: list[tuple[type[Exception], Any, str]] = [
    (ValueError, lambda: nn.mse_loss(np.ones((4, 1)), np.ones(4)), "(4, 1)|(4,)"),
    (ValueError, lambda: nn.cross_entropy_loss(X, np.zeros((4, 1), int)), "(4, 3)|(4, 1)"),
    (TypeError, lambda: nn.cross_entropy_loss(X, np.zeros(4)), "integer|float64|np.argmax"),
    (ValueError, lambda: nn.cross_entropy_loss(np.ones(()), np.zeros((), int)), "()"),
    (ValueError, lambda: nn.cross_entropy_loss(X[:, :0], np.zeros(4, int)), "(4, 0)"),
    *[
        (ValueError, lambda f=f, t=t, r=r: f(ONES, t, r), f"{r!r}|mean")
        for (f, t) in ((nn.mse_loss, ONES), (nn.cross_entropy_loss, CLASSES))
        for r in ("avg", None, ["mean"])
    ],
    *[(ValueError, lambda d=d: nn.huber_loss(X, X, delta=d), "delta") for d in (0.0, -1.0, np.nan)],
    *[
        (IndexError, lambda n=n: nn.accuracy(X, np.array([0, 0, 0, n])), "3 classes")
        for n in (-1, 3, -100)
    ],
    *[
        (TypeError, lambda f=f: f(X[:2], MASKED), "masked")
        for f in (nn.cross_entropy_loss, nn.accuracy)
    ],
    *[
        (ValueError, lambda n=n, make=make: make(n), f"{name}|{n!r}")
        for n in (0, -1, 2.0, "3", True, None)
        for make, name in (
            (lambda n: nn.Linear(n, 2), "n_inputs"),
            (lambda n: nn.Linear(2, n), "n_outputs"),
            (lambda n: nn.Embedding(n, 2), "vocab_size"),
            (lambda n: nn.RNNCell(2, n, 2), "n_hidden"),
        )
    ],
    (ValueError, lambda: nn.RNNCell(2, 2, 2, activation="step"), "activation|step|sigmoid"),
    *[
        (TypeError, lambda key=key: nn.Linear(2, 2).init(key), "key|SeedSequence")
        for key in (None, 1.5, "key", True, np.random.default_rng(0), [1, 2])
    ],
    *[
        (ValueError, lambda make=make, shape=shape: make(shape), repr(shape))
        for make in (lambda s: he_normal(0, s), lambda s: centred_uniform(0, s), zeros)
        for shape in (3, (-1, 2), (2.0, 2), (True, 2), [2, 2], None)
    ],
    (ValueError, lambda: he_normal(0, ()), ""),
    (ValueError, lambda: centred_uniform(0, ()), ""),
    *[(TypeError, lambda d=d: nn.Linear(2, 2).init(0, d), "floating") for d in (int, bool, "i4")],
    *[(ValueError, lambda n=n: split(0, n), repr(n)) for n in (-1, 2.0, None)],
    (ValueError, lambda: LINEAR(OF[LINEAR], np.ones((4, 5))), "Linear(n_inputs=3|(4, 5)|(3, 2)"),
    (ValueError, lambda: LINEAR(OF[LINEAR], 1.0), "Linear(n_inputs=3|()|(3, 2)"),
    (ValueError, lambda: LINEAR(nn.Linear(3, 4).init(0), X), "weight|(3, 4)|(3, 2)"),
    (ValueError, lambda: LINEAR(attrs.evolve(OF[LINEAR], bias=X[0, :1]), X), "bias|(1,)|(2,)"),
    (ValueError, lambda: TABLE(nn.Embedding(7, 3).init(0), np.array([6])), "(7, 3)|(5, 3)"),
    (
        TypeError,
        lambda: TABLE(OF[TABLE], np.array([0.5])),
        "Embedding(|not float64; write indices.a",
    ),
    (
        ValueError,
        lambda: CELL(OF[CELL], np.ones((4, 4)), np.ones((4, 4))),
        "RNNCell(n_inputs=3|x has|(4, 4)|w_ih.weight|(3, 4)",
    ),
    (
        ValueError,
        lambda: CELL(OF[CELL], X, X),
        "RNNCell(n_inputs=3|hidden has|(4, 3)|w_hh.weight|(4, 4)",
    ),
    (
        ValueError,
        lambda: CELL(OF[CELL], X, CELL.initial_hidden(3)),
        "RNNCell(n_inputs=3|(4, 3)|(3, 4)|batch",
    ),
    (
        ValueError,
        lambda: CELL(attrs.evolve(OF[CELL], w_ho=OF[LINEAR]), X, CELL.initial_hidden(4)),
        "w_ho.weight|(3, 2)|(4, 2)",
    ),
    *[
        (ValueError, lambda p=p: MODEL(p, ONES), f"Sequential|{len(p)}|2")
        for p in (MODEL.init(0)[:1], (*MODEL.init(0), None), ())
    ],
    *[
        (TypeError, lambda layers=layers: nn.Sequential(*layers), part)
        for layers, part in (
            (([LINEAR, nn.Tanh()],), "Sequential(*layers)"),
            ((LINEAR, nn.Tanh), "Tanh(...)"),
            ((LINEAR, 3), "not 3"),
            ((LINEAR, None), "not None"),
            (("Linear",), "'Linear'"),
        )
    ],
    *[
        (ValueError, lambda m=m: nn.BatchNorm(3, momentum=m), "momentum")
        for m in (1.5, 2, -0.1, np.nan, "0.1")
    ],
    *[
        (
            TypeError,
            lambda t=t: NORM(NORM.init(0), ONES, NORM.initial_state(), training=t),
            "training must be True or False",
        )
        for t in ("False", 0, None)
    ],
    (ValueError, lambda: nn.Conv2d(3, 4, 3, groups=2), "n_inputs=3"),
    (ValueError, lambda: nn.Conv2d(4, 3, 3, groups=2), "n_outputs=3"),
    (ValueError, lambda: nn.Conv2d(3, 4, 0), "size"),
    (ValueError, lambda: nn.Conv2d(3, 4, (3, 3, 3)), "tuple of 2"),
    (ValueError, lambda: nn.Conv1d(3, 4, 3, stride=(1, 1)), "stride"),
    (ValueError, lambda: nn.Conv1d(3, 4, 3, padding=-1), "padding"),
    (ValueError, lambda: nn.Conv1d(3, 4, True), "size"),
    (ValueError, lambda: nn.Conv1d(0, 4, 3), "n_inputs"),
    (ValueError, lambda: nn.MaxPool2d(2, stride=0), "stride"),
    (ValueError, lambda: nn.AvgPool2d(1.5), "size"),
    (ValueError, lambda: nn.LayerNorm(3, epsilon=0.0), "epsilon"),
    (ValueError, lambda: nn.MultiHeadAttention(4, 3), "heads=3"),
    (ValueError, lambda: nn.GRUCell(3, 0), "n_hidden"),
    (TypeError, lambda: NORM(NORM.init(0), np.ones((3, 2)), None), "state"),
    (
        ValueError,
        lambda: NORM(NORM.init(0), ONES, NORM.initial_state(), training=True),
        "two numbers for each channel",
    ),
    (TypeError, lambda: LSTM(LSTM.init(0), ONES, ONES), "pair"),
    # layer(x) or layer(x, key), with the parameters forgotten
    *[
        (TypeError, lambda x=x: x(np.ones((2, 2)), 0), f"{type(x).__name__}|layer(None, x)")
        for x in (nn.Dropout(0.5), nn.Flatten(), nn.Relu(), nn.MaxPool2d(1))
    ],
]

PARAMS = {"a": [np.ones(2), np.ones(3)], "b": np.ones(())}
WHOLE = {"w": np.arange(3)}


def updated(optimizer: Any, grads: Any, state: Any = (), params: Any = PARAMS) -> Any:
    return optimizer.update(params, grads, optimizer.init(params) if state == () else state)


OPTIM: list[tuple[type[Exception], Any, str]] = [
    *[
        (ValueError, lambda g=g, o=o: updated(o, g), f"SGD.update|params|{parts}")
        for o in (tg.optim.SGD(0.1), tg.optim.SGD(0.1, 0.5))
        for g, parts in (
            ({"a": [np.ones(2)], "b": 1.0}, "grads|at a:"),
            ({"a": PARAMS["a"]}, "grads"),
            ({"a": [np.ones(2), (np.ones(3),)], "b": 1.0}, "grads|a.1"),
            ({"b": 1.0, "a": [np.ones(2), np.ones(4)]}, "grads.a.1|(3,)|(4,)"),
            ({"a": [np.ones(2), np.ones(1)], "b": 1.0}, "grads.a.1|(3,)|(1,)"),
            ({"a": PARAMS["a"], "b": np.ones(1)}, "grads.b|()|(1,)"),
            ({"a": PARAMS["a"], "b": "text"}, "grads.b|<U4"),
            ({"a": PARAMS["a"], "b": np.longdouble(1)}, f"grads.b|{np.dtype(np.longdouble)}"),
            (None, "grads"),
            (1.0, "grads"),
        )
    ],
    *[
        (
            TypeError,
            lambda o=o, f=f: o.update(*f(o.init(PARAMS))),
            f"SGD.update(params, grads, state)|{last}",
        )
        for o in (tg.optim.SGD(0.1), tg.optim.SGD(0.1, 0.5))
        for f, last in (
            (lambda state: (PARAMS, state, PARAMS), "dict"),
            (lambda state: (state, PARAMS, PARAMS), "dict"),
            (lambda state: (PARAMS, PARAMS, None), "NoneType"),
        )
    ],
    (ValueError, lambda: updated(tg.optim.SGD(0.1), WHOLE, (), WHOLE), "params.w is int64"),
    *[
        (
            ValueError,
            lambda other=other: updated(
                tg.optim.SGD(0.1, 0.5),
                PARAMS,
                tg.optim.SGD(0.1, 0.5 if other else 0.0).init(other),
            ),
            "state.velocity",
        )
        for other in (
            {"a": [np.ones(2), np.ones(1)], "b": np.ones(())},
            {"a": np.ones(1)},
            None,
        )
    ],
    *[
        (kind, lambda x=x, name=name: tg.optim.SGD(**{"learning_rate": 0.1} | {name: x}), name)
        for name in ("learning_rate", "momentum")
        for kind, numbers in (
            (ValueError, [-0.1, np.nan, np.inf, -1, np.float32(-1)]),
            (TypeError, ["0.1", None, True, [0.1], np.ones(2), 1j]),
        )
        for x in numbers
    ],
    (ValueError, lambda: tg.optim.SGD(0.1, momentum=1.0), "momentum"),
]


@pytest.mark.parametrize("table", [NN, OPTIM], ids=["nn", "optim"])
def test_a_refusal_says_what_does_not_fit_recorded_or_not(table: Any) -> None:
    for kind, call, parts in table:
        said(kind, call, *parts.split("|"))
        said(kind, lambda call=call: tg.record(lambda _: call())(1.0), *parts.split("|"))


@pytest.mark.parametrize("bad", [-1, 3, 100])
def test_losses_name_a_target_that_is_no_class(bad: int) -> None:
    logits, targets = np.ones((2, 3)), np.array([0, bad])
    loss = nn.cross_entropy_loss
    compiled = tg.compile(loss)
    compiled(logits, np.array([0, 1]))
    for call in (loss, tg.grad(loss), tg.compile(loss)):
        parts = "cross_entropy_loss", "3 classes", f"index {bad} "
        said(IndexError, lambda call=call: call(logits, targets), *parts)
    said(IndexError, lambda: compiled(logits, targets), f"index {bad} ")
    assert nn.accuracy(logits, np.array([0, 2])) == 0.5


@pytest.mark.parametrize("bad", [-1, 5])
def test_embedding_refuses_an_index_outside(bad: int) -> None:
    params, indices = TABLE.init(0), np.array([0, bad])
    for call in (TABLE, tg.grad(lambda p, i: tg.sum(TABLE(p, i)))):
        compiled = tg.compile(call)
        compiled(params, np.array([0, 1]))
        said(IndexError, lambda c=call: c(params, indices), "Embedding(vocab_s", f"index {bad} ")
        said(IndexError, lambda c=compiled: c(params, indices), f"index {bad} ")


@pytest.mark.parametrize("bad", [-1.0, 1.5, 2])
def test_losses_refuse_targets_that_are_no_probabilities(bad: float) -> None:
    logits, targets = np.zeros((2, 2)), np.array([[0.0, 1.0], [bad, 0.5]])
    for loss in (nn.binary_cross_entropy_loss, nn.kl_loss):
        step = tg.compile(lambda x, f=loss: f(x, targets))
        for call in (
            lambda x, f=loss: f(x, targets),
            lambda x, f=loss: tg.grad(f)(x, targets),
            step,
        ):
            said(ValueError, lambda call=call: call(logits), "from 0 to 1")
        loss(logits, np.array([[0.0, 1.0], [0.5, 0.5]]))


def test_losses_refuse_masked_targets_while_they_are_compiled() -> None:
    for f in (nn.cross_entropy_loss, nn.accuracy):
        said(TypeError, lambda f=f: tg.compile(lambda x: f(x, MASKED))(X[:2]), "masked")


@pytest.mark.parametrize("loss", [nn.mse_loss, nn.l1_loss, nn.huber_loss])
def test_losses_and_norms_of_whole_numbers_are_those_of_floats(loss: Any) -> None:
    for dtype in (np.uint8, np.int8, np.int64, bool):
        args = [np.array(x).astype(dtype) for x in ([0, 1, 100], [1, 0, -100])]
        expected = loss(*[x.astype(float) for x in args])
        assert loss(*args) == expected == tg.compile(loss)(*args)
        norm, wanted = tg.optim.global_norm, np.linalg.norm(args[0].astype(float))
        for found in (norm([args[0]]), tg.compile(lambda x, f=norm: f([x]))(args[0])):
            np.testing.assert_allclose(found, wanted)


@pytest.mark.parametrize(
    ("layer", "args"),
    [
        (LINEAR, (X,)),
        (CELL, (X, np.zeros((4, 4)))),
        (TABLE, (np.array([1]),)),
        (nn.Sequential(LINEAR, nn.Tanh()), (X,)),
        (nn.Tanh(), (X,)),
    ],
    ids=lambda x: type(x).__name__,
)
def test_layer_refuses_parameters_of_another(layer: Any, args: Any) -> None:
    class Other(NamedTuple):
        weight: Any
        bias: Any

    own = layer.init(0)
    layer(own, *args)
    others = [{"weight": X}, X, 1.0, layer, attrs.make_class("Other", ["weight"])(X)]
    if layer != nn.Sequential(LINEAR, nn.Tanh()):
        others += [(X, X), Other(X, X)]
    others += [None] if own is not None else []
    for params in others:
        said(TypeError, lambda p=params: layer(p, *args), type(layer).__name__, "layer(")


@pytest.mark.parametrize("name", [x for x, kind in KINDS.items() if kind.layer.init(0) is not None])
def test_layer_refuses_wrong_parameters_and_shapes(name: str) -> None:
    kind = KINDS[name]
    params, x, *others = kind.arguments()
    title = type(kind.layer).__name__
    said(TypeError, lambda: kind.fn(tuple(tg.tree.leaves(params)), x, *others), title)
    longer = tg.tree.map(lambda p: np.concatenate([p, p]), params)
    said(ValueError, lambda: kind.fn(longer, x, *others), title)
    said(ValueError, lambda: kind.fn(params, np.ones((2, 9)), *others), title)


@pytest.mark.parametrize("convolution", [nn.Conv1d, nn.Conv2d])
def test_layer_takes_former_names_of_arguments(convolution: Any) -> None:
    layer = convolution(4, 6, 3, groups=2)
    assert convolution(n_in=4, n_out=6, size=3, groups=2) == layer
    assert convolution(4, n_out=6, size=3, groups=2) == layer
    assert (layer.n_in, layer.n_out) == (4, 6)
    assert list(inspect.signature(convolution).parameters)[:2] == ["n_inputs", "n_outputs"]
    twice = {"n_in": 4, "n_outputs": 6, "size": 3}
    said(TypeError, lambda: convolution(n_inputs=4, **twice), "n_inputs twice: n_in is its former")
    said(TypeError, lambda: convolution(4, **twice), "multiple values for argument 'n_inputs'")


def test_what_is_at_the_edge_is_taken() -> None:
    assert zeros(()) == 0
    assert nn.BatchNorm(3, momentum=1.0).momentum == 1


@pytest.mark.parametrize(
    "kind", [tg.optim.SGD, tg.optim.Adam, tg.optim.AdamW, tg.optim.RMSProp, tg.optim.Adagrad]
)
def test_optimizer_takes_plain_floating_leaves_and_rates_that_are_not_negative(kind: Any) -> None:
    optimizer, ones = kind(0.1), np.ones(2)
    for bad in (np.ma.array(ones, mask=[True, False]), ones.astype(object)):
        said(TypeError, lambda x=bad: optimizer.init({"w": x}), "init: params.w")
        with pytest.raises((TypeError, ValueError)):
            optimizer.update({"w": ones}, {"w": bad}, optimizer.init({"w": ones}))
    said(ValueError, lambda: optimizer.init({"w": ones.astype(int)}), "floating")
    for rate in (-1.0, np.nan, np.float64(-0.5)):
        scheduled = kind(lambda step, rate=rate: rate)
        call = lambda o=scheduled: updated(o, {"w": ones}, (), {"w": ones})  # noqa: E731
        said(ValueError, call, "must not be negative", "step 0")
