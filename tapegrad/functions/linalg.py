"""The functions of ``np.linalg``; `diagonal` and others differ from NumPy's of the same name."""

from __future__ import annotations

import numpy as np

from tapegrad.arraylike.table import answers
from tapegrad.errors.names import list_names
from tapegrad.functions import matrices as _matrices
from tapegrad.functions.manipulation import diagonal as _diagonal
from tapegrad.functions.manipulation import matrix_transpose as matrix_transpose
from tapegrad.functions.manipulation import trace as _trace
from tapegrad.functions.matrices import *  # noqa: F403
from tapegrad.functions.matrices import cond as cond
from tapegrad.functions.products import cross as _cross
from tapegrad.functions.products import multi_dot as multi_dot
from tapegrad.functions.products import outer as _outer
from tapegrad.functions.products import tensordot as tensordot
from tapegrad.ops import decompositions as _decompositions
from tapegrad.ops import inverses as _inverses
from tapegrad.ops.decompositions import *  # noqa: F403
from tapegrad.ops.inverses import *  # noqa: F403
from tapegrad.ops.product import matmul as matmul
from tapegrad.ops.product import vecdot as vecdot
from tapegrad.types import Array, ArrayLike

__all__ = ["cond", "cross", "diagonal", "matmul", "matrix_transpose", "multi_dot", "outer"]
__all__ += ["tensordot", "trace", "vecdot"]
__all__ += _matrices.__all__
__all__ += _decompositions.__all__
__all__ += _inverses.__all__
list_names(globals(), "linalg")


def diagonal(x: ArrayLike, *, offset: int = 0) -> Array:
    """The diagonals of matrices, as in ``np.linalg``: over the last two axes.

    Examples
    --------
    >>> import tapegrad as tg
    >>> tg.linalg.diagonal(np.arange(8).reshape(2, 2, 2))
    array([[0, 3],
           [4, 7]])
    """
    return _diagonal(x, offset, -2, -1)


def trace(x: ArrayLike, *, offset: int = 0) -> Array:
    """The sums of the diagonals of matrices, as in ``np.linalg``: over the last two axes.

    Examples
    --------
    >>> import tapegrad as tg
    >>> tg.linalg.trace(np.arange(8).reshape(2, 2, 2))
    array([ 3, 11])
    """
    return _trace(x, offset, -2, -1)


def outer(x1: ArrayLike, x2: ArrayLike) -> Array:
    """All products of elements of two vectors, as `tapegrad.outer`.

    Examples
    --------
    >>> import tapegrad as tg
    >>> tg.linalg.outer(np.array([1.0, 2.0]), np.array([3.0, 4.0]))
    array([[3., 4.],
           [6., 8.]])
    """
    if not np.ndim(x1) == np.ndim(x2) == 1:
        raise ValueError(f"outer takes vectors, not {np.ndim(x1)} and {np.ndim(x2)} axes")
    return _outer(x1, x2)


def cross(x1: ArrayLike, x2: ArrayLike, *, axis: int = -1) -> Array:
    """The cross products of vectors with 3 components, as `tapegrad.cross`.

    Examples
    --------
    >>> import tapegrad as tg
    >>> tg.linalg.cross(np.array([1.0, 0.0, 0.0]), np.array([0.0, 1.0, 0.0]))
    array([0., 0., 1.])
    """
    n_components = np.shape(x1)[axis], np.shape(x2)[axis]
    if n_components != (3, 3):
        raise ValueError(f"cross takes vectors with 3 components, not {n_components}")
    return _cross(x1, x2, axis=axis)


answers([np.linalg.diagonal], diagonal)
answers([np.linalg.trace], trace)
answers([np.linalg.outer], outer)
answers([np.linalg.cross], cross)
answers([np.linalg.matmul], matmul)
