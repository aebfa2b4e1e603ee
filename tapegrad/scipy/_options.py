"""SciPy's parameters, for functions that name the few of them that matter."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from types import ModuleType
from typing import Any

__all__ = ["with_scipys_options"]
__dir__ = __all__.copy

# they say how SciPy computes, and nothing about the result
_WITHOUT_EFFECT = frozenset(("check_finite", "driver", "lapack_driver", "lwork", "plan", "workers"))


def with_scipys_options(
    module: ModuleType, **renamed: str
) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Have a function take the arguments of the function of its name in a module of SciPy.

    The function names those that matter, some by names of its own, and gets SciPy's defaults. Of
    the others it ignores what has no effect on the result, such as ``overwrite_a``, and refuses
    what differs from the default.
    """

    def decorate(fn: Callable[..., Any]) -> Callable[..., Any]:
        theirs = inspect.signature(getattr(module, fn.__name__))
        ours = inspect.signature(fn).parameters

        @functools.wraps(fn)
        def called(*args: Any, **kwargs: Any) -> Any:
            try:
                bound = theirs.bind(*args, **kwargs)
            except TypeError as error:
                raise TypeError(f"{fn.__name__}: {error}") from None
            bound.apply_defaults()
            options = {renamed.get(name, name): x for name, x in bound.arguments.items()}
            for name in [x for x in options if x not in ours]:
                x, ignored = options.pop(name), name in _WITHOUT_EFFECT or "overwrite" in name
                if not ignored and x is not (default := theirs.parameters[name].default):
                    raise NotImplementedError(f"{fn.__name__} takes no {name} but {default!r}")
            return fn(**options)

        return called

    return decorate
