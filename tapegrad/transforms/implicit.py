"""`implicit_root`: derivatives of the roots that a solver finds."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, ClassVar, NoReturn, ParamSpec, TypeVar, cast

import attrs
import numpy as np

from tapegrad import tree
from tapegrad.core.recording import record_call
from tapegrad.core.tensor import Tensor, primals
from tapegrad.declare.custom import CustomVJP
from tapegrad.errors import TapeError
from tapegrad.errors.functions import check_callable, keep_names, label
from tapegrad.errors.lines import strip_own_frames, users_place
from tapegrad.errors.words import got
from tapegrad.ops.inverses import solve as solve_linear
from tapegrad.transforms.jacobians import jacobian
from tapegrad.transforms.products import linearize, vjp
from tapegrad.tree.numbers import is_floating
from tapegrad.tree.structure import replace_leaves
from tapegrad.types import Array, ArrayLike, PyTree

P = ParamSpec("P")
R = TypeVar("R", bound=Any)
Fn = Callable[..., Any]
LinearSolve = Callable[[Callable[[Any], Any], Any], Any]


@attrs.frozen
class _Residual:
    """The value of the equations at a root, a leaf of the result that is no number.

    All residuals are equal, since the root alone decides whether two results are equal.
    """

    __tree_leaf__: ClassVar[bool] = True

    value: Array | None = attrs.field(eq=False)
    # the source line of the call
    place: str = attrs.field(eq=False)


@attrs.frozen(slots=False)
class _Solver:
    """A solver whose results are checked against the equations."""

    f: Fn
    solve: Fn
    has_aux: bool = False

    def __attrs_post_init__(self) -> None:
        check_callable(self.f)
        keep_names(self, self.solve)

    def __call__(self, *args: PyTree, **kwargs: PyTree) -> Any:
        try:
            return self._solve(args, kwargs)
        except TapeError as error:
            if self.has_aux:
                raise
            raise TapeError(
                f"implicit_root: {label(self.f)} or {label(self.solve)} captures a Tensor, or uses "
                "one of another recording; pass it to the function that implicit_root returned, as "
                "in root(k), which passes it to both"
            ) from error

    def _solve(self, args: tuple[PyTree, ...], kwargs: dict[str, PyTree]) -> Any:
        copies, named = tree.copy_containers((args, kwargs))
        x = self.solve(*copies, **named)
        x, *aux = x if self.has_aux else (x,)
        leaves, structure = tree.flatten(x)
        for path, leaf in zip(tree.structure_paths(structure), leaves, strict=True):
            if not is_floating(leaf):
                raise TypeError(
                    f"implicit_root: {label(self.solve)} returned {_describe_leaf(path)} of type "
                    f"{type(leaf).__name__}; a root must be a tree of floating arrays"
                )
        # a recording raises for a Tensor that f captures or stores
        output = record_call(partial(self.f, **tree.copy_containers(kwargs)), (x, *args))[0]
        equations = _ravel(tree.map(lambda y: y._primal if type(y) is Tensor else y, output))
        _check_count(self.f, equations, _ravel(x))
        return x, _Residual(equations, str(users_place())), *aux


def _check_count(f: Fn, equations: ArrayLike, root: ArrayLike) -> None:
    n, m = np.size(root), np.size(equations)
    if n != m:
        raise ValueError(
            f"implicit_root: {label(f)} returned {m} numbers for a root of {n}; there must be one "
            "equation for each unknown"
        )


def _describe_leaf(path: str) -> str:
    return f"a leaf ({path})" if path else "a root"


def _ravel(x: PyTree) -> Array:
    return tree.ravel(x)[0]


@attrs.frozen
class _RootVJP:
    """The VJP of a root of f, by the implicit function theorem."""

    f: Fn
    linear_solve: LinearSolve | None = None
    judge: Fn | None = None

    def __call__(self, g: PyTree, y: Any, *args: PyTree, **kwargs: PyTree) -> tuple[Any, ...]:
        try:
            return self._pull_back(g, y, args, kwargs)
        except (np.linalg.LinAlgError, RuntimeError, ValueError) as error:
            if y[1].place and not hasattr(error, "__notes__"):
                error.add_note(f"of the solution found at {y[1].place}")
            raise strip_own_frames(error)  # noqa: B904  # the same error

    def _pull_back(
        self, g: Any, y: Any, args: tuple[PyTree, ...], kwargs: dict[str, PyTree]
    ) -> tuple[Any, ...]:
        x, residual, *aux = y
        leaves, structure = tree.flatten(args)
        positions = [i for i, leaf in enumerate(leaves) if is_floating(leaf)]
        vector, unravel = tree.ravel(x)
        f = _VectorEquations(self.f, unravel)

        def equations(v: Array, *moving: Array) -> Array:
            filled = replace_leaves(leaves, positions, moving)
            return f(v, *tree.unflatten(structure, filled), **kwargs)

        moving = [leaves[i] for i in positions]
        again, pull = vjp(lambda *moving: equations(vector, *moving), *moving)
        _check_count(self.f, again, vector)
        values = tree.leaves((again, vector))
        value_at_root = residual.value
        if any(type(v) is Tensor and v.origin.compiling for v in values):
            value_at_root = None
        judge = None
        if self.judge is not None:
            rest = (
                tree.map(lambda leaf: primals((leaf,))[0], aux)
                if value_at_root is not None
                else [None]
            )
            judge = partial(self.judge, *rest)
        if self.linear_solve is None:
            by_root = jacobian(lambda v: equations(v, *moving))(vector)
            if value_at_root is not None:
                _check_unchanged(self.f, value_at_root, *primals((again, by_root, vector)))
            if judge is not None:
                operands = by_root, x, *args
                judged: Fn = CustomVJP(partial(_call_judge, judge), _pass_first, _take_first)
                by_root = judged(*operands, **kwargs)
            try:
                multipliers = solve_linear(np.transpose(by_root), _ravel(g[0]))
            except np.linalg.LinAlgError:
                raise np.linalg.LinAlgError(
                    f"implicit_root: {label(self.f)} has a singular derivative by its unknowns at "
                    "the root, so there is none of the root"
                ) from None
        else:
            adjoint = _AdjointEquations(f)
            solver = _MatrixFreeSolver(adjoint, self.linear_solve, value_at_root, judge)
            rule = _RootVJP(adjoint, self.linear_solve)
            root: Any = _Root(
                _Solver(adjoint, solver), rule, partial(_placeholder_root, _wrap_root)
            )
            multipliers = root(_ravel(g[0]), vector, *args, **kwargs)
        cotangents = replace_leaves([None] * len(leaves), positions, pull(-multipliers))
        result: tuple[Any, ...] = tree.unflatten(structure, cotangents)
        return result


# the name of the class in older pickles
_Rule = _RootVJP


def _check_unchanged(f: Fn, before: Array, again: Array, by_root: Array, vector: Array) -> None:
    """Raise if the equations have changed since they were solved.

    A difference counts if it is as large as the effect of a step away from the root.
    """
    if np.any(np.abs(again - before) > np.abs(by_root) @ _relative_step(vector)):
        _raise_changed(f)


def _relative_step(vector: Array) -> Array:
    return 1e-3 * np.abs(vector) + 1e-6


def _raise_changed(f: Fn) -> NoReturn:
    raise ValueError(
        f"implicit_root: {label(f)} gives other numbers at the root than when it was "
        "solved: does it read an array that has changed (pass it as an argument)?"
    )


def _call_judge(judge: Fn, by_root: Array, x: PyTree, *args: PyTree, **kwargs: PyTree) -> Array:
    judge(by_root, x, *args, **kwargs)
    return by_root


def _take_first(x: Array, *rest: PyTree, **kwargs: PyTree) -> Array:
    return x


def _wrap_root(x: PyTree, *rest: PyTree, **kwargs: PyTree) -> tuple[PyTree, ...]:
    return (x,)


def _placeholder_root(like: Fn, *args: PyTree, **kwargs: PyTree) -> tuple[Any, ...]:
    """Return a result in the shapes of the solver's, without values of its arguments."""
    x, *aux = like(*args, **kwargs)
    return x, _Residual(None, str(users_place())), *aux


