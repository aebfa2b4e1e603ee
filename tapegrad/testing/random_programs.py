"""Random well-typed programs of ops: plain data that runs and prints as Python."""

from __future__ import annotations

import functools
from typing import Any

import attrs
import numpy as np
from hypothesis import strategies as st

from tapegrad.core.tensor import Tensor
from tapegrad.ops.reduction import sum as sum_
from tapegrad.testing.strategies import whole
from tapegrad.transforms import value_and_grad

__all__ = ["STEPS", "Drawing", "Known", "NothingFitsError", "Written", "programs"]


# how far apart two values must be so that comparing them does not depend on the last bits
_MARGIN = {np.dtype(np.float64): 1e-6, np.dtype(np.float32): 1e-2}


@attrs.frozen(slots=False)
class Known:
    """A value of the program being drawn, for each of the two sets of arguments.

    Attributes
    ----------
    name
        Its name in the program.
    values
        The two values.
    exact
        Whether it was computed without rounding, so that two ways to compute it cannot differ.
    """

    name: str
    values: tuple[Any, Any]
    exact: bool
    dtype: Any = attrs.field(init=False)
    shape: tuple[int, ...] = attrs.field(init=False)
    ndim: int = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        self.__dict__["dtype"] = np.asarray(self.values[0]).dtype
        self.__dict__["shape"] = np.shape(self.values[0])
        self.__dict__["ndim"] = np.ndim(self.values[0])

    def clear_of(self, other: Any = None) -> bool:
        """Whether a comparison, with 0 by default, does not depend on the last bits."""
        others = other.values if isinstance(other, Known) else (0, 0)
        if self.exact and (other is None or other.exact):
            return True
        narrowest = min([self.dtype, *([other.dtype] if other else [])], key=lambda d: d.itemsize)
        margin = _MARGIN.get(narrowest, 0)
        return all(
            bool((np.abs(np.subtract(a, b)) > margin).all())
            for a, b in zip(self.values, others, strict=True)
        )

    def has_clear_extremes(self, axis: Any) -> bool:
        """Whether the largest and the smallest along an axis are well apart from the others."""
        if self.exact:
            return True
        for value in self.values:
            ordered = np.sort(np.asarray(value), axis=axis)
            gaps = np.diff(ordered, axis=-1 if axis is None else axis)
            if gaps.size and not (gaps > _MARGIN.get(self.dtype, 0)).all():
                return False
        return True


class Drawing:
    """What a step is drawn from: Hypothesis's draw, and the values so far."""

    def __init__(self, draw: Any, known: list[Known]) -> None:
        self.draw = draw
        self.known = known

    def _whole(self, low: int, high: int) -> int:
        number: int = self.draw(whole(low, high))
        return number

    def pick(self, wanted: Any = lambda x: True) -> Known:
        """One of the values, more likely a late one."""
        fitting = [x for x in self.known if wanted(x)]
        if not fitting:
            raise NothingFitsError
        latest = fitting[-4:] if self._whole(0, 1) else fitting
        return latest[self._whole(0, len(latest) - 1)]

    def floating(self, wanted: Any = lambda x: True) -> Known:
        """A floating value."""
        return self.pick(lambda x: x.dtype.kind == "f" and wanted(x))

    def array(self, wanted: Any = lambda x: True) -> Known:
        """A floating array, or a NumPy scalar."""
        return self.floating(
            lambda x: isinstance(x.values[0], np.ndarray | np.generic) and wanted(x)
        )

    def axis(self, x: Known) -> int:
        """An axis of a value."""
        if not x.ndim:
            raise NothingFitsError
        return self._whole(-x.ndim, x.ndim - 1)

    def sample(self, *choices: Any) -> Any:
        """One of these."""
        return choices[self._whole(0, len(choices) - 1)]


class NothingFitsError(Exception):
    """No value of the program fits a step."""


# --- the steps: each returns an expression, and whether it keeps exact values exact ---------


