"""NumPy's functions composed of ops, one file a family."""

from tapegrad.functions.activation import *
from tapegrad.functions.arithmetic import *
from tapegrad.functions.assembly import *
from tapegrad.functions.creation import *
from tapegrad.functions.decomposition import *
from tapegrad.functions.diagonals import *
from tapegrad.functions.floating_point import *
from tapegrad.functions.functional import *
from tapegrad.functions.interpolation import *
from tapegrad.functions.inverse import *
from tapegrad.functions.norms import *
from tapegrad.functions.order import *
from tapegrad.functions.polynomial import *
from tapegrad.functions.product import *
from tapegrad.functions.reduction import *
from tapegrad.functions.rounding import *
from tapegrad.functions.scan import *
from tapegrad.functions.selection import *
from tapegrad.functions.shape import *
from tapegrad.functions.statistics import *
from tapegrad.functions.ufunc_methods import *
