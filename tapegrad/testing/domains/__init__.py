"""The calls that the package's own ops and functions are tested on, one file a family."""

from typing import Any

from tapegrad.domain import Domain
from tapegrad.testing.domains import (
    elementwise,
    fft,
    indexing,
    linalg,
    logic,
    products,
    reductions,
    scans,
    shapes,
    sorting,
)

_SHAPES: tuple[Any, ...] = (shapes, indexing, sorting, reductions, scans)
_NUMBERS: tuple[Any, ...] = (elementwise, logic, products, linalg, fft)
# By the name that an op or a function is declared under.
DOMAINS: dict[str, Domain] = {}
for _family in (*_NUMBERS, *_SHAPES):
    DOMAINS |= _family.DOMAINS
