"""Functions of trees as functions of vectors, which SciPy's solvers take."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import attrs
import numpy as np

from tapegrad import tree
from tapegrad.arraylike.tensor import Tensor
from tapegrad.errors.functions import check_callable, label
from tapegrad.scipy._calls import MaybeCompiled
from tapegrad.scipy._equations import DerivedFunction
from tapegrad.scipy._protocols import SparseArray
from tapegrad.transforms.gradients import value_and_grad
from tapegrad.transforms.jacobians import hessian, jacobian
from tapegrad.transforms.products import hvp
from tapegrad.tree.lists import LISTS, first_tensor
from tapegrad.tree.operations import Unravel
from tapegrad.types import Array, ArrayLike, PyTree

__all__ = ["Cost", "Loss", "SciPyObjective", "Step", "Values", "as_floating", "ravel_start"]
__all__ += ["values_and_jacobian"]
__dir__ = __all__.copy

Fn = Callable[..., Any]


def as_floating(x: ArrayLike) -> Array:
    """A leaf as a floating array, or a Tensor."""
    if isinstance(x, Tensor):
        recorded: Any = x if x.dtype.kind in "fc" else x.astype(float)
        return recorded
    x = np.asarray(x)
    return x.astype(float) if x.dtype.kind in "biu" else x


def ravel_start(
    name: str, fun: Fn, x0: PyTree, at_least: Fn = np.atleast_1d
) -> tuple[Array, Unravel]:
    """The vector where a solver starts, and the way back from a vector."""
    check_callable(fun, f"{name}: fun")
    start: Any = x0
    if type(x0) in LISTS and all(np.ndim(x) == 0 for x in tree.leaves(x0)):
        # as SciPy reads it; any other list is a tree
        start = np.stack(start) if first_tensor(start) is not None else np.asarray(start)
    is_array = tree.named_children(start) is None
    return tree.ravel(at_least(as_floating(start)) if is_array else tree.map(as_floating, start))


@attrs.frozen(slots=False)
class _VectorFunction(DerivedFunction):
    """A function of a tree as a function of a vector."""

    unravel: Unravel

    def _call_on_tree(self, v: Array, args: tuple[PyTree, ...]) -> Any:
        return self.f(self.unravel(v), *args)


@attrs.frozen(slots=False)
class Loss(_VectorFunction):
    """A scalar function."""

    def __call__(self, v: Array, *args: PyTree) -> Array:
        y = self._call_on_tree(v, args)
        if np.shape(y) and np.size(y) == 1:
            return np.reshape(y, ())
        if np.shape(y):
            raise ValueError(
                f"{label(self.f)} must return a scalar, and returned an array of shape "
                f"{np.shape(y)}"
            )
        return y


@attrs.frozen(slots=False)
class Values(_VectorFunction):
    """A function that returns a tree, or a list of numbers, as a vector."""

    def __call__(self, v: Array, *args: PyTree) -> Array:
        return tree.ravel(tree.map(as_floating, self._call_on_tree(v, args)))[0]


@attrs.frozen(slots=False)
class Step(_VectorFunction):
    """The change of an argument by a function, which is zero at a fixed point."""

    def __call__(self, v: Array, *args: PyTree) -> Array:
        return v - tree.ravel(self._call_on_tree(v, args))[0]


@attrs.frozen(slots=False)
class Cost(DerivedFunction):
    """Half the sum of the squares of some residuals, or of a loss of each."""

    rho: Fn | None
    scale: float

    def __call__(self, v: Array, *args: PyTree) -> Array:
        f = self.f(v, *args)
        if self.rho is None:
            return 0.5 * np.sum(np.square(f))
        return (0.5 * self.scale**2) * np.sum(self.rho(np.square(f / self.scale)))


def _huber(z: Array) -> Array:
    return np.where(z <= 1, z, 2 * np.sqrt(np.where(z <= 1, 1, z)) - 1)


# as functions of the squares
LOSSES: Mapping[str, Fn | None] = {
    "linear": None,
    "huber": _huber,
    "soft_l1": lambda z: 2 * (np.sqrt(1 + z) - 1),
    "cauchy": np.log1p,
    "arctan": np.arctan,
}


@attrs.define(eq=False)
class SciPyObjective:
    """A scalar function as SciPy's solvers call it, with plain floats and copies.

    Each program is compiled once. Its last result is kept, with the point: so `fun` and `jac` share
    one run, from the first call of `jac` on. A function that cannot be compiled runs in each call.
    """

    loss: Fn
    has_programs: bool = True
    cache: dict[Fn, tuple[MaybeCompiled, PyTree, Any]] = attrs.Factory(dict)

    def fun(self, x: ArrayLike, *args: PyTree) -> float:
        """The value."""
        shares = value_and_grad in self.cache and self.cache[value_and_grad][1] is not None
        return float(
            self._evaluate(value_and_grad, x, *args)[0]
            if shares
            else self._evaluate(_value, x, *args)
        )

    def jac(self, x: ArrayLike, *args: PyTree) -> Array:
        """The gradient."""
        return np.array(self._evaluate(value_and_grad, x, *args)[1], float)

    def hess(self, x: ArrayLike, *args: PyTree) -> SparseArray:
        """The sparse Hessian: an array of ``scipy.sparse``, by columns."""
        return self._evaluate(_sparse_hessian, x, *args).tocsc()

    def hessp(self, x: ArrayLike, p: ArrayLike, *args: PyTree) -> Array:
        """The product of the Hessian and a vector."""
        return np.array(
            self._evaluate(_product, x, np.array(p, as_floating(x).dtype), *args), float
        )

    def _evaluate(self, transform: Fn, x: ArrayLike, *args: PyTree) -> Any:
        """The result of a transform of the loss at a point."""
        leaves, structure = tree.flatten((x, *args))
        point = structure, [*map(_leaf_content, leaves)]
        program, before, result = self.cache.get(transform, (None, None, None))
        if before != point:
            program = program or MaybeCompiled(transform(self.loss), not self.has_programs)
            result = program(np.array(as_floating(x)), *args)
            is_kept = not (program.is_eager and self.has_programs)
            self.cache[transform] = program, point if is_kept else None, result
        return result


def _value(loss: Fn) -> Fn:
    return loss


_sparse_hessian = partial(hessian, sparse=True)


def _product(loss: Fn) -> Fn:
    return lambda x, p, *args: hvp(lambda x: loss(x, *args), (x,), (p,))


def _leaf_content(leaf: object) -> object:
    """The content of a leaf, equal for two that are the same to the bit."""
    x = np.asarray(leaf)
    return leaf if x.dtype.kind == "O" else (type(leaf), x.dtype, x.shape, x.tobytes())


def values_and_jacobian(f: Fn) -> tuple[Fn, Fn]:
    """The values and the Jacobian of a function of vectors, as copies."""
    return (
        lambda x: np.array(f(np.array(x)), float),
        lambda x: np.array(jacobian(f)(np.array(x)), float),
    )
