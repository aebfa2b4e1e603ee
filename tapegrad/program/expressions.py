"""Expressions of a source: templates of ops, and the names that a source uses."""

from __future__ import annotations

import builtins
import keyword
import math
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from tapegrad.arraylike.protocols import INFIX
from tapegrad.core.op import Op
from tapegrad.core.primitive import Primitive
from tapegrad.core.writing import ASARRAY
from tapegrad.declare import OPS, key_of
from tapegrad.declare.abstract import exactly
from tapegrad.declare.parts import PART
from tapegrad.ops.adding import add_at_places_into
from tapegrad.ops.casting import astype, copy, stopped
from tapegrad.ops.fourier import fft, ifft, irfft, rfft
from tapegrad.ops.indexing import HOLE, getitem
from tapegrad.ops.logic import keep_into
from tapegrad.ops.shape import broadcast_to
from tapegrad.program import cost
from tapegrad.program.arena import Buffer, buffer, placed
from tapegrad.program.ir import Code, Constant, Instruction, Ref, example, number
from tapegrad.program.lines import KINDS, Line
from tapegrad.transforms.reverse import SEED


def is_filled(instruction: Instruction) -> bool:
    """Whether a result is filled by an assignment: a copy, or broadcast or converted, and small."""
    op = instruction.op
    # an assignment starts sooner than a call, which takes most of the time of so few elements
    is_cast = op is broadcast_to or op is astype
    return op is copy or (is_cast and math.prod(instruction.shape) <= cost.FILLED_ELEMENTS)


# the functions that a source calls by their own names: NumPy's, and some that stand for ops
_LIBRARY: Mapping[str, Any] = {
    **vars(np),
    "fft": np.fft,
    "keep": keep_into,
    "scatter_add": add_at_places_into,
}


# names that a source may use
_RESERVED = frozenset({*dir(builtins), *dir(np), *keyword.kwlist, *_LIBRARY})


