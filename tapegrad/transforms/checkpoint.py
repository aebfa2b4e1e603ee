"""checkpoint: a call recorded as one line and repeated during the sweep."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, ClassVar, Generic, ParamSpec, TypeVar

import attrs
import numpy as np

from tapegrad import tree
from tapegrad.arraylike.table import called_lazily
from tapegrad.core.forward import push_forward
from tapegrad.core.messages import check_output
from tapegrad.core.primitive import Joint, Primitive
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
        Whether it repeats a checkpointed call for a rule. Its records then belong to the tape that
        the rule differentiates.
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
        # dropped with the call; a record that leaks from it is of no other tape
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
        A pure function: called twice with the same arguments, it returns the same. Its arguments
        and its result may be any trees. Tensors that it captures receive gradients, as its
        arguments do.

    Returns
    -------
    A function of the same arguments, with the name, docstring and signature of `fn`,
    that pickles if `fn` does. Inside `compile` it is `fn` itself, since a program's
    buffers are planned as a whole, and inside `vmap`: write ``checkpoint(vmap(fn))``.

    Raises
    ------
    ValueError
        During the sweep: if the repeated call does not return the same.

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
    """A checkpointed call, with all that is needed to repeat it.

    Attributes
    ----------
    checkpoint, args, kwargs
        The checkpointed function, and the arguments of the call.
    start
        The record before it.
    reads
        The records that it uses: arguments, and Tensors that the function captures.
    layout, primal
        Its results.
    """

    __tree_leaf__: ClassVar[bool] = True

    checkpoint: Checkpoint[..., Any]
    args: tuple[Any, ...]
    kwargs: Mapping[str, Any]
    start: Tensor | Origin
    reads: tuple[Tensor, ...]
    layout: Layout
    primal: Any

    def __repr__(self) -> str:
        return label(self.checkpoint.fn)

    def pull(self, cotangents: list[Any]) -> list[Any]:
        """The cotangents of the records that it reads, given the cotangents of its results."""
        tapes, seeds = self._sweep_arguments(cotangents)
        gradients = sweep(tapes, seeds)
        return [gradients[x] for x in self.reads]

    def _sweep_arguments(self, cotangents: list[Any]) -> tuple[list[Tape], dict[Tensor, Any]]:
        """The arguments of a sweep; nothing else holds the records that it has passed."""
        tape, outputs = self.repeat()
        seeds: dict[Tensor, Any] = {}
        for x, c in zip(outputs, cotangents, strict=True):
            if type(x) is Tensor and c is not None:
                seeds[x] = seeds[x] + c if x in seeds else c
        return [tape], seeds

    def push(self, moved: Mapping[int, Any]) -> list[Any]:
        """The tangents of its results, given the tangents of the records that it reads."""
        tape, outputs = self.repeat()
        tangents = {self.reads[i]: t for i, t in moved.items()}
        tangents_of = push_forward(tape, tangents, [x for x in outputs if type(x) is Tensor])
        return [tangents_of.get(x) if type(x) is Tensor else None for x in outputs]

    def repeat_on_own_tape(self, origin: Origin) -> tuple[Tape, list[Any]]:
        """A second call, on a tape of its own that begins there, and its floating results."""
        (args, kwargs), last = _lift_arguments(origin, (self.args, self.kwargs))
        output, last = record_from(last, _call_readonly, (self.checkpoint.fn, args, kwargs))
        marks = [x for x in Tape(last, origin) if x.op is PARAMETER and x._operands]
        read = [x for x in marks if x._operands[0].origin is not origin]
        return Tape(last, origin, tuple(read)), floating_leaves(output)

    def repeat(self) -> tuple[Tape, list[Any]]:
        """The records of a second call, and its floating results."""
        if is_recording(self.start.origin):
            output, tape = self._check_repeated(last_record())
        else:
            (output, tape), _ = record_from(self.start, self._check_repeated, (self.start,))
        return tape, floating_leaves(output)

    def _check_repeated(self, start: Tensor | Origin) -> tuple[Any, Tape]:
        """The function's result, checked, and the records written from the start."""
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
        # where values are not known, as in a batch, there is nothing to compare
        if not start.origin.compiling and not all(
            map(_is_close, values, layout.partition(self.primal))
        ):
            raise ValueError(
                f"{label(self.checkpoint.fn)} is checkpointed, but a second call returned other "
                "numbers: does it draw random numbers (pass a key), or read an array that has "
                "changed (pass it as an argument)?"
            )
        return output, tape


def _is_close(x: Any, y: Any) -> bool:
    """Whether two results are the same, up to rounding."""
    # as a rule to the bit, which takes less memory to see
    return np.array_equal(x, y) or np.allclose(x, y, rtol=1e-3, atol=1e-6, equal_nan=True)


def _call_readonly(fn: Fn, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Any:
    """The function's result for arguments that it cannot change."""
    args, kwargs = tree.map(readonly_view, (args, kwargs))
    return fn(*args, **kwargs)


def _freeze_array(leaf: Any) -> Any:
    """An argument as a later call may use it."""
    return as_constant(leaf, "checkpoint", True) if type(leaf) is np.ndarray else leaf


def _lift_arguments(origin: Origin, trees: Any) -> tuple[Any, Tensor | Origin]:
    """Arguments for a call on the tape that begins there, and its last record.

    Their Tensors are marked on it, or else each use of one would be.
    """
    last: Tensor | Origin = origin

    def mark(leaf: Any) -> Any:
        nonlocal last
        if type(leaf) is not Tensor:
            return readonly_view(leaf)
        last, marked = lift(last, CHECKPOINT, leaf)
        return marked

    return tree.map(mark, trees), last


def _is_outside(x: Tensor, start: Tensor | Origin) -> bool:
    """Whether a record is of another tape, or from before the start of this one."""
    return x.origin is not start.origin or x.index <= start.index


def _detach_unless_floating(origin: Tensor | Origin, leaf: Any) -> Any:
    """A result; if no gradient passes to it, detached from the records that are dropped."""
    if type(leaf) is not Tensor or leaf.dtype.kind in "fc" or _is_outside(leaf, origin):
        return leaf
    last = write_known(last_record(), stopped, (leaf._primal,), NO_OPTIONS, leaf._primal)
    advance(last)
    return last


def _find_captured(tape: Tape, output: Any) -> tuple[Tensor, ...]:
    """The floating records of tapes around this one that its own records, or the output, use."""
    operands = [x for record in tape for x in record._operands] + tree.leaves(output)
    return tuple(
        dict.fromkeys(
            x
            for x in operands
            if type(x) is Tensor and _is_outside(x, tape.start) and x.dtype.kind in "fc"
        )
    )


def _replace_results(output: Any, layout: Layout, record: Tensor) -> Any:
    """The results of a call, as records made from its own."""
    results = []
    for x, result in zip(floating_leaves(output), layout.partition(record), strict=True):
        if type(x) is not Tensor:
            result = x
        elif type(x._primal) is not np.ndarray and result is not record:
            # a Python number stays one
            result = write_known(last_record(), asarray, (result,), NO_OPTIONS, x._primal)
            advance(result)
        results.append(result)
    return layout.to_tree(results)


def _return_primal(*reads: Any, call: CheckpointedCall) -> Any:
    """A call that is repeated during the sweep."""
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
declare(CHECKPOINT, pattern=called_lazily("tapegrad.transforms.pattern", "call_dependences"))
