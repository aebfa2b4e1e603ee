"""A tape as a graph: for Mermaid, for Graphviz, and drawn."""

from __future__ import annotations

from collections import defaultdict
from html import escape

from tapegrad.core.reach import passes
from tapegrad.core.tape import PARAMETER, Tape
from tapegrad.core.tensor import Tensor
from tapegrad.face.text import printable

_WIDTH, _HEIGHT, _GAP, _RISE = 128, 26, 16, 56  # of a node, and between them


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
    lines = ["flowchart TD"]
    for record in tape:
        # the codes that Mermaid reads for what means something in a label
        text = "".join(
            c if c.isalnum() or c in " %()_.,-" else f"#{ord(c)};" for c in _said(record)
        )
        shape = f'(["{text}"])' if record.op is PARAMETER else f'["{text}"]'
        lines.append(f"    n{record.index}{shape}")
        for i, x in _edges(tape, record):
            arrow = "-->" if passes(record, i) else "-.->"
            lines.append(f"    n{x.index} {arrow} n{record.index}")
    return "\n".join(lines)


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
    lines = ["digraph tape {", "    node [shape=box, fontname=monospace]"]
    for record in tape:
        text = _said(record).replace("\\", "\\\\").replace('"', '\\"')
        shape = ", shape=ellipse" if record.op is PARAMETER else ""
        lines.append(f'    n{record.index} [label="{text}"{shape}]')
        for i, x in _edges(tape, record):
            style = "" if passes(record, i) else " [style=dashed]"
            lines.append(f"    n{x.index} -> n{record.index}{style}")
    return "\n".join([*lines, "}"])


def drawing(tape: Tape) -> str:
    """A tape as SVG: each record below those that it is made of."""
    depth: dict[Tensor, int] = {}
    layers: dict[int, list[Tensor]] = defaultdict(list)
    for record in tape:
        depth[record] = max([depth[x] + 1 for _, x in _edges(tape, record)], default=0)
        layers[depth[record]].append(record)
    places = {
        record: (_GAP + i * (_WIDTH + _GAP), _GAP + level * _RISE)
        for level, layer in layers.items()
        for i, record in enumerate(layer)
    }
    edges, nodes = [], []
    for record, (x, y) in places.items():
        n = record.index
        for i, operand in _edges(tape, record):
            left, top = places[operand]
            a, b = left + _WIDTH // 2, top + _HEIGHT
            c = x + _WIDTH // 2
            edges.append(
                f'<path id="edge-{n}-{i}" d="M{a} {b}C{a} {b + 20} {c} {y - 20} {c} {y}"/>'
            )
        text = f"%{n} {printable(record.name or record.op.name)}"
        text = text if len(text) <= 16 else f"{text[:15]}…"
        corner = _HEIGHT // 2 if record.op is PARAMETER else 3
        nodes.append(
            f'<g id="node-{n}"><rect x="{x}" y="{y}" width="{_WIDTH}" height="{_HEIGHT}" '
            f'rx="{corner}"/><text x="{x + 8}" y="{y + 17}">{escape(text)}</text></g>'
        )
    width = _GAP + max([len(layer) for layer in layers.values()], default=0) * (_WIDTH + _GAP)
    height = _GAP + len(layers) * _RISE
    return (
        f'<svg role="img" aria-label="The graph of the table" width="{width}" height="{height}">'
        f"{''.join(edges)}{''.join(nodes)}</svg>"
    )


def _edges(tape: Tape, record: Tensor) -> list[tuple[int, Tensor]]:
    """The operands that stand on the tape, with their positions."""
    return [
        (i, x)
        for i, x in enumerate(record.operands)
        if type(x) is Tensor and x.index > tape.start.index
    ]


def _said(record: Tensor) -> str:
    return f"%{record.index} {printable(record.name or record.op.name)} {record.shape}"
