"""Programs as NumPy source: buffers planned, one line an instruction.

`source` is the text that a person reads and `runner` the function that it makes:
called once it allocates the buffers and returns ``run``, which takes the inputs and
returns the outputs.
"""

from __future__ import annotations

import builtins
import math
import re
import string
from collections.abc import Callable, Mapping
from typing import Any

import attrs
import numpy as np

from tapegrad.core.op import Op
from tapegrad.core.ownership import LARGE, Array, give, keep
from tapegrad.core.tensor import Rules
from tapegrad.core.whole import WHOLE, Whole
from tapegrad.declare import OPS
from tapegrad.ops.indexing import HOLE
from tapegrad.program.ir import Constant, Instruction, Ref
from tapegrad.program.names import HELPERS, Names
from tapegrad.program.results import packed
from tapegrad.program.reuse import RowUpdates
from tapegrad.program.templates import TEMPLATES, VIEWS

_FORMATTER = string.Formatter()
_NUMBERS = {"f": "float", "i": "int", "b": "bool"}


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


def source(program: Any) -> str:
    """The source of a program.

    Examples
    --------
    >>> import tapegrad as tg
    >>> step = tg.compile(lambda w, x: tg.grad(lambda w: tg.sum(tg.tanh(x * w)))(w))
    >>> print(step.program(np.ones(3), np.ones(3)))  # doctest: +ELLIPSIS
    # <lambda>: 2 inputs, ...
    """
    return written(program).text


def runner(program: Any) -> Callable[[], Callable[..., Any]]:
    """A function that allocates the buffers and returns the program, ready to run."""
    writing = written(program)
    namespace = dict(writing.namespace)
    exec(compile(writing.text, f"<program of {_shown(program.label)}>", "exec"), namespace)
    make: Callable[[], Callable[..., Any]] = namespace[writing.entry]
    return make


def written(program: Any) -> Writing:
    """The text of a program and the names it needs."""
    writer = _Writer(program)
    writer.instructions()
    writer.results()
    names = writer.names
    given = ", ".join(names[Ref("input", i)] for i in range(len(program.inputs)))
    make, run = writer.allot.new("make"), writer.allot.new("run")
    text = [_header(program, names, writer.buffers), f"def {make}():"]
    if writer.buffers:
        buffer = writer.allot.of(_buffer, "buffer")
        text += [f"    {x.name} = {buffer}({x.shape}, {x.dtype.str!r})" for x in writer.buffers]
    text += [f"    {line}" for line in writer.parts]
    text.append(f"    def {run}({given}):")
    text += [f"        {line}" for line in writer.body]
    text.append(f"    return {run}")
    return Writing("\n".join(text) + "\n", writer.allot.namespace, make)


# --- names ------------------------------------------------------------------------------


def _names(program: Any, allot: Names) -> dict[Ref, str]:
    """A name for each value: paths for inputs, the op and its line for the rest."""
    names: dict[Ref, str] = {}
    for i, given in enumerate(program.inputs):
        names[Ref("input", i)] = allot.new(given.path)
    for i, constant in enumerate(program.constants):
        value = constant.array
        if constant.captured or value.size == 0:
            wanted = f"captured{i}"
        elif value.ndim == 0:
            wanted = "k_" + repr(value.item()).replace("-", "m")
        elif (value == 1).all():
            wanted = f"ones_{'_'.join(map(str, value.shape))}"
        else:
            wanted = f"k{i}"
        names[Ref("constant", i)] = allot.new(wanted)
    for i, instruction in enumerate(program.instructions):
        names[Ref("instruction", i)] = allot.new(f"{instruction.op.name}_{i}")
    return names


def _header(program: Any, names: Mapping[Ref, str], buffers: list[Buffer]) -> str:
    size = sum(math.prod(x.shape) * x.dtype.itemsize for x in buffers)
    lines = [
        f"# {_shown(program.label)}: {len(program.inputs)} inputs, {len(program.instructions)} "
        f"instructions, {len(buffers)} buffers of {size:,} bytes in all"
    ]
    for i, given in enumerate(program.inputs):
        kind = f"a Python {given.number}" if given.number else f"{given.dtype} {given.shape}"
        lines.append(f"#   {names[Ref('input', i)]}: {_shown(given.path)}, {kind}")
    for i, constant in enumerate(program.constants):
        if constant.captured:
            lines.append(
                f"#   {names[Ref('constant', i)]}: captured, {constant.dtype} {constant.shape}"
            )
    return "\n".join(lines)


