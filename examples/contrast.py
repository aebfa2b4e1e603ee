"""The stateful design and tapegrad side by side: each fault run, on both.

``python examples/contrast.py`` prints, for each fault, the code, what the stateful
framework of ``stateful.py`` did, what tapegrad does, and why. The last rows, marked as
COST, are those where the functional design is at a disadvantage. Numbers choose rows:
``python examples/contrast.py 5 6``.
"""

from __future__ import annotations

import gc
import inspect
import pickle
import sys
import textwrap
from collections.abc import Callable
from typing import Any

import numpy as np
import stateful
from stateful import SGD, Linear, Tensor

import tapegrad as tg


class Case:
    """A row of the table: its title and its reason are the docstring of the class."""

    right: Any  # what the code should give
    wrong: Any  # what the other design gives instead, or the class of its error

    def stateful(self) -> Any:
        raise NotImplementedError

    def tapegrad(self) -> Any:
        raise NotImplementedError


class Fault(Case):
    """A fault of the stateful design: tapegrad is right, and the other is not."""


class Cost(Case):
    """A cost of the functional design: the stateful one is right, and tapegrad is not."""


def attempt(fn: Callable[[], Any]) -> Any:
    """What a function gives, or the error that it raises."""
    try:
        return fn()
    except Exception as error:
        return f"{type(error).__name__}: {error}"


def same(found: Any, wanted: Any) -> bool:
    """Whether a result, or an error as `attempt` gives it, is this one."""
    if isinstance(found, str):
        return isinstance(wanted, type) and found.startswith(wanted.__name__)
    if found is None or wanted is None or isinstance(wanted, type):
        return found is wanted
    return np.shape(found) == np.shape(wanted) and bool(np.allclose(found, wanted, equal_nan=True))


def alive(kind: type) -> int:
    """How many objects of a class there are."""
    gc.collect()
    return sum(type(thing) is kind for thing in gc.get_objects())


class FirstTensor:
    """A stateful tensor as everybody writes it at first: it neither adds up nor counts."""

    def __init__(self, data: Any, *creators: FirstTensor) -> None:
        self.data, self.creators, self.visits = data, creators, 0

    def __add__(self, other: FirstTensor) -> FirstTensor:
        return FirstTensor(self.data + other.data, self, other)

    def backward(self, grad: Any) -> None:
        self.grad = grad
        self.visits += 1
        for creator in self.creators:
            creator.backward(grad)


class StatefulDropout:
    """Drops half of its input while `training` is set, and it is set at first."""

    training = True

    def __call__(self, x: Any) -> Any:
        return x * (np.random.rand(*x.shape) < 0.5) * 2 if self.training else x


# --- ten faults ---------------------------------------------------------------------------


class UsedTwice(Fault):
    """A tensor used twice keeps only its last gradient.

    The sweep sums what every use contributes before it goes on to the record.
    """

    right = 2
    wrong = 1

    def stateful(self) -> Any:
        x = FirstTensor(3.0)
        (x + x).backward(1.0)
        return x.grad

    def tapegrad(self) -> Any:
        return tg.grad(lambda x: x + x)(3.0)


class NotCleared(Fault):
    """Gradients must be cleared by hand, or steps add up.

    Gradients are what a function returned. There is nothing to clear.
    """

    right = 2
    wrong = 6

    def stateful(self) -> Any:
        w = Tensor(1.0, autograd=True)
        for _ in range(3):
            (w + w).backward()
        return w.grad

    def tapegrad(self) -> Any:
        for _ in range(3):
            gradient = tg.grad(lambda w: w + w)(1.0)
        return gradient


class RandomIds(Fault):
    """Tensors are told apart by a random id, and two can have the same.

    Records are told apart by being themselves, and by their line of the tape.
    """

    right = 1000
    wrong = 993

    def stateful(self) -> Any:
        np.random.seed(0)
        return len({Tensor(0.0).id for _ in range(1000)})

    def tapegrad(self) -> Any:
        _, tape = tg.record(lambda x: [x + 1.0 for _ in range(999)])(0.0)
        return len({record.index for record in tape})


class DisturbedStream(Fault):
    """One more tensor in the program, and all weights that are drawn after it differ.

    Weights are a function of a key, and nothing else draws from it.
    """

    right = True
    wrong = False

    def stateful(self) -> Any:
        np.random.seed(0)
        before = Linear(2, 3).weight.data
        np.random.seed(0)
        Tensor("a note")
        return np.array_equal(Linear(2, 3).weight.data, before)

    def tapegrad(self) -> Any:
        before = tg.nn.Linear(2, 3).init(0).weight
        tg.record(lambda x: x + 1.0)(0.0)
        return np.array_equal(tg.nn.Linear(2, 3).init(0).weight, before)


