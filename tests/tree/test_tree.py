"""Parameter trees: taken apart, put together, mapped and named."""

import dataclasses
import pickle
import re
from collections import OrderedDict
from typing import Any, ClassVar, NamedTuple

import attrs
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import tapegrad as tg
from tapegrad import tree
from tapegrad.testing import arrays


class Point(NamedTuple):
    x: Any
    y: Any


class Nothing(NamedTuple):
    pass


@attrs.frozen
class Params:
    weight: Any
    bias: Any = None


@attrs.frozen
class Empty:
    pass


@attrs.frozen
class Private:
    _hidden: Any
    shown: Any = attrs.field(alias="given")
    derived: Any = attrs.field(init=False, default=7)
    last: Any = attrs.field(kw_only=True, default=0)


@attrs.define
class Computed:
    x: Any
    double: Any = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        self.double = self.x * 2


@pytest.mark.parametrize("make", [lambda x: x, lambda x: [x], lambda x: {"a": (x,)}])
def test_a_tensor_in_a_computed_field_is_refused(make):
    assert tg.tree.leaves(make(Computed(2.0))) == [2.0]
    for transform in (tg.jacobian, tg.compile, lambda f: lambda x: tg.vjp(f, x)):
        with pytest.raises(TypeError, match=r"double of Computed has init=False"):
            transform(lambda x: make(Computed(x)))(2.0)


@dataclasses.dataclass
class Plain:
    weight: Any
    bias: Any = None


@dataclasses.dataclass(frozen=True, slots=True)
class Sealed:
    last: Any = dataclasses.field(kw_only=True, default=0)
    first: Any
    rest: list[Any] = dataclasses.field(default_factory=list)
    count: ClassVar[int] = 3


LEAVES = st.integers() | st.floats(allow_nan=False) | st.text(max_size=3)
KEYS = st.text("abc", min_size=1, max_size=2) | st.integers(0, 9)
TREES = st.recursive(
    LEAVES | st.none() | st.builds(Nothing) | st.builds(Empty),
    lambda children: (
        st.lists(children, max_size=3)
        | st.lists(children, max_size=3).map(tuple)
        | st.dictionaries(KEYS, children, max_size=3)
        | st.builds(Point, children, children)
        | st.builds(Params, children, children)
        | st.builds(Private, children, given=children, last=children)
        | st.builds(Plain, children, children)
        | st.builds(Sealed, first=children, rest=children, last=children)
    ),
    max_leaves=12,
)


def same(a: Any, b: Any) -> bool:
    """Equal, of the same types all the way down, and in the same order."""
    return type(a) is type(b) and a == b and repr(a) == repr(b)


@given(TREES)
def test_unflatten_undoes_flatten(t):
    leaves, structure = tree.flatten(t)
    assert same(tree.unflatten(structure, leaves), t)
    assert same(tree.leaves(t), leaves)
    assert structure.size == len(leaves)


@given(TREES)
def test_flatten_undoes_unflatten(t):
    _, structure = tree.flatten(t)
    leaves = [object() for _ in range(structure.size)]
    again, structure_again = tree.flatten(tree.unflatten(structure, leaves))
    assert all(a is b for a, b in zip(again, leaves, strict=True))
    assert structure_again == structure


@given(TREES)
def test_no_call_changes_a_tree(t):
    before = repr(t)
    leaves, structure = tree.flatten(t)
    tree.map(str, t)
    tree.paths(t)
    new = tree.unflatten(structure, leaves)
    if isinstance(t, list | dict):
        assert new is not t
        new.clear()
    assert repr(t) == before


@given(TREES)
def test_map_keeps_the_structure(t):
    assert same(tree.map(lambda x: x, t), t)
    mapped = tree.map(lambda *xs: "|".join(map(repr, xs)), t, t, t)
    assert tree.flatten(mapped)[1] == tree.flatten(t)[1]
    assert tree.leaves(mapped) == [f"{x!r}|{x!r}|{x!r}" for x in tree.leaves(t)]


@given(TREES)
def test_map_composes(t):
    assert same(tree.map(lambda x: len(repr(x)), t), tree.map(len, tree.map(repr, t)))


def _walk(t: Any, path: tuple[str, ...] = ()) -> list[tuple[str, Any]]:
    """Leaves with their paths, by another walk than the package's."""
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
    return [pair for name, x in children for pair in _walk(x, (*path, name))]