def _shown(text: str) -> str:
    """Text in one line of a comment."""
    return text if text.isprintable() else repr(text)


# --- lines and buffers --------------------------------------------------------------------

Key = tuple[tuple[int, ...], np.dtype[Any]]


@attrs.frozen
class Buffer:
    """Memory that is allocated once, for values of one shape and dtype at a time."""

    name: str
    shape: tuple[int, ...]
    dtype: np.dtype[Any]


def _apart(x: Any) -> Array:
    """An argument as it may be handed out: a copy, unless nobody can change it."""
    return give(keep(np.asarray(x)))


_LINE = 64  # bytes


def _buffer(shape: tuple[int, ...], dtype: str) -> Array:
    """An array that begins with a line of the cache, as `empty` gives it by chance only."""
    size = math.prod(shape) * np.dtype(dtype).itemsize
    memory = np.empty(size + _LINE, np.uint8)
    start = -memory.ctypes.data % _LINE
    return memory[start : start + size].view(dtype).reshape(shape)


class _Writer:
    """The lines of a program as they are written, and the buffers that are free."""

    def __init__(self, program: Any) -> None:
        self.program = program
        self.allot = Names()
        self.names = _names(program, self.allot)
        for i, constant in enumerate(program.constants):
            self.allot.namespace[self.names[Ref("constant", i)]] = constant.array
        self.body: list[str] = []
        self.buffers: list[Buffer] = []
        self.owner = _owners(program)
        self.results_of = {x for x in program.outputs if type(x) is Ref}
        # what an output is a view of is never written over
        self.kept = {self.owner.get(x, x) for x in self.results_of}
        self.free: dict[Key, list[Buffer]] = {}
        self.held: dict[Ref, Buffer] = {}
        self.runs = _runs(program)
        # parts of a concatenation are written where they will stand
        self.part_of: dict[Ref, tuple[Buffer, str]] = {}
        self.joined: dict[Ref, Buffer] = {}
        self.parts: list[str] = []
        for i, instruction in enumerate(program.instructions):
            if instruction.kind == "concatenate":
                self.place(i)
        self.last_use: dict[Ref, int] = {}
        for i, instruction in enumerate(program.instructions):
            for x in instruction.operands:
                if type(x) is Ref:
                    self.last_use[self.owner.get(x, x)] = i

    def place(self, i: int) -> None:
        """Give the parts of a concatenation their places in its buffer, where they can be."""
        instruction, ref = self.program.instructions[i], Ref("instruction", i)
        if instruction.options.get("axis", 0) != 0 or ref in self.kept or 0 in instruction.shape:
            return
        parts = instruction.operands
        placeable = [x for x in parts if self.may_place(x, instruction, parts.count(x))]
        if not placeable:
            return
        buffer = self.joined[ref] = self.buffer((instruction.shape, instruction.dtype))
        start = 0
        for x in parts:
            stop = start + _like(self.program, x).shape[0]
            if x in placeable:
                part = self.allot.new(f"{buffer.name}_{start}")
                self.part_of[x] = buffer, part
                self.parts.append(f"{part} = {buffer.name}[{start}:{stop}]")
            start = stop
        # the buffer is in use as long as any part is
        whole = dict.fromkeys(placeable, ref)
        self.owner = {x: whole.get(y, y) for x, y in self.owner.items()} | whole

    def may_place(self, x: Any, whole: Instruction, count: int) -> bool:
        """Whether a value can be written where it will stand in a concatenation."""
        if (
            type(x) is not Ref
            or x.kind != "instruction"
            or x in self.kept
            or x in self.part_of
            or count > 1
        ):
            return False
        if any(start <= x.index < stop for start, stop in self.runs):
            return False
        made = self.program.instructions[x.index]
        template = _template(self.program, made, self.allot)
        is_new = "{out}" in template and not made.number and x not in self.joined
        return is_new and made.dtype == whole.dtype

    def join(self, i: int) -> None:
        """Write a concatenation whose parts stand in their places, or most of them."""
        ref, start = Ref("instruction", i), 0
        buffer = self.joined[ref]
        for x in self.program.instructions[i].operands:
            stop = start + _like(self.program, x).shape[0]
            if x not in self.part_of or self.part_of[x][0] is not buffer:
                self.body.append(f"{buffer.name}[{start}:{stop}] = {self.names[x]}")
            start = stop
        self.release(self.ending(i))
        self.held[ref] = buffer
        self.body.append(f"{self.names[ref]} = {buffer.name}  # its parts were written there")

    def instructions(self) -> None:
        """Write all of them."""
        i = 0
        for start, stop in self.runs:
            for j in range(i, start):
                self.line(j)
            _write_blocks(self, start, stop)
            i = stop
        for j in range(i, len(self.program.instructions)):
            self.line(j)

    def line(self, i: int) -> None:
        """Write an instruction; its buffer is free after its last use."""
        instruction = self.program.instructions[i]
        ref = Ref("instruction", i)
        if ref in self.joined:
            self.join(i)
            return
        template = self.row_updates(i) or _template(self.program, instruction, self.allot)
        ending = self.ending(i)
        # an operand of the result's shape that is not needed again can be written over
        over = [x for x in ending if self.may_write_over(instruction, x)]
        self.release(over)
        buffer = None
        _, out = self.part_of.get(ref, (None, None))
        is_new = "{out}" in template and not instruction.number and ref not in self.results_of
        if out is None and is_new:
            buffer = self.take(ref, (instruction.shape, instruction.dtype))
            out = buffer.name
        self.release([x for x in ending if x not in over])
        if buffer is not None and ref not in self.last_use and ref not in self.kept:
            self.release([ref])
        text = _filled(self.program, instruction, template, self.names, out)
        note = f"  # {instruction.note}" if instruction.note else ""
        self.body.append(f"{self.names[ref]} = {text}{note}")

    def row_updates(self, i: int) -> str | None:
        """How a large table is given back with a few rows updated, if that is what is done."""
        instruction = self.program.instructions[i]
        if instruction.kind != "index_add" or instruction.options["index"] != (HOLE,):
            return None
        table, values, _ = instruction.operands
        like = _like(self.program, values)
        rows = math.prod(like.shape) * _SPARSE <= math.prod(instruction.shape)
        if type(table) is not Ref or table.kind != "input" or not rows:
            return None
        if Ref("instruction", i) not in self.results_of or like.dtype != instruction.dtype:
            return None
        if math.prod(instruction.shape) < _LARGE:
            return None
        rows_of = self.allot.new(f"rows_{i}")
        self.parts.append(f"{rows_of} = {self.allot.of(RowUpdates, 'RowUpdates')}()")
        return f"{rows_of}({{0}}, {{1}}, {{2}})"

    def may_write_over(self, instruction: Instruction, x: Ref) -> bool:
        """Whether an instruction may have its result where a value that it uses is."""
        if instruction.kind == "add_at_places":
            first, *rest = [self.owner.get(y, y) for y in instruction.operands]  # type: ignore[arg-type]
            return x == first and x not in rest
        return _is_elementwise(instruction)

    def ending(self, i: int) -> list[Ref]:
        """The values with a buffer that an instruction is the last to use."""
        used = {
            self.owner.get(x, x) for x in self.program.instructions[i].operands if type(x) is Ref
        }
        return [x for x in used if self.last_use[x] == i and x in self.held and x not in self.kept]

    def buffer(self, key: Key) -> Buffer:
        """A new buffer."""
        made = Buffer(self.allot.new(f"b{len(self.buffers)}"), *key)
        self.buffers.append(made)
        return made

    def take(self, ref: Ref, key: Key) -> Buffer:
        """A buffer for a value."""
        free = self.free.get(key)
        self.held[ref] = buffer = free.pop() if free else self.buffer(key)
        return buffer

    def release(self, refs: list[Ref]) -> None:
        """Free the buffers of values."""
        for x in refs:
            buffer = self.held.pop(x)
            self.free.setdefault((buffer.shape, buffer.dtype), []).append(buffer)

    def results(self) -> None:
        """Write the lines that hand out the outputs: new arrays that nobody else holds."""
        program, names = self.program, self.names
        returned: list[str] = []
        seen: set[Ref] = set()

        def copied(function: str, x: Ref) -> str:
            result = self.allot.new(f"result{len(returned)}")
            self.body.append(f"{result} = {function}({names[x]})")
            return result

        for x in program.outputs:
            if type(x) is not Ref:
                returned.append(self.allot.of(x, f"static{len(returned)}"))
                continue
            made = program.of(x)
            if getattr(made, "number", None):
                returned.append(names[x])
                continue
            if x.kind == "input":
                returned.append(copied(self.allot.of(_apart, "apart"), x))
                continue
            if x.kind == "constant" or x in self.owner or x in seen or made.shape == ():
                # a view, a scalar, or what is handed out already
                name = copied(self.allot.library("array", np.array), x)
            else:
                name = names[x]
            seen.add(x)
            if math.prod(made.shape) * made.dtype.itemsize < LARGE:
                # what `give` does with a small array
                self.body.append(f"{name}.setflags(False)")
                returned.append(f"{name}.view()")
            else:
                returned.append(f"{self.allot.of(give, 'give')}({name})")
        self.body.append(f"return {packed(program.structure, returned, self.allot)}")


