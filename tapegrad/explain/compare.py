"""Compare two tapes, and find the first line whose operands agree and whose values differ."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import zip_longest
from numbers import Real
from typing import Any

import attrs
import numpy as np

from tapegrad.arraylike.text import record_name
from tapegrad.core.primitive import Parts
from tapegrad.core.tape import Tape
from tapegrad.core.tensor import Tensor, primal_of, primals
from tapegrad.core.writing import PARAMETER
from tapegrad.declare import facts
from tapegrad.errors import TraceError
from tapegrad.errors.words import Text, as_text, got, printable, short
from tapegrad.explain.inside import HOLDERS, Run, runs
from tapegrad.explain.text import Report, Table
from tapegrad.ops.arithmetic import add, subtract
from tapegrad.program.control.loop import Loop

# operands cancel if they are this many times larger than their sum
_CANCELLATION_RATIO = 8.0


@attrs.frozen(eq=False)
class Difference:
    """A line of two tapes whose values differ, or a line that one of them lacks.

    Attributes
    ----------
    a, b
        The records; None for a tape that lacks the line.
    error
        The largest relative difference of two elements; infinite where one is not finite or the
        shapes differ.
    index
        The index of that element; None for a value without axes, or if the shapes differ.
    agree
        Whether the operands agree, so that the difference began here.
    why
        The reason; "" if it is unknown.
    step
        In a loop, the number of the first step that differs; else None.
    inside
        The first difference inside a loop, a branch or a checkpointed call; else None.
    """

    a: Tensor | None
    b: Tensor | None
    error: float
    index: tuple[int, ...] | None
    agree: bool
    why: str = ""
    step: int | None = None
    inside: Difference | None = None

    @property
    def record(self) -> Tensor:
        """The record in the first tape that has the line."""
        record = self.b if self.a is None else self.a
        assert record is not None
        return record

    def cells(self) -> tuple[str, ...]:
        """Return the lines, the difference, the record's name and its place, as cells."""
        lines = ["" if x is None else str(x.index) for x in (self.a, self.b)]
        x = self.record
        lacks = "a" if self.a is None else "b" if self.b is None else ""
        by = f"not in {lacks}" if lacks else f"{self.error:.2g}"
        return (*lines, by, record_name(x), str(x.place or ""))

    def __str__(self) -> str:
        return "\n".join(self._lines(""))

    def _lines(self, indent: str) -> Iterator[str]:
        x = self.record
        at = dict.fromkeys([str(y.index) for y in (self.a, self.b) if y is not None])
        where = f", at {x.place}" if x.place and str(x.place) else ""
        step = "" if self.step is None else f"in step {self.step}, "
        yield f"{indent}{step}line {' and '.join(at)}, {record_name(x)}{where}"
        for name, y in (("a", self.a), ("b", self.b)):
            element = _describe_element(y, self.index)
            yield f"{indent}  {name}: {'-' if y is None else short(y._primal)}{element}"
        if self.a is not None and self.b is not None:
            place = f" at {list(self.index)}" if self.index else ""
            yield f"{indent}  they differ by {self.error:.2g} of their size{place}"
        if self.why:
            yield f"{indent}  {self.why}"
        if self.inside is not None:
            yield from self.inside._lines(indent + "  ")


def _describe_element(x: Tensor | None, index: tuple[int, ...] | None) -> str:
    if x is None or not index or type(x._primal) is Parts:
        return ""
    return f", with {np.asarray(x._primal)[index]} at {list(index)}"


@attrs.frozen(eq=False, repr=False)
class Comparison(Report):
    """The result of `compare_tapes`; its ``str()`` describes the first difference.

    Attributes
    ----------
    rows
        A `Difference` for each line whose values differ, and each line that one tape lacks.
    first
        The first difference whose operands agree, where it began; None if all values agree.
    matched
        The number of lines that both tapes have.
    labels
        The names of the two recorded functions.
    """

    rows: tuple[Difference, ...]
    first: Difference | None
    matched: int
    labels: tuple[str, str]

    @property
    def label(self) -> str:
        """The two labels."""
        return " and ".join(self.labels)

    @property
    def summary(self) -> str:
        """The number of lines that differ, in words."""
        lacking = sum(row.a is None or row.b is None for row in self.rows)
        differing = f"{len(self.rows) - lacking} of {self.matched} lines differ"
        return f"{differing}, {lacking} are in one tape alone" if lacking else differing

    def details(self) -> list[Any]:
        """Return the first difference, and a table of all."""
        parts: list[Any] = [] if self.first is None else [Text(f"first: {self.first}")]
        if self.rows:
            parts.append(Table(_HEAD, [row.cells() for row in self.rows], 3))
            if not any(row.record.place for row in self.rows):
                parts.append("tg.record(fn, lines=True) records the lines of your source as well")
        return parts


