"""How thoroughly Hypothesis searches, and what becomes of others' deprecations.

HYPOTHESIS_PROFILE=thorough has it search for longer.
"""

import os
import warnings
from collections.abc import Generator, Iterator

import numpy as np
import pytest
from hypothesis import settings

# the same examples in each run, so that no run surprises
settings.register_profile("default", max_examples=25, deadline=None, derandomize=True)
settings.register_profile("thorough", max_examples=250, deadline=None, derandomize=True)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "default"))

# The package deprecates nothing, so these are of a NumPy, Python or test tool that is newer
# than this suite. Other warnings are errors.
DEPRECATIONS = (
    DeprecationWarning,
    PendingDeprecationWarning,
    FutureWarning,
    np.exceptions.VisibleDeprecationWarning,
)


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Generator[None, object, object]:
    """Show a deprecation that a test file meets as it is imported."""
    with warnings.catch_warnings():
        for category in DEPRECATIONS:
            warnings.simplefilter("default", category)
        return (yield)


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_makereport(call: pytest.CallInfo[None]) -> None:
    """Skip a test that a deprecation ends."""
    if call.excinfo is not None:
        errors = list(_single(call.excinfo.value))
        if all(isinstance(error, DEPRECATIONS) for error in errors):
            reason = f"deprecated: {errors[0]}"
            call.excinfo = pytest.CallInfo.from_call(lambda: pytest.skip(reason), "call").excinfo


def _single(error: BaseException) -> Iterator[BaseException]:
    """The errors of a group, as Hypothesis raises where it finds several; else the error."""
    if isinstance(error, BaseExceptionGroup):
        for part in error.exceptions:
            yield from _single(part)
    else:
        yield error
