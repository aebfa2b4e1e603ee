"""`tapegrad.interop.parallel`, by the path that users import it from."""

import sys

from tapegrad.interop import parallel
from tapegrad.interop.parallel import *  # noqa: F403

# one module under both names
sys.modules[__name__] = parallel
