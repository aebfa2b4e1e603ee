"""Optimizers, schedules and clipping: pure functions on trees."""

import copy
import math
import pickle
from typing import Any

import attrs
import numpy as np
import pytest
from depth import THOROUGH
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

import tapegrad as tg

FLOATS = st.floats(-10, 10, allow_subnormal=False)
VECTORS = hnp.arrays(np.float64, 3, elements=FLOATS)
RATES = st.floats(0, 2, allow_subnormal=False)
MOMENTA = st.floats(0, 1, exclude_max=True, allow_subnormal=False)


@given(VECTORS, VECTORS, RATES)
def test_a_step_goes_down_the_gradient(p, g, rate):
    optimizer = tg.optim.SGD(rate)
    state = optimizer.init(p)
    new, after = optimizer.update(p, g, state)
    np.testing.assert_array_equal(new, p - rate * g)
    assert (state.step, after.step) == (0, 1)
    assert after.velocity is None


@pytest.mark.parametrize("dtype", "efdg")
@pytest.mark.parametrize("of_gradient", ["e", "d", "same"])
@pytest.mark.parametrize("shape", [(), (0,), (2, 3)])
def test_a_plain_step_of_any_dtype_and_shape_is_its_formula(dtype, of_gradient, shape):
    p = np.full(shape, 1.3, dtype)
    g = np.full(shape, 0.7, dtype if of_gradient == "same" else of_gradient)
    optimizer = tg.optim.SGD(0.3)
    state = optimizer.init(p)
    if np.result_type(p, g) != p.dtype:
        with pytest.raises(ValueError, match="but grads is"):
            optimizer.update(p, g, state)
        return
    new, _ = optimizer.update(p, g, state)
    np.testing.assert_array_equal(new, np.asarray(p - 0.3 * g), strict=True)
    with pytest.raises(ValueError, match=r"WRITEABLE|writeable"):
        new.setflags(write=True)


@given(VECTORS, st.lists(VECTORS, min_size=1, max_size=5), RATES, MOMENTA)
def test_momentum_keeps_a_part_of_the_velocity(p, gradients, rate, momentum):
    optimizer = tg.optim.SGD(rate, momentum=momentum)
    params, state = {"p": p}, optimizer.init({"p": p})
    want, velocity = p, np.zeros(3)
    for g in gradients:
        params, state = optimizer.update(params, {"p": g}, state)
        velocity = momentum * velocity + g
        want = want - rate * velocity
        np.testing.assert_allclose(params["p"], want, rtol=1e-12, atol=1e-12)


def test_the_first_step_with_momentum_is_a_step_without():
    p, g = np.ones(3), np.arange(3.0)
    plain, heavy = tg.optim.SGD(0.1), tg.optim.SGD(0.1, momentum=0.9)
    np.testing.assert_array_equal(
        plain.update(p, g, plain.init(p))[0], heavy.update(p, g, heavy.init(p))[0]
    )


@pytest.mark.parametrize("momentum", [0.0, 0.9])
@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
@pytest.mark.parametrize("number", [float, np.float64, np.float32, np.array])
def test_parameters_keep_their_dtype_and_shape(dtype, momentum, number):
    optimizer = tg.optim.SGD(number(0.125), momentum=number(momentum))
    params = {"w": np.ones((2, 3), dtype), "b": np.zeros((), dtype)}
    state = optimizer.init(params)
    for _ in range(2):
        params, state = optimizer.update(params, params, state)
        assert params["w"].dtype == params["b"].dtype == dtype
        assert params["w"].shape == (2, 3)
        assert params["b"].shape == ()


def test_trees_keep_their_structure():
    model = tg.nn.Sequential(tg.nn.Linear(2, 3), tg.nn.Tanh(), tg.nn.Linear(3, 1))
    params = model.init(0)
    structure = tg.tree.flatten(params)[1]
    for optimizer in (tg.optim.SGD(0.1), tg.optim.SGD(0.1, 0.9)):
        new, state = optimizer.update(params, params, optimizer.init(params))
        assert tg.tree.flatten(new)[1] == structure
        if state.velocity is not None:
            assert tg.tree.flatten(state.velocity)[1] == structure


