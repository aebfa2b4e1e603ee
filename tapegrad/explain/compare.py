"""Where two runs part: the first line of two tapes whose operands agree and whose values do not."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import zip_longest
from numbers import Real
from typing import Any

import attrs
import numpy as np

from tapegrad.core.operands import primals
from tapegrad.core.recording import run
from tapegrad.core.tape import Tape
from tapegrad.core.tensor import Parts, Tensor
from tapegrad.core.writing import PARAMETER
from tapegrad.declare import facts
from tapegrad.errors import TraceError
from tapegrad.explain.inside import HOLDERS, Run, apart, on_tape, primal_of, runs
from tapegrad.explain.text import Report, Table
from tapegrad.face.lines import users_place
from tapegrad.face.text import Text, as_text, got, printable, short
from tapegrad.ops.arithmetic import add, subtract
from tapegrad.program.control.loop import Loop
from tapegrad.program.program import Program

# how many lines a search for the next that two tapes have in common passes over
_FAR = 256
# operands that are so many times larger than their sum cancel
_CANCELS = 8.0


@attrs.frozen(eq=False)
class Difference:
    """A line of two tapes whose values differ, or a line that one of them lacks.

    Attributes
    ----------
    a, b
        The records; None on the side that lacks it.
    error
        The largest difference, as a part of the larger of the two elements; infinite where one is
        not finite or the shapes differ.
    index
        Of the element where that is; None for a value without axes, or other shapes.
    agree
        Whether the operands agree, so that it began here.
    why
        The reason, where it is known; or "".
    step
        In a loop, the number of the first step that differs; else None.
    inside
        What differs first inside a loop, a branch or a checkpointed call; None if it is none.
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
        """The record of the first tape that has it."""
        found = self.a if self.a is not None else self.b
        assert found is not None
        return found

    def cells(self) -> tuple[str, ...]:
        """Its lines, its op, by how much it differs, and its place."""
        lines = ["" if x is None else str(x.index) for x in (self.a, self.b)]
        x = self.record
        lacks = "a" if self.a is None else "b" if self.b is None else ""
        by = f"not in {lacks}" if lacks else f"{self.error:.2g}"
        return (*lines, by, printable(x.name or x.op.name), str(x.place or ""))

    def __str__(self) -> str:
        return "\n".join(self._lines(""))

    def _lines(self, indent: str) -> Iterator[str]:
        x = self.record
        at = [str(y.index) for y in (self.a, self.b) if y is not None]
        numbers = at[0] if len(set(at)) == 1 else " and ".join(at)
        where = f", at {x.place}" if x.place and str(x.place) else ""
        step = "" if self.step is None else f"in step {self.step}, "
        yield f"{indent}{step}line {numbers}, {printable(x.name or x.op.name)}{where}"
        for name, y in (("a", self.a), ("b", self.b)):
            element = _element(y, self.index)
            yield f"{indent}  {name}: {'-' if y is None else short(y._primal)}{element}"
        if self.a is not None and self.b is not None:
            place = f" at {list(self.index)}" if self.index else ""
            yield f"{indent}  they differ by {self.error:.2g} of their size{place}"
        if self.why:
            yield f"{indent}  {self.why}"
        if self.inside is not None:
            yield from self.inside._lines(indent + "  ")


def _element(x: Tensor | None, index: tuple[int, ...] | None) -> str:
    if x is None or not index or type(x._primal) is Parts:
        return ""
    return f", with {np.asarray(x._primal)[index]} at {list(index)}"


