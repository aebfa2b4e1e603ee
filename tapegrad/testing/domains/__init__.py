"""The calls that the package's own ops and functions are tested on, one file a family."""

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

# By the name that an op or a function is declared under.
DOMAINS: dict[str, Domain] = {
    **elementwise.DOMAINS,
    **fft.DOMAINS,
    **indexing.DOMAINS,
    **linalg.DOMAINS,
    **logic.DOMAINS,
    **products.DOMAINS,
    **reductions.DOMAINS,
    **scans.DOMAINS,
    **shapes.DOMAINS,
    **sorting.DOMAINS,
}
