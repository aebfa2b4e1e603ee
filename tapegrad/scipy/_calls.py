"""The op of a call whose work depends on values, such as a solver that takes adaptive steps.

A record of it holds the call: an object with the function on arrays, the pullback of cotangents and
the pushforward of tangents.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from typing import Any, ClassVar, TypeVar

import attrs
import numpy as np

from tapegrad import tree
from tapegrad.core.forward import Tangents, apply, transposed_jvp
from tapegrad.core.messages import refuse_stranger
from tapegrad.core.primitive import Joint, Parts, Primitive
from tapegrad.core.tensor import Tensor, primals
from tapegrad.core.writing import CURRENT
from tapegrad.declare.abstract import call_unrecorded
from tapegrad.declare.declarations import declare
from tapegrad.declare.parts import join_parts, parts_of
from tapegrad.errors import TapeError, TapegradError, TraceError
from tapegrad.errors.functions import label
from tapegrad.program.compiled import compile
from tapegrad.program.control.loop import code_function
from tapegrad.program.control.tracing import TracedFunction, trace_function
from tapegrad.program.dataflow import make_interpreter
from tapegrad.program.ir import Instruction
from tapegrad.transforms.products import vjp
from tapegrad.tree.cotangents import conjugate_cotangent
from tapegrad.tree.numbers import is_floating
from tapegrad.tree.ownership import readonly_view
from tapegrad.tree.structure import replace_leaves
from tapegrad.types import Array, ArrayLike, Cotangent, PyTree, Tangent

__all__ = [
    "MaybeCompiled",
    "SolverCall",
    "as_float64",
    "reapply",
    "recorded_again",
    "split_tensors",
]
__all__ += [
    "are_equal",
    "check_options",
    "pullback",
    "recorded_tensors",
    "shape_and_dtype",
    "with_advice",
]
__all__ += ["solve_with_captured"]
__dir__ = __all__.copy

R = TypeVar("R")
Fn = Callable[..., Any]
ShapeAndDtype = tuple[tuple[int, ...], np.dtype[Any]]


@attrs.frozen(eq=False, repr=False)
class SolverCall:
    """A call of a function of arrays.

    Attributes
    ----------
    fn
        The function; it returns a tuple of floating arrays.
    results
        The shape and dtype of each.
    back
        A function of cotangents, a tuple, and of the operands that returns a cotangent for each
        operand, None for zero. It is differentiated in turn.
    ahead
        A function of tangents, a dict by the operand's position, and of the operands that returns
        a tangent for each result; by default it is derived from `back`.
    known
        Operands and the results for them, if these are known.
    """

    __tree_leaf__: ClassVar[bool] = True

    fn: Fn
    results: tuple[ShapeAndDtype, ...]
    vjp: Fn
    jvp: Fn | None = None
    known: tuple[Sequence[Array], Sequence[Array]] | None = None

    def __repr__(self) -> str:
        return label(self.fn)

    def __call__(self, *operands: Array) -> list[Array]:
        """The results, recorded if an operand is."""
        whole = apply(CALL, operands, {"call": self})
        return [whole] if len(self.results) == 1 else parts_of(whole)

    def run(self, *operands: Array) -> Array | Parts:
        """The results on arrays, as a record holds them."""
        if self.known is not None and are_equal(self.known[0], operands):
            return join_parts(list(self.known[1]))
        # outside of the recording, since the function may make records of its own
        results = call_unrecorded(self.fn, readonly_view(operands))
        # the function may return an operand, or a view of one
        return join_parts([np.array(x) for x in results])

    def make_zeros(self) -> Array | Parts:
        """A value of the shapes and dtypes of a record's."""
        return join_parts([np.zeros(*result) for result in self.results])

    def pull_cotangents(self, g: Cotangent | Parts, *operands: Array) -> list[Cotangent | None]:
        """The cotangents of the operands."""
        parts = [g] if len(self.results) == 1 else parts_of(g)
        cotangents = tuple(
            np.zeros(*result) if c is None else conjugate_cotangent(c)
            for c, result in zip(parts, self.results, strict=True)
        )
        return [c if c is None else conjugate_cotangent(c) for c in self.vjp(cotangents, *operands)]

    def push_tangents(self, tangents: Tangents, y: Array, *operands: Array) -> Tangent | Parts:
        """The tangents of the results."""
        if self.jvp is None:
            return transposed_jvp(CALL, tangents, y, *operands, call=self)
        return join_parts(list(self.jvp(tangents, *operands)))


