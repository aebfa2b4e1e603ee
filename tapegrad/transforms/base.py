"""The base class of transforms, gradients of scalar functions, and the values of results."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from typing import Any, Generic, Literal, ParamSpec, SupportsFloat, TypeVar, TypeVarTuple

import attrs
import numpy as np
from numpy import ndarray

from tapegrad import tree
from tapegrad.arraylike.table import lazy_import
from tapegrad.core.recording import record_call
from tapegrad.core.sweep import sweep
from tapegrad.core.tape import Tape
from tapegrad.core.tensor import Tensor
from tapegrad.core.writing import is_recording
from tapegrad.errors.functions import Description, Wrapper, label
from tapegrad.errors.lines import WarnsAtUsersLine, users_place
from tapegrad.errors.words import got
from tapegrad.ops.casting import asarray
from tapegrad.transforms.names import (
    Argnames,
    as_argnames,
    as_positions,
    bind_argnames,
    check_argnames,
)
from tapegrad.transforms.reverse import initial_cotangent
from tapegrad.tree.cotangents import conjugate_cotangent
from tapegrad.tree.numbers import is_floating
from tapegrad.tree.opaque import refuse_hidden
from tapegrad.tree.ownership import readonly_array
from tapegrad.types import Cotangent, PyTree

# The bounds let a checker see through lambdas, whose arguments have no types.
P = ParamSpec("P")
A = TypeVar("A", bound=Any)
B = TypeVar("B", bound=Any)
C = TypeVar("C", bound=Any)
R = TypeVar("R", bound=Any)
Ts = TypeVarTuple("Ts")
Aux = TypeVar("Aux", bound=Any)
# the value of a loss is a number, and an array without axes converts to one
Loss = TypeVar("Loss", bound=SupportsFloat)

Fn = Callable[..., Any]
Argnums = int | tuple[int, ...]
Unused = Literal["zero", "raise"]
# a function, its arguments, and the positions of the arguments to differentiate
Call = tuple[Fn, tuple[Any, ...], dict[str, Any], tuple[int, ...]]


def _as_argnums(argnums: Any) -> Argnums:
    return as_positions("argnums", argnums)


def _check_unused(transform: object, field: object, unused: object) -> None:
    if unused not in ("zero", "raise"):
        raise ValueError(f'unused must be "zero" or "raise", not {unused!r}')


@attrs.frozen(slots=False, repr=False)
class Transform(Wrapper, WarnsAtUsersLine, Generic[P, R]):
    """A function made from another one: frozen, and picklable if the other function is."""

    fn: Fn
    argnums: Argnums = attrs.field(default=0, converter=_as_argnums)
    has_aux: bool = False
    check_finite: bool = False
    unused: Unused = attrs.field(default="zero", validator=_check_unused)
    argnames: Argnames | None = attrs.field(default=None, converter=as_argnames)

    def __attrs_post_init__(self) -> None:
        super().__attrs_post_init__()
        check_argnames(self.fn, self.argnums, self.argnames)

    @cached_property
    def description(self) -> Description:
        """The names of the function and its arguments, read once for all calls."""
        return Description.from_function(self.fn)

    def resolve_call(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Call:
        """Return the call of `fn`, with the positions of the arguments to differentiate."""
        if self.argnames is None:
            positions = (0,) if self.argnums == 0 and args else self.resolve_argnums(args)
            return self.fn, args, kwargs, positions
        names = (self.argnames,) if isinstance(self.argnames, str) else self.argnames
        return bind_argnames(self.fn, names, args, kwargs)

    def record(
        self,
        call: Call,
        find_place: Callable[[], Any] | None = None,
        note_read: Callable[[Tensor], None] | None = None,
    ) -> tuple[Any, tuple[Any, ...], Tape, tuple[Any, ...]]:
        """Return the result of a call, any auxiliary part, the tape and the marked arguments."""
        description = self.description if call[0] is self.fn else None
        find_place = find_place or (users_place if self.check_finite else None)
        output, tape, marked = record_call(*call, find_place, description, note_read)
        return *split_aux(self.fn, output, self.has_aux), tape, marked

    def resolve_argnums(self, args: tuple[Any, ...]) -> tuple[int, ...]:
        """Return the arguments to differentiate, as positions counted from the front."""
        argnums = (self.argnums,) if isinstance(self.argnums, int) else self.argnums
        if any(not -len(args) <= i < len(args) for i in argnums):
            raise TypeError(
                f"{label(self.fn)} was called with {len(args)} positional arguments, but "
                f"argnums is {self.argnums}; differentiated arguments must be passed by position"
            )
        return tuple(i % len(args) for i in argnums)

    def arrange_by_argnums(self, trees: Sequence[Any], positions: tuple[int, ...]) -> Any:
        """Return one tree for a single argument, or a tuple of trees for several."""
        which = self.argnums if self.argnames is None else self.argnames
        if not isinstance(which, tuple):
            return trees[0]
        by_position = dict(zip(dict.fromkeys(positions), trees, strict=True))
        return tuple([by_position[i] for i in positions])


def gradient_trees(
    gradients: Mapping[Tensor, Cotangent], marked: tuple[Any, ...]
) -> tuple[Any, ...]:
    """Return the gradients in trees like the marked arguments."""
    return tuple(
        [
            conjugate_cotangent(gradients[x])
            if type(x) is Tensor
            else tree.map(lambda p: conjugate_cotangent(gradients[p]), x)
            for x in marked
        ]
    )


def split_aux(fn: Fn, output: PyTree, has_aux: bool) -> tuple[Any, tuple[Any, ...]]:
    """Split a function's result into the value and the auxiliary part, if any."""
    if not has_aux:
        return output, ()
    if not (isinstance(output, tuple) and len(output) == 2):
        raise TypeError(
            f"with has_aux, {label(fn)} must return (value, aux); got {type(output).__name__}"
        )
    return output[0], (unwrap_tree(output[1]),)


