"""Calls recorded as one: `checkpoint` and `custom_vjp`.

Both write a single record for a call, whatever the function does: `checkpoint` calls it
again on the way back, `custom_vjp` has a rule of its own for that. Several floating
results are packed in one flat array, and taken apart by indexing.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, ClassVar

import attrs
import numpy as np

from tapegrad import tree
from tapegrad.core.forward import push
from tapegrad.core.hidden import refuse_hidden
from tapegrad.core.op import Joint, Op, as_cotangent
from tapegrad.core.ownership import keep, lend
from tapegrad.core.sweep import fit, sweep
from tapegrad.core.tape import (
    CURRENT,
    Tape,
    advance,
    argument_names,
    as_constant,
    as_operands,
    check_callable,
    is_floating,
    keep_names,
    label,
    last_written,
    recorded_from,
    refuse_stranger,
    write_known,
)
from tapegrad.core.tensor import NO_OPTIONS, OPS, Origin, Tensor

Fn = Callable[..., Any]


# --- results in one array -----------------------------------------------------------


@attrs.frozen
class Layout:
    """Where the floating leaves of a tree are in one array; the other leaves as they are."""

    structure: tree.Structure
    leaves: tuple[Any, ...]
    shape: tuple[int, ...]
    dtype: np.dtype[Any]

    @classmethod
    def of(cls, output: Any) -> Layout:
        """The layout of a tree."""
        leaves, structure = tree.flatten(output)
        places: list[Any] = []
        stop = 0
        for x in leaves:
            if is_floating(x):
                primal = x.primal if type(x) is Tensor else x
                start, stop = stop, stop + math.prod(np.shape(primal))
                x = _Place(start, stop, np.shape(primal), np.asarray(primal).dtype)
            else:
                refuse_hidden(x, "a result")
            places.append(x)
        found = [x for x in places if type(x) is _Place]
        shape = found[0].shape if len(found) == 1 else (stop,)
        dtype = np.result_type(*{x.dtype for x in found}) if found else np.dtype(float)
        return cls(structure, tuple(places), shape, dtype)

    def pack(self, output: Any) -> Any:
        """The floating leaves of a tree of this layout as one array; a lone one as it is."""
        leaves = _floating_leaves(output)
        values = [x.primal if type(x) is Tensor else x for x in leaves]
        if len(values) == 1:
            (x,) = values
            if type(x) is float:
                return x
            # a record's is ours, but a view would keep more than itself in memory
            return x if type(leaves[0]) is Tensor and x.base is None else keep(np.asarray(x))
        # written once, and read from then on
        flat = np.empty(self.shape, self.dtype)
        for place, x in zip(self._places(), values, strict=True):
            flat[place.start : place.stop] = np.reshape(x, -1)
        flat.setflags(write=False)
        return flat

    def apart(self, packed: Any) -> list[Any]:
        """The floating leaves in an array or a Tensor of them."""
        places = self._places()
        return [packed] if len(places) == 1 else [place.of(packed) for place in places]

    def joined(self, floating: Sequence[Any]) -> Any:
        """`pack` of the floating leaves, recorded; None where one is zero."""
        places = self._places()
        flat = [
            np.zeros(place.shape, place.dtype) if x is None else x
            for place, x in zip(places, floating, strict=True)
        ]
        if len(flat) == 1:
            return flat[0]
        return OPS["concatenate"]([x.reshape(-1).astype(self.dtype) for x in flat])

    def tree(self, floating: Sequence[Any]) -> Any:
        """The tree with these for floating leaves."""
        rest = iter(floating)
        leaves = [next(rest) if type(x) is _Place else x for x in self.leaves]
        return tree.unflatten(self.structure, leaves)

    def _places(self) -> list[_Place]:
        return [x for x in self.leaves if type(x) is _Place]


@attrs.frozen
class _Place:
    """Where one leaf is."""

    start: int
    stop: int
    shape: tuple[int, ...]
    dtype: np.dtype[Any]

    def of(self, packed: Any) -> Any:
        x = packed[self.start : self.stop] if self.shape else packed[self.start]
        if len(self.shape) > 1:
            x = x.reshape(self.shape)
        return x if x.dtype == self.dtype else x.astype(self.dtype)


def _floating_leaves(output: Any) -> list[Any]:
    return [x for x in tree.leaves(output) if is_floating(x)]


# --- checkpoint ---------------------------------------------------------------------


@attrs.frozen(slots=False)
class Checkpoint:
    """What `checkpoint` returns."""

    __tree_leaf__: ClassVar[bool] = True

    fn: Fn

    def __attrs_post_init__(self) -> None:
        keep_names(self, self.fn)

    def __reduce__(self) -> tuple[Any, ...]:
        return Checkpoint, (self.fn,)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        start = CURRENT.get()
        if start is None or start.origin.compiling:
            return self.fn(*args, **kwargs)
        args, kwargs = tree.map(_unchanging, (args, kwargs))
        # a tape is a value: the call's records are let go by going on from the one before
        output, last = recorded_from(start, self.fn, args, kwargs)
        records = Tape(last, start)
        output = tree.map(partial(_kept, start), output)
        layout = Layout.of(output)
        if not any(type(x) is Tensor for x in _floating_leaves(output)):
            return output
        primal = layout.pack(output)
        reads = _read(records, output)
        call = Call(self.fn, args, kwargs, start, reads, layout, primal)
        record = write_known(last_written(), checkpointed, reads, {"call": call}, primal)
        advance(record)
        return _results(output, layout, record)


def checkpoint(fn: Fn) -> Checkpoint:
    """A function that is computed again on the way back, instead of remembered.

    A call of it is one record: what it computes in between takes no memory until a
    sweep comes to it, calls it once more, and lets go of it again. A chain of
    n equal checkpointed segments takes the memory of one segment and n boundaries, for
    the time of one more forward evaluation.

    Parameters
    ----------
    fn
        A pure function: called twice with the same arguments it does the same. Its
        arguments and its result are trees of anything. Tensors that it reads from
        around it have their gradient, as its arguments do.

    Returns
    -------
    A function of the same arguments, with the name, docstring and signature of `fn`,
    that pickles where `fn` does. Inside `compile` it is `fn` itself, for there a
    program's buffers are planned as a whole.

    Raises
    ------
    ValueError
        On the way back: if the function did not give again what it gave before.

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
class Call:
    """A checkpointed call: all that is needed to make it again.

    Attributes
    ----------
    fn, args, kwargs
        The call.
    start
        The record before it.
    reads
        The records that it was made from: arguments, and what the function found
        around it.
    layout, primal
        What it gave.
    """

    __tree_leaf__: ClassVar[bool] = True

    fn: Fn
    args: tuple[Any, ...]
    kwargs: Mapping[str, Any]
    start: Tensor | Origin
    reads: tuple[Tensor, ...]
    layout: Layout
    primal: Any

    def __repr__(self) -> str:
        return label(self.fn)

    def pull(self, g: Any) -> list[Any]:
        """The cotangents of what was read, from a second call."""
        tape, outputs = self._again()
        seeds: dict[Tensor, Any] = {}
        for x, c in zip(outputs, self.layout.apart(g), strict=True):
            if type(x) is Tensor:
                seeds[x] = seeds[x] + c if x in seeds else c
        gradients = sweep(tape, seeds)
        return [gradients[x] for x in self.reads]

    def push(self, moved: Mapping[int, Any]) -> Any:
        """The tangent of the results, packed, from a second call."""
        tape, outputs = self._again()
        tangents = {self.reads[i]: t for i, t in moved.items()}
        found = push(tape, tangents, [x for x in outputs if type(x) is Tensor])
        parts = [found.get(x) if type(x) is Tensor else None for x in outputs]
        return self.layout.joined(parts)

    def _again(self) -> tuple[Tape, list[Any]]:
        """What a second call writes, and its floating results."""
        current = CURRENT.get()
        if current is not None and current.origin is self.start.origin:
            output, tape = self._call(current)
        else:
            (output, tape), _ = recorded_from(self.start, self._call, (self.start,))
        return tape, _floating_leaves(output)

    def _call(self, start: Tensor | Origin) -> tuple[Any, Tape]:
        """The function's result, checked, and what it wrote from the start."""
        output = self.fn(*self.args, **self.kwargs)
        tape = Tape(last_written(), start, self.reads)
        layout = Layout.of(output)
        if layout.structure != self.layout.structure or layout.shape != self.layout.shape:
            raise ValueError(
                f"{label(self.fn)} is checkpointed, but called again it returned "
                f"{layout.structure} of shape {layout.shape}, not {self.layout.structure} of "
                f"{self.layout.shape}: it must do the same each time"
            )
        again = layout.pack(output)
        if not np.allclose(again, self.primal, rtol=1e-3, atol=1e-6, equal_nan=True):
            raise ValueError(
                f"{label(self.fn)} is checkpointed, but called again it gave other numbers: are "
                "there random ones in it (pass a key), or an array that has changed (pass it as "
                "an argument)?"
            )
        return output, tape