def _unary(d: Drawing) -> tuple[str, bool]:
    name = d.sample("tanh", "sin", "negative", "sigmoid", "softplus", "square", "cos", "positive")
    return f"tg.{name}({d.floating().name})", name in ("negative", "positive")


def _guarded(d: Drawing) -> tuple[str, bool]:
    x = d.floating().name
    template = d.sample(
        "tg.log(1.5 + tg.square({0}))",
        "tg.log1p(tg.square({0}))",
        "tg.sqrt(0.5 + tg.square({0}))",
        "tg.exp(-tg.square({0}))",
        "1.0 / (1.0 + tg.square({0}))",
        "tg.reciprocal(1.0 + {0} * {0} * 1.0)",
        "tg.tanh({0}) ** 2",
        "{0} ** 3 * 0.1",
        "(0.5 + tg.sigmoid({0})) ** 1.5",
        "tg.power(1.5 + tg.tanh({0}), -2)",
        "tg.power(1.5 + tg.tanh({0}), 0.5)",
        "tg.sigmoid({0}) ** 4",
        "tg.stop_gradient({0})",
        "({0}) * 1.0 + 0.0",
        "-(-{0}) - 0.0",
        "2.0 * {0} / 1",
    )
    return template.format(x), False


def _kinked(d: Drawing) -> tuple[str, bool]:
    x = d.floating(lambda x: x.clear_of())
    return f"tg.{d.sample('abs', 'relu', 'sign')}({x.name})", True


def _binary(d: Drawing) -> tuple[str, bool]:
    x, y = d.floating(), d.floating()
    template = d.sample(
        "{0} + {1}", "{0} * {1}", "{0} - {1}", "{0} / (2.0 + tg.cos({1}))", "0.5 * {0} + {1}"
    )
    return template.format(x.name, y.name), False


def _sum_of_three(d: Drawing) -> tuple[str, bool]:
    x = d.array()
    others = [d.floating(lambda y: y.shape in (x.shape, ())) for _ in range(2)]
    return f"{x.name} + {others[0].name} + {others[1].name}", False


def _extreme_of_two(d: Drawing) -> tuple[str, bool]:
    x, y = d.floating(), d.floating()
    if x.shape != y.shape and () not in (x.shape, y.shape):
        raise NothingFitsError
    if x is not y and not x.clear_of(y):
        raise NothingFitsError
    return f"tg.{d.sample('maximum', 'minimum')}({x.name}, {y.name})", True


def _selection(d: Drawing) -> tuple[str, bool]:
    condition = d.floating()
    other = d.floating(lambda y: y.shape in ((), condition.shape))
    if not condition.clear_of(other) and condition is not other:
        raise NothingFitsError
    comparison = d.sample(">", "<=", "<", ">=", "==", "!=")
    x, y = d.floating(), d.sample("0.0", "1", d.floating().name)
    return f"tg.where({condition.name} {comparison} {other.name}, {x.name}, {y})", True


def _reduction(d: Drawing) -> tuple[str, bool]:
    x = d.array()
    axis = d.sample(None, d.axis(x), tuple(range(x.ndim)), d.axis(x))
    name = d.sample("sum", "mean", "max", "min", "logsumexp", "sum")
    if name in ("max", "min"):
        if isinstance(axis, tuple):
            axis = None
        if not x.has_clear_extremes(axis):
            raise NothingFitsError
    keepdims = d.sample("", ", keepdims=True")
    return f"tg.{name}({x.name}, axis={axis}{keepdims})", name in ("max", "min")


def _normalisation(d: Drawing) -> tuple[str, bool]:
    x = d.array()
    return f"tg.{d.sample('softmax', 'log_softmax')}({x.name}, axis={d.axis(x)})", False


def _sum_of_squares(d: Drawing) -> tuple[str, bool]:
    x = d.array()
    y = d.array(lambda y: y.shape == x.shape)
    return f"tg.sum({x.name} * {y.name})", False


