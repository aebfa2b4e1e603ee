"""Programs of small arrays: biases as rows, parts of one array, and how a call begins and ends."""

from typing import Any

import attrs
import hypothesis.strategies as st
import numpy as np
import pytest
from depth import depth
from hypothesis import given
from programs import assert_unshared_and_read_only

import tapegrad as tg

RNG = np.random.default_rng(0)


SHARED = {
    "a weight of two layers": lambda w, b, c, x: np.sum(np.tanh(x @ w + b) @ w + c),
    "a bias of two layers": lambda w, b, c, x: np.sum(np.tanh(np.tanh(x @ w + b) @ w + b) * c),
    "a product that is used itself": lambda w, b, c, x: np.sum(np.tanh((p := x @ w) + b) * p + c),
    "a sum of two products": lambda w, b, c, x: np.sum(np.tanh(x @ w + b + x.T @ w + c)),
}


@pytest.mark.parametrize("fn", SHARED.values(), ids=SHARED)
def test_results_of_layers_that_share_parameters(fn):
    w, x = RNG.normal(size=(2, 3, 3))
    b, c = RNG.normal(size=(2, 3))
    gradients = tg.value_and_grad(fn, argnums=(0, 1, 2))

    def updated(*args):
        value, slopes = gradients(*args)
        return value, slopes, [p - g for p, g in zip(args, slopes, strict=False)]

    compiled = tg.compile(updated)
    compiled.check(w, b, c, x)
    # rows of one array are among them
    assert_unshared_and_read_only([compiled(w, b, c, x) for _ in range(2)], (w, b, c, x))


PARTS = {
    "used besides": lambda a, b: ((y := a + b)[:2], np.tanh(y[2:]) * y[:2], y[2:]),
    "twice": lambda a, b: ((y := a + b)[:2], y[2:], y[:2]),
    "with a row in common": lambda a, b: ((y := a + b)[:3], y[2:]),
    "not all": lambda a, b: ((y := a + b)[:1], y[3]),
    "with the whole": lambda a, b: ((y := a + b), y[:2], y[2:]),
    "of what is given": lambda a, b: (a[:2], a[2:]),
    "of one row": lambda a, b: ((y := a * b)[0], y[1], y[2], y[3]),
    "of a product": lambda a, b: ((y := a @ b.T)[:1], y[1:4]),
}


@pytest.mark.parametrize("fn", PARTS.values(), ids=PARTS)
def test_results_that_are_parts_of_an_array(fn):
    a, b = RNG.normal(size=(2, 4, 2))
    compiled = tg.compile(fn)
    compiled.check(a, b)
    before = compiled(a, b)
    compiled(a + 1, b)
    assert all(map(np.array_equal, before, fn(a, b)))


@given(st.data(), st.integers(0, 1))
@depth("small step")
def test_small_parts_are_joined_along_any_axis(data, axis):
    widths = data.draw(st.lists(st.integers(0, 2), min_size=2, max_size=4))
    kinds = data.draw(st.lists(st.integers(0, 3), min_size=len(widths), max_size=len(widths)))
    args = [RNG.normal(size=(w, 3) if axis == 0 else (3, w)) for w in widths]
    constants = [x.copy() for x in args]

    def fn(*args):
        parts = [
            (x, np.tanh(x), c, x.reshape(-1).reshape(x.shape))[kind]
            for x, c, kind in zip(args, constants, kinds, strict=True)
        ]
        joined = np.concatenate(parts, axis=axis)
        return joined * 2, np.exp(joined), np.concatenate([joined, joined]) + 1

    compiled = tg.compile(fn)
    compiled.check(*args)
    compiled.check(*[x + 1 for x in args])


@given(st.data(), st.sampled_from([(), (3,), (2, 3)]))
@depth("small step")
def test_rows_of_a_stack_are_written_where_it_is(data, shape):
    kinds = data.draw(st.lists(st.integers(0, 4), min_size=1, max_size=4))
    args = [np.asarray(RNG.normal(size=shape)) for _ in kinds]

    def fn(*args):
        same = np.sin(args[0])
        rows = [
            (x, np.tanh(x), x * 2.0 + same, same, np.ones(shape))[kind]
            for x, kind in zip(args, kinds, strict=True)
        ]
        joined = np.stack(rows)
        # the rows are read afterwards too
        return joined * 2, np.exp(joined), same * 3, np.stack([*rows, np.cos(same)]) + joined[0]

    compiled = tg.compile(fn)
    compiled.check(*args)
    compiled.check(*[x + 1 for x in args])
    assert "its parts were written there" in str(compiled.program(*args)) or not shape


