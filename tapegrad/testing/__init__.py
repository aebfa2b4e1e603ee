"""Tools to prove a gradient right: check_grads, property checks, and strategies for Hypothesis.

The strategies need Hypothesis; the first use of a strategy imports it.
"""

import typing as _typing

from tapegrad.declare.declarations import public_names as _public_names
from tapegrad.errors.names import list_names as _list_names
from tapegrad.testing.calls import sample_calls as sample_calls
from tapegrad.testing.derivatives import check_jvp as check_jvp
from tapegrad.testing.derivatives import check_vjp as check_vjp
from tapegrad.testing.gradients import check_grads as check_grads
from tapegrad.testing.properties import check_batched as check_batched
from tapegrad.testing.properties import check_compiled as check_compiled
from tapegrad.testing.properties import check_deterministic as check_deterministic
from tapegrad.testing.properties import check_linear_in_cotangent as check_linear_in_cotangent
from tapegrad.testing.properties import check_properties as check_properties
from tapegrad.testing.properties import check_stop_gradient as check_stop_gradient
from tapegrad.testing.properties import check_symmetric_hessian as check_symmetric_hessian
from tapegrad.testing.properties import check_transposes as check_transposes
from tapegrad.testing.properties import check_unchanged as check_unchanged
from tapegrad.testing.values import check_values as check_values

if _typing.TYPE_CHECKING:
    from tapegrad.testing.strategies import arrays as arrays
    from tapegrad.testing.strategies import broadcasting as broadcasting
    from tapegrad.testing.strategies import operands_for as operands_for
    from tapegrad.testing.strategies import parameter_trees as parameter_trees

_STRATEGIES = ("arrays", "broadcasting", "operands_for", "parameter_trees")
__all__ = [*_public_names(globals()), *_STRATEGIES]
_list_names(globals(), **dict.fromkeys(_STRATEGIES, "tapegrad.testing.strategies"))
