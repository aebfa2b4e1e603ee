"""Trees of every kind of node, trees of random arrays, and objects that are leaves."""

import dataclasses
import enum
import functools
from collections import deque
from collections.abc import Callable
from types import MappingProxyType
from typing import Any, ClassVar, NamedTuple

import attrs
import numpy as np
from hypothesis import strategies as st

import tapegrad as tg
from tapegrad.types import Array, DTypeLike

SHAPES = [(3, 4), (4,), (), (1,), (0, 2), (2, 1, 3)]


# keys of dicts, and static arguments
class Mode(enum.Enum):
    FAST = 1
    SLOW = 2


class Level(enum.IntEnum):
    LOW = 1


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
class Checked:
    """A tree that takes nothing but arrays, not even for a moment."""

    x: Any = attrs.field()

    @x.validator
    def _has_a_shape(self, attribute: Any, value: Array) -> None:
        assert hasattr(value, "ndim"), value


@attrs.frozen
class Private:
    _hidden: Any
    shown: Any = attrs.field(alias="given")
    derived: Any = attrs.field(init=False, default=7)
    last: Any = attrs.field(kw_only=True, default=0)


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


# static arguments
@attrs.frozen
class Setting:
    value: object
    other: object = None
    __tree_leaf__ = True


@attrs.frozen(slots=False)
class Loose:
    """A frozen record whose instances have a dict."""

    value: object
    __tree_leaf__ = True

    @functools.cached_property
    def doubled_value(self) -> float:
        return self.value * 2  # type: ignore[operator]


class Holder:
    """An object that is no tree."""

    def __init__(self, inside: Any) -> None:
        self.inside = inside

    def method(self) -> Any:
        return self.inside


def objects(x: Any, dtype: Any = object) -> Array:
    array = np.empty(1, dtype)
    array[0] = x
    return array


# what holds a thing and is no tree
HOLDERS: dict[str, Callable[[Any], Any]] = {
    "object": Holder,
    "set": lambda x: {x},
    "deque": lambda x: deque([x]),
    "objects": objects,
    "proxy": lambda x: MappingProxyType({1: x}),
    "closure": lambda x: lambda: x,
    "default": lambda x: lambda y=x: y,
    "keyword default": lambda x: lambda *, y=x: y,
    "method": lambda x: Holder(x).method,
    "partial": lambda x: functools.partial(abs, x),
    "cached": lambda x: functools.lru_cache(lambda: x),
    "grad": lambda x: tg.grad(lambda y: x * y),
    "compiled": lambda x: tg.compile(lambda y: x * y),
}


# all that UTF-8 encodes; Hypothesis' own way to that takes two seconds of each run
CHARACTERS = st.characters(exclude_categories=["Cs"])
LEAVES = st.integers() | st.floats(allow_nan=False) | st.text(CHARACTERS, max_size=3)


KEYS = st.text("abc", min_size=1, max_size=2) | st.integers(0, 9)


def trees_of(leaves: Any, keys: Any = KEYS, max_leaves: int = 12) -> Any:
    """Trees with every kind of node."""
    return st.recursive(
        leaves,
        lambda children: (
            st.lists(children, max_size=3)
            | st.lists(children, max_size=3).map(tuple)
            | st.dictionaries(keys, children, max_size=3)
            | st.builds(Point, children, children)
            | st.builds(Params, children, children)
            | st.builds(Private, children, given=children, last=children)
            | st.builds(Plain, children, children)
            | st.builds(Sealed, first=children, rest=children, last=children)
        ),
        max_leaves=max_leaves,
    )


TREES = trees_of(LEAVES | st.none() | st.builds(Nothing) | st.builds(Empty))


def same(a: Any, b: Any) -> bool:
    """Equal, of the same types all the way down, and in the same order."""
    return type(a) is type(b) and a == b and repr(a) == repr(b)


def random_tree(key: int, dtype: DTypeLike = float) -> dict[str, Any]:
    keys = tg.random.split(key, len(SHAPES))
    leaves = [tg.random.normal(k, n, dtype) for k, n in zip(keys, SHAPES, strict=True)]
    return {"layers": leaves[:3], "rest": tuple(leaves[3:])}


def bytes_of(tree: Any) -> list[bytes]:
    return [np.asarray(x).tobytes() for x in tg.tree.leaves(tree)]
