"""Functions of any library's arrays, known by their values alone.

Such a function may take and return anything that NumPy reads. Its values show the precision in
which it computes.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import attrs
import numpy as np

from tapegrad import tree
from tapegrad.errors.functions import check_callable, label
from tapegrad.errors.words import got
from tapegrad.testing.differences import EPS, FINE_STEPS, Problem, coarse_steps, coarsest_eps
from tapegrad.testing.leaves_as_vector import (
    FlatFunction,
    Fn,
    check_sequence,
    flatten_arguments,
    locate,
    pack,
    unpack,
)
from tapegrad.tree.structure import replace_leaves
from tapegrad.types import Array

_FINE_ENOUGH = 1e-12  # finer rounding needs no larger steps


def _as_numpy(x: Any) -> Array:
    """Read a leaf as an array of NumPy."""
    # NumPy refuses a PyTorch tensor that requires a gradient or whose conjugation is pending
    for name in ("detach", "resolve_conj", "resolve_neg"):
        x = getattr(x, name)() if hasattr(x, name) else x
    return np.asarray(x)


def copy_to_numpy(x: object) -> Array:
    """Copy a leaf to a NumPy array, since a function may write to its result in the next call."""
    return np.array(_as_numpy(x))


def is_floating_leaf(x: object) -> bool:
    """Whether NumPy reads a leaf as floating numbers, real or complex."""
    return not isinstance(x, str | bytes) and _as_numpy(x).dtype.kind in "fc"


def _is_foreign(x: object) -> bool:
    """Whether a leaf is an array of another library that can make new arrays."""
    if isinstance(x, np.ndarray | np.generic):
        return False
    return hasattr(x, "new_tensor") or hasattr(x, "__array_namespace__")


def _array_like(x: Any, values: Array) -> Any:
    """Convert values to a new array of a leaf's type and dtype."""
    if hasattr(x, "new_tensor"):
        return x.new_tensor(values).requires_grad_(x.requires_grad)
    if _is_foreign(x):
        return x.__array_namespace__().asarray(values, dtype=x.dtype)
    if isinstance(x, np.generic):
        return x.dtype.type(values)
    if isinstance(x, float | complex):
        return type(x)(values)
    array = np.empty_like(x if isinstance(x, np.ndarray) else _as_numpy(x), subok=False)
    array[...] = values
    return array


