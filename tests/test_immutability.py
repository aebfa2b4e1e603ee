"""Nothing changes: neither what the caller has nor what the package made."""

import copy
from typing import Any

import attrs
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from mappings import FLOATS
from tapes import check_tape

import tapegrad as tg

VECTORS = hnp.arrays(np.float64, 4, elements=FLOATS)


def memory(tree: Any) -> list[Any]:
    """What the leaves are, byte for byte, and whether they can be written to."""
    leaves, structure = tg.tree.flatten(tree)
    return [
        structure,
        *[
            (id(x), x.tobytes(), x.shape, x.strides, x.dtype, x.flags.writeable)
            if isinstance(x, np.ndarray)
            else x
            for x in leaves
        ],
    ]


def arrays() -> dict[str, Any]:
    """Arrays of many kinds of memory, all of shape (2, 3)."""
    base = np.linspace(-1, 1, 24).reshape(4, 6)
    read_only = np.linspace(0, 1, 6).reshape(2, 3)
    read_only.setflags(write=False)
    return {
        "plain": np.linspace(-2, 1, 6).reshape(2, 3),
        "fortran": np.asfortranarray(np.linspace(-2, 1, 6).reshape(2, 3)),
        "view": base[1:3, ::2],
        "reversed": base[3:1:-1, ::-2],
        "transposed": np.ones((3, 2)).T,
        "broadcast": np.broadcast_to(np.array([1.0, 2.0, 3.0]), (2, 3)),
        "read_only": read_only,
        "float32": np.ones((2, 3), np.float32),
    }


def loss(p: Any, scale: Any = 2.0) -> Any:
    total = 0.0
    for x in p.values():
        y = tg.tanh(x) * x + scale
        total = total + tg.sum(y @ np.swapaxes(x, 0, 1)) + tg.sum(tg.softmax(x)[0] * x[1])
        total = total + tg.sum(tg.maximum(x, 0.5)) + tg.sum(x.at[0].set(x[1]) * x.at[1].add(x[0]))
    return total


CALLS = {
    "record": lambda p, v: tg.record(loss)(p),
    "grad": lambda p, v: tg.grad(loss)(p),
    "scale": lambda p, v: tg.grad(loss, argnums=(0, 1))(p, v["plain"]),
    "vjp": lambda p, v: tg.vjp(lambda p: p, p)[1](v),
    "jvp": lambda p, v: tg.jvp(loss, (p,), (v,)),
    "hvp": lambda p, v: tg.hvp(loss, (p,), (v,)),
    "jacobian": lambda p, v: tg.jacobian(lambda p: p["view"] * p["fortran"])(p),
    "sgd": lambda p, v: tg.optim.SGD(0.1).update(p, v, tg.optim.SGD(0.1).init(p)),
    "momentum": lambda p, v: tg.optim.SGD(0.1, 0.9).update(p, v, tg.optim.SGD(0.1, 0.9).init(v)),
    "map": lambda p, v: tg.tree.map(lambda a, b: a + b, p, v),
}


@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)
def test_no_call_changes_an_argument_by_a_byte(call):
    params, others = arrays(), arrays()
    before = memory((params, others))
    call(params, others)
    assert memory((params, others)) == before


def test_no_layer_or_loss_changes_its_arguments():
    x = np.linspace(-1, 1, 12).reshape(4, 3)
    indices, classes = np.array([0, 2, 2, 1]), np.array([1, 0, 1, 1])
    model = tg.nn.Sequential(tg.nn.Linear(3, 3), tg.nn.Tanh(), tg.nn.Linear(3, 2), tg.nn.Sigmoid())
    cell, embedding = tg.nn.RNNCell(3, 3, 2), tg.nn.Embedding(3, 3)
    hidden = np.zeros((4, 3))
    # parameters that could be written to
    params = tg.tree.map(np.array, (model.init(0), cell.init(1), embedding.init(2)))
    before = memory((params, x, indices, classes, hidden))

    def fn(params):
        p_model, p_cell, p_embedding = params
        output, after = cell(p_cell, embedding(p_embedding, indices), hidden)
        total = tg.nn.cross_entropy_loss(output, classes) + tg.sum(after)
        return total + tg.nn.mse_loss(model(p_model, x), np.ones((4, 2)))

    fn(params)
    tg.value_and_grad(fn)(params)
    assert memory((params, x, indices, classes, hidden)) == before


# --- results ------------------------------------------------------------------------------


def read_only(tree: Any) -> bool:
    return all(isinstance(x, np.ndarray) and not x.flags.writeable for x in tg.tree.leaves(tree))


