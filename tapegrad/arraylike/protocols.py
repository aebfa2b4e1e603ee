"""NumPy's protocols: find the op for a NumPy function or operator on a Tensor, by the table."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable
from types import ModuleType
from typing import Any, NoReturn

import numpy as np

from tapegrad.arraylike.table import ANSWERS, answer_for, remedy
from tapegrad.core.tensor import Tensor

Method = Callable[[Tensor, object], Any]

# NumPy compares priorities; an array's is 0, and a Tensor acts like an array
_PRIORITY = 0.0


def has_own_protocol(kind: type, protocol: str) -> bool:
    """Return whether a class of another library handles NumPy's ufuncs or functions itself."""
    ours = getattr(kind, "__recorded_ufuncs__", False)
    answers = getattr(kind, protocol, None)
    return not ours and answers not in (None, getattr(np.ndarray, protocol))


def has_priority(x: object) -> bool:
    """Return whether the other operand's class takes precedence over a Tensor's operator.

    NumPy's arrays follow the same rule (NEP 13, "Behavior in combination with Python's binary
    operations"): a class that handles ufuncs, or opts out by None, acts itself; for any other
    class, the priority decides.
    """
    if isinstance(x, np.ma.MaskedArray | np.matrix):
        return False  # these would read the Tensor out
    kind: Any = type(x)
    if hasattr(kind, "__array_ufunc__"):
        return kind.__array_ufunc__ is None or has_own_protocol(kind, "__array_ufunc__")
    priority = getattr(kind, "__array_priority__", None)
    return isinstance(priority, int | float) and priority > _PRIORITY


def binary_methods(function: np.ufunc) -> tuple[Method, Method]:
    """Return the methods of a binary operator: forward and reflected."""

    def call_forward(self: Tensor, other: object) -> Any:
        try:
            return ANSWERS[function](self, other)
        except TypeError:
            # only after an error, since the check takes longer than the op
            if has_priority(other):
                return NotImplemented
            raise

    def call_reflected(self: Tensor, other: object) -> Any:
        return ANSWERS[function](other, self)

    call_forward.__doc__ = f"`tg.{function.__name__}` of the Tensor and another operand."
    return call_forward, call_reflected


# the operators of NumPy's functions, such as "+"
INFIX: dict[np.ufunc, str] = {}


def infix_methods(symbol: str, function: np.ufunc) -> tuple[Method, Method, Method]:
    """Return the methods of a binary operator: forward, reflected, and in place (``+=``)."""
    INFIX[function] = symbol

    def rebind(self: Tensor, other: object) -> Any:
        if not self._is_a_number():
            remedy("refuse_solver", self)
            write = remedy("rebinding_code", f"t = t {symbol} v")
            raise TypeError(
                f"{symbol}= changes an array in place in NumPy, under all its names and views, but "
                f"a Tensor (this one has shape {self.shape}) is immutable; "
                f"write: {write}"
            )
        return ANSWERS[function](self, other)

    return *binary_methods(function), rebind


def numpy_method(function: Any) -> Callable[..., Any]:
    """Return a method that calls NumPy's function on the Tensor."""

    def call(self: Tensor, *args: Any, **kwargs: Any) -> Any:
        return ANSWERS[function](self, *args, **kwargs)

    call.__doc__ = f"`tg.{function.__name__}` of the Tensor."
    return call


class Protocols:
    """NumPy's functions and ufuncs, recorded."""

    __slots__ = ()
    __recorded_ufuncs__ = True

    def __array_namespace__(self, *, api_version: str | None = None) -> ModuleType:
        """Return NumPy, whose functions take Tensors, for the array API standard."""
        example: Any = np.empty(0)
        namespace: ModuleType = example.__array_namespace__(api_version=api_version)
        return namespace

    def __array_ufunc__(self, ufunc: np.ufunc, method: str, *inputs: Any, **kwargs: Any) -> Any:
        name = ufunc.__name__
        out = kwargs.pop("out", None)
        if out is not None:
            changed, arguments = ("array", "array, t") if out[0] is inputs[0] else ("out", "...")
            called = _call_name(ufunc, method)
            infix = INFIX.get(ufunc) if method == "__call__" else None
            write = f"{changed} = " + (f"array {infix} t" if infix else f"{called}({arguments})")
            raise TypeError(
                f"{called}: out= (and an in-place operator such as +=) would write a Tensor into "
                "an array, which is not possible; bind the result instead: "
                + remedy("rebinding_code", write)
            )
        key = ufunc if method == "__call__" else (method, ufunc)
        ours = ANSWERS.get(key) or answer_for(key)
        if ours is None and method == "__call__":
            ours = answer_for(_full_name(ufunc, name))
        if ours is not None:
            try:
                return ours(*inputs, **kwargs)
            except TypeError:
                if any(has_own_protocol(type(x), "__array_ufunc__") for x in inputs):
                    return NotImplemented
                raise
        if method == "__call__":
            _refuse(ufunc, name)
        raise TypeError(
            f"{_call_name(ufunc, method)} is not supported on a Tensor; "
            + remedy("ufunc_method_remedy", name, method).format(_call_name(ufunc, "__call__"))
        )

    def __array_function__(
        self, function: Any, types: Iterable[type], args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> Any:
        if function is np.atleast_1d:
            # SciPy's solvers call it on a function's result, and hide later errors
            remedy("refuse_solver", self)
        ours = ANSWERS.get(function) or answer_for(function)
        if ours is None:
            _refuse(function, function.__name__)
        try:
            return ours(*args, **kwargs)
        except TypeError:
            if any(has_own_protocol(kind, "__array_function__") for kind in types):
                return NotImplemented
            raise


def _refuse(function: object, name: str) -> NoReturn:
    """Raise for a function that has no op."""
    instead = (
        "compose it of tapegrad's functions, declare it with tg.custom_op, or pass "
        "the values (t.value) if no gradient should pass"
    )
    raise TypeError(
        f"{_full_name(function, name)} is not supported on a Tensor; "
        + (remedy("function_remedy", name) or instead)
    )


def _call_name(ufunc: np.ufunc, method: str) -> str:
    """Return the code that users write for a ufunc or its method."""
    name = _full_name(ufunc, ufunc.__name__)
    name = f"np.{ufunc.__name__}" if name.startswith("numpy.") else name
    return name if method == "__call__" else f"{name}.{method}"


def _full_name(function: object, name: str) -> str:
    """Return a function's name after its module's, which a ufunc does not know."""
    module = getattr(function, "__module__", None)
    if module is None and getattr(np, name, None) is not function:
        candidates = ("scipy.special", "scipy.special._ufuncs", "scipy.special._special_ufuncs")
        modules = [x for x in candidates if getattr(sys.modules.get(x), name, None) is function]
        module = modules[0] if modules else ""
    return f"{'numpy' if module is None else module}.{name}".lstrip(".")