def _is_elementwise(instruction: Instruction) -> bool:
    return isinstance(instruction.op.forward, np.ufunc) and instruction.kind != "matmul"


# --- blocks -------------------------------------------------------------------------------

# more elements than the cache holds several arrays of, and a part that it does hold
_LARGE = 1 << 17
_BLOCK = 1 << 14
# rows are few if they have this part of a table's elements
_SPARSE = 4


def _runs(program: Any) -> list[tuple[int, int]]:
    """Where elementwise instructions on large arrays of one shape follow each other."""
    runs = []
    start, shape = 0, None
    sums: set[Ref] = set()
    for i, instruction in enumerate([*program.instructions, None]):
        fits = instruction is not None and _block_shape(program, instruction)
        # a sum is known only after the last block
        if not fits or fits != shape or sums.intersection(instruction.operands):
            if shape and i - start > 1:
                runs.append((start, i))
            start, shape = i, fits
            sums = set()
        if fits and instruction.kind == "sum":
            sums.add(Ref("instruction", i))
    return runs


def _block_shape(program: Any, instruction: Instruction) -> tuple[int, ...] | None:
    """The shape that an instruction can be done block by block on, if it can."""
    shapes = [_like(program, x).shape for x in instruction.operands]
    if _is_elementwise(instruction):
        shape = instruction.shape
        if any(x not in ((), shape) for x in shapes):
            return None
    elif instruction.kind == "sum" and not instruction.options.get("keepdims"):
        shape = shapes[0]
        axis = instruction.options.get("axis")
        dtypes = {_like(program, instruction.operands[0]).dtype, instruction.dtype}
        if not (axis is None or axis == tuple(range(len(shape)))) or len(dtypes) != 1:
            return None
    else:
        return None
    return shape if math.prod(shape) >= _LARGE and instruction.dtype.kind in "fb" else None


