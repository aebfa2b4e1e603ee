"""Whole matrices of derivatives: `jacobian` and `hessian`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from tapegrad import tree
from tapegrad.core.ownership import give
from tapegrad.transforms.base import Argnums, Fn, P, R, Transform
from tapegrad.transforms.gradients import Grad
from tapegrad.transforms.products import Pullback, pulled, zeros


class Jacobian(Transform[P, R]):
    """What `jacobian` returns."""

    kind = "jacobian"

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R:
        positions = self.positions(args)
        output, pullback, *aux = pulled(self.fn, args, kwargs, positions, self.has_aux)
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
        weights = [zeros(leaf) for leaf in leaves]
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


class Hessian(Transform[P, R]):
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
