"""The work of a call, counted and not timed, and how often a function is called."""

import gc
import sys
import tracemalloc
from collections.abc import Callable
from typing import Any


def calls_of(fn: Callable[[], Any]) -> int:
    """How many functions a call calls, all in all, which no other process has a part in."""
    n = 0

    def count(frame: Any, event: str, argument: Any) -> None:
        nonlocal n
        n += event in ("call", "c_call")

    # a collection may call what waits for objects to end
    was_enabled = gc.isenabled()
    gc.disable()
    sys.setprofile(count)
    try:
        fn()
    finally:
        sys.setprofile(None)
        if was_enabled:
            gc.enable()
    return n


def peak_of(fn: Callable[[], Any]) -> int:
    """The most bytes that a call holds at a time, beyond what there was before."""
    gc.collect()
    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        fn()
        return tracemalloc.get_traced_memory()[1] - before
    finally:
        tracemalloc.stop()


def count_calls(fn):
    """Wrap a function to count its calls in `.calls`."""

    def counting(*args, **kwargs):
        counting.calls += 1
        return fn(*args, **kwargs)

    counting.calls = 0
    return counting
