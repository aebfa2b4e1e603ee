"""The norm of a whole tree, and clipping by it."""

from __future__ import annotations

from typing import Any

import numpy as np

from tapegrad import tree as trees
from tapegrad.errors.lines import at_users_line
from tapegrad.errors.words import a_kind
from tapegrad.ops import equal, maximum, sqrt, sum, where
from tapegrad.ops.casting import squared_modulus
from tapegrad.optim.base import is_known, plain, real_dtype
from tapegrad.tree import Tree
from tapegrad.tree.ownership import as_readonly_leaf

__all__ = ["clip_by_global_norm", "global_norm"]


@at_users_line
def global_norm(tree: Any) -> Any:
    """The root of the sum of the squares of all numbers in a tree; of complex ones ``abs(x)**2``.

    If all are 0, its gradient is 0. Squares of float16 are summed in float32.

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
    total: Any = 0.0
    for x in trees.leaves(tree):
        kind = getattr(x, "dtype", None)
        if kind == np.float16:
            x = x.astype(np.float32)
        elif kind is not None and kind.kind in "iub":
            # whose squares overflow soon
            x = x.astype(float)
        total = total + sum(squared_modulus(x))
    none = equal(total, 0)
    # the square root has no slope at 0
    return where(none, 0.0, sqrt(where(none, 1.0, total)))


@at_users_line
def clip_by_global_norm(grads: Tree, max_norm: Any) -> tuple[Tree, Any]:
    """Scales gradients down if their norm is too large (Pascanu et al. 2013).

    All are multiplied by ``max_norm / norm`` if that is less than 1; otherwise they stay the same
    to the last bit (arXiv:1211.5063).

    Parameters
    ----------
    grads
        A tree of floating arrays.
    max_norm
        The largest norm, more than 0.

    Returns
    -------
    clipped, norm
        The new tree, of the same dtypes, and the `global_norm` of the old one. If the norm
        is not finite, all of the new tree is nan or 0: check it.

    Raises
    ------
    TypeError
        If `max_norm` is not a number.
    ValueError
        If it is not above 0.

    Examples
    --------
    >>> import tapegrad as tg
    >>> clipped, norm = tg.optim.clip_by_global_norm({"w": np.array([3.0, -4.0])}, max_norm=1.0)
    >>> clipped["w"], float(norm)
    (array([ 0.6, -0.8]), 5.0)
    """
    max_norm = plain(max_norm)
    if is_known(max_norm) and not isinstance(max_norm, int | float):
        raise TypeError(
            "clip_by_global_norm(grads, max_norm): max_norm must be a number, not "
            f"{a_kind(max_norm)}"
        )
    if is_known(max_norm) and not max_norm > 0:
        raise ValueError(f"max_norm must be more than 0; it is {max_norm!r}")
    norm = global_norm(grads)
    factor = max_norm / maximum(norm, max_norm)

    def clipped(g: Any) -> Any:
        dtype = g.dtype if hasattr(g, "dtype") else np.dtype(float)
        return as_readonly_leaf(g * factor.astype(real_dtype(dtype)))

    return trees.map(clipped, grads), norm