def test_the_state_to_begin_with_is_zeros_like_the_parameters_whatever_they_are():
    params = {"w": np.array([1.0, np.inf, np.nan]), "b": np.float32(2)}
    velocity = tg.optim.SGD(0.1, momentum=0.9).init(params).velocity
    np.testing.assert_array_equal(velocity["w"], np.zeros(3))
    assert velocity["b"].dtype == np.float32
    assert tg.optim.SGD(0.1).init(params).velocity is None


def test_old_parameters_and_states_are_as_they_were():
    optimizer = tg.optim.SGD(0.1, momentum=0.5)
    p0 = {"w": np.ones(3)}
    s0 = optimizer.init(p0)
    p1, s1 = optimizer.update(p0, {"w": np.ones(3)}, s0)
    optimizer.update(p1, {"w": np.ones(3)}, s1)
    np.testing.assert_array_equal(p0["w"], np.ones(3))
    np.testing.assert_array_equal(s0.velocity["w"], np.zeros(3))
    np.testing.assert_array_equal(s1.velocity["w"], np.ones(3))
    # the same step again from the same values is the same step
    again, _ = optimizer.update(p0, {"w": np.ones(3)}, s0)
    assert again["w"].tobytes() == p1["w"].tobytes()


@pytest.mark.parametrize("momentum", [0.0, 0.5])
@pytest.mark.parametrize(
    "gradient", [np.ones(2), np.ones(3, complex), np.ones(3, np.longdouble), np.array(["a"] * 3)]
)
def test_a_gradient_that_does_not_fit_is_named(gradient, momentum):
    optimizer = tg.optim.SGD(0.1, momentum)
    params = {"w": np.ones(3)}
    with pytest.raises(ValueError, match=r"SGD\.update: params\.w is float64 \(3,\), but grads\.w"):
        optimizer.update(params, {"w": gradient}, optimizer.init(params))


def test_a_velocity_that_does_not_fit_is_named_and_a_number_is_none_of_bool():
    optimizer = tg.optim.SGD(0.1, 0.5)
    with pytest.raises(ValueError, match=r"but state\.velocity is"):
        optimizer.update(np.ones(3), np.ones(3), optimizer.init(np.ones(2)))
    with pytest.raises(TypeError, match="learning_rate must be a number, not True"):
        tg.optim.SGD(True)


def test_optimizers_compare_by_their_numbers():
    assert tg.optim.SGD(0.1) == tg.optim.SGD(0.1)
    assert tg.optim.SGD(0.1) != tg.optim.SGD(0.1, momentum=0.5)
    assert tg.optim.SGD(np.float64(0.1)) == tg.optim.SGD(0.1)


@given(st.floats(0.01, 0.4), VECTORS)
def test_a_bowl_is_descended_to_its_bottom(rate, start):
    optimizer = tg.optim.SGD(rate)
    params, state = start, optimizer.init(start)
    loss = previous = float("inf")
    for _ in range(5):
        loss, g = tg.value_and_grad(lambda x: tg.sum((x - 1) ** 2))(params)
        assert loss <= previous
        params, state = optimizer.update(params, g, state)
        previous = loss
    assert loss <= np.sum((start - 1) ** 2)


def test_a_step_is_differentiable_in_the_learning_rate():
    # after one step from 1 on x**2, the loss is (1 - 2 r)**2
    def after_a_step(rate):
        optimizer = tg.optim.SGD(rate)
        x = np.array(1.0)
        x, _ = optimizer.update(x, tg.grad(lambda x: x * x)(x), optimizer.init(x))
        return x * x

    np.testing.assert_allclose(tg.grad(after_a_step)(0.1), -4 * (1 - 0.2))


def test_steps_are_differentiable_through_momentum():
    def after(start, momentum):
        optimizer = tg.optim.SGD(0.1, momentum=momentum)
        x, state = start, optimizer.init(start)
        for _ in range(3):
            x, state = optimizer.update(x, tg.grad(lambda x: x * x)(x), state)
        return x

    # by finite differences
    def slope(f, x, h=1e-6):
        return (float(f(x + h)) - float(f(x - h))) / (2 * h)

    def by_hand(start, momentum):
        x, v = start, 0.0
        for _ in range(3):
            v = momentum * v + 2 * x
            x = x - 0.1 * v
        return x

    gx, gm = tg.grad(after, argnums=(0, 1))(1.0, 0.5)
    np.testing.assert_allclose(gx, slope(lambda x: by_hand(x, 0.5), 1.0), rtol=1e-6)
    np.testing.assert_allclose(gm, slope(lambda m: by_hand(1.0, m), 0.5), rtol=1e-6)


