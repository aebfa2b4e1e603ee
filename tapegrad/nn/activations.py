"""Activations as layers without parameters."""

from __future__ import annotations

from typing import Any

import attrs

from tapegrad.functions import elu, gelu, leaky_relu, silu
from tapegrad.nn.layers import WithoutParameters
from tapegrad.ops import log_softmax, softmax


class Silu(WithoutParameters):
    """`tapegrad.silu` as a layer, without parameters.

    Examples
    --------
    >>> import tapegrad as tg
    >>> tg.nn.Silu()(None, np.array([-1.0, 0.0, 1.0])).round(4)
    array([-0.2689,  0.    ,  0.7311])
    """

    __slots__ = ()
    function = staticmethod(silu)


@attrs.frozen
class Gelu(WithoutParameters):
    """`tapegrad.gelu` as a layer, without parameters.

    Examples
    --------
    >>> import tapegrad as tg
    >>> tg.nn.Gelu()(None, np.array([-1.0, 0.0, 1.0])).round(4)
    array([-0.1587,  0.    ,  0.8413])
    """

    approximate: bool = False

    def function(self, x: Any) -> Any:
        """`tapegrad.gelu` of x."""
        return gelu(x, self.approximate)


@attrs.frozen
class LeakyRelu(WithoutParameters):
    """`tapegrad.leaky_relu` as a layer, without parameters.

    Examples
    --------
    >>> import tapegrad as tg
    >>> tg.nn.LeakyRelu(0.1)(None, np.array([-1.0, 0.0, 1.0]))
    array([-0.1,  0. ,  1. ])
    """

    slope: float = 0.01

    def function(self, x: Any) -> Any:
        """`tapegrad.leaky_relu` of x."""
        return leaky_relu(x, self.slope)


@attrs.frozen
class Elu(WithoutParameters):
    """`tapegrad.elu` as a layer, without parameters.

    Examples
    --------
    >>> import tapegrad as tg
    >>> tg.nn.Elu()(None, np.array([-1.0, 0.0, 1.0])).round(4)
    array([-0.6321,  0.    ,  1.    ])
    """

    alpha: float = 1.0

    def function(self, x: Any) -> Any:
        """`tapegrad.elu` of x."""
        return elu(x, self.alpha)


@attrs.frozen
class Softmax(WithoutParameters):
    """`tapegrad.softmax` as a layer, without parameters.

    Examples
    --------
    >>> import tapegrad as tg
    >>> tg.nn.Softmax()(None, np.zeros(2))
    array([0.5, 0.5])
    """

    axis: int = -1

    def function(self, x: Any) -> Any:
        """`tapegrad.softmax` of x."""
        return softmax(x, self.axis)


@attrs.frozen
class LogSoftmax(WithoutParameters):
    """`tapegrad.log_softmax` as a layer, without parameters.

    Examples
    --------
    >>> import tapegrad as tg
    >>> tg.nn.LogSoftmax()(None, np.zeros(2)).round(4)
    array([-0.6931, -0.6931])
    """

    axis: int = -1

    def function(self, x: Any) -> Any:
        """`tapegrad.log_softmax` of x."""
        return log_softmax(x, self.axis)
