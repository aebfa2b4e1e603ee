"""Tape, records in order, and the two ways to write one.

By hand, `Tape.parameter` and `Tape.write` return a new tape each time. Inside
`record(fn)` the tape is threaded for the user: one context variable holds the
last record written, and an op called on a Tensor rebinds it to the next.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextvars import ContextVar, copy_context
from types import MappingProxyType
from typing import Any, ClassVar, NoReturn

import attrs
import numpy as np

from tapegrad import show, tree
from tapegrad.errors import TapeError
from tapegrad.core.ownership import keep
from tapegrad.core.tensor import NO_OPTIONS, OPS, Draft, Operation, Origin, Tensor

# The last record of the recording that runs in this thread or task, if any. It is set
# by `recorded_from` and `advance` alone.
CURRENT: ContextVar[Tensor | Origin | None] = ContextVar("tapegrad_tape", default=None)
# The recording that runs goes on from the record that this is called with.
advance = CURRENT.set

_PYTHON_NUMBERS = (float, int, bool)


@attrs.frozen(eq=False, repr=False)
class Tape:
    """Records in order, from `start` (not included) to `last`. Never changed.

    Writing returns a new tape; every older one still reads as it did.

    Attributes
    ----------
    last
        The newest record, or the `Origin` of a tape that has none.
    start
        Where the tape begins: its `Origin`, or, for the tape of a recording
        inside a recording, the record before its own first one.
    parameters
        The records that `reverse_sweep` gives gradients for.

    Examples
    --------
    >>> import tapegrad as tg
    >>> tape, x = tg.Tape().parameter([1.0, 2.0, 3.0], name="x")
    >>> tape, y = tape.write(tg.multiply, x, x)
    >>> tape, z = tape.write(tg.sum, y)
    >>> print(tape)
    line  record      operands  shape  dtype    value
       0  x                     (3,)   float64  [1. 2. 3.]
       1  multiply    %0, %0    (3,)   float64  [1. 4. 9.]
       2  sum         %1        ()     float64  14.0
    >>> tg.reverse_sweep(tape, z)[x]
    array([2., 4., 6.])
    """

    last: Tensor | Origin = attrs.Factory(Origin)
    start: Tensor | Origin = attrs.Factory(lambda self: self.last.origin, takes_self=True)
    parameters: tuple[Tensor, ...] = ()

    __tree_leaf__: ClassVar[bool] = True
    __recording__: ClassVar[bool] = True

    def parameter(self, value: Any, name: str | None = None) -> tuple[Tape, Tensor]:
        """Write a parameter: a value that gradients are wanted for.

        Parameters
        ----------
        value
            A floating array, or what makes one. It is copied.
        name
            What the printed tape calls it.

        Returns
        -------
        tape, record

        Raises
        ------
        TypeError
            If the value is not floating.
        """
        if not isinstance(value, np.ndarray | np.generic | float):
            value = np.asarray(value)
        if not is_floating(value):
            raise TypeError(
                f"a parameter is floating, not {_describe(value)}; write value.astype(float)"
            )
        record = write_parameter(self.last, value, name)
        return Tape(record, self.start, (*self.parameters, record)), record

    def write(self, op: Operation, *operands: Any, **options: Any) -> tuple[Tape, Tensor]:
        """Apply an op and write the result.

        Parameters
        ----------
        op
            The op, such as ``tg.multiply``.
        *operands
            Tensors of this tape, and constants, which are copied.
        **options
            The op's options, such as ``axis``.

        Returns
        -------
        tape, record

        Raises
        ------
        TapeError
            If an operand is a record of another tape.
        TypeError, ValueError, IndexError
            If the op does not take these operands.
        """
        if not hasattr(op, "bind"):
            raise TypeError(f"an op is needed, such as tg.multiply; {op!r} is not one")
        operands, options = op.bind(operands, options)
        for x in operands:
            if type(x) is Tensor and x.index > self.last.index:
                refuse_stranger(op, x, self.last)
        record = write(self.last, op, operands, options)
        return Tape(record, self.start, self.parameters), record

    def __len__(self) -> int:
        return self.last.index - self.start.index

    def __iter__(self) -> Iterator[Tensor]:
        return iter(list(reversed(self))[::-1])

    def __reversed__(self) -> Iterator[Tensor]:
        record = self.last
        while record is not self.start:
            yield record  # type: ignore[misc]
            record = record.previous  # type: ignore[union-attr]

    def __repr__(self) -> str:
        return f"<Tape of {self.last.origin.label}: {len(self)} records>"

    def __str__(self) -> str:
        return show.table(self)

    def __copy__(self) -> Tape:
        return self

    def __deepcopy__(self, memo: dict[int, Any]) -> Tape:
        return self


# --- writing ------------------------------------------------------------------


def write(
    last: Tensor | Origin, op: Operation, operands: tuple[Any, ...], options: dict[str, Any]
) -> Tensor:
    """The record that follows `last`: `op` applied to `operands`.

    Constant operands and options are kept as `tapegrad.core.ownership` says.
    """
    origin = last.origin
    values = []
    constants = False
    given = options
    if options:
        options = {name: keep(value) for name, value in given.items()}
        # kept as a tuple, a list is given to the op as one, for NumPy takes none as an axis
        given = {n: value if type(value) is list else options[n] for n, value in given.items()}
    for x in operands:
        if type(x) is Tensor:
            if x.origin is not origin:
                refuse_stranger(op, x, last)
            value = x.primal
            if type(value) is np.ndarray or op.takes_weak:
                values.append(value)
                continue
        constants = True
        values.append(x)
    if constants:
        last, operands = as_operands(last, op, operands)
        values = [x.primal if type(x) is Tensor else x for x in operands]
    try:
        value = op.forward(*values, **given) if given else op.forward(*values)
    except (ValueError, TypeError, IndexError) as error:
        raise _explained(error, op, values, given, last) from error
    if type(value) is np.ndarray:
        value.setflags(False)  # type: ignore[call-arg]
    elif op.keeps_weak and all(type(x) in _PYTHON_NUMBERS for x in values):
        value = value.item() if isinstance(value, np.generic) else value
    else:
        value = np.asarray(value)
        value.setflags(write=False)
    frozen_options = MappingProxyType(options) if options else NO_OPTIONS
    draft = Draft(value, op, operands, frozen_options, last.index + 1, last, origin)
    draft.__class__ = Tensor  # type: ignore[assignment]
    return draft  # type: ignore[return-value]


def as_operands(
    last: Tensor | Origin, op: Operation, operands: tuple[Any, ...]
) -> tuple[Tensor | Origin, tuple[Any, ...]]:
    """The operands as the tape may keep them: Tensors and what `as_constant` makes.

    Where an op needs arrays, a record that is a Python number is written anew as one.
    """
    kept = []
    for x in operands:
        if type(x) is not Tensor:
            x = as_constant(x, op)
        elif type(x.primal) is not np.ndarray and not op.takes_weak:
            x = last = write(last, OPS["asarray"], (x,), {})
        kept.append(x)
    return last, tuple(kept)


def write_known(
    last: Tensor | Origin,
    op: Operation,
    operands: tuple[Any, ...],
    options: Mapping[str, Any],
    primal: Any,
) -> Tensor:
    """The record that follows `last`, of what `as_operands` made and a value that is known."""
    options = MappingProxyType(options) if options else NO_OPTIONS
    draft = Draft(primal, op, operands, options, last.index + 1, last, last.origin)
    draft.__class__ = Tensor  # type: ignore[assignment]
    return draft  # type: ignore[return-value]


def write_parameter(last: Tensor | Origin, value: Any, name: str | None) -> Tensor:
    """The record of a parameter that follows `last`.

    Where a recording is inside another, a Tensor of the outer tape is marked: its
    parameter record has the Tensor for its operand, so that an outer sweep goes
    on through it.
    """
    op = OPS["parameter"]
    operands = (value,) if type(value) is Tensor else ()
    primal = value.primal if operands else as_constant(value, op)
    draft = Draft(primal, op, operands, NO_OPTIONS, last.index + 1, last, last.origin, name)
    draft.__class__ = Tensor  # type: ignore[assignment]
    return draft  # type: ignore[return-value]


def as_constant(x: Any, op: Operation) -> Any:
    """A constant operand as the tape may keep it: a Python number or an array."""
    kind = type(x)
    if kind is np.ndarray:
        require_real(x.dtype, f"{op.name}: an operand")
        return keep(x)
    if kind in _PYTHON_NUMBERS:
        return x
    if isinstance(x, np.generic):
        return as_constant(np.asarray(x), op)
    if isinstance(x, np.ma.MaskedArray):
        raise TypeError(f"{op.name}: masked arrays are not supported; fill it first (x.filled(0))")
    if isinstance(x, np.matrix):
        raise TypeError(
            f"{op.name}: np.matrix is not supported, whose * and ** are not those of arrays; make "
            "it an array first (np.asarray(m)), and write @ for products of matrices"
        )
    if isinstance(x, list | tuple | np.ndarray):
        return as_constant(np.asarray(x), op)
    raise TypeError(f"{op.name}: an operand is a {kind.__name__}; an array or a number is needed")


def require_real(dtype: np.dtype[Any], what: str) -> None:
    """Raise unless a dtype is of real numbers; of others a sweep would lose the gradient."""
    if dtype.kind not in "fiub":
        raise TypeError(f"{what} is {dtype}; tapegrad takes real numbers only")


def is_floating(x: Any) -> bool:
    """Whether a gradient can be taken for x: a floating array, Tensor or number."""
    if type(x) is np.ndarray:
        return bool(x.dtype.kind == "f")
    if isinstance(x, float):
        return True
    return isinstance(x, np.ndarray | np.generic | Tensor) and x.dtype.kind == "f"


def refuse_stranger(op: Operation, x: Tensor, last: Tensor | Origin | None) -> NoReturn:
    """Raise for an operand that is not on the tape being written."""
    here = f"{op.name}: an operand ({x._line()}) belongs to the tape of {x.origin.label}"
    if last is None:
        raise TapeError(
            f"{here}, and no recording is running in this thread or task; write with "
            "tape.write(op, ...), do the work inside the recorded function, or use its value"
        )
    if x.origin is last.origin:
        raise TapeError(f"{here}, but to a later record than this tape has: use the newer tape")
    raise TapeError(
        f"{here}, not to that of {last.origin.label}, which is being written; "
        "pass it as an argument, or use its value (t.value)"
    )


_KINDS = (np.linalg.LinAlgError, np.exceptions.AxisError, IndexError, TypeError, ValueError)


def _explained(
    error: Exception,
    op: Operation,
    values: list[Any],
    options: Mapping[str, Any],
    last: Tensor | Origin,
) -> Exception:
    """The error again, saying which op it was, what it was given and where."""
    given = ", ".join(map(_describe, values))
    given += "".join(f", {name}={value!r}" for name, value in options.items())
    message = (
        f"{op.name}({given}), line {last.index + 1} of the tape of {last.origin.label}: {error}"
    )
    # of NumPy's own kinds too, for a function may catch them
    return next(kind for kind in _KINDS if isinstance(error, kind))(message)


def _describe(x: Any) -> str:
    if isinstance(x, np.ndarray | Tensor):
        return f"{x.dtype} {x.shape}"
    return f"{type(x).__name__} {x!r}"


# --- recording ------------------------------------------------------------------


def record(fn: Callable[..., Any]) -> Callable[..., tuple[Any, Tape]]:
    """Record what a function does.

    Parameters
    ----------
    fn
        Any function. Every floating leaf in its arguments' trees (arrays and
        Python floats) becomes a parameter; ops called on them are written down.

    Returns
    -------
    A function of the same arguments that returns what `fn` returned, its Tensors
    records of the tape, and the `Tape`. Called inside a recording, it goes on
    writing on the tape that is there, and returns its own part of it.

    Examples
    --------
    >>> import tapegrad as tg
    >>> output, tape = tg.record(lambda x, y: x * y + 1.0)(2.0, y=3.0)
    >>> print(tape)
    line  record      operands  shape  dtype    value
       0  x                     ()     float64  2.0
       1  y                     ()     float64  3.0
       2  multiply    %0, %1    ()     float64  6.0
       3  add         %2, 1.0   ()     float64  7.0
    """
    check_callable(fn)

    def recorded(*args: Any, **kwargs: Any) -> tuple[Any, Tape]:
        output, tape, _ = run(fn, args, kwargs)
        return output, tape

    recorded.__name__ = f"record({label(fn)})"
    recorded.__doc__ = fn.__doc__
    return recorded


def run(
    fn: Callable[..., Any],
    args: tuple[Any, ...],
    kwargs: Mapping[str, Any] = NO_OPTIONS,
    argnums: tuple[int, ...] | None = None,
) -> tuple[Any, Tape, tuple[Any, ...]]:
    """Record one call, with the leaves of the given arguments as parameters.

    With `argnums` every leaf of those arguments must be floating; without, the
    floating leaves of all arguments are parameters and the others stay as they are.
    Returns the output, the tape, and the marked arguments: trees of parameters.
    """
    outer = CURRENT.get()
    start = last = Origin(label(fn)) if outer is None else outer
    parameters: list[Tensor] = []

    def mark(leaf: Any, path: str) -> Any:
        nonlocal last
        if not is_floating(leaf):
            return leaf if argnums is None else _refuse_leaf(fn, leaf, path)
        if type(leaf) is Tensor and leaf.origin is not start.origin:
            refuse_stranger(OPS["parameter"], leaf, start)
        last = write_parameter(last, leaf, path)
        parameters.append(last)
        return last

    names = argument_names(fn, len(args))
    if argnums is None:
        args = tuple([tree.map_with_path(mark, x, names[i]) for i, x in enumerate(args)])
        kwargs = {name: tree.map_with_path(mark, x, name) for name, x in kwargs.items()}
        marked = args
    else:
        argnums = tuple(dict.fromkeys(argnums))
        marked = tuple([tree.map_with_path(mark, args[i], names[i]) for i in argnums])
        args = tuple([marked[argnums.index(i)] if i in argnums else x for i, x in enumerate(args)])
    if outer is None:
        output, last = recorded_from(last, fn, args, kwargs)
    else:
        # the outer recording goes on from here, also where fn raises
        advance(last)
        output = fn(*args, **kwargs)
        last = last_written()
    return output, Tape(last, start, tuple(parameters)), marked


def recorded_from(
    last: Tensor | Origin | None,
    fn: Callable[..., Any],
    args: tuple[Any, ...],
    kwargs: Mapping[str, Any] = NO_OPTIONS,
) -> tuple[Any, Any]:
    """What a function returns, and the last record, of a recording that goes on from `last`.

    With None nothing is recorded. The recording around it, if any, stays where it was.
    The call has a context of its own (PEP 567), which ends with it, so that no
    interrupt, whenever it comes, can leave a recording open. So do other context
    variables that the function sets, NumPy's error state among them.
    """
    return copy_context().run(_from, last, fn, args, kwargs)


def _from(
    last: Tensor | Origin | None,
    fn: Callable[..., Any],
    args: tuple[Any, ...],
    kwargs: Mapping[str, Any],
) -> tuple[Any, Any]:
    CURRENT.set(last)
    output = fn(*args, **kwargs)
    return output, CURRENT.get()


def last_written() -> Tensor | Origin:
    """The last record of the recording that runs."""
    last = CURRENT.get()
    assert last is not None
    return last


def _refuse_leaf(fn: Callable[..., Any], leaf: Any, path: str) -> NoReturn:
    remedy = (
        f"pass {path}.astype(float)"
        if isinstance(leaf, np.ndarray)
        else f"pass float({path})"
        if isinstance(leaf, int)
        else "make it a tree (dict, list, tuple, NamedTuple, attrs class, dataclass), take it "
        "out of the differentiated argument"
        if hasattr(leaf, "__dict__") or isinstance(leaf, Mapping)
        else "take it out of the differentiated argument"
    )
    raise TypeError(
        f"cannot differentiate {label(fn)} with respect to {path}, which is "
        f"{_describe(leaf)}: only floating leaves have a gradient; {remedy}, or leave the "
        "argument out of argnums"
    )


def label(fn: Callable[..., Any]) -> str:
    """What to call a function in messages."""
    fn = getattr(fn, "func", fn)  # functools.partial's
    return getattr(fn, "__name__", None) or type(fn).__name__


def keep_names(made: Any, fn: Callable[..., Any]) -> None:
    """Give what was made of a function its name, docstring and signature."""
    check_callable(fn)
    for name in ("__name__", "__qualname__", "__doc__", "__module__"):
        if hasattr(fn, name):
            made.__dict__[name] = getattr(fn, name)
    made.__dict__["__wrapped__"] = fn


def check_callable(fn: Any) -> None:
    """Raise a TypeError for what is no function."""
    if not callable(fn):
        raise TypeError(f"a function is needed, not {fn!r}, a {type(fn).__name__}")


def argument_names(fn: Callable[..., Any], n: int) -> tuple[str, ...]:
    """The names of the first n positional arguments, "arg0" where unknown."""
    while hasattr(fn, "__wrapped__"):
        fn = fn.__wrapped__
    code = getattr(fn, "__code__", None)
    known = code.co_varnames[: code.co_argcount] if code is not None else ()
    if getattr(fn, "__self__", None) is not None:
        known = known[1:]
    return (*known[:n], *(f"arg{i}" for i in range(len(known), n)))
