"""Programs as NumPy source: what is made once, and what each call runs.

`source` is the text that a person reads, and `runner` the function that it defines: called once,
it allocates the buffers and returns ``run``, which takes the inputs and returns the outputs.
`tapegrad.program.frame` names the values, `tapegrad.program.plan` assigns the buffers,
`tapegrad.program.lines` writes one instruction, and `tapegrad.program.control.writing` a loop.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from types import CodeType, FunctionType
from typing import Any

import attrs
import numpy as np

from tapegrad.face.ownership import LARGE, Array, give
from tapegrad.program.frame import Frame, Values, framed, values_of
from tapegrad.program.instructions import lines_of
from tapegrad.program.ir import Code, Ref
from tapegrad.program.lines import expression
from tapegrad.program.names import Names
from tapegrad.program.plan import Plan, owners
from tapegrad.program.results import packed


@attrs.frozen
class Writing:
    """A program written out.

    Attributes
    ----------
    text
        The source: a function that makes what is made once, and in it the one that runs.
    flat
        The same lines with the same numbers, at the level of a module. Python compiles thousands
        of names that one function defines and another reads in time that grows with their square.
    namespace
        The names that it needs and does not define.
    run
        The name of the function that runs.
    """

    text: str
    flat: str
    namespace: Mapping[str, Any]
    run: str


@attrs.frozen(eq=False)
class Maker:
    """Allocates the buffers of a program and returns it, ready to run.

    Attributes
    ----------
    code
        Defines what is made once, and the function that runs.
    namespace
        The names that it needs and does not define.
    run
        The name of the function that runs.
    """

    code: CodeType
    namespace: Mapping[str, Any]
    run: str

    def __call__(self) -> Callable[..., Any]:
        """A function of the inputs, with buffers of its own."""
        names = dict(self.namespace)
        exec(self.code, names)
        # the names do not hold the function, which holds them; and its code is its own, since
        # Python keeps in it where it last found each name
        return FunctionType(names.pop(self.run).__code__.replace(), names)


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


def runner(program: Code) -> Maker:
    """What allocates the buffers and returns the program, ready to run."""
    writing = written(program)
    # a line of a program is not the user's
    namespace = {**writing.namespace, "__name__": __name__}
    code = compile(writing.flat, f"<program of {_shown(program.label)}>", "exec")
    return Maker(code, namespace, writing.run)


def written(program: Code) -> Writing:
    """The text of a program and the names it needs."""
    names = Names()
    once: list[str] = []
    frame = framed(program, values_of(program, names), names, once)
    body = [*lines_of(frame), *_results(frame)]
    make, run = names.new("make"), names.new("run")
    given = ", ".join(frame.values[Ref("input", i)] for i in range(len(program.inputs)))
    header = _header(program, frame.plan, frame.values)
    head = f"def {run}({given}):"
    text = [
        *header,
        f"def {make}():",
        *[f"    {line}" for line in once],
        f"    {head}",
        *[f"        {line}" for line in body],
        f"    return {run}",
    ]
    flat = [*[""] * (len(header) + 1), *once, head, *[f"    {line}" for line in body]]
    return Writing("\n".join(text) + "\n", "\n".join(flat), names.namespace, run)


def _header(program: Code, plan: Plan, values: Values) -> list[str]:
    """Comments that say what the program takes and what it holds."""
    size = sum(x.nbytes for x in plan.buffers)
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


# --- what each call runs --------------------------------------------------------------------


def _apart(x: Any) -> Array:
    """An argument as it may be returned: a copy, unless nobody can change it."""
    return give(np.asarray(x).view())


def _results(frame: Frame) -> list[str]:
    """The lines that return the outputs: new arrays that nobody else holds."""
    program, values, names = frame.program, frame.values, frame.names
    lines: list[str] = []
    returned: list[str] = []
    views = owners(program)
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
        made = program.of(x)
        if getattr(made, "number", None):
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
            lines.append(f"{values[x]} = {text}  # {made.shape}")
            returned.append(values[x])
            seen.add(x)
            continue
        held = x.kind == "constant" or x in views or x in frame.lent
        if held or x in seen or made.shape == ():
            # a view, a loop's memory, a scalar, or an array that is handed out already
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