def _write_blocks(writer: _Writer, start: int, stop: int) -> None:
    """Write a run of elementwise instructions as a loop over blocks that fit the cache."""
    program, names, body, allot = writer.program, writer.names, writer.body, writer.allot
    low, length = allot.new("lo"), allot.new("n")
    run = range(start, stop)
    shape = _block_shape(program, program.instructions[start])
    assert shape is not None
    size = math.prod(shape)
    inside = {Ref("instruction", i) for i in run}
    later = {
        x
        for instruction in program.instructions[stop:]
        for x in instruction.operands
        if type(x) is Ref
    } | writer.results_of
    viewed = set(writer.owner.values())
    local: dict[Ref, str] = {}
    flat: list[str] = []
    loop: list[str] = []
    after: list[str] = []

    def block_of(ref: Ref) -> None:
        name = names[ref]
        whole, local[ref] = allot.new(f"flat_{name}"), allot.new(f"{name}_block")
        flat.append(f"{whole} = {name}.reshape({size})")
        loop.append(f"    {local[ref]} = {whole}[{low}:{low} + {_BLOCK}]")

    for x in sorted(
        {
            x
            for i in run
            for x in program.instructions[i].operands
            if type(x) is Ref and x not in inside and _like(program, x).shape == shape
        },
        key=lambda x: (x.kind, x.index),
    ):
        block_of(x)
    last = {x: i for i in run for x in program.instructions[i].operands if type(x) is Ref}
    free: dict[Any, list[str]] = {}
    held: dict[Ref, str] = {}
    for i in run:
        instruction, ref = program.instructions[i], Ref("instruction", i)
        if instruction.kind == "sum":
            summed = local[instruction.operands[0]]
            kind = allot.library(instruction.dtype.type.__name__, instruction.dtype.type)
            flat.append(f"{names[ref]} = 0.0")
            loop.append(f"    {names[ref]} += {allot.library('add', np.add)}.reduce({summed})")
            after.append(f"{names[ref]} = {kind}({names[ref]})")
            continue
        template = _template(program, instruction, allot)
        for x in {x for x in instruction.operands if type(x) is Ref and last[x] == i}:
            if x in held:
                free.setdefault(_like(program, x).dtype, []).append(held.pop(x))
        if ref in later or ref in viewed:
            if ref in writer.results_of:
                empty = allot.library("empty", np.empty)
                flat.append(f"{names[ref]} = {empty}({shape}, {instruction.dtype.str!r})")
            else:
                buffer = writer.take(ref, (shape, instruction.dtype))
                flat.append(f"{names[ref]} = {buffer.name}")
            block_of(ref)
            out = local[ref]
        else:
            stack = free.setdefault(instruction.dtype, [])
            if not stack:
                buffer = writer.buffer(((_BLOCK,), instruction.dtype))
                stack.append(allot.new(f"{buffer.name}_block"))
                loop.append(f"    {stack[-1]} = {buffer.name}[:{length}]")
            out = held[ref] = stack.pop()
            local[ref] = names[ref]
        text = _filled(program, instruction, template, {**names, **local}, out)
        loop.append(f"    {local[ref]} = {text}")
    body.append(
        f"# {stop - start} instructions, block by block: {_BLOCK} elements stay in the cache"
    )
    body += flat
    body.append(f"for {low} in range(0, {size}, {_BLOCK}):")
    body.append(f"    {length} = min({_BLOCK}, {size} - {low})")
    body += loop
    body += after
    ended = {x for i in run for x in writer.ending(i)}
    writer.release([x for x in ended if writer.last_use[x] < stop])