def are_equal(arrays: Sequence[Array], others: Sequence[Array]) -> bool:
    """Whether two sequences have equal arrays."""
    return len(arrays) == len(others) and all(map(np.array_equal, arrays, others))


def _solve(*operands: Array, call: SolverCall) -> Array | Parts:
    return call.run(*operands)


# pickled as the second
CALL = SOLVE_IVP = Primitive(
    "solve_ivp",
    _solve,
    Joint(lambda g, y, *operands, call: call.pull_cotangents(g, *operands)),
    jvp=lambda op, tangents, y, *operands, call: call.push_tangents(tangents, y, *operands),
    like=lambda *operands, call: call.make_zeros(),
    complex=True,
)
declare(CALL, iterates=True)
# the name in the error of a file or a translation that cannot hold such a call
CALL.__dict__["__qualname__"] = "SOLVE_IVP"


def shape_and_dtype(x: ArrayLike) -> ShapeAndDtype:
    """The shape and dtype of an array or a Tensor."""
    primal = np.asarray(x._primal if isinstance(x, Tensor) else x)
    return primal.shape, primal.dtype


def recorded_again(fn: Fn, results: tuple[ShapeAndDtype, ...]) -> SolverCall:
    """A call of a differentiable function, which is recorded again in each run.

    So the function may read values, and take any number of steps, in a program or a batch too. Its
    derivatives, of any order, are calls of this kind.
    """
    return SolverCall(fn, results, partial(_recorded_again_vjp, fn))


def _recorded_again_vjp(
    fn: Fn, cotangents: tuple[Cotangent, ...], *operands: Array
) -> list[Cotangent | None]:
    n = len(cotangents)
    moving = [i for i, x in enumerate(operands) if is_floating(x)]

    def back(*arguments: Array) -> list[Cotangent]:
        pulled = pullback(lambda *xs: tuple(fn(*xs)), arguments[n:])[1](tuple(arguments[:n]))
        return [pulled[i] for i in moving]

    results = tuple(shape_and_dtype(operands[i]) for i in moving)
    pulled = recorded_again(back, results)(*cotangents, *operands)
    return replace_leaves([None] * len(operands), moving, pulled)


def pullback(fn: Fn, operands: Sequence[Any]) -> tuple[Any, Fn]:
    """A function's output and its pullback: a cotangent for each operand, or None for integers."""
    which = [i for i, x in enumerate(operands) if is_floating(x)]
    output, pull = vjp(
        lambda *xs: fn(*replace_leaves(operands, which, xs)), *[operands[i] for i in which]
    )
    return output, lambda g: replace_leaves([None] * len(operands), which, pull(g))


@attrs.define(eq=False)
class MaybeCompiled:
    """A function compiled; the function itself once `compile` refuses it.

    It refuses what would differ from call to call: a function that reads values, that draws, or
    whose arguments hold objects that can change.
    """

    fn: Fn
    is_eager: bool = False
    program: Fn = attrs.Factory(lambda self: compile(self.fn), takes_self=True)

    def __call__(self, *args: Any) -> Any:
        if not self.is_eager:
            try:
                return self.program(*args)
            except (TraceError, TypeError):
                # if the function is wrong, its own call says so
                self.is_eager = True
        return self.fn(*args)


# --- arguments of solvers -------------------------------------------------------------------


def check_options(what: str, options: Mapping[str, Any]) -> None:
    for name, option in options.items():
        if any(type(x) is Tensor for x in tree.leaves(option)):
            raise TypeError(
                f"{what}: {name} is an option, which passes no gradient, and a Tensor was given; "
                "pass its value"
            )


def recorded_tensors(what: str, arguments: PyTree) -> list[Tensor]:
    """The Tensors of a tree, of the recording that goes on."""
    tensors = split_tensors(arguments)[0]
    if tensors and CURRENT.get() is None:
        refuse_stranger(what, tensors[0], None)
    return tensors


