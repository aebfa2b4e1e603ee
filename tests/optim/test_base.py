"""Every optimizer takes the steps of its published formula, also compiled, and changes no argument.

Steps keep dtypes and are differentiable in every argument; errors name the wrong argument.
"""

import copy
import itertools
import math
import pickle
from collections.abc import Callable
from typing import Any

import attrs
import numpy as np
import pytest
from alike import same
from depth import THOROUGH
from messages import Refusal, check_refusals
from trees import bytes_of, random_tree

import tapegrad as tg
from tapegrad.optim.base import compute_into
from tapegrad.types import Array, ArrayLike, DTypeLike, PyTree


def only_weights(path: str, leaf: Array) -> bool:
    return path.endswith("weight")


OPTIMIZERS: dict[str, Any] = {
    "sgd": tg.optim.SGD(0.1),
    "momentum": tg.optim.SGD(0.1, 0.9),
    "nesterov": tg.optim.SGD(0.1, 0.9, True),
    "sgd with decay": tg.optim.SGD(0.1, 0.5, weight_decay=0.1),
    "adam": tg.optim.Adam(0.001),
    "adam with other numbers": tg.optim.Adam(0.01, 0.5, 0.9, 1e-3, weight_decay=0.1),
    "adamw": tg.optim.AdamW(0.001),
    "adamw that decays more": tg.optim.AdamW(0.01, weight_decay=0.5),
    "rmsprop": tg.optim.RMSProp(0.01),
    "rmsprop with all": tg.optim.RMSProp(0.01, 0.9, 1e-6, 0.5, True, weight_decay=0.1),
    "adagrad": tg.optim.Adagrad(0.01),
    "adagrad with all": tg.optim.Adagrad(0.1, 0.25, 1e-6, weight_decay=0.1),
}
every_optimizer = pytest.mark.parametrize("optimizer", OPTIMIZERS.values(), ids=OPTIMIZERS)


def run_steps(
    optimizer: tg.optim.Optimizer,
    n: int,
    dtype: DTypeLike = float,
    update: Callable[..., Any] | None = None,
) -> tuple[PyTree, Any]:
    """Return parameters and state after n steps along random gradients."""
    params = random_tree(0, dtype)
    state = optimizer.init(params)
    update = update or optimizer.update
    for i in range(n):
        params, state = update(params, random_tree(i + 1, dtype), state)
    return params, state


@every_optimizer
@pytest.mark.parametrize("dtype", [np.complex64, np.complex128])
def test_complex_optimizer_commutes_with_a_change_of_phase(optimizer, dtype):
    rng = np.random.default_rng(0)
    w, target, start = (rng.normal(size=n) + 1j * rng.normal(size=n) for n in ((4, 3), 4, 3))
    w = w.astype(dtype)

    def path(phase, update, init=start, target=target):
        # a common phase, under which an optimizer of real and imaginary parts would change
        p, goal = {"z": (phase * init).astype(dtype)}, (phase * target).astype(dtype)
        state = optimizer.init(p)
        gradient = tg.grad(lambda p: tg.nn.mse_loss(w @ p["z"], goal))
        found = []
        for _ in range(8):
            p, state = update(p, gradient(p), state)
            assert p["z"].dtype == dtype
            found.append(p["z"] / phase)
        for name in {"square", "total"} & {*attrs.asdict(state, recurse=False)}:
            assert getattr(state, name)["z"].dtype == np.finfo(dtype).dtype
        return np.array(found)

    rtol = 1e-4 if dtype == np.complex64 else 1e-11
    want = path(1, optimizer.update)
    np.testing.assert_allclose(path(np.exp(0.7j), optimizer.update), want, rtol, rtol)
    compiled = tg.compile(optimizer.update)
    np.testing.assert_allclose(path(1, compiled), want, rtol, rtol)
    # with real numbers, the path equals the path of the real optimizer
    w = w.real.astype(dtype)
    want = path(1, optimizer.update, start.real, target.real)
    assert not want.imag.any()
    w, dtype = w.real, np.finfo(dtype).dtype
    np.testing.assert_allclose(
        path(1, optimizer.update, start.real, target.real), want.real, rtol, rtol
    )