class Names:
    """The names of one source, and the values that it is run with: given, or made before a call.

    A name is as close to the wanted text as possible, and no two are the same: it differs from all
    names given before, and from those of Python, NumPy and ops.

    Attributes
    ----------
    literal
        Whether numbers are written as such, as for a reader. NumPy would convert them in each
        call, so a source that runs has names for arrays of them, on as many lines.
    namespace
        The values that the source needs from outside, by name.
    constants
        The constants of the program and of its bodies, by name.
    memory
        The arrays that are allocated once.
    once
        The lines of what is made after that, before the first call, such as a view.
    size
        The bytes of the memory, once it is settled.
    known
        The names of values from outside, by identity, as the namespace keeps them alive; and of
        what is made once for several, by what it is of and its expression.

    Examples
    --------
    >>> names = Names()
    >>> names.new("layer.w"), names.new("layer_w"), names.new("sum"), names.new("0")
    ('layer_w', 'layer_w_2', 'sum_2', '_0')
    """

    def __init__(self, literal: bool = False) -> None:
        self.literal = literal
        self.namespace: dict[str, Any] = {}
        self.constants: dict[str, Constant] = {}
        self.memory: list[Buffer] = []
        self.once: list[Line] = []
        self.size = 0
        # for each name that is taken or was wanted, the last number appended to it
        self._count: dict[str, int] = {}
        self.known: dict[Any, str] = {}

    def new(self, wanted: str) -> str:
        """A new name, made from any text."""
        if not (wanted.isascii() and wanted.isidentifier()):
            wanted = re.sub(r"\W", "_", wanted, flags=re.ASCII)
            if not wanted.isidentifier():
                wanted = f"_{wanted}"
        name = wanted
        while name in self._count or name in _RESERVED or name in OPS:
            count = self._count[wanted] = self._count.get(wanted, 1) + 1
            name = f"{wanted}_{count}"
        self._count.setdefault(name, 1)
        return name

    def of(self, value: Any, wanted: str, is_own: bool = False) -> str:
        """The name of a value from outside: the same one each time.

        NumPy's functions and those of ops have their own, which nothing else is given.
        """
        name = self.known.get(id(value))
        if name is None:
            is_free = is_own and wanted not in self.namespace
            name = self.known[id(value)] = wanted if is_free else self.new(wanted)
            self.namespace[name] = value
        return name

    def number(self, x: Constant) -> str:
        """A constant that is one number, as it is written."""
        if not self.literal:
            return self.of(x.array, "number")
        if x.dtype.kind == "b":
            return number(x.splat)
        return f"{self.library(x.dtype.type.__name__)}({x.literal})"

    def function(self, op: Primitive) -> str:
        """The name of an op's function: NumPy's, that of one of our ops, or a new one."""
        forward = op.forward
        if name := self.known.get(id(forward)):
            return name
        if isinstance(forward, np.ufunc) and _LIBRARY.get(forward.__name__) is forward:
            return self.library(forward.__name__)
        is_ours = key_of(op) is not None and (op.name in OPS or op.name in _RESERVED)
        return self.of(forward, op.name, is_ours)

    def library(self, name: str) -> str:
        """The name of a function that a source calls by its own name, such as NumPy's."""
        return self.of(_LIBRARY[name], name, True)

    def settle(self) -> None:
        """Have the arrays share memory where that saves any."""
        large = [x for x in self.memory if x.lines * cost.CACHE_LINE >= cost.PLACED_BYTES]
        apart = sum([x.lines for x in large])
        if apart * cost.CACHE_LINE >= cost.ARENA_BYTES and (whole := placed(large)) < apart:
            name = self.new("arena")
            for x in large:
                x.arena = name
            arena = Buffer((whole * cost.CACHE_LINE,), np.dtype(np.uint8), name=name)
            self.memory.insert(0, arena)
        for x in self.memory:
            if not x.arena:
                x.start = self.size
                self.size += x.lines * cost.CACHE_LINE

    def values(self) -> dict[str, Any]:
        """What the source is run with: the values from outside, and new ones that are made once."""
        # in one block: to look for the place of each would take longer
        values, block = {**self.namespace}, buffer((self.size,), np.uint8)
        for x in self.memory:
            values[x.name] = np.ndarray(x.shape, x.dtype, values.get(x.arena, block), x.start)
        for line in self.once:
            values[line.target] = line.take(values[line.of])
        return values


def _matmul(x1: Any, x2: Any) -> str:
    """The method ``dot``, which starts in a third of the time, where it gives the same.

    It takes a matrix of one element for a number: it adds nothing where that is 0.
    """
    a, b = x1.shape, x2.shape
    is_like = x1.dtype == x2.dtype and x1.dtype.kind == "f" and len(a) <= 2 and len(b) <= 2
    if not is_like or math.prod(a) == 1 or math.prod(b) == 1:
        return "{matmul}({0}, {1}, {out})"
    return "{0}.dot({1})" if len(a) == len(b) == 1 else "{0}.dot({1}, {out})"


def _einsum(*operands: Any) -> str | None:
    """NumPy's call; of one operand it may be a view, and the op's function copies it."""
    listed = ", ".join([f"{{{k}}}" for k in range(len(operands))])
    text = f"{{einsum}}({{subscripts}}, {listed}, optimize={{optimize}}, out={{out}})"
    return text if len(operands) > 1 else None


def _keep(condition: Any, x: Any) -> str:
    """`keep` into a buffer, which is for floating arrays and masks of their shape."""
    is_array = not (condition is None or x is None or x.number) and x.shape == condition.shape
    if is_array and (condition.dtype.kind, x.dtype.kind) == ("b", "f"):
        return "{keep}({0}, {1}, {out})"
    return "{where}({0}, {1}, 0)"


def _irfft(a: Any) -> str | None:
    """NumPy's call, which leaves the result of no bins as it finds the memory."""
    return None if 0 in a.shape else "{fft}.irfft({0}, {n}, {axis}, {norm}, {out})"