@given(TREES)
def test_paths_lead_to_the_leaves(t):
    assert list(zip(tree.paths(t), tree.leaves(t), strict=True)) == _walk(t)


def test_paths_are_joined_by_dots():
    model = tg.nn.Sequential(tg.nn.Linear(2, 3), tg.nn.Tanh(), tg.nn.Linear(3, 1))
    assert tree.paths(model.init(0)) == ["0.weight", "0.bias", "2.weight", "2.bias"]
    cell = tg.nn.RNNCell(2, 2, 2).init(0)
    assert tree.paths({"cell": cell})[0] == "cell.w_ih.weight"
    assert tree.paths(3.0) == [""]
    assert tree.paths([]) == []


@pytest.mark.parametrize(
    "leaf",
    [
        1,
        "text",
        b"bytes",
        {1, 2},
        np.ones(3),
        OrderedDict(a=1),
        range(3),
        int,
        Params,
        Plain,
        object(),
        tg.Tape(),
        tg.add,
    ],
)
def test_anything_else_is_a_leaf(leaf):
    leaves, structure = tree.flatten([leaf])
    assert leaves[0] is leaf
    assert structure.size == 1


def test_functions_of_the_package_are_leaves():
    for thing in (tg.tanh, tg.grad(tg.tanh), tg.jacobian(tg.tanh), tg.vjp(tg.tanh, 1.0)[1]):
        assert tree.map(lambda x: x, [thing])[0] is thing
    output, _ = tg.record(lambda f, pullback, x: pullback(f(x))[0])(
        tg.tanh, tg.vjp(tg.square, 3.0)[1], 0.0
    )
    assert output.value == 0.0


def test_a_tensor_is_a_leaf():
    output, _ = tg.record(lambda x: {"y": x})(1.0)
    assert tree.leaves(output)[0] is output["y"]


def test_none_and_empty_nodes_have_no_leaves():
    empty = [None, (), [], {}, Empty(), Nothing()]
    assert tree.leaves(empty) == []
    assert same(tree.map(str, empty), empty)


def test_a_dict_keeps_its_order():
    t = {"b": 1, "a": 2, 3: 3}
    assert tree.leaves(t) == [1, 2, 3]
    assert list(tree.map(str, t)) == ["b", "a", 3]
    mapped = tree.map(lambda x, y: (x, y), t, {3: "3", "a": "2", "b": "1"})
    assert mapped == {"b": (1, "1"), "a": (2, "2"), 3: (3, "3")}
    assert list(mapped) == ["b", "a", 3]


@given(TREES)
def test_structures_are_equal_hash_and_pickle_by_content(t):
    _, structure = tree.flatten(t)
    _, other = tree.flatten(tree.map(lambda x: 0, t))
    assert structure == other
    assert hash(structure) == hash(other)
    assert pickle.loads(pickle.dumps(structure)) == structure
    assert repr(structure) == repr(other)


@pytest.mark.parametrize(
    ("a", "b"),
    [
        ([1], (1,)),
        ([1], [1, 2]),
        ({"a": 1}, {"b": 1}),
        ({"a": 1, "b": 2}, {"a": 1}),
        (Params(1, 2), Point(1, 2)),
        (Params(1, None), Params(1, 2)),
        (Plain(1, None), Plain(1, 2)),
        (Plain(1, 2), Params(1, 2)),
        ([None], [()]),
        ([], ()),
        ([], {}),
        ((1, 2), Point(1, 2)),
        (1, [1]),
        ([1, [2]], [1, 2]),
        ([1, 2], [1, [2]]),
        ({"w": 1}, {"w": {"a": 1}}),
        ([1], [None]),
    ],
)
def test_different_structures_are_different_and_map_says_so(a, b):
    assert tree.flatten(a)[1] != tree.flatten(b)[1]
    with pytest.raises(ValueError, match="differ"):
        tree.map(lambda x, y: x, a, b)


def test_map_names_the_path_of_the_first_difference():
    with pytest.raises(ValueError, match=r"\bp\.1\.weight\b"):
        tree.map(
            lambda x, y: x,
            {"p": [1, Params([1, 2])], "q": 1},
            {"p": [1, Params([1])], "q": (1,)},
        )


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


