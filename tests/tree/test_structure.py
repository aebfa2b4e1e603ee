"""Unflatten restores a flattened tree, and paths lead to its leaves."""

import dataclasses
import pickle
from collections import OrderedDict
from typing import Any

import attrs
import numpy as np
import pytest
from hypothesis import given
from trees import TREES, Empty, Nothing, Params, Plain, Private, Sealed, same

import tapegrad as tg
from tapegrad import tree


@attrs.define
class Computed:
    x: Any
    double: Any = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        self.double = self.x * 2


@pytest.mark.parametrize("make", [lambda x: x, lambda x: [x], lambda x: {"a": (x,)}])
def test_flatten_raises_for_a_tensor_in_a_computed_field(make):
    assert tg.tree.leaves(make(Computed(2.0))) == [2.0]
    for transform in (tg.jacobian, tg.compile, lambda f: lambda x: tg.vjp(f, x)):
        with pytest.raises(TypeError, match=r"double of Computed has init=False"):
            transform(lambda x: make(Computed(x)))(2.0)


@given(TREES)
def test_flatten_and_unflatten_are_inverse(t):
    before = repr(t)
    leaves, structure = tree.flatten(t)
    new = tree.unflatten(structure, leaves)
    assert same(new, t)
    assert same(tree.leaves(t), leaves)
    if isinstance(t, list | dict):
        new.clear()
    others = [object() for _ in range(structure.size)]
    again, structure_again = tree.flatten(tree.unflatten(structure, iter(others)))
    assert all(a is b for a, b in zip(again, others, strict=True))
    assert structure_again == structure
    assert repr(t) == before


def walk(t: Any, path: tuple[str, ...] = ()) -> list[tuple[str, Any]]:
    """Return leaves with their paths, by a separate implementation."""
    if isinstance(t, dict):
        children = [(str(key), x) for key, x in t.items()]
    elif isinstance(t, tuple) and hasattr(t, "_fields"):
        children = list(zip(t._fields, t, strict=True))
    elif isinstance(t, list | tuple):
        children = [(str(i), x) for i, x in enumerate(t)]
    elif attrs.has(type(t)):
        children = [(f.name, getattr(t, f.name)) for f in attrs.fields(type(t)) if f.init]
    elif dataclasses.is_dataclass(t):
        children = [(f.name, getattr(t, f.name)) for f in dataclasses.fields(t)]
    elif t is None:
        children = []
    else:
        return [(".".join(path), t)]
    return [pair for name, x in children for pair in walk(x, (*path, name))]


@given(TREES)
def test_paths_lead_to_the_leaves(t):
    assert list(zip(tree.paths(t), tree.leaves(t), strict=True)) == walk(t)
    assert tree.named_leaves(t, "") == walk(t)
    named = [(f"t.{path}" if path else "t", leaf) for path, leaf in walk(t)]
    assert tree.named_leaves(t, "t") == named


LEAVES = [1, "text", b"bytes", {1, 2}, np.ones(3), OrderedDict(a=1), range(3), int, Params, Plain]
LEAVES += [object(), tg.Tape(), tg.add, tg.grad(tg.tanh), tg.vjp(tg.tanh, 1.0)[1]]
LEAVES += [tg.Tape().parameter(1.0)[1]]


def test_other_objects_are_leaves():
    for leaf in LEAVES:
        leaves, structure = tree.flatten([leaf])
        assert leaves[0] is leaf
        assert structure.size == 1
    empty = [None, (), [], {}, Empty(), Nothing()]
    assert tree.leaves(empty) == []
    assert same(tree.map(str, empty), empty)
    assert tree.paths(3.0) == [""]


