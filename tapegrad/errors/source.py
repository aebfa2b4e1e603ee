"""The caller's source: the code that is being evaluated, as a tree, for messages."""

from __future__ import annotations

import ast
import linecache
import sys
from collections.abc import Sequence
from contextlib import suppress
from itertools import islice
from types import CodeType
from typing import Any

from tapegrad.errors.lines import users_frame


def users_code() -> list[ast.AST]:
    """The node of the caller's source that is being evaluated, and the nodes around it, outwards.

    Empty if the source is not available, as for lines typed into an interpreter.
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
        with suppress(SyntaxError, ValueError, RecursionError):
            if path := _path(ast.parse(source), (line, column), (end_line, end_column)):
                return path
    return []


def _block(lines: Sequence[str], code: CodeType, line: int, end_line: int) -> str:
    """The function around some lines of a file, or the statement of a module, where it stands.

    It need not parse, as where a string has lines without indentation. To parse whole files takes
    much longer.
    """
    start = code.co_firstlineno - 1
    if code.co_name.startswith("<"):  # a module, or a part of a line
        start = next((i for i in range(line - 1, 0, -1) if _begins(lines[i], 0)), 0)
    depth = len(lines[start]) - len(lines[start].lstrip())
    end = next((i for i in range(end_line, len(lines)) if _begins(lines[i], depth)), len(lines))
    above = "\n" * (start - 1) + "with _:\n" if depth else "\n" * start
    return above + "".join(lines[start:end])


def _begins(line: str, depth: int) -> bool:
    """Whether a statement that is indented no deeper begins on a line."""
    return bool(line[: depth + 1].strip(" \t\r\n)]}#"))


def _path(node: Any, start: tuple[Any, Any], end: tuple[Any, Any]) -> list[ast.AST]:
    """The nodes that contain a span of the source, the innermost first."""
    holds = isinstance(node, ast.expr | ast.stmt) and (
        (node.lineno, node.col_offset) <= start
        and end <= (node.end_lineno or 0, node.end_col_offset or 0)
    )
    # the decorators of a function stand outside of it
    if holds or not isinstance(node, ast.expr):
        for child in ast.iter_child_nodes(node):
            inner = _path(child, start, end)
            if inner:
                return [*inner, node]
    return [node] if holds else []
