"""Declare functions of ``scipy.special`` as ops: SciPy computes them, and the rules are here."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

import numpy as np

from tapegrad.core.forward import elementwise_jvp
from tapegrad.core.op import Op
from tapegrad.core.primitive import Rule
from tapegrad.core.tensor import Tensor
from tapegrad.declare import op
from tapegrad.types import Array, ArrayLike, Cotangent, DType

# all ops that SciPy computes, by their names in files
SCIPY_OPS: dict[str, Op[Any]] = {}

_EXAMPLE = """

Examples
--------
>>> import scipy.special
>>> import tapegrad.scipy
>>> import tapegrad as tg
>>> tg.testing.check_grads({})"""


def scipy_function(name: str) -> Callable[..., Any]:
    """Return a function of ``scipy.special``, if the caller has imported that module."""
    special = sys.modules.get("scipy.special")
    if special is None:
        raise ImportError(f"{name} is computed by SciPy: import scipy.special first")
    return getattr(special, name)


def special_op(
    name: str,
    *vjps: Rule | None,
    at: float | tuple[float, ...] = 0.8,
    fn: Callable[..., Any] | None = None,
    **facts: Any,
) -> Op[Any]:
    """Declare the op of a SciPy ufunc, by a rule for each operand and the example's numbers."""
    n = len(vjps)
    example = f"scipy.special.{name}, {[*(at if isinstance(at, tuple) else (at,) * n)]}"
    forward = with_n_operands(n, fn or (lambda *xs: scipy_function(name)(*xs)))
    return declare_special(name, forward, *vjps, example=example, **facts)


def family_op(
    name: str,
    vjp: Rule,
    example: tuple[float, ...] = (2, 0.8),
    read: Callable[..., Any] | None = None,
    complex: bool = False,
    fn: Callable[..., Any] | None = None,
) -> Op[Any]:
    """Declare the op of a SciPy ufunc that takes an order, or other parameters, before its operand.

    The parameters are options: they pass no gradient, and must not be Tensors. `read` names them,
    unless there is only an order. The arguments of the example end with the operand.
    """

    def forward(x: Array, **options: Any) -> Array:
        return (fn or scipy_function(name))(*options.values(), x)

    *options, x = example
    call = f"lambda x: scipy.special.{name}({', '.join(map(str, options))}, x), [{x}]"
    return declare_special(
        name, forward, vjp, read=read or split_order, complex=complex, example=call
    )


def result_ops(name: str, *parts: tuple[str, Rule], **facts: Any) -> tuple[Op[Any], ...]:
    """Declare an op, by its name and its rule, for each result of a SciPy ufunc with several."""

    def part_op(index: int, part: str, vjp: Rule) -> Op[Any]:
        forward = with_n_operands(1, lambda x: scipy_function(name)(x)[index])
        return declare_special(part, forward, vjp, scipy="", **facts)

    return tuple([part_op(i, *part) for i, part in enumerate(parts)])


def derivative_op(
    name: str, forward: Callable[..., Any], read: Callable[..., Any] | None = None, **facts: Any
) -> Op[Any]:
    """Declare the op of a function's derivatives, whose first option is the order."""

    def vjp(g: Cotangent, y: Array, x: Array, **options: Any) -> Cotangent:
        order, *rest = options.values()
        return g * derivatives(order + 1, *rest, x)

    derivatives = declare_special(name, forward, vjp, read=read or split_order, scipy="", **facts)
    return derivatives


def with_n_operands(n: int, fn: Callable[..., Any]) -> Callable[..., Any]:
    """Wrap a function in one with n parameters, which an op counts as operands."""

    def call_one(x: Array) -> Array:
        return fn(x)

    def call_two(x1: Array, x2: Array) -> Array:
        return fn(x1, x2)

    def call_three(x1: Array, x2: Array, x3: Array) -> Array:
        return fn(x1, x2, x3)

    return (call_one, call_two, call_three)[n - 1]


def split_order(order: ArrayLike, x: ArrayLike) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Return the operand, and the order as an option, which passes no gradient."""
    return (x,), {"order": order}


def split_whole_order(order: float | Array, x: ArrayLike) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Split off an order that must be whole, since SciPy would truncate another number."""
    check_whole_order(order)
    return split_order(order, x)


def check_whole_order(order: float | Array) -> None:
    """Raise unless an order is a whole number, or a Tensor."""
    if not isinstance(order, Tensor) and np.any(np.remainder(order, 1)):
        raise ValueError(f"the order must be a whole number, not {order}")


def declare_special(
    name: str,
    forward: Callable[..., Any],
    *vjps: Rule | None,
    kink: str = "",
    read: Callable[..., Any] | None = None,
    scipy: str | None = None,
    complex: bool = False,
    example: str = "",
) -> Op[Any]:
    """Declare an op that replaces the ufunc of its name, or of the name `scipy`, on Tensors.

    The calls to test it on are in `tests/support/domains/special.py`.
    """
    forward.__name__ = forward.__qualname__ = name
    # the module in which pickle looks for it
    forward.__module__ = __package__ or ""
    forward.__doc__ = f"`scipy.special.{name}`.{example and _EXAMPLE.format(example)}"
    declared_op: Op[Any] = op(
        *vjps,
        scipy=name if scipy is None else scipy,
        takes_weak=len(vjps) > 1,
        read=read,
        kink=kink,
        jvp=elementwise_jvp,
        complex=complex,
    )(forward)
    SCIPY_OPS[name] = declared_op
    return declared_op


def result_type(*xs: Array) -> DType:
    """Return the dtype of the result of SciPy's real functions of these operands."""
    dtype = np.result_type(*xs)
    return np.promote_types(dtype, np.float32 if dtype.kind == "f" else np.float64)
