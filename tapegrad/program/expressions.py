"""Write the expressions of a source: a template for each op, filled with operands and options."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from tapegrad.arraylike.protocols import INFIX
from tapegrad.core.op import Op
from tapegrad.core.primitive import Primitive
from tapegrad.core.writing import ASARRAY
from tapegrad.declare import OPS
from tapegrad.declare.abstract import exact_forward
from tapegrad.declare.parts import PART
from tapegrad.ops.casting import astype, copy, stopped
from tapegrad.ops.fourier import fft, ifft, irfft, rfft
from tapegrad.ops.indexing import HOLE, getitem
from tapegrad.ops.shape import broadcast_to
from tapegrad.program import cost
from tapegrad.program.ir import Code, Constant, Instruction, Ref, number_text, placeholder
from tapegrad.program.lines import PYTHON_KINDS
from tapegrad.program.source_names import LIBRARY, Names
from tapegrad.transforms.reverse import SEED


def is_assigned(instruction: Instruction) -> bool:
    """Whether an assignment fills the result: of a copy, or of a small broadcast or cast."""
    op = instruction.op
    # an assignment has less overhead than a call, which matters for few elements
    is_cast = op is broadcast_to or op is astype
    return op is copy or (is_cast and math.prod(instruction.shape) <= cost.FILLED_ELEMENTS)


def _matmul_template(x1: Any, x2: Any) -> str:
    """Use the method ``dot``, whose overhead is a third, where its result is the same.

    ``dot`` takes a matrix of one element for a number, and skips the product if the number is 0.
    """
    a, b = x1.shape, x2.shape
    is_like = x1.dtype == x2.dtype and x1.dtype.kind == "f" and len(a) <= 2 and len(b) <= 2
    if not is_like or math.prod(a) == 1 or math.prod(b) == 1:
        return "{matmul}({0}, {1}, {out})"
    return "{0}.dot({1})" if len(a) == len(b) == 1 else "{0}.dot({1}, {out})"


def _einsum_template(*operands: Any) -> str | None:
    """Call ``np.einsum``; with one operand it may return a view, which the op's function copies."""
    listed = ", ".join([f"{{{k}}}" for k in range(len(operands))])
    text = f"{{einsum}}({{subscripts}}, {listed}, optimize={{optimize}}, out={{out}})"
    return text if len(operands) > 1 else None


def _keep_template(condition: Any, x: Any) -> str:
    """Call `keep` with a buffer for floating arrays and masks of their shape."""
    is_array = not (condition is None or x is None or x.number) and x.shape == condition.shape
    if is_array and (condition.dtype.kind, x.dtype.kind) == ("b", "f"):
        return "{keep}({0}, {1}, {out})"
    return "{where}({0}, {1}, 0)"


def _irfft_template(a: Any) -> str | None:
    """Call ``irfft`` unless there are no bins: NumPy would leave the buffer unset."""
    return None if 0 in a.shape else "{fft}.irfft({0}, {n}, {axis}, {norm}, {out})"


# Templates, or functions that return one for the operands. A Python number is passed as None.
TEMPLATES: Mapping[Any, str | Callable[..., str | None]] = {
    OPS["power"]: "{power}({0}, {1}, {out})",
    OPS["clip_both"]: "{clip}({0}, {1}, {2}, {out})",
    **dict.fromkeys([OPS["real"], OPS["asarray"]], "{asarray}({0})"),
    OPS["index_select"]: "{0}.take({1}, 0)",
    OPS["add_at_places"]: "{scatter_add}({0}, {1}, {2}, {out})",
    OPS["where"]: "{where}({0}, {1}, {2})",
    OPS["keep"]: _keep_template,
    OPS["matmul"]: _matmul_template,
    OPS["vecdot"]: "{vecdot}({0}, {1}, axis={axis}, out={out})",
    OPS["contract"]: _einsum_template,
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
    irfft: _irfft_template,
}

# Python's operators and functions for ops on Python ints.
_WHOLE: Mapping[Any, str] = {
    **{ufunc: f"{{0}} {sign} {{1}}" for ufunc, sign in INFIX.items()},
    np.negative: "-{0}",
    np.positive: "+{0}",
    np.invert: "~{0}",
    np.absolute: "abs({0})",
    np.maximum: "max({0}, {1})",
    np.minimum: "min({0}, {1})",
}


