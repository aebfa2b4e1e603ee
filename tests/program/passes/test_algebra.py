"""Rules of algebra: each is proved on programs drawn from its own pattern."""

import itertools
import re

import numpy as np
import pytest
from messages import check_refusals
from programs import tidy, trace

import tapegrad as tg
from tapegrad.core.forward import apply
from tapegrad.declare import OPS
from tapegrad.errors import ProofError
from tapegrad.program import PASSES
from tapegrad.program.passes import fold
from tapegrad.program.passes.algebra import algebra, parse_rules, words
from tapegrad.program.passes.fold import ALGEBRA
from tapegrad.program.program import rule, run_passes
from tapegrad.testing.proof import run_checked_passes

LAST = {"axis": -1, "keepdims": True}
# the options that the ops of patterns are drawn with, for an operand
OPTIONS = {
    OPS["broadcast_to"]: lambda x: [{"shape": x.shape}, {"shape": (2, *x.shape)}],
    OPS["astype"]: lambda x: [{"dtype": x.dtype}, {"dtype": np.dtype("f")}],
    OPS["reshape"]: lambda x: [{"shape": x.shape}, {"shape": (x.size, 1)}],
    OPS["unpick"]: lambda x: [{"n": 4}],
    OPS["max"]: lambda x: [LAST, {"axis": 0, "keepdims": True}],
    OPS["sum"]: lambda x: [LAST, {"axis": -1}, {"axis": 0}],
}
DTYPES = ("d", "f", "D", "l")
SHAPES = ((3, 4), (4,), ())


def names(part):
    """The names in a pattern that stand for anything, in order."""
    parts = [x for x in part.parts for x in (x, *inner_parts(x))]
    named = {x.name for x in parts if x.op is not None}
    return [*dict.fromkeys(x.name for x in parts if x.name and x.name not in named)]


def inner_parts(part):
    """All parts inside a part, at any depth."""
    return [y for x in part.parts for y in (x, *inner_parts(x))]


def operand(name, shape, dtype):
    """An array for a name of a pattern: valid indices for i, a mask for c."""
    rng = np.random.default_rng(len(name) + sum(shape))
    if name == "i":
        return rng.integers(0, 4, shape)
    if name == "c":
        return rng.random(shape) < 0.5
    x = 3 * rng.normal(size=shape)
    return (x + 1j * x[::-1] if dtype == "D" and shape else x).astype(dtype)


def record_pattern(part, values, choose):
    """Record the ops of a pattern."""
    if part.name in values:
        return values[part.name]
    if part.number is not None:
        return part.number
    parts = [record_pattern(x, values, choose) for x in part.parts]
    of = parts[0] if hasattr(parts[0], "shape") else np.asarray(parts[0])
    options = choose(OPTIONS.get(part.op, lambda x: [{}])(of))
    op = part.op.complex if of.dtype.kind == "c" and part.op.complex is not True else part.op
    if not op:
        raise TypeError("no complex numbers")
    result = apply(op, tuple(parts), options)
    if part.name:
        values[part.name] = result
    return result


def programs(rule):
    """Programs of a rule's pattern, and their arguments."""
    found = names(rule.pattern)
    for shape, dtype, k in itertools.product(SHAPES, DTYPES, range(3)):
        args = [operand(name, shape, dtype) for name in found]

        def fn(*args, k=k):
            values = dict(zip(found, args, strict=True))
            return record_pattern(rule.pattern, values, lambda options: options[k % len(options)])

        try:
            with np.errstate(all="ignore"):
                program = trace(fn, tuple(args), {}, stops=True)
        except (TypeError, ValueError, IndexError):
            continue  # an op that takes no such operands
        yield program, args


def is_changed(program, *passes):
    """Whether passes leave another program."""
    return run_passes(program, passes).instructions != tidy(program).instructions


@pytest.mark.parametrize("rule", ALGEBRA, ids=lambda rule: rule.text)
def test_a_rule_is_proved_on_programs_of_its_pattern(rule):
    alone, fired = algebra(rule.text, complex=True), 0
    for program, args in programs(rule):
        if is_changed(program, alone):
            run_checked_passes(program, (alone,), args)
            fired += 1
            # no rule before it stands in its way
            assert is_changed(program, fold)
    assert fired


