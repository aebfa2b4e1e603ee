"""Domains assumed from a signature and from trial calls, for ops that declare none."""

from __future__ import annotations

import functools
import inspect
import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import attrs
import numpy as np

from tapegrad import domain as domains
from tapegrad import tree
from tapegrad.core.op import Op
from tapegrad.core.recording import record
from tapegrad.core.tensor import Tensor
from tapegrad.declare.signature import Signature
from tapegrad.domain import NONZERO, POSITIVE, REAL, Call, Choices, Domain, Elements
from tapegrad.errors.functions import label
from tapegrad.testing.choices import RandomChoices, clear_numbers
from tapegrad.transforms.reverse import reverse_sweep
from tapegrad.tree.numbers import is_floating
from tapegrad.tree.structure import replace_leaves
from tapegrad.types import Array

# the names from tapegrad.domain that the source of a domain may need
SOURCE_IMPORTS = ("STACKS", "Call", "Elements", "matrix")
_SOURCE_NAMES = {
    "choose",
    "shape",
    "shapes",
    "float",
    *SOURCE_IMPORTS,
}  # names that the source uses itself
_REMEDY = "give one in its declaration: domain=, see tapegrad.domain"

# the numbers of an operand: an interval, "integers" or "booleans"
Numbers = Elements | str
# from all numbers to intervals for functions with poles and edges
_INTERVALS = (
    REAL,
    NONZERO,
    POSITIVE,
    Elements(-0.9375, 0.9375),
    Elements(0.0625, 0.9375),
    Elements(1.0625, 4.0),
)
# the annotations of an option, and of an operand that is one number
_SCALARS: dict[object, Numbers] = {
    **dict.fromkeys((float, "float"), REAL),
    **dict.fromkeys((int, "int"), "integers"),
    **dict.fromkeys((bool, "bool"), "booleans"),
}
_MAX_SHAPES = 4000
_MAX_FORMS = 4
_MAX_KINDS = 9
_MAX_STEEPENING = 10.0  # a slope that grows by a larger factor as the step shrinks has no limit
_RUNS = 12


@attrs.frozen(eq=False)
class AssumedDomain:
    """A domain that is assumed, not declared.

    Attributes
    ----------
    name
        The function's name.
    assumptions
        The assumptions, in words.
    source
        The source of the domain, as a person would write it.
    """

    name: str
    assumptions: tuple[str, ...]
    source: str

    def __call__(self, choose: Choices) -> Call:
        call: Call = _execute_source(self.source)(choose)
        return call


@functools.cache
def _execute_source(source: str) -> Domain:
    """Execute the source of a domain; return the domain."""
    space: dict[str, Any] = {name: getattr(domains, name) for name in SOURCE_IMPORTS}
    exec(source, space)
    domain: Domain = space["calls"]
    return domain


def assume_domain(fn: Callable[..., Any]) -> AssumedDomain:
    """Find a domain for a function that declares none.

    The signature determines the operands. Shapes and numbers are the widest for which the function
    and its VJP do not raise, and the results are finite and have bounded slopes.

    Raises
    ------
    TypeError
        If no domain works.
    """
    signature = Signature.from_function(fn, label(fn))
    rules = fn.vjps if isinstance(fn, Op) and isinstance(fn.vjps, tuple) else None
    needed = [x for x in signature.names if x not in signature.defaults]
    n = len(needed) if rules is None else len(rules)
    if signature.is_variadic or not signature.names[:n]:
        takes = "any number of" if signature.is_variadic else "no"
        raise TypeError(f"{label(fn)} declares no domain, and takes {takes} operands; {_REMEDY}")
    notes = getattr(inspect.unwrap(fn), "__annotations__", {})
    trials = _Trials(fn, signature.names[:n], [_SCALARS.get(notes.get(x)) for x in signature.names])
    options = _option_expressions(signature, signature.names[n:], notes)
    has_rule = [True] * n if rules is None else [rule is not None for rule in rules]
    for numbers, chosen in itertools.product(trials.list_kinds(has_rule), options):
        forms = trials.find_forms(numbers, chosen)
        domain = forms and trials.find_widest(numbers, forms, chosen)
        if domain:
            return domain
    met = f" (at last: {trials.errors[-1]})" if trials.errors else ""
    raise TypeError(f"{label(fn)} declares no domain, and no trial domain works{met}; {_REMEDY}")


