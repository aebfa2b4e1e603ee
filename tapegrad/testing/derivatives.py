"""check_vjp and check_jvp: compare any derivative with differences of any function."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from tapegrad import tree
from tapegrad.errors.functions import check_callable, label
from tapegrad.errors.lines import warns_at_users_line
from tapegrad.errors.words import a_kind
from tapegrad.testing.foreign import ForeignFunction, copy_to_numpy, is_floating_leaf
from tapegrad.testing.gradients import check_first, check_linear, check_transposed
from tapegrad.testing.leaves_as_vector import FlatFunction, Fn, locate, pack, random_weights, unpack
from tapegrad.testing.values import TOLERANCE
from tapegrad.types import Array, PyTree


@warns_at_users_line
def check_vjp(
    fn: Fn,
    vjp_fn: Fn,
    args: Sequence[Any],
    *,
    jvp_fn: Fn | None = None,
    convention: str = "adjoint",
) -> None:
    """Check a VJP of any origin: a kernel, a service, another library.

    The check compares the VJP with finite differences of the function. The VJP must also be linear
    in the cotangent, return the same bits in each run, and leave the arguments and the cotangent
    unchanged. Inputs move together, in fixed random directions; the message of a failure names one
    input.

    Parameters
    ----------
    fn
        A function of trees that returns a tree, with any leaves that `numpy.asarray` reads.
    vjp_fn
        ``vjp_fn(args, cotangent)`` returns a tuple with the cotangent of each argument: a
        tree of the argument's structure, or None where no gradient passes. ``args`` is a tuple, and
        the cotangent a tree of the output's structure.
    args
        The point to check at: a sequence of arguments. The floating leaves move; others stay
        unchanged. Each keeps its type: a NumPy array of the same dtype and memory order, a Python
        number, or an array of PyTorch or of any library with the array API. The cotangents are
        NumPy arrays, unless an argument is from another library; then they are from the library of
        `fn`'s result. If a function takes float64, pass float64: a check in float32 is less sharp.
    jvp_fn
        The JVP as for `check_jvp`, to compare the two: ``<u, J v>`` is ``<Jᵀ u, v>``.
    convention
        The convention for cotangents of complex numbers. ``"adjoint"``, of tapegrad, PyTorch and
        TensorFlow: the gradient of a real loss is ``dL/dx + i dL/dy``. ``"conjugate"``, of JAX and
        HIPS autograd: it is ``dL/dx - i dL/dy``. Without complex numbers both are the same.

    Raises
    ------
    AssertionError
        If the VJP is wrong. The message names the input, and gives both numbers and the error of
        the numeric one. At a kink, where differences to the left and to the right disagree, any
        derivative between the two is right.
    TypeError
        If there is nothing to differentiate, or a result has another structure.
    ValueError
        If the function is not finite at the point, or for another convention.

    Notes
    -----
    The steps fit the coarsest dtype of the arguments, the outputs and the cotangents; the values of
    a function show whether it reads its arguments as float32. `fn` is called about 20 times for one
    input and at most some 300 times for many, unless something is wrong.

    Examples
    --------
    >>> import tapegrad as tg
    >>> def scaled(x, w):
    ...     return x * w
    >>> def scaled_vjp(args, g):
    ...     x, w = args
    ...     return g * w, g * x
    >>> tg.testing.check_vjp(scaled, scaled_vjp, (np.ones(3), np.array([1.0, 2.0, 4.0])))
    >>> def wrong(args, g):
    ...     x, w = args
    ...     return g * w, -g * x
    >>> try:
    ...     tg.testing.check_vjp(scaled, wrong, (np.ones(3), np.array([1.0, 2.0, 4.0])))
    ... except AssertionError as error:
    ...     for line in str(error).splitlines()[:3]:
    ...         print(line)
    scaled has a wrong derivative at w[2] (vjp_fn)
      vjp_fn     -1
      numeric    1

    The square of complex numbers, in either convention:

    >>> z = np.array([1 + 2j, 0.5 - 1j])
    >>> tg.testing.check_vjp(np.square, lambda args, g: (g * np.conj(2 * args[0]),), (z,))
    >>> def as_in_jax(args, g):
    ...     return (g * 2 * args[0],)
    >>> tg.testing.check_vjp(np.square, as_in_jax, (z,), convention="conjugate")
    """
    f, vjp_fn = ForeignFunction.at_point(fn, args), _to_adjoint_convention(vjp_fn, convention)
    _check_derivative(f, "reverse", vjp_fn)
    if jvp_fn is not None:
        _check_transposed(f, vjp_fn, jvp_fn)


@warns_at_users_line
def check_jvp(
    fn: Fn,
    jvp_fn: Fn,
    args: Sequence[Any],
    *,
    vjp_fn: Fn | None = None,
    convention: str = "adjoint",
) -> None:
    """Check a JVP of any origin, as `check_vjp` does a VJP.

    Parameters
    ----------
    fn, args
        As for `check_vjp`.
    jvp_fn
        ``jvp_fn(args, tangents)`` returns the tangent of the output, a tree of the same structure,
        or None for zeros. ``args`` and ``tangents`` are tuples; each tangent has the structure of
        its argument, with None for leaves that are not floating.
    vjp_fn
        The VJP as for `check_vjp`, to compare the two.
    convention
        The convention of `vjp_fn`, as for `check_vjp`. A JVP is the same in both conventions.

    Raises
    ------
    AssertionError, TypeError, ValueError
        As for `check_vjp`; the message names the input and the output of the wrong derivative.

    Examples
    --------
    >>> import tapegrad as tg
    >>> def scaled_jvp(args, tangents):
    ...     (x, w), (dx, dw) = args, tangents
    ...     return dx * w + x * dw
    >>> tg.testing.check_jvp(np.multiply, scaled_jvp, (np.ones(3), np.array([1.0, 2.0, 4.0])))
    """
    f = ForeignFunction.at_point(fn, args)
    _check_derivative(f, "forward", jvp_fn)
    if vjp_fn is not None:
        _check_transposed(f, _to_adjoint_convention(vjp_fn, convention), jvp_fn)


def _to_adjoint_convention(vjp_fn: Fn, convention: str) -> Fn:
    """Convert a VJP of either convention to cotangents ``dL/dx + i dL/dy``."""
    if convention not in ("adjoint", "conjugate"):
        raise ValueError(f"convention must be 'adjoint' or 'conjugate', not {convention!r}")
    check_callable(vjp_fn)
    if convention == "adjoint":
        return vjp_fn

    def conjugate_vjp(args: PyTree, cotangent: PyTree) -> Any:
        return tree.map(_conjugate, vjp_fn(args, tree.map(_conjugate, cotangent)))

    conjugate_vjp.__name__ = label(vjp_fn)
    return conjugate_vjp


def _conjugate(c: Any) -> Any:
    """Conjugate a leaf of any library."""
    return c.conj() if hasattr(c, "conj") else c.conjugate() if isinstance(c, complex) else c


def _pull_back(
    f: ForeignFunction, vjp_fn: Fn, xs: Sequence[Array], u: Sequence[Array]
) -> tuple[Array, ...]:
    """Pull a cotangent back by a VJP; return an array for each floating leaf of the arguments."""
    n = len(f.args)
    cotangents = f.call_unchanged(
        vjp_fn, "vjp_fn", (f.arguments(xs), f.cotangent(u)), "the cotangent"
    )
    if n == 1 and not isinstance(cotangents, tuple | list):
        cotangents = (cotangents,)
    if not isinstance(cotangents, tuple | list) or len(cotangents) != n:
        got = (
            f"{len(cotangents)} cotangents"
            if isinstance(cotangents, tuple | list)
            else type(cotangents).__name__
        )
        raise TypeError(
            f"vjp_fn ({label(vjp_fn)}) returned {got}; a tuple with one cotangent for each of the "
            f"{n} arguments is needed (None where no gradient passes)"
        )
    parts: list[Any] = []
    for arg, whole in zip(f.args, cotangents, strict=True):
        parts += [c for _, c in tree.zip_leaves(arg, whole, strict=False)]
    return _as_arrays(f, "vjp_fn", [parts[i] for i in f.places], f.xs, f.paths)


def _push_forward(
    f: ForeignFunction, jvp_fn: Fn, xs: Sequence[Array], v: Sequence[Array]
) -> tuple[Array, ...]:
    """Push tangents forward by a JVP; return an array for each floating leaf of the output."""
    tangent = f.call_unchanged(jvp_fn, "jvp_fn", (f.arguments(xs), f.tangents(v)), "a tangent")
    parts = [t for y, t in tree.zip_leaves(f.output, tangent, strict=False) if is_floating_leaf(y)]
    return _as_arrays(f, "jvp_fn", parts, f.y, f.y_paths)


def _as_arrays(
    f: ForeignFunction, by: str, parts: Sequence[Any], like: Sequence[Array], paths: Sequence[str]
) -> tuple[Array, ...]:
    """Convert derivatives to arrays; raise unless each has the shape of its value."""
    what = "cotangent" if by == "vjp_fn" else "tangent"
    arrays = []
    for part, x, path in zip(parts, like, paths, strict=True):
        array = np.zeros(x.shape, x.dtype) if part is None else copy_to_numpy(part)
        if array.dtype.kind not in ("fiubc" if x.dtype.kind == "c" else "fiub"):
            raise TypeError(
                f"{f.name}: {by} gives a {what} for {path} that is {a_kind(part)} of "
                f"{array.dtype}; real numbers are needed"
            )
        if array.shape != x.shape:
            raise AssertionError(
                f"{f.name}: {by} gives a {what} of shape {array.shape} for {path}, which has "
                f"shape {x.shape}"
            )
        # a complex element is two numbers, even if its derivative is real
        packed = pack([array.astype(np.result_type(array, x))])
        for at in np.flatnonzero(~np.isfinite(packed))[:1].tolist():
            k, place = at * array.size // packed.size, locate(at, [x], [path])
            raise AssertionError(
                f"{f.name}: {by} gives a {what} of {array.flat[k]} at {place} = {x.flat[k]}"
            )
        arrays.append(array)
    return tuple(arrays)


def _check_derivative(f: ForeignFunction, mode: str, derivative: Fn) -> None:
    """Check a VJP or a JVP: two runs, linearity, and differences."""
    check_callable(derivative)
    differentiated: FlatFunction = f
    apply: Callable[..., tuple[Array, ...]] = _pull_back
    by, weight, seed, like = "vjp_fn", "u", 1, f.y
    if mode == "forward":
        differentiated = FlatFunction(f.name, f.fn, f.y, f.y_paths, f.args)
        apply, by, weight, seed, like = _push_forward, "jvp_fn", "v", 2, f.xs

    def linear_map(w: Array) -> tuple[Array, ...]:
        return apply(f, derivative, f.xs, unpack(w, like))

    def pull(xs: Sequence[Array]) -> tuple[tuple[Array, ...], Fn]:
        return f.evaluate(*xs), lambda u: apply(f, derivative, xs, u)

    def push(xs: Sequence[Array], v: Sequence[Array]) -> tuple[tuple[Array, ...], ...]:
        return f.evaluate(*xs), apply(f, derivative, xs, v)

    rng = np.random.default_rng(seed)
    u, w = (random_weights(rng, pack(like).size) for _ in range(2))
    first = linear_map(u)
    f.check_same(by, first, linear_map(u), differentiated.paths)
    eps = f.eps(first)
    check_linear(
        differentiated,
        max(TOLERANCE, 64 * eps),
        by,
        weight,
        lambda w: pack(linear_map(w)),
        u,
        w,
    )
    ways = (pull, None) if mode == "reverse" else (None, push)
    check_first(f.make_problem(eps, by, *ways), (mode,))


def _check_transposed(f: ForeignFunction, vjp_fn: Fn, jvp_fn: Fn) -> None:
    check_callable(jvp_fn)
    rng = np.random.default_rng(3)
    u, v = random_weights(rng, pack(f.y).size), random_weights(rng, pack(f.xs).size)
    pushed = _push_forward(f, jvp_fn, f.xs, unpack(v, f.xs))
    pulled = _pull_back(f, vjp_fn, f.xs, unpack(u, f.y))
    relative = max(TOLERANCE, 64 * f.eps([*pushed, *pulled]))
    check_transposed(f, relative, ("jvp_fn", "vjp_fn"), u, v, pack(pushed), pack(pulled))
