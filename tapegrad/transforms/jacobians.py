"""Jacobians and Hessians: `jacobian`, `hessian` and its diagonal."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import attrs
import numpy as np

from tapegrad import tree
from tapegrad.arraylike.table import lazy_import
from tapegrad.core.forward import push_forward
from tapegrad.core.op import Op
from tapegrad.core.sweep import sweep
from tapegrad.core.tape import Tape
from tapegrad.core.tensor import Tensor
from tapegrad.core.writing import CURRENT, is_recording, last_record
from tapegrad.declare.parts import is_numeric
from tapegrad.errors.functions import label
from tapegrad.ops.arithmetic import imag, real
from tapegrad.transforms.base import (
    Argnums,
    Call,
    Fn,
    Grad,
    P,
    R,
    Transform,
    unwrap_tree,
)
from tapegrad.transforms.batches import Vmap
from tapegrad.transforms.products import check_result
from tapegrad.tree.ownership import as_readonly_leaf, readonly_array
from tapegrad.types import Array, Cotangent, Tangent

# the largest size in bytes of a record in one block of directions
_BLOCK_BYTES = 1 << 24
# up to this many directions, single sweeps cost less than a batch
_MAX_SINGLE = 3
_MODES = (None, "forward", "reverse")


def _check_mode(transform: object, field: object, mode: str | None) -> None:
    if mode not in _MODES:
        raise ValueError(f'mode must be "forward", "reverse" or None, not {mode!r}')


def _check_sparse(transform: object, field: object, sparse: object) -> None:
    if not isinstance(sparse, bool):
        _import_sparsity("check_pattern")(sparse)


@attrs.frozen(slots=False, repr=False)
class Jacobian(Transform[P, R]):
    """The result of `jacobian`."""

    kind = "jacobian"

    mode: str | None = attrs.field(default=None, validator=_check_mode)
    sparse: Any = attrs.field(default=False, validator=_check_sparse)
    symmetric: bool = False
    last_pattern: dict[str, Any] = attrs.field(init=False, factory=dict, eq=False)

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R:
        _, jacobian, aux = self._output_and_jacobian(args, kwargs)
        result: Any = (jacobian, *aux) if self.has_aux else jacobian
        return result

    def _output_and_jacobian(
        self, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> tuple[Any, Any, Any]:
        """Return the function's result, its Jacobian, and any auxiliary part."""
        call = self.resolve_call(args, kwargs)
        output, aux, tape, marked = self.record(call)
        check_result(self.fn, output)
        (outputs, structure), (inputs, inner) = tree.flatten(output), tree.flatten(marked)
        check_real_inputs(self, inputs)
        numeric = [y for y in outputs if is_numeric(y)]
        take = self._dense_rows if self.sparse is False else self._sparse_rows
        blocks = iter(take(tape, inputs, numeric))
        rows = [
            self.arrange_by_argnums(tree.unflatten(inner, next(blocks)), call[3])
            if is_numeric(y)
            else y
            for y in outputs
        ]
        return output, tree.unflatten(structure, rows), aux

    def _dense_rows(self, tape: Tape, inputs: list[Tensor], outputs: list[Any]) -> list[list[Any]]:
        """Return the block of each output and input."""
        differentiable = [x for x in outputs if is_differentiable(x)]
        halves: dict[Tensor, list[Tensor]] = {}
        for y in dict.fromkeys(differentiable):
            if y.dtype.kind == "c":
                tape, halves[y] = _split_complex(tape, y)
        differentiable = [part for y in differentiable for part in halves.get(y, [y])]
        mode = self.mode or (
            "forward" if total_size(inputs) < total_size(differentiable) else "reverse"
        )
        matrices = _dense_blocks(tape, inputs, differentiable, mode == "forward")
        if self.check_finite:
            lazy_import("tapegrad.explain.finite", "check_matrices")(tape, mode, matrices)
        for y, (re, im) in halves.items():
            for x in inputs:
                matrices[y, x] = cast_derivative(matrices[re, x] + 1j * matrices[im, x], x)
        return [
            [
                matrices[y, x]
                if type(y) is Tensor and (y, x) in matrices
                else readonly_array(np.zeros((*np.shape(y), *x.shape), x.dtype))
                for x in inputs
            ]
            for y in outputs
        ]

    def _sparse_rows(self, tape: Tape, inputs: list[Tensor], outputs: list[Any]) -> list[list[Any]]:
        """Return the sparse block of each output and input."""
        blocks: list[list[Any]] = _import_sparsity("sparse_blocks")(self, tape, inputs, outputs)
        return blocks


def _import_sparsity(name: str) -> Fn:
    """Import a function for sparse blocks, which most programs do not need."""
    return lazy_import("tapegrad.transforms.sparsity", name)


