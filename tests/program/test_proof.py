"""Proofs: each pass computes the same on functions as users write them, and a wrong one is named."""

import contextlib
import functools
import itertools
import re
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from typing import Any
from unittest import mock

import numpy as np
import pytest
from depth import THOROUGH, depth, examples
from hypothesis import given
from hypothesis import strategies as st
from programs import trace
from user_programs import FAMILIES, Drawn, draw_program, user_programs

import tapegrad as tg
from tapegrad.errors import ProofError
from tapegrad.program import PASSES
from tapegrad.program.builder import Builder
from tapegrad.program.ir import Instruction, content_key
from tapegrad.program.passes.algebra import algebra
from tapegrad.program.program import Improvement, rule
from tapegrad.testing.evaluation import EndlessError, evaluate
from tapegrad.testing.proof import (
    KINDS,
    Proof,
    Results,
    find_fault,
    find_written_fault,
    inputs_like,
    trials,
)
from tapegrad.types import Array

DISTINCT = tuple(dict.fromkeys(PASSES))
# where passes fire that seldom do
MORE = (("cells", 4), ("accumulations", 4), ("stacks", 15), ("nets", 8))


def proof_of(drawn: Drawn, n_kinds: int) -> Proof:
    """The results of a program for the arguments drawn and for others."""
    with np.errstate(all="ignore"):
        program = trace(drawn.fn, drawn.args, {})
    own = [
        x if type(x) in (int, float, complex) else np.asarray(x) for x in tg.tree.leaves(drawn.args)
    ]
    first = len(program.instructions)
    kinds = [KINDS[(first + k) % len(KINDS)] for k in range(n_kinds)]

    def tries(code: tg.Program, values: list[Any]) -> list[Any]:
        return [values, *[inputs_like(code.inputs, values, kind) for kind in kinds]]

    return Proof(program, own, tries)


@contextlib.contextmanager
def small_blocks() -> Iterator[None]:
    """Few elements are written in blocks, and freed as soon as they can be, as many are."""
    blocks = {"BLOCKED_ELEMENTS": 64, "BLOCK_BYTES": 128, "DROPPED_BYTES": 1}
    with mock.patch.multiple("tapegrad.program.cost", **blocks):
        yield


def fault_of_writing(proof: Proof, program: tg.Program) -> Any:
    """How a program that is written differs from one evaluated; None if it does not."""
    known = [new for x in proof.known if (new := Results.evaluate(program, x.inputs))]
    with small_blocks():
        return find_written_fault(program, known, proof.paths)


@functools.cache
# what pays for many elements is done with few, too
@mock.patch.multiple("tapegrad.program.cost", EINSUM_ELEMENTS=1, ORDERED_BYTES=1)
def survey() -> tuple[Counter[str], dict[str, list[tuple[int, str]]]]:
    """In how many programs each pass fires; its faults and the writer's, by the program's size."""
    fired: Counter[str] = Counter()
    faults: dict[str, list[tuple[int, str]]] = defaultdict(list)
    seeds = [(name, seed) for seed in range(examples("program, proved")) for name in FAMILIES]
    for name, first in MORE:
        seeds += [(name, first + 1000 * k) for k in range(24 if THOROUGH else 1)]
    for one in [draw_program(*x) for x in seeds]:
        proof = proof_of(one, len(KINDS) if THOROUGH else 2)
        made: list[tuple[Any, Any]] = [("", proof.program)]
        found = list(proof.faults(PASSES, lambda *x, made=made: made.append(x)))
        for improve in DISTINCT if THOROUGH else ():
            found += proof.faults((improve,))
        if not found and (fault := fault_of_writing(proof, made[-1][1])):
            found = [fault]
        fired.update({improve.__name__ for improve, _ in made[1:]})
        contents = [*map(content_key, made[-1][1].instructions)]
        if len({*contents}) < len(contents):
            faults["twice"].append((len(contents), str(one)))
        for improve, fault, inputs in found:
            name = "writer" if improve is None else improve.__name__
            size = len(proof.program.instructions)
            faults[name].append((size, f"{fault}\n{one}\ninputs: {inputs}"))
    return fired, faults


