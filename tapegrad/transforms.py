"""Transforms of functions: gradients, pullbacks, tangents, second derivatives.

Each records its function, sweeps the tape and puts the gradients into the trees
that the arguments came in. Inside a recording all of it is recorded, so the transforms
nest in any order.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import (
    Any,
    ClassVar,
    Concatenate,
    Generic,
    Literal,
    ParamSpec,
    TypeVar,
    TypeVarTuple,
    overload,
)

import attrs
import numpy as np

from tapegrad import tree
from tapegrad.core.callables import as_positions, check_callable, keep_names, label, title
from tapegrad.core.forward import push
from tapegrad.core.hidden import refuse_hidden
from tapegrad.core.operands import is_floating
from tapegrad.core.ownership import give, keep
from tapegrad.core.reach import needed
from tapegrad.core.refusals import refuse_stranger
from tapegrad.core.seeds import result_for, seed, weighing
from tapegrad.core.sweep import sweep
from tapegrad.core.tape import Tape, is_recording, run
from tapegrad.core.tensor import Tensor
from tapegrad.ops.record import asarray

# What a function takes, the trees that its arguments are, and what it gives. The bounds
# let checkers see through lambdas, whose arguments have no types.
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
        raise ValueError(f'unused is "zero" or "raise", not {unused!r}')


@attrs.frozen(slots=False, repr=False)
class _Transform(Generic[P, R]):
    """A function made from another: frozen, and pickled if that one can be."""

    __tree_leaf__: ClassVar[bool] = True
    # what its repr calls it
    kind: ClassVar[str]

    fn: Fn
    argnums: Argnums = attrs.field(default=0, converter=_as_argnums)
    has_aux: bool = False
    check_finite: bool = False
    unused: str = attrs.field(default="zero", validator=_check_unused)

    def __attrs_post_init__(self) -> None:
        keep_names(self, self.fn)

    def __repr__(self) -> str:
        return f"<{self.kind} of {title(self.fn)}>"

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), attrs.astuple(self, recurse=False)

    def positions(self, args: tuple[Any, ...]) -> tuple[int, ...]:
        """The arguments to differentiate, as positions counted from the front."""
        argnums = (self.argnums,) if isinstance(self.argnums, int) else self.argnums
        if argnums == (0,) and args:
            return argnums
        if any(not -len(args) <= i < len(args) for i in argnums):
            raise TypeError(
                f"{label(self.fn)} was called with {len(args)} positional arguments, but "
                f"argnums is {self.argnums}; differentiated arguments are passed by position"
            )
        return tuple(i % len(args) for i in argnums)

    def arranged(self, trees: Sequence[Any], positions: tuple[int, ...]) -> Any:
        """One tree for each argument in `argnums`."""
        if isinstance(self.argnums, int):
            return trees[0]
        by_position = dict(zip(dict.fromkeys(positions), trees, strict=True))
        return tuple([by_position[i] for i in positions])


class ValueAndGrad(_Transform[P, R]):
    """What `value_and_grad` returns."""

    kind = "value_and_grad"

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R:
        positions = self.positions(args)
        output, tape, marked = run(self.fn, args, kwargs, positions)
        output, aux = _split_aux(self.fn, output, self.has_aux)
        check_scalar(self.fn, output)
        seeds = {}
        if type(output) is Tensor and output.origin is tape.start.origin:
            seeds[output] = seed(output, None)
        elif type(output) is Tensor and not is_recording(output.origin):
            refuse_stranger("parameter", output, tape.last)
        if self.unused == "raise":
            _refuse_unused(self.fn, tape, seeds)
        gradients = _gradient_trees(tape, seeds, marked, self.check_finite)
        value = released(output)
        if self.has_aux:
            value = value, *aux
        result: Any = value, self.arranged(gradients, positions)
        return result


class Grad(_Transform[P, R]):
    """What `grad` returns."""

    kind = "grad"

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R:
        both: Fn = ValueAndGrad(self.fn, self.argnums, self.has_aux, self.check_finite, self.unused)
        value, gradients = both(*args, **kwargs)
        result: Any = (gradients, value[1]) if self.has_aux else gradients
        return result


@overload
def value_and_grad(
    fn: Callable[Concatenate[A, P], R],
    argnums: Literal[0] = 0,
    has_aux: bool = False,
    check_finite: bool = False,
    unused: str = "zero",
) -> ValueAndGrad[Concatenate[A, P], tuple[R, A]]: ...


@overload
def value_and_grad(
    fn: Callable[P, R],
    argnums: Argnums = 0,
    has_aux: bool = False,
    check_finite: bool = False,
    unused: str = "zero",
) -> ValueAndGrad[P, tuple[R, Any]]: ...


def value_and_grad(
    fn: Fn,
    argnums: Argnums = 0,
    has_aux: bool = False,
    check_finite: bool = False,
    unused: str = "zero",
) -> ValueAndGrad[..., Any]:
    """A function that returns the value of `fn` and its gradient.

    Parameters
    ----------
    fn
        A function with a scalar floating result.
    argnums
        The position of the argument to differentiate, or a tuple of positions.
        Arguments are trees whose leaves are floating.
    has_aux
        Whether `fn` returns ``(value, aux)``; `aux` is handed on.
    check_finite
        Whether to raise at the first value, or during the sweep at the first
        cotangent, that is not finite.
    unused
        What the gradient is of a leaf that the result does not depend on: "zero", or
        "raise" for an error with its path. `why_zero` says why a gradient is zero.

    Returns
    -------
    A function of the same arguments that returns ``(value, gradient)``, or
    ``((value, aux), gradient)``. The gradient is a tree like the argument, with
    read-only arrays of its leaves' shapes and dtypes; for a tuple of positions, a
    tuple of such trees. It keeps the name, docstring and signature of `fn`, and
    pickles where `fn` does.

    Raises
    ------
    TypeError
        When called: if the result is not a floating scalar, or a leaf to
        differentiate is not floating (with its path).
    ValueError
        When called, with ``unused="raise"``: if the result does not depend on a leaf.
    NonFiniteError
        When called, with `check_finite`: a `FloatingPointError` that says on which line
        of the tape a NaN or an infinity came about, from what, and why where that is
        known.

    Examples
    --------
    >>> import tapegrad as tg
    >>> tg.value_and_grad(lambda p, x: tg.sum(p["w"] * x))({"w": np.ones(2)}, 3.0)
    (array(6.), {'w': array([3., 3.])})
    """
    return ValueAndGrad(fn, argnums, has_aux, check_finite, unused)


@overload
def grad(
    fn: Callable[Concatenate[A, P], Any],
    argnums: Literal[0] = 0,
    has_aux: Literal[False] = False,
    check_finite: bool = False,
    unused: str = "zero",
) -> Grad[Concatenate[A, P], A]: ...


@overload
def grad(
    fn: Callable[Concatenate[A, P], tuple[Any, Aux]],
    argnums: Literal[0] = 0,
    *,
    has_aux: Literal[True],
    check_finite: bool = False,
    unused: str = "zero",
) -> Grad[Concatenate[A, P], tuple[A, Aux]]: ...


@overload
def grad(
    fn: Callable[P, Any],
    argnums: Argnums = 0,
    has_aux: bool = False,
    check_finite: bool = False,
    unused: str = "zero",
) -> Grad[P, Any]: ...


def grad(
    fn: Fn,
    argnums: Argnums = 0,
    has_aux: bool = False,
    check_finite: bool = False,
    unused: str = "zero",
) -> Grad[..., Any]:
    """A function that returns the gradient of `fn`.

    Parameters
    ----------
    fn, argnums, has_aux, check_finite, unused
        As for `value_and_grad`.

    Returns
    -------
    A function of the same arguments that returns the gradient, or
    ``(gradient, aux)``.

    Raises
    ------
    TypeError, ValueError, NonFiniteError
        When called, as for `value_and_grad`.

    Examples
    --------
    >>> import tapegrad as tg
    >>> tg.grad(lambda x: x**3)(2.0)
    array(12.)
    >>> tg.grad(tg.grad(tg.grad(lambda x: x**3)))(2.0)
    array(6.)
    """
    return Grad(fn, argnums, has_aux, check_finite, unused)


@attrs.frozen(eq=False)
class Pullback(Generic[*Ts]):
    """The VJP of a recorded call, from a cotangent to gradients. Call it any number of times."""

    __tree_leaf__: ClassVar[bool] = True
    __recording__: ClassVar[bool] = True

    tape: Tape
    output: Any
    marked: tuple[Any, ...]

    def __call__(self, cotangent: Any) -> tuple[*Ts]:
        """The arguments' cotangents, a tuple with one tree each.

        Parameters
        ----------
        cotangent
            A tree like the output; None stands for zeros.
        """
        seeds: dict[Tensor, Any] = {}
        paths = iter(tree.paths(self.output))

        def weigh(output: Any, c: Any) -> None:
            path = next(paths)
            if c is not None and type(output) is Tensor and output.dtype.kind == "f":
                weight = seed(output, c, f"the cotangent of {path}" if path else "the cotangent")
                seeds[output] = seeds[output] + weight if output in seeds else weight

        tree.map_up_to(weigh, self.output, cotangent)
        return _gradient_trees(self.tape, seeds, self.marked)


# by arity, so that a function may have further arguments with defaults
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
    fn: Fn, a: Any, b: Any, c: Any, d: Any, /, *rest: Any, has_aux: Literal[False] = False
) -> tuple[Any, Pullback[*tuple[Any, ...]]]: ...


@overload
def vjp(
    fn: Callable[..., tuple[R, Aux]], /, *primals: Any, has_aux: Literal[True]
) -> tuple[R, Pullback[*tuple[Any, ...]], Aux]: ...


def vjp(fn: Fn, *primals: Any, has_aux: bool = False) -> Any:
    """The output of a function and its pullback, the vector-Jacobian product.

    Parameters
    ----------
    fn
        A function of trees with floating leaves that returns a tree.
    *primals
        Its arguments.
    has_aux
        Whether `fn` returns ``(output, aux)``; `aux` is handed on.

    Returns
    -------
    output, pullback
        ``pullback(cotangent)`` takes a tree like the output to a tuple with a tree
        for each argument, any number of times. With `has_aux`, ``output, pullback,
        aux``.

    Raises
    ------
    TypeError
        If a leaf of the arguments is not floating, with its path; if no leaf of the
        output is, or one hides Tensors in an object that is not a tree.

    Examples
    --------
    >>> import tapegrad as tg
    >>> output, pullback = tg.vjp(lambda x, y: (x * y, x + y), 2.0, 3.0)
    >>> output
    (array(6.), array(5.))
    >>> pullback((1.0, 0.0)), pullback((0.0, 1.0))
    ((array(3.), array(2.)), (array(1.), array(1.)))
    """
    return _vjp(fn, primals, {}, tuple(range(len(primals))), has_aux)


def _vjp(
    fn: Fn,
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
    positions: tuple[int, ...],
    has_aux: bool,
) -> tuple[Any, ...]:
    check_callable(fn)
    output, tape, marked = run(fn, args, kwargs, positions)
    output, aux = _split_aux(fn, output, has_aux)
    given = released_tree(output)
    leaves = tree.leaves(output)
    if not any(is_floating(x) for x in leaves):
        kinds = dict.fromkeys(str(getattr(x, "dtype", type(x).__name__)) for x in leaves)
        raise TypeError(
            f"{label(fn)} has no derivative: no leaf of its result is floating "
            f"({', '.join(kinds) or 'there is none'})"
        )
    return given, Pullback(tape, output, marked), *aux


@overload
def jvp(
    fn: Callable[[A], R],
    primals: tuple[A],
    tangents: Sequence[Any],
    has_aux: Literal[False] = False,
) -> tuple[R, R]: ...


@overload
def jvp(
    fn: Callable[[A, B], R],
    primals: tuple[A, B],
    tangents: Sequence[Any],
    has_aux: Literal[False] = False,
) -> tuple[R, R]: ...


@overload
def jvp(
    fn: Callable[[A, B, C], R],
    primals: tuple[A, B, C],
    tangents: Sequence[Any],
    has_aux: Literal[False] = False,
) -> tuple[R, R]: ...


@overload
def jvp(
    fn: Fn,
    primals: list[Any] | tuple[Any, Any, Any, Any, *tuple[Any, ...]],
    tangents: Sequence[Any],
    has_aux: Literal[False] = False,
) -> tuple[Any, Any]: ...


@overload
def jvp(
    fn: Callable[..., tuple[R, Aux]],
    primals: Sequence[Any],
    tangents: Sequence[Any],
    has_aux: Literal[True],
) -> tuple[R, R, Aux]: ...


def jvp(fn: Fn, primals: Any, tangents: Sequence[Any], has_aux: bool = False) -> Any:
    """The output of a function and its tangent, the Jacobian-vector product.

    The function is recorded, and the tangents go along the tape from its beginning to
    its end (`tapegrad.core.forward`).

    Parameters
    ----------
    fn
        A function of trees with floating leaves that returns a tree.
    primals, tangents
        Its arguments, and the direction they move in: tuples of like trees.
    has_aux
        Whether `fn` returns ``(output, aux)``; `aux` is handed on.

    Returns
    -------
    output, tangent
        Like trees. With `has_aux`, ``output, tangent, aux``.

    Raises
    ------
    TypeError
        If primals or tangents are not in a tuple, or a leaf is not floating, with its
        path.
    ValueError
        If a tangent has another structure or shape than its primal, with the path.

    Examples
    --------
    >>> import tapegrad as tg
    >>> tg.jvp(lambda x, y: x * y, (2.0, 3.0), (1.0, 0.0))
    (array(6.), array(3.))
    """
    primals, tangents = _listed("primals", primals), _listed("tangents", tangents)
    check_callable(fn)
    if len(primals) != len(tangents):
        raise ValueError(f"there are {len(primals)} primals but {len(tangents)} tangents")
    output, tape, marked = run(fn, primals, {}, tuple(range(len(primals))))
    output, aux = _split_aux(fn, output, has_aux)
    paths = iter([p.name for p in tree.leaves(marked)])
    moved: dict[Tensor, Any] = {}

    def move(p: Tensor, t: Any) -> None:
        t = weighing(p, t, f"the tangent of {next(paths)}", "its primal")
        # a view, so that it is copied where it is a result itself
        moved[p] = t if type(t) is Tensor else t.view()

    tree.map_up_to(move, marked, tangents)
    found = push(tape, moved, [x for x in tree.leaves(output) if type(x) is Tensor])
    given: set[int] = set()

    def tangent(x: Any) -> Any:
        t = found.get(x) if type(x) is Tensor else None
        return give(_zeros(x)) if t is None else result_for(x, t, given)

    return released_tree(output), tree.map(tangent, output), *aux


def _listed(what: str, trees: Any) -> tuple[Any, ...]:
    """Arguments in a list or tuple, as passed to `jvp` and `hvp`."""
    if type(trees) not in (tuple, list):
        raise TypeError(
            f"{what} is a tuple with a tree for each argument, not a {type(trees).__name__}; for "
            "one argument write (x,)"
        )
    return tuple(trees)


def _zeros(leaf: Any) -> Any:
    floating = is_floating(leaf)
    return np.zeros(np.shape(leaf), leaf.dtype if floating and hasattr(leaf, "dtype") else float)


class Jacobian(_Transform[P, R]):
    """What `jacobian` returns."""

    kind = "jacobian"

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R:
        positions = self.positions(args)
        output, pullback, *aux = _vjp(self.fn, args, kwargs, positions, self.has_aux)
        leaves, structure = tree.flatten(output)
        rows = [
            self.arranged(self._rows(pullback, structure, leaves, i), positions)
            for i in range(len(leaves))
        ]
        jacobian = tree.unflatten(structure, rows)
        result: Any = (jacobian, *aux) if self.has_aux else jacobian
        return result

    def _rows(
        self,
        pullback: Pullback[*tuple[Any, ...]],
        structure: tree.Structure,
        leaves: list[Any],
        i: int,
    ) -> tuple[Any, ...]:
        """The derivatives of one output leaf: a tree for each argument."""
        shape = np.shape(leaves[i])
        weights = [_zeros(leaf) for leaf in leaves]
        rows = []
        for place in np.ndindex(shape):
            weights[i] = np.zeros(shape)
            weights[i][place] = 1
            rows.append(pullback(tree.unflatten(structure, weights)))
        if not rows:
            empty = pullback(tree.unflatten(structure, weights))
            return tree.map(lambda g: give(np.zeros(shape + g.shape, g.dtype)), empty)

        def join(*parts: Any) -> Any:
            joined = np.reshape(np.stack(parts), shape + parts[0].shape)
            return give(joined) if isinstance(joined, np.ndarray) else joined

        return tree.map(join, *rows)


def jacobian(fn: Callable[P, Any], argnums: Argnums = 0, has_aux: bool = False) -> Jacobian[P, Any]:
    """A function that returns the Jacobian of `fn`.

    Parameters
    ----------
    fn
        A function that returns a tree of floating arrays.
    argnums, has_aux
        As for `value_and_grad`.

    Returns
    -------
    A function of the same arguments. For an array argument and an array result it
    returns an array of shape ``output.shape + argument.shape``; for trees, the
    tree of the output with trees of the argument for leaves. With `has_aux`,
    ``(jacobian, aux)``.

    Raises
    ------
    TypeError
        When called: if a leaf to differentiate is not floating, with its path; if no
        leaf of the result is, or one hides Tensors in an object that is not a tree.

    Examples
    --------
    >>> import tapegrad as tg
    >>> tg.jacobian(lambda x: x * x)(np.array([1.0, 2.0]))
    array([[2., 0.],
           [0., 4.]])
    """
    return Jacobian(fn, argnums, has_aux)


class Hessian(_Transform[P, R]):
    """What `hessian` returns."""

    kind = "hessian"

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R:
        gradient: Fn = Grad(self.fn, self.argnums, self.has_aux)
        second: Fn = Jacobian(gradient, self.argnums, self.has_aux)
        return second(*args, **kwargs)


def hessian(fn: Callable[P, Any], argnums: Argnums = 0, has_aux: bool = False) -> Hessian[P, Any]:
    """A function that returns the second derivatives of a scalar function.

    Parameters
    ----------
    fn
        A function with a scalar floating result.
    argnums, has_aux
        As for `value_and_grad`.

    Returns
    -------
    A function of the same arguments that returns the Jacobian of the gradient: for an
    array an array of shape ``argument.shape + argument.shape``, for trees a tree of
    trees, as `jacobian` does; with `has_aux`, ``(hessian, aux)``.

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
    return Hessian(fn, argnums, has_aux)