def leaves(tree: Any) -> list[Any]:
    return tg.tree.leaves(tree)


def test_a_python_float_is_a_parameter_too():
    optimizer = tg.optim.SGD(0.5)
    params = {"scale": 2.0}
    new, _ = optimizer.update(params, {"scale": np.array(1.0)}, optimizer.init(params))
    assert new["scale"] == 1.5
    assert leaves(params) == [2.0]


# --- all optimizers -------------------------------------------------------------------------


def only_weights(path: str, leaf: Any) -> bool:
    return path.endswith("weight")


# each with the optimizer of PyTorch that it equals, as a function of its module and parameters
OPTIMIZERS: dict[str, tuple[Any, Any]] = {
    "sgd": (tg.optim.SGD(0.1), lambda o, p: o.SGD(p, 0.1)),
    "momentum": (tg.optim.SGD(0.1, 0.9), lambda o, p: o.SGD(p, 0.1, 0.9)),
    "nesterov": (tg.optim.SGD(0.1, 0.9, True), lambda o, p: o.SGD(p, 0.1, 0.9, nesterov=True)),
    "sgd with decay": (
        tg.optim.SGD(0.1, 0.5, weight_decay=0.1),
        lambda o, p: o.SGD(p, 0.1, 0.5, weight_decay=0.1),
    ),
    "adam": (tg.optim.Adam(0.001), lambda o, p: o.Adam(p)),
    "adam with other numbers": (
        tg.optim.Adam(0.01, 0.5, 0.9, 1e-3, weight_decay=0.1),
        lambda o, p: o.Adam(p, 0.01, (0.5, 0.9), 1e-3, weight_decay=0.1),
    ),
    "adamw": (tg.optim.AdamW(0.001), lambda o, p: o.AdamW(p)),
    "adamw that decays more": (
        tg.optim.AdamW(0.01, weight_decay=0.5),
        lambda o, p: o.AdamW(p, 0.01, weight_decay=0.5),
    ),
    "rmsprop": (tg.optim.RMSProp(0.01), lambda o, p: o.RMSprop(p)),
    "rmsprop with all": (
        tg.optim.RMSProp(0.01, 0.9, 1e-6, 0.5, True, weight_decay=0.1),
        lambda o, p: o.RMSprop(p, 0.01, 0.9, 1e-6, 0.1, 0.5, centered=True),
    ),
    "adagrad": (tg.optim.Adagrad(0.01), lambda o, p: o.Adagrad(p)),
    "adagrad with all": (
        tg.optim.Adagrad(0.1, 0.25, 1e-6, weight_decay=0.1),
        lambda o, p: o.Adagrad(p, 0.1, 0, 0.1, 0.25, 1e-6),
    ),
}
every_optimizer = pytest.mark.parametrize(
    "optimizer", [ours for ours, _ in OPTIMIZERS.values()], ids=OPTIMIZERS
)
SHAPES = [(3, 4), (4,), (), (1,), (0, 2), (2, 1, 3)]


def random_tree(key: Any, dtype: Any = float) -> dict[str, Any]:
    keys = tg.random.split(key, len(SHAPES))
    leaves = [tg.random.normal(k, n, dtype) for k, n in zip(keys, SHAPES, strict=True)]
    return {"layers": leaves[:3], "rest": tuple(leaves[3:])}


def bytes_of(tree: Any) -> list[bytes]:
    return [np.asarray(x).tobytes() for x in tg.tree.leaves(tree)]


def run(optimizer: Any, n: int, dtype: Any = float, update: Any = None) -> Any:
    """Parameters and state after n steps along random gradients."""
    params = random_tree(0, dtype)
    state = optimizer.init(params)
    update = update or optimizer.update
    for i in range(n):
        params, state = update(params, random_tree(i + 1, dtype), state)
    return params, state


def by_definition(o: Any, p: Any, grads: list[Any]) -> Any:
    """The formulas as they are published, on one array."""
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
def test_steps_are_those_of_the_definition(optimizer: Any) -> None:
    trees = [random_tree(i) for i in range(8)]
    params, state = run(optimizer, 7)
    assert state.step == 7
    leaves = zip(*map(tg.tree.leaves, (params, *trees)), strict=True)
    for x, start, *grads in leaves:
        np.testing.assert_allclose(
            x, by_definition(optimizer, start, grads), rtol=1e-12, atol=1e-12
        )


