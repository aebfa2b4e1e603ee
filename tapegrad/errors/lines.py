"""The caller's line of source, for messages that quote it and for NumPy's warnings.

NumPy warns of an overflow at the line of Python that called it, which in a recording is one of
this package. If its error state says "log", it hands the text of the warning to an object of ours,
which looks for the caller's line only then. So there is no cost without a warning.
"""

from __future__ import annotations

import linecache
import sys
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextvars import Context, ContextVar
from functools import cache, cached_property, wraps
from types import CodeType, FrameType, MappingProxyType
from typing import Any, Literal, ParamSpec, TypeVar

import attrs
import numpy as np

from tapegrad.errors import TraceError


@attrs.frozen(slots=False)
class Place:
    """A line of source.

    Attributes
    ----------
    file, number
        Where it is.
    """

    file: str
    number: int

    @cached_property
    def text(self) -> str:
        """The line as its file has it when this is first read; "" if there is no source."""
        # not when a record is written, since to read a file takes longer than to compile a net
        return linecache.getline(self.file, self.number).strip()

    def __reduce__(self) -> tuple[Any, ...]:
        # elsewhere the file may be another
        return Place, (self.file, self.number), {"text": self.text}

    def __str__(self) -> str:
        if not self.file:
            return ""
        where = f"{self.file}:{self.number}"
        return f"{where}: {self.text}" if self.text else where


# codes that are not the user's, by identity, since hashing code reads all of it
_OTHERS: dict[int, CodeType] = {}
_LIBRARIES = ("tapegrad.", "numpy", "scipy.", "pandas.", "xarray.")


def called_from(level: int) -> tuple[str, str]:
    """The name and the module of the function `level` calls above the caller of this one."""
    frame = sys._getframe(level + 1)
    return frame.f_code.co_name, str(frame.f_globals.get("__name__", ""))


def frames_to_users() -> Iterator[FrameType]:
    """The frames of the calls that led here, the last one first, up to the caller's line.

    A function that kept them would keep its own, and all that the caller holds.
    """
    frame: FrameType | None = sys._getframe(1)
    while frame is not None:
        yield frame
        frame = None if is_users(frame) else frame.f_back


def users_frame(frame: FrameType | None) -> FrameType | None:
    """The frame of the caller's line that led to a frame, which may be its own."""
    # up to thirty steps for a record
    while frame is not None:
        code = frame.f_code
        if id(code) not in _OTHERS:
            if is_users(frame):
                break
            # what is generated may be made again and again
            if not code.co_filename.startswith("<"):
                _OTHERS[id(code)] = code
        frame = frame.f_back
    return frame


def users_place() -> Place:
    """The caller's line that led here, or the place that a sweep or a replay has reached."""
    place, is_known = PLACE.get()
    frame = None if is_known else users_frame(sys._getframe(1))
    return place or (Place("", 0) if frame is None else place_of(frame))


def place_of(frame: FrameType) -> Place:
    """The line that a frame has reached."""
    return Place(frame.f_code.co_filename, frame.f_lineno)


def users_level() -> int:
    """The caller's line as a stack level, as `warnings.warn` counts them; 1 if there is none."""
    for level, frame in enumerate(frames_to_users()):
        if is_users(frame):
            return level
    return 1


def is_users(frame: FrameType) -> bool:
    """Whether a frame is of the caller's code, not of a library that takes Tensors for arrays."""
    if is_library(frame.f_globals.get("__name__", "")):
        # an example in a docstring runs under its module's name, and what is timed under timeit's
        return frame.f_code.co_filename.startswith(("<doctest", "<timeit"))
    return True


@cache
def is_library(module: str) -> bool:
    """Whether a module of this name is Python's, or of a library that takes Tensors for arrays."""
    return module.startswith(_LIBRARIES) or module in sys.stdlib_module_names


def without_our_frames(error: Exception) -> Exception:
    """The error, without its traceback so far if no code of the caller's is in it."""
    raised = error.__traceback__
    while raised is not None:
        if is_users(raised.tb_frame):
            return error
        raised = raised.tb_next
    return error.with_traceback(None)


def users_line() -> str:
    """The line of the caller's source that led here, for a message."""
    place = str(users_place())
    return f", at {place}" if place else ""


def unmasked(error: ValueError) -> BaseException:
    """The error itself; or the package's, which NumPy hides where a Tensor is put into an array.

    For ``out[i] = t`` NumPy reports a sequence, caused by what reading the Tensor raised.
    """
    cause = error.__cause__
    raised = cause.__traceback__ if isinstance(cause, TypeError | TraceError) else None
    module = "" if raised is None else raised.tb_frame.f_globals.get("__name__", "")
    if cause is None or not module.startswith("tapegrad."):
        return error
    # otherwise the errors would refer to each other
    error.__cause__ = error.__context__ = None
    return cause.with_traceback(error.__traceback__)


