"""NumPy's functions composed of ops, one file a family."""

import typing as _typing

from tapegrad.declare.declarations import public_names as _public_names
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
from tapegrad.functions.scans import *
from tapegrad.functions.selection import *
from tapegrad.functions.sorting import *
from tapegrad.functions.stacking import *
from tapegrad.functions.statistics import *

# a checker reads the imports
if not _typing.TYPE_CHECKING:
    __all__ = _public_names(globals())
