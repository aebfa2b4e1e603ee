"""Arrays joined in brackets: `r_` and `c_`."""

from __future__ import annotations

from typing import Any, ClassVar

import attrs
import numpy as np

from tapegrad.functions.creation import linspace
from tapegrad.ops.record import alike, is_weak
from tapegrad.ops.record import array as as_array

__all__ = ["c_", "r_"]


@attrs.frozen(repr=False)
class Joined:
    """Joins arrays, Tensors, numbers and ranges in brackets, as `np.r_` does.

    NumPy's own turns each part into an array, which fails for a Tensor.

    Attributes
    ----------
    axis
        The axis that the parts are joined along.
    ndim
        The least number of axes; new ones come first.
    place
        The place among the new axes of those of a part with fewer; -1 for the end.

    Examples
    --------
    >>> import tapegrad as tg
    >>> tg.r_[np.ones(2), 5, 0:3], tg.r_[0:1:3j]
    (array([1., 1., 5., 0., 1., 2.]), array([0. , 0.5, 1. ]))
    >>> tg.c_[np.ones(2), np.zeros(2)]
    array([[1., 0.],
           [1., 0.]])
    >>> tg.grad(lambda t: tg.sum(tg.r_[t, t * t]))(3.0)
    array(7.)
    """

    axis: int
    ndim: int
    place: int
    __tree_leaf__: ClassVar[bool] = True

    def __getitem__(self, key: Any) -> Any:
        """The parts joined.

        Parameters
        ----------
        key
            Arrays, Tensors and numbers; and slices, which are ranges, or with an imaginary step
            that number of evenly spaced numbers. A string of up to three integers, separated by
            commas, may come first, for the attributes.

        Raises
        ------
        ValueError
            For a string that does not consist of integers or does not come first, and for shapes
            that do not fit.
        """
        parts = key if isinstance(key, tuple) else (key,)
        if parts and isinstance(parts[0], str):
            return self._directed(parts[0])[parts[1:]]
        if any(isinstance(x, str) for x in parts):
            raise ValueError("a string comes before the arrays that it is for")
        arrays = alike(*[_ranged(x) if isinstance(x, slice) else _part(x) for x in parts])
        # a number has no axis
        are_numbers = [not isinstance(x, slice) and is_weak(x) for x in parts]
        return np.concatenate(
            [
                np.reshape(x, (1,) * self.ndim) if is_number else self._with_axes(x)
                for x, is_number in zip(arrays, are_numbers, strict=True)
            ],
            axis=self.axis,
        )

    def _directed(self, text: str) -> Joined:
        try:
            numbers = [int(part) for part in text.split(",")]
        except ValueError:
            numbers = []
        if not 1 <= len(numbers) <= 3:
            raise ValueError(
                f"{text!r} is not one to three integers separated by commas: the axis, the least "
                "number of axes, and the place of a part's own among them"
            )
        return Joined(*numbers, *(self.axis, self.ndim, self.place)[len(numbers) :])

    def _with_axes(self, x: Any) -> Any:
        new = self.ndim - x.ndim
        if new <= 0:
            return x
        place = self.place + new + 1 if self.place < 0 else self.place
        return np.reshape(x, (*(1,) * place, *x.shape, *(1,) * (new - place)))


def _part(x: Any) -> Any:
    return x if is_weak(x) else as_array(x)


def _ranged(part: slice) -> Any:
    """The numbers of a slice."""
    start, stop = 0 if part.start is None else part.start, part.stop
    step = 1 if part.step is None else part.step
    if isinstance(step, complex):
        return linspace(start, stop, int(abs(step)))
    return np.arange(start, stop, step)


r_ = Joined(0, 1, -1)
c_ = Joined(-1, 2, 0)
