"""Abstract evaluation: infer a result's shape and dtype from its operands', for compiling.

Start with `evaluate`, and with `Recorder`, which records a function without computing its values.

A stand-in takes the place of each array. It takes no memory: all its elements are one zero
(`stand_in`). The result of an op is a stand-in too. The op's rule in `SHAPES` gives the shape, and
a call on arrays of one element gives the dtype; an op without a rule is called on the stand-ins.
Inferred results are cached.

Python ints keep their values, since they may be shapes. Their arithmetic is exact; NumPy's wraps at
64 bits, and its division by zero gives 0. Captured arrays of integers and booleans keep their
values too, since a mask determines how many elements it selects.
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
from tapegrad.errors.lines import SILENT, STATE, call_at
from tapegrad.errors.words import as_text
from tapegrad.tree.numbers import PYTHON_NUMBERS
from tapegrad.tree.ownership import owned_copy

# stands for the rule of an op that SHAPES does not list
_UNKNOWN = object()

R = TypeVar("R")
Shape = tuple[int, ...]

# The shape rule of each op of the package: a function of the operands' shapes and of the options
# that returns the result's shape, or `BY_MOVING`, `BY_OPTIONS` or `BY_VIEW`; None if the op is
# called. `tapegrad.ops.shapes` fills it.
SHAPES: dict[Primitive, Any] = {}
# Ops whose result has the dtype of their first operand: always, or at least for arrays of one real
# dtype in native byte order and without options. Any other op is called on arrays of one element,
# which raises for wrong options too.
SAME_DTYPE: set[Primitive] = set()
SAME_REAL_DTYPE: set[Primitive] = set()

# the latest results, by the op, its operands' shapes and dtypes, and its options
_INFERRED: dict[Any, Any] = {}
_MOST_INFERRED = 1 << 12
_REAL = frozenset(map(np.dtype, "efd"))
# the dtype of elements that take no memory
_NOTHING = np.dtype("V0")
# the memory of one element of any dtype: for arrays, and for 0-d arrays that are not a view
_ZEROS = np.zeros(32, np.uint8)
_ZEROS.setflags(write=False)
_NUMBER = bytes(32)


@lru_cache(1 << 10)
def stand_in(shape: Shape, dtype: np.dtype[Any]) -> Any:
    """Return a read-only array of zeros that takes the memory of one element."""
    return ndarray(shape, dtype, _ZEROS if shape else _NUMBER, 0, (0,) * len(shape))


def stand_in_for_numeric(x: Any) -> Any:
    """Return a stand-in for an array of numbers, and anything else unchanged."""
    return stand_in(x.shape, x.dtype) if type(x) is ndarray and x.dtype.kind in "biufc" else x


@attrs.define(eq=False)
class Results:
    """The results of a user's functions while a call is recorded, for the program's first run.

    Recording calls these functions to find the shapes of their results. The first run then takes
    the results, each once, where the operands are the same to the bit, so that one call of a
    compiled function calls each user's function once.

    Attributes
    ----------
    mode
        ``"keep"`` stores each result, ``"read"`` returns a stored one, ``"take"`` also removes it;
        an empty mode just calls.
    kept
        The functions, operands, options and results.
    """

    mode: str = ""
    kept: list[tuple[Any, Sequence[Any], Mapping[str, Any], Any]] = attrs.Factory(list)

    def call(self, fn: Callable[..., Any], args: Sequence[Any], options: Mapping[str, Any]) -> Any:
        """Return a function's result, from a call or from the stored ones."""
        if not self.mode:
            return fn(*args, **options)
        if self.mode != "keep":
            for i, (other, others, chosen, y) in enumerate(self.kept):
                if other is fn and _are_same(others, args) and _are_same([chosen], [options]):
                    if self.mode == "take":
                        del self.kept[i]
                    return np.array(y) if np.ndim(y) else y
        # the function may call others, which the program does not call
        y = self("", partial(fn, *args, **options))
        if self.mode == "keep":
            self.kept.append((fn, args, options, np.array(y) if np.ndim(y) else y))
        return y

    def __call__(self, mode: str, fn: Callable[..., R], *args: Any) -> R:
        """Call a function, and store or read the results of the users' functions that it calls."""
        before = RESULTS.set(Results(mode, self.kept))
        try:
            return fn(*args)
        finally:
            RESULTS.reset(before)


RESULTS: ContextVar[Results] = ContextVar("tapegrad_results", default=Results())  # noqa: B039


def call_once(fn: Callable[..., Any], args: Any, kwargs: Any) -> Any:
    """Call a user's function, or return the result that was stored while recording.

    It is a function of this module, so that its callers can be pickled by value.
    """
    return RESULTS.get().call(fn, args, kwargs)


