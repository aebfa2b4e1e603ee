"""Faults that users of stateful frameworks report."""

from __future__ import annotations

import gc
import pickle

import numpy as np
from stateful import SGD, Linear, Tensor

import tapegrad as tg
from contrasts.case import Fault, attempt, count_instances
from contrasts.models import FirstTensor, StatefulDropout


class Exponential(Fault):
    """Bet on it: in 15 layers of x = x + x, how often is the first tensor visited?

    A recursion that passes on every contribution doubles its calls with each layer: 25 layers
    need 33 million calls, which takes many seconds. The sweep visits each record once.
    """

    right = 1
    wrong = 32768

    def stateful(self) -> object:
        first = x = FirstTensor(1.0)
        for _ in range(15):
            x = x + x
        x.backward(1.0)
        return first.visits

    def tapegrad(self) -> object:
        _, tape = tg.record(lambda x: [x := x + x for _ in range(15)])(1.0)
        return sum(record is tape.parameters[0] for record in reversed(tape))


class UnusedChild(Fault):
    """An unused by-product stops the gradient.

    The sweep visits the records that the output depends on, and does not wait for others.
    """

    right = 6
    wrong = None

    def stateful(self) -> object:
        x = Tensor(3.0, autograd=True)
        h = x * x
        h + h  # for a log
        (h + Tensor(1.0, autograd=True)).backward()
        return x.grad

    def tapegrad(self) -> object:
        def f(x: float) -> float:
            h = x * x
            h + h  # for a log
            return h + 1.0

        return tg.grad(f)(3.0)


class InnerGradients(Fault):
    """The gradients of parameters were cleared, but not the gradients of intermediate results.

    Cotangents exist only during a sweep. No record keeps one.
    """

    right = -0.25
    wrong = -0.75

    def stateful(self) -> object:
        x = Tensor(0.0, autograd=True)
        y = -x.sigmoid()
        y.backward()
        x.grad = None
        y.backward()
        return x.grad

    def tapegrad(self) -> object:
        _, pullback = tg.vjp(lambda x: -tg.sigmoid(x), 0.0)
        pullback(1.0)
        return pullback(1.0)[0]


class SumOrMean(Fault):
    """Two half batches give twice the gradient of the mean.

    To add gradients you write the sum yourself, and see that it is not a mean.
    """

    right = 3
    wrong = 6

    def stateful(self) -> object:
        w = Tensor(1.0, autograd=True)
        for half in ([1.0, 2.0], [4.0, 5.0]):
            (w * Tensor(np.mean(half), autograd=True)).backward()
        return w.grad

    def tapegrad(self) -> object:
        gradient = tg.grad(lambda w, half: tg.mean(w * half))
        return (gradient(1.0, np.array([1.0, 2.0])) + gradient(1.0, np.array([4.0, 5.0]))) / 2


class OneElement(Fault):
    """An element is set to 0 although the backward pass needs its old value.

    `x[0] = 0.0` raises on a record, and the error names the line to write: `x.at[0].set(0.0)`
    is a new array, and the old one does not change.
    """

    right = (2, 5)
    wrong = (1, 5)

    def stateful(self) -> object:
        x = Tensor([1.0, 2.0], autograd=True)
        y = x * x
        x.data[0] = 0.0
        (y + x).sum(0).backward()
        return x.grad

    def tapegrad(self) -> object:
        return tg.grad(lambda x: tg.sum(x * x + x.at[0].set(0.0)))(np.array([1.0, 2.0]))


class Aliased(Fault):
    """The best weights were kept, and the next step overwrote them.

    A step returns new parameters. The old ones do not change.
    """

    right = (1,)
    wrong = (0.8,)

    def stateful(self) -> object:
        w = Tensor([1.0], autograd=True)
        best = w.data
        (w + w).backward()
        SGD([w], alpha=0.1).step()
        return best

    def tapegrad(self) -> object:
        w = best = np.array([1.0])
        w = w - 0.1 * tg.grad(lambda w: tg.sum(w + w))(w)
        return best


class Undetached(Fault):
    """A state that is passed to the next batch brings its graph along.

    The state is an argument: its history is not part of this call's gradient.
    """

    right = 1
    wrong = RuntimeError

    def stateful(self) -> object:
        w, state = Tensor(2.0, autograd=True), Tensor(0.0, autograd=True)
        for _ in range(2):
            w.grad = None
            state = state + w
            error = attempt(state.backward)
        return error or w.grad

    def tapegrad(self) -> object:
        w, state = 2.0, 0.0
        for _ in range(2):
            state, gradient = tg.value_and_grad(lambda w, state: state + w)(w, state)
        return gradient


class LeakingTotal(Fault):
    """`total += loss` keeps every graph alive: how many tensors are left after 100 steps?

    `value_and_grad` returns plain numbers, and drops the tape.
    """

    right = 0
    wrong = 202

    def stateful(self) -> object:
        before = count_instances(Tensor)
        w, total = Tensor(1.0, autograd=True), Tensor(0.0, autograd=True)
        for _ in range(100):
            total = total + w * w
        return count_instances(Tensor) - before

    def tapegrad(self) -> object:
        before = count_instances(tg.Tensor)
        total = 0.0
        for _ in range(100):
            loss, _gradient = tg.value_and_grad(lambda w: w * w)(1.0)
            total += loss
        return count_instances(tg.Tensor) - before


class Cycle(Fault):
    """A recorded gradient makes a reference cycle: is anything left for the garbage collector?

    A record refers to its operands and no record to its gradient, so there are no cycles.
    """

    right = False
    wrong = True

    def stateful(self) -> object:
        gc.collect()
        x = Tensor(3.0, autograd=True)
        x.grad = x + x  # the gradient of x * x, for a second derivative
        del x
        return gc.collect() > 0

    def tapegrad(self) -> object:
        gc.collect()
        tg.grad(tg.grad(lambda x: x * x))(3.0)
        return gc.collect() > 0


