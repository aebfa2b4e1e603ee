"""Ctrl-C ends a script with one line and status 130, from its first import to its end.

A script calls `during_imports` before it imports anything else, and runs its `main` by
`run`.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable


def leave(*_: object) -> None:
    """Exit with one line and the status, whatever is running."""
    os.write(2, f"{os.path.basename(sys.argv[0])}: interrupted\n".encode())
    os._exit(130)


def during_imports() -> None:
    """From here on Ctrl-C ends the process, unless it is ignored or handled already."""
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, leave)


def run(main: Callable[[], int]) -> None:
    """Exit with the status of `main`, inside which Ctrl-C is a KeyboardInterrupt again."""
    try:
        if signal.getsignal(signal.SIGINT) is leave:
            signal.signal(signal.SIGINT, signal.default_int_handler)
        sys.exit(main())
    except KeyboardInterrupt:  # before or after what `main` handles
        leave()