# Templates, or functions that make one from the operands; these are None for Python numbers.
TEMPLATES: Mapping[Any, str | Callable[..., str | None]] = {
    OPS["power"]: "{power}({0}, {1}, {out})",
    OPS["clip_both"]: "{clip}({0}, {1}, {2}, {out})",
    **dict.fromkeys([OPS["real"], OPS["asarray"]], "{asarray}({0})"),
    OPS["index_select"]: "{0}.take({1}, 0)",
    OPS["add_at_places"]: "{scatter_add}({0}, {1}, {2}, {out})",
    OPS["where"]: "{where}({0}, {1}, {2})",
    OPS["keep"]: _keep,
    OPS["matmul"]: _matmul,
    OPS["vecdot"]: "{vecdot}({0}, {1}, axis={axis}, out={out})",
    OPS["contract"]: _einsum,
    OPS["ascontiguousarray"]: "{ascontiguousarray}({0})",
    OPS["astype"]: "{0}.astype({dtype})",
    OPS["sum"]: "{add}.reduce({0}, {axis}, None, {out}, {keepdims})",
    OPS["prod"]: "{multiply}.reduce({0}, {axis}, None, {out}, {keepdims})",
    OPS["max"]: "{maximum}.reduce({0}, {axis}, None, {out}, {keepdims})",
    OPS["min"]: "{minimum}.reduce({0}, {axis}, None, {out}, {keepdims})",
    OPS["argmax"]: "{0}.argmax({axis}, None, keepdims={keepdims})",
    OPS["argmin"]: "{0}.argmin({axis}, None, keepdims={keepdims})",
    OPS["transpose"]: "{0}.transpose({axes})",
    OPS["reshape"]: "{0}.reshape({shape})",
    OPS["broadcast_to"]: "{broadcast_to}({0}, {shape})",
    OPS["concatenate"]: "{concatenate}({all}, {axis}, {out})",
    OPS["stack"]: "{stack}({all}, {axis}, {out})",
    **dict.fromkeys([getitem, PART], "{0}[{index}]"),
    SEED: "{ones}({shape}, {dtype})",
    ASARRAY: "{asarray}({arguments})",
    stopped: "{0}",
    copy: "{array}({0}, order='C')",
    fft: "{fft}.fft({0}, {n}, {axis}, {norm}, {out})",
    ifft: "{fft}.ifft({0}, {n}, {axis}, {norm}, {out})",
    rfft: "{fft}.rfft({0}, {n}, {axis}, {norm}, {out})",
    irfft: _irfft,
}

# How Python computes ops of its ints, where it has an operator or a function for that.
_WHOLE: Mapping[Any, str] = {
    **{ufunc: f"{{0}} {sign} {{1}}" for ufunc, sign in INFIX.items()},
    np.negative: "-{0}",
    np.positive: "+{0}",
    np.invert: "~{0}",
    np.absolute: "abs({0})",
    np.maximum: "max({0}, {1})",
    np.minimum: "min({0}, {1})",
}


def template_of(of: Callable[[Ref], Any], instruction: Instruction) -> str:
    """The format string of an instruction, from what a Ref names."""
    op = instruction.op
    if instruction.number:
        values = [example(of(x)) if type(x) is Ref else x for x in instruction.operands]
        if exactly(op, values) is not op.forward:
            return _WHOLE.get(op.forward, "{whole}({arguments})")
    template = TEMPLATES.get(op)
    if op is not copy and is_filled(instruction):
        template = "{full}({shape}, {0}, {dtype})"
    if callable(template):
        operands = [of(x) if type(x) is Ref else None for x in instruction.operands]
        template = template(*operands)
    if template is None:
        # for maximum and minimum a positional out= is deprecated, and the warning is slow
        is_named = op.forward is np.maximum or op.forward is np.minimum
        of_ufuncs = "{op}({arguments}, out={out})" if is_named else "{op}({arguments}, {out})"
        template = of_ufuncs if isinstance(op.forward, np.ufunc) else "{op}({arguments})"
    # not .item(), since NumPy holds large ints as Python's own
    return f"{KINDS[instruction.dtype.kind]}({template})" if instruction.number else template