@attrs.frozen(eq=False, repr=False)
class Comparison(Report):
    """What `compare_tapes` found. ``str()`` of it says where the two part.

    Attributes
    ----------
    rows
        A `Difference` for each line whose values differ, and each line that one tape lacks.
    first
        The first whose operands agree: there it began. None if all values agree.
    matched
        How many lines both tapes have.
    labels
        What the two recorded.
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
        """How many lines differ, in words."""
        lacking = sum(row.a is None or row.b is None for row in self.rows)
        found = f"{len(self.rows) - lacking} of {self.matched} lines differ"
        return f"{found}, {lacking} are in one tape alone" if lacking else found

    def details(self) -> list[Any]:
        """The first difference, and a table of all."""
        parts: list[Any] = [] if self.first is None else [Text(f"first: {self.first}")]
        if self.rows:
            parts.append(Table(_HEAD, [row.cells() for row in self.rows], 3))
            if not any(row.record.place for row in self.rows):
                parts.append("tg.record(fn, lines=True) records the lines of your source as well")
        return parts


_HEAD = ("a", "b", "differ by", "record", "source")


def compare_tapes(a: Tape, b: Tape, rtol: float = 1e-5, atol: float = 0.0) -> Comparison:
    """Compare two recordings line by line, and find where they part.

    For two runs that should agree and do not: float32 and float64, two versions of a function or of
    a library, two machines (a tape pickles). Record with ``record(fn, lines=True)`` to see the
    lines of your source.

    Parameters
    ----------
    a, b
        The tapes. Lines are paired by op and line of source, in order, where one has more.
    rtol, atol
        Two elements agree if they differ by at most ``atol + rtol * size``, where the size is that
        of the larger one; so do two nans. Integers and truth values must be equal. What nearly
        cancels differs by more than rounding does: `atol` is what may be lost there.

    Returns
    -------
    A `Comparison`: ``rows`` has each line that differs, and ``first`` is the first of them whose
    operands agree, or None. It has both records, by how much they differ and, where it is known,
    why: cancellation, overflow, underflow, another op, option or constant, or another branch.
    Loops, branches and checkpointed calls are run again and entered, to the step and the line that
    differ first.

    Raises
    ------
    TypeError
        If an argument is no tape, or a tolerance no number.
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
    return _compared(a, b, rtol, atol)


def first_difference(
    program: Program,
    values: Sequence[Any],
    fn: Callable[..., Any],
    args: tuple[Any, ...],
    kwargs: Mapping[str, Any],
) -> str:
    """The first line of a program whose value differs from the recording's, in words."""
    _, tape, _ = apart(run, fn, args, kwargs, None, users_place)
    made, _, _ = on_tape(program, values, f"the program of {program.label}")
    narrow = any(x.dtype in (np.float32, np.complex64) for x in tape)
    tolerance = 1e-4 if narrow else 1e-8
    found = _compared(tape, made, tolerance, tolerance, alike=True)
    # a pass may have put another operand in
    first = found.first or next(iter(found.rows), None)
    if first is None:
        return "; run line by line, the program gives what the recording does"
    return f"\nfirst (a is recorded, b compiled): {first}"


def _compared(a: Tape, b: Tape, rtol: float, atol: float, alike: bool = False) -> Comparison:
    """The comparison; with `alike`, of lines alone that both tapes have."""
    first, second = list(a), list(b)
    pairs = list(_paired(first, second, alike))
    partner = {x: y for x, y in pairs if x is not None and y is not None}
    comparing = _Comparing(partner, rtol, atol, partners=frozenset(partner.values()))
    rows: list[Difference] = []
    began: set[Tensor] = set()
    with np.errstate(all="ignore"):
        for x, y in pairs:
            if x is not None and y is not None:
                found = comparing.difference(x, y, began)
                rows += [] if found is None else [found]
            elif not alike:
                why = (
                    f"{'b' if x is None else 'a'} alone has it: another branch, or another version"
                )
                rows.append(Difference(x, y, np.inf, None, False, why))
        if first and second and partner.get(first[-1]) is not second[-1] and not alike:
            # what comes last is taken for the result
            ends = [(first[-1], second[-1])]
            comparing.back(ends if comparing.worst(*ends[0]) else [], began)
    origin = [row for row in rows if row.agree or row.record in began]
    labels = tuple([printable(tape.start.origin.label) for tape in (a, b)])
    return Comparison(tuple(rows), next(iter(origin), None), len(partner), labels)  # type: ignore[arg-type]


