"""Programs as NumPy source, put together: what is made once, and what each call runs.

`source` is the text that a person reads and `runner` the function that it makes: called
once it allocates the buffers and returns ``run``, which takes the inputs and returns the
outputs. What the values are called is decided here, who has which buffer in
`tapegrad.program.plan`, and how one instruction is written in `tapegrad.program.lines`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import attrs
import numpy as np

from tapegrad.core.ownership import LARGE, Array, give, keep
from tapegrad.ops.indexing import HOLE, index_add
from tapegrad.program import blocks
from tapegrad.program.ir import STAGES, Code, Constant, Instruction, Ref
from tapegrad.program.lines import KINDS, expression, number
from tapegrad.program.names import Names
from tapegrad.program.observe import short_names
from tapegrad.program.plan import LARGE as MANY
from tapegrad.program.plan import Plan, owners, planned
from tapegrad.program.results import packed
from tapegrad.program.reuse import RowUpdates

Values = Mapping[Ref, str]


@attrs.frozen
class Writing:
    """A program written out.

    Attributes
    ----------
    text
        The source.
    namespace
        The names it needs, besides what it defines.
    entry
        The name of the function that it defines.
    """

    text: str
    namespace: Mapping[str, Any]
    entry: str


def source(program: Code) -> str:
    """The source of a program.

    Examples
    --------
    >>> import tapegrad as tg
    >>> step = tg.compile(lambda w, x: tg.grad(lambda w: tg.sum(tg.tanh(x * w)))(w))
    >>> print(step.program(np.ones(3), np.ones(3)))  # doctest: +ELLIPSIS
    # <lambda>: 2 inputs, ...
    """
    return written(program).text


def runner(program: Code) -> Callable[[], Callable[..., Any]]:
    """A function that allocates the buffers and returns the program, ready to run."""
    writing = written(program)
    namespace = dict(writing.namespace)
    exec(compile(writing.text, f"<program of {_shown(program.label)}>", "exec"), namespace)
    make: Callable[[], Callable[..., Any]] = namespace[writing.entry]
    return make


def written(program: Code) -> Writing:
    """The text of a program and the names it needs."""
    names = Names()
    values = _values(program, names)
    plan = planned(program)
    buffers = tuple(names.new(f"buf{i}") for i in range(len(plan.buffers)))
    part_of = {x: names.new(f"{buffers[p.buffer]}_{p.start}") for x, p in plan.parts.items()}
    updates = {i: names.new(f"rows_{i}") for i in sorted(_row_updates(program))}
    once = [
        _constant(x, values[Ref("constant", i)], names) for i, x in enumerate(program.constants)
    ]
    allocate = names.of(_buffer, "buffer") if buffers else ""
    for name, x in zip(buffers, plan.buffers, strict=True):
        once.append(f"{name} = {allocate}({x.shape}, {x.dtype.str!r})")
    for ref, name in part_of.items():
        part = plan.parts[ref]
        once.append(f"{name} = {buffers[part.buffer]}[{part.start}:{part.stop}]")
    for name in updates.values():
        once.append(f"{name} = {names.of(RowUpdates, 'RowUpdates')}()")
    body = _body(program, plan, values, buffers, part_of, updates, names)
    body += _results(program, values, names)
    make, run = names.new("make"), names.new("run")
    given = ", ".join(values[Ref("input", i)] for i in range(len(program.inputs)))
    text = [
        *_header(program, plan, values),
        f"def {make}():",
        *[f"    {line}" for line in once if line],
        f"    def {run}({given}):",
        *[f"        {line}" for line in body],
        f"    return {run}",
    ]
    return Writing("\n".join(text) + "\n", names.namespace, make)


# --- what values are called -----------------------------------------------------------------


def _values(program: Code, names: Names) -> dict[Ref, str]:
    """A name for each value: what a reader knows it by, or else its op and its line."""
    values: dict[Ref, str] = {}
    for i, name in enumerate(short_names([x.path for x in program.inputs])):
        values[Ref("input", i)] = names.new(name)
    for i, constant in enumerate(program.constants):
        splat = constant.splat
        if splat is None:
            wanted = f"captured{i}" if constant.captured else f"constant{i}"
        elif constant.shape == ():
            wanted = "k_" + repr(splat).replace("-", "m")
        else:
            wanted = f"{'ones' if splat == 1 else 'full'}_{'_'.join(map(str, constant.shape))}"
        values[Ref("constant", i)] = names.new(wanted)
    for i, instruction in enumerate(program.instructions):
        values[Ref("instruction", i)] = names.new(instruction.name or f"{instruction.op.name}_{i}")
    return values


def _header(program: Code, plan: Plan, values: Values) -> list[str]:
    """Comments that say what the program takes and what it holds."""
    size = sum(x.nbytes for x in plan.buffers)
    lines = [
        f"# {_shown(program.label)}: {len(program.inputs)} inputs, {len(program.instructions)} "
        f"instructions, {len(plan.buffers)} buffers of {size:,} bytes in all"
    ]
    for i, given in enumerate(program.inputs):
        kind = f"a Python {given.number}" if given.number else f"{given.dtype} {given.shape}"
        lines.append(f"#   {values[Ref('input', i)]}: {_shown(given.path)}, {kind}")
    for i, constant in enumerate(program.constants):
        if constant.splat is None:
            kind = "captured" if constant.captured else "computed when compiled"
            name = values[Ref("constant", i)]
            lines.append(f"#   {name}: {kind}, {constant.dtype} {constant.shape}")
    return lines


def _shown(text: str) -> str:
    """Text in one line of a comment."""
    return text if text.isprintable() else repr(text)


# --- what is made once ----------------------------------------------------------------------


def _constant(constant: Constant, name: str, names: Names) -> str:
    """The line that defines a constant; without one it is put in the namespace."""
    splat = constant.splat
    if splat is None:
        names.namespace[name] = constant.array
        return ""
    given = f"{number(splat)}, {constant.dtype.str!r}, {constant.shape}"
    return f"{name} = {names.of(_full, 'constant')}({given})"


def _full(value: Any, dtype: str, shape: tuple[int, ...]) -> Array:
    """A constant of one number."""
    array = np.full(shape, value, dtype)
    array.setflags(write=False)
    return array


_LINE = 64  # bytes


def _buffer(shape: tuple[int, ...], dtype: str) -> Array:
    """An array that begins with a line of the cache, as `empty` gives it by chance only."""
    size = math.prod(shape) * np.dtype(dtype).itemsize
    memory = np.empty(size + _LINE, np.uint8)
    start = -memory.ctypes.data % _LINE
    return memory[start : start + size].view(dtype).reshape(shape)


# --- what each call runs --------------------------------------------------------------------


def _body(
    program: Code,
    plan: Plan,
    values: Values,
    buffers: tuple[str, ...],
    part_of: Values,
    updates: Mapping[int, str],
    names: Names,
) -> list[str]:
    """The lines of the instructions, with a comment where a stage begins."""
    lines: list[str] = []
    staged = any(x.stage != STAGES[0] for x in program.instructions)
    stage = -1

    def begin(i: int) -> None:
        nonlocal stage
        reached = STAGES.index(program.instructions[i].stage)
        # what is moved up by a pass begins no stage
        if staged and reached > stage:
            stage = reached
            lines.append(f"# {STAGES[stage]}")

    def line(i: int) -> None:
        instruction, ref = program.instructions[i], Ref("instruction", i)
        home = plan.home.get(ref)
        out = part_of.get(ref) or (None if home is None else buffers[home])
        if ref in plan.joined:
            lines.extend(_rest(program, plan, i, values, buffers))
            text, note = buffers[plan.home[ref]], "its parts were written there"
        elif i in updates:
            given = ", ".join(values[x] for x in instruction.operands)  # type: ignore[index]
            text, note = f"{updates[i]}({given})", instruction.note
        else:
            text, note = expression(program, i, values, out, names), instruction.note
        lines.append(f"{values[ref]} = {text}  # {_about(instruction, note)}")

    runs = dict(plan.runs)
    i = 0
    while i < len(program.instructions):
        begin(i)
        if i in runs:
            lines += blocks.loop(program, plan, range(i, runs[i]), values, buffers, names)
            i = runs[i]
        else:
            line(i)
            i += 1
    return lines


def _about(instruction: Instruction, note: str) -> str:
    """The comment at the end of a line."""
    shape = str(instruction.shape)
    if instruction.number:
        shape = f"a Python {KINDS[instruction.dtype.kind]}"
    return f"{shape}: {note}" if note else shape


def _rest(program: Code, plan: Plan, i: int, values: Values, buffers: tuple[str, ...]) -> list[str]:
    """The lines that copy the parts of a concatenation that are not in their places."""
    home, start = plan.home[Ref("instruction", i)], 0
    lines = []
    for x in program.instructions[i].operands:
        stop = start + program.like(x).shape[0]
        part = plan.parts.get(x)  # type: ignore[arg-type]
        if part is None or part.buffer != home:
            lines.append(f"{buffers[home]}[{start}:{stop}] = {values[x]}")  # type: ignore[index]
        start = stop
    return lines


# rows are few if they have this part of a table's elements
_SPARSE = 4


def _row_updates(program: Code) -> list[int]:
    """The instructions that give back a large table with a few rows updated."""
    return [
        x.index
        for x in program.results
        if x.kind == "instruction" and _is_row_update(program, program.of(x))
    ]


def _is_row_update(program: Code, instruction: Instruction) -> bool:
    if instruction.op is not index_add or instruction.options["index"] != (HOLE,):
        return False
    table, values, _ = instruction.operands
    like = program.like(values)
    few = math.prod(like.shape) * _SPARSE <= math.prod(instruction.shape)
    return (
        type(table) is Ref
        and table.kind == "input"
        and few
        and like.dtype == instruction.dtype
        and math.prod(instruction.shape) >= MANY
    )


def _apart(x: Any) -> Array:
    """An argument as it may be handed out: a copy, unless nobody can change it."""
    return give(keep(np.asarray(x)))


def _results(program: Code, values: Values, names: Names) -> list[str]:
    """The lines that hand out the outputs: new arrays that nobody else holds."""
    lines: list[str] = []
    returned: list[str] = []
    views = owners(program)
    seen: set[Ref] = set()

    def copied(function: str, x: Ref) -> str:
        result = names.new(f"result{len(returned)}")
        lines.append(f"{result} = {function}({values[x]})")
        return result

    for x in program.outputs:
        if type(x) is not Ref:
            returned.append(names.of(x, f"static{len(returned)}"))
            continue
        made = program.of(x)
        if getattr(made, "number", None):
            returned.append(values[x])
            continue
        if x.kind == "input":
            returned.append(copied(names.of(_apart, "apart"), x))
            continue
        if x.kind == "constant" or x in views or x in seen or made.shape == ():
            # a view, a scalar, or what is handed out already
            name = copied(names.library("array", np.array), x)
        else:
            name = values[x]
        seen.add(x)
        if math.prod(made.shape) * made.dtype.itemsize < LARGE:
            # what `give` does with a small array
            lines.append(f"{name}.setflags(False)")
            returned.append(f"{name}.view()")
        else:
            returned.append(f"{names.of(give, 'give')}({name})")
    lines.append(f"return {packed(program.structure, returned, names)}")
    return lines
