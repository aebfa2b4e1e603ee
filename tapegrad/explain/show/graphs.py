"""A tape as a graph, for Mermaid and for Graphviz."""

from __future__ import annotations

from tapegrad.core.cotangents import check_tape
from tapegrad.core.tape import Tape
from tapegrad.core.tensor import Tensor
from tapegrad.core.writing import PARAMETER
from tapegrad.explain.rules import passes_gradient
from tapegrad.face.text import printable


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
    check_tape(tape)
    lines = ["flowchart TD"]
    for record in tape:
        # Mermaid's codes for characters with a special meaning in a label
        text = "".join(
            c if c.isalnum() or c in " %()_.,-" else f"#{ord(c)};" for c in _said(record)
        )
        shape = f'(["{text}"])' if record.op is PARAMETER else f'["{text}"]'
        lines.append(f"    n{record.index}{shape}")
        for i, x in edges(tape, record):
            arrow = "-->" if passes_gradient(record, i) else "-.->"
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
    check_tape(tape)
    lines = ["digraph tape {", "    node [shape=box, fontname=monospace]"]
    for record in tape:
        text = _said(record).replace("\\", "\\\\").replace('"', '\\"')
        shape = ", shape=ellipse" if record.op is PARAMETER else ""
        lines.append(f'    n{record.index} [label="{text}"{shape}]')
        for i, x in edges(tape, record):
            style = "" if passes_gradient(record, i) else " [style=dashed]"
            lines.append(f"    n{x.index} -> n{record.index}{style}")
    return "\n".join([*lines, "}"])


def edges(tape: Tape, record: Tensor) -> list[tuple[int, Tensor]]:
    """The operands that stand on the tape, with their positions."""
    return [
        (i, x)
        for i, x in enumerate(record._operands)
        if type(x) is Tensor and x.index > tape.start.index
    ]


def _said(record: Tensor) -> str:
    return f"%{record.index} {printable(record.name or record.op.name)} {record.shape}"
