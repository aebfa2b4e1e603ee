"""Casting of operands and results: dtypes, Python numbers and safe division."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import numpy as np

from tapegrad import tree
from tapegrad.arraylike.table import answers
from tapegrad.core.forward import apply, elementwise_jvp
from tapegrad.core.tensor import Tensor
from tapegrad.core.writing import ASARRAY
from tapegrad.declare import declare, op
from tapegrad.declare.batching import batch_elementwise
from tapegrad.tree.lists import stack_nested
from tapegrad.tree.numbers import as_constant, require_real
from tapegrad.tree.opaque import refuse_hidden
from tapegrad.types import Array, ArrayLike, DType, DTypeLike, PyTree, Scalar

__all__ = ["asarray", "ascontiguousarray", "astype", "copy", "stop_gradient"]

T = TypeVar("T")
Number = TypeVar("Number", Array, complex)


@op(lambda g, y, a: g, keeps_weak=True, jvp=elementwise_jvp, view=True, complex=True)
def asarray(a: ArrayLike) -> Array:
    """The operand as an array, for ops that take no Python number.

    Examples
    --------
    >>> import tapegrad as tg
    >>> tg.asarray(2.0)
    array(2.)
    """
    return np.asarray(a)


declare(ASARRAY, view=True)


@op(
    lambda g, y, a: g,
    jvp=elementwise_jvp,
    batch=lambda op, batched, a: apply(op, (a.reshape(-1, 1) if a.ndim == 1 else a,), {}),
    view=True,
    complex=True,
)
def ascontiguousarray(a: ArrayLike) -> Array:
    """The same values, in C order in memory; a scalar becomes an array of one element.

    Examples
    --------
    >>> import tapegrad as tg
    >>> tg.ascontiguousarray(np.ones((2, 3)).T).flags.c_contiguous
    True
    """
    return np.ascontiguousarray(a)


@op(lambda g, y, a: g, numpy=np.copy, jvp=elementwise_jvp, complex=True)
def copy(a: ArrayLike) -> Array:
    """The same values in a new array.

    Examples
    --------
    >>> import tapegrad as tg
    >>> tg.grad(lambda x: tg.sum(tg.copy(x)))(np.ones(2))
    array([1., 1.])
    """
    return np.copy(a)


@op(lambda g, y, a, dtype: g, numpy=getattr(np, "astype", ()), jvp=elementwise_jvp, complex=True)
def astype(a: ArrayLike, dtype: DTypeLike) -> Array:
    """The array in another dtype. A gradient comes back in the old one.

    Raises
    ------
    TypeError
        If the dtype does not hold numbers, or drops the imaginary part of complex ones.

    Examples
    --------
    >>> import tapegrad as tg
    >>> tg.grad(lambda x: tg.sum(tg.astype(x, np.float32)))(np.ones(2)).dtype
    dtype('float64')
    """
    a, dtype = np.asarray(a), np.dtype(dtype)
    require_real(dtype, "astype: the dtype", True)
    if a.dtype.kind == "c" and dtype.kind not in "cb":
        raise TypeError(
            f"astype would drop the imaginary part, from {a.dtype} to {dtype}; write z.real"
            f"{'' if dtype == a.real.dtype else '.astype(...) of it'}"
        )
    return a.astype(dtype)


def to_array(x: ArrayLike) -> Array:
    """Return x if it is an array, recorded or not; otherwise convert it to one.

    NumPy's functions begin with this conversion, unless Python numbers are weak in them.
    """
    if isinstance(x, Tensor):
        # a record stands for its array
        return x if type(x._primal) is np.ndarray else asarray(x)  # type: ignore[return-value]
    if isinstance(x, np.ndarray):
        return x
    stacked = stack_nested(x)
    if isinstance(stacked, Tensor):
        return stacked  # type: ignore[return-value]  # a record stands for its array
    array = np.asarray(stacked)
    if array.dtype.kind == "O":
        # next to floats, NumPy converts an int of more than 64 bits to a float
        array = np.asarray(float(as_constant(stacked, "a function of arrays")))
    return array


def as_real(x: ArrayLike, what: str = "an operand", complex: bool = False) -> Array:
    """Return x as a real array; raise a TypeError, in which `what` names x, for others."""
    x = to_array(x)
    require_real(x.dtype, what, complex)
    return x


def as_floating(x: ArrayLike, complex: bool = False) -> Array:
    """Return x as a floating array, or a complex one if allowed; float64 for integers."""
    if type(x) is np.ndarray and x.dtype.kind == "f":
        return x
    x = as_real(x, complex=complex)
    return x if x.dtype.kind in "fc" else x.astype(float)


def squared_modulus(x: Number) -> Number:
    """Return the square of each absolute value, which is real."""
    dtype = getattr(x, "dtype", None)
    if type(x) is complex if dtype is None else dtype.kind == "c":
        re, im = x.real, x.imag
        return re * re + im * im
    return x * x


def as_double(x: ArrayLike, complex: bool = False) -> Array:
    """Return x as an array in float64 or wider, or in complex128 if allowed."""
    x = as_real(x, complex=complex)
    dtype = np.promote_types(x.dtype, np.float64)
    return x if x.dtype == dtype else x.astype(dtype)


def is_weak(x: ArrayLike) -> bool:
    """Whether x is a Python number, recorded or not, and so takes the dtype of other operands."""
    return type(x._primal if isinstance(x, Tensor) else x) in (int, float, complex)


def as_common_dtype(*xs: ArrayLike, beside: Sequence[Scalar | DType] = ()) -> list[Array]:
    """Return arrays of the common dtype of all numbers and `beside`; Python numbers are weak."""
    xs = tuple([x if is_weak(x) else to_array(x) for x in xs])
    dtype = np.result_type(*xs, *beside)
    return [x if x.dtype == dtype else x.astype(dtype) for x in map(to_array, xs)]


def conjugate_of(x: Array) -> Array:
    """Return the conjugate of an array; a real array itself, without a record."""
    return np.conj(x) if x.dtype.kind == "c" else x


def real_of(x: Array) -> Array:
    """Return the real part of an array; a real array itself, without a record."""
    return np.real(x) if x.dtype.kind == "c" else x


def squared_modulus_by_ops(x: Array) -> Array:
    """Return the squares of absolute values, by ops that can be recorded."""
    return np.real(x * np.conj(x)) if x.dtype.kind == "c" else np.square(x)


def as_scalar(x: Array) -> Array:
    """Return x, or a NumPy scalar for an array without axes, as NumPy's functions do."""
    return x if x.ndim else x[()]