def _option_expressions(
    signature: Signature, names: Sequence[str], notes: Mapping[str, object]
) -> list[dict[str, str]]:
    """List choices of expressions for the options: all options, and only those without default."""
    expressions: dict[str, str] = {}
    for name in names:
        is_needed, default = name not in signature.defaults, signature.defaults.get(name)
        kind = _SCALARS.get(notes.get(name))
        if kind == "booleans" or name == "keepdims" or isinstance(default, bool):
            expressions[name] = "choose.among([False, True])"
        elif name == "axis" and (is_needed or isinstance(default, int)):
            expressions[name] = "choose.axis(ndim)"
        elif is_needed and kind is None:
            raise TypeError(
                f"{signature.name} declares no domain, and nothing says what its option {name} may "
                f"be; {_REMEDY}"
            )
        elif is_needed:
            number = "float(choose.array((), Elements(0.25, 2.0), 'd'))"
            expressions[name] = "choose.integer(1, 3)" if kind == "integers" else number
    needed = {name: x for name, x in expressions.items() if name not in signature.defaults}
    return [needed | expressions, needed] if needed != expressions else [needed]


# --- shapes -------------------------------------------------------------------------------


@attrs.frozen
class _Form:
    """The shapes of the operands.

    Attributes
    ----------
    lines, description
        The lines of source that choose the shapes, and the shapes in words.
    operand
        The expression for the shape of the i-th operand, or for its array.
    sides
        The names of each shape's sides, if the sides are named.
    """

    lines: tuple[str, ...]
    description: str
    operand: str = "shapes[{}]"
    sides: tuple[tuple[str, ...], ...] = ()

    def is_case_of(self, other: _Form) -> bool:
        """Whether these shapes are shapes of another form with some sides equal."""
        if [*map(len, self.sides)] != [*map(len, other.sides)]:
            return False
        pairs = zip(itertools.chain(*other.sides), itertools.chain(*self.sides), strict=True)
        named: dict[str, str] = {}
        return all(named.setdefault(theirs, ours) == ours for theirs, ours in pairs)


def _general_forms(n: int) -> Iterator[_Form]:
    """Yield forms whose shapes broadcast, or are all the same."""
    if n == 0:
        yield _Form((), "")
        return
    if n > 1:
        yield _Form((f"shapes = choose.broadcastable({n})",), "shapes that broadcast")
    for dims, side in itertools.product((0, 1, 2), (0, 1)):
        least = [f"min_dims={dims}"] * (dims > 0) + [f"min_side={side}"] * side
        limits = [f"at least {dims}-d"] * (dims > 0) + ["not empty"] * side
        says = ", ".join(["one shape for all" if n > 1 else "any shape", *limits])
        yield _Form((f"shape = choose.shape({', '.join(least)})",), says, "shape")


def _matching_forms(n: int) -> Iterator[_Form]:
    """Yield forms whose shapes share some sides, beginning with the most sides."""
    one_shape = [*map(tuple, ("mk", "nm", "km", "mn", "nn", "k", "m", "n", ""))]

    def rank(shapes: Sequence[tuple[str, ...]]) -> tuple[int, int]:
        sides = [side for shape in shapes for side in shape]
        return -len(set(sides)), -len(sides)

    tried = itertools.islice(itertools.product(one_shape, repeat=n), _MAX_SHAPES)
    for shapes in sorted(tried, key=rank):
        order = list(dict.fromkeys(side for shape in shapes for side in shape))
        # with the names in another order, the same shapes come again
        if order == [*"nmk"[: len(order)]]:
            lines = tuple([f"{side} = choose.integer(2, 4)" for side in order])
            yield _Form(
                lines, f"shapes {' and '.join(map(_tuple_expression, shapes))}", sides=shapes
            )


def _tuple_expression(parts: Sequence[str]) -> str:
    return f"({', '.join(parts)}{',' * (len(parts) == 1)})"


# for an op on one matrix, which must not be singular
_REGULAR_FORMS = [
    _Form(("n = choose.integer(1, 3)",), says, f"matrix(choose, n, n{stack})")
    for says, stack in (
        ("stacks of regular square matrices", ", choose.among(STACKS)"),
        ("regular square matrices", ""),
    )
]


