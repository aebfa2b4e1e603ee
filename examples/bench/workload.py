"""A workload, and one way to compute it."""

from __future__ import annotations

import gc
import tracemalloc
from collections.abc import Callable, Sequence
from typing import Any

import attrs
import numpy as np

import tapegrad as tg

Array = np.ndarray[Any, np.dtype[Any]]
Step = Callable[..., tuple[Any, Any]]

PEERS = ("autograd", "mygrad", "torch", "jax")
BETA1, BETA2 = 0.9, 0.999
# large enough that a first step of Adam does not jump where a gradient is 0 up to rounding, so
# that implementations can be compared
EPSILON = 1e-3
WARM_UP = 3  # calls after which reused memory has been used once


def refuse(*args: Any) -> Any:
    """Stand in for a function that no workload of this framework needs."""
    raise NotImplementedError("not written for this framework")


def loop(step: Callable[..., Any], carry: Any, rows: Any, length: int | None = None) -> Any:
    """Take one step after another, as Python does."""
    for t in range(len(rows) if length is None else length):
        carry, _ = step(carry, None if rows is None else rows[t])
    return carry, None


@attrs.frozen
class Ops:
    """A framework's names for the functions that the losses are written with."""

    numpy: Any  # its module with NumPy's names
    sigmoid: Callable[[Any], Any]
    cross_entropy: Callable[[Any, Any], Any]
    relu: Callable[[Any], Any] = refuse
    attention: Callable[[Any, Any, Any], Any] = refuse
    affine: Callable[[Any, Any, Any], Any] = lambda x, w, b: x @ w + b
    rows: Callable[[Any, Any], Any] = lambda table, indices: table[indices]
    convolution: Callable[[Any, Any, Any, int], Any] = refuse
    pool: Callable[[Any], Any] = refuse  # the largest of each 2 by 2 elements
    layer_norm: Callable[[Any, Any, Any], Any] = refuse  # of rows, a weight and a bias
    spsolve: Callable[[Any, Any, Any], Any] = refuse  # of an array's numbers and places, and b
    scan: Callable[..., Any] = loop  # of a step, the carry, the rows and the number of steps


@attrs.frozen(eq=False)
class Workload:
    """What to compute; the loss is written once for all frameworks."""

    title: str
    params: Any  # the tree that tapegrad trains; the others take its leaves
    data: tuple[Array, ...]
    loss: Callable[..., Any]  # loss(ops, leaves, *data)
    by_hand: Callable[..., tuple[Any, list[Array]]]  # loss and gradients of (leaves, *data)
    rate: float | None  # of the optimizer; None if only the value and the gradient are computed
    model_loss: Callable[..., Any] | None = None  # (params, *data), with tapegrad's own layers
    peers: tuple[str, ...] = ("torch", "jax")
    decay: float | None = None  # weight decay of AdamW, which is Adam if it is 0; None for SGD
    # the derivative of the loss, from (library, loss); both use JAX's names
    derivative: Callable[[Any, Any], Callable[..., Any]] = lambda lib, loss: lib.value_and_grad(
        loss
    )

    @property
    def leaves(self) -> list[Array]:
        """The parameters as a list."""
        return tg.tree.leaves(self.params)

    @property
    def start(self) -> Any:
        """The parameters as a list; with Adam, also its moments and step count."""
        if self.decay is None:
            return self.leaves
        zeros = [np.zeros_like(p) for p in self.leaves]
        return [self.leaves, zeros, zeros, np.float32(0)]

    def read(self, state: Any) -> list[Any]:
        """The parameters in such a state, or in a state of tapegrad's."""
        return tg.tree.leaves(state if self.decay is None else state[0])


def traced_peak(entry: Entry) -> int:
    """Bytes that a step of NumPy's arrays holds at most, with what it keeps between calls."""
    gc.collect()
    tracemalloc.start()
    try:
        step, state = entry.begin(), entry.start()
        for _ in range(WARM_UP):
            step(state, *entry.data)
        gc.collect()
        tracemalloc.reset_peak()
        step(state, *entry.data)
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


@attrs.frozen(eq=False)
class Entry:
    """One way to compute a workload, with its own form of parameters and data."""

    name: str
    start: Callable[[], Any]  # the initial state of a burst
    step: Step  # (state, *data) to loss and new state, or gradients
    data: tuple[Any, ...]
    read: Callable[[Any], Sequence[Any]]  # the arrays in a state, or gradients
    wait: Callable[[Any], Any] = lambda result: None  # waits until the result is there
    fresh: Callable[[], Step] | None = None  # the step before its first call, if that differs
    peak: Callable[[Entry], int] = traced_peak  # bytes that a call holds at most, beside its input

    def begin(self) -> Step:
        """The step as it is before its first call."""
        return self.step if self.fresh is None else self.fresh()