def _unchanging(leaf: Any) -> Any:
    """An argument as a later call may have it."""
    return as_constant(leaf, checkpointed) if type(leaf) is np.ndarray else leaf


def _kept(start: Tensor | Origin, leaf: Any) -> Any:
    """A result; if no gradient passes to it, then apart from the records that are let go."""
    if type(leaf) is not Tensor:
        return leaf
    if leaf.origin is not start.origin:
        refuse_stranger(checkpointed, leaf, start)
    if leaf.dtype.kind == "f" or leaf.index <= start.index:
        return leaf
    last = write_known(last_written(), OPS["stopped"], (leaf.primal,), NO_OPTIONS, leaf.primal)
    advance(last)
    return last


def _read(tape: Tape, output: Any) -> tuple[Tensor, ...]:
    """The floating records before a tape's start that its own, or the output, are made of."""
    operands = [x for record in tape for x in record.operands] + tree.leaves(output)
    return tuple(
        dict.fromkeys(
            x
            for x in operands
            if type(x) is Tensor and x.index <= tape.start.index and x.dtype.kind == "f"
        )
    )


def _results(output: Any, layout: Layout, record: Tensor) -> Any:
    """What a call gave, as records that are made of its own."""
    results = []
    for x, result in zip(_floating_leaves(output), layout.apart(record), strict=True):
        if type(x) is not Tensor:
            result = x
        elif type(x.primal) is not np.ndarray and result is not record:
            # a Python number stays one
            result = write_known(last_written(), OPS["asarray"], (result,), NO_OPTIONS, x.primal)
            advance(result)
        results.append(result)
    return layout.tree(results)