def test_classes_are_made_through_their_init():
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
def test_a_dataclass_that_is_not_made_of_its_fields_alone_is_refused_by_name(tree_, name):
    for call in (
        lambda: tree.flatten([tree_]),
        lambda: tree.map(abs, tree_),
        lambda: tg.grad(lambda p: p.given)(tree_),
        lambda: tg.record(lambda p: p.given)(tree_),
        lambda: tg.vjp(lambda x: tree_, 1.0),
    ):
        with pytest.raises(TypeError, match=rf"{type(tree_).__name__}.*{name}"):
            call()


def test_a_dataclass_is_differentiated_and_compiled_like_any_tree():
    def moved(p, q):
        return Sealed(first=p.weight * q.first, rest=[p.bias], last=q.last)

    p, q = Plain(np.array([1.0, 2.0]), 3.0), Sealed(first=5.0, last=7.0)
    output, pullback = tg.vjp(moved, p, q)
    assert type(output) is Sealed
    dp, dq = pullback(Sealed(first=np.ones(2), rest=[1.0], last=11.0))
    np.testing.assert_array_equal(dp.weight, [5.0, 5.0])
    assert dp.bias == 1.0
    assert dq == Sealed(first=3.0, rest=[], last=11.0)
    compiled = tg.compile(moved)
    for _ in range(2):
        again = compiled(p, q)
        assert type(again) is Sealed
        np.testing.assert_array_equal(again.first, output.first)
        assert (again.rest, again.last) == ([3.0], 7.0)


@pytest.mark.parametrize(
    "layer",
    [
        tg.nn.Linear(2, 3),
        tg.nn.Tanh(),
        tg.nn.Embedding(3, 2),
        tg.nn.RNNCell(2, 3, 4, activation="tanh"),
        tg.nn.Sequential(tg.nn.Linear(2, 3), tg.nn.Tanh()),
        tg.optim.SGD(0.1, momentum=0.9),
    ],
    ids=lambda layer: type(layer).__name__,
)
def test_layers_and_optimizers_in_a_tree_come_out_as_they_went_in(layer):
    leaves, structure = tree.flatten({"layer": layer})
    assert tree.unflatten(structure, leaves) == {"layer": layer}


def test_a_recorded_function_takes_its_model_as_an_argument():
    model = tg.nn.Sequential(tg.nn.Linear(2, 3), tg.nn.Tanh())
    x = np.ones((4, 2))
    params = model.init(0)
    output, _ = tg.record(lambda model, params, x: model(params, x))(model, params, x)
    np.testing.assert_array_equal(output.value, model(params, x))
    g = tg.grad(lambda params, model: tg.sum(model(params, x)))(params, model)
    assert tree.flatten(g)[1] == tree.flatten(params)[1]


def test_a_repr_of_a_structure_reads_like_the_tree():
    t = {"a": [1, (2,)], "b": None, "c": Params(1, 2), "d": ()}
    assert repr(tree.flatten(t)[1]) == "{'a': [*, (*,)], 'b': None, 'c': Params(*, *), 'd': ()}"


# --- whole trees ----------------------------------------------------------------------------


@given(st.lists(arrays(), max_size=4))
def test_a_ravelled_tree_comes_back(parts: Any) -> None:
    params = {"a": parts[:1], "b": (None, tuple(parts[1:]))}
    vector, unravel = tg.tree.ravel(params)
    assert vector.shape == (tg.tree.size(params),)
    again = unravel(vector)
    assert tg.tree.flatten(again)[1] == tg.tree.flatten(params)[1]
    for x, y in zip(tg.tree.leaves(again), parts, strict=True):
        assert (x.dtype, x.shape, x.tobytes()) == (y.dtype, y.shape, y.tobytes())
    assert pickle.loads(pickle.dumps(unravel)) == unravel


def test_a_tree_made_of_a_vector_is_not_changed_with_it() -> None:
    vector, unravel = tg.tree.ravel({"w": np.ones((2, 2)), "b": 3.0})
    working = np.array(vector)
    params = unravel(working)
    working[:] = 7
    np.testing.assert_array_equal(params["w"], np.ones((2, 2)))
    assert params["b"] == 3.0