def _pass_first(g: Array, y: Array, *args: PyTree, **kwargs: PyTree) -> tuple[Any, ...]:
    return (g, *[None] * (len(args) - 1))


# --- products in place of the Jacobian ---------------------------------------------------------


@attrs.frozen(slots=False)
class _VectorEquations:
    """The equations as a function from the vector of their unknowns to a vector."""

    f: Fn
    unravel: Fn

    def __attrs_post_init__(self) -> None:
        keep_names(self, self.f)

    def __call__(self, v: Array, *args: PyTree, **kwargs: PyTree) -> Array:
        copies, named = tree.copy_containers((args, kwargs))
        return _ravel(self.f(self.unravel(v), *copies, **named))


@attrs.frozen(slots=False)
class _AdjointEquations:
    """The equations ``Aᵀ u - g`` of the multipliers u, where A is the Jacobian of f by v."""

    f: _VectorEquations

    def __attrs_post_init__(self) -> None:
        keep_names(self, self.f)

    def pullback(
        self, v: Array, *args: PyTree, **kwargs: PyTree
    ) -> tuple[Array, Callable[[Array], Array]]:
        """Return the value of the equations, and the product with ``Aᵀ``."""
        y, pull = vjp(lambda v: self.f(v, *args, **kwargs), v)
        return y, lambda u: pull(u)[0]

    def __call__(self, u: Array, g: Array, v: Array, *args: PyTree, **kwargs: PyTree) -> Array:
        return self.pullback(v, *args, **kwargs)[1](u) - g


