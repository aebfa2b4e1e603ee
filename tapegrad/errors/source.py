"""The caller's source as a tree: the code that is being evaluated, and the statement of a line."""

from __future__ import annotations

import ast
import linecache
import math
import sys
from collections.abc import Sequence
from contextlib import suppress
from functools import lru_cache
from itertools import islice
from types import CodeType
from typing import Any

from tapegrad.errors.lines import Place, users_frame

# a statement that is longer in one line is represented by one of its own lines
_LONGEST = 160


def users_code() -> list[ast.AST]:
    """Return the node of the user's source that is being evaluated, and the nodes around it.

    The innermost node is first. The list is empty if the source is not available, as for lines
    typed into an interpreter.
    """
    frame = users_frame(sys._getframe())
    if frame is None:
        return []
    code = frame.f_code
    line, end_line, column, end_column = next(islice(code.co_positions(), frame.f_lasti // 2, None))
    lines = linecache.getlines(code.co_filename, frame.f_globals)
    if column is None or not line or not end_line or len(lines) < end_line:
        return []  # so with python -X no_debug_ranges
    for source in (_block(lines, code, line, end_line), "".join(lines)):
        if nodes := _nodes(source, (line, column), (end_line, end_column)):
            # from Python 3.14 on, a loop stands for any() and all() of a generator expression, at
            # the place of the name
            is_callee = len(nodes) > 1 and getattr(nodes[1], "func", None) is nodes[0]
            return nodes[1:] if is_callee else nodes
    return []


def statement_at(place: Place) -> str:
    """Return the statement around a line, in one line; only the line if the statement is long."""
    source = "".join(linecache.getlines(place.file))
    around = _nodes(source, (place.number, math.inf), (place.number, 0))
    innermost = next((x for x in around if isinstance(x, ast.stmt)), None)
    if innermost is None or innermost.lineno == innermost.end_lineno:
        return place.text
    # only the first line of a statement that contains others
    text = ast.unparse(innermost).partition("\n")[0]
    return text if len(text) <= _LONGEST else place.text


def _nodes(source: str, start: Any, end: Any) -> list[ast.AST]:
    """Return the nodes of a source that begin by `start` and end at `end` or later.

    The innermost node is first. The list is empty if the text is no valid source.
    """
    with suppress(SyntaxError, ValueError, RecursionError):
        return _path_to(_parse(source), start, end)
    return []


_parse = lru_cache(4)(ast.parse)


def _block(lines: Sequence[str], code: CodeType, line: int, end_line: int) -> str:
    """Return the source of the function, or the statement of a module, around some lines.

    Blank lines above keep its line numbers. It may fail to parse, as where a string has lines
    without indentation. Parsing whole files takes much longer.
    """
    start = code.co_firstlineno - 1
    if code.co_name.startswith("<"):  # a module, or a part of a line
        start = next((i for i in range(line - 1, 0, -1) if _begins(lines[i], 0)), 0)
    depth = len(lines[start]) - len(lines[start].lstrip())
    end = next((i for i in range(end_line, len(lines)) if _begins(lines[i], depth)), len(lines))
    above = "\n" * (start - 1) + "with _:\n" if depth else "\n" * start
    return above + "".join(lines[start:end])


def _begins(line: str, depth: int) -> bool:
    """Return whether a statement that is indented no deeper begins on a line."""
    return bool(line[: depth + 1].strip(" \t\r\n)]}#"))


def _path_to(node: Any, start: Any, end: Any) -> list[ast.AST]:
    is_placed = isinstance(node, ast.expr | ast.stmt)
    begins_by = is_placed and (node.lineno, node.col_offset) <= start
    holds = begins_by and end <= (node.end_lineno, node.end_col_offset)
    # the decorators of a function stand outside of it
    is_apart = is_placed and not holds
    for child in getattr(node, "decorator_list", ()) if is_apart else ast.iter_child_nodes(node):
        inner = _path_to(child, start, end)
        if inner:
            return [*inner, node]
    return [node] if holds else []
