"""`cond` and `switch`: calls of one of several functions, which a value chooses."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from functools import partial, wraps
from typing import Any, SupportsIndex, TypeVar

import numpy as np

from tapegrad import tree
from tapegrad.core.messages import check_output
from tapegrad.core.tensor import Tensor
from tapegrad.core.writing import CURRENT
from tapegrad.declare.abstract import known_values
from tapegrad.declare.parts import part
from tapegrad.errors.functions import argument_names, check_callable, label
from tapegrad.errors.lines import with_user_warnings
from tapegrad.errors.words import got
from tapegrad.program.control.loop import Branch
from tapegrad.program.control.ops import choose
from tapegrad.program.control.tracing import share_captured, trace_function
from tapegrad.tree.numbers import as_constant, describe
from tapegrad.tree.ownership import readonly_view
from tapegrad.types import ArrayLike, PyTree

R = TypeVar("R", bound=Any)


def cond(
    pred: ArrayLike | Tensor,
    on_true: Callable[..., R],
    on_false: Callable[..., Any],
    *operands: PyTree,
) -> R:
    """Call one of two functions, chosen by a truth value.

    ``on_true(*operands) if pred else on_false(*operands)``. If `pred` is a Tensor, both
    functions are recorded, as programs of one record, and the chosen one runs. When compiled, the
    record is an ``if``, so a compiled function may branch on a value.

    Parameters
    ----------
    pred
        A truth value or a number without axes, to which no gradient passes.
    on_true, on_false
        Functions of the operands that return trees of the same structure, shapes and dtypes.
        Captured Tensors receive gradients.
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
    The function has the arguments and the meaning of ``jax.lax.cond``. `where` chooses element by
    element and computes both sides.

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
    like = pred if type(pred) is Tensor else np.asarray(pred)
    if like.shape:
        raise TypeError(
            f"cond: pred has shape {like.shape}; one truth value is needed (tg.any or tg.all of "
            "it, or tg.where, which chooses element by element)"
        )
    if like.dtype.kind not in "biuf":
        raise TypeError(f"cond: pred must be a truth value or a real number, not {describe(pred)}")
    if type(pred) is not Tensor:
        return _call_chosen(on_true if pred else on_false, operands)
    return _record_choice("cond", ("on_true", "on_false"), pred, (on_true, on_false), operands)


def switch(
    index: SupportsIndex | Tensor, branches: Sequence[Callable[..., R]], *operands: PyTree
) -> R:
    """Call one of several functions, chosen by its number.

    ``branches[index](*operands)``, with the index clipped to the range of the branches. If `index`
    is a Tensor, the call is recorded as nested `cond`, and each `cond` halves the branches.

    Parameters
    ----------
    index
        An integer without axes.
    branches
        Functions like the functions of `cond`.
    *operands
        Trees of arrays and numbers.

    Returns
    -------
    The result of the chosen function.

    Raises
    ------
    TypeError
        If `index` has axes or is no integer, or the functions return different trees, as for
        `cond`.
    ValueError
        If there is no branch, or a leaf's shapes differ, with the path.

    Notes
    -----
    The function has the arguments and the meaning of ``jax.lax.switch``.

    Examples
    --------
    >>> import tapegrad as tg
    >>> @tg.compile
    ... def activation(i, x):
    ...     return tg.switch(i, [tg.tanh, tg.relu, lambda x: x], x)
    >>> activation(1, -2.0), activation(7, -2.0)
    (array(0.), array(-2.))
    """
    if not isinstance(branches, Iterable):
        raise TypeError(
            "switch(index, branches, *operands): branches must be a list of functions, "
            f"not {got(branches)}"
        )
    branches = tuple(branches)
    for i, branch in enumerate(branches):
        check_callable(branch, f"switch(index, branches, *operands): branches[{i}]")
    if not branches:
        raise ValueError("switch: branches must have one function or more")
    like = index if type(index) is Tensor else np.asarray(index)
    if like.shape or like.dtype.kind not in "iu":
        raise TypeError(
            f"switch: index must be one integer, not {describe(like)} (tg.vmap chooses for each "
            "example, index.astype(int) rounds towards 0)"
        )
    if type(index) is Tensor and len(branches) > 1:
        return _merge_branches(index, branches, 0)(*operands)
    place = 0 if isinstance(index, Tensor) else min(max(int(index), 0), len(branches) - 1)
    return _call_chosen(branches[place], operands)


def _merge_branches(
    index: Any, branches: Sequence[Callable[..., R]], first: int
) -> Callable[..., R]:
    """Return a function that calls one of these branches, which are numbered from `first`."""
    half = len(branches) // 2
    if not half:
        return branches[0]
    names = f"branches[{first}]", f"branches[{first + half}]"
    sides = (
        _merge_branches(index, branches[:half], first),
        _merge_branches(index, branches[half:], first + half),
    )

    @wraps(branches[0])
    def call_half(*operands: PyTree) -> Any:
        return _record_choice("switch", names, np.less(index, first + half), sides, operands)

    call_half.__name__ = " or ".join(map(label, branches))
    return call_half


def _call_chosen(chosen: Callable[..., R], operands: tuple[Any, ...]) -> R:
    """Call the function that a value without a record chooses."""
    output = with_user_warnings(chosen, *tree.copy_containers(operands, readonly_view))
    check_output(output, CURRENT.get(), label(chosen))
    return output


def _record_choice(
    name: str,
    names: tuple[str, str],
    pred: Tensor,
    sides: Sequence[Callable[..., Any]],
    operands: tuple[Any, ...],
) -> Any:
    """Record two functions, and return the result of the one that a Tensor chooses."""
    inputs = tree.map(lambda x: x if type(x) is Tensor else as_constant(x, name, True), operands)
    known = tree.map(lambda x: x._primal if type(x) is Tensor else x, inputs)
    arguments = argument_names(sides[0], len(operands))
    leaves = tree.leaves(inputs)
    first, second = [
        trace_function(side, known, arguments, partial(known_values, leaves)) for side in sides
    ]
    _check_alike(name, names, first.output, second.output)
    captured, codes = share_captured(first, second)
    whole = choose(Branch(*codes), [pred, *captured, *leaves])
    output, structure = tree.flatten(first.output)
    return tree.unflatten(structure, [part(whole, i) for i in range(len(output))])


def _check_alike(name: str, names: tuple[str, str], first: PyTree, second: PyTree) -> None:
    """Raise unless two functions returned trees of equal structure, shapes and dtypes."""
    must = f"{name}: {names[0]} and {names[1]} must return like trees"
    one, other = (dict(tree.named_leaves(x, "result")) for x in (first, second))
    if tree.flatten(first)[1] != tree.flatten(second)[1]:
        for path in (*one, *other):
            if (path in one) != (path in other):
                by = names[path not in one]
                raise TypeError(f"{must}, but only {by} returns {path}")
        raise TypeError(f"{must}, but the structures differ")
    for (path, x), y in zip(one.items(), other.values(), strict=True):
        if (x.shape, x.dtype) != (y.shape, y.dtype):
            kind = ValueError if x.shape != y.shape else TypeError
            raise kind(
                f"{must}, but {path} of {names[0]} is {describe(x)}, and {describe(y)} of "
                f"{names[1]}"
            )
