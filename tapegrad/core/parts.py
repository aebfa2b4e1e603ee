"""Several values of one record, as an op gives them whose result is more than one array."""

from __future__ import annotations

from typing import Any, ClassVar

import attrs
import numpy as np


@attrs.frozen(eq=False, repr=False)
class Parts:
    """The values of a record that has several, and what moves with them.

    A record stands for one value; that of a loop stands for all that the loop gives, and
    further records each take one of them out. Cotangents and tangents of such a record are
    `Parts` too, with None for those that are zero, so that what nobody asks for costs
    nothing. To the sweeps all of it looks like one floating number.

    Attributes
    ----------
    values
        Arrays or Tensors, of any shapes and dtypes.
    """

    values: tuple[Any, ...]

    __tree_leaf__: ClassVar[bool] = True
    shape: ClassVar[tuple[int, ...]] = ()
    ndim: ClassVar[int] = 0
    dtype: ClassVar[np.dtype[Any]] = np.dtype(float)

    @classmethod
    def only(cls, n: int, i: int, value: Any) -> Parts:
        """Of n parts the one at i; the others are zero."""
        return cls(tuple([value if j == i else None for j in range(n)]))

    def __add__(self, other: Parts) -> Parts:
        pairs = zip(self.values, other.values, strict=True)
        return Parts(tuple([b if a is None else a if b is None else a + b for a, b in pairs]))

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> Any:
        return np.zeros((), dtype or float)

    def __repr__(self) -> str:
        return f"({len(self.values)} values)"
