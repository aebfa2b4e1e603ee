"""The command `python -m tapegrad.testing write package.module:op`."""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from tapegrad.testing.written_tests import written


def main(argv: Sequence[str] | None = None) -> None:
    """Print a test file for an op."""
    parser = argparse.ArgumentParser(
        prog="python -m tapegrad.testing", description="Tests for an op with VJP rules."
    )
    parser.add_argument(
        "command",
        choices=["write"],
        help="print a Hypothesis test file for an op, which runs as it is with pytest",
    )
    parser.add_argument("op", help="the op, as package.module:op")
    op = parser.parse_args(argv).op
    try:
        print(written(op), end="")
    except (TypeError, ValueError) as error:
        parser.exit(2, f"{parser.prog}: {error}\n")


if __name__ == "__main__":
    main()
