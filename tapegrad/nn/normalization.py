"""Normalization layers: mean 0 and variance 1, then a learned scale and shift."""

from __future__ import annotations

import math
from functools import partial
from typing import Any

import attrs
import numpy as np

from tapegrad.arraylike.reading import shape_of
from tapegrad.nn.initializers import Key, ones, zeros
from tapegrad.nn.layers import BaseLayer, check_params, check_shape, positive_integer
from tapegrad.ops import astype, mean, reshape, sqrt, square, standardize, stop_gradient
from tapegrad.ops.casting import deviations
from tapegrad.tree.structure import immutable
from tapegrad.types import Array, DTypeLike

__all__ = ["BatchNorm", "LayerNorm", "RMSNorm"]


@immutable
@attrs.frozen
class NormParams:
    """The parameters of `LayerNorm` and `BatchNorm`: ``weight`` and ``bias``, each (n,)."""

    weight: Array
    bias: Array


@immutable
@attrs.frozen
class RMSNormParams:
    """The parameters of `RMSNorm`: ``weight`` (n,)."""

    weight: Array


def _check_positive(instance: object, attribute: attrs.Attribute[float], value: float) -> None:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < math.inf:
        raise ValueError(f"{attribute.name} must be a positive number, not {value!r}")


def _check_momentum(instance: object, attribute: attrs.Attribute[float], value: float) -> None:
    _check_positive(instance, attribute, value)
    if value > 1:
        raise ValueError(f"{attribute.name} must be at most 1, which keeps nothing; not {value!r}")


def _check_call(layer: Any, params: object, kind: type, x: Array, axis: int) -> None:
    check_params(layer, params, kind)
    for field in attrs.fields(kind):
        check_shape(layer, "", field.name, getattr(params, field.name), (layer.n,))
    shape = shape_of(x)
    if shape[axis:][:1] != (layer.n,):
        raise ValueError(
            f"{layer}: x has shape {shape}; its {'last' if axis == -1 else 'second'} axis must "
            f"have length {layer.n}"
        )


@attrs.frozen
class _AffineNorm(BaseLayer):
    """The base of layers with `NormParams`."""

    n: int = attrs.field(validator=positive_integer)

    def init(self, key: Key, dtype: DTypeLike = float) -> NormParams:
        """Make a weight of ones and a bias of zeros, whatever the key."""
        return NormParams(ones((self.n,), dtype), zeros((self.n,), dtype))


@attrs.frozen
class LayerNorm(_AffineNorm):
    """Layer normalization: each vector gets mean 0 and variance 1, then a scale and a shift.

    (Ba et al. 2016, arXiv:1607.06450.)

    Parameters
    ----------
    n
        The length of the last axis, along which the layer normalizes.
    epsilon
        A number added to the variance.

    Examples
    --------
    >>> import tapegrad as tg
    >>> layer = tg.nn.LayerNorm(2)
    >>> layer(layer.init(0), np.array([[1.0, 3.0]])).round(3)
    array([[-1.,  1.]])
    """

    epsilon: float = attrs.field(default=1e-5, validator=_check_positive)

    def __call__(self, params: NormParams, x: Array) -> Array:
        """Normalize x of shape (..., n)."""
        _check_call(self, params, NormParams, x, -1)
        return standardize(x, epsilon=self.epsilon) * params.weight + params.bias


@attrs.frozen
class RMSNorm(BaseLayer):
    """RMS normalization: divide each vector by its root mean square, then scale it.

    (Zhang and Sennrich 2019, arXiv:1910.07467.)

    Parameters
    ----------
    n
        The length of the last axis, along which the layer normalizes.
    epsilon
        A number added to the mean square.

    Examples
    --------
    >>> import tapegrad as tg
    >>> layer = tg.nn.RMSNorm(2)
    >>> layer(layer.init(0), np.array([[3.0, 3.0]])).round(3)
    array([[1., 1.]])
    """

    n: int = attrs.field(validator=positive_integer)
    epsilon: float = attrs.field(default=1e-6, validator=_check_positive)

    def init(self, key: Key, dtype: DTypeLike = float) -> RMSNormParams:
        """Make a weight of ones, whatever the key."""
        return RMSNormParams(ones((self.n,), dtype))

    def __call__(self, params: RMSNormParams, x: Array) -> Array:
        """Normalize x of shape (..., n)."""
        _check_call(self, params, RMSNormParams, x, -1)
        return standardize(x, epsilon=self.epsilon, center=False) * params.weight


