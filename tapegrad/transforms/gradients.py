"""Gradients of scalar functions: `grad` and `value_and_grad`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Concatenate, Literal, SupportsFloat, overload

from tapegrad.transforms.base import (
    A,
    Argnums,
    Aux,
    Fn,
    Grad,
    Loss,
    P,
    Unused,
    ValueAndGrad,
)


@overload
def value_and_grad(
    fn: Callable[Concatenate[A, P], Loss],
    argnums: Literal[0] = 0,
    has_aux: Literal[False] = False,
    check_finite: bool = False,
    unused: Unused = "zero",
) -> ValueAndGrad[Concatenate[A, P], tuple[Loss, A]]: ...


@overload
def value_and_grad(
    fn: Callable[Concatenate[A, P], tuple[Loss, Aux]],
    argnums: Literal[0] = 0,
    *,
    has_aux: Literal[True],
    check_finite: bool = False,
    unused: Unused = "zero",
) -> ValueAndGrad[Concatenate[A, P], tuple[tuple[Loss, Aux], A]]: ...


@overload
def value_and_grad(
    fn: Callable[P, Loss],
    argnums: Argnums = 0,
    has_aux: Literal[False] = False,
    check_finite: bool = False,
    unused: Unused = "zero",
    *,
    argnames: str | Sequence[str] | None = None,
) -> ValueAndGrad[P, tuple[Loss, Any]]: ...


@overload
def value_and_grad(
    fn: Callable[P, tuple[Loss, Aux]],
    argnums: Argnums = 0,
    *,
    has_aux: bool,
    check_finite: bool = False,
    unused: Unused = "zero",
    argnames: str | Sequence[str] | None = None,
) -> ValueAndGrad[P, tuple[tuple[Loss, Aux], Any]]: ...


@overload
def value_and_grad(
    fn: Callable[P, tuple[Loss, Aux]],
    argnums: Argnums,
    has_aux: bool,
    check_finite: bool = False,
    unused: Unused = "zero",
    *,
    argnames: str | Sequence[str] | None = None,
) -> ValueAndGrad[P, tuple[tuple[Loss, Aux], Any]]: ...


def value_and_grad(
    fn: Fn,
    argnums: Argnums = 0,
    has_aux: bool = False,
    check_finite: bool = False,
    unused: Unused = "zero",
    *,
    argnames: str | Sequence[str] | None = None,
) -> ValueAndGrad[..., Any]:
    """A function that returns the value of `fn` and its gradient.

    Parameters
    ----------
    fn
        A function with a scalar floating result. It gets copies of dicts and lists, which it may
        change; gradients belong to the leaves before the call. Arrays are read-only.
    argnums
        The position of the argument to differentiate, or a tuple of positions.
        These arguments are trees whose leaves are floating.
    has_aux
        Whether `fn` returns ``(value, aux)``; `aux` is returned unchanged.
    check_finite
        Whether to raise at the first value or, during the sweep, at the first cotangent that is
        not finite, and name your line of source. A call takes several times as long.
    unused
        The gradient of a leaf that the result does not depend on, or only through ops without a
        rule: "zero", or "raise" for an error with its path and the reason. `why_zero` says why a
        gradient is zero.
    argnames
        The name of the argument to differentiate, or a tuple of names, instead of
        `argnums`. A call may pass the argument by position or by keyword.

    Returns
    -------
    A function of the same arguments that returns ``(value, gradient)``, or
    ``((value, aux), gradient)``. The gradient is a tree like the argument, with
    read-only arrays of its leaves' shapes and dtypes; for a tuple of positions or
    names, a tuple of such trees. It keeps the name, docstring and signature of `fn`, and
    pickles if `fn` does.

    Raises
    ------
    TypeError
        When called: if the result is not a floating scalar, a leaf to differentiate is not
        floating (with its path), or an argument in `argnames` is not passed.
    TapeError
        When called: if the result is a Tensor of another tape, such as one that the body of a
        loop stored.
    ValueError
        If a name in `argnames` is no parameter of `fn`. When called, with ``unused="raise"``: if
        no gradient passes to a leaf.
    NonFiniteError
        When called, with `check_finite`: a `FloatingPointError` that names the line of the
        tape where a NaN or an infinity arose, its operands, and the cause if it is known.

    Examples
    --------
    >>> import tapegrad as tg
    >>> tg.value_and_grad(lambda p, x: tg.sum(p["w"] * x))({"w": np.ones(2)}, 3.0)
    (array(6.), {'w': array([3., 3.])})
    >>> tg.value_and_grad(lambda x, by: tg.sum(x) * by, argnames="by")(np.ones(2), by=3.0)
    (array(6.), array(2.))
    """
    return ValueAndGrad(fn, argnums, has_aux, check_finite, unused, argnames)


@overload
def grad(
    fn: Callable[Concatenate[A, P], SupportsFloat],
    argnums: Literal[0] = 0,
    has_aux: Literal[False] = False,
    check_finite: bool = False,
    unused: Unused = "zero",
) -> Grad[Concatenate[A, P], A]: ...


@overload
def grad(
    fn: Callable[Concatenate[A, P], tuple[SupportsFloat, Aux]],
    argnums: Literal[0] = 0,
    *,
    has_aux: Literal[True],
    check_finite: bool = False,
    unused: Unused = "zero",
) -> Grad[Concatenate[A, P], tuple[A, Aux]]: ...


@overload
def grad(
    fn: Callable[P, SupportsFloat],
    argnums: Argnums = 0,
    has_aux: Literal[False] = False,
    check_finite: bool = False,
    unused: Unused = "zero",
    *,
    argnames: str | Sequence[str] | None = None,
) -> Grad[P, Any]: ...


@overload
def grad(
    fn: Callable[P, tuple[SupportsFloat, Aux]],
    argnums: Argnums = 0,
    *,
    has_aux: bool,
    check_finite: bool = False,
    unused: Unused = "zero",
    argnames: str | Sequence[str] | None = None,
) -> Grad[P, tuple[Any, Aux]]: ...


@overload
def grad(
    fn: Callable[P, tuple[SupportsFloat, Aux]],
    argnums: Argnums,
    has_aux: bool,
    check_finite: bool = False,
    unused: Unused = "zero",
    *,
    argnames: str | Sequence[str] | None = None,
) -> Grad[P, tuple[Any, Aux]]: ...


def grad(
    fn: Fn,
    argnums: Argnums = 0,
    has_aux: bool = False,
    check_finite: bool = False,
    unused: Unused = "zero",
    *,
    argnames: str | Sequence[str] | None = None,
) -> Grad[..., Any]:
    """A function that returns the gradient of `fn`.

    Parameters
    ----------
    fn, argnums, has_aux, check_finite, unused, argnames
        As for `value_and_grad`.

    Returns
    -------
    A function of the same arguments that returns the gradient, or ``(gradient, aux)``.

    Raises
    ------
    TypeError, ValueError, NonFiniteError
        When called, as for `value_and_grad`.

    Examples
    --------
    >>> import tapegrad as tg
    >>> tg.grad(lambda x: x**3)(2.0)
    array(12.)
    >>> tg.grad(tg.grad(tg.grad(lambda x: x**3)))(2.0)
    array(6.)

    With respect to a complex number, the gradient is ``dL/dx + i dL/dy``, so that
    ``z - rate * gradient`` descends:

    >>> tg.grad(lambda z: abs(z) ** 2)(1 + 2j)
    array(2.+4.j)
    """
    return Grad(fn, argnums, has_aux, check_finite, unused, argnames)
