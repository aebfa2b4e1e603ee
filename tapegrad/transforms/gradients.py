"""Gradients of scalar functions: `grad` and `value_and_grad`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Concatenate, Literal, overload

import numpy as np
from numpy import ndarray

from tapegrad.arraylike.table import lazy_import
from tapegrad.core.cotangents import initial_cotangent
from tapegrad.core.operands import is_floating
from tapegrad.core.recording import run
from tapegrad.core.sweep import sweep
from tapegrad.core.tape import Tape
from tapegrad.core.tensor import Tensor
from tapegrad.errors.functions import label
from tapegrad.errors.lines import users_place
from tapegrad.errors.words import got
from tapegrad.transforms.base import (
    A,
    Argnums,
    Aux,
    Fn,
    P,
    R,
    Transform,
    gradient_trees,
    released,
    split_aux,
)


class ValueAndGrad(Transform[P, R]):
    """The result of `value_and_grad`."""

    kind = "value_and_grad"

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R:
        result: Any = _value_and_gradients(self, args, kwargs)
        return result


class Grad(Transform[P, R]):
    """The result of `grad`."""

    kind = "grad"

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R:
        value, gradients = _value_and_gradients(self, args, kwargs)
        result: Any = (gradients, value[1]) if self.has_aux else gradients
        return result


def _value_and_gradients(
    of: Transform[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]
) -> tuple[Any, Any]:
    """The value of a function, with its auxiliary part, and the gradients."""
    fn, positional, named, positions = of.call(args, kwargs)
    description = of.description if fn is of.fn else None
    place = users_place if of.check_finite else None
    output, tape, marked = run(fn, positional, named, positions, place, description)
    output, aux = split_aux(of.fn, output, of.has_aux)
    check_scalar(of.fn, output)
    seeds = {}
    if type(output) is Tensor and output.origin is tape.start.origin:
        seeds[output] = initial_cotangent(output, None)
    if of.unused == "raise":
        refuse = lazy_import("tapegrad.explain.why", "refuse_unused")
        chosen = tuple([positional[i] for i in dict.fromkeys(positions)])

        def again(place: Any) -> tuple[Any, Tape, tuple[Any, ...]]:
            output, tape, marked = run(fn, positional, named, positions, place)
            return split_aux(of.fn, output, of.has_aux)[0], tape, marked

        refuse(of.fn, tape, seeds, chosen, again)
    value = released(output)
    # handed over, not held, so that the sweep frees each record it has passed
    tapes = [tape]
    del tape, output
    checking = Tape._check_finite if of.check_finite else None
    gradients = gradient_trees(sweep(tapes, seeds, checking), marked)
    return (value, *aux) if of.has_aux else value, of.arranged(gradients, positions)


@overload
def value_and_grad(
    fn: Callable[Concatenate[A, P], R],
    argnums: Literal[0] = 0,
    has_aux: bool = False,
    check_finite: bool = False,
    unused: str = "zero",
) -> ValueAndGrad[Concatenate[A, P], tuple[R, A]]: ...


@overload
def value_and_grad(
    fn: Callable[P, R],
    argnums: Argnums = 0,
    has_aux: bool = False,
    check_finite: bool = False,
    unused: str = "zero",
    *,
    argnames: str | Sequence[str] | None = None,
) -> ValueAndGrad[P, tuple[R, Any]]: ...


def value_and_grad(
    fn: Fn,
    argnums: Argnums = 0,
    has_aux: bool = False,
    check_finite: bool = False,
    unused: str = "zero",
    *,
    argnames: str | Sequence[str] | None = None,
) -> ValueAndGrad[..., Any]:
    """A function that returns the value of `fn` and its gradient.

    Parameters
    ----------
    fn
        A function with a scalar floating result. It may change the dicts and lists that it is
        given, which are its own: gradients belong to the leaves as they were before the call.
        Arrays are read-only.
    argnums
        The position of the argument to differentiate, or a tuple of positions.
        Arguments are trees whose leaves are floating.
    has_aux
        Whether `fn` returns ``(value, aux)``; `aux` is returned as it is.
    check_finite
        Whether to raise at the first value that is not finite, or during the sweep at the
        first such cotangent, and name your line of source. A call takes several times as long.
    unused
        The gradient of a leaf to which no gradient passes, because the result does not depend on
        it or by ops without a rule alone: "zero", or "raise" for an error with its path and the
        reason. `why_zero` says why any gradient is zero.
    argnames
        The name of the argument to differentiate, or a tuple of names, instead of
        `argnums`. A call may pass it by position or by keyword.

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
        When called: if the result is not a floating scalar, or a leaf to
        differentiate is not floating (with its path), or an argument that `argnames`
        names is not passed.
    TapeError
        When called: if the result is a Tensor of another tape, such as one that was set aside
        in the body of a loop.
    ValueError
        If `argnames` names no parameter of `fn`. When called, with ``unused="raise"``: if
        no gradient passes to a leaf.
    NonFiniteError
        When called, with `check_finite`: a `FloatingPointError` that names the line of the
        tape where a NaN or an infinity arose, its operands, and the cause where it is known.

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
    fn: Callable[Concatenate[A, P], Any],
    argnums: Literal[0] = 0,
    has_aux: Literal[False] = False,
    check_finite: bool = False,
    unused: str = "zero",
) -> Grad[Concatenate[A, P], A]: ...


