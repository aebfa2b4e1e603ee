"""while_loop and fori_loop: repeat a step while a condition holds, or over a range."""

from __future__ import annotations

import operator
from collections.abc import Callable
from functools import partial, wraps
from typing import Any, Literal, TypeVar

import numpy as np

from tapegrad import tree
from tapegrad.arraylike.tensor import Tensor
from tapegrad.core.rules import Rules
from tapegrad.declare.abstract import actual
from tapegrad.errors.functions import argument_names, check_callable, label
from tapegrad.errors.words import got
from tapegrad.loops.carry import (
    Counted,
    arrays_of,
    as_initial,
    check_arrays,
    check_carry,
    is_number,
    keep_result,
    lend_carry,
    on_arrays,
    root,
    settle_carry,
)
from tapegrad.loops.scanning import over_rows
from tapegrad.loops.segments import check_checkpoint, last_carry
from tapegrad.program.control.body import Traced, over_all_captured, settled_before, traced
from tapegrad.program.control.loop import Loop
from tapegrad.program.control.ops import FORI_LOOP, WHILE_LOOP
from tapegrad.transforms.checkpoint import Checkpoint
from tapegrad.tree.numbers import describe, require_64_bits

Fn = Callable[..., Any]
Carry = TypeVar("Carry", bound=Any)


def while_loop(
    cond: Callable[[Any], Any],
    body: Callable[[Any], Carry],
    init: Any,
    checkpoint: int | Literal["binomial"] | None = None,
) -> Carry:
    """Apply a function repeatedly, as long as a condition holds.

    On arrays it is this loop::

        carry = init
        while cond(carry):
            carry = body(carry)
        return carry

    On Tensors it is one record, as `scan` is; compiled, a loop with a ``break``. It can be
    differentiated in both modes: the backward pass makes as many steps as the forward pass did.
    The number of steps itself passes no gradient.

    Parameters
    ----------
    cond
        A function of the carry that returns a truth value without axes.
    body
        A function of the carry that returns the next carry, of the same structure, shapes and
        dtypes. With ``checkpoint(body)`` the backward pass recomputes each step and stores
        only its carry.
    init
        The first carry, a tree. A Python number in it takes the dtype that `body` gives it.
    checkpoint
        How much is kept for derivatives, as for `scan`. The number of steps is known only at the
        end, so the segments of ``"binomial"`` grow: each is one step longer than the one before.
        Of n steps it keeps ``sqrt(2 n)`` carries, and repeats each step once, up to ``sqrt(2 n)``
        at a time.

    Returns
    -------
    The last carry.

    Raises
    ------
    TypeError
        If `body` returns a carry of another structure or dtype, with the path of the leaf;
        if `cond` does not return one truth value; if `checkpoint` is of no kind that `scan` takes.
    ValueError
        If a carry has another shape; if `checkpoint` is another word, or a number below 1.

    Notes
    -----
    Meaning and names are those of ``jax.lax.while_loop``, which has no reverse mode.

    Examples
    --------
    >>> import tapegrad as tg
    >>> def root(a):
    ...     return tg.while_loop(
    ...         lambda x: tg.abs(x * x - a) > 1e-6, lambda x: (x + a / x) / 2, 1.0
    ...     )
    >>> round(float(root(4.0)), 6), round(float(tg.grad(root)(4.0)), 6)
    (2.0, 0.25)
    """
    check_callable(cond, "while_loop(cond, body, init): cond")
    check_callable(body, "while_loop(cond, body, init): body")
    checkpoint = check_checkpoint("while_loop", checkpoint)
    return _while(WHILE_LOOP, cond, body, init, checkpoint)


def _while(op: Rules, cond: Fn, body: Fn, init: Any, checkpoint: Any) -> Any:
    """`while_loop`, under the name of the function that the user called."""
    args = op, cond, body, init
    return on_arrays(init, body, partial(_plain, *args), partial(_recorded, *args, checkpoint))


