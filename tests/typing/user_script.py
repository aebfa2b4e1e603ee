"""What a user types, for type checkers: right calls pass, and wrong ones are reported.

It is checked, not run; `wrong_calls.py` has more wrong calls. A wrong call carries a comment that silences the report, and the
checkers are told to complain about a comment that silences nothing.
"""

from typing import Any, TypeAlias, assert_type

import numpy as np
import numpy.typing as npt

import tapegrad as tg

Array: TypeAlias = npt.NDArray[np.float64]
Params: TypeAlias = dict[str, Array]


def loss(params: Params, x: Array, power: float = 2.0) -> Array:
    """A loss of a tree of parameters."""
    return tg.sum((params["w"] * x) ** power)


def energy(x: Array) -> Array:
    """A loss of an array."""
    return tg.sum(x**3)


def with_aux(params: Params, x: Array) -> tuple[Array, str]:
    """A loss, and something beside it."""
    return loss(params, x), "aux"


params: Params = {"w": np.ones(3)}
x: Array = np.arange(3.0)

# a tree in, a tree out, and the function's other parameters by name
assert_type(tg.grad(loss)(params, x), Params)
assert_type(tg.grad(loss)(params, x, power=3.0), Params)
assert_type(tg.value_and_grad(loss)(params, x), tuple[Array, Params])
assert_type(tg.grad(with_aux, has_aux=True)(params, x), tuple[Params, str])
assert_type(tg.value_and_grad(with_aux, has_aux=True)(params, x), tuple[tuple[Array, str], Params])
assert_type(tg.grad(tg.grad(energy))(x), Array)
assert_type(tg.grad(tg.grad(energy, 0), argnums=0)(x), Array)
tg.grad(with_aux, 1, True)
tg.value_and_grad(with_aux, argnames="x", has_aux=bool(x[0]))
tg.grad(loss, argnums=(0, 1))(params, x=x)

output, pullback = tg.vjp(loss, params, x, 2.0)
assert_type(output, Array)
assert_type(pullback(np.ones(())), tuple[Params, Array, float])
assert_type(tg.jvp(loss, (params, x, 2.0), (params, x, 1.0)), tuple[Array, Array])
assert_type(tg.jvp(energy, (x,), (None,)), tuple[Array, Array])
assert_type(tg.jvp(energy, [x], [x]), tuple[Any, Any])

assert_type(tg.compile(loss)(params, x), Array)
assert_type(tg.compile(tg.value_and_grad(loss))(params, x), tuple[Array, Params])
assert_type(tg.checkpoint(loss)(params, x), Array)
assert_type(tg.record(loss)(params, x), tuple[Array, tg.Tape])
print(tg.compile(loss).program(params, x))

# a record is an array, also by hand
tape, weight = tg.Tape().parameter([1.0, 2.0], name="w")
tape, squared = tape.write(tg.multiply, weight, weight)
tape, both = tape.write(tg.concatenate, [weight, squared], axis=0)
print(tape.show(squared), weight * 2 + squared.sum(), [record + 1 for record in tape], -tape[0])


def halves(t: tg.Tensor) -> Any:
    """Operators, methods and attributes of a Tensor."""
    return abs(t.reshape(-1)[::2] / 2).sum() @ t.T + t.value, t.shape, t.op.name, t.nonsense  # type: ignore[attr-defined]  # pyright: ignore[reportAttributeAccessIssue]


# a lambda's arguments have no types
cubed: Any = tg.grad(lambda t: t**3)(2.0)
twice: Any = tg.grad(tg.grad(lambda t: t**3))(2.0)


@tg.custom_op(vjps=(lambda g, y, t: g * 3 * t**2,))
def cube(t: Array, scale: float = 1.0) -> Array:
    """An op of the user's own."""
    return scale * t**3


@tg.custom_vjp(lambda residuals, g: (g,))
def same(t: Array) -> Array:
    """A function with a rule of its own."""
    return t


cube(x, scale=2.0)
assert_type(same(x), Array)
tg.sum(x, axis=0, keepdims=True)
tg.var(x, axis=0)

tg.optim.SGD(tg.optim.piecewise([0.1, 0.01], boundaries=[100]))
optimizer = tg.optim.SGD(0.1)
state = optimizer.init(params)
new_params, state = optimizer.update(params, tg.grad(loss)(params, x), state)
assert_type(new_params, Params)

tg.grad(loss, argnames=("x", "power"))(params, x=x, power=2.0)
tg.hessian_diag(loss, argnames="params")(params, x)
assert_type(tg.implicit_root(lambda y, t: y * y - t, same)(x), Array)

assert_type(tg.vmap(same, in_axes=0)(x), Array)
tg.vmap(loss, in_axes=({"w": 0}, None), out_axes=None)
tg.vmap(same, in_axes={"w": 0}, out_axes=tg.optim.SGDState(x))
assert_type(tg.vmap(tg.grad(loss), in_axes=(None, 0))(params, x), Params)
value, push = tg.linearize(same, x)
assert_type(push(x), Array)
assert_type(tg.hvp(loss, (params,), (params,)), Params)
tg.jacobian(same, mode="forward")(x)


