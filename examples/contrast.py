"""The stateful design and tapegrad side by side: each fault run, on both.

``python examples/contrast.py`` prints, for each fault, the code, what the stateful framework of
``stateful.py`` did, what tapegrad does, and why. In the last rows, marked as COST, the functional
design is at a disadvantage. Numbers select rows: ``python examples/contrast.py 5 6``.
"""

from __future__ import annotations

import inspect
import sys
import textwrap
from collections.abc import Callable
from typing import Any

import numpy as np
from contrasts import costs, known, reported
from contrasts.case import Case, Cost, Fault, same

CASES: tuple[Case, ...] = tuple(
    kind()
    for module in (known, reported, costs)
    for kind in vars(module).values()
    if isinstance(kind, type) and issubclass(kind, Case) and kind not in (Fault, Cost)
)


def code(method: Callable[[], Any]) -> str:
    """The body of a method."""
    _, body = inspect.getsource(method).split("\n", 1)
    return textwrap.dedent(body).rstrip()


def row(number: int, case: Case) -> str:
    """A case as it is printed.

    Raises
    ------
    AssertionError
        If it does not show what it claims.
    """
    title, why = (" ".join(part.split()) for part in str(inspect.getdoc(case)).split("\n\n"))
    did = {"stateful": case.stateful(), "tapegrad": case.tapegrad()}
    best, other = ("stateful", "tapegrad") if isinstance(case, Cost) else ("tapegrad", "stateful")
    for name, claimed in ((best, case.right), (other, case.wrong)):
        assert same(did[name], claimed), f"{title} {name} gave {did[name]}, not {claimed}"

    what = "COST " if isinstance(case, Cost) else ""
    lines = [f"{number:2}. {what}{title}"]
    for name, method in (("stateful", case.stateful), ("tapegrad", case.tapegrad)):
        first, *rest = code(method).splitlines()
        lines.append(f"    {name}  {first}")
        lines += [f"{'':14}{line}".rstrip() for line in rest]
        right = np.array(case.right) if isinstance(case.right, tuple) else case.right
        faulty = name == "stateful" and isinstance(case, Fault)
        verdict = f"   (it should be {right})" if faulty else ""
        lines.append(f"{'':11}-> {did[name]}{verdict}")
    lines += textwrap.wrap(why, 90, initial_indent="    why       ", subsequent_indent=" " * 14)
    return "\n".join(lines)


def main(arguments: list[str]) -> None:
    """Print the rows with these numbers, or all."""
    print("attempt(f) gives what f gives, or the error that it raises.\n")
    wanted = {int(argument) for argument in arguments} or range(1, len(CASES) + 1)
    for number, case in enumerate(CASES, start=1):
        if number in wanted:
            print(row(number, case), end="\n\n")


if __name__ == "__main__":
    main(sys.argv[1:])
