"""A tape lowered to straight-line NumPy."""

import typing as _typing

from tapegrad.arraylike.table import lazy_import as _lazy_import
from tapegrad.declare.declarations import public_names as _public_names
from tapegrad.program.compiled import Compiled as Compiled
from tapegrad.program.compiled import compile as compile
from tapegrad.program.entry import Signature as Signature
from tapegrad.program.passes import PASSES as PASSES
from tapegrad.program.program import Program as Program

# what reads files is imported when one is read
if _typing.TYPE_CHECKING:
    from tapegrad.program.saving import load_program as load_program
else:

    def __getattr__(name: str) -> _typing.Any:
        if name == "load_program":
            return _lazy_import("tapegrad.program.saving", name)
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


__all__ = [*_public_names(globals()), "load_program"]
__dir__ = __all__.copy