def test_values_and_gradients_are_read_only():
    p = arrays()
    assert read_only(tg.value_and_grad(loss)(p))
    assert read_only(tg.grad(loss, argnums=(0, 1))(p, 2.0))
    assert read_only(tg.grad(lambda x: x)(1.0))
    assert read_only(tg.value_and_grad(lambda x: 3.0)(np.ones(2)))
    output, pullback = tg.vjp(lambda p: (p["plain"].T, p["view"][0], tg.sum(p["plain"])), p)
    assert read_only(output)
    assert read_only(pullback((np.ones((3, 2)), np.ones(3), 1.0)))
    assert read_only(tg.jvp(lambda p: p["plain"] * 2, (p,), (p,)))
    assert read_only(tg.jacobian(lambda p: p["plain"] * 2)(p))
    assert read_only(tg.jacobian(lambda x: x[:0])(np.ones(2)))
    assert read_only(tg.hessian(lambda x: tg.sum(x**3))(np.ones(2)))
    assert read_only(tg.hvp(lambda x: tg.sum(x**3), (np.ones(2),), (np.ones(2),)))
    tape, x = tg.Tape().parameter([1.0, 2.0])
    tape, y = tape.write(tg.add, x, 1.0)
    assert read_only(tg.reverse_sweep(tape, y, cotangent=np.ones(2))[x])


def test_parameters_and_new_parameters_are_read_only():
    model = tg.nn.Sequential(tg.nn.Linear(3, 2), tg.nn.Embedding(4, 2), tg.nn.RNNCell(2, 2, 2))
    params = model.init(0)
    assert read_only(params)
    assert read_only(tg.nn.RNNCell(2, 3, 2).initial_hidden(4))
    for optimizer in (tg.optim.SGD(0.1), tg.optim.SGD(0.1, momentum=0.9)):
        state = optimizer.init(params)
        assert read_only(state.velocity)
        assert read_only(optimizer.update(params, params, state)[0])
        assert read_only(optimizer.update(params, params, state)[1].velocity)


@given(VECTORS)
def test_no_result_can_be_made_writeable_through_a_record(x):
    def fn(x):
        return x[1:] * 2, x.reshape(2, 2), x.T, x[0]

    output, tape = tg.record(fn)(x)
    check_tape(tape)
    for y in output:
        with pytest.raises(ValueError, match="read-only"):
            y.value[...] = 0


def test_a_result_that_is_not_recorded_is_not_the_callers_array_frozen():
    kept = np.array(3.0)
    value, _ = tg.value_and_grad(lambda x: kept)(1.0)
    assert kept.flags.writeable
    assert not value.flags.writeable
    kept[...] = 7.0
    assert value == 3.0


# --- what the caller does afterwards ------------------------------------------------------


@pytest.mark.parametrize("kind", arrays())
def test_writing_to_a_parameters_array_afterwards_changes_no_gradient(kind):
    base = arrays()[kind]
    x = base if base.flags.writeable or base.base is not None else base.copy()
    tape, p = tg.Tape().parameter(x)
    tape, y = tape.write(tg.multiply, p, p)
    tape, z = tape.write(tg.sum, y)
    want = tg.reverse_sweep(tape, z)[p].copy()
    overwrite(x)
    np.testing.assert_array_equal(tg.reverse_sweep(tape, z)[p], want)
    np.testing.assert_array_equal(want, 2 * arrays()[kind])


@pytest.mark.parametrize("kind", arrays())
def test_writing_to_a_constants_array_afterwards_changes_no_gradient(kind):
    x = arrays()[kind]
    x = x if x.flags.writeable or x.base is not None else x.copy()
    tape, p = tg.Tape().parameter(np.ones((2, 3)))
    tape, y = tape.write(tg.multiply, x, p)
    tape, z = tape.write(tg.sum, y)
    overwrite(x)
    np.testing.assert_array_equal(tg.reverse_sweep(tape, z)[p], arrays()[kind])


def overwrite(x: Any) -> None:
    """Write to an array, and to what it is a view of."""
    if x.flags.writeable:
        x[...] = 99.0
    while isinstance(x.base, np.ndarray):
        x = x.base
        if x.flags.writeable:
            x[...] = 99.0


def test_writing_inside_the_recorded_function_changes_no_gradient():
    buffer = np.ones(3)

    def fn(x):
        total = 0.0
        for k in range(3):
            buffer[:] = k  # one buffer for every step
            total = total + tg.sum(buffer * x)
        buffer[:] = 99.0
        return total

    np.testing.assert_array_equal(tg.grad(fn)(np.ones(3)), [3.0, 3.0, 3.0])


def test_writing_to_the_base_of_a_read_only_view_changes_no_gradient():
    base = np.ones(3)
    view = base[:]
    view.setflags(write=False)

    def fn(x, y):
        z = tg.sum(view * x * y)
        base[:] = 99.0
        return z

    np.testing.assert_array_equal(tg.grad(fn)(np.ones(3), view), [1.0, 1.0, 1.0])


