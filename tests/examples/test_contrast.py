"""Each row of the table of contrasts prints its two results and a reason."""

import contrast
import pytest


@pytest.mark.parametrize("case", contrast.CASES, ids=lambda case: type(case).__name__)
def test_row_prints_two_results_and_a_reason(case):
    text = contrast.format_case(1, case)
    assert text.count("\n           -> ") == 2
    assert "    why       " in text
    assert max(map(len, text.splitlines())) < 120
