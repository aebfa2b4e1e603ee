"""Advice for attributes that a Tensor lacks, with the code to write instead."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, NoReturn

import numpy as np

from tapegrad.arraylike.table import remedy

_READ = "write t.value{}, which passes no gradient"
_CHANGES = "a Tensor is immutable; {}"

# the advice for attributes that users of PyTorch and NumPy look for
_ADVICE = {
    "gradients are returned, not stored: tg.grad(fn)(x), or tg.reverse_sweep(tape, output)[x]": (
        "grad backward"
    ),
    "the arguments of tg.grad and tg.record have gradients; tg.stop_gradient(t) has none": (
        "requires_grad requires_grad_ retain_grad is_leaf"
    ),
    _READ.format(""): "numpy data",
    "arrays are NumPy's; t.astype(dtype) changes the dtype": "cpu cuda to device",
    "write t.astype(dtype)": "float double half",
    _CHANGES.format("write t = t.at[index].set(value) or .add(value)"): (
        "fill put itemset resize setfield copy_ zero_ fill_ add_"
    ),
    "write tg.linalg.norm(t)": "norm",
    "write t**p": "pow",
    "write t * u": "mul",
    "write t / u": "div",
    "write t @ u": "matmul mm",
    "write t.T": "t",
    "write tg.clip(t, low, high)": "clamp",
    "a Tensor needs no copy": "contiguous",
    "a Tensor is immutable, so it needs no copy": "clone",
    "write tg.stop_gradient(t), or t.value for the array": "detach",
    "t.op wrote it, from t.operands": "grad_fn",
    "write t.transpose(axes)": "permute",
    "write tg.expand_dims(t, axis)": "unsqueeze",
    "write t.reshape(shape), or t.astype(dtype)": "view",
    "write t.ravel()": "flat",
    _CHANGES.format("write tg.sort(t)"): "sort",
    _CHANGES.format("write tg.partition(t, kth)"): "partition",
    "read it as an array (t.value.byteswap())": "byteswap",
    "its array is always read-only": "setflags",
}
# functions that are methods in PyTorch
_FUNCTIONS = (
    "abs cos cosh erf exp expm1 floor log log1p log10 log2 log_softmax logsumexp maximum minimum "
    "relu sigmoid sign sin sinh softmax sqrt square tan tanh"
)
# with all of an ndarray's
ATTRIBUTES: Mapping[str, str] = MappingProxyType(
    {name: _READ.format(f".{name}") for name in dir(np.ndarray) if not name.startswith("_")}
    | {name: f"write tg.{name}(t)" for name in _FUNCTIONS.split()}
    | {name: advice for advice, names in _ADVICE.items() for name in names.split()}
)


class Absent:
    """An attribute that a Tensor lacks.

    Each has a descriptor, since ``__getattr__`` would slow down all other attributes.
    """

    __slots__ = ("name",)

    def __init__(self, name: str) -> None:
        self.name = name

    def __get__(self, record: Any, kind: Any = None) -> NoReturn:
        if record is not None:
            remedy("refuse_solver", record)
        raise AttributeError(f"a Tensor has no attribute {self.name!r}: {ATTRIBUTES[self.name]}")


class Absences:
    """Attributes that other arrays have, and calling the class, refused with advice."""

    __slots__ = ()

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        raise TypeError(
            "a Tensor is a record of a tape, not made by its class: tg.grad(fn)(x) and "
            "tg.record(fn)(x) call fn with Tensors for arrays, and by hand it is "
            "tape, t = tg.Tape().parameter(x)"
        )

    def __dir__(self) -> list[str]:
        own = vars(type(self))
        return [name for name in object.__dir__(self) if type(own.get(name)) is not Absent]


for _name in ATTRIBUTES:
    setattr(Absences, _name, Absent(_name))
