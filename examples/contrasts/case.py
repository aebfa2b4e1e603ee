"""A case: the same computation in both designs."""

from __future__ import annotations

import gc
from collections.abc import Callable
from typing import TypeVar

import numpy as np

T = TypeVar("T")


class Case:
    """A row of the table; each docstring has a title and a paragraph with the reason."""

    right: object  # the correct result
    wrong: object  # the other design's result, or the class of its error

    def stateful(self) -> object:
        raise NotImplementedError

    def tapegrad(self) -> object:
        raise NotImplementedError


class Fault(Case):
    """A fault of the stateful design: only tapegrad's result is right."""


class Cost(Case):
    """A cost of the functional design: only the stateful result is right."""


def attempt(fn: Callable[[], T]) -> T | str:
    """The result of a function, or the text of the error that it raises."""
    try:
        return fn()
    except Exception as error:
        return f"{type(error).__name__}: {error}"


def is_same(found: object, wanted: object) -> bool:
    """Whether a result of `attempt` equals a value, or is an error of a class."""
    if isinstance(found, str):
        return isinstance(wanted, type) and found.startswith(wanted.__name__)
    if found is None or wanted is None or isinstance(wanted, type):
        return found is wanted
    a, b = np.asarray(found), np.asarray(wanted)
    return a.shape == b.shape and np.allclose(a, b, equal_nan=True)


def count_instances(kind: type) -> int:
    """The number of live objects of a class."""
    gc.collect()
    return sum(type(thing) is kind for thing in gc.get_objects())
