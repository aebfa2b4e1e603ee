"""Sparse arrays in coordinate form: the numbers are a leaf, the positions are part of the tree.

A gradient needs one trilinear form, ``sum(data * a[rows] * b[cols])``, and its three derivatives:
two are products with the array or its transpose, and the third selects the products
``a[rows] * b[cols]``. So two ops are each other's derivatives.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property
from typing import Any, ClassVar, NoReturn

import attrs
import numpy as np
import scipy.sparse

from tapegrad.core.forward import linear_jvp
from tapegrad.core.messages import refuse_stranger
from tapegrad.core.tensor import Tensor
from tapegrad.core.writing import CURRENT
from tapegrad.declare import op
from tapegrad.declare.batching import batch_stacks
from tapegrad.errors.lines import caller_name
from tapegrad.errors.words import got
from tapegrad.ops.updates import at
from tapegrad.tree.ownership import Unchanging, readonly_array
from tapegrad.types import Array

__all__ = ["coo_array"]
__dir__ = __all__.copy

# --- positions ------------------------------------------------------------------------------


@attrs.frozen(eq=False, repr=False, slots=False)
class Pattern(Unchanging):
    """The positions of a sparse array's elements; equal and hashed by content.

    Attributes
    ----------
    rows, cols
        The positions, of shape (nnz,). Elements at the same position add up.
    shape
        The shape of the array.
    """

    __tree_static__: ClassVar[bool] = True

    rows: Array
    cols: Array
    shape: tuple[int, int]

    def __eq__(self, other: Any) -> bool:
        if self is other or not isinstance(other, Pattern):
            return self is other
        return (
            self.shape == other.shape
            and hash(self) == hash(other)
            and np.array_equal(self.rows, other.rows)
            and np.array_equal(self.cols, other.cols)
        )

    @cached_property
    def _hash(self) -> int:
        return hash((self.shape, self.rows.tobytes(), self.cols.tobytes()))

    def __hash__(self) -> int:
        return self._hash

    def __reduce__(self) -> Any:
        return made_pattern, (np.array(self.rows), np.array(self.cols), self.shape)

    def as_parts(self) -> tuple[Any, ...]:
        """The parts that it consists of, for a file."""
        return self.rows, self.cols, self.shape

    @classmethod
    def from_parts(cls, rows: Any, cols: Any, shape: Any) -> Pattern:
        """The pattern of these parts of a file; a ValueError if they do not fit."""
        pattern = made_pattern(rows, cols, shape)
        places = zip((pattern.rows, pattern.cols), pattern.shape, strict=True)
        inside = [((x >= 0) & (x < side)).all() for x, side in places]
        if pattern.rows.ndim != 1 or pattern.rows.shape != pattern.cols.shape or not all(inside):
            raise ValueError("positions are not those of a sparse array")
        return pattern

    def __repr__(self) -> str:
        return f"{self.shape[0]}x{self.shape[1]} with {len(self.rows)} elements"

    @cached_property
    def T(self) -> Pattern:
        """The positions of the transpose."""
        pattern = Pattern(self.cols, self.rows, self.shape[::-1])
        pattern.__dict__["T"] = self
        return pattern

    @cached_property
    def _by_columns(self) -> tuple[Array, Array | None, Array, Array]:
        """The order of the elements, the starts of positions if any repeats, and CSC's indices."""
        order = np.lexsort((self.rows, self.cols))
        rows, cols = self.rows[order], self.cols[order]
        starts = None
        if len(order):
            first = np.ones(len(order), bool)
            first[1:] = (rows[1:] != rows[:-1]) | (cols[1:] != cols[:-1])
            if not first.all():
                starts = np.flatnonzero(first)
                rows, cols = rows[starts], cols[starts]
        ends = np.searchsorted(cols, np.arange(self.shape[1] + 1))
        return order, starts, rows.astype(np.int32), ends.astype(np.int32)

    def to_scipy(self, data: Any) -> Any:
        """SciPy's array with these elements, by columns."""
        order, starts, indices, ends = self._by_columns
        data = data[order] if starts is None else np.add.reduceat(data[order], starts)
        return scipy.sparse.csc_array((data, indices, ends), shape=self.shape)


def made_pattern(rows: Any, cols: Any, shape: Any) -> Pattern:
    """A pattern from checked positions."""
    rows, cols = (readonly_array(np.array(x, np.intp)) for x in (rows, cols))
    return Pattern(rows, cols, tuple(map(int, shape)))  # type: ignore[arg-type]


