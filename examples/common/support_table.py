"""ops.md, the table of what works on Tensors: from the ops' declarations."""

from __future__ import annotations

import functools
import inspect
import itertools
import operator
import re
import sys
from collections.abc import Callable, Iterator
from operator import getitem, setitem
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

import tapegrad as tg
from tapegrad.arraylike.table import full_table
from tapegrad.core.primitive import EachOperand, Joint
from tapegrad.declare import OPS, declaration
from tapegrad.domain import REAL

# the calls that the package's own ops are tested on
sys.path.insert(1, str(Path(__file__).parents[2] / "tests" / "support"))
from op_calls import sample_calls

HEAD = """\
# What works on Tensors

The functions of tapegrad, by their file in `tapegrad/`, and the functions of NumPy and SciPy
that they answer for: either can be called on Tensors, as can the methods and operators of
arrays. Any other function of NumPy raises a `TypeError` that names it, and so does an argument
that is not listed here. NumPy's functions ask their arrays alone: where only an option is a
Tensor, as in `np.sum(array, initial=t)` or `np.linalg.vector_norm(array, ord=t)`, nothing can be
recorded, and most of them raise; `tg.sum` and `tg.vector_norm` take it. Those that make arrays,
such as `np.full`, ask only their `like=`: write `np.full(3, t, like=t)`, or `tg.full(3, t)`.
`tg.r_` and `tg.c_` join arrays in brackets, as NumPy's do.
[api.md](api.md) has an example of each. `examples/reference.py` writes both pages, this one from
the ops' declarations.

- **gradient**: the operands that receive one. *By its parts*: the function is composed of other
  ops and recorded as these, which pass the gradient on.
- **complex**: whether it takes complex operands. What does not refuses them by name: it orders
  numbers, or its formula is one for real numbers. Those of `rfft` and its kin are real, and their
  results complex.
- **convention**: the gradient where there is no derivative, or where formulas would fail. A
  function that goes by its parts follows their conventions unless it states its own.
- **batch**: `vmap` calls an op once for all examples. It calls these once for each example:
  {loops}, the draws of `tg.random`, and ops and rules of your own. It refuses {refused}, whose
  shape depends on values.
"""

PARTS, NONE = "by its parts", "none"
# NumPy's functions in the table, without the methods of ufuncs and Python's operators
ANSWERS = full_table()
OF_NUMPY = {f for f in ANSWERS if type(f) not in (tuple, str) and f not in (getitem, setitem)}
OF_SCIPY = {f for f in ANSWERS if type(f) is str}
# these read no value of a Tensor
SHAPES = (np.shape, np.ndim, np.size, np.zeros_like, np.ones_like, np.empty_like)
CONSTANT = {ANSWERS[function] for function in SHAPES}
FACES = {
    "np": np,
    "np.fft": np.fft,
    "np.linalg": np.linalg,
    "np.lib.stride_tricks": np.lib.stride_tricks,
}


class Row(NamedTuple):
    """A line of the table, and the module it belongs to."""

    module: str
    call: str
    names: list[str]
    gradient: str
    complex: str
    convention: str


@functools.cache
def rows() -> tuple[Row, ...]:
    """A row for each function, in no order."""
    made = []
    names = {
        function: [f"{face}.{name}" for face, name in faced(function)] for function in OF_NUMPY
    } | {name: [name] for name in OF_SCIPY}
    ops = {thing for name in dir(tg) if declaration(thing := getattr(tg, name))}
    for function in ops | {ANSWERS[f] for f in names}:
        found = sorted(itertools.chain(*[names[f] for f in names if ANSWERS[f] is function]))
        said, module = declaration(function), function.__module__
        if said is not None:
            called, kink = function.__name__, said.kink
            takes = "yes" if said.complex else "no"
            called = next((name for name in found if name in OF_SCIPY), called)
            if f"np.fft.{called}" in found:
                called = f"fft.{called}"
            gradient = operands(function) if isinstance(function, tg.Op) else parts(function)
            function = as_called(function)
        else:
            called, gradient, kink = found[0], NONE if function in CONSTANT else PARTS, ""
            takes = "yes" if function in CONSTANT else PARTS
            ours = called.removeprefix("np.")
            called = ours if attribute(ours) is function else called
        made.append(Row(module, called + signature(function), found, gradient, takes, kink))
    return tuple(made)


