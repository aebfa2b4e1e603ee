"""Wrapped functions keep their argument names and bind to instances as functions do."""

import functools
from collections.abc import Callable
from typing import Any
from unittest.mock import Mock

import attrs
import numpy as np
import pytest

import tapegrad as tg
from tapegrad.errors.functions import argument_names
from tapegrad.types import Array


def loss(self: Any, x: Array) -> Array:
    """Return the loss of a model at x."""
    return np.sum((self.w * x) ** 2)


WRAPPERS = {
    "compile": tg.compile,
    "grad": tg.grad,
    "grad of x": functools.partial(tg.grad, argnums=1),
    "grad by name": functools.partial(tg.grad, argnames="x"),
    "value_and_grad": tg.value_and_grad,
    "compile of grad": lambda fn: tg.compile(tg.grad(fn)),
    "jacobian": functools.partial(tg.jacobian, argnums=1),
    "hessian": functools.partial(tg.hessian, argnums=1),
    "vmap": functools.partial(tg.vmap, in_axes=(None, 0)),
    "checkpoint": tg.checkpoint,
    "custom_vjp": tg.custom_vjp(lambda g, y, self, x: (None, g * self.w)),
}


@attrs.frozen
class Model:
    """A model whose methods are transforms of its loss."""

    w: Any
    compiled = tg.compile(loss)
    slope = tg.grad(loss)

    @tg.compile
    def step(self, x: Array) -> "Model":
        return attrs.evolve(self, w=self.w - 0.1 * self.slope(x).w)

    @functools.partial(tg.compile, static_argnums=2)
    def scale(self, x: Array, times: int = 2) -> Array:
        return self.w * x * times

    @tg.compile
    def __call__(self, x: Array) -> Array:
        return self.w * x

    @staticmethod
    @tg.compile
    def double(x: Array) -> Array:
        return 2 * x


MODEL, X = Model(np.array([1.0, 2.0])), np.array([0.5, -1.0])


@pytest.mark.parametrize("name", WRAPPERS)
def test_wrapper_binds_to_an_instance_as_a_function_does(name: str) -> None:
    wrapper = WRAPPERS[name](loss)

    class Holder(Model):
        method = wrapper

    holder = Holder(MODEL.w)
    assert Holder.method is wrapper
    for got, wanted in zip(
        tg.tree.leaves(holder.method(X)), tg.tree.leaves(wrapper(holder, X)), strict=True
    ):
        np.testing.assert_array_equal(got, wanted)
    assert holder.method.__name__ == wrapper.__name__
    assert argument_names(wrapper, 2) == ("self", "x")
    assert argument_names(holder.method, 1) == ("x",)


def test_method_is_compiled_once_for_all_instances() -> None:
    first, second = MODEL.step(X), MODEL.step(X).step(X)
    np.testing.assert_allclose(first.w, MODEL.w * (1 - 0.2 * X**2))
    np.testing.assert_allclose(second.w, MODEL.w * (1 - 0.2 * X**2) ** 2)
    assert len(Model.step.signatures) == 1
    np.testing.assert_array_equal(MODEL.scale(X, 3), MODEL.w * X * 3)
    np.testing.assert_array_equal(MODEL(X), MODEL.w * X)
    np.testing.assert_array_equal(Model.double(X), MODEL.double(X))
    assert "self.w" in str(Model.step.program(MODEL, X))


def test_wrapped_method_can_be_transformed_again() -> None:
    np.testing.assert_array_equal(tg.grad(MODEL.compiled)(X), 2 * MODEL.w**2 * X)
    np.testing.assert_array_equal(tg.grad(MODEL.compiled, argnames="x")(x=X), 2 * MODEL.w**2 * X)
    with pytest.raises(TypeError, match="with respect to x, which is str"):
        tg.grad(MODEL.compiled)("text")


def test_function_that_wraps_itself_is_compiled() -> None:
    stub = Mock(side_effect=loss)
    stub.__wrapped__ = stub
    np.testing.assert_array_equal(tg.compile(stub)(MODEL, X), loss(MODEL, X))


def test_method_of_an_object_that_is_no_tree_raises_with_remedy() -> None:
    class Plain:
        def __init__(self) -> None:
            self.w = np.ones(2)

        compiled = tg.compile(loss)
        slope = tg.grad(loss)
        slope_of_x = tg.grad(loss, argnums=1)

    with pytest.raises(TypeError, match=r"argument 0 holds a Plain.* make its class frozen"):
        Plain().compiled(X)
    with pytest.raises(TypeError, match=r"with respect to self, which is Plain"):
        Plain().slope(X)
    np.testing.assert_array_equal(Plain().slope_of_x(X), 2 * X)


@pytest.mark.parametrize("run", [tg.record, tg.grad, tg.compile, lambda f: tg.grad(tg.grad(f))])
def test_error_has_one_note_for_each_argument_that_is_a_list(run: Callable[..., Any]) -> None:
    def notes_of(fn: Callable[..., Any], *args: Any) -> list[str]:
        with pytest.raises((TypeError, AttributeError)) as caught:
            run(fn)(*args)
        return getattr(caught.value, "__notes__", [])

    note = "x is a list; write np.array(x) where an array is meant"
    assert notes_of(lambda x: x.sum(), [[1.0, 2.0], [3.0]]) == [note]
    assert [note[:1] for note in notes_of(lambda x, y: x - y, [1.0, 2.0], [3.0])] == ["x", "y"]
    assert notes_of(lambda x: tg.sum(x * 2.0), [1.0]) == [note]
    if run is not tg.compile:
        assert notes_of(lambda x: np.sum(x), [1.0]) == [note]
    assert notes_of(lambda x, y: x - y, [np.ones(2)], (1.0,)) == []
    assert notes_of(lambda x, y: y.no_such_name, [1.0], 2.0) == []
