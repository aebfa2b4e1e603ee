"""The op of a call whose work depends on values: a solver that takes as many steps as it needs.

A record of it holds the call, an object that says what it computes on arrays, how a cotangent is
pulled back and how a tangent is pushed forward.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, ClassVar

import attrs
import numpy as np

from tapegrad.core.callables import label
from tapegrad.core.cotangents import conjugated
from tapegrad.core.forward import apply, by_transposing
from tapegrad.core.op import Joint
from tapegrad.core.operands import is_floating
from tapegrad.core.tensor import Rules, Tensor
from tapegrad.core.writing import recorded_from
from tapegrad.declare.parts import parts_of, together
from tapegrad.face.ownership import readonly_view
from tapegrad.transforms.products import vjp

__all__ = ["Call", "outright", "place_of", "same"]
__dir__ = __all__.copy

Fn = Callable[..., Any]
Place = tuple[tuple[int, ...], np.dtype[Any]]


@attrs.frozen(eq=False, repr=False)
class Call:
    """A call of a function of arrays.

    Attributes
    ----------
    fn
        The function; it returns a tuple of floating arrays.
    places
        Their shapes and dtypes.
    back
        A function of cotangents, a tuple, and of the operands that returns a cotangent for each
        operand, None for zero. It is differentiated in turn.
    ahead
        A function of tangents, a dict by the operand's position, and of the operands that returns
        a tangent for each result; by default that follows from `back`.
    known
        Operands and the results for them, if they are known.
    """

    __tree_leaf__: ClassVar[bool] = True

    fn: Fn
    places: tuple[Place, ...]
    back: Fn
    ahead: Fn | None = None
    known: Any = None

    def __repr__(self) -> str:
        return label(self.fn)

    def __call__(self, *operands: Any) -> list[Any]:
        """The results, recorded if an operand is."""
        whole = apply(CALL, operands, {"call": self})
        return [whole] if len(self.places) == 1 else parts_of(whole)

    def run(self, *operands: Any) -> Any:
        """The results on arrays, as a record holds them."""
        if self.known is not None and same(self.known[0], operands):
            return together(list(self.known[1]))
        # in no recording: what the function records is its own
        found = recorded_from(None, self.fn, readonly_view(operands))[0]
        # the function may return an operand, or a view of one
        return together([np.array(x) for x in found])

    def like(self) -> Any:
        """A value like that of a record."""
        return together([np.zeros(*place) for place in self.places])

    def pull(self, g: Any, *operands: Any) -> list[Any]:
        """The cotangents of the operands."""
        given = [g] if len(self.places) == 1 else parts_of(g)
        cotangents = tuple(
            np.zeros(*place) if c is None else conjugated(c)
            for c, place in zip(given, self.places, strict=True)
        )
        return [c if c is None else conjugated(c) for c in self.back(cotangents, *operands)]

    def push(self, tangents: Mapping[int, Any], y: Any, *operands: Any) -> Any:
        """The tangents of the results."""
        if self.ahead is None:
            return by_transposing(CALL, tangents, y, *operands, call=self)
        return together(list(self.ahead(tangents, *operands)))


def same(given: Any, others: Any) -> bool:
    """Whether these arrays are those."""
    return len(given) == len(others) and all(map(np.array_equal, given, others))


def _solve(*operands: Any, call: Call) -> Any:
    return call.run(*operands)


# pickled as the second
CALL = SOLVE_IVP = Rules(
    "solve_ivp",
    _solve,
    Joint(lambda g, y, *operands, call: call.pull(g, *operands)),
    jvp=lambda op, tangents, y, *operands, call: call.push(tangents, y, *operands),
    like=lambda *operands, call: call.like(),
    complex=True,
)
# the name in the error of a file or a translation that cannot hold such a call
CALL.__dict__["__qualname__"] = "SOLVE_IVP"


def place_of(x: Any) -> Place:
    """The shape and dtype of an array or a Tensor."""
    primal = np.asarray(x._primal if type(x) is Tensor else x)
    return primal.shape, primal.dtype


def outright(fn: Fn, places: tuple[Place, ...]) -> Call:
    """A call of a differentiable function that is recorded anew each time that it is run.

    So the function may read values, and take any number of steps, within a program or a batch too.
    Its derivatives, of any order, are calls of this kind.
    """
    return Call(fn, places, partial(_outright_back, fn))


def _outright_back(fn: Fn, cotangents: tuple[Any, ...], *operands: Any) -> list[Any]:
    n = len(cotangents)
    moving = [i for i, x in enumerate(operands) if is_floating(x)]

    def back(*given: Any) -> Any:
        cotangents, operands = given[:n], list(given[n:])

        def of_moving(*xs: Any) -> Any:
            for i, x in zip(moving, xs, strict=True):
                operands[i] = x
            return tuple(fn(*operands))

        return vjp(of_moving, *[operands[i] for i in moving])[1](tuple(cotangents))

    found = outright(back, tuple(place_of(operands[i]) for i in moving))(*cotangents, *operands)
    result: list[Any] = [None] * len(operands)
    for i, c in zip(moving, found, strict=True):
        result[i] = c
    return result