class ValueAndJacobian(Jacobian[P, R]):
    """The result of `value_and_jacobian`."""

    kind = "value_and_jacobian"

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R:
        output, jacobian, aux = self._output_and_jacobian(args, kwargs)
        value = unwrap_tree(output)
        result: Any = (value, *aux) if self.has_aux else value, jacobian
        return result


def check_real_inputs(transform: Transform[..., Any], inputs: Sequence[Tensor]) -> None:
    """Raise if an input is complex, since no matrix holds a derivative by complex numbers."""
    for x in inputs:
        if x.dtype.kind == "c":
            raise TypeError(
                f"{transform.kind} of {label(transform.fn)}: {x.name} is {x.dtype}, and no complex "
                "matrix holds a derivative by complex numbers, which is linear over the real ones "
                "alone; take tg.vjp, tg.jvp or tg.linearize, or differentiate by the pair of the "
                "real and the imaginary part"
            )


def _split_complex(tape: Tape, y: Tensor) -> tuple[Tape, list[Tensor]]:
    """Append the real and the imaginary part of a complex record to a tape."""
    tape, re = append_op(tape, real, y)
    tape, im = append_op(tape, imag, y)
    return tape, [re, im]


def append_op(tape: Tape, op: Op[...], y: Tensor) -> tuple[Tape, Tensor]:
    """Return a tape with a record of op(y) at its end, and the record."""
    if not is_recording(y.origin):
        return tape.write(op, y)
    record: Any = op(y)
    return Tape(last_record(), tape.start, tape.parameters), record


def is_differentiable(y: object) -> bool:
    """Return whether a result is a record with derivatives."""
    return type(y) is Tensor and y.dtype.kind in "fc"


def total_size(leaves: Sequence[Any]) -> int:
    """Return the total number of elements of some arrays."""
    return sum([x.size for x in leaves])


def make_propagator(
    tape: Tape, inputs: list[Tensor], outputs: list[Tensor], forward: bool
) -> tuple[Callable[[dict[Tensor, Any]], list[Any]], list[Tensor], list[Tensor]]:
    """Return a function that passes directions along a tape, forward or in reverse.

    Return also the records that the directions start from, and the records that they reach.
    """

    def push(tangents: dict[Tensor, Tangent]) -> list[Tangent]:
        pushed = push_forward(tape, tangents, outputs)
        # an output that does not depend on these inputs has no tangent
        return [pushed[y] if y in pushed else np.zeros(y.shape, y.dtype) for y in outputs]

    def pull(cotangents: dict[Tensor, Cotangent]) -> list[Cotangent]:
        gradients = sweep([tape], cotangents)
        return [gradients[x] for x in inputs]

    return (push, inputs, outputs) if forward else (pull, outputs, inputs)


def _dense_blocks(
    tape: Tape, inputs: list[Tensor], outputs: list[Tensor], forward: bool
) -> dict[Any, Any]:
    """Return the Jacobian of each output by each input, by columns if `forward`, else by rows."""
    propagate, ends, others = make_propagator(tape, inputs, outputs, forward)
    blocks: dict[Any, Any] = {}
    for other, stacked in zip(
        others, propagate_in_blocks(propagate, tape, ends, others), strict=True
    ):
        start = 0
        for end in dict.fromkeys(ends):
            # a slice or reshape that changes nothing would be recorded too
            part = stacked if end.size == len(stacked) else stacked[start : start + end.size]
            start += end.size
            part = np.transpose(part, (*range(1, part.ndim), 0)) if forward else part
            y, x = (other, end) if forward else (end, other)
            shape = y.shape + x.shape
            blocks[y, x] = cast_derivative(
                part if part.shape == shape else np.reshape(part, shape), x
            )
    return blocks


def cast_derivative(part: Any, x: Tensor) -> Any:
    """Convert a derivative by x to the dtype of x."""
    part = part if part.dtype.kind == "c" or part.dtype == x.dtype else part.astype(x.dtype)
    return as_readonly_leaf(part)


