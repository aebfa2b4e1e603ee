"""Other libraries' arrays beside a Tensor: NumPy's rules say who computes."""

import operator
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import tapegrad as tg

X = np.array([1.0, 2.0, 3.0])
BINARY = ["add", "sub", "mul", "truediv", "floordiv", "mod", "pow", "matmul"]
COMPARED = {"eq": "eq", "ne": "ne", "lt": "gt", "le": "ge", "gt": "lt", "ge": "le"}


class Acting:
    """A class that says which of its methods were called, with what."""

    def __getattr__(self, name: str) -> Any:
        raise AttributeError(name)


def answering(name: str) -> Callable[..., Any]:
    return lambda self, other: (name, type(other).__name__)


for name in BINARY:
    setattr(Acting, f"__{name}__", answering(name))
    setattr(Acting, f"__r{name}__", answering(f"r{name}"))
for name in COMPARED:
    setattr(Acting, f"__{name}__", answering(name))


class TakesNone(Acting):
    __array_ufunc__ = None


class Answers(Acting):
    def __array_ufunc__(
        self, ufunc: np.ufunc, method: str, *inputs: Any, **kwargs: Any
    ) -> tuple[Any, ...]:
        return ufunc.__name__, [type(x).__name__ for x in inputs]

    def __array_function__(
        self,
        function: Callable[..., Any],
        types: tuple[type[Any], ...],
        args: tuple[Any, ...],
        kwargs: dict[Any, Any],
    ) -> str:
        return function.__name__


class Prior(Acting):
    __array_priority__ = 10.0


class Inferior(Acting):
    __array_priority__ = -10.0


class Units(np.ndarray[Any, Any]):
    """An array with more than its numbers."""

    def __array_ufunc__(
        self, ufunc: np.ufunc, method: str, *inputs: Any, **kwargs: Any
    ) -> tuple[Any, ...]:
        return ufunc.__name__, [type(x).__name__ for x in inputs]


class Plain(np.ndarray[Any, Any]):
    pass


def recorded(f: Callable[..., Any]) -> Any:
    """The result of a function of a Tensor."""
    return tg.record(f)(X)[0]


@pytest.mark.parametrize("kind", [TakesNone, Answers, Prior])
@pytest.mark.parametrize("name", BINARY)
def test_a_class_that_acts_by_numpys_rule_acts(kind: type[Any], name: str) -> None:
    other, function = kind(), getattr(operator, name)
    assert recorded(lambda x: function(x, other)) == (f"r{name}", "Tensor")
    assert recorded(lambda x: function(other, x)) == (name, "Tensor")
    if kind is not Answers:  # to which an array hands its ufunc
        assert function(X, other) == (f"r{name}", "ndarray")


@pytest.mark.parametrize("kind", [TakesNone, Answers, Prior])
@pytest.mark.parametrize("name", sorted(COMPARED))
def test_it_compares_as_well(kind: type[Any], name: str) -> None:
    function = getattr(operator, name)
    assert recorded(lambda x: function(x, kind())) == (COMPARED[name], "Tensor")


@pytest.mark.parametrize("kind", [Acting, Inferior, object])
@pytest.mark.parametrize("name", BINARY)
def test_a_class_that_does_not_is_no_operand(kind: type[Any], name: str) -> None:
    with pytest.raises(TypeError, match=f"an operand is an? {kind.__name__}"):
        recorded(lambda x: getattr(operator, name)(x, kind()))


def test_ufuncs_and_functions_are_handed_on_to_a_class_that_answers_for_them() -> None:
    other = Answers()
    assert recorded(lambda x: np.add(x, other)) == ("add", ["Tensor", "Answers"])
    assert recorded(lambda x: np.add(other, x)) == ("add", ["Answers", "Tensor"])
    assert recorded(lambda x: np.concatenate([x, other])) == "concatenate"
    with pytest.raises(TypeError):
        recorded(lambda x: np.add(x, Prior()))


def test_an_array_that_answers_for_ufuncs_is_not_read_as_its_numbers() -> None:
    metres = X.view(Units)
    assert recorded(lambda x: x * metres) == ("multiply", ["Tensor", "Units"])
    assert recorded(lambda x: np.multiply(metres, x)) == ("multiply", ["Units", "Tensor"])
    with pytest.raises(TypeError, match=r"is a Units; .* pass its numbers \(np.asarray of it\)"):
        recorded(lambda x: tg.multiply(x, metres))
    # one that does not is its numbers
    assert isinstance(recorded(lambda x: x * X.view(Plain)), tg.Tensor)