def _owners(program: Any) -> dict[Ref, Ref]:
    """For each value that may be a view, the value whose memory it is."""
    owner: dict[Ref, Ref] = {}
    for i, instruction in enumerate(program.instructions):
        if instruction.op in VIEWS:
            base = instruction.operands[0]
            if type(base) is Ref:
                owner[Ref("instruction", i)] = owner.get(base, base)
    return owner


@attrs.frozen
class _Like:
    """What a source function is told of an operand."""

    shape: tuple[int, ...]
    dtype: Any

    @property
    def ndim(self) -> int:
        return len(self.shape)


def _like(program: Any, x: Any) -> _Like:
    if type(x) is not Ref:
        return _Like((), type(x))
    made = program.of(x)
    if type(made) is Constant:
        return _Like(made.shape, made.dtype)
    return _Like(made.shape, float if made.number else made.dtype)


def _template(program: Any, instruction: Instruction, names: Names) -> str:
    """The format string of an instruction; the function it calls enters the namespace."""
    op = instruction.op
    whole = _whole(program, instruction)
    template = TEMPLATES.get(op) if whole is None else whole.source
    if callable(template):
        template = template(*[_like(program, x) for x in instruction.operands])
    if template is not None:
        called = re.match(r"(\w+)[.(]", template)
        if called and not hasattr(builtins, called[1]):
            function = HELPERS.get(called[1]) or getattr(np, called[1])
            return names.library(called[1], function) + template[called.end(1) :]
        return template
    inputs = ", ".join(f"{{{i}}}" for i in range(len(instruction.operands)))
    if isinstance(op.forward, np.ufunc):
        # of maximum and minimum positional out= is deprecated, and slow to say so
        out = "out={out}" if op.forward in (np.maximum, np.minimum) else "{out}"
        return f"{_function(op, names)}({inputs}, {out})"
    options = [f", {name}={_option(x, names)}" for name, x in instruction.options.items()]
    # the operands' places are the only braces that are for the format
    return f"{_function(op, names)}({inputs}{_escaped(''.join(options))})"


