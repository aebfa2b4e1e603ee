"""NumPy's functions composed of ops, one file a family."""

from types import ModuleType
from typing import TYPE_CHECKING

from tapegrad.functions.comparison import *
from tapegrad.functions.creation import *
from tapegrad.functions.elementwise import *
from tapegrad.functions.functional import *
from tapegrad.functions.interpolation import *
from tapegrad.functions.manipulation import *
from tapegrad.functions.matrices import *
from tapegrad.functions.padding import *
from tapegrad.functions.polynomial import *
from tapegrad.functions.products import *
from tapegrad.functions.reductions import *
from tapegrad.functions.selection import *
from tapegrad.functions.sorting import *
from tapegrad.functions.stacking import *
from tapegrad.functions.statistics import *

# the names, without the modules that importing leaves here; a checker reads the imports
if not TYPE_CHECKING:
    __all__ = [
        name
        for name, x in globals().items()
        if not (
            name.startswith("_") or isinstance(x, ModuleType) or x in (ModuleType, TYPE_CHECKING)
        )
    ]
