"""vjp, jvp, linearize and hvp are products with the Jacobian and the Hessian, of trees too."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from mappings import VECTORS, Pair, close, mix_elements, mixed_jacobian
from trees import Checked

import tapegrad as tg


@given(VECTORS, VECTORS, VECTORS)
def test_vjp_and_jvp_agree_with_the_jacobian(x, u, v):
    want = mixed_jacobian(x)
    output, pullback = tg.vjp(mix_elements, x)
    same, tangent = tg.jvp(mix_elements, (x,), (v,))
    np.testing.assert_array_equal(output, same)
    close(tangent, want @ v)
    close(pullback(u)[0], u @ want)
    # as often as one likes
    assert pullback(u)[0].tobytes() == pullback(u)[0].tobytes()
    close(tg.jacobian(mix_elements)(x), want)


def test_jvp_of_a_rule_with_one_cotangent_for_two():
    total = tg.custom_op(vjps=(lambda g, y, a, b: g, lambda g, y, a, b: g))(lambda a, b: a + b)
    assert tg.jvp(total, (1.0, 2.0), (10.0, 100.0)) == (3.0, 110.0)
    x, b = np.ones((2, 3)), np.ones(3)
    tangent = tg.jvp(total, (x, b), (10 * x, np.arange(3.0)))[1]
    np.testing.assert_array_equal(tangent, [[10.0, 11.0, 12.0]] * 2)


def test_hvp_of_several_arguments_is_a_tuple():
    def fn(a, b):
        return a * a * b

    first, second = tg.hvp(fn, (2.0, 3.0), (1.0, 10.0))
    assert (first, second) == (2 * 3.0 + 4.0 * 10, 4.0)


def several(x):
    return {"pair": Pair(2 * x, [3 * x, 5 * x]), "alone": 7 * x}


@given(st.lists(st.booleans(), min_size=4, max_size=4), st.booleans(), st.booleans())
def test_pullback_takes_none_for_a_zero_cotangent(left_out, whole, plain):
    a, b, c, d = (None if none else 1.0 for none in left_out)
    pair: Any = (a, [b, c]) if plain else Pair(a, [b, c])
    if whole:
        pair, left_out = None, [True, True, True, left_out[3]]
    (g,) = tg.vjp(several, 1.0)[1]({"pair": pair, "alone": d})
    assert g == sum(w for w, none in zip((2, 3, 5, 7), left_out, strict=True) if not none)


@given(st.lists(st.booleans(), min_size=3, max_size=3), st.booleans())
def test_a_tangent_none_is_zero(left_out, whole):
    def f(pair, c):
        return pair.first * pair.second[0], c * pair.second[0]

    left_out = [left_out[0] or whole, left_out[1] or whole, left_out[2]]
    given = [None if none else 1.0 for none in left_out]
    zeros = [0.0 if none else 1.0 for none in left_out]
    primals = (Pair(2.0, [3.0]), 5.0)
    want = tg.jvp(f, primals, (Pair(zeros[0], [zeros[1]]), zeros[2]))[1]
    tangents = (None if whole else Pair(given[0], [given[1]]), given[2])
    assert tg.jvp(f, primals, tangents)[1] == want
    assert tg.linearize(f, *primals)[1](*tangents) == want


@pytest.mark.parametrize(
    "function", [np.linalg.eigh, np.linalg.svd, np.linalg.qr, np.linalg.slogdet]
)
def test_pullback_takes_a_plain_tuple_for_a_named_one(function):
    x = np.array([[2.0, 1.0], [1.0, 3.0]])
    output, pullback = tg.vjp(function, x)
    weights = tg.tree.map(lambda y: np.cos(np.arange(np.size(y))).reshape(np.shape(y)), output)
    np.testing.assert_array_equal(pullback(tuple(weights))[0], pullback(weights)[0])
    # but not one that is longer, nor a list
    for wrong in ((*weights, 1.0), list(weights)):
        with pytest.raises(ValueError, match="the trees differ"):
            pullback(wrong)


# --- linearize --------------------------------------------------------------------------------


@given(VECTORS, VECTORS, VECTORS)
def test_a_linearization_is_transposed_without_another_recording(x, u, v):
    calls = []

    def fn(x, n):
        calls.append(None)
        return {"y": mix_elements(x) * n, "s": tg.sum(x)}

    want, pullback = tg.vjp(fn, x, 2.0)
    calls.clear()
    output, push = tg.linearize(fn, x, 2.0)
    c = {"y": u, "s": 3.0}
    assert tg.tree.all_close(output, want)
    assert tg.tree.all_close(push.transpose(c), pullback(c))
    assert push.transpose(None)[1] == 0.0
    # <c, J v> is <J.T c, v>
    tangent, (gx, gn) = push(v, 0.5), push.transpose(c)
    close(np.dot(u, tangent["y"]) + 3.0 * tangent["s"], np.dot(gx, v) + gn * 0.5)
    rows = tg.vmap(push.transpose)({"y": np.eye(3), "s": np.zeros(3)})
    close(rows[0], 2 * mixed_jacobian(x))
    assert len(calls) == 1


def test_trees_hold_nothing_but_arrays_at_any_time():
    one, two = Checked(np.ones(2)), Checked(np.full(2, 2.0))
    doubled = lambda s: Checked(2 * s.x)  # noqa: E731
    output, pull = tg.vjp(doubled, one)
    _, push = tg.linearize(doubled, one)
    by_hand = tg.custom_vjp(lambda g, y, s: (Checked(2 * g.x),))(doubled)
    results = (
        *(
            output,
            pull(one)[0],
            push(one),
            push.transpose(one)[0],
            tg.jvp(doubled, (one,), (one,))[1],
        ),
        tg.grad(lambda s: tg.sum(by_hand(s).x))(one),
    )
    assert all(tg.tree.all_close(result, two) for result in results)
    optimizer = tg.optim.SGD(0.1)
    with pytest.raises(
        ValueError, match=r"params.x is float64 \(2,\), but grads.x is float64 \(3,\)"
    ):
        optimizer.update(one, Checked(np.ones(3)), optimizer.init(one))
