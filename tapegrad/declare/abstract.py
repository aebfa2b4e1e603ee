"""Shapes and dtypes of results, from shapes and dtypes of operands: evaluation while compiling.

An array is a stand-in that takes no memory: all its elements are one zero (`stand_in`). The result
of an op is a stand-in too. Its shape is that of the op's rule in `SHAPES`, and its dtype that of a
call on arrays of one element; an op without a rule is called on the stand-ins. What was inferred is
remembered.

Python ints keep their values: they may be shapes. Their arithmetic is exact; NumPy's wraps at 64
bits, and its division by zero gives 0. Arrays of integers and of truth values that a function
captured keep theirs, since a mask says how many elements it selects.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextvars import ContextVar
from functools import lru_cache, partial
from typing import Any, TypeVar

import attrs
import numpy as np
from numpy import ndarray

from tapegrad.core.messages import REFUSED
from tapegrad.core.primitive import Parts, Primitive
from tapegrad.core.tape import Tape
from tapegrad.core.tensor import NO_OPTIONS, Origin, Tensor, primals
from tapegrad.core.writing import PARAMETER, Last, record_from, write_known, write_parameter
from tapegrad.errors import TapeError, TapegradError
from tapegrad.errors.lines import SILENT, STATE, placed
from tapegrad.errors.words import as_text
from tapegrad.tree.numbers import PYTHON_NUMBERS
from tapegrad.tree.ownership import owned_copy

# the rule of an op that has none
_UNKNOWN = object()

R = TypeVar("R")
Shape = tuple[int, ...]

# For an op of the package, a function of the shapes of its operands and of its options that gives
# the shape of its result, or `moved` or the like; None if the op is called. `tapegrad.ops.shapes`
# fills it.
SHAPES: dict[Primitive, Any] = {}
# ops whose result has the dtype of their first operand, and those of which that is known for arrays
# of one real dtype in native byte order, without options; any other is called on arrays of one
# element, which refuses wrong options too
SAME_DTYPE: set[Primitive] = set()
SAME_REAL_DTYPE: set[Primitive] = set()

# what was inferred last, by the op, the kinds of its operands and its options
_KNOWN: dict[Any, Any] = {}
_MOST_KNOWN = 1 << 12
_REAL = frozenset(map(np.dtype, "efd"))
# the dtype of elements that take no memory
_NOTHING = np.dtype("V0")
# an element of any dtype, of an array or of a number, which is no view of an array
_ZEROS = np.zeros(32, np.uint8)
_ZEROS.setflags(write=False)
_NUMBER = bytes(32)


@lru_cache(1 << 10)
def stand_in(shape: Shape, dtype: np.dtype[Any]) -> Any:
    """A read-only array of zeros that has the memory of one; without axes it is a number."""
    return ndarray(shape, dtype, _ZEROS if shape else _NUMBER, 0, (0,) * len(shape))


def emptied(x: Any) -> Any:
    """A stand-in for an array of numbers; anything else itself."""
    return stand_in(x.shape, x.dtype) if type(x) is ndarray and x.dtype.kind in "biufc" else x


@attrs.define(eq=False)
class Results:
    """The results of a user's functions while a call was recorded, for its first run.

    Their shapes are known by calling them. So that one call of a compiled function is one call of
    theirs, the run takes these results, each once, where the operands are the same to the bit.

    Attributes
    ----------
    mode
        ``"keep"`` what a function returns, ``"read"`` or ``"take"`` what is kept, or nothing.
    kept
        The functions, operands, options and results.
    """

    mode: str = ""
    kept: list[tuple[Any, Sequence[Any], Mapping[str, Any], Any]] = attrs.Factory(list)

    def call(self, fn: Callable[..., Any], args: Sequence[Any], options: Mapping[str, Any]) -> Any:
        """The result of a function, called or kept."""
        if not self.mode:
            return fn(*args, **options)
        if self.mode != "keep":
            for i, (other, others, chosen, y) in enumerate(self.kept):
                if other is fn and _are_same(others, args) and _are_same([chosen], [options]):
                    if self.mode == "take":
                        del self.kept[i]
                    return np.array(y) if np.ndim(y) else y
        # it may call others, which are not called by the program
        y = self("", partial(fn, *args, **options))
        if self.mode == "keep":
            self.kept.append((fn, args, options, np.array(y) if np.ndim(y) else y))
        return y

    def __call__(self, mode: str, fn: Callable[..., R], *args: Any) -> R:
        """A function's result, in whose course the calls of users' functions are kept or read."""
        before = RESULTS.set(Results(mode, self.kept))
        try:
            return fn(*args)
        finally:
            RESULTS.reset(before)


RESULTS: ContextVar[Results] = ContextVar("tapegrad_results", default=Results())  # noqa: B039


def called_once(fn: Callable[..., Any], args: Any, kwargs: Any) -> Any:
    """The result of a user's function, which is kept or read while a call is recorded.

    A function of this module, so that what calls it can be pickled by value.
    """
    return RESULTS.get().call(fn, args, kwargs)


def _are_same(xs: Any, ys: Any) -> bool:
    """Whether operands or options are the same to the bit."""
    if isinstance(xs, Mapping) and isinstance(ys, Mapping):
        return list(xs) == list(ys) and _are_same([*xs.values()], [*ys.values()])
    if isinstance(xs, list | tuple) and isinstance(ys, list | tuple):
        return len(xs) == len(ys) and all(map(_are_same, xs, ys))
    if isinstance(xs, ndarray | np.generic) and isinstance(ys, ndarray | np.generic):
        alike = (xs.dtype, xs.shape) == (ys.dtype, ys.shape) and not xs.dtype.hasobject
        return alike and xs.tobytes() == ys.tobytes()
    # not by value: 0.0 equals -0.0
    return xs is ys or (type(xs) is type(ys) and type(xs) in _PLAIN and repr(xs) == repr(ys))


@attrs.define(eq=False)
class Evaluation:
    """How a recording without values evaluates ops, and the values that it could compute.

    Attributes
    ----------
    known
        The values of parameters, or functions that give them, and those of the records that were
        computed for the user's functions.
    """

    known: dict[Tensor, Any] = attrs.Factory(dict)

    def __call__(
        self, op: Primitive, values: list[Any], options: Mapping[str, Any], operands: Sequence[Any]
    ) -> Any:
        """A stand-in for a record's value."""
        if op not in SHAPES and op.like is None and type(op) is not Primitive:
            # the user's function may take forever at numbers that it is not for
            results = RESULTS.get()
            values = results("read", actual, operands)
            return results("keep", evaluate, op, values, options)
        return evaluate(op, values, options)

    def end(self) -> None:
        """Let the values go, whose records lead back here by the tape's origin."""
        self.known.clear()

    def value(self, x: Tensor) -> Any:
        """The value of a record; parameters that are not known are 0."""
        known, waiting = self.known, [x]
        while waiting:
            x = waiting[-1]
            operands = [
                y
                for y in x._operands
                if type(y) is Tensor and y.origin is x.origin and y not in known
            ]
            if not operands:
                value = known.get(x, partial(self._computed, x))
                if callable(value):
                    value = value()
                    value = np.asarray(value, x.dtype) if type(x._primal) is ndarray else value
                known[x] = value
            waiting = waiting + operands if operands else waiting[:-1]
        return known[x]

    def _computed(self, x: Tensor) -> Any:
        if x.op is PARAMETER and not x._operands:
            return np.array(x._primal) if is_stand_in(x._primal) else x._primal
        values = [_actual(y) if type(y) is Tensor else y for y in x._operands]
        return silently(exactly(x.op, values), *values, **x._options)