def _are_same(xs: Any, ys: Any) -> bool:
    """Return whether operands or options are the same to the bit."""
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
    """The evaluation of ops in a recording without values.

    It gives each record a stand-in, and computes the values that a user's function needs.

    Attributes
    ----------
    known
        The value of each parameter, or a function that returns it, and the values that were
        computed for users' functions.
    """

    known: dict[Tensor, Any] = attrs.Factory(dict)

    def __call__(
        self, op: Primitive, values: list[Any], options: Mapping[str, Any], operands: Sequence[Any]
    ) -> Any:
        """Return a stand-in for a record's value."""
        if op not in SHAPES and op.like is None and type(op) is not Primitive:
            # a user's function may never return at placeholder values
            results = RESULTS.get()
            values = results("read", known_values, operands)
            return results("keep", evaluate, op, values, options)
        return evaluate(op, values, options)

    def forget_values(self) -> None:
        """Forget the values, which would keep the records alive in a reference cycle."""
        self.known.clear()

    def value(self, x: Tensor) -> Any:
        """Return the value of a record; parameters of unknown value count as 0."""
        known, waiting = self.known, [x]
        while waiting:
            x = waiting[-1]
            operands = [
                y
                for y in x._operands
                if type(y) is Tensor and y.origin is x.origin and y not in known
            ]
            if not operands:
                value = known.get(x, partial(self._compute_value, x))
                if callable(value):
                    value = value()
                    value = np.asarray(value, x.dtype) if type(x._primal) is ndarray else value
                known[x] = value
            waiting = waiting + operands if operands else waiting[:-1]
        return known[x]

    def _compute_value(self, x: Tensor) -> Any:
        if x.op is PARAMETER and not x._operands:
            return np.array(x._primal) if is_stand_in(x._primal) else x._primal
        values = [_known_value(y) if type(y) is Tensor else y for y in x._operands]
        return call_silently(exact_forward(x.op, values), *values, **x._options)


class Recorder:
    """A recording without values: mark the inputs, then run the function.

    Attributes
    ----------
    origin, last
        The Origin and the last record of the tape.
    inputs
        The records of the inputs.
    """

    def __init__(
        self,
        label: str,
        line: int = 0,
        find_place: Callable[[], Any] | None = None,
        outer: Origin | None = None,
        activity: str = "compiling",
    ) -> None:
        self._evaluation = Evaluation()
        self.origin = Origin(label, True, line, find_place, outer, activity, self._evaluation)
        self.last: Last = self.origin
        self.inputs: list[Tensor] = []

    def mark(self, leaf: Any, path: str, value: Callable[[], Any] | None = None) -> Tensor:
        """Record an input that is like a leaf; `value` returns its value, if not the leaf's."""
        self.last = record = write_like(self.last, leaf, path)
        self.inputs.append(record)
        if value is not None:
            self._evaluation.known[record] = value
        return record

    def run(self, fn: Callable[..., Any], args: Any, kwargs: Mapping[str, Any] = NO_OPTIONS) -> Any:
        """Record a call of a function and return its result; no input can be marked afterwards."""
        try:
            output, self.last = call_at((None, False), record_from, (self.last, fn, args, kwargs))
        finally:
            self._evaluation.forget_values()
        return output

    @property
    def tape(self) -> Tape:
        """The records so far."""
        return Tape(self.last, self.origin)


def known_values(operands: Iterable[Any]) -> list[Any]:
    """Return the operands' values for a user's function, whose result may depend on them.

    The values come from the call that is recorded; in the body of a loop, from its first step.
    """
    operands = list(operands)
    try:
        # the arguments of the call are the caller's arrays
        return [owned_copy(_known_value(x)) if type(x) is Tensor else x for x in operands]
    except Exception:
        return primals(operands)


def _known_value(x: Tensor) -> Any:
    evaluation = x.origin.evaluate
    return evaluation.value(x) if isinstance(evaluation, Evaluation) else x._primal


def write_like(last: Last, value: Any, name: str | None) -> Tensor:
    """Write a parameter with a stand-in for its value."""
    primal = stand_in_for_numeric(value)
    if not is_stand_in(primal):
        return write_parameter(last, value, name)
    record = write_known(last, PARAMETER, (), NO_OPTIONS, primal, name)
    evaluation = last.origin.evaluate
    if isinstance(evaluation, Evaluation) and not is_stand_in(value):
        evaluation.known[record] = value
    return record


