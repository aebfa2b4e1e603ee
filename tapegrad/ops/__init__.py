"""What can stand on a tape, one file a family, each op one declaration."""

from tapegrad.ops.activation import *
from tapegrad.ops.arithmetic import *
from tapegrad.ops.contraction import *
from tapegrad.ops.decomposition import *
from tapegrad.ops.exponential import *
from tapegrad.ops.floating_point import *
from tapegrad.ops.indexing import *
from tapegrad.ops.interpolation import *
from tapegrad.ops.inverse import *
from tapegrad.ops.logic import *
from tapegrad.ops.order import *
from tapegrad.ops.patches import *
from tapegrad.ops.product import *
from tapegrad.ops.record import *
from tapegrad.ops.reduction import *
from tapegrad.ops.rounding import *
from tapegrad.ops.scan import *
from tapegrad.ops.shape import *
from tapegrad.ops.special import *
from tapegrad.ops.trigonometric import *
from tapegrad.ops.window import *