class Recorder:
    """A recording without values: first its inputs are marked, then a function runs.

    Attributes
    ----------
    origin, last
        Where its tape begins, and its last record.
    inputs
        The records of its inputs.
    """

    def __init__(
        self,
        called: str,
        line: int = 0,
        place: Callable[[], Any] | None = None,
        around: Origin | None = None,
        doing: str = "compiling",
    ) -> None:
        self._evaluation = Evaluation()
        self.origin = Origin(called, True, line, place, around, doing, self._evaluation)
        self.last: Any = self.origin
        self.inputs: list[Tensor] = []

    def mark(self, leaf: Any, path: str, value: Callable[[], Any] | None = None) -> Tensor:
        """The record of an input, of a leaf like it; `value` gives its value, if it is another."""
        self.last = record = write_like(self.last, leaf, path)
        self.inputs.append(record)
        if value is not None:
            self._evaluation.known[record] = value
        return record

    def run(self, fn: Callable[..., Any], args: Any, kwargs: Mapping[str, Any] = NO_OPTIONS) -> Any:
        """A function's result; no input can be marked later."""
        try:
            output, self.last = placed((None, False), record_from, (self.last, fn, args, kwargs))
        finally:
            self._evaluation.end()
        return output

    @property
    def tape(self) -> Tape:
        """The records so far."""
        return Tape(self.last, self.origin)


