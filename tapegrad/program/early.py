"""Large results whose new array first holds intermediate values, which saves memory traffic."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping

from tapegrad.face.ownership import LARGE
from tapegrad.program.ir import Code, Ref
from tapegrad.program.lines import takes_out


def early(
    program: Code, home: Mapping[Ref, int], last_use: Mapping[Ref, int], apart: Collection[Ref]
) -> dict[Ref, Ref]:
    """The values that are computed in a result's array, with the first one, which allocates it.

    A gradient is computed in the array of the new parameter.

    Parameters
    ----------
    program
        The program.
    home
        The buffer that each value would be in.
    last_use
        The last instruction that uses each value or a view of it.
    apart
        Values that must keep their place in memory.
    """
    found: dict[Ref, Ref] = {}
    for result in sorted(program.results):
        made = program.of(result)
        if result.kind != "instruction" or result in home or result in apart:
            continue
        large = math.prod(made.shape) * made.dtype.itemsize >= LARGE
        if not (large and made.is_elementwise and takes_out(program, made)):
            continue
        chain = [result]
        while True:
            last = chain[-1]
            over = [
                x
                for x in program.of(last).operands
                if type(x) is Ref
                and x in home
                and x not in apart
                and x not in found
                and last_use[x] == last.index
                and home.get(last, home[x]) == home[x]
                and (program.of(x).shape, program.of(x).dtype) == (made.shape, made.dtype)
            ]
            if not over:
                break
            chain.append(over[0])
        if len(chain) > 1:
            found.update(dict.fromkeys(chain, chain[-1]))
    return found
