"""Operators of a Tensor and another library's array follow NumPy's rules."""

import operator
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import tapegrad as tg

X = np.array([1.0, 2.0, 3.0])
BINARY = ["add", "sub", "mul", "truediv", "floordiv", "mod", "pow", "matmul"]
COMPARED = {"eq": "eq", "ne": "ne", "lt": "gt", "le": "ge", "gt": "lt", "ge": "le"}


class RecordsCalls:
    """A class whose methods return their name and the type of the other operand."""

    def __getattr__(self, name: str) -> Any:
        raise AttributeError(name)


def make_method(name: str) -> Callable[..., Any]:
    return lambda self, other: (name, type(other).__name__)


for name in BINARY:
    setattr(RecordsCalls, f"__{name}__", make_method(name))
    setattr(RecordsCalls, f"__r{name}__", make_method(f"r{name}"))
for name in COMPARED:
    setattr(RecordsCalls, f"__{name}__", make_method(name))


class OptsOutOfUfuncs(RecordsCalls):
    __array_ufunc__ = None


class HandlesNumPy(RecordsCalls):
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


class HigherPriority(RecordsCalls):
    __array_priority__ = 10.0


class LowerPriority(RecordsCalls):
    __array_priority__ = -10.0


class Units(np.ndarray[Any, Any]):
    """An array subclass that has more than numbers."""

    def __array_ufunc__(
        self, ufunc: np.ufunc, method: str, *inputs: Any, **kwargs: Any
    ) -> tuple[Any, ...]:
        return ufunc.__name__, [type(x).__name__ for x in inputs]


class PlainSubclass(np.ndarray[Any, Any]):
    pass


def result_of(f: Callable[..., Any]) -> Any:
    """Return the result of a recorded function."""
    return tg.record(f)(X)[0]


@pytest.mark.parametrize("kind", [OptsOutOfUfuncs, HandlesNumPy, HigherPriority])
@pytest.mark.parametrize("name", BINARY)
def test_operator_defers_to_class_by_numpys_rule(kind: type[Any], name: str) -> None:
    other, function = kind(), getattr(operator, name)
    assert result_of(lambda x: function(x, other)) == (f"r{name}", "Tensor")
    assert result_of(lambda x: function(other, x)) == (name, "Tensor")
    if kind is not HandlesNumPy:  # an array calls its __array_ufunc__ instead
        assert function(X, other) == (f"r{name}", "ndarray")


@pytest.mark.parametrize("kind", [OptsOutOfUfuncs, HandlesNumPy, HigherPriority])
@pytest.mark.parametrize("name", sorted(COMPARED))
def test_comparison_defers_to_class_by_numpys_rule(kind: type[Any], name: str) -> None:
    function = getattr(operator, name)
    assert result_of(lambda x: function(x, kind())) == (COMPARED[name], "Tensor")


@pytest.mark.parametrize("kind", [RecordsCalls, LowerPriority, object])
@pytest.mark.parametrize("name", BINARY)
def test_other_class_is_no_operand(kind: type[Any], name: str) -> None:
    with pytest.raises(TypeError, match=f"an operand is an? {kind.__name__}"):
        result_of(lambda x: getattr(operator, name)(x, kind()))


def test_ufuncs_and_functions_call_protocols_of_class() -> None:
    other = HandlesNumPy()
    assert result_of(lambda x: np.add(x, other)) == ("add", ["Tensor", "HandlesNumPy"])
    assert result_of(lambda x: np.add(other, x)) == ("add", ["HandlesNumPy", "Tensor"])
    assert result_of(lambda x: np.concatenate([x, other])) == "concatenate"
    with pytest.raises(TypeError):
        result_of(lambda x: np.add(x, HigherPriority()))


def test_array_subclass_with_array_ufunc_is_not_converted() -> None:
    metres = X.view(Units)
    assert result_of(lambda x: x * metres) == ("multiply", ["Tensor", "Units"])
    assert result_of(lambda x: np.multiply(metres, x)) == ("multiply", ["Units", "Tensor"])
    with pytest.raises(TypeError, match=r"is a Units; .* pass its numbers \(np.asarray of it\)"):
        result_of(lambda x: tg.multiply(x, metres))
    # a subclass without __array_ufunc__ is converted
    assert isinstance(result_of(lambda x: x * X.view(PlainSubclass)), tg.Tensor)
