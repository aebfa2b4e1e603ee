"""What can stand on a tape, one file a family, each op one declaration."""

from typing import TYPE_CHECKING

from tapegrad.ops.activation import *
from tapegrad.ops.arithmetic import *
from tapegrad.ops.contraction import *
from tapegrad.ops.decomposition import *
from tapegrad.ops.eigen import *
from tapegrad.ops.exponential import *
from tapegrad.ops.extremes import *
from tapegrad.ops.floating_point import *
from tapegrad.ops.indexing import *
from tapegrad.ops.interpolation import *
from tapegrad.ops.inverse import *
from tapegrad.ops.joining import *
from tapegrad.ops.logic import *
from tapegrad.ops.normalisation import *
from tapegrad.ops.order import *
from tapegrad.ops.patch import *
from tapegrad.ops.picking import *
from tapegrad.ops.product import *
from tapegrad.ops.record import *
from tapegrad.ops.reduction import *
from tapegrad.ops.rounding import *
from tapegrad.ops.scan import *
from tapegrad.ops.shape import *
from tapegrad.ops.special import *
from tapegrad.ops.trigonometric import *
from tapegrad.ops.updates import *
from tapegrad.ops.window import *

# the names, without the modules that importing leaves here; a checker reads the imports
if not TYPE_CHECKING:
    from tapegrad.ops import (
        activation,
        arithmetic,
        contraction,
        decomposition,
        eigen,
        exponential,
        extremes,
        floating_point,
        indexing,
        interpolation,
        inverse,
        joining,
        logic,
        normalisation,
        order,
        patch,
        picking,
        product,
        record,
        reduction,
        rounding,
        scan,
        shape,
        special,
        trigonometric,
        updates,
        window,
    )

    __all__ = [
        *activation.__all__,
        *arithmetic.__all__,
        *contraction.__all__,
        *decomposition.__all__,
        *eigen.__all__,
        *exponential.__all__,
        *extremes.__all__,
        *floating_point.__all__,
        *indexing.__all__,
        *interpolation.__all__,
        *inverse.__all__,
        *joining.__all__,
        *logic.__all__,
        *normalisation.__all__,
        *order.__all__,
        *patch.__all__,
        *picking.__all__,
        *product.__all__,
        *record.__all__,
        *reduction.__all__,
        *rounding.__all__,
        *scan.__all__,
        *shape.__all__,
        *special.__all__,
        *trigonometric.__all__,
        *updates.__all__,
        *window.__all__,
    ]
