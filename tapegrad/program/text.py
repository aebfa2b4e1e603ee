"""The source of a program: definitions made once, a line for each instruction, and runs."""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Collection, Mapping
from contextvars import Context
from functools import lru_cache, partial
from types import BuiltinFunctionType, CodeType, FunctionType, MethodDescriptorType
from typing import Any

import attrs
import numpy as np

from tapegrad.declare.parts import PART, MultiOutputOp
from tapegrad.errors.lines import warn_at_users_line, with_user_warnings
from tapegrad.ops.casting import astype, copy
from tapegrad.ops.indexing import getitem
from tapegrad.ops.joining import concatenate, stack
from tapegrad.ops.rows import index_select
from tapegrad.ops.shape import broadcast_to, reshape, transpose
from tapegrad.program import blocks, cost
from tapegrad.program.arena import Arena, Line
from tapegrad.program.concatenations import filling_of, parts_of
from tapegrad.program.control.loop import Branch, Loop
from tapegrad.program.control.writing import branch_lines, loop_lines
from tapegrad.program.expressions import (
    KINDS,
    Names,
    expression,
    is_element,
    is_few,
    is_filled,
    operand,
)
from tapegrad.program.frame import Frame, Values, framed, values_of
from tapegrad.program.ir import STAGES, Code, Constant, Instruction, Ref, refs_to
from tapegrad.program.layout import axes_of, inverse, ordered, strides_in_order
from tapegrad.program.memory import Plan
from tapegrad.program.results import packed
from tapegrad.transforms.replay import EACH
from tapegrad.tree.ownership import LARGE, Array, readonly_array


def lines_of(frame: Frame) -> list[str]:
    """The lines of a program's instructions, with a comment where a stage begins."""
    return _Lines(frame).written()


