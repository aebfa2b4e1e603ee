"""What a user types, for type checkers: right calls pass, and wrong ones are reported.

It is checked, not run. A wrong call carries a comment that silences the report, and the
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
assert_type(tg.grad(tg.grad(loss))(params, x), Params)
tg.grad(loss, argnums=(0, 1))(params, x=x)

output, pullback = tg.vjp(loss, params, x, 2.0)
assert_type(output, Array)
assert_type(pullback(np.ones(())), tuple[Params, Array, float])
assert_type(tg.jvp(loss, (params, x, 2.0), (params, x, 1.0)), tuple[Array, Array])

assert_type(tg.compile(loss)(params, x), Array)
assert_type(tg.compile(tg.value_and_grad(loss))(params, x), tuple[Array, Params])
assert_type(tg.checkpoint(loss)(params, x), Array)
assert_type(tg.record(loss)(params, x), tuple[Array, tg.Tape])
print(tg.compile(loss).program(params, x))

# a record is an array, also by hand
tape, weight = tg.Tape().parameter([1.0, 2.0], name="w")
tape, squared = tape.write(tg.multiply, weight, weight)
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
assert_type(tg.vmap(tg.grad(loss), in_axes=(None, 0))(params, x), Params)
value, push = tg.linearize(same, x)
assert_type(push(x), Array)
assert_type(tg.hvp(loss, (params,), (params,)), Params)
tg.jacobian(same, mode="forward")(x)


def halved(carry: Array, row: Array) -> tuple[Array, Array]:
    """A step of a loop."""
    return carry / 2 + row, carry


assert_type(tg.scan(halved, 0.0, x)[0], Array)
assert_type(tg.fori_loop(0, 3, lambda i, carry: same(carry), x), Array)
assert_type(tg.while_loop(lambda carry: tg.any(carry > 1), same, x), Array)
assert_type(tg.cond(True, same, tg.zeros_like, x), Array)
assert_type(tg.optim.clip_by_global_norm(params, 1.0)[0], Params)
assert_type(tg.tree.update(params, {"w": x}), Params)
assert_type(tg.load("params.npz", like=params), Params)
for batch in tg.data.batches(None, params, 2):
    assert_type(batch, Params)

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
