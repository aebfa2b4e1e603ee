"""Whether a program is well-formed: what a pass must leave, and what a file must hold."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from inspect import signature
from typing import Any

import numpy as np

from tapegrad.core.rules import Parts, Rules
from tapegrad.declare import facts
from tapegrad.declare.parts import PART
from tapegrad.ops.product import contract
from tapegrad.program.builder import infer
from tapegrad.program.control.loop import Branch, Loop
from tapegrad.program.ir import STAGES, Code, Constant, Input, Instruction, Ref, example
from tapegrad.program.lines import KINDS
from tapegrad.tree.numbers import PYTHON_NUMBERS

Infers = Callable[[Rules], bool]


class Malformed(AssertionError):  # noqa: N818
    """Says what of a program does not fit together."""


def check_code(code: Code, infers: Infers = lambda op: True) -> None:
    """Raise `Malformed` unless a program is well-formed, and so are the bodies inside it.

    Operands are there before the instructions that use them, and of the kind that these take; the
    ops take these operands and options, and give the stated shapes and dtypes; loops and branches
    fit their bodies, and only their parts are used; the outputs are there, and fill their tree.

    Parameters
    ----------
    code
        The program.
    infers
        The ops whose results are inferred, besides ufuncs: by default all. None of the others is
        called.
    """
    _check_body(code, infers)
    if len(code.outputs) != code.structure.size:
        _fail("the results do not fill their tree")


def _check_body(code: Code, infers: Infers) -> None:
    """The same, whatever tree its outputs are returned in."""
    for leaf in code.inputs:
        kind = leaf.number and leaf.number[0]
        if leaf.number and (leaf.shape, leaf.dtype.kind) != ((), kind):
            _fail(f"input {leaf.path}, a Python {leaf.number}, has {_kind(code, leaf)}")
    counts = {"input": len(code.inputs), "constant": len(code.constants), "instruction": 0}
    # what has several results, of which only parts can be used
    whole: dict[Ref, list[Any]] = {}
    for i, instruction in enumerate(code.instructions):
        counts["instruction"] = i
        what = f"instruction {i}, {instruction.op.name},"
        for x in instruction.operands:
            _check_operand(x, counts, what)
            if x in whole and instruction.op is not PART and not facts(instruction.op).takes_parts:
                _fail(f"{what} uses all of several results at once")
        _check_call(instruction, what)
        options = instruction.options.values()
        kind = _CONTROL.get(instruction.op.name) if type(instruction.op) is Rules else None
        if kind or any(isinstance(x, Loop | Branch) for x in options):
            if len(options) != 1 or type(*options) is not kind:
                _fail(f"{what} has other options than its bodies")
            (held,) = options
            whole[Ref("instruction", i)] = _parts(code, instruction, held, what, infers)
        elif instruction.op is PART:
            _check_part(code, instruction, whole, what)
        else:
            _check_result(code, instruction, what, infers)
            like = instruction.op.like and _like(code, instruction)
            if type(like) is Parts:
                whole[Ref("instruction", i)] = [(x.shape, x.dtype) for x in like.values]
    counts["instruction"] = len(code.instructions)
    for x in code.outputs:
        if type(x) is Ref:
            _check_operand(x, counts, "a result")
            if x in whole:
                _fail("a result is all of several at once")


_CONTROL: dict[str, Any] = {"scan": Loop, "fori_loop": Loop, "while_loop": Loop, "cond": Branch}


def _like(code: Code, instruction: Instruction) -> Any:
    """A value like that of an instruction whose op says what it is like."""
    assert instruction.op.like is not None
    return instruction.op.like(*_examples(code, instruction), **instruction.options)


def _examples(code: Code, instruction: Instruction) -> list[Any]:
    """Values like the operands."""
    return [example(code.of(x)) if type(x) is Ref else x for x in instruction.operands]


def _fail(message: str) -> None:
    raise Malformed(message)


def _check_operand(x: Any, counts: Mapping[str, int], what: str) -> None:
    """Raise unless an operand is a number, or a value that is there already."""
    if type(x) is not Ref:
        if type(x) not in PYTHON_NUMBERS:
            _fail(f"{what} uses {str(x)[:80]!r}, which is neither a value nor a number")
    elif type(x.index) is not int or not 0 <= x.index < counts.get(x.kind, 0):
        _fail(f"{what} uses a value that is not there yet: {x}")


def _check_call(instruction: Instruction, what: str) -> None:
    """Raise unless an op takes this number of operands, and options of these names."""
    forward, n = instruction.op.forward, len(instruction.operands)
    defaults = getattr(getattr(instruction.op, "signature", None), "defaults", {})
    for name, default in defaults.items() if instruction.op is not contract else ():
        # NumPy takes a 1 for a True too, and no other numbers; for `contract` also a path
        if type(default) is bool and instruction.options.get(name, default) not in (True, False):
            _fail(f"{what} has an option {name} that is neither true nor false")
    if instruction.stage not in STAGES:
        _fail(f"{what} is of no stage: {str(instruction.stage)[:80]!r}")
    rules = instruction.op.vjps
    if isinstance(rules, tuple) and len(rules) != n:
        _fail(f"{what} takes {len(rules)} operands, not {n}")
    if isinstance(forward, np.ufunc):
        if instruction.options or forward.nin != n:
            _fail(f"{what} takes {forward.nin} operands and no options")
        return
    try:
        _signature(forward).bind(*instruction.operands, **instruction.options)
    except TypeError as error:
        _fail(f"{what} takes no such operands or options: {str(error)[:80]}")
    except (ValueError, NameError):
        # a function that is not written in Python has none, and annotations may name what is not
        pass


_signature = lru_cache(1 << 10)(signature)

# --- results --------------------------------------------------------------------------------


def _kind(code: Code, x: Any) -> Any:
    """The shape and dtype of a value; for a Python number, the name of its class."""
    value = code.of(x) if type(x) is Ref else x
    if isinstance(value, bool | int | float | complex):
        return type(value).__name__
    if type(value) is not Constant and value.number:
        return KINDS.get(value.dtype.kind)
    return value.shape, value.dtype


def _check_result(code: Code, instruction: Instruction, what: str, infers: Infers) -> None:
    """Raise if an op would give another shape or dtype than the program says."""
    if instruction.number:
        numbers = all(type(_kind(code, x)) is str for x in instruction.operands)
        if (
            not (numbers and instruction.op.keeps_weak)
            or instruction.shape
            or instruction.dtype.kind not in KINDS
        ):
            _fail(f"{what} gives no Python number")
    if not (instruction.is_elementwise or infers(instruction.op)):
        return
    try:
        shape, dtype = infer(instruction.op, _examples(code, instruction), instruction.options)
    except (np.linalg.LinAlgError, ArithmeticError, ImportError):
        # not defined for these numbers, or SciPy is missing
        return
    except (TypeError, ValueError, LookupError, AttributeError) as error:
        raise Malformed(f"{what} refuses what it is given: {error}") from error
    if shape != instruction.shape or (dtype != instruction.dtype and not instruction.number):
        _fail(
            f"{what} is said to give {instruction.dtype} {instruction.shape}, "
            f"but gives {dtype} {shape}"
        )


# --- loops and branches ---------------------------------------------------------------------


def _check_part(
    code: Code, instruction: Instruction, whole: Mapping[Ref, list[Any]], what: str
) -> None:
    (of,), index = instruction.operands, instruction.options.get("index")
    parts = whole.get(of) if type(of) is Ref else None
    if parts is None or type(index) is not int or not 0 <= index < len(parts):
        _fail(f"{what} is none of several results")
    elif _kind(code, instruction) != parts[index]:
        _fail(f"{what} is said to be {_kind(code, instruction)}, but is {parts[index]}")


def _parts(
    code: Code, instruction: Instruction, held: Loop | Branch, what: str, infers: Infers
) -> list[Any]:
    """The kinds of the results of a loop or a branch, checked with its bodies."""
    bodies = held.bodies.values()
    for body in bodies:
        if not all(type(x) is Ref for x in body.outputs):
            _fail(f"{what} has a body that returns what is no value")
        try:
            _check_body(body, infers)
        except Malformed as error:
            raise Malformed(f"{what} has a body in which {error}") from None
    kinds = [_kind(code, x) for x in instruction.operands]
    if isinstance(held, Loop):
        return _parts_of_loop(held, kinds, what)
    taken = [_kinds(body, body.inputs) for body in bodies]
    first, second = [_kinds(body, body.outputs) for body in bodies]
    if not kinds or not (taken[0] == taken[1] == kinds[1:]) or first != second:
        _fail(f"{what} does not fit its bodies")
    if type(kinds[0]) is not str and kinds[0][0] != ():
        _fail(f"{what} is chosen by an array of shape {kinds[0][0]}")
    return first


def _kinds(body: Code, values: Sequence[Input | Ref]) -> list[Any]:
    return [_kind(body, x) for x in values]


def _parts_of_loop(loop: Loop, kinds: list[Any], what: str) -> list[Any]:
    body, stop, n, n_carry = loop.body, loop.stop, loop.n_captured, loop.n_carry
    taken, returned = _kinds(body, body.inputs), _kinds(body, body.outputs)
    begins = n + n_carry
    rows = {x[0][:1] if type(x) is tuple else () for x in kinds[begins:]}
    if loop.length is not None:
        rows.add((loop.length,))
    fits = (
        min(n, n_carry, loop.n_xs, loop.n_ys, loop.n_kept) >= 0
        and kinds[:begins] == taken[:begins]
        and [(x[0][1:], x[1]) for x in kinds[begins:] if type(x) is tuple] == taken[begins:]
        and returned[:n_carry] == taken[n:begins]
        and all(0 <= i < len(kinds) for i in loop.moving)
    )
    if stop is None:
        fits = fits and len(rows) == 1 and rows != {()}
    else:
        tested = _kinds(stop, stop.outputs)
        fits = fits and not rows and _kinds(stop, stop.inputs) == taken[:begins]
        fits = fits and len(tested) == 1 and type(tested[0]) is tuple and tested[0][0] == ()
    if not fits:
        _fail(f"{what} does not fit its body")
    # a loop that a value ends has no rows before it has run
    (side,) = rows or {(0,)}
    ys = [((*side, *x[0]), x[1]) if type(x) is tuple else x for x in returned[n_carry:]]
    return [*returned[:n_carry], *ys]