@attrs.define(eq=False)
class _Comparing:
    """Two tapes while they are compared: which lines are paired, and which differ so far."""

    partner: Mapping[Tensor, Tensor]
    rtol: float
    atol: float
    differing: set[Tensor] = attrs.Factory(set)
    partners: frozenset[Tensor] = frozenset()

    def difference(self, x: Tensor, y: Tensor, began: set[Tensor]) -> Difference | None:
        """How two records differ, if they do; lines of one tape where it began are added."""
        worst = self.worst(x, y)
        if worst is None:
            return None
        self.differing.add(x)
        error, index = worst
        apart = [(u, v) for u, v in _operands(x, y) if self._differ(u, v)]
        moved = [(u, v) for u, v in apart if self.partner.get(u) is not v]
        alone = self.back(moved, began)
        agree = len(moved) == len(apart) and not alone
        why, step, inside = "", None, None
        if agree:
            why = self._why(x, y, error, index, moved)
            if x.op in HOLDERS and y.op is x.op and not moved:
                step, inside, steps = self._inside(x, y)
                why = why if inside is not None else steps
        return Difference(x, y, error, index, agree, why, step, inside)

    def back(self, moved: list[tuple[Tensor, Tensor]], began: set[Tensor]) -> list[Tensor]:
        """The records of these that one tape alone has; where those begin is added."""
        alone = [z for pair in moved for z in pair if self._is_alone(z)]
        waiting = list(alone)
        while waiting:
            z = waiting.pop()
            if z not in began:
                began.add(z)
                waiting += [w for w in z._operands if type(w) is Tensor and self._is_alone(w)]
        return alone

    def worst(self, x: Any, y: Any) -> tuple[float, tuple[int, ...] | None] | None:
        """By how much two values differ at most, and where; None if they agree."""
        found = [_worst(u, v, self.rtol, self.atol) for u, v in _values(x, y)]
        apart = [z for z in found if z is not None]
        if not apart:
            return None
        error, index = max(apart, key=lambda z: z[0])
        return error, None if type(primal_of(x)) is Parts else index

    def _is_alone(self, z: Tensor) -> bool:
        return z not in self.partner and z not in self.partners

    def _differ(self, u: Tensor, v: Tensor) -> bool:
        return u in self.differing if self.partner.get(u) is v else self.worst(u, v) is not None

    def _why(self, x: Tensor, y: Tensor, error: float, index: Any, moved: list[Any]) -> str:
        if x.op is PARAMETER and y.op is PARAMETER and not x._operands:
            return "the arguments differ"
        if x.op.name != y.op.name:
            return f"another branch, or another version: {x.op.name} in a, {y.op.name} in b"
        if x.shape != y.shape:
            return f"the shapes are {x.shape} and {y.shape}"
        for name in {**x._options, **y._options} if x.op not in HOLDERS else ():
            u, v = x._options.get(name), y._options.get(name)
            if not _same(u, v):
                return f"{name} is {as_text(u)} and {as_text(v)}"
        for i, (u, v) in enumerate(zip(x._operands, y._operands, strict=False)):
            if any(u is p and v is q for p, q in moved):
                return f"operand {i} is line {u.index} in a, and line {v.index} in b"
            if (type(u) is not Tensor or type(v) is not Tensor) and self.worst(u, v) is not None:
                return f"operand {i} is {short(primal_of(u))} and {short(primal_of(v))}"
        if len(x._operands) != len(y._operands):
            return f"it has {len(x._operands)} operands in a, and {len(y._operands)} in b"
        held = x.op in HOLDERS or type(x._primal) is Parts
        return "" if held else _by_rounding(x, y, error, index)

    def _inside(self, x: Tensor, y: Tensor) -> tuple[int | None, Difference | None, str]:
        """The first step and the first line that differ inside two records."""
        for n, (one, other) in enumerate(zip_longest(runs(x), runs(y))):
            if one is None or other is None:
                longer = "a" if other is None else "b"
                return None, None, f"{longer} goes on after step {n}, and the other ends"
            found = _compared(one.tape, other.tape, self.rtol, self.atol).first
            if found is not None:
                if found.a is not None and found.b is not None and found.a.op is PARAMETER:
                    found = attrs.evolve(found, why=_given(one, n, found.a, found.b))
                return one.step, found, ""
        return None, None, "run again here, nothing inside differs"


