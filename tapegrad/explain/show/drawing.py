"""Draw a tape as a graph, in SVG, for Mermaid or for Graphviz; and plot losses.

In the SVG, records are boxes in rows, each below its operands, with lines between. A line runs
horizontally only between rows, and vertically only beside a column or through empty cells, so that
it touches only the boxes at its ends. The lines from one record share a trunk, and so do many lines
to one record; other lines have separate tracks.
"""

from __future__ import annotations

import os
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from html import escape
from itertools import pairwise
from typing import Any

import attrs

from tapegrad.core.tape import Tape
from tapegrad.core.tensor import Tensor
from tapegrad.core.writing import PARAMETER
from tapegrad.explain.rules import passing_positions
from tapegrad.explain.steps import record_title
from tapegrad.transforms.reverse import check_tape

WIDTH, HEIGHT = 128, 28  # the sides of a box
_MAX_PER_ROW = 8  # boxes in a row, and lines that enter a box one by one
_MARGIN, _MIN_GAP, _TRACK = 12, 24, 9  # around a box, between boxes, from line to line
_PAGE_HEIGHT = 2000  # the largest height of a graph that is legible on one printed page
_PORT_GAP, _CORNER = 32, 6  # between the ends of two operands' lines; the radius of a corner

Point = tuple[int, int]
Use = tuple[Tensor, int]  # a record and the position of an operand
Edge = tuple[Tensor, Tensor, int]  # an operand, its user, and its position there


@attrs.frozen
class Layout:
    """The positions of the boxes and lines of a tape.

    Attributes
    ----------
    boxes
        The upper left corner of each record's box.
    lines
        The corners of each line, by the record at its end and the operand's position.
    width, height
        The size of the graph.
    """

    boxes: dict[Tensor, Point]
    lines: dict[Use, list[Point]]
    width: int
    height: int


def draw_svg(tape: Tape) -> str:
    """Draw a tape as SVG, in few columns even for many records."""
    places = layout(tape)
    lines, nodes = [], []
    for record in tape:
        n, (x, y) = record.index, places.boxes[record]
        passed = passing_positions(record)
        for _, _, i in _edges(tape, record):
            stops = "" if i in passed else ' data-stops=""'
            path = _svg_path(places.lines[record, i])
            lines.append(f'<path id="edge-{n}-{i}"{stops} d="{path}"/>')
        text = record_title(record)
        brief = text if len(text) <= 16 else f"{text[:15]}…"
        corner = HEIGHT // 2 if record.op is PARAMETER else 4
        nodes.append(
            f'<g id="node-{n}"><title>{escape(text)} {record.shape}</title>'
            f'<rect x="{x}" y="{y}" width="{WIDTH}" height="{HEIGHT}" rx="{corner}"/>'
            f'<text x="{x + WIDTH // 2}" y="{y + 18}">{escape(brief)}</text></g>'
        )
    fits = ' class="page"' if places.height < _PAGE_HEIGHT else ""
    return (
        f'<svg role="img" aria-label="The graph of the table"{fits} '
        f'style="min-width: {places.width * 0.65:.0f}px" width="{places.width}" '
        f'height="{places.height}" viewBox="0 0 {places.width} {places.height}">'
        f'<g id="edges">{"".join(lines)}</g>{"".join(nodes)}</svg>'
    )