def split_tensors(args: PyTree) -> tuple[list[Any], Callable[[Iterable[Any]], Any]]:
    """The Tensors of a tree, and the tree as a function of others in their places."""
    leaves, structure = tree.flatten(args)
    which = [i for i, x in enumerate(leaves) if type(x) is Tensor]
    return [leaves[i] for i in which], lambda moving: tree.unflatten(
        structure, replace_leaves(leaves, which, moving)
    )


def as_float64(x: Array) -> Array:
    return x if x.dtype == float else x.astype(float)


# --- functions that capture Tensors ---------------------------------------------------------


def solve_with_captured(
    name: str, fns: Sequence[Any], example: Callable[[], tuple[Any, ...]], call: Callable[..., R]
) -> R:
    """The result of a solver whose functions may capture Tensors.

    Such a function is recorded once, as a program that takes the Tensors as further arguments. That
    it captures any shows in a recording when SciPy calls it on arrays, and by recording it where
    values are not known.

    Parameters
    ----------
    name
        The solver's, for messages.
    fns
        Functions of the same arguments; others are left alone.
    example
        Returns arguments of the right structure, shapes and dtypes.
    call
        Called with functions instead, and with the further arguments that each takes.
    """
    last = CURRENT.get()
    if last is None or not last.origin.compiling:
        try:
            return call(fns, ())
        except TapeError:
            if last is None:
                raise
    try:
        arguments = example()
        bodies = [_trace_once(fn, arguments) if callable(fn) else None for fn in fns]
    except Exception as error:
        # if it captures none, it need not be recorded
        advice = "and reads values, or the like; pass the Tensor as an argument, with args=(k,)"
        try:
            return call([with_advice(name, fn, advice) if callable(fn) else fn for fn in fns], ())
        except TapeError:
            if isinstance(error, TapegradError):
                raise
        raise
    captured = tuple(dict.fromkeys(x for body in bodies if body for x in body[0].captured))
    if captured:
        fns = [
            _copy_label(partial(_call_traced, *body, captured), fn) if body else fn
            for fn, body in zip(fns, bodies, strict=True)
        ]
    return call(fns, captured)


def _trace_once(fn: Fn, example: tuple[Any, ...]) -> tuple[TracedFunction, Fn, list[int]]:
    """A function as a program, a caller of it, and which leaves of its arguments are inputs."""
    leaves, structure = tree.flatten(example)
    which = [i for i, x in enumerate(leaves) if type(x) is Tensor or is_floating(x)]

    def run(*moving: Array) -> Any:
        return fn(*tree.unflatten(structure, replace_leaves(leaves, which, moving)))

    # a Tensor here would count as captured
    like = tuple(primals(leaves[i] for i in which))
    traced = trace_function(_copy_label(run, fn), like, ["x"] * len(which))
    return traced, code_function(traced.program(traced.captured)), which


def _call_traced(
    traced: TracedFunction,
    run_program: Fn,
    which: list[int],
    captured: tuple[Tensor, ...],
    *args: Any,
) -> Any:
    """The function of its arguments and of the values of captured Tensors."""
    n = len(args) - len(captured)
    values, leaves = dict(zip(captured, args[n:], strict=True)), tree.leaves(args[:n])
    inputs = [*[values[x] for x in traced.captured], *[leaves[i] for i in which]]
    if any(type(x) is Tensor for x in inputs):
        outputs = make_interpreter(traced.program(traced.captured), reapply)(inputs)
    else:
        outputs = run_program(inputs)
    return tree.unflatten(tree.flatten(traced.output)[1], outputs)


def reapply(instruction: Instruction, operands: list[Any]) -> Array:
    """The result of an instruction, recorded if an operand is."""
    return apply(instruction.op, tuple(operands), dict(instruction.options))


def with_advice(name: str, fn: Fn, advice: str) -> Fn:
    """A function whose error for a Tensor that it captures says what to do."""

    def wrapper(*args: Any) -> Any:
        try:
            return fn(*args)
        except TapeError as error:
            raise TapeError(f"{name}: {label(fn)} captures a Tensor, {advice}") from error

    return _copy_label(wrapper, fn)


def _copy_label(wrapper: Any, fn: Fn) -> Fn:
    wrapper.__name__ = label(fn)
    return wrapper