def test_a_pullback_does_not_follow_the_callers_arrays():
    x, c = np.ones(3), np.array([1.0, 2.0, 3.0])
    _, pullback = tg.vjp(lambda x: x * x * c, x)
    x[:] = c[:] = 99.0
    np.testing.assert_array_equal(pullback(np.ones(3))[0], [2.0, 4.0, 6.0])


def test_an_index_does_not_follow_the_callers_array():
    index, mask = np.array([0, 0, 2]), np.array([True, False, True])
    tape, x = tg.Tape().parameter(np.ones(3))
    tape, y = tape.write(tg.getitem, x, index)
    tape, y = tape.write(tg.index_select, y, index)
    tape, y = tape.write(tg.getitem, y, mask)
    tape, z = tape.write(tg.sum, y)
    want = tg.reverse_sweep(tape, z)[x].copy()
    index[:] = 1
    mask[:] = True
    np.testing.assert_array_equal(tg.reverse_sweep(tape, z)[x], want)


def test_an_option_does_not_follow_the_callers_list():
    axes = [1, 2, 0]
    tape, x = tg.Tape().parameter(np.ones((2, 2, 2)))
    tape, y = tape.write(tg.transpose, x, axes=axes)
    cotangent = np.arange(8.0).reshape(2, 2, 2)
    want = tg.reverse_sweep(tape, y, cotangent)[x].copy()
    axes[:] = [0, 1, 2]
    np.testing.assert_array_equal(tg.reverse_sweep(tape, y, cotangent)[x], want)


def test_a_cotangent_does_not_follow_the_callers_array():
    c = np.ones(3)
    g = tg.vjp(lambda x: x, np.ones(3))[1](c)[0]
    tape, x = tg.Tape().parameter(np.ones(3))
    h = tg.reverse_sweep(tape, x, cotangent=c)[x]
    assert c.flags.writeable
    c[:] = 99.0
    np.testing.assert_array_equal(g, np.ones(3))
    np.testing.assert_array_equal(h, np.ones(3))


# --- writing to a Tensor ------------------------------------------------------------------


def test_assigning_an_element_raises_and_names_the_line_to_write():
    def fn(t):
        with pytest.raises(TypeError, match=r"t\.at\[.*\]\.set\("):
            t[0] = 1.0
        with pytest.raises(TypeError, match=r"t = t\["):
            del t[0]
        t = t.at[0].set(1.0)
        return tg.sum(t * 2)

    np.testing.assert_array_equal(tg.grad(fn)(np.ones(3)), [0.0, 2.0, 2.0])


@pytest.mark.parametrize("symbol", ["+", "-", "*", "/", "@", "**"])
def test_an_array_changed_by_a_tensor_raises_and_names_the_line_to_write(symbol):
    def fn(t):
        array = np.eye(2)
        with pytest.raises(TypeError) as caught:
            exec(f"array {symbol}= t", {"array": array, "t": t})
        assert f"array = array {symbol} t" in str(caught.value)
        np.testing.assert_array_equal(array, np.eye(2))
        return eval(f"array {symbol} t", {"array": array, "t": t})

    output, _ = tg.record(fn)(np.ones((2, 2)))
    want = eval(f"array {symbol} t", {"array": np.eye(2), "t": np.ones((2, 2))})
    np.testing.assert_array_equal(output.value, want)


def test_out_raises_and_says_so():
    def fn(t):
        out = np.zeros(3)
        calls = (
            lambda: np.add(t, 1.0, out=out),
            lambda: np.sin(t, out),
            lambda: np.sum(t, axis=0, out=out),
            lambda: np.add(np.ones(3), np.ones(3), out=t),
            lambda: tg.add(t, 1.0, out=out),
            lambda: np.concatenate([t, t], out=out),
        )
        for call in calls:
            with pytest.raises(TypeError, match="out"):
                call()
        np.testing.assert_array_equal(out, np.zeros(3))
        return t

    tg.record(fn)(np.ones(3))


def test_out_of_a_ufunc_names_the_line_to_write():
    def fn(t):
        out = np.zeros(3)
        with pytest.raises(TypeError, match=r"out = array \+ t"):
            np.add(t, 1.0, out=out)
        return t

    tg.record(fn)(np.ones(3))


def test_a_functional_update_leaves_the_tensor_and_passes_the_gradient():
    def fn(x, v):
        y = x.at[1].set(v)
        z = y.at[[0, 0]].add(v)
        np.testing.assert_array_equal(x.value, np.ones(3))
        return tg.sum(z * np.array([1.0, 10.0, 100.0]))

    gx, gv = tg.grad(fn, argnums=(0, 1))(np.ones(3), 5.0)
    np.testing.assert_array_equal(gx, [1.0, 0.0, 100.0])
    assert gv == 10.0 + 2.0