def halved(carry: Array, row: Array) -> tuple[Array, Array]:
    """A step of a loop."""
    return carry / 2 + row, carry


def halved_pair(carry: tuple[Array, Array], _: None) -> tuple[tuple[Array, Array], Array]:
    """A step of a loop with two arrays in its carry, and without rows."""
    return (carry[1], carry[0] / 2), carry[0]


assert_type(tg.vmap(halved, (None, 0), out_axes=[0, 1])(x, x), tuple[Array, Array])
assert_type(tg.scan(halved, 0.0, x), tuple[Array, Array])
assert_type(tg.scan(halved_pair, (0.0, x), length=3), tuple[tuple[Array, Array], Array])
assert_type(tg.scan(tg.checkpoint(halved), x, x, checkpoint="binomial"), tuple[Array, Array])
assert_type(tg.fori_loop(0, 3, lambda i, carry: same(carry), x), Array)
assert_type(tg.while_loop(lambda carry: tg.any(carry > 1), same, x), Array)
assert_type(tg.cond(True, same, tg.zeros_like, x), Array)
assert_type(tg.optim.clip_by_global_norm(params, 1.0)[0], Params)
assert_type(tg.tree.update(params, {"w": x}), Params)
assert_type(tg.load("params.npz", like=params), Params)
for batch in tg.data.batches(None, params, 2):
    assert_type(batch, Params)

# functions of arrays
matrix = assert_type(tg.reshape([1.0, 2.0, 3.0, 4.0], (2, -1)), npt.NDArray[Any])
assert_type(tg.reshape(x, 3, order="F"), npt.NDArray[Any])
assert_type(tg.matmul(matrix, [[1.0], [2.0]]), npt.NDArray[Any])
assert_type(tg.sum(matrix, axis=(0, 1), dtype="float32", keepdims=True), npt.NDArray[Any])
assert_type(tg.mean([1, 2, 3], 0), npt.NDArray[Any])
assert_type(tg.where(x > 0, x, 0.0), npt.NDArray[Any])
assert_type(tg.concatenate([x, np.ones(2)]), npt.NDArray[Any])
assert_type(tg.concatenate(matrix, axis=None), npt.NDArray[Any])
assert_type(tg.stack((x, x), axis=-1), npt.NDArray[Any])

# layers and losses
linear = tg.nn.Linear(3, 2)
assert_type(linear.init(tg.random.key(0), np.float32).weight, npt.NDArray[Any])
assert_type(linear(linear.init(0), x), npt.NDArray[Any])
model = tg.nn.Sequential(linear, np.tanh, tg.nn.Dropout(0.5), tg.nn.BatchNorm(2), lambda t: t * 2)
model(model.init(0), x, model.initial_state(), training=True)
assert_type(tg.nn.mse_loss(x, [1.0, 2.0, 3.0], "none"), npt.NDArray[Any])
assert_type(tg.nn.huber_loss(x, x, delta=0.5, reduction="sum"), npt.NDArray[Any])

# optimizers, each with its own state
assert_type(tg.optim.SGD(0.1, momentum=np.float32(0.9)).init(params), tg.optim.SGDState)
adam = tg.optim.Adam(lambda step: 0.1 / (step + 1), decay=lambda path, leaf: leaf.ndim > 1)
assert_type(adam.init(params), tg.optim.AdamState)
assert_type(adam.update(params, params, adam.init(params)), tuple[Params, tg.optim.AdamState])
assert_type(adam.init(params).mean["w"], Any)


class Still(tg.optim.Optimizer):
    """An optimizer of the user's own."""


def start(optimizer: tg.optim.Optimizer) -> Any:
    """Take any optimizer."""
    return optimizer.init(params)


start(Still(0.1))

# random draws
key = tg.random.key(0)
assert_type(tg.random.normal(key, (2, 3), np.float32), npt.NDArray[Any])
assert_type(tg.random.uniform(0, 3, low=x, high=2.0), npt.NDArray[Any])
assert_type(tg.random.permutation(key, 10), npt.NDArray[Any])

# a function of a tree's leaves may return leaves of another type
assert_type(tg.tree.map(np.shape, params), Any)
assert_type(tg.tree.map(lambda p, g: p - 0.1 * g, params, params), Any)
assert_type(tg.tree.map(lambda p, g, m: (p, g, m), params, params, params), Any)

# --- wrong calls ----------------------------------------------------------------------

tg.grad(loss)(params)  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
tg.grad(loss)(x, x)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
tg.grad(loss)(params, x, pwer=3.0)  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
tg.value_and_grad(loss)(params, x, 2.0, 1)  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
tg.compile(loss)(params)  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
tg.compile(loss).program(params)  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
tg.checkpoint(loss)(x, x)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
tg.record(loss)(params)  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
tg.vmap(loss)(params)  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
tg.hessian(loss)(params)  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
cube(x, scal=2.0)  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
same(x, x)  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
tg.scan(same, x, x)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
tg.sum(x, axs=0)  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
tg.var(x, axs=0)  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
tg.scatter(x)  # type: ignore[attr-defined]  # pyright: ignore[reportAttributeAccessIssue]
