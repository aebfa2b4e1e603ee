"""What notebooks show: small, static HTML."""

from __future__ import annotations

from typing import Any

MOST_LINES = 40


def in_html(text: str) -> str:
    """Text as it is, its first lines."""
    lines = text.split("\n")
    rest = len(lines) - MOST_LINES
    more = [f"... and {rest} more lines"] if rest > 0 else []
    return f"<pre>{_escaped(chr(10).join(lines[:MOST_LINES] + more))}</pre>"


def _escaped(text: str) -> str:
    # here, because it takes long to import
    from html import escape

    return escape(text)


class Printed:
    """What a notebook shows as ``print`` does."""

    __slots__ = ()

    def _repr_html_(self) -> str:
        return in_html(str(self))


class Text(str):
    """A string of several lines, which the prompt and a notebook show as such."""

    __slots__ = ()

    def __repr__(self) -> str:
        return str.__str__(self)

    def _repr_html_(self) -> str:
        return in_html(self)


def rows_in_html(head: Any, rows: Any, rest: int) -> str:
    """A table, and how many rows more there are."""
    body = [
        f"<tr>{''.join(f'<td><code>{_escaped(cell)}</code></td>' for cell in row)}</tr>"
        for row in rows
    ]
    top = "".join(f"<th>{_escaped(cell)}</th>" for cell in head)
    more = f"<p>... and {rest} more</p>" if rest > 0 else ""
    return f"<table><thead><tr>{top}</tr></thead><tbody>{''.join(body)}</tbody></table>{more}"
