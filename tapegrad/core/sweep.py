"""The reverse sweep: from a tape to the gradients of its parameters.

One loop over the records from the newest to the oldest, without recursion. Since
operands stand on earlier lines than the records made of them, a record's
cotangent is complete when the loop comes to it.
"""

from __future__ import annotations

from collections.abc import Callable, Container, Mapping
from types import MappingProxyType
from typing import Any

import numpy as np

from tapegrad.core.finite import check_cotangent, check_values
from tapegrad.core.ownership import Array, give, keep, lend
from tapegrad.core.refusals import refuse_branch
from tapegrad.core.tape import CURRENT, PARAMETER, Tape, advance, write
from tapegrad.core.tensor import Origin, Rules, Tensor
from tapegrad.errors import TapeError

# The cotangent of ones that a sweep begins with. It is recorded while compiling, so that
# the sweep may begin with a multiple of it.
SEED = Rules("seed", lambda *, shape, dtype: np.ones(shape, dtype), (), jvp=lambda *args: None)

_ONE = {np.dtype(char): give(np.ones((), char)) for char in "fd"}


def reverse_sweep(
    tape: Tape, output: Tensor, cotangent: Any = None, check_finite: bool = False
) -> Mapping[Tensor, Any]:
    """The gradients of an output with respect to the tape's parameters.

    Parameters
    ----------
    tape
        The tape that the output is on.
    output
        A floating record.
    cotangent
        What the output's elements weigh: an array of its shape. It may be left
        out where the output is a scalar, and is 1 then.
    check_finite
        Whether to raise at the first value that the output depends on, and at the
        first cotangent, that is not finite.

    Returns
    -------
    A read-only mapping with one entry a parameter: an array of its shape and
    dtype, zero where the output does not depend on it. Made inside the recording
    that the tape belongs to, the sweep is recorded too, and the gradients are
    Tensors.

    Raises
    ------
    TypeError
        If the output is not a floating record, or has several elements and no
        cotangent is given.
    ValueError
        If the cotangent's shape is not the output's.
    TapeError
        If the output is not on the tape, or depends on records that are not.
    NonFiniteError
        With `check_finite`: a `FloatingPointError` that says on which line of the tape
        a NaN or an infinity came about, from what, and why where that is known.

    Examples
    --------
    >>> import tapegrad as tg
    >>> tape, x = tg.Tape().parameter([1.0, 2.0, 3.0], name="x")
    >>> tape, y = tape.write(tg.multiply, x, x)
    >>> tg.reverse_sweep(tape, y, cotangent=np.ones(3))[x]
    array([2., 4., 6.])
    """
    return sweep(tape, begin(tape, output, cotangent), check_finite)


def begin(tape: Tape, output: Tensor, cotangent: Any) -> dict[Tensor, Any]:
    """The cotangents that a sweep begins with, checked."""
    if type(tape) is not Tape:
        raise TypeError(f"the tape of a sweep is a Tape, not a {type(tape).__name__}")
    if type(output) is not Tensor:
        raise TypeError(
            f"the output of a sweep is a record of the tape, not a {type(output).__name__}"
        )
    if output.origin is not tape.start.origin:
        raise TapeError(f"the output ({output._line()}) is a record of another tape")
    if output.dtype.kind != "f":
        raise TypeError(f"only a floating output has a gradient; this one is {output.dtype}")
    if cotangent is None and output.size != 1:
        raise TypeError(
            f"a gradient needs a scalar, but the output has shape {output.shape}; "
            "give its cotangent, reduce it (tg.sum, tg.mean), or take tg.vjp or tg.jacobian"
        )
    return {output: seed(output, cotangent)}


def seed(output: Tensor, cotangent: Any, what: str = "the cotangent") -> Any:
    """The cotangent that a sweep from `output` begins with, ones by default."""
    if cotangent is None:
        current = CURRENT.get()
        if current is not None and current.origin.compiling and current.origin is output.origin:
            record = write(current, SEED, (), {"shape": output.shape, "dtype": output.dtype})
            advance(record)
            return record
        one = _ONE.get(output.dtype) if output.shape == () else None
        return np.ones(output.shape, output.dtype) if one is None else one
    cotangent = weighing(output, cotangent, what, "its output")
    return cotangent if type(cotangent) is Tensor else keep(cotangent)


def weighing(record: Tensor, weight: Any, what: str, of: str) -> Any:
    """A cotangent, or a tangent, that fits a record, in its dtype; what and of say which."""
    if type(weight) is not Tensor:
        weight = np.asarray(weight)
    if weight.shape != record.shape:
        raise ValueError(
            f"{what} has shape {weight.shape}, {of} {record.shape}; they must be the same"
        )
    if weight.dtype.kind not in "fiub":
        raise TypeError(f"{what} is real numbers, not {weight.dtype}")
    if type(weight) is Tensor:
        current = CURRENT.get()
        if current is None or current.origin is not weight.origin:
            raise TapeError(
                f"{what} ({weight._line()}) belongs to the tape of {weight.origin.label}, which "
                "is not being recorded; use its value"
            )
    return weight if weight.dtype == record.dtype else weight.astype(record.dtype)


