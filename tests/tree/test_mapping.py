"""A map keeps the structure of a tree, and raises for trees that differ."""

import re

import attrs
import pytest
from hypothesis import given
from trees import TREES, Params, Plain, Point, same

import tapegrad as tg
from tapegrad import tree


@given(TREES)
def test_map_keeps_the_structure(t):
    assert same(tree.map(lambda x: x, t), t)
    mapped = tree.map(lambda *xs: "|".join(map(repr, xs)), t, t, t)
    assert tree.flatten(mapped)[1] == tree.flatten(t)[1]
    assert tree.leaves(mapped) == [f"{x!r}|{x!r}|{x!r}" for x in tree.leaves(t)]


# trees that differ, and the path of the first difference
DIFFERENT = [
    ([1], (1,), "the root"),
    ([1], [1, 2], "the root"),
    ({"a": 1}, {"b": 1}, "the root"),
    ({"a": 1, "b": 2}, {"a": 1}, "the root"),
    (Params(1, 2), Point(1, 2), "the root"),
    (Params(1, None), Params(1, 2), "bias"),
    (Plain(1, 2), Params(1, 2), "the root"),
    ([None], [()], "0"),
    ([], {}, "the root"),
    ((1, 2), Point(1, 2), "the root"),
    (1, [1], "the root"),
    ([1, [2]], [1, 2], "1"),
    ({"w": 1}, {"w": {"a": 1}}, "w"),
    ({"p": [1, Params([1, 2])], "q": 1}, {"p": [1, Params([1])], "q": (1,)}, "p.1.weight"),
]


def test_map_raises_for_different_structures_and_names_the_first_difference():
    for a, b, path in DIFFERENT:
        assert tree.flatten(a)[1] != tree.flatten(b)[1]
        with pytest.raises(ValueError, match=f"differ at {re.escape(path)}: "):
            tree.map(lambda x, y: x, a, b)


@pytest.mark.parametrize("layer", [tg.nn.Linear(2, 1), tg.nn.Embedding(3, 2)])
def test_function_shares_frozen_parameters_and_copies_lists(layer):
    params = layer.init(0)
    assert tree.copy_containers(params) is params
    held = attrs.evolve(params, weight=[params.weight])
    other = tree.copy_containers(held)
    assert other is not held
    assert other.weight is not held.weight
    assert other.weight[0] is params.weight