def check_recording(what: str, *xs: Any) -> None:
    """Raise for a Tensor outside of a recording."""
    for x in xs:
        if type(x) is Tensor and CURRENT.get() is None:
            refuse_stranger(what, x, None)


# --- ops ------------------------------------------------------------------------------------


def apply_to_columns(apply: Callable[[Any], Any], x: Any) -> Any:
    """A function of a matrix that acts on each column, applied to a stack of matrices at once."""
    if x.ndim == 2:
        return apply(x)
    sides = np.moveaxis(x, -2, 0)
    y = apply(np.reshape(sides, (len(sides), -1)))
    return np.moveaxis(np.reshape(y, (len(y), *sides.shape[1:])), 0, -2)


def map_stack(stack: tuple[int, ...], apply: Callable[..., Any], shape: Any, dtype: Any) -> Any:
    """The results of a function of the index in a stack."""
    y = np.empty((*stack, *shape), dtype)
    for i in np.ndindex(*stack):
        y[i] = apply(i)
    return y


def _product(data: Any, x: Any, pattern: Pattern) -> Any:
    return coo_matmul(data, x, pattern=pattern)


def _dot(a: Any, b: Any, pattern: Pattern) -> Any:
    return coo_dot(a, b, pattern=pattern)


def _matmul_pairs(k: int, a: Any, b: Any, pattern: Pattern) -> Any:
    """The pairs of elements of ``coo_matmul``, which has one of each element for each column."""
    if len(a.shape) > 1 or len(b.shape) > 2:
        return None
    n = b.shape[1]
    columns = np.arange(n)
    ys = pattern.rows[:, None] * n + columns
    xs = np.arange(len(pattern.rows))[:, None] if k == 0 else pattern.cols[:, None] * n + columns
    return ys.reshape(-1), np.broadcast_to(xs, ys.shape).reshape(-1)


def _dot_pairs(k: int, a: Any, b: Any, pattern: Pattern) -> Any:
    """The pairs of elements of ``coo_dot``, each of which is the product of two rows."""
    if len(a.shape) > 2 or len(b.shape) > 2:
        return None
    n = a.shape[1]
    xs = (pattern.cols if k else pattern.rows)[:, None] * n + np.arange(n)
    return np.repeat(np.arange(len(xs)), n), xs.reshape(-1)


@op(
    lambda g, y, data, x, pattern: _dot(g, x, pattern),
    lambda g, y, data, x, pattern: _product(data, g, pattern.T),
    scipy="",
    jvp=linear_jvp,
    batch=batch_stacks(1, 2),
    pairs=_matmul_pairs,
    complex=True,
)
def coo_matmul(data: Any, x: Any, pattern: Pattern) -> Any:
    """The product of a sparse array with a stack of matrices (..., n, k); data (..., nnz)."""
    if data.ndim == 1:
        return apply_to_columns(pattern.to_scipy(data).__matmul__, x)
    stack = np.broadcast_shapes(data.shape[:-1], x.shape[:-2])
    datas = np.broadcast_to(data, (*stack, data.shape[-1]))
    xs = np.broadcast_to(x, (*stack, *x.shape[-2:]))
    shape = pattern.shape[0], x.shape[-1]
    dtype = np.result_type(data, x)
    return map_stack(stack, lambda i: pattern.to_scipy(datas[i]) @ xs[i], shape, dtype)


@op(
    lambda g, y, a, b, pattern: _product(g, b, pattern),
    lambda g, y, a, b, pattern: _product(g, a, pattern.T),
    scipy="",
    jvp=linear_jvp,
    batch=batch_stacks(2, 2),
    pairs=_dot_pairs,
    complex=True,
)
def coo_dot(a: Any, b: Any, pattern: Pattern) -> Any:
    """The elements of ``a @ b.T`` at a pattern's positions, for (..., m, k) and (..., n, k)."""
    if a.shape[-1] == b.shape[-1] == 1:
        return a[..., pattern.rows, 0] * b[..., pattern.cols, 0]
    return np.einsum("...ik,...ik->...i", a[..., pattern.rows, :], b[..., pattern.cols, :])


# --- the array ------------------------------------------------------------------------------


_REMEDY = (
    "pass A.tocsc() or A.toarray(), or call tapegrad.scipy.sparse.linalg, which has derivatives"
)