class _Lines:
    """The lines of a program's instructions while they are written."""

    def __init__(self, frame: Frame) -> None:
        self.frame, self.program, self.plan = frame, frame.program, frame.plan
        self.refs = refs_to(frame.program.instructions)
        self.lines: list[str] = []
        self.still = _still(frame)
        self.unwritten = {x for filling in self.plan.filled.values() for x in filling.unwritten}
        if frame.inside is None:
            # written where they are returned
            self.unwritten.update(*self.plan.sealed.values())

    def written(self) -> list[str]:
        """All lines."""
        instructions, frame = self.program.instructions, self.frame
        ended, runs = _ended(frame, self.unwritten), dict(self.plan.runs)
        # an instruction that a pass moved up begins no stage
        stages = list(STAGES) if any(x.stage != STAGES[0] for x in instructions) else []
        i = 0
        while i < len(instructions):
            stage = instructions[i].stage
            if stage in stages:
                del stages[: stages.index(stage) + 1]
                self.lines.append(f"# {stage}")
            begin, i = i, runs.get(i, i + 1)
            if begin in runs:
                self.lines += blocks.loop(frame, range(begin, i))
            else:
                self._write(begin)
            if ended and (gone := [x for j in range(begin, i) for x in ended.get(j, ())]):
                self.lines.append(f"del {', '.join(gone)}")
        return self.lines

    def _write(self, i: int) -> None:
        """Add the lines of an instruction."""
        instruction, ref = self.program.instructions[i], self.refs[i]
        op = instruction.op
        # a part is written with the loop or the branch that returns it
        if ref in self.unwritten or (op is PART and _is_control(self.program, instruction)):
            return
        if isinstance(instruction.options.get("loop"), Loop):
            self.lines.extend(loop_lines(self.frame, i, lines_of))
        elif isinstance(instruction.options.get("branch"), Branch):
            self.lines.extend(branch_lines(self.frame, i, lines_of))
        elif op in _MAY_BE_STILL and _is_still(self.program, instruction, self.still):
            self._view_once(i)
        elif ref in self.plan.filled:
            self.lines.extend(_filled(self.frame, ref))
        else:
            place = self._place(ref)
            is_placed = op in _PLACED or ref in self.plan.joined
            text, note = (is_placed and self._placed(i, place)) or self._computed(i, place)
            about = _about(instruction, note)
            self.lines.append(f"{self.frame.values[ref]} = {text}  # {about}")

    def _view_once(self, i: int) -> None:
        """Have a view of memory that stays in place made once, or once for each row."""
        frame, instruction, ref = self.frame, self.program.instructions[i], self.refs[i]
        base: Any = instruction.operands[0]
        name, strides = self.still[base]
        note = _about(instruction, f"a view of {frame.values[base]}")
        called = "x" if name in frame.lists else name
        text = expression(self.program, i, {base: called}, None, frame.names)
        if name in frame.lists:
            frame.list_views(frame.values[ref], name, text, note)
        else:
            frame.once.append(Line(frame.values[ref], text, note))
        self.still[ref] = frame.values[ref], _strides(self.program, instruction, strides)

    def _place(self, ref: Ref) -> str | None:
        """The name of the array that a result is written to; None for one that is made for it."""
        if ref in self.plan.early:
            first = self.plan.early[ref]
            return None if first == ref else self.frame.values[first]
        home = self.plan.home.get(ref)
        buffer = None if home is None else self.frame.buffers[home]
        return self.frame.outs.get(ref) or buffer

    def _placed(self, i: int, place: str | None) -> tuple[str, str] | None:
        """The array that has a result once its parts are written there, if that is how; a note."""
        frame, plan, ref, lines = self.frame, self.plan, self.refs[i], self.lines
        instruction, values = self.program.instructions[i], self.frame.values
        op, operands = instruction.op, instruction.operands
        if ref in plan.joined:
            lines.extend(_rest(self.program, plan, i, values, frame.buffers))
            return frame.buffers[plan.home[ref]], "its parts were written there"
        if place is None:
            return None
        if op is stack and not instruction.options.get("axis"):
            # a call of NumPy takes longer than copying a few small rows
            lines.extend([f"{place}[{k}] = {operand(x, values)}" for k, x in enumerate(operands)])
            return place, "its rows were written there"
        if is_filled(instruction) or (op is copy and is_few(instruction)):
            # an assignment starts sooner than a call, and broadcasts
            lines.append(f"{place}[...] = {operand(operands[0], values)}")
            return place, instruction.note
        filling = None
        if op is concatenate and place in frame.lists:
            filling = filling_of(self.program, ref)
        if filling is None:
            return None
        # in views of the row that are made once
        for x, view in (*filling.parts, *filling.fixed):
            part = frame.names.new(f"{place}_part")
            frame.list_views(part, place, f"x{view}", f"its places in {values[ref]}")
            lines.append(f"{part}[...] = {operand(x, values)}")
        return place, "its parts were written there"

    def _computed(self, i: int, place: str | None) -> tuple[str, str]:
        """The expression of a result, which may write to its place, and a note."""
        frame, ref, instruction = self.frame, self.refs[i], self.program.instructions[i]
        if i in frame.updates:
            return self._updated(i), instruction.note
        # NumPy makes the array that it fills
        if self.plan.early.get(ref) == ref and not is_filled(instruction):
            place = blocks.new_array(instruction, frame.names)
        text = expression(self.program, i, frame.values, place, frame.names)
        if instruction.op is EACH:
            return text, f"{instruction.options['of'].name} has no batching rule: a call for each"
        return text, instruction.note

    def _updated(self, i: int) -> str:
        """The call that updates rows."""
        frame, instruction = self.frame, self.program.instructions[i]
        arguments = [operand(x, frame.values) for x in instruction.operands]
        arguments += [f"taken={operand(x, frame.values)}" for x in _taken(frame, i)]
        arguments += [f"{name}=True" for name, x in instruction.options.items() if x is True]
        return f"{frame.updates[i]}({', '.join(arguments)})"


# ops whose results may be there once their parts are written to their places
_PLACED = frozenset({stack, concatenate, copy, broadcast_to, astype})


