"""tapegrad: functional automatic differentiation on an immutable tape.

Pure op functions write frozen `Tensor` records on an explicit `Tape`; a reverse
sweep over the tape builds a mapping from parameters to gradients.
"""

from types import ModuleType as _ModuleType

from tapegrad import errors as errors
from tapegrad import nn as nn
from tapegrad import optim as optim
from tapegrad import testing as testing
from tapegrad import tree as tree
from tapegrad.calls import checkpoint as checkpoint
from tapegrad.calls import custom_vjp as custom_vjp
from tapegrad.errors import NonFiniteError as NonFiniteError
from tapegrad.errors import TapeError as TapeError
from tapegrad.errors import TapegradError as TapegradError
from tapegrad.errors import TraceError as TraceError
from tapegrad.op import Op as Op
from tapegrad.op import custom_op as custom_op
from tapegrad.ops import *
from tapegrad.ops import linalg as linalg
from tapegrad.program import Program as Program
from tapegrad.program import compile as compile
from tapegrad.sweep import reverse_sweep as reverse_sweep
from tapegrad.tape import Tape as Tape
from tapegrad.tape import record as record
from tapegrad.tensor import Tensor as Tensor
from tapegrad.transforms import grad as grad
from tapegrad.transforms import hessian as hessian
from tapegrad.transforms import hvp as hvp
from tapegrad.transforms import jacobian as jacobian
from tapegrad.transforms import jvp as jvp
from tapegrad.transforms import value_and_grad as value_and_grad
from tapegrad.transforms import vjp as vjp

__version__ = "0.1.0"

# without the modules that importing leaves here
__all__ = [
    name
    for name, thing in list(globals().items())
    if not name.startswith("_")
    and (type(thing) is not _ModuleType or name in ("errors", "nn", "optim", "testing", "tree"))
]


def __dir__() -> list[str]:
    return ["__version__", *__all__]
