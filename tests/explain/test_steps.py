"""The steps of a sweep add up to its gradients, and name the rule of each contribution."""

import itertools

import numpy as np
import pytest
from depth import depth
from hypothesis import given
from random_programs import programs
from tapes import cotangents

import tapegrad as tg
from tapegrad.declare import OPS
from tapegrad.explain.rules import formula


@depth("program")
@given(programs())
def test_contributions_of_steps_add_up_to_gradients(program):
    results, tape = tg.record(program.fn)(*program.arguments[0])
    for y in results:
        if isinstance(y, tg.Tensor) and y.dtype.kind == "f":
            ones = np.ones(y.shape)
            steps = list(tg.sweep_steps(tape, y, ones))
            assert steps == sorted(steps, key=lambda s: -s.record.index)
            found, sums = cotangents(steps), {y: ones}
            for c in [c for step in steps for c in step.contributions]:
                assert c.operand is c.record.operands[c.position]
                if isinstance(c.summed, np.ndarray):  # an op with one result
                    assert (c.summed.shape, c.summed.dtype) == (c.operand.shape, c.operand.dtype)
                    sums[c.operand] = sums.get(c.operand, 0) + c.summed
            for record, total in sums.items():
                np.testing.assert_array_equal(total, found[record])
            for p, g in tg.reverse_sweep(tape, y, ones).items():
                want = found[p] if p in found else np.zeros(p.shape, p.dtype)
                assert want.dtype == g.dtype
                np.testing.assert_array_equal(want, g)


def test_steps_are_computed_lazily_in_each_iteration():
    calls = []

    @tg.custom_op(vjps=(lambda g, y, x: calls.append(1) or g,))
    def identity_op(x):
        return x * 1.0

    output, tape = tg.record(lambda x: identity_op(identity_op(identity_op(x))))(np.ones(()))
    steps = tg.sweep_steps(tape, output)
    assert calls == []
    assert len(list(itertools.islice(steps, 2))) == 2
    assert len(calls) == 2
    assert len(list(steps)) == len(list(steps)) == 4


@pytest.mark.parametrize(
    "fn",
    [np.multiply, np.divide, np.subtract, lambda x, y: np.exp(x) * np.sin(y), np.matmul],
)
def test_formula_of_known_values_gives_the_cotangent(fn):
    output, tape = tg.record(fn)(np.array([0.5, 2.0, 1.5]), np.array([1.5, -0.5, 0.7]))
    n_checked = 0
    for step in tg.sweep_steps(tape, output, np.full(output.shape, 0.3)):
        for c in step.contributions:
            try:
                found = eval(c.formula, {"np": np, "g": step.cotangent, **c.formula_values})
            except SyntaxError:  # the formula is a sentence
                assert not c.formula_values
                continue
            np.testing.assert_allclose(found, c.cotangent, rtol=1e-15)
            n_checked += 1
    assert n_checked or fn is np.matmul


# --- formulas -----------------------------------------------------------------------------


def test_every_rule_of_the_package_has_a_formula():
    for op in OPS.values():
        rules = op.vjps if isinstance(op.vjps, tuple) else (op.vjps,)
        for i, rule in enumerate(rules):
            if rule is not None:
                text = formula(op, i)
                assert text
                assert "\n" not in text
    for name in ("matmul", "power", "sigmoid", "max", "getitem", "tanh", "sum", "log_softmax"):
        assert not formula(OPS[name], 0).startswith("the rule of"), name


def rule_with_docstring(g, y, x):
    """Twice g.

    And more.
    """


def rule_without_docstring(g, y, x): ...


@pytest.mark.parametrize(
    ("rule", "text"),
    [
        (lambda g, y, x: g * 3 * x**2, "g * 3 * x ** 2"),
        (lambda g, y, x: (g * x).sum() if x.ndim else g, "(g * x).sum() if x.ndim else g"),
        (lambda g, y, x: g + (x), "g + x"),
        (eval("lambda g, y, x: g * x"), "the rule of mine"),
        (rule_with_docstring, "twice g"),
        (rule_without_docstring, "the rule of mine"),
    ],
)
def test_formula_is_the_source_of_a_lambda_or_a_docstring(rule, text):
    assert formula(tg.custom_op(vjps=(rule,), name="mine")(lambda x: x), 0) == text
