"""COND: one of two programs, chosen by a value; one record for both.

Derivatives are branches themselves: only the chosen program is differentiated, and its values are
recomputed from the operands.

To batch a branch or to write it for another library, transform ``branch.on_true`` and
``branch.on_false``, which have the same inputs and outputs.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np

from tapegrad.arraylike.table import called_lazily
from tapegrad.core.forward import apply
from tapegrad.core.rules import Joint, Parts, Rules
from tapegrad.core.tensor import Tensor
from tapegrad.declare import declare
from tapegrad.declare.abstract import stand_in
from tapegrad.declare.batching import Batched, batch_size, with_batch
from tapegrad.declare.parts import part
from tapegrad.program.control.body import from_these, input_like, program_of
from tapegrad.program.control.derive import (
    code_for_all,
    differing,
    floating,
    nothing,
    pulled_back,
    pushed_forward,
    safe,
    spread,
    where_each,
    zeros,
)
from tapegrad.program.control.loop import Branch, caller
from tapegrad.program.ir import Code, Input, inputs_at


def choose(branch: Branch, pred: Any, operands: Sequence[Any]) -> Any:
    """The results of the chosen program, as `Parts`; a record of them if an operand is a Tensor."""
    return apply(COND, (pred, *operands), {"branch": branch})


def _chosen(pred: Any, *operands: Any, branch: Branch) -> Parts:
    """The chosen program, run."""
    results = caller(branch.on_true if pred else branch.on_false)(list(operands))
    # a result may be an operand, or a view of one
    arrays = [np.array(x) for x in results]
    for x in arrays:
        x.setflags(write=False)
    return Parts(tuple(arrays))


def _like(pred: Any, *operands: Any, branch: Branch) -> Parts:
    likes = [branch.on_true.like(x) for x in branch.on_true.outputs]
    return Parts(tuple([stand_in(x.shape, np.dtype(x.dtype)) for x in likes]))


def _pull(g: Parts, y: Any, pred: Any, *operands: Any, branch: Branch) -> list[Any]:
    """The cotangents of the operands, by the chosen program's backward pass."""
    places = [i for i, x in enumerate(g.values) if x is not None]
    wanted = [i for i, x in enumerate(branch.on_true.inputs) if x.dtype.kind in "fc"]
    likes = [branch.on_true.like(branch.on_true.outputs[i]) for i in places]
    weights = [Input("d_value", x.shape, np.dtype(x.dtype)) for x in likes]
    back = _recorded(branch, weights, partial(pulled_back, seeded=places, wanted=wanted))
    whole = choose(back, pred, [*operands, *[g.values[i] for i in places]])
    return [None, *spread(whole, wanted, len(operands))]


def _push(
    op: Rules, tangents: Mapping[int, Any], y: Any, pred: Any, *operands: Any, branch: Branch
) -> Parts:
    """The tangents of the chosen program's results."""
    moved, outputs = [i - 1 for i in tangents], branch.on_true.outputs
    wanted = [i for i, x in enumerate(outputs) if floating(branch.on_true, x)]
    # that of a Python number may be one
    values = [t._primal if type(t) is Tensor else t for t in tangents.values()]

    def forth(code: Code, tensors: list[Tensor]) -> list[Any]:
        pairs = zip(wanted, pushed_forward(code, tensors, moved, wanted), strict=True)
        return [zeros(code, code.outputs[i]) if t is None else t for i, t in pairs]

    forward = _recorded(branch, [input_like(x, "t_value") for x in values], forth)
    whole = choose(forward, pred, [*operands, *tangents.values()])
    return Parts(tuple(spread(whole, wanted, len(outputs))))


def _recorded(branch: Branch, inputs: Sequence[Input], fn: Callable[..., Any]) -> Branch:
    """A branch of `fn` of each program and of its inputs, after which come further ones."""
    codes = [
        program_of(code.label, [*code.inputs, *inputs], partial(fn, code))
        for code in (branch.on_true, branch.on_false)
    ]
    # without what no output needs
    return Branch(*[from_these(code, inputs_at(range(len(code.inputs)))) for code in codes])


def _batch(op: Rules, batched: Batched, pred: Any, *operands: Any, branch: Branch) -> Parts:
    """The chosen program for all examples; where they differ, each of the two that is needed."""
    n, own = batch_size(batched, (pred, *operands)), batched[1:]
    codes = branch.on_true, branch.on_false
    if not batched[0]:
        batched_outputs = [
            any(b) for b in zip(*[differing(code, own) for code in codes], strict=True)
        ]
        both = Branch(*[code_for_all(code, own, n, batched_outputs) for code in codes])
        whole = choose(both, pred, operands)
        return Parts(
            tuple([with_batch(part(whole, i), b, n) for i, b in enumerate(batched_outputs)])
        )
    chosen = np.not_equal(pred, 0)
    codes_for_all = []
    for code, takes in zip(codes, (chosen, np.logical_not(chosen)), strict=True):
        batched_outputs = [True] * len(code.outputs)
        one = Branch(code_for_all(code, own, n, batched_outputs), nothing(code, own, n))
        whole = choose(one, np.any(takes), safe(takes, operands, own))
        codes_for_all.append([part(whole, i) for i in range(len(batched_outputs))])
    return Parts(tuple([where_each(chosen, x, y) for x, y in zip(*codes_for_all, strict=True)]))


COND = Rules(
    "cond", _chosen, Joint(_pull), _push, takes_weak=True, like=_like, batch=_batch, complex=True
)
declare(COND, pattern=called_lazily("tapegrad.program.control.pattern", "of_branch"))
