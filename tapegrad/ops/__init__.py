"""Ops, one file a family: the operations of records, each op one declaration."""

import typing as _typing

import tapegrad.ops.shapes as _shapes  # noqa: F401
from tapegrad.declare.declarations import public_names as _public_names
from tapegrad.ops.activation import *
from tapegrad.ops.arithmetic import *
from tapegrad.ops.casting import *
from tapegrad.ops.decompositions import *
from tapegrad.ops.elementary import *
from tapegrad.ops.floating_point import *
from tapegrad.ops.indexing import *
from tapegrad.ops.inverses import *
from tapegrad.ops.joining import *
from tapegrad.ops.logic import *
from tapegrad.ops.order import *
from tapegrad.ops.product import *
from tapegrad.ops.reduction import *
from tapegrad.ops.rows import *
from tapegrad.ops.scan import *
from tapegrad.ops.shape import *
from tapegrad.ops.special import *
from tapegrad.ops.updates import *
from tapegrad.ops.window import *

# a checker reads the imports
if not _typing.TYPE_CHECKING:
    __all__ = _public_names(globals())
