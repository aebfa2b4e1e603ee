"""The tests of the rules tested: of each VJP rule, wrong versions, which check_grads must find.

A mutant is killed if check_grads names a wrong derivative for it on a call from its op's
domain. That it raises anything else is no kill. One that gives what the rule gives, on all
calls where it runs, is equivalent and need not be. Of complex operands the mutants have a conjugate
too many, or one too few.
"""

import functools
from collections.abc import Callable
from typing import Any

import attrs
import numpy as np
import pytest
from depth import THOROUGH
from op_calls import sample_calls
from op_cases import (
    SMOOTH,
    TAKING,
    Case,
    case_of,
    complex_cases,
    floating_of,
    floating_operands,
)

import tapegrad as tg
from tapegrad.core.op import Op
from tapegrad.core.primitive import EachOperand, Parts
from tapegrad.declare import OPS
from tapegrad.declare.parts import parts_of
from tapegrad.testing import check_grads
from tapegrad.types import Array

RULED = [name for name in SMOOTH if name in OPS]

Rule = Callable[..., Any]


@attrs.frozen
class Call:
    """One call of the VJP rule of an operand: the op, its position, and the arguments of rules."""

    op: Op[Any]
    i: int
    g: Any
    y: Any
    operands: tuple[Any, ...]
    options: dict[str, Any]

    def cotangent(self) -> Any:
        rule = rule_of(self.op, self.i, len(self.operands))
        return rule and rule(self.g, self.y, *self.operands, **self.options)

    @property
    def x(self) -> Array:
        return self.operands[self.i]


def rule_of(op: Op[Any], i: int, n: int) -> Rule | None:
    vjps = op.vjps
    return vjps[i] if isinstance(vjps, tuple) else vjps.vjps_for(n)[i]


def flipped(call: Call) -> Array:
    return -call.cotangent()


def scaled(call: Call) -> Array:
    return 1.001 * call.cotangent()


def dropped(call: Call) -> Array:
    return 0 * call.cotangent()


def cotangent_ignored(call: Call) -> Array:
    ones = tg.tree.map(lambda g: np.ones(g.shape), getattr(call.g, "values", call.g))
    return attrs.evolve(call, g=Parts(ones) if type(ones) is tuple else ones).cotangent()


def entries_turned(call: Call) -> Array:
    c = call.cotangent()
    return c.reshape(-1)[::-1].reshape(c.shape)


def broadcasting_not_undone(call: Call) -> Array:
    """The cotangent of one of the copies instead of their sum."""
    c, shape = call.cotangent(), np.shape(call.x)
    c = c[(0,) * (c.ndim - len(shape))]
    return c[tuple([slice(0, side) for side in shape])]


def operands_swapped(call: Call) -> Array:
    first, second, *rest = call.operands
    return attrs.evolve(call, operands=(second, first, *rest)).cotangent()


def output_for_operand(call: Call) -> Array:
    operands = [call.y if i == call.i else x for i, x in enumerate(call.operands)]
    return attrs.evolve(call, operands=tuple(operands)).cotangent()


def rule_of_another(call: Call) -> Array:
    n = len(call.operands)
    others = [j for j in range(n) if j != call.i and rule_of(call.op, j, n)]
    return attrs.evolve(call, i=others[0]).cotangent()


def axis_off_by_one(call: Call) -> Array:
    options = {**call.op.signature.defaults, **call.options}
    ndim = max(np.ndim(call.x), np.ndim(call.y))

    def moved(axis: Any) -> Any:
        if axis is None:
            return ndim - 1
        if isinstance(axis, tuple | list):
            return tuple([moved(one) for one in axis])
        return (axis + 1) % ndim

    axes = [name for name in options if name.startswith("ax")][:1]
    off = {name: moved(options[name]) for name in axes}
    return attrs.evolve(call, options={**call.options, **off}).cotangent()


def conjugated(x: Any) -> Any:
    if type(getattr(x, "_primal", x)) is Parts:
        return Parts(tuple([None if y is None else conjugated(y) for y in parts_of(x)]))
    dtype = getattr(x, "dtype", None)
    return x if dtype is None or dtype.kind != "c" else np.conj(x)


def result_conjugated(call: Call) -> Array:
    return conjugated(call.cotangent())


def cotangent_conjugated(call: Call) -> Array:
    return attrs.evolve(call, g=conjugated(call.g)).cotangent()


def operands_conjugated(call: Call) -> Array:
    y, *operands = map(conjugated, (call.y, *call.operands))
    return attrs.evolve(call, y=y, operands=tuple(operands)).cotangent()


MUTATIONS = (
    flipped,
    scaled,
    dropped,
    cotangent_ignored,
    entries_turned,
    broadcasting_not_undone,
    operands_swapped,
    output_for_operand,
    rule_of_another,
    axis_off_by_one,
)
# these differ from any rule, somewhere
CERTAIN = (flipped, scaled, dropped)
CONJUGATIONS = (
    result_conjugated,
    cotangent_conjugated,
    operands_conjugated,
)


