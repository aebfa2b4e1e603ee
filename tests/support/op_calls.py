"""Calls of the package's own ops and functions, drawn from the domains beside this file."""

from collections.abc import Callable
from typing import Any

import numpy as np
from domains import DOMAINS, special
from hypothesis import strategies as st

from tapegrad.arraylike.table import full_table
from tapegrad.declare import FUNCTIONS, OPS, declaration
from tapegrad.declare.declarations import declared_key, is_elementwise
from tapegrad.domain import REAL, Call, Domain, each
from tapegrad.ops.scipy_special import SCIPY_OPS
from tapegrad.testing.calls import omit_options, with_complex_operands
from tapegrad.testing.choices import RandomChoices
from tapegrad.testing.strategies import HypothesisChoices

# functions composed of ops are declared when their modules are imported, and have calls too
full_table()


def sample_calls(
    op: Callable[..., Any] | str, n: int, seed: int = 0, complex: bool = False
) -> list[Call]:
    """Calls of an op of the package, or of the one with this name, without Hypothesis."""
    domain, rng = _domain(op, complex), np.random.default_rng(seed)
    return [domain(RandomChoices(rng)) for _ in range(n)]


def operands_for(op: str, complex: bool = False) -> st.SearchStrategy[Call]:
    """Calls of an op of the package, or of the one with this name."""
    domain = _domain(op, complex)
    return st.composite(lambda draw: domain(HypothesisChoices(draw)))()


def _domain(op: Callable[..., Any] | str, complex: bool) -> Domain:
    function: Callable[..., Any] = (OPS | FUNCTIONS)[op] if isinstance(op, str) else op
    domain = declared_domain(function)
    if domain is None:
        raise LookupError(f"no file of tests/support/domains has calls of {function}")
    declared = declaration(function)
    signature = declared.signature if declared is not None else None
    domain = omit_options(function, domain, signature) if signature is not None else domain
    return with_complex_operands(function, domain) if complex else domain


def declared_domain(function: Callable[..., Any]) -> Domain | None:
    """The domain of an op or a function of the package; None if it has none.

    An elementwise op that has no entry takes any real numbers, and so does a function of SciPy's.
    """
    facts = declaration(function)
    if facts is None or facts.domain is not None:
        return None if facts is None else facts.domain
    name = getattr(function, "__name__", "")
    scipys = SCIPY_OPS.get(name)
    if scipys is not None and scipys is function:
        return special.DOMAINS.get(name) or each(*(REAL,) * scipys.signature.n_operands)
    key = declared_key(function) or (name if FUNCTIONS.get(name) is function else None)
    if key in DOMAINS:
        return DOMAINS[key]
    if key in OPS and is_elementwise(OPS[key]):
        ufunc: Any = OPS[key].forward
        return each(*(REAL,) * ufunc.nin)
    return None
