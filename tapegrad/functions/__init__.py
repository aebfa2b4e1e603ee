"""NumPy's functions composed of ops, one file a family."""

from typing import TYPE_CHECKING

from tapegrad.functions.activation import *
from tapegrad.functions.angles import *
from tapegrad.functions.arithmetic import *
from tapegrad.functions.brackets import *
from tapegrad.functions.comparison import *
from tapegrad.functions.creation import *
from tapegrad.functions.decomposition import *
from tapegrad.functions.diagonals import *
from tapegrad.functions.floating_point import *
from tapegrad.functions.functional import *
from tapegrad.functions.histograms import *
from tapegrad.functions.insertion import *
from tapegrad.functions.interpolation import *
from tapegrad.functions.inverse import *
from tapegrad.functions.joining import *
from tapegrad.functions.like import *
from tapegrad.functions.norms import *
from tapegrad.functions.order import *
from tapegrad.functions.padding import *
from tapegrad.functions.polynomial import *
from tapegrad.functions.product import *
from tapegrad.functions.reduction import *
from tapegrad.functions.repetition import *
from tapegrad.functions.rounding import *
from tapegrad.functions.scan import *
from tapegrad.functions.selection import *
from tapegrad.functions.sets import *
from tapegrad.functions.shape import *
from tapegrad.functions.splitting import *
from tapegrad.functions.statistics import *
from tapegrad.functions.ufunc_methods import *

# the names, without the modules that importing leaves here; a checker reads the imports
if not TYPE_CHECKING:
    from tapegrad.functions import (
        activation,
        angles,
        arithmetic,
        brackets,
        comparison,
        creation,
        decomposition,
        diagonals,
        floating_point,
        functional,
        histograms,
        insertion,
        interpolation,
        inverse,
        joining,
        like,
        norms,
        order,
        padding,
        polynomial,
        product,
        reduction,
        repetition,
        rounding,
        scan,
        selection,
        sets,
        shape,
        splitting,
        statistics,
        ufunc_methods,
    )

    __all__ = [
        *activation.__all__,
        *angles.__all__,
        *arithmetic.__all__,
        *brackets.__all__,
        *comparison.__all__,
        *creation.__all__,
        *decomposition.__all__,
        *diagonals.__all__,
        *floating_point.__all__,
        *functional.__all__,
        *histograms.__all__,
        *insertion.__all__,
        *interpolation.__all__,
        *inverse.__all__,
        *joining.__all__,
        *like.__all__,
        *norms.__all__,
        *order.__all__,
        *padding.__all__,
        *polynomial.__all__,
        *product.__all__,
        *reduction.__all__,
        *repetition.__all__,
        *rounding.__all__,
        *scan.__all__,
        *selection.__all__,
        *sets.__all__,
        *shape.__all__,
        *splitting.__all__,
        *statistics.__all__,
        *ufunc_methods.__all__,
    ]
