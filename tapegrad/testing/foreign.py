"""check_vjp and check_jvp: anybody's derivative against differences of anybody's function.

The functions may take and return any arrays that NumPy reads: nothing is recorded, and
nothing but their values is looked at. What such a function computes in is not known, so
it is found out: differences are taken for the coarsest numbers on the way.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import attrs
import numpy as np

from tapegrad import tree
from tapegrad.core.callables import argument_names, check_callable, label
from tapegrad.core.ownership import Array
from tapegrad.testing.agreement import FLOOR, agree, compare, length
from tapegrad.testing.differences import EPS, FINE, Problem, check_first, coarse
from tapegrad.testing.flat import locate, pack, unpack, weights
from tapegrad.testing.values import CLOSE

__all__ = ["check_jvp", "check_vjp"]

Fn = Callable[..., Any]

_FINE_ENOUGH = 1e-12  # numbers that round by less need no larger steps


def check_vjp(fn: Fn, vjp_fn: Fn, args: Sequence[Any], *, jvp_fn: Fn | None = None) -> None:
    """Check a VJP of any origin: that of a kernel, a service, another library.

    It is compared with differences of the function, and must be linear in the cotangent,
    the same in each run to the last bit, and leave the arguments and the cotangent as
    they are. Inputs are moved together, in fixed random directions, and what fails is
    pinned to one input.

    Parameters
    ----------
    fn
        A function of trees that returns a tree, whose leaves are anything that
        `numpy.asarray` reads.
    vjp_fn
        ``vjp_fn(args, cotangent)`` returns a tuple with the cotangent of each argument: a
        tree like it, or None where no gradient passes. ``args`` is a tuple, and the
        cotangent a tree like the output.
    args
        The point to check at: a sequence of arguments. The floating leaves are moved;
        others stay as they are. Each arrives as it is given: as a NumPy array of the same
        dtype and order in memory, a Python number, or an array of PyTorch or of any
        library with the array API. The cotangents are NumPy arrays, unless some
        argument is of another library; then they are of that which `fn` returned. Where
        a function takes float64, pass that: the check of float32 is less sharp.
    jvp_fn
        The JVP as for `check_jvp`, if the two shall be compared: ``<u, J v>`` is
        ``<Jᵀ u, v>``.

    Raises
    ------
    AssertionError
        If the VJP is wrong. The message says at which input, and gives both numbers and
        how far off the numeric one may be. At a kink, where differences to the left and
        to the right disagree, any derivative between the two is right.
    TypeError
        If there is nothing to differentiate, or a result is not as described.
    ValueError
        If the function is not finite at the point.

    Notes
    -----
    The steps fit the coarsest of the dtypes of the arguments, the outputs and the
    cotangents; a function that reads its arguments as float32 is known by its values.
    `fn` is called about 20 times for an input, and at most some 300 times for many of
    them, unless something is wrong.

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
    ...     print(*str(error).splitlines()[:3], sep="\\n")
    scaled has a wrong derivative at w[0] (vjp_fn)
      vjp_fn     -1
      numeric    1
    """
    f = _Foreign.of(fn, args)
    _check_pullback(f, vjp_fn)
    if jvp_fn is not None:
        _check_transposed(f, vjp_fn, jvp_fn)


def check_jvp(fn: Fn, jvp_fn: Fn, args: Sequence[Any], *, vjp_fn: Fn | None = None) -> None:
    """Check a JVP of any origin, as `check_vjp` does a VJP.

    Parameters
    ----------
    fn, args
        As for `check_vjp`.
    jvp_fn
        ``jvp_fn(args, tangents)`` returns the tangent of the output, a tree like it, or
        None for zeros. ``args`` is a tuple, and so is ``tangents``, with a tree like each
        argument; the tangent of a leaf that is not floating is None.
    vjp_fn
        The VJP as for `check_vjp`, if the two shall be compared.

    Raises
    ------
    AssertionError, TypeError, ValueError
        As for `check_vjp`; the message says by which input the derivative is wrong, and
        of which output.

    Examples
    --------
    >>> import tapegrad as tg
    >>> def scaled_jvp(args, tangents):
    ...     (x, w), (dx, dw) = args, tangents
    ...     return dx * w + x * dw
    >>> tg.testing.check_jvp(np.multiply, scaled_jvp, (np.ones(3), np.array([1.0, 2.0, 4.0])))
    """
    f = _Foreign.of(fn, args)
    _check_tangent(f, jvp_fn)
    if vjp_fn is not None:
        _check_transposed(f, vjp_fn, jvp_fn)


# --- somebody else's arrays ---------------------------------------------------------------


def _read(x: Any) -> Array:
    """A leaf as an array, copied: what a function returned it may write to in its next call."""
    # what a PyTorch tensor that requires its gradient does not let NumPy read
    return np.array(x.detach() if hasattr(x, "detach") else x)


def _is_floating(x: Any) -> bool:
    return not isinstance(x, str | bytes) and _read(x).dtype.kind == "f"


def _is_foreign(x: Any) -> bool:
    """Whether a leaf is an array of another library, of which more can be made."""
    if isinstance(x, np.ndarray | np.generic):
        return False
    return hasattr(x, "new_tensor") or hasattr(x, "__array_namespace__")


def _made_like(x: Any, values: Array) -> Any:
    """Values in the kind and the dtype of a leaf, as an array that nobody else has."""
    if hasattr(x, "new_tensor"):
        return x.new_tensor(values).requires_grad_(x.requires_grad)
    if _is_foreign(x):
        return x.__array_namespace__().asarray(values, dtype=x.dtype)
    if isinstance(x, np.generic):
        return x.dtype.type(values)
    if isinstance(x, float):
        return float(values)
    made = np.empty_like(x if isinstance(x, np.ndarray) else _read(x), subok=False)
    made[...] = values
    return made


@attrs.frozen(eq=False)
class _Foreign:
    """A function of anybody's arrays as one of its floating leaves, in float64.

    Attributes
    ----------
    name, paths
        What messages call the function and each leaf.
    fn, args
        The function, and where it is checked.
    leaves, structure
        Of the arguments.
    places
        Which of the leaves are floating.
    xs
        These, as NumPy reads them.
    output
        What the function returns there.
    y
        The floating leaves of that, as NumPy reads them.
    """

    name: str
    fn: Fn
    args: tuple[Any, ...]
    leaves: list[Any]
    structure: tree.Structure
    places: tuple[int, ...]
    xs: tuple[Array, ...]
    paths: tuple[str, ...]
    output: Any = None
    y: tuple[Array, ...] = ()

    @classmethod
    def of(cls, fn: Fn, args: Sequence[Any]) -> _Foreign:
        """The function at a point, if it is the same twice and leaves its arguments alone."""
        check_callable(fn)
        if not isinstance(args, tuple | list):
            raise TypeError(
                f"args is a sequence of arguments, not {type(args).__name__}; write (x,)"
            )
        leaves, structure = tree.flatten(tuple(args))
        places = tuple(i for i, leaf in enumerate(leaves) if _is_floating(leaf))
        if not places:
            raise TypeError(f"{label(fn)} has no floating argument to differentiate")
        paths = [
            f"{name}.{path}" if path else name
            for name, arg in zip(argument_names(fn, len(args)), args, strict=True)
            for path in tree.paths(arg)
        ]
        xs = tuple(_read(leaves[i]) for i in places)
        f = cls(
            label(fn),
            fn,
            tuple(args),
            leaves,
            structure,
            places,
            xs,
            tuple(paths[i] for i in places),
        )
        output = f.called(fn, f.name)
        y = tuple(_read(leaf) for leaf in tree.leaves(output) if _is_floating(leaf))
        if not y:
            raise TypeError(f"{f.name} returns no floating leaf to differentiate")
        f = attrs.evolve(f, output=output, y=y)
        f.require_same(f.name, y, f.floating(f.called(fn, f.name)), f.y_paths)
        if not np.isfinite(pack(y)).all():
            raise ValueError(f"{f.name} is not finite at the point to check: {y}")
        return f

    @property
    def y_paths(self) -> list[str]:
        """What messages call each floating leaf of the output."""
        paths = zip(tree.paths(self.output), tree.leaves(self.output), strict=True)
        return [f"output.{p}" if p else "output" for p, leaf in paths if _is_floating(leaf)]

    def arguments(self, xs: Sequence[Any]) -> tuple[Any, ...]:
        """The arguments with others for their floating leaves, arrays that nobody else has."""
        filled = [x.copy() if isinstance(x, np.ndarray) else x for x in self.leaves]
        for i, x in zip(self.places, xs, strict=True):
            filled[i] = _made_like(filled[i], np.asarray(x))
        arguments: tuple[Any, ...] = tree.unflatten(self.structure, filled)
        return arguments

    def floating(self, output: Any) -> tuple[Array, ...]:
        """The floating leaves of another output."""
        return tuple(_read(leaf) for leaf in tree.leaves(output) if _is_floating(leaf))

    def evaluate(self, *xs: Any) -> tuple[Array, ...]:
        """The outputs at a point; none where there are none."""
        try:
            return self.floating(self.fn(*self.arguments(xs)))
        except ArithmeticError:
            return ()

    def called(self, fn: Fn, name: str, *more: Any) -> Any:
        """What a function returns of the arguments and more, which it must not change."""
        args = self.arguments(self.xs)
        given = [*args] if fn is self.fn else [args, *more]
        before = [_snapshot(x) for x in tree.leaves(given)]
        paths = tree.paths([*args, *more])
        result = fn(*given)
        for path, leaf, kept in zip(paths, tree.leaves(given), before, strict=True):
            if kept is not None and kept != _snapshot(leaf):
                first, _, rest = path.partition(".")
                n = int(first)
                what = (
                    argument_names(self.fn, len(args))[n]
                    if n < len(args)
                    else "the cotangent or tangent that it is given"
                )
                raise AssertionError(
                    f"{name} changes its argument {f'{what}.{rest}' if rest else what}"
                )
        return result

    def require_same(
        self, name: str, first: Sequence[Any], second: Sequence[Any], paths: Sequence[str]
    ) -> None:
        """Raise unless two runs gave the same, to the last bit."""
        shapes, others = [x.shape for x in first], [x.shape for x in second]
        if shapes != others:
            raise AssertionError(
                f"{name} gives other shapes in the second run, of the same arguments: {shapes}, "
                f"then {others}"
            )
        one, two = pack(first), pack(second)
        for at in np.flatnonzero((one != two) & ~(np.isnan(one) & np.isnan(two)))[:1]:
            raise AssertionError(
                f"{name} gives another value in the second run, of the same arguments: "
                f"{one[at]:.17g}, then {two[at]:.17g}, at {locate(int(at), first, paths)}"
            )

    def weight(self, u: Sequence[Any]) -> Any:
        """A cotangent, a tree like the output."""
        foreign = any(_is_foreign(x) for x in self.leaves)
        rest = iter(u)

        def made(leaf: Any) -> Any:
            if not _is_floating(leaf):
                return leaf
            like = leaf if foreign or isinstance(leaf, float) else _read(leaf)
            return _made_like(like, np.asarray(next(rest)))

        return tree.map(made, self.output)

    def tangents(self, v: Sequence[Any]) -> tuple[Any, ...]:
        """Tangents, a tree like each argument."""
        moved: list[Any] = [None] * len(self.leaves)
        for i, t in zip(self.places, v, strict=True):
            moved[i] = _made_like(self.leaves[i], np.asarray(t))
        tangents: tuple[Any, ...] = tree.unflatten(self.structure, moved)
        return tangents

    def eps(self, derivative: Sequence[Array]) -> float:
        """How the coarsest number on the way rounds."""
        dtypes = [x.dtype for x in (*self.xs, *self.y, *derivative)]
        eps = max([EPS, *[float(np.finfo(dtype).eps) for dtype in dtypes if dtype.kind == "f"]])
        return max(eps, _read_as(self)) if eps <= _FINE_ENOUGH else eps

    def problem(self, eps: float, by: str, pull: Fn | None, push: Fn | None) -> Problem:
        """What differences are compared with."""
        return Problem(
            self.name,
            self.evaluate,
            pull,
            push,
            tuple(x.astype(np.float64) for x in self.xs),
            self.paths,
            eps=eps,
            resolution=eps,
            steps=FINE if eps <= _FINE_ENOUGH else coarse(eps),
            by=by,
        )


def _snapshot(x: Any) -> Any:
    """All that a call could change of an array."""
    if isinstance(x, np.ndarray):
        return x.tobytes(), x.shape, x.strides, x.dtype, x.flags.writeable
    return _read(x).tobytes() if _is_foreign(x) else None


def _read_as(f: _Foreign) -> float:
    """How the numbers round that a function of float64 reads its arguments as.

    At a point with more digits, a function that reads float32 gives the very values that
    it gives where the others are cut off.
    """
    rng = np.random.default_rng(5)
    points = [x * (1 + 1e-3 * rng.uniform(-1, 1, x.shape)) for x in f.xs]
    with np.errstate(all="ignore"):
        try:
            beside = pack(f.evaluate(*points))
            if np.array_equal(beside, pack(f.y), equal_nan=True):
                return EPS  # it does not depend on them
            for dtype in (np.float16, np.float32):
                cut = pack(f.evaluate(*[x.astype(dtype) for x in points]))
                if np.isfinite(cut).all() and np.array_equal(beside, cut):
                    return float(np.finfo(dtype).eps)
        except ValueError:
            pass  # outside its domain, which says nothing
    return EPS


# --- checks -------------------------------------------------------------------------------


def _pulled(f: _Foreign, vjp_fn: Fn, given: Any) -> tuple[Array, ...]:
    """What a VJP gave, an array for each floating leaf of the arguments."""
    n = len(f.args)
    if n == 1 and not isinstance(given, tuple | list):
        given = (given,)
    if not isinstance(given, tuple | list) or len(given) != n:
        got = (
            f"{len(given)} cotangents" if isinstance(given, tuple | list) else type(given).__name__
        )
        raise TypeError(
            f"vjp_fn ({label(vjp_fn)}) returned {got}; a tuple with one cotangent for each of the "
            f"{n} arguments is needed (None where no gradient passes)"
        )
    parts: list[Any] = []
    for arg, c in zip(f.args, given, strict=True):
        tree.map_up_to(lambda x, c: parts.append(c), arg, c)
    return _like(f, "vjp_fn", [parts[i] for i in f.places], f.xs, f.paths)


def _pushed(f: _Foreign, given: Any) -> tuple[Array, ...]:
    """What a JVP gave, an array for each floating leaf of the output."""
    parts: list[Any] = []
    tree.map_up_to(lambda y, t: parts.append(t) if _is_floating(y) else None, f.output, given)
    return _like(f, "jvp_fn", parts, f.y, f.y_paths)


def _like(
    f: _Foreign, by: str, parts: Sequence[Any], like: Sequence[Array], paths: Sequence[str]
) -> tuple[Array, ...]:
    """Derivatives as arrays, of the shapes of what they belong to."""
    what = "cotangent" if by == "vjp_fn" else "tangent"
    arrays = []
    for part, x, path in zip(parts, like, paths, strict=True):
        array = np.zeros(x.shape, x.dtype) if part is None else _read(part)
        if array.dtype.kind not in "fiub":
            raise TypeError(
                f"{f.name}: {by} gives a {what} of {path} that is {type(part).__name__}, "
                f"{array.dtype}; real numbers are needed"
            )
        if array.shape != x.shape:
            raise AssertionError(
                f"{f.name}: {by} gives a {what} of shape {array.shape} for {path}, which has "
                f"shape {x.shape}"
            )
        for at in np.argwhere(~np.isfinite(array))[:1]:
            index = tuple(at)
            place = locate(int(np.ravel_multi_index(index, x.shape)) if index else 0, [x], [path])
            raise AssertionError(
                f"{f.name}: {by} gives a {what} of {array[index]} at {place} = {x[index]}"
            )
        arrays.append(array)
    return tuple(arrays)


def _check_pullback(f: _Foreign, vjp_fn: Fn) -> None:
    check_callable(vjp_fn)

    def pullback(xs: Sequence[Any], u: Sequence[Any]) -> tuple[Array, ...]:
        return _pulled(f, vjp_fn, vjp_fn(f.arguments(xs), f.weight(u)))

    def at_point(u: Array) -> tuple[Array, ...]:
        weight = f.weight(unpack(u, f.y))
        return _pulled(f, vjp_fn, f.called(vjp_fn, "vjp_fn", weight))

    def pull(xs: Sequence[Any]) -> Any:
        return f.evaluate(*xs), lambda u: pullback(xs, u)

    rng = np.random.default_rng(1)
    u, w = (weights(rng, pack(f.y).size) for _ in range(2))
    first = at_point(u)
    f.require_same("vjp_fn", first, at_point(u), f.paths)
    eps = f.eps(first)
    _check_linear(f, eps, "vjp_fn of zeros", "vjp_fn of 2u - 3w", at_point, u, w)
    check_first(f.problem(eps, "vjp_fn", pull, None), ("reverse",))


def _check_tangent(f: _Foreign, jvp_fn: Fn) -> None:
    check_callable(jvp_fn)

    def push(xs: Sequence[Any], v: Sequence[Any]) -> Any:
        return f.evaluate(*xs), _pushed(f, jvp_fn(f.arguments(xs), f.tangents(v)))

    def at_point(v: Array) -> tuple[Array, ...]:
        tangents = f.tangents(unpack(v, f.xs))
        return _pushed(f, f.called(jvp_fn, "jvp_fn", tangents))

    rng = np.random.default_rng(2)
    v, w = (weights(rng, pack(f.xs).size) for _ in range(2))
    first = at_point(v)
    f.require_same("jvp_fn", first, at_point(v), f.y_paths)
    eps = f.eps(first)
    by_output = attrs.evolve(f, xs=f.y, paths=tuple(f.y_paths))
    _check_linear(by_output, eps, "jvp_fn of zeros", "jvp_fn of 2v - 3w", at_point, v, w)
    check_first(f.problem(eps, "jvp_fn", None, push), ("forward",))


def _check_linear(
    f: _Foreign, eps: float, of_zeros: str, of_sum: str, derivative: Fn, u: Array, w: Array
) -> None:
    """Check that of zeros it is zero, and of a sum the sum."""
    zero, one, other, both = (pack(derivative(x)) for x in (0 * u, u, w, 2 * u - 3 * w))
    left = FLOOR * np.max(np.abs(u), initial=0.0)
    size = np.abs(2 * one) + np.abs(3 * other) + left
    relative = max(CLOSE, 64 * eps)
    compare(f, relative, of_zeros, zero, "zero", 0 * zero, 0 * size)
    compare(f, relative, of_sum, both, "2 and -3 times theirs", 2 * one - 3 * other, size)


def _check_transposed(f: _Foreign, vjp_fn: Fn, jvp_fn: Fn) -> None:
    check_callable(vjp_fn)
    check_callable(jvp_fn)
    rng = np.random.default_rng(3)
    u, v = weights(rng, pack(f.y).size), weights(rng, pack(f.xs).size)
    pushed = _pushed(f, jvp_fn(f.arguments(f.xs), f.tangents(unpack(v, f.xs))))
    pulled = _pulled(f, vjp_fn, vjp_fn(f.arguments(f.xs), f.weight(unpack(u, f.y))))
    forward, reverse = u * pack(pushed), pack(pulled) * v
    size = np.sum(np.abs(forward)) + np.sum(np.abs(reverse)) + FLOOR * length(u, v)
    relative = max(CLOSE, 64 * f.eps([*pushed, *pulled]))
    agree(
        f,
        relative,
        "<u, J v> by jvp_fn",
        forward.sum(),
        "<J^T u, v> by vjp_fn",
        reverse.sum(),
        size,
    )
