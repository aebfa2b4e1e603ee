"""A custom op is like a built-in op: its rules hold in every order, mode and batch."""

import re
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from mappings import close

import tapegrad as tg


@tg.custom_op(vjps=(lambda g, y, a, b, scale=1.0: g * b * scale, None), name="scaled")
def product(a, b, scale=1.0):
    return a * b * scale


def test_custom_op_has_operands_and_options():
    output, _ = tg.record(lambda a, b: product(a, b, scale=5.0))(2.0, 3.0)
    assert output.value == 30.0
    assert output.op.name == "scaled"
    assert dict(output.options) == {"scale": 5.0}
    assert tg.grad(product, argnums=(0, 1))(2.0, 3.0, scale=5.0) == (15.0, 0.0)
    assert tg.grad(product)(2.0, 3.0, 5.0) == 15.0
    assert tg.grad(product)(2.0, 3.0) == 3.0


def test_rules_receive_default_options():
    @tg.custom_op(
        vjps=(lambda g, y, x, w, n: g * w * n * x ** (n - 1), lambda g, y, x, w: g * y / w)
    )
    def scaled_power(x, w=3.0, n=2):
        return w * x**n

    for call, slope in (
        (lambda x: scaled_power(x), 12.0),
        (lambda x: scaled_power(x, n=2), 12.0),
        (lambda x: scaled_power(w=5.0, x=x), 20.0),
        (lambda x: scaled_power(x, 1.0, n=1), 1.0),
    ):
        np.testing.assert_array_equal(tg.grad(call)(2.0), slope)
        np.testing.assert_array_equal(tg.jvp(call, (2.0,), (1.0,))[1], slope)


@pytest.mark.parametrize("result", [3.0, 3, np.float32(3), np.array(3), np.array(3.0, "f4")])
def test_rule_may_return_any_number(result):
    op = tg.custom_op(vjps=(lambda g, y, x: result,))(lambda x: 3 * x)
    for x in (2.0, np.array(2.0)):
        g = tg.grad(op)(x)
        assert g == 3.0
        assert g.dtype == np.float64
        assert type(g) is np.ndarray


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
@pytest.mark.parametrize("n", [(), (3,)])
def test_python_number_keeps_dtype_of_custom_op_as_of_plain_call(n, dtype):
    scale = tg.custom_op(vjps=(lambda g, y, x, s: g * s, lambda g, y, x, s: g * x))(
        lambda x, s: x * s
    )
    x = np.full(n, 3, dtype)
    plain = scale(x, 2.0)
    assert plain.dtype == dtype
    for run in (lambda x, s: tg.record(scale)(x, s)[0], tg.compile(scale)):
        assert run(x, 2.0).dtype == plain.dtype
    tg.testing.check_values(scale, (x, 2.0))
    to_x, to_s = tg.grad(lambda x, s: tg.sum(scale(x, s)), argnums=(0, 1))(x, 2.0)
    assert (to_x.dtype, to_s.dtype) == (dtype, np.float64)
    # with numbers alone too, and in derivatives of a higher order
    assert tg.record(scale)(2.0, 3.0)[0].dtype == np.float64
    assert tg.grad(lambda s: tg.grad(scale)(s * s, s))(2.0) == 1.0


# --- rules on arrays ------------------------------------------------------------------------


def test_error_of_a_rule_on_arrays_refers_to_the_recipe():
    @tg.custom_op(vjps=(lambda g, y, x: np.array([float(a) for a in g * x]),))
    def half_square(x):
        return x * x / 2

    x = np.array([1.0, 2.0])
    np.testing.assert_array_equal(tg.grad(lambda x: np.sum(half_square(x)))(x), x)
    guides = Path(__file__).parents[2]
    for transform in (
        lambda f: tg.compile(tg.grad(f)),
        lambda f: tg.hessian(f),
        lambda f: tg.grad(lambda x: np.sum(tg.grad(f)(x))),
    ):
        second = transform(lambda x: np.sum(half_square(x)))
        with pytest.raises((TypeError, tg.TraceError)) as caught:
            second(x)
        (note,) = [line for line in caught.value.__notes__ if "a rule is recorded" in line]
        assert "half_square has neither if a rule computes on arrays alone" in note
        guide, heading = re.search('as in (.*) under "(.*)"', note).groups()
        assert heading in re.findall("^## (.*)$", (guides / guide).read_text(), re.M)