# --- trials -------------------------------------------------------------------------------


@attrs.frozen
class _Trials:
    """The trials of domains on a function.

    Attributes
    ----------
    fn, names
        The function, and the names of its operands.
    scalars
        The kind of each operand that is one number; None for an array.
    errors
        The errors that calls raised.
    """

    fn: Callable[..., Any]
    names: Sequence[str]
    scalars: Sequence[Numbers | None]
    errors: list[str] = attrs.Factory(list)

    def list_kinds(self, has_rule: Sequence[bool]) -> Iterator[tuple[Numbers, ...]]:
        """List possible numbers of the operands; operands without a VJP rule may be integers."""
        any_kind: list[Numbers] = ["integers", "booleans", REAL]
        choices = [
            [x] if x else [REAL] if rule else any_kind
            for x, rule in zip(self.scalars, has_rule, strict=False)
        ]
        return itertools.islice(itertools.product(*choices), _MAX_KINDS)

    def find_forms(self, numbers: Sequence[Numbers], options: dict[str, str]) -> list[_Form]:
        """Find the shapes for which calls work: one general form, otherwise several."""
        n = len(self.names) - sum(x is not None for x in self.scalars[: len(self.names)])
        # most functions are defined in one of these intervals
        for interval in (_INTERVALS[0], _INTERVALS[4], _INTERVALS[5]):
            tried = [interval if isinstance(x, Elements) else x for x in numbers]

            def works(form: _Form, tried: Sequence[Numbers] = tried) -> bool:
                return self.accepts(self.make_domain(tried, [form], options), _pull_back)

            named: list[_Form] = []
            general = next(filter(works, _general_forms(n)), None)
            for form in () if general else _matching_forms(n):
                if len(named) < _MAX_FORMS and not any(map(form.is_case_of, named)):
                    named += [form] if works(form) else []
            if not general and n == 1 and [x.sides for x in named] in ([], [(("n", "n"),)]):
                general = next(filter(works, _REGULAR_FORMS), None)
            if general or named:
                return [general] if general else named
        return []

    def find_widest(
        self, numbers: Sequence[Numbers], forms: Sequence[_Form], options: dict[str, str]
    ) -> AssumedDomain | None:
        """Find the widest numbers with finite results, if possible with bounded slopes."""
        places = [i for i, x in enumerate(numbers) if isinstance(x, Elements)]
        # intervals after the third are as wide as the third
        ranks = sorted(
            itertools.product(range(len(_INTERVALS)), repeat=min(len(places), 3)), key=sum
        )
        for test, rank in itertools.product((_has_bounded_slopes, _is_finite), ranks):
            intervals = [_INTERVALS[rank[min(k, 2)]] for k in range(len(places))]
            domain = self.make_domain(replace_leaves(numbers, places, intervals), forms, options)
            if self.accepts(domain, test):
                return domain
        return None

    def make_domain(
        self, numbers: Sequence[Numbers], forms: Sequence[_Form], options: dict[str, str]
    ) -> AssumedDomain:
        """Write the source of a domain, and its assumptions in words."""
        body, says = list(dict.fromkeys(line for form in forms for line in form.lines)), list[str]()
        shapes = [
            _tuple_expression([*map(_tuple_expression, form.sides)]) for form in forms if form.sides
        ]
        if len(shapes) > 1:
            among = [f"        {x}," for x in shapes]
            body += ["shapes = choose.among(", "    [", *among, "    ]", ")"]
        else:
            body += [f"shapes = {x}" for x in shapes]
        names, arrays = [f"{x}_" if x in _SOURCE_NAMES else x for x in self.names], list[str]()
        for name, kind, scalar in zip(names, numbers, self.scalars, strict=False):
            is_number = scalar is not None
            shape = "()" if is_number else forms[0].operand.format(len(arrays))
            arrays += [] if is_number else [name]
            drawn, described = _draw_expression(kind, shape, is_number)
            body.append(f"{name} = {drawn}")
            says += [f"{name}: {described}"] if described else []
        says += [", or ".join(form.description for form in forms)] if arrays else []
        arguments = _tuple_expression(names)
        if options:
            ndim = f"{arrays[0]}.ndim" if arrays else "0"
            pairs = [f'"{name}": {x.replace("ndim", ndim)}' for name, x in options.items()]
            arguments += f", {{{', '.join(pairs)}}}"
            says.append(f"{', '.join(options)}: chosen too")
        head = ["def calls(choose):", f'    """Calls of {label(self.fn)}."""']
        lines = [f"    {line}" for line in (*body, f"return Call({arguments})")]
        return AssumedDomain(label(self.fn), tuple(says), "\n".join([*head, *lines, ""]))

    def accepts(self, domain: AssumedDomain, test: Callable[..., bool]) -> bool:
        """Whether the function's calls from a domain pass a test."""
        generators = [RandomChoices(np.random.default_rng(seed)) for seed in range(_RUNS)]
        generators += [_Extreme(np.random.default_rng(k), k % 3) for k in range(6)]
        for generator in generators:
            try:
                call = domain(generator)
                with np.errstate(all="ignore"):
                    if not test(functools.partial(self.fn, **call.kwargs), call.args):
                        return False
            except Exception as error:
                # no test can use a call that raises, whatever the error
                self.errors.append(f"{type(error).__name__}: {error}".splitlines()[0])
                return False
        return True


