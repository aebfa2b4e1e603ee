"""Declarations: what makes an op, or a function composed of ops, part of the package.

One declaration says what it computes, its VJP rules, the functions of NumPy that it
answers for, the calls that it is tested on and its convention at kinks.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, ParamSpec

import attrs
import numpy as np

from tapegrad.core.batch import pointwise
from tapegrad.core.forward import by_transposing, elementwise
from tapegrad.core.op import EachOperand, Joint, Op
from tapegrad.core.signature import Signature
from tapegrad.core.tensor import Rule
from tapegrad.domain import REAL, Domain, each
from tapegrad.face.table import answers

P = ParamSpec("P")

# What is declared, by name.
OPS: dict[str, Op[Any]] = {}
FUNCTIONS: dict[str, Callable[..., Any]] = {}


@attrs.frozen(eq=False)
class Declaration:
    """The part of a declaration that calls do not need.

    Attributes
    ----------
    domain
        The calls that it is tested on (`tapegrad.domain`).
    kink
        The convention where it has no derivative, in a few words.
    signature
        How it is called.
    """

    domain: Domain | None
    kink: str
    signature: Signature


def declaration(of: Any) -> Declaration | None:
    """The declaration of an op or a function; None if it has none."""
    found = getattr(of, "__dict__", {}).get("__declaration__")
    return found if isinstance(found, Declaration) else None


def declare(of: Any, domain: Domain | None, kink: str, signature: Signature) -> None:
    """Put a declaration beside what it is of."""
    of.__dict__["__declaration__"] = Declaration(domain, kink, signature)


def op(
    *vjps: Rule | None,
    each_operand: EachOperand | Joint | None = None,
    ufunc: Callable[..., Any] | None = None,
    numpy: Any = (),
    scipy: str | None = None,
    read: Callable[..., Any] | None = None,
    keeps_weak: bool = False,
    takes_weak: bool | None = None,
    domain: Domain | None = None,
    kink: str = "",
    jvp: Rule | None = None,
    batch: Rule | None = None,
) -> Callable[[Callable[P, Any]], Op[P]]:
    """Declare an op of this package.

    Parameters
    ----------
    *vjps
        A rule for each operand, or None where no gradient passes.
    each_operand
        The rules of an op that takes any number of operands, instead.
    ufunc
        The NumPy ufunc that is its forward function and that it answers for on
        Tensors; the decorated function then says how it is called, and what it does.
    numpy
        Further NumPy functions that it answers for: one, or a tuple.
    scipy
        The ufunc of scipy.special that computes it and that it answers for, by its name;
        an empty name if another function of SciPy computes it.
    read
        See `Op`.
    keeps_weak, takes_weak
        See `Rules`. By default a ufunc of several operands takes weak numbers: of one
        operand the dtype is the same either way, and arrays are simpler for rules.
    domain, kink
        See `Declaration`; any real numbers by default for a ufunc.
    jvp
        How a tangent passes: `elementwise`, `linear` or `by_transposing`; elementwise
        by default for a ufunc.
    batch
        How the axis of a batch passes (`tapegrad.core.batch`): `pointwise`, by default
        where tangents pass elementwise, `along_axis`, `stacked`, or a rule of the op's own.
    """
    is_elementwise = isinstance(ufunc, np.ufunc) and ufunc.signature is None
    n = ufunc.nin if is_elementwise else 0  # type: ignore[union-attr]
    if takes_weak is None:
        takes_weak = keeps_weak or n > 1
    if domain is None and n:
        domain = each(*(REAL,) * n)
    if jvp is None:
        jvp = elementwise if n else by_transposing
    if batch is None and jvp is elementwise:
        batch = pointwise

    def declared(function: Callable[P, Any]) -> Op[P]:
        made = Op(
            function.__name__,
            ufunc or function,
            each_operand or vjps,
            jvp,
            keeps_weak,
            takes_weak,
            declared=function,
            read=read,
            batch=batch,
        )
        declare(made, domain, kink, made.signature)
        if scipy is None:
            OPS[made.name] = made
        elif scipy:
            # by its name, for SciPy need not be there
            answers([f"scipy.special.{scipy}"], made)
        answers((*_several(numpy), *([ufunc] if ufunc else [])), made)
        return made

    return declared


def function(
    numpy: Any = (), domain: Domain | None = None, kink: str = ""
) -> Callable[[Callable[P, Any]], Callable[P, Any]]:
    """Declare a function composed of ops: on Tensors, these are recorded.

    Parameters
    ----------
    numpy
        The NumPy functions that it answers for on Tensors: one, or a tuple.
    domain, kink
        See `Declaration`.
    """

    def declared(composed: Callable[P, Any]) -> Callable[P, Any]:
        signature = Signature.of(composed, composed.__name__)

        @functools.wraps(composed)
        def called(*args: P.args, **kwargs: P.kwargs) -> Any:
            if kwargs:
                given = signature.named(args, kwargs)
                kwargs = {x: given[x] for x in kwargs if x in given}  # type: ignore[assignment]
            return composed(*args, **kwargs)

        declare(called, domain, kink, signature)
        FUNCTIONS[composed.__name__] = called
        answers(_several(numpy), called)
        return called

    return declared


def _several(functions: Any) -> tuple[Any, ...]:
    return functions if isinstance(functions, tuple) else (functions,)
