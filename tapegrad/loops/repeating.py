"""`scan`, `while_loop` and `fori_loop`: loops over rows, by a condition, and over a range."""

from __future__ import annotations

import operator
from collections.abc import Callable
from functools import wraps
from typing import Any, Literal, SupportsIndex, TypeVar

import numpy as np

from tapegrad import tree
from tapegrad.arraylike.tensor import Tensor
from tapegrad.errors.functions import argument_names, check_callable, label
from tapegrad.errors.words import got
from tapegrad.loops.carry import CountedCarry, LoopCall, is_number, run_no_steps
from tapegrad.loops.segments import check_checkpoint
from tapegrad.program.control.ops import FORI_LOOP, SCAN, WHILE_LOOP
from tapegrad.transforms.checkpoint import Checkpoint
from tapegrad.tree.numbers import describe, require_64_bits
from tapegrad.types import Array, PyTree, Scalar

Carry = TypeVar("Carry", bound=Any)
X = TypeVar("X", bound=Any)
Y = TypeVar("Y", bound=Any)


def scan(
    f: Callable[[Carry, X], tuple[Carry, Y]],
    init: Carry | Scalar | tuple[PyTree, ...],
    xs: X | None = None,
    length: int | None = None,
    reverse: bool = False,
    checkpoint: int | Literal["binomial"] | None = None,
) -> tuple[Carry, Y]:
    """Apply a function to each row in turn, with a carry.

    On arrays, `scan` is this loop, with trees in place of arrays::

        carry, ys = init, []
        for x in xs:
            carry, y = f(carry, x)
            ys.append(y)
        return carry, np.stack(ys)

    On Tensors, it is one record for any number of rows: `f` is recorded once, as a program that
    runs for each row, forward and backward. When compiled, it is a ``for`` loop.

    Parameters
    ----------
    f
        A function ``f(carry, x) -> (carry, y)`` of trees. The carry that it returns has the
        structure, shapes and dtypes of its argument. If an argument or a captured value is a
        Tensor, `f` is recorded, so it cannot read values (``if``, ``float``; write `cond`,
        `where`). With ``checkpoint(f)`` the backward pass recomputes each step and stores only
        its carry.
    init
        The first carry. A Python number in it takes the dtype that `f` gives it.
    xs
        A tree of arrays; `f` gets a row of each array. None if there are no rows.
    length
        The number of steps, which is required if `xs` contains no array.
    reverse
        Whether to go from the last row to the first; row i of `ys` still belongs to row i of
        `xs`.
    checkpoint
        The values that are kept for derivatives. None: all required values of every step. A number
        k: the carry after every k steps; a derivative repeats the k steps after a carry, and keeps
        their values only meanwhile. ``"binomial"``: O(log n) carries of n steps, in nested
        segments: up to 1,024 steps, k is about ``sqrt(n)``, and each step is repeated once; up to
        32,768 steps, twice, and so on. Values do not change, nor do derivatives, except for the
        order in which the cotangents of captured Tensors are summed.

    Returns
    -------
    carry, ys
        The last carry, and a tree like y with the rows stacked.

    Raises
    ------
    TypeError
        If `f` does not return a pair, or a carry of another structure or dtype, with the
        path of the leaf; if `checkpoint` is neither a whole number nor a word.
    ValueError
        If a carry has another shape; if the lengths differ or are unknown, with the paths; if
        `checkpoint` is another word, or a number below 1.
    TraceError
        If `f` reads a value where only shapes and dtypes are known.

    Notes
    -----
    The function has the arguments and the meaning of ``jax.lax.scan``, and `checkpoint` besides.

    The schedule with the fewest carries for as many repetitions has segments of unequal lengths (A.
    Griewank and A. Walther, "Algorithm 799: revolve", ACM TOMS 26, 2000). Here all segments of a
    level are equal, so that one loop runs them all: to repeat each step once, revolve keeps
    ``sqrt(2 n)`` carries, and `scan` keeps ``2 sqrt(n)``.

    Examples
    --------
    >>> import tapegrad as tg
    >>> tg.scan(lambda total, x: (total + x, total), 0.0, np.array([1.0, 2.0, 3.0]))
    (np.float64(6.0), array([0., 1., 3.]))
    >>> def last(rate):
    ...     return tg.scan(lambda y, _: (y * rate, None), 1.0, length=10)[0]
    >>> tg.grad(last)(1.0), tg.grad(tg.grad(last))(1.0)
    (array(10.), array(90.))
    >>> def lean(rate):  # the carries after 0, 4 and 8 steps are kept
    ...     return tg.scan(lambda y, _: (y * rate, None), 1.0, length=10, checkpoint=4)[0]
    >>> tg.grad(lean)(1.0)
    array(10.)
    """
    check_callable(f, "scan(f, init, xs): f")
    checkpoint = check_checkpoint("scan", checkpoint)

    def step(carry: Carry, x: X) -> tuple[Carry, Y]:
        output = f(carry, x)
        if not (isinstance(output, tuple) and len(output) == 2):
            raise TypeError(
                f"scan: {label(f)} must return (carry, y), with None for y if there is none; it "
                f"returned {got(output)}"
            )
        return output

    n = _count_steps(xs, length)
    return LoopCall(SCAN, _wrap_step(f, step), init, checkpoint, xs, n, reverse).run()