@pytest.mark.parametrize(("optimizer", "theirs"), OPTIMIZERS.values(), ids=OPTIMIZERS)
def test_a_hundred_steps_are_those_of_pytorch(optimizer: Any, theirs: Any) -> None:
    torch = pytest.importorskip("torch")
    leaves = [torch.tensor(np.array(x)) for x in tg.tree.leaves(random_tree(0))]
    reference = theirs(torch.optim, leaves)
    for i in range(100):
        for x, g in zip(leaves, tg.tree.leaves(random_tree(i + 1)), strict=True):
            x.grad = torch.tensor(np.array(g))
        reference.step()
    params, state = run(optimizer, 100)
    for ours, x in zip(tg.tree.leaves(params), leaves, strict=True):
        np.testing.assert_allclose(ours, x.numpy(), rtol=1e-12, atol=1e-12)
    assert state.step == 100


def test_scheduled_steps_are_those_of_pytorch() -> None:
    torch = pytest.importorskip("torch")
    leaves = [torch.tensor(np.array(x)) for x in tg.tree.leaves(random_tree(0))]
    reference = torch.optim.AdamW(leaves, 0.1)
    schedule = torch.optim.lr_scheduler.ExponentialLR(reference, 0.9)
    for i in range(20):
        for x, g in zip(leaves, tg.tree.leaves(random_tree(i + 1)), strict=True):
            x.grad = torch.tensor(np.array(g))
        reference.step()
        schedule.step()
    params, _ = run(tg.optim.AdamW(tg.optim.exponential_decay(0.1, 0.9)), 20)
    for ours, x in zip(tg.tree.leaves(params), leaves, strict=True):
        np.testing.assert_allclose(ours, x.numpy(), rtol=1e-12, atol=1e-12)


@every_optimizer
def test_a_compiled_step_is_the_plain_one_and_is_compiled_once(optimizer: Any) -> None:
    for rate in (0.01, tg.optim.warmup_cosine(0.01, 3, 9)):
        scheduled = attrs.evolve(optimizer, learning_rate=rate)
        update = tg.compile(scheduled.update)
        compiled, plain = run(scheduled, 6, update=update), run(scheduled, 6)
        for a, b in zip(tg.tree.leaves(compiled), tg.tree.leaves(plain), strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-12, atol=1e-14)
            assert (a.shape, a.dtype) == (b.shape, b.dtype)
        assert len(update.signatures) == 1


@every_optimizer
@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_every_number_keeps_its_dtype(optimizer: Any, dtype: Any) -> None:
    for rate in (0.01, tg.optim.piecewise([0.1, 0.01], [1]), lambda step: np.float64(0.01)):
        scheduled = attrs.evolve(optimizer, learning_rate=rate)
        updates = [scheduled.update]
        if THOROUGH or callable(rate):  # a schedule may widen what a number does not
            updates.append(tg.compile(scheduled.update))
        for update in updates:
            params, state = run(scheduled, 2, dtype, update)
            moments = [x for x in tg.tree.leaves(state) if x is not state.step]
            assert {x.dtype for x in (*tg.tree.leaves(params), *moments)} == {np.dtype(dtype)}
            assert state.step.dtype == np.int64
            assert all(np.all(np.isfinite(x)) for x in tg.tree.leaves(params)) or dtype == "e"


@every_optimizer
def test_nothing_that_an_update_is_given_changes(optimizer: Any) -> None:
    params = random_tree(0)
    state = optimizer.init(params)
    for _ in range(2):
        grads = random_tree(1)
        before = bytes_of((params, grads, state))
        new, after = optimizer.update(params, grads, state)
        assert bytes_of((params, grads, state)) == before
        assert bytes_of(optimizer.update(params, grads, state)) == bytes_of((new, after))
        assert not any(x.flags.writeable for x in tg.tree.leaves((new, after)))
        assert tg.tree.flatten(new)[1] == tg.tree.flatten(params)[1]
        assert tg.tree.flatten(after)[1] == tg.tree.flatten(state)[1]
        params, state = new, after


