"""cond: one of two functions, chosen by a value."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import numpy as np

from tapegrad import tree
from tapegrad.core.messages import check_returned
from tapegrad.core.tensor import Tensor
from tapegrad.core.writing import CURRENT
from tapegrad.declare.parts import part
from tapegrad.errors.functions import argument_names, check_callable, label
from tapegrad.errors.lines import with_user_warnings
from tapegrad.loops.carry import named_leaves
from tapegrad.program.control.body import over_captured, traced
from tapegrad.program.control.branch import choose
from tapegrad.program.control.loop import Branch
from tapegrad.tree.numbers import as_constant, describe
from tapegrad.tree.ownership import readonly_view

R = TypeVar("R", bound=Any)


def cond(pred: Any, on_true: Callable[..., R], on_false: Callable[..., Any], *operands: Any) -> R:
    """The result of one of two functions, chosen by a value.

    ``on_true(*operands) if pred else on_false(*operands)``. Where `pred` is a Tensor, both
    functions are recorded, as programs of one record, and the chosen one runs; compiled, it
    is an ``if``. So a compiled function may branch on a value.

    Parameters
    ----------
    pred
        A truth value or a number without axes, which passes no gradient.
    on_true, on_false
        Functions of the operands that return trees of the same structure, shapes and
        dtypes. Tensors that they capture receive gradients.
    *operands
        Trees of arrays and numbers.

    Returns
    -------
    The result of the chosen function.

    Raises
    ------
    TypeError
        If the functions return trees that differ in structure or dtype, with the path;
        if `pred` has axes.
    ValueError
        If a leaf's shapes differ, with the path.

    Notes
    -----
    Meaning and names are those of ``jax.lax.cond``. `where` chooses element by element and
    computes both sides.

    Examples
    --------
    >>> import tapegrad as tg
    >>> @tg.compile
    ... def root(x):
    ...     return tg.cond(x > 0, tg.sqrt, tg.zeros_like, x)
    >>> root(4.0), root(-4.0)
    (array(2.), array(0.))
    """
    check_callable(on_true, "cond(pred, on_true, on_false, *operands): on_true")
    check_callable(on_false, "cond(pred, on_true, on_false, *operands): on_false")
    shape = pred.shape if type(pred) is Tensor else np.shape(pred)
    if shape:
        raise TypeError(
            f"cond: pred has shape {shape}; one truth value is needed (tg.any or tg.all of it, or "
            "tg.where, which chooses element by element)"
        )
    dtype = pred.dtype if type(pred) is Tensor else np.asarray(pred).dtype
    if dtype.kind not in "biuf":
        raise TypeError(f"cond: pred must be a truth value or a real number, not {describe(pred)}")
    if type(pred) is not Tensor:
        chosen = on_true if pred else on_false
        output = with_user_warnings(chosen, *tree.fresh(operands, readonly_view))
        check_returned(output, CURRENT.get(), label(chosen))
        return output
    inputs = tree.map(lambda x: x if type(x) is Tensor else as_constant(x, "cond", True), operands)
    known = tree.map(lambda x: x._primal if type(x) is Tensor else x, inputs)
    names = argument_names(on_true, len(operands))
    paths = [
        path for x, name in zip(known, names, strict=True) for path, _ in named_leaves(x, name)
    ]
    first, second = traced(on_true, known, paths), traced(on_false, known, paths)
    _check_alike(first.output, second.output)
    leaves = tree.leaves(inputs)
    captured = [*dict.fromkeys((*first.captured, *second.captured))]
    codes = [over_captured(done, captured) for done in (first, second)]
    whole = choose(Branch(*codes), pred, [*captured, *leaves])
    output, structure = tree.flatten(first.output)
    return tree.unflatten(structure, [part(whole, i) for i in range(len(output))])


def _check_alike(first: Any, second: Any) -> None:
    """Raise unless two functions returned trees of one structure, shapes and dtypes."""
    must = "cond: on_true and on_false must return like trees"
    if tree.flatten(first)[1] != tree.flatten(second)[1]:
        one, other = dict(named_leaves(first, "result")), dict(named_leaves(second, "result"))
        for path in (*one, *other):
            if (path in one) != (path in other):
                by = "on_true" if path in one else "on_false"
                raise TypeError(f"{must}, but only {by} returns {path}")
        raise TypeError(f"{must}, but the structures differ")
    pairs = zip(named_leaves(first, "result"), named_leaves(second, "result"), strict=True)
    for (path, x), (_, y) in pairs:
        if (x.shape, x.dtype) != (y.shape, y.dtype):
            kind = ValueError if x.shape != y.shape else TypeError
            raise kind(
                f"{must}, but {path} of on_true is {describe(x)}, and {describe(y)} of on_false"
            )
