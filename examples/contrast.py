"""Run each fault of the stateful design in both designs, side by side.

``python examples/contrast.py`` prints for each fault the code, the result of the stateful framework
in ``stateful.py``, the result of tapegrad, and the reason. In the last rows, marked as COST, the
functional design is at a disadvantage. Numbers select rows: ``python examples/contrast.py 5 6``.
"""

from __future__ import annotations

import inspect
import sys
import textwrap
from collections.abc import Callable

import numpy as np
from contrasts import costs, known, reported
from contrasts.case import Case, Cost, Fault, is_same

CASES: tuple[Case, ...] = tuple(
    kind()
    for module in (known, reported, costs)
    for kind in vars(module).values()
    if isinstance(kind, type) and issubclass(kind, Case) and kind not in (Fault, Cost)
)


def method_body(method: Callable[[], object]) -> str:
    """The source of a method's body."""
    _, body = inspect.getsource(method).split("\n", 1)
    return textwrap.dedent(body).rstrip()


def format_case(number: int, case: Case) -> str:
    """The printed text of a case.

    Raises
    ------
    AssertionError
        If a result differs from the one that the case claims.
    """
    title, why = (" ".join(part.split()) for part in str(inspect.getdoc(case)).split("\n\n"))
    results = {"stateful": case.stateful(), "tapegrad": case.tapegrad()}
    best, other = ("stateful", "tapegrad") if isinstance(case, Cost) else ("tapegrad", "stateful")
    for name, claimed in ((best, case.right), (other, case.wrong)):
        assert is_same(results[name], claimed), f"{title} {name}: {results[name]}, not {claimed}"

    mark = "COST " if isinstance(case, Cost) else ""
    lines = [f"{number:2}. {mark}{title}"]
    for name, method in (("stateful", case.stateful), ("tapegrad", case.tapegrad)):
        first, *rest = method_body(method).splitlines()
        lines.append(f"    {name}  {first}")
        lines += [f"{'':14}{line}".rstrip() for line in rest]
        right = np.array(case.right) if isinstance(case.right, tuple) else case.right
        faulty = name == "stateful" and isinstance(case, Fault)
        verdict = f"   (it should be {right})" if faulty else ""
        lines.append(f"{'':11}-> {results[name]}{verdict}")
    lines += textwrap.wrap(why, 90, initial_indent="    why       ", subsequent_indent=" " * 14)
    return "\n".join(lines)


def main(arguments: list[str]) -> None:
    """Print the cases with these numbers, or all."""
    print("attempt(f) returns the result of f, or the error that f raises.\n")
    wanted = {int(argument) for argument in arguments} or range(1, len(CASES) + 1)
    for number, case in enumerate(CASES, start=1):
        if number in wanted:
            print(format_case(number, case), end="\n\n")


if __name__ == "__main__":
    main(sys.argv[1:])
