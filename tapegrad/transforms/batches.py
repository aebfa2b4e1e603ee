"""`vmap`: a function of a batch, from a function of one example."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, Generic

import attrs
import numpy as np

from tapegrad import tree
from tapegrad.core.tensor import Tensor
from tapegrad.core.writing import CURRENT, write_parameter
from tapegrad.declare.abstract import Recorder, call_silently
from tapegrad.declare.batching import OneByOneError
from tapegrad.declare.parts import is_numeric
from tapegrad.errors.functions import Wrapper, argument_names, first_line, label
from tapegrad.ops.product import move_axis
from tapegrad.transforms.base import Fn, P, R, unwrap_result
from tapegrad.transforms.replay import replay
from tapegrad.tree.numbers import as_constant, describe, require_real
from tapegrad.tree.opaque import refuse_hidden
from tapegrad.tree.ownership import as_readonly_leaf, readonly_view
from tapegrad.types import Array, AxisTree, PyTree

__all__ = ["Vmap", "vmap"]


@attrs.frozen(eq=False)
class MappedLeaf:
    """A leaf of the arguments and its batch axis, or None if all examples share the leaf."""

    path: str
    leaf: Any
    axis: int | None

    @classmethod
    def check(cls, fn: Fn, path: str, leaf: PyTree, axis: int | None) -> MappedLeaf:
        """Return a mapped leaf; raise if the leaf lacks the axis."""
        if axis is None:
            return cls(path, leaf, None)
        if isinstance(leaf, np.ndarray | np.generic | Tensor):
            if -leaf.ndim <= axis < leaf.ndim:
                return cls(path, leaf, axis % leaf.ndim)
            raise ValueError(
                f"vmap of {label(fn)}: {path} has shape {leaf.shape}, so there is no axis {axis} "
                "for the examples to lie along; for what is the same for all write None in in_axes"
            )
        raise ValueError(
            f"vmap of {label(fn)}: {path} is {describe(leaf)}, which has no axis {axis}; for what "
            "is the same for all examples write None in in_axes, and np.array of a list of numbers"
        )

    def move_batch_first(self) -> Any:
        """Return the array with the examples along its first axis."""
        assert self.axis is not None
        x = self.leaf
        if type(x) is np.ndarray:
            # a view, which a tape does not copy, and which makes no result the array itself
            require_real(x.dtype, f"vmap: {self.path}", True)
            x = x.view()
            x.setflags(write=False)
        elif type(x) is not Tensor:
            x = as_constant(x, "vmap", True)
        return move_axis(x, self.axis, 0)


def move_batch_to(fn: Fn, x: Any, axis: int, where: str) -> Any:
    """Move the batch from the first axis of an array to an axis of out_axes."""
    if not -x.ndim <= axis < x.ndim:
        raise ValueError(
            f"vmap of {label(fn)}: {where} has shape {x.shape[1:]} for each example, so that "
            f"out_axes cannot be {axis}"
        )
    return move_axis(x, 0, axis)


def count_examples(fn: Fn, mapped: Sequence[MappedLeaf]) -> int:
    """Return the number of examples; raise unless all leaves agree."""
    sizes: dict[int, list[MappedLeaf]] = {}
    for x in mapped:
        if x.axis is not None:
            sizes.setdefault(x.leaf.shape[x.axis], []).append(x)
    if not sizes:
        raise ValueError(
            f"vmap of {label(fn)} has no batch: at least one array needs an axis in in_axes"
        )
    if len(sizes) > 1:
        batches = [
            f"{n} along axis {x.axis} of {x.path}, of shape {x.leaf.shape}"
            for n, (x, *_) in sizes.items()
        ]
        raise ValueError(f"vmap of {label(fn)}: the batches differ in size: {'; '.join(batches)}")
    return next(iter(sizes))


def flatten_axes(what: str, axes: PyTree, target: PyTree, name: str) -> list[int | None]:
    """Return the axis of each leaf of `target`, from a tree of axes that is a prefix of it."""
    leaves, structure = tree.flatten(target)
    if axes is None or (isinstance(axes, int | np.integer) and not isinstance(axes, bool)):
        return [None if axes is None else int(axes)] * len(leaves)
    parts = tree.named_children(axes)
    if parts is None:
        raise TypeError(
            f"{what} must be an axis, None or a tree of these; at {name} it is {axes!r}"
        )
    own = tree.named_children(target)
    alike = type(axes) is type(target) or (type(axes) is tuple and isinstance(target, tuple))
    if own is None or not alike or parts.keys() != own.keys():
        raise ValueError(
            f"{what} does not fit at {name}: it has {tree.flatten(axes)[1]!r} where there is "
            f"{structure!r}"
        )
    per_leaf: list[int | None] = []
    for key, child in own.items():
        per_leaf += flatten_axes(what, parts[key], child, f"{name}.{key}")
    return per_leaf


@attrs.frozen(slots=False, repr=False)
class Vmap(Wrapper, Generic[P, R]):
    """The result of `vmap`."""

    kind = "vmap"

    fn: Fn
    in_axes: PyTree = 0
    out_axes: PyTree = 0

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R:
        mapped = self._flatten_arguments(args, kwargs)
        n = count_examples(self.fn, mapped)
        outer = CURRENT.get()
        around = None if outer is None else outer.origin
        place = None if around is None else around.find_place
        recorder = Recorder(label(self.fn), first_line(self.fn), place, around, "batching")
        known: dict[Tensor, Any] = {}
        marks: list[Any] = []
        for x in mapped:
            if x.axis is None:
                marks.append(readonly_view(x.leaf))
                continue
            batch = x.move_batch_first()
            recorder.last = mark = write_parameter(recorder.last, _first_example(batch), x.path)
            known[mark] = batch
            marks.append(mark)
        structure = tree.flatten((args, kwargs))[1]
        # the record is of the first example, whose values are not read
        call = partial(call_silently, self._call)
        output = recorder.run(call, (tree.unflatten(structure, marks),))
        leaves, structure = tree.flatten(output)
        try:
            rows = replay(recorder.tape, leaves, known, n)
        except OneByOneError:
            rows, structure = self._call_each(mapped, (args, kwargs), n)
        axes = flatten_axes("out_axes", self.out_axes, output, "the result")
        results = [
            _finish_leaf(self.fn, x, is_batched, axis, n, path)
            for (x, is_batched), axis, path in zip(
                rows, axes, tree.structure_paths(structure), strict=True
            )
        ]
        if results and not any(map(is_numeric, results)):
            kinds = dict.fromkeys(type(x).__name__ for x in results)
            raise TypeError(
                f"{label(self.fn)} gives no batch: no leaf of its result is an array or a number "
                f"({', '.join(kinds)})"
            )
        result: Any = tree.unflatten(structure, results)
        return result

    def _call_each(self, mapped: list[MappedLeaf], call: PyTree, n: int) -> Any:
        """Call the function for each example, and stack the results."""
        structure = tree.flatten(call)[1]
        rows = []
        for i in range(n):
            leaves = [
                readonly_view(x.leaf) if x.axis is None else x.move_batch_first()[i] for x in mapped
            ]
            rows.append(tree.flatten(self._call(tree.unflatten(structure, leaves))))
        stacked = [
            (np.stack(parts), True) if is_numeric(parts[0]) else (parts[0], False)
            for parts in zip(*[leaves for leaves, _ in rows], strict=True)
        ]
        return stacked, rows[0][1]

    def _call(self, call: Any) -> Any:
        args, kwargs = call
        return self.fn(*args, **kwargs)

    def _flatten_arguments(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> list[MappedLeaf]:
        """Return the leaves of the arguments, each with its axis."""
        in_axes = self.in_axes
        if isinstance(in_axes, list):
            in_axes = tuple(in_axes)
        if isinstance(in_axes, tuple):
            if len(in_axes) != len(args):
                raise ValueError(
                    f"in_axes has {len(in_axes)} entries, but {label(self.fn)} was called with "
                    f"{len(args)} positional arguments; it must have one for each, or be one "
                    "for all"
                )
        else:
            in_axes = (in_axes,) * len(args)
        names = argument_names(self.fn, len(args))
        mapped = []
        for name, x, axis in [
            *zip(names, args, in_axes, strict=True),
            # as in JAX
            *[(name, x, 0) for name, x in kwargs.items()],
        ]:
            axes = flatten_axes("in_axes", axis, x, name)
            for (path, leaf), i in zip(tree.named_leaves(x, name), axes, strict=True):
                mapped.append(MappedLeaf.check(self.fn, path, leaf, i))
        return mapped


def _first_example(batch: Any) -> Array:
    """Return the first example of a batch, or zeros of an example's shape for an empty batch."""
    batch = batch._primal if type(batch) is Tensor else batch
    return np.asarray(batch[0]) if len(batch) else np.zeros(batch.shape[1:], batch.dtype)


