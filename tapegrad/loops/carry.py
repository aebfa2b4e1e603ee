"""Execution of loops, on arrays or as one record, and checks of their carry.

The carry has the same structure, shapes and dtypes at each step.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from itertools import count, zip_longest
from typing import Any, TypeVar

import attrs
import numpy as np

from tapegrad import tree
from tapegrad.arraylike.tensor import Tensor
from tapegrad.core.messages import check_output
from tapegrad.core.primitive import Primitive
from tapegrad.core.tensor import primal_of
from tapegrad.core.writing import CURRENT, record_from
from tapegrad.declare.abstract import known_values, stand_in
from tapegrad.errors.functions import argument_names, label
from tapegrad.errors.lines import with_user_warnings
from tapegrad.errors.words import got
from tapegrad.loops.segments import Checkpointing, record_loop
from tapegrad.program.control.extraction import split_invariant
from tapegrad.program.control.loop import Loop
from tapegrad.program.control.tracing import (
    TracedFunction,
    as_array,
    is_in_program,
    replay_code,
    share_captured,
    trace_function,
)
from tapegrad.transforms.checkpoint import Checkpoint
from tapegrad.tree.numbers import (
    PYTHON_NUMBERS,
    as_constant,
    refuse_unreal,
    require_64_bits,
    require_real,
)
from tapegrad.tree.ownership import readonly_view
from tapegrad.types import Array, ArrayLike, PyTree

T = TypeVar("T")
_NUMERIC = (np.ndarray, np.generic)
# the usual types of the leaves of a carry
_PLAIN = PYTHON_NUMBERS | {np.ndarray, np.float64, np.bool_}


@attrs.frozen
class CountedCarry:
    """The carry of a `fori_loop` with a Tensor as a bound, and the number of the next step."""

    i: Array
    carry: PyTree


class CapturedError(Exception):
    """A step of a loop on arrays used captured Tensors."""


@attrs.frozen
class LoopCall:
    """A call of a loop function.

    Attributes
    ----------
    op
        The primitive with the name of the function that the user called.
    f
        The step: a function of the carry and a row of `xs` that returns the next carry and a
        result; for a while loop, a function of the carry that returns the next carry.
    init
        The first carry.
    checkpoint
        The values that are kept for derivatives.
    xs, n, reverse
        A tree of arrays, the number of their rows, and whether the last row comes first.
    condition
        For a while loop, a function of the carry that returns whether another step follows.
    """

    op: Primitive
    f: Callable[..., Any]
    init: PyTree
    checkpoint: Checkpointing
    xs: PyTree = None
    n: int | None = None
    reverse: bool = False
    condition: Callable[[Any], Any] | None = None

    def run(self) -> tuple[Any, Any]:
        """Return the last carry, and a tree with the stacked results of the steps.

        The loop runs in Python if it uses no Tensor, and is recorded as one record otherwise.
        """
        start = CURRENT.get()
        if any(type(x) is Tensor for x in tree.leaves((self.init, self.xs))):
            return self._record()
        # values may decide whether a step captures Tensors, so each step is checked
        try:
            if start is None:
                return with_user_warnings(self._run_on_arrays)
            # a separate recording, because its records are dropped
            origin = start.origin.inner_origin(self.f)
            result, last = record_from(origin, self._run_on_arrays, ())
            if last is origin:
                return result
        except CapturedError:
            pass
        return self._record()

    # --- on arrays --------------------------------------------------------------------------

    def _run_on_arrays(self) -> tuple[Any, Any]:
        """Run the loop on arrays."""
        name, f, n = self.op.name, self.f, self.n
        refuse_unreal(f"{name}: xs", tree.leaves(self.xs), True)
        if n == 0:
            init, (done,) = self._trace()
            ys = tree.map(lambda y: np.zeros((0, *y.shape), y.dtype), done.output[1])
            return copy_values(init), ys
        if n is None and not self._holds_for(self.init):
            return run_no_steps(name, self.init), None
        order = iter(count() if n is None else range(n)[:: -1 if self.reverse else 1])
        _, carry, y = settle_carry(name, f, self.init, partial(self._step, t=next(order)))
        rows = [y]
        for t in order:
            if n is None and not self._holds_for(carry):
                break
            before = carry
            carry, y = self._step(before, t)
            check_carry(name, f, before, carry)
            if n is not None:
                rows.append(y)
        if self.reverse:
            rows.reverse()
        return carry, tree.map(lambda *ys: np.stack(ys), *rows)

    def _step(self, carry: PyTree, t: int) -> Any:
        """Call the step t on arrays."""
        f, carry = self.f, readonly_carry(carry)
        if self.n is None:
            return copy_result(f, f(carry)), None
        return copy_result(f, f(carry, tree.map(lambda x: readonly_view(x[t, ...]), self.xs)))

    def _holds_for(self, carry: PyTree) -> bool:
        """Return whether the condition of a while loop holds."""
        condition = self.condition
        assert condition is not None
        truth = condition(readonly_carry(carry))
        check_arrays(condition, truth)
        _check_truth(condition, truth)
        return bool(truth)

    # --- as a record ------------------------------------------------------------------------

    def _record(self) -> tuple[Any, Any]:
        """Record the loop, and each of its results as one further record."""
        init, functions = self._trace()
        captured, (body, *test) = share_captured(*functions)
        carry, structure = tree.flatten(init)
        ys, structure_of_ys = tree.flatten(None if self.n is None else functions[0].output[1])
        rows, remember = tree.leaves(self.xs), not isinstance(self.f, Checkpoint)
        sizes, stop = (len(carry), len(rows), len(ys)), test[0] if test else None
        loop = Loop(body, stop, *sizes, self.n, self.reverse, remember)
        if (apart := split_invariant(loop)) is not None:
            # the gradients of loop-invariant values are then recorded once too
            early, loop = apart
            captured = tuple(replay_code(early, captured))
        parts = record_loop(self.op, loop, [*captured, *carry, *rows], self.checkpoint)
        last = tree.unflatten(structure, parts[: len(carry)])
        return last, tree.unflatten(structure_of_ys, parts[len(carry) :])

    def _trace(self) -> tuple[Any, list[TracedFunction]]:
        """Trace the functions.

        Return the first carry, with arrays for its numbers, then the step and any condition.
        """
        init, rows = self.init, () if self.n is None else (tree.map(_placeholder_row, self.xs),)
        carried, *names = argument_names(self.f, 1 + len(rows))
        names = [carry_path(init, carried), *names]

        def first() -> list[Any]:
            arrays = known_values(tree.leaves(self.xs))
            return [
                *known_values(tree.leaves(init)),
                *[x[-1 if self.reverse else 0] for x in arrays],
            ]

        def step(carry: PyTree) -> tuple[Any, TracedFunction]:
            done = trace_function(self.f, (carry, *rows), names, first)
            return done.output[0] if rows else done.output, done

        init, _, done = settle_carry(self.op.name, self.f, init, step)
        if self.condition is None:
            return init, [done]
        test = trace_function(self.condition, (copy_values(init),), names, first)
        _check_truth(self.condition, test.output)
        return init, [done, test]


def run_no_steps(what: str, init: PyTree) -> Any:
    """Return the result of a loop without steps."""
    init = tree.map_with_path(partial(check_initial, what), init, carry_path(init, "carry"))
    return copy_values(init)


def _placeholder_row(x: Array | Tensor) -> Array:
    value = x._primal if type(x) is Tensor else as_constant(x, "scan", True)
    return stand_in(value.shape[1:], value.dtype)


def _check_truth(condition: Callable[..., Any], truth: object) -> None:
    if not isinstance(truth, np.ndarray | np.generic | bool | int | float) or np.shape(truth):
        shape = f" of shape {np.shape(truth)}" if isinstance(truth, np.ndarray) else ""
        raise TypeError(
            f"while_loop: {label(condition)} returned {got(truth)}{shape}; one truth value is "
            "needed"
        )


def check_arrays(f: Callable[..., Any], x: PyTree) -> None:
    """Raise `CapturedError` if a leaf of the result of `f` is a Tensor."""
    kinds = {*map(type, tree.leaves(x))}
    if Tensor in kinds:
        raise CapturedError
    if not kinds <= _PLAIN:
        check_output(x, None, label(f))


def readonly_carry(carry: PyTree) -> Any:
    """Return a carry for a step on arrays, which may change its containers but not its arrays."""
    return readonly_view(carry) if isinstance(carry, _NUMERIC) else tree.map(readonly_view, carry)


def copy_result(f: Callable[..., Any], x: PyTree) -> Any:
    """Copy the result of a step on arrays, since the user may still write to it."""
    check_arrays(f, x)
    return tree.map(lambda leaf: leaf.copy("K") if type(leaf) is np.ndarray else leaf, x)


def carry_path(carry: PyTree, name: str) -> str:
    """Return the path of a carry with this name, which begins the paths of its leaves."""
    return "" if type(carry) is CountedCarry else name


def is_number(x: object) -> bool:
    """Return whether a leaf is a Python number, recorded or not, which adapts its dtype."""
    return type(primal_of(x)) in PYTHON_NUMBERS


def settle_carry(
    what: str, f: Callable[..., Any], init: PyTree, step: Callable[[Any], tuple[Any, T]]
) -> tuple[Any, Any, T]:
    """Return the initial carry of a loop, the next one, and any other result of the first step.

    A Python number in the carry takes the dtype that the steps give it.
    """
    init = tree.map_with_path(partial(check_initial, what), init, carry_path(init, "carry"))
    carry = tree.map(primal_of, init)
    adapts = [*map(is_number, tree.leaves(carry))]
    while True:
        after, y = step(carry)
        check_carry(what, f, carry, after, adapts)
        if not any(adapts):
            return init, after, y
        wider = tree.map(_promote_leaf, carry, after)
        if all(map(_has_same_type, tree.leaves(carry), tree.leaves(wider))):
            check_carry(what, f, carry, after)
            return _give_dtypes(init, carry), after, y
        carry = wider


def check_initial(what: str, x: Any, path: str) -> Any:
    """Return a leaf of the first carry as a number or an array that no step can change."""
    if type(x) is np.ndarray:
        require_real(x.dtype, f"{what}: {path}", True)
        return readonly_view(x)
    require_64_bits(primal_of(x), f"{what}: {path}")
    return x if type(x) is Tensor else as_constant(x, f"{what}: {path}", True)


def _promote_leaf(x: Any, y: ArrayLike) -> Any:
    """Convert a leaf of a carry to a dtype that also holds the leaf after a step."""
    dtype = np.asarray(y).dtype
    if not is_number(x):
        if dtype == x.dtype:
            return x
        dtype = np.promote_types(x.dtype, dtype)
    # a NumPy scalar, which `+=` does not change
    return np.asarray(x).astype(dtype)[()]


def _give_dtypes(init: PyTree, like: PyTree) -> Any:
    """Return a carry with the arrays of another in place of its Python numbers.

    A recorded number of the same dtype stays a number: the loop makes it an array.
    """
    # a loop inside a program takes only arrays
    in_program = is_in_program()

    def array(x: Any, y: Any) -> Any:
        if not is_number(x):
            return x
        if type(x) is not Tensor:
            return y
        if in_program and (x.dtype == y.dtype or y.dtype.kind in "iu"):
            return as_array(x, y.dtype)
        return x if x.dtype == y.dtype else x.astype(y.dtype)

    return tree.map(array, init, like)


def copy_values(carry: PyTree) -> Any:
    """Return the values of a carry, recorded or not, as new arrays."""
    return tree.map(lambda x: np.array(primal_of(x)), carry)


def _has_same_type(x: object, y: object) -> bool:
    if not (isinstance(x, _NUMERIC) and isinstance(y, _NUMERIC)):
        return False
    return x.shape == y.shape and x.dtype == y.dtype


def check_carry(
    what: str, f: Callable[..., Any], before: PyTree, after: PyTree, adapts: Sequence[bool] = ()
) -> None:
    """Raise unless a step returned a carry like its argument.

    A leaf that adapts may change its dtype to one whose kind of numbers includes its own.

    Raises
    ------
    TypeError
        If the structure or the dtype of a leaf differs.
    ValueError
        If the shape of a leaf differs.
    """
    (first, structure), (second, after_structure) = tree.flatten(before), tree.flatten(after)
    if structure == after_structure and all(map(_has_same_type, first, second)):
        return
    must = f"{what}: {label(f)} must return a carry like the one that it is given"
    if after is None and before is not None:
        raise TypeError(f"{must}, not {got(after)}")
    old, new = (tree.named_leaves(x, carry_path(x, "carry")) for x in (before, after))
    if structure != after_structure:
        before_paths, after_paths = ([path for path, _ in leaves] for leaves in (old, new))
        if before_paths != after_paths:
            raise TypeError(
                f"{must}, but the leaves before a step are {', '.join(before_paths) or 'none'} "
                f"and after it {', '.join(after_paths) or 'none'}"
            )
        raise TypeError(f"{must}, but the structures differ: {before!r} and {after!r}")
    for (path, x), (_, y), adapted in zip_longest(old, new, adapts):
        if np.shape(x) != np.shape(y):
            raise ValueError(
                f"{must}, but {path} has shape {np.shape(x)} before a step and {np.shape(y)} after"
            )
        dtypes = np.asarray(x).dtype, np.asarray(y).dtype
        # NumPy makes a large int unsigned, but it adapts like other ints
        kind = dtypes[0].kind.replace("u", "i")
        fits = adapted and "bifc".index(kind) <= "bifc".find(dtypes[1].kind)
        if dtypes[0] != dtypes[1] and not fits:
            raise TypeError(
                f"{must}, but {path} is {dtypes[0]} before a step and {dtypes[1]} after; begin "
                f"with that dtype, or return it .astype({str(dtypes[0])!r})"
            )
