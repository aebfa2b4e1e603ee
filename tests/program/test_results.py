"""Programs of small arrays: biases as rows, parts of one array, and how a call begins and ends."""

from typing import Any

import attrs
import hypothesis.strategies as st
import numpy as np
import pytest
from depth import depth
from hypothesis import given

import tapegrad as tg
from tapegrad.types import Array

RNG = np.random.default_rng(0)


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


@given(st.data(), st.sampled_from([np.stack, np.concatenate, np.hstack]))
@depth("small step")
def test_small_parts_are_written_where_they_are_joined(data, join):
    kinds = data.draw(st.lists(st.integers(0, 4), min_size=1, max_size=4))
    shapes = [data.draw(st.sampled_from([(), (3,), (2, 3)]))] * len(kinds)
    if join is not np.stack:
        widths = [data.draw(st.integers(0, 2)) for _ in kinds]
        shapes = [(w, 3) if join is np.concatenate else (3, w) for w in widths]
    args = [np.asarray(RNG.normal(size=shape)) for shape in shapes]
    constants = [x.copy() for x in args]

    def fn(*args):
        same = np.sin(args[0])
        parts = [
            (x, np.tanh(x), c, x.reshape(-1).reshape(x.shape), same if join is np.stack else x)[k]
            for x, c, k in zip(args, constants, kinds, strict=True)
        ]
        joined = join(parts)
        # the parts are read afterwards too
        more = join([*parts, np.cos(same)]) if join is np.stack else join([joined, joined])
        return joined * 2, np.exp(joined), same * 3, more + (joined[0] if join is np.stack else 1)

    compiled = tg.compile(fn)
    compiled.check(*args)
    compiled.check(*[x + 1 for x in args])
    if join is np.stack and shapes[0]:
        assert "its parts are written there" in str(compiled.program(*args))


# what classes did as their records were made
DID: list[str] = []


@attrs.frozen
class Plain:
    a: Any
    b: Any = 0


class Derived(Plain):
    pass


def record(name: str, field: Any = None, **options: Any) -> type[Any]:
    return attrs.make_class(name, {"a": field or attrs.field()}, frozen=True, **options)


Checked = record("Checked", attrs.field(validator=lambda *_: DID.append("checked")))
Converted = record("Converted", attrs.field(converter=lambda x: DID.append("converted") or x))
Cached = record("Cached", cache_hash=True)
Open = record("Open", slots=False)


@attrs.frozen
class Hooked:
    a: Any

    def __attrs_post_init__(self) -> None:
        DID.append("hooked")


@attrs.frozen(init=False)
class Own:
    a: Any

    def __init__(self, a: Array) -> None:
        DID.append("own")
        self.__attrs_init__(a)


@attrs.frozen(init=False)
class Swapped(Plain):
    def __init__(self, b: Array, a: Array | None = None) -> None:
        self.__attrs_init__(a, b)


class Made(Plain):
    def __new__(cls, **fields: Any) -> "Made":
        return object.__new__(cls)


class Calls(type):
    def __call__(cls, **fields: Any) -> Any:
        return super().__call__(**fields)


class Called(Plain, metaclass=Calls):
    pass


# that do not take their fields in order
NAMED = record("Named", attrs.field(kw_only=True)), Swapped, Made, Called
ORDERED = Checked, Converted, Hooked, Own, Cached, Open, Derived, Plain


@pytest.mark.parametrize("node", ORDERED + NAMED)
def test_results_that_are_records_are_made_by_their_class(node):
    names = [field.name for field in attrs.fields(node)]
    compiled = tg.compile(lambda x: node(**dict.fromkeys(names, x * 2)))
    text = str(compiled.program(np.ones(2)))
    DID.clear()
    result = compiled(np.ones(2))
    own = node in (Checked, Converted, Hooked, Own)
    assert [node.__name__.lower()] * own == DID
    assert type(result) is node
    for name in names:
        np.testing.assert_array_equal(getattr(result, name), [2.0, 2.0])
    assert (f"return {node.__name__}(a=" in text) == (node in NAMED)


def test_records_of_static_values_are_equal_to_those_made_by_hand():
    same = tg.compile(lambda x: Plain("text", None))(np.ones(2))
    assert same == Plain("text", None)
    assert hash(same) == hash(Plain("text", None))
