"""A name of an argument means its position; the diagonal of a Hessian is that of the Hessian."""

import functools
import pickle
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from alike import same_bits
from hypothesis import given
from messages import Refusal, check_refusals

import tapegrad as tg
from tapegrad.domain import Elements
from tapegrad.testing import arrays
from tapegrad.types import Array

P, X = {"w": np.array([0.5, -1.0])}, np.array([2.0, 3.0])


def loss(p: dict[str, Array], x: Array, *, scale: Array | float = 2.0) -> Array:
    return tg.sum(p["w"] ** 3 * x**2) * scale**2


TRANSFORMS = [
    *(tg.grad, tg.value_and_grad, tg.hessian, tg.hessian_diag),
    *(tg.jacobian, tg.value_and_jacobian),
]


@pytest.mark.parametrize("transform", TRANSFORMS)
def test_a_name_means_its_position_and_its_keyword(transform: Callable[..., Any]) -> None:
    for names, argnums in (("p", 0), ("x", 1), (("x",), (1,)), (("x", "p"), (1, 0)), (["p"], (0,))):
        want = transform(loss, argnums)(P, X, scale=1.5)
        by_name = transform(loss, argnames=names)
        assert same_bits(by_name(P, X, scale=1.5), want)
        assert same_bits(by_name(P, x=X, scale=1.5), want)
        assert same_bits(by_name(scale=1.5, x=X, p=P), want)
    # an argument that no position means
    want = transform(lambda p, x, scale: loss(p, x, scale=scale), (2, 0))(P, X, 1.5)
    assert same_bits(transform(loss, argnames=("scale", "p"))(P, x=X, scale=1.5), want)
    assert same_bits(
        pickle.loads(pickle.dumps(transform(loss, argnames="x")))(P, X), transform(loss, 1)(P, X)
    )


def test_names_reach_through_transforms_methods_and_keywords() -> None:
    twice = tg.grad(tg.grad(lambda x, k: tg.sum(x**3) * k, argnames="x"), argnames="x")
    assert twice(x=2.0, k=5.0) == 60.0
    compiled = tg.compile(tg.grad(loss, argnames=("scale", "x")))
    assert same_bits(
        compiled(P, X, scale=1.5), tg.grad(loss, argnames=("scale", "x"))(P, X, scale=1.5)
    )

    class Model:
        def __call__(self, w: Array, x: Array) -> Array:
            return tg.sum(w * x)

        def loss(self, w: Array, x: Array) -> Array:
            return self(w, x) ** 2

    assert same_bits(tg.grad(Model().loss, argnames="x")(X, X), tg.grad(Model().loss, 1)(X, X))
    assert same_bits(tg.grad(Model(), argnames="x")(X, X), X)
    assert same_bits(
        tg.grad(lambda **arrays: tg.sum(arrays["a"] * 2.0), argnames="a")(a=X), [2.0, 2.0] + 0 * X
    )
    value, aux = tg.grad(lambda x, y: (x * y, y), has_aux=True, argnames="y")(2.0, y=3.0)
    assert (value, aux) == (2.0, 3.0)


@pytest.mark.parametrize("transform", TRANSFORMS)
def test_a_name_that_means_nothing_is_refused(transform: Callable[..., Any]) -> None:
    of = functools.partial(transform, loss)
    of_scale = of(argnames="scale")
    refused: list[Refusal] = [
        (
            ValueError,
            lambda: of(argnames=("p", "w")),
            "no argument 'w' for argnames; it takes p, x",
        ),
        (ValueError, lambda: of(1, argnames="p"), "argnums or argnames, not both: 1 and 'p'"),
        (TypeError, lambda: of(argnames=(0,)), "argnames must be the name of an argument"),
        (TypeError, lambda: of_scale(P, X), "without scale, which argnames names"),
        (TypeError, lambda: of_scale(P, X, scale={"n": 3}), "scale.n, which is int 3"),
    ]
    check_refusals(refused)


# --- hessian_diag -------------------------------------------------------------------------


@given(arrays(None, Elements(-1.5, 1.5)))
def test_the_diagonal_is_that_of_the_hessian(x: Array) -> None:
    def fn(p: dict[str, Array]) -> Array:
        return tg.sum(np.sin(p["x"]) * np.roll(p["x"], 1) ** 2) * p["y"] ** 3 + tg.sum(p["x"])

    p = {"x": x, "y": np.asarray(1.5, x.dtype)}
    diagonal, hessian = tg.hessian_diag(fn)(p), tg.hessian(fn)(p)
    eps = 64 * np.finfo(x.dtype).eps
    for name, leaf in p.items():
        n = leaf.size
        whole = np.asarray(hessian[name][name], np.float64).reshape(n, n)
        assert (diagonal[name].shape, diagonal[name].dtype) == (leaf.shape, leaf.dtype)
        size = np.max(np.abs(whole), initial=1.0)
        np.testing.assert_allclose(
            diagonal[name].ravel(), np.diagonal(whole), rtol=eps, atol=eps * size
        )


def test_what_is_not_finite_elsewhere_is_no_part_of_the_diagonal() -> None:
    def fn(x: Array) -> Array:
        return x[0] ** 2 + (x[0] * 1e200) * (x[1] * 1e200)

    with np.errstate(over="ignore"):
        assert np.isinf(tg.hessian(fn)(np.array([2.0, 0.0]))[0, 1])
        assert tg.hessian_diag(fn)(np.array([2.0, 0.0])).tolist() == [2.0, 0.0]
    assert tg.hessian_diag(lambda x: tg.sum(3.0 * x))(X).tolist() == [0.0, 0.0]
    with pytest.raises(TypeError, match="a gradient needs a scalar"):
        tg.hessian_diag(lambda x: x * x)(X)