@partial(
    Op,
    "checkpoint",
    vjps=Joint(lambda g, y, *reads, call: Checkpoint(call.pull)(g)),
    jvp=lambda moved, y, *reads, call: Checkpoint(call.push)(moved),
)
def checkpointed(*reads: Any, call: Call) -> Any:
    """A call that is made again on the way back."""
    return call.primal


# --- custom_vjp ---------------------------------------------------------------------


@attrs.frozen(slots=False)
class CustomVJP:
    """What `custom_vjp` returns."""

    __tree_leaf__: ClassVar[bool] = True

    fn: Fn
    backward: Fn

    def __attrs_post_init__(self) -> None:
        keep_names(self, self.fn)
        check_callable(self.backward)

    def __reduce__(self) -> str | tuple[Any, ...]:
        # by name where a decorator has put it in the function's place, as functions are
        module = sys.modules.get(self.fn.__module__)
        found = module and getattr(module, self.fn.__qualname__, None)
        return self.fn.__qualname__ if found is self else (CustomVJP, (self.fn, self.backward))

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        leaves, structure = tree.flatten((args, kwargs))
        tensors = [x for x in leaves if type(x) is Tensor]
        start = CURRENT.get()
        if start is None:
            for x in tensors:
                refuse_stranger(customized, x, None)
            lent = [lend(x) if type(x) is np.ndarray else x for x in leaves]
            args, kwargs = tree.unflatten(structure, lent)
            return self.fn(*args, **kwargs)
        for x in tree.leaves(kwargs):
            if type(x) is Tensor and x.dtype.kind == "f" and x.op is not OPS["stopped"]:
                raise TypeError(
                    f"{label(self.fn)} has a custom VJP, which gives cotangents for the positional "
                    f"arguments; {x._line()} was passed by keyword: pass it by position, or "
                    "tg.stop_gradient of it"
                )
        for x in leaves:
            refuse_hidden(x, f"an argument of {label(self.fn)}, which has a custom VJP,")
        last, operands = as_operands(start, customized, tuple([x for x in leaves if _is_number(x)]))
        for x in tensors:
            if x.origin is not start.origin:
                refuse_stranger(customized, x, start)
        call = CustomCall(self, structure, tuple([None if _is_number(x) else x for x in leaves]))
        # the function sees arrays; a Tensor that it finds around it is refused
        values = [x.primal if type(x) is Tensor else x for x in operands]
        output, _ = recorded_from(None, call.run, (values,))
        if not tensors:
            return output
        layout = Layout.of(output)
        others = [type(x).__name__ for x in layout.leaves if _is_number(x)]
        if others and start.origin.compiling:
            raise TypeError(
                f"{label(self.fn)} has a custom VJP and returned a {others[0]} that is not "
                "floating, which cannot be compiled; return .astype(float) of it"
            )
        call = attrs.evolve(call, layout=layout)
        record = write_known(last, customized, operands, {"call": call}, layout.pack(output))
        advance(record)
        return layout.tree(layout.apart(record))


