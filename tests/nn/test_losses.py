"""Losses and metrics match their formulas, with stable gradients for large arguments."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import tapegrad as tg
from tapegrad.testing import check_grads, check_properties
from tapegrad.types import DTypeLike

nn = tg.nn


def reference_softmax(x):
    e = np.exp(x - x.max(axis=-1, keepdims=True))
    return e / e.sum(axis=-1, keepdims=True)


def reference_huber(x, t, delta=1.0):
    size = np.abs(x - t)
    return np.where(size <= delta, size**2 / 2, delta * (size - delta / 2))


def reference_binary(x, t):
    p = 1 / (1 + np.exp(-x))
    return -t * np.log(p) - (1 - t) * np.log(1 - p)


def reference_kl(x, t):
    return np.sum(t * np.log(np.where(t > 0, t, 1) / reference_softmax(x)), axis=-1)


# a loss, its formula for each row or number, and options of both
LOSSES = {
    "mse": (nn.mse_loss, lambda x, t: (x - t) ** 2, {}),
    "l1": (nn.l1_loss, lambda x, t: np.abs(x - t), {}),
    "huber": (nn.huber_loss, reference_huber, {"delta": 0.75}),
    "huber, wide": (nn.huber_loss, reference_huber, {}),
    "binary": (nn.binary_cross_entropy_loss, reference_binary, {}),
    "kl": (nn.kl_loss, reference_kl, {}),
}


@pytest.mark.parametrize("name", LOSSES)
def test_losses_match_their_formulas(name: str) -> None:
    loss, formula, options = LOSSES[name]
    rng = np.random.default_rng(0)
    x, targets = 2 * rng.normal(size=(4, 3)), reference_softmax(rng.normal(size=(4, 3)))
    targets[0] = 0, 1, 0
    want = formula(x, targets, **options)
    for reduction, value in (("none", want), ("sum", np.sum(want)), ("mean", np.mean(want))):
        got = loss(x, targets, reduction=reduction, **options)
        np.testing.assert_allclose(got, value, rtol=1e-12)


@pytest.mark.parametrize("name", LOSSES)
def test_losses_pass_all_checks(name: str) -> None:
    loss, _, options = LOSSES[name]
    rng = np.random.default_rng(1)
    x, targets = 2 * rng.normal(size=(2, 3)), rng.uniform(0.25, 0.75, size=(2, 3))
    fn = lambda x, targets: loss(x, targets, **options)  # noqa: E731
    check_grads(fn, (x, targets), order=1 if "huber" in name else 2)
    check_properties(fn, (x, targets), compiled=True)
    narrow = tg.grad(fn)(x.astype(np.float32), targets.astype(np.float32))
    assert narrow.dtype == np.float32
    assert fn(x.astype(np.float32), targets.astype(np.float32)).dtype == np.float32
    with pytest.raises(ValueError, match=loss.__name__):
        fn(x, targets[:1])
    with pytest.raises(ValueError, match="reduction"):
        loss(x, targets, reduction="all")


@pytest.mark.parametrize("loss", [nn.mse_loss, nn.l1_loss, nn.huber_loss])
@pytest.mark.parametrize("dtype", [np.uint8, np.int8, np.int64, bool])
def test_losses_of_integers_equal_losses_of_floats(
    loss: Callable[..., Any], dtype: DTypeLike
) -> None:
    args = [np.array(x).astype(dtype) for x in ([0, 1, 100], [1, 0, -100])]
    assert loss(*args) == loss(*[x.astype(float) for x in args]) == tg.compile(loss)(*args)


@pytest.mark.parametrize("size", [1e2, 1e4])
def test_binary_cross_entropy_is_stable(size: float) -> None:
    logits, targets = np.array([size, -size, size, -size]), np.array([0, 1, 1, 0])
    losses = nn.binary_cross_entropy_loss(logits, targets, reduction="none")
    np.testing.assert_allclose(losses, [size, size, np.exp(-size), np.exp(-size)], rtol=1e-12)
    g = tg.grad(nn.binary_cross_entropy_loss)(logits, targets, reduction="sum")
    np.testing.assert_allclose(g, [1, -1, -np.exp(-size), np.exp(-size)], rtol=1e-12)
    assert nn.binary_cross_entropy_loss(logits.astype(np.float32), targets).dtype == np.float32


@given(st.integers(0, 100), st.sampled_from([(), (5,), (2, 3)]))
def test_accuracy_is_the_fraction_of_correct_predictions(seed: int, shape: tuple[int, ...]) -> None:
    rng = np.random.default_rng(seed)
    logits, labels = rng.normal(size=(*shape, 3)), rng.integers(0, 3, shape)
    want = np.mean(np.argmax(logits, axis=-1) == labels)
    assert nn.accuracy(logits, labels) == want
    assert tg.compile(nn.accuracy)(logits, labels) == want
    with pytest.raises(ValueError, match="targets"):
        nn.accuracy(logits, np.zeros((*shape, 1), int))
    with pytest.raises(ValueError, match="classes"):
        nn.accuracy(np.array(0.0), np.array(0))


@given(st.sampled_from([(), (4,), (2, 3)]), st.integers(1, 4), st.integers(0, 1000))
def test_cross_entropy_is_minus_the_log_probability_of_the_class(shape, n_classes, seed):
    rng = np.random.default_rng(seed)
    logits = rng.normal(size=(*shape, n_classes)) * 3
    targets = rng.integers(0, n_classes, shape, (np.int64, np.int32, np.uint8)[seed % 3])
    one_hot = np.eye(n_classes)[targets]
    losses = -np.sum(np.log(reference_softmax(logits)) * one_hot, axis=-1)
    weights = rng.normal(size=shape)
    close = {"rtol": 1e-9, "atol": 1e-12}
    loss = tg.nn.cross_entropy_loss
    np.testing.assert_allclose(loss(logits, targets, reduction="none"), losses, **close)
    np.testing.assert_allclose(loss(logits, targets, reduction="sum"), np.sum(losses), **close)
    np.testing.assert_allclose(loss(logits, targets.tolist()), np.mean(losses), **close)
    slope = reference_softmax(logits) - one_hot
    np.testing.assert_allclose(
        tg.grad(loss)(logits, targets), slope / max(targets.size, 1), **close
    )
    (g,) = tg.vjp(lambda x: loss(x, targets, "none"), logits)[1](weights)
    np.testing.assert_allclose(g, slope * np.asarray(weights)[..., None], **close)


@pytest.mark.parametrize("size", [1e2, 1e4, 1e6])
def test_cross_entropy_is_stable(size):
    logits = np.array([[0.0, size], [size, 0.0], [-size, -size]])
    targets = np.array([0, 0, 1])
    loss, g = tg.value_and_grad(lambda x: tg.nn.cross_entropy_loss(x, targets, "sum"))(logits)
    np.testing.assert_allclose(loss, size + np.log(2))
    np.testing.assert_allclose(g, [[-1, 1], [0, 0], [0.5, -0.5]], atol=1e-12)


def test_losses_of_complex_errors_depend_on_absolute_values():
    z, goal = np.array([1 + 2j, -0.5j, 2.0]), np.array([0.5 - 1j, 2.0, 2.0])
    sizes = np.abs(z - goal)
    for loss, want in (
        (tg.nn.mse_loss, sizes**2),
        (tg.nn.l1_loss, sizes),
        (tg.nn.huber_loss, np.where(sizes <= 1, sizes**2 / 2, sizes - 0.5)),
    ):
        got = loss(z, goal, "none")
        assert got.dtype == np.float64
        np.testing.assert_allclose(got, want)
        tg.testing.check_grads(lambda z, loss=loss: loss(z, goal[:2]), (z[:2],))
        tg.testing.check_grads(lambda x, loss=loss: loss(x, goal[:2]), (z.real[:2],))
    np.testing.assert_allclose(tg.grad(tg.nn.mse_loss)(z, goal), 2 / 3 * (z - goal))
    for loss in (tg.nn.binary_cross_entropy_loss, tg.nn.kl_loss):
        for args in ((z, goal.real), (z.real, goal)):
            with pytest.raises(TypeError, match=f"{loss.__name__}.*complex"):
                loss(*args)
    for loss in (tg.nn.cross_entropy_loss, tg.nn.accuracy):
        with pytest.raises(TypeError, match=r"complex|real numbers"):
            loss(z, np.array(0))


def test_one_hot_has_a_one_at_each_label_in_range():
    labels = np.array([[1, 0, 3], [-1, 2, 5]], np.int8)
    for of in (nn.one_hot, tg.compile(nn.one_hot, (1, 2)), tg.vmap(nn.one_hot, (0, None, None))):
        y = of(labels, 4, np.float32)
        assert y.dtype == np.float32
        np.testing.assert_array_equal(y, np.eye(6, 4)[labels])
    for kind, wrong in ((TypeError, (labels * 1.0, 4)), (ValueError, (labels, -1))):
        with pytest.raises(kind, match="one_hot"):
            nn.one_hot(*wrong)
