"""Declarations of functions of ``scipy.special``: SciPy computes, and the rules are ours."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from tapegrad.core.forward import elementwise
from tapegrad.core.op import Op
from tapegrad.core.tensor import Rule, Tensor
from tapegrad.declare import op
from tapegrad.domain import REAL, Call, Choices, Domain, Elements, each

# all ops that SciPy computes, by their names in files
SCIPY_OPS: dict[str, Op[Any]] = {}

_EXAMPLE = """

Examples
--------
>>> import scipy.special
>>> import tapegrad.scipy
>>> import tapegrad as tg
>>> tg.testing.check_grads({})"""


def scipys(name: str) -> Any:
    """A function of ``scipy.special``, if the caller has imported that module."""
    special = sys.modules.get("scipy.special")
    if special is None:
        raise ImportError(f"{name} is computed by SciPy: import scipy.special first")
    return getattr(special, name)


def special(
    name: str, *vjps: Rule | None, domain: Any = REAL, kink: str = "", complex: bool = False
) -> Op[Any]:
    """The op of a SciPy ufunc: a rule for each operand, and the numbers to test it on."""
    kinds = domain if isinstance(domain, tuple) else (domain,) * len(vjps)

    # a function for each number of operands, which an op reads from the signature
    def of_one(x: Any) -> Any:
        return scipys(name)(x)

    def of_two(x1: Any, x2: Any) -> Any:
        return scipys(name)(x1, x2)

    def of_three(x1: Any, x2: Any, x3: Any) -> Any:
        return scipys(name)(x1, x2, x3)

    forward = (of_one, of_two, of_three)[len(vjps) - 1]
    example = f"scipy.special.{name}, {[*map(_inside, kinds)]}"
    return declared(
        name, forward, *vjps, domain=each(*kinds), kink=kink, complex=complex, example=example
    )


def family(
    name: str,
    vjp: Rule,
    parameters: Sequence[Any],
    elements: Elements = REAL,
    read: Callable[..., Any] | None = None,
    complex: bool = False,
    scipy: str | None = None,
) -> Op[Any]:
    """The op of a SciPy ufunc that takes an order before its operand, or other parameters.

    These are options: they pass no gradient, and must not be Tensors. `read` names them, unless
    there is only an order. `parameters` has values to test with.
    """

    def forward(x: Any, **options: Any) -> Any:
        return scipys(name)(*options.values(), x)

    several = [x if isinstance(x, tuple) else (x,) for x in parameters]

    def call(choose: Choices) -> Call:
        (x,) = each(elements)(choose).args
        return Call((*choose.among(several), x))

    arguments = ", ".join(map(str, several[-1]))
    example = f"lambda x: scipy.special.{name}({arguments}, x), [{_inside(elements)}]"
    example = example if scipy is None else ""
    return declared(
        name,
        forward,
        vjp,
        domain=call,
        read=read or split,
        scipy=scipy,
        complex=complex,
        example=example,
    )


def split(order: Any, x: Any) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """The operand, and the order as an option, which passes no gradient and must be no Tensor."""
    return (x,), {"order": order}


def split_whole(order: Any, x: Any) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """The same for a function of integer orders, since SciPy would truncate another number."""
    check_whole(order)
    return split(order, x)


def check_whole(order: Any) -> None:
    """Raise unless an order, which is no Tensor, is a whole number."""
    if type(order) is not Tensor and np.any(np.remainder(order, 1)):
        raise ValueError(f"the order must be a whole number, not {order}")


def declared(
    name: str,
    forward: Callable[..., Any],
    *vjps: Rule | None,
    domain: Domain,
    kink: str = "",
    read: Callable[..., Any] | None = None,
    scipy: str | None = None,
    complex: bool = False,
    example: str = "",
) -> Op[Any]:
    """An op of this package; it stands for the ufunc of its name, or of the name `scipy`."""
    forward.__name__ = forward.__qualname__ = name
    # the module in which pickle looks for it
    forward.__module__ = __package__ or ""
    forward.__doc__ = f"`scipy.special.{name}`.{example and _EXAMPLE.format(example)}"
    declared_op: Op[Any] = op(
        *vjps,
        scipy=name if scipy is None else scipy,
        takes_weak=len(vjps) > 1,
        read=read,
        domain=domain,
        kink=kink,
        jvp=elementwise,
        complex=complex,
    )(forward)
    SCIPY_OPS[name] = declared_op
    return declared_op


def result_type(*xs: Any) -> Any:
    """The dtype of the result of SciPy's real functions of these operands."""
    dtype = np.result_type(*xs)
    return np.promote_types(dtype, np.float32 if dtype.kind == "f" else np.float64)


def _inside(elements: Elements) -> float:
    return round(elements.low + 0.6 * (elements.high - elements.low), 2)
