"""Domains that are not declared, but assumed from a signature and from trial calls."""

from __future__ import annotations

import functools
import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import attrs
import numpy as np

from tapegrad import domain as domains
from tapegrad import tree
from tapegrad.core.callables import label
from tapegrad.core.op import Op
from tapegrad.core.operands import is_floating
from tapegrad.core.signature import Signature
from tapegrad.domain import NONZERO, POSITIVE, REAL, Call, Domain, Elements
from tapegrad.testing.choices import Sampled, clear_numbers
from tapegrad.transforms.products import vjp

__all__ = ["NEEDED", "REGULAR", "Assumed", "Form", "assumed", "general", "in_brackets", "symbolic"]


Shape = tuple[str, ...]

_MOST = 4000  # the most shapes that are tried


@attrs.frozen
class Form:
    """Shapes of the operands: lines that choose them, an expression for each, and a description.

    Attributes
    ----------
    lines, shapes, says
        These.
    sides
        The shapes in terms of named sides, if they have names.
    of
        The expression for an array of a shape, unless any numbers will do.
    """

    lines: tuple[str, ...]
    shapes: tuple[str, ...]
    says: str
    sides: tuple[Shape, ...] = ()
    of: str = ""

    def is_case_of(self, other: Form) -> bool:
        """Whether these are shapes of another form with some sides equal."""
        if [*map(len, self.sides)] != [*map(len, other.sides)]:
            return False
        pairs = zip(itertools.chain(*other.sides), itertools.chain(*self.sides), strict=True)
        named: dict[str, str] = {}
        return all(named.setdefault(theirs, ours) == ours for theirs, ours in pairs)


def general(n: int) -> Iterator[Form]:
    """Shapes that only have to broadcast, or that are all the same."""
    if n == 0:
        yield Form((), (), "numbers alone")
        return
    if n > 1:
        each = tuple(f"shapes[{i}]" for i in range(n))
        yield Form((f"shapes = choose.broadcastable({n})",), each, "shapes that broadcast")
    same = "one shape for all" if n > 1 else "any shape"
    for dims, side in ((0, 0), (0, 1), (1, 0), (1, 1), (2, 0), (2, 1)):
        least = [f"min_dims={dims}"] * (dims > 0) + [f"min_side={side}"] * (side > 0)
        limits = [f"at least {dims}-d"] * (dims > 0) + ["not empty"] * (side > 0)
        yield Form(
            (f"shape = choose.shape({', '.join(least)})",),
            ("shape",) * n,
            ", ".join([same, *limits]),
        )


def symbolic(n: int) -> Iterator[Form]:
    """Shapes that share some sides, those with the most sides first."""
    vocabulary: list[Shape] = [
        *[("m", "k"), ("n", "m"), ("k", "m"), ("m", "n"), ("n", "n")],
        *[("k",), ("m",), ("n",), ()],
    ]

    def differing(shapes: tuple[Shape, ...]) -> tuple[int, int]:
        sides = [side for shape in shapes for side in shape]
        return -len(set(sides)), -len(sides)

    tried = itertools.islice(itertools.product(vocabulary, repeat=n), _MOST)
    for shapes in sorted(tried, key=differing):
        order = list(dict.fromkeys(side for shape in shapes for side in shape))
        # the same shapes under other names
        if order != [*"nmk"[: len(order)]]:
            continue
        lines = tuple(f"{side} = choose.integer(2, 4)" for side in order)
        written = tuple([in_brackets(shape) for shape in shapes])
        yield Form(lines, written, f"shapes {' and '.join(written)}", shapes)


def in_brackets(parts: Sequence[str]) -> str:
    """A tuple as source."""
    return f"({', '.join(parts)}{',' * (len(parts) == 1)})"


# for an op on one matrix, which must not be singular
REGULAR = tuple(
    Form(
        ("n = choose.integer(1, 3)",),
        ("",),
        says,
        of=f"matrix(choose, n, n{stack})",
    )
    for says, stack in (
        ("stacks of regular square matrices", ", choose.among(STACKS)"),
        ("regular square matrices", ""),
    )
)


# the names from tapegrad.domain that the source of a domain may need
NEEDED = ("STACKS", "Call", "Elements", "matrix")

Fn = Callable[..., Any]

