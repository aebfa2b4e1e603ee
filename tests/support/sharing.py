"""Operands whose memory a result shares, found on arrays that lie in memory in every way."""

import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

import tapegrad as tg
from tapegrad.core.primitive import Parts, Primitive
from tapegrad.declare import facts
from tapegrad.program.control.loop import nested_codes
from tapegrad.program.entry import read
from tapegrad.testing.evaluation import evaluate
from tapegrad.types import Array


def laid_out(x: Array) -> dict[str, Any]:
    """An array in each layout; of other elements where the same cannot be laid out so."""
    found = {"C": np.array(x, order="C"), "F": np.array(x, order="F"), "zeros": np.zeros_like(x)}
    if x.ndim:
        found["sliced"] = np.concatenate([x, x])[: len(x)]
        found["strided"] = np.repeat(x, 2, axis=-1)[..., ::2]
        found["reversed"] = x[::-1].copy()[::-1]
        found["single"] = x[(slice(1),) * x.ndim].copy()
        found["empty"] = x[:0].copy()
        found["without axes"] = x.reshape(-1)[:1].reshape(()) if x.size == 1 else found["C"]
    if x.ndim and x.size:
        found["broadcast"] = np.broadcast_to(x[:1], x.shape)
        # where ops may take another way than for a few elements
        found["long"] = np.resize(x, (-(-1024 // x[0].size), *x.shape[1:]))
    return found


LAYOUTS = tuple(laid_out(np.zeros((1, 1))))
SHORT = tuple(x for x in LAYOUTS if x != "long")


def shared(
    op: Primitive,
    operands: Sequence[Any],
    options: Mapping[str, Any],
    layouts: Sequence[str] = LAYOUTS,
) -> set[int]:
    """The positions of the operands whose memory a result shares, in any layout."""
    found: set[int] = set()
    results = []
    for given in _layouts_of(operands, layouts):
        # a singular matrix, or a shape that does not fit the options
        with np.errstate(all="ignore"), warnings.catch_warnings(action="ignore"):
            try:
                y = op.forward(*given, **options)
            except Exception:
                continue
        results.append(y)
        for part in y.values if type(y) is Parts else (y,):
            found |= {
                i
                for i, x in enumerate(given)
                # whether the bounds overlap is known at once
                if type(x) is type(part) is np.ndarray
                and np.may_share_memory(x, part)
                and np.shares_memory(x, part)
            }
    assert results
    return found


def _layouts_of(operands: Sequence[Any], layouts: Sequence[str]) -> Iterator[list[Any]]:
    arrays = {i: laid_out(x) for i, x in enumerate(operands) if type(x) is np.ndarray}
    for layout in layouts:
        yield [
            arrays[i].get(layout, arrays[i]["C"]) if i in arrays else x
            for i, x in enumerate(operands)
        ]


def may_share(op: Primitive) -> set[int]:
    """The positions of the operands whose memory a result is declared to share."""
    return {0} if facts(op).view else set()


def check_sharing(fn: Callable[..., Any], args: Sequence[Any]) -> set[Primitive]:
    """Check that each recorded instruction of a function declares the memory that it shares.

    Return the ops of the instructions.
    """

    def check(
        op: Primitive, operands: list[Array | float | Parts], options: Any, result: Any
    ) -> Any:
        found = shared(op, operands, options, SHORT)
        assert found <= may_share(op), (op.name, found)
        return result

    program = tg.compile(fn, passes=()).program(*args)
    evaluate(program, read(args, {}, ()).values, check)
    return {made.op for code in nested_codes(program) for made in code.instructions}
