"""Results that are parts of one array, which is made read-only once."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from tapegrad.face.ownership import LARGE
from tapegrad.ops.indexing import getitem
from tapegrad.program.ir import Code, Instruction, Ref
from tapegrad.program.lines import takes_out


def sealed(program: Code) -> Mapping[Ref, tuple[Ref, ...]]:
    """Small arrays whose every element is returned, and the rows that make up each result.

    Each result is returned once, and nothing else needs it.

    Such an array is new in each run, and the results are disjoint views of it, which NumPy refuses
    to make writeable.
    """
    rows: dict[Ref, list[tuple[int, int, Ref]]] = {}
    used = {x for made in program.instructions for x in made.operands}
    times: dict[Any, int] = {}
    for x in program.outputs:
        if type(x) is Ref and x not in used:
            times[x] = times.get(x, 0) + 1
    for x in [x for x, n in times.items() if n == 1]:
        made = program.of(x) if x.kind == "instruction" else None
        if type(made) is Instruction and made.op is getitem and len(made.operands) == 1:
            of = made.operands[0]
            place = _rows(made)
            if type(of) is Ref and of.kind == "instruction" and place:
                rows.setdefault(of, []).append((*place, x))
    found = {}
    for of, parts in rows.items():
        made = program.of(of)
        parts.sort()
        ends = [0, *[stop for _, stop, _ in parts]]
        whole = [start for start, _, _ in parts] == ends[:-1] and ends[-1] == made.shape[0]
        small = math.prod(made.shape) * made.dtype.itemsize < LARGE
        if whole and small and takes_out(program, made) and of not in program.results:
            found[of] = tuple([x for _, _, x in parts])
    return found


def _rows(made: Any) -> tuple[int, int] | None:
    """Where the rows that make up a value begin and end, if it is made of rows."""
    index = made.options["index"]
    if made.shape == () or len(index) != 1:
        return None
    (part,) = index
    if type(part) is int and part >= 0:
        return part, part + 1
    if type(part) is slice and part.step is None and type(part.start) is int:
        return (part.start, part.stop) if type(part.stop) is int and part.start >= 0 else None
    return None
