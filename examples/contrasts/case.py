"""A case: the same thing tried in both designs."""

from __future__ import annotations

import gc
from collections.abc import Callable
from typing import Any

import numpy as np


class Case:
    """A row of the table: its title and its reason are the docstring of the class."""

    right: Any  # what the code should give
    wrong: Any  # what the other design gives instead, or the class of its error

    def stateful(self) -> Any:
        raise NotImplementedError

    def tapegrad(self) -> Any:
        raise NotImplementedError


class Fault(Case):
    """A fault of the stateful design: tapegrad is right, and the other is not."""


class Cost(Case):
    """A cost of the functional design: the stateful one is right, and tapegrad is not."""


def attempt(fn: Callable[[], Any]) -> Any:
    """What a function gives, or the error that it raises."""
    try:
        return fn()
    except Exception as error:
        return f"{type(error).__name__}: {error}"


def same(found: Any, wanted: Any) -> bool:
    """Whether a result, or an error as `attempt` gives it, is this one."""
    if isinstance(found, str):
        return isinstance(wanted, type) and found.startswith(wanted.__name__)
    if found is None or wanted is None or isinstance(wanted, type):
        return found is wanted
    return np.shape(found) == np.shape(wanted) and bool(np.allclose(found, wanted, equal_nan=True))


def alive(kind: type) -> int:
    """How many objects of a class there are."""
    gc.collect()
    return sum(type(thing) is kind for thing in gc.get_objects())