def _ended(frame: Frame, unwritten: Collection[Ref]) -> dict[int, list[str]]:
    """The names of large arrays without a buffer, by the last instruction that needs each.

    Their memory would be in use until the program returns. A view holds what it is of, and a
    tuple its parts, so their names go too.
    """
    program, plan, instructions = frame.program, frame.plan, frame.program.instructions
    ended: dict[int, list[str]] = {}
    large = {
        ref
        for ref, instruction in zip(refs_to(instructions), instructions, strict=True)
        if instruction.nbytes >= cost.DROPPED_BYTES
        and not (ref in plan.home or ref in plan.early or instruction.options.keys() & _CONTROL)
        and not (instruction.op is PART and _is_control(program, instruction))
    }
    if not large:
        return ended
    large |= {x for ref in large for x in program.of(ref).operands if program.of(ref).op is PART}
    live = plan.live
    ends = dict(live.ends)
    for i in frame.updates:
        ends.update(dict.fromkeys(_taken(frame, i), i))
    apart = {*unwritten, *[Ref("instruction", i) for run in plan.runs for i in range(*run)]}
    for ref, end in ends.items():
        if live.owner_of(ref) in large and end < len(instructions) and ref not in apart:
            ended.setdefault(end, []).append(frame.values[ref])
    return ended


def _taken(frame: Frame, i: int) -> list[Ref]:
    """The rows that an update adds to, if they are in an array that nothing needs after it."""
    program = frame.program
    table, _, indices = program.instructions[i].operands[:3]
    ends = frame.plan.live.ends
    for j, instruction in enumerate(program.instructions[:i]):
        if instruction.op is index_select and instruction.operands == (table, indices):
            ref = Ref("instruction", j)
            # another update of these rows would use them too
            return [] if ends[ref] > i or ends[table] > i else [ref]  # type: ignore[index]
    return []


# the names of arrays, and their strides in elements if they are known
Still = dict[Any, tuple[str, "tuple[int, ...] | None"]]


def _still(frame: Frame) -> Still:
    """The arrays that stay in place from run to run.

    They are constants, buffers and rows of such, by the values in them.
    """
    still: Still = {}
    program, plan = frame.program, frame.plan
    if frame.lists:
        names = {Ref("input", i): frame.values[Ref("input", i)] for i in range(len(program.inputs))}
        for ref, name in {**names, **frame.outs}.items():
            if name in frame.lists:
                still[ref] = name, strides_in_order(program.of(ref).shape)
    for i, x in enumerate(program.constants):
        ref = Ref("constant", i)
        if ref in frame.values:
            strides = strides_in_order(x.shape) if x.array.flags.c_contiguous else None
            still[ref] = frame.values[ref], strides
    for ref, home in plan.home.items():
        moves = frame.inside is not None and ref in frame.outs and ref not in plan.parts
        # a place in a row that is made for each call
        if ref not in plan.passing and not moves:
            name = frame.outs.get(ref, frame.buffers[home])
            still[ref] = name, _strides_of_home(plan, ref, program.of(ref).shape)
    return still


def _strides_of_home(plan: Plan, ref: Ref, shape: tuple[int, ...]) -> tuple[int, ...]:
    """The strides of the memory that a result is written to."""
    axes = plan.turned.get(ref)
    if axes is None:
        return strides_in_order(shape)
    return ordered(strides_in_order(ordered(shape, axes)), inverse(axes))


def _is_control(program: Code, part: Instruction) -> bool:
    """Whether a part is one of a loop or a branch."""
    of: Any = part.operands[0]
    return not _CONTROL.isdisjoint(program.of(of).options)


_CONTROL = frozenset({"loop", "branch"})


_MAY_BE_STILL = frozenset({getitem, reshape, transpose})


