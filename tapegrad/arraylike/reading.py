"""Reading the value of a record, which must be explicit if a gradient would be lost."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from types import MappingProxyType
from typing import Any

import numpy as np

from tapegrad.arraylike.lines import called_from, users_line
from tapegrad.arraylike.ownership import Array, readonly_array, readonly_view
from tapegrad.arraylike.table import lazy_import
from tapegrad.arraylike.text import in_html
from tapegrad.errors import TraceError

# ops that turn a number into a number, and a 0-d array into an array
_OF_A_NUMBER = frozenset(
    ["parameter", "astype", "imag", "real", "reshape", "squeeze", "transpose", "stop_gradient"]
)
# ops that return a 0-d array where others return a number
_ARRAYS = frozenset(
    [
        "asarray",
        "broadcast_to",
        "copy",
        "i0",
        "index_add",
        "index_set",
        "overlap_add",
        "scatter",
        "where",
    ]
)


def is_of_an_element(error: ValueError) -> bool:
    """Whether NumPy's error hides a Tensor's, which was put into an array: ``out[i] = t``."""
    if not isinstance(error.__cause__, TypeError | TraceError):
        return False
    raised = error.__cause__.__traceback__
    return raised is not None and raised.tb_frame.f_globals is globals()


def unmasked(error: ValueError) -> BaseException:
    """The Tensor's error, no longer behind NumPy's, whose traceback it takes."""
    cause = error.__cause__
    assert cause is not None
    # otherwise the errors would refer to each other
    error.__cause__ = error.__context__ = None
    return cause.with_traceback(error.__traceback__)


class Reading:
    """The attributes and conversions that Python and NumPy read."""

    __slots__ = ()

    def __repr__(self: Any) -> str:
        if self.origin.compiling:
            text = f"shape {self.shape}, {self.dtype}"
        elif isinstance(self._primal, np.ndarray | float | int):
            text = np.array2string(self.value, separator=", ", threshold=20, prefix="Tensor(")
        else:
            text = str(self._primal)
        name = f", {self.name}" if self.name else ""
        return f"Tensor({text}{name}, line {self.index}: {self.op.name})"

    @property
    def operands(self: Any) -> tuple[Any, ...]:
        """The op's operands."""
        return readonly_view(self._operands)  # type: ignore[no-any-return]

    @property
    def options(self: Any) -> Mapping[str, Any]:
        """The op's static options; a read-only mapping."""
        return MappingProxyType(readonly_view(dict(self._options)))

    @property
    def place(self: Any) -> Any:
        """The `Place` in the caller's source, where ``record(fn, lines=True)`` asked for it."""
        return getattr(self, "_place", None)

    def _repr_html_(self: Any) -> str:
        return in_html(repr(self))

    def __format__(self: Any, spec: str) -> str:
        if not spec:
            return str(self)
        if self.shape and not self.origin.compiling:
            raise TypeError(
                f"the format {spec!r} is for one number, but this Tensor has shape {self.shape}; "
                "format its elements, or leave the format out"
            )
        return format(self._read(f"the format {spec!r}")[()], spec)

    def __len__(self: Any) -> int:
        if not self.shape:
            raise TypeError("len() of a 0-d Tensor: it has no axis to count along")
        n: int = self.shape[0]
        return n

    def __iter__(self: Any) -> Iterator[Any]:
        return (self[i] for i in range(len(self)))

    def __bool__(self: Any) -> bool:
        value = bool(self._read("bool()"))
        function, module = called_from(1)
        if module.startswith("numpy.") and not module.startswith("numpy.testing"):
            tensors = [x for x in (self, *self.operands) if type(x) is type(self)]
            if any(x.dtype.kind in "fc" for x in tensors):
                raise TypeError(
                    f"{function} of {module} would choose what it computes by a "
                    f"floating Tensor ({self._line()}), and no gradient would pass to it"
                    f"{users_line()}; pass the number: t.value"
                )
        return value

    def __int__(self: Any) -> int:
        return int(self._number("int()"))

    def __index__(self: Any) -> int:
        if self.dtype.kind not in "iu":
            raise TypeError(f"only an integer Tensor can be an index; this one is {self.dtype}")
        index: int = self._read("use as an index").__index__()
        return index

    def __float__(self: Any) -> float:
        return float(self._number("float() and math functions"))

    def __complex__(self: Any) -> complex:
        return complex(self._number("complex()"))

    def item(self: Any) -> bool | int | float:
        """The single element, of a Tensor that carries no gradient, as a Python number."""
        number: bool | int | float = self._number(".item()").item()
        return number

    def tolist(self: Any) -> Any:
        """The elements, of a Tensor that carries no gradient, in nested lists."""
        return self._number(".tolist()").tolist()

    def __array__(self: Any, dtype: Any = None, copy: bool | None = None) -> Array:
        return np.array(self._number("turning a Tensor into an array"), dtype, copy=copy)

    def _number(self: Any, what: str) -> Array:
        """The value, unless reading it would lose a gradient."""
        value: Array = self._read(what)
        rules = self.op.vjps
        if self.dtype.kind in "fc" and (type(rules) is not tuple or any(rules)):
            name, instead = lazy_import("tapegrad.arraylike.remedies", "of_reading")(what, self)
            raise TypeError(
                f"{name} would silently cut the gradient off ({self._line()}){instead}; to read "
                "the numbers on purpose pass t.value"
            )
        return value

    def _read(self: Any, what: str) -> Array:
        """The value, read-only; `what` is for the message while compiling."""
        if self.origin.compiling:
            name, instead = lazy_import("tapegrad.arraylike.remedies", "of_unknown")(what, self)
            raise TraceError(
                f"{name} while {self.origin.doing} {self.origin.label}: only shape {self.shape} "
                f"and dtype {self.dtype} of {self._line()} are known{instead}"
            )
        if note := getattr(self.origin.place, "note_read", None):
            note(self)
        primal = self._primal
        if type(primal) is not np.ndarray or primal.base is None:
            return readonly_array(primal)
        if type(primal.base) is np.ndarray:
            primal.base.setflags(False)  # type: ignore[call-arg]  # of an op that made a view
        view: Array = readonly_view(primal)
        return view

    def _is_a_number(self: Any) -> bool:
        """Whether an in-place operator rebinds its name, as it does for NumPy's numbers.

        It does for Tensors without axes, with three exceptions: arrays of the caller's, results
        that NumPy returns as 0-d arrays, and views, through which NumPy would change the array
        that they show.
        """
        if type(self._primal) is not np.ndarray or self.shape:
            return not self.shape
        if self.op.name in _OF_A_NUMBER:
            return any(x._is_a_number() for x in self._operands if type(x) is type(self))
        return self.op.name not in _ARRAYS and self._primal.base is None
