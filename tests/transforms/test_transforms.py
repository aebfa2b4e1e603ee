"""All transforms keep names, hand on aux and other leaves, and refuse in the same words."""

import inspect

import numpy as np
import pytest
from messages import Refusal, check_refusals

import tapegrad as tg
from tapegrad.types import Array


def test_transforms_keep_name_docstring_and_signature():
    def loss(params: Array | float, x: Array | float = 1.0) -> Array:
        """How wrong it is."""
        return params * x

    derivatives = (tg.grad, tg.value_and_grad, tg.jacobian, tg.hessian)
    custom = tg.custom_op(vjps=(None, None)), tg.custom_vjp(lambda g, y, params, x: (g, g))
    for transform in (*derivatives, tg.checkpoint, tg.compile, tg.vmap, *custom):
        made = transform(loss)
        assert made.__name__ == "loss"
        assert made.__doc__ == "How wrong it is."
        # an op has a copy, apart from the caller's defaults
        assert made.__wrapped__ is loss or type(made) is tg.Op
        assert inspect.signature(made) == inspect.signature(loss)
    assert repr(tg.vjp(loss, 2.0, 3.0)[1]) == "<pullback over 3 records of loss>"
    assert repr(tg.linearize(loss, 2.0, 3.0)[1]) == "<pushforward over 3 records of loss>"


@pytest.mark.parametrize("leaf", ["text", np.sin, np.dtype("f4"), ..., slice(1), b"b"])
def test_transforms_hand_on_what_is_no_number(leaf):
    def fn(x):
        return {"y": x**2, "other": leaf, "count": 3}

    x = np.array([1.0, 2.0])
    zero = np.zeros(2)
    for found, count in (
        (tg.vmap(fn)(np.ones((2, 2))), [3, 3]),
        (tg.compile(fn)(x), 3),
        (tg.vjp(fn, x)[0], 3),
        (tg.jvp(fn, (x,), (x,))[1], 0),
        (tg.linearize(fn, x)[1](x), 0),
        (tg.jacobian(fn)(x), zero),
        (tg.jacobian(fn, mode="forward")(x), zero),
        *zip(tg.value_and_jacobian(fn)(x), (3, zero), strict=True),
        (tg.jacobian(fn, argnums=(0,))(x), (zero,)),
    ):
        assert found["other"] is leaf
        np.testing.assert_array_equal(found["count"], count)
    push = tg.linearize(fn, x)[1]
    np.testing.assert_array_equal(push.transpose(push(x))[0], 4 * x**3)


def test_transforms_hand_aux_on():
    def fn(x):
        return tg.sum(x**3), {"x": x * 2, "text": "t", "none": None}

    x = np.array([1.0, 2.0])
    output, pullback, aux = tg.vjp(fn, x, has_aux=True)
    same, tangent, aux2 = tg.jvp(fn, (x,), (x,), has_aux=True)
    (value, aux3), slope = tg.value_and_grad(fn, has_aux=True)(x)
    hessian, aux4 = tg.hessian(fn, has_aux=True)(x)
    assert output == same == value == 9.0
    assert tangent == 3 + 24
    np.testing.assert_array_equal(hessian, np.diag(6 * x))
    derived = [t(fn, has_aux=True)(x) for t in (tg.grad, tg.jacobian)]
    for g in (pullback(1.0)[0], slope, *[g for g, _ in derived]):
        np.testing.assert_array_equal(g, 3 * x**2)
    for found in (aux, aux2, aux3, aux4, *[y for _, y in derived]):
        assert (found["text"], found["none"]) == ("t", None)
        assert type(found["x"]) is np.ndarray
        np.testing.assert_array_equal(found["x"], 2 * x)


def square(p: Array | float) -> Array:
    return p * p


def first(p: dict[str, list[Array]]) -> Array:
    return p["a"][0]


V = np.ones(2)
REFUSED: list[Refusal] = [
    *[
        (TypeError, lambda d=derive, y=y: d(lambda x: y), f"no derivative|({kinds})")
        for y, kinds in ((np.arange(2), "int64"), ("a", "str"), (3, "int"))
        for derive in (
            lambda fn: tg.jvp(fn, (V,), (V,)),
            lambda fn: tg.vjp(fn, V),
            lambda fn: tg.jacobian(fn)(V),
        )
    ],
    (TypeError, lambda: tg.jvp(tg.sum, V, (V,)), "primals must be a tuple|(x,)"),
    (TypeError, lambda: tg.jvp(tg.sum, (V,), V), "tangents must be a tuple|an array"),
    (TypeError, lambda: tg.hvp(tg.sum, V, (V,)), "primals must be a tuple"),
    (TypeError, lambda: tg.hvp(tg.sum, (V,), V), "tangents must be a tuple"),
    (
        ValueError,
        lambda: tg.jvp(first, ({"a": [2.0, 3.0]},), ({"a": [1.0, V]},)),
        "tangent of p.a.1 has shape (2,), its primal ()",
    ),
    (TypeError, lambda: tg.jvp(square, (2.0,), (1j,)), "tangent of p must be real|not complex"),
    (TypeError, lambda: tg.jvp(square, (2.0,), ("x",)), "tangent of p must be real numbers"),
    (TypeError, lambda: tg.vjp(square, 2.0)[1](1j), "the cotangent must be real numbers"),
    (ValueError, lambda: tg.vjp(square, 2.0)[1]((1.0,)), "must be the same"),
    (ValueError, lambda: tg.linearize(square, V)[1](np.ones(3)), "the tangent of p has shape (3,)"),
    (ValueError, lambda: tg.linearize(square, V)[1](V, V), "1 primals but 2 tangents"),
    (
        ValueError,
        lambda: tg.linearize(square, np.ones(3))[1].transpose(V),
        "the cotangent has shape (2,), its output (3,)",
    ),
    *[
        (TypeError, lambda t=t: t("relu"), "a function is needed, not 'relu', a str")
        for t in (tg.grad, tg.record, tg.checkpoint, lambda f: tg.vjp(f, 1.0))
    ],
    *[
        (ValueError, lambda t=t: t(square, mode="both"), "or None, not 'both'")
        for t in (tg.jacobian, tg.value_and_jacobian)
    ],
    (
        TypeError,
        lambda: tg.vjp(tg.sum, V, has_aux=True),
        "with has_aux, sum must return (value, aux",
    ),
    (TypeError, lambda: tg.jvp(tg.sum, (V,), (V,), has_aux=True), "with has_aux, sum must"),
    (TypeError, lambda: tg.jacobian(tg.sum, has_aux=True)(V), "with has_aux, sum must return"),
]


def test_transforms_say_what_they_cannot_take():
    check_refusals(REFUSED)
