"""The caller's line of source, for messages that quote it."""

from __future__ import annotations

import ast
import linecache
import re
import sys
from types import FrameType

import numpy as np


def users_place() -> tuple[str, int, str]:
    """The file, the number and the text of the caller's line that led here."""
    frame: FrameType | None = sys._getframe(1)
    while frame is not None:
        module = frame.f_globals.get("__name__", "")
        if not module.startswith(("tapegrad.", "numpy")):
            file, number = frame.f_code.co_filename, frame.f_lineno
            return file, number, linecache.getline(file, number).strip()
        frame = frame.f_back
    return "", 0, ""


def users_line() -> str:
    """The line of the caller's source that led here, for a message."""
    file, number, code = users_place()
    return f", at {file}:{number}: {code}" if file else ""


def instead_of_math() -> str:
    """What to write for functions of `math` on the caller's line, for a message."""
    names = dict.fromkeys(re.findall(r"\bmath\.(\w+)\(", users_place()[2]))
    return "".join([f"write np.{name} for math.{name}; " for name in names if hasattr(np, name)])


def augmented(symbol: str) -> str:
    """The caller's line with an in-place operator, written without it."""
    try:
        line = ast.parse(users_place()[2])
    except SyntaxError:  # a part of a longer statement
        line = ast.Module([], [])
    found = [node for node in ast.walk(line) if isinstance(node, ast.AugAssign)]
    if len(found) != 1 or f" {symbol} " not in ast.unparse(found[0]):
        return f"t = t {symbol[:-1]} v"
    (node,) = found
    target = ast.unparse(node.target)
    result = ast.BinOp(ast.parse(target, mode="eval").body, node.op, node.value)
    return f"{target} = {ast.unparse(result)}"
