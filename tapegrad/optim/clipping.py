"""The norm of a whole tree, and clipping by it."""

from __future__ import annotations

import numpy as np

from tapegrad import tree as trees
from tapegrad.errors.lines import warns_at_users_line
from tapegrad.errors.words import a_kind
from tapegrad.ops import equal, maximum, sqrt, sum, where
from tapegrad.ops.casting import squared_modulus
from tapegrad.optim.base import Number, as_number, is_known, real_dtype
from tapegrad.tree import Tree
from tapegrad.tree.ownership import as_readonly_leaf
from tapegrad.types import Array, PyTree

__all__ = ["clip_by_global_norm", "global_norm"]


@warns_at_users_line
def global_norm(tree: PyTree) -> Array:
    """The root of the sum of the squares of all elements of a tree.

    The square of a complex element is ``abs(x)**2``. The gradient is 0 if all elements are 0.
    Squares of float16 are summed in float32.

    Parameters
    ----------
    tree
        A tree of floating arrays.

    Examples
    --------
    >>> import tapegrad as tg
    >>> float(tg.optim.global_norm({"w": np.array([3.0, 0.0]), "b": np.array(-4.0)}))
    5.0
    """
    total: Array | float = 0.0
    for x in trees.leaves(tree):
        dtype = getattr(x, "dtype", None)
        if dtype == np.float16:
            x = x.astype(np.float32)
        elif dtype is not None and dtype.kind in "iub":
            # the squares of small integers overflow
            x = x.astype(float)
        total = total + sum(squared_modulus(x))
    is_zero = equal(total, 0)
    # the square root has no derivative at 0
    return where(is_zero, 0.0, sqrt(where(is_zero, 1.0, total)))


@warns_at_users_line
def clip_by_global_norm(grads: Tree, max_norm: Number) -> tuple[Tree, Array]:
    """Scale gradients down if their norm is too large (Pascanu et al. 2013, arXiv:1211.5063).

    All gradients are multiplied by ``max_norm / norm`` if this is less than 1; otherwise they stay
    the same to the last bit.

    Parameters
    ----------
    grads
        A tree of floating arrays.
    max_norm
        The largest norm, more than 0.

    Returns
    -------
    clipped, norm
        The new tree, of the same dtypes, and the `global_norm` of the old tree. If the norm
        is not finite, all elements of the new tree are nan or 0: check the norm.

    Raises
    ------
    TypeError
        If `max_norm` is not a number.
    ValueError
        If `max_norm` is not above 0.

    Examples
    --------
    >>> import tapegrad as tg
    >>> clipped, norm = tg.optim.clip_by_global_norm({"w": np.array([3.0, -4.0])}, max_norm=1.0)
    >>> clipped["w"], float(norm)
    (array([ 0.6, -0.8]), 5.0)
    """
    max_norm = as_number(max_norm)
    if is_known(max_norm) and not isinstance(max_norm, int | float):
        raise TypeError(
            "clip_by_global_norm(grads, max_norm): max_norm must be a number, not "
            f"{a_kind(max_norm)}"
        )
    if is_known(max_norm) and not max_norm > 0:
        raise ValueError(f"max_norm must be more than 0; it is {max_norm!r}")
    norm = global_norm(grads)
    factor = max_norm / maximum(norm, max_norm)

    def clip_leaf(g: Array) -> Array:
        dtype = g.dtype if hasattr(g, "dtype") else np.dtype(float)
        return as_readonly_leaf(g * factor.astype(real_dtype(dtype)))

    return trees.map(clip_leaf, grads), norm
