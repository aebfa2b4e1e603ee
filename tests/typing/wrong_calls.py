"""Wrong arguments of the functions that users call most: both type checkers report each call.

It is checked, not run, as `user_script.py` is. Each call is wrong in one argument.
"""

from typing import TypeAlias

import numpy as np
import numpy.typing as npt

import tapegrad as tg

Array: TypeAlias = npt.NDArray[np.float64]
Params: TypeAlias = dict[str, Array]


def loss(params: Params, x: Array, power: float = 2.0) -> Array:
    """A loss of a tree of parameters."""
    return tg.sum((params["w"] * x) ** power)


def same(x: Array) -> Array:
    """A function of one array."""
    return x


def step(carry: Array, row: Array) -> tuple[Array, Array]:
    """A step of a loop."""
    return carry + row, carry


def describe(x: Array) -> str:
    """A function with no derivative."""
    return str(x)


params: Params = {"w": np.ones(3)}
x: Array = np.arange(3.0)

# grad
tg.grad(x)  # type: ignore[call-overload]  # pyright: ignore[reportArgumentType, reportCallIssue]
tg.grad(describe)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType, reportCallIssue]
tg.grad(tg.grad(loss))  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType, reportCallIssue]
tg.grad(loss, argnums="params")  # type: ignore[call-overload]  # pyright: ignore[reportArgumentType, reportCallIssue]
tg.grad(loss, argnums=1.0)  # type: ignore[call-overload]  # pyright: ignore[reportArgumentType, reportCallIssue]
tg.grad(loss, argnames=0)  # type: ignore[call-overload]  # pyright: ignore[reportArgumentType]
tg.grad(loss, has_aux=True)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType, reportCallIssue]
tg.grad(loss, has_aux="yes")  # type: ignore[call-overload]  # pyright: ignore[reportArgumentType, reportCallIssue]
tg.grad(loss, check_finite="yes")  # type: ignore[call-overload]  # pyright: ignore[reportArgumentType, reportCallIssue]
tg.grad(loss, unused="error")  # type: ignore[call-overload]  # pyright: ignore[reportArgumentType, reportCallIssue]
tg.grad(loss)(x, x)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]

# value_and_grad
tg.value_and_grad(x)  # type: ignore[call-overload]  # pyright: ignore[reportArgumentType, reportCallIssue]
tg.value_and_grad(describe)  # type: ignore[type-var]  # pyright: ignore[reportArgumentType, reportCallIssue]
tg.value_and_grad(loss, argnums="params")  # type: ignore[call-overload]  # pyright: ignore[reportArgumentType, reportCallIssue]
tg.value_and_grad(loss, has_aux=True)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType, reportCallIssue]
tg.value_and_grad(loss, has_aux="yes")  # type: ignore[call-overload]  # pyright: ignore[reportArgumentType, reportCallIssue]
tg.value_and_grad(loss, unused="error")  # type: ignore[call-overload]  # pyright: ignore[reportArgumentType, reportCallIssue]
tg.value_and_grad(loss)(params, params)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]

# jvp
tg.jvp(same, x, x)  # type: ignore[call-overload]  # pyright: ignore[reportArgumentType, reportCallIssue]
tg.jvp(same, (x,), x)  # type: ignore[call-overload]  # pyright: ignore[reportArgumentType, reportCallIssue]
tg.jvp(same, (params,), (x,))  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType, reportCallIssue]
tg.jvp(same, (x,), (x, x))  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType, reportCallIssue]
tg.jvp(loss, (params, x), (x,))  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType, reportCallIssue]
tg.jvp(loss, (params, x), (params, x), has_aux=True)  # type: ignore[call-overload]  # pyright: ignore[reportArgumentType, reportCallIssue]

# vjp
tg.vjp(x, x)  # type: ignore[call-overload]  # pyright: ignore[reportArgumentType]
tg.vjp(same, params)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
tg.vjp(loss, params)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
tg.vjp(loss, params, x, has_aux=True)  # type: ignore[call-overload]  # pyright: ignore[reportArgumentType, reportCallIssue]

# vmap
tg.vmap(x)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
tg.vmap(same, in_axes="rows")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
tg.vmap(same, in_axes=1.0)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
tg.vmap(same, out_axes="rows")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
tg.vmap(same, axis=0)  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
tg.vmap(same)(params)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]

# scan
tg.scan(x, x, x)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
tg.scan(same, x, x)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
tg.scan(step, params, x)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
tg.scan(step, x, params)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
tg.scan(step, x, x, length="3")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
tg.scan(step, x, x, reverse="yes")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
tg.scan(step, x, x, checkpoint="binom")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]

# compile
tg.compile(x)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
tg.compile(loss, static_argnums="power")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
tg.compile(loss, passes=["fuse"])  # type: ignore[list-item]  # pyright: ignore[reportArgumentType]
tg.compile(loss, check="yes")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
tg.compile(loss)(x, x)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]