def hvp(fn: Fn, primals: Sequence[Any], tangents: Sequence[Any]) -> Any:
    """The product of a scalar function's Hessian with a vector.

    Parameters
    ----------
    fn
        A function with a scalar floating result.
    primals, tangents
        Its arguments and the vector, tuples of like trees.

    Returns
    -------
    A tree like the argument; for several arguments, a tuple of such trees.

    Raises
    ------
    TypeError, ValueError
        As for `jvp`; if the result is not a floating scalar, too.

    Examples
    --------
    >>> import tapegrad as tg
    >>> tg.hvp(lambda x: tg.sum(x**3), (np.array([1.0, 2.0]),), (np.array([1.0, 0.0]),))
    array([6., 0.])
    """
    primals = _listed("primals", primals)
    argnums = 0 if len(primals) == 1 else tuple(range(len(primals)))
    return jvp(Grad(fn, argnums), primals, tangents)[1]


# --- shared -------------------------------------------------------------------------


def _gradient_trees(
    tape: Tape, seeds: dict[Tensor, Any], marked: tuple[Any, ...], check_finite: bool = False
) -> tuple[Any, ...]:
    """The gradients, in trees like the parameters they belong to."""
    gradients = sweep(tape, seeds, check_finite)
    return tuple([tree.map(gradients.__getitem__, x) for x in marked])


