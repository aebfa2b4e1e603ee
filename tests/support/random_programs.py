"""Random well-typed programs of ops: plain data that runs and prints as Python."""

from __future__ import annotations

import functools
import re
from collections.abc import Callable, Collection
from typing import Any

import attrs
import numpy as np
from hypothesis import strategies as st
from random_steps import MORE, STEPS, Drawing, Known, NothingFitsError

from tapegrad.core.tensor import Tensor
from tapegrad.ops.reduction import sum as sum_
from tapegrad.transforms import value_and_grad
from tapegrad.types import Array, DType, PyTree

# Larger values are scaled down, so that rounding errors stay comparable.
_LARGEST = 6.0


@attrs.frozen(eq=False, repr=False, slots=False)
class Written:
    """A function as lines of source, and two sets of arguments to call it with.

    Attributes
    ----------
    parameters
        The names of its parameters: x for an array, z for a complex one, i for indices, s for a
        Python float.
    lines
        Assignments, each of an expression of parameters and of earlier names.
    results
        The names of its results.
    arguments
        Two tuples of one signature.
    """

    parameters: tuple[str, ...]
    lines: tuple[str, ...]
    results: tuple[str, ...]
    arguments: tuple[tuple[Any, ...], tuple[Any, ...]]

    @property
    def source(self) -> str:
        """The function as Python."""
        body = [*self.lines, f"return ({', '.join(self.results)},)"]
        return "\n    ".join([f"def fn({', '.join(self.parameters)}):", *body]) + "\n"

    @functools.cached_property
    def fn(self) -> Callable[..., Any]:
        """The function."""
        namespace = _namespace(self.source)
        exec(self.source, namespace)
        return namespace["fn"]

    @property
    def argnums(self) -> tuple[int, ...]:
        """The positions of the arguments that have a gradient."""
        return tuple(i for i, name in enumerate(self.parameters) if name[0] != "i")

    @property
    def narrowest(self) -> DType:
        """The dtype that determines its rounding errors."""
        floating = [x for x in map(np.asarray, self.arguments[0]) if x.dtype.kind in "fc"]
        return min([x.real.dtype for x in floating], key=lambda dtype: dtype.itemsize)

    @property
    def step(self) -> Callable[..., Any]:
        """A function that returns a weighted sum of the results, the results and the gradient."""

        def loss(*args: Any) -> tuple[PyTree, PyTree]:
            results = self.fn(*args)
            total: Any = 0.0
            for i, y in enumerate(results):
                if isinstance(y, Tensor) and y.dtype.kind in "fc":
                    total = total + _real(sum_(y * _weights(y.shape, y.dtype, i)))
            return total + 0.0 * sum(_real(sum_(args[j])) for j in self.argnums), results

        def step(*args: Any) -> tuple[tuple[PyTree, ...], tuple[PyTree, ...]]:
            return value_and_grad(loss, self.argnums, has_aux=True)(*args)

        return step

    def __repr__(self) -> str:
        calls = "".join(
            f"args = ({', '.join(map(_format_value, args))},)\n"
            for args in reversed(self.arguments)
        )
        return f"\n{_imports(self.source)}\n{self.source}\n{calls}"


# The imports of a program, run and printed. SciPy's functions are imported only if it calls any.
_IMPORTS = """\
import functools
import numpy as np
import tapegrad as tg
from tapegrad.ops.rows import pick
"""
_SCIPYS = ("interpolate", "linalg", "signal", "special", "stats")


def _imports(text: str) -> str:
    names = [name for name in _SCIPYS if re.search(rf"(?<![.\w]){name}\.", text)]
    return _IMPORTS + (f"from tapegrad.scipy import {', '.join(names)}\n" if names else "")


def _namespace(text: str) -> dict[str, Any]:
    namespace: dict[str, Any] = {}
    exec(_imports(text), namespace)
    return namespace


def _real(x: Array) -> Array:
    return np.real(x) if getattr(x, "dtype", None) and x.dtype.kind == "c" else x


def _weights(shape: tuple[int, ...], dtype: DType, i: int) -> Array:
    n = int(np.prod(shape))
    real = (np.cos(np.arange(1, n + 1) * (i + 1.3)) + 0.1).reshape(shape)
    return (real * (1 - 0.5j) if dtype.kind == "c" else real).astype(dtype)


def _format_value(x: Array | float) -> str:
    if not isinstance(x, np.ndarray):
        return repr(x)
    flat = ", ".join(map(repr, x.reshape(-1).tolist()))
    return f"np.array([{flat}], {str(x.dtype)!r}).reshape({x.shape})"


_SHAPES = (
    (2, 3),
    (3, 2),
    (3, 3),
    (3,),
    (2, 2),
    (),
    (1, 3),
    (2, 1),
    (2, 3, 2),
    (1,),
    (4, 3),
    (0, 3),
)


