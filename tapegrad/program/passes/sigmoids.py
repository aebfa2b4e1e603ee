"""A sigmoid in a loop, with its slope in the loop that goes back, from one exponential."""

from __future__ import annotations

from typing import Any

import attrs
import numpy as np

from tapegrad.declare.parts import PART
from tapegrad.ops.activation import sigmoid
from tapegrad.ops.arithmetic import divide, multiply, negative
from tapegrad.ops.logic import less
from tapegrad.program.builder import Builder
from tapegrad.program.control.body import input_of
from tapegrad.program.control.loop import Loop
from tapegrad.program.control.ops import LOOPS
from tapegrad.program.ir import Instruction, Ref, content
from tapegrad.program.passes.composites import written_out
from tapegrad.program.passes.fold import either_way
from tapegrad.program.program import improvement, rebuilt


@attrs.frozen
class _Slope:
    """``y * sigmoid(-x)`` in a step, at a place; y is the sigmoid at a place of another loop."""

    at: int
    y: Ref
    loop: Ref
    source: int


@improvement(complex=True)
def join_sigmoids(builder: Builder) -> None:
    """``y * sigmoid(-x)`` becomes ``y / s`` in a loop that reads ``s = 1 + exp(x)`` from another.

    Fires on a cell with gates by `scan`, with its gradient; `fold` does it where both are in one
    program.
    """
    slopes: dict[int, list[_Slope]] = {}
    s_of: dict[Ref, dict[int, int]] = {}
    for i in builder.of_ops(LOOPS):
        # a loop that returns s has another body, in which no slope keeps its place
        if builder.refs[i] not in s_of:
            inside = _slopes(builder, builder.instructions[i])
            slopes[i] = [x for x in inside if not slopes.get(x.loop.index)]
            for x in slopes[i]:
                s_of.setdefault(x.loop, {})[x.source] = -1
    for ref, places in s_of.items():
        _return_s(builder, ref, places)

    def visit(builder: Builder, instruction: Instruction) -> Any:
        own = {x.at: x for x in slopes.get(builder.at, ())}
        if not own:
            return None
        loop: Loop = instruction.options["loop"]
        body, rows = Builder.of_program(loop.body), []

        def divided(body: Builder, product: Instruction) -> Any:
            slope = own.get(body.at)
            if slope is None:
                return None
            rows.append(builder.emit(PART, slope.loop, index=s_of[slope.loop][slope.source]))
            s = Ref("input", len(body.inputs))
            body.inputs += (input_of(body.of(slope.y)),)
            # 0 where 1 / s is no normal number; a product, so that nan stays nan
            is_near = body.emit(less, s, float(np.finfo(product.dtype).max) / 2)
            return body.emit(multiply, body.emit(divide, slope.y, s), is_near)

        body.rewrite(divided, (multiply,))
        code = attrs.evolve(rebuilt(loop.body, body), inputs=body.inputs)
        loop = attrs.evolve(loop, body=code, n_xs=loop.n_xs + len(rows), moving=frozenset())
        operands = (*instruction.operands, *rows)
        return instruction.but(operands=operands, options={"loop": loop})

    if s_of:
        builder.rewrite(visit, LOOPS)


def _slopes(builder: Builder, back: Instruction) -> list[_Slope]:
    """The slopes in a loop of sigmoids that are among its rows, one a product."""
    loop: Loop = back.options["loop"]
    body = Builder.of_program(loop.body)
    if not body.has((sigmoid,)):
        return []
    # the values of other loops' steps that are rows of this one
    rows: dict[Any, tuple[Any, Ref]] = {}
    for i, x in enumerate(back.operands):
        part = builder.source(x, PART) if i >= len(back.operands) - loop.n_xs else None
        source = part and builder.source(part.operands[0])
        if part is not None and source is not None and source.op in LOOPS:
            first, at = source.options["loop"], part.options["index"]
            if at >= first.n_carry:
                rows[Ref("input", i)] = part.operands[0], first.body.outputs[at]
    slopes: dict[int, _Slope] = {}
    for i, product in enumerate(body.instructions):
        for y, other in either_way(product) if product.op is multiply else ():
            side = body.source(other, sigmoid)
            turned = side and body.source(side.operands[0], negative)
            if turned is None or type(y) is not Ref or y not in rows:
                continue
            ref, value = rows[y]
            other_body = Builder.of_program(builder.of(ref).options["loop"].body)
            argument = other_body.source(value, sigmoid)
            if argument is None or argument.dtype.char not in "fd":
                continue
            x, same = _viewed(body, turned.operands[0], other_body, argument.operands[0])
            if x in rows and rows[x] == (ref, same) and body.dtype(x) == argument.dtype:
                slopes[i] = _Slope(i, y, ref, value.index)
    return [*slopes.values()]


def _viewed(a: Builder, x: Any, b: Builder, y: Any) -> tuple[Any, Any]:
    """The values of two programs that two values are the same view of: themselves, if of none."""
    while (source := a.source(x)) is not None and (like := b.source(y)) is not None:
        single = source.is_view and len(source.operands) == len(like.operands) == 1
        contents = [content(x.op, (), x.options) for x in (source, like)]
        if not single or contents[0] != contents[1]:
            break
        (x,), (y,) = source.operands, like.operands
    return x, y


def _return_s(builder: Builder, ref: Ref, places: dict[int, int]) -> None:
    """Let a loop return s of the sigmoids at these places; put there which result it is."""
    instruction: Instruction = builder.of(ref)
    loop: Loop = instruction.options["loop"]
    body = Builder.of_program(loop.body)
    sigmoids: list[Ref] = []

    def visit(body: Builder, instruction: Instruction) -> Any:
        if body.at not in places:
            return None
        places[body.at] = len(loop.body.outputs) + len(sigmoids)
        y = written_out(body, instruction)
        sigmoids.append(body.of(y).operands[1])
        return y

    body.rewrite(visit, (sigmoid,))
    body.outputs += tuple(sigmoids)
    loop = attrs.evolve(loop, body=rebuilt(loop.body, body), moving=frozenset())
    builder.put(ref.index, instruction.but(options={"loop": loop}))