def sweep(
    tape: Tape, seeds: Mapping[Tensor, Any], check_finite: bool = False
) -> Mapping[Tensor, Any]:
    """The sweep itself, from several outputs with a cotangent each."""
    if check_finite:
        check_values(tape, seeds)
    start = tape.start
    recorded, reached = scope(tape)
    wanted = frozenset(tape.parameters)
    found: dict[Tensor, Any] = {}
    cotangents = dict(seeds)
    record: Any = tape.last
    while record is not start:
        g = cotangents.pop(record, None)
        if g is None:
            pass
        elif record.op is PARAMETER and record in wanted:
            found[record] = g
        else:
            for i, x, c in contributions(record, g, recorded, reached):
                known = cotangents.get(x)
                cotangents[x] = c if known is None else known + c
                if check_finite:
                    check_cotangent(tape, record, i, cotangents[x], g)
        record = record.previous
    for x in cotangents:
        if x.index > start.index:
            refuse_branch(x)
    # a parameter that stands before the tape's start was never come to
    given: set[int] = set()
    return MappingProxyType(
        {p: result_for(p, found.get(p, cotangents.get(p)), given) for p in tape.parameters}
    )


def scope(tape: Tape) -> tuple[bool, set[Tensor] | None]:
    """Whether a sweep of a tape is recorded, and the records that it is kept to, if any."""
    current = CURRENT.get()
    # inside the tape's own recording the rules see Tensors, so that they are recorded
    recorded = current is not None and current.origin is tape.start.origin
    return recorded, None if type(tape.start) is Origin else _dependents(tape)


def contributions(
    record: Tensor,
    g: Any,
    recorded: bool,
    reached: Container[Tensor] | None,
    fitted: Callable[[Any, Array, str, int], Any] | None = None,
) -> list[tuple[int, Tensor, Any]]:
    """What a record's cotangent g contributes to those of its operands.

    A list of the operand's position, the operand and its cotangent. With `recorded` the
    rules are called on the records, not on their values; operands that are not among
    the `reached` are passed over. What a rule gives is made to fit its operand by `fit`,
    or by `fitted` in its place.
    """
    op, operands, options = record.op, record.operands, record.options
    if recorded:
        args = [g, record, *operands]
    else:
        args = [g, record._primal]
        for x in operands:
            args.append(x._primal if type(x) is Tensor else x)
    found = []
    rules = op.vjps if type(op.vjps) is tuple else op.vjps.rules(len(operands))
    for i, (x, rule) in enumerate(zip(operands, rules, strict=False)):
        if rule is None or type(x) is not Tensor:
            continue
        primal = x._primal
        if type(primal) is not np.ndarray:
            primal = np.asarray(primal)
        if primal.dtype.kind == "f" and (reached is None or x in reached):
            c = rule(*args, **options) if options else rule(*args)
            if c is not None:
                if c.shape != primal.shape or c.dtype is not primal.dtype:
                    c = (fitted or fit)(c, primal, op.name, i)
                found.append((i, x, c))
    return found


def _dependents(tape: Tape) -> set[Tensor]:
    """The records of a tape that depend on its parameters."""
    reached = set(tape.parameters)
    for record in tape:
        if any(type(x) is Tensor and x in reached for x in record.operands):
            reached.add(record)
    return reached


def fit(c: Any, primal: Array, name: str, i: int | str) -> Any:
    """A rule's cotangent summed over broadcast axes, in the operand's dtype."""
    shape = primal.shape
    if c.shape != shape:
        extra = c.ndim - len(shape)
        rest = c.shape[max(extra, 0) :]
        axes = tuple(range(extra))
        if rest != shape:
            if extra < 0 or any(n not in (1, m) for n, m in zip(shape, rest, strict=True)):
                raise ValueError(
                    f"the VJP rule of {name} for operand {i} gives a cotangent of shape "
                    f"{c.shape}, which does not fit the operand's {shape}"
                )
            axes += tuple(extra + j for j, m in enumerate(rest) if m != shape[j])
        if type(c) is not np.ndarray:
            c = np.sum(c, axes)
        elif axes == (0,) and c.ndim == 2:
            # a product takes a third of the time of a sum over the first axis
            c = np.ones(len(c), c.dtype).dot(c)
        else:
            c = np.add.reduce(c, axes)
        if c.shape != shape:
            c = c.reshape(shape)
    return c if c.dtype == primal.dtype else c.astype(primal.dtype)


def result_for(record: Tensor, c: Any, given: set[int]) -> Any:
    """A record's gradient or tangent as it is handed out, apart from those given before."""
    if type(c) is np.ndarray:
        primal = record._primal
        if type(primal) is np.ndarray and c.dtype != primal.dtype:
            # of another byte order
            c = c.astype(primal.dtype)
        # a number may be the seed, and one cotangent be that of several records
        if c.shape == () or id(c) in given:
            # a view may be one of the caller's tangent
            return lend(c if c.base is None else c.copy("K"))
        given.add(id(c))
    elif type(c) is Tensor:
        return c
    return give(np.zeros(record.shape, record.dtype) if c is None else c)