# --- tangents and batches -------------------------------------------------------------------


def make_power_op(**rules):
    """Return an op that computes a scaled power, with further rules."""

    @tg.custom_op(
        vjps=(lambda g, y, x, p, scale=1.0: g * scale * p * x ** (p - 1), None),
        name="powered",
        **rules,
    )
    def op(x, p, scale=1.0):
        return scale * x**p

    return op


def make_tangent_rule(factor):
    def jvp(tangents, y, x, p, scale=1.0):
        assert len(tangents) == 2
        assert tangents[1] is None
        return tangents[0] * (factor * scale * p) * x ** (p - 1)

    return jvp


X = np.array([0.5, 1.0, 2.0])


@pytest.mark.parametrize("rules", [{}, {"jvp": make_tangent_rule(1.0)}], ids=["vjps alone", "jvp"])
@pytest.mark.parametrize("batch", [None, "elementwise"])
@pytest.mark.parametrize("scale", [1.0, 3.0])
def test_op_with_tangent_and_batching_rules_passes_all_checks(rules, batch, scale):
    op = make_power_op(**rules, batch=batch)

    def fn(x):
        return op(x, np.array([3.0, 2.0, 1.0])[: len(x)], scale=scale)

    tg.testing.check_grads(fn, (X,))
    tg.testing.check_properties(fn, (X,), compiled=True)
    tg.testing.check_batched(fn, (X,))
    tg.testing.check_batched(tg.grad(lambda x: tg.sum(fn(x))), (X,))
    tg.testing.check_batched(lambda x: tg.jvp(fn, (x,), (x,))[1], (X,))
    close(tg.jacobian(fn, mode="forward")(X), tg.jacobian(fn, mode="reverse")(X))


def test_forward_mode_calls_the_tangent_rule():
    calls = []

    def jvp(tangents, y, x):
        calls.append(tangents)
        return 7.0 * tangents[0] + 0 * y

    op = tg.custom_op(vjps=(lambda g, y, x: g * 7.0,), name="odd", jvp=jvp)(lambda x: x)
    assert tg.jvp(op, (2.0,), (3.0,))[1] == 21.0
    assert tg.grad(op)(2.0) == 7.0
    assert len(calls) == 1
    # a tangent may lack an axis of the result, as a cotangent may have one more
    wide = tg.custom_op(vjps=(lambda g, y, x: np.sum(g),), jvp=lambda tangents, y, x: tangents[0])
    assert tg.jvp(wide(lambda x: x * np.ones(3)), (2.0,), (3.0,))[1].tolist() == [3.0] * 3


def test_check_batched_finds_a_wrong_batching_rule():
    op = tg.custom_op(vjps=(lambda g, y, x: np.ones(3) * g,), batch="elementwise", name="summed")
    with pytest.raises(ValueError, match=r"rule of summed gives shape \(\) for 2 examples, which"):
        tg.testing.check_batched(op(np.sum), (X,))
    flipped = tg.custom_op(vjps=(lambda g, y, x: g[::-1],), batch="elementwise")(lambda x: x[::-1])
    with pytest.raises(AssertionError, match="batched along"):
        tg.testing.check_batched(flipped, (X,))


def test_batching_rule_receives_the_batched_operands():
    def batch(op, batched, x, w, axis=0):
        assert batched == (True, False)
        return op(x, w, axis=axis + 1)

    @tg.custom_op(
        vjps=(lambda g, y, x, w, axis=0: np.expand_dims(g, axis) * w + 0 * x, None), batch=batch
    )
    def total(x, w, axis=0):
        calls.append(x.shape)
        return np.sum(x * w, axis)

    calls: list[tuple[int, ...]] = []
    x = np.arange(24.0).reshape(4, 2, 3)
    close(tg.vmap(lambda x: total(x, 2.0, axis=1))(x), 2 * x.sum(2))
    assert calls[-1] == (4, 2, 3)
    close(tg.vmap(tg.grad(lambda x: np.sum(total(x, 2.0) ** 2)))(x), 8 * x.sum(1)[:, None] + 0 * x)
    # without a batching rule each example is a call, as a comment in the program says
    plain = tg.custom_op(vjps=(lambda g, y, x: g,), name="plain")(lambda x: x * 1)
    text = str(tg.compile(tg.vmap(plain)).program(x))
    assert "plain has no batching rule: a call for each" in text
    elementwise = tg.custom_op(vjps=(lambda g, y, x: g,), name="plain", batch="elementwise")
    assert "plain(x)" in str(tg.compile(tg.vmap(elementwise(lambda x: x * 1))).program(x))