@pytest.mark.parametrize("name", [x.__name__ for x in DISTINCT])
def test_a_pass_computes_what_the_program_before_does_and_fires(name: str) -> None:
    fired, faults = survey()
    assert name not in faults, min(faults[name])[1]
    assert fired[name] >= (10 if THOROUGH else 1)


def test_what_is_written_computes_what_was_recorded() -> None:
    faults = survey()[1]["writer"]
    assert not faults, min(faults)[1]


def test_equal_instructions_never_stand_twice() -> None:
    faults = survey()[1]["twice"]
    assert not faults, min(faults)[1]


@depth("program, proved in any order")
@given(user_programs(), st.permutations(DISTINCT))
def test_passes_are_right_in_any_order(drawn: Drawn, passes: list[Improvement]) -> None:
    proof = proof_of(drawn, 2)
    last = [proof.program]
    faults = list(proof.faults(passes, lambda _, after: last.append(after)))
    assert not faults
    assert fault_of_writing(proof, last[-1]) is None


# --- wrong passes ---------------------------------------------------------------------------------


@Improvement
def drop_last(builder: Builder) -> None:
    """The last of the results is the first."""
    builder.outputs = (*builder.outputs[:-1], builder.outputs[0])


@rule(tg.conj, tg.conj.complex, complex=True)
def drop_conjugates(builder: Builder, made: Instruction) -> Any:
    """``conj(x)`` as ``x``."""
    return made.operands[0]


X = np.linspace(0.5, 2.0, 4)
Z = X * np.exp(3j * X)
LARGE = np.full(20, 3e37, "f")
# by the fault: the wrong pass or rule, a function and its arguments
WRONG: dict[str, tuple[Any, Any, tuple[Any, ...]]] = {
    "value": (drop_conjugates, lambda z: np.exp(z.conj()), (Z,)),
    "value of a result": (drop_last, lambda x: (x, x * 2.0), (X,)),
    "value, by order": ("(x + y) + z -> x + (y + z)", lambda x, y: x + y + 1.0, (X, X)),
    "value, of an exact sum": ("sum(x) -> sum(x) * 1.000000000000004", np.sum, (np.arange(4.0),)),
    "limit, of a part": ("x * 1 -> x", lambda z: 1 * np.exp(z), (Z * 0 + 800.0,)),
    "limit, by factors": ("x * y - x * z -> x * (y - z)", lambda x, y: x * y - x * 3.0, (X, X)),
    "limit, by order": ("sum(x * y) -> x * sum(y)", lambda x: np.sum(0.05 * x), (LARGE,)),
    "limit, of a log": ("(y := x - 1) + 1e-16 -> y", lambda x: np.log(x * x - 1.0 + 1e-16), (X,)),
    "zero": ("x / y -> x * reciprocal(y)", lambda x: x / x - 1.0, (X,)),
    "zero, of sums": (
        "sum(x * y) - sum(z) -> x @ y - sum(z)",
        lambda x, y: np.sum(x * y) - np.sum(y * x),
        (X, 1 / X),
    ),
}


@pytest.mark.parametrize("kind", WRONG)
def test_a_wrong_pass_is_named(kind: str) -> None:
    wrong, fn, args = WRONG[kind]
    wrong = algebra(wrong, "own", complex=True) if isinstance(wrong, str) else wrong
    match = rf"the pass {wrong.__name__} changes .* \({kind.split()[0].strip(',')}\)"
    with np.errstate(all="ignore"):
        tg.compile(fn, check=True, passes=(*PASSES[:1],))(*args)
        with pytest.raises(ProofError, match=match) as caught:
            tg.compile(fn, check=True, passes=(*PASSES[:1], wrong))(*args)
        assert "\nIt is no pass of tapegrad's: it is wrong" in str(caught.value)
        with (
            mock.patch("tapegrad.testing.proof.PASSES", (wrong,)),
            pytest.raises(ProofError, match="please report it"),
        ):
            tg.compile(fn, check=True, passes=(*PASSES[:1], wrong))(*args)
    # the same holds for other functions
    assert isinstance(caught.value, AssertionError)


@rule(tg.sin)
def cosine(builder: Builder, instruction: Instruction) -> Any:
    """``sin(x)`` as ``cos(x)``."""
    return builder.emit(tg.cos, *instruction.operands)