def reference_steps(o: Any, p: Array, grads: list[Array]) -> Array:
    """Compute the published formulas on one array."""
    v = m = s = np.zeros(p.shape)
    total = np.full(p.shape, getattr(o, "initial", 0.0))
    for t, g in enumerate(grads, 1):
        if isinstance(o, tg.optim.AdamW):
            p = p - o.learning_rate * o.weight_decay * p
        else:
            g = g + o.weight_decay * p
        if isinstance(o, tg.optim.SGD):
            v = o.momentum * v + g
            p = p - o.learning_rate * (g + o.momentum * v if o.nesterov else v)
        elif isinstance(o, tg.optim.Adam):
            m, s = o.beta1 * m + (1 - o.beta1) * g, o.beta2 * s + (1 - o.beta2) * g**2
            m_hat, s_hat = m / (1 - o.beta1**t), s / (1 - o.beta2**t)
            p = p - o.learning_rate * m_hat / (np.sqrt(s_hat) + o.epsilon)
        elif isinstance(o, tg.optim.RMSProp):
            s = o.alpha * s + (1 - o.alpha) * g**2
            m = o.alpha * m + (1 - o.alpha) * g if o.centered else m
            v = o.momentum * v + g / (np.sqrt(s - m**2) + o.epsilon)
            p = p - o.learning_rate * v
        else:
            total = total + g**2
            p = p - o.learning_rate * g / (np.sqrt(total) + o.epsilon)
    return p


@every_optimizer
def test_optimizer_steps_match_their_definition(optimizer: tg.optim.Optimizer) -> None:
    trees = [random_tree(i) for i in range(8)]
    params, state = run_steps(optimizer, 7)
    assert state.step == 7
    leaves = zip(*map(tg.tree.leaves, (params, *trees)), strict=True)
    for x, start, *grads in leaves:
        np.testing.assert_allclose(
            x, reference_steps(optimizer, start, grads), rtol=1e-12, atol=1e-12
        )


@every_optimizer
def test_optimizer_step_compiles_once(optimizer: tg.optim.Optimizer) -> None:
    for rate in (0.01, tg.optim.warmup_cosine(0.01, 3, 9)):
        scheduled = attrs.evolve(optimizer, learning_rate=rate)
        update = tg.compile(scheduled.update)
        same(run_steps(scheduled, 6, update=update), run_steps(scheduled, 6), 1e-12)
        assert len(update.signatures) == 1


@every_optimizer
@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_optimizer_keeps_dtypes(optimizer: tg.optim.Optimizer, dtype: DTypeLike) -> None:
    for rate in (0.01, tg.optim.piecewise([0.1, 0.01], [1]), lambda step: np.float64(0.01)):
        scheduled = attrs.evolve(optimizer, learning_rate=rate)
        updates = [scheduled.update]
        if THOROUGH or callable(rate):  # a schedule may widen the dtype
            updates.append(tg.compile(scheduled.update))
        for update in updates:
            params, state = run_steps(scheduled, 2, dtype, update)
            moments = [x for x in tg.tree.leaves(state) if x is not state.step]
            assert {x.dtype for x in (*tg.tree.leaves(params), *moments)} == {np.dtype(dtype)}
            assert state.step.dtype == np.int64
            assert all(np.all(np.isfinite(x)) for x in tg.tree.leaves(params)) or dtype == "e"


@every_optimizer
@pytest.mark.parametrize("dtype", [np.float16, np.float32])
def test_small_gradients_make_finite_steps(optimizer: tg.optim.Optimizer, dtype: DTypeLike) -> None:
    g = np.array([0.0, 1e-4, -1e-7, 1.0], dtype)
    for update in (optimizer.update, tg.compile(optimizer.update)):
        p, state = np.ones(4, dtype), optimizer.init(np.ones(4, dtype))
        for _ in range(2):
            p, state = update(p, g, state)
        assert p.dtype == dtype
        assert np.all(np.abs(p - 1) < 1), p


@every_optimizer
def test_optimizers_and_states_pickle_and_compare_by_content(optimizer: tg.optim.Optimizer) -> None:
    for rate in (0.01, tg.optim.linear(0.1, 0.0, 9)):
        optimizer = attrs.evolve(optimizer, learning_rate=rate)
        copied = pickle.loads(pickle.dumps(optimizer))
        assert copied == optimizer == copy.deepcopy(optimizer)
        assert copied != attrs.evolve(optimizer, learning_rate=0.5)
        state = run_steps(optimizer, 2)[1]
        assert bytes_of(pickle.loads(pickle.dumps(state))) == bytes_of(state)