@attrs.frozen(eq=False, repr=False, init=False)
class coo_array:  # noqa: N801, for SciPy calls it so
    """A sparse array of two axes in coordinate form, as `scipy.sparse.coo_array`.

    It is frozen, and a node of trees whose one leaf is `data`: `grad`, `vmap`, `compile` and
    `tree.map` see the numbers, and the positions stay as they are. Two such arrays have the same
    structure if their positions are the same, in the same order.

    Parameters
    ----------
    arg1
        ``(data, (rows, cols))``: the elements, an array or a Tensor of shape (nnz,), and their
        positions. Elements at the same position add up. Or an array of SciPy, whose numbers are
        copied.
    shape
        ``(m, n)``; by default as small as the positions allow.

    Raises
    ------
    ValueError
        If the lengths differ, or a position lies outside the shape.
    TypeError
        For anything else, such as a dense Tensor.

    Notes
    -----
    It has these members of SciPy's class: ``@`` with vectors and matrices on either side, ``+`` and
    ``-`` between such arrays, ``*`` and ``/`` with a number, ``T``, ``transpose``, ``conj``,
    ``real``, ``imag``, ``astype``, ``toarray``, ``shape``, ``dtype``, ``ndim``, ``nnz``, ``row``
    and ``col``; of values, for SciPy, ``tocsc``, ``tocsr`` and ``tocoo``. The gradient of complex
    elements is the adjoint.

    For `vmap`, several arrays with the same positions are one array whose data have one more axis:
    ``tg.tree.map(lambda data: np.stack([data, 2 * data]), A)``.

    Examples
    --------
    >>> import tapegrad as tg
    >>> from tapegrad.scipy.sparse import coo_array
    >>> A = coo_array(([1.0, 2.0, 3.0], ([0, 1, 1], [0, 0, 1])), shape=(2, 2))
    >>> A @ np.array([1.0, 10.0])
    array([ 1., 32.])
    >>> tg.grad(lambda A, x: np.sum(A @ x))(A, np.array([1.0, 10.0])).data
    array([ 1.,  1., 10.])
    """

    data: Any = attrs.field(alias="arg1")
    pattern: Pattern = attrs.field(alias="shape")

    # so that array @ A and t @ A are left to this class
    __array_ufunc__: ClassVar[None] = None

    def __init__(self, arg1: Any, shape: Any = None) -> None:
        if not isinstance(shape, Pattern):
            arg1, shape = _read_arguments(arg1, shape)
        self.__attrs_init__(arg1, shape)

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> NoReturn:
        raise TypeError(f"NumPy cannot read a coo_array of tapegrad: {_REMEDY}")

    def __format__(self, spec: str) -> str:
        # SciPy's sparse arrays quote what they cannot read, and hide the error above
        is_quoted = caller_name(1)[1].startswith("scipy.sparse.")
        return format(f"{self!r}, of tapegrad: {_REMEDY}" if is_quoted else repr(self), spec)

    def __repr__(self) -> str:
        return f"<coo_array of {self.dtype}, {self.pattern!r}>"

    def _with_data(self, data: Any) -> coo_array:
        return coo_array(data, self.pattern)

    @property
    def shape(self) -> tuple[int, int]:
        """The numbers of rows and columns."""
        return self.pattern.shape

    @property
    def dtype(self) -> Any:
        """The dtype of the elements."""
        return self.data.dtype if hasattr(self.data, "dtype") else np.asarray(self.data).dtype

    @property
    def ndim(self) -> int:
        """The number of axes."""
        return 2

    @property
    def nnz(self) -> int:
        """The number of elements; elements at the same position are counted separately."""
        return len(self.pattern.rows)

    @property
    def row(self) -> Array:
        """The row of each element."""
        return self.pattern.rows

    @property
    def col(self) -> Array:
        """The column of each element."""
        return self.pattern.cols

    @property
    def T(self) -> coo_array:
        """The transpose."""
        return coo_array(self.data, self.pattern.T)

    def transpose(self) -> coo_array:
        """The transpose."""
        return self.T

    def conj(self) -> coo_array:
        """The complex conjugate."""
        return self._with_data(np.conj(self.data))

    conjugate = conj

    @property
    def real(self) -> coo_array:
        """The real part."""
        return self._with_data(np.real(self.data))

    @property
    def imag(self) -> coo_array:
        """The imaginary part."""
        return self._with_data(np.imag(self.data))

    def astype(self, dtype: Any) -> coo_array:
        """The array in another dtype."""
        return self._with_data(self.data.astype(dtype))

    def toarray(self) -> Any:
        """The dense array."""
        shape = *np.shape(self.data)[:-1], *self.shape
        # no product, in which nan or inf would pass to the rest of its row
        return at(np.zeros(shape, self.dtype))[..., self.row, self.col].add(self.data)

    todense = toarray

    def tocsc(self) -> Any:
        """SciPy's array by columns, of the values."""
        if type(self.data) is Tensor:
            self.data._read("tocsc, for SciPy,")
        return self.pattern.to_scipy(np.asarray(self.data))

    def tocsr(self) -> Any:
        """SciPy's array by rows, of the values."""
        return self.tocsc().tocsr()

    def tocoo(self) -> Any:
        """SciPy's array in coordinate form, of the values."""
        return self.tocsc().tocoo()

    def __neg__(self) -> coo_array:
        return self._with_data(-self.data)

    def __mul__(self, other: Any) -> coo_array:
        return self._with_data(self.data * _as_scalar("*", other))

    __rmul__ = __mul__

    def __truediv__(self, other: Any) -> coo_array:
        return self._with_data(self.data / _as_scalar("/", other))

    def __add__(self, other: Any) -> coo_array:
        if not isinstance(other, coo_array):
            _raise_unsupported("+ or -", other)
        if other.shape != self.shape:
            raise ValueError(f"inconsistent shapes: {self.shape} and {other.shape}")
        if other.pattern is self.pattern:
            return self._with_data(self.data + other.data)
        rows = np.concatenate([self.row, other.row])
        pattern = made_pattern(rows, np.concatenate([self.col, other.col]), self.shape)
        return coo_array(np.concatenate([self.data, other.data]), pattern)

    def __sub__(self, other: Any) -> coo_array:
        if not isinstance(other, coo_array):
            _raise_unsupported("+ or -", other)
        return self + -other

    def __matmul__(self, x: Any) -> Any:
        if isinstance(x, coo_array) or scipy.sparse.issparse(x):
            _raise_unsupported("@", x)
        x = x if type(x) is Tensor else np.asarray(x)
        if x.ndim not in (1, 2) or x.shape[0] != self.shape[1]:
            raise ValueError(
                f"@: a vector of {self.shape[1]} numbers or a matrix of as many rows is needed "
                f"beside a coo_array of shape {self.shape}; this has shape {x.shape}"
            )
        columns = np.expand_dims(x, -1) if x.ndim == 1 else x
        y = coo_matmul(self.data, columns, pattern=self.pattern)
        return np.squeeze(y, -1) if x.ndim == 1 else y

    def __rmatmul__(self, x: Any) -> Any:
        x = x if type(x) is Tensor else np.asarray(x)
        y = self.T @ (x.T if x.ndim == 2 else x)
        return y.T if x.ndim == 2 else y


