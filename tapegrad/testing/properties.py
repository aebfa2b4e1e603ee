"""Checks of properties that any derivative must have.

The checks need neither differences nor a tolerance: each compares two computations in float64 that
must agree up to rounding, and raises AssertionError if they do not.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any

import attrs
import numpy as np

from tapegrad import tree
from tapegrad.core.recording import record
from tapegrad.errors import TraceError
from tapegrad.errors.functions import label
from tapegrad.errors.lines import warns_at_users_line
from tapegrad.ops.casting import stop_gradient
from tapegrad.program import compile as compile_
from tapegrad.program.control.loop import nested_codes
from tapegrad.testing.differences import coarsest_eps
from tapegrad.testing.foreign import snapshot
from tapegrad.testing.gradients import FLOOR, check_linear, check_transposed, compare, norm_product
from tapegrad.testing.leaves_as_vector import (
    FlatFunction,
    Fn,
    check_sequence,
    flatten_function,
    locate,
    pack,
    random_weights,
    unpack,
)
from tapegrad.testing.values import (
    call_on_plain_arrays,
    check_values,
    is_close,
    rounding_spread,
    rounding_tolerance,
)
from tapegrad.transforms.batches import vmap
from tapegrad.transforms.products import jvp, vjp
from tapegrad.tree.structure import replace_leaves
from tapegrad.types import Array, Cotangent, PyTree, Scalar

_NEAR = 1e-4  # the distance of nearby points, which show whether a point is a kink


@warns_at_users_line
def check_linear_in_cotangent(fn: Fn, args: Sequence[Any]) -> None:
    """Check that a pullback is linear: it maps zeros to zeros, and a sum to the sum.

    Parameters
    ----------
    fn, args
        As for `check_grads`.

    Raises
    ------
    AssertionError
        If a VJP rule is not linear in the cotangent.

    Examples
    --------
    >>> import tapegrad as tg
    >>> tg.testing.check_linear_in_cotangent(tg.tanh, (np.ones(3),))
    """
    f = flatten_function(fn, args, np.float64)
    outputs, pull_back = _pullback(f)
    rng = np.random.default_rng(1)
    u, w = (random_weights(rng, outputs.size) for _ in range(2))
    check_linear(f, _recorded_tolerance(f), "the pullback", "u", pull_back, u, w)


@warns_at_users_line
def check_transposes(fn: Fn, args: Sequence[Any]) -> None:
    """Check that the two modes agree: ``<u, J v>`` is ``<Jᵀ u, v>``.

    Parameters
    ----------
    fn, args
        As for `check_grads`.

    Raises
    ------
    AssertionError
        If the JVP and the VJP do not belong to one linear map.

    Examples
    --------
    >>> import tapegrad as tg
    >>> tg.testing.check_transposes(lambda x: tg.softmax(x @ x.T), (np.eye(3),))
    """
    f = flatten_function(fn, args, np.float64)
    outputs, pull_back = _pullback(f)
    rng = np.random.default_rng(2)
    u, v = random_weights(rng, outputs.size), random_weights(rng, pack(f.xs).size)
    tangent = pack(jvp(f.fn, f.xs, unpack(v, f.xs))[1])
    check_transposed(f, _recorded_tolerance(f), ("the JVP", "the VJP"), u, v, tangent, pull_back(u))


@warns_at_users_line
def check_symmetric_hessian(fn: Fn, args: Sequence[Any]) -> None:
    """Check that second derivatives do not depend on the order: ``<v, H w>`` is ``<w, H v>``.

    Parameters
    ----------
    fn, args
        As for `check_grads`; H is the Hessian of a weighted sum of the outputs.

    Raises
    ------
    AssertionError
        If the VJP rules are not the derivatives of any function. At a kink the check may fail for
        right rules; the message says whether the point is a kink.

    Examples
    --------
    >>> import tapegrad as tg
    >>> tg.testing.check_symmetric_hessian(lambda x: tg.sum(x) ** 3, (np.ones(3),))
    >>> @tg.custom_op(vjps=(lambda g, y, a, b: g * 2 * b, lambda g, y, a, b: g * a))
    ... def product(a, b):
    ...     return a * b
    >>> try:
    ...     tg.testing.check_symmetric_hessian(product, (1.0, 3.0))
    ... except AssertionError as error:
    ...     for line in str(error).splitlines()[:4]:
    ...         print(line)
    product has second derivatives that depend on the order
      by b, then by a   1
      by a, then by b   2
      point             a = 1.0, b = 3.0
    """
    f = flatten_function(fn, args, np.float64)
    like = [np.asarray(y) for y in vjp(f.fn, *f.xs)[0]]
    outputs = pack(like)
    rng = np.random.default_rng(3)
    u = list(unpack(random_weights(rng, outputs.size) if outputs.size > 1 else outputs**0, like))
    n = pack(f.xs).size
    v, w = (random_weights(rng, n) for _ in range(2))
    close = _recorded_tolerance(f)

    def gradient(*xs: Array | Scalar) -> list[Cotangent]:
        return list(vjp(f.fn, *xs)[1](u))

    def product(xs: tuple[Any, ...], t: Array) -> Array:
        return pack(jvp(gradient, xs, unpack(t, xs))[1])

    def is_symmetric(xs: tuple[Any, ...]) -> bool:
        hv, hw = product(xs, v), product(xs, w)
        size = np.sum(np.abs(w * hv)) + np.sum(np.abs(v * hw)) + FLOOR * norm_product(v, w)
        return bool(np.abs(np.sum(w * hv) - np.sum(v * hw)) <= close * size)

    if is_symmetric(f.xs):
        return

    def reverse_product(t: Array) -> Array:
        return pack(vjp(gradient, *f.xs)[1](list(unpack(t, f.xs))))

    i = int(np.argmax(np.abs(product(f.xs, v) - reverse_product(v))))
    basis = np.eye(1, n, i)[0]
    column, row = product(f.xs, basis), reverse_product(basis)
    j = int(np.argmax(np.abs(column - row)))
    forward, backward = column[j], row[j]
    if j < i:
        i, j, forward, backward = j, i, backward, forward
    x = pack(f.xs)
    nearby = x + _NEAR * np.maximum(1, np.abs(x)) * random_weights(rng, n)
    verdict = (
        "not at points close by: this is a kink, where they may; check at another point"
        if is_symmetric(unpack(nearby, f.xs))
        else "at points close by too: a VJP rule is not the derivative of its op (check_grads\n"
        "  names the op), or there is a kink at each of them"
    )
    first, second = (locate(k, f.xs, f.paths) for k in (i, j))
    width = len(f"by {first}, then by {second}")
    raise AssertionError(
        f"{f.name} has second derivatives that depend on the order\n"
        f"  by {second}, then by {first}   {forward:.12g}\n"
        f"  by {first}, then by {second}   {backward:.12g}\n"
        f"  {'point':{width}}   {first} = {x[i]}, {second} = {x[j]}\n"
        f"  {'of':{width}}   the outputs, weighed and summed\n"
        f"  {verdict}"
    )


@warns_at_users_line
def check_stop_gradient(fn: Fn, args: Sequence[Any]) -> None:
    """Check that no gradient passes if `stop_gradient` is applied before a function.

    Parameters
    ----------
    fn, args
        As for `check_grads`.

    Raises
    ------
    AssertionError
        If a gradient is not exactly zero, or the value differs.

    Examples
    --------
    >>> import tapegrad as tg
    >>> tg.testing.check_stop_gradient(tg.exp, (np.ones(3),))
    """
    f = flatten_function(fn, args)
    stopped = attrs.evolve(f, fn=lambda *xs: f.fn(*stop_gradient(list(xs))))
    (outputs, _), (values, pull_back) = _pullback(f), _pullback(stopped)
    if outputs.tobytes() != values.tobytes():
        raise AssertionError(f"{f.name} returns another value for stop_gradient(x) than for x")
    gradient = pull_back(np.ones(values.size))
    what, zero = "the gradient through stop_gradient", 0 * gradient
    compare(f, _recorded_tolerance(f), what, gradient, "zero", zero, zero)


@warns_at_users_line
def check_deterministic(fn: Fn, args: Sequence[Any]) -> None:
    """Check that values, gradients and tangents are the same in each run, to the last bit.

    Parameters
    ----------
    fn, args
        As for `check_grads`.

    Raises
    ------
    AssertionError
        If two runs differ.

    Examples
    --------
    >>> import tapegrad as tg
    >>> tg.testing.check_deterministic(tg.logsumexp, (np.ones(3),))
    >>> rng = np.random.default_rng(0)
    >>> try:
    ...     tg.testing.check_deterministic(lambda x: x * rng.normal(), (1.0,))
    ... except AssertionError as error:
    ...     print(error)
    <lambda> gives another value in the second run, of the same arguments
    """
    f = flatten_function(fn, args)
    first, second = (_value_and_derivatives(f) for _ in range(2))
    for name in first:
        if first[name].tobytes() != second[name].tobytes():
            raise AssertionError(
                f"{f.name} gives another {name} in the second run, of the same arguments"
            )


@warns_at_users_line
def check_unchanged(fn: Fn, args: Sequence[Any]) -> None:
    """Check that neither a call nor its derivatives change a single byte of an argument.

    Parameters
    ----------
    fn, args
        As for `check_grads`.

    Raises
    ------
    AssertionError
        If an argument has changed.

    Examples
    --------
    >>> import tapegrad as tg
    >>> tg.testing.check_unchanged(tg.tanh, (np.ones(3),))
    """
    f = flatten_function(fn, args)
    before = _snapshots(args)
    call_on_plain_arrays(fn, args, f.name)
    _value_and_derivatives(f)
    after = _snapshots(args)
    for path in before | after:
        if before.get(path) != after.get(path):
            raise AssertionError(f"{label(fn)} changes its argument {path}")


@warns_at_users_line
def check_compiled(fn: Fn, args: Sequence[Any]) -> None:
    """Check that a compiled function returns the function's values and gradients.

    A second program calls the function with computed arguments and computes further values, which
    can take the arguments' memory. So a result that shares this memory without the program's
    knowledge is wrong.

    Parameters
    ----------
    fn, args
        As for `check_grads`. Arguments that are not floating are constants of the program.

    Raises
    ------
    AssertionError
        If a shape or a dtype differs, or a value by more than the rounding of the narrowest
        floating dtype in the program.

    Examples
    --------
    >>> import tapegrad as tg
    >>> tg.testing.check_compiled(tg.softmax, (np.ones(3),))
    """
    f = flatten_function(fn, args)

    def step(*xs: Array | Scalar) -> tuple[Any, Any]:
        outputs, pullback = vjp(f.fn, *xs)
        return outputs, pullback([_wave_cotangent(y) for y in outputs])

    _compare_compiled(f, step, f.xs)
    ones = [np.ones_like(x) for x in f.xs]
    _compare_compiled(
        f, partial(_call_amid_temporaries, f.fn), (f.xs, ones, [x + x for x in ones], 1.0, 2.0)
    )


def _call_amid_temporaries(fn: Fn, xs: Any, ones: Any, twos: Any, one: Any, two: Any) -> list[Any]:
    """Call a function on computed arguments, and use the outputs after further computations."""
    outputs = fn(*[x * y for x, y in zip(xs, ones, strict=True)])
    later = [x * y for x, y in zip(xs, twos, strict=True)]
    # the factor of the outputs depends on all of the further values
    above = [np.max(np.real(x)) > 0 for x in later if x.size]
    factor = np.where(np.any(np.stack(above)), one, two) if above else one
    return [y * factor for y in outputs]


def _compare_compiled(f: FlatFunction, step: Fn, args: Sequence[Any]) -> None:
    """Raise unless a compiled function returns the function's results in two runs."""
    compiled = compile_(step)
    want = tree.leaves(step(*args))
    # a result is as accurate as the narrowest value in the program
    steps = [x for code in nested_codes(compiled.program(*args)) for x in code.instructions]
    eps = 64 * coarsest_eps([*steps, *map(np.asarray, want)])
    # in the second run the buffers are full
    for run in ("first", "second"):
        for i, (one, other) in enumerate(zip(tree.leaves(compiled(*args)), want, strict=True)):
            got, recorded = np.asarray(one), np.asarray(other)
            if (got.shape, got.dtype) != (recorded.shape, recorded.dtype):
                raise AssertionError(
                    f"{f.name}, compiled, gives {got.dtype} {got.shape} in its {run} run, where "
                    f"recorded it gives {recorded.dtype} {recorded.shape}"
                )
            size = eps * np.max(np.abs(recorded), initial=1.0)
            close = np.isclose(got, recorded, rtol=eps, atol=size, equal_nan=True)
            if not np.all(close):
                close |= np.abs(got - recorded) <= 4 * rounding_spread(step, args)[i]
            if not np.all(close):
                raise AssertionError(
                    f"{f.name}, compiled, gives\n{got}\nin its {run} run, where recorded it "
                    f"gives\n{recorded}"
                )