@every_optimizer
@pytest.mark.parametrize("phase", [1.0, pytest.param(1 + 0.5j, marks=pytest.mark.thorough)])
def test_optimizer_step_is_differentiable_in_every_argument(
    optimizer: tg.optim.Optimizer, phase: float
) -> None:
    params, grads = {"w": phase * np.array([1.0, -2.0])}, {"w": np.array([0.5, 3.0])}
    _, state = optimizer.update(params, {"w": np.array([-1.0, 1.5])}, optimizer.init(params))
    assert state.step == 1

    def ravel_update(params: dict[str, Array], grads: dict[str, Array], state: Any) -> Array:
        params, new = optimizer.update(params, grads, state)
        return tg.tree.ravel((params, attrs.evolve(new, step=None)))[0]

    # the number of steps has no gradient; the moments have gradients
    def step(params: dict[str, Array], grads: dict[str, Array], moments: Any) -> Array:
        return ravel_update(params, grads, attrs.evolve(moments, step=state.step))

    args = (params, grads, attrs.evolve(state, step=None))
    tg.testing.check_grads(step, args, order=1)
    tg.testing.check_properties(step, args, compiled=True)


HYPERPARAMETERS = [
    tg.optim.SGD(0.1, 0.5, weight_decay=0.1),
    tg.optim.Adam(0.1, 0.5, 0.75, 0.1, weight_decay=0.1),
    tg.optim.AdamW(0.1, 0.5, 0.75, 0.1, weight_decay=0.1),
    tg.optim.RMSProp(0.1, 0.75, 0.1, 0.5, weight_decay=0.1),
    tg.optim.Adagrad(0.1, 0.25, 0.1, weight_decay=0.1),
]


@pytest.mark.parametrize("optimizer", HYPERPARAMETERS, ids=lambda x: type(x).__name__)
def test_path_has_derivatives_with_respect_to_hyperparameters(
    optimizer: tg.optim.Optimizer,
) -> None:
    numbers = {
        name: x
        for name in (field.name for field in attrs.fields(type(optimizer)))
        if type(x := getattr(optimizer, name)) is float
    }
    assert {"learning_rate", "weight_decay"} < numbers.keys()

    def path(numbers: dict[str, ArrayLike]) -> Array:
        changed = attrs.evolve(optimizer, **numbers)
        params = np.array([1.0, -2.0])
        state = changed.init(params)
        for g in ([0.5, 3.0], [-1.0, 1.5]):
            params, state = changed.update(params, np.array(g), state)
        return params

    np.testing.assert_allclose(tg.record(path)(numbers)[0].value, path(numbers), rtol=1e-14)
    tg.testing.check_grads(path, (numbers,), order=1)


def test_weight_decay_is_chosen_by_path_and_leaf() -> None:
    model = tg.nn.Sequential(tg.nn.Linear(2, 3), tg.nn.Tanh(), tg.nn.Linear(3, 1))
    params = tg.tree.map(lambda x: x + 1, model.init(0))
    zeros = tg.tree.map(np.zeros_like, params)
    calls = []

    def decay(path: str, leaf: Array) -> bool:
        calls.append((path, leaf.shape))
        return path.startswith("0") and leaf.ndim == 2

    optimizer = tg.optim.AdamW(0.5, weight_decay=0.5, decay=decay)
    new, _ = optimizer.update(params, zeros, optimizer.init(params))
    np.testing.assert_allclose(new[0].weight, 0.75 * params[0].weight)
    same(tg.tree.leaves(new)[1:], tg.tree.leaves(params)[1:], 0)
    assert calls == [("0.weight", (2, 3)), ("0.bias", (3,)), ("2.weight", (3, 1)), ("2.bias", (1,))]
    assert pickle.loads(pickle.dumps(tg.optim.AdamW(0.1, decay=only_weights))).decay is only_weights


def test_learning_rate_is_read_from_the_state() -> None:
    params = np.ones(2)
    optimizer = tg.optim.Adam(tg.optim.piecewise([0.5, 0.25], [2]))
    state = optimizer.init(params)
    rates = []
    for _ in range(4):
        rates.append(float(optimizer.rate(state)))
        params, state = optimizer.update(params, params, state)
    assert rates == [0.5, 0.5, 0.25, 0.25]
    assert tg.optim.SGD(0.1).rate(tg.optim.SGD(0.1).init(params)) == 0.1
    bad = tg.optim.SGD(lambda step: np.ones(2))
    with pytest.raises(ValueError, match=r"learning_rate.*\(2,\)"):
        bad.update(params, params, bad.init(params))


