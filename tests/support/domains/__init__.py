"""The calls that the package's own ops and functions are tested on, one file a family."""

from domains import (
    elementwise,
    fft,
    indexing,
    linalg,
    order,
    products,
    reductions,
    shapes,
)
from tapegrad.domain import Domain

# By the name that an op or a function is declared under.
DOMAINS: dict[str, Domain] = {}
for family in (elementwise, products, linalg, fft, shapes, indexing, order, reductions):
    DOMAINS |= family.DOMAINS
