"""The table of contrasts: each row shows what it says, and would be refused if it did not."""

import contrast
import pytest


@pytest.mark.parametrize("case", contrast.CASES, ids=lambda case: type(case).__name__)
def test_a_row_shows_what_it_says(case):
    printed = contrast.row(1, case)
    assert printed.count("\n           -> ") == 2
    assert "    why       " in printed
    assert max(map(len, printed.splitlines())) < 120


@pytest.mark.parametrize(
    ("base", "stateful", "tapegrad"),
    [
        (contrast.Fault, 1, 1),
        (contrast.Fault, 2, 2),
        (contrast.Fault, 1, 2),
        (contrast.Fault, None, 1),
        (contrast.Cost, 1, 1),
        (contrast.Cost, 2, 1),
    ],
)
def test_a_row_that_does_not_show_it_is_refused(base, stateful, tapegrad):
    class Wrong(base):
        """A title.

        A reason.
        """

        right, wrong = 1, 2

    case = Wrong()
    case.stateful = lambda: stateful
    case.tapegrad = lambda: tapegrad
    with pytest.raises(AssertionError, match=r"A title\. .* gave"):
        contrast.row(1, case)