_CHECKS = (
    check_unchanged,
    check_deterministic,
    check_values,
    check_linear_in_cotangent,
    check_transposes,
    check_symmetric_hessian,
    check_stop_gradient,
)


@warns_at_users_line
def check_properties(fn: Fn, args: Sequence[Any], compiled: bool = False) -> None:
    """Check all properties of this module, and the values by `check_values`.

    Parameters
    ----------
    fn, args
        As for `check_grads`.
    compiled
        Whether to compile the function and check it again, also with `check_compiled`.

    Raises
    ------
    AssertionError
        If a property does not hold.

    Examples
    --------
    >>> import tapegrad as tg
    >>> tg.testing.check_properties(tg.tanh, (np.ones(3),), compiled=True)
    """
    for check in _CHECKS:
        check(fn, args)
    if compiled:
        check_compiled(fn, args)
        f = flatten_function(fn, args)
        program = compile_(f.fn)
        for check in _CHECKS:
            check(program, f.xs)


def _pullback(f: FlatFunction) -> tuple[Array, Callable[[Array], Array]]:
    """Return the packed outputs, and a function from a packed cotangent to the packed gradient."""
    output, pullback = vjp(f.fn, *f.xs)
    like = [np.asarray(y) for y in output]
    return pack(like), lambda u: pack(pullback(list(unpack(u, like))))