ERRORS: list[Refusal] = [
    (ValueError, lambda: tg.optim.Adam(0.1, beta1=1.0), "beta1"),
    (ValueError, lambda: tg.optim.Adam(0.1, beta2=-0.1), "beta2"),
    (ValueError, lambda: tg.optim.AdamW(0.1, weight_decay=-1), "weight_decay"),
    (ValueError, lambda: tg.optim.RMSProp(0.1, alpha=1), "alpha"),
    (ValueError, lambda: tg.optim.Adagrad(0.1, epsilon=math.nan), "epsilon"),
    (ValueError, lambda: tg.optim.SGD(0.1, nesterov=True), "nesterov"),
    (TypeError, lambda: tg.optim.SGD(True), "learning_rate must be a number, not True"),
    (TypeError, lambda: tg.optim.AdamW(0.1, decay={"w": True}), "decay"),  # type: ignore[arg-type]
    (ValueError, lambda: tg.optim.warmup_cosine(0.1, 10, 10), "total"),
    (ValueError, lambda: tg.optim.warmup_cosine(0.1, 2.5, 10), "warmup"),
    (ValueError, lambda: tg.optim.linear(0.1, 0.0, 0), "steps"),
    (ValueError, lambda: tg.optim.exponential_decay(0.1, 0.0), "factor"),
    (ValueError, lambda: tg.optim.piecewise([1.0], [1]), "boundaries"),
    (ValueError, lambda: tg.optim.piecewise([1.0, 2.0, 3.0], [2, 2]), "boundaries"),
    (ValueError, lambda: tg.optim.piecewise([-1.0, 2.0], [2]), "values"),
    (ValueError, lambda: tg.optim.constant(math.inf), "value"),
    (ValueError, lambda: tg.optim.SGD(0.1, momentum=1.0), "momentum"),
    *[
        (ValueError, lambda x=x: tg.optim.clip_by_global_norm(np.ones(2), x), "more than 0")
        for x in (0, -1.0, math.nan)
    ],
    (
        TypeError,
        lambda: tg.optim.clip_by_global_norm(1.0, {"w": np.ones(2)}),
        "clip_by_global_norm(grads, max_norm): |a dict",
    ),
    *[
        (kind, lambda x=x, name=name: tg.optim.SGD(**{"learning_rate": 0.1} | {name: x}), name)
        for name in ("learning_rate", "momentum")
        for kind, numbers in (
            (ValueError, [-0.1, np.nan, np.inf, -1, np.float32(-1)]),
            (TypeError, ["0.1", None, [0.1], np.ones(2), 1j]),
        )
        for x in numbers
    ],
]


def test_error_names_the_wrong_argument() -> None:
    check_refusals(ERRORS)


@pytest.mark.parametrize("dtype", "efdF")
def test_compute_into_an_array_equals_a_new_result(dtype: str) -> None:
    wide_dtype, number = "D" if dtype == "F" else "d", np.dtype(dtype).type(0.3)
    for pair in itertools.product(range(9), repeat=2):
        arrays = [np.full((2, 3), x, dtype) for x in (1.5, 0.25)]
        arrays += [
            np.full((2, 3), 0.1, wide_dtype),
            np.full(3, 0.5, dtype),
            np.ones((2, 2, 3), dtype),
        ]
        operands = [*arrays, number, np.float64(0.1), 2.0, 1j]
        arguments = [operands[i] for i in pair]
        want, before = np.add(*arguments), [np.copy(x) for x in arrays[1:]]
        got = compute_into(arrays[0], np.add, *arguments)
        np.testing.assert_array_equal(got, want, strict=True)
        assert got is arrays[0] or 0 not in pair or not {*pair} <= {0, 1, 5, 7}
        for x, old in zip(arrays[1:], before, strict=True):
            np.testing.assert_array_equal(x, old)


# --- SGD ------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", "efdg")
@pytest.mark.parametrize("number", [float, np.float64, np.float32, np.array])
def test_sgd_plain_step_is_its_formula_and_keeps_the_dtype(
    dtype: str, number: Callable[..., Any]
) -> None:
    optimizer = tg.optim.SGD(number(0.375))
    for shape in ((), (0,), (2, 3)):
        p, g = np.full(shape, 1.3, dtype), np.full(shape, 0.7, dtype)
        new, state = optimizer.update(p, g, optimizer.init(p))
        np.testing.assert_array_equal(new, np.asarray(p - 0.375 * g), strict=True)
        with pytest.raises(ValueError, match=r"WRITEABLE|writeable"):
            new.setflags(write=True)
        if dtype in "ef":
            with pytest.raises(ValueError, match="but grads is"):
                optimizer.update(p, g.astype(float), state)
    assert optimizer.update(1.5, np.array(2.0), optimizer.init(1.5))[0] == 0.75
