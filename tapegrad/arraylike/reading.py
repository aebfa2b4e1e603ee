"""Reading the value of a record, which must be explicit if a gradient would be lost."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np

from tapegrad.arraylike.table import remedy
from tapegrad.core.tensor import Tensor
from tapegrad.errors import TraceError
from tapegrad.errors.lines import caller_name, users_line
from tapegrad.errors.words import html_text, printable
from tapegrad.tree.ownership import readonly_array, readonly_view
from tapegrad.types import Array, ArrayLike, DType, DTypeLike

# ops that return a number for a number, and an array for a 0-d array
_KEEP_NUMBERS = frozenset(
    ["parameter", "astype", "imag", "real", "reshape", "squeeze", "transpose", "stop_gradient"]
)
# ops that return a 0-d array where others return a number
_RETURN_ARRAYS = frozenset(
    ["asarray", "broadcast_to", "copy", "i0", "overlap_add", "scatter", "where"]
)
_RETURN_ARRAYS |= {f"index_{update}" for update in ("add", "max", "min", "multiply", "set")}


def is_count(n: object, least: int = 0) -> bool:
    """Whether n is an integer, and at least `least`.

    Raises
    ------
    TraceError
        For an argument of a function that is compiled, whose value is not known.
    """
    if type(n) is Tensor and n.origin.compiling:
        n._read("use as a size")
    return isinstance(n, int | np.integer) and not isinstance(n, bool) and bool(n >= least)


def shape_of(x: ArrayLike) -> tuple[int, ...]:
    """The shape of an array, a Tensor or anything that NumPy turns into an array."""
    shape = getattr(x, "shape", None)
    return np.shape(x) if shape is None else shape


def dtype_of(x: ArrayLike) -> DType:
    """The dtype of an array, a Tensor or anything that NumPy turns into an array."""
    dtype = getattr(x, "dtype", None)
    return np.asarray(x).dtype if dtype is None else dtype


if TYPE_CHECKING:
    TensorMixin = Tensor
else:
    # its attributes are put onto Tensor
    TensorMixin = object


class Reading(TensorMixin):
    """The attributes and conversions that Python and NumPy read."""

    __slots__ = ()

    @property
    def primal(self) -> Any:
        """The value as the ops read it: a Python number stays one.

        Raises
        ------
        TraceError
            Inside `compile`, where only shape and dtype are known.
        """
        value = self._read("reading .primal")
        primal = self._primal
        if hasattr(primal, "values"):
            return type(primal)(readonly_view(primal.values))
        return value if type(primal) is np.ndarray else primal

    def __repr__(self) -> str:
        if self.origin.compiling:
            text = f"shape {self.shape}, {self.dtype}"
        elif isinstance(self._primal, np.ndarray | float | int):
            text = np.array2string(self.value, separator=", ", threshold=20, prefix="Tensor(")
        else:
            text = str(self._primal)
        name = f", {printable(self.name)}" if self.name else ""
        return f"Tensor({text}{name}, line {self.index}: {self.op.name})"

    def _repr_html_(self) -> str:
        return html_text(repr(self))

    def __format__(self, spec: str) -> str:
        if not spec:
            return str(self)
        if self.shape and not self.origin.compiling:
            raise TypeError(
                f"the format {spec!r} is for one number, but this Tensor has shape {self.shape}; "
                "format its elements, or leave the format out"
            )
        return format(self._read(f"the format {spec!r}")[()], spec)

    def __len__(self) -> int:
        if not self.shape:
            raise TypeError("len() of a 0-d Tensor: it has no axis to count along")
        n: int = self.shape[0]
        return n

    def __iter__(self) -> Iterator[Any]:
        array: Any = self
        return (array[i] for i in range(len(self)))

    def __bool__(self) -> bool:
        value = bool(self._read("bool()"))
        function, module = caller_name(1)
        if module.startswith(("scipy.optimize", "scipy.integrate")):
            remedy("refuse_solver", self)
        if module.startswith("numpy.") and not module.startswith("numpy.testing"):
            tensors = [x for x in (self, *self.operands) if type(x) is type(self)]
            if any(x.dtype.kind in "fc" for x in tensors):
                raise TypeError(
                    f"{function} of {module} would choose what it computes by a "
                    f"floating Tensor ({self._line()}), and no gradient would pass to it"
                    f"{users_line()}; pass the number: t.value"
                )
        return value

    def __int__(self) -> int:
        return int(self._number("int()"))

    def __index__(self) -> int:
        if self.dtype.kind not in "iu":
            raise TypeError(f"only an integer Tensor can be an index; this one is {self.dtype}")
        index: int = self._read("use as an index").__index__()
        return index

    def __float__(self) -> float:
        return float(self._number("float() and math functions"))

    def __complex__(self) -> complex:
        return complex(self._number("complex()"))

    def item(self) -> bool | int | float:
        """Return the single element as a Python number, if the Tensor carries no gradient."""
        number: bool | int | float = self._number(".item()").item()
        return number

    def tolist(self) -> Any:
        """Return the elements in nested lists, if the Tensor carries no gradient."""
        return self._number(".tolist()").tolist()

    def __array__(self, dtype: DTypeLike | None = None, copy: bool | None = None) -> Array:
        return np.array(self._number("turning a Tensor into an array"), dtype, copy=copy)

    def _number(self, what: str) -> Array:
        """Return the value, or raise if reading it would lose a gradient."""
        value: Array = self._read(what)
        rules = self.op.vjps
        if self.dtype.kind in "fc" and (type(rules) is not tuple or any(rules)):
            name, instead = remedy("reading_remedy", what, self)
            raise TypeError(
                f"{name} would silently cut the gradient off ({self._line()}){instead}; to read "
                "the numbers on purpose pass t.value"
            )
        return value

    def _read(self, what: str) -> Array:
        """Return the value, read-only; the message while compiling names the operation `what`."""
        if self.origin.compiling:
            name, instead = remedy("unknown_value_remedy", what, self)
            raise TraceError(
                f"{name} while {self.origin.activity} {self.origin.label}: only shape {self.shape} "
                f"and dtype {self.dtype} of {self._line()} are known{instead}"
            )
        if self.origin.note_read is not None:
            self.origin.note_read(self)
        primal = self._primal
        if type(primal) is not np.ndarray or primal.base is None:
            return readonly_array(primal)
        if type(primal.base) is np.ndarray:
            primal.base.setflags(False)  # type: ignore[call-arg]  # of an op that made a view
        view: Array = readonly_view(primal)
        return view

    def _is_a_number(self) -> bool:
        """Return whether an in-place operator rebinds the name, as for NumPy's numbers.

        It does for Tensors without axes, with three exceptions: the caller's arrays, results that
        NumPy returns as 0-d arrays, and views, since NumPy would change the viewed array.
        """
        if type(self._primal) is not np.ndarray or self.shape:
            return not self.shape
        if self.op.name in _KEEP_NUMBERS:
            return any(x._is_a_number() for x in self._operands if type(x) is type(self))
        # while compiling, a number has bytes for its memory
        base: Any = self._primal.base
        return self.op.name not in _RETURN_ARRAYS and (base is None or type(base) is bytes)