def test_layers_optimizers_and_functions_are_leaves_of_arguments():
    model = tg.nn.Sequential(tg.nn.Linear(2, 3), tg.nn.Tanh())
    cell, optimizer = tg.nn.RNNCell(2, 3, 4, activation="tanh"), tg.optim.SGD(0.1, momentum=0.9)
    nodes = {"layers": [model, cell], "optimizer": optimizer}
    assert tree.map(lambda x: x, nodes) == nodes
    params, x = model.init(0), np.ones((4, 2))
    assert tree.paths(params) == ["0.weight", "0.bias"]
    output, _ = tg.record(lambda model, f, params, x: f(model(params, x)))(
        model, tg.tanh, params, x
    )
    np.testing.assert_array_equal(output.value, np.tanh(model(params, x)))
    g = tg.grad(lambda params, model: tg.sum(model(params, x)))(params, model)
    assert tree.flatten(g)[1] == tree.flatten(params)[1]
    t = {"a": [1, (2,)], "b": None, "c": Params(1, 2), "d": ()}
    assert repr(tree.flatten(t)[1]) == "{'a': [*, (*,)], 'b': None, 'c': Params(*, *), 'd': ()}"
    # the keys of the first tree decide the order
    mapped = tree.map(lambda x, y: (x, y), {"b": 1, "a": 2, 3: 3}, {3: "3", "a": "2", "b": "1"})
    assert list(mapped.items()) == [("b", (1, "1")), ("a", (2, "2")), (3, (3, "3"))]


@given(TREES)
def test_structures_compare_hash_and_pickle_by_content(t):
    _, structure = tree.flatten(t)
    _, other = tree.flatten(tree.map(lambda x: 0, t))
    assert structure == other
    assert hash(structure) == hash(other)
    assert pickle.loads(pickle.dumps(structure)) == structure
    assert repr(structure) == repr(other)


def test_unflatten_counts_the_leaves():
    _, structure = tree.flatten({"a": 1, "b": [2]})
    for leaves in ([], [1], [1, 2, 3]):
        with pytest.raises(ValueError, match="leaves"):
            tree.unflatten(structure, leaves)
    assert tree.unflatten(structure, iter("xy")) == {"a": "x", "b": ["y"]}
    with pytest.raises(TypeError, match="flatten"):
        tree.unflatten([1, 2], structure)
    with pytest.raises(TypeError, match="flatten"):
        tree.unflatten(leaves, structure)


def test_unflatten_calls_the_init_of_classes():
    @attrs.frozen
    class Checked:
        value: Any = attrs.field(converter=lambda x: x * 2)

    assert tree.map(lambda x: x + 1, Checked(1)) == Checked(3)
    private = Private(1, given=2, last=3)
    assert tree.paths(private) == ["_hidden", "shown", "last"]
    assert tree.map(lambda x: x * 10, private) == Private(10, given=20, last=30)


@dataclasses.dataclass
class Derived:
    given: Any
    total: Any = dataclasses.field(init=False, default=0.0)


@dataclasses.dataclass
class Scaled:
    given: Any
    scale: dataclasses.InitVar[float] = 2.0

    def __post_init__(self, scale):
        self.given = self.given * scale


@dataclasses.dataclass(init=False)
class Renamed:
    given: Any

    def __init__(self, start):
        self.given = start


@pytest.mark.parametrize(
    ("tree_", "name"), [(Derived(1.0), "total"), (Scaled(1.0), "scale"), (Renamed(1.0), "start")]
)
def test_flatten_raises_for_a_dataclass_with_other_init_arguments(tree_, name):
    for call in (
        lambda: tree.flatten([tree_]),
        lambda: tree.map(abs, tree_),
        lambda: tg.grad(lambda p: p.given)(tree_),
        lambda: tg.record(lambda p: p.given)(tree_),
        lambda: tg.vjp(lambda x: tree_, 1.0),
    ):
        with pytest.raises(TypeError, match=rf"{type(tree_).__name__}.*{name}"):
            call()


def test_dataclass_is_differentiated_and_compiled():
    def combine(p, q):
        return Sealed(first=p.weight * q.first, rest=[p.bias], last=q.last)

    p, q = Plain(np.array([1.0, 2.0]), 3.0), Sealed(first=5.0, last=7.0)
    output, pullback = tg.vjp(combine, p, q)
    assert type(output) is Sealed
    dp, dq = pullback(Sealed(first=np.ones(2), rest=[1.0], last=11.0))
    np.testing.assert_array_equal(dp.weight, [5.0, 5.0])
    assert dp.bias == 1.0
    assert dq == Sealed(first=3.0, rest=[], last=11.0)
    compiled = tg.compile(combine)
    for _ in range(2):
        again = compiled(p, q)
        assert type(again) is Sealed
        np.testing.assert_array_equal(again.first, output.first)
        assert (again.rest, again.last) == ([3.0], 7.0)
