"""`tapegrad.interop.bridges`, by the path that users import it from."""

import sys

from tapegrad.interop import bridges
from tapegrad.interop.bridges import *  # noqa: F403

# one module under both names
sys.modules[__name__] = bridges