class StaleOptimizer(Fault):
    """The model has a new weight, and the optimizer updates the old one.

    An optimizer holds no parameters. It updates its arguments.
    """

    right = (-0.2,)
    wrong = (0,)

    def stateful(self) -> object:
        w = Tensor([1.0], autograd=True)
        optimizer = SGD([w], alpha=0.1)
        (w + w).backward()
        w = Tensor([0.0], autograd=True)
        (w + w).backward()
        optimizer.step()
        return w.data

    def tapegrad(self) -> object:
        optimizer = tg.optim.SGD(learning_rate=0.1)
        w = np.array([0.0])
        gradient = tg.grad(lambda w: tg.sum(w + w))(w)
        w, _ = optimizer.update(w, gradient, optimizer.init(w))
        return w


class StepByHand(Fault):
    """`w = w - 0.1 * w.grad` makes a tensor that has no gradient.

    The line from the textbook is the line that is right.
    """

    right = 0.6
    wrong = TypeError

    def stateful(self) -> object:
        w = Tensor(1.0, autograd=True)

        def step() -> None:
            nonlocal w
            w.grad = None
            (w + w).backward()
            w = Tensor(w.data - 0.1 * w.grad)

        step()
        return attempt(step) or w.data

    def tapegrad(self) -> object:
        w = 1.0
        for _ in range(2):
            w = w - 0.1 * tg.grad(lambda w: w + w)(w)
        return w


class NotALeaf(Fault):
    """A weight that was scaled at its creation is a result, not a parameter.

    You can differentiate with respect to any argument, whatever its origin.
    """

    right = 0.6
    wrong = RuntimeError

    def stateful(self) -> object:
        w = Tensor(10.0, autograd=True) * Tensor(0.1, autograd=True)
        optimizer = SGD([w], alpha=0.1)

        def step() -> None:
            optimizer.zero()
            (w + w).backward()
            optimizer.step()

        step()
        return attempt(step) or w.data

    def tapegrad(self) -> object:
        w = np.asarray(10.0) * 0.1
        for _ in range(2):
            w = w - 0.1 * tg.grad(lambda w: w + w)(w)
        return w


class TrainingMode(Fault):
    """Nobody switched to evaluation: does a model predict the same twice?

    Dropout drops elements only if the call passes a key.
    """

    right = True
    wrong = False

    def stateful(self) -> object:
        np.random.seed(0)
        model = StatefulDropout()
        return np.array_equal(model(np.ones(20)), model(np.ones(20)))

    def tapegrad(self) -> object:
        model = tg.nn.Dropout(0.5)
        return np.array_equal(model(None, np.ones(20)), model(None, np.ones(20)))


class TiedApart(Fault):
    """Two layers share a weight; after saving and loading, each has another copy.

    A shared weight is stored once, and the function uses it twice. (See the costs below.)
    """

    right = 1
    wrong = 2

    def stateful(self) -> object:
        encoder, decoder = Linear(2, 2), Linear(2, 2)
        decoder.weight = encoder.weight
        for layer in (encoder, decoder):
            layer.weight = Tensor(pickle.loads(pickle.dumps(layer.weight.data)))
        return len({id(layer.weight) for layer in (encoder, decoder)})

    def tapegrad(self) -> object:
        params = {"weight": np.eye(2)}  # for x @ w in one place and x @ w.T in another
        return len(tg.tree.leaves(pickle.loads(pickle.dumps(params))))


class Unwatched(Fault):
    """Nobody said `autograd=True`, and the gradient is None.

    Derivatives are taken with respect to the function's arguments.
    """

    right = 6
    wrong = None

    def stateful(self) -> object:
        x = Tensor(3.0)
        (x * x).backward()
        return x.grad

    def tapegrad(self) -> object:
        return tg.grad(lambda x: x * x)(3.0)


class Detour(Fault):
    """A detour through NumPy silently loses the gradient.

    NumPy's functions are recorded, and functions that cannot be recorded raise an error.
    """

    right = np.exp(2.0)
    wrong = None

    def stateful(self) -> object:
        x = Tensor(2.0, autograd=True)
        Tensor(np.exp(x.data), autograd=True).backward()
        return x.grad

    def tapegrad(self) -> object:
        return tg.grad(lambda x: np.exp(x))(2.0)


class StateStops(Fault):
    """A running average in `.data` has no history, so it passes no gradient.

    The new average is a value like any other, and passes its gradient.
    """

    right = 0.1
    wrong = None

    def stateful(self) -> object:
        x, average = Tensor(1.0, autograd=True), Tensor(0.0, autograd=True)
        average.data = 0.9 * average.data + 0.1 * x.data
        average.backward()
        return x.grad

    def tapegrad(self) -> object:
        return tg.grad(lambda x, average: 0.9 * average + 0.1 * x)(1.0, 0.0)


class LostOnCopy(Fault):
    """A checkpoint during gradient accumulation contains only the weights.

    A gradient is a tree. Save it with the parameters.
    """

    right = 2
    wrong = None

    def stateful(self) -> object:
        w = Tensor(1.0, autograd=True)
        (w + w).backward()
        copy = Tensor(w.data.copy(), autograd=True)
        return copy.grad

    def tapegrad(self) -> object:
        checkpoint = {"w": 1.0, "gradient": tg.grad(lambda w: w + w)(1.0)}
        return pickle.loads(pickle.dumps(checkpoint))["gradient"]
