"""The base class of transforms, and the release of their results."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar, Generic, ParamSpec, TypeVar, TypeVarTuple

import attrs
import numpy as np
from numpy import ndarray

from tapegrad import tree
from tapegrad.core.cotangents import conjugated
from tapegrad.core.operands import is_floating
from tapegrad.core.tensor import Tensor
from tapegrad.core.writing import is_recording
from tapegrad.errors.functions import Description, Wrapper, by_name, keep_names, label, title
from tapegrad.ops.casting import asarray
from tapegrad.transforms.names import (
    Argnames,
    as_argnames,
    as_positions,
    called_by_name,
    check_argnames,
)
from tapegrad.tree.opaque import refuse_hidden
from tapegrad.tree.ownership import readonly_array

# A function's parameters, the trees of its arguments, and its result. The bounds let checkers see
# through lambdas, whose arguments have no types.
P = ParamSpec("P")
A = TypeVar("A", bound=Any)
B = TypeVar("B", bound=Any)
C = TypeVar("C", bound=Any)
R = TypeVar("R", bound=Any)
Ts = TypeVarTuple("Ts")
Aux = TypeVar("Aux", bound=Any)

Fn = Callable[..., Any]
Argnums = int | tuple[int, ...]


def _as_argnums(argnums: Any) -> Argnums:
    return as_positions("argnums", argnums)


def _check_unused(transform: Any, field: Any, unused: Any) -> None:
    if unused not in ("zero", "raise"):
        raise ValueError(f'unused must be "zero" or "raise", not {unused!r}')


@attrs.frozen(slots=False, repr=False)
class Transform(Wrapper, Generic[P, R]):
    """A function made from another one: frozen, and picklable if that one is."""

    __tree_leaf__: ClassVar[bool] = True
    # its name in reprs
    kind: ClassVar[str]

    fn: Fn
    argnums: Argnums = attrs.field(default=0, converter=_as_argnums)
    has_aux: bool = False
    check_finite: bool = False
    unused: str = attrs.field(default="zero", validator=_check_unused)
    argnames: Argnames | None = attrs.field(default=None, converter=as_argnames)
    # of the function, found once for all calls
    description: Description = attrs.field(init=False, eq=False)

    def __attrs_post_init__(self) -> None:
        keep_names(self, self.fn)
        object.__setattr__(self, "description", Description.of(self.fn))
        check_argnames(self.fn, self.argnums, self.argnames)

    def __repr__(self) -> str:
        return f"<{self.kind} of {title(self.fn)}>"

    def __reduce__(self) -> str | tuple[Any, ...]:
        fields = [getattr(self, field.name) for field in attrs.fields(type(self)) if field.init]
        return by_name(self, type(self), tuple(fields))

    def call(
        self, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> tuple[Fn, tuple[Any, ...], dict[str, Any], tuple[int, ...]]:
        """A call, with the positions of the arguments to differentiate."""
        if self.argnames is None:
            positions = (0,) if self.argnums == 0 and args else self.positions(args)
            return self.fn, args, kwargs, positions
        names = (self.argnames,) if isinstance(self.argnames, str) else self.argnames
        return called_by_name(self.fn, names, args, kwargs)

    def positions(self, args: tuple[Any, ...]) -> tuple[int, ...]:
        """The arguments to differentiate, as positions counted from the front."""
        argnums = (self.argnums,) if isinstance(self.argnums, int) else self.argnums
        if any(not -len(args) <= i < len(args) for i in argnums):
            raise TypeError(
                f"{label(self.fn)} was called with {len(args)} positional arguments, but "
                f"argnums is {self.argnums}; differentiated arguments must be passed by position"
            )
        return tuple(i % len(args) for i in argnums)

    def arranged(self, trees: Sequence[Any], positions: tuple[int, ...]) -> Any:
        """One tree for each argument in `argnums` or `argnames`."""
        which = self.argnums if self.argnames is None else self.argnames
        if not isinstance(which, tuple):
            return trees[0]
        by_position = dict(zip(dict.fromkeys(positions), trees, strict=True))
        return tuple([by_position[i] for i in positions])


def gradient_trees(gradients: Mapping[Tensor, Any], marked: tuple[Any, ...]) -> tuple[Any, ...]:
    """The gradients, in trees like the parameters they belong to."""
    return tuple([tree.map(lambda p: conjugated(gradients[p]), x) for x in marked])


def split_aux(fn: Fn, output: Any, has_aux: bool) -> tuple[Any, tuple[Any, ...]]:
    """A function's result, divided into the value and the auxiliary part, if any."""
    if not has_aux:
        return output, ()
    if not (isinstance(output, tuple) and len(output) == 2):
        raise TypeError(
            f"with has_aux, {label(fn)} must return (value, aux); got {type(output).__name__}"
        )
    return output[0], (released_tree(output[1]),)


def released(x: Any) -> Any:
    """A result as a transform returns it: its value, unless a recording is running."""
    if type(x) is ndarray:
        refuse_hidden(x, "a result")
        return readonly_array(x.view())  # a copy, unless it cannot be changed
    if type(x) is not Tensor:
        if is_floating(x):
            return readonly_array(np.array(x))
        refuse_hidden(x, "a result")
        return x
    if not is_recording(x.origin):
        primal = x._primal
        if type(primal) is ndarray and not primal.ndim and not x.origin.compiling:
            return readonly_array(primal)  # as `value`, in fewer steps
        return x.value
    # a Python float is returned as an array, as it is outside a recording
    return asarray(x) if type(x._primal) in (float, complex) else x


def released_tree(output: Any) -> Any:
    """`released` for each leaf."""
    return tree.map(released, output)