def _value_and_derivatives(f: FlatFunction) -> dict[str, Array]:
    """Return the value, the gradient and the tangent along fixed directions."""
    value, pull_back = _pullback(f)
    rng = np.random.default_rng(4)
    gradient = pull_back(random_weights(rng, value.size))
    moves = unpack(random_weights(rng, pack(f.xs).size), f.xs)
    tangents = [np.asarray(v, np.asarray(x).dtype) for v, x in zip(moves, f.xs, strict=True)]
    tangent = pack(jvp(f.fn, f.xs, tangents)[1])
    return {"value": value, "gradient": gradient, "tangent": tangent}


def _wave_cotangent(y: Array) -> Cotangent:
    """Return a cotangent for an output, with elements on a wave."""
    c = np.cos(np.arange(y.size)).reshape(y.shape)
    return c + 1j * np.sin(2 + c) if y.dtype.kind == "c" else c


def _snapshots(args: Sequence[Any]) -> dict[str, Any]:
    """Return snapshots of the leaves by path."""
    paths, leaves = tree.paths(list(args)), tree.leaves(list(args))
    return {path: snapshot(leaf) for path, leaf in zip(paths, leaves, strict=True)}


def _recorded_tolerance(f: FlatFunction) -> float:
    return rounding_tolerance(record(f.fn)(*f.xs)[1])


