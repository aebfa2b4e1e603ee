"""A Tensor that is used outside its recording, or on another tape, is a TapeError."""

import itertools
from collections.abc import Callable
from contextvars import copy_context
from typing import Any

import numpy as np
import pytest
from alike import same
from depth import THOROUGH
from messages import Refusal, check_refusals, message_of
from tapes import nothing_is_being_recorded

import tapegrad as tg
from tapegrad.errors import TapeError
from tapegrad.types import Array


def leak_tensor() -> Array:
    kept = []
    tg.grad(lambda x: (kept.append(x), x * x)[1])(3.0)
    return kept[0]


ENDED = leak_tensor()
USED_ALONE: list[Refusal] = [
    (TapeError, lambda: ENDED * 2, "no recording"),
    (TapeError, lambda: tg.stop_gradient(ENDED), "no recording"),
    (TapeError, lambda: ENDED > 0, "no recording"),
    (TapeError, lambda: next(tg.record(lambda x: (x * k for k in range(3)))(2.0)[0]), "no rec"),
    *[
        (TapeError, lambda f=f: tg.grad(f)(1.0), "line 0")
        for f in (lambda a: a * ENDED, lambda a: ENDED * 2, lambda a: tg.where(a > 0, a, ENDED))
    ],
    *[
        (TapeError, lambda t=t: t(lambda a: a * a)(ENDED), "line 0")
        for t in (
            *(tg.record, tg.grad, tg.value_and_grad, tg.jacobian, tg.hessian),
            lambda f: lambda x: tg.vjp(f, x),
            lambda f: lambda x: tg.jvp(f, (x,), (1.0,)),
            lambda f: lambda x: tg.hvp(f, (x,), (1.0,)),
        )
    ],
    # returned, also by an inner function
    (TapeError, lambda: tg.grad(lambda a: ENDED)(1.0), "line 0"),
    *[
        (TapeError, lambda f=f: tg.value_and_grad(lambda a: a * f(a * a * a))(1.0), "line 0")
        for f in (tg.grad(lambda b: ENDED), lambda b: tg.value_and_grad(lambda b: ENDED)(b)[0])
    ],
    (TapeError, lambda: tg.jvp(lambda a: a * a, (1.0,), (ENDED,)), "line 0"),
    (TapeError, lambda: tg.vjp(lambda a: a * a, 1.0)[1](ENDED), "line 0"),
    (TapeError, lambda: SGD.update(1.0, ENDED, SGD.init(1.0)), "line 0"),
]
SGD = tg.optim.SGD(0.1)


def test_tensor_of_an_ended_recording_raises_in_every_use():
    check_refusals(USED_ALONE)
    assert nothing_is_being_recorded()
    assert tg.grad(lambda a: a * ENDED.value)(1.0) == 3.0


def test_error_names_op_line_and_function_of_the_leak():
    kept = []

    def first(weights):
        kept.append(weights * 2)
        return weights

    def second(a):
        return a + kept[0]

    tg.record(first)(1.0)
    message = message_of(TapeError, lambda: kept[0] * 3)
    for part in ("multiply", "line 1", "first", ".value"):
        assert part in message.replace("its value", ".value")
    message = message_of(TapeError, lambda: tg.record(second)(1.0))
    for part in ("add", "line 1", "first", "second", ".value"):
        assert part in message


# --- leaks from an inner function -------------------------------------------------------------

Leak = Callable[[Any, list[Any]], Any]


