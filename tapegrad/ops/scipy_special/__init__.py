"""SciPy's special functions on Tensors: SciPy computes them, and the rules are here.

The package does not import SciPy: a caller who passes one of SciPy's functions has done so.
"""

from tapegrad.ops.scipy_special.bessel import *
from tapegrad.ops.scipy_special.gamma_functions import *
from tapegrad.ops.scipy_special.incomplete import *
from tapegrad.ops.scipy_special.integrals import *
from tapegrad.ops.scipy_special.normal import *
from tapegrad.ops.scipy_special.ufuncs import SCIPY_OPS as SCIPY_OPS

# where pickle looks for ops that have no name in a module
globals().update(SCIPY_OPS)