class BackwardTwice(Fault):
    """A second backward raises an error.

    A sweep reads the tape and leaves it as it was. Sweep as often as you like.
    """

    right = 6
    wrong = RuntimeError

    def stateful(self) -> Any:
        x = Tensor(3.0, autograd=True)
        y = x * x
        y.backward()
        x.grad = None
        return attempt(y.backward) or x.grad

    def tapegrad(self) -> Any:
        _, pullback = tg.vjp(lambda x: x * x, 3.0)
        pullback(1.0)
        return pullback(1.0)[0]


class CountedTwice(Fault):
    """An op that forgets to say who sends the gradient has it counted twice.

    A rule knows nothing of counting. The order of the tape makes cotangents complete.
    """

    right = 2 * 0.25 * (1 - np.tanh(0.5) ** 2)
    wrong = 1.5 * right

    def stateful(self) -> Any:
        x = Tensor(0.0, autograd=True)
        h = x.sigmoid()
        (h.tanh() + h.tanh()).backward()
        return x.grad

    def tapegrad(self) -> Any:
        def f(x: Any) -> Any:
            h = tg.sigmoid(x)
            return tg.tanh(h) + tg.tanh(h)

        return tg.grad(f)(0.0)


class TooDeep(Fault):
    """Backward calls itself, and about a thousand ops deep Python gives up.

    The sweep is a loop. A tape can be a million records long.
    """

    right = 1
    wrong = RecursionError

    def stateful(self) -> Any:
        x = y = Tensor(1.0, autograd=True)
        one = Tensor(1.0, autograd=True)
        for _ in range(2000):
            y = y + one
        return attempt(y.backward) or x.grad

    def tapegrad(self) -> Any:
        def f(x: Any) -> Any:
            for _ in range(2000):
                x = x + 1.0
            return x

        return tg.grad(f)(1.0)


class ChangedInBetween(Fault):
    """A change of `.data` after the forward pass falsifies the backward pass.

    Values on a tape are read-only, and your arrays are copied as they go on it.
    """

    right = (2, 4)
    wrong = (202, 204)

    def stateful(self) -> Any:
        x = Tensor([1.0, 2.0], autograd=True)
        y = x * x
        x.data += 100
        y.backward()
        return x.grad

    def tapegrad(self) -> Any:
        array = np.array([1.0, 2.0])
        y, tape = tg.record(lambda x: x * x)(array)
        array += 100
        return tg.reverse_sweep(tape, y, np.ones(2))[tape.parameters[0]]


class CutOff(Fault):
    """One constant operand cuts off the gradient, in silence.

    An op is recorded if any operand is on the tape. To stop a gradient you must say so.
    """

    right = 10
    wrong = None

    def stateful(self) -> Any:
        w = Tensor(2.0, autograd=True)
        (w * Tensor(10.0)).backward()
        return w.grad

    def tapegrad(self) -> Any:
        return tg.grad(lambda w: w * 10.0)(2.0)


class NamesSearched(Fault):
    """Ops are told apart by searching strings: "sumsquares" takes the rule of "sum".

    A record holds its op, and the op holds its rules. Names are for people.
    """

    right = (2, 4, 6)
    wrong = (1, 1, 1)

    def stateful(self) -> Any:
        x = Tensor([1.0, 2.0, 3.0], autograd=True)
        x.make((x.data**2).sum(0), "sumsquares_0").backward()
        return x.grad

    def tapegrad(self) -> Any:
        @tg.custom_op(vjps=(lambda g, y, x: 2 * g * x,))
        def sumsquares(x: Any) -> Any:
            return np.sum(x**2)

        return tg.grad(sumsquares)(np.array([1.0, 2.0, 3.0]))


class SharedDefault(Fault):
    """A default list of layers is shared by all models that are made without one.

    A model is frozen and holds a tuple. Nothing can be appended to it.
    """

    right = 0
    wrong = 1

    def stateful(self) -> Any:
        encoder, decoder = stateful.Sequential(), stateful.Sequential()
        encoder.layers.append(Linear(2, 3))
        found = len(decoder.layers)
        encoder.layers.clear()  # or it is there in the next model, too
        return found

    def tapegrad(self) -> Any:
        decoder = tg.nn.Sequential()
        tg.nn.Sequential(*decoder.layers, tg.nn.Linear(2, 3))
        return len(decoder.layers)


