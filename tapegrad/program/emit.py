"""Programs as NumPy source: buffers planned, one line an instruction.

`source` is the text that a person reads and `runner` the function that it makes:
called once it allocates the buffers and returns ``run``, which takes the inputs and
returns the outputs.
"""

from __future__ import annotations

import keyword
import re
import string
from collections.abc import Callable, Mapping
from typing import Any

import attrs
import numpy as np

from tapegrad.program.entry import packed
from tapegrad.program.ir import Constant, Instruction, Ref

_FORMATTER = string.Formatter()


@attrs.frozen
class Line:
    """One instruction as it is written.

    Attributes
    ----------
    text
        The expression, with the buffer it writes to.
    buffer
        The number of that buffer, or None for a view or a new array.
    """

    text: str
    buffer: int | None


@attrs.frozen
class Writing:
    """A program written out.

    Attributes
    ----------
    text
        The source.
    namespace
        The names it needs, besides what it defines.
    """

    text: str
    namespace: Mapping[str, Any]


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
    exec(compile(writing.text, f"<program of {program.label}>", "exec"), namespace)
    make: Callable[[], Callable[..., Any]] = namespace["make"]
    return make


def written(program: Any) -> Writing:
    """The text of a program and the names it needs."""
    names = _names(program)
    namespace: dict[str, Any] = {}
    lines, buffers = _lines(program, names, namespace)
    for i, constant in enumerate(program.constants):
        namespace[names[Ref("constant", i)]] = constant.value
    text = [_header(program, names, buffers), "def make():"]
    for number, (shape, dtype) in enumerate(buffers):
        text.append(f"    b{number} = empty({shape}, {dtype.str!r})")
        namespace["empty"] = np.empty
    text.append(
        f"    def run({', '.join(names[Ref('input', i)] for i in range(len(program.inputs)))}):"
    )
    body = []
    for i, (instruction, line) in enumerate(zip(program.instructions, lines, strict=True)):
        note = f"  # {instruction.note}" if instruction.note else ""
        body.append(f"{names[Ref('instruction', i)]} = {line.text}{note}")
    body += _results(program, names, lines, namespace)
    text += [f"        {line}" for line in body]
    text.append("    return run")
    return Writing("\n".join(text) + "\n", namespace)


# --- names ------------------------------------------------------------------------------


def _names(program: Any) -> dict[Ref, str]:
    """A name for each value: paths for inputs, the op and its line for the rest."""
    names: dict[Ref, str] = {}
    taken = {"make", "run", "empty"}

    def take(ref: Ref, wanted: str) -> None:
        name = re.sub(r"\W", "_", wanted)
        if not name or name[0].isdigit() or keyword.iskeyword(name) or hasattr(np, name):
            name = f"_{name}"
        unique, n = name, 2
        while unique in taken:
            unique, n = f"{name}_{n}", n + 1
        taken.add(unique)
        names[ref] = unique

    for i, given in enumerate(program.inputs):
        take(Ref("input", i), given.path)
    for i, constant in enumerate(program.constants):
        value = constant.value
        if constant.captured or value.size == 0:
            take(Ref("constant", i), f"captured{i}")
        elif value.ndim == 0:
            take(Ref("constant", i), "k_" + repr(value.item()).replace("-", "m"))
        elif (value == 1).all():
            take(Ref("constant", i), f"ones_{'_'.join(map(str, value.shape))}")
        else:
            take(Ref("constant", i), f"k{i}")
    for i, instruction in enumerate(program.instructions):
        take(Ref("instruction", i), f"{instruction.op.name}_{i}")
    return names


def _header(program: Any, names: Mapping[Ref, str], buffers: list[Any]) -> str:
    size = sum(int(np.prod(shape)) * dtype.itemsize for shape, dtype in buffers)
    lines = [
        f"# {program.label}: {len(program.inputs)} inputs, {len(program.instructions)} "
        f"instructions, {len(buffers)} buffers of {size:,} bytes in all"
    ]
    for i, given in enumerate(program.inputs):
        kind = f"a Python {given.number}" if given.number else f"{given.dtype} {given.shape}"
        lines.append(f"#   {names[Ref('input', i)]}: {given.path}, {kind}")
    for i, constant in enumerate(program.constants):
        if constant.captured:
            lines.append(
                f"#   {names[Ref('constant', i)]}: captured, "
                f"{constant.value.dtype} {constant.value.shape}"
            )
    return "\n".join(lines)


# --- lines and buffers --------------------------------------------------------------------