@every_optimizer
def test_optimizers_and_states_pickle_and_compare_by_content(optimizer: Any) -> None:
    for rate in (0.01, tg.optim.linear(0.1, 0.0, 9)):
        optimizer = attrs.evolve(optimizer, learning_rate=rate)
        again = pickle.loads(pickle.dumps(optimizer))
        assert again == optimizer == copy.deepcopy(optimizer)
        assert again != attrs.evolve(optimizer, learning_rate=0.5)
        state = run(optimizer, 2)[1]
        assert bytes_of(pickle.loads(pickle.dumps(state))) == bytes_of(state)


@every_optimizer
def test_a_step_is_differentiable_in_parameters_gradients_and_state(optimizer: Any) -> None:
    params, grads = {"w": np.array([1.0, -2.0])}, {"w": np.array([0.5, 3.0])}
    _, state = optimizer.update(params, {"w": np.array([-1.0, 1.5])}, optimizer.init(params))
    assert state.step == 1

    def after(params: Any, grads: Any, state: Any) -> Any:
        params, new = optimizer.update(params, grads, state)
        return tg.tree.ravel((params, attrs.evolve(new, step=None)))[0]

    # the number of steps has no gradient; velocities and means have one
    def step(params: Any, grads: Any, moments: Any) -> Any:
        return after(params, grads, attrs.evolve(moments, step=state.step))

    args = (params, grads, attrs.evolve(state, step=None))
    tg.testing.check_grads(step, args, order=1)
    tg.testing.check_properties(step, args, compiled=True)


@every_optimizer
def test_every_optimizer_finds_the_bottom_of_a_bowl(optimizer: Any) -> None:
    optimizer = attrs.evolve(
        optimizer, learning_rate=tg.optim.linear(0.3, 0.0, 300), weight_decay=0.0
    )
    params = np.array([3.0, -2.0])
    state = optimizer.init(params)
    step = tg.compile(
        lambda p, s: optimizer.update(p, tg.grad(lambda x: tg.sum((x - 1) ** 2))(p), s)
    )
    for _ in range(300):
        params, state = step(params, state)
    np.testing.assert_allclose(params, 1.0, atol=0.05)


@every_optimizer
@pytest.mark.parametrize("field", ["grads", "state"])
def test_every_optimizer_names_the_leaf_that_does_not_fit(optimizer: Any, field: str) -> None:
    params = random_tree(0)
    other = {**params, "rest": (params["rest"][0], *[np.zeros((5, 5))] * 2)}
    name = type(optimizer).__name__
    if field == "grads":
        with pytest.raises(ValueError, match=rf"{name}\.update: .*grads\.rest\.1"):
            optimizer.update(params, other, optimizer.init(params))
    elif optimizer.moments():
        with pytest.raises(ValueError, match=rf"{name}\.update: .*state\.\w+\.rest\.1"):
            optimizer.update(params, params, optimizer.init(other))
    with pytest.raises(TypeError, match=rf"{name}\.update\(params, grads, state\).*dict"):
        optimizer.update(params, params, params)


def test_a_decay_chooses_by_path_and_by_leaf() -> None:
    model = tg.nn.Sequential(tg.nn.Linear(2, 3), tg.nn.Tanh(), tg.nn.Linear(3, 1))
    params = tg.tree.map(lambda x: x + 1, model.init(0))
    still = tg.tree.map(np.zeros_like, params)
    seen = []

    def decay(path: str, leaf: Any) -> bool:
        seen.append((path, leaf.shape))
        return path.startswith("0") and leaf.ndim == 2

    optimizer = tg.optim.AdamW(0.5, weight_decay=0.5, decay=decay)
    new, _ = optimizer.update(params, still, optimizer.init(params))
    np.testing.assert_allclose(new[0].weight, 0.75 * params[0].weight)
    for a, b in zip(tg.tree.leaves(new)[1:], tg.tree.leaves(params)[1:], strict=True):
        np.testing.assert_array_equal(a, b)
    assert seen == [("0.weight", (2, 3)), ("0.bias", (3,)), ("2.weight", (3, 1)), ("2.bias", (1,))]
    assert pickle.loads(pickle.dumps(tg.optim.AdamW(0.1, decay=only_weights))).decay is only_weights


def test_a_rate_is_read_from_the_state() -> None:
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


