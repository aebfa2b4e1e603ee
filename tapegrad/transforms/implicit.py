"""Derivatives of the roots that a solver finds: `implicit_root`."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, ClassVar, ParamSpec, TypeVar

import attrs
import numpy as np

from tapegrad import tree
from tapegrad.core.callables import check_callable, keep_names, label
from tapegrad.core.operands import is_floating, primals
from tapegrad.core.recording import run
from tapegrad.core.tensor import Tensor
from tapegrad.declare.custom import CustomVJP
from tapegrad.ops.linalg import solve as solve_linear
from tapegrad.transforms.jacobians import jacobian
from tapegrad.transforms.products import vjp

P = ParamSpec("P")
R = TypeVar("R", bound=Any)
Fn = Callable[..., Any]


@attrs.frozen
class _Left:
    """What the equations give at a root, a leaf of the result that is no number.

    Any two are equal, since a root says all that there is to say of a call.
    """

    __tree_leaf__: ClassVar[bool] = True

    equations: Any = attrs.field(eq=False)


@attrs.frozen(slots=False)
class _Solver:
    """A solver, whose results are checked against the equations."""

    f: Fn
    solve: Fn

    def __attrs_post_init__(self) -> None:
        check_callable(self.f)
        keep_names(self, self.solve)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        given, named = tree.fresh((args, kwargs))
        x = self.solve(*given, **named)
        leaves, structure = tree.flatten(x)
        for path, leaf in zip(tree.structure_paths(structure), leaves, strict=True):
            if not is_floating(leaf):
                raise TypeError(
                    f"implicit_root: {label(self.solve)} returned {_at(path)} of type "
                    f"{type(leaf).__name__}; a root is a tree of floating arrays"
                )
        # recorded, so that a Tensor that f captures, or sets aside, is refused
        output = run(partial(self.f, **tree.fresh(kwargs)), (x, *args))[0]
        equations = _vector(tree.map(lambda y: y._primal if type(y) is Tensor else y, output))
        n = np.size(_vector(x))
        if np.size(equations) != n:
            raise ValueError(
                f"implicit_root: {label(self.f)} returned {np.size(equations)} numbers for a root "
                f"of {n}; there is one equation for each unknown"
            )
        return x, _Left(equations)


def _at(path: str) -> str:
    return f"a leaf ({path})" if path else "a root"


def _vector(x: Any) -> Any:
    return tree.ravel(x)[0]


@attrs.frozen
class _Rule:
    """The VJP of a root of f, by the implicit function theorem."""

    f: Fn

    def __call__(self, g: Any, y: Any, *args: Any, **kwargs: Any) -> tuple[Any, ...]:
        x, left = y
        leaves, structure = tree.flatten(args)
        places = [i for i, leaf in enumerate(leaves) if is_floating(leaf)]
        vector, unravel = tree.ravel(x)

        def equations(v: Any, *moving: Any) -> Any:
            filled = list(leaves)
            for i, leaf in zip(places, moving, strict=True):
                filled[i] = leaf
            given = tree.unflatten(structure, filled)
            return _vector(self.f(unravel(v), *given, **tree.fresh(kwargs)))

        moving = [leaves[i] for i in places]
        by_root = jacobian(lambda v: equations(v, *moving))(vector)
        try:
            multipliers = solve_linear(np.transpose(by_root), _vector(g[0]))
        except np.linalg.LinAlgError as error:
            error.add_note(
                f"implicit_root: {label(self.f)} has a singular derivative by its unknowns at the "
                "root, so there is none of the root"
            )
            raise
        again, pull = vjp(lambda *moving: equations(vector, *moving), *moving)
        if not any(type(x) is Tensor and x.origin.compiling for x in (again, by_root, vector)):
            self._check(left.equations, *primals((again, by_root, vector)))
        cotangents: list[Any] = [None] * len(leaves)
        for i, c in zip(places, pull(-multipliers), strict=True):
            cotangents[i] = c
        result: tuple[Any, ...] = tree.unflatten(structure, cotangents)
        return result

    def _check(self, before: Any, again: Any, by_root: Any, vector: Any) -> None:
        """Raise unless the equations are those that were solved.

        A difference matters if it takes a step away from the root to make it.
        """
        step = 1e-3 * np.abs(vector) + 1e-6
        if np.any(np.abs(again - before) > np.abs(by_root) @ step):
            raise ValueError(
                f"implicit_root: {label(self.f)} gives other numbers at the root than when it was "
                "solved: does it read an array that has changed (pass it as an argument)?"
            )


@attrs.frozen(slots=False, repr=False)
class _Root(CustomVJP[P, R]):
    """What `implicit_root` returns."""

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R:
        found: Any = super().__call__(*args, **kwargs)
        return found[0]


def implicit_root(f: Fn, solve: Callable[P, R]) -> CustomVJP[P, R]:
    r"""A solver with derivatives, those of the root that it finds.

    The solver may be anything: it is not recorded. Where ``f(x, *args) == 0``, the implicit
    function theorem says how the root moves with the arguments: ``dx = -A⁻¹ B dargs``, where
    ``A`` and ``B`` are the derivatives of `f` by ``x`` and by the arguments at the root. A
    cotangent ``g`` is pulled back by one linear system, ``Aᵀ u = g``, to ``-Bᵀ u`` (Blondel et
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
        iterate, call SciPy, or start from what an earlier call found. Use nothing that it
        computes but the root: no gradient passes through the rest.

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
        In the backward pass: if ``A`` is singular.

    Notes
    -----
    A derivative costs the Jacobian of `f` by the root, n rows along one tape, and an LU
    factorization of it, whatever the solver costs. It is as accurate as the root: a solver that
    stops early gives the derivative at another point.

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
    """
    return _Root(_Solver(f, solve), _Rule(f))