_HEAD = ("a", "b", "differ by", "record", "source")


def compare_tapes(a: Tape, b: Tape, rtol: float = 1e-5, atol: float = 0.0) -> Comparison:
    """Compare two recordings line by line, and find where their values begin to differ.

    It is for two runs that should agree: in float32 and float64, with two versions of a function or
    of a library, on two machines (a tape pickles). Record with ``record(fn, lines=True)`` to see
    the lines of your source.

    Parameters
    ----------
    a, b
        The tapes. Lines are paired by op and line of source, in order.
    rtol, atol
        Two elements agree if they differ by at most ``atol + rtol * size``, where ``size`` is the
        larger magnitude, or if both are nan. Integers and truth values must be equal. A sum that
        nearly cancels differs by more than rounding errors: `atol` is the loss to allow there.

    Returns
    -------
    A `Comparison`: ``rows`` has each line that differs, and ``first`` is the first of them whose
    operands agree, or None. A row has both records, their difference and, if known, its cause:
    cancellation, overflow, underflow, another op, option or constant, or another branch. Loops,
    branches and checkpointed calls are run again, to find the step and the line that differ first.

    Raises
    ------
    TypeError
        If an argument is not a tape, or a tolerance is not a number.
    ValueError
        If a tolerance is negative.
    TraceError
        While compiling, where values are not known.

    Examples
    --------
    >>> import tapegrad as tg
    >>> def variance(x):
    ...     return np.mean(x * x) - np.mean(x) ** 2
    >>> x = np.array([10000.0, 10001.0, 10002.0])
    >>> tapes = [tg.record(variance)(x.astype(dtype))[1] for dtype in ("f", "d")]
    >>> first = tg.compare_tapes(*tapes).first
    >>> first.a.op, first.a.value, first.b.value
    (<op subtract>, array(0., dtype=float32), array(0.66666667))
    >>> print(first.why)
    cancellation: terms that add up to 2e+08 in size leave 0.667, and float32 has 7 digits
    """
    for name, tape in (("a", a), ("b", b)):
        if type(tape) is not Tape:
            raise TypeError(
                f"compare_tapes: {name} must be a Tape, not {got(tape)}: output, tape = "
                "tg.record(fn)(*args)"
            )
        if tape.start.origin.compiling:
            raise TraceError("compare_tapes reads values, which are not known while compiling")
    for name, most in (("rtol", rtol), ("atol", atol)):
        if not isinstance(most, Real):
            raise TypeError(f"compare_tapes: {name} must be a number, not {got(most)}")
        if not most >= 0:
            raise ValueError(f"compare_tapes: {name} must be at least 0; got {most}")
    return compare_records(a, b, rtol, atol)


def compare_records(a: Tape, b: Tape, rtol: float, atol: float, alike: bool = False) -> Comparison:
    """Compare two tapes; with `alike`, only lines that both tapes have."""
    first, second = list(a), list(b)
    pairs = list(pair_records(first, second, alike))
    partner = {x: y for x, y in pairs if x is not None and y is not None}
    comparer = _Comparer(partner, frozenset(partner.values()), rtol, atol)
    rows: list[Difference] = []
    with np.errstate(all="ignore"):
        for x, y in pairs:
            if x is not None and y is not None:
                difference = comparer.compare(x, y)
                rows += [] if difference is None else [difference]
            elif not alike:
                side = "b" if x is None else "a"
                why = f"{side} alone has it: another branch, or another version"
                rows.append(Difference(x, y, np.inf, None, False, why))
        if first and second and partner.get(first[-1]) is not second[-1] and not alike:
            # treat the last records as the results
            ends = first[-1], second[-1]
            comparer.has_unmatched([ends] if comparer.max_difference(*ends) else [])
    origin = (row for row in rows if row.agree or row.record in comparer.origins)
    labels = printable(a.start.origin.label), printable(b.start.origin.label)
    return Comparison(tuple(rows), next(origin, None), len(partner), labels)


@np.errstate(all="ignore")
def is_different(x: Any, y: Any, tolerance: float) -> bool:
    """Return whether two records, or constants, differ."""
    return any(_max_difference(u, v, tolerance, tolerance) for u, v in _value_pairs(x, y))


