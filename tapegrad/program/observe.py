"""What a call may be seen to do while it is recorded: the names that a reader knows.

The tape says what was computed and not what the user calls it. Python says so where a
function of the user's returns: its variables then hold records. The sweep's functions
say what is the cotangent of what, as they return. Nothing but names and comments in a
program's text depends on it.
"""

from __future__ import annotations

import re
import sys
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from types import CodeType, FrameType
from typing import Any

import attrs

from tapegrad.core.sweep import contributions, sweep
from tapegrad.core.tape import PARAMETER
from tapegrad.core.tensor import Tensor


@attrs.frozen
class Seen:
    """What was seen of a call.

    Attributes
    ----------
    variables
        Records that a variable held where its function returned, and what it is called.
    cotangents
        Records that are cotangents, and the records that they are cotangents of.
    gradients
        The cotangents that reached a parameter.
    """

    variables: Mapping[Tensor, str] = attrs.Factory(dict)
    cotangents: Mapping[Tensor, Tensor] = attrs.Factory(dict)
    gradients: frozenset[Tensor] = frozenset()

    def name(self, record: Tensor, inputs: Mapping[Tensor, str]) -> str:
        """What a reader calls a record: ``""`` if nothing is known of it.

        The cotangent of a value is ``d_`` and the value's name.
        """
        prefix = ""
        while record in self.cotangents:
            record, prefix = self.cotangents[record], f"d_{prefix}"
        while record.op is PARAMETER and record.operands:
            (record,) = record.operands
        known = inputs.get(record) or self.variables.get(record, "")
        return prefix + (known or record.op.name) if prefix else known


NOTHING = Seen()


def short_names(paths: Sequence[str]) -> list[str]:
    """For each path the shortest end of it that no other has, as a name.

    Examples
    --------
    >>> short_names(["p.w", "p.b", "x", "state.velocity.w"])
    ['p_w', 'b', 'x', 'velocity_w']
    """
    ends = [
        ["_".join(found[i:]) for i in reversed(range(len(found)))] or [path]
        for path in paths
        for found in [steps(path)]
    ]
    count = Counter(end for found in ends for end in set(found))
    return [
        next((x for x in found if count[x] == 1 and x[:1].isalpha()), path)
        for path, found in zip(paths, ends, strict=True)
    ]


def steps(path: str) -> tuple[str, ...]:
    """The names and indices that a path is made of."""
    return tuple(re.findall(r"[^.\[\]]+", path))


def observed(
    fn: Callable[..., Any], args: tuple[Any, ...], kwargs: Mapping[str, Any]
) -> tuple[Any, Seen]:
    """What a function returns, and what was seen of the call.

    Nothing is seen while a profiler watches, for Python has room for one.
    """
    variables: dict[Tensor, str] = {}
    cotangents: dict[Tensor, Tensor] = {}
    gradients: set[Tensor] = set()

    def contributed(frame: FrameType, result: Any) -> None:
        g, record = frame.f_locals["g"], frame.f_locals["record"]
        if type(g) is Tensor:
            cotangents.setdefault(g, record)

    def swept(frame: FrameType, result: Any) -> None:
        for parameter, gradient in result.items():
            if type(gradient) is Tensor:
                cotangents.setdefault(gradient, parameter)
                gradients.add(gradient)

    def returned(frame: FrameType, result: Any) -> None:
        for name, x in frame.f_locals.items():
            if type(x) is Tensor:
                variables[x] = name

    # most functions that return are of this package, and told by their code in the least time
    known: dict[CodeType, Callable[[FrameType, Any], None] | None] = {
        contributions.__code__: contributed,
        sweep.__code__: swept,
    }

    def watch(frame: FrameType, event: str, result: Any) -> None:
        if event != "return" or result is None:
            return
        code = frame.f_code
        if code not in known:
            module = str(frame.f_globals.get("__name__"))
            # NumPy's functions in Python return too, as they ask us for ours
            known[code] = None if module.startswith(("tapegrad.", "numpy.")) else returned
        see = known[code]
        if see is not None:
            see(frame, result)

    if sys.getprofile() is not None:
        return fn(*args, **kwargs), NOTHING
    sys.setprofile(watch)
    try:
        result = fn(*args, **kwargs)
    finally:
        sys.setprofile(None)
    return result, Seen(variables, cotangents, frozenset(gradients))