def _whole(program: Any, instruction: Instruction) -> Whole | None:
    """What stands for an instruction of Python ints alone; None for any other."""
    if not instruction.number:
        return None
    for x in instruction.operands:
        made = program.of(x) if type(x) is Ref else None
        is_whole = isinstance(x, int) if made is None else made.dtype.kind in "ib"
        if not is_whole or (made is not None and not getattr(made, "number", None)):
            return None
    return WHOLE.get(instruction.kind)


def _function(op: Rules, names: Names) -> str:
    """The name of an op's function: NumPy's, the op's if it is one of ours, or a new one."""
    forward = op.forward
    if isinstance(forward, np.ufunc) and getattr(np, forward.__name__, None) is forward:
        return names.library(forward.__name__, forward)
    if OPS.get(op.name) is op:
        return names.library(op.name, forward)
    return names.of(forward, op.name)


def _escaped(text: str) -> str:
    """Text as it is in a format string."""
    return text.replace("{", "{{").replace("}", "}}")


def _number(x: Any) -> str:
    """A Python number as it is written."""
    return repr(x) if math.isfinite(x) else f"float({str(x)!r})"


def _option(value: Any, names: Names) -> str:
    """An option as it is written: a literal, or a name for what has none."""
    if type(value) is tuple:
        parts = [_option(part, names) for part in value]
        return f"({', '.join(parts)},)" if len(parts) == 1 else f"({', '.join(parts)})"
    if value is None or type(value) in (int, bool) or (type(value) is str and value.isalnum()):
        return repr(value)
    if type(value) is float:
        return _number(value)
    return names.of(value, "option")


def _filled(
    program: Any,
    instruction: Instruction,
    template: str,
    names: Mapping[Ref, str],
    out: str | None,
) -> str:
    operands = [names[x] if type(x) is Ref else _number(x) for x in instruction.operands]
    fields: dict[str, Any] = {}
    if instruction.op in TEMPLATES:
        defaults = instruction.op.signature.defaults if isinstance(instruction.op, Op) else {}
        fields = {**defaults, **instruction.options}
    fields["shape"] = instruction.shape
    index = fields.pop("index", None)
    if index is not None:
        arrays = iter(operands[1:])
        fields["index"] = _index(index, arrays)
    if "dtype" in fields:
        fields["dtype"] = repr(np.dtype(fields["dtype"]).str)
    fields["all"] = f"({', '.join(operands)}{',' * (len(operands) == 1)})"
    fields["out"] = out
    if out is None:
        template = template.replace(", out={out})", ")").replace(", {out})", ")")
    text = _FORMATTER.vformat(template, operands, fields)
    text = text.replace(".transpose(None)", ".T")
    if instruction.number and _whole(program, instruction) is None:
        # not .item(), for NumPy has Python's own numbers in place of ints of many bits
        return f"{_NUMBERS[instruction.dtype.kind]}({text})"
    return text


def _index(index: tuple[Any, ...], arrays: Any) -> str:
    """An index as one writes it."""
    parts = []
    for part in index:
        if isinstance(part, slice):
            ends = ["" if end is None else repr(end) for end in (part.start, part.stop)]
            step = "" if part.step is None else f":{part.step!r}"
            parts.append(":".join(ends) + step)
        elif part is None or isinstance(part, int):
            parts.append(repr(part))
        elif part is Ellipsis:
            parts.append("...")
        else:
            parts.append(next(arrays))
    if len(parts) == 1 and not isinstance(index[0], slice):
        return f"{parts[0]},"
    return ", ".join(parts) or "()"
