"""A tape lowered to straight-line NumPy."""

import typing as _typing

from tapegrad.declare.declarations import public_names as _public_names
from tapegrad.errors.names import list_names as _list_names
from tapegrad.program.compiled import Compiled as Compiled
from tapegrad.program.compiled import compile as compile
from tapegrad.program.entry import Signature as Signature
from tapegrad.program.passes import PASSES as PASSES
from tapegrad.program.program import Program as Program

# imported on first use: reading files takes modules that nothing else needs
if _typing.TYPE_CHECKING:
    from tapegrad.program.saving import load_program as load_program

__all__ = [*_public_names(globals()), "load_program"]
_list_names(globals(), load_program="tapegrad.program.saving")
