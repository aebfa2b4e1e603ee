"""Declarations of ops, and of functions composed of ops.

Start with `op`: one declaration has the forward function, its VJP rules, the NumPy functions that
it replaces on Tensors, and its convention at kinks.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from itertools import zip_longest
from types import ModuleType
from typing import Any, ParamSpec, TypeVar

import attrs
import numpy as np

from tapegrad.arraylike.table import answers
from tapegrad.core.forward import elementwise_jvp, linear_jvp, transposed_jvp
from tapegrad.core.op import Op
from tapegrad.core.primitive import EachOperand, Joint, Primitive, Rule
from tapegrad.declare.abstract import BY_VIEW, SHAPES, broadcast_shape
from tapegrad.declare.batching import batch_elementwise
from tapegrad.declare.parts import MultiOutputOp
from tapegrad.declare.signature import Arguments, Signature
from tapegrad.domain import Domain
from tapegrad.errors.lines import with_user_warnings
from tapegrad.tree.lists import LISTS, first_tensor, stack_nested
from tapegrad.tree.numbers import refuse_unreal

__all__ = ["FUNCTIONS", "OPS", "Declaration", "declaration", "declare", "facts", "function"]
__all__ += ["declared_key", "is_elementwise", "linear_op", "op", "op_with_reader", "wider_op"]

P = ParamSpec("P")
Q = ParamSpec("Q")
R = TypeVar("R")
F = TypeVar("F", bound=Callable[..., Any])

# The declared ops and functions, by name.
OPS: dict[str, Op[Any]] = {}
FUNCTIONS: dict[str, Callable[..., Any]] = {}


@attrs.frozen(eq=False)
class Declaration:
    """Facts about an op or a function that its calls do not need.

    Attributes
    ----------
    domain
        The calls to test a user's op on (`tapegrad.domain`); the domains of the package's ops are
        in `tests/support/domains`.
    kink
        In a few words, the convention where it has no derivative.
    signature
        Its parameters; None if users do not call it.
    view
        Whether the result may share the first operand's memory.
    composite
        Whether the forward function is written with ops, which can replace it.
    adds
        Whether a result is a sum whose terms may be added in another order.
    cause
        The likely cause where the result, or a slope, is not finite.
    flat
        Why a slope is zero, as a sentence for `str.format`, or one for each operand: ``x`` is the
        operand, ``other`` the others, ``op`` the name, ``where`` says for which elements, and a
        number stands for the operand at that position.
    complex
        Whether it takes complex operands.
    takes_parts
        Whether an operand may be `Parts`: all results of an op that has several, such as factors.
    iterates
        Whether its time depends on the values without a bound, or LAPACK may not return from
        infinities: `check=True` then draws moderate values.
    pairs
        For sparsity patterns (`tapegrad.transforms.pattern`): a function of an operand's position,
        of the operands and the options that returns which elements of the result depend on which
        elements of this operand.
    pattern
        The sparsity pattern of an op that holds a function or a program: a function of the
        operands' dependences, of a value like the result, and of the options.
    """

    domain: Domain | None = None
    kink: str = ""
    signature: Signature | None = None
    view: bool = False
    composite: bool = False
    adds: bool = False
    cause: str = ""
    flat: str | tuple[str, ...] = ""
    complex: bool = False
    takes_parts: bool = False
    iterates: bool = False
    pairs: Callable[..., Any] | None = None
    pattern: Callable[..., Any] | None = None


def public_names(namespace: Mapping[str, Any]) -> list[str]:
    """Return the names for a package's `__all__`, without imported modules."""
    return [n for n, x in namespace.items() if not (n.startswith("_") or type(x) is ModuleType)]


def declaration(of: Any) -> Declaration | None:
    """Return the declaration of an op or a function; None if it has none."""
    attached = getattr(of, "__dict__", {}).get("__declaration__")
    return attached if isinstance(attached, Declaration) else None


def facts(of: Any) -> Declaration:
    """Return the declaration of an op; an empty one if it has none."""
    attached: Declaration = of.__dict__.get("__declaration__", _NO_DECLARATION)
    return attached


_NO_DECLARATION = Declaration()
# arguments of `op` that are fields of `Primitive`
_PRIMITIVE_FIELDS = ("keeps_weak", "takes_weak", "like", "whole", "add_into")


def is_elementwise(op: Primitive) -> bool:
    """Return whether an op is elementwise: a ufunc without a signature."""
    return isinstance(op.forward, np.ufunc) and op.forward.signature is None