@attrs.define(eq=False)
class _Comparer:
    """The state of a comparison of two tapes.

    Attributes
    ----------
    partner, partners
        The paired lines, and the lines of the second tape among them.
    rtol, atol
        The tolerances.
    differing
        The lines of the first tape that differ so far.
    origins
        The lines of one tape alone where a difference began.
    """

    partner: Mapping[Tensor, Tensor]
    partners: frozenset[Tensor]
    rtol: float
    atol: float
    differing: set[Tensor] = attrs.Factory(set)
    origins: set[Tensor] = attrs.Factory(set)

    def compare(self, x: Tensor, y: Tensor) -> Difference | None:
        """Return the difference of two records; None if they agree."""
        worst = self.max_difference(x, y)
        if worst is None:
            return None
        self.differing.add(x)
        apart = [(u, v) for u, v in _operand_pairs(x, y) if self._is_different(u, v)]
        moved = [(u, v) for u, v in apart if self.partner.get(u) is not v]
        agree = not self.has_unmatched(moved) and len(moved) == len(apart)
        reason: tuple[Any, ...] = ()
        if agree and x.op in HOLDERS and y.op is x.op and not moved:
            reason = self._compare_inside(x, y)
        elif agree:
            reason = (self._explain(x, y, *worst, moved),)
        return Difference(x, y, *worst, agree, *reason)

    def has_unmatched(self, moved: list[tuple[Tensor, Tensor]]) -> bool:
        """Return whether a line of these is in one tape alone, and note where such lines begin."""
        waiting = [z for pair in moved for z in pair if self._is_unmatched(z)]
        lacks = bool(waiting)
        while waiting:
            z = waiting.pop()
            if z not in self.origins:
                self.origins.add(z)
                waiting += [w for w in z._operands if type(w) is Tensor and self._is_unmatched(w)]
        return lacks

    def max_difference(self, x: Any, y: Any) -> tuple[float, tuple[int, ...] | None] | None:
        """Return the largest difference of two values and its index; None if they agree."""
        worsts = [_max_difference(u, v, self.rtol, self.atol) for u, v in _value_pairs(x, y)]
        worst = max([z for z in worsts if z], key=lambda z: z[0], default=None)
        return worst and (worst[0], None if type(primal_of(x)) is Parts else worst[1])

    def _is_unmatched(self, z: Tensor) -> bool:
        return z not in self.partner and z not in self.partners

    def _is_different(self, u: Tensor, v: Tensor) -> bool:
        return (
            u in self.differing
            if self.partner.get(u) is v
            else self.max_difference(u, v) is not None
        )

    def _explain(self, x: Tensor, y: Tensor, error: float, index: Any, moved: list[Any]) -> str:
        if x.op is PARAMETER and y.op is PARAMETER and not x._operands:
            return "the arguments differ"
        if x.op.name != y.op.name:
            return f"another branch, or another version: {x.op.name} in a, {y.op.name} in b"
        if x.shape != y.shape:
            return f"the shapes are {x.shape} and {y.shape}"
        for name in {**x._options, **y._options} if x.op not in HOLDERS else ():
            u, v = x._options.get(name), y._options.get(name)
            if not _is_equal(u, v):
                return f"{name} is {as_text(u)} and {as_text(v)}"
        for i, (u, v) in enumerate(zip(x._operands, y._operands, strict=False)):
            if any(u is p and v is q for p, q in moved):
                return f"operand {i} is line {u.index} in a, and line {v.index} in b"
            if (type(u) is not Tensor or type(v) is not Tensor) and self.max_difference(
                u, v
            ) is not None:
                return f"operand {i} is {short(primal_of(u))} and {short(primal_of(v))}"
        if len(x._operands) != len(y._operands):
            return f"it has {len(x._operands)} operands in a, and {len(y._operands)} in b"
        held = x.op in HOLDERS or type(x._primal) is Parts
        return "" if held else _explain_rounding(x, y, error, index)

    def _compare_inside(self, x: Tensor, y: Tensor) -> tuple[str, int | None, Difference | None]:
        """Return why the runs of two records differ, or the first step and line that differ."""
        for n, (one, other) in enumerate(zip_longest(runs(x), runs(y))):
            if one is None or other is None:
                longer = "a" if other is None else "b"
                return f"{longer} goes on after step {n}, and the other ends", None, None
            first = compare_records(one.tape, other.tape, self.rtol, self.atol).first
            if first is not None:
                if first.a is not None and first.b is not None and first.a.op is PARAMETER:
                    first = attrs.evolve(first, why=_explain_inputs(one, n, first.a, first.b))
                return "", one.step, first
        return "run again here, nothing inside differs", None, None