@attrs.frozen(slots=False)
class _MatrixFreeSolver:
    """The solver of the equations of the multipliers, which is called on arrays."""

    adjoint: _AdjointEquations
    linear_solve: LinearSolve
    value_at_root: Array | None
    judge: Fn | None

    def __attrs_post_init__(self) -> None:
        keep_names(self, self.linear_solve)

    def __call__(self, g: Array, v: Array, *args: PyTree, **kwargs: PyTree) -> Array:
        f = self.adjoint.f
        again, multiply = self.adjoint.pullback(v, *args, **kwargs)
        is_same = self.value_at_root is None or np.array_equal(
            again, self.value_at_root, equal_nan=True
        )
        if not is_same or self.judge is not None:
            push = linearize(lambda v: f(v, *args, **kwargs), v)[1]
            if self.judge is not None:
                self.judge(partial(_multiply_writable, push, v), f.unravel(v), *args, **kwargs)
            if not is_same and np.any(
                np.abs(self._solve_checked(push, again - self.value_at_root)) > _relative_step(v)
            ):
                _raise_changed(f)
        return self._solve_checked(multiply, g)

    def _solve_checked(self, multiply: Fn, b: Array) -> Array:
        """Solve a linear system, and raise if the solver has not converged."""
        product = partial(_multiply_writable, multiply, b)
        u = self.linear_solve(product, np.array(b))
        if not isinstance(u, np.ndarray) or u.shape != b.shape or u.dtype.kind != "f":
            raise ValueError(
                f"implicit_root: linear_solve {label(self.linear_solve)} returned {got(u)}; it "
                f"must return the vector x, of shape {b.shape}, such that matvec(x) is b"
            )
        u = u.astype(b.dtype, copy=False)
        residual = np.linalg.norm(product(u) - b)
        if not residual <= _MAX_RESIDUAL * np.linalg.norm(b):
            raise np.linalg.LinAlgError(
                f"implicit_root: linear_solve {label(self.linear_solve)} left a residual of "
                f"{residual:.2g} from {np.linalg.norm(b):.2g}: it did not converge, or "
                f"{label(self.adjoint.f)} has a singular derivative by its unknowns at the root"
            )
        return u


def _multiply_writable(multiply: Fn, like: Array, u: ArrayLike) -> Array:
    """Return a product as an array that a solver may write to."""
    return np.array(multiply(np.asarray(u, like.dtype).reshape(like.shape)))


# the largest residual that a solver may leave, relative to the right-hand side
_MAX_RESIDUAL = 1e-3


@attrs.frozen(slots=False, repr=False)
class _Root(CustomVJP[P, R]):
    """The result of `implicit_root`."""

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R:
        root, _, *aux = cast(Any, super().__call__(*args, **kwargs))
        return cast(R, (root, *aux) if aux else root)


