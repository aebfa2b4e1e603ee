"""The costs of the functional design."""

from __future__ import annotations

import inspect

import numpy as np
from stateful import SGD, Linear, Tensor

import tapegrad as tg
from contrasts.case import Cost, attempt
from tapegrad.types import Array


class KeyReused(Cost):
    """Do two draws differ? With the same key they do not.

    You split keys by hand, one for each use: `a, b = tg.random.split(key)`. A forgotten split
    is a silent bug that only the functional design has.
    """

    right = True
    wrong = False

    def stateful(self) -> object:
        return not np.array_equal(np.random.randn(3), np.random.randn(3))

    def tapegrad(self) -> object:
        key = tg.random.key(0)
        return not np.array_equal(tg.random.normal(key, (3,)), tg.random.normal(key, (3,)))


class TiedTwice(Cost):
    """Two layers share a weight: is it still shared after a step?

    A tree keeps no identities: an array that is in it twice becomes two arrays in the first
    update. Store it once, and use it twice in your function.
    """

    right = True
    wrong = False

    def stateful(self) -> object:
        encoder = decoder = Tensor([1.0], autograd=True)
        (encoder * Tensor([3.0], autograd=True)).backward()
        SGD([encoder], alpha=0.1).step()
        return np.array_equal(encoder.data, decoder.data)

    def tapegrad(self) -> object:
        weight = np.array([1.0])
        params = {"encoder": weight, "decoder": weight}
        gradients = tg.grad(lambda p: tg.sum(p["encoder"] * 3.0))(params)
        params = tg.tree.map(lambda p, g: p - 0.1 * g, params, gradients)
        return np.array_equal(params["encoder"], params["decoder"])


class Threading(Cost):
    """How many arguments and results does a training step have besides the data?

    You pass parameters, optimizer state and keys for dropout through every function. A stateful
    object hides them.
    """

    right = 0
    wrong = 2

    def stateful(self) -> object:
        w = Tensor([1.0], autograd=True)
        optimizer = SGD([w], alpha=0.1)

        def step(x: Tensor) -> None:
            optimizer.zero()
            (w * x).backward()
            optimizer.step()

        x = Tensor([3.0], autograd=True)
        step(x)
        return len(inspect.signature(step).parameters) - 1

    def tapegrad(self) -> object:
        optimizer = tg.optim.SGD(learning_rate=0.1, momentum=0.9)

        def step(w: Array, state: tg.optim.SGDState, x: Array) -> tuple[Array, tg.optim.SGDState]:
            gradient = tg.grad(lambda w: tg.sum(w * x))(w)
            return optimizer.update(w, gradient, state)

        w, x = np.array([1.0]), np.array([3.0])
        state = optimizer.init(w)
        for _ in range(2):
            w, state = step(w, state, x)
        return len(inspect.signature(step).parameters) - 1


class ByProducts(Cost):
    """Can a layer leave a by-product on an object for later use?

    Every function on the way out must return by-products, the last one with `has_aux=True`.
    A Tensor on an object belongs to a closed tape.
    """

    right = True
    wrong = False

    def stateful(self) -> object:
        seen = []

        def loss(w: Tensor) -> Tensor:
            h = w * w
            seen.append(h)
            return h

        loss(Tensor(3.0, autograd=True)).backward()
        return not isinstance(attempt(lambda: seen[0] + seen[0]), str)

    def tapegrad(self) -> object:
        seen = []

        def loss(w: float) -> float:
            h = w * w
            seen.append(h)
            return h

        tg.grad(loss)(3.0)
        return not isinstance(attempt(lambda: seen[0] + seen[0]), str)


class ResultForgotten(Cost):
    """A call sets a bias to 1, and its result is not used: has the bias changed?

    To change a field, you build a new tree and use it from then on. If you forget to use it,
    nothing happens, and no error is raised.
    """

    right = True
    wrong = False

    def stateful(self) -> object:
        layer = Linear(2, 3)
        layer.bias.data[:] = 1
        return bool(layer.bias.data.all())

    def tapegrad(self) -> object:
        params = tg.nn.Linear(2, 3).init(0)
        tg.tree.update(params, {"bias": np.ones(3)})
        return bool(params.bias.all())


class CopyPerUpdate(Cost):
    """Does an update write into the memory of the parameters?

    Old parameters stay valid, so new ones need other memory. A compiled program can reuse
    buffers; a recorded step makes a copy.
    """

    right = True
    wrong = False

    def stateful(self) -> object:
        w = Tensor(np.ones(1000), autograd=True)
        before = w.data
        (w + w).backward()
        SGD([w], alpha=0.1).step()
        return np.shares_memory(w.data, before)

    def tapegrad(self) -> object:
        optimizer, before = tg.optim.SGD(learning_rate=0.1), np.ones(1000)
        after, _ = optimizer.update(before, np.ones(1000), optimizer.init(before))
        return np.shares_memory(after, before)
