"""vmap: a function of one example as a function of a batch."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from op_cases import CASES, TABLE

import tapegrad as tg
from tapegrad.testing import check_batched, operands_for

EXAMPLES = settings.default.max_examples
FEW = settings(max_examples=EXAMPLES if EXAMPLES > 30 else 4)


@pytest.mark.parametrize("name", sorted(CASES))
def test_every_op_of_a_batch_is_what_a_loop_over_the_examples_gives(name):
    op = TABLE[name]

    @FEW
    @given(operands_for(op))
    def check(call: Any) -> None:
        with np.errstate(all="ignore"):
            check_batched(lambda *args: op(*args, **call.kwargs), call.args)

    check()
