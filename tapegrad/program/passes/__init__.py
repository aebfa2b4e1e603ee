"""The passes, each a pure function from a Program to a better one, in order."""

from __future__ import annotations

from collections.abc import Callable

from tapegrad.program.passes.common import share_common
from tapegrad.program.passes.dead import drop_dead
from tapegrad.program.passes.expand import expand_composites
from tapegrad.program.passes.factors import join_factors
from tapegrad.program.passes.fold import fold
from tapegrad.program.passes.joint import join_sigmoids
from tapegrad.program.passes.late import use_at_once
from tapegrad.program.passes.picks import pick_first
from tapegrad.program.passes.rows import update_rows
from tapegrad.program.passes.seeds import scale_seeds
from tapegrad.program.passes.stack import (
    commute_gathers,
    flatten_products,
    join_gathers,
    stack_products,
    stack_sums,
)
from tapegrad.program.passes.straighten import straighten
from tapegrad.program.passes.sums import sums_as_products
from tapegrad.program.passes.terms import add_before_parting, add_small_first
from tapegrad.program.passes.typed import type_numbers
from tapegrad.program.program import Program

Pass = Callable[[Program], Program]

PASSES: tuple[Pass, ...] = (
    drop_dead,
    scale_seeds,
    join_sigmoids,
    expand_composites,
    fold,
    share_common,
    join_factors,
    share_common,
    stack_sums,
    drop_dead,
    flatten_products,
    stack_products,
    join_gathers,
    commute_gathers,
    share_common,
    add_small_first,
    share_common,
    drop_dead,
    add_before_parting,
    drop_dead,
    update_rows,
    fold,
    join_factors,
    pick_first,
    sums_as_products,
    share_common,
    straighten,
    type_numbers,
    drop_dead,
    use_at_once,
)
