"""A command whose errors are one line each, with an exit status for each kind."""

from __future__ import annotations

import argparse
import contextlib
import errno
import io
import math
import os
import stat
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

import numpy as np

STATUS = (
    "Exit status: 0; 2 for a bad file or option; 1 if the loss is no longer finite or the output "
    "cannot be written; 130 after Ctrl-C."
)


class InputError(Exception):
    """A text or an option that cannot be used; the message is one line."""


def exit_status(name: str, command: Callable[[], None]) -> int:
    """Run a command; print its error, if any, and return its exit status."""
    try:
        if sys.stdout is None:  # closed before Python began
            raise OSError(errno.EBADF, os.strerror(errno.EBADF))
        if isinstance(sys.stdout, io.TextIOWrapper):
            # characters that its encoding lacks
            sys.stdout.reconfigure(errors="backslashreplace")
        # a loss that is not finite is reported once, rather than by NumPy
        with np.errstate(all="ignore"):
            command()
            sys.stdout.flush()
    except InputError as error:
        status, message = 2, f"error: {error}"
    except MemoryError:
        status, message = 2, "error: out of memory; a smaller --batch or a smaller model may help"
    except FloatingPointError as error:
        status, message = 1, f"error: {error}"
    except KeyboardInterrupt:
        status, message = 130, "interrupted"
    except OSError as error:  # standard output, to which Python writes the rest as it exits
        if sys.stdout is not None:
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        if isinstance(error, BrokenPipeError):  # nobody reads the rest, as with `| head`
            return 1
        status, message = 1, f"error: standard output: {error.strerror}"
    else:
        return 0
    with contextlib.suppress(OSError):  # only the status can tell
        print(f"{name}: {message}", file=sys.stderr)
    return status


def check_finite(loss: float, step: int) -> None:
    """Raise if a loss is not finite."""
    if not math.isfinite(loss):
        raise FloatingPointError(
            f"the loss is {loss} at step {step}; a smaller --learning-rate may help"
        )


def check_writable(path: str) -> None:
    """Raise now if a file cannot be written later."""
    target = place = Path(path)
    try:  # a question of pathlib, as `exists`, hides why there is no answer
        if stat.S_ISDIR(target.stat().st_mode):
            raise InputError(f"{path}: Is a directory")
    except (FileNotFoundError, NotADirectoryError):
        place = target.parent
        if not place.is_dir():
            raise InputError(f"{path}: there is no directory {place}") from None
    except OSError as error:  # a name that is too long
        raise InputError(f"{path}: {error.strerror}") from None
    if not os.access(place, os.W_OK):
        raise InputError(f"{path}: Permission denied")


# --- options ----------------------------------------------------------------------------------


class Parser(argparse.ArgumentParser):
    """A parser whose errors are one line, and whose help is an error if it cannot be written."""

    def print_help(self, file: Any = None) -> None:
        """Print the help now, so that errors of the output show here."""
        print(self.format_help(), end="", file=file, flush=True)

    def error(self, message: str) -> NoReturn:
        """Leave with status 2."""
        self.exit(2, f"{self.prog}: error: {message}\n")


MOST = 10**9  # the product of two sizes must be a possible size of an array


def file_name(text: str) -> str:
    """The name of a file."""
    if not text:
        raise argparse.ArgumentTypeError("the name of a file is needed, not ''")
    return text


def positive(text: str) -> int:
    """A count or a size."""
    return _integer(text, f"an integer from 1 to {MOST}", lambda n: 1 <= n <= MOST)


def not_negative(text: str) -> int:
    """A seed."""
    return _integer(text, "an integer from 0", lambda n: n >= 0)


def rate(text: str) -> float:
    """A learning rate."""
    return _number(text, "a number above 0", lambda x: 0 < x < math.inf)


def share(text: str) -> float:
    """A momentum."""
    return _number(text, "a number from 0 to below 1", lambda x: 0 <= x < 1)


def _integer(text: str, needed: str, fits: Callable[[int], bool]) -> int:
    try:
        number = int(text)
    except ValueError:
        number = -1
    if not fits(number):
        raise argparse.ArgumentTypeError(f"{needed} is needed, not {text!r}")
    return number


def _number(text: str, needed: str, fits: Callable[[float], bool]) -> float:
    try:
        number = float(text)
    except ValueError:
        number = math.nan
    if not fits(number):
        raise argparse.ArgumentTypeError(f"{needed} is needed, not {text!r}")
    return number