def evaluate(op: Primitive, values: list[Any], options: Mapping[str, Any]) -> Any:
    """Return a stand-in for an op's result, or a Python number."""
    rule = SHAPES.get(op, _UNKNOWN)
    if not values or rule is _UNKNOWN or rule is BY_OPTIONS or op.like is not None:
        return _infer_by_call(op, rule, values, options)
    is_called = rule in _NEED_CALL
    infer = _infer_by_call if is_called else _infer_by_rule
    key: list[Any] = [op]
    for x in values:
        kind = type(x)
        if kind is ndarray and not (is_called and _may_set_shape(x)):
            key += (x.shape, x.dtype)
        elif kind in PYTHON_NUMBERS:
            # the values of other numbers do not matter
            key += (kind, None if kind is float or kind is complex else x)
        else:
            return _infer_by_call(op, rule, values, options)
    try:
        for name, x in options.items():
            key += (name, value_key(x, _dtype_key))
    except TypeError:
        return infer(op, rule, values, options)
    result = _INFERRED.get(call := tuple(key))
    if result is None:
        result = infer(op, rule, [stand_in_for(x) for x in values], options)
        # a Python number depends on the values
        if type(result) is ndarray or type(result) is Parts:
            _INFERRED[call] = result
            if len(_INFERRED) > _MOST_INFERRED:
                _INFERRED.pop(next(iter(_INFERRED)), None)
    return result


def stand_in_for(x: Any) -> Any:
    """Return a stand-in for an array of any elements, and a Python number unchanged."""
    return stand_in(x.shape, x.dtype) if type(x) is ndarray else x


def is_stand_in(x: Any) -> bool:
    """Return whether `stand_in` made an array."""
    base: Any = x.base if type(x) is ndarray else None
    return base is _ZEROS or base is _NUMBER


def _may_set_shape(x: Any) -> bool:
    """Return whether a result's shape may depend on an array's elements."""
    return type(x) is ndarray and x.dtype.kind in "biu" and not is_stand_in(x)


def value_key(x: Any, rest: Callable[[Any], Any]) -> Any:
    """Return a dictionary key that differs for 1, 1.0 and True, and for 0.0 and -0.0.

    `rest` makes the key of an object that is neither a number, a string nor a tuple.
    """
    kind = type(x)
    if kind is tuple:
        # most are shapes and axes
        is_plain = _EXACT.issuperset(map(type, x))
        return x if is_plain else tuple([value_key(part, rest) for part in x])
    if kind is slice:
        return kind, value_key((x.start, x.stop, x.step), rest)
    if kind in _PLAIN:
        return kind, as_text(x) if kind is float or kind is complex else x
    return rest(x)


# for these classes, equal values are the same value
_EXACT = frozenset({int, type(None)})
_PLAIN = frozenset({bool, int, float, complex, str, bytes, type(None), type(...)})


def _dtype_key(option: Any) -> Any:
    if not isinstance(option, np.dtype | type):
        raise TypeError("it may be large, or change")
    return type(option), option


def _infer_by_rule(op: Primitive, rule: Any, values: list[Any], options: Mapping[str, Any]) -> Any:
    """Infer a result's shape by a rule, and its dtype by a call on arrays of one element."""
    shapes = [x.shape if type(x) is ndarray else () for x in values]
    if any(shapes):
        try:
            shape = rule(*shapes, **options)
            if op in SAME_DTYPE:
                return stand_in(shape, values[0].dtype)
            if type(op.forward) is np.ufunc:
                return stand_in(shape, _ufunc_dtype(op.forward, *map(_promotion_kind, values)))
            # the op may raise for an axis without elements
            if not any(0 in x for x in shapes):
                # options are checked by a call
                if op in SAME_REAL_DTYPE and not options:
                    kinds = {*map(_promotion_kind, values)}
                    if len(kinds) == 1 and kinds <= _REAL:
                        return stand_in(shape, values[0].dtype)
                small = [_one_element(x) for x in values]
                result = call_for_shape(op.forward, small, options)
                return _stand_in_as(result, shape, np.asarray(result).dtype)
        except TapegradError:
            raise
        except Exception:
            # the op's own error is clearer
            pass
    return _infer_by_call(op, None, values, options)


def _promotion_kind(x: Any) -> Any:
    """Return the dtype of an array, or a number of the same kind: a ufunc's dtype depends on it."""
    # NumPy looks at the values of ints alone
    return x.dtype if type(x) is ndarray else x if type(x) is int else type(x)(1)


@lru_cache(1 << 8, typed=True)
def _ufunc_dtype(ufunc: np.ufunc, *kinds: Any) -> np.dtype[Any]:
    """Return the dtype of a ufunc's result."""
    if int not in map(type, kinds):
        dtypes = [x if isinstance(x, np.dtype) else type(x) for x in kinds]
        return ufunc.resolve_dtypes((*dtypes, None))[-1]
    small = [np.zeros(1, x) if isinstance(x, np.dtype) else x for x in kinds]
    dtype: np.dtype[Any] = call_for_shape(ufunc, small, {}).dtype
    return dtype


def _one_element(x: Any) -> Any:
    """Return an array of one element for an array, and a number unchanged."""
    return np.zeros((1,) * x.ndim, x.dtype) if type(x) is ndarray else x


