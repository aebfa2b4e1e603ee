"""The table of contrasts: each row shows what it says."""

import contrast
import pytest


@pytest.mark.parametrize("case", contrast.CASES, ids=lambda case: type(case).__name__)
def test_a_row_shows_what_it_says(case):
    printed = contrast.row(1, case)
    assert printed.count("\n           -> ") == 2
    assert "    why       " in printed
    assert max(map(len, printed.splitlines())) < 120
