"""`checkpoint`: a call that is one record, and is repeated during the sweep."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, ClassVar, Generic, ParamSpec, TypeVar

import attrs
import numpy as np

from tapegrad import tree
from tapegrad.arraylike.table import lazy_function
from tapegrad.core.forward import push_forward
from tapegrad.core.messages import check_output
from tapegrad.core.primitive import Joint, Parts, Primitive
from tapegrad.core.sweep import sweep
from tapegrad.core.tape import Tape
from tapegrad.core.tensor import NO_OPTIONS, Origin, Tensor, primals
from tapegrad.core.writing import (
    CURRENT,
    PARAMETER,
    advance,
    is_recording,
    last_record,
    lift,
    record_from,
    write_known,
)
from tapegrad.declare import declare
from tapegrad.declare.parts import Layout, floating_leaves
from tapegrad.errors.functions import Wrapper, label
from tapegrad.errors.lines import with_user_warnings
from tapegrad.ops.casting import asarray, stopped
from tapegrad.tree.numbers import as_constant
from tapegrad.tree.ownership import readonly_view
from tapegrad.types import Array, ArrayLike, PyTree, Tangent

P = ParamSpec("P")
R = TypeVar("R", bound=Any)
Fn = Callable[..., Any]


@attrs.frozen(slots=False, repr=False)
class Checkpoint(Wrapper, Generic[P, R]):
    """The result of `checkpoint`.

    Attributes
    ----------
    fn
        The function.
    by_rule
        Whether the call repeats a checkpointed call for a rule. Its records then belong to the
        tape that the rule differentiates.
    """

    kind = "checkpoint"

    fn: Fn
    by_rule: bool = False

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R:
        start = CURRENT.get()
        if start is None or start.origin.compiling:
            copies, named = tree.copy_containers((args, kwargs), readonly_view)
            output = with_user_warnings(self.fn, *copies, **named)
            check_output(output, start, label(self.fn))
            return output
        args, kwargs = tree.map(_freeze_array, (args, kwargs))
        # an origin that is dropped with the call: a record that leaks belongs to no other tape
        origin: Tensor | Origin
        if self.by_rule:
            origin, copies, named, last = start, args, kwargs, start
        else:
            (copies, named), last = _lift_arguments(
                start.origin.inner_origin(self.fn), (args, kwargs)
            )
            origin = last.origin
        output, last = record_from(last, self.fn, copies, named)
        output = tree.map(partial(_detach_unless_floating, origin), output)
        layout = Layout.from_output(output)
        if not any(type(x) is Tensor for x in floating_leaves(output)):
            return output
        primal = layout.to_primal(output)
        lifted, read = [], _find_captured(Tape(last, origin), output)
        last = last_record()
        for x in read:
            last, x = lift(last, CHECKPOINT, x)
            lifted.append(x)
        reads = tuple(lifted)
        call = CheckpointedCall(self, args, kwargs, start, reads, layout, primal)
        record = write_known(last, CHECKPOINT, reads, {"call": call}, primal)
        advance(record)
        return _replace_results(output, layout, record)


def checkpoint(fn: Callable[P, R]) -> Checkpoint[P, R]:
    """A function whose intermediate values are recomputed during the sweep, not kept in memory.

    A call is one record. Its intermediate values take no memory until a sweep reaches it, repeats
    the call, and drops them again. A chain of n equal checkpointed segments takes the memory of
    one segment and n boundaries, for the time of one more forward evaluation.

    Parameters
    ----------
    fn
        A pure function: two calls with the same arguments return the same result. Arguments and
        result may be any trees. Tensors that it captures receive gradients, as its arguments do.

    Returns
    -------
    A function of the same arguments, with the name, docstring and signature of `fn`,
    that pickles if `fn` does. Inside `compile` it is `fn` itself, since the buffers of a program
    are planned as a whole, and also inside `vmap`: write ``checkpoint(vmap(fn))``.

    Raises
    ------
    ValueError
        During the sweep: if the repeated call returns another result.

    Examples
    --------
    >>> import tapegrad as tg
    >>> layer = tg.checkpoint(lambda w, x: tg.tanh(tg.sin(x * w)))
    >>> output, tape = tg.record(lambda w: layer(w, layer(w, 1.0)))(0.5)
    >>> [record.op.name for record in tape]
    ['parameter', 'checkpoint', 'checkpoint']
    >>> round(float(tg.reverse_sweep(tape, output)[tape.parameters[0]]), 4)
    0.7409
    """
    return Checkpoint(fn)


@attrs.frozen(eq=False, repr=False)
class CheckpointedCall:
    """A checkpointed call, with the data for its repetition.

    Attributes
    ----------
    checkpoint, args, kwargs
        The checkpointed function, and the arguments of the call.
    start
        The record before the call.
    reads
        The records that the call uses: arguments, and Tensors that the function captures.
    layout, primal
        The layout and the values of the results.
    """

    __tree_leaf__: ClassVar[bool] = True

    checkpoint: Checkpoint[..., Any]
    args: tuple[Any, ...]
    kwargs: Mapping[str, Any]
    start: Tensor | Origin
    reads: tuple[Tensor, ...]
    layout: Layout
    primal: Array | float | complex | Parts

    def __repr__(self) -> str:
        return label(self.checkpoint.fn)

    def pull(self, cotangents: list[Any]) -> list[Any]:
        """Return the cotangents of `reads`, given the cotangents of the results."""
        tapes, seeds = self._sweep_arguments(cotangents)
        gradients = sweep(tapes, seeds)
        return [gradients[x] for x in self.reads]

    def _sweep_arguments(self, cotangents: list[Any]) -> tuple[list[Tape], dict[Tensor, Any]]:
        """Return the arguments of a sweep, which can free the records that it has passed."""
        tape, outputs = self.repeat()
        seeds: dict[Tensor, Any] = {}
        for x, c in zip(outputs, cotangents, strict=True):
            if type(x) is Tensor and c is not None:
                seeds[x] = seeds[x] + c if x in seeds else c
        return [tape], seeds

    def push(self, moved: Mapping[int, Tangent]) -> list[Tangent | None]:
        """Return the tangents of the results, given the tangents of `reads` by position."""
        tape, outputs = self.repeat()
        tangents = {self.reads[i]: t for i, t in moved.items()}
        pushed = push_forward(tape, tangents, [x for x in outputs if type(x) is Tensor])
        return [pushed.get(x) if type(x) is Tensor else None for x in outputs]

    def repeat_on_own_tape(self, origin: Origin) -> tuple[Tape, list[Any]]:
        """Repeat the call on a separate tape, which begins at `origin`.

        Return the tape and the floating results.
        """
        (args, kwargs), last = _lift_arguments(origin, (self.args, self.kwargs))
        output, last = record_from(last, _call_readonly, (self.checkpoint.fn, args, kwargs))
        marks = [x for x in Tape(last, origin) if x.op is PARAMETER and x._operands]
        read = [x for x in marks if x._operands[0].origin is not origin]
        return Tape(last, origin, tuple(read)), floating_leaves(output)

    def repeat(self) -> tuple[Tape, list[Any]]:
        """Repeat the call, and return its records and its floating results."""
        if is_recording(self.start.origin):
            output, tape = self._check_repeated(last_record())
        else:
            (output, tape), _ = record_from(self.start, self._check_repeated, (self.start,))
        return tape, floating_leaves(output)

    def _check_repeated(self, start: Tensor | Origin) -> tuple[Any, Tape]:
        """Return the result of a second call, and its records; raise if the result differs."""
        output = _call_readonly(self.checkpoint.fn, self.args, self.kwargs)
        tape = Tape(last_record(), start, self.reads)
        layout = Layout.from_output(output)
        if layout.structure != self.layout.structure or layout.shapes != self.layout.shapes:
            raise ValueError(
                f"{label(self.checkpoint.fn)} is checkpointed, but called again it returned "
                f"{layout.structure} of shape {layout.shapes}, not {self.layout.structure} of "
                f"{self.layout.shapes}: it must do the same each time"
            )
        values = primals(floating_leaves(output))
        # a batch has no values to compare
        if not start.origin.compiling and not all(
            map(_is_close, values, layout.partition(self.primal))
        ):
            raise ValueError(
                f"{label(self.checkpoint.fn)} is checkpointed, but a second call returned other "
                "numbers: does it draw random numbers (pass a key), or read an array that has "
                "changed (pass it as an argument)?"
            )
        return output, tape


def _is_close(x: ArrayLike, y: ArrayLike) -> bool:
    """Return whether two results are the same, up to rounding."""
    # most are the same to the bit, a comparison that takes less memory
    return np.array_equal(x, y) or np.allclose(x, y, rtol=1e-3, atol=1e-6, equal_nan=True)


def _call_readonly(fn: Fn, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Any:
    """Call a function on read-only views of its arguments."""
    args, kwargs = tree.map(readonly_view, (args, kwargs))
    return fn(*args, **kwargs)


def _freeze_array(leaf: PyTree) -> Any:
    """Return a leaf of an argument for a later call: an array becomes a copy."""
    return as_constant(leaf, "checkpoint", True) if type(leaf) is np.ndarray else leaf


def _lift_arguments(origin: Origin, trees: PyTree) -> tuple[Any, Tensor | Origin]:
    """Lift the Tensors of arguments to the tape that begins at `origin`.

    Return the arguments and the last record. Without this, each use of a Tensor would lift it.
    """
    last: Tensor | Origin = origin

    def lift_leaf(leaf: PyTree) -> Any:
        nonlocal last
        if type(leaf) is not Tensor:
            return readonly_view(leaf)
        last, lifted = lift(last, CHECKPOINT, leaf)
        return lifted

    return tree.map(lift_leaf, trees), last


def _is_outside(x: Tensor, start: Tensor | Origin) -> bool:
    """Return whether a record belongs to another tape, or precedes the start of this one."""
    return x.origin is not start.origin or x.index <= start.index


def _detach_unless_floating(origin: Tensor | Origin, leaf: Any) -> Any:
    """Detach a leaf of the result that has no gradient from the records that are dropped."""
    if type(leaf) is not Tensor or leaf.dtype.kind in "fc" or _is_outside(leaf, origin):
        return leaf
    last = write_known(last_record(), stopped, (leaf._primal,), NO_OPTIONS, leaf._primal)
    advance(last)
    return last


def _find_captured(tape: Tape, output: PyTree) -> tuple[Tensor, ...]:
    """Return the floating records of outer tapes that a tape or the output uses."""
    operands = [x for record in tape for x in record._operands] + tree.leaves(output)
    return tuple(
        dict.fromkeys(
            x
            for x in operands
            if type(x) is Tensor and _is_outside(x, tape.start) and x.dtype.kind in "fc"
        )
    )


def _replace_results(output: PyTree, layout: Layout, record: Tensor) -> Any:
    """Return the output with its floating records replaced by the parts of `record`."""
    results = []
    for x, result in zip(floating_leaves(output), layout.partition(record), strict=True):
        if type(x) is not Tensor:
            result = x
        elif type(x._primal) is not np.ndarray and result is not record:
            # a Python number stays a Python number
            result = write_known(last_record(), asarray, (result,), NO_OPTIONS, x._primal)
            advance(result)
        results.append(result)
    return layout.to_tree(results)


def _return_primal(*reads: Array, call: CheckpointedCall) -> Any:
    """Return the values of the results, which the call has computed."""
    return call.primal


CHECKPOINT = Primitive(
    "checkpoint",
    _return_primal,
    Joint(lambda g, y, *reads, call: Checkpoint(call.pull, True)(call.layout.partition(g))),
    jvp=lambda op, tangents, y, *reads, call: call.layout.join(
        Checkpoint(call.push, True)(tangents)
    ),
    complex=True,
)
declare(CHECKPOINT, pattern=lazy_function("tapegrad.transforms.pattern", "call_dependences"))