def _given(of: Run, n: int, u: Tensor, v: Tensor) -> str:
    """Why what a run is given differs."""
    if u.shape != v.shape:
        # a segment is a step of a loop of its own
        other = "operands" if of.step is None else "operands, or another checkpoint="
        return f"the shapes are {u.shape} and {v.shape}: other {other}"
    if n and any(u is x for x in of.carry):
        return "differences of earlier steps have added up"
    return f"operand {of.sources[u]} of {of.record.op.name} differs"


def _operands(x: Tensor, y: Tensor) -> list[tuple[Tensor, Tensor]]:
    """The operands in the same places that are records in both."""
    pairs = zip(x._operands, y._operands, strict=False)
    return [(u, v) for u, v in pairs if type(u) is Tensor and type(v) is Tensor]


def _values(x: Any, y: Any) -> Iterator[tuple[Any, Any]]:
    """The values of two records, or constants, that must agree."""
    parts = [list(z.values) if type(z) is Parts else [z] for z in (primal_of(x), primal_of(y))]
    for k, z in enumerate((x, y)):
        loop = z._options.get("loop") if type(z) is Tensor else None
        if isinstance(loop, Loop):
            # what is kept for derivatives is no result
            parts[k] = parts[k][: loop.first_kept]
    yield from zip_longest(*parts)


def _worst(x: Any, y: Any, rtol: float, atol: float) -> tuple[float, tuple[int, ...] | None] | None:
    """The largest difference of two arrays, as a part of the larger element, and where it is."""
    x, y = np.asarray(x), np.asarray(y)
    if x.shape != y.shape:
        return np.inf, None
    if not {x.dtype.kind, y.dtype.kind} <= set("biufc"):
        return None if np.array_equal(x, y) else (np.inf, None)
    is_exact = not {x.dtype.kind, y.dtype.kind} & set("fc")
    same = x == y
    if not is_exact:
        wide = np.result_type(x, y, np.float64)
        x, y = x.astype(wide), y.astype(wide)
        same |= np.isnan(x) & np.isnan(y)
    if np.all(same):
        return None
    size = np.maximum(np.abs(x).astype(float), np.abs(y).astype(float))
    gap = np.abs(np.subtract(x, y, dtype=None if not is_exact else float))
    if not is_exact:
        same |= np.isfinite(size) & (gap <= atol + rtol * size)
        if np.all(same):
            return None
    relative = np.where(same, 0.0, np.where(np.isfinite(gap), gap / size, np.inf))
    index = np.unravel_index(int(np.argmax(relative)), relative.shape)
    return float(relative[index]), tuple(map(int, index)) or None


def _same(u: Any, v: Any) -> bool:
    """Whether two options are the same, as far as can be told."""
    try:
        return bool(np.array_equal(u, v) if isinstance(u, np.ndarray) else u == v)
    except (TypeError, ValueError):
        return True


def _by_rounding(x: Tensor, y: Tensor, error: float, index: Any) -> str:
    """Why the values of one op differ for operands that agree."""
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
    terms = _terms(y, index or ())
    if terms is not None and terms > _CANCELS * leaves:
        return (
            f"cancellation: terms that add up to {terms:.2g} in size leave {leaves:.3g}, and "
            f"{narrow} has {digits} digits"
        )
    given = [_worst(p._primal, q._primal, 0.0, 0.0) for p, q in _operands(x, y)]
    before = max([z[0] for z in given if z is not None], default=0.0)
    if before:
        return f"operands that differ by {before:.1g} give values that differ by {error:.1g}"
    if x.dtype != y.dtype:
        return f"{narrow} has {digits} digits"
    return "the same operands give other values: another implementation of the op"


def _terms(record: Tensor, index: tuple[int, ...]) -> float | None:
    """The sum of the sizes of what an element adds up; None for an op that does not add."""
    op = add if record.op is subtract else record.op
    if op is not add and not facts(op).adds:
        return None
    sizes = [np.abs(np.asarray(z)).astype(float) for z in primals(record._operands)]
    return float(np.asarray(op.forward(*sizes, **record._options))[index])


