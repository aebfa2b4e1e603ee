"""Operators and methods of a record: each calls the op for NumPy's function."""

from __future__ import annotations

import operator
from typing import Any, NoReturn

import numpy as np

from tapegrad.arraylike.protocols import binary_methods, infix_methods, numpy_method
from tapegrad.arraylike.reading import TensorMixin
from tapegrad.arraylike.table import ANSWERS, remedy
from tapegrad.core.tensor import Tensor
from tapegrad.types import ArrayLike, DTypeLike, Index

_power, _rpower, _ipower = infix_methods("**", np.power)


def make_updates(t: Tensor) -> Any:
    """Functional updates: ``t.at[index].set(values)``, ``.add(values)``; see `tapegrad.at`."""
    return ANSWERS[operator.setitem](t)


class Operators(TensorMixin):
    """The operators and methods of arrays, recorded as ops."""

    __slots__ = ()

    __hash__ = object.__hash__

    __add__, __radd__, __iadd__ = infix_methods("+", np.add)
    __sub__, __rsub__, __isub__ = infix_methods("-", np.subtract)
    __mul__, __rmul__, __imul__ = infix_methods("*", np.multiply)
    __truediv__, __rtruediv__, __itruediv__ = infix_methods("/", np.divide)
    __floordiv__, __rfloordiv__, __ifloordiv__ = infix_methods("//", np.floor_divide)
    __mod__, __rmod__, __imod__ = infix_methods("%", np.remainder)
    __divmod__, __rdivmod__ = binary_methods(np.divmod)
    __matmul__, __rmatmul__, __imatmul__ = infix_methods("@", np.matmul)
    __and__, __rand__, __iand__ = infix_methods("&", np.bitwise_and)
    __or__, __ror__, __ior__ = infix_methods("|", np.bitwise_or)
    __xor__, __rxor__, __ixor__ = infix_methods("^", np.bitwise_xor)
    __lshift__, __rlshift__, __ilshift__ = infix_methods("<<", np.left_shift)
    __rshift__, __rrshift__, __irshift__ = infix_methods(">>", np.right_shift)
    __eq__ = binary_methods(np.equal)[0]
    __ne__ = binary_methods(np.not_equal)[0]
    __lt__ = binary_methods(np.less)[0]
    __le__ = binary_methods(np.less_equal)[0]
    __gt__ = binary_methods(np.greater)[0]
    __ge__ = binary_methods(np.greater_equal)[0]
    __neg__ = numpy_method(np.negative)
    __pos__ = numpy_method(np.positive)
    __abs__ = numpy_method(np.abs)
    __invert__ = numpy_method(np.invert)
    __floor__ = numpy_method(np.floor)
    __ceil__ = numpy_method(np.ceil)
    __trunc__ = numpy_method(np.trunc)
    __getitem__ = numpy_method(operator.getitem)

    sum = numpy_method(np.sum)
    mean = numpy_method(np.mean)
    max = numpy_method(np.max)
    min = numpy_method(np.min)
    argmax = numpy_method(np.argmax)
    argmin = numpy_method(np.argmin)
    prod = numpy_method(np.prod)
    var = numpy_method(np.var)
    std = numpy_method(np.std)
    any = numpy_method(np.any)
    all = numpy_method(np.all)
    cumsum = numpy_method(np.cumsum)
    cumprod = numpy_method(np.cumprod)
    argsort = numpy_method(np.argsort)
    argpartition = numpy_method(np.argpartition)
    nonzero = numpy_method(np.nonzero)
    searchsorted = numpy_method(np.searchsorted)
    clip = numpy_method(np.clip)
    round = numpy_method(np.round)
    dot = numpy_method(np.dot)
    squeeze = numpy_method(np.squeeze)
    swapaxes = numpy_method(np.swapaxes)
    choose = numpy_method(np.choose)
    copy = numpy_method(np.copy)
    diagonal = numpy_method(np.diagonal)
    repeat = numpy_method(np.repeat)
    take = numpy_method(np.take)
    trace = numpy_method(np.trace)
    ravel = flatten = numpy_method(np.ravel)
    T = property(numpy_method(np.transpose))
    mT = property(numpy_method(np.matrix_transpose))  # noqa: N815
    real = property(numpy_method(np.real))
    imag = property(numpy_method(np.imag))
    at = property(make_updates)

    def __pow__(self, other: object) -> Any:
        if type(other) is int and other == 2 and self.dtype.kind == "b" and not self._is_a_number():
            # NumPy's operator squares a boolean array, unlike its function
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

    def conj(self) -> Any:
        """`tg.conj` of the Tensor; a real Tensor itself, as in NumPy."""
        return ANSWERS[np.conj](self) if self.dtype.kind == "c" else self

    conjugate = conj

    def astype(self, dtype: DTypeLike, *, copy: bool = True) -> Any:
        """`tg.astype` of the Tensor; `copy` has no effect, since nothing changes."""
        return ANSWERS[np.astype](self, dtype)

    def compress(self, condition: ArrayLike, axis: int | None = None) -> Any:
        """`tg.compress` of the Tensor by a condition."""
        return ANSWERS[np.compress](condition, self, axis)

    def __setitem__(self, index: Index, value: ArrayLike) -> NoReturn:
        raise TypeError(f"a Tensor is immutable; write: {remedy('assignment_code')}")

    def __delitem__(self, index: Index) -> NoReturn:
        raise TypeError("a Tensor is immutable; select what to keep: t = t[index]")
