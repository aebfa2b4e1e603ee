"""Jacobian and Hessian products with vectors: `vjp`, `jvp`, `linearize` and `hvp`."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any, ClassVar, Generic, Literal, overload

import attrs
import numpy as np

from tapegrad import tree
from tapegrad.arraylike.table import lazy_import
from tapegrad.core.forward import push_forward
from tapegrad.core.recording import record_call
from tapegrad.core.sweep import finish_gradient, sweep
from tapegrad.core.tape import Tape
from tapegrad.core.tensor import Tensor
from tapegrad.declare.parts import is_numeric
from tapegrad.errors.functions import label
from tapegrad.errors.lines import WarnsAtUsersLine, users_place
from tapegrad.errors.words import a_kind, got
from tapegrad.transforms.base import (
    A,
    Aux,
    B,
    C,
    Fn,
    Grad,
    R,
    Ts,
    gradient_trees,
    split_aux,
    unwrap_tree,
)
from tapegrad.transforms.reverse import check_cotangent, initial_cotangent
from tapegrad.tree.cotangents import drop_negative_zeros
from tapegrad.tree.numbers import is_floating
from tapegrad.tree.opaque import refuse_hidden
from tapegrad.tree.ownership import readonly_array
from tapegrad.tree.structure import is_record
from tapegrad.types import PyTree, Tangent


@attrs.frozen(eq=False, repr=False)
class Pullback(WarnsAtUsersLine, Generic[*Ts]):
    """The VJP of a recorded call, which maps a cotangent to gradients any number of times."""

    __tree_leaf__: ClassVar[bool] = True
    __recording__: ClassVar[bool] = True

    tape: Tape
    output: PyTree
    marked: tuple[Any, ...]

    def __repr__(self) -> str:
        return _describe("pullback", self.tape)

    def __call__(self, cotangent: PyTree) -> tuple[*Ts]:
        """Return the cotangents of the arguments, a tuple with one tree for each.

        Parameters
        ----------
        cotangent
            A tree like the output. None for a leaf, or for the tree, stands for zeros.
        """
        seeds: dict[Tensor, Any] = {}
        pairs = tree.zip_leaves(self.output, cotangent, strict=False)
        for path, (output, c) in zip(tree.paths(self.output), pairs, strict=True):
            if c is not None and type(output) is Tensor and output.dtype.kind in "fc":
                weight = initial_cotangent(
                    output, c, f"the cotangent of {path}" if path else "the cotangent"
                )
                seeds[output] = seeds[output] + weight if output in seeds else weight
        return gradient_trees(sweep([self.tape], seeds), self.marked)


# one overload for each arity, so that a function may have further arguments with defaults
@overload
def vjp(
    fn: Callable[[A], R], a: A, /, *, has_aux: Literal[False] = False
) -> tuple[R, Pullback[A]]: ...


@overload
def vjp(
    fn: Callable[[A, B], R], a: A, b: B, /, *, has_aux: Literal[False] = False
) -> tuple[R, Pullback[A, B]]: ...


@overload
def vjp(
    fn: Callable[[A, B, C], R], a: A, b: B, c: C, /, *, has_aux: Literal[False] = False
) -> tuple[R, Pullback[A, B, C]]: ...


@overload
def vjp(
    fn: Fn,
    a: PyTree,
    b: PyTree,
    c: PyTree,
    d: PyTree,
    /,
    *rest: PyTree,
    has_aux: Literal[False] = False,
) -> tuple[Any, Pullback[*tuple[Any, ...]]]: ...


@overload
def vjp(
    fn: Callable[..., tuple[R, Aux]], /, *primals: PyTree, has_aux: Literal[True]
) -> tuple[R, Pullback[*tuple[Any, ...]], Aux]: ...


def vjp(fn: Fn, *primals: PyTree, has_aux: bool = False) -> Any:
    """Return the output of a function and its pullback, the vector-Jacobian product.

    Parameters
    ----------
    fn
        A function of trees with floating leaves that returns a tree.
    *primals
        The arguments of `fn`.
    has_aux
        Whether `fn` returns ``(output, aux)``; `aux` is returned unchanged.

    Returns
    -------
    output, pullback
        ``pullback(cotangent)`` maps a tree like the output, in which None stands for zeros, to
        a tuple with a tree for each argument, any number of times. With `has_aux`, ``output,
        pullback, aux``.

    Raises
    ------
    TypeError
        If a leaf of the arguments is not floating, with its path; if no leaf of the output is
        floating, or a leaf hides Tensors in an object that is not a tree.

    Examples
    --------
    >>> import tapegrad as tg
    >>> output, pullback = tg.vjp(lambda x, y: (x * y, x + y), 2.0, 3.0)
    >>> output
    (array(6.), array(5.))
    >>> pullback((1.0, 0.0)), pullback((None, 1.0))
    ((array(3.), array(2.)), (array(1.), array(1.)))

    For complex numbers the pullback is the adjoint under ``Re(sum(conj(a) * b))``:

    >>> tg.vjp(lambda z: 1j * z, 2.0 + 0j)[1](1.0 + 0j)
    (array(0.-1.j),)
    """
    return record_with_pullback(fn, primals, {}, tuple(range(len(primals))), has_aux)


def record_with_pullback(
    fn: Fn,
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
    positions: tuple[int, ...],
    has_aux: bool,
) -> tuple[Any, ...]:
    """Return `vjp` with respect to some arguments of a call."""
    output, tape, marked = record_call(fn, args, kwargs, positions)
    output, aux = split_aux(fn, output, has_aux)
    released = unwrap_tree(output)
    check_result(fn, output)
    return released, Pullback(tape, tree.copy_containers(output), marked), *aux


def check_result(fn: Fn, output: PyTree) -> None:
    """Raise unless the result of a function has a derivative."""
    if output is None:
        raise TypeError(f"{label(fn)} has no derivative: it returned {got(output)}")
    leaves = tree.leaves(output)
    for x in leaves:
        refuse_hidden(x, "a result")
    if not any(is_floating(x) for x in leaves):
        kinds = dict.fromkeys(str(getattr(x, "dtype", type(x).__name__)) for x in leaves)
        raise TypeError(
            f"{label(fn)} has no derivative: no leaf of its result is floating "
            f"({', '.join(kinds) or 'there is none'})"
        )


@overload
def jvp(
    fn: Callable[[A], R],
    primals: tuple[A],
    tangents: list[Any] | tuple[PyTree],
    has_aux: Literal[False] = False,
    check_finite: bool = False,
) -> tuple[R, R]: ...


@overload
def jvp(
    fn: Callable[[A, B], R],
    primals: tuple[A, B],
    tangents: list[Any] | tuple[PyTree, PyTree],
    has_aux: Literal[False] = False,
    check_finite: bool = False,
) -> tuple[R, R]: ...


@overload
def jvp(
    fn: Callable[[A, B, C], R],
    primals: tuple[A, B, C],
    tangents: list[Any] | tuple[PyTree, PyTree, PyTree],
    has_aux: Literal[False] = False,
    check_finite: bool = False,
) -> tuple[R, R]: ...


@overload
def jvp(
    fn: Fn,
    primals: list[Any] | tuple[Any, Any, Any, Any, *tuple[Any, ...]],
    tangents: Sequence[Any],
    has_aux: Literal[False] = False,
    check_finite: bool = False,
) -> tuple[Any, Any]: ...


@overload
def jvp(
    fn: Callable[..., tuple[R, Aux]],
    primals: Sequence[Any],
    tangents: Sequence[Any],
    has_aux: Literal[True],
    check_finite: bool = False,
) -> tuple[R, R, Aux]: ...


def jvp(
    fn: Fn,
    primals: Sequence[Any],
    tangents: Sequence[Any],
    has_aux: bool = False,
    check_finite: bool = False,
) -> Any:
    """Return the output of a function and its tangent, the Jacobian-vector product.

    The function is recorded, and tangents are propagated along the tape
    (`tapegrad.core.forward`).

    Parameters
    ----------
    fn
        A function of trees with floating leaves that returns a tree.
    primals, tangents
        The arguments and their direction: tuples of trees of equal structure. A tangent None
        stands for zeros.
    has_aux
        Whether `fn` returns ``(output, aux)``; `aux` is returned unchanged.
    check_finite
        Whether to raise at the first value or tangent that is not finite, as for
        `value_and_grad`.

    Returns
    -------
    output, tangent
        Trees of equal structure. A leaf that is no number, such as text, is the same in both.
        With `has_aux`, ``output, tangent, aux``.

    Raises
    ------
    TypeError
        If primals or tangents are not in a tuple, a leaf of them is not floating, with its path,
        or no leaf of the output is floating.
    ValueError
        If a tangent has another structure or shape than its primal, with the path.
    NonFiniteError
        With `check_finite`: where a NaN or an infinity arose.

    Examples
    --------
    >>> import tapegrad as tg
    >>> tg.jvp(lambda x, y: x * y, (2.0, 3.0), (1.0, 0.0))
    (array(6.), array(3.))
    """
    primals, tangents = _check_sequence("primals", primals), _check_sequence("tangents", tangents)
    place = users_place if check_finite else None
    output, tape, marked = record_call(fn, primals, {}, tuple(range(len(primals))), place)
    output, aux = split_aux(fn, output, has_aux)
    check_result(fn, output)
    make_check = (
        lazy_import("tapegrad.explain.finite", "make_tangent_check") if check_finite else None
    )
    pushforward: Pushforward[Any] = Pushforward(tape, output, marked, make_check)
    return unwrap_tree(output), pushforward(*tangents), *aux


@attrs.frozen(eq=False, repr=False)
class Pushforward(WarnsAtUsersLine, Generic[R]):
    """The JVP of a recorded call, which maps tangents to a tangent any number of times."""

    __tree_leaf__: ClassVar[bool] = True
    __recording__: ClassVar[bool] = True

    tape: Tape
    output: PyTree
    marked: tuple[Any, ...]
    # the name stands in older pickles
    checking: Callable[[Tape, Iterable[Tensor]], Callable[..., None]] | None = None

    def __repr__(self) -> str:
        return _describe("pushforward", self.tape)

    def __call__(self, *tangents: PyTree) -> R:
        """Return the tangent of the output.

        Parameters
        ----------
        *tangents
            A tree like each argument. None for a leaf, or for a tree, stands for zeros.
        """
        if len(tangents) != len(self.marked):
            raise ValueError(f"there are {len(self.marked)} primals but {len(tangents)} tangents")
        seeds: dict[Tensor, Any] = {}
        for p, t in tree.zip_leaves(self.marked, tangents, strict=False):
            if t is not None:
                t = check_cotangent(p, t, f"the tangent of {p.name}", "its primal")
                # a view, so that a result that is the tangent itself is copied
                seeds[p] = t if type(t) is Tensor else t.view()
        leaves = tree.leaves(self.output)
        outputs = [x for x in leaves if type(x) is Tensor]
        check = self.checking and self.checking(self.tape, outputs)
        pushed = push_forward(self.tape, seeds, outputs, check)

        def finish_tangent(x: Any) -> Any:
            t = pushed.get(x) if type(x) is Tensor else None
            if t is None:
                return readonly_array(_zero_tangent(x)) if is_numeric(x) else x
            t = finish_gradient(x, t)
            # the conjugate in a gradient inside may leave negative zeros
            if t.dtype.kind != "c":
                return t
            return drop_negative_zeros(t if is_record(t) else t.copy())

        return tree.map(finish_tangent, self.output)

    def transpose(self, cotangent: PyTree) -> tuple[Any, ...]:
        """Return the cotangents of the arguments, as the pullback of `vjp` does.

        Parameters
        ----------
        cotangent
            A tree like the output. None for a leaf, or for the tree, stands for zeros.

        Returns
        -------
        A tuple with a tree for each primal. ``push.transpose(push(v))`` is the product of
        ``J.T @ J`` with a vector, the Gauss-Newton product.
        """
        pullback: Pullback[*tuple[Any, ...]] = Pullback(self.tape, self.output, self.marked)
        return pullback(cotangent)


def _describe(kind: str, tape: Tape) -> str:
    return f"<{kind} over {len(tape)} records of {tape.last.origin.label}>"


def linearize(fn: Callable[..., R], *primals: PyTree) -> tuple[R, Pushforward[R]]:
    """Return the output of a function and its pushforward, the Jacobian-vector product.

    The function is recorded once, for any number of tangents.

    Parameters
    ----------
    fn
        A function of trees with floating leaves that returns a tree.
    *primals
        The arguments of `fn`.

    Returns
    -------
    output, pushforward
        ``pushforward(*tangents)`` maps a tree like each argument to a tree like the output, and
        ``pushforward.transpose(cotangent)`` maps a tree like the output to a tuple with a tree for
        each argument; ``vmap`` of either maps a batch of these.

    Raises
    ------
    TypeError
        If a leaf of the arguments is not floating, with its path.
    ValueError
        When the pushforward is called: if a tangent has another structure or shape than its primal.

    Examples
    --------
    >>> import tapegrad as tg
    >>> output, push = tg.linearize(lambda x, y: x * y, 2.0, 3.0)
    >>> output, push(1.0, 0.0), push(0.0, 1.0)
    (array(6.), array(3.), array(2.))
    >>> push.transpose(1.0)
    (array(3.), array(2.))
    """
    output, tape, marked = record_call(fn, primals, {}, tuple(range(len(primals))))
    return unwrap_tree(output), Pushforward(tape, tree.copy_containers(output), marked)


def _check_sequence(what: str, trees: object) -> tuple[Any, ...]:
    """Return the arguments or tangents of `jvp` and `hvp` as a tuple."""
    if type(trees) is tuple:
        return trees
    if type(trees) is list:
        return tuple(trees)
    raise TypeError(
        f"{what} must be a tuple with a tree for each argument, not {a_kind(trees)}; for "
        "one argument write (x,)"
    )


def _zero_tangent(leaf: Any) -> Tangent:
    """Return zeros of the shape of a leaf, and of its dtype if the dtype is floating."""
    floating = is_floating(leaf)
    return np.zeros(np.shape(leaf), leaf.dtype if floating and hasattr(leaf, "dtype") else float)


@overload
def hvp(fn: Fn, primals: tuple[A], tangents: Sequence[Any]) -> A: ...


@overload
def hvp(fn: Fn, primals: Sequence[Any], tangents: Sequence[Any]) -> Any: ...


def hvp(fn: Fn, primals: Sequence[Any], tangents: Sequence[Any]) -> Any:
    """Return the product of a scalar function's Hessian with a vector.

    Parameters
    ----------
    fn
        A function with a scalar floating result.
    primals, tangents
        The arguments and the vector, tuples of trees of equal structure.

    Returns
    -------
    A tree like the argument; for several arguments, a tuple of such trees.

    Raises
    ------
    TypeError, ValueError
        As for `jvp`, and if the result is not a floating scalar.

    Examples
    --------
    >>> import tapegrad as tg
    >>> tg.hvp(lambda x: tg.sum(x**3), (np.array([1.0, 2.0]),), (np.array([1.0, 0.0]),))
    array([6., 0.])
    """
    primals = _check_sequence("primals", primals)
    argnums = 0 if len(primals) == 1 else tuple(range(len(primals)))
    return jvp(Grad(fn, argnums), primals, tangents)[1]