def actual(operands: Iterable[Any]) -> list[Any]:
    """The values of records for a function of the user's, which may depend on them.

    They are those of the call that is recorded, and in the body of a loop those of its first step.
    """
    operands = list(operands)
    try:
        # the arguments of the call are the caller's arrays
        return [owned_copy(_actual(x)) if type(x) is Tensor else x for x in operands]
    except Exception:
        return primals(operands)


def _actual(x: Tensor) -> Any:
    evaluation = x.origin.evaluate
    return evaluation.value(x) if isinstance(evaluation, Evaluation) else x._primal


def write_like(last: Last, value: Any, name: str | None) -> Tensor:
    """The record of a parameter of which only the shape and the dtype matter."""
    like = emptied(value)
    if not is_stand_in(like):
        return write_parameter(last, value, name)
    record = write_known(last, PARAMETER, (), NO_OPTIONS, like, name)
    evaluation = last.origin.evaluate
    if isinstance(evaluation, Evaluation) and not is_stand_in(value):
        evaluation.known[record] = value
    return record


def evaluate(op: Primitive, values: list[Any], options: Mapping[str, Any]) -> Any:
    """A stand-in for an op's result, or a Python number, for a recording without values."""
    rule = SHAPES.get(op, _UNKNOWN)
    if not values or rule is _UNKNOWN or rule is stated or op.like is not None:
        return _called(op, rule, values, options)
    is_called = rule in _CALLED
    infer = _called if is_called else _inferred
    key: list[Any] = [op]
    for x in values:
        kind = type(x)
        if kind is ndarray and not (is_called and _matters(x)):
            key += (x.shape, x.dtype)
        elif kind in PYTHON_NUMBERS:
            # the values of other numbers do not matter
            key += (kind, None if kind is float or kind is complex else x)
        else:
            return _called(op, rule, values, options)
    try:
        for name, x in options.items():
            key += (name, told(x, _remembered))
    except TypeError:
        return infer(op, rule, values, options)
    known = _KNOWN.get(what := tuple(key))
    if known is None:
        known = infer(op, rule, [like(x) for x in values], options)
        # a number has its value
        if type(known) is ndarray or type(known) is Parts:
            _KNOWN[what] = known
            if len(_KNOWN) > _MOST_KNOWN:
                _KNOWN.pop(next(iter(_KNOWN)), None)
    return known


def like(x: Any) -> Any:
    """A stand-in for an array, whatever its elements; a Python number itself."""
    return stand_in(x.shape, x.dtype) if type(x) is ndarray else x


def is_stand_in(x: Any) -> bool:
    """Whether an array is one that `stand_in` made."""
    base: Any = x.base if type(x) is ndarray else None
    return base is _ZEROS or base is _NUMBER


def _matters(x: Any) -> bool:
    """Whether a result's shape may depend on the elements of an array."""
    return type(x) is ndarray and x.dtype.kind in "biu" and not is_stand_in(x)


