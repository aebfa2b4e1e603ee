"""Tensor, the frozen record that ops write on a tape.

A record knows its value, the op that wrote it, the operands it was written from
and the record before it, so a tape is its last record: an immutable linked list.
This file holds the record, its operators and NumPy's protocols; what the ops do
is theirs to say (`tapegrad.ops`), and how a tape is written is in
`tapegrad.core.tape`.
"""

from __future__ import annotations

import ast
import linecache
import sys
from collections.abc import Callable, Iterator, Mapping
from types import FrameType, MappingProxyType
from typing import Any, ClassVar, NoReturn, Protocol

import attrs
import numpy as np

from tapegrad.face import advice
from tapegrad.errors import TraceError
from tapegrad.core.ownership import Array as Array
from tapegrad.core.ownership import give, keep, lend

NO_OPTIONS: Mapping[str, Any] = MappingProxyType({})


class Operation(Protocol):
    """What a record needs of the op that wrote it; `tapegrad.core.op.Op` is one."""

    @property
    def name(self) -> str: ...

    @property
    def forward(self) -> Callable[..., Any]: ...

    @property
    def vjps(self) -> Any: ...

    @property
    def keeps_weak(self) -> bool: ...

    @property
    def takes_weak(self) -> bool: ...

    @property
    def composite(self) -> bool: ...

    @property
    def source(self) -> Any: ...

    @property
    def view(self) -> bool: ...

    @property
    def jvp(self) -> Any: ...

    @property
    def defaults(self) -> Mapping[str, Any]: ...

    def __call__(self, *args: Any, **kwargs: Any) -> Any: ...

    def bind(
        self, args: tuple[Any, ...], kwargs: Mapping[str, Any]
    ) -> tuple[tuple[Any, ...], dict[str, Any]]: ...


# The table of ops, filled as `tapegrad.ops` is imported: by name, and by the
# NumPy functions they answer for.
OPS: dict[str, Operation] = {}
NUMPY: dict[Any, Callable[..., Any]] = {}
# The methods of ufuncs, by method and ufunc.
UFUNC_METHODS: dict[tuple[str, Any], Callable[..., Any]] = {}


def _operators(name: str) -> tuple[Callable[[Tensor, Any], Tensor], Callable[[Any, Any], Tensor]]:
    """The methods of a binary operator: as written and reflected."""

    def operator(self: Tensor, other: Any) -> Tensor:
        record: Tensor = OPS[name](self, other)
        return record

    def reflected(self: Any, other: Any) -> Tensor:
        record: Tensor = OPS[name](other, self)
        return record

    return operator, reflected


def _in_place(symbol: str, name: str) -> Callable[[Tensor, Any], Tensor]:
    """The method of an in-place operator, such as ``+=``."""

    def operator(self: Tensor, other: Any) -> Tensor:
        if not self._is_a_number():
            raise TypeError(
                f"{symbol} changes an array in NumPy, for its other names, its views and the "
                f"caller too, and a Tensor (this one has shape {self.shape}) is never changed; "
                f"write: {_augmented(symbol)}"
            )
        record: Tensor = OPS[name](self, other)
        return record

    return operator