def _product(d: Drawing) -> tuple[str, bool]:
    x = d.array(lambda x: x.ndim > 0)

    def fits(y: Known) -> bool:
        return y.ndim > 0 and y.shape[-2 if y.ndim > 1 else 0] == x.shape[-1]

    def fits_turned(y: Known) -> bool:
        return y.ndim == 2 and y.shape[1] == x.shape[-1]

    if d.draw(st.booleans()):
        return f"{x.name} @ {d.array(fits_turned).name}.T", False
    return f"{x.name} @ {d.array(fits).name}", False


def _affine(d: Drawing) -> tuple[str, bool]:
    x = d.array(lambda x: x.ndim == 2)
    w = d.array(lambda w: w.ndim == 2 and w.shape[0] == x.shape[1])
    b = d.floating(lambda b: b.shape in ((w.shape[1],), ()))
    return f"tg.tanh({x.name} @ {w.name} + {b.name})", False


def _moved(d: Drawing) -> tuple[str, bool]:
    x = d.array()
    size = int(np.prod(x.shape))
    choices = [
        f"tg.transpose({x.name})",
        f"tg.reshape({x.name}, {(size,)})",
        f"tg.reshape({x.name}, {(*x.shape, 1)})",
        f"tg.expand_dims({x.name}, {d.sample(0, -1)})",
        f"tg.squeeze({x.name})",
        f"tg.broadcast_to({x.name}, {(2, *x.shape)})",
        f"tg.expand({x.name}, 0, 2)",
    ]
    if x.ndim > 1:
        choices.append(f"tg.swapaxes({x.name}, 0, {d.axis(x)})")
        choices.append(f"tg.reshape({x.name}, {(x.shape[1], x.shape[0], *x.shape[2:])})")
        axes = d.draw(st.permutations(range(x.ndim)))
        choices.append(f"tg.transpose({x.name}, {tuple(axes)})")
    return d.sample(*choices), True


def _joined(d: Drawing) -> tuple[str, bool]:
    x = d.array(lambda x: x.ndim > 0)
    y = d.array(lambda y: y.shape == x.shape)
    z = d.array(lambda z: z.shape == x.shape)
    parts = ", ".join(part.name for part in d.sample((x, y), (x, y, z), (x,)))
    return f"tg.{d.sample('concatenate', 'stack')}([{parts}], axis={d.axis(x)})", True


def _sliced(d: Drawing) -> tuple[str, bool]:
    x = d.array(lambda x: x.ndim > 0 and 0 not in x.shape)
    axis = d.draw(st.integers(0, x.ndim - 1))
    n = x.shape[axis]
    start = d.draw(st.integers(0, n - 1))
    part = d.sample(
        f"{start}",
        f"{start}:",
        f":{start + 1}",
        "::-1",
        "::2",
        f"{start}:{start + 1}",
        "None",
        "-1",
    )
    index = ", ".join([":"] * axis + [part] + d.sample([], ["..."]))
    return f"{x.name}[{index}]", True


def _gathered(d: Drawing) -> tuple[str, bool]:
    i = d.pick(lambda x: x.name[0] == "i" and isinstance(x.values[0], np.ndarray))
    reach = max(int(np.abs(value).max(initial=-1)) for value in i.values) + 1
    x = d.array(lambda x: x.ndim > 0 and x.shape[0] >= reach)
    if reach > 3:
        raise NothingFitsError
    choices = [f"tg.index_select({x.name}, {i.name})", f"{x.name}[{i.name}]"]
    choices.append(f"tg.index_select({x.name}, {i.name})")
    if x.ndim > 1 and x.shape[1] >= reach:
        choices.append(f"{x.name}[:, {i.name}]")
    fits_rows = all((value >= 0).all() for value in i.values) and x.shape[-1] >= reach
    if fits_rows and i.shape == x.shape[:-1]:
        choices.append(f"tg.nn.cross_entropy_loss({x.name}, {i.name})")
        choices.append(f"pick({x.name}, {i.name})")
    return d.sample(*choices), True


