"""Passes: pure functions from a Program to a better one.

Each pass of the package changes a `Builder`. Called on a Program, it returns a better one and
leaves the old one as it was; many in a row (`improved`) share one Builder, so the program is
copied once.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

import attrs

from tapegrad.program.builder import Builder
from tapegrad.program.program import Program

Pass = Callable[[Program], Program]


@attrs.frozen(eq=False, repr=False, slots=False)
class Improvement:
    """A pass, declared by a function that changes a Builder.

    Attributes
    ----------
    change
        The function declared.
    """

    change: Callable[[Builder], None]

    def __attrs_post_init__(self) -> None:
        for name in ("__name__", "__qualname__", "__doc__", "__module__"):
            self.__dict__[name] = getattr(self.change, name)

    def __call__(self, program: Program) -> Program:
        return improved(program, (self,))

    def __repr__(self) -> str:
        return f"<pass {self.change.__name__}>"

    def __reduce__(self) -> str:
        return self.change.__qualname__


improvement = Improvement


def improved(
    program: Program, passes: Iterable[Pass], wait: Callable[[], None] = lambda: None
) -> Program:
    """The program after these passes, in order; `wait` is called after each."""
    builder: Builder | None = None
    for improve in passes:
        if isinstance(improve, Improvement):
            builder = Builder.of_program(program) if builder is None else builder
            improve.change(builder)
        else:
            program = improve(program if builder is None else made(program, builder))
            builder = None
        wait()
    return program if builder is None else made(program, builder)


def made(old: Program, builder: Builder) -> Program:
    """The program that a Builder holds, which began as an older one."""
    constants, instructions, outputs = builder.finished()
    return attrs.evolve(old, constants=constants, instructions=instructions, outputs=outputs)