def declared_key(of: Any) -> str | None:
    """Return the name that an op is declared under; None for an op that is not of the package."""
    key = getattr(getattr(of, "declared", None), "__name__", "")
    candidate = OPS.get(key)
    return key if candidate is not None and of in (candidate, candidate.complex) else None


def declare(of: Any, *fields: Any, **named: Any) -> None:
    """Attach a declaration to an op or a function; see `Declaration`."""
    of.__dict__["__declaration__"] = Declaration(*fields, **named)


def op(
    *vjps: Rule | None,
    name: str = "",
    each_operand: EachOperand | Joint | None = None,
    ufunc: Callable[..., Any] | None = None,
    numpy: Any = (),
    scipy: str | None = None,
    read: Callable[..., Any] | None = None,
    general: Callable[..., Any] | None = None,
    kink: str = "",
    jvp: Rule | None = None,
    batch: Rule | None = None,
    results: type[tuple[Any, ...]] | None = None,
    complex: Any = False,
    **further: Any,
) -> Callable[[Callable[P, Any]], Op[P]]:
    """Declare an op of this package.

    Parameters
    ----------
    *vjps
        A rule for each operand, or None where no gradient passes.
    name
        Its name on tapes and in programs, if it differs from the function's: the name in NumPy,
        SciPy or JAX. `OPS` and files keep the function's name, so that older files can be read.
    each_operand
        Instead of `vjps`, the rules of an op that takes any number of operands.
    ufunc
        The NumPy ufunc that is its forward function, and that it replaces on Tensors; the
        decorated function then gives the signature and the docstring.
    numpy
        Further NumPy functions that it replaces on Tensors: one, or a tuple.
    scipy
        The name of the ufunc of ``scipy.special`` that computes it, and that it replaces on
        Tensors; empty if another function of SciPy computes it.
    read, general
        See `Op`.
    keeps_weak, takes_weak, like, whole, add_into
        Fields of `Primitive`. By default a ufunc of several operands takes weak numbers. With one
        the dtype is the same for a number and for an array, and arrays are simpler for rules.
    results
        For an op whose function returns `Parts`, the class of the named tuple that a call returns.
    kink
        See `Declaration`.
    jvp
        The rule for tangents: `elementwise_jvp`, `linear_jvp` or `transposed_jvp`; elementwise
        by default for a ufunc.
    batch
        The rule for batches (`tapegrad.transforms.replay`): `batch_elementwise` (the default
        if tangents pass elementwise), `batch_along_axis`, `batch_stack`, or a rule for this op.
    complex
        Whether its function and its rules hold for complex operands too; or a tuple of the rules
        for complex operands. A rule gets and returns the conjugates of the cotangents that users
        see (`tapegrad.tree.cotangents.conjugate_cotangent`), so a holomorphic function has the
        rule for real numbers.
    **further
        Further fields of its `Declaration`.
    """
    n = ufunc.nin if isinstance(ufunc, np.ufunc) and ufunc.signature is None else 0
    of_rules = {x: further.pop(x) for x in _PRIMITIVE_FIELDS if x in further}
    of_rules.setdefault("takes_weak", n > 1 or of_rules.get("keeps_weak", False))
    if jvp is None:
        jvp = elementwise_jvp if n else transposed_jvp
    if batch is None and jvp is elementwise_jvp:
        batch = batch_elementwise
    n_operands = 0 if read else getattr(each_operand, "n", len(vjps))
    new_op: Any = functools.partial(MultiOutputOp, results=results) if results else Op

    def decorate(function: Callable[P, Any]) -> Op[P]:
        def with_rules(rules: Any, complex: Any) -> Op[P]:
            return new_op(  # type: ignore[no-any-return]
                name or function.__name__,
                ufunc or function,
                rules,
                jvp,
                declared=function,
                general=general and _check_arguments(general, function.__name__, complex),
                batch=batch,
                complex=complex,
                signature=signature,
                **of_rules,
            )

        signature = Signature.from_function(read or function, name or function.__name__, n_operands)
        signature = attrs.evolve(signature, read=read) if read else signature
        other = with_rules(complex, True) if isinstance(complex, tuple) else complex
        declared_op = with_rules(each_operand or vjps, other)
        if isinstance(other, Op):
            other.__dict__["__real__"] = declared_op
        for op in (declared_op, other) if isinstance(other, Op) else (declared_op,):
            is_pointwise = batch is batch_elementwise or jvp is elementwise_jvp
            SHAPES[op] = (
                broadcast_shape if is_pointwise else BY_VIEW if further.get("view") else None
            )
            declare(op, None, kink, declared_op.signature, complex=bool(complex), **further)
        if scipy is None:
            OPS[function.__name__] = declared_op
        elif scipy:
            # by name, since SciPy may be missing
            answers([f"scipy.special.{scipy}"], declared_op)
        answers((*_as_tuple(numpy), *([ufunc] if ufunc else [])), declared_op)
        return declared_op

    return decorate