# from all numbers to those that suit functions with poles and edges
_NUMBERS = (
    REAL,
    NONZERO,
    POSITIVE,
    Elements(-0.9375, 0.9375),
    Elements(0.0625, 0.9375),
    Elements(1.0625, 4.0),
)
_KINDS = ("integers", "booleans", "floats")
_FORMS = 4  # the largest number of these in a domain
_USED = {"choose", "shape", "shapes", "float", *NEEDED}  # names that the source uses itself
_STEEPER = 10.0  # a slope that grows by more than this as the step shrinks has no limit
_RUNS = 12


@attrs.frozen(eq=False)
class Assumed:
    """A domain that is assumed, not declared.

    Attributes
    ----------
    name
        The function that it belongs to.
    says
        What is assumed, in words.
    body
        The lines of its source.
    """

    name: str
    says: tuple[str, ...]
    body: tuple[str, ...]

    def __call__(self, choose: Any) -> Call:
        call: Call = _function(self.source())(choose)
        return call

    def source(self) -> str:
        """The domain's source, as a person would write it."""
        lines = ["def calls(choose):", f'    """Calls of {self.name}."""', *self.body]
        return "\n".join([*lines[:2], *[f"    {line}" for line in self.body], ""])


@functools.cache
def _function(source: str) -> Domain:
    """The domain that the source defines."""
    space: dict[str, Any] = {name: getattr(domains, name) for name in NEEDED}
    exec(source, space)
    domain: Domain = space["calls"]
    return domain


@attrs.frozen
class _Operand:
    """An operand, from the signature; `name` is its name in the source."""

    name: str
    is_number: bool = False
    kind: str = "floats"
    has_rule: bool = True


def assumed(fn: Any) -> Assumed:
    """Find a domain for a function that declares none.

    The operands are read from the parameters. Shapes and numbers are the widest set for which
    calls work: the function and its VJP do not raise, and the results are finite and have
    slopes.

    Raises
    ------
    TypeError
        If no domain works.
    """
    name = label(fn)
    signature = Signature.of(fn, name)
    notes = _annotations(fn)
    rules = fn.vjps if isinstance(fn, Op) and isinstance(fn.vjps, tuple) else None
    needed = [x for x in signature.names if x not in signature.defaults]
    n = len(needed) if rules is None else len(rules)
    operands = [
        _Operand(
            f"{x}_" if x in _USED else x,
            notes.get(x) in _SCALARS,
            _SCALARS.get(notes.get(x), "floats"),
        )
        for x in signature.names[:n]
    ]
    for i, rule in enumerate(rules or ()):
        operands[i] = attrs.evolve(operands[i], has_rule=rule is not None)
    if signature.is_variadic or not operands:
        takes = "any number of" if signature.is_variadic else "no"
        raise TypeError(f"{name} declares no domain, and takes {takes} operands; {_REMEDY}")
    options = _options(signature, signature.names[n:], notes)
    met: list[str] = []
    for kinds in _kinds(operands):
        for chosen_options in options:
            forms = _forms_of(fn, kinds, chosen_options, met)
            found = forms and _numbers_of(fn, kinds, forms, chosen_options)
            if found:
                return found
    raise TypeError(
        f"{name} declares no domain, and no trial domain works"
        + (f" (at last: {met[-1]})" if met else "")
        + f"; {_REMEDY}"
    )


# the annotations of an operand that is one number
_SCALARS: Mapping[Any, str] = {
    **dict.fromkeys((float, "float"), "floats"),
    **dict.fromkeys((int, "int"), "integers"),
    **dict.fromkeys((bool, "bool"), "booleans"),
}
_REMEDY = "give one in its declaration: domain=, see tapegrad.domain"


def _annotations(fn: Any) -> Mapping[str, Any]:
    while hasattr(fn, "__wrapped__"):
        fn = fn.__wrapped__
    return getattr(fn, "__annotations__", {})


