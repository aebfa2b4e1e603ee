"""The axis of each leaf along which the examples of a batch lie."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import attrs
import numpy as np

from tapegrad import tree
from tapegrad.core.callables import label
from tapegrad.core.messages import describe
from tapegrad.core.tensor import Tensor
from tapegrad.face.constants import as_constant, require_real
from tapegrad.transforms.base import Fn


@attrs.frozen(eq=False)
class Mapped:
    """A leaf of the arguments and its batch axis; None where it is the same for all examples."""

    path: str
    leaf: Any
    axis: int | None

    @classmethod
    def of(cls, fn: Fn, path: str, leaf: Any, axis: int | None) -> Mapped:
        """The leaf, checked."""
        if axis is None:
            return cls(path, leaf, None)
        if isinstance(leaf, np.ndarray | np.generic | Tensor):
            if -leaf.ndim <= axis < leaf.ndim:
                return cls(path, leaf, axis % leaf.ndim)
            raise ValueError(
                f"vmap of {label(fn)}: {path} has shape {leaf.shape}, so there is no axis {axis} "
                "for the examples to lie along; for what is the same for all write None in in_axes"
            )
        raise ValueError(
            f"vmap of {label(fn)}: {path} is {describe(leaf)}, which has no axis {axis}; for what "
            "is the same for all examples write None in in_axes"
        )

    def in_front(self) -> Any:
        """The array with the examples along its first axis."""
        assert self.axis is not None
        x = self.leaf
        if type(x) is np.ndarray:
            # a view: a tape would copy it, and no result is the array itself
            require_real(x.dtype, f"vmap: {self.path}")
            x = x.view()
            x.setflags(write=False)
        elif type(x) is not Tensor:
            x = as_constant(x, "vmap")
        return front(x, self.axis, 0)


def front(x: Any, source: int, target: int) -> Any:
    """An array with one axis moved to another position."""
    if source == target:
        return x
    order = list(range(x.ndim))
    order.insert(target, order.pop(source))
    return np.transpose(x, tuple(order))


def to_axis(fn: Fn, x: Any, axis: int, where: str) -> Any:
    """An array with its first axis moved to where out_axes says."""
    if not -x.ndim <= axis < x.ndim:
        raise ValueError(
            f"vmap of {label(fn)}: {where} has shape {x.shape[1:]} for each example, so that "
            f"out_axes cannot be {axis}"
        )
    return front(x, 0, axis % x.ndim)


def refuse_sizes(fn: Fn, mapped: Sequence[Mapped]) -> int:
    """The number of examples; raises unless all leaves agree."""
    sizes: dict[int, list[Mapped]] = {}
    for x in mapped:
        if x.axis is not None:
            sizes.setdefault(x.leaf.shape[x.axis], []).append(x)
    if not sizes:
        raise ValueError(
            f"vmap of {label(fn)} has no batch: at least one array needs an axis in in_axes"
        )
    if len(sizes) > 1:
        said = [
            f"{n} along axis {x.axis} of {x.path}, of shape {x.leaf.shape}"
            for n, (x, *_) in sizes.items()
        ]
        raise ValueError(f"vmap of {label(fn)}: the batches differ in size: {'; '.join(said)}")
    return next(iter(sizes))


def axes_of(what: str, axes: Any, of: Any, name: str) -> list[int | None]:
    """The axis of each leaf of a tree, given a tree of axes that may end earlier."""
    leaves, structure = tree.flatten(of)
    if axes is None or (isinstance(axes, int | np.integer) and not isinstance(axes, bool)):
        return [None if axes is None else int(axes)] * len(leaves)
    parts = tree.parts(axes)
    if parts is None:
        raise TypeError(f"{what} is an axis, None or a tree of these; at {name} it is {axes!r}")
    own = tree.parts(of)
    alike = type(axes) is type(of) or (type(axes) is tuple and isinstance(of, tuple))
    if own is None or not alike or parts.keys() != own.keys():
        raise ValueError(
            f"{what} does not fit at {name}: it has {tree.flatten(axes)[1]!r} where there is "
            f"{structure!r}"
        )
    found: list[int | None] = []
    for key, child in own.items():
        found += axes_of(what, parts[key], child, f"{name}.{key}")
    return found