def is_refused(text):
    """Whether a rule is wrong for a program of its pattern."""
    (rule,) = parse_rules(text)
    alone = algebra(text, complex=True)
    for program, args in programs(rule):
        try:
            run_checked_passes(program, (alone,), args)
        except ProofError:
            return True
    return False


WRONG = [
    "log(exp(x)) -> x",
    "sqrt(square(x)) -> x",
    "x * 1 -> x",
    "x / 1 -> x",
    "x * 0 -> 0.0 * x + 1",
    "exp((x := a - (m := max(a))) - log(s := sum(exp(x)))) -> exp(x) * s",
]


@pytest.mark.parametrize("text", WRONG)
def test_a_wrong_rule_is_found(text):
    assert is_refused(text)


@pytest.mark.parametrize(
    "fn",
    [
        lambda x, y: x * np.ones((2, 3)),
        lambda x, y: x - np.full(3, -0.0),
        lambda x, y: x ** np.full(3, 2.0),
        lambda x, y: tg.where(y > x, x, np.array(0.0)),
        lambda x, y: -(-y * 1.5),
    ],
)
def test_what_only_looks_like_a_pattern_stays(fn):
    args = np.ones(3, "f"), np.ones((2, 3), "f")
    assert not is_changed(trace(fn, args, {}), fold)


def test_a_rule_of_ones_own_is_a_line():
    folded = algebra("log(exp(x)) -> x", name="drop_logarithms")
    assert repr(folded) == "<pass drop_logarithms>"
    step = tg.compile(lambda x: np.log(np.exp(x)) + 1.0, passes=(folded,))
    assert [y.op for y in step.program(np.ones(2)).instructions] == [tg.add]

    def loop_with_logarithms(x):
        # in a step, and moved out of it
        def step(i, carry):
            y, z = carry
            return np.log(np.exp(y)) * np.log(np.exp(z)), z

        return tg.fori_loop(0, 3, step, (x, x * 2.0))[0]

    def exponentials(*passes):
        return str(tg.compile(loop_with_logarithms, passes=passes).program(np.ones(2))).count(
            "exp("
        )

    assert [exponentials(*PASSES), exponentials(folded)] == [2, 2]
    assert [exponentials(*PASSES, folded), exponentials(folded, *PASSES)] == [0, 0]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("x * 1 -> x, if unreal", "unreal is no condition; there are real, "),
        ("no_op(x) -> x", r"no_op\(x\) is the value of no op"),
        ("np.exp(x) -> x", r"np.exp\(x\) is the value of no op"),
        ("x // 1 -> x", "x // 1 is the value of no op"),
        ("-exp(x) -> exp(~x)", "~x is the value of no op"),
        ("x -> x", "the pattern has no op"),
        ("exp(x) -> y", "the pattern does not bind y"),
        ("exp(x) -> log(x + z) * y", "the pattern does not bind y, z"),
        ("sum(x, axis=0) -> x", r"sum\(x, axis=0\): a rule has no options"),
        ("exp(x)", "a rule is a pattern, ->, and"),
        ("exp(x -> x", r"'\(' was never closed"),
    ],
)
def test_a_line_that_is_no_rule_is_refused_when_it_is_declared(text, message):
    with pytest.raises(ValueError, match=f"^{re.escape(text.partition('->')[0])}.*: {message}"):
        algebra(text)


def test_every_condition_is_used_and_told():
    used = {word[0] for rule in ALGEBRA for word in rule.conditions}
    assert used == {line.partition(":")[0] for line in words().splitlines()}


def test_what_is_no_pass_is_refused():
    own = rule(tg.sin)(lambda builder, sin: builder.emit(tg.cos, builder.refs[builder.number]))
    check_refusals(
        [
            (TypeError, lambda: rule(tg.cos, np.sin), "'sin'>: tg.sin is the op"),
            (TypeError, lambda: rule(own.change), "rule: an op is needed, not <function"),
            (AssertionError, lambda: tg.compile(np.sin, passes=(own,))(1.0), "cos uses Ref("),
            (TypeError, lambda: tg.compile(np.sin, passes=own), "compile: passes must be a tuple"),
            (TypeError, lambda: tg.compile(np.sin, passes=(own, "fold")), "*tg.program.PASSES"),
        ]
    )
