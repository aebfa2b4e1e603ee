"""Pooling layers, which reduce each patch of an image to one number, and `Flatten`."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, ClassVar

import attrs

from tapegrad.core.operands import shape_of
from tapegrad.nn.convolution import Sides, each_side, sides
from tapegrad.nn.layers import WithoutParameters
from tapegrad.ops import max, mean, reshape
from tapegrad.ops.patch import patches


@attrs.frozen
class _Pool(WithoutParameters):
    """The base of the pooling layers."""

    n_axes: ClassVar[int] = 2
    reduce: ClassVar[Callable[..., Any]]

    size: Sides = attrs.field(validator=sides)
    stride: Sides | None = attrs.field(default=None, validator=attrs.validators.optional(sides))

    def function(self, x: Any) -> Any:
        """One number for each patch of x, of shape (..., height, width)."""
        size = each_side(self, self.size)
        stride = size if self.stride is None else each_side(self, self.stride)
        return self.reduce(patches(x, size, stride), axis=(-4, -3))


class MaxPool2d(_Pool):
    """The largest element of each patch of an image.

    Parameters
    ----------
    size
        The height and width of a patch, one number or a pair.
    stride
        The steps from one patch to the next; `size` by default.

    Notes
    -----
    Elements that tie for the largest share the gradient equally, as in `tapegrad.max`
    (PyTorch gives all of it to the first).

    Examples
    --------
    >>> import tapegrad as tg
    >>> tg.nn.MaxPool2d(2)(None, np.arange(16.0).reshape(1, 1, 4, 4))
    array([[[[ 5.,  7.],
             [13., 15.]]]])
    """

    __slots__ = ()
    reduce = max


class AvgPool2d(_Pool):
    """The mean of each patch of an image.

    Parameters
    ----------
    size, stride
        As for `MaxPool2d`.

    Examples
    --------
    >>> import tapegrad as tg
    >>> tg.nn.AvgPool2d(2)(None, np.arange(16.0).reshape(1, 1, 4, 4))
    array([[[[ 2.5,  4.5],
             [10.5, 12.5]]]])
    """

    __slots__ = ()
    reduce = mean


class Flatten(WithoutParameters):
    """Joins all axes except the first into one.

    Examples
    --------
    >>> import tapegrad as tg
    >>> tg.nn.Flatten()(None, np.ones((2, 3, 4))).shape
    (2, 12)
    """

    __slots__ = ()

    def function(self, x: Any) -> Any:
        """X of shape (batch, ...) as (batch, n)."""
        shape = shape_of(x)
        if not shape:
            raise ValueError(f"{self}: x has no axis")
        return reshape(x, (shape[0], math.prod(shape[1:])))