# --- which lines belong together ------------------------------------------------------------

_Pair = tuple[Tensor | None, Tensor | None]


def _paired(a: Sequence[Tensor], b: Sequence[Tensor], alike: bool) -> Iterator[_Pair]:
    """The lines of two tapes in pairs, in order, with None beside those that are in one alone.

    Lines of one op, written for one line of source, are paired, then, between these, lines of one
    op. What stands in one another's place is a pair too, unless only `alike` ones shall be.
    """
    placed = all(any(x.place is not None for x in tape) for tape in (a, b))
    yield from _pairs(a, b, [_by_source, _by_op] if placed else [_by_op], alike)


_Key = Callable[[Tensor], Any]


def _by_op(x: Tensor) -> Any:
    return x.op is PARAMETER, x.name if x.op is PARAMETER else x.op.name


def _by_source(x: Tensor) -> Any:
    # a line may have moved in the file
    return _by_op(x), x.place.text if x.place else ""


def _pairs(
    a: Sequence[Tensor], b: Sequence[Tensor], keys: Sequence[_Key], alike: bool
) -> Iterator[_Pair]:
    if not keys or not a or not b:
        for x, y in zip_longest(a, b):
            if x is None or y is None or (not alike and _exchanged(x, y)):
                yield x, y
            else:
                yield x, None
                yield None, y
        return
    i = j = 0
    found = _matches([*map(keys[0], a)], [*map(keys[0], b)])
    for m, n in [*found, (len(a), len(b))]:
        yield from _pairs(a[i:m], b[j:n], keys[1:], alike)
        if m < len(a):
            yield a[m], b[n]
        i, j = m + 1, n + 1


def _exchanged(x: Tensor, y: Tensor) -> bool:
    """Whether one line may stand in the place of another."""
    return x.shape == y.shape and (x.op is PARAMETER) == (y.op is PARAMETER)


def _matches(a: Sequence[Any], b: Sequence[Any]) -> list[tuple[int, int]]:
    """A longest common subsequence, as pairs of places, unless the two differ for long."""
    found: list[tuple[int, int]] = []
    i = j = 0
    while i < len(a) and j < len(b):
        pairs, m, n = _stretch(a[i:], b[j:])
        found += [(i + x, j + y) for x, y in pairs]
        i, j = i + m, j + n
    return found


def _stretch(a: Sequence[Any], b: Sequence[Any]) -> tuple[list[tuple[int, int]], int, int]:
    """The pairs of the first stretch of two sequences, and how far it leads.

    Myers, "An O(ND) difference algorithm and its variations" (1986): for each number of
    differences, how far each diagonal reaches. It ends at the end, or after many differences where
    it has come farthest.
    """
    reach, before = {1: 0}, []
    at: tuple[int, int] | None = None
    for d in range(_FAR):
        before.append(dict(reach))
        for k in range(-d, d + 1, 2):
            down = k == -d or (k != d and reach[k - 1] < reach[k + 1])
            x = reach[k + 1] if down else reach[k - 1] + 1
            while x < len(a) and x - k < len(b) and a[x] == b[x - k]:
                x += 1
            reach[k] = x
            if x >= len(a) and x - k >= len(b):
                at = k, x
                break
        if at:
            break
    else:
        inside = [(2 * x - k, k) for k, x in reach.items() if x <= len(a) and x - k <= len(b)]
        at = max(inside)[1], reach[max(inside)[1]]
    assert at is not None
    (k, x), pairs = at, list[tuple[int, int]]()
    ends = min(x, len(a)), min(x - k, len(b))
    for d, reached in reversed([*enumerate(before)]):
        down = k == -d or (k != d and reached[k - 1] < reached[k + 1])
        k_before = k + 1 if down else k - 1
        x_before = reached.get(k_before, 0)
        start = x_before if down else x_before + 1
        pairs += [(z - 1, z - 1 - k) for z in range(x, start, -1)]
        k, x = k_before, x_before
    return pairs[::-1], *ends