def _draw_expression(numbers: Numbers, shape: str, is_number: bool) -> tuple[str, str]:
    """Write the expression that draws an operand, and describe its numbers in words."""
    if shape.startswith("matrix("):
        return shape, ""
    if isinstance(numbers, Elements):
        low, high, poles = numbers.low, numbers.high, numbers.poles
        elements = f"Elements({low}, {high}{f', poles={poles}' if poles else ''})"
        several = f'choose.array({shape}, {elements}, "df")'
        one, clear = f"float({several})", f", clear of {poles[0]:g}" if poles else ""
        says = f"real numbers from {low:g} to {high:g}{clear}"
    elif numbers == "integers":
        one, several, says = "choose.integer(0, 1)", f"choose.integers({shape}, 0, 1)", "0 or 1"
    else:
        one, several = "choose.among([False, True])", f"choose.booleans({shape})"
        says = "truth values"
    return one if is_number else several, says


@attrs.frozen
class _Extreme(RandomChoices):
    """Choices of one number everywhere: the simplest number, or an end of the interval."""

    which: int = 0

    def _number(self, elements: Elements) -> float:
        numbers = clear_numbers(elements)
        return (numbers[0], min(numbers), max(numbers))[self.which]


def _pull_back(fn: Callable[..., Any], args: tuple[Any, ...]) -> bool:
    """Call a function and pull cotangents back; return True unless either raises."""
    _floating_results(fn, args)
    output, tape = record(fn)(*args)
    for y in tree.leaves(output):
        if type(y) is Tensor and is_floating(y):
            reverse_sweep(tape, y, np.ones(y.shape, y.dtype))
    return True


def _is_finite(fn: Callable[..., Any], args: tuple[Any, ...]) -> bool:
    """Whether results are finite."""
    return all(np.isfinite(y).all() for y in _floating_results(fn, args))


def _has_bounded_slopes(fn: Callable[..., Any], args: tuple[Any, ...]) -> bool:
    """Whether results are finite, and no slope grows without bound as its step shrinks."""
    args = tuple(
        np.asarray(x, np.float64)[...] if isinstance(x, np.ndarray) and is_floating(x) else x
        for x in args
    )
    values = _floating_results(fn, args)
    for sign in (-1, 1):
        slopes = []
        for step in (1e-3, 1e-7):
            there = _floating_results(
                fn, tuple(x + sign * step if is_floating(x) else x for x in args)
            )
            slopes.append([(y - z) / step for y, z in zip(there, values, strict=True)])
        for far, near in zip(*slopes, strict=True):
            # at the edge of the domain, one side has no slope
            both = np.isfinite(far) & np.isfinite(near)
            if (np.abs(near[both]) > _MAX_STEEPENING * (np.abs(far[both]) + 1)).any():
                return False
    return all(np.isfinite(y).all() for y in values)


def _floating_results(fn: Callable[..., Any], args: tuple[Any, ...]) -> list[Array]:
    """Return the floating leaves of a function's result, as arrays."""
    copies = [x.copy() if isinstance(x, np.ndarray) else x for x in args]
    return [np.asarray(y) for y in tree.leaves(fn(*copies)) if is_floating(y)]