class Overflow(Fault):
    """A formula from a textbook overflows: the loss of a sure, right prediction.

    The losses and activations are computed in forms that hold for any finite input.
    """

    right = 0
    wrong = float("nan")

    def stateful(self) -> Any:
        with np.errstate(all="ignore"):
            return Tensor([[1000.0, 0.0]]).cross_entropy(np.array([0])).data

    def tapegrad(self) -> Any:
        return tg.nn.cross_entropy_loss(np.array([[1000.0, 0.0]]), np.array([0]))


# --- bugs that users of such frameworks report ----------------------------------------------


class Exponential(Fault):
    """Bet on it: in 15 layers of x = x + x, how often is the first tensor visited?

    A recursion that passes on every contribution doubles its calls with each layer: at
    25 layers that is 33 million, which takes many seconds. The sweep visits each record once.
    """

    right = 1
    wrong = 32768

    def stateful(self) -> Any:
        first = x = FirstTensor(1.0)
        for _ in range(15):
            x = x + x
        x.backward(1.0)
        return first.visits

    def tapegrad(self) -> Any:
        _, tape = tg.record(lambda x: [x := x + x for _ in range(15)])(1.0)
        return sum(record is tape.parameters[0] for record in reversed(tape))


class UnusedChild(Fault):
    """A by-product that nobody uses keeps the gradient from being passed on.

    The sweep visits what the output depends on, and nothing waits for the rest.
    """

    right = 6
    wrong = None

    def stateful(self) -> Any:
        x = Tensor(3.0, autograd=True)
        h = x * x
        h + h  # for a log
        (h + Tensor(1.0, autograd=True)).backward()
        return x.grad

    def tapegrad(self) -> Any:
        def f(x: Any) -> Any:
            h = x * x
            h + h  # for a log
            return h + 1.0

        return tg.grad(f)(3.0)


class InnerGradients(Fault):
    """The parameters' gradients were cleared, those in between were not.

    Cotangents live inside one sweep. None is left on a record.
    """

    right = -0.25
    wrong = -0.75

    def stateful(self) -> Any:
        x = Tensor(0.0, autograd=True)
        y = -x.sigmoid()
        y.backward()
        x.grad = None
        y.backward()
        return x.grad

    def tapegrad(self) -> Any:
        _, pullback = tg.vjp(lambda x: -tg.sigmoid(x), 0.0)
        pullback(1.0)
        return pullback(1.0)[0]


class SumOrMean(Fault):
    """Two half batches make twice the gradient of the mean.

    If gradients are to be added you write the sum yourself, and see that it is not a mean.
    """

    right = 3
    wrong = 6

    def stateful(self) -> Any:
        w = Tensor(1.0, autograd=True)
        for half in ([1.0, 2.0], [4.0, 5.0]):
            (w * Tensor(np.mean(half), autograd=True)).backward()
        return w.grad

    def tapegrad(self) -> Any:
        slope = tg.grad(lambda w, half: tg.mean(w * half))
        return (slope(1.0, np.array([1.0, 2.0])) + slope(1.0, np.array([4.0, 5.0]))) / 2


class OneElement(Fault):
    """An element is set to 0 where the old value is still needed.

    `x[0] = 0.0` raises on a record, and the error names the line to write: `x.at[0].set(0.0)`
    is a new array, and the old one stays what it was.
    """

    right = (2, 5)
    wrong = (1, 5)

    def stateful(self) -> Any:
        x = Tensor([1.0, 2.0], autograd=True)
        y = x * x
        x.data[0] = 0.0
        (y + x).sum(0).backward()
        return x.grad

    def tapegrad(self) -> Any:
        return tg.grad(lambda x: tg.sum(x * x + x.at[0].set(0.0)))(np.array([1.0, 2.0]))


class Aliased(Fault):
    """The best weights were kept, and the next step overwrote them.

    A step returns new parameters. Those that you keep are as they were.
    """

    right = (1,)
    wrong = (0.8,)

    def stateful(self) -> Any:
        w = Tensor([1.0], autograd=True)
        best = w.data
        (w + w).backward()
        SGD([w], alpha=0.1).step()
        return best

    def tapegrad(self) -> Any:
        w = best = np.array([1.0])
        w = w - 0.1 * tg.grad(lambda w: tg.sum(w + w))(w)
        return best


