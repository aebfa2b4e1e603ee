"""Records that are used outside their recording, or in another."""

from typing import Any

import numpy as np
import pytest
from messages import said
from tapes import check_tape, nothing_is_being_recorded

import tapegrad as tg
from tapegrad.errors import TapeError


def leaked() -> Any:
    kept = []
    tg.grad(lambda x: (kept.append(x), x * x)[1])(3.0)
    return kept[0]


def test_a_leak_used_outside_any_recording_raises():
    x = leaked()
    for use in (
        lambda: x * 2,
        lambda: np.sin(x),
        lambda: tg.stop_gradient(x),
        lambda: x[...],
        lambda: x > 0,
    ):
        with pytest.raises(TapeError, match="no recording"):
            use()
    assert x.value == 3.0


def test_a_leak_used_in_another_recording_raises():
    x = leaked()
    for use in (lambda a: a * x, lambda a: x * 2, lambda a: tg.where(a > 0, a, x)):
        with pytest.raises(TapeError, match="line 0"):
            tg.grad(use)(1.0)
    assert nothing_is_being_recorded()


@pytest.mark.parametrize(
    "transform",
    [
        tg.record,
        tg.grad,
        tg.value_and_grad,
        tg.jacobian,
        tg.hessian,
        lambda f: lambda x: tg.vjp(f, x),
        lambda f: lambda x: tg.jvp(f, (x,), (1.0,)),
        lambda f: lambda x: tg.hvp(f, (x,), (1.0,)),
    ],
)
def test_a_leak_passed_as_an_argument_raises(transform):
    with pytest.raises(TapeError):
        transform(lambda a: a * a)(leaked())
    assert nothing_is_being_recorded()


def test_a_leak_returned_by_another_function_raises():
    x = leaked()
    with pytest.raises(TapeError):
        tg.grad(lambda a: x)(1.0)
    with pytest.raises(TapeError):
        tg.value_and_grad(lambda a: a * tg.grad(lambda b: x)(a * a * a))(1.0)


def test_a_leak_as_the_value_of_an_inner_function_raises():
    x = leaked()
    with pytest.raises(TapeError):
        tg.grad(lambda a: a * tg.value_and_grad(lambda b: x)(a * a * a)[0])(1.0)


def test_a_leak_is_taken_in_by_its_value():
    x = leaked()
    assert tg.grad(lambda a: a * x.value)(1.0) == 3.0


def test_a_leak_as_a_tangent_or_cotangent_raises():
    x = leaked()
    with pytest.raises(TapeError):
        tg.jvp(lambda a: a * a, (1.0,), (x,))
    with pytest.raises(TapeError):
        tg.vjp(lambda a: a * a, 1.0)[1](x)
    with pytest.raises(TapeError):
        tg.vjp(lambda a: a + 1, 1.0)[1](x)


def test_a_leak_in_an_optimizer_raises():
    x = leaked()
    optimizer = tg.optim.SGD(0.1)
    with pytest.raises(TapeError):
        optimizer.update(1.0, x, optimizer.init(1.0))


def test_an_iterator_that_outlives_its_recording_raises():
    def fn(x):
        return (x * k for k in range(3))

    generator, _ = tg.record(fn)(2.0)
    with pytest.raises(TapeError, match="no recording"):
        next(generator)


def test_an_outer_record_may_be_used_inside_and_an_inner_one_outside():
    def fn(x):
        inner, tape = tg.record(lambda y: y * x)(x)
        check_tape(tape)
        return inner * x

    output, tape = tg.record(fn)(2.0)
    check_tape(tape)
    assert tg.reverse_sweep(tape, output)[tape.parameters[0]] == 12.0


def test_a_leak_names_the_op_the_line_and_the_function_it_is_from():
    kept = []

    def first(weights):
        kept.append(weights * 2)
        return weights

    def second(a):
        return a + kept[0]

    tg.record(first)(1.0)
    message = said(TapeError, lambda: kept[0] * 3)
    for part in ("multiply", "line 1", "first", ".value"):
        assert part in message.replace("its value", ".value")
    message = said(TapeError, lambda: tg.record(second)(1.0))
    for part in ("add", "line 1", "first", "second", ".value"):
        assert part in message