def _explain_inputs(run: Run, n: int, u: Tensor, v: Tensor) -> str:
    """Explain why the inputs of a run differ."""
    if u.shape != v.shape:
        # the segments of a checkpointed loop are steps of an outer loop
        other = "operands" if run.step is None else "operands, or another checkpoint="
        return f"the shapes are {u.shape} and {v.shape}: other {other}"
    if n and any(u is x for x in run.carry):
        return "differences of earlier steps have added up"
    return f"operand {run.sources[u]} of {run.record.op.name} differs"


def _operand_pairs(x: Tensor, y: Tensor) -> list[tuple[Tensor, Tensor]]:
    """Return the operands at equal positions that are records in both."""
    pairs = zip(x._operands, y._operands, strict=False)
    return [(u, v) for u, v in pairs if type(u) is Tensor and type(v) is Tensor]


def _value_pairs(x: Any, y: Any) -> Iterator[tuple[Any, Any]]:
    """Yield the values of two records, or constants, that must agree."""
    parts = [list(z.values) if type(z) is Parts else [z] for z in (primal_of(x), primal_of(y))]
    for k, z in enumerate((x, y)):
        loop = z._options.get("loop") if type(z) is Tensor else None
        if isinstance(loop, Loop):
            # residuals of the derivative are not results
            parts[k] = parts[k][: loop.first_residual]
    yield from zip_longest(*parts)


def _max_difference(
    x: Any, y: Any, rtol: float, atol: float
) -> tuple[float, tuple[int, ...] | None] | None:
    """Return the largest relative difference of two arrays, and its index; None if they agree."""
    if x is y:
        return None
    x, y = np.asarray(x), np.asarray(y)
    # None stands for a value that the other record lacks
    if x.shape != y.shape or "O" in (x.dtype.kind, y.dtype.kind):
        return np.inf, None
    is_floating = bool({x.dtype.kind, y.dtype.kind} & set("fc"))
    wide = np.result_type(x, y, np.float64) if is_floating else float
    same = (x == y) | (np.isnan(x) & np.isnan(y))
    size = np.maximum(np.abs(x).astype(float), np.abs(y).astype(float))
    gap = np.abs(np.subtract(x, y, dtype=wide))
    if is_floating:
        same |= np.isfinite(size) & (gap <= atol + rtol * size)
    if np.all(same):
        return None
    relative = np.where(same, 0.0, np.where(np.isfinite(gap), gap / size, np.inf))
    index = np.unravel_index(int(np.argmax(relative)), relative.shape)
    return float(relative[index]), tuple(map(int, index)) or None


def _is_equal(u: Any, v: Any) -> bool:
    """Return whether two options are equal; True if they cannot be compared."""
    try:
        return bool(np.array_equal(u, v) if isinstance(u, np.ndarray) else u == v)
    except (TypeError, ValueError):
        return True


def _explain_rounding(x: Tensor, y: Tensor, error: float, index: Any) -> str:
    """Explain why the values of one op differ for operands that agree."""
    u, v = (np.asarray(z._primal)[index or ()] for z in (x, y))
    if x.dtype.kind not in "fc" or y.dtype.kind not in "fc":
        return "its operands agree up to rounding, which decides here"
    narrow = min(x.dtype, y.dtype, key=lambda dtype: np.finfo(dtype).precision)
    info = np.finfo(narrow)
    if not (np.isfinite(u) and np.isfinite(v)):
        if np.isnan(u) or np.isnan(v):
            return facts(x.op).cause
        return f"overflow: {narrow} ends at {float(info.max):.2g}"
    digits = round(-np.log10(float(info.eps)))
    leaves = max(abs(u), abs(v))
    if leaves < info.smallest_normal:
        return f"underflow: {narrow} has all its digits from {float(info.smallest_normal):.2g} on"
    terms = _sum_magnitudes(y, index or ())
    if terms is not None and terms > _CANCELLATION_RATIO * leaves:
        return (
            f"cancellation: terms that add up to {terms:.2g} in size leave {leaves:.3g}, and "
            f"{narrow} has {digits} digits"
        )
    gaps = [_max_difference(p._primal, q._primal, 0.0, 0.0) for p, q in _operand_pairs(x, y)]
    before = max([z[0] for z in gaps if z is not None], default=0.0)
    if before:
        return f"operands that differ by {before:.1g} give values that differ by {error:.1g}"
    if x.dtype != y.dtype:
        return f"{narrow} has {digits} digits"
    return "the same operands give other values: another implementation of the op"