# --- copies and attributes ----------------------------------------------------------------


def test_a_copy_of_a_record_is_the_record():
    def fn(x):
        y = x * x
        for z in (copy.copy(y), copy.deepcopy(y), copy.deepcopy({"a": [y]})["a"][0]):
            assert z is y
        return copy.deepcopy(y) * copy.copy(x)

    assert tg.grad(fn)(2.0) == 12.0
    _, tape = tg.record(fn)(2.0)
    assert copy.copy(tape) is tape
    assert copy.deepcopy(tape) is tape
    assert copy.deepcopy(tg.add) is tg.add


def things() -> dict[str, Any]:
    tape, x = tg.Tape().parameter([1.0, 2.0], name="x")
    params = tg.nn.Linear(2, 3).init(0)
    optimizer = tg.optim.SGD(0.1, momentum=0.9)
    return {
        "tensor": x,
        "tape": tape,
        "op": tg.add,
        "custom op": tg.custom_op(vjps=(None,))(lambda x: x),
        "grad": tg.grad(loss),
        "jacobian": tg.jacobian(loss),
        "pullback": tg.vjp(lambda x: x, 1.0)[1],
        "linear": tg.nn.Linear(2, 3),
        "embedding": tg.nn.Embedding(2, 3),
        "tanh": tg.nn.Tanh(),
        "sigmoid": tg.nn.Sigmoid(),
        "sequential": tg.nn.Sequential(tg.nn.Tanh()),
        "rnn": tg.nn.RNNCell(2, 3, 4),
        "parameters": params,
        "rnn parameters": tg.nn.RNNCell(2, 3, 4).init(0),
        "optimizer": optimizer,
        "state": optimizer.init(params),
        "structure": tg.tree.flatten(params)[1],
        "place": x.at[0],
    }


@pytest.mark.parametrize("kind", things())
def test_attributes_cannot_be_set(kind):
    thing = things()[kind]
    names = [field.name for field in attrs.fields(type(thing))]
    for name in [*names, "a_new_one"]:
        with pytest.raises((attrs.exceptions.FrozenInstanceError, AttributeError)):
            setattr(thing, name, 1.0)
    for name in names:
        with pytest.raises(attrs.exceptions.FrozenInstanceError):
            setattr(thing, name, 1.0)
        with pytest.raises(attrs.exceptions.FrozenInstanceError):
            delattr(thing, name)


def test_options_and_gradients_cannot_be_set():
    tape, x = tg.Tape().parameter([1.0, 2.0])
    tape, y = tape.write(tg.sum, x, axis=0)
    with pytest.raises(TypeError):
        y.options["axis"] = 1
    with pytest.raises(TypeError):
        tg.reverse_sweep(tape, y)[x] = 0.0
    with pytest.raises(ValueError, match="read-only"):
        x.value[0] = 0.0


def test_the_options_of_a_call_do_not_follow_the_callers_dict():
    options = {"axis": 0}
    tape, x = tg.Tape().parameter(np.ones((2, 3)))
    tape, y = tape.write(tg.sum, x, **options)
    options["axis"] = 1
    assert dict(y.options) == {"axis": 0}


@given(st.integers(0, 2**32), st.integers(0, 5))
def test_a_seed_sequence_is_as_it_was_after_init(entropy, spawned):
    key = np.random.SeedSequence(entropy)
    key.spawn(spawned)
    before = (key.entropy, key.spawn_key, key.pool_size, key.n_children_spawned, str(key.state))
    pool = key.pool.copy()
    for layer in (tg.nn.Linear(2, 2), tg.nn.Sequential(tg.nn.Linear(2, 2)), tg.nn.RNNCell(1, 1, 1)):
        layer.init(key)
    assert (
        key.entropy,
        key.spawn_key,
        key.pool_size,
        key.n_children_spawned,
        str(key.state),
    ) == before
    np.testing.assert_array_equal(key.pool, pool)


def test_no_global_random_stream_is_drawn_from():
    state = np.random.get_state()  # noqa: NPY002
    model = tg.nn.Sequential(tg.nn.Linear(2, 2), tg.nn.Embedding(3, 2), tg.nn.RNNCell(2, 2, 2))
    params = model.layers[0].init(0)
    model.init(1)
    tg.grad(lambda p: tg.sum(model.layers[0](p, np.ones((1, 2)))))(params)
    after = np.random.get_state()  # noqa: NPY002
    assert state[0] == after[0]
    np.testing.assert_array_equal(state[1], after[1])
    assert state[2:] == after[2:]
