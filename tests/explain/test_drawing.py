"""Tapes as graphs: a line for each operand, and a line meets no box except at its two ends."""

import itertools
import re

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import tapegrad as tg
from tapegrad.explain.show import drawing
from tapegrad.ops.casting import stopped

X = np.array([[0.5, -1.0], [2.0, 0.3], [0.1, 0.7]])


def residual(x, *weights):
    for w in weights:
        x = x + np.tanh(x @ w)
    return np.sum(x)


def attention(x, wq, wk, wv):
    q, k, v = x @ wq, x @ wk, x @ wv
    e = np.exp(q @ k.T - np.max(q @ k.T, axis=-1, keepdims=True))
    return np.sum((x + e / np.sum(e, axis=-1, keepdims=True) @ v) ** 2)


def loss_with_stop_gradient(w, x):
    y = w * x
    target = tg.stop_gradient(y)
    return np.sum((y - target) ** 2 + target * w)


def repeat_step(step, n):
    """Return a function that makes a step n times."""

    def fn(x):
        for _ in range(n):
            x = step(x)
        return x

    return fn


WEIGHT = np.eye(2) + 0.5
# a function, its arguments, and the most columns of boxes in its drawing
GRAPHS = [
    (repeat_step(np.sin, 6), (0.5,), 1),
    (repeat_step(lambda x: np.sin(x) * x, 150), (0.5,), 2),
    (residual, (X, *[WEIGHT] * 40), 2),
    (attention, (X, WEIGHT, WEIGHT, WEIGHT), 4),
    (loss_with_stop_gradient, (X, X), 3),
    (lambda *x: np.sum(np.stack(x)), tuple(np.arange(100.0)), 8),
    (lambda *x: sum(np.sin(p) for p in x), tuple(np.arange(120.0)), 4),
]


def record_tape(fn, args):
    return tg.record(fn)(*args)[1]


def operand_uses(tape):
    all_uses = [(x, record, i) for record in tape for i, x in enumerate(record.operands)]
    return [use for use in all_uses if isinstance(use[0], tg.Tensor)]


def check_layout(tape):
    """Check that boxes are apart and lines meet no box except at their ends; return the segments."""
    found = drawing.layout(tape)
    boxes = {
        record: (x, y, x + drawing.WIDTH, y + drawing.HEIGHT)
        for record, (x, y) in found.boxes.items()
    }
    assert set(boxes) == set(tape)
    for a, b in itertools.combinations(sorted(boxes.values(), key=lambda box: box[1]), 2):
        # one below the other, or side by side
        assert b[1] - a[3] >= 20 or (a[1] == b[1] and abs(a[0] - b[0]) >= drawing.WIDTH + 20)
    for x0, y0, x1, y1 in boxes.values():
        assert min(x0, y0) > 0
        assert x1 < found.width
        assert y1 < found.height
    assert set(found.lines) == {(record, i) for _, record, i in operand_uses(tape)}
    segments = []
    for x, record, i in operand_uses(tape):
        points = found.lines[record, i]
        (x0, y0), (x1, y1) = points[0], points[-1]
        assert y0 == boxes[x][3]
        assert boxes[x][0] < x0 < boxes[x][2]
        assert y1 == boxes[record][1]
        assert boxes[record][0] < x1 < boxes[record][2]
        for k, ((a, b), (c, d)) in enumerate(itertools.pairwise(points)):
            assert (a == c) != (b == d)
            left, right, up, down = min(a, c), max(a, c), min(b, d), max(b, d)
            assert 0 < left <= right < found.width
            ends = {x} if k == 0 else set()
            ends |= {record} if k == len(points) - 2 else set()
            for other, (p, q, r, s) in boxes.items():
                if other not in ends:
                    assert right < p - 4 or left > r + 4 or down < q - 4 or up > s + 4
            span, at = ((up, down), a) if a == c else ((left, right), b)
            segments.append((a == c, span, at, x, record))
    return segments


@pytest.mark.parametrize(("fn", "args", "columns"), GRAPHS)
def test_each_operand_is_a_line_around_boxes(fn, args, columns):
    tape = record_tape(fn, args)
    check_layout(tape)
    found = drawing.layout(tape)
    assert found.width <= columns * 180
    rows = [y for _, y in found.boxes.values()]
    assert max(rows.count(y) for y in rows) <= 8


def random_tape(choices):
    tape, x = tg.Tape().parameter(0.5)
    records = [x]
    for kind, a, b in choices:
        x, y = records[a % len(records)], records[-1 - b % len(records)]
        if kind == "parameter":
            tape, new = tape.parameter(0.5)
        elif kind == "one":
            tape, new = tape.write(tg.sin, x)
        elif kind == "two":
            tape, new = tape.write(tg.multiply, x, y)
        else:
            tape, new = tape.write(tg.stack, [x, *records[-1 - a % len(records) :]])
            tape, new = tape.write(tg.sum, new)
        records.append(new)
    return tape


KINDS = st.sampled_from(["parameter", "one", "two", "two", "all"])
RECORDS = st.tuples(KINDS, st.integers(0, 99), st.integers(0, 4))


@given(st.lists(RECORDS, max_size=30))
def test_lines_overlap_only_with_a_common_end(choices):
    segments_by_line = {}
    for is_vertical, (first, last), at, x, record in check_layout(random_tape(choices)):
        segments_by_line.setdefault((is_vertical, at), []).append((first, last, x, record))
    for found in segments_by_line.values():
        for (a, b, x, record), (c, d, y, other) in itertools.combinations(found, 2):
            assert min(b, d) <= max(a, c) or x is y or record is other


def test_svg_paths_are_the_lines_dashed_without_gradient():
    tape = record_tape(loss_with_stop_gradient, (X, X))
    svg = drawing.draw_svg(tape)
    for (record, i), points in drawing.layout(tape).lines.items():
        (path,) = re.findall(rf'<path id="edge-{record.index}-{i}"[^>]* d="(.*?)"', svg)
        # the control point of a rounded corner is the corner
        corners = re.findall(r"(?:^M|Q|L(?=[^L]*$))(\d+) (\d+)", path)
        assert [(int(x), int(y)) for x, y in corners] == points
    dashed = re.findall(r'<path id="edge-(\d+)-0" data-stops', svg)
    assert [tape[int(n)].op for n in dashed] == [stopped]
    assert "<svg" in drawing.draw_svg(tg.Tape())


def test_graph_has_node_for_each_record_and_edge_for_each_operand():
    tape = record_tape(attention, (X, WEIGHT, WEIGHT, WEIGHT))
    edges = [(x.index, record.index) for x, record, _ in operand_uses(tape)]
    for text, pattern in (
        (tg.show.mermaid(tape), r"n(\d+) (?:-->|-\.->) n(\d+)"),
        (tg.show.dot(tape), r"n(\d+) -> n(\d+)"),
    ):
        found = [(int(a), int(b)) for a, b in re.findall(pattern, text)]
        assert found == edges
        assert sum(f"%{r.index} " in text for r in tape) == len(tape)