def _is_still(program: Code, instruction: Instruction, still: Still) -> bool:
    """Whether a result is a view of an array that stays in place from run to run."""
    if len(instruction.operands) != 1 or instruction.operands[0] not in still:
        return False
    (of,) = instruction.operands
    op = instruction.op
    if op is getitem:
        # a number is copied, and so is what a mask selects
        return (instruction.shape != () or is_element(instruction)) and not any(
            isinstance(part, bool) for part in instruction.options["index"]
        )
    if op is reshape:
        return still[of][1] == strides_in_order(program.like(of).shape)
    return op is transpose


def _strides(
    program: Code, instruction: Instruction, strides: tuple[int, ...] | None
) -> tuple[int, ...] | None:
    """The strides of a view that is made once."""
    if instruction.op is reshape:
        return strides_in_order(instruction.shape)
    if instruction.op is not transpose or strides is None:
        return None
    return ordered(strides, axes_of(instruction))


def _about(instruction: Instruction, note: str) -> str:
    """The comment at the end of a line."""
    shape = _as_text(instruction.shape)
    if instruction.number:
        shape = f"a Python {KINDS[instruction.dtype.kind]}"
    elif isinstance(instruction.op, MultiOutputOp):
        shape = ", ".join(instruction.op.results._fields)
    return f"{shape}: {note}" if note else shape


# shapes are few, and their text takes longer than to look them up
_as_text = lru_cache(1 << 8)(str)


def _filled(frame: Frame, ref: Ref) -> list[str]:
    """The lines that copy the parts of a small concatenation to views of its buffer."""
    filling, buffer = frame.plan.filled[ref], frame.buffers[frame.plan.home[ref]]
    values = frame.values
    once = [Line(f"{buffer}{view}", operand(x, values)) for x, view in filling.fixed]
    lines = []
    for x, view in filling.parts:
        name = frame.names.new(f"{buffer}_part")
        once.append(Line(name, f"{buffer}{view}"))
        lines.append(f"{name}[...] = {operand(x, values)}")
    note = f"{frame.program.of(ref).shape}: {buffer} has its parts"
    if lines:
        lines[-1] += f"  # {note}"
    else:
        once[-1] = attrs.evolve(once[-1], note=note)
    frame.once.extend(once)
    # it has its buffer to itself, and shares its name
    values[ref] = buffer
    return lines


def _rest(program: Code, plan: Plan, i: int, values: Values, buffers: tuple[str, ...]) -> list[str]:
    """The lines that copy the parts of a joined array that are not in place yet."""
    home = plan.home[Ref("instruction", i)]
    return [
        f"{buffers[home]}[{part.index}] = {operand(x, values)}"
        for x, part in parts_of(program, program.instructions[i], home)
        if type(x) is not Ref or plan.parts.get(x) != part
    ]


@attrs.frozen
class Writing:
    """A program written out.

    Attributes
    ----------
    header
        Comments on what it takes and holds.
    once
        The lines that make what is made once.
    head, body
        The function that runs.
    names
        The names that it uses, and what those from outside stand for.
    make, run
        The names of the two functions.
    """

    header: list[str]
    once: list[Line]
    head: str
    body: list[str]
    names: Names
    make: str
    run: str

    @property
    def text(self) -> str:
        """The source: a function that makes what is made once, and in it the one that runs."""
        lines = [
            *self.header,
            f"def {self.make}():",
            *[f"    {line.text}" for line in self.once],
            f"    {self.head}",
            *[f"        {line}" for line in self.names.printed(self.body)],
            f"    return {self.run}",
        ]
        return "\n".join(lines) + "\n"

    @property
    def flat(self) -> str:
        """The lines of the function that runs, counted alike, at the level of a module.

        Python compiles thousands of names that one function defines and another reads in time that
        grows with their square. A number that NumPy would convert in each call is an array here.
        """
        above = [""] * (len(self.header) + 1 + len(self.once))
        lines = [*above, self.head, *[f"    {line}" for line in self.body]]
        return "\n".join(lines) + "\n"

    @property
    def namespace(self) -> Mapping[str, Any]:
        """The names that it needs and does not define."""
        return self.names.namespace


