"""No Tensor is lost in an object that is no tree."""

import itertools
from collections import OrderedDict
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from messages import check_refusals
from trees import HOLDERS, Holder, objects

import tapegrad as tg
from tapegrad.tree.opaque import tensor_inside
from tapegrad.types import Array


def square(p: Array) -> Array:
    return p * p


class Slotted:
    __slots__ = ("inside",)

    def __init__(self, inside: Any):
        self.inside = inside


def make_cycle(x):
    box = Holder([None, x])
    box.inside[0] = box
    return box


HIDING = {
    **HOLDERS,
    "slots": Slotted,
    "subclass of slots": type("Both", (Slotted,), {}),
    "boxes in boxes": lambda x: Slotted(Holder({1: (Slotted([{x}]),)})),
    "loop": make_cycle,
    "ordered": lambda x: OrderedDict(x=x),
    "objects in a field": lambda x: objects((1.0, [x]), [("a", float), ("b", object)]),
    "generator": lambda x: (y for y in [x]),
    "map": lambda x: map(abs, [x]),
    "chain": lambda x: itertools.chain([1], [x]),
    "items": lambda x: {1: x}.items(),
    "keys": lambda x: {x: 1}.keys(),
    "key": lambda x: OrderedDict({x: 1}),
    "error": ValueError,
    "slice": slice,
    "checkpoint": lambda x: tg.checkpoint(lambda y: x * y),
}


TRANSFORMS: list[Any] = [
    lambda f: tg.jvp(f, (2.0,), (1.0,)),
    lambda f: tg.vjp(f, 2.0),
    lambda f: tg.jacobian(f)(2.0),
    lambda f: tg.grad(lambda x: (x, f(x)), has_aux=True)(2.0),
    lambda f: tg.grad(lambda x: tg.stop_gradient([f(x)]) and x)(2.0),
    lambda f: tg.grad(lambda x: tg.checkpoint(f)(x) and x)(2.0),
    lambda f: tg.compile(f)(2.0),
    lambda f: tg.grad(lambda x: tg.custom_vjp(lambda g, y, *xs: xs)(len)(f(x)) and x)(2.0),
]


@pytest.mark.parametrize("transform", TRANSFORMS)
def test_tensor_in_an_opaque_object_raises(transform):
    check_refusals([(TypeError, f, "not a tree") for f in HIDING.values()], transform)


# a global of this module, which no object above holds
_, GLOBAL = tg.Tape().parameter(1.0)


def test_opaque_object_may_hold_anything_else():
    for hide in HIDING.values():
        item = hide(3.0)
        _, aux = tg.grad(lambda x, t=item: (x * x, [t, len, int]), has_aux=True)(2.0)
        assert aux[1:] == [len, int]
        assert tg.stop_gradient([item])[0] is not None
        checkpointed = tg.checkpoint(lambda x, t=item: (x * x, t))
        assert tg.grad(lambda x, f=checkpointed: f(x)[0])(2.0) == 4.0


def test_error_for_a_container_names_attrs():
    with pytest.raises(TypeError, match="attrs class"):
        tg.grad(lambda p: p.inside)(Holder(2.0))


@given(st.data())
def test_tensor_in_nested_objects_raises(data):
    boxes = data.draw(st.lists(st.sampled_from(sorted(HIDING)), min_size=1, max_size=6))
    # elements of a set and keys of a dict must be hashable
    boxes = [name for name in boxes if name not in ("set", "keys", "key", "boxes in boxes")]

    def wrap_in_boxes(x):
        for name in boxes or ["set"]:
            x = HIDING[name](x)
        return x

    with pytest.raises(TypeError, match=r"line 0 of the tape.*not a tree"):
        tg.vjp(wrap_in_boxes, 2.0)
    assert tensor_inside(wrap_in_boxes(2.0)) is None


def test_tensor_in_a_compiled_function_with_passes_raises():
    many = [[[i, j] for i in range(50)] for j in range(50)]

    def return_program(program, remembered=many):
        return program

    def hide_in_passes(x):
        for name in ("slots", "object", "checkpoint"):
            x = HIDING[name](x)
        return tg.compile(lambda y: (x, y), passes=(return_program,))

    with pytest.raises(TypeError, match=r"line 0 of the tape.*not a tree"):
        tg.vjp(hide_in_passes, 2.0)


def test_search_consumes_nothing_of_an_iterator():
    assert list(tg.grad(lambda x: (x, iter([1, 2])), has_aux=True)(2.0)[1]) == [1, 2]


def test_search_skips_globals_of_a_function(monkeypatch):
    _, tensor = tg.Tape().parameter(1.0)
    monkeypatch.setitem(globals(), "KEPT", tensor)
    assert tg.grad(lambda x: (x, square), has_aux=True)(2.0)[1] is square
    assert tg.grad(lambda x: (x, pytest), has_aux=True)(2.0)[1] is pytest


def test_tape_and_pullback_may_hold_tensors_except_in_a_program():
    for make in (lambda x: tg.record(square)(x)[1], lambda x: tg.vjp(square, x)[1]):
        aux = tg.grad(lambda x, make=make: (x, {"kept": make(x)}), has_aux=True)(2.0)[1]
        assert type(aux["kept"]) in (tg.Tape, type(tg.vjp(square, 1.0)[1]))
        with pytest.raises(TypeError, match="not a tree"):
            tg.compile(make)(2.0)