def _refuse_unused(fn: Fn, tape: Tape, outputs: Iterable[Tensor]) -> None:
    """Raise for parameters that the outputs do not depend on."""
    depended = needed(tape, outputs)
    unused = [p.name or f"line {p.index}" for p in tape.parameters if p not in depended]
    if unused:
        raise ValueError(
            f"the result of {label(fn)} does not depend on {', '.join(unused)}; tg.why_zero(fn, "
            '*args) says why; leave it out of argnums, or pass unused="zero"'
        )


def _split_aux(fn: Fn, output: Any, has_aux: bool) -> tuple[Any, tuple[Any, ...]]:
    """What a function returned, and the auxiliary part of it if it has one."""
    if not has_aux:
        return output, ()
    if not (isinstance(output, tuple) and len(output) == 2):
        raise TypeError(
            f"with has_aux, {label(fn)} returns (value, aux); got {type(output).__name__}"
        )
    return output[0], (released_tree(output[1]),)


def check_scalar(fn: Fn, output: Any) -> None:
    """Raise unless what a function returned is a floating scalar."""
    if type(output) is Tensor and output.shape == () and output.dtype.kind == "f":
        return
    if not is_floating(output):
        got = f"{output.dtype} Tensor" if type(output) is Tensor else type(output).__name__
        raise TypeError(
            f"a gradient needs a floating scalar, but {label(fn)} returned a {got}"
            + ("; with auxiliary results, pass has_aux=True" if type(output) is tuple else "")
        )
    if np.size(output) != 1:
        raise TypeError(
            f"a gradient needs a scalar, but {label(fn)} returned shape {np.shape(output)}; "
            "reduce it (tg.sum, tg.mean), or take tg.vjp or tg.jacobian"
        )


def released(x: Any) -> Any:
    """A result as it leaves a transform: its value, unless a recording is running."""
    if type(x) is np.ndarray:
        refuse_hidden(x, "a result")
        return give(keep(x))
    if type(x) is not Tensor:
        if is_floating(x):
            return give(np.array(x))
        refuse_hidden(x, "a result")
        return x
    if not is_recording(x.origin):
        return x.value
    # a Python float comes out as an array, as it does where no recording goes on
    return asarray(x) if type(x._primal) is float else x


def released_tree(output: Any) -> Any:
    """`released` for each leaf."""
    return tree.map(released, output)
