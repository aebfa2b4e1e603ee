"""The passes, each a pure function from a Program to a better one, in named groups.

A pass leaves behind what it replaced. What it writes is shared with what is equal and stands there
already, and after each pass what no output needs is dropped (`Builder.tidy`): none has to clean up.
A program computes the same whatever the order of the passes; the order of the groups is the one
that leaves the least to compute.

The algebra of a program
------------------------
A program gives the shapes and the dtypes of its recording, and its values to the bit, except that:

- What one reduction, one product of matrices, or a sum of such products and reductions adds up is
  added in another order, and so is what a loop's carry does nothing but add up over the steps. A
  result is off by at most one unit in the last place of the sum of the sizes of the terms, for
  each of the terms; at most 2**16 terms are added one by one (`contract_sums`, `stack_sums`,
  `stack_products`, `sums_as_products`, `split_loops` and `straighten`).
- A softmax, written ``exp(x - log(s))``, is ``exp(x) * (1 / s)`` (`fold`): within 8 units in the
  last place, or the smallest normal number.
- A power of two moves from one factor of a product to another (`join_factors`): exact, unless a
  product is subnormal.
- A zero to which another is added may have another sign, and so may one of an outer product.

Of complex numbers a pass changes nothing unless it is declared to be right for these: conj(x) is
not x, the root of a square is not its size, and a product with 1 is nan where one part is infinite.

An elementwise sum keeps its order and its association, so that an epsilon survives. Numbers are
added to each other only where the function does so, and no factor moves into a sum or out of one.
Zeros, ties, infinities and nans of the recording stay, except where rounding decides: where a
reordered sum cancels, or the sum of the sizes of its terms overflows.

`tapegrad.testing.proof` holds each pass to this, on any program: ``tg.compile(fn, check=True)``.
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
    # a loop returns only what is read, and keeps inside only what its carry needs
    "loops": (trim_loops, split_loops),
    # records made for the sweep alone, and identities, go; composites show their parts
    "clean": (expand_composites, fold),
    # what is left of each loop's body is improved by the same passes, once
    "bodies": (trim_loops, improve_bodies, hoist),
    # numbers that multiply one value meet in one factor
    "meet": (join_factors,),
    # sums of products become products, and those over the steps of a loop one of all steps
    "stack": (contract_sums, stack_sums),
    # products by one matrix become one
    "merge": (stack_products,),
    # what is added to few rows is added to these alone
    "part": (update_rows,),
    # what that left is folded, and elements of rows are picked by one flat index
    "flat": (fold, join_factors, pick_first, add_picked, find_largest),
    # the rest is written with the ops that are quickest in NumPy, and what is kept serves twice
    "write": (sums_as_products, outer_products),
    "order": (straighten, lay_out, use_up),
}

PASSES: tuple[Pass, ...] = tuple(change for group in GROUPS.values() for change in group)