def fori_loop(
    start: Any,
    stop: Any,
    body: Callable[[Any, Any], Carry],
    init: Any,
    checkpoint: int | Literal["binomial"] | None = None,
) -> Carry:
    """Apply a function for each number of a range.

    On arrays it is this loop::

        carry = init
        for i in range(start, stop):
            carry = body(i, carry)
        return carry

    Parameters
    ----------
    start, stop
        Integers. Where one is a Tensor, the loop is a `while_loop`, so that the number of
        steps of a compiled function may vary; otherwise it is a `scan`.
    body
        A function ``body(i, carry) -> carry``, as for `scan`.
    init
        The first carry.
    checkpoint
        How much is kept for derivatives, as for `scan`; if a bound is a Tensor, for `while_loop`.

    Returns
    -------
    The last carry.

    Raises
    ------
    TypeError, ValueError
        As for `scan`.

    Notes
    -----
    Meaning and names are those of ``jax.lax.fori_loop``.

    Examples
    --------
    >>> import tapegrad as tg
    >>> tg.fori_loop(1, 5, lambda i, product: product * i, 1)
    np.int64(24)
    >>> tg.grad(lambda x: tg.fori_loop(0, 3, lambda i, y: y * x, 1.0))(2.0)
    array(12.)
    """
    check_callable(body, "fori_loop(start, stop, body, init): body")
    checkpoint = check_checkpoint("fori_loop", checkpoint)
    first, last = _whole("start", start), _whole("stop", stop)
    if type(first) is Tensor or type(last) is Tensor:
        if type(first) is not Tensor:
            first = np.asarray(first)
        elif first.dtype.itemsize < 8:
            # the numbers are int64 on arrays too; a narrower count may never reach the stop
            first = first.astype(np.int64)

        def step(at: Counted) -> Counted:
            return Counted(at.i + 1, body(at.i, at.carry))

        step, start = _like(body, step), Counted(first, init)
        return _while(FORI_LOOP, lambda at: at.i < last, step, start, checkpoint).carry

    def row(carry: Any, i: Any) -> Any:
        return body(i, carry), None

    if first >= last and not any(type(x) is Tensor or is_number(x) for x in tree.leaves(init)):
        # of no step nothing is known, and an error in it means nothing
        return _unchanged("fori_loop", init)
    numbers = np.arange(first, max(first, last))
    n, step = len(numbers), _like(body, row)
    return over_rows(FORI_LOOP, step, init, numbers, n, False, checkpoint)[0]


def _whole(name: str, x: Any) -> Any:
    """A bound of a range: an int, or a Tensor of one."""
    require_64_bits(x._primal if type(x) is Tensor else x, f"fori_loop: {name}")
    try:
        if type(x) is not Tensor:
            return operator.index(x)
    except TypeError:
        pass
    else:
        if x.dtype.kind in "iu" and x.shape == ():
            return x
    raise TypeError(f"fori_loop: {name} must be an integer, not {describe(x)}")


def _like(body: Fn, step: Fn) -> Fn:
    """A step of the loop, which calls the body: with its name, and the names of its arguments."""
    counted = wraps(body)(step)
    counted.__argument_names__ = argument_names(body, 2)[::-1]  # type: ignore[attr-defined]
    return Checkpoint(counted) if isinstance(body, Checkpoint) else counted


def _plain(op: Rules, cond: Fn, body: Fn, init: Any) -> Any:
    """The loop on arrays."""
    if not _truth(cond, init):
        return _unchanged(op.name, init)

    def step(carry: Any) -> Any:
        return keep_result(body, body(lend_carry(carry)))

    _, carry, _ = settle_carry(op.name, body, init, lambda carry: (step(carry), None))
    while _truth(cond, carry):
        before, carry = carry, step(carry)
        check_carry(op.name, body, before, carry)
    return carry


def _unchanged(what: str, init: Any) -> Any:
    """The result of a loop without steps."""
    init = tree.map_with_path(partial(as_initial, what), init, root(init, "carry"))
    return arrays_of(init)


def _truth(cond: Fn, carry: Any) -> bool:
    truth = cond(lend_carry(carry))
    check_arrays(cond, truth)
    _check_truth(cond, truth)
    return bool(truth)


def _check_truth(cond: Fn, truth: Any) -> None:
    if not isinstance(truth, np.ndarray | np.generic | bool | int | float) or np.shape(truth):
        shape = f" of shape {np.shape(truth)}" if isinstance(truth, np.ndarray) else ""
        raise TypeError(
            f"while_loop: {label(cond)} returned {got(truth)}{shape}; one truth value is needed"
        )


def _recorded(op: Rules, cond: Fn, body: Fn, init: Any, checkpoint: Any) -> Any:
    """One record for the loop, and one for each of its results."""
    names = [root(init, name) for name in argument_names(body, 1)]

    def first() -> list[Any]:
        return actual(tree.leaves(init))

    def step(carry: Any) -> tuple[Any, Traced]:
        done = traced(body, (carry,), names, first)
        return done.output, done

    init, _, done = settle_carry(op.name, body, init, step)
    carry, structure = tree.flatten(init)
    test = traced(cond, (arrays_of(init),), names, first)
    _check_truth(cond, test.output)
    captured, codes = over_all_captured(done, test)
    remember = not isinstance(body, Checkpoint)
    loop = Loop(codes[0], len(carry), 0, 0, None, stop=codes[1], remember=remember)
    loop, operands = settled_before(loop, [*captured, *carry])
    return tree.unflatten(structure, last_carry(op, loop, operands, checkpoint))
