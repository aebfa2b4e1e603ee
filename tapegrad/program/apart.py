"""Runs of a program in which NumPy's warnings name the user's line."""

from __future__ import annotations

import sys
from collections.abc import Callable
from contextvars import Context
from functools import partial
from types import BuiltinFunctionType, FunctionType, MethodDescriptorType
from typing import Any

import numpy as np

from tapegrad.face.lines import told, warn_at_users_line
from tapegrad.program.text import Maker

# a run for any error state of NumPy's, and one for the state that it begins with
Runs = tuple[Callable[..., Any], Callable[..., Any]]

# values that run no code of the user's
_PLAIN = (
    *(np.ndarray, np.generic, np.ufunc, np.dtype, type(np.concatenate)),
    *(BuiltinFunctionType, MethodDescriptorType),
)


def runs_of(make: Maker) -> Callable[[], Runs]:
    """A function that makes runs of a program in pairs, from one that makes them singly.

    The second of a pair has one context for all its calls, where that is set once, which takes a
    quarter of the time. The caller's context variables are not seen there, so it is for programs
    that call NumPy and this package alone.
    """
    # from Python 3.14 on, the filters of warnings may be among those variables
    are_seen = getattr(sys.flags, "context_aware_warnings", False)
    alone = not are_seen and all(map(_is_ours, make.namespace.values()))

    def made() -> Runs:
        run = make()
        if not alone:
            return partial(told, run), partial(told, run)
        context = Context()
        context.run(warn_at_users_line)
        return partial(told, run), partial(context.run, run)

    return made


def _is_ours(x: Any) -> bool:
    """Whether a name of a program stands for what runs no code of the user's."""
    if isinstance(x, FunctionType | type):
        # None for a function of code that was executed in a namespace without a name
        return str(x.__module__).startswith(("tapegrad.", "numpy", "builtins"))
    if type(x) in (tuple, dict):
        return all(map(_is_ours, x.values() if type(x) is dict else x))
    return isinstance(x, _PLAIN) or type(x) in (int, float, bool, str, type(None), slice)
