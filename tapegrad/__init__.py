"""Functional automatic differentiation for NumPy on an immutable tape.

Pure op functions write frozen `Tensor` records on an explicit `Tape`; a reverse
sweep over the tape returns a mapping from parameters to gradients.

- Gradients: `grad`, `value_and_grad`, `vjp`, `jvp`, `jacobian`, `value_and_jacobian`, `hessian`,
  `hessian_diag`, `hvp`, `linearize`, `vmap`, `stop_gradient`, `checkpoint`.
- The tape: `record`, `Tape`, `Tensor`, `reverse_sweep`, `sweep_steps`, `why_zero`, `show`,
  `profile`, `compare_tapes`.
- Programs: `compile`, `Program`, `load_program`, `to_jax`, `bridges`.
- Loops and branches by value: `scan`, `fori_loop`, `while_loop`, `cond`, `switch`.
- Ops and rules of your own: `custom_op`, `custom_vjp`, `implicit_root`; `testing` checks them.
- Training: `nn`, `optim`, `random`, `tree`, `data`, `parallel`, `save`, `load`.
- NumPy's functions under NumPy's names, `linalg` among them, and `sigmoid`, `relu`,
  `softmax`, `log_softmax`, `logsumexp`, `standardize`, `softplus`, `gelu`, `expand`,
  `index_select`, `at`, `segment_sum`, `segment_max`.
"""

import typing as _typing
from importlib import import_module as _import_module

from tapegrad import errors as errors
from tapegrad import tree as tree
from tapegrad.arraylike.tensor import Tensor as Tensor
from tapegrad.core.op import Op as Op
from tapegrad.core.recording import record as record
from tapegrad.core.tape import Tape as Tape
from tapegrad.errors import FileError as FileError
from tapegrad.errors import NonFiniteError as NonFiniteError
from tapegrad.errors import TapeError as TapeError
from tapegrad.errors import TapegradError as TapegradError
from tapegrad.errors import TraceError as TraceError
from tapegrad.explain import tape_methods as _tape_methods  # noqa: F401, puts methods on Tape
from tapegrad.ops import *
from tapegrad.transforms import grad as grad
from tapegrad.transforms import value_and_grad as value_and_grad
from tapegrad.transforms.reverse import reverse_sweep as reverse_sweep
from tapegrad.tree.ownership import keep_freed_memory as _keep_freed_memory

if _typing.TYPE_CHECKING:
    from tapegrad import data as data
    from tapegrad import nn as nn
    from tapegrad import optim as optim
    from tapegrad import random as random
    from tapegrad import testing as testing
    from tapegrad.declare.custom import custom_op as custom_op
    from tapegrad.declare.custom import custom_vjp as custom_vjp
    from tapegrad.explain import show as show
    from tapegrad.explain.compare import compare_tapes as compare_tapes
    from tapegrad.explain.profile import profile as profile
    from tapegrad.explain.steps import sweep_steps as sweep_steps
    from tapegrad.explain.why import why_zero as why_zero
    from tapegrad.files import load as load
    from tapegrad.files import load_metadata as load_metadata
    from tapegrad.files import save as save
    from tapegrad.functions import *
    from tapegrad.functions import fft as fft
    from tapegrad.functions import linalg as linalg
    from tapegrad.functions import series as _series
    from tapegrad.interop import bridges as bridges
    from tapegrad.interop import parallel as parallel
    from tapegrad.interop.jax import to_jax as to_jax
    from tapegrad.loops import cond as cond
    from tapegrad.loops import fori_loop as fori_loop
    from tapegrad.loops import scan as scan
    from tapegrad.loops import switch as switch
    from tapegrad.loops import while_loop as while_loop
    from tapegrad.ops.scipy_special import polygamma as polygamma
    from tapegrad.program import Program as Program
    from tapegrad.program import compile as compile
    from tapegrad.program import load_program as load_program
    from tapegrad.transforms.batches import vmap as vmap
    from tapegrad.transforms.checkpoint import checkpoint as checkpoint
    from tapegrad.transforms.implicit import implicit_root as implicit_root
    from tapegrad.transforms.jacobians import hessian as hessian
    from tapegrad.transforms.jacobians import hessian_diag as hessian_diag
    from tapegrad.transforms.jacobians import jacobian as jacobian
    from tapegrad.transforms.jacobians import value_and_jacobian as value_and_jacobian
    from tapegrad.transforms.products import hvp as hvp
    from tapegrad.transforms.products import jvp as jvp
    from tapegrad.transforms.products import linearize as linearize
    from tapegrad.transforms.products import vjp as vjp
    from tapegrad.transforms.sparsity import sparsity as sparsity

    polynomial = _series

__version__ = "0.1.0"

_keep_freed_memory()

# imported when they are first asked for: not every program needs them
_PLACES = {
    "checkpoint": "tapegrad.transforms.checkpoint",
    "compare_tapes": "tapegrad.explain.compare",
    "implicit_root": "tapegrad.transforms.implicit",
    "profile": "tapegrad.explain.profile",
    "polygamma": "tapegrad.ops.scipy_special",
    "sweep_steps": "tapegrad.explain.steps",
    "sparsity": "tapegrad.transforms.sparsity",
    "to_jax": "tapegrad.interop.jax",
    "vmap": "tapegrad.transforms.batches",
    "why_zero": "tapegrad.explain.why",
    **dict.fromkeys(("custom_op", "custom_vjp"), "tapegrad.declare.custom"),
    **dict.fromkeys(
        ("hessian", "hessian_diag", "jacobian", "value_and_jacobian"),
        "tapegrad.transforms.jacobians",
    ),
    **dict.fromkeys(("hvp", "jvp", "linearize", "vjp"), "tapegrad.transforms.products"),
    **dict.fromkeys(("Program", "compile", "load_program"), "tapegrad.program"),
    **dict.fromkeys(("load", "load_metadata", "save"), "tapegrad.files"),
    **dict.fromkeys(("cond", "fori_loop", "scan", "switch", "while_loop"), "tapegrad.loops"),
}
_MODULES = {
    "fft": "tapegrad.functions.fft",
    "linalg": "tapegrad.functions.linalg",
    "polynomial": "tapegrad.functions.series",
    "show": "tapegrad.explain.show",
    **{name: f"tapegrad.interop.{name}" for name in ("bridges", "parallel")},
    **{name: f"tapegrad.{name}" for name in ("data", "nn", "optim", "random", "testing")},
}
# without the modules that importing leaves here
_NOW = [
    name
    for name, thing in list(globals().items())
    if not name.startswith("_") and (type(thing) is not type(_typing) or name in ("errors", "tree"))
]

# a checker reads the imports above instead
if not _typing.TYPE_CHECKING:

    def __getattr__(name: str) -> _typing.Any:
        if name == "__all__":
            return [*_PLACES, *_MODULES, *_NOW, *_import_module("tapegrad.functions").__all__]
        if name in _MODULES:
            attribute = _import_module(_MODULES[name])
        elif name in _PLACES:
            attribute = getattr(_import_module(_PLACES[name]), name)
        elif not name.startswith("_") and name in _import_module("tapegrad.functions").__all__:
            attribute = getattr(_import_module("tapegrad.functions"), name)
        else:
            _import_module("tapegrad.errors.names").refuse("", name)
        # there at once the next time
        globals()[name] = attribute
        return attribute


def __dir__() -> list[str]:
    return ["__version__", *_import_module("tapegrad").__all__]