@attrs.frozen(eq=False)
class Maker:
    """Allocates the buffers of a program and returns it, ready to run.

    Attributes
    ----------
    once
        What is made once, in order: a name, or "", and what gives its value.
    code
        Defines the function that runs.
    namespace
        The names that it needs and does not define.
    run
        The name of the function that runs.
    """

    once: list[tuple[str, CodeType]]
    code: CodeType
    namespace: Mapping[str, Any]
    run: str

    def __call__(self) -> Callable[..., Any]:
        """A function of the inputs, with buffers of its own."""
        names = dict(self.namespace)
        for name, value in self.once:
            if name:
                names[name] = eval(value, names)
            else:
                exec(value, names)
        exec(self.code, names)
        # the names do not hold the function, which holds them; and its code is its own, since
        # Python keeps in it where it last found each name
        return FunctionType(names.pop(self.run).__code__.replace(), names)


def source(program: Code) -> str:
    """The source of a program; a number in it is an array where it runs, which NumPy takes sooner.

    Examples
    --------
    >>> import tapegrad as tg
    >>> step = tg.compile(lambda w, x: tg.grad(lambda w: tg.sum(tg.tanh(x * w)))(w))
    >>> print(step.program(np.ones(3), np.ones(3)))  # doctest: +ELLIPSIS
    # <lambda>: 2 inputs, ...
    """
    return written(program).text


def runner(program: Code) -> Maker:
    """A call that allocates the buffers and returns the program, ready to run."""
    writing = written(program)
    # a line of a program is not the user's
    namespace = {**writing.namespace, "__name__": __name__}
    code = compile(writing.flat, f"<program of {_shown(program.label)}>", "exec")
    return Maker(list(map(_made_once, writing.once)), code, namespace, writing.run)


def _made_once(line: Line) -> tuple[str, CodeType]:
    """A line that runs once, as `Maker` has it."""
    if line.target.isidentifier():
        return line.target, _evaluated(line.expression)
    return "", compile(f"{line.target} = {line.expression}", "<program>", "exec")


@lru_cache(1 << 10)
def _evaluated(text: str) -> CodeType:
    """An expression compiled: buffers of one shape, and views of one, are written alike."""
    return compile(text, "<program>", "eval")


def written(program: Code) -> Writing:
    """The text of a program and the names it needs."""
    names = Names()
    arena = Arena(names, [])
    frame = framed(program, values_of(program, names), names, arena)
    body = [*lines_of(frame), *_results(frame)]
    make, run = names.new("make"), names.new("run")
    inputs = ", ".join(frame.values[Ref("input", i)] for i in range(len(program.inputs)))
    header = _header(program, frame.plan, frame.values, names.constants, arena.settle())
    return Writing(header, arena.once, f"def {run}({inputs}):", body, names, make, run)


def _header(
    program: Code, plan: Plan, values: Values, constants: Mapping[str, Constant], size: int
) -> list[str]:
    """Comments that say what the program takes and what it holds, in how many bytes."""
    counts = ", ".join(
        f"{len(things)} {what}{'' if len(things) == 1 else 's'}"
        for what, things in (
            ("input", program.inputs),
            ("instruction", program.instructions),
            ("buffer", plan.buffers),
        )
    )
    lines = [
        f"# {_shown(program.label)}: {counts}" + (f" of {size:,} bytes in all" if size else "")
    ]
    for i, argument in enumerate(program.inputs):
        kind = f"a Python {argument.number}" if argument.number else ""
        kind = kind or _kind(argument.dtype, argument.shape)
        lines.append(f"#   {values[Ref('input', i)]}: {_shown(argument.path)}, {kind}")
    for name, constant in constants.items():
        if constant.splat is None:
            kind = "captured" if constant.captured else "computed when compiled"
            lines.append(f"#   {name}: {kind}, {constant.dtype} {constant.shape}")
    return lines


@lru_cache(1 << 8)
def _kind(dtype: Any, shape: tuple[int, ...]) -> str:
    return f"{dtype} {shape}"


