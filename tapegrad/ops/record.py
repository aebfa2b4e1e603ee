"""Ops that are about the tape itself: parameters, dtypes, stopped gradients."""

from __future__ import annotations

from typing import Any

import numpy as np

from tapegrad import tree
from tapegrad.op import op
from tapegrad.tensor import NUMPY, Tensor

__all__ = ["asarray", "ascontiguousarray", "astype", "parameter", "stop_gradient"]


@op(lambda g, y, x: g, keeps_weak=True, jvp="rule")
def parameter(x: Any) -> Any:
    """What begins a tape, and marks where a recording inside another begins.

    Written by `Tape.parameter` and `record`.
    """
    return x


@op(lambda g, y, a: g, keeps_weak=True, source="asarray({0})", view=True, jvp="rule")
def asarray(a: Any) -> Any:
    """A Python number as an array, for ops that need one."""
    return np.asarray(a)


@op(lambda g, y, a: g, source="ascontiguousarray({0})", view=True, jvp="rule")
def ascontiguousarray(a: Any) -> Any:
    """The same values, in C order in memory; a scalar becomes an array of one.

    Examples
    --------
    >>> import tapegrad as tg
    >>> tg.ascontiguousarray(np.ones((2, 3)).T).flags.c_contiguous
    True
    """
    return np.ascontiguousarray(a)


@op(
    lambda g, y, a, dtype: g,
    numpy=getattr(np, "astype", ()),
    source="{0}.astype({dtype})",
    jvp="rule",
)
def astype(a: Any, dtype: Any) -> Any:
    """The array in another dtype. A gradient comes back in the old one.

    Examples
    --------
    >>> import tapegrad as tg
    >>> tg.grad(lambda x: tg.sum(tg.astype(x, np.float32)))(np.ones(2)).dtype
    dtype('float64')
    """
    return np.asarray(a).astype(dtype)


def array(x: Any) -> Any:
    """x itself if it is an array or a Tensor, else an array made of it."""
    return x if isinstance(x, np.ndarray | Tensor) else np.asarray(x)


def floating(x: Any) -> Any:
    """`array` of x, of float64 if it is not floating."""
    x = array(x)
    return x if x.dtype.kind == "f" else x.astype(float)


def stop_gradient(tree_: Any) -> Any:
    """The same values, through which no gradient passes.

    Parameters
    ----------
    tree_
        A Tensor, or a tree of them.

    Returns
    -------
    The tree with its Tensors written anew, so that the way back ends there.

    Examples
    --------
    >>> import tapegrad as tg
    >>> tg.grad(lambda x: tg.stop_gradient(x) * x)(3.0)
    array(3.)
    """
    return tree.map(stopped, tree_)


@op(None, keeps_weak=True)
def stopped(x: Any) -> Any:
    """One leaf of `stop_gradient`."""
    return x


def _shape(a: Tensor) -> tuple[int, ...]:
    return a.shape


def _ndim(a: Tensor) -> int:
    return a.ndim


def _size(a: Tensor) -> int:
    return a.size


# What is known of a Tensor without reading its value needs no record.
NUMPY.update({np.shape: _shape, np.ndim: _ndim, np.size: _size})