@pytest.mark.parametrize(
    ("make", "name"),
    [
        (lambda: tg.optim.Adam(0.1, beta1=1.0), "beta1"),
        (lambda: tg.optim.Adam(0.1, beta2=-0.1), "beta2"),
        (lambda: tg.optim.AdamW(0.1, weight_decay=-1), "weight_decay"),
        (lambda: tg.optim.RMSProp(0.1, alpha=1), "alpha"),
        (lambda: tg.optim.Adagrad(0.1, epsilon=math.nan), "epsilon"),
        (lambda: tg.optim.SGD(0.1, nesterov=True), "nesterov"),
        (lambda: tg.optim.warmup_cosine(0.1, 10, 10), "total"),
        (lambda: tg.optim.warmup_cosine(0.1, 2.5, 10), "warmup"),
        (lambda: tg.optim.linear(0.1, 0.0, 0), "steps"),
        (lambda: tg.optim.exponential_decay(0.1, 0.0), "factor"),
        (lambda: tg.optim.piecewise([1.0], [1]), "boundaries"),
        (lambda: tg.optim.piecewise([1.0, 2.0, 3.0], [2, 2]), "boundaries"),
        (lambda: tg.optim.piecewise([-1.0, 2.0], [2]), "values"),
        (lambda: tg.optim.constant(math.inf), "value"),
    ],
)
def test_numbers_out_of_bounds_are_named(make: Any, name: str) -> None:
    with pytest.raises(ValueError, match=name):
        make()


def test_a_decay_that_is_no_function_is_named() -> None:
    with pytest.raises(TypeError, match="decay"):
        tg.optim.AdamW(0.1, decay={"w": True})  # type: ignore[arg-type]


# --- schedules ------------------------------------------------------------------------------

SCHEDULES = {
    "constant": tg.optim.constant(0.25),
    "linear": tg.optim.linear(1.0, 0.25, 4),
    "warmup_cosine": tg.optim.warmup_cosine(1.0, 4, 12, 0.125),
    "warmup_cosine without warm-up": tg.optim.warmup_cosine(1.0, 0, 12),
    "exponential_decay": tg.optim.exponential_decay(1.0, 0.5, 3),
    "piecewise": tg.optim.piecewise([1.0, 0.5, 0.25], [2, 5]),
    "piecewise of one piece": tg.optim.piecewise([0.5], []),
}


def expected_rate(name: str, t: int) -> float:
    """The definitions, written for one step."""
    if name == "constant":
        return 0.25
    if name == "linear":
        return 1 - 0.75 * min(t, 4) / 4
    if name == "exponential_decay":
        return 0.5 ** (t / 3)
    if name == "piecewise":
        return 1.0 if t < 2 else 0.5 if t < 5 else 0.25
    if name == "piecewise of one piece":
        return 0.5
    warmup, end = (0, 0.0) if "without" in name else (4, 0.125)
    if t < warmup:
        return (t + 1) / warmup
    x = min((t - warmup) / (12 - warmup), 1)
    return end + (1 - end) * (1 + math.cos(math.pi * x)) / 2


@pytest.mark.parametrize("name", SCHEDULES)
def test_a_schedule_is_its_definition_on_numbers_arrays_and_tensors(name: str) -> None:
    schedule, steps = SCHEDULES[name], range(20)
    want = [expected_rate(name, t) for t in steps]
    compiled = tg.compile(schedule)
    for t in steps:
        for given_ in (t, np.int64(t), np.array(t)):
            np.testing.assert_allclose(schedule(given_), want[t], atol=1e-15)
            np.testing.assert_allclose(compiled(given_), want[t], atol=1e-15)
            assert np.shape(schedule(given_)) == np.shape(compiled(given_)) == ()
    assert len(compiled.signatures) == 2
    for f in (schedule, compiled):
        got = np.broadcast_to(f(np.arange(20)), 20)
        np.testing.assert_allclose(got, want, atol=1e-15)
    assert pickle.loads(pickle.dumps(schedule)) == schedule


def test_warm_up_starts_above_zero_and_ends_at_the_peak() -> None:
    rates = tg.optim.warmup_cosine(0.5, 5, 20)(np.arange(25))
    assert np.all(np.diff(rates[:5]) > 0)
    assert rates[0] == 0.1
    assert rates[4] == rates[5] == rates.max() == 0.5
    assert np.all(np.diff(rates[5:21]) < 0)
    assert np.all(rates[20:] == 0)