def _method(name: str) -> Callable[..., Tensor]:
    """A method that calls the op of this name on the Tensor."""

    def method(self: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        record: Tensor = OPS[name](self, *args, **kwargs)
        return record

    method.__doc__ = f"`tg.{name}` of the Tensor."
    return method


@attrs.frozen(eq=False)
class Origin:
    """Where a tape begins, and by which records of one tape know each other.

    Attributes
    ----------
    label
        What is recorded, for error messages.
    compiling
        Whether only shapes and dtypes may be read from the records.
    """

    label: str = "a Tape()"
    compiling: bool = False
    index: ClassVar[int] = -1
    __tree_leaf__: ClassVar[bool] = True

    @property
    def origin(self) -> Origin:
        """Itself, so that an empty tape reads like any other."""
        return self


@attrs.define(eq=False, repr=False)
class _Fields:
    """The fields of a record; see `Tensor`."""

    primal: Any
    op: Operation
    operands: tuple[Any, ...]
    options: Mapping[str, Any]
    index: int
    previous: Tensor | Origin
    origin: Origin
    name: str | None = None


@attrs.define(eq=False, repr=False)
class Draft(_Fields):
    """A record being made, until ``draft.__class__ = Tensor`` seals it.

    attrs sets each field of a frozen class through ``object.__setattr__``; this way
    takes a third of the time, and a record is made for every op that is called.
    """


@attrs.frozen(eq=False, repr=False)
class Tensor(_Fields):
    """One record of a tape: a value and how it came about. Never changed.

    Tensors are made by writing on a tape (`Tape.parameter`, `Tape.write`, or an
    op called inside `record`), not by calling the class. They hash by identity,
    so that they can be keys; ``==`` is NumPy's, element by element.

    Attributes
    ----------
    primal
        The value as the ops read it: a read-only array, or a Python number
        where the value is one and so takes part in promotion as one (NEP 50).
        Use `value` to read it.
    op
        The op that wrote the record.
    operands
        What the op was given: Tensors of the same tape, frozen constant arrays
        and Python numbers.
    options
        The op's static options, such as ``axis``; a read-only mapping.
    index
        The line of the tape that the record stands on.
    previous
        The record on the line before, or the tape's `Origin`.
    origin
        The `Origin` that all records of one tape share.
    name
        A parameter's name, or None.

    Examples
    --------
    >>> import tapegrad as tg
    >>> tape, x = tg.Tape().parameter([1.0, 2.0], name="x")
    >>> tape, y = tape.write(tg.multiply, x, x)
    >>> y
    Tensor([1., 4.], line 1: multiply)
    >>> y.operands == (x, x), y.shape, y.dtype
    (True, (2,), dtype('float64'))
    """

    __tree_leaf__: ClassVar[bool] = True

    # --- reading -----------------------------------------------------------

    @property
    def value(self) -> Array:
        """The value, a read-only array.

        Raises
        ------
        TraceError
            Inside `compile`, where only shape and dtype are known.
        """
        if self.origin.compiling:
            raise self._unreadable("reading .value")
        return lend(self.primal) if type(self.primal) is np.ndarray else give(self.primal)

    @property
    def shape(self) -> tuple[int, ...]:
        """The value's shape."""
        return self.primal.shape if type(self.primal) is np.ndarray else ()

    @property
    def dtype(self) -> np.dtype[Any]:
        """The value's dtype."""
        array: Array = self.primal if type(self.primal) is np.ndarray else np.asarray(self.primal)
        return array.dtype

    @property
    def ndim(self) -> int:
        """The number of axes."""
        return len(self.shape)

    @property
    def size(self) -> int:
        """The number of elements."""
        return int(np.prod(self.shape))

    @property
    def T(self) -> Tensor:
        """The transpose, recorded."""
        return self.transpose()

    @property
    def real(self) -> Tensor:
        """`tg.real` of the Tensor: the same values."""
        return self._call("real")

    @property
    def imag(self) -> Tensor:
        """`tg.imag` of the Tensor: zeros."""
        return self._call("imag")

    @property
    def mT(self) -> Tensor:
        """The matrices transposed, recorded: the last two axes exchanged."""
        return self._call("matrix_transpose")

    @property
    def at(self) -> At:
        """Functional updates: ``t.at[index].set(values)`` and ``.add(values)``."""
        return At(self)

    def __repr__(self) -> str:
        if self.origin.compiling:
            text = f"shape {self.shape}, {self.dtype}"
        else:
            text = np.array2string(self.value, separator=", ", threshold=20, prefix="Tensor(")
        name = f", {self.name}" if self.name else ""
        return f"Tensor({text}{name}, line {self.index}: {self.op.name})"

    def __format__(self, spec: str) -> str:
        if not spec or self.origin.compiling:
            return str(self)
        if self.shape:
            raise TypeError(
                f"the format {spec!r} is for one number, and this Tensor has shape {self.shape}; "
                "format its elements, or leave the format out"
            )
        return format(self.value[()], spec)

    def __dir__(self) -> list[str]:
        return [name for name in object.__dir__(self) if type(vars(Tensor).get(name)) is not Absent]

    def __len__(self) -> int:
        if not self.shape:
            raise TypeError("len() of a 0-d Tensor: it has no axis to count along")
        return self.shape[0]

    def __iter__(self) -> Iterator[Tensor]:
        return (self[i] for i in range(len(self)))

    def __bool__(self) -> bool:
        return bool(self._read("bool()"))

    def __int__(self) -> int:
        return int(self._number("int()"))

    def __index__(self) -> int:
        if self.dtype.kind not in "iu":
            raise TypeError(f"only an integer Tensor can be an index; this one is {self.dtype}")
        return self._read("use as an index").__index__()

    def __float__(self) -> float:
        return float(self._number("float() and math functions"))

    def __complex__(self) -> complex:
        return complex(self._number("complex()"))

    def item(self) -> bool | int | float:
        """The single element, of a Tensor that carries no gradient, as a Python number."""
        number: bool | int | float = self._number(".item()").item()
        return number

    def tolist(self) -> Any:
        """The elements, of a Tensor that carries no gradient, in nested lists."""
        return self._number(".tolist()").tolist()

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> Array:
        value = self._number("turning a Tensor into an array")
        return np.array(value, dtype, copy=copy)

    def _number(self, what: str) -> Array:
        """The value, unless a gradient would be lost with it."""
        value = self._read(what)
        rules = self.op.vjps
        if self.dtype.kind == "f" and (type(rules) is not tuple or any(rules)):
            raise TypeError(
                f"{what} would cut the gradient off in silence ({self._line()}); np.* and tg.* "
                "functions take the Tensor as it is, tg.array makes one of a list of "
                "them, and tg.at(array)[i].set(t) puts one into a copy of an array; to read the "
                "number on purpose write .value, or tg.stop_gradient(t) to go on without gradient"
            )
        return value

    def _read(self, what: str) -> Array:
        if self.origin.compiling:
            raise self._unreadable(what)
        return self.value

    def _unreadable(self, what: str) -> TraceError:
        """The error that says that the value is not known while compiling."""
        return TraceError(
            f"{what} while compiling {self.origin.label}: only shape {self.shape} and dtype "
            f"{self.dtype} are known of {self._line()}{_users_line()}; select with tg.where, list "
            "the argument in static_argnums, or compile the inner part that does not read it"
        )

    def _line(self) -> str:
        name = f" {self.name!r}" if self.name else ""
        return f"line {self.index} of the tape, {self.op.name}{name}"

    # --- never changed -----------------------------------------------------

    def __copy__(self) -> Tensor:
        return self

    def __deepcopy__(self, memo: dict[int, Any]) -> Tensor:
        return self

    def __setitem__(self, index: Any, value: Any) -> NoReturn:
        raise TypeError("a Tensor is never changed; write: t = t.at[index].set(value)")

    def __delitem__(self, index: Any) -> NoReturn:
        raise TypeError("a Tensor is never changed; select what stays: t = t[index]")

    def _is_a_number(self) -> bool:
        """Whether an in-place operator binds its name anew, as it does for NumPy's numbers.

        So it is for what has no axes, but for an array of the caller's.
        """
        if type(self.primal) is not np.ndarray or self.op is not OPS["parameter"]:
            return self.shape == ()
        return any(x._is_a_number() for x in self.operands)

    def __reduce__(self) -> tuple[Any, ...]:
        fields = (self.primal, self.op, self.operands, dict(self.options), self.index)
        return _restore, (self._landmarks(), self.previous, *fields, self.origin, self.name)

    def _landmarks(self) -> tuple[Tensor, ...]:
        """Records that pickle must visit first, the oldest first.

        Pickle follows the links by recursion. A record whose index is a multiple
        of a power of 16 sends it to its peers before, up to the next power, so
        that each link leads a few records back to one that is pickled already.
        """
        stride = 1
        while self.index and self.index % (stride * 16) == 0:
            stride *= 16
        if stride == 1:
            return ()
        peers = []
        record = self.previous
        while type(record) is Tensor and record.index % (stride * 16):
            if record.index % stride == 0:
                peers.append(record)
            record = record.previous
        if type(record) is Tensor:
            peers.append(record)
        return tuple(reversed(peers))

    # --- operators and methods: each calls the op of that name ---------------

    __hash__ = object.__hash__

    __add__, __radd__ = _operators("add")
    __sub__, __rsub__ = _operators("subtract")
    __mul__, __rmul__ = _operators("multiply")
    __truediv__, __rtruediv__ = _operators("divide")
    __floordiv__, __rfloordiv__ = _operators("floor_divide")
    __mod__, __rmod__ = _operators("remainder")
    __divmod__, __rdivmod__ = _operators("divmod")
    __pow__, __rpow__ = _operators("power")
    __matmul__, __rmatmul__ = _operators("matmul")
    __and__, __rand__ = _operators("bitwise_and")
    __or__, __ror__ = _operators("bitwise_or")
    __xor__, __rxor__ = _operators("bitwise_xor")
    __lshift__, __rlshift__ = _operators("left_shift")
    __rshift__, __rrshift__ = _operators("right_shift")
    __iadd__ = _in_place("+=", "add")
    __isub__ = _in_place("-=", "subtract")
    __imul__ = _in_place("*=", "multiply")
    __itruediv__ = _in_place("/=", "divide")
    __ifloordiv__ = _in_place("//=", "floor_divide")
    __imod__ = _in_place("%=", "remainder")
    __ipow__ = _in_place("**=", "power")
    __imatmul__ = _in_place("@=", "matmul")
    __iand__ = _in_place("&=", "bitwise_and")
    __ior__ = _in_place("|=", "bitwise_or")
    __ixor__ = _in_place("^=", "bitwise_xor")
    __ilshift__ = _in_place("<<=", "left_shift")
    __irshift__ = _in_place(">>=", "right_shift")
    __eq__ = _method("equal")  # type: ignore[assignment]
    __ne__ = _method("not_equal")  # type: ignore[assignment]
    __lt__ = _method("less")
    __le__ = _method("less_equal")
    __gt__ = _method("greater")
    __ge__ = _method("greater_equal")
    __neg__ = _method("negative")
    __pos__ = _method("positive")
    __abs__ = _method("abs")
    __invert__ = _method("invert")
    __floor__ = _method("floor")
    __ceil__ = _method("ceil")
    __trunc__ = _method("trunc")
    __getitem__ = _method("getitem")

    sum = _method("sum")
    mean = _method("mean")
    max = _method("max")
    min = _method("min")
    argmax = _method("argmax")
    argmin = _method("argmin")
    prod = _method("prod")
    var = _method("var")
    std = _method("std")
    any = _method("any")
    all = _method("all")
    cumsum = _method("cumsum")
    cumprod = _method("cumprod")
    argsort = _method("argsort")
    clip = _method("clip")
    round = _method("round")
    conj = conjugate = _method("conj")
    squeeze = _method("squeeze")
    swapaxes = _method("swapaxes")
    choose = _method("choose")
    copy = _method("copy")
    diagonal = _method("diagonal")
    repeat = _method("repeat")
    take = _method("take")
    trace = _method("trace")

    def __round__(self, ndigits: int | None = None) -> Tensor:
        return self._call("round", ndigits or 0)

    def reshape(self, *shape: Any) -> Tensor:
        """`tg.reshape` of the Tensor; the shape as one tuple or as integers."""
        if not shape:
            raise TypeError("reshape takes a shape, such as t.reshape(()) for that of a scalar")
        return self._call("reshape", shape[0] if len(shape) == 1 else shape)

    def transpose(self, *axes: Any) -> Tensor:
        """`tg.transpose` of the Tensor; the axes as one tuple or as integers."""
        return self._call("transpose", axes[0] if len(axes) == 1 else axes or None)

    def astype(self, dtype: Any, *, copy: bool = True) -> Tensor:
        """`tg.astype` of the Tensor; without a copy it is the same, as nothing is changed."""
        return self._call("astype", dtype)

    def dot(self, other: Any) -> Tensor:
        """`tg.dot` of the Tensor with another."""
        record: Tensor = NUMPY[np.dot](self, other)
        return record

    def compress(self, condition: Any, axis: int | None = None) -> Tensor:
        """`tg.compress` of the Tensor by a condition."""
        record: Tensor = OPS["compress"](condition, self, axis)
        return record

    def ravel(self) -> Tensor:
        """The Tensor with one axis."""
        return self._call("reshape", -1)

    flatten = ravel

    def _call(self, name: str, *args: Any) -> Tensor:
        record: Tensor = OPS[name](self, *args)
        return record

    # --- NumPy's protocols ---------------------------------------------------

    def __array_ufunc__(self, ufunc: np.ufunc, method: str, *inputs: Any, **kwargs: Any) -> Any:
        name = ufunc.__name__ if method == "__call__" else f"{ufunc.__name__}.{method}"
        out = kwargs.pop("out", None)
        if out is not None:
            changed, given = ("array", "array, t") if out[0] is inputs[0] else ("out", "...")
            raise TypeError(
                f"np.{name}: out= (and an in-place operator such as +=) would write a Tensor into "
                "an array, which is never done; bind the result instead: "
                f"{changed} = {_INFIX.get(name, f'np.{name}({given})')}"
            )
        if (method, ufunc) in UFUNC_METHODS:
            return UFUNC_METHODS[method, ufunc](*inputs, **kwargs)
        if method != "__call__":
            raise TypeError(
                f"np.{name} is not supported on a Tensor; "
                + advice.UFUNC_METHODS.get(
                    method, "use the function with an axis (np.sum, np.max, ...)"
                )
            )
        return _dispatch(ufunc, ufunc.__name__, inputs, kwargs)

    def __array_function__(
        self, function: Any, types: Any, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> Any:
        return _dispatch(function, function.__name__, args, kwargs)


_INFIX = {
    "add": "array + t",
    "subtract": "array - t",
    "multiply": "array * t",
    "divide": "array / t",
    "floor_divide": "array // t",
    "remainder": "array % t",
    "power": "array ** t",
    "matmul": "array @ t",
}


def _dispatch(function: Any, name: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """Call what the table of ops holds for a NumPy function."""
    ours = NUMPY.get(function)
    if ours is None:
        module = getattr(function, "__module__", None) or "numpy"
        instead = (
            "write it with the functions of tapegrad, declare it with tg.custom_op, or give it "
            "the values (t.value) if no gradient is to pass"
        )
        raise TypeError(
            f"{module}.{name} is not supported on a Tensor; " + advice.FUNCTIONS.get(name, instead)
        )
    return ours(*args, **kwargs)


class Absent:
    """An attribute that a Tensor has not; reading it says what to use instead.

    A descriptor for each, for ``__getattr__`` would slow down all other attributes.
    """

    __slots__ = ("name",)

    def __init__(self, name: str) -> None:
        self.name = name

    def __get__(self, record: Any, kind: Any = None) -> NoReturn:
        instead = f"call tg.{self.name}" if self.name in OPS else advice.ATTRIBUTES[self.name]
        raise AttributeError(f"a Tensor has no attribute {self.name!r}: {instead}")


for _name in advice.ATTRIBUTES:
    if not hasattr(Tensor, _name):
        setattr(Tensor, _name, Absent(_name))


@attrs.frozen(eq=False)
class At:
    """Functional updates of a Tensor, as ``t.at[index]``."""

    tensor: Any

    def __getitem__(self, index: Any) -> Place:
        return Place(self.tensor, index)


@attrs.frozen(eq=False)
class Place:
    """The place that an update goes to: ``t.at[index]``."""

    tensor: Any
    index: Any

    def set(self, values: Any) -> Any:
        """A copy of the Tensor with `values` at the place.

        Where an index occurs more than once the last value stays, and only it
        has a gradient.

        Examples
        --------
        >>> import tapegrad as tg
        >>> tg.grad(lambda x: tg.sum(x.at[0].set(5.0) * 3))(np.ones(2))
        array([0., 3.])
        """
        return OPS["index_set"](self.tensor, values, self.index)

    def add(self, values: Any) -> Any:
        """A copy of the Tensor with `values` added at the place.

        Where an index occurs more than once, all its values are added.

        Examples
        --------
        >>> import tapegrad as tg
        >>> output, _ = tg.record(lambda x: x.at[[0, 0]].add(1.0))(np.ones(2))
        >>> output.value
        array([3., 1.])
        """
        return OPS["index_add"](self.tensor, values, self.index)


def _users_line() -> str:
    """The line of the caller's source that led here, for a message."""
    file, number, code = _users_place()
    return f", at {file}:{number}: {code}" if file else ""


def _augmented(symbol: str) -> str:
    """The caller's line with an in-place operator, written without it."""
    try:
        line = ast.parse(_users_place()[2])
    except SyntaxError:  # a part of a longer statement
        line = ast.Module([], [])
    found = [node for node in ast.walk(line) if isinstance(node, ast.AugAssign)]
    if len(found) != 1 or f" {symbol} " not in ast.unparse(found[0]):
        return f"t = t {symbol[:-1]} v"
    (node,) = found
    target = ast.unparse(node.target)
    result = ast.BinOp(ast.parse(target, mode="eval").body, node.op, node.value)
    return f"{target} = {ast.unparse(result)}"


def _users_place() -> tuple[str, int, str]:
    """The file, the number and the text of the caller's line that led here."""
    frame: FrameType | None = sys._getframe(1)
    while frame is not None:
        module = frame.f_globals.get("__name__", "")
        if not module.startswith(("tapegrad.", "numpy")):
            file, number = frame.f_code.co_filename, frame.f_lineno
            return file, number, linecache.getline(file, number).strip()
        frame = frame.f_back
    return "", 0, ""


def shape_of(x: Any) -> tuple[int, ...]:
    """The shape of an array, a Tensor or what makes an array."""
    return x.shape if hasattr(x, "shape") else np.shape(x)


def _restore(
    landmarks: tuple[Tensor, ...],
    previous: Tensor | Origin,
    primal: Any,
    op: Operation,
    operands: tuple[Any, ...],
    options: dict[str, Any],
    index: int,
    origin: Origin,
    name: str | None,
) -> Tensor:
    """Unpickle a record; the landmarks have served by being pickled before it."""
    # an unpickled array may be in a buffer of the caller's
    primal = keep(primal)
    operands = tuple(keep(x) if type(x) is np.ndarray else x for x in operands)
    options = {option: keep(value) for option, value in options.items()}
    return Tensor(primal, op, operands, MappingProxyType(options), index, previous, origin, name)