def told(x: Any, rest: Callable[[Any], Any]) -> Any:
    """A key by which a value is told from another: 1 from 1.0 and True, and 0.0 from -0.0.

    What is no plain value has the key that `rest` gives.
    """
    kind = type(x)
    if kind is tuple:
        # most are shapes and axes
        is_plain = _EXACT.issuperset(map(type, x))
        return x if is_plain else tuple([told(part, rest) for part in x])
    if kind is slice:
        return kind, told((x.start, x.stop, x.step), rest)
    if kind in _PLAIN:
        return kind, as_text(x) if kind is float or kind is complex else x
    return rest(x)


# for these classes, equal values are the same value
_EXACT = frozenset({int, type(None)})
_PLAIN = frozenset({bool, int, float, complex, str, bytes, type(None), type(...)})


def _remembered(option: Any) -> Any:
    if not isinstance(option, np.dtype | type):
        raise TypeError("it may be large, or change")
    return type(option), option


def _inferred(op: Primitive, rule: Any, values: list[Any], options: Mapping[str, Any]) -> Any:
    """A stand-in for the result, whose shape a rule gives and whose dtype a small call."""
    shapes = [x.shape if type(x) is ndarray else () for x in values]
    if any(shapes):
        try:
            shape = rule(*shapes, **options)
            if op in SAME_DTYPE:
                return stand_in(shape, values[0].dtype)
            if type(op.forward) is np.ufunc:
                return stand_in(shape, _dtype(op.forward, *map(_kind, values)))
            # an axis without elements may be refused
            if not any(0 in x for x in shapes):
                # options are checked by a call
                if op in SAME_REAL_DTYPE and not options:
                    kinds = {*map(_kind, values)}
                    if len(kinds) == 1 and kinds <= _REAL:
                        return stand_in(shape, values[0].dtype)
                small = [_one(x) for x in values]
                result = by_shapes(op.forward, small, options)
                return _as(result, shape, np.asarray(result).dtype)
        except TapegradError:
            raise
        except Exception:
            # the op itself says what is wrong
            pass
    return _called(op, None, values, options)


def _kind(x: Any) -> Any:
    """What a ufunc's dtype depends on: the dtype of an array, or a number."""
    # NumPy looks at the values of ints alone
    return x.dtype if type(x) is ndarray else x if type(x) is int else type(x)(1)


@lru_cache(1 << 8, typed=True)
def _dtype(ufunc: np.ufunc, *kinds: Any) -> np.dtype[Any]:
    """The dtype of a ufunc's result."""
    if int not in map(type, kinds):
        dtypes = [x if isinstance(x, np.dtype) else type(x) for x in kinds]
        return ufunc.resolve_dtypes((*dtypes, None))[-1]
    small = [np.zeros(1, x) if isinstance(x, np.dtype) else x for x in kinds]
    dtype: np.dtype[Any] = by_shapes(ufunc, small, {}).dtype
    return dtype


def _one(x: Any) -> Any:
    """An array of one element in the place of an array."""
    return np.zeros((1,) * x.ndim, x.dtype) if type(x) is ndarray else x


def _called(op: Primitive, rule: Any, values: list[Any], options: Mapping[str, Any]) -> Any:
    """A stand-in for the result, for which a function is called."""
    if op.like is not None:
        return _emptied(by_shapes(op.like, values, options))
    if rule is stated:
        return stand_in(options["shape"], options["dtype"])
    if PYTHON_NUMBERS.issuperset(map(type, values)):
        result = by_shapes(exactly(op, values), values, options)
        return result if isinstance(result, np.generic) else _emptied(result)
    if rule is _UNKNOWN:
        # it may look at the strides of its operands
        values = [np.zeros(x.shape, x.dtype) if is_stand_in(x) else x for x in values]
    if rule is not moved or len(values) == 1:
        return _emptied(by_shapes(op.forward, values, options))
    first, *rest = values
    result = by_shapes(op.forward, [stand_in(first.shape, _NOTHING), *rest], options)
    return _as(result, np.shape(result), first.dtype)


def _as(result: Any, shape: Shape, dtype: np.dtype[Any]) -> Any:
    """A stand-in for a result: without axes it is a view of an array, if that is one."""
    is_view = type(result) is ndarray and type(result.base) is ndarray
    return ndarray((), dtype, _ZEROS) if is_view and not shape else stand_in(shape, dtype)