def _options(
    signature: Signature, names: Sequence[str], notes: Mapping[str, Any]
) -> list[dict[str, str]]:
    """Expressions for the options: with the optional ones, and without."""
    needed: dict[str, str] = {}
    more: dict[str, str] = {}
    for name in names:
        default = signature.defaults.get(name)
        is_needed = name not in signature.defaults
        note = notes.get(name)
        if note in (bool, "bool") or name == "keepdims" or isinstance(default, bool):
            expression = "choose.among([False, True])"
        elif name == "axis" and (is_needed or isinstance(default, int)):
            expression = "choose.axis(ndim)"
        elif not is_needed:
            continue
        elif note in (int, "int"):
            expression = "choose.integer(1, 3)"
        elif note in (float, "float"):
            expression = "float(choose.array((), Elements(0.25, 2.0), 'd'))"
        else:
            raise TypeError(
                f"{signature.name} declares no domain, and nothing says what its option {name} may "
                f"be; {_REMEDY}"
            )
        (needed if is_needed else more)[name] = expression
    return [needed | more, needed] if more else [needed]


def _kinds(operands: Sequence[_Operand]) -> Iterator[list[_Operand]]:
    """The operands with possible kinds of numbers: one without a gradient may take integers."""
    free = [x.kind == "floats" and not x.has_rule for x in operands]
    for kinds in itertools.product(_KINDS, repeat=min(sum(free), 2)):
        rest = iter(kinds)
        yield [
            attrs.evolve(x, kind=next(rest, "integers")) if can else x
            for x, can in zip(operands, free, strict=True)
        ]


# --- shapes -------------------------------------------------------------------------------


def _forms_of(
    fn: Any, operands: Sequence[_Operand], options: Mapping[str, str], met: list[str]
) -> list[Form]:
    """The shapes for which calls work: the first that covers all, otherwise several."""
    n = sum(not x.is_number for x in operands)
    # numbers that most functions take, wherever they are defined
    for numbers in (_NUMBERS[0], _NUMBERS[4], _NUMBERS[5]):

        def works(form: Form, numbers: Elements = numbers) -> bool:
            domain = _domain(label(fn), operands, [form], [numbers] * len(operands), options)
            return _takes(fn, domain, met)

        for form in general(n):
            if works(form):
                return [form]
        found: list[Form] = []
        for form in symbolic(n):
            if not any(map(form.is_case_of, found)) and works(form):
                found.append(form)
                if len(found) == _FORMS:
                    break
        if found and [form.sides for form in found] != [(("n", "n"),)]:
            return found
        for form in (*REGULAR, *found) if n == 1 else ():
            if works(form):
                return [form]
    return []


# --- numbers ------------------------------------------------------------------------------


def _numbers_of(
    fn: Any, operands: Sequence[_Operand], forms: Sequence[Form], options: Mapping[str, str]
) -> Assumed | None:
    """The widest numbers for which results are finite and have slopes, or are at least finite."""
    floats = [x.kind == "floats" for x in operands]
    n = sum(floats)
    several = range(len(_NUMBERS))
    if n <= 3:
        ranks = sorted(itertools.product(several, repeat=n), key=sum)
    else:
        ranks = [(rank,) * n for rank in several]
    for test in (_has_slopes, _is_finite):
        for rank in ranks:
            rest = iter(rank)
            numbers = [_NUMBERS[next(rest)] if is_float else REAL for is_float in floats]
            domain = _domain(label(fn), operands, forms, numbers, options)
            if _takes(fn, domain, [], test):
                return domain
    return None


def _domain(
    name: str,
    operands: Sequence[_Operand],
    forms: Sequence[Form],
    numbers: Sequence[Elements],
    options: Mapping[str, str],
) -> Assumed:
    """The domain of these parts."""
    says: list[str] = []
    body = list(dict.fromkeys(line for form in forms for line in form.lines))
    shapes: Sequence[str] = forms[0].shapes
    if forms[0].sides:
        each = [in_brackets(form.shapes) for form in forms]
        if len(each) == 1:
            body.append(f"shapes = {each[0]}")
        else:
            body += [
                "shapes = choose.among(",
                "    [",
                *[f"        {x}," for x in each],
                "    ]",
                ")",
            ]
        shapes = [f"shapes[{i}]" for i in range(len(shapes))]
    rest = iter(shapes)
    for x, elements in zip(operands, numbers, strict=True):
        shape = "()" if x.is_number else next(rest)
        if forms[0].of and not x.is_number:
            body.append(f"{x.name} = {forms[0].of}")
        elif x.kind == "floats":
            poles = f", poles={elements.poles}" if elements.poles else ""
            clear = f", clear of {elements.poles[0]:g}" if elements.poles else ""
            array = f'choose.array({shape}, Elements({elements.low}, {elements.high}{poles}), "df")'
            body.append(f"{x.name} = float({array})" if x.is_number else f"{x.name} = {array}")
            says.append(f"{x.name}: real numbers from {elements.low:g} to {elements.high:g}{clear}")
        elif x.kind == "integers":
            one = x.is_number
            body.append(f"{x.name} = choose.integer{'(' if one else f's({shape}, '}0, 1)")
            says.append(f"{x.name}: 0 or 1")
        else:
            drawn = "among([False, True])" if x.is_number else f"booleans({shape})"
            body.append(f"{x.name} = choose.{drawn}")
            says.append(f"{x.name}: truth values")
    if shapes:
        says.append(", or ".join(form.says for form in forms))
    given = in_brackets([x.name for x in operands])
    if options:
        arrays = [x.name for x in operands if not x.is_number]
        ndim = f"{arrays[0]}.ndim" if arrays else "0"
        written = ", ".join(f'"{k}": {v.replace("ndim", ndim)}' for k, v in options.items())
        body.append(f"return Call({given}, {{{written}}})")
        says.append(f"{', '.join(options)}: chosen too")
    else:
        body.append(f"return Call({given})")
    return Assumed(name, tuple(says), tuple(body))