@rule(tg.sin)
def broken(builder: Builder, instruction: Instruction) -> Any:
    """Raises."""
    return 1 / 0


def sines(x: Array) -> tuple[Array, Array]:
    """A loop over rows."""
    return tg.scan(lambda c, r: (np.sin(c) + r, c), 0.0, x)


# programs whose bodies the arguments do not run
UNUSED: dict[str, tuple[Any, Any]] = {
    "cond": (lambda k, x: tg.cond(k == 7, np.sin, lambda v: v, x), X),
    "switch": (lambda k, x: tg.switch(k - 3, [lambda v: v, lambda v: v * 2, np.sin], x), X),
    "while_loop": (lambda k, x: tg.while_loop(lambda c: k == 7, np.sin, x), X),
    "stop": (lambda k, x: tg.while_loop(lambda c: np.sin(c) < -0.9, lambda c: c + k, x), 2.0),
    "scan": (lambda k, x: sines(x)[0], X[:0]),
    "index": (lambda k, x: tg.cond(k == 7, lambda v: np.sin(v)[k], np.sum, x), X),
    "scan in a branch": (lambda k, x: tg.cond(k == 7, lambda v: sines(v)[0], np.sum, x), X),
    "branch in a branch": (
        lambda k, x: tg.cond(k == 7, lambda v: tg.cond(k == 8, np.sin, np.exp, v), lambda v: v, x),
        X,
    ),
    "gradient": (
        tg.grad(lambda k, x: np.sum(tg.cond(k == 7, np.cos, lambda v: v, x)), argnums=1),
        X,
    ),
}


@pytest.mark.parametrize("name", UNUSED)
def test_a_body_that_the_arguments_do_not_run_is_proved(name: str) -> None:
    fn, x = UNUSED[name]
    tg.compile(fn, check=True)(3, x)
    for passes in ((*PASSES, cosine), (cosine, *PASSES)):
        with pytest.raises(
            ProofError, match=r"cosine changes what .* computes \((value|zero)\)"
        ) as wrong:
            tg.compile(fn, check=True, passes=passes)(3, x)
        assert f"it is wrong, at {__file__}:" in str(wrong.value)
    with pytest.raises(ProofError, match=r"broken raises for .*: division by zero") as raised:
        tg.compile(fn, check=True, passes=(broken, *PASSES))(3, x)
    assert "it raised at " in str(raised.value)
    assert "return 1 / 0" in str(raised.value)
    assert isinstance(raised.value.__cause__, ZeroDivisionError)


def test_the_values_and_the_arguments_of_a_fault_are_told() -> None:
    for fn, message in (
        (lambda x: (np.sum(x), x), "(structure): 1: float64[] instead of float64[4]"),
        (lambda x: (x + x, x), "(value): 1: np.float64(0.5) before, np.float64(1.0) after at [0]"),
    ):
        with pytest.raises(ProofError, match=re.escape(f"computes {message}\n  x = [0.5 ")):
            tg.compile(fn, check=True, passes=(drop_last,))(X)


@pytest.mark.parametrize("fn", [tg.grad(lambda x: np.sum(tg.softmax(x) ** 2)), np.cumsum, np.sort])
def test_what_is_proved_runs_as_usual(
    fn: Callable[..., Any], capfd: pytest.CaptureFixture[str]
) -> None:
    proved, usual = tg.compile(fn, check=True), tg.compile(fn)
    with np.errstate(all="raise"):
        np.testing.assert_array_equal(proved(X), usual(X))
    assert proved.program(X) == usual.program(X)
    assert capfd.readouterr() == ("", "")


# --- assumptions of the proofs -------------------------------------------------------------------


def test_shapes_come_from_shapes_where_an_op_refuses_placeholders() -> None:
    @tg.custom_op(vjps=(lambda g, y, x: -g * y * y,))
    def invert(x: Array) -> Array:
        if np.any(x == 0):
            raise ValueError("there is no 1 / 0")
        return 1 / x

    def fn(x: Array) -> Array:
        return tg.scan(lambda c, r: (invert(c) + r, invert(r)), x[0], x)[1]

    for transform in (fn, tg.grad(lambda x: np.sum(fn(x) ** 2))):
        proved = tg.compile(transform, check=True)
        np.testing.assert_allclose(proved(X), transform(X))
        with pytest.raises(ValueError, match="there is no 1 / 0"):
            proved(X * 0)


