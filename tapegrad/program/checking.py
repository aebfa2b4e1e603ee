"""Check that a program is well-formed, after a pass and after reading a file: `check_code`."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import lru_cache
from inspect import signature
from itertools import count as numbers
from typing import Any

import numpy as np

from tapegrad.core.primitive import Parts, Primitive
from tapegrad.declare import facts
from tapegrad.declare.abstract import evaluate
from tapegrad.declare.parts import PART
from tapegrad.ops.product import contract
from tapegrad.program.control.loop import Branch, Loop
from tapegrad.program.control.ops import COND, LOOPS
from tapegrad.program.dataflow import make_interpreter
from tapegrad.program.ir import STAGES, Code, Instruction, Ref, input_for, placeholder
from tapegrad.program.lines import PYTHON_KINDS
from tapegrad.tree.numbers import PYTHON_NUMBERS

Infers = Callable[[Primitive], object]


class Malformed(AssertionError):  # noqa: N818
    """A program is not well-formed; the message says where."""


def check_code(code: Code, infers: Infers = lambda op: True) -> None:
    """Raise `Malformed` unless a program is well-formed, and so are the bodies inside it.

    Operands are defined before they are used. Ops accept their operands and options, and give the
    stated shapes and dtypes. Loops and branches fit their bodies, and programs use their parts
    alone. The outputs are defined, and fill their tree.

    Parameters
    ----------
    code
        The program.
    infers
        A predicate: the ops that are called on placeholders to infer their results, besides
        ufuncs. By default all are.
    """
    _outputs(code, infers)
    if len(code.outputs) != code.structure.size:
        raise Malformed("the results do not fill their tree")


def _outputs(code: Code, infers: Infers) -> list[Any]:
    """Check a program by running it on placeholders, and return placeholders of its outputs."""
    for x in code.inputs:
        if x != input_for(placeholder(x), x.path):
            raise Malformed(f"input {x.path}, a Python {x.number}, has {(x.shape, x.dtype)}")
    if not all(map(str.isprintable, (code.label, *[x.note for x in code.instructions]))):
        raise Malformed("its label or a note is more than one line of text")
    taken = [(x.operands, x.options.get("index")) for x in code.instructions if x.op is PART]
    if len(taken) != len({*map(repr, taken)}):
        raise Malformed("one of several results is taken out twice")
    places = numbers()

    def check(instruction: Instruction, operands: list[Any]) -> Any:
        what = f"instruction {next(places)}, {instruction.op.name},"
        _check_call(instruction, operands, what)
        held = [*instruction.options.values()]
        kinds = [*map(type, held)]
        if instruction.op in _CONTROL or Loop in kinds or Branch in kinds:
            if kinds != [_CONTROL.get(instruction.op)]:
                raise Malformed(f"{what} has other options than its bodies")
            _check_bodies(held[0], operands, what, infers)
        return _result(instruction, operands, what, infers)

    try:
        outputs = make_interpreter(code, check)(map(placeholder, code.inputs))
    except KeyError as error:
        raise Malformed(f"a value is used that is not there yet: {error}") from None
    if any(type(x) is Parts for x in outputs):
        raise Malformed("a result is all of several at once")
    return outputs


_CONTROL: dict[Primitive, type] = {**dict.fromkeys(LOOPS, Loop), COND: Branch}


def _check_call(instruction: Instruction, operands: list[Any], what: str) -> None:
    """Raise unless an op accepts these operands and options."""
    op, options = instruction.op, instruction.options
    for x in operands:
        if type(x) is Parts:
            if op is not PART and not facts(op).takes_parts:
                raise Malformed(f"{what} uses all of several results at once")
        elif type(x) is not np.ndarray and type(x) not in PYTHON_NUMBERS:
            raise Malformed(f"{what} uses {str(x)[:80]!r}, which is neither a value nor a number")
    if instruction.stage not in STAGES:
        raise Malformed(f"{what} is of no stage: {str(instruction.stage)[:80]!r}")
    nin = op.forward.nin if isinstance(op.forward, np.ufunc) else 0
    # an op without rules may have any number of operands
    n = nin or (len(op.vjps) if isinstance(op.vjps, tuple) else 0)
    if n not in (0, len(operands)):
        raise Malformed(f"{what} takes {n} operands, not {len(operands)}")
    if nin and options:
        raise Malformed(f"{what} takes no options")
    defaults = getattr(getattr(op, "signature", None), "defaults", {})
    for name, default in defaults.items() if op is not contract else ():
        # NumPy also accepts 0 and 1, and no other numbers; `contract` also accepts a path
        if type(default) is bool and options.get(name, default) not in (True, False):
            raise Malformed(f"{what} has an option {name} that is neither true nor false")
    try:
        _signature(op.forward).bind(*operands, **options)
    except TypeError as error:
        raise Malformed(f"{what} takes no such operands or options: {error}") from None
    except (ValueError, NameError):
        # a C function may have no signature, and an annotation may have an undefined name
        pass


_signature = lru_cache(1 << 10)(signature)


def _result(instruction: Instruction, operands: list[Any], what: str, infers: Infers) -> Any:
    """Return a placeholder of a result; raise if the op gives another shape or dtype."""
    op, stated = instruction.op, placeholder(instruction)
    is_number = op.keeps_weak and PYTHON_NUMBERS.issuperset(map(type, operands))
    if instruction.number and not (is_number and instruction.dtype.kind in PYTHON_KINDS):
        raise Malformed(f"{what} gives no Python number")
    if op is PART:
        index = instruction.options.get("index")
        if type(operands[0]) is not Parts or type(index) is not int or index < 0:
            raise Malformed(f"{what} is none of several results")
    elif not (instruction.is_elementwise or op.like is not None or infers(op)):
        return stated
    try:
        like = evaluate(op, operands, instruction.options)
    except Exception as error:
        undefined = isinstance(error, np.linalg.LinAlgError | ZeroDivisionError | ImportError)
        if undefined and op.like is None:
            # not defined for these numbers, or SciPy is missing
            return stated
        raise Malformed(f"{what} refuses what it is given: {error}") from error
    shape, dtype = np.shape(like), np.asarray(like).dtype
    if shape != instruction.shape or (dtype != instruction.dtype and not instruction.number):
        raise Malformed(
            f"{what} is said to give {instruction.dtype} {instruction.shape}, "
            f"but gives {dtype} {shape}"
        )
    return like if type(like) is Parts else stated


# --- loops and branches ---------------------------------------------------------------------


def _kinds(values: Iterable[Any]) -> list[Any]:
    """Return the shapes and dtypes of values; for a Python number, the name of its class."""
    return [type(x).__name__ if type(x) in PYTHON_NUMBERS else (x.shape, x.dtype) for x in values]


def _check_bodies(held: Loop | Branch, operands: list[Any], what: str, infers: Infers) -> None:
    """Raise unless the bodies of a loop or a branch are well-formed, and fit its operands."""
    captured, carry, xs = (
        held.partition(operands) if isinstance(held, Loop) else ([], operands[1:], [])
    )
    state = _kinds([*captured, *carry])
    rows = [(x.shape[1:], x.dtype) if np.ndim(x) else None for x in xs]
    returned = []
    for body, taken in zip(held.bodies.values(), ([*state, *rows], state), strict=False):
        if not all(type(x) is Ref for x in body.outputs):
            raise Malformed(f"{what} has a body that returns what is no value")
        try:
            returned.append(_kinds(_outputs(body, infers)))
        except Malformed as error:
            raise Malformed(f"{what} has a body in which {error}") from None
        if taken != _kinds(map(placeholder, body.inputs)):
            raise Malformed(f"{what} does not give its bodies what they take")
    first, last = returned[0], returned[-1]
    if isinstance(held, Loop):
        n_kept = len(held.body.outputs) - held.first_residual
        counts = held.n_captured, held.n_carry, held.n_xs, held.n_ys, n_kept, held.length or 0
        steps = {held.length, *map(len, xs)} - {None}
        ends = len(steps) == 1 if held.stop is None else not steps and [x[0] for x in last] == [()]
        is_carry = first[: held.n_carry] == _kinds(carry)
        fits = ends and is_carry and min(counts) >= 0 and held.moving <= {*range(len(operands))}
    else:
        fits = first == last and np.shape(operands[0]) == ()
    if not fits:
        raise Malformed(f"{what} does not fit its bodies")