def _emptied(value: Any) -> Any:
    """A stand-in for a result; Python numbers stay."""
    if type(value) is Parts:
        return Parts(tuple(map(emptied, value.values)))
    if isinstance(value, np.generic):
        return emptied(np.asarray(value))
    if type(value) is ndarray and value.dtype.kind in "biufc":
        return _as(value, value.shape, value.dtype)
    return value


def broadcast(*shapes: Shape, **options: Any) -> Shape:
    """The shape of what is computed element by element."""
    own = {*shapes} - {()} or {()}
    if len(own) == 1:
        return own.pop()
    longest = max(own, key=len)
    # as the shape of a bias is, which NumPy takes longer to see
    are_ends = all(longest[-len(x) :] == x for x in own)
    return longest if are_ends else np.broadcast_shapes(*own)


# In place of a rule, for an op that only moves elements of its first operand (it is called on
# elements that take no memory), one whose options say the shape and the dtype of its result, and
# one that gives a view of its operand (it is called, which takes no memory).
moved, stated, viewed = object(), object(), object()
# without a rule of shapes alone
_CALLED = frozenset({None, moved, viewed})


def by_shapes(fn: Callable[..., R], values: list[Any], options: Mapping[str, Any]) -> R:
    """A function's result at values of which only shapes and dtypes matter.

    The values may be placeholders. If the function fails at them, it is called at values where
    most functions are defined. If it fails again, the cause is their shapes or dtypes.
    """
    try:
        return silently(fn, *values, **options)
    except TapegradError:
        raise
    except Exception as error:
        try:
            return silently(fn, *_usual(values), **options)
        except Exception:
            raise error from None


def silently(fn: Callable[..., R], /, *args: Any, **options: Any) -> R:
    """A function's result, without NumPy's warnings about placeholder values."""
    before = STATE.set(SILENT)
    try:
        return fn(*args, **options)
    finally:
        STATE.reset(before)


def unrecorded(fn: Callable[..., R], args: Iterable[Any] = ()) -> R:
    """A function's result, outside of the running recording.

    Raises
    ------
    TapeError
        If the function used a Tensor. It may catch that error, go on without the Tensor, and so
        lose its gradient: then the error is raised when the function has returned.
    """
    refused = deque[str]()
    before = REFUSED.set(refused)
    try:
        result: R = record_from(None, fn, args)[0]
    finally:
        REFUSED.reset(before)
    if refused:
        raise TapeError(refused[0])
    return result


def whole_power(base: int, exponent: int) -> int:
    """A power of ints that is an int; a negative exponent would make it a float.

    Raises
    ------
    ValueError
        If the exponent is negative, as NumPy does.
    """
    if exponent < 0:
        raise ValueError(
            f"{base} ** {exponent}: integers to negative integer powers are not allowed; make the "
            "base a float"
        )
    power: int = base**exponent
    return power


def exactly(op: Primitive, values: list[Any]) -> Callable[..., Any]:
    """The function that computes an op of these operands; Python ints do not wrap."""
    if op.whole is None:
        return op.forward
    for x in values:
        if not isinstance(x, int):
            return op.forward
    return op.whole


def _usual(values: Iterable[Any]) -> list[Any]:
    """Values of the same shapes and dtypes at which most ops are defined.

    While compiling, the results of a loop are zeros, which have no inverse and are no denominator,
    and values computed from them may be nan. They are replaced: matrices by identities, vectors by
    increasing numbers between 0 and 1, as knots need. Integers stay, since they may be indices.
    """
    return [_usual_like(x) if np.asarray(x).dtype.kind in "fc" else x for x in values]


def _usual_like(x: Any) -> Any:
    if type(x) in (float, complex):
        return type(x)(0.5)
    if np.ndim(x) > 1:
        return np.broadcast_to(np.eye(*x.shape[-2:], dtype=x.dtype), x.shape)
    return np.linspace(0.25, 0.75, x.size).reshape(x.shape).astype(x.dtype)
