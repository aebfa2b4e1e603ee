"""What the functional design costs."""

from __future__ import annotations

import inspect
from typing import Any

import numpy as np
from stateful import SGD, Linear, Tensor

import tapegrad as tg
from contrasts.case import Cost, attempt


class KeyReused(Cost):
    """Do two draws differ? With the same key they do not.

    Keys are split by hand, one for each use: `a, b = tg.random.split(key)`. Forgetting
    that is the functional design's own silent bug.
    """

    right = True
    wrong = False

    def stateful(self) -> Any:
        return not np.array_equal(np.random.randn(3), np.random.randn(3))

    def tapegrad(self) -> Any:
        key = tg.random.key(0)
        return not np.array_equal(tg.random.normal(key, (3,)), tg.random.normal(key, (3,)))


class TiedTwice(Cost):
    """Two layers share a weight: is it still shared after a step?

    A tree has no identity: what stands in it twice is two arrays after the first update.
    Store it once, and pass it to both places in your function.
    """

    right = True
    wrong = False

    def stateful(self) -> Any:
        encoder = decoder = Tensor([1.0], autograd=True)
        (encoder * Tensor([3.0], autograd=True)).backward()
        SGD([encoder], alpha=0.1).step()
        return np.array_equal(encoder.data, decoder.data)

    def tapegrad(self) -> Any:
        weight = np.array([1.0])
        params = {"encoder": weight, "decoder": weight}
        gradients = tg.grad(lambda p: tg.sum(p["encoder"] * 3.0))(params)
        params = tg.tree.map(lambda p, g: p - 0.1 * g, params, gradients)
        return np.array_equal(params["encoder"], params["decoder"])


class Threading(Cost):
    """How many values does a step of training take and return besides the data?

    Parameters and the optimizer's state, and keys where there is dropout, are threaded by
    hand through every function. A stateful object keeps them out of sight.
    """

    right = 0
    wrong = 2

    def stateful(self) -> Any:
        w = Tensor([1.0], autograd=True)
        optimizer = SGD([w], alpha=0.1)

        def step(x: Tensor) -> None:
            optimizer.zero()
            (w * x).backward()
            optimizer.step()

        x = Tensor([3.0], autograd=True)
        step(x)
        return len(inspect.signature(step).parameters) - 1

    def tapegrad(self) -> Any:
        optimizer = tg.optim.SGD(learning_rate=0.1, momentum=0.9)

        def step(w: Any, state: Any, x: Any) -> Any:
            gradient = tg.grad(lambda w: tg.sum(w * x))(w)
            return optimizer.update(w, gradient, state)

        w, x = np.array([1.0]), np.array([3.0])
        state = optimizer.init(w)
        for _ in range(2):
            w, state = step(w, state, x)
        return len(inspect.signature(step).parameters) - 1


class ByProducts(Cost):
    """Can a layer leave what it saw where somebody will look for it?

    By-products must be returned through every function on the way out, at the end
    with `has_aux=True`. A Tensor that is left on an object is of a closed tape.
    """

    right = True
    wrong = False

    def stateful(self) -> Any:
        seen = []

        def loss(w: Tensor) -> Tensor:
            h = w * w
            seen.append(h)
            return h

        loss(Tensor(3.0, autograd=True)).backward()
        return not isinstance(attempt(lambda: seen[0] + seen[0]), str)

    def tapegrad(self) -> Any:
        seen = []

        def loss(w: Any) -> Any:
            h = w * w
            seen.append(h)
            return h

        tg.grad(loss)(3.0)
        return not isinstance(attempt(lambda: seen[0] + seen[0]), str)


class ResultForgotten(Cost):
    """A bias is set to 1, and the result of the call is not used: is it set?

    To change one field is to build a new tree, and to hand that on. If you forget to,
    nothing happens, and nothing says so.
    """

    right = True
    wrong = False

    def stateful(self) -> Any:
        layer = Linear(2, 3)
        layer.bias.data[:] = 1
        return bool(layer.bias.data.all())

    def tapegrad(self) -> Any:
        params = tg.nn.Linear(2, 3).init(0)
        tg.tree.update(params, {"bias": np.ones(3)})
        return bool(params.bias.all())


class CopyPerUpdate(Cost):
    """Does an update get by without a second array of the parameters' size?

    Old parameters stay valid, so new ones need memory of their own. A compiled program
    can use buffers again; a recorded step makes a copy.
    """

    right = True
    wrong = False

    def stateful(self) -> Any:
        w = Tensor(np.ones(1000), autograd=True)
        before = w.data
        (w + w).backward()
        SGD([w], alpha=0.1).step()
        return np.shares_memory(w.data, before)

    def tapegrad(self) -> Any:
        optimizer, before = tg.optim.SGD(learning_rate=0.1), np.ones(1000)
        after, _ = optimizer.update(before, np.ones(1000), optimizer.init(before))
        return np.shares_memory(after, before)