P = ParamSpec("P")
R = TypeVar("R")
Mode = Literal["log", "warn", "ignore"]


class Warner:
    """A log, as `numpy.seterrcall` takes one, whose lines are warnings at the user's line."""

    __slots__ = ()

    def write(self, text: str) -> None:
        """Warn; `text` is NumPy's, such as "Warning: overflow encountered in exp"."""
        message = text.removeprefix("Warning: ").rstrip()
        warnings.warn(message, RuntimeWarning, stacklevel=users_level())


def _state_of(mode: Mode, log: Warner | None) -> tuple[ContextVar[Any], Any]:
    """The context variable in which NumPy keeps its error state, and a value of it.

    Once set, it is the only variable of an empty context. If NumPy should keep its state
    elsewhere, the variable is one that NumPy does not read.
    """
    context = Context()
    context.run(np.seterr, divide=mode, over=mode, invalid=mode)
    context.run(np.seterrcall, log)
    return next(iter(context.items()), (ContextVar("elsewhere"), None))


# setting a prepared state takes a twentieth of the time of `numpy.errstate`
STATE, LOGGING = _state_of("log", Warner())
# NumPy's default, in contexts that have set no state, and a state without warnings
DEFAULT, SILENT = _state_of("warn", None)[1], _state_of("ignore", None)[1]


def warn_at_users_line() -> None:
    """From here on, in this context, warnings name the user's line.

    Errors that the user has set to be ignored, raised, logged or passed to a function stay so.
    """
    state = STATE.get(DEFAULT)
    if state is DEFAULT:
        STATE.set(LOGGING)
    elif state is not LOGGING and state is not SILENT:
        warned: dict[str, Mode] = {
            kind: "log" for kind, mode in np.geterr().items() if mode == "warn"
        }
        if warned and np.geterrcall() is None:
            np.seterr(**warned)
            np.seterrcall(Warner())


def at_users_line(fn: Callable[P, R]) -> Callable[P, R]:
    """A function whose warnings name the line of the user's code that led to the call.

    It is for functions that compute with NumPy's own operators, or that call a function of the
    user's. Ops set the state themselves, unless such a function has set it.
    """

    @wraps(fn)
    def called(*args: P.args, **options: P.kwargs) -> R:
        state = STATE.get(DEFAULT)
        if state is LOGGING or state is SILENT:
            return fn(*args, **options)
        # not in a context of its own, which takes longer: other context variables that the function
        # sets, such as the tape of a recording, keep their values after the call
        try:
            warn_at_users_line()
            return fn(*args, **options)
        finally:
            STATE.set(state)

    return called


@at_users_line
def with_user_warnings(fn: Callable[..., R], /, *args: Any, **options: Any) -> R:
    """The result of a call whose warnings name the user's line."""
    return fn(*args, **options)


class WarnsAtUsersLine:
    """A base of classes with instances that users call: warnings name the line of the call."""

    __slots__ = ()

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        call = vars(cls).get("__call__")
        # attrs builds a class again for its slots
        if call is not None and not hasattr(call, "__wrapped__"):
            cls.__call__ = at_users_line(call)  # type: ignore[method-assign]


# The place that new records get, if a sweep or a replay has reached one, and whether no line of the
# user's is looked up for them.
PLACE: ContextVar[tuple[Place | None, bool]] = ContextVar("tapegrad_place", default=(None, False))


def reached_place() -> Place | None:
    """The place that a sweep or a replay has reached, if there is one."""
    return PLACE.get()[0]


def at_record(record: Any, fn: Callable[..., R], *args: Any) -> R:
    """A function's result; what it writes has the place of a record, which a sweep has reached.

    Where lines were asked for, a sweep has the line of its call.
    """
    return fn(*args) if record.origin.has_lines else at_place(record.place, fn, *args)


def at_place(place: Place | None, fn: Callable[..., R], *args: Any) -> R:
    """A function's result; the records that it writes have this place, unless it is None.

    Where they have a place already, within such a call, they keep it.
    """
    if place is None or PLACE.get()[0] is not None:
        return fn(*args)
    return placed((place, True), fn, args)


def by_user(fn: Callable[..., R], *args: Any, **options: Any) -> R:
    """The result of a function of the user's, whose variables name the records that it writes."""
    return placed((PLACE.get()[0], False), fn, args, options)


def placed(
    place: tuple[Place | None, bool],
    fn: Callable[..., R],
    args: Iterable[Any],
    options: Mapping[str, Any] = MappingProxyType({}),
) -> R:
    """A function's result, while `PLACE` has this value."""
    before = PLACE.set(place)
    try:
        return fn(*args, **options)
    finally:
        PLACE.reset(before)