def leak_result(kept: list[Any], fn: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """Return a function that also appends its result to a list."""

    def keep_result(*args: Any) -> Array:
        kept.append(fn(*args))
        return kept[-1]

    return keep_result


def leak_product_with(kept: list[Any], x: Array) -> Callable[[Any], Any]:
    return leak_result(kept, lambda y: y * x)


def leak_product(kept: list[Any]) -> Callable[..., Any]:
    return leak_result(kept, np.multiply)


# functions that are recorded on a separate tape, and leak x * x
SEPARATE_TAPE: dict[str, Leak] = {
    "scan": lambda x, kept: tg.scan(lambda c, _: (leak_product(kept)(c, x), None), x, length=2),
    "scan, checkpointed": lambda x, kept: tg.scan(
        tg.checkpoint(lambda c, _: (leak_product(kept)(c, x), None)), x, length=2
    ),
    "fori_loop": lambda x, kept: tg.fori_loop(0, 2, lambda i, c: leak_product(kept)(c, x), x),
    "while_loop": lambda x, kept: tg.while_loop(
        lambda c: c < 9.0, lambda c: leak_product(kept)(c, x), x
    ),
    "the condition of while_loop": lambda x, kept: tg.while_loop(
        lambda c: leak_product(kept)(c, x) < 9.0, lambda c: c * 2.0, x
    ),
    "cond": lambda x, kept: tg.cond(x > 0.0, leak_product_with(kept, x), lambda y: y * 1.0, x),
    "the other branch": lambda x, kept: tg.cond(
        x < 0.0, leak_product_with(kept, x), lambda y: y * 1.0, x
    ),
    "vmap": lambda x, kept: tg.vmap(leak_product_with(kept, x))(x * np.ones(2)),
    "checkpoint": lambda x, kept: tg.checkpoint(leak_result(kept, lambda y: y * x * 1.0))(x),
    "checkpoint in checkpoint": lambda x, kept: tg.checkpoint(
        lambda y: tg.checkpoint(leak_result(kept, lambda z: z * x * 1.0))(y) * 2.0
    )(x),
    # only x is a Tensor
    "scan on arrays": lambda x, kept: tg.scan(
        lambda c, y: (leak_product(kept)(c, x), y), 1.0, np.ones(2)
    ),
    "vmap of constants": lambda x, kept: tg.vmap(leak_product_with(kept, x))(np.ones(2)),
}
# functions that are recorded on the outer tape: their leak is one of its records
SAME_TAPE: dict[str, Leak] = {
    "grad": lambda x, kept: tg.grad(leak_product_with(kept, x))(x),
    "vjp": lambda x, kept: tg.vjp(leak_product_with(kept, x), x)[1](1.0),
    "jvp": lambda x, kept: tg.jvp(leak_product_with(kept, x), (x,), (1.0,)),
    "linearize": lambda x, kept: tg.linearize(leak_product_with(kept, x), x),
    "jacobian": lambda x, kept: tg.jacobian(leak_product_with(kept, x))(x),
    "hessian_diag": lambda x, kept: tg.hessian_diag(leak_product_with(kept, x))(x),
    "record": lambda x, kept: tg.record(leak_product_with(kept, x))(x),
    "compile": lambda x, kept: tg.compile(leak_product_with(kept, x))(x),
}

TRANSFORMS: dict[str, Callable[[Any], Any]] = {
    "record": lambda f: tg.record(f)(2.0)[0].value,
    "grad": lambda f: tg.grad(f)(2.0),
    "grad of grad": lambda f: tg.grad(tg.grad(f))(2.0),
    "has_aux": lambda f: tg.grad(lambda x: (x * x, {"more": f(x)}), has_aux=True)(2.0),
    "vjp": lambda f: tg.vjp(f, 2.0)[1](1.0),
    "jvp": lambda f: tg.jvp(f, (2.0,), (1.0,)),
    "linearize": lambda f: tg.linearize(f, 2.0)[1](1.0),
    "jacobian, forward": lambda f: tg.jacobian(f, mode="forward")(2.0),
    "jacobian, reverse": lambda f: tg.jacobian(f, mode="reverse")(2.0),
    "hessian": lambda f: tg.hessian(f)(2.0),
    "hessian_diag": lambda f: tg.hessian_diag(f)(2.0),
    "hvp": lambda f: tg.hvp(f, (2.0,), (1.0,)),
    "vmap": lambda f: tg.vmap(f)(np.array([2.0, 3.0])),
    "vmap of grad": lambda f: tg.vmap(tg.grad(f))(np.array([2.0, 3.0])),
    "checkpoint": lambda f: tg.grad(tg.checkpoint(f))(2.0),
    "checkpoint, forward": lambda f: tg.jacobian(tg.checkpoint(f), mode="forward")(2.0),
    "scan": lambda f: tg.grad(lambda x: tg.scan(lambda c, _: (f(c), None), x, length=1)[0])(2.0),
    "cond": lambda f: tg.grad(lambda x: tg.cond(x > 0.0, f, lambda y: y * 1.0, x))(2.0),
    "compile": lambda f: tg.compile(f)(2.0),
    "compile of grad": lambda f: tg.compile(tg.grad(f))(2.0),
}

USES: dict[str, Callable[[Any, Any], Any]] = {
    "alone": lambda x, leak: leak,
    "in a sum": lambda x, leak: x + leak * 2.0,
    "in another function": lambda x, leak: tg.checkpoint(lambda y: y * leak)(x),
    "under grad": lambda x, leak: tg.grad(lambda y: y * leak)(x) * 1.0,
}


@pytest.mark.parametrize("transform", TRANSFORMS)
def test_leak_raises_unless_it_is_on_the_same_tape(transform: str) -> None:
    uses = list(USES.values())[: None if THOROUGH else 2]
    for inner, leak in (SEPARATE_TAPE | SAME_TAPE).items():
        for use, which in itertools.product(uses, (0, -1) if THOROUGH else (0,)):

            def fn(
                x: Array, leak: Leak = leak, use: Callable[..., Any] = use, which: int = which
            ) -> Array:
                kept: list[Any] = []
                leak(x, kept)
                return use(x, kept[which])

            # a checkpointed call may be recorded on the outer tape
            if inner in SAME_TAPE or "checkpoint" in inner:
                try:
                    got = TRANSFORMS[transform](fn)
                except TapeError:
                    assert inner not in SAME_TAPE
                    continue
                if which == 0:
                    same(got, TRANSFORMS[transform](lambda x, use=use: use(x, x * x)), 1e-12)
            else:
                with pytest.raises(TapeError, match="tape of"):
                    TRANSFORMS[transform](fn)
    assert nothing_is_being_recorded()


def test_error_about_a_leak_names_its_source_and_remedy() -> None:
    kept: list[Any] = []

    def step(c: Array, _: Any) -> tuple[Any, ...]:
        kept.append(c * 2.0)
        return c, None

    def leak_from_scan(x: Array) -> dict[str, Array]:
        tg.scan(step, x, length=3)
        return {"last": kept[-1]}

    for run in (tg.record(leak_from_scan), tg.compile(leak_from_scan), tg.jacobian(leak_from_scan)):
        message = message_of(TapeError, lambda run=run: run(1.0))
        for part in (
            "leak_from_scan returned",
            "last",
            "multiply",
            "the tape of step",
            "return it",
        ):
            assert part in message


@pytest.mark.parametrize("transform", sorted(TRANSFORMS.keys() - {"record", "has_aux"}))
def test_record_of_another_context_raises(transform: str) -> None:
    def fn(x: Array, use: Callable[..., Any]) -> Array:
        return use(x, copy_context().run(lambda: x * x))

    for use in USES.values():
        with pytest.raises(TapeError, match="another branch"):
            TRANSFORMS[transform](lambda x, use=use: fn(x, use))


# functions that return a Tensor of the outer tape
RETURNING_OUTER: dict[str, Callable[[Any], Any]] = {
    "scan": lambda x: tg.scan(lambda c, _: (x, x), 0.0, length=2)[1][1],
    "while_loop": lambda x: tg.while_loop(lambda c: c < 1.0, lambda c: x, x * 0.0),
    "cond": lambda x: tg.cond(x > 0.0, lambda y: x, lambda y: y, x * 2.0),
    "vmap": lambda x: tg.vmap(lambda a: (x, a))(np.ones(2))[0][1],
    "vmap, shared": lambda x: tg.vmap(lambda a: (x, a), out_axes=(None, 0))(np.ones(2))[0],
    "checkpoint": lambda x: tg.checkpoint(lambda a: (x, a * 2.0))(1.0)[0],
    "record": lambda x: tg.record(lambda a: (x, a))(1.0)[0][0],
    "has_aux": lambda x: tg.grad(lambda a: (a, x), has_aux=True)(1.0)[1],
    "compile": lambda x: tg.compile(lambda a: (x, a))(x)[0],
}


@pytest.mark.parametrize("transform", sorted(TRANSFORMS.keys() - {"record", "has_aux"}))
def test_tensor_of_an_outer_tape_may_be_returned(transform: str) -> None:
    wanted = TRANSFORMS[transform](lambda x: x**3)
    for inner in RETURNING_OUTER.values():
        same(TRANSFORMS[transform](lambda x, inner=inner: inner(x) ** 3), wanted, 1e-12)
