"""Operators and methods of a record: each calls the op that answers for NumPy's function."""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import Any, NoReturn

import numpy as np

from tapegrad.arraylike.protocols import takes_over
from tapegrad.arraylike.table import ANSWERS, lazy_import


def _binary(function: Any) -> tuple[Callable[[Any, Any], Any], Callable[[Any, Any], Any]]:
    """The methods of a binary operator: as written and reflected."""

    def forward(self: Any, other: Any) -> Any:
        try:
            return ANSWERS[function](self, other)
        except TypeError:
            # only after an error: the check takes longer than the op, which refuses such an operand
            if takes_over(other):
                return NotImplemented
            raise

    def reflected(self: Any, other: Any) -> Any:
        return ANSWERS[function](other, self)

    return forward, reflected


def _comparison(function: Any) -> Callable[[Any, Any], Any]:
    """The method of a comparison."""
    forward, _ = _binary(function)
    forward.__doc__ = f"`tg.{function.__name__}` of the Tensor."
    return forward


def _in_place(symbol: str, function: Any) -> Callable[[Any, Any], Any]:
    """The method of an in-place operator, such as ``+=``."""

    def in_place(self: Any, other: Any) -> Any:
        if not self._is_a_number():
            write = lazy_import("tapegrad.arraylike.remedies", "augmented")(
                f"t = t {symbol[:-1]} v"
            )
            raise TypeError(
                f"{symbol} changes an array in place in NumPy, under all its names and views, but "
                f"a Tensor (this one has shape {self.shape}) is immutable; "
                f"write: {write}"
            )
        return ANSWERS[function](self, other)

    return in_place


def _method(function: Any) -> Callable[..., Any]:
    """A method that calls NumPy's function on the Tensor."""

    def method(self: Any, *args: Any, **kwargs: Any) -> Any:
        return ANSWERS[function](self, *args, **kwargs)

    method.__doc__ = f"`tg.{function.__name__}` of the Tensor."
    return method