# --- trial calls ---------------------------------------------------------------------------


@attrs.frozen
class _Extreme(Sampled):
    """Choices with the same number everywhere: the simplest one, or an end of the interval."""

    which: int = 0

    def number(self, elements: Elements) -> float:
        numbers = clear_numbers(elements)
        return (numbers[0], min(numbers), max(numbers))[self.which]


def _takes(fn: Any, domain: Assumed, met: list[str], test: Fn | None = None) -> bool:
    """Whether calls of a domain work."""
    generators = [Sampled(np.random.default_rng(seed)) for seed in range(_RUNS)]
    if test is not None:
        generators += [_Extreme(np.random.default_rng(k), k % 3) for k in range(6)]
    for generator in generators:
        call = None
        try:
            call = domain(generator)
            called = functools.partial(fn, **call.kwargs)
            with np.errstate(all="ignore"):
                if test is None:
                    _try(called, call.args)
                elif not test(called, call.args):
                    return False
        except Exception as error:
            # whatever it raises, this call cannot be used in a test
            met.append(f"{type(error).__name__}: {error}".splitlines()[0])
            return False
    return True


def _try(fn: Fn, args: tuple[Any, ...]) -> None:
    """Call a function, and pull a cotangent back through it."""
    places = [i for i, x in enumerate(args) if is_floating(x)]
    xs = [args[i] for i in places]

    def moved(*xs: Any) -> Any:
        filled = list(args)
        for i, x in zip(places, xs, strict=True):
            filled[i] = x
        return fn(*filled)

    fn(*[x.copy() if isinstance(x, np.ndarray) else x for x in args])
    output, pullback = vjp(moved, *xs)
    pullback(tree.map(np.ones_like, output))


def _is_finite(fn: Fn, args: tuple[Any, ...]) -> bool:
    return all(np.isfinite(y).all() for y in _results(fn, args))


def _has_slopes(fn: Fn, args: tuple[Any, ...]) -> bool:
    """Whether results are finite, and no slope grows without bound as its step shrinks."""
    args = tuple(
        np.asarray(x, np.float64)[...] if isinstance(x, np.ndarray) and is_floating(x) else x
        for x in args
    )
    values = _results(fn, args)
    if not all(np.isfinite(y).all() for y in values):
        return False
    for sign in (-1, 1):
        slopes = []
        for step in (1e-3, 1e-7):
            there = _results(fn, tuple(x + sign * step if is_floating(x) else x for x in args))
            if [y.shape for y in there] != [y.shape for y in values]:
                return False
            slopes.append([(y - z) / step for y, z in zip(there, values, strict=True)])
        for far, near in zip(*slopes, strict=True):
            # at the edge of the domain one side has none
            both = np.isfinite(far) & np.isfinite(near)
            if (np.abs(near[both]) > _STEEPER * (np.abs(far[both]) + 1)).any():
                return False
    return True


def _results(fn: Fn, args: tuple[Any, ...]) -> list[Any]:
    """The floating results of a function."""
    copies = [x.copy() if isinstance(x, np.ndarray) else x for x in args]
    return [np.asarray(y) for y in tree.leaves(fn(*copies)) if is_floating(y)]
