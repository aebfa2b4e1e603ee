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
        The file's name, and the line's number from 1.
    """

    file: str
    number: int

    @cached_property
    def text(self) -> str:
        """Return the line's text, from its file at the first access; "" if there is no source."""
        # not when a record is written, since reading a file takes longer than compiling a network
        return linecache.getline(self.file, self.number).strip()

    def __reduce__(self) -> tuple[Any, ...]:
        # on another machine, the file may differ
        return Place, (self.file, self.number), {"text": self.text}

    def __str__(self) -> str:
        if not self.file:
            return ""
        where = f"{self.file}:{self.number}"
        return f"{where}: {self.text}" if self.text else where


# code objects of libraries, by identity, since hashing a code object reads all of it
_OTHERS: dict[int, CodeType] = {}
_LIBRARIES = ("tapegrad.", "numpy", "scipy.", "pandas.", "xarray.")


def caller_name(level: int) -> tuple[str, str]:
    """Return the name and the module of the function `level` calls above this function's caller."""
    frame = sys._getframe(level + 1)
    return frame.f_code.co_name, str(frame.f_globals.get("__name__", ""))


def frames_to_users() -> Iterator[FrameType]:
    """Yield the frames of the calls that led here, the last one first, up to the user's frame.

    Do not store a frame: it keeps all of its function's objects alive.
    """
    frame: FrameType | None = sys._getframe(1)
    while frame is not None:
        yield frame
        frame = None if is_users(frame) else frame.f_back


def users_frame(frame: FrameType | None) -> FrameType | None:
    """Return the user's frame that led to a frame, or the frame itself if it is the user's."""
    # this takes up to thirty steps for a record
    while frame is not None:
        code = frame.f_code
        if id(code) not in _OTHERS:
            if is_users(frame):
                break
            # generated code would fill the table
            if not code.co_filename.startswith("<"):
                _OTHERS[id(code)] = code
        frame = frame.f_back
    return frame


def users_place() -> Place:
    """Return the user's line that led here, or the place that a sweep or a replay has reached."""
    place, is_known = PLACE.get()
    frame = None if is_known else users_frame(sys._getframe(1))
    return place or (Place("", 0) if frame is None else frame_place(frame))


def frame_place(frame: FrameType) -> Place:
    """Return the line that a frame has reached."""
    return Place(frame.f_code.co_filename, frame.f_lineno)


def users_level() -> int:
    """Return the user's frame as a stack level of `warnings.warn`; 1 if there is none."""
    for level, frame in enumerate(frames_to_users()):
        if is_users(frame):
            return level
    return 1


def is_users(frame: FrameType) -> bool:
    """Return whether a frame runs the user's code, not a library that takes Tensors for arrays."""
    if is_library(frame.f_globals.get("__name__", "")):
        # a docstring's example runs under its module's name, and timed code under timeit's
        return frame.f_code.co_filename.startswith(("<doctest", "<timeit"))
    return True


@cache
def is_library(module: str) -> bool:
    """Return whether a module is Python's, or of a library that takes Tensors for arrays."""
    return module.startswith(_LIBRARIES) or module in sys.stdlib_module_names


def strip_own_frames(error: Exception) -> Exception:
    """Return the error, without its traceback if the traceback has no frame of the user."""
    raised = error.__traceback__
    while raised is not None:
        if is_users(raised.tb_frame):
            return error
        raised = raised.tb_next
    return error.with_traceback(None)


def users_line() -> str:
    """Return the user's line that led here, for a message."""
    place = str(users_place())
    return f", at {place}" if place else ""


def unmask_error(error: ValueError) -> BaseException:
    """Return the package's error that NumPy hides for ``out[i] = t``, or the error itself.

    NumPy reports a sequence, and the error of reading the Tensor is only the cause.
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
    """A log for `numpy.seterrcall` that turns each line into a warning at the user's line."""

    __slots__ = ()

    def write(self, text: str) -> None:
        """Warn; `text` is NumPy's, such as "Warning: overflow encountered in exp"."""
        message = text.removeprefix("Warning: ").rstrip()
        warnings.warn(message, RuntimeWarning, stacklevel=users_level())