def unwrap_result(x: Any) -> Any:
    """Return the value of a leaf of a result, or its record while a recording is running."""
    if type(x) is not Tensor:
        if type(x) is not ndarray and is_floating(x):
            return readonly_array(np.array(x))
        refuse_hidden(x, "a result")
        return readonly_array(x.view()) if type(x) is ndarray else x
    if not is_recording(x.origin):
        primal = x._primal
        if type(primal) is ndarray and not primal.ndim and not x.origin.compiling:
            return readonly_array(primal)  # `value` takes more steps
        return x.value
    # an array in place of a Python float, as outside a recording
    return asarray(x) if type(x._primal) in (float, complex) else x  # type: ignore[arg-type]  # a record stands for its array


def unwrap_tree(output: PyTree) -> Any:
    """Apply `unwrap_result` to each leaf."""
    return tree.map(unwrap_result, output)


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
    transform: Transform[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]
) -> tuple[Any, Any]:
    """Return the value of a function, with its auxiliary part, and the gradients."""
    call = transform.resolve_call(args, kwargs)
    output, aux, tape, marked = transform.record(call)
    check_scalar(transform.fn, output)
    seeds = {}
    if type(output) is Tensor and output.origin is tape.last.origin:
        seeds[output] = initial_cotangent(output, None)
    if transform.unused == "raise":
        refuse = lazy_import("tapegrad.explain.why", "raise_for_unused")
        chosen = tuple([call[1][i] for i in dict.fromkeys(call[3])])

        def record_again(note_read: Callable[[Tensor], None]) -> tuple[Any, Tape, tuple[Any, ...]]:
            output, _, tape, marked = transform.record(call, users_place, note_read)
            return output, tape, marked

        refuse(transform.fn, tape, seeds, chosen, record_again)
    value = unwrap_result(output)
    check = None
    if transform.check_finite:
        check = lazy_import("tapegrad.explain.finite", "make_cotangent_check")(tape, seeds)
    # the sweep holds the only reference, so that it frees each record that it has passed
    tapes = [tape]
    del tape, output
    gradients = gradient_trees(sweep(tapes, seeds, check), marked)
    return (value, *aux) if transform.has_aux else value, transform.arrange_by_argnums(
        gradients, call[3]
    )


def check_scalar(fn: Fn, output: Any) -> None:
    """Raise unless the result of a function is a floating scalar."""
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
        elif type(output) in (list, dict):
            remedy = "; return one number, such as the sum of them"
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