@overload
def grad(
    fn: Callable[Concatenate[A, P], tuple[Any, Aux]],
    argnums: Literal[0] = 0,
    *,
    has_aux: Literal[True],
    check_finite: bool = False,
    unused: str = "zero",
) -> Grad[Concatenate[A, P], tuple[A, Aux]]: ...


@overload
def grad(
    fn: Callable[P, Any],
    argnums: Argnums = 0,
    has_aux: bool = False,
    check_finite: bool = False,
    unused: str = "zero",
    *,
    argnames: str | Sequence[str] | None = None,
) -> Grad[P, Any]: ...


def grad(
    fn: Fn,
    argnums: Argnums = 0,
    has_aux: bool = False,
    check_finite: bool = False,
    unused: str = "zero",
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
    A function of the same arguments that returns the gradient, or
    ``(gradient, aux)``.

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

    By complex numbers it is ``dL/dx + i dL/dy``, so that ``z - rate * gradient`` descends:

    >>> tg.grad(lambda z: abs(z) ** 2)(1 + 2j)
    array(2.+4.j)
    """
    return Grad(fn, argnums, has_aux, check_finite, unused, argnames)


def check_scalar(fn: Fn, output: Any) -> None:
    """Raise unless what a function returned is a floating scalar."""
    primal = output._primal if type(output) is Tensor else None
    if type(primal) is float or (
        type(primal) is ndarray and not primal.ndim and primal.dtype.kind == "f"
    ):
        return
    if not is_floating(output):
        returned = f"a Tensor of {output.dtype}" if type(output) is Tensor else got(output)
        remedy = ""
        if type(output) is tuple:
            remedy = "; with auxiliary results, pass has_aux=True"
        elif type(getattr(output, "data", None)) is Tensor:  # an array of xarray has this attribute
            remedy = "; return the Tensor in it (.data)"
        raise TypeError(
            f"a gradient needs a floating scalar, but {label(fn)} returned {returned}{remedy}"
        )
    if np.iscomplexobj(output):
        raise TypeError(
            f"a gradient needs a real loss, but {label(fn)} returned complex numbers; take the "
            "real part or the absolute value (z.real, np.abs(z)), or tg.vjp or tg.jvp"
        )
    if np.size(output) != 1:
        raise TypeError(
            f"a gradient needs a scalar, but {label(fn)} returned shape {np.shape(output)}; "
            "reduce it (tg.sum, tg.mean), or take tg.vjp or tg.jacobian"
        )