def _svg_path(points: Sequence[Point]) -> str:
    """Return the SVG path of a line with rounded corners."""
    text = [f"M{points[0][0]} {points[0][1]}"]
    for (x0, y0), (x, y), (x1, y1) in zip(points, points[1:], points[2:], strict=False):
        before, after = abs(x - x0) + abs(y - y0), abs(x1 - x) + abs(y1 - y)
        r = min(_CORNER, before // 2, after // 2)
        text.append(f"L{x - r * _sign(x - x0)} {y - r * _sign(y - y0)}")
        text.append(f"Q{x} {y} {x + r * _sign(x1 - x)} {y + r * _sign(y1 - y)}")
    text.append(f"L{points[-1][0]} {points[-1][1]}")
    return "".join(text)


def _sign(x: int) -> int:
    return (x > 0) - (x < 0)


def layout(tape: Tape) -> Layout:
    """Compute the layout of a tape, which is deterministic."""
    plan = _Plan(tape)
    cells, nets = plan.cells, plan.group_nets()
    # the columns, from the left
    beside = sorted([net for net in nets if net.side], key=lambda net: net.last - net.first)
    tracks, taken = _assign_tracks(
        (net, (net.column, net.side), net.first, net.last) for net in beside
    )
    left, right = [], 0
    for column in range(1 + max([c for _, c in cells.values()], default=-1)):
        left.append(right + _gap_size(taken[column - 1, 1] + taken[column, -1]))
        right = left[-1] + WIDTH
    right += _gap_size(taken[len(left) - 1, 1])
    exits = plan.find_exits()
    start = {x: left[column] + exits[x] for x, (_, column) in cells.items()}
    end = {(user, i): left[cells[user][1]] + at for (user, i), at in plan.entries.items()}
    trunk = {
        net: left[net.column] + WIDTH * (net.side > 0) + net.side * (_MARGIN + _TRACK * tracks[net])
        if net.side
        else start[net.edges[0][0]]
        for net in nets
    }
    # the rows, from above
    across, needed = _assign_gap_tracks(nets, cells, start, end, trunk)
    top, bottom = [], 0
    for row in range(1 + max([r for r, _ in cells.values()], default=-1)):
        top.append(bottom + _gap_size(needed[row - 1]))
        bottom = top[-1] + HEIGHT
    lines: dict[Use, list[Point]] = {}
    for x, user, i in plan.edges:
        if plan.below.get(x) is user:
            x_end = end[user, i]
            lines[user, i] = [(x_end, top[cells[x][0]] + HEIGHT), (x_end, top[cells[user][0]])]
    for net in nets:
        for x, user, i in net.edges:
            first, last = cells[x][0], cells[user][0] - 1
            y = top[first] + HEIGHT + _MARGIN + _TRACK * across[first, net]
            z = top[last] + HEIGHT + _MARGIN + _TRACK * across[last, net]
            points = [(start[x], top[first] + HEIGHT), (start[x], y)]
            if first < last:
                points += [(trunk[net], y), (trunk[net], z)]
            points += [(end[user, i], z), (end[user, i], top[last + 1])]
            lines[user, i] = _corners(points)
    boxes = {x: (left[column], top[row]) for x, (row, column) in cells.items()}
    return Layout(boxes, lines, right, bottom + _MIN_GAP)


def _gap_size(n_lines: int) -> int:
    """Return the distance of boxes with lines between them."""
    return max(_MIN_GAP, 2 * _MARGIN + _TRACK * (n_lines - 1))


def _corners(points: Sequence[Point]) -> list[Point]:
    """Return a line's ends and turns."""
    corners = [points[0]]
    for before, here, after in zip(points, points[1:], points[2:], strict=False):
        is_straight = before[0] == here[0] == after[0] or before[1] == here[1] == after[1]
        if here != corners[-1] and not is_straight:
            corners.append(here)
    return [*corners, points[-1]]


# --- boxes --------------------------------------------------------------------------------------


def _place_boxes(tape: Tape) -> dict[Tensor, Point]:
    """Assign a row and a column to each record: above its first user, in the same column."""
    depth: dict[Tensor, int] = {}
    users: dict[Tensor, list[Use]] = defaultdict(list)
    for record in tape:
        depth[record] = max([depth[x] + 1 for x, _, _ in _edges(tape, record)], default=0)
        for x, _, i in _edges(tape, record):
            users[x].append((record, i))
    cells: dict[Tensor, Point] = {}
    for row, members in enumerate(_assign_rows(tape, depth, users)):
        wanted = {x: _wanted_column(users[x], cells) for x in members}
        ordered = sorted(wanted, key=lambda x: (wanted[x], -depth[x], x.index))
        fixed = max(range(len(ordered)), key=lambda i: depth[ordered[i]], default=0)
        columns = _spread_columns([wanted[x][0] for x in ordered], fixed)
        cells |= {x: (-row, column) for x, column in zip(ordered, columns, strict=True)}
    top = min([row for row, _ in cells.values()], default=0)
    number = {c: k for k, c in enumerate(sorted({c for _, c in cells.values()}))}
    return {x: (row - top, number[c]) for x, (row, c) in cells.items()}


def _assign_rows(
    tape: Tape, depth: Mapping[Tensor, int], users: Mapping[Tensor, Sequence[Use]]
) -> list[list[Tensor]]:
    """Assign records to rows, from below: each just above its users, or in the next free row.

    Branches are followed to their ends one by one, so that few values have long lines.
    """
    last = max(depth.values(), default=0)
    rows: list[list[Tensor]] = [[] for _ in range(last + 1)]
    row_of: dict[Tensor, int] = {}
    left = {record: len(users[record]) for record in tape}
    ready = [record for record in tape if not left[record]]
    while ready:
        record = ready.pop()
        row = max([row_of[user] + 1 for user, _ in users[record]], default=last - depth[record])
        while row < len(rows) and len(rows[row]) == _MAX_PER_ROW:
            row += 1
        if row == len(rows):
            rows.append([])
        rows[row].append(record)
        row_of[record] = row
        for x, _, _ in sorted(_edges(tape, record), key=lambda edge: depth[edge[0]]):
            left[x] -= 1
            if not left[x]:
                ready.append(x)
    return rows


def _wanted_column(users: Sequence[Use], cells: Mapping[Tensor, Point]) -> tuple[int, float]:
    """Return the column of the nearest users, and the mean position among their operands."""
    if not users:
        return 0, 0.0
    nearest = min(cells[user][0] for user, _ in users)
    near = [(user, i) for user, i in users if cells[user][0] == nearest]
    column = round(sum(cells[user][1] for user, _ in near) / len(near))
    return column, sum(i for _, i in near) / len(near)


def _spread_columns(wanted: Sequence[int], fixed: int) -> list[int]:
    """Return distinct columns near the wanted ones, in order; one is fixed if possible.

    They are from -3 to 4, so that there are at most `_MAX_PER_ROW`.
    """
    first, last = -(_MAX_PER_ROW // 2) + 1, _MAX_PER_ROW // 2 + 1 - len(wanted)
    columns = [min(max(column, first + i), last + i) for i, column in enumerate(wanted)]
    for i in range(fixed + 1, len(columns)):
        columns[i] = max(columns[i], columns[i - 1] + 1)
    for i in reversed(range(fixed)):
        columns[i] = min(columns[i], columns[i + 1] - 1)
    return columns


# --- lines --------------------------------------------------------------------------------------


@attrs.frozen(eq=False)
class _Net:
    """Lines with a common trunk, from the gap below row ``first`` to the gap below ``last``.

    The trunk is on the right of a column if ``side`` is 1, on its left if it is -1; else it goes
    straight down from its record.
    """

    edges: list[Edge]
    first: int
    last: int
    column: int
    side: int


class _Plan:
    """A tape's boxes in rows and columns, and the ends of the lines between them.

    Attributes
    ----------
    edges
        All uses of records.
    cells
        The row and the column of each record.
    below
        The next record down the column of each; a line to it is straight.
    entries
        The offset from a box's left side at which each operand's line enters it.
    """

    def __init__(self, tape: Tape) -> None:
        self.edges = [edge for record in tape for edge in _edges(tape, record)]
        self.cells = _place_boxes(tape)
        columns: dict[int, list[Tensor]] = defaultdict(list)
        for x in sorted(self.cells, key=self.cells.__getitem__):
            columns[self.cells[x][1]].append(x)
        self.below = {x: y for column in columns.values() for x, y in pairwise(column)}
        self.entries: dict[Use, int] = {}
        for user in tape:
            order = [i for _, _, i in _edges(tape, user)]
            apart = min(_PORT_GAP, (WIDTH - 2 * _CORNER) / max(1, len(order)))
            for k, i in enumerate(order):
                self.entries[user, i] = round(WIDTH / 2 + apart * (k - (len(order) - 1) / 2))

    def find_exits(self) -> dict[Tensor, int]:
        """Return the offsets at which trunks leave their boxes: straight down, or at a free one."""
        taken: dict[Tensor, list[int]] = defaultdict(list)
        straight: dict[Tensor, int] = {}
        for x, user, i in self.edges:
            taken[user].append(self.entries[user, i])
            if self.below.get(x) is user:
                straight.setdefault(x, self.entries[user, i])
        free = {
            x: next(at for at in (*range(WIDTH // 2, WIDTH, 8), 4) if at not in taken[below])
            for x, below in self.below.items()
        }
        return defaultdict(lambda: WIDTH // 2, free | straight)

    def group_nets(self) -> list[_Net]:
        """Group the lines that are not straight by their trunks."""
        bent = [(x, user, i) for x, user, i in self.edges if self.below.get(x) is not user]
        uses = Counter(x for x, _, _ in self.edges)
        once = Counter(user for x, user, _ in bent if uses[x] == 1)
        groups: dict[tuple[Tensor, bool], list[Edge]] = defaultdict(list)
        for x, user, i in bent:
            many = uses[x] == 1 and once[user] > _MAX_PER_ROW
            groups[user if many else x, many].append((x, user, i))
        return [self._make_net(hub, group) for (hub, _), group in groups.items()]

    def _make_net(self, hub: Tensor, group: list[Edge]) -> _Net:
        cells, below = self.cells, self.below.get(hub)
        first = min(cells[x][0] for x, _, _ in group)
        last = max(cells[user][0] for _, user, _ in group) - 1
        column = cells[hub][1]
        is_free = hub is group[0][0] and (below is None or cells[below][0] > last)
        if first == last or is_free:
            return _Net(group, first, last, column, 0)
        # towards the end that is furthest away
        x, user, i = max(group, key=lambda edge: cells[edge[1]][0] - cells[edge[0]][0])
        beside = cells[user if hub is x else x][1] - column or self.entries[user, i] - WIDTH // 2
        return _Net(group, first, last, column, 1 if beside >= 0 else -1)


def _assign_gap_tracks(
    nets: Sequence[_Net],
    cells: Mapping[Tensor, Point],
    start: Mapping[Tensor, int],
    end: Mapping[Use, int],
    trunk: Mapping[_Net, int],
) -> tuple[dict[tuple[int, _Net], int], Counter[int]]:
    """Assign tracks to nets in the gaps that they cross, and count the tracks of each gap."""
    reached: dict[tuple[int, _Net], set[int]] = defaultdict(set)
    for net in nets:
        for x, user, i in net.edges:
            first, last = cells[x][0], cells[user][0] - 1
            turns = {trunk[net]} if first < last else set()
            reached[first, net] |= {start[x]} | turns
            reached[last, net] |= {end[user, i]} | turns
    spans = {key: (min(xs), max(xs)) for key, xs in reached.items()}
    longer = sorted(spans.items(), key=lambda item: item[1][1] - item[1][0])
    packed, needed = _assign_tracks(
        (key, key[0], a // 4, b // 4 + 1) for key, (a, b) in longer if a < b
    )
    return dict.fromkeys(reached, 0) | packed, needed


def _assign_tracks(
    spans: Iterable[tuple[Any, Any, int, int]],
) -> tuple[dict[Any, int], Counter[Any]]:
    """Assign the first free track to each span, and count the tracks of each group.

    A span has a key, a group, its first and its last position. Inner spans come first, and so get
    nearer tracks.
    """
    # a track is an integer with a bit for each taken position
    tracks: dict[Any, list[int]] = defaultdict(list)
    track_of: dict[Any, int] = {}
    for key, group, first, last in spans:
        wanted, taken = ((1 << (last - first + 1)) - 1) << first, tracks[group]
        k = next((k for k, places in enumerate(taken) if not places & wanted), len(taken))
        taken += [0] * (k == len(taken))
        taken[k] |= wanted
        track_of[key] = k
    return track_of, Counter({group: len(of_group) for group, of_group in tracks.items()})


# --- graphs for Mermaid and Graphviz ------------------------------------------------------------


def mermaid(tape: Tape) -> str:
    """A tape as a Mermaid flowchart, which GitHub draws.

    Dotted arrows pass no gradient back.

    Examples
    --------
    >>> import tapegrad as tg
    >>> output, tape = tg.record(lambda x: x * tg.round(x))(np.ones(()))
    >>> print(tg.show.mermaid(tape))
    flowchart TD
        n0(["%0 x ()"])
        n1["%1 round ()"]
        n0 -.-> n1
        n2["%2 multiply ()"]
        n0 --> n2
        n1 --> n2
    """

    def node(label: str, is_parameter: bool) -> str:
        # Mermaid's codes for characters with a special meaning in a label
        text = "".join(c if c.isalnum() or c in " %()_.,-" else f"#{ord(c)};" for c in label)
        return f'(["{text}"])' if is_parameter else f'["{text}"]'

    lines = _graph_lines(tape, node, ("{} -.-> {}", "{} --> {}"))
    return "\n".join(["flowchart TD", *lines])


def dot(tape: Tape) -> str:
    r"""A tape in the language of Graphviz.

    Dashed arrows pass no gradient back.

    Examples
    --------
    >>> import tapegrad as tg
    >>> output, tape = tg.record(lambda x: x * tg.round(x))(np.ones(()))
    >>> print(tg.show.dot(tape))
    digraph tape {
        node [shape=box, fontname=monospace]
        n0 [label="%0 x ()", shape=ellipse]
        n1 [label="%1 round ()"]
        n0 -> n1 [style=dashed]
        n2 [label="%2 multiply ()"]
        n0 -> n2
        n1 -> n2
    }
    """

    def node(label: str, is_parameter: bool) -> str:
        text = label.replace("\\", "\\\\").replace('"', '\\"')
        return f' [label="{text}"{", shape=ellipse" if is_parameter else ""}]'

    lines = _graph_lines(tape, node, ("{} -> {} [style=dashed]", "{} -> {}"))
    return "\n".join(["digraph tape {", "    node [shape=box, fontname=monospace]", *lines, "}"])


def _graph_lines(
    tape: Tape, node: Callable[[str, bool], str], arrows: tuple[str, str]
) -> Iterator[str]:
    """Yield the nodes of a graph in a language, each with the arrows that lead to it."""
    check_tape(tape)
    for record in tape:
        shape = node(f"{record_title(record)} {record.shape}", record.op is PARAMETER)
        yield f"    n{record.index}{shape}"
        passed = passing_positions(record)
        for x, _, i in _edges(tape, record):
            yield "    " + arrows[i in passed].format(f"n{x.index}", f"n{record.index}")


def _edges(tape: Tape, record: Tensor) -> Iterator[Edge]:
    """Yield an edge for each operand on the tape."""
    for i, x in enumerate(record._operands):
        if type(x) is Tensor and x.index > tape.start.index:
            yield x, record, i


# --- losses --------------------------------------------------------------------------------------


def loss(losses: Sequence[Any], path: str | os.PathLike[str]) -> None:
    """Plot a loss over the steps, to a file.

    Parameters
    ----------
    losses
        A number for each step.
    path
        The file; its extension sets the format, such as ``.png`` or ``.svg``.

    Raises
    ------
    ImportError
        If matplotlib is not installed.

    Examples
    --------
    Where matplotlib is installed::

        tg.show.loss([0.9, 0.4, 0.2], "loss.png")
    """
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise ImportError(
            "tg.show.loss draws with matplotlib: pip install matplotlib, or tapegrad[plot]"
        ) from error
    figure = Figure(figsize=(6, 4), layout="constrained")
    axes = figure.subplots()
    axes.plot([float(x) for x in losses])
    axes.set_xlabel("step")
    axes.set_ylabel("loss")
    figure.savefig(path)
