"""scan: a loop over rows with a carry."""

from __future__ import annotations

import operator
from collections.abc import Callable
from functools import partial, wraps
from typing import Any, Literal, TypeVar

import numpy as np

from tapegrad import tree
from tapegrad.core.rules import Rules
from tapegrad.core.tensor import Tensor
from tapegrad.declare.abstract import actual, stand_in
from tapegrad.errors.functions import argument_names, check_callable, label
from tapegrad.errors.words import got
from tapegrad.loops.carry import (
    arrays_of,
    check_carry,
    keep_result,
    lend_carry,
    on_arrays,
    settle_carry,
)
from tapegrad.loops.segments import check_checkpoint, results
from tapegrad.program.control.body import Traced, settled_before, traced
from tapegrad.program.control.loop import Loop
from tapegrad.program.control.ops import SCAN
from tapegrad.transforms.checkpoint import Checkpoint
from tapegrad.tree.numbers import as_constant, refuse_unreal
from tapegrad.tree.ownership import readonly_view

Step = Callable[[Any, Any], Any]
Carry = TypeVar("Carry", bound=Any)


def scan(
    f: Callable[[Any, Any], tuple[Carry, Any]],
    init: Any,
    xs: Any = None,
    length: int | None = None,
    reverse: bool = False,
    checkpoint: int | Literal["binomial"] | None = None,
) -> tuple[Carry, Any]:
    """Apply a function to each row in turn, passing a carry along.

    On arrays it is this loop, with trees in place of arrays::

        carry, ys = init, []
        for x in xs:
            carry, y = f(carry, x)
            ys.append(y)
        return carry, np.stack(ys)

    On Tensors it is one record, however many rows there are: `f` is recorded once, as a
    program that is run for each row, forward and backward. Compiled, it is a ``for`` loop.

    Parameters
    ----------
    f
        A function ``f(carry, x) -> (carry, y)`` of trees. The carry that it returns has the
        structure, shapes and dtypes of the one it was given. If it is given or captures a
        Tensor, it is recorded, so it cannot read values (``if``, ``float``; write `cond`,
        `where`). With ``checkpoint(f)`` the backward pass recomputes each step and stores only
        its carry.
    init
        The first carry. A Python number in it takes the dtype that `f` gives it.
    xs
        A tree of arrays; `f` gets a row of each. None if there are no rows.
    length
        The number of steps, needed where `xs` holds no array.
    reverse
        Whether to go from the last row to the first; row i of `ys` still belongs to row i of
        `xs`.
    checkpoint
        How much is kept for derivatives. None: all that they need of every step. A number k: the
        carry after every k steps; the k steps that follow it are repeated when a derivative needs
        them, and their values are held only then. ``"binomial"``: of n steps, O(log n) carries, in
        segments of segments: up to 1,024 steps, k is about ``sqrt(n)``, and each step is repeated
        once; up to 32,768 it is twice, and so on. The values are the same; so are derivatives, but
        for the order in which the cotangents of captured Tensors are added up.

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
    Meaning and names are those of ``jax.lax.scan``, to which `checkpoint` is added.

    The schedule with the fewest carries for as many repetitions has segments of unequal lengths (A.
    Griewank and A. Walther, "Algorithm 799: revolve", ACM TOMS 26, 2000). Here all
    segments of a level are equal, so that they are one loop, written once: where the other keeps
    ``sqrt(2 n)`` carries and repeats each step once, this one keeps ``2 sqrt(n)``.

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
    return over_rows(SCAN, f, init, xs, _length(xs, length), reverse, checkpoint)


def over_rows(
    op: Rules, f: Step, init: Any, xs: Any, n: int, reverse: bool, checkpoint: Any
) -> tuple[Any, Any]:
    """`scan`, under the name of the function that the user called."""
    args = op, f, init, xs, n, reverse
    return on_arrays((init, xs), f, partial(_plain, *args), partial(_recorded, *args, checkpoint))


def _length(xs: Any, length: int | None) -> int:
    """The number of steps."""
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


def _row(xs: Any, t: int) -> Any:
    return tree.map(lambda x: readonly_view(x[t, ...]), xs)


def _plain(op: Rules, f: Step, init: Any, xs: Any, n: int, reverse: bool) -> Any:
    """The loop on arrays."""
    refuse_unreal("scan: xs", tree.leaves(xs), True)
    if n == 0:
        init, done = _traced(op, f, init, xs, reverse)
        ys = tree.map(lambda y: np.zeros((0, *np.shape(y)), np.asarray(y).dtype), done.output[1])
        return arrays_of(init), ys
    order = range(n)[::-1] if reverse else range(n)

    def step(carry: Any, t: int) -> Any:
        return keep_result(f, _pair(f, f(lend_carry(carry), _row(xs, t))))

    _, carry, y = settle_carry(op.name, f, init, partial(step, t=order[0]))
    rows = [y]
    for t in order[1:]:
        before = carry
        carry, y = step(before, t)
        check_carry(op.name, f, before, carry)
        rows.append(y)
    if reverse:
        rows.reverse()
    return carry, tree.map(lambda *ys: np.stack(ys), *rows)


def _recorded(
    op: Rules, f: Step, init: Any, xs: Any, n: int, reverse: bool, checkpoint: Any
) -> Any:
    """One record for the loop, and one for each of its results."""
    remember = not isinstance(f, Checkpoint)
    init, done = _traced(op, f, init, xs, reverse)
    carry, rows = tree.leaves(init), tree.leaves(xs)
    ys, structure = tree.flatten(done.output[1])
    loop = Loop(done.code, len(carry), len(rows), len(ys), n, reverse, remember=remember)
    loop, operands = settled_before(loop, [*done.captured, *carry, *rows])
    parts = results(op, loop, operands, checkpoint)
    last = tree.unflatten(tree.flatten(init)[1], parts[: len(carry)])
    return last, tree.unflatten(structure, parts[len(carry) :])


def _traced(op: Rules, f: Step, init: Any, xs: Any, reverse: bool) -> tuple[Any, Traced]:
    """The initial carry, with arrays for its numbers, and a step."""
    x = tree.map(_row_like, xs)
    names = argument_names(f, 2)

    def first() -> list[Any]:
        rows = actual(tree.leaves(xs))
        return [*actual(tree.leaves(init)), *[x[-1 if reverse else 0] for x in rows]]

    def step(carry: Any) -> tuple[Any, Traced]:
        done = traced(_step(f), (carry, x), names, first)
        return done.output[0], done

    init, _, done = settle_carry(op.name, f, init, step)
    return init, done


def _step(f: Step) -> Step:
    @wraps(f)
    def step(carry: Any, x: Any) -> Any:
        return _pair(f, f(carry, x))

    return step


def _row_like(x: Any) -> Any:
    value = x._primal if type(x) is Tensor else as_constant(x, "scan", True)
    return stand_in(value.shape[1:], value.dtype)


def _pair(f: Step, output: Any) -> tuple[Any, Any]:
    if not (isinstance(output, tuple) and len(output) == 2):
        raise TypeError(
            f"scan: {label(f)} must return (carry, y), with None for y if there is none; it "
            f"returned {got(output)}"
        )
    carry, y = output
    return carry, y