@pytest.mark.thorough
def test_loops_that_do_not_end_on_some_inputs_are_proved_on_others() -> None:
    def fn(x: Any) -> Any:
        return tg.while_loop(lambda c: c < 10.0, lambda c: c * 2.0 + 0.1, x)

    proved = tg.compile(fn, check=True)
    assert proved(1.0) == fn(1.0)
    with pytest.raises(EndlessError):
        evaluate(trace(fn, (1.0,), {}), (-np.inf,))
    # a loop of known length ends, however long it is
    rows = trace(lambda x: tg.scan(lambda c, r: (c + r, None), 0.0, x)[0], (np.ones(1200),), {})
    assert evaluate(rows, (np.ones(1200),)) == [1200.0]


def test_draws_of_each_example_are_proved() -> None:
    fn, keys = tg.vmap(lambda key: tg.random.normal(key, (2,))), tg.random.split(tg.random.key(0))
    np.testing.assert_array_equal(tg.compile(fn, check=True)(keys), fn(keys))


def test_singular_values_are_proved_on_moderate_inputs_since_lapack_may_not_return() -> None:
    for fn in (np.linalg.svdvals, np.linalg.pinv, lambda x: np.linalg.svd(x).U):
        tried = trials(trace(fn, (np.eye(2),), {}), [np.eye(2)])
        assert all(np.abs(y).max() < 1e9 for (y,) in tried)


def with_infinities(total: Any) -> tuple[Any, ...]:
    """A sum, and two products that show whether it is finite."""
    return total, 0 * np.cosh(total), total * -np.inf


ONE_SEGMENT = np.zeros(4, int)
# programs that add four products, in order or in any
SUMS: dict[str, Any] = {
    "sum": lambda x, y: with_infinities(np.sum(x * y)),
    "product of matrices": lambda x, y: with_infinities(x @ y),
    "segment": lambda x, y: with_infinities(tg.segment_sum(x * y, ONE_SEGMENT, 1)[0]),
    "row update": lambda x, y: with_infinities(tg.at(np.zeros(1))[ONE_SEGMENT].add(x * y)[0]),
    "scatter": lambda x, y: with_infinities(
        tg.vjp(lambda t: t[0, ONE_SEGMENT], np.zeros((1, 1)))[1](x * y)[0][0, 0]
    ),
    "loop": lambda x, y: with_infinities(
        tg.scan(lambda c, r: (c + r[0] * r[1], None), 0.0, (x, y))[0]
    ),
}
BY_ROWS = ("segment", "row update", "scatter")
AWKWARD = (0.0, 1.0, 1.0 + 2.0**-52, 3.0, 0.7, 1e138, 1.7e307, 1.7e308, np.inf)
TERMS = (
    # 1000, or 5 in another order; a unit in the last place of the large terms is far more
    ([1e138, 5.0, -1e138, -1e3], [1.0] * 4),
    # the sum is exact, and the sum of the sizes too, but 3 + 2**-52 is not
    ([2.0, -2.0, 1.0 + 2.0**-52, -1.0 - 3 * 2.0**-52], [1.0] * 4),
)


@pytest.mark.parametrize("name", SUMS)
@np.errstate(all="ignore")
def test_the_terms_of_a_sum_may_be_added_in_any_order(name: str) -> None:
    program = trace(SUMS[name], (X, X), {})
    rng = np.random.default_rng(0)
    drawn = [rng.choice(AWKWARD, (2, 4)) * rng.choice([-1, 1], (2, 4)) for _ in range(24)]
    for terms in (*TERMS, *drawn):
        known = Results.evaluate(program, [np.array(x) for x in terms])
        assert known
        x, y = np.array(terms, np.longdouble)
        # each product is rounded, or added unrounded, which no function of rows does
        rounded = (x * y).astype(np.float64)
        for products in (rounded,) if name in BY_ROWS else (x * y, rounded):
            for order in itertools.permutations(range(4)):
                total = functools.reduce(lambda s, k: np.float64(s + products[k]), order, 0.0)
                assert find_fault(known.outputs, with_infinities(total), known, ["y"] * 3) is None