def test_gradients_pass_to_the_numbers_of_a_schedule() -> None:
    def rate(peak: Any, end: Any) -> Any:
        return tg.optim.warmup_cosine(peak, 2, 6, end)(3) + tg.optim.linear(peak, end, 4)(1)

    tg.testing.check_grads(rate, (0.5, 0.25))


# --- clipping -------------------------------------------------------------------------------


@given(st.floats(0.01, 100), st.sampled_from([np.float32, np.float64]))
def test_a_clipped_tree_has_a_norm_of_at_most_the_bound(most: float, dtype: Any) -> None:
    grads = random_tree(3, dtype)
    want = math.sqrt(sum(float(np.sum(np.square(x, dtype=float))) for x in tg.tree.leaves(grads)))
    clipped, norm = tg.optim.clip_by_global_norm(grads, most)
    np.testing.assert_allclose(norm, want, rtol=1e-6)
    assert norm == tg.optim.global_norm(grads)
    np.testing.assert_allclose(tg.optim.global_norm(clipped), min(want, most), rtol=1e-6)
    if want < most * 0.999:
        assert bytes_of(clipped) == bytes_of(grads)
    for a, b in zip(tg.tree.leaves(clipped), tg.tree.leaves(grads), strict=True):
        assert (a.dtype, a.shape) == (b.dtype, b.shape)
        np.testing.assert_allclose(a * max(want / most, 1), b, rtol=1e-5)
        assert not a.flags.writeable


def test_clipping_is_that_of_pytorch_but_for_what_it_adds_to_the_norm() -> None:
    torch = pytest.importorskip("torch")
    grads = random_tree(0)
    leaves = [torch.zeros(x.shape, dtype=torch.float64) for x in tg.tree.leaves(grads)]
    for x, g in zip(leaves, tg.tree.leaves(grads), strict=True):
        x.grad = torch.tensor(np.array(g))
    norm = torch.nn.utils.clip_grad_norm_(leaves, 1.0)
    clipped, ours = tg.optim.clip_by_global_norm(grads, 1.0)
    np.testing.assert_allclose(ours, norm.numpy(), rtol=1e-12)
    for x, g in zip(leaves, tg.tree.leaves(clipped), strict=True):
        np.testing.assert_allclose(g, x.grad.numpy(), rtol=1e-6)


def test_norms_at_zero_of_nothing_and_of_what_is_not_finite() -> None:
    assert tg.optim.global_norm({}) == 0
    zeros = {"w": np.zeros(3)}
    clipped, norm = tg.optim.clip_by_global_norm(zeros, 1.0)
    assert norm == 0
    assert bytes_of(clipped) == bytes_of(zeros)
    np.testing.assert_array_equal(tg.grad(tg.optim.global_norm)(zeros)["w"], np.zeros(3))
    clipped, norm = tg.optim.clip_by_global_norm({"w": np.array([np.nan, 1.0])}, 1.0)
    assert np.isnan(norm)
    assert np.all(np.isnan(clipped["w"]))
    # squares of float16 overflow from 256 on
    assert tg.optim.global_norm([np.full(4, 300, np.float16)]) == 600


def test_clipping_is_compiled_and_differentiated() -> None:
    grads = random_tree(2)
    compiled = tg.compile(tg.optim.clip_by_global_norm)
    for most in (0.5, 100.0):
        got, want = compiled(grads, most), tg.optim.clip_by_global_norm(grads, most)
        for a, b in zip(tg.tree.leaves(got), tg.tree.leaves(want), strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-12, atol=1e-12)
        tg.testing.check_grads(
            lambda g, most=most: tg.optim.clip_by_global_norm(g, most), (grads,), order=1
        )
    assert len(compiled.signatures) == 1


@pytest.mark.parametrize("most", [0, -1.0, math.nan])
def test_a_bound_that_is_no_bound_is_refused(most: float) -> None:
    with pytest.raises(ValueError, match="more than 0"):
        tg.optim.clip_by_global_norm({"w": np.ones(2)}, most)


def test_a_decay_is_by_its_factor_at_each_step_unless_it_says_how_many():
    np.testing.assert_allclose(
        tg.optim.exponential_decay(2.0, 0.5)(np.arange(4)), [2, 1, 0.5, 0.25]
    )
