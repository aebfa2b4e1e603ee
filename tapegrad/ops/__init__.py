"""What can stand on a tape, one file a family, each op one declaration."""

from types import ModuleType
from typing import TYPE_CHECKING

from tapegrad.ops.activation import *
from tapegrad.ops.arithmetic import *
from tapegrad.ops.casting import *
from tapegrad.ops.elementary import *
from tapegrad.ops.floating_point import *
from tapegrad.ops.indexing import *
from tapegrad.ops.joining import *
from tapegrad.ops.linalg import *
from tapegrad.ops.logic import *
from tapegrad.ops.order import *
from tapegrad.ops.product import *
from tapegrad.ops.reduction import *
from tapegrad.ops.scan import *
from tapegrad.ops.shape import *
from tapegrad.ops.special import *
from tapegrad.ops.updates import *
from tapegrad.ops.window import *

# the names, without the modules that importing leaves here; a checker reads the imports
if not TYPE_CHECKING:
    __all__ = [
        name
        for name, x in globals().items()
        if not (
            name.startswith("_") or isinstance(x, ModuleType) or x in (ModuleType, TYPE_CHECKING)
        )
    ]