def linear_op(
    *vjps: Rule | None, complex: Any = True, **declared: Any
) -> Callable[[Callable[P, Any]], Op[P]]:
    """Declare an op that is linear in its operands, and takes complex numbers."""
    return op(*vjps, jvp=linear_jvp, complex=complex, **declared)


def wider_op(
    general: Callable[Q, Any], *vjps: Rule | None, **declared: Any
) -> Callable[[Callable[..., Any]], Op[Q]]:
    """Declare an op whose calls with further arguments go to `general`.

    For a type checker it has the signature of `general`.
    """
    return op(*vjps, general=general, **declared)  # type: ignore[return-value,unused-ignore]


def op_with_reader(
    read: Callable[Q, Arguments], *vjps: Rule | None, **declared: Any
) -> Callable[[Callable[..., Any]], Op[Q]]:
    """Declare an op whose calls are divided into operands and options by `read`.

    For a type checker it has the signature of `read`.
    """
    return op(*vjps, read=read, **declared)  # type: ignore[return-value,unused-ignore]


def function(
    numpy: Any = (),
    kink: str = "",
    lists: tuple[str, ...] = (),
    complex: bool = False,
    options: tuple[str, ...] = (),
) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """Declare a function composed of ops: on Tensors, these are recorded.

    Parameters
    ----------
    numpy
        The NumPy functions that it replaces on Tensors: one, or a tuple.
    kink
        See `Declaration`.
    lists
        The parameters that take a sequence of arrays. For any other, a list of floating Tensors
        stands for an array of them.
    complex
        Whether it takes complex operands; otherwise they raise an error that names it.
    options
        The parameters that take an object other than an array, such as a dict.
    """

    def decorate(composed: Callable[P, R]) -> Callable[P, R]:
        signature = Signature.from_function(composed, composed.__name__)

        positions = [signature.names.index(name) for name in options]

        @functools.wraps(composed)
        def call_composed(*args: Any, **kwargs: Any) -> Any:
            if kwargs:
                arguments = signature.bind_names(args, kwargs)
                kwargs = {x: arguments[x] for x in kwargs if x in arguments}
                kwargs = {x: y if x in lists else _stack_if_tensors(y) for x, y in kwargs.items()}
            if list in map(type, args) or tuple in map(type, args):
                named = zip_longest(args, signature.names[: len(args)])
                args = tuple([x if name in lists else _stack_if_tensors(x) for x, name in named])
            operands = args
            if positions:
                operands = tuple([x for i, x in enumerate(args) if i not in positions])
            refuse_unreal(signature.name, operands, complex)
            if kwargs:
                named_operands = [x for name, x in kwargs.items() if name not in options]
                refuse_unreal(signature.name, named_operands, complex)
            return with_user_warnings(composed, *args, **kwargs)

        declare(call_composed, None, kink, signature, complex=complex)
        FUNCTIONS[composed.__name__] = call_composed
        answers(_as_tuple(numpy), call_composed)
        return call_composed

    return decorate


def _check_arguments(general: Callable[..., Any], name: str, complex: Any) -> Callable[..., Any]:
    """Wrap a function so that it raises for wrong arguments as an op of this name does."""
    signature = Signature.from_function(general, name)

    @functools.wraps(general)
    def call_general(*args: Any, **kwargs: Any) -> Any:
        arguments = signature.bind_names(args, kwargs)
        refuse_unreal(name, arguments.values(), complex)
        return with_user_warnings(
            general, **{x: _stack_if_tensors(y) for x, y in arguments.items()}
        )

    return call_general


def _stack_if_tensors(x: Any) -> Any:
    """Stack a list of floating Tensors; return anything else unchanged."""
    tensor = first_tensor(x) if type(x) in LISTS else None
    return x if tensor is None or tensor.dtype.kind not in "fc" else stack_nested(x)


def _as_tuple(functions: Any) -> tuple[Any, ...]:
    return functions if isinstance(functions, tuple) else (functions,)