def _infer_by_call(op: Primitive, rule: Any, values: list[Any], options: Mapping[str, Any]) -> Any:
    """Infer a result by a call on the stand-ins."""
    if op.like is not None:
        return _stand_in_for_result(call_for_shape(op.like, values, options))
    if rule is BY_OPTIONS:
        return stand_in(options["shape"], options["dtype"])
    if PYTHON_NUMBERS.issuperset(map(type, values)):
        result = call_for_shape(exact_forward(op, values), values, options)
        return result if isinstance(result, np.generic) else _stand_in_for_result(result)
    if rule is _UNKNOWN:
        # it may look at the strides of its operands
        values = [np.zeros(x.shape, x.dtype) if is_stand_in(x) else x for x in values]
    if rule is not BY_MOVING or len(values) == 1:
        return _stand_in_for_result(call_for_shape(op.forward, values, options))
    first, *rest = values
    result = call_for_shape(op.forward, [stand_in(first.shape, _NOTHING), *rest], options)
    return _stand_in_as(result, np.shape(result), first.dtype)


def _stand_in_as(result: Any, shape: Shape, dtype: np.dtype[Any]) -> Any:
    """Return a stand-in for a result; a 0-d view has a stand-in that is a view, too."""
    is_view = type(result) is ndarray and type(result.base) is ndarray
    return ndarray((), dtype, _ZEROS) if is_view and not shape else stand_in(shape, dtype)


def _stand_in_for_result(value: Any) -> Any:
    """Return a stand-in for a result, or the result itself if it is a Python number."""
    if type(value) is Parts:
        return Parts(tuple(map(stand_in_for_numeric, value.values)))
    if isinstance(value, np.generic):
        return stand_in_for_numeric(np.asarray(value))
    if type(value) is ndarray and value.dtype.kind in "biufc":
        return _stand_in_as(value, value.shape, value.dtype)
    return value


def broadcast_shape(*shapes: Shape, **options: Any) -> Shape:
    """Return the shape of an elementwise result."""
    distinct = {*shapes} - {()} or {()}
    if len(distinct) == 1:
        return distinct.pop()
    longest = max(distinct, key=len)
    # a shortcut for the shape of a bias: np.broadcast_shapes takes longer
    are_ends = all(longest[-len(x) :] == x for x in distinct)
    return longest if are_ends else np.broadcast_shapes(*distinct)


# In place of a rule: the op only moves elements of its first operand, so it is called on elements
# that take no memory; its options state the result's shape and dtype; or it returns a view of its
# operand, so that calling it takes no memory.
BY_MOVING, BY_OPTIONS, BY_VIEW = object(), object(), object()
# an op with one of these is called
_NEED_CALL = frozenset({None, BY_MOVING, BY_VIEW})


def call_for_shape(fn: Callable[..., R], values: list[Any], options: Mapping[str, Any]) -> R:
    """Call a function for the shape and dtype of its result.

    The values may be placeholders. If the function fails at them, it is called at values where
    most functions are defined. If it fails again, the cause is their shapes or dtypes.
    """
    try:
        return call_silently(fn, *values, **options)
    except TapegradError:
        raise
    except Exception as error:
        try:
            return call_silently(fn, *_regular_values(values), **options)
        except Exception:
            raise error from None


def call_silently(fn: Callable[..., R], /, *args: Any, **options: Any) -> R:
    """Call a function without NumPy's warnings about placeholder values."""
    before = STATE.set(SILENT)
    try:
        return fn(*args, **options)
    finally:
        STATE.reset(before)


def call_unrecorded(fn: Callable[..., R], args: Iterable[Any] = ()) -> R:
    """Call a function outside of the running recording.

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
    """Return a power of ints as an int; a negative exponent would make it a float.

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


def exact_forward(op: Primitive, values: list[Any]) -> Callable[..., Any]:
    """Return the forward function for these operands; Python ints do not wrap."""
    if op.whole is None:
        return op.forward
    for x in values:
        if not isinstance(x, int):
            return op.forward
    return op.whole


def _regular_values(values: Iterable[Any]) -> list[Any]:
    """Return values of the same shapes and dtypes at which most ops are defined.

    While compiling, the results of a loop are zeros, which have no inverse and are no denominator,
    and values computed from them may be nan. They are replaced: matrices by identities, vectors by
    increasing numbers between 0 and 1, as knots need. Integers stay, since they may be indices.
    """
    return [_regular_value(x) if np.asarray(x).dtype.kind in "fc" else x for x in values]


def _regular_value(x: Any) -> Any:
    if type(x) in (float, complex):
        return type(x)(0.5)
    if np.ndim(x) > 1:
        return np.broadcast_to(np.eye(*x.shape[-2:], dtype=x.dtype), x.shape)
    return np.linspace(0.25, 0.75, x.size).reshape(x.shape).astype(x.dtype)