class Undetached(Fault):
    """A state that goes from one batch to the next drags its graph along.

    The state is an argument: its past is not part of this call's gradient.
    """

    right = 1
    wrong = RuntimeError

    def stateful(self) -> Any:
        w, state = Tensor(2.0, autograd=True), Tensor(0.0, autograd=True)
        for _ in range(2):
            w.grad = None
            state = state + w
            error = attempt(state.backward)
        return error or w.grad

    def tapegrad(self) -> Any:
        w, state = 2.0, 0.0
        for _ in range(2):
            state, gradient = tg.value_and_grad(lambda w, state: state + w)(w, state)
        return gradient


class LeakingTotal(Fault):
    """`total += loss` keeps every graph alive: tensors that are left after 100 steps.

    `value_and_grad` returns plain numbers, and the tape is gone when it returns.
    """

    right = 0
    wrong = 202

    def stateful(self) -> Any:
        before = alive(Tensor)
        w, total = Tensor(1.0, autograd=True), Tensor(0.0, autograd=True)
        for _ in range(100):
            total = total + w * w
        return alive(Tensor) - before

    def tapegrad(self) -> Any:
        before = alive(tg.Tensor)
        total = 0.0
        for _ in range(100):
            loss, _gradient = tg.value_and_grad(lambda w: w * w)(1.0)
            total += loss
        return alive(tg.Tensor) - before


class Cycle(Fault):
    """A gradient that is itself recorded makes a cycle: is anything left when all is dropped?

    A record knows its operands and nothing knows its gradient, so there are no cycles.
    """

    right = False
    wrong = True

    def stateful(self) -> Any:
        gc.collect()
        x = Tensor(3.0, autograd=True)
        x.grad = x + x  # of x * x, to be differentiated again
        del x
        return gc.collect() > 0

    def tapegrad(self) -> Any:
        gc.collect()
        tg.grad(tg.grad(lambda x: x * x))(3.0)
        return gc.collect() > 0


class StaleOptimizer(Fault):
    """The model has a new weight, and the optimizer steps the old one.

    An optimizer holds no parameters. It steps those that it is given.
    """

    right = (-0.2,)
    wrong = (0,)

    def stateful(self) -> Any:
        w = Tensor([1.0], autograd=True)
        optimizer = SGD([w], alpha=0.1)
        (w + w).backward()
        w = Tensor([0.0], autograd=True)
        (w + w).backward()
        optimizer.step()
        return w.data

    def tapegrad(self) -> Any:
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

    def stateful(self) -> Any:
        w = Tensor(1.0, autograd=True)

        def step() -> None:
            nonlocal w
            w.grad = None
            (w + w).backward()
            w = Tensor(w.data - 0.1 * w.grad)

        step()
        return attempt(step) or w.data

    def tapegrad(self) -> Any:
        w = 1.0
        for _ in range(2):
            w = w - 0.1 * tg.grad(lambda w: w + w)(w)
        return w


class NotALeaf(Fault):
    """A weight that was scaled when it was made is a result, and no parameter.

    Any argument can be differentiated. How it came about does not matter.
    """

    right = 0.6
    wrong = RuntimeError

    def stateful(self) -> Any:
        w = Tensor(10.0, autograd=True) * Tensor(0.1, autograd=True)
        optimizer = SGD([w], alpha=0.1)

        def step() -> None:
            optimizer.zero()
            (w + w).backward()
            optimizer.step()

        step()
        return attempt(step) or w.data

    def tapegrad(self) -> Any:
        w = np.asarray(10.0) * 0.1
        for _ in range(2):
            w = w - 0.1 * tg.grad(lambda w: w + w)(w)
        return w


class TrainingMode(Fault):
    """Nobody switched to evaluation: does a model predict the same twice?

    Dropout drops only where it is given a key, and the key is there in the call.
    """

    right = True
    wrong = False

    def stateful(self) -> Any:
        np.random.seed(0)
        model = StatefulDropout()
        return np.array_equal(model(np.ones(20)), model(np.ones(20)))

    def tapegrad(self) -> Any:
        model = tg.nn.Dropout(0.5)
        return np.array_equal(model(None, np.ones(20)), model(None, np.ones(20)))


class TiedApart(Fault):
    """Two layers share a weight; saved and loaded, they have one each.

    What is shared is stored once, and the function uses it twice. (See the costs below.)
    """

    right = 1
    wrong = 2

    def stateful(self) -> Any:
        encoder, decoder = Linear(2, 2), Linear(2, 2)
        decoder.weight = encoder.weight
        for layer in (encoder, decoder):
            layer.weight = Tensor(pickle.loads(pickle.dumps(layer.weight.data)))
        return len({id(layer.weight) for layer in (encoder, decoder)})

    def tapegrad(self) -> Any:
        params = {"weight": np.eye(2)}  # for x @ w in one place and x @ w.T in another
        return len(tg.tree.leaves(pickle.loads(pickle.dumps(params))))