# record and Tape
tg.record(x)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
tg.record(loss, lines="yes")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
tg.record(loss)(x, x)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
tg.Tape().parameter(params)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
tg.Tape().parameter("x")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
tg.Tape().parameter(x, name=0)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
tg.Tape().write("multiply", x, x)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType, reportCallIssue]
tg.Tape().write(same, x)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType, reportCallIssue]
tg.Tape().write(tg.sum, params)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]

# sum
tg.sum(params)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
tg.sum("x")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
tg.sum(None)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
tg.sum(x, axis="rows")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
tg.sum(x, axis=1.0)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
tg.sum(x, dtype=3)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
tg.sum(x, keepdims="yes")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]

# mean
tg.mean(params)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
tg.mean("x")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
tg.mean(x, axis=[0.5])  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
tg.mean(x, dtype=3)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
tg.mean(x, where="x")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]

# reshape
tg.reshape(x)  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
tg.reshape(params, (3,))  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
tg.reshape("x", (3,))  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
tg.reshape(x, "3")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
tg.reshape(x, 3.0)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
tg.reshape(x, (3.0,))  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
tg.reshape(x, 3, 1)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
tg.reshape(x, (3,), order="A")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]

# matmul
tg.matmul(x)  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
tg.matmul(x, params)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
tg.matmul(x, "x")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
tg.matmul(x, None)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
tg.matmul(x, x, transpose=True)  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]

# where
tg.where(x > 0, x)  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
tg.where(x > 0, x, params)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
tg.where("x > 0", x, x)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
tg.where(x > 0, x, None)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]

# concatenate
tg.concatenate(x, x)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
tg.concatenate(params)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
tg.concatenate([x, params])  # type: ignore[list-item]  # pyright: ignore[reportArgumentType]
tg.concatenate([x, "x"])  # type: ignore[list-item]  # pyright: ignore[reportArgumentType]
tg.concatenate([x, x], axis="rows")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
tg.concatenate([x, x], axes=0)  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]

# stack
tg.stack(x, x)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
tg.stack(params)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
tg.stack([x, params])  # type: ignore[list-item]  # pyright: ignore[reportArgumentType]
tg.stack([x, x], axis=None)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
tg.stack([x, x], axis="rows")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]

# a layer
layer = tg.nn.Linear(3, 2)
tg.nn.Linear(3)  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
tg.nn.Linear("3", 2)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
tg.nn.Linear(3.0, 2)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
layer.init()  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
layer.init("seed")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
layer.init(0.5)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
layer.init(0, 32)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
layer(x)  # type: ignore[arg-type, call-arg]  # pyright: ignore[reportCallIssue]
layer(x, layer.init(0))  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
layer(layer.init(0), params)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
tg.nn.Sequential([layer, layer])  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
tg.nn.Sequential(tg.nn.Linear)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
tg.nn.Sequential(layer, 3)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]

# losses
tg.nn.mse_loss(x)  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
tg.nn.mse_loss(x, params)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
tg.nn.mse_loss(x, "x")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
tg.nn.mse_loss(x, x, "average")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
tg.nn.l1_loss(x, x, reduction=None)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
tg.nn.huber_loss(x, x, delta="1")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
tg.nn.cross_entropy_loss(params, x)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
tg.nn.cross_entropy_loss(x, x, reduction="average")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
tg.nn.one_hot(x, 3.0)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]

# optimizers
optimizer = tg.optim.Adam(0.1)
state = optimizer.init(params)
tg.optim.SGD()  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
tg.optim.SGD("0.1")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
tg.optim.SGD(lambda step: "0.1")  # type: ignore[arg-type, return-value]  # pyright: ignore[reportArgumentType]
tg.optim.SGD(0.1, momentum="0.9")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
tg.optim.SGD(0.1, momentum=None)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
tg.optim.SGD(0.1, 0.9, nesterov="yes")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
tg.optim.Adam("0.1")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
tg.optim.Adam(0.1, beta1="0.9")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
tg.optim.Adam(0.1, beta=0.9)  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
tg.optim.Adam(0.1, weight_decay=params)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
tg.optim.Adam(0.1, decay=0.1)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
optimizer.update(params, params)  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
optimizer.update(params, params, params)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
optimizer.update(params, params, tg.optim.SGD(0.1).init(params))  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]

# random draws
tg.random.key("seed")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
tg.random.split(0, "2")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
tg.random.normal()  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
tg.random.normal("seed")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
tg.random.normal((3,), 0)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
tg.random.normal(0, "3")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
tg.random.normal(0, (3.0,))  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
tg.random.uniform(0, 3, low="0")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
tg.random.uniform(0, 3, 0.0, 1.0, 32)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
tg.random.bernoulli(0, "0.5")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
tg.random.integers(0, 3, 0.5, 2)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
tg.random.permutation(0, "abc")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]

# tree.map
tg.tree.map(same)  # type: ignore[call-overload]  # pyright: ignore[reportCallIssue]
tg.tree.map(params, same)  # type: ignore[call-overload]  # pyright: ignore[reportArgumentType]
tg.tree.map(same, params, params)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
tg.tree.map(step, params)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
