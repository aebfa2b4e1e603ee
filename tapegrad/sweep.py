"""The reverse sweep: from a tape to the gradients of its parameters.

One loop over the records from the newest to the oldest, without recursion. Since
operands stand on earlier lines than the records made of them, a record's
cotangent is complete when the loop comes to it.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, NoReturn

import numpy as np

from tapegrad.errors import TapeError
from tapegrad.tape import CURRENT, Tape
from tapegrad.tensor import OPS, Origin, Tensor, frozen, is_frozen


def reverse_sweep(tape: Tape, output: Tensor, cotangent: Any = None) -> Mapping[Tensor, Any]:
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

    Examples
    --------
    >>> import tapegrad as tg
    >>> tape, x = tg.Tape().parameter([1.0, 2.0, 3.0], name="x")
    >>> tape, y = tape.write(tg.multiply, x, x)
    >>> tg.reverse_sweep(tape, y, cotangent=np.ones(3))[x]
    array([2., 4., 6.])
    """
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
    return sweep(tape, {output: seed(output, cotangent)})


def seed(output: Tensor, cotangent: Any) -> Any:
    """The cotangent that a sweep from `output` begins with, ones by default."""
    if cotangent is None:
        return frozen(np.ones(output.shape, output.dtype))
    if type(cotangent) is not Tensor:
        cotangent = np.asarray(cotangent)
    if cotangent.shape != output.shape:
        raise ValueError(
            f"the cotangent has shape {cotangent.shape}, its output {output.shape}; "
            "they must be the same"
        )
    if cotangent.dtype.kind not in "fiub":
        raise TypeError(f"a cotangent is real numbers, not {cotangent.dtype}")
    if type(cotangent) is Tensor:
        return cotangent if cotangent.dtype == output.dtype else cotangent.astype(output.dtype)
    return frozen(cotangent.astype(output.dtype))


def sweep(tape: Tape, seeds: Mapping[Tensor, Any]) -> Mapping[Tensor, Any]:
    """The sweep itself, from several outputs with a cotangent each."""
    start = tape.start
    current = CURRENT.get()
    # inside the tape's own recording the rules see Tensors, so that they are recorded
    recorded = current is not None and current.origin is start.origin
    reached = None if type(start) is Origin else _dependents(tape)
    parameter = OPS["parameter"]
    wanted = frozenset(tape.parameters)
    gradients: dict[Tensor, Any] = {}
    cotangents = dict(seeds)
    record = tape.last
    while record is not start:
        g = cotangents.pop(record, None)  # type: ignore[arg-type]
        if g is not None:
            op = record.op  # type: ignore[union-attr]
            if op is parameter and record in wanted:
                gradients[record] = g  # type: ignore[index]
            else:
                operands = record.operands  # type: ignore[union-attr]
                if recorded:
                    args = (g, record, *operands)
                else:
                    args = (
                        g,
                        record.primal,  # type: ignore[union-attr]
                        *[x.primal if type(x) is Tensor else x for x in operands],
                    )
                for i, x in enumerate(operands):
                    if type(x) is not Tensor or (reached is not None and x not in reached):
                        continue
                    rule = op.vjps[i]
                    if rule is None:
                        continue
                    primal = x.primal
                    if type(primal) is not np.ndarray:
                        primal = frozen(primal)
                    if primal.dtype.kind != "f":
                        continue
                    c = rule(*args, **record.options)  # type: ignore[union-attr]
                    if c is None:
                        continue
                    if c.shape != primal.shape or c.dtype is not primal.dtype:
                        c = _fit(c, x, op.name, i)
                    known = cotangents.get(x)
                    cotangents[x] = c if known is None else known + c
        record = record.previous  # type: ignore[union-attr]
    for x in cotangents:
        if x.index > start.index:
            _refuse_branch(x)
    for p in tape.parameters:
        g = gradients.get(p)
        if g is None:
            gradients[p] = frozen(np.zeros(p.shape, p.dtype))
        elif type(g) is not Tensor:
            gradients[p] = settled(g)
    return MappingProxyType(gradients)


def _dependents(tape: Tape) -> set[Tensor]:
    """The records of a tape that depend on its parameters."""
    reached = set(tape.parameters)
    for record in tape:
        if any(type(x) is Tensor and x in reached for x in record.operands):
            reached.add(record)
    return reached


def _fit(c: Any, x: Tensor, name: str, i: int) -> Any:
    """A rule's cotangent summed over broadcast axes, in the operand's dtype."""
    shape = x.shape
    if c.shape != shape:
        extra = c.ndim - len(shape)
        axes = tuple(range(extra)) + tuple(
            i + extra for i, n in enumerate(shape) if n == 1 and c.shape[i + extra : i + extra + 1] != (1,)
        )
        fits = extra >= 0 and all(
            n in (1, m) for n, m in zip(shape, c.shape[extra:], strict=True)
        )
        if not fits:
            raise ValueError(
                f"the VJP rule of {name} for operand {i} gives a cotangent of shape {c.shape}, "
                f"which does not fit the operand's {shape}"
            )
        if axes:
            c = OPS["sum"](c, axis=axes)
        c = OPS["reshape"](c, shape)
    return c if c.dtype == x.dtype else OPS["astype"](c, x.dtype)


def settled(g: Any) -> Any:
    """A gradient as it is handed out: an array that nobody can change."""
    if type(g) is not np.ndarray:
        return frozen(g)
    return g if is_frozen(g) else frozen(g if g.flags.owndata else g.copy())


def _refuse_branch(x: Tensor) -> NoReturn:
    raise TapeError(
        f"the output depends on {x._line()}, a record that this tape does not have: it was "
        "written on another branch; sweep the tape that both were written on"
    )