def _updated(d: Drawing) -> tuple[str, bool]:
    x = d.array(lambda x: x.ndim > 0 and 0 not in x.shape)
    y = d.floating(lambda y: y.shape in ((), x.shape[1:]))
    function = d.sample("set", "add")
    return f"tg.at({x.name})[{d.sample(0, -1)}].{function}({y.name})", function == "set"


def _cast(d: Drawing) -> tuple[str, bool]:
    x = d.array()
    dtype = d.sample("np.float32", "np.float64")
    # narrowing rounds by more than the margins of float64 allow for
    return f"tg.astype({x.name}, {dtype if x.dtype.itemsize == 4 else 'np.float64'})", True


def _constant(d: Drawing) -> tuple[str, bool]:
    x = d.array()
    value = d.draw(st.integers(-4, 4)) / 4
    constant = d.sample(
        f"np.full({x.shape}, {value}, np.{x.dtype})", f"np.ones({x.shape[-1:]}, np.{x.dtype})"
    )
    return f"{x.name} {d.sample('+', '*', '-')} {constant}", False


STEPS = (
    _unary,
    _binary,
    _guarded,
    _product,
    _affine,
    _reduction,
    _moved,
    _sliced,
    _joined,
    _selection,
    _extreme_of_two,
    _kinked,
    _normalisation,
    _gathered,
    _sum_of_squares,
    _sum_of_three,
    _updated,
    _cast,
    _constant,
)


# tanh brings larger values back, so that rounding errors stay comparable
_LARGEST = 6.0