def template_for(definition: Callable[[Ref], Any], instruction: Instruction) -> str:
    """Return the format string of an instruction; `definition` looks up a Ref."""
    op = instruction.op
    if instruction.number:
        values = [placeholder(definition(x)) if type(x) is Ref else x for x in instruction.operands]
        if exact_forward(op, values) is not op.forward:
            return _WHOLE.get(op.forward, "{whole}({arguments})")
    template = TEMPLATES.get(op)
    if op is not copy and is_assigned(instruction):
        template = "{full}({shape}, {0}, {dtype})"
    if callable(template):
        operands = [definition(x) if type(x) is Ref else None for x in instruction.operands]
        template = template(*operands)
    if template is None:
        # maximum and minimum deprecate a positional out=, and the warning is slow
        is_named = op.forward is np.maximum or op.forward is np.minimum
        ufunc_call = "{op}({arguments}, out={out})" if is_named else "{op}({arguments}, {out})"
        template = ufunc_call if isinstance(op.forward, np.ufunc) else "{op}({arguments})"
    # not .item(), since NumPy returns large ints as Python ints, which have no .item
    return f"{PYTHON_KINDS[instruction.dtype.kind]}({template})" if instruction.number else template


def literal_operands(program: Code, instruction: Instruction) -> dict[int, str]:
    """Return the texts of a ufunc's operands that are constants and can be written as numbers.

    NumPy computes the same with the number if all other operands are arrays of its dtype.
    """
    values = [program.definition(x) if type(x) is Ref else None for x in instruction.operands]
    texts = {k: x.literal for k, x in enumerate(values) if type(x) is Constant and x.literal}
    others = {None if x is None or getattr(x, "number", None) else x.dtype for x in values}
    is_alike = instruction.is_elementwise and len(others) == 1 and len(texts) < len(values)
    return texts if is_alike else {}


def tuple_text(parts: Sequence[str]) -> str:
    """Return the text of a tuple of these parts."""
    return f"({', '.join(parts)}{',' * (len(parts) == 1)})"


def option_text(value: Any, names: Names) -> str:
    """Return the text of an option: a literal, or a name where there is no literal."""
    kind = type(value)
    if kind in (bool, int, float, complex):
        return number_text(value)
    if kind is tuple:
        return tuple_text([option_text(part, names) for part in value])
    if kind is slice:
        return f"slice{option_text((value.start, value.stop, value.step), names)}"
    if isinstance(value, dict) and all(type(key) is str for key in value):
        pairs = [f"{option_text(key, names)}: {option_text(x, names)}" for key, x in value.items()]
        return f"{{{', '.join(pairs)}}}"
    if value is None or value is ... or (kind is str and value.isascii() and value.isprintable()):
        return repr(value)
    if isinstance(value, np.integer):
        return repr(int(value))
    if isinstance(value, np.dtype):
        return f"{names.library('dtype')}({value.str!r})"
    if isinstance(value, Primitive):
        return names.name_of(value, value.name)
    return names.name_of(value, "hole" if value is HOLE else "option")


def format_expression(
    instruction: Instruction, template: str, operands: list[str], out: str, names: Names
) -> str:
    """Fill a format string with the operands, the options and the result's buffer."""
    op, options = instruction.op, instruction.options
    if not out:
        template = template.replace(", out={out})", ")").replace(", {out})", ")")
    # texts and names of fields alternate
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
            named = [f"{name}={option_text(x, names)}" for name, x in options.items()]
            pieces[k] = ", ".join([*operands, *named])
        elif field == "shape":
            pieces[k] = str(instruction.shape)
        elif field == "dtype":
            pieces[k] = repr(instruction.dtype.str)
        elif field == "index":
            pieces[k] = index_text(options[field], operands[1:])
        elif field == "all":
            pieces[k] = tuple_text(operands)
        elif field == "whole":
            pieces[k] = names.name_of(op.whole, f"whole_{op.name}")
        elif field in LIBRARY:
            pieces[k] = names.library(field)
        else:
            defaults = op.signature.defaults if isinstance(op, Op) else {}
            pieces[k] = option_text(options.get(field, defaults.get(field)), names)
    return "".join(pieces).replace(".transpose(None)", ".T").replace(", optimize=False", "")


def index_text(index: Any, operands: Sequence[str] = ()) -> str:
    """Return the text of an index in brackets, with these operands for its arrays."""
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
