"""The passes, each a pure function from a Program to a better one, in named groups.

A pass leaves behind what it replaced, and may write an instruction that exists already. So each
group ends by sharing and dropping, and no pass has to clean up, or to rely on another pass for it.
A program computes the same whatever the order of the passes; the order of the groups is the one
that leaves the least to compute.
"""

from __future__ import annotations

from collections.abc import Mapping

from tapegrad.program.improvement import Improvement
from tapegrad.program.improvement import Pass as Pass
from tapegrad.program.passes.biases import join_biases
from tapegrad.program.passes.common import share_common
from tapegrad.program.passes.contractions import contract_sums
from tapegrad.program.passes.dead import drop_dead
from tapegrad.program.passes.expand import expand_composites
from tapegrad.program.passes.factors import join_factors
from tapegrad.program.passes.fold import fold
from tapegrad.program.passes.gates import stack_alike
from tapegrad.program.passes.gathers import commute_gathers, join_gathers
from tapegrad.program.passes.horner import factor_sums
from tapegrad.program.passes.joint import join_sigmoids
from tapegrad.program.passes.late import use_at_once
from tapegrad.program.passes.limits import fill_limits
from tapegrad.program.passes.loops import hoist, improve_bodies, trim_loops
from tapegrad.program.passes.picks import pick_first
from tapegrad.program.passes.products import flatten_products, stack_products
from tapegrad.program.passes.rows import update_rows
from tapegrad.program.passes.scales import scale_small
from tapegrad.program.passes.seeds import scale_seeds
from tapegrad.program.passes.shifts import shift_rows
from tapegrad.program.passes.signs import read_signs
from tapegrad.program.passes.split import split_loops
from tapegrad.program.passes.stack import stack_sums
from tapegrad.program.passes.stacked import straighten_stacks
from tapegrad.program.passes.straighten import straighten
from tapegrad.program.passes.sums import sums_as_products
from tapegrad.program.passes.terms import add_before_parting, add_small_first
from tapegrad.program.passes.totals import sum_once
from tapegrad.program.passes.typed import type_numbers
from tapegrad.program.passes.weighed import sum_weighed

GROUPS: Mapping[str, tuple[Improvement, ...]] = {
    # a loop returns only what is read, and keeps inside only what its carry needs
    "loops": (trim_loops, split_loops),
    # records made for the sweep alone, and identities, go; composites show their parts
    "clean": (drop_dead, scale_seeds, join_sigmoids, expand_composites, fold),
    # what is left of each loop's body is improved by all passes, once
    "bodies": (trim_loops, improve_bodies, hoist),
    # numbers that multiply one value meet in one factor, outside of sums; sums meet in one sum
    "meet": (join_factors, sum_once),
    # sums over the steps of a loop become one product, or one sum, of all steps
    "stack": (stack_sums,),
    # sums of products become products; those by one matrix become one, before rows are copied
    "merge": (contract_sums, flatten_products, stack_products, join_gathers, commute_gathers),
    # a term is added where it is added least often
    "place": (add_small_first,),
    "part": (add_before_parting, update_rows),
    # the rows of an exponential may be shifted by any number
    "shift": (shift_rows,),
    # a number multiplies what is small of a product, and then of a product with that
    "scale": (scale_small, scale_small),
    # the rest is written with the ops that are quickest in NumPy
    "write": (fold, join_factors, pick_first, sum_weighed, sums_as_products),
    # terms with a common factor are multiplied by it once
    "factor": (factor_sums,),
    # a bias becomes a row of its weight, where both are small
    "join": (join_biases,),
    # functions of several parts become functions of a stack of them
    "gates": (stack_alike,),
    "order": (straighten, straighten_stacks, type_numbers, read_signs, fill_limits, use_at_once),
}

PASSES: tuple[Pass, ...] = tuple(
    change for group in GROUPS.values() for change in (*group, share_common, drop_dead)
)