def _find_error_state(mode: Mode, log: Warner | None) -> tuple[ContextVar[Any], Any]:
    """Return NumPy's context variable of the error state, and a value of it.

    Once set, it is the only variable of an empty context. If NumPy should keep its state
    elsewhere, return a variable that NumPy does not read.
    """
    context = Context()
    context.run(np.seterr, divide=mode, over=mode, invalid=mode)
    context.run(np.seterrcall, log)
    return next(iter(context.items()), (ContextVar("elsewhere"), None))


# setting a prepared state takes a twentieth of the time of `numpy.errstate`
STATE, LOGGING = _find_error_state("log", Warner())
# NumPy's default, in contexts that have set no state, and a state without warnings
DEFAULT, SILENT = _find_error_state("warn", None)[1], _find_error_state("ignore", None)[1]


def warn_at_users_line() -> None:
    """Make NumPy's warnings in this context name the user's line.

    Errors that the user ignores, raises, logs or passes to a function stay so.
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


def warns_at_users_line(fn: Callable[P, R]) -> Callable[P, R]:
    """Wrap a function so that its warnings name the user's line that led to the call.

    It is for functions that compute with NumPy's own operators, or that call a user's function.
    Ops set the state themselves, unless such a function has set it.
    """

    @wraps(fn)
    def call(*args: P.args, **options: P.kwargs) -> R:
        state = STATE.get(DEFAULT)
        if state is LOGGING or state is SILENT:
            return fn(*args, **options)
        # without a new context, which takes longer: other context variables that the function sets,
        # such as the tape of a recording, keep their values after the call
        try:
            warn_at_users_line()
            return fn(*args, **options)
        finally:
            STATE.set(state)

    return call


@warns_at_users_line
def with_user_warnings(fn: Callable[..., R], /, *args: Any, **options: Any) -> R:
    """Call a function whose warnings name the user's line."""
    return fn(*args, **options)


class WarnsAtUsersLine:
    """A base of classes with instances that users call; warnings name the line of the call."""

    __slots__ = ()

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        call = vars(cls).get("__call__")
        # attrs builds a class again for its slots
        if call is not None and not hasattr(call, "__wrapped__"):
            cls.__call__ = warns_at_users_line(call)  # type: ignore[method-assign]


# The place of new records, if a sweep or a replay has reached one, and whether the user's line is
# not looked up for them.
PLACE: ContextVar[tuple[Place | None, bool]] = ContextVar("tapegrad_place", default=(None, False))


def reached_place() -> Place | None:
    """Return the place that a sweep or a replay has reached, if there is one."""
    return PLACE.get()[0]


def call_at_record(record: Any, fn: Callable[..., R], *args: Any) -> R:
    """Call a function whose new records get the place of a record that a sweep has reached.

    If the tape keeps lines of source, new records get the line of the sweep's call instead.
    """
    return fn(*args) if record.origin.has_lines else call_at_place(record.place, fn, *args)


def call_at_place(place: Place | None, fn: Callable[..., R], *args: Any) -> R:
    """Call a function whose new records get this place, unless it is None.

    Within another such call, the outer place stays.
    """
    if place is None or PLACE.get()[0] is not None:
        return fn(*args)
    return call_at((place, True), fn, args)


def call_users_function(fn: Callable[..., R], *args: Any, **options: Any) -> R:
    """Call a user's function; its lines and variables name the records that it writes."""
    return call_at((PLACE.get()[0], False), fn, args, options)


def call_at(
    place: tuple[Place | None, bool],
    fn: Callable[..., R],
    args: Iterable[Any],
    options: Mapping[str, Any] = MappingProxyType({}),
) -> R:
    """Call a function while `PLACE` has this value."""
    before = PLACE.set(place)
    try:
        return fn(*args, **options)
    finally:
        PLACE.reset(before)