def faced(function: Any) -> Iterator[tuple[str, str]]:
    """Where NumPy has a function, and under which names."""
    for face, module in FACES.items():
        for name, thing in vars(module).items():
            if thing is function:
                yield face, name


def attribute(path: str) -> Any:
    """The object that tapegrad has under a dotted name; None if there is none."""
    try:
        return operator.attrgetter(path)(tg)
    except AttributeError:
        return None


def as_called(function: Any) -> Any:
    """The function whose parameters are those that a user passes."""
    if isinstance(function, tg.Op):
        function = function.general or function.signature.read or function
    return inspect.unwrap(function)


def signature(function: Callable[..., Any]) -> str:
    """A function's parameters with their defaults."""
    given = inspect.signature(function)
    shown = [p.replace(annotation=p.empty) for p in given.parameters.values()]
    bare = given.replace(parameters=shown, return_annotation=given.empty)
    text = str(bare).replace(repr(REAL), "REAL")
    text = re.sub(r"<function (\w+) at 0x\w+>|<class '([\w.]+)'>", r"\1\2", text)
    # what is long, or stands for something else
    long = rf"{re.escape(repr(np._NoValue))}|NOTHING|array\(.*?\]\)"
    return re.sub(long, "...", text, flags=re.S)


def operands(op: tg.Op[Any]) -> str:
    """The operands of an op that have a gradient."""
    if isinstance(op.vjps, EachOperand):
        have = op.signature.names[: 1 if op.vjps.last is None else op.vjps.last + 1]
    elif isinstance(op.vjps, Joint):  # of arrays in a sequence, or of each operand
        have = op.signature.names[: 1 if op.signature.read else None]
    else:
        rules = op.vjps if isinstance(op.vjps, tuple) else ()
        names = inspect.signature(op.declared).parameters
        have = tuple(name for name, rule in zip(names, rules, strict=False) if rule)
    return ", ".join(map(code, have)) or NONE


def parts(op: Callable[..., Any]) -> str:
    """Whether the result of a function composed of ops can have a gradient through its parts."""
    # the first call tells, save for few
    for call in itertools.chain.from_iterable(sample_calls(op, 1, k) for k in range(20)):
        output, _ = tg.record(lambda *args, call=call: op(*args, **call.kwargs))(*call.args)
        if any(type(x) is tg.Tensor and x.dtype.kind in "fc" for x in tg.tree.leaves(output)):
            return PARTS
    return NONE


def batches() -> dict[str, str]:
    """The ops that a batch takes one by one, and those that it cannot take."""
    without = {op for op in OPS.values() if op.batch is None}
    refused = {op for op in without if op.signature.read is not None}
    return {
        name: ", ".join(sorted(code(op.name) for op in ops))
        for name, ops in {"loops": without - refused, "refused": refused}.items()
    }


def code(text: str) -> str:
    """Text as code, in a cell."""
    return f"`{text}`".replace("|", r"\|")


def table() -> str:
    """All of it, as Markdown."""
    parts = [HEAD.format(**batches())]
    for module, group in itertools.groupby(sorted(rows()), key=lambda row: row.module):
        summary = (sys.modules[module].__doc__ or "").splitlines()[0]
        parts.append(f"## {module.removeprefix('tapegrad.')}\n\n{summary}\n")
        parts.append(
            "| call | answers for | gradient | complex | convention |\n|---|---|---|---|---|"
        )
        for row in group:
            names = ", ".join(map(code, row.names))
            cells = code(row.call), names, row.gradient, row.complex, row.convention
            parts[-1] += f"\n| {' | '.join(cells)} |".replace("|  |", "| |")
        parts[-1] += "\n"
    return "\n".join(parts)