@attrs.frozen(repr=False)
class CustomCall:
    """A call of a `custom_vjp` function, without the numbers that it is made with."""

    __tree_leaf__: ClassVar[bool] = True

    custom: CustomVJP
    structure: tree.Structure
    statics: tuple[Any, ...]
    layout: Any = None

    def __repr__(self) -> str:
        return label(self.custom.fn)

    def arguments(self, operands: Sequence[Any]) -> Any:
        """The arguments and keyword arguments, with these for numbers."""
        rest = iter(operands)
        leaves = [next(rest) if x is None else x for x in self.statics]
        return tree.unflatten(self.structure, leaves)

    def run(self, operands: Sequence[Any]) -> Any:
        """What the function gives."""
        args, kwargs = self.arguments([lend(x) if type(x) is np.ndarray else x for x in operands])
        return self.custom.fn(*args, **kwargs)

    def pull(self, g: Any, y: Any, operands: Sequence[Any]) -> list[Any]:
        """The operands' cotangents, by the user's rule."""
        layout, name = self.layout, label(self.custom.fn)
        g, y, *operands = [lend(x) if type(x) is np.ndarray else x for x in (g, y, *operands)]
        args, kwargs = self.arguments(operands)
        cotangent, output = layout.tree(layout.apart(g)), layout.tree(layout.apart(y))
        given = self.custom.backward(cotangent, output, *args, **kwargs)
        if type(given) is not tuple or len(given) != len(args):
            got = f"a tuple of {len(given)}" if type(given) is tuple else type(given).__name__
            raise TypeError(
                f"the backward rule of {name} returned {got}; a tuple with a cotangent for each "
                f"of the {len(args)} positional arguments is needed (None where no gradient "
                "passes)"
            )
        cotangents: list[Any] = []
        names = argument_names(self.custom.fn, len(args))

        def collect(x: Any, path: str, c: Any) -> None:
            if not _is_number(x):
                return
            if c is not None and is_floating(x):
                primal = x.primal if type(x) is Tensor else x
                c = fit(as_cotangent(c, name), np.asarray(primal), name, path)
            cotangents.append(c)

        for arg, path, c in zip(args, names, given, strict=True):
            paths = iter(tree.paths(arg))
            tree.map_up_to(
                lambda x, c, path=path, paths=paths: collect(x, _joined(path, next(paths)), c),
                arg,
                c,
            )
        n_keywords = len([x for x in tree.leaves(kwargs) if _is_number(x)])
        return cotangents + [None] * n_keywords


def _joined(name: str, path: str) -> str:
    return f"{name}.{path}" if path else name


def _is_number(x: Any) -> bool:
    return isinstance(x, Tensor | np.ndarray | np.generic | float | int)


@partial(
    Op,
    "custom_vjp",
    vjps=Joint(lambda g, y, *operands, call: call.pull(g, y, operands)),
    keeps_weak=True,
)
def customized(*operands: Any, call: CustomCall) -> Any:
    """A call that has a rule of its own for the way back."""
    return np.asarray(call.layout.pack(call.run(operands)))


def custom_vjp(backward: Fn) -> Callable[[Fn], CustomVJP]:
    """Give a function of trees a rule of its own for the way back.

    For a derivative that is known better than the function's steps tell: a stable form,
    the derivative of an implicit function, a gradient that is to be another one. For a
    function of a few arrays with a rule for each there is `custom_op`.

    Parameters
    ----------
    backward
        A function of the cotangent and the output, two trees of one structure (what is
        not floating in the output stands in both), and of the arguments, that returns a
        tuple with a cotangent for each positional argument: a tree like it, or None
        where no gradient passes. It is written with
        operators, ``np.*`` or tapegrad's functions, so that it can be differentiated
        itself: derivatives of any order, in both modes, follow from it.

    Returns
    -------
    A decorator. The function that it is given is called on arrays and Python numbers,
    never on Tensors, and may compute in any way: with loops until something converges,
    with functions that tapegrad does not know. Results that the rule can use may be
    returned beside others; the cotangents that it gets for them are zero in a first
    derivative, but not in the second.

    Raises
    ------
    TypeError
        When called: if a floating Tensor is passed by keyword, or, inside `compile`, if
        a result is an integer or a truth value. On the way back: if the rule does not
        return such a tuple.
    TapeError
        When called: if the function reads a Tensor from around it; pass it as an
        argument.
    ValueError
        On the way back: if a cotangent does not fit its argument, with the path.

    Examples
    --------
    The derivative of an implicit function, ``x`` where ``x == cos(a * x)``:

    >>> import tapegrad as tg
    >>> def backward(g, x, a):
    ...     slope = tg.sin(a * x)
    ...     return (-g * slope * x / (1 + a * slope),)
    >>> @tg.custom_vjp(backward)
    ... def fixed_point(a):
    ...     x = 0.5
    ...     for _ in range(100):
    ...         x = np.cos(a * x)
    ...     return x
    >>> round(float(tg.grad(fixed_point)(1.0)), 4)
    -0.2975

    A stable form, where the steps would overflow:

    >>> @tg.custom_vjp(lambda g, y, x: (g * tg.sigmoid(x),))
    ... def log1pexp(x):
    ...     return np.maximum(x, 0) + np.log1p(np.exp(-abs(x)))
    >>> tg.grad(log1pexp)(1e4)
    array(1.)
    """
    check_callable(backward)
    return partial(_customized, backward)


def _customized(backward: Fn, fn: Fn) -> CustomVJP:
    return CustomVJP(fn, backward)
