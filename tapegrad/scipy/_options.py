"""SciPy's parameters, for functions that name the few of them that matter."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from types import ModuleType
from typing import Any, TypeVar

import numpy as np

from tapegrad import tree
from tapegrad.core.forward import elementwise_jvp
from tapegrad.core.tensor import Tensor
from tapegrad.declare import op
from tapegrad.declare.batching import batch_elementwise
from tapegrad.ops.casting import values_if_known
from tapegrad.types import Array, ArrayLike

__all__ = ["require_finite", "with_scipy_parameters"]
__dir__ = __all__.copy

# they say how SciPy computes, and nothing about the result
_WITHOUT_EFFECT = frozenset(("driver", "lapack_driver", "lwork", "plan", "workers"))
# nothing is overwritten
_ARRAYS = {"out", "output"}
_REQUIRED = inspect.Parameter.empty

R = TypeVar("R")


@op(
    lambda g, y, a: g,
    name="asarray_chkfinite",
    scipy="",
    like=lambda a: a,
    jvp=elementwise_jvp,
    batch=batch_elementwise,
    view=True,
    complex=True,
)
def _finite(a: ArrayLike) -> Array:
    """The array itself, after a check that it holds no infinities and no nan."""
    return np.asarray_chkfinite(a)


def require_finite(x: Array) -> Array:
    """A leaf of an operand, checked at once if its value is known, and else in each run."""
    value = values_if_known(x)
    if value is None:
        return _finite(x)
    np.asarray_chkfinite(value)
    return x


def with_scipy_parameters(
    module: ModuleType, for_tensors: bool = False, kinds: str = "", **renamed: str
) -> Callable[[Callable[..., R]], Callable[..., R]]:
    """Have a function take the arguments of the function of its name in a module of SciPy.

    The function names those that matter, some by names of its own, and gets SciPy's defaults. Of
    the others it ignores what has no effect on the result, such as ``overwrite_a``, and refuses
    what differs from the default. A function with ``**options`` takes all but an array to write to.
    If it does not name ``check_finite``, its operands are checked here, unless that is false.
    One `for_tensors` leaves calls without any to SciPy, or those whose first array is of `kinds`.
    """

    def decorate(fn: Callable[..., R]) -> Callable[..., R]:
        original = getattr(module, fn.__name__)
        theirs = inspect.signature(original)
        ours = inspect.signature(fn).parameters
        defaults = {name: x.default for name, x in theirs.parameters.items()}

        def is_taken(name: str) -> bool:
            name = renamed.get(name, name)
            return name not in _ARRAYS if "options" in ours else name in ours

        @functools.wraps(fn)
        def wrapper(*args: Any, **kwargs: Any) -> Any:
            try:
                bound = theirs.bind(*args, **kwargs)
            except TypeError as error:
                raise TypeError(f"{fn.__name__}: {error}") from None
            bound.apply_defaults()
            arguments = dict(bound.arguments)
            arguments |= arguments.pop("kwargs", {})
            if not is_taken("check_finite") and arguments.pop("check_finite", False):
                for name, x in arguments.items():
                    if defaults[name] is _REQUIRED or isinstance(x, np.ndarray | Tensor):
                        arguments[name] = tree.map(require_finite, x)
            for name in [x for x in arguments if not is_taken(x)]:
                x, default = arguments.pop(name), defaults.get(name)
                is_default = x is default or (type(x) is str and x == default)
                if not (is_default or name in _WITHOUT_EFFECT or "overwrite" in name):
                    raise NotImplementedError(f"{fn.__name__} takes no {name} but {default!r}")
            if for_tensors and Tensor not in map(type, tree.leaves((args, kwargs))):
                first = next(iter(bound.arguments.values()))
                if not kinds or np.asarray(first).dtype.kind in kinds:
                    return original(*args, **kwargs)
            return fn(**{renamed.get(name, name): x for name, x in arguments.items()})

        shown = [x for x in theirs.parameters.values() if is_taken(x.name)]
        vars(wrapper)["__signature__"] = inspect.Signature(shown)
        del wrapper.__wrapped__
        return wrapper

    return decorate
