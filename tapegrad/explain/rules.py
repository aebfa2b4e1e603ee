"""The formulas of VJP rules, and the operands to which a record passes a gradient.

A formula is the source of the lambda in a rule's declaration.
"""

from __future__ import annotations

import ast
import inspect
import linecache
import re
from collections.abc import Iterable, Mapping
from functools import partial
from types import CodeType
from typing import Any

from tapegrad.core.primitive import Primitive, number_vjps
from tapegrad.core.tape import Tape
from tapegrad.core.tensor import Tensor
from tapegrad.ops.casting import stopped

_LAMBDA = (lambda: None).__name__


def formula(op: Primitive, i: int) -> str:
    """Return the source of an op's rule for operand i, such as ``g * x2``.

    A rule that is not a lambda is described by its docstring; a rule without docstring or source is
    named after its op.
    """
    rule = _unwrap_rule(op, i)
    code = getattr(rule, "__code__", None)
    text = ""
    if code is not None and rule.__name__ == _LAMBDA:
        text = _replace_helpers(_lambda_source(code), rule.__globals__)
    elif code is not None:
        text = _first_sentence(rule)
    return text or f"the rule of {op.name}"


def formula_names(op: Primitive, i: int) -> tuple[str, ...]:
    """Return the names of the cotangent, the output and each operand in a formula, or "".

    The result is empty if the formula is in words.
    """
    rule = _unwrap_rule(op, i)
    code = getattr(rule, "__code__", None)
    try:
        expression = ast.parse(formula(op, i), mode="eval")
    except SyntaxError:
        return ()
    if code is None:
        return ()
    used = {node.id for node in ast.walk(expression) if isinstance(node, ast.Name)}
    arguments = code.co_varnames[: code.co_argcount]
    return tuple(name if name in used else "" for name in arguments)


def _unwrap_rule(op: Primitive, i: int) -> Any:
    rule: Any = op.vjps[i] if isinstance(op.vjps, tuple) else op.vjps.rule
    while isinstance(rule, partial):
        rule = rule.func
    return inspect.unwrap(rule)


def _first_sentence(function: Any) -> str:
    """Return the first sentence of a docstring, to stand within another."""
    sentence = (function.__doc__ or "").strip().split("\n")[0].rstrip(".")
    return sentence[:1].lower() + sentence[1:]


def _replace_helpers(text: str, names: Mapping[str, Any]) -> str:
    """Replace the helpers of a formula by their names, or a single helper by its docstring."""
    call = re.fullmatch(r"(_\w+)\((\w+(, [\w.()]+)*)\)", text)
    words = _first_sentence(names[call[1]]) if call and call[1] in names else ""
    if words:
        return words
    return re.sub(r"(?<![\w.])_(?=[a-z]\w*\()", "", text)


def _lambda_source(code: CodeType) -> str:
    """Return the expression of a lambda, on one line; "" if its source cannot be read."""
    # the begin and the end of each instruction's source, each a line and a column
    positions: list[Any] = [x for x in code.co_positions() if None not in x and x[::2] != x[1::2]]
    if not positions:
        return ""
    first, begin = min([x[::2] for x in positions])
    last, end = max([x[1::2] for x in positions])
    # columns count bytes
    lines = [linecache.getline(code.co_filename, n).encode() for n in range(first, last + 1)]
    lines[-1] = lines[-1][:end]
    lines[0] = lines[0][begin:]
    text = b"".join(lines)
    try:
        return ast.unparse(ast.parse(b"(" + text + b")", mode="eval")) if text.strip() else ""
    except (SyntaxError, ValueError):
        return ""


def passing_positions(record: Tensor) -> frozenset[int]:
    """Return the positions of the operands to which a record passes a gradient."""
    if record.dtype.kind not in "fc":
        return frozenset()
    operands = record._operands
    rules = number_vjps(record.op.vjps_for(len(operands)))
    floating = {i for i, x in enumerate(operands) if type(x) is Tensor and x.dtype.kind in "fc"}
    return frozenset([i for i, _ in rules if i in floating])


def ancestors(tape: Tape, outputs: Iterable[Tensor]) -> set[Tensor]:
    """Return the outputs, and the records of a tape that they depend on."""
    reached = set(outputs)
    for record in reversed(tape):
        if record in reached:
            reached.update(x for x in record._operands if type(x) is Tensor)
    return reached


def check_cotangent_path(op: Primitive, tape: Tape, cotangents: Iterable[Tensor]) -> None:
    """Raise if an op's rules pass the cotangent through an op that passes no gradient.

    Tangents are derivatives of the rules with respect to the cotangent, and would silently be 0,
    which only `stop_gradient` intends.

    Parameters
    ----------
    op
        The op.
    tape
        The recording of its rules; the cotangent is its parameter.
    cotangents
        The results of the rules.
    """
    dependent, needed = set(tape.parameters), ancestors(tape, cotangents)
    for record in tape:
        reads = [i for i, x in enumerate(record._operands) if type(x) is Tensor and x in dependent]
        if not reads or record.dtype.kind not in "fc":
            continue
        dependent.add(record)
        passed = passing_positions(record)
        blocked = [i for i in reads if i not in passed]
        if blocked and record in needed and record.op is not stopped:
            name, other = op.name, record.op.name
            raise TypeError(
                f"{name} has no forward mode: its VJP rule passes the cotangent through {other}, "
                f"of which operand {blocked[0]} has no VJP rule; give {other} one, as in "
                f'examples/compute.md under "An op and its adjoint", or give {name} a jvp '
                "(tg.custom_op(vjps=..., jvp=...))"
            )