class Unwatched(Fault):
    """Nobody said `autograd=True`, and the gradient is None.

    The arguments of the function that is differentiated are what it is differentiated by.
    """

    right = 6
    wrong = None

    def stateful(self) -> Any:
        x = Tensor(3.0)
        (x * x).backward()
        return x.grad

    def tapegrad(self) -> Any:
        return tg.grad(lambda x: x * x)(3.0)


class Detour(Fault):
    """A detour through NumPy loses the gradient, in silence.

    NumPy's functions are recorded, and what cannot be recorded raises an error.
    """

    right = np.exp(2.0)
    wrong = None

    def stateful(self) -> Any:
        x = Tensor(2.0, autograd=True)
        Tensor(np.exp(x.data), autograd=True).backward()
        return x.grad

    def tapegrad(self) -> Any:
        return tg.grad(lambda x: np.exp(x))(2.0)


class StateStops(Fault):
    """A running average in `.data` has no history, so no gradient comes through it.

    The new average is a value like any other, and its gradient flows.
    """

    right = 0.1
    wrong = None

    def stateful(self) -> Any:
        x, average = Tensor(1.0, autograd=True), Tensor(0.0, autograd=True)
        average.data = 0.9 * average.data + 0.1 * x.data
        average.backward()
        return x.grad

    def tapegrad(self) -> Any:
        return tg.grad(lambda x, average: 0.9 * average + 0.1 * x)(1.0, 0.0)


class LostOnCopy(Fault):
    """A checkpoint is taken while gradients pile up, and has the weights alone.

    A gradient is a tree that you have in hand. Save it beside the parameters.
    """

    right = 2
    wrong = None

    def stateful(self) -> Any:
        w = Tensor(1.0, autograd=True)
        (w + w).backward()
        copy = Tensor(w.data.copy(), autograd=True)
        return copy.grad

    def tapegrad(self) -> Any:
        checkpoint = {"w": 1.0, "gradient": tg.grad(lambda w: w + w)(1.0)}
        return pickle.loads(pickle.dumps(checkpoint))["gradient"]


# --- what the functional design costs -------------------------------------------------------


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


CASES: tuple[Case, ...] = tuple(kind() for base in (Fault, Cost) for kind in base.__subclasses__())


def code(method: Callable[[], Any]) -> str:
    """The body of a method."""
    _, body = inspect.getsource(method).split("\n", 1)
    return textwrap.dedent(body).rstrip()


def row(number: int, case: Case) -> str:
    """A case as it is printed.

    Raises
    ------
    AssertionError
        If it does not show what it says.
    """
    title, why = (" ".join(part.split()) for part in str(inspect.getdoc(case)).split("\n\n"))
    did = {"stateful": case.stateful(), "tapegrad": case.tapegrad()}
    best, other = ("stateful", "tapegrad") if isinstance(case, Cost) else ("tapegrad", "stateful")
    for name, claimed in ((best, case.right), (other, case.wrong)):
        assert same(did[name], claimed), f"{title} {name} gave {did[name]}, not {claimed}"

    what = "COST " if isinstance(case, Cost) else ""
    lines = [f"{number:2}. {what}{title}"]
    for name, method in (("stateful", case.stateful), ("tapegrad", case.tapegrad)):
        first, *rest = code(method).splitlines()
        lines.append(f"    {name}  {first}")
        lines += [f"{'':14}{line}".rstrip() for line in rest]
        right = np.array(case.right) if isinstance(case.right, tuple) else case.right
        faulty = name == "stateful" and isinstance(case, Fault)
        verdict = f"   (it should be {right})" if faulty else ""
        lines.append(f"{'':11}-> {did[name]}{verdict}")
    lines += textwrap.wrap(why, 90, initial_indent="    why       ", subsequent_indent=" " * 14)
    return "\n".join(lines)


def main(arguments: list[str]) -> None:
    """Print the rows with these numbers, or all."""
    print("attempt(f) gives what f gives, or the error that it raises.\n")
    wanted = {int(argument) for argument in arguments} or range(1, len(CASES) + 1)
    for number, case in enumerate(CASES, start=1):
        if number in wanted:
            print(row(number, case), end="\n\n")


if __name__ == "__main__":
    main(sys.argv[1:])