def _as_scalar(symbol: str, x: Any) -> Any:
    """A number, which may be a Tensor."""
    if np.ndim(x) or isinstance(x, coo_array) or scipy.sparse.issparse(x):
        _raise_unsupported(symbol, x)
    return x


def _raise_unsupported(symbol: str, x: Any) -> NoReturn:
    needed = "a coo_array" if symbol == "+ or -" else "a number"
    if symbol == "@":
        needed = "a dense vector or matrix"
    raise TypeError(f"{symbol} of a coo_array takes {needed}, not {got(x)}")


def _read_arguments(arg1: Any, shape: Any) -> tuple[Any, Pattern]:
    """The elements and the pattern, from SciPy's arguments."""
    if isinstance(arg1, coo_array):
        if shape is not None and tuple(shape) != arg1.shape:
            raise ValueError(f"inconsistent shapes: {tuple(shape)} and {arg1.shape}")
        return arg1.data, arg1.pattern
    if scipy.sparse.issparse(arg1) or (type(arg1) is np.ndarray and arg1.ndim == 2):
        theirs = scipy.sparse.coo_array(arg1, shape=shape)
        if theirs.ndim != 2:
            raise ValueError(f"a coo_array has two axes here, not {theirs.ndim}")
        return readonly_array(np.array(theirs.data)), made_pattern(
            theirs.row, theirs.col, theirs.shape
        )
    if not isinstance(arg1, tuple | list) or [len(arg1), np.shape(arg1[1])[:1]] != [2, (2,)]:
        raise TypeError(
            "coo_array takes (data, (rows, cols)), with the places apart from the numbers, or a "
            f"sparse array of SciPy, not {got(arg1)}"
        )
    data, (rows, cols) = arg1
    data = data if type(data) is Tensor else readonly_array(np.array(data))
    # SciPy checks the positions, and computes the shape
    like = np.broadcast_to(np.zeros((), np.int8), data.shape)
    if like.ndim != 1:
        raise ValueError(f"the data of a coo_array has one axis; this has shape {data.shape}")
    theirs = scipy.sparse.coo_array((like, (rows, cols)), shape=shape)
    return data, made_pattern(theirs.row, theirs.col, theirs.shape)