def programs(max_steps: int = 40, also: Collection[str] = ()) -> st.SearchStrategy[Written]:
    """Random programs of ops over several inputs, for testing anything that takes a function.

    All values are finite and of moderate size, and no comparison depends on rounding, so two ways
    to run a program can be compared. A program shrinks to a few short lines.

    Parameters
    ----------
    max_steps
        The largest number of lines.
    also
        Further kinds of lines: ``"complex"`` (complex numbers and Fourier transforms), ``"scipy"``
        (functions of `tapegrad.scipy`, which needs SciPy) and ``"cells"`` (recurrent cells, some
        unrolled a hundred times).

    Returns
    -------
    A strategy for `Written`: ``program.fn(*program.arguments[0])`` runs it, and ``repr``
    is the Python that writes it.

    Examples
    --------
    >>> from hypothesis import given
    >>> @given(programs(max_steps=10))
    ... def test(program):
    ...     for args in program.arguments:
    ...         tg.testing.check_deterministic(tg.compile(program.fn), args)
    """
    unknown = sorted(set(also) - set(MORE))
    if unknown:
        raise ValueError(f"there are no lines of the kind {unknown[0]!r}, but of {', '.join(MORE)}")
    return _programs(max_steps, tuple(also))


@st.composite
def _programs(draw: st.DrawFn, max_steps: int, also: tuple[str, ...]) -> Written:
    known: list[Known] = []
    d = Drawing(draw, known)
    rng = np.random.default_rng(d.integer(0, 1 << 16))
    n_arrays = d.integer(1, 4)
    dtypes = d.sample("d", "d", "f", "df")

    def eighths(*shape: int) -> Array:
        # these tie
        return rng.integers(-12, 13, shape) / 8

    def add(name: str, pair: Array) -> None:
        first, second = map(np.array, pair)
        known.append(Known(name, (first, second), True))

    for j in range(n_arrays):
        shape, dtype = d.among(_SHAPES), dtypes[j % len(dtypes)]
        add(f"x{j}", eighths(2, *shape).astype(dtype))
    for j in range(d.integer(1, 2) if "complex" in also else 0):
        shape, dtype = d.among(_SHAPES), dtypes[j % len(dtypes)].upper()
        add(f"z{j}", (eighths(2, *shape) + 1j * eighths(2, *shape)).astype(dtype))
    for j in range(d.integer(0, 2)):
        shape, n = d.sample((4,), (2,), (8,), (2, 2), (0,), ()), d.integer(1, 3)
        low, dtype = d.sample(0, 0, -n), d.sample("i8", "i8", "i4")
        add(f"i{j}", rng.integers(low, n, (2, *shape)).astype(dtype))
    for j in range(d.integer(0, 2)):
        known.append(Known(f"s{j}", (float(eighths()), float(eighths())), True))
    parameters = tuple(x.name for x in known)
    first, second = (tuple(x.values[k] for x in known) for k in range(2))
    lines: list[str] = []
    least = d.integer(0, max_steps - 5)
    steps = STEPS + tuple([step for name in also for step in MORE[name]])
    for kind in draw(st.lists(st.sampled_from(steps), min_size=least, max_size=max_steps)):
        try:
            expression, keeps_exact = kind(d)
        except NothingFitsError:
            continue
        name = f"v{len(lines)}"
        computed = _evaluate(expression, known)
        if computed is None:
            continue
        size = max(float(np.abs(v).max(initial=0)) for v in computed)
        if size > _LARGEST:
            # tanh of a complex number has poles
            smaller = "tg.tanh({0})" if np.isrealobj(computed[0]) else f"({{0}}) * {4 / size:.3g}"
            expression, keeps_exact = smaller.format(expression), False
            computed = _evaluate(expression, known)
        used = [x for x in known if x.name in expression]
        exact = keeps_exact and all(x.exact for x in used)
        lines.append(f"{name} = {expression}")
        known.append(Known(name, computed, exact))
    results = [x.name for x in known if x.name[0] != "i"]
    chosen = draw(st.lists(st.sampled_from(results), max_size=3)) + results[-1:]
    return Written(parameters, tuple(lines), tuple(chosen), (first, second))


def _evaluate(expression: str, known: list[Known]) -> tuple[Any, ...]:
    """An expression's two values; None if it does not fit."""
    code = compile(expression, "<step>", "eval")
    values = []
    for k in range(2):
        names = {x.name: x.values[k] for x in known}
        try:
            with np.errstate(all="raise", under="ignore"):
                values.append(eval(code, {**_namespace(expression), **names}))
        except (ValueError, TypeError, IndexError, FloatingPointError):
            return None
    if np.size(values[0]) > 64:
        return None
    return values[0], values[1]