@attrs.frozen(eq=False, repr=False, slots=False)
class Written:
    """A function, given by its lines, and two sets of arguments to call it with.

    Attributes
    ----------
    parameters
        The names of its parameters: x for an array, i for indices, s for a Python float.
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
    def fn(self) -> Any:
        """The function."""
        namespace = _namespace()
        exec(self.source, namespace)
        return namespace["fn"]

    @property
    def argnums(self) -> tuple[int, ...]:
        """The positions of the arguments that have a gradient."""
        return tuple(i for i, name in enumerate(self.parameters) if name[0] != "i")

    @property
    def narrowest(self) -> Any:
        """The dtype that determines its rounding errors."""
        given = [np.asarray(x).dtype for x in self.arguments[0] if np.asarray(x).dtype.kind == "f"]
        return min(given, key=lambda dtype: dtype.itemsize)

    @property
    def step(self) -> Any:
        """A function that returns a weighted sum of the results, the results and the gradient."""

        def loss(*args: Any) -> Any:
            results = self.fn(*args)
            total: Any = 0.0
            for i, y in enumerate(results):
                if isinstance(y, Tensor) and y.dtype.kind == "f":
                    total = total + sum_(y * _weights(y.shape, y.dtype, i))
            return total + 0.0 * sum(sum_(args[j]) for j in self.argnums), results

        def step(*args: Any) -> Any:
            return value_and_grad(loss, self.argnums, has_aux=True)(*args)

        return step

    def __repr__(self) -> str:
        calls = "".join(
            f"args = ({', '.join(map(_shown, args))},)\n" for args in reversed(self.arguments)
        )
        return f"\n{_IMPORTS}\n{self.source}\n{calls}"


# The imports of a program, run and printed.
_IMPORTS = """\
import numpy as np
import tapegrad as tg
from tapegrad.ops.rows import pick
"""


def _namespace() -> dict[str, Any]:
    namespace: dict[str, Any] = {}
    exec(_IMPORTS, namespace)
    return namespace


def _weights(shape: Any, dtype: Any, i: int) -> Any:
    n = int(np.prod(shape))
    return (np.cos(np.arange(1, n + 1) * (i + 1.3)) + 0.1).reshape(shape).astype(dtype)


def _shown(x: Any) -> str:
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


def programs(max_steps: int = 40) -> st.SearchStrategy[Written]:
    """Random programs of ops over several inputs, for testing anything that takes a function.

    All values are finite and of moderate size, and no comparison depends on rounding, so two ways
    to run a program can be compared. A program shrinks to a few short lines.

    Parameters
    ----------
    max_steps
        The largest number of lines.

    Returns
    -------
    A strategy for `Written`: ``program.fn(*program.arguments[0])`` runs it, and ``repr``
    is the Python that writes it.

    Examples
    --------
    >>> from hypothesis import given, settings
    >>> import tapegrad as tg
    >>> @settings(max_examples=5, deadline=None, database=None)
    ... @given(tg.testing.programs(max_steps=10))
    ... def test(program):
    ...     for args in program.arguments:
    ...         tg.testing.check_deterministic(tg.compile(program.fn), args)
    >>> test()
    """
    return _programs(max_steps)


@st.composite
def _programs(draw: st.DrawFn, max_steps: int) -> Written:
    rng = np.random.default_rng(draw(st.integers(0, 1 << 16)))
    n_arrays = draw(st.integers(1, 4))
    dtypes = draw(st.sampled_from([("d",), ("d",), ("f",), ("d", "f")]))
    known = []
    for j in range(n_arrays):
        shape, dtype = draw(st.sampled_from(_SHAPES)), dtypes[j % len(dtypes)]
        # eighths tie
        values = [rng.integers(-12, 13, shape) / 8 for _ in range(2)]
        known.append(Known(f"x{j}", _pair(np.asarray(v, dtype) for v in values), True))
    for j in range(draw(st.integers(0, 2))):
        shape, n = (
            draw(st.sampled_from([(4,), (2,), (8,), (2, 2), (0,), ()])),
            draw(st.integers(1, 3)),
        )
        low = draw(st.sampled_from([0, 0, -n]))
        dtype = draw(st.sampled_from(["i8", "i8", "i4"]))
        indices = [np.asarray(rng.integers(low, n, shape), dtype) for _ in range(2)]
        known.append(Known(f"i{j}", _pair(indices), True))
    for j in range(draw(st.integers(0, 2))):
        known.append(Known(f"s{j}", _pair(float(rng.integers(-8, 9)) / 8 for _ in range(2)), True))
    parameters = tuple(x.name for x in known)
    arguments = _pair(tuple(x.values[k] for x in known) for k in range(2))
    lines: list[str] = []
    least = draw(st.integers(0, max_steps - 5))
    for kind in draw(st.lists(st.sampled_from(STEPS), min_size=least, max_size=max_steps)):
        try:
            expression, keeps_exact = kind(Drawing(draw, known))
        except NothingFitsError:
            continue
        name = f"v{len(lines)}"
        made = _evaluated(expression, known)
        if made is None:
            continue
        if max(float(np.abs(v).max(initial=0)) for v in made) > _LARGEST:
            expression, keeps_exact = f"tg.tanh({expression})", False
            made = _evaluated(expression, known)
        used = [x for x in known if x.name in expression]
        exact = keeps_exact and all(x.exact for x in used)
        lines.append(f"{name} = {expression}")
        known.append(Known(name, made, exact))
    results = [x.name for x in known if x.name[0] != "i"]
    chosen = draw(st.lists(st.sampled_from(results), max_size=3)) + results[-1:]
    return Written(parameters, tuple(lines), tuple(chosen), arguments)


def _pair(values: Any) -> Any:
    first, second = values
    return first, second


def _evaluated(expression: str, known: list[Known]) -> Any:
    """An expression's two values; None if it does not fit."""
    code = compile(expression, "<step>", "eval")
    made = []
    for k in range(2):
        names = {x.name: x.values[k] for x in known}
        try:
            with np.errstate(all="raise", under="ignore"):
                made.append(eval(code, {**_namespace(), **names}))
        except (ValueError, TypeError, IndexError, FloatingPointError):
            return None
    if np.size(made[0]) > 64:
        return None
    return _pair(made)
