"""How thoroughly Hypothesis searches, and what becomes of others' deprecations.

HYPOTHESIS_PROFILE=thorough has it search for longer. What costs more than a call of an op
has a number of examples of its own: see support/depth.py.
"""

import os
import warnings
from collections.abc import Generator

import pytest
from hypothesis import settings

# the same examples in each run, so that no run surprises
settings.register_profile("default", max_examples=25, deadline=None, derandomize=True)
settings.register_profile("thorough", max_examples=250, deadline=None, derandomize=True)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "default"))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call() -> Generator[None, object, object]:
    """Call a test skipped that passes but meets a warning that is no error: a deprecation."""
    with warnings.catch_warnings(record=True) as met:
        result = yield
    if met:
        pytest.skip(f"passes, but {met[0].category.__name__}: {met[0].message}")
    return result