@immutable
@attrs.frozen
class BatchNormState:
    """The running statistics of `BatchNorm`: ``mean`` and ``variance``, each (n,)."""

    mean: Array
    variance: Array


@attrs.frozen
class BatchNorm(_AffineNorm):
    """Batch normalization: normalize each channel by its mean and variance over the batch.

    (Ioffe and Szegedy 2015, arXiv:1502.03167.) Each call takes the running statistics and returns
    new statistics; no gradient passes through these.

    Parameters
    ----------
    n
        The number of channels, the length of the second axis.
    momentum
        The share of the running statistics that each training batch replaces.
    epsilon
        A number added to the variance.

    Examples
    --------
    >>> import tapegrad as tg
    >>> layer = tg.nn.BatchNorm(1)
    >>> state = layer.initial_state()
    >>> y, state = layer(layer.init(0), np.array([[1.0], [3.0]]), state, training=True)
    >>> y.round(3).tolist(), state
    ([[-1.0], [1.0]], BatchNormState(mean=array([0.2]), variance=array([1.1])))
    """

    momentum: float = attrs.field(default=0.1, validator=_check_momentum)
    epsilon: float = attrs.field(default=1e-5, validator=_check_positive)

    def initial_state(self, dtype: DTypeLike = float) -> BatchNormState:
        """The initial running statistics: mean 0 and variance 1."""
        return BatchNormState(zeros((self.n,), dtype), ones((self.n,), dtype))

    def __call__(
        self, params: NormParams, x: Array, state: BatchNormState, training: bool = False
    ) -> tuple[Array, BatchNormState]:
        """Normalize x of shape (batch, n, ...); return the result and the new state.

        Parameters
        ----------
        params, x
            The parameters, and the input.
        state
            From `initial_state` or the last call.
        training
            Whether to normalize by the statistics of the batch, and update the running statistics
            (with the unbiased variance, as in PyTorch). Otherwise normalize by the running
            statistics, which stay unchanged.

        Raises
        ------
        TypeError
            If the parameters are not `NormParams`, or the state is not a `BatchNormState`.
        ValueError
            If a shape does not fit, or training has fewer than two numbers for each channel.
        """
        _check_call(self, params, NormParams, x, 1)
        check_params(self, state, BatchNormState, "state")
        shape = shape_of(x)
        if not isinstance(training, bool | np.bool):
            raise TypeError(f"{self}: training must be True or False, not {training!r}")
        axes = (0, *range(2, len(shape)))
        channels = (self.n, *(1,) * (len(shape) - 2))
        if training:
            count = math.prod(shape) // self.n
            if count < 2:
                raise ValueError(
                    f"{self}: x has shape {shape}, fewer than two numbers for each channel"
                )
            average = mean(x, axis=axes)
            channel_means = partial(mean, axis=axes, keepdims=True)
            centred = deviations(x, reshape(average, channels), channel_means)
            variance = mean(square(centred), axis=axes)
            state = BatchNormState(
                self._update_average(state.mean, average),
                self._update_average(state.variance, variance * (count / (count - 1))),
            )
        else:
            variance = astype(state.variance, x.dtype)
            centred = x - reshape(astype(state.mean, x.dtype), channels)
        scale = params.weight / sqrt(variance + self.epsilon)
        return centred * reshape(scale, channels) + reshape(params.bias, channels), state

    def _update_average(self, old: Array, new: Array) -> Array:
        new = stop_gradient(new).astype(old.dtype)
        return stop_gradient((1 - self.momentum) * old + self.momentum * new)
