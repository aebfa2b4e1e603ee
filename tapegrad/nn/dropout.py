"""Dropout: some elements set to 0, drawn with a key."""

from __future__ import annotations

from numbers import Real
from typing import Any, ClassVar

import attrs
import numpy.typing as npt

from tapegrad import random
from tapegrad.core.operands import shape_of
from tapegrad.face.lines import at_users_line
from tapegrad.nn.initializers import Key
from tapegrad.nn.layers import check_no_params
from tapegrad.ops import where


def _rate(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, Real) or not 0 <= float(value) < 1:
        raise ValueError(f"rate is a number, at least 0 and less than 1; not {value!r}")
    return float(value)


@attrs.frozen
class Dropout:
    """Sets elements to 0 at random and scales up the others.

    (Srivastava et al. 2014, https://jmlr.org/papers/v15/srivastava14a.html.) The
    expected value is unchanged.

    Parameters
    ----------
    rate
        The probability that an element is dropped.

    Examples
    --------
    >>> import tapegrad as tg
    >>> layer = tg.nn.Dropout(0.5)
    >>> layer(None, np.ones(4))
    array([1., 1., 1., 1.])
    >>> sorted(set(layer(None, np.ones(100), key=tg.random.key(0)).tolist()))
    [0.0, 2.0]
    """

    __tree_leaf__: ClassVar[bool] = True

    rate: float = attrs.field(converter=_rate)

    def init(self, key: Key, dtype: npt.DTypeLike = float) -> None:
        """None: there are no parameters."""

    @at_users_line
    def __call__(self, params: None, x: Any, key: Any = None) -> Any:
        """X with elements dropped; without a key, x unchanged."""
        check_no_params(self, params)
        if key is None or self.rate == 0:
            return x
        keep = 1 - self.rate
        return where(random.bernoulli(key, keep, shape_of(x)), x / keep, 0)