def propagate_in_blocks(
    propagate: Callable[[dict[Tensor, Any]], list[Any]],
    tape: Tape,
    ends: Sequence[Tensor],
    others: Sequence[Any],
    colors: Array | None = None,
) -> list[Any]:
    """Pass directions from one end of a tape to the other, and stack the results.

    A direction is the sum of the unit vectors of one color; without colors, it is one unit vector.
    Directions are passed in blocks, which bounds the memory.
    """
    ends = list(dict.fromkeys(ends))
    if colors is None:
        colors = np.arange(total_size(ends))
    n = int(colors.max(initial=-1)) + 1
    if n == 0:
        return [np.zeros((0, *x.shape), x.dtype) for x in others]
    largest = max([getattr(x._primal, "nbytes", 8) for x in (*tape, *ends)])
    step = max(1, _BLOCK_BYTES // largest)
    blocks: list[Any] = []
    for start in range(0, n, step):
        stop = min(start + step, n)
        moved, directions, first = [], [], 0
        for x in ends:
            units = np.equal.outer(np.arange(start, stop), colors[first : first + x.size])
            if units.any():
                moved.append(x)
                directions.append(units.astype(x.dtype).reshape(stop - start, *x.shape))
            first += x.size

        def propagate_units(*units: Array, moved: list[Tensor] = moved) -> list[Array]:
            return propagate(dict(zip(moved, units, strict=True)))

        batched: Fn = Vmap(propagate_units)
        m = stop - start
        if m > 1 and (m > _MAX_SINGLE or CURRENT.get() is not None):
            blocks.append(batched(*directions))
        else:
            each = [propagate_units(*[units[i] for units in directions]) for i in range(m)]
            blocks.append([np.stack(parts) for parts in zip(*each, strict=True)])
    if len(blocks) == 1:
        return list(blocks[0])
    return [np.concatenate(parts) for parts in zip(*blocks, strict=True)]


def jacobian(
    fn: Callable[P, Any],
    argnums: Argnums = 0,
    mode: str | None = None,
    has_aux: bool = False,
    check_finite: bool = False,
    *,
    sparse: Any = False,
    argnames: str | Sequence[str] | None = None,
) -> Jacobian[P, Any]:
    """A function that returns the Jacobian of `fn`.

    The function is recorded once. All columns, or all rows, are computed together, or in blocks
    if they would take too much memory.

    Parameters
    ----------
    fn
        A function that returns a tree of floating arrays. Results may be complex; arguments to
        differentiate with respect to may not.
    argnums, has_aux, argnames
        As for `value_and_grad`.
    mode
        ``"forward"``, a column for each element of the arguments, ``"reverse"``, a row for each
        element of the result, or None for the mode that needs fewer.
    check_finite
        Whether to raise at the first value that is not finite, and at the first derivative in a
        column or row that is not finite, as for `value_and_grad`.
    sparse
        If True, each block is a `tapegrad.scipy.sparse.coo_array` of shape ``(output.size,
        argument.size)``, both in C order, and takes one product for each color of its pattern
        (see `sparsity`). Or a pattern for the whole matrix, of all elements of the result by all
        elements of the arguments: a result of `sparsity`, or an array of ``scipy.sparse``, whose
        values are ignored. This needs SciPy.

    Returns
    -------
    A function of the same arguments. For an array argument and an array result it
    returns an array of shape ``output.shape + argument.shape``; for trees, the tree of the output
    with trees of the argument for leaves. A leaf that is no number, such as text, stays the same.
    With `has_aux`, ``(jacobian, aux)``.

    Raises
    ------
    ValueError
        If `mode` is anything else. When called: if a given pattern has another shape than the
        matrix, or misses an element that is not 0. A compiled function checks this in its first
        call, `vmap` in its first example, and the body of a compiled loop for a carry of 0.
    TypeError
        When called: if a leaf to differentiate is not floating, with its path; if no leaf of the
        result is floating, or a leaf hides Tensors in an object that is not a tree; or if an
        argument is complex, since no complex matrix holds such a derivative.
    NonFiniteError
        When called, with `check_finite`: where a NaN or an infinity arose.

    Examples
    --------
    >>> import tapegrad as tg
    >>> tg.jacobian(lambda x: x * x)(np.array([1.0, 2.0]))
    array([[2., 0.],
           [0., 4.]])
    """
    return Jacobian(fn, argnums, has_aux, check_finite, argnames=argnames, mode=mode, sparse=sparse)


def value_and_jacobian(
    fn: Callable[P, Any],
    argnums: Argnums = 0,
    mode: str | None = None,
    has_aux: bool = False,
    check_finite: bool = False,
    *,
    sparse: Any = False,
    argnames: str | Sequence[str] | None = None,
) -> ValueAndJacobian[P, tuple[Any, Any]]:
    """A function that returns the value of `fn` and its Jacobian, from one recording.

    Parameters
    ----------
    fn, argnums, mode, has_aux, check_finite, sparse, argnames
        As for `jacobian`.

    Returns
    -------
    A function of the same arguments that returns ``(value, jacobian)``, or
    ``((value, aux), jacobian)``.

    Raises
    ------
    ValueError, TypeError, NonFiniteError
        As for `jacobian`.

    Examples
    --------
    >>> import tapegrad as tg
    >>> value, jacobian = tg.value_and_jacobian(lambda x: x * x[0])(np.array([2.0, 3.0]))
    >>> value, jacobian
    (array([4., 6.]), array([[4., 0.],
           [3., 2.]]))
    """
    return ValueAndJacobian(
        fn, argnums, has_aux, check_finite, argnames=argnames, mode=mode, sparse=sparse
    )


class _GradientTransform(Transform[P, R]):
    """A transform of the gradient of its function."""

    def resolve_call(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Call:
        """Return a call of the gradient."""
        fn, args, kwargs, positions = super().resolve_call(args, kwargs)
        which = self.argnums if self.argnames is None else self.argnames
        argnums = positions if isinstance(which, tuple) else positions[0]
        return Grad(fn, argnums, self.has_aux), args, kwargs, positions


class Hessian(_GradientTransform[P, R], Jacobian[P, R]):
    """The result of `hessian`."""

    kind = "hessian"


def hessian(
    fn: Callable[P, Any],
    argnums: Argnums = 0,
    has_aux: bool = False,
    *,
    sparse: Any = False,
    argnames: str | Sequence[str] | None = None,
) -> Hessian[P, Any]:
    """A function that returns the second derivatives of a scalar function.

    Parameters
    ----------
    fn
        A function with a scalar floating result.
    argnums, has_aux, argnames
        As for `value_and_grad`.
    sparse
        As for `jacobian`. The blocks belong to one symmetric matrix over all leaves, which takes
        fewer products: one for each color of a star coloring.

    Returns
    -------
    A function of the same arguments that returns the Jacobian of the gradient: for an array, an
    array of shape ``argument.shape + argument.shape``; for a tree, a tree of trees, as for
    `jacobian`. With `has_aux`, ``(hessian, aux)``.

    Raises
    ------
    TypeError
        When called, as for `value_and_grad`.

    Examples
    --------
    >>> import tapegrad as tg
    >>> tg.hessian(lambda x: tg.sum(x**3))(np.array([1.0, 2.0]))
    array([[ 6.,  0.],
           [ 0., 12.]])
    """
    mode = {"mode": "forward", "sparse": sparse, "symmetric": sparse is not False}
    return Hessian(fn, argnums, has_aux, argnames=argnames, **mode)


class HessianDiag(_GradientTransform[P, R]):
    """The result of `hessian_diag`."""

    kind = "hessian_diag"

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R:
        call = self.resolve_call(args, kwargs)
        output, aux, tape, marked = self.record(call)
        check_real_inputs(self, tree.leaves(marked))
        arguments = self.arrange_by_argnums(marked, call[3])
        diagonal = tree.map(partial(_diagonal, tape), arguments, output)
        result: Any = (diagonal, *aux) if self.has_aux else diagonal
        return result


def _diagonal(tape: Tape, x: Tensor, gradient: object) -> Any:
    """Return the derivative of each element of a gradient by the same element of x."""
    if type(gradient) is not Tensor:
        return readonly_array(np.zeros(x.shape, x.dtype))

    def select_own(tangents: dict[Tensor, Tangent]) -> list[Tangent]:
        (unit,) = tangents.values()
        t = push_forward(tape, tangents, [gradient]).get(gradient)
        # a selection, since a product with values elsewhere may not be finite
        return [np.zeros((), x.dtype) if t is None else np.sum(np.where(unit, t, 0.0))]

    (numbers,) = propagate_in_blocks(select_own, tape, [x], [np.zeros((), x.dtype)])
    diagonal = np.reshape(numbers, x.shape)
    return cast_derivative(diagonal, x)


def hessian_diag(
    fn: Callable[P, Any],
    argnums: Argnums = 0,
    has_aux: bool = False,
    *,
    argnames: str | Sequence[str] | None = None,
) -> HessianDiag[P, Any]:
    """A function that returns the diagonal of the Hessian, exactly.

    The gradient is recorded once. Each of the n elements of the arguments then costs one
    tangent along that tape, as for `hessian`, but only n numbers are stored, not n².

    Parameters
    ----------
    fn
        A function with a scalar floating result.
    argnums, has_aux, argnames
        As for `value_and_grad`.

    Returns
    -------
    A function of the same arguments that returns the second derivative with respect to each
    element of the argument: a tree like the argument, of its shapes and dtypes; for several
    arguments, a tuple of such trees. With `has_aux`, ``(diagonal, aux)``.

    Raises
    ------
    TypeError
        When called, as for `value_and_grad`.

    Examples
    --------
    >>> import tapegrad as tg
    >>> tg.hessian_diag(lambda x: x[0] ** 3 * x[1] ** 2)(np.array([1.0, 2.0]))
    array([24.,  2.])
    """
    return HessianDiag(fn, argnums, has_aux, argnames=argnames)