def _count_steps(xs: PyTree, length: int | None) -> int:
    """Return the number of steps; raise unless the lengths agree."""
    lengths: dict[str, int] = {}
    for path, x in tree.named_leaves(xs, "xs"):
        shape = np.shape(x) if not isinstance(x, Tensor) else x.shape
        if not shape:
            raise ValueError(
                f"scan: {path} has no axis to go along; leave a value that is the same at each "
                "step out of xs, and let f capture it; write np.array of a list of numbers"
            )
        lengths[path] = shape[0]
    if length is not None:
        length = operator.index(length)
        if length < 0:
            raise ValueError(f"scan: length must be 0 or more, not {length}")
        lengths = {"length": length} | lengths
    if not lengths:
        raise ValueError("scan: xs holds no array, so length must say how many steps there are")
    if len(set(lengths.values())) > 1:
        listed = ", ".join(f"{path} {n}" for path, n in lengths.items())
        raise ValueError(f"scan: the lengths differ: {listed}")
    return next(iter(lengths.values()))


def while_loop(
    cond: Callable[[Any], Any],
    body: Callable[[Any], Carry],
    init: PyTree,
    checkpoint: int | Literal["binomial"] | None = None,
) -> Carry:
    """Apply a function repeatedly, as long as a condition holds.

    On arrays, `while_loop` is this loop::

        carry = init
        while cond(carry):
            carry = body(carry)
        return carry

    On Tensors, it is one record, like `scan`; when compiled, a loop with a ``break``. It can be
    differentiated in both modes: the backward pass makes as many steps as the forward pass did.
    No gradient passes through the number of steps.

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
        The values that are kept for derivatives, as for `scan`. The number of steps is known only
        at the end, so the segments of ``"binomial"`` grow: each is one step longer than the one
        before. For n steps, ``sqrt(2 n)`` carries are kept, and each step is repeated once, at most
        ``sqrt(2 n)`` steps at a time.

    Returns
    -------
    The last carry.

    Raises
    ------
    TypeError
        If `body` returns a carry of another structure or dtype, with the path of the leaf;
        if `cond` does not return one truth value; if `checkpoint` has a type that `scan` does not
        take.
    ValueError
        If a carry has another shape; if `checkpoint` is another word, or a number below 1.

    Notes
    -----
    The function has the arguments and the meaning of ``jax.lax.while_loop``, which has no reverse
    mode.

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
    return LoopCall(WHILE_LOOP, body, init, checkpoint, condition=cond).run()[0]


def fori_loop(
    start: SupportsIndex | Tensor,
    stop: SupportsIndex | Tensor,
    body: Callable[[Any, Any], Carry],
    init: PyTree,
    checkpoint: int | Literal["binomial"] | None = None,
) -> Carry:
    """Apply a function for each number of a range.

    On arrays, `fori_loop` is this loop::

        carry = init
        for i in range(start, stop):
            carry = body(i, carry)
        return carry

    Parameters
    ----------
    start, stop
        Integers. If one is a Tensor, the loop is a `while_loop`, so that the number of steps of a
        compiled function may vary; otherwise it is a `scan`.
    body
        A function ``body(i, carry) -> carry``, as for `scan`.
    init
        The first carry.
    checkpoint
        The values that are kept for derivatives, as for `scan`, or as for `while_loop` if a bound
        is a Tensor.

    Returns
    -------
    The last carry.

    Raises
    ------
    TypeError, ValueError
        As for `scan`.

    Notes
    -----
    The function has the arguments and the meaning of ``jax.lax.fori_loop``.

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
    first, last = _check_bound("start", start), _check_bound("stop", stop)
    if type(first) is Tensor or type(last) is Tensor:
        if type(first) is not Tensor:
            first = np.asarray(first)
        elif first.dtype.itemsize < 8:
            # int64 as on arrays; a narrower count may never reach the stop
            first = first.astype(np.int64)

        def step(counted: CountedCarry) -> CountedCarry:
            return CountedCarry(counted.i + 1, body(counted.i, counted.carry))

        loop = LoopCall(
            FORI_LOOP,
            _wrap_step(body, step, swap_names=True),
            CountedCarry(first, init),
            checkpoint,
            condition=lambda counted: counted.i < last,
        )
        return loop.run()[0].carry

    def step_on_row(carry: PyTree, i: Array) -> tuple[Any, None]:
        return body(i, carry), None

    if first >= last and not any(type(x) is Tensor or is_number(x) for x in tree.leaves(init)):
        # without a step, no dtype can change, and an error in the body does not matter
        return run_no_steps("fori_loop", init)
    numbers = np.arange(first, max(first, last))
    row_step = _wrap_step(body, step_on_row, swap_names=True)
    return LoopCall(FORI_LOOP, row_step, init, checkpoint, numbers, len(numbers)).run()[0]


def _check_bound(name: str, x: Any) -> Any:
    """Return a bound of a range: an int, or an integer Tensor without axes."""
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


def _wrap_step(
    fn: Callable[..., Any], step: Callable[..., Any], swap_names: bool = False
) -> Callable[..., Any]:
    """Give a step the name and the argument names of the function that it calls."""
    wrapped = wraps(fn)(step)
    wrapped.__name__ = label(fn)
    if swap_names:
        names = argument_names(fn, 2)[::-1]
        wrapped.__argument_names__ = names  # type: ignore[attr-defined]
    return Checkpoint(wrapped) if isinstance(fn, Checkpoint) else wrapped
