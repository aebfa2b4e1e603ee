"""Calls to test an op on, from its domain."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from tapegrad.declare import FUNCTIONS, OPS, declaration
from tapegrad.domain import Call, Domain
from tapegrad.face.table import complete
from tapegrad.testing.assumed import assumed
from tapegrad.testing.choices import Sampled

__all__ = ["domain_of", "sample_calls"]

# what is composed of ops has calls too, and is declared when it is imported
complete()


def domain_of(op: Callable[..., Any] | str) -> Domain:
    """The domain that an op declares, or else one that is assumed."""
    function: Any = (OPS | FUNCTIONS).get(op) if isinstance(op, str) else op
    if function is None:
        raise ValueError(f"there is no op {op!r}; pass an op of your own as an object")
    said = declaration(function)
    return assumed(function) if said is None or said.domain is None else said.domain


def sample_calls(op: Callable[..., Any] | str, n: int, seed: int = 0) -> list[Call]:
    """Calls of an op from its domain, without Hypothesis.

    Parameters
    ----------
    op
        An op, or the name of one in the table; the domain is as for `operands_for`.
    n
        The number of calls.
    seed
        The same seed gives the same calls.

    Returns
    -------
    A list of `tapegrad.domain.Call`.

    Raises
    ------
    TypeError
        If the op declares no domain, and no trial domain works.

    Examples
    --------
    >>> import tapegrad as tg
    >>> for call in tg.testing.sample_calls(tg.tanh, 10):
    ...     tg.testing.check_properties(tg.tanh, call.args)
    """
    domain, rng = domain_of(op), np.random.default_rng(seed)
    return [domain(Sampled(rng)) for _ in range(n)]