def implicit_root(
    f: Fn, solve: Callable[P, R], linear_solve: LinearSolve | None = None
) -> CustomVJP[P, R]:
    r"""Return a solver with the derivatives of the root that it finds.

    The solver is not recorded, so it may use any library. Where ``f(x, *args) == 0``, the implicit
    function theorem says how the root moves with the arguments: ``dx = -A⁻¹ B dargs``, where
    ``A`` and ``B`` are the derivatives of `f` by ``x`` and by the arguments at the root. The VJP
    of a cotangent ``g`` is ``-Bᵀ u``, with ``u`` from one linear system ``Aᵀ u = g`` (Blondel et
    al., Efficient and Modular Implicit Differentiation, 2022,
    https://arxiv.org/abs/2105.15183).

    Parameters
    ----------
    f
        ``f(x, *args)``, the equations: a function of a root `x`, a tree of floating arrays with n
        numbers in all, and of the arguments. It returns a tree with n numbers, all zero at a root,
        and is written like any function to differentiate.
    solve
        ``solve(*args)``, which returns a root. It gets arrays and Python numbers, and may
        iterate, call SciPy, or start from the root of an earlier call. Use only the
        root: no gradient passes through other values that it computes.
    linear_solve
        ``linear_solve(matvec, b)``, which returns the vector x of n numbers with ``matvec(x) ==
        b``, up to its tolerance. It gets a vector and a function of vectors, both of arrays that
        it may write to. With it no Jacobian is made: for many unknowns, pass CG if ``A`` is
        symmetric and positive definite, as at a minimum, or GMRES. By default the Jacobian is
        made and the system is solved by its LU factorization.

    Returns
    -------
    A function of the same arguments as `solve`, trees, that returns the root. It has
    derivatives of any order, in both modes; no gradient passes to integers. It is made by
    `custom_vjp`.

    Raises
    ------
    TypeError
        When called: if the root is not a tree of floating arrays, or a floating Tensor is
        passed by keyword.
    ValueError
        When called: if there are more or fewer equations than unknowns. In the backward pass: if
        `f` gives other numbers at the root than it did when it was solved.
    TapeError
        When called: if `f` or `solve` captures a Tensor; pass it as an argument.
    LinAlgError
        In the backward pass: if ``A`` is singular; if `linear_solve` leaves more than a
        thousandth of ``b``.

    Notes
    -----
    The cost of a derivative does not depend on the solver: it is the Jacobian of `f` by the root,
    n rows along one tape, and its LU factorization, or with `linear_solve` a sweep along one tape
    for each product. A derivative is as accurate as the root: a solver that stops early gives the
    derivative at another point.

    A minimum is a root of the gradient: ``implicit_root(tg.grad(loss), minimize)``.

    Examples
    --------
    >>> import tapegrad as tg
    >>> def bisect(a):
    ...     low, high = 0.0, 2.0
    ...     for _ in range(60):
    ...         middle = (low + high) / 2
    ...         low, high = (middle, high) if middle < np.cos(a * middle) else (low, middle)
    ...     return middle
    >>> root = tg.implicit_root(lambda x, a: x - np.cos(a * x), bisect)
    >>> print(np.round(root(1.0), 6), np.round(tg.grad(root)(1.0), 6))
    0.739085 -0.297474
    >>> print(np.round(tg.grad(tg.grad(root))(1.0), 6))
    0.153338

    Each complex unknown is two numbers; the derivative is ``1 / (2 * root)``:

    >>> root = tg.implicit_root(lambda z, a: z * z - a, np.sqrt)
    >>> tg.grad(lambda a: root(a).imag)(4j).round(3)
    np.complex128(-0.177+0.177j)

    A root of 1,000 unknowns, without a matrix of 1,000,000 numbers:

    >>> def conjugate_gradients(matvec, b):
    ...     x, r, p = 0 * b, b, b
    ...     while r @ r > 1e-24 * (b @ b):
    ...         q = matvec(p)
    ...         x, new = x + (r @ r) / (p @ q) * p, r - (r @ r) / (p @ q) * q
    ...         r, p = new, new + (new @ new) / (r @ r) * p
    ...     return x
    >>> root = tg.implicit_root(
    ...     lambda x, a: x + tg.mean(x) - a, lambda a: a - a.mean() / 2, conjugate_gradients
    ... )
    >>> tg.grad(lambda a: tg.sum(root(a)))(np.ones(1000))[:2]
    array([0.5, 0.5])
    """
    if linear_solve is not None:
        check_callable(linear_solve, "implicit_root: linear_solve")
    return make_implicit_root(f, solve, linear_solve)


def make_implicit_root(
    f: Fn,
    solve: Callable[P, R],
    linear_solve: LinearSolve | None = None,
    judge: Fn | None = None,
    has_aux: bool = False,
    like: Fn | None = None,
) -> CustomVJP[P, R]:
    """Return `implicit_root` of a solver that may return auxiliary results beside the root.

    In the backward pass ``judge(rest, matrix, x, *args)`` may raise. It is called on arrays, with
    the auxiliary results (None in a program) and the Jacobian by the root, or with a
    `linear_solve` a function that multiplies the Jacobian by a vector.

    Where values are unknown, the solver might fail at placeholders; ``like(*args)`` returns a root
    and auxiliary results of the right shapes instead.
    """
    rule = _RootVJP(f, linear_solve, judge)
    return _Root(_Solver(f, solve, has_aux), rule, like and partial(_placeholder_root, like))
