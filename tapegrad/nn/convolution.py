"""Convolution and pooling over images and sequences."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, ClassVar, TypeAlias

import attrs

from tapegrad.arraylike.reading import is_count, shape_of
from tapegrad.functions import pad
from tapegrad.nn.initializers import Key, he_normal, zeros
from tapegrad.nn.layers import (
    BaseLayer,
    WithoutParameters,
    check_params,
    check_shape,
    positive_integer,
)
from tapegrad.ops import add, matmul, max, mean, reshape
from tapegrad.ops.window import patches
from tapegrad.tree.structure import immutable
from tapegrad.types import Array, DTypeLike, Shape

__all__ = ["AvgPool2d", "Conv1d", "Conv2d", "Flatten", "MaxPool2d"]

PerAxis: TypeAlias = int | tuple[int, ...]
"""A number for all spatial axes of a layer, or one for each."""


def check_per_axis(instance: Any, attribute: attrs.Attribute[Any], value: PerAxis) -> None:
    """Raise unless a field is a length, or a length for each spatial axis of a layer."""
    least = 0 if attribute.name == "padding" else 1
    for length in expand_per_axis(instance.n_axes, value):
        if not is_count(length, least):
            raise ValueError(
                f"{attribute.name} is an integer, at least {least}, or a tuple of "
                f"{instance.n_axes} of them; not {value!r}"
            )


def expand_per_axis(n_axes: int, value: PerAxis) -> tuple[int, ...]:
    """Return a length for each axis; a tuple of another number of lengths becomes invalid."""
    if not isinstance(value, tuple):
        return (value,) * n_axes
    return value if len(value) == n_axes else (-1,)


@immutable
@attrs.frozen
class ConvParams:
    """The parameters of a convolution, laid out as in PyTorch.

    ``weight`` (n_outputs, n_inputs / groups, *size), ``bias`` (n_outputs,).
    """

    weight: Array
    bias: Array


@attrs.frozen
class _Conv(BaseLayer):
    """The base of convolutions along any number of axes."""

    n_axes: ClassVar[int]

    n_inputs: int = attrs.field(validator=positive_integer)
    n_outputs: int = attrs.field(validator=positive_integer)
    size: PerAxis = attrs.field(validator=check_per_axis)
    stride: PerAxis = attrs.field(default=1, validator=check_per_axis)
    padding: PerAxis = attrs.field(default=0, validator=check_per_axis)
    groups: int = attrs.field(default=1, validator=positive_integer)

    def __attrs_post_init__(self) -> None:
        if self.n_inputs % self.groups or self.n_outputs % self.groups:
            raise ValueError(
                f"groups={self.groups} must divide both n_inputs={self.n_inputs} and "
                f"n_outputs={self.n_outputs}"
            )

    def init(self, key: Key, dtype: DTypeLike = float) -> ConvParams:
        """Draw a He-normal weight; the bias is zeros."""
        weight = he_normal(key, self._weight_shape, dtype, in_axis=1, out_axis=0)
        return ConvParams(weight, zeros((self.n_outputs,), dtype))

    def __call__(self, params: ConvParams, x: Array) -> Array:
        """The convolution of x of shape (batch, n_inputs, *lengths).

        Raises
        ------
        TypeError
            If the parameters are not `ConvParams`.
        ValueError
            If a shape does not fit the layer, or x is smaller than a kernel.
        """
        check_params(self, params, ConvParams)
        check_shape(self, "", "weight", params.weight, self._weight_shape)
        check_shape(self, "", "bias", params.bias, (self.n_outputs,))
        shape = shape_of(x)
        if len(shape) != self.n_axes + 2 or shape[1] != self.n_inputs:
            raise ValueError(
                f"{self}: x has shape {shape}; (batch, {self.n_inputs}, "
                f"{', '.join(['side'] * self.n_axes)}) is needed"
            )
        y = convolve(
            x,
            params.weight,
            expand_per_axis(self.n_axes, self.stride),
            expand_per_axis(self.n_axes, self.padding),
            self.groups,
        )
        return add(y, reshape(params.bias, (self.n_outputs, *(1,) * self.n_axes)))

    @property
    def _weight_shape(self) -> Shape:
        return (
            self.n_outputs,
            self.n_inputs // self.groups,
            *expand_per_axis(self.n_axes, self.size),
        )


def convolve(
    x: Array, weight: Array, stride: tuple[int, ...], padding: tuple[int, ...], groups: int
) -> Array:
    """The products of kernels with all patches: a cross-correlation, as is usual in layers.

    The tape keeps the patches; these have the size of x times the number of kernel elements.
    """
    n_outputs, n_inputs, *size = shape_of(weight)
    if any(padding):
        x = pad(x, ((0, 0), (0, 0), *((p, p) for p in padding)))
    windows = patches(x, tuple(size), stride)
    batch, counts = windows.shape[0], windows.shape[-len(size) :]
    n_terms = n_inputs * math.prod(size)
    columns = reshape(windows, (batch, groups, n_terms, math.prod(counts)))
    kernels = reshape(weight, (groups, n_outputs // groups, n_terms))
    return reshape(matmul(kernels, columns), (batch, n_outputs, *counts))


class Conv1d(_Conv):
    """A convolution along one axis.

    Parameters
    ----------
    n_inputs, n_outputs
        The numbers of channels.
    size
        The length of a kernel.
    stride
        The distance between neighbouring positions of a kernel.
    padding
        The number of zeros before the first and after the last element.
    groups
        The number of groups of channels, each with its own kernels.

    Examples
    --------
    >>> import tapegrad as tg
    >>> layer = tg.nn.Conv1d(3, 4, 5, padding=2)
    >>> params = layer.init(0)
    >>> params.weight.shape
    (4, 3, 5)
    >>> layer(params, np.ones((2, 3, 10))).shape
    (2, 4, 10)
    """

    __slots__ = ()
    n_axes = 1


class Conv2d(_Conv):
    """A convolution of images, of shape (batch, channels, height, width).

    Parameters
    ----------
    n_inputs, n_outputs
        The numbers of channels.
    size, stride, padding
        As for `Conv1d`; a pair where height and width differ.
    groups
        The number of groups of channels, each with its own kernels.

    Examples
    --------
    >>> import tapegrad as tg
    >>> layer = tg.nn.Conv2d(3, 4, (3, 5), stride=2)
    >>> params = layer.init(0)
    >>> params.weight.shape
    (4, 3, 3, 5)
    >>> layer(params, np.ones((2, 3, 9, 9))).shape
    (2, 4, 4, 3)
    """

    __slots__ = ()
    n_axes = 2


@attrs.frozen
class _Pool(WithoutParameters):
    """The base of the pooling layers."""

    n_axes: ClassVar[int] = 2
    reduce: ClassVar[Callable[..., Array]]

    size: PerAxis = attrs.field(validator=check_per_axis)
    stride: PerAxis | None = attrs.field(
        default=None, validator=attrs.validators.optional(check_per_axis)
    )

    def function(self, x: Array) -> Array:
        """One number for each patch of x, of shape (..., height, width)."""
        size = expand_per_axis(self.n_axes, self.size)
        stride = size if self.stride is None else expand_per_axis(self.n_axes, self.stride)
        return self.reduce(patches(x, size, stride), axis=(-4, -3))


class MaxPool2d(_Pool):
    """The largest element of each patch of an image.

    Parameters
    ----------
    size
        The height and width of a patch, one number or a pair.
    stride
        The distance between neighbouring patches, one number or a pair; `size` by default.

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
    """A layer that joins all axes except the first.

    Examples
    --------
    >>> import tapegrad as tg
    >>> tg.nn.Flatten()(None, np.ones((2, 3, 4))).shape
    (2, 12)
    """

    __slots__ = ()

    def function(self, x: Array) -> Array:
        """Reshape x of shape (batch, ...) to (batch, n)."""
        shape = shape_of(x)
        if not shape:
            raise ValueError(f"{self}: x has no axis")
        return reshape(x, (shape[0], math.prod(shape[1:])))
