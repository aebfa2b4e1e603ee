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
from tapegrad.transforms.gradients import value_and_grad
from tapegrad.transforms.jacobians import hessian, jacobian
from tapegrad.transforms.products import hvp
from tapegrad.tree.lists import LISTS, first_tensor
from tapegrad.tree.operations import Unravel

__all__ = ["Cost", "Loss", "SciPyObjective", "Step", "Values", "as_floating", "ravel_start"]
__all__ += ["values_and_jacobian"]
__dir__ = __all__.copy

Fn = Callable[..., Any]


def as_floating(x: Any) -> Any:
    """A leaf as a floating array, or a Tensor."""
    if isinstance(x, Tensor):
        return x if x.dtype.kind in "fc" else x.astype(float)
    x = np.asarray(x)
    return x.astype(float) if x.dtype.kind in "biu" else x


def ravel_start(name: str, fun: Any, x0: Any, at_least: Fn = np.atleast_1d) -> tuple[Any, Unravel]:
    """The vector where a solver starts, and the way back from a vector."""
    check_callable(fun, f"{name}: fun")
    if type(x0) in LISTS and all(np.ndim(x) == 0 for x in tree.leaves(x0)):
        # as SciPy reads it; any other list is a tree
        x0 = np.stack(x0) if first_tensor(x0) is not None else np.asarray(x0)
    is_array = tree.named_children(x0) is None
    x0 = at_least(as_floating(x0)) if is_array else tree.map(as_floating, x0)
    return tree.ravel(x0)


@attrs.frozen(slots=False)
class _VectorFunction(DerivedFunction):
    """A function of a tree as a function of a vector."""

    unravel: Unravel

    def _call_on_tree(self, v: Any, args: tuple[Any, ...]) -> Any:
        return self.f(self.unravel(v), *args)


@attrs.frozen(slots=False)
class Loss(_VectorFunction):
    """A scalar function."""

    def __call__(self, v: Any, *args: Any) -> Any:
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

    def __call__(self, v: Any, *args: Any) -> Any:
        return tree.ravel(tree.map(as_floating, self._call_on_tree(v, args)))[0]


@attrs.frozen(slots=False)
class Step(_VectorFunction):
    """The change of an argument by a function, which is zero at a fixed point."""

    def __call__(self, v: Any, *args: Any) -> Any:
        return v - tree.ravel(self._call_on_tree(v, args))[0]


@attrs.frozen(slots=False)
class Cost(DerivedFunction):
    """Half the sum of the squares of some residuals, or of a loss of each."""

    rho: Fn | None
    scale: float

    def __call__(self, v: Any, *args: Any) -> Any:
        f = self.f(v, *args)
        if self.rho is None:
            return 0.5 * np.sum(np.square(f))
        return (0.5 * self.scale**2) * np.sum(self.rho(np.square(f / self.scale)))


def _huber(z: Any) -> Any:
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
    cache: dict[Fn, tuple[Any, Any, Any]] = attrs.Factory(dict)

    def fun(self, x: Any, *args: Any) -> float:
        """The value."""
        shares = value_and_grad in self.cache and self.cache[value_and_grad][1] is not None
        return float(
            self._evaluate(value_and_grad, x, *args)[0]
            if shares
            else self._evaluate(_value, x, *args)
        )

    def jac(self, x: Any, *args: Any) -> Any:
        """The gradient."""
        return np.array(self._evaluate(value_and_grad, x, *args)[1], float)

    def hess(self, x: Any, *args: Any) -> Any:
        """The sparse Hessian: an array of ``scipy.sparse``, by columns."""
        return self._evaluate(_sparse_hessian, x, *args).tocsc()

    def hessp(self, x: Any, p: Any, *args: Any) -> Any:
        """The product of the Hessian and a vector."""
        return np.array(
            self._evaluate(_product, x, np.array(p, as_floating(x).dtype), *args), float
        )

    def _evaluate(self, transform: Fn, x: Any, *args: Any) -> Any:
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


def _leaf_content(leaf: Any) -> Any:
    """The content of a leaf, equal for two that are the same to the bit."""
    x = np.asarray(leaf)
    return leaf if x.dtype.kind == "O" else (type(leaf), x.dtype, x.shape, x.tobytes())


def values_and_jacobian(f: Fn) -> tuple[Fn, Fn]:
    """The values and the Jacobian of a function of vectors, as copies."""
    return (
        lambda x: np.array(f(np.array(x)), float),
        lambda x: np.array(jacobian(f)(np.array(x)), float),
    )