def pass_cotangent(g, y, *operands, **options):
    return g


@given(
    n_operands=st.integers(0, 3),
    n_rules=st.integers(0, 3),
    n_defaults=st.integers(0, 2),
    n_keywords=st.integers(0, 2),
    variadic=st.booleans(),
)
def test_parameter_is_operand_or_option_or_declaration_raises(
    n_operands, n_rules, n_defaults, n_keywords, variadic
):
    names = [f"a{i}" for i in range(n_operands)] + [f"d{i}=2.0" for i in range(n_defaults)]
    star = ["*rest"] if variadic else ["*"] if n_keywords else []
    text = ", ".join([*names, *star, *[f"k{i}" for i in range(n_keywords)]])
    used = [x.partition("=")[0] for x in names] + [f"k{i}" for i in range(n_keywords)]
    function = eval(f"lambda {text}: np.float64(sum([0.0, {', '.join(used)}]))", {"np": np})
    declare = tg.custom_op(vjps=(pass_cotangent,) * n_rules)
    if variadic:
        with pytest.raises(TypeError, match=r"any number of arguments|VJP rules"):
            declare(function)
    elif n_rules > len(used):
        with pytest.raises(TypeError, match="VJP rules"):
            declare(function)
    elif n_rules < n_operands:
        with pytest.raises(TypeError, match=f"the parameter a{n_rules} has no rule and no default"):
            declare(function)
    else:
        keywords = {
            f"k{i}": 4.0 for i in range(n_keywords) if n_operands + n_defaults + i >= n_rules
        }
        operands = [1.0] * max(n_operands, min(n_rules, n_operands + n_defaults))
        if len(operands) >= n_rules:
            assert declare(function)(*operands, **keywords) == function(*operands, **keywords)


def test_error_for_several_results_names_custom_vjp():
    op = tg.custom_op(vjps=(pass_cotangent,))(lambda x: (x, x))
    with pytest.raises(TypeError, match=r"a tuple.*tg\.custom_vjp"):
        op(np.ones(2))


def test_forward_mode_through_an_op_without_a_rule_raises():
    slope = tg.custom_op(vjps=(None, None), name="slope")(lambda g, x: g * 2 * x)
    op = tg.custom_op(vjps=(lambda g, y, x: slope(g, x),), name="squared")(lambda x: x * x)
    rule = tg.custom_vjp(lambda g, y, x: (slope(g, x),))(lambda x: x * x)
    close(tg.jacobian(op, mode="reverse")(X), np.diag(2 * X))
    for fn, name in ((op, "squared"), (rule, "custom_vjp")):
        for forward in (
            lambda fn=fn: tg.jvp(fn, (X,), (X,)),
            lambda fn=fn: tg.jacobian(fn, mode="forward")(X),
            lambda fn=fn: tg.vmap(lambda x: tg.jvp(fn, (x,), (1.0,))[1])(X),
            lambda fn=fn: tg.compile(lambda x: tg.jvp(fn, (x,), (x,)))(X),
        ):
            with pytest.raises(TypeError, match=f"({name}|each) has no forward mode: .* slope, of"):
                forward()
    # an op that does not depend on the cotangent needs no rule
    with_table = tg.custom_op(vjps=(lambda g, y, x: g * slope(1.0, x),))(lambda x: x * x)
    close(tg.jvp(with_table, (X,), (X,))[1], 2 * X * X)
    # an op whose result is not used needs no rule
    unused = tg.custom_op(vjps=(lambda g, y, x: (slope(g, x), g * 2 * x)[1],))(lambda x: x * x)
    close(tg.jvp(unused, (X,), (X,))[1], 2 * X * X)
