"""A tape lowered to straight-line NumPy."""

from tapegrad.declare.declarations import public_names as _public_names
from tapegrad.program.compiled import Compiled as Compiled
from tapegrad.program.compiled import compile as compile
from tapegrad.program.entry import Signature as Signature
from tapegrad.program.passes import PASSES as PASSES
from tapegrad.program.program import Program as Program
from tapegrad.program.saving import load_program as load_program

__all__ = _public_names(globals())
__dir__ = __all__.copy
