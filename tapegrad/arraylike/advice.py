"""Advice for attributes that a Tensor lacks, with the code to write instead."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, NoReturn

import numpy as np

from tapegrad.arraylike.table import remedy

_READ = "write t.value{}, which passes no gradient"
_CHANGES = "a Tensor is immutable; {}"

# functions that are methods in PyTorch
_FUNCTIONS = (
    "abs cos cosh erf exp expm1 floor log log1p log10 log2 log_softmax logsumexp maximum minimum "
    "relu sigmoid sign sin sinh softmax sqrt square tan tanh"
)

# attributes that users of PyTorch and NumPy look for, with all of an ndarray's
ATTRIBUTES: Mapping[str, str] = MappingProxyType(
    {name: _READ.format(f".{name}") for name in dir(np.ndarray) if not name.startswith("_")}
    | dict.fromkeys(
        ("grad", "backward"),
        "gradients are returned, not stored: tg.grad(fn)(x), or tg.reverse_sweep(tape, output)[x]",
    )
    | dict.fromkeys(
        ("requires_grad", "requires_grad_", "retain_grad", "is_leaf"),
        "the arguments of tg.grad and tg.record have gradients; tg.stop_gradient(t) has none",
    )
    | dict.fromkeys(("numpy", "data"), _READ.format(""))
    | dict.fromkeys(
        ("cpu", "cuda", "to", "device"), "arrays are NumPy's; t.astype(dtype) changes the dtype"
    )
    | dict.fromkeys(("float", "double", "half"), "write t.astype(dtype)")
    | dict.fromkeys(
        ("fill", "put", "itemset", "resize", "setfield", "copy_", "zero_", "fill_", "add_"),
        _CHANGES.format("write t = t.at[index].set(value) or .add(value)"),
    )
    | {name: f"write tg.{name}(t)" for name in _FUNCTIONS.split()}
    | {
        "norm": "write tg.linalg.norm(t)",
        "pow": "write t**p",
        "mul": "write t * u",
        "div": "write t / u",
        "matmul": "write t @ u",
        "mm": "write t @ u",
        "t": "write t.T",
        "clamp": "write tg.clip(t, low, high)",
        "contiguous": "a Tensor needs no copy",
        "clone": "a Tensor is immutable, so it needs no copy",
        "detach": "write tg.stop_gradient(t), or t.value for the array",
        "grad_fn": "t.op wrote it, from t.operands",
        "permute": "write t.transpose(axes)",
        "unsqueeze": "write tg.expand_dims(t, axis)",
        "view": "write t.reshape(shape), or t.astype(dtype)",
        "flat": "write t.ravel()",
        "sort": _CHANGES.format("write tg.sort(t)"),
        "partition": _CHANGES.format("write tg.partition(t, kth)"),
        "byteswap": "read it as an array (t.value.byteswap())",
        "setflags": "its array is always read-only",
    }
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