def _lines(
    program: Any, names: Mapping[Ref, str], namespace: dict[str, Any]
) -> tuple[list[Line], list[tuple[tuple[int, ...], np.dtype[Any]]]]:
    """Each instruction's line, and the buffers: a value's is free after its last use."""
    owner = _owners(program)
    last_use: dict[Ref, int] = {}
    for i, instruction in enumerate(program.instructions):
        for x in instruction.operands:
            if type(x) is Ref:
                last_use[owner.get(x, x)] = i
    kept = {owner.get(x, x) for x in program.outputs if type(x) is Ref}
    results = {x for x in program.outputs if type(x) is Ref}
    buffers: list[tuple[tuple[int, ...], np.dtype[Any]]] = []
    free: dict[Any, list[int]] = {}
    held: dict[Ref, int] = {}
    lines = []
    for i, instruction in enumerate(program.instructions):
        ref = Ref("instruction", i)
        template = _template(program, instruction, namespace)
        ending = [
            x
            for x in {owner.get(y, y) for y in instruction.operands if type(y) is Ref}
            if last_use.get(x) == i and x in held
        ]
        elementwise = (
            isinstance(instruction.op.forward, np.ufunc) and instruction.op.name != "matmul"
        )
        if elementwise:
            # an operand of the result's shape that is not needed again can be written over
            _release(ending, held, free, buffers)
        buffer = None
        if "{out}" in template and not instruction.number and ref not in results:
            key = (instruction.shape, instruction.dtype)
            stack = free.setdefault(key, [])
            if stack:
                buffer = stack.pop()
            else:
                buffers.append(key)
                buffer = len(buffers) - 1
            held[ref] = buffer
        if not elementwise:
            _release(ending, held, free, buffers)
        if buffer is not None and ref not in last_use and ref not in kept:
            _release([ref], held, free, buffers)
        if ref in kept and ref in held:
            del held[ref]
        lines.append(Line(_filled(program, instruction, template, names, buffer), buffer))
    return lines, buffers


def _release(
    refs: list[Ref], held: dict[Ref, int], free: dict[Any, list[int]], buffers: list[Any]
) -> None:
    for x in refs:
        buffer = held.pop(x)
        free.setdefault(buffers[buffer], []).append(buffer)


def _owners(program: Any) -> dict[Ref, Ref]:
    """For each value that may be a view, the value whose memory it is."""
    owner: dict[Ref, Ref] = {}
    for i, instruction in enumerate(program.instructions):
        if instruction.op.view:
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
        return _Like(made.value.shape, made.value.dtype)
    return _Like(made.shape, float if made.number else made.dtype)


def _template(program: Any, instruction: Instruction, namespace: dict[str, Any]) -> str:
    """The format string of an instruction; the function it calls enters the namespace."""
    op = instruction.op
    template = op.source
    if callable(template):
        template = template(*[_like(program, x) for x in instruction.operands])
    if template is None:
        inputs = ", ".join(f"{{{i}}}" for i in range(len(instruction.operands)))
        if isinstance(op.forward, np.ufunc):
            name = op.forward.__name__
            # positional out= of these two is deprecated, and slow to say so
            out = "out={out}" if name in ("maximum", "minimum") else "{out}"
            template = f"{name}({inputs}, {out})"
            namespace[name] = op.forward
        else:
            options = "".join(f", {k}={v!r}" for k, v in instruction.options.items())
            name = op.name if namespace.get(op.name, op.forward) is op.forward else f"{op.name}_2"
            template = f"{name}({inputs}{options})".replace("{", "{{").replace("}", "}}")
            template = re.sub(r"\{\{(\d+)\}\}", r"{\1}", template)
            namespace[name] = op.forward
    else:
        called = re.match(r"(\w+)[.(]", template)
        if called:
            namespace[called[1]] = getattr(np, called[1])
    return template


def _filled(
    program: Any,
    instruction: Instruction,
    template: str,
    names: Mapping[Ref, str],
    buffer: int | None,
) -> str:
    operands = [names[x] if type(x) is Ref else repr(x) for x in instruction.operands]
    fields: dict[str, Any] = {**instruction.op.defaults, **instruction.options}
    fields["shape"] = instruction.shape
    index = fields.pop("index", None)
    if index is not None:
        arrays = iter(operands[1:])
        fields["index"] = _index(index, arrays)
    if "dtype" in fields:
        fields["dtype"] = repr(np.dtype(fields["dtype"]).str)
    fields["all"] = f"({', '.join(operands)},)"
    fields["out"] = "None" if buffer is None else f"b{buffer}"
    text = _FORMATTER.vformat(template, operands, fields)
    text = text.replace(".transpose(None)", ".T")
    text = text.replace(", out=None)", ")").replace(", None)", ")").replace(", None, False)", ")")
    return f"{text}.item()" if instruction.number else text


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
    return ", ".join(parts) if len(parts) != 1 else f"{parts[0]}"


def _results(
    program: Any, names: Mapping[Ref, str], lines: list[Line], namespace: dict[str, Any]
) -> list[str]:
    """The lines that hand out the outputs: new arrays that nobody else holds."""
    returned = []
    owners = _owners(program)
    seen: set[Ref] = set()
    freshened = []
    namespace["array"] = np.array
    for j, x in enumerate(program.outputs):
        if type(x) is not Ref:
            name = f"static{j}"
            namespace[name] = x
            returned.append(name)
            continue
        made = program.of(x)
        if getattr(made, "number", None) or x.kind == "input":
            returned.append(names[x])
            continue
        if x.kind == "constant" or x in owners or x in seen or made.shape == ():
            # a view, a buffer, a scalar or what is handed out already: copied
            freshened.append(f"result{j} = array({names[x]})")
            returned.append(f"result{j}")
        else:
            returned.append(names[x])
        seen.add(x)
    settle = [
        f"{name}.setflags(write=False)" for name in returned if _is_array(name, program, names)
    ]
    return [*freshened, *settle, f"return {packed(program.structure, returned, namespace)}"]


def _is_array(name: str, program: Any, names: Mapping[Ref, str]) -> bool:
    if name.startswith("static"):
        return False
    for ref, known in names.items():
        if known == name:
            return ref.kind != "input" and not program.of(ref).number
    return True
