"""Calls for tests of a user's op or function, from its domain."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import numpy as np

from tapegrad import tree
from tapegrad.arraylike.table import ANSWERS
from tapegrad.declare import FUNCTIONS, declaration
from tapegrad.declare.declarations import declared_key
from tapegrad.declare.signature import Signature
from tapegrad.domain import Call, Choices, Domain, Elements
from tapegrad.errors.functions import label
from tapegrad.ops.scipy_special import SCIPY_OPS
from tapegrad.testing.assumed_domains import assume_domain
from tapegrad.testing.choices import RandomChoices
from tapegrad.tree.structure import replace_leaves
from tapegrad.types import Array

# small imaginary parts, so that numbers stay away from branch cuts and poles off the real axis
_IMAGINARY = Elements(-0.75, 0.75)


def domain_of(function: Callable[..., Any], complex: bool = False) -> Domain:
    """Return an op's declared domain, or an assumed domain; with complex operands on request.

    Raises
    ------
    TypeError
        If the function is an op or a function of the package.
    """
    facts = declaration(function)
    if facts is not None and facts.domain is not None and facts.signature is not None:
        domain = omit_options(function, facts.domain, facts.signature)
    elif _is_in_package(function):
        raise TypeError(
            f"{label(function)} is part of tapegrad, and tapegrad's own tests draw its calls; to "
            "draw some here, give a domain: operands_for(op, domain), see tapegrad.domain"
        )
    else:
        domain = assume_domain(function)
    return with_complex_operands(function, domain) if complex else domain


def _is_in_package(function: object) -> bool:
    name = getattr(function, "__name__", "")
    return declared_key(function) is not None or any(
        name in table and table[name] is function for table in (FUNCTIONS, SCIPY_OPS)
    )


def with_complex_operands(function: Callable[..., Any], domain: Domain) -> Domain:
    """Make at least one floating operand of each call complex, and the dtypes.

    All operands are complex if the function raises for fewer, since an array may have to hold the
    values of another; none if it raises for all, too.
    """

    def call(choose: Choices) -> Call:
        drawn = domain(choose)
        leaves, structure = tree.flatten(drawn.args)
        places = [i for i, x in enumerate(leaves) if _dtype_kind(x) == "f"]
        which = choose.integer(1, 2 ** len(places) - 1) if places else 0
        complex_leaves = [
            _add_imaginary_part(x, choose) if i in places else x for i, x in enumerate(leaves)
        ]
        left = [i for k, i in enumerate(places) if not which >> k & 1]
        fewer = replace_leaves(complex_leaves, left, [leaves[i] for i in left])
        names = drawn.kwargs.items()
        kwargs = {name: _as_complex_dtype(x) if name == "dtype" else x for name, x in names}

        def make_call(arguments: list[Any]) -> Call:
            arguments = [
                _as_complex_dtype(x) if isinstance(x, type | str) else x for x in arguments
            ]
            return Call(tree.unflatten(structure, arguments), kwargs, drawn.needed)

        calls = make_call(fewer), make_call(complex_leaves)
        # complex operands may be impossible, for example with a mode that orders numbers
        return next((call for call in calls if _accepts(function, call)), drawn)

    return call


def _dtype_kind(x: object) -> str:
    return x.dtype.kind if isinstance(x, np.ndarray) else ""


def _add_imaginary_part(x: Array, choose: Choices) -> Array:
    """Add imaginary parts to a floating array."""
    imaginary = choose.array(x.shape, _IMAGINARY, "d" if x.dtype == np.float64 else "f")
    return choose.laid_out((x + 1j * imaginary)[...])


def _as_complex_dtype(x: Any) -> Any:
    """Return the complex dtype for a real dtype; return anything else unchanged."""
    if x in ("float32", float, int, np.float64, np.float32, np.float16, np.int64):
        return np.result_type(x, np.complex64).type
    return x


def omit_options(function: Callable[..., Any], domain: Domain, signature: Signature) -> Domain:
    """Leave out some of the options that have a default, in many of a domain's calls.

    No option is left out if the function, or NumPy's counterpart, raises or warns without it.
    """
    required = [x for x in signature.names if x not in signature.defaults]
    numpys = [f for f, op in ANSWERS.items() if op is function and callable(f)]

    def call(choose: Choices) -> Call:
        drawn = domain(choose)
        options = [x for x in drawn.kwargs if x not in required and x not in drawn.needed]
        n = len(drawn.args)
        if not signature.is_variadic:
            n = choose.integer(min(max(len(required), 1), n), n)
        # the simplest choice leaves out all options, and the last leaves out none
        kept = choose.integer(0, 2 ** len(options) - 1)
        left = {x for i, x in enumerate(options) if not kept >> i & 1}
        if not left and n == len(drawn.args):
            return drawn
        fewer = Call(drawn.args[:n], {x: y for x, y in drawn.kwargs.items() if x not in left})
        return fewer if all(_accepts(f, fewer) for f in (function, *numpys)) else drawn

    return call


def _accepts(function: Callable[..., Any], call: Call) -> bool:
    # a copy, since some functions of NumPy write into their argument
    args = tree.map(lambda x: x.copy() if isinstance(x, np.ndarray) else x, call.args)
    try:
        with np.errstate(all="warn", under="ignore"), warnings.catch_warnings():
            warnings.simplefilter("error")
            function(*args, **call.kwargs)
    except Exception:
        return False
    return True


def sample_calls(
    op: Callable[..., Any], n: int, seed: int = 0, complex: bool = False
) -> list[Call]:
    """Draw calls of a user's op from its domain, without Hypothesis.

    Parameters
    ----------
    op
        An op or a function of arrays; its domain is as for `operands_for`.
    n
        The number of calls.
    seed
        The same seed gives the same calls.
    complex
        Whether some of the floating operands are complex.

    Returns
    -------
    A list of `tapegrad.domain.Call`.

    Raises
    ------
    TypeError
        If the op declares no domain, and no trial domain works; or if the op is part of the
        package, whose own tests draw its calls.

    Examples
    --------
    >>> import numpy as np
    >>> import tapegrad as tg
    >>> @tg.custom_op(vjps=(lambda g, y, x: g * (1 - y**2),))
    ... def tanh(x):
    ...     return np.tanh(x)
    >>> for call in tg.testing.sample_calls(tanh, 10):
    ...     tg.testing.check_properties(tanh, call.args)
    """
    domain, rng = domain_of(op, complex), np.random.default_rng(seed)
    return [domain(RandomChoices(rng)) for _ in range(n)]