def literals(program: Code, instruction: Instruction) -> dict[int, str]:
    """The operands of a ufunc that are constants and can be written as numbers, and how.

    NumPy computes the same with the number if all other operands are arrays of its dtype.
    """
    values = [program.of(x) if type(x) is Ref else None for x in instruction.operands]
    texts = {k: x.literal for k, x in enumerate(values) if type(x) is Constant and x.literal}
    others = {None if x is None or getattr(x, "number", None) else x.dtype for x in values}
    is_alike = instruction.is_elementwise and len(others) == 1 and len(texts) < len(values)
    return texts if is_alike else {}


def tupled(parts: Sequence[str]) -> str:
    """A tuple of these parts as it is written."""
    return f"({', '.join(parts)}{',' * (len(parts) == 1)})"


def _option(value: Any, names: Names) -> str:
    """An option as it is written: a literal, or a name where there is no literal."""
    kind = type(value)
    if kind in (bool, int, float, complex):
        return number(value)
    if kind is tuple:
        return tupled([_option(part, names) for part in value])
    if kind is slice:
        return f"slice{_option((value.start, value.stop, value.step), names)}"
    if isinstance(value, dict) and all(type(key) is str for key in value):
        pairs = [f"{_option(key, names)}: {_option(x, names)}" for key, x in value.items()]
        return f"{{{', '.join(pairs)}}}"
    if value is None or value is ... or (kind is str and value.isascii() and value.isprintable()):
        return repr(value)
    if isinstance(value, np.integer):
        return repr(int(value))
    if isinstance(value, np.dtype):
        return f"{names.library('dtype')}({value.str!r})"
    if isinstance(value, Primitive):
        return names.of(value, value.name)
    return names.of(value, "hole" if value is HOLE else "option")


def filled(
    instruction: Instruction, template: str, operands: list[str], out: str, names: Names
) -> str:
    """A format string filled with the operands, the options and the result's buffer."""
    op, options = instruction.op, instruction.options
    if not out:
        template = template.replace(", out={out})", ")").replace(", {out})", ")")
    # text and the name of a field by turns
    pieces = template.replace("}", "{").split("{")
    for k in range(1, len(pieces), 2):
        field = pieces[k]
        if field.isdecimal():
            pieces[k] = operands[int(field)]
        elif field == "op":
            pieces[k] = names.function(op)
        elif field == "out":
            pieces[k] = out or "None"
        elif field == "arguments":
            named = [f"{name}={_option(x, names)}" for name, x in options.items()]
            pieces[k] = ", ".join([*operands, *named])
        elif field == "shape":
            pieces[k] = str(instruction.shape)
        elif field == "dtype":
            pieces[k] = repr(instruction.dtype.str)
        elif field == "index":
            pieces[k] = index_text(options[field], operands[1:])
        elif field == "all":
            pieces[k] = tupled(operands)
        elif field == "whole":
            pieces[k] = names.of(op.whole, f"whole_{op.name}")
        elif field in _LIBRARY:
            pieces[k] = names.library(field)
        else:
            defaults = op.signature.defaults if isinstance(op, Op) else {}
            pieces[k] = _option(options.get(field, defaults.get(field)), names)
    return "".join(pieces).replace(".transpose(None)", ".T").replace(", optimize=False", "")


def index_text(index: Any, operands: Sequence[str] = ()) -> str:
    """An index as it is written in brackets, with these operands for its arrays."""
    arrays, parts = iter(operands), []
    for part in index if isinstance(index, tuple) else (index,):
        if isinstance(part, slice):
            ends = ["" if x is None else repr(x) for x in (part.start, part.stop, part.step)]
            parts.append(":".join(ends).removesuffix(":"))
        elif part is HOLE:
            parts.append(next(arrays))
        else:
            parts.append("..." if part is Ellipsis else repr(part))
    return ", ".join(parts) or "()"