def mutant(op: Op[Any], i: int, mutation: Callable[[Call], Any]) -> Op[Any]:
    """The op with the rule of one operand mutated, which no other form of it replaces."""
    # of complex operands the rules may be others
    of = op.complex if mutation in CONJUGATIONS and isinstance(op.complex, Op) else op

    def rule(g: Array | Parts, y: Array | Parts, *operands: Any, **options: Any) -> Array:
        return mutation(Call(of, i, g, y, operands, options))

    vjps: Any = of.vjps
    if isinstance(vjps, tuple):
        rules: Any = (*vjps[:i], rule, *vjps[i + 1 :])
    else:

        def each(j: int, *args: Any, **options: Any) -> Array:
            return (rule if j == i else vjps.vjps_for(len(args) - 2)[j])(*args, **options)

        rules = EachOperand(each, getattr(vjps, "last", None))
    wrong = attrs.evolve(of, vjps=rules, add_into=None)
    return wrong if of is op else attrs.evolve(op, complex=wrong)


@functools.cache
def calls(name: str, complex: bool) -> list[Case]:
    """Calls of an op on numbers of double precision, the same in each run."""
    if complex:
        cases = complex_cases(name, 24)
    else:
        cases = [case_of(name, call) for call in sample_calls(name, 100 if THOROUGH else 24)]
    wide = [
        tuple(x.astype(np.result_type(x, float)) if x.dtype.kind in "fc" else x for x in c.operands)
        for c in cases
    ]
    return [attrs.evolve(c, operands=xs) for c, xs in zip(cases, wide, strict=True)]


def function_of(case: Case, op: Op[Any], complex: bool) -> tuple[Any, list[Any]]:
    """An op of a call's floating operands, and these."""
    if complex:
        return floating_of(case, op)
    return floating_operands(case, lambda *xs: case.apply(op, *xs))


def weigh(y: Array) -> Array:
    weights = np.cos(np.arange(np.size(y))).reshape(np.shape(y)) + 0.1
    return weights * (1 + 2j) if np.asarray(y).dtype.kind == "c" else weights


def outcome(op: Op[Any], case: Case, complex: bool) -> list[Any] | None:
    """The gradients of a fixed cotangent; None where there are none or the rule fails."""
    try:
        fn, operands = function_of(case, op, complex)
        y, pullback = tg.vjp(fn, *operands)
        return [np.asarray(g) for g in pullback(tg.tree.map(weigh, y))]
    except Exception:
        return None


def alike(right: list[Any], other: list[Any]) -> bool:
    return all(np.allclose(a, b, rtol=1e-6, atol=1e-9) for a, b in zip(right, other, strict=True))


def jittered(case: Case) -> Case:
    """The call at a point close by, where nothing ties."""
    rng = np.random.default_rng(0)
    moved = [
        x + 1e-3 * rng.uniform(-1, 1, x.shape) if x.dtype.kind in "fc" else x for x in case.operands
    ]
    return attrs.evolve(case, operands=tuple(moved))


@np.errstate(all="ignore")
def verdict(op: Op[Any], i: int, mutation: Callable[[Call], Any]) -> str:
    """killed, survived or equivalent; or stillborn, if it runs on no call."""
    wrong, complex = mutant(op, i, mutation), mutation in CONJUGATIONS
    ran = differed = False
    # a tape may call it by another name than the table
    (name,) = [name for name, entry in OPS.items() if entry is op] or [op.name]
    for case in calls(name, complex):
        right, other = (outcome(x, case, complex) for x in (op, wrong))
        if right is None or other is None:
            continue
        ran = True
        if alike(right, other):
            continue
        # at a kink any slope between the sides is right: it must differ next to it too
        right, other = (outcome(x, jittered(case), complex) for x in (op, wrong))
        if right is None or other is None or alike(right, other):
            continue
        differed = True
        fn, operands = function_of(case, wrong, complex)
        try:
            check_grads(fn, operands, 1, ("reverse",))
        except AssertionError as error:
            if "wrong derivative" in str(error) or "has a derivative of" in str(error):
                return "killed"
        except Exception:
            continue
    return "survived" if differed else "equivalent" if ran else "stillborn"


def positions(op: Op[Any], complex: bool = False) -> list[int]:
    """The operands that have a rule: all, or the first two (one, if complex) of any number."""
    vjps = op.complex.vjps if complex and isinstance(op.complex, Op) else op.vjps
    if isinstance(vjps, tuple):
        return [i for i, rule in enumerate(vjps) if rule is not None]
    last = getattr(vjps, "last", None)
    return [0] if complex else [*range(2 if last is None else last + 1)]


COMPLEX = [name for name in TAKING if name in OPS and positions(OPS[name], True)]


@pytest.mark.parametrize("name", RULED)
def test_every_mutant_of_a_rule_is_found_by_check_grads(name: str) -> None:
    op = OPS[name]
    n = len(MUTATIONS)
    for i in positions(op):
        # one for every other rule, each for some, and all in the thorough run
        k = RULED.index(name) + i
        sample = range(n) if THOROUGH else range(n)[3 * (k // 2) % n :][: k % 2]
        for mutation in [MUTATIONS[k] for k in sample]:
            fate = verdict(op, i, mutation)
            assert fate != "survived", f"{name}: {mutation.__name__} of operand {i}"
            assert mutation not in CERTAIN or fate == "killed", f"{mutation.__name__}: {fate}"


# a mutant may ask for phases
@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("name", COMPLEX if THOROUGH else COMPLEX[::4])
def test_a_conjugate_too_many_is_found_by_check_grads(name: str) -> None:
    op, n = OPS[name], len(CONJUGATIONS)
    for i in positions(op, True):
        k = (COMPLEX.index(name) // 4 + i) % n
        for mutation in CONJUGATIONS if THOROUGH else CONJUGATIONS[k : k + 1]:
            assert verdict(op, i, mutation) != "survived", f"{mutation.__name__}, operand {i}"