class Operators:
    """The operators and methods of arrays, recorded."""

    __slots__ = ()

    __hash__ = object.__hash__

    __add__, __radd__ = _binary(np.add)
    __sub__, __rsub__ = _binary(np.subtract)
    __mul__, __rmul__ = _binary(np.multiply)
    __truediv__, __rtruediv__ = _binary(np.divide)
    __floordiv__, __rfloordiv__ = _binary(np.floor_divide)
    __mod__, __rmod__ = _binary(np.remainder)
    __divmod__, __rdivmod__ = _binary(np.divmod)
    __matmul__, __rmatmul__ = _binary(np.matmul)
    __and__, __rand__ = _binary(np.bitwise_and)
    __or__, __ror__ = _binary(np.bitwise_or)
    __xor__, __rxor__ = _binary(np.bitwise_xor)
    __lshift__, __rlshift__ = _binary(np.left_shift)
    __rshift__, __rrshift__ = _binary(np.right_shift)
    __iadd__ = _in_place("+=", np.add)
    __isub__ = _in_place("-=", np.subtract)
    __imul__ = _in_place("*=", np.multiply)
    __itruediv__ = _in_place("/=", np.divide)
    __ifloordiv__ = _in_place("//=", np.floor_divide)
    __imod__ = _in_place("%=", np.remainder)
    __ipow__ = _in_place("**=", np.power)
    __imatmul__ = _in_place("@=", np.matmul)
    __iand__ = _in_place("&=", np.bitwise_and)
    __ior__ = _in_place("|=", np.bitwise_or)
    __ixor__ = _in_place("^=", np.bitwise_xor)
    __ilshift__ = _in_place("<<=", np.left_shift)
    __irshift__ = _in_place(">>=", np.right_shift)
    __eq__ = _comparison(np.equal)
    __ne__ = _comparison(np.not_equal)
    __lt__ = _comparison(np.less)
    __le__ = _comparison(np.less_equal)
    __gt__ = _comparison(np.greater)
    __ge__ = _comparison(np.greater_equal)
    __neg__ = _method(np.negative)
    __pos__ = _method(np.positive)
    __abs__ = _method(np.abs)
    __invert__ = _method(np.invert)
    __floor__ = _method(np.floor)
    __ceil__ = _method(np.ceil)
    __trunc__ = _method(np.trunc)
    __getitem__ = _method(operator.getitem)

    sum = _method(np.sum)
    mean = _method(np.mean)
    max = _method(np.max)
    min = _method(np.min)
    argmax = _method(np.argmax)
    argmin = _method(np.argmin)
    prod = _method(np.prod)
    var = _method(np.var)
    std = _method(np.std)
    any = _method(np.any)
    all = _method(np.all)
    cumsum = _method(np.cumsum)
    cumprod = _method(np.cumprod)
    argsort = _method(np.argsort)
    argpartition = _method(np.argpartition)
    nonzero = _method(np.nonzero)
    searchsorted = _method(np.searchsorted)
    clip = _method(np.clip)
    round = _method(np.round)
    conj = conjugate = _method(np.conj)
    dot = _method(np.dot)
    squeeze = _method(np.squeeze)
    swapaxes = _method(np.swapaxes)
    choose = _method(np.choose)
    copy = _method(np.copy)
    diagonal = _method(np.diagonal)
    repeat = _method(np.repeat)
    take = _method(np.take)
    trace = _method(np.trace)

    _power, _ = _binary(np.power)

    def __pow__(self, other: Any, modulus: Any = None) -> Any:
        if modulus is not None:
            raise TypeError(
                f"pow with three arguments is for ints; write (t ** {other}) % {modulus}"
            )
        return self._power(other)

    def __rpow__(self, other: Any, modulus: Any = None) -> Any:
        if modulus is not None:
            raise TypeError(
                f"pow with three arguments is for ints; write ({other} ** t) % {modulus}"
            )
        return ANSWERS[np.power](other, self)

    def __round__(self, ndigits: int | None = None) -> Any:
        return ANSWERS[np.round](self, ndigits or 0)

    def reshape(self, *shape: Any, **order: Any) -> Any:
        """`tg.reshape` of the Tensor; the shape as one tuple or as integers."""
        if not shape:
            raise TypeError("reshape takes a shape, such as t.reshape(()) for a scalar")
        return ANSWERS[np.reshape](self, shape[0] if len(shape) == 1 else shape, **order)

    def transpose(self, *axes: Any) -> Any:
        """`tg.transpose` of the Tensor; the axes as one tuple or as integers."""
        return ANSWERS[np.transpose](self, axes[0] if len(axes) == 1 else axes or None)

    def astype(self, dtype: Any, *, copy: bool = True) -> Any:
        """`tg.astype` of the Tensor; `copy` has no effect, since nothing changes."""
        return ANSWERS[np.astype](self, dtype)

    def compress(self, condition: Any, axis: int | None = None) -> Any:
        """`tg.compress` of the Tensor by a condition."""
        return ANSWERS[np.compress](condition, self, axis)

    def ravel(self, order: str = "C") -> Any:
        """The Tensor with one axis."""
        return ANSWERS[np.ravel](self, order)

    flatten = ravel

    @property
    def T(self) -> Any:
        """The transpose, recorded."""
        return ANSWERS[np.transpose](self)

    @property
    def mT(self) -> Any:
        """The matrices transposed, recorded: the last two axes exchanged."""
        return ANSWERS[np.matrix_transpose](self)

    @property
    def real(self) -> Any:
        """`tg.real` of the Tensor: the same values."""
        return ANSWERS[np.real](self)

    @property
    def imag(self) -> Any:
        """`tg.imag` of the Tensor: zeros."""
        return ANSWERS[np.imag](self)

    @property
    def at(self) -> Any:
        """Functional updates: ``t.at[index].set(values)`` and ``.add(values)``."""
        return ANSWERS[operator.setitem](self)

    def __setitem__(self, index: Any, value: Any) -> NoReturn:
        raise TypeError("a Tensor is immutable; write: t = t.at[index].set(value)")

    def __delitem__(self, index: Any) -> NoReturn:
        raise TypeError("a Tensor is immutable; select what to keep: t = t[index]")