# --- batches ------------------------------------------------------------------------------


@warns_at_users_line
def check_batched(fn: Fn, args: Sequence[Any]) -> None:
    """Check that `vmap` of a function gives the results of calling it example by example.

    Parameters
    ----------
    fn
        A function of trees, as `vmap` takes it.
    args
        The arguments of one example. The check makes a second example with floating arrays scaled
        and others reversed. It batches all arrays at once, then the floating arrays alone, then
        each array alone. A function may raise for a batch of arrays that are not floating, if it
        has to read their values.

    Raises
    ------
    AssertionError
        If a value, a shape or a dtype differs; the message has the path and the batched arguments.
    TypeError
        If there is no array among the arguments.

    Examples
    --------
    >>> import tapegrad as tg
    >>> tg.testing.check_batched(lambda a, b: tg.tanh(a @ b), (np.eye(2), np.ones(2)))
    """
    check_sequence(args)
    leaves, structure = tree.flatten(tuple(args))
    arrays = [i for i, x in enumerate(leaves) if isinstance(x, np.ndarray)]
    floating = [i for i in arrays if leaves[i].dtype.kind in "fc"]
    if not arrays:
        raise TypeError(f"there is no array to batch among the arguments of {label(fn)}")
    examples = [leaves, [_vary(x) for x in leaves]]

    def call(leaves: Sequence[object]) -> Any:
        return fn(*tree.unflatten(structure, leaves))

    for chosen in dict.fromkeys(tuple(x) for x in (arrays, floating, *[[i] for i in arrays]) if x):
        rows = [
            call([row[i] if i in chosen else x for i, x in enumerate(leaves)]) for row in examples
        ]

        def call_on_example(*parts: Array, chosen: tuple[int, ...] = chosen) -> Any:
            return call(replace_leaves(leaves, chosen, parts))

        try:
            got = vmap(call_on_example)(*[np.stack([row[i] for row in examples]) for i in chosen])
        except TraceError:
            if set(chosen) <= set(floating):
                raise
            continue
        names = [path for i, path in enumerate(tree.paths(tuple(args))) if i in chosen]
        close = rounding_tolerance(record(call)(leaves)[1])
        name = f"{label(fn)}, batched along {', '.join(names)}"
        for path, x, y in _zip_results(label(fn), got, rows):
            if (x.shape, x.dtype) != (y.shape, y.dtype):
                raise AssertionError(
                    f"{name}: {path} is {x.dtype} {x.shape}, but {y.dtype} {y.shape} in a loop"
                )
            if not np.all(is_close(x, y, close)):
                raise AssertionError(f"{name}: {path} is\n{x}\nbut in a loop\n{y}")


def _vary(x: Any) -> Any:
    """Change the values of an array within the function's domain."""
    if not isinstance(x, np.ndarray):
        return x
    return x * x.dtype.type(0.875) if x.dtype.kind in "fc" else np.flip(x)


def _zip_results(name: str, got: PyTree, rows: list[PyTree]) -> Iterator[tuple[str, Array, Array]]:
    """Yield the path of each array, its value in the batch, and its value in the loop."""
    structure, others = tree.flatten(got)[1], [tree.flatten(row)[1] for row in rows]
    for other in others:
        if other != structure:
            raise AssertionError(f"{name} returns {structure} for a batch, {other} for an example")
    for path, x, *parts in zip(tree.paths(got), *map(tree.leaves, (got, *rows)), strict=True):
        if isinstance(parts[0], np.ndarray | np.generic | float | int):
            yield path or "the result", np.asarray(x), np.stack(parts)
