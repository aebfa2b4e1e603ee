"""The passes in named groups. Each is a pure function from a Program to a better one.

A pass need not clean up: after each pass `Builder.drop_unused` drops what no output needs, and
equal instructions are one. Any order of the passes gives a right program; the order of the groups
is chosen because it leaves the least work.

The algebra of a program
------------------------
A program has the shapes and dtypes of its recording, and the same values to the bit, except that:

- The terms of a reduction, of a matrix product, and of a sum of these are added in another order,
  and so are the terms that a loop's carry only accumulates. The error is at most one unit in the
  last place, of the sum of the terms' magnitudes, for each term; at most 2**16 terms are added one
  by one (`contract_sums`, `stack_sums`, `stack_products`, `sums_as_products`, `split_loops` and
  `straighten`).
- A softmax, written ``exp(x - log(s))``, is ``exp(x) * (1 / s)`` (`fold`): within 8 units in the
  last place, or the smallest normal number.
- A power of two moves from one factor of a product to another (`join_factors`). This is exact,
  unless a product is subnormal.
- The sum of two zeros, and a zero in an outer product, may have another sign.

A pass changes no complex numbers unless it is declared to be right for them: conj(x) is not x, the
root of a square is not the modulus, and a product with 1 is nan where one part is infinite.

An elementwise sum keeps its order and its association, so that an epsilon survives. Numbers are
added to each other only where the function adds them, and no factor moves into a sum or out of
one. Zeros, ties, infinities and nans of the recording stay, except where rounding decides: where
a reordered sum cancels, or the sum of its terms' magnitudes overflows.

``tg.compile(fn, check=True)`` checks each pass against these rules, on any program; see
`tapegrad.testing.proof`.
"""

from __future__ import annotations

from collections.abc import Mapping

from tapegrad.program.passes.composites import expand_composites
from tapegrad.program.passes.factors import join_factors
from tapegrad.program.passes.fission import split_loops
from tapegrad.program.passes.fold import fold
from tapegrad.program.passes.loops import hoist, improve_bodies, trim_loops
from tapegrad.program.passes.operands import lay_out, straighten
from tapegrad.program.passes.order import use_up
from tapegrad.program.passes.picks import add_picked, find_largest, pick_first
from tapegrad.program.passes.stack import stack_products, stack_sums
from tapegrad.program.passes.sums import (
    contract_sums,
    outer_products,
    sums_as_products,
    update_rows,
)
from tapegrad.program.program import Improvement
from tapegrad.program.program import Pass as Pass

GROUPS: Mapping[str, tuple[Improvement, ...]] = {
    # loops return only results that are used, and compute only values that their carry needs
    "loops": (trim_loops, split_loops),
    # identities and records of the sweep are dropped; composites are expanded
    "clean": (expand_composites, fold),
    # the same passes improve the body of each loop, once
    "bodies": (trim_loops, improve_bodies, hoist),
    # several numbers that multiply a value become one factor
    "meet": (join_factors,),
    # sums of products become products; a sum over the steps of a loop becomes one product
    "stack": (contract_sums, stack_sums),
    # products by one matrix become one product
    "merge": (stack_products,),
    # an update of few rows adds to these rows alone
    "part": (update_rows,),
    # fold the results of these, and pick elements of rows by one flat index
    "flat": (fold, join_factors, pick_first, add_picked, find_largest),
    # the rest uses the ops that are fastest in NumPy; then operands and order are chosen
    "write": (sums_as_products, outer_products),
    "order": (straighten, lay_out, use_up),
}

PASSES: tuple[Pass, ...] = tuple(change for group in GROUPS.values() for change in group)