def _sum_magnitudes(record: Tensor, index: tuple[int, ...]) -> float | None:
    """Return the sum of the magnitudes of an element's terms; None for an op that does not add."""
    op = add if record.op is subtract else record.op
    if op is not add and not facts(op).adds:
        return None
    sizes = [np.abs(np.asarray(z)).astype(float) for z in primals(record._operands)]
    return float(np.asarray(op.forward(*sizes, **record._options))[index])


# --- pairs of lines of two tapes -----------------------------------------------------------

# the most differences that a search for the next common line skips
_MAX_DIFFERENCES = 256

Pair = tuple[Tensor | None, Tensor | None]


def pair_records(a: Sequence[Tensor], b: Sequence[Tensor], alike: bool) -> Iterator[Pair]:
    """Yield the lines of two tapes in pairs, in order; a line of one tape alone is beside None.

    Lines of the same op and line of source are paired first; then, between these, lines of the same
    op; then lines that may replace one another, unless all pairs must be `alike`.
    """
    placed = all(any(x.place is not None for x in tape) for tape in (a, b))
    return _pair_by_keys(a, b, [_source_key, _op_key] if placed else [_op_key], alike)


def _op_key(x: Tensor) -> Any:
    return x.op is PARAMETER, x.name if x.op is PARAMETER else x.op.name


def _source_key(x: Tensor) -> Any:
    # a line may have moved in the file
    return _op_key(x), x.place.text if x.place else ""


def _pair_by_keys(
    a: Sequence[Tensor],
    b: Sequence[Tensor],
    keys: Sequence[Callable[[Tensor], Any]],
    alike: bool,
) -> Iterator[Pair]:
    if not keys or not a or not b:
        for x, y in zip_longest(a, b):
            if x is None or y is None or (not alike and _can_replace(x, y)):
                yield x, y
            else:
                yield x, None
                yield None, y
        return
    i = j = 0
    for m, n in [*match_sequences([*map(keys[0], a)], [*map(keys[0], b)]), (len(a), len(b))]:
        yield from _pair_by_keys(a[i:m], b[j:n], keys[1:], alike)
        if m < len(a):
            yield a[m], b[n]
        i, j = m + 1, n + 1


def _can_replace(x: Tensor, y: Tensor) -> bool:
    """Return whether one line may replace another."""
    return x.shape == y.shape and (x.op is PARAMETER) == (y.op is PARAMETER)


def match_sequences(
    a: Sequence[Any], b: Sequence[Any], far: int = _MAX_DIFFERENCES
) -> Iterator[tuple[int, int]]:
    """Yield a longest common subsequence as pairs of positions, unless long parts differ.

    Each stretch of it has less than `far` differences; `far` is 2 or more. `difflib` begins with
    the longest common block, and so shifts the lines of an unrolled loop.
    """
    i = j = 0
    while i < len(a) and j < len(b):
        runs, x, y = _match_stretch(a[i:], b[j:], far)
        pairs: list[tuple[int, int]] = []
        while runs is not None:
            (start, stop, k), runs = runs
            pairs += [(i + z, j + z - k) for z in reversed(range(start, stop))]
        yield from reversed(pairs)
        i, j = i + x, j + y


def _match_stretch(a: Sequence[Any], b: Sequence[Any], far: int) -> tuple[Any, int, int]:
    """Return the common runs of the first stretch of two sequences, and its end in each.

    A run goes from one position of `a` to another; the offset from the positions of `b` is its
    diagonal. The runs are a linked list. Myers, "An O(ND) difference algorithm and its variations"
    (1986): compute, for each number of differences, the farthest position on each diagonal. The
    stretch ends with the sequences, or after many differences at the farthest position.
    """
    # the position that each diagonal reaches, and the runs on the way
    reach: dict[int, tuple[int, Any]] = {1: (0, None)}
    for d in range(far):
        for k in range(-d, d + 1, 2):
            down = k == -d or (k != d and reach[k - 1][0] < reach[k + 1][0])
            x, runs = reach[k + 1] if down else reach[k - 1]
            x = start = x if down else x + 1
            while x < len(a) and x - k < len(b) and a[x] == b[x - k]:
                x += 1
            reach[k] = x, ((start, x, k), runs) if x > start else runs
            if x >= len(a) and x - k >= len(b):
                return reach[k][1], len(a), len(b)
    inside = [(2 * x - k, k) for k, (x, _) in reach.items() if x <= len(a) and x - k <= len(b)]
    k = max(inside)[1]
    x, runs = reach[k]
    return runs, x, x - k
