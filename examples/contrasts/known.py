"""The known faults of a stateful framework."""

from __future__ import annotations

import numpy as np
import stateful
from stateful import Linear, Tensor

import tapegrad as tg
from contrasts.case import Fault, attempt
from contrasts.models import FirstTensor
from tapegrad.types import Array


class UsedTwice(Fault):
    """A tensor used twice keeps only its last gradient.

    The sweep sums the contributions of all uses before it reaches the record.
    """

    right = 2
    wrong = 1

    def stateful(self) -> object:
        x = FirstTensor(3.0)
        (x + x).backward(1.0)
        return x.grad

    def tapegrad(self) -> object:
        return tg.grad(lambda x: x + x)(3.0)


class NotCleared(Fault):
    """Gradients must be cleared by hand, or those from earlier steps are added.

    `grad` returns the gradients. There is nothing to clear.
    """

    right = 2
    wrong = 6

    def stateful(self) -> object:
        w = Tensor(1.0, autograd=True)
        for _ in range(3):
            (w + w).backward()
        return w.grad

    def tapegrad(self) -> object:
        for _ in range(3):
            gradient = tg.grad(lambda w: w + w)(1.0)
        return gradient


class RandomIds(Fault):
    """A random id identifies a tensor, and two tensors can have the same id.

    The object and its line on the tape identify a record.
    """

    right = 1000
    wrong = 993

    def stateful(self) -> object:
        np.random.seed(0)
        return len({Tensor(0.0).id for _ in range(1000)})

    def tapegrad(self) -> object:
        _, tape = tg.record(lambda x: [x + 1.0 for _ in range(999)])(0.0)
        return len({record.index for record in tape})


class DisturbedStream(Fault):
    """One more tensor in the program changes all weights that are drawn after it.

    Weights are a function of a key, and no other code draws from it.
    """

    right = True
    wrong = False

    def stateful(self) -> object:
        np.random.seed(0)
        before = Linear(2, 3).weight.data
        np.random.seed(0)
        Tensor("a note")
        return np.array_equal(Linear(2, 3).weight.data, before)

    def tapegrad(self) -> object:
        before = tg.nn.Linear(2, 3).init(0).weight
        tg.record(lambda x: x + 1.0)(0.0)
        return np.array_equal(tg.nn.Linear(2, 3).init(0).weight, before)


class BackwardTwice(Fault):
    """A second backward raises an error.

    A sweep reads the tape without changing it. Sweep as often as you like.
    """

    right = 6
    wrong = RuntimeError

    def stateful(self) -> object:
        x = Tensor(3.0, autograd=True)
        y = x * x
        y.backward()
        x.grad = None
        return attempt(y.backward) or x.grad

    def tapegrad(self) -> object:
        _, pullback = tg.vjp(lambda x: x * x, 3.0)
        pullback(1.0)
        return pullback(1.0)[0]


class CountedTwice(Fault):
    """An op that does not name the sender of its gradient makes it count twice.

    A rule does no counting. The order of the tape makes cotangents complete.
    """

    right = 2 * 0.25 * (1 - np.tanh(0.5) ** 2)
    wrong = 1.5 * right

    def stateful(self) -> object:
        x = Tensor(0.0, autograd=True)
        h = x.sigmoid()
        (h.tanh() + h.tanh()).backward()
        return x.grad

    def tapegrad(self) -> object:
        def f(x: float) -> Array:
            h = tg.sigmoid(x)
            return tg.tanh(h) + tg.tanh(h)

        return tg.grad(f)(0.0)


class TooDeep(Fault):
    """Backward calls itself, and fails at a depth of about a thousand ops.

    The sweep is a loop. A tape can be a million records long.
    """

    right = 1
    wrong = RecursionError

    def stateful(self) -> object:
        x = y = Tensor(1.0, autograd=True)
        one = Tensor(1.0, autograd=True)
        for _ in range(2000):
            y = y + one
        return attempt(y.backward) or x.grad

    def tapegrad(self) -> object:
        def f(x: float) -> float:
            for _ in range(2000):
                x = x + 1.0
            return x

        return tg.grad(f)(1.0)


class ChangedInBetween(Fault):
    """A change of `.data` after the forward pass falsifies the backward pass.

    Values on a tape are read-only, and recording copies your arrays.
    """

    right = (2, 4)
    wrong = (202, 204)

    def stateful(self) -> object:
        x = Tensor([1.0, 2.0], autograd=True)
        y = x * x
        x.data += 100
        y.backward()
        return x.grad

    def tapegrad(self) -> object:
        array = np.array([1.0, 2.0])
        y, tape = tg.record(lambda x: x * x)(array)
        array += 100
        return tg.reverse_sweep(tape, y, np.ones(2))[tape.parameters[0]]


class CutOff(Fault):
    """One constant operand silently cuts off the gradient.

    An op is recorded if any operand is on the tape. Only `stop_gradient` stops a gradient.
    """

    right = 10
    wrong = None

    def stateful(self) -> object:
        w = Tensor(2.0, autograd=True)
        (w * Tensor(10.0)).backward()
        return w.grad

    def tapegrad(self) -> object:
        return tg.grad(lambda w: w * 10.0)(2.0)


class NamesSearched(Fault):
    """A search in strings selects the rule: "sumsquares" gets the rule of "sum".

    A record holds its op, and the op holds its rules. Names are for people.
    """

    right = (2, 4, 6)
    wrong = (1, 1, 1)

    def stateful(self) -> object:
        x = Tensor([1.0, 2.0, 3.0], autograd=True)
        x.make((x.data**2).sum(0), "sumsquares_0").backward()
        return x.grad

    def tapegrad(self) -> object:
        @tg.custom_op(vjps=(lambda g, y, x: 2 * g * x,))
        def sumsquares(x: Array) -> object:
            return np.sum(x**2)

        return tg.grad(sumsquares)(np.array([1.0, 2.0, 3.0]))


class SharedDefault(Fault):
    """All models that are made without layers share the default list.

    A model is frozen and holds a tuple. Nothing can be appended to it.
    """

    right = 0
    wrong = 1

    def stateful(self) -> object:
        encoder, decoder = stateful.Sequential(), stateful.Sequential()
        encoder.layers.append(Linear(2, 3))
        found = len(decoder.layers)
        encoder.layers.clear()  # or the next model has it, too
        return found

    def tapegrad(self) -> object:
        decoder = tg.nn.Sequential()
        tg.nn.Sequential(*decoder.layers, tg.nn.Linear(2, 3))
        return len(decoder.layers)


class Overflow(Fault):
    """A textbook formula overflows: the loss of a confident, right prediction.

    Losses and activations use formulas that are stable for any finite input.
    """

    right = 0
    wrong = float("nan")

    def stateful(self) -> object:
        with np.errstate(all="ignore"):
            return Tensor([[1000.0, 0.0]]).cross_entropy(np.array([0])).data

    def tapegrad(self) -> object:
        return tg.nn.cross_entropy_loss(np.array([[1000.0, 0.0]]), np.array([0]))