def test_ravel_is_recorded_compiled_and_differentiated() -> None:
    params = {"w": np.arange(4.0).reshape(2, 2), "b": np.float32([1, 2])}
    vector, unravel = tg.tree.ravel(params)

    def loss(params: Any) -> Any:
        return tg.sum(tg.sin(params["w"]) @ params["b"])

    def of_vector(vector: Any) -> Any:
        return loss(unravel(vector))

    want, _ = tg.tree.ravel(tg.grad(loss)(params))
    np.testing.assert_allclose(tg.grad(of_vector)(vector), want)
    np.testing.assert_allclose(tg.compile(tg.grad(of_vector))(vector), want)
    tg.testing.check_grads(lambda p: tg.tree.ravel(p)[0] ** 2, (params,))
    twice = tg.compile(lambda p: unravel(2 * tg.tree.ravel(p)[0]))(params)
    assert tg.tree.all_close(twice, tg.tree.map(lambda x: 2 * x, params))
    assert twice["b"].dtype == np.float32


def test_scipy_minimizes_a_function_of_a_tree() -> None:
    optimize = pytest.importorskip("scipy.optimize")
    goal = {"w": np.arange(6.0).reshape(2, 3), "b": np.array(-1.0)}
    vector, unravel = tg.tree.ravel(tg.tree.map(np.zeros_like, goal))

    def loss(vector: Any) -> Any:
        apart = tg.tree.map(lambda x, y: tg.sum((x - y) ** 2), unravel(vector), goal)
        return sum(tg.tree.leaves(apart))

    found = optimize.minimize(tg.value_and_grad(loss), vector, jac=True)
    assert tg.tree.all_close(unravel(found.x), goal, atol=1e-5)


def test_what_is_no_vector_or_makes_none_is_named() -> None:
    with pytest.raises(TypeError, match=r"a\.0 is int64"):
        tg.tree.ravel({"a": [np.arange(3)]})
    _, unravel = tg.tree.ravel({"w": np.ones(3)})
    for wrong in (np.ones(4), np.ones((3, 1)), 1.0):
        with pytest.raises(ValueError, match="a vector of 3 numbers"):
            unravel(wrong)


def test_an_update_changes_what_is_named_and_nothing_else() -> None:
    params = [{"weight": 1.0, "bias": 2.0}, (3.0, None)]
    got = tg.tree.update(params, {"0.bias": np.ones(2), "1": "a node"})
    assert got[0]["weight"] == 1.0
    np.testing.assert_array_equal(got[0]["bias"], np.ones(2))
    assert got[1] == "a node"
    assert params == [{"weight": 1.0, "bias": 2.0}, (3.0, None)]
    assert tg.tree.update(params, {}) == params
    assert tg.tree.update(1.0, {"": 2.0}) == 2.0
    layer = tg.nn.Linear(2, 2).init(0)
    assert tg.tree.update(layer, {"bias": 0.0}).bias == 0.0
    for path in ("0.other", "0.bias.0", "2", "1.1.0"):
        with pytest.raises(ValueError, match=re.escape(f"no place at {path!r}")):
            tg.tree.update(params, {path: 1.0})
    with pytest.raises(ValueError, match=r"more than one place at 'a\.b'"):
        tg.tree.update({"a.b": 1, "a": {"b": 2}}, {"a.b": 3})
    for outer in ("0", ""):
        with pytest.raises(ValueError, match=f"'0.bias' is within '{outer}'"):
            tg.tree.update(params, {"0.bias": 1.0, outer: 1.0})


def test_sizes_and_summaries_count_every_leaf() -> None:
    params = {"w": np.ones((10, 200), np.float32), "rest": [np.ones(()), None, 1.0]}
    assert tg.tree.size(params) == 2002
    assert tg.tree.size(None) == 0
    table = [line.split() for line in tg.tree.summary(params).splitlines()]
    assert table[0] == ["path", "shape", "dtype", "numbers", "bytes"]
    assert table[1] == ["w", "(10,", "200)", "float32", "2,000", "8,000"]
    assert table[-1] == ["all", "2,002", "8,016"]
    assert len({len(line) for line in tg.tree.summary(params).splitlines()}) == 1


def test_trees_are_close_if_all_of_them_is() -> None:
    a = {"w": np.ones((2, 2)), "b": [1.0, np.nan]}
    assert not tg.tree.all_close(a, a)
    assert tg.tree.all_close(a, a, equal_nan=True)
    b = {"w": np.ones((2, 2)) + 1e-4, "b": [1.0, np.nan]}
    assert not tg.tree.all_close(a, b, equal_nan=True)
    assert tg.tree.all_close(a, b, rtol=1e-3, equal_nan=True)
    # shapes that broadcast, and other structures, are not close
    assert not tg.tree.all_close({"w": np.ones((2, 2))}, {"w": np.ones(2)})
    assert not tg.tree.all_close({"w": 1.0}, [1.0])
