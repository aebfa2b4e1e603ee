"""Calls to test an op on, from its domain."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import numpy as np

from tapegrad import tree
from tapegrad.core.signature import Signature
from tapegrad.declare import FUNCTIONS, OPS, declaration
from tapegrad.declare.domain import Call, Choices, Domain
from tapegrad.face.table import ANSWERS, complete
from tapegrad.testing.assumed_domains import assumed
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
    if said is None or said.domain is None or said.signature is None:
        return assumed(function)
    return _partly_left_out(function, said.domain, said.signature)


def _partly_left_out(of: Callable[..., Any], domain: Domain, signature: Signature) -> Domain:
    """The calls of a domain, of which many leave out some of the options that have a default.

    They stay where the function, or NumPy's that it stands for, refuses the call without them or
    warns of it.
    """
    required = [x for x in signature.names if x not in signature.defaults]
    numpys = [f for f, op in ANSWERS.items() if op is of and callable(f)]

    def call(choose: Choices) -> Call:
        made = domain(choose)
        options = [x for x in made.kwargs if x not in required and x not in made.needed]
        n = len(made.args)
        if not signature.is_variadic:
            n = choose.integer(min(max(len(required), 1), n), n)
        # all are left out by the simplest choice, and none by the last
        kept = choose.integer(0, 2 ** len(options) - 1)
        left = {x for i, x in enumerate(options) if not kept >> i & 1}
        if not left and n == len(made.args):
            return made
        fewer = Call(made.args[:n], {x: y for x, y in made.kwargs.items() if x not in left})
        return fewer if all(_takes(f, fewer) for f in (of, *numpys)) else made

    return call


def _takes(function: Callable[..., Any], call: Call) -> bool:
    # a copy, since some functions of NumPy write into their argument
    args = tree.map(lambda x: x.copy() if isinstance(x, np.ndarray) else x, call.args)
    try:
        with np.errstate(all="warn", under="ignore"), warnings.catch_warnings():
            warnings.simplefilter("error")
            function(*args, **call.kwargs)
    except Exception:
        return False
    return True


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
