"""Operators and methods of a record: each calls the op that answers for NumPy's function."""

from __future__ import annotations

import operator
from typing import Any, NoReturn

import numpy as np

from tapegrad.arraylike.protocols import binary, infix, method
from tapegrad.arraylike.table import ANSWERS, remedy

_power, _rpower, _ipower = infix("**", np.power)


class Operators:
    """The operators and methods of arrays, recorded."""

    __slots__ = ()

    __hash__ = object.__hash__

    __add__, __radd__, __iadd__ = infix("+", np.add)
    __sub__, __rsub__, __isub__ = infix("-", np.subtract)
    __mul__, __rmul__, __imul__ = infix("*", np.multiply)
    __truediv__, __rtruediv__, __itruediv__ = infix("/", np.divide)
    __floordiv__, __rfloordiv__, __ifloordiv__ = infix("//", np.floor_divide)
    __mod__, __rmod__, __imod__ = infix("%", np.remainder)
    __divmod__, __rdivmod__ = binary(np.divmod)
    __matmul__, __rmatmul__, __imatmul__ = infix("@", np.matmul)
    __and__, __rand__, __iand__ = infix("&", np.bitwise_and)
    __or__, __ror__, __ior__ = infix("|", np.bitwise_or)
    __xor__, __rxor__, __ixor__ = infix("^", np.bitwise_xor)
    __lshift__, __rlshift__, __ilshift__ = infix("<<", np.left_shift)
    __rshift__, __rrshift__, __irshift__ = infix(">>", np.right_shift)
    __eq__ = binary(np.equal)[0]
    __ne__ = binary(np.not_equal)[0]
    __lt__ = binary(np.less)[0]
    __le__ = binary(np.less_equal)[0]
    __gt__ = binary(np.greater)[0]
    __ge__ = binary(np.greater_equal)[0]
    __neg__ = method(np.negative)
    __pos__ = method(np.positive)
    __abs__ = method(np.abs)
    __invert__ = method(np.invert)
    __floor__ = method(np.floor)
    __ceil__ = method(np.ceil)
    __trunc__ = method(np.trunc)
    __getitem__ = method(operator.getitem)

    sum = method(np.sum)
    mean = method(np.mean)
    max = method(np.max)
    min = method(np.min)
    argmax = method(np.argmax)
    argmin = method(np.argmin)
    prod = method(np.prod)
    var = method(np.var)
    std = method(np.std)
    any = method(np.any)
    all = method(np.all)
    cumsum = method(np.cumsum)
    cumprod = method(np.cumprod)
    argsort = method(np.argsort)
    argpartition = method(np.argpartition)
    nonzero = method(np.nonzero)
    searchsorted = method(np.searchsorted)
    clip = method(np.clip)
    round = method(np.round)
    dot = method(np.dot)
    squeeze = method(np.squeeze)
    swapaxes = method(np.swapaxes)
    choose = method(np.choose)
    copy = method(np.copy)
    diagonal = method(np.diagonal)
    repeat = method(np.repeat)
    take = method(np.take)
    trace = method(np.trace)
    ravel = flatten = method(np.ravel)
    T = property(method(np.transpose))
    mT = property(method(np.matrix_transpose))  # noqa: N815
    real = property(method(np.real))
    imag = property(method(np.imag))

    def __pow__(self: Any, other: Any) -> Any:
        if type(other) is int and other == 2 and self.dtype.kind == "b" and not self._is_a_number():
            # as NumPy's operator, unlike its function
            return ANSWERS[np.square](self)
        return _power(self, other)

    __rpow__, __ipow__ = _rpower, _ipower

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

    def conj(self: Any) -> Any:
        """`tg.conj` of the Tensor; one of real numbers itself, as in NumPy."""
        return ANSWERS[np.conj](self) if self.dtype.kind == "c" else self

    conjugate = conj

    def astype(self, dtype: Any, *, copy: bool = True) -> Any:
        """`tg.astype` of the Tensor; `copy` has no effect, since nothing changes."""
        return ANSWERS[np.astype](self, dtype)

    def compress(self, condition: Any, axis: int | None = None) -> Any:
        """`tg.compress` of the Tensor by a condition."""
        return ANSWERS[np.compress](condition, self, axis)

    @property
    def at(self) -> Any:
        """Functional updates: ``t.at[index].set(values)``, ``.add(values)``; see `tapegrad.at`."""
        return ANSWERS[operator.setitem](self)

    def __setitem__(self, index: Any, value: Any) -> NoReturn:
        raise TypeError(f"a Tensor is immutable; write: {remedy('of_setting')}")

    def __delitem__(self, index: Any) -> NoReturn:
        raise TypeError("a Tensor is immutable; select what to keep: t = t[index]")
