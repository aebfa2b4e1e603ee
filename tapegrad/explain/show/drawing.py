"""A tape drawn as SVG, with each record below its operands."""

from __future__ import annotations

import math
from collections import defaultdict
from html import escape

import attrs

from tapegrad.core.tape import Tape
from tapegrad.core.tensor import Tensor
from tapegrad.core.writing import PARAMETER
from tapegrad.explain.show.graphs import edges
from tapegrad.face.text import printable

_WIDTH, _HEIGHT, _GAP, _RISE = 128, 26, 16, 56  # the sides of a node, and the gaps between nodes
_STEP = _WIDTH + _GAP
_MOST = 8  # nodes in a row; a level with more nodes has several rows
_LONGEST = 6  # levels that an edge may cross as a line; a longer one only names its operand


def drawing(tape: Tape) -> str:
    """A tape as SVG, in few columns even if it has many records.

    A record stands just above the first one that uses it, so parameters appear where they are
    used. An edge from far above is drawn as a stub with the operand's number.
    """
    levels, depth = _levels(tape)
    places = _places(tape, levels, depth)
    lines, nodes = [], []
    for record in tape:
        n, (x, y) = record.index, places[record]
        for i, operand in edges(tape, record):
            far = levels[record] - levels[operand] > _LONGEST
            lines.append(_stub(n, i, operand, x, y) if far else _edge(n, i, places[operand], x, y))
        text = f"%{n} {printable(record.name or record.op.name)}"
        text = text if len(text) <= 16 else f"{text[:15]}…"
        corner = _HEIGHT // 2 if record.op is PARAMETER else 3
        nodes.append(
            f'<g id="node-{n}"><rect x="{x}" y="{y}" width="{_WIDTH}" height="{_HEIGHT}" '
            f'rx="{corner}"/><text x="{x + 8}" y="{y + 17}">{escape(text)}</text></g>'
        )
    width = max([x for x, _ in places.values()], default=0) + _STEP
    height = max([y for _, y in places.values()], default=0) + _HEIGHT + _GAP
    return (
        f'<svg role="img" aria-label="The graph of the table" width="{width}" height="{height}" '
        f'viewBox="0 0 {width} {height}">{"".join(lines)}{"".join(nodes)}</svg>'
    )


def _edge(n: int, i: int, start: tuple[int, int], x: int, y: int) -> str:
    a, b, c = start[0] + _WIDTH // 2, start[1] + _HEIGHT, x + _WIDTH // 2
    return f'<path id="edge-{n}-{i}" d="M{a} {b}C{a} {b + 20} {c} {y - 20} {c} {y}"/>'


def _stub(n: int, i: int, operand: Tensor, x: int, y: int) -> str:
    # side by side, if both operands are far
    c = x + (1 + 2 * (i % 2)) * _WIDTH // 4
    return (
        f'<path id="edge-{n}-{i}" d="M{c} {y - 10}V{y}"/>'
        f'<text class="far" x="{c}" y="{y - 13}">%{operand.index}</text>'
    )


def _levels(tape: Tape) -> tuple[dict[Tensor, int], dict[Tensor, int]]:
    """The level of each record, as far down as its users allow, and its depth."""
    earliest: dict[Tensor, int] = {}
    for record in tape:
        earliest[record] = max([earliest[x] + 1 for _, x in edges(tape, record)], default=0)
    levels: dict[Tensor, int] = {}
    used: dict[Tensor, int] = {}
    for record in reversed(tape):
        levels[record] = level = used.get(record, earliest[record])
        for _, x in edges(tape, record):
            used[x] = min(used.get(x, level), level - 1)
    return levels, earliest


@attrs.frozen
class _Row:
    """Records side by side, and their distance from those above."""

    records: list[Tensor]
    rise: int


def _places(
    tape: Tape, levels: dict[Tensor, int], depth: dict[Tensor, int]
) -> dict[Tensor, tuple[int, int]]:
    """The place of each record: above its users, if there is room."""
    users: dict[Tensor, list[Tensor]] = defaultdict(list)
    members: dict[int, list[Tensor]] = defaultdict(list)
    for record in tape:
        members[levels[record]].append(record)
        for _, x in edges(tape, record):
            users[x].append(record)
    left: dict[Tensor, float] = {}
    rows: list[_Row] = []
    for level in sorted(members, reverse=True):
        wanted = {x: _mean([left[user] for user in users[x]]) for x in members[level]}
        ordered = sorted(members[level], key=lambda x: (wanted[x], -depth[x], x.index))
        n_rows = -(-len(ordered) // _MOST)
        size = -(-len(ordered) // n_rows)
        for k in range(n_rows):
            row = ordered[k * size : (k + 1) * size]
            if n_rows > 1:
                # one below the other
                left |= {x: wanted[ordered[0]] + i * _STEP for i, x in enumerate(row)}
            else:
                left |= _beside_each_other(row, wanted, depth)
            # rows of the same level are closer
            rows.append(_Row(row, _RISE if k == n_rows - 1 else _HEIGHT + _GAP))
    shift = _GAP - min(left.values(), default=0.0)
    places: dict[Tensor, tuple[int, int]] = {}
    y = _GAP
    for row_ in reversed(rows):
        places |= {x: (math.floor(left[x] + shift), y) for x in row_.records}
        y += row_.rise
    return places


def _beside_each_other(
    row: list[Tensor], wanted: dict[Tensor, float], depth: dict[Tensor, int]
) -> dict[Tensor, float]:
    """Places near the wanted ones, in this order and without overlap.

    The longest chain is drawn straight down, and others make room for it.
    """
    k = max(range(len(row)), key=lambda i: depth[row[i]])
    found = {row[k]: wanted[row[k]]}
    for before, x in zip(row[k:], row[k + 1 :], strict=False):
        found[x] = max(wanted[x], found[before] + _STEP)
    for after, x in zip(row[k::-1], row[k - 1 :: -1] if k else [], strict=False):
        found[x] = min(wanted[x], found[after] - _STEP)
    return found


def _mean(numbers: list[float]) -> float:
    return sum(numbers) / len(numbers) if numbers else 0.0