def sqrt_with_zero_slope(x: Array) -> Array:
    """Return the square root in the dtype of x, with a slope of 0 at 0."""
    is_zero = np.equal(x, 0)
    y = as_scalar(np.where(is_zero, 0, np.sqrt(np.where(is_zero, 1, x))))
    return y if y.dtype == x.dtype else y.astype(x.dtype)


def apply_into(buffer: Array, ufunc: np.ufunc, *operands: Array) -> Array:
    """Write ``ufunc(*operands)`` into `buffer`, an operand without other references.

    It has the shape and the dtype of the result. For numbers and Tensors the result is new.
    """
    for x in operands:
        if type(x) is not np.ndarray:
            return ufunc(*operands)
    return ufunc(*operands, buffer)


def deviations(a: Array, average: Array | Tensor, mean: Callable[[Array], Any]) -> Array:
    """Subtract the average of an array, and then the mean of the deviations.

    The mean of the deviations is the rounding error of the average, which far from 0 may be large
    beside the deviations. Since it is subtracted, no gradient needs to pass through the average.
    """
    centered = a - (stopped(average) if type(average) is Tensor else average)
    return apply_into(centered, np.subtract, centered, mean(centered))


def safe_divide(x1: Array, x2: Array) -> Array:
    """Return ``x1 / x2``; where x2 is 0, the quotient and its derivatives are 0."""
    is_zero = np.equal(x2, 0)
    return np.where(is_zero, 0, x1 / np.where(is_zero, 1, x2))


def concrete_operand(x: T) -> T | Array:
    """Return an operand that determines a shape: x, or the value of a Tensor without gradient."""
    return np.asarray(x) if isinstance(x, Tensor) else x


def read_values(x: Array, purpose: str) -> Array:
    """Return the values of x, which determine a shape; inside `compile` this raises."""
    return x._read(purpose) if isinstance(x, Tensor) else x


def values_if_known(x: ArrayLike) -> Array | None:
    """Return the values of x for checks; None inside `compile`, where they are unknown."""
    if isinstance(x, Tensor):
        return None if x.origin.compiling else x.value
    return np.asarray(x)


def cast_for_assignment(values: ArrayLike, dtype: DTypeLike) -> Array:
    """Cast values to the dtype of the array that will hold them."""
    if isinstance(values, Tensor) and values.dtype.kind == "f" and np.dtype(dtype).kind not in "fc":
        raise TypeError(
            f"a floating Tensor in an array of {np.dtype(dtype)} would lose its gradient: "
            "make that array one of floats, with .astype(float)"
        )
    values = to_array(values)
    require_real(values.dtype, "what is written to an array", True)
    if values.dtype.kind == "c":
        require_dtype_holds(np.dtype(dtype), values.dtype, "written to")
    return values.astype(dtype)


def require_dtype_holds(dtype: DType, other: DType, action: str) -> None:
    """Raise if a dtype cannot hold values of another; `action` is a phrase such as "set in"."""
    kind = other.kind
    if (kind == "c" and dtype.kind != "c") or (kind == "f" and dtype.kind not in "fc"):
        found, needed = ("complex", "complex") if kind == "c" else ("floating", "float")
        raise TypeError(
            f"{found} values cannot be {action} an array of {dtype}: use .astype({needed})"
        )


def stop_gradient(tree_: T) -> T:
    """The same values, through which no gradient passes.

    Parameters
    ----------
    tree_
        A Tensor, or a tree of them.

    Returns
    -------
    The tree with new Tensors, through which no gradient passes.

    Raises
    ------
    TypeError
        If an object that is not a tree, such as a set or a generator, holds Tensors.

    Examples
    --------
    >>> import tapegrad as tg
    >>> tg.grad(lambda x: tg.stop_gradient(x) * x)(3.0)
    array(3.)
    """
    return tree.map(_stop_leaf, tree_)


def _stop_leaf(leaf: PyTree) -> PyTree:
    refuse_hidden(leaf, "what stop_gradient is given")
    return stopped(leaf) if isinstance(leaf, Tensor) else leaf


@op(None, name="stop_gradient", keeps_weak=True, batch=batch_elementwise, view=True, complex=True)
def stopped(x: Array | Tensor) -> Array | Tensor:
    """A leaf of `stop_gradient`: the same value, without a gradient."""
    return x


def _result_type(*args: Any) -> DType:
    primals = [x._primal if isinstance(x, Tensor) else x for x in args]
    return np.result_type(*[x.dtype if isinstance(x, np.ndarray) else x for x in primals])


# facts that a Tensor has without its value, and without a record
answers([np.shape], lambda a: a.shape)
answers([np.ndim], lambda a: a.ndim)
answers([np.size], lambda a: a.size)
answers([np.result_type], _result_type)
answers([np.iscomplexobj], lambda x: x.dtype.kind == "c")
answers([np.isrealobj], lambda x: x.dtype.kind != "c")
