"""What nobody should do to an array."""

import numpy as np
import pytest


def vandalize(x: np.ndarray) -> None:
    """All that NumPy lets one do to a read-only array."""
    with pytest.raises(ValueError, match="WRITEABLE"):
        x.setflags(write=True)
    flat = x.reshape(-1)
    if flat.size and np.shares_memory(flat, x):
        before = flat[0]
        try:
            np.add.at(flat, np.zeros(1, np.intp), 1000.0)
        except ValueError:
            assert flat[0] == before
    with pytest.raises(ValueError, match="cannot resize"):
        x.resize((x.size + 1,), refcheck=False)
    if x.size and x.flags.c_contiguous and x.ndim:
        x.strides = (0,) * x.ndim
        x.strides = x.copy().strides
        x.dtype = np.int8
        x.shape = (-1, 1)
