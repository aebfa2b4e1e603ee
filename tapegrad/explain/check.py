"""Check a compiled function against its recording, and find their first difference."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from tapegrad import tree
from tapegrad.core.recording import record_call
from tapegrad.core.tape import Tape
from tapegrad.core.tensor import Tensor, primal_of
from tapegrad.declare.parts import is_numeric
from tapegrad.errors.lines import users_place, with_user_warnings
from tapegrad.explain.compare import Difference, compare_records, is_different
from tapegrad.explain.inside import call_outside_recording, run_on_tape
from tapegrad.program.control.loop import nested_codes
from tapegrad.program.program import Program
from tapegrad.tree.ownership import readonly_view

# the tolerance of rounding errors by dtype; results of other dtypes must be equal
_TOLERANCE = {"d": 1e-10, "g": 1e-10, "f": 1e-4, "e": 1e-2, "D": 1e-10, "F": 1e-4}


def check_compiled(
    compiled: Any,
    program: Program,
    captured: Sequence[str],
    values: Sequence[Any],
    fn: Callable[..., Any],
    args: tuple[Any, ...],
    kwargs: Mapping[str, Any],
) -> None:
    """Raise if a program's result differs from the recorded function's; see `Compiled.check`.

    Parameters
    ----------
    compiled
        The result of the program.
    program, captured, values
        The program, descriptions of the arrays that it captured, and the values of its inputs.
    fn, args, kwargs
        The call.
    """
    positional, named = tree.copy_containers((args, kwargs), readonly_view)
    expected = with_user_warnings(fn, *positional, **named)
    suspects = f"; captured arrays: {', '.join(captured)}" if captured else ""
    # a wide result may have narrow intermediate values
    instructions = [x for code in nested_codes(program) for x in code.instructions]
    widest = max([_TOLERANCE.get(x.dtype.char, 0.0) for x in instructions], default=0.0)
    pairs = tree.zip_leaves(compiled, expected)
    for path, (x, y) in zip(tree.paths(compiled), pairs, strict=True):
        if fault := _describe_fault(widest, x, y):
            place = _describe_first_difference(program, values, fn, args, kwargs)
            raise AssertionError(f"{path or 'the result'} {fault}{suspects}{place}")


def _describe_fault(widest: float, compiled: Any, recorded: Any) -> str:
    """Describe the difference of a compiled result from the recorded result; "" if equal."""
    if not is_numeric(recorded):
        same = compiled == recorded
        return "" if same else f"is {compiled!r} compiled, {recorded!r} recorded"
    x, y = np.asarray(compiled), np.asarray(recorded)
    if (x.shape, x.dtype) != (y.shape, y.dtype):
        return f"is {x.dtype} {x.shape} compiled, {y.dtype} {y.shape} recorded"
    dtype_tolerance = _TOLERANCE.get(y.dtype.char, 0.0)
    tolerance = max(dtype_tolerance, widest) if dtype_tolerance else 0.0
    if np.allclose(x, y, rtol=tolerance, atol=tolerance, equal_nan=True):
        return ""
    worst = np.nanmax(np.abs(np.subtract(x, y, dtype=np.result_type(y.dtype, float))))
    return f"differs by up to {worst:.3g} between compiled and recorded"


def _describe_first_difference(
    program: Program,
    values: Sequence[Any],
    fn: Callable[..., Any],
    args: tuple[Any, ...],
    kwargs: Mapping[str, Any],
) -> str:
    """Describe the first line of a program whose value differs from the recording's."""
    output, tape, _ = call_outside_recording(record_call, fn, args, kwargs, None, users_place)
    compiled, _, results = run_on_tape(program, values, f"the program of {program.label}")
    narrow = any(x.dtype in (np.float32, np.complex64) for x in tape)
    tolerance = 1e-4 if narrow else 1e-8
    comparison = compare_records(tape, compiled, tolerance, tolerance, alike=True)
    pairs = zip(tree.leaves(output), results, strict=True)
    differing = [y for x, y in pairs if is_numeric(primal_of(x)) and is_different(x, y, tolerance)]
    # a pass may have replaced an op or an operand
    first = comparison.first or _find_unrecorded(tape, differing, tolerance)
    first = first or next(iter(comparison.rows), None)
    if first is not None:
        return f"\nfirst (a is recorded, b compiled): {first}"
    if differing:
        return "; run line by line, the program gives another value of the recording in its place"
    return "; run line by line, the program gives what the recording does"


def _find_unrecorded(tape: Tape, differing: Sequence[Any], tolerance: float) -> Difference | None:
    """Find the first line of another tape with a value that a tape lacks, from values it has.

    Only lines that lead to results that differ are searched.
    """
    recorded: dict[Any, list[Tensor]] = {}
    for x in tape:
        recorded.setdefault(x.shape, []).append(x)

    def is_unrecorded(y: Any) -> bool:
        return type(y) is Tensor and all(
            is_different(x, y, tolerance) for x in recorded.get(y.shape, ())
        )

    waiting = [y for y in differing if is_unrecorded(y)]
    seen, first_lines = {*waiting}, list[Tensor]()
    while waiting:
        y = waiting.pop()
        before = {*filter(is_unrecorded, y._operands)}
        if not before:
            first_lines.append(y)
        waiting += before - seen
        seen |= before
    if not first_lines:
        return None
    why = "no line of the recording has this value, and each of its operands is of the recording"
    return Difference(None, min(first_lines, key=lambda y: y.index), np.inf, None, True, why)
