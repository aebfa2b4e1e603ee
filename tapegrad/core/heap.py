"""Freed memory stays with the process, for the next recording.

A tape keeps its values until it is swept, and frees them together. glibc gives free memory at the
end of its heap back to the system where there is more than a limit. The next recording takes it
again, page by page, which can take twice as long as computing. The limit is twice the size of the
largest array that the process has freed, up to 32 MB (mallopt(3), M_MMAP_THRESHOLD): so it is
enough to allocate and free one array of that size, of which nothing is read or written.
"""

from __future__ import annotations

import sys
from contextlib import suppress

import numpy as np

# the largest size that counts, less some pages for what C adds to it
_MOST = (32 << 20) - (64 << 10)


def keep_freed_memory() -> None:
    """Let up to 64 MB of freed memory stay with the process.

    Nothing changes where the environment sets glibc's limits, or with another C library.
    """
    if sys.platform == "linux":
        with suppress(MemoryError):
            np.empty(_MOST, np.uint8)