@attrs.frozen(eq=False)
class ForeignFunction(FlatFunction):
    """A function of any library's arrays as a function of its floating leaves, in float64.

    The leaves are real or complex; `xs` has copies of the leaves as NumPy arrays.

    Attributes
    ----------
    leaves, structure
        The arguments, flattened.
    places
        The indices of the floating leaves.
    leaf_paths
        The name of each leaf of the arguments in messages.
    output
        The function's result at the point.
    y
        Copies of the result's floating leaves as NumPy arrays.
    """

    leaves: list[Any]
    structure: tree.Structure
    places: tuple[int, ...]
    leaf_paths: list[str]
    output: Any = None
    y: tuple[Array, ...] = ()

    @classmethod
    def at_point(cls, fn: Fn, args: Sequence[Any]) -> ForeignFunction:
        """Evaluate a function at a point; raise unless it is deterministic and changes nothing."""
        check_callable(fn)
        check_sequence(args)
        leaves, structure, paths, places = flatten_arguments(fn, args, is_floating_leaf)
        xs = tuple(copy_to_numpy(leaves[i]) for i in places)
        moving = tuple(paths[i] for i in places)
        f = cls(label(fn), fn, xs, moving, tuple(args), leaves, structure, places, paths)
        output = f.call_unchanged(fn, f.name, f.arguments(xs))
        y = f.floating_leaves(output)
        if not y:
            raise TypeError(
                f"{f.name} returns no floating leaf to differentiate, but {got(output)}"
            )
        f = attrs.evolve(f, output=output, y=y)
        f.check_same(f.name, y, f.floating_leaves(fn(*f.arguments(xs))), f.y_paths)
        if not np.isfinite(pack(y)).all():
            raise ValueError(f"{f.name} is not finite at the point to check: {y}")
        return f

    @property
    def y_paths(self) -> tuple[str, ...]:
        """The names of the output's floating leaves in messages."""
        paths = zip(tree.paths(self.output), tree.leaves(self.output), strict=True)
        return tuple(
            f"output.{p}" if p else "output" for p, leaf in paths if is_floating_leaf(leaf)
        )

    def arguments(self, xs: Sequence[Any]) -> tuple[Any, ...]:
        """Return the arguments with other floating leaves, in new arrays."""
        return self._fill_arguments(
            [x.copy("K") if isinstance(x, np.ndarray) else x for x in self.leaves], xs
        )

    def floating_leaves(self, output: Any) -> tuple[Array, ...]:
        """Return the floating leaves of another output."""
        return tuple(copy_to_numpy(leaf) for leaf in tree.leaves(output) if is_floating_leaf(leaf))

    def evaluate(self, *xs: Array) -> tuple[Array, ...]:
        """Return the outputs at a point; return none after an arithmetic error."""
        try:
            return self.floating_leaves(self.fn(*self.arguments(xs)))
        except ArithmeticError:
            return ()

    def call_unchanged(self, fn: Fn, name: str, args: Sequence[Any], what: str = "") -> Any:
        """Call a function; raise if it changes its arguments.

        `args` may end in one further argument, which messages call `what`.
        """
        before = [snapshot(x) for x in tree.leaves(args)]
        result = fn(*args)
        paths = [*self.leaf_paths, *[what] * len(before)]
        for path, leaf, old in zip(paths, tree.leaves(args), before, strict=False):
            if old != snapshot(leaf):
                raise AssertionError(f"{name} changes {path}, which it is given")
        return result

    def check_same(
        self, name: str, first: Sequence[Array], second: Sequence[Array], paths: Sequence[str]
    ) -> None:
        """Raise unless two runs gave the same results, to the last bit."""
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

    def cotangent(self, u: Sequence[Any]) -> Any:
        """Return a cotangent, a tree of the output's structure."""
        foreign = any(_is_foreign(x) for x in self.leaves)
        rest = iter(u)

        def fill_leaf(leaf: Any) -> Any:
            if not is_floating_leaf(leaf):
                return leaf
            like = leaf if foreign or isinstance(leaf, float | complex) else _as_numpy(leaf)
            return _array_like(like, np.asarray(next(rest)))

        return tree.map(fill_leaf, self.output)

    def tangents(self, v: Sequence[Any]) -> tuple[Any, ...]:
        """Return tangents, a tree of each argument's structure."""
        return self._fill_arguments([None] * len(self.leaves), v)

    def _fill_arguments(self, leaves: list[Any], xs: Sequence[Any]) -> tuple[Any, ...]:
        """Unflatten leaves to arguments, with these arrays for the floating leaves."""
        like = (self.leaves[i] for i in self.places)
        arrays = [_array_like(x, np.asarray(a)) for x, a in zip(like, xs, strict=True)]
        filled: tuple[Any, ...] = tree.unflatten(
            self.structure, replace_leaves(leaves, self.places, arrays)
        )
        return filled

    def eps(self, derivative: Sequence[Array]) -> float:
        """Return the relative rounding of the coarsest input, output or derivative."""
        eps = coarsest_eps([*self.xs, *self.y, *derivative], EPS)
        return max(eps, _find_input_rounding(self)) if eps <= _FINE_ENOUGH else eps

    def make_problem(self, eps: float, by: str, pull: Fn | None, push: Fn | None) -> Problem:
        """Make the problem of comparing derivatives with differences."""
        fine = eps <= _FINE_ENOUGH
        return Problem(
            self.name,
            self.evaluate,
            pull,
            push,
            tuple(x.astype(np.result_type(x, np.float64)) for x in self.xs),
            self.paths,
            output_paths=self.y_paths,
            eps=eps,
            resolution=eps,
            noise=0.0 if fine else _measure_noise(self, eps),
            steps=FINE_STEPS if fine else coarse_steps(eps),
            by=by,
        )


def snapshot(x: object) -> tuple[object, ...]:
    """Return everything in a leaf that a call could change."""
    if isinstance(x, np.ndarray):
        return x.tobytes(), x.shape, x.strides, x.dtype, x.flags.writeable
    return (_as_numpy(x).tobytes() if _is_foreign(x) else x,)


def _measure_noise(f: ForeignFunction, eps: float) -> Array | float:
    """Measure the change of the outputs as the inputs round, which reveals terms that cancel."""
    rng = np.random.default_rng(6)
    runs = []
    for _ in range(8):
        xs = [x * (1 + 2 * eps * rng.integers(-1, 2, x.shape)) for x in f.xs]
        with np.errstate(all="ignore"):
            try:
                runs.append(pack(f.evaluate(*xs)))
            except ValueError:
                continue  # outside the domain
    y = pack(f.y)
    same = [run - y for run in runs if run.size == y.size]
    return np.max(np.abs(np.nan_to_num(same, posinf=0.0, neginf=0.0)), axis=0) if same else 0.0


def _find_input_rounding(f: ForeignFunction) -> float:
    """Find the relative rounding of the dtype in which a function reads its arguments.

    A function that reads float32 returns the same result for a point in float64 and for the same
    point rounded to float32.
    """
    rng = np.random.default_rng(5)
    points = [x * (1 + 1e-3 * rng.uniform(-1, 1, x.shape)) for x in f.xs]
    with np.errstate(all="ignore"):
        try:
            outputs = pack(f.evaluate(*points))
            if np.array_equal(outputs, pack(f.y), equal_nan=True):
                return EPS  # the function does not depend on these inputs
            for dtype in (np.float16, np.float32):
                rounded = pack(points).astype(dtype).astype(np.float64)
                outputs_of_rounded = pack(f.evaluate(*unpack(rounded, points)))
                if np.isfinite(outputs_of_rounded).all() and np.array_equal(
                    outputs, outputs_of_rounded
                ):
                    return float(np.finfo(dtype).eps)
        except ValueError:
            pass  # outside the domain
    return EPS
