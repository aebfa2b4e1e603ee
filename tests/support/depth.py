"""How long the tests search: how many examples each family of them gets, in either profile.

A test of one call costs little, and takes its number from the profile (tests/conftest.py).
What costs more belongs to a family, for which the default run has few examples and the
thorough run many. All these numbers are here.
"""

from hypothesis import Phase, settings

THOROUGH = settings.default.max_examples > 30

# family: examples of the default run, of the thorough run
FAMILIES: dict[str, tuple[int, int]] = {
    # a property of one op: there are 300, each with one test for each property; the
    # thorough run draws a quarter of the calls, and samples the others
    "op": (3, 80),
    "op, cheap": (8, 120),
    "op, written": (1, 25),
    "op, written in its own form": (5, 40),
    "op, in every part": (2, 20),
    "op, by differences": (1, 12),
    "op, by every property": (1, 10),
    "op, of complex numbers": (1, 20),
    # each is called with every argument wrong in a dozen ways
    "op, called wrongly": (4, 60),
    # functions for which each derivative is compared with differences, to the second order
    "check_grads": (1, 10),
    "check_grads, of few inputs": (4, 60),
    # solutions that SciPy finds, a dozen times for an example
    "solution": (1, 20),
    "loop": (4, 60),
    # a body that changes its arguments, in each transform and in each loop
    "own tree": (3, 40),
    "own tree, in a loop": (3, 40),
    "batch": (5, 120),
    # transforms and loops in each other
    "nested": (30, 600),
    "state machine": (20, 100),
    "pairs of small numbers": (6, 36),
    # functions whose general properties are checked
    "properties": (5, 50),
    # random programs of up to 40 steps, traced, and improved, written or run
    "program": (8, 100),
    "program, by one pass": (15, 60),
    "program, compiled": (20, 2_000),
    "program, as text": (10, 50),
    "program, in blocks": (10, 150),
    "program, in results": (10, 100),
    "program, saved": (8, 150),
    # of each family of functions as users write them, each pass proved
    "program, proved": (3, 40),
    "program, proved in any order": (1, 20),
    "program on JAX": (2, 80),
    # functions of a few steps, compiled and run
    "small step": (5, 60),
    "formula": (15, 700),
    # calls of any op, all drawn by one test
    "op, saved": (20, 500),
    "op on JAX": (6, 700),
    # corrupt or altered files
    "file, in part": (5, 100),
    "file, hostile": (30, 2_000),
}


def examples(family: str) -> int:
    """How many examples a family gets."""
    return FAMILIES[family][THOROUGH]


def depth(family: str) -> settings:
    """Hypothesis' settings for a test of a family.

    Only the thorough run shrinks what fails, which may take minutes.
    """
    if THOROUGH:
        return settings(max_examples=examples(family))
    return settings(max_examples=examples(family), phases=[Phase.explicit, Phase.generate])