def _finish_leaf(fn: Fn, x: Any, is_batched: bool, axis: int | None, n: int, path: str) -> Any:
    """Return a leaf of the result with the batch along `axis`."""
    where = f"the result at {path}" if path else "the result"
    if axis is None:
        if is_batched:
            raise ValueError(
                f"out_axes is None for {where} of {label(fn)}, which differs between the examples; "
                "give it an axis"
            )
        return unwrap_result(x)
    if not is_numeric(x):
        # a pullback raises too, since its tape is of one example
        refuse_hidden(x, where, recordings=False)
        return x
    if not is_batched:
        x = x if type(x) is Tensor else as_constant(x, where, True)
        x = np.broadcast_to(x, (n, *np.shape(x)))
        return unwrap_result(move_batch_to(fn, x, axis, where))
    return as_readonly_leaf(move_batch_to(fn, x, axis, where))


def vmap(fn: Callable[P, R], in_axes: AxisTree = 0, out_axes: AxisTree = 0) -> Vmap[P, R]:
    """A function of a batch, made from a function of one example.

    The function is recorded once, for one example, and the recording is replayed with
    arrays that have one more axis: a product of a matrix and a vector becomes a product of
    matrices. An op without a batching rule is called once for each example, which may take hundreds
    of times as long; a printed program says where this happens. The support table lists the ops
    that have a rule. A `custom_op` has none unless it says ``batch="elementwise"`` or gives one.

    Parameters
    ----------
    fn
        A pure function of trees. In place of a batch it gets Tensors of the shape of one example.
        Control flow cannot depend on their values; use `where`.
    in_axes
        The axis of each array along which the examples lie, or None for an array that all
        examples share. One entry for all positional arguments, or a tuple with one for each;
        an entry may be a tree of axes that is a prefix of the argument's tree. Arguments
        passed by keyword have their examples along axis 0.
    out_axes
        The axis of the examples in the result, None for a result that all examples share, or a
        tree of these.

    Returns
    -------
    A function of the same arguments, whose arrays have the batch axes of `in_axes`. It nests with
    all transforms and with itself, and pickles if `fn` does.

    Raises
    ------
    ValueError
        When called: if an array lacks its axis, batches differ in size, no array has an axis, or
        `in_axes` has an entry for a part that an argument lacks; with the path.
    TypeError
        When called: if in_axes or out_axes contain anything but axes.
    TraceError
        When called: if the function reads a value (``if``, ``float``, ``.value``, a mask)
        that differs between the examples.

    Notes
    -----
    The body of a loop or a branch is batched too. Where examples choose different branches,
    both are computed; where their loops end at different steps, the loop runs until all have
    ended. Only for the derivative of such a loop, taken inside `fn`, is `fn` called for each
    example.

    A key is an argument like any other: with a batch of keys, ``tg.random.split(key, n)``,
    each example draws with its own key.

    Examples
    --------
    >>> import tapegrad as tg
    >>> tg.vmap(np.dot)(np.array([[1.0, 2.0], [3.0, 4.0]]), np.array([[1.0, 1.0], [0.0, 1.0]]))
    array([3., 4.])

    A gradient for each example:

    >>> def loss(w, x, y):
    ...     return (w @ x - y) ** 2
    >>> x, y = np.array([[1.0, 0.0], [0.0, 2.0]]), np.array([1.0, 1.0])
    >>> tg.vmap(tg.grad(loss), in_axes=(None, 0, 0))(np.zeros(2), x, y)
    array([[-2., -0.],
           [-0., -4.]])
    """
    return Vmap(fn, in_axes, out_axes)
