"""SciPy's functions on Tensors, under SciPy's names: SciPy computes, and the rules are here.

It needs SciPy (the extra ``scipy``) and is imported by name alone, ``import tapegrad.scipy``; each
of its modules is imported at its first use.
"""

import typing as _typing
from importlib import import_module as _import_module

from tapegrad.errors.names import list_names as _list_names

try:
    _import_module("scipy")
except ImportError as error:
    raise ImportError(
        "tapegrad.scipy needs SciPy: python -m pip install 'tapegrad[scipy]'"
    ) from error

if _typing.TYPE_CHECKING:
    from tapegrad.scipy import fft as fft
    from tapegrad.scipy import integrate as integrate
    from tapegrad.scipy import interpolate as interpolate
    from tapegrad.scipy import linalg as linalg
    from tapegrad.scipy import ndimage as ndimage
    from tapegrad.scipy import optimize as optimize
    from tapegrad.scipy import signal as signal
    from tapegrad.scipy import sparse as sparse
    from tapegrad.scipy import spatial as spatial
    from tapegrad.scipy import special as special
    from tapegrad.scipy import stats as stats

__all__ = [
    "fft",
    "integrate",
    "interpolate",
    "linalg",
    "ndimage",
    "optimize",
    "signal",
    "sparse",
    "spatial",
    "special",
    "stats",
]
_list_names(globals())
