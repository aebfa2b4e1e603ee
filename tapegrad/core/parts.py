"""Several values of one record: the result of an op that returns more than one array."""

from __future__ import annotations

from typing import Any, ClassVar

import attrs
import numpy as np


@attrs.frozen(eq=False, repr=False)
class Parts:
    """The values of a record that has several, and their cotangents or tangents.

    A record holds one value; that of a loop holds all values that the loop returns, and further
    records each take one of them out. The cotangents and tangents of such a record are `Parts`
    too, with None for zeros, so unused values cost nothing. To the sweeps it all looks like one
    floating number.

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
        """The part at i of n; the others are zero."""
        return cls(tuple([value if j == i else None for j in range(n)]))

    def __add__(self, other: Parts) -> Parts:
        pairs = zip(self.values, other.values, strict=True)
        return Parts(tuple([b if a is None else a if b is None else a + b for a, b in pairs]))

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> Any:
        return np.zeros((), dtype or float)

    def __repr__(self) -> str:
        return f"({len(self.values)} values)"