# what classes did as their records were made
DID: list[str] = []


@attrs.frozen
class Plain:
    a: Any
    b: Any = 0


class Derived(Plain):
    pass


@attrs.frozen
class Checked:
    a: Any = attrs.field(validator=lambda *_: DID.append("checked"))


@attrs.frozen
class Converted:
    a: Any = attrs.field(converter=lambda x: (DID.append("converted"), x)[1])


@attrs.frozen
class Hooked:
    a: Any

    def __attrs_post_init__(self) -> None:
        DID.append("hooked")


@attrs.frozen(init=False)
class Own:
    a: Any

    def __init__(self, a: Any) -> None:
        DID.append("own")
        self.__attrs_init__(a)


CACHED = attrs.make_class("Cached", ["a"], frozen=True, cache_hash=True)
OPEN = attrs.make_class("Open", ["a"], frozen=True, slots=False)


@pytest.mark.parametrize("node", [Checked, Converted, Hooked, Own, CACHED, OPEN, Derived])
def test_results_that_are_records_are_made_by_their_class(node):
    compiled = tg.compile(lambda x: node(x * 2))
    text = str(compiled.program(np.ones(2)))
    DID.clear()
    result = compiled(np.ones(2))
    own = node in (Checked, Converted, Hooked, Own)
    assert [node.__name__.lower()] * own == DID
    assert type(result) is node
    np.testing.assert_array_equal(result.a, [2.0, 2.0])
    assert f"return {node.__name__}(" in text


def test_results_that_are_plain_records_skip_their_init():
    compiled = tg.compile(lambda x: Plain(x * 2, Checked(x)))
    assert "return new_Plain(" in str(compiled.program(np.ones(2)))
    result = compiled(np.ones(2))
    assert (type(result), type(result.b)) == (Plain, Checked)
    np.testing.assert_array_equal(result.a, [2.0, 2.0])
    with pytest.raises(attrs.exceptions.FrozenInstanceError):
        result.a = 3
    same = tg.compile(lambda x: Plain("text", None))(np.ones(2))
    assert same == Plain("text", None)
    assert hash(same) == hash(Plain("text", None))


X = np.linspace(-1.0, 1.0, 4)


def test_results_are_read_only_and_share_nothing():
    table = np.ones(3)

    def fn(x, y):
        a = tg.tanh(x)
        parts = [x, a[:1], table, tg.sum(a), tg.stop_gradient(x)]
        return a, a, a.T, a[0], a.reshape(-1), x, x.T, y, parts

    x = X.reshape(2, 2).copy()
    compiled = tg.compile(fn)
    first = compiled(x, np.float64(2.0))
    second = compiled(x, np.float64(2.0))
    third = compiled(first[0], np.float64(2.0))
    assert_unshared_and_read_only((first, second, third), (x, table))
    np.testing.assert_array_equal(third[0], np.tanh(np.tanh(x)))
    with pytest.raises(ValueError, match="read-only"):
        first[0][0] = 1


@given(st.integers(0, 2**16))
def test_results_that_are_kept_stay_as_they_are(seed):
    rng = np.random.default_rng(seed)
    compiled = tg.compile(
        tg.value_and_grad(lambda w, x: tg.sum(tg.tanh(tg.tanh(w @ x) @ x)), (0, 1))
    )
    kept = []
    for _ in range(100):
        result = compiled(rng.standard_normal((3, 3)), rng.standard_normal((3, 3)))
        kept.append((result, [x.tobytes() for x in tg.tree.leaves(result)]))
    assert all([x.tobytes() for x in tg.tree.leaves(result)] == data for result, data in kept)
    assert_unshared_and_read_only([result for result, _ in kept[:10]], ())


def test_captured_arrays_are_frozen_and_a_change_is_reported():
    table = np.arange(4.0)

    def fn(x):
        return tg.sum(x * table)

    compiled = tg.compile(fn)
    assert compiled(X) == pytest.approx(np.sum(X * table))
    before = compiled(X)
    compiled.check(X)
    table[:] = 100.0
    np.testing.assert_array_equal(compiled(X), before)
    with pytest.raises(AssertionError, match=r"captured.*float64\[4\]"):
        compiled.check(X)
    assert "captured, float64 (4,)" in str(compiled.program(X))