def _shown(text: str) -> str:
    """Text in one line of a comment."""
    return text if text.isprintable() else repr(text)


# --- what each call runs --------------------------------------------------------------------


def _apart(x: Any) -> Array:
    """An argument as it may be returned: a copy, unless nobody can change it."""
    return readonly_array(np.asarray(x).view())


def _results(frame: Frame) -> list[str]:
    """The lines that return the outputs: new arrays that nobody else holds."""
    program, values, names = frame.program, frame.values, frame.names
    lines: list[str] = []
    returned: list[str] = []
    views = frame.plan.live.owner
    seen: set[Ref] = set()
    part_of = {x: of for of, parts in frame.plan.sealed.items() for x in parts}
    lines += [f"{values[of]}.setflags(False)" for of in frame.plan.sealed]

    def copied(function: str, x: Ref) -> str:
        result = names.new(f"result{len(returned)}")
        lines.append(f"{result} = {function}({values[x]})")
        return result

    for x in program.outputs:
        if type(x) is not Ref:
            returned.append(names.of(x, f"static{len(returned)}"))
            continue
        value = program.of(x)
        if getattr(value, "number", None):
            returned.append(values[x])
            continue
        if x.kind == "input":
            returned.append(copied(names.of(_apart, "apart"), x))
            continue
        if x.kind == "instruction" and x.index in frame.updates and x not in seen:
            # `RowUpdates` returns what may be handed out
            returned.append(values[x])
            seen.add(x)
            continue
        if x in part_of and x not in seen:
            # a view of what is read-only
            text = expression(program, x.index, values, None, names)
            lines.append(f"{values[x]} = {text}  # {value.shape}")
            returned.append(values[x])
            seen.add(x)
            continue
        held = x.kind == "constant" or x in views or x in frame.lent
        if held or x in seen or value.shape == ():
            # a view, a loop's memory, a scalar, or an array that is handed out already
            name = copied(names.library("array", np.array), x)
        else:
            name = values[x]
        seen.add(x)
        if math.prod(value.shape) * value.dtype.itemsize < LARGE:
            # what `readonly_array` does with a small array
            lines.append(f"{name}.setflags(False)")
            returned.append(f"{name}.view()")
        else:
            returned.append(f"{names.of(readonly_array, 'readonly_array')}({name})")
    lines.append(f"return {packed(program.structure, returned, names)}")
    return lines


# a run for any error state of NumPy's, and one for the state that it begins with
Runs = tuple[Callable[..., Any], Callable[..., Any]]

# values that run no code of the user's
_PLAIN = (
    *(np.ndarray, np.generic, np.ufunc, np.dtype, type(np.concatenate)),
    *(BuiltinFunctionType, MethodDescriptorType),
)


def runs_of(make: Maker) -> Callable[[], Runs]:
    """A function that makes runs of a program in pairs, from one that makes them singly.

    The second of a pair has one context for all its calls, where that is set once, which takes a
    quarter of the time. The caller's context variables are not seen there, so it is for programs
    that call NumPy and this package alone.
    """
    # from Python 3.14 on, the filters of warnings may be among those variables
    are_seen = getattr(sys.flags, "context_aware_warnings", False)
    alone = not are_seen and all(map(_is_ours, make.namespace.values()))

    def pair() -> Runs:
        run = make()
        if not alone:
            return partial(with_user_warnings, run), partial(with_user_warnings, run)
        context = Context()
        context.run(warn_at_users_line)
        return partial(with_user_warnings, run), partial(context.run, run)

    return pair


def _is_ours(x: Any) -> bool:
    """Whether a name of a program stands for what runs no code of the user's."""
    if isinstance(x, FunctionType | type):
        # None for a function of code that was executed in a namespace without a name
        return str(x.__module__).startswith(("tapegrad.", "numpy", "builtins"))
    if type(x) in (tuple, dict):
        return all(map(_is_ours, x.values() if type(x) is dict else x))
    return isinstance(x, _PLAIN) or type(x) in (int, float, bool, str, type(None), slice)
