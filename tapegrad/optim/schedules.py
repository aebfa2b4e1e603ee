"""Schedules: learning rates as functions of the step, which is counted from 0.

A schedule is a frozen record. Its argument is a step: a number, an array of steps or a Tensor. It
is recorded, compiled and pickled like any other function.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable

import attrs
import numpy as np

from tapegrad.errors.lines import WarnsAtUsersLine
from tapegrad.ops import cos, index_select, minimum, where
from tapegrad.optim.base import as_number, count, is_known, not_negative, positive
from tapegrad.types import Array

__all__ = ["constant", "exponential_decay", "linear", "piecewise", "warmup_cosine"]


@attrs.frozen
class constant(WarnsAtUsersLine):  # noqa: N801
    """The same rate at each step.

    Parameters
    ----------
    value
        The rate.

    Examples
    --------
    >>> import tapegrad as tg
    >>> tg.optim.constant(0.1)(7)
    0.1
    """

    value: float | Array = attrs.field(converter=as_number, validator=not_negative)

    def __call__(self, step: Array | int) -> Array | float:
        """The rate at a step."""
        return self.value


@attrs.frozen
class linear(WarnsAtUsersLine):  # noqa: N801
    """A linear change from one rate to another, then constant.

    Parameters
    ----------
    start, end
        The rate at step 0, and the rate from step `steps` on.
    steps
        The number of steps from start to end, at least 1.

    Examples
    --------
    >>> import tapegrad as tg
    >>> tg.optim.linear(1.0, 0.0, steps=4)(np.arange(6))
    array([1.  , 0.75, 0.5 , 0.25, 0.  , 0.  ])
    """

    start: float | Array = attrs.field(converter=as_number, validator=not_negative)
    end: float | Array = attrs.field(converter=as_number, validator=not_negative)
    steps: float | Array = attrs.field(converter=as_number, validator=[count, positive])

    def __call__(self, step: Array | int) -> Array | float:
        """The rate at a step."""
        return self.start + (self.end - self.start) * minimum(step / self.steps, 1.0)


@attrs.frozen
class warmup_cosine(WarnsAtUsersLine):  # noqa: N801
    """A linear rise from above zero to a peak, then a fall along half a cosine.

    At step t the rate is ``peak * (t + 1) / warmup`` for the first `warmup` steps, so that the last
    of these has the peak; then ``end + (peak - end) * (1 + cos(pi * x)) / 2``, with x from 0 to 1
    between the steps `warmup` and `total`; and then `end` (Loshchilov and Hutter 2017,
    arXiv:1608.03983, without restarts; warm-up as in Goyal et al. 2017, arXiv:1706.02677).

    Parameters
    ----------
    peak
        The highest rate.
    warmup
        The number of steps of the rise, 0 for none.
    total
        The number of steps until `end`, including the warm-up.
    end
        The rate from step `total` on.

    Raises
    ------
    ValueError
        If total is not more than warmup.

    Examples
    --------
    >>> import tapegrad as tg
    >>> rate = tg.optim.warmup_cosine(1.0, warmup=4, total=8)
    >>> rate(np.arange(10)).round(2)
    array([0.25, 0.5 , 0.75, 1.  , 1.  , 0.85, 0.5 , 0.15, 0.  , 0.  ])
    """

    peak: float | Array = attrs.field(converter=as_number, validator=not_negative)
    warmup: float | Array = attrs.field(converter=as_number, validator=count)
    total: float | Array = attrs.field(converter=as_number, validator=count)
    end: float | Array = attrs.field(converter=as_number, validator=not_negative, default=0.0)

    @total.validator
    def _check_total(self, attribute: attrs.Attribute[float], value: float) -> None:
        if is_known(value) and is_known(self.warmup) and value <= self.warmup:
            raise ValueError(f"total must be more than warmup, {self.warmup!r}; it is {value!r}")

    def __call__(self, step: Array | int) -> Array | float:
        """The rate at a step."""
        progress = minimum((step - self.warmup) / (self.total - self.warmup), 1.0)
        cosine = self.end + (self.peak - self.end) * (1 + cos(math.pi * progress)) / 2
        if is_known(self.warmup) and self.warmup == 0:
            return cosine
        return where(step < self.warmup, self.peak * ((step + 1) / self.warmup), cosine)


@attrs.frozen
class exponential_decay(WarnsAtUsersLine):  # noqa: N801
    """Continuous exponential decay, by a factor for each period of steps.

    At step t the rate is ``start * factor ** (t / steps)``.

    Parameters
    ----------
    start
        The rate at step 0.
    factor
        The factor of each period.
    steps
        The number of steps in a period, at least 1.

    Examples
    --------
    >>> import tapegrad as tg
    >>> tg.optim.exponential_decay(1.0, 0.25, steps=2)(np.arange(5))
    array([1.    , 0.5   , 0.25  , 0.125 , 0.0625])
    """

    start: float | Array = attrs.field(converter=as_number, validator=not_negative)
    factor: float | Array = attrs.field(converter=as_number, validator=positive)
    steps: float | Array = attrs.field(converter=as_number, validator=[count, positive], default=1)

    def __call__(self, step: Array | int) -> Array | float:
        """The rate at a step."""
        return self.start * self.factor ** (step / self.steps)


def _as_tuple(values: Iterable[float | Array]) -> tuple[float | Array, ...]:
    return tuple(values)


@attrs.frozen
class piecewise(WarnsAtUsersLine):  # noqa: N801
    """One rate up to a step, another up to the next one, and so on.

    Parameters
    ----------
    values
        The rates.
    boundaries
        The first steps of the second rate, the third rate and so on, in order.

    Raises
    ------
    ValueError
        Unless there is one boundary fewer than values, in increasing order.

    Examples
    --------
    >>> import tapegrad as tg
    >>> tg.optim.piecewise([1.0, 0.1, 0.01], boundaries=[2, 4])(np.arange(6))
    array([1.  , 1.  , 0.1 , 0.1 , 0.01, 0.01])
    """

    values: tuple[float | Array, ...] = attrs.field(converter=_as_tuple)
    boundaries: tuple[float | Array, ...] = attrs.field(converter=_as_tuple)

    @values.validator
    def _check_values(
        self, attribute: attrs.Attribute[tuple[float, ...]], value: tuple[float, ...]
    ) -> None:
        for x in value:
            not_negative(self, attribute, as_number(x))

    @boundaries.validator
    def _check_boundaries(
        self, attribute: attrs.Attribute[tuple[float, ...]], value: tuple[float, ...]
    ) -> None:
        for x in value:
            count(self, attribute, as_number(x))
        if len(value) + 1 != len(self.values):
            raise ValueError(
                f"{len(self.values)} values need {len(self.values) - 1} boundaries between them, "
                f"not {len(value)}"
            )
        if any(a >= b for a, b in itertools.pairwise(value)):
            raise ValueError(f"boundaries must rise; they are {value!r}")

    def __call__(self, step: Array | int) -> Array | float:
        """The rate at a step."""
        interval: Array | int = 0
        for boundary in self.boundaries:
            interval = interval + (step >= boundary) * 1
        return index_select(np.array(self.values), interval)
