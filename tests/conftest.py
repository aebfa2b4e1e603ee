"""Hypothesis profiles, third-party deprecations and a watch for tests that hang.

HYPOTHESIS_PROFILE=thorough has Hypothesis search for longer, and runs the tests that are marked
`thorough`, which take long and rarely find faults. support/depth.py sets the number of examples of tests
that cost more than a call of an op.
"""

import contextlib
import faulthandler
import gc
import os
import time
import warnings
from collections.abc import Generator
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis.strategies import none

# the same examples in each run, so that no run surprises
settings.register_profile("default", max_examples=8, deadline=None, derandomize=True)
# as few examples, of every test: support/plant.py compares the default run with this one
settings.register_profile("all", max_examples=8, deadline=None, derandomize=True)
settings.register_profile("thorough", max_examples=150, deadline=None, derandomize=True)
PROFILE = os.environ.get("HYPOTHESIS_PROFILE", "default")
settings.load_profile(PROFILE)

# programs that run once are best compiled fast
os.environ.setdefault("JAX_DISABLE_MOST_OPTIMIZATIONS", "1")

WATCH = pytest.StashKey[dict[str, Any]]()


def pytest_configure(config: pytest.Config) -> None:
    """Keep the terminal, to which the traceback of a test that hangs is written."""
    config.stash[WATCH] = {"terminal": os.dup(2), "since": -60.0}


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Deselect thorough tests in the default run, unless a test is selected by name."""
    if PROFILE != "default" or any("::" in x for x in config.args):
        return
    left = [x for x in items if x.get_closest_marker("thorough")]
    config.hook.pytest_deselected(items=left)
    items[:] = [x for x in items if not x.get_closest_marker("thorough")]


def pytest_collection_finish(session: pytest.Session) -> None:
    """Exclude the tests themselves, which are most objects, from garbage collection."""
    # at its first example Hypothesis asks the collector who holds its generators
    given(none())(lambda nothing: None)()
    gc.collect()
    gc.freeze()


def pytest_unconfigure(config: pytest.Config) -> None:
    with contextlib.suppress(AttributeError):
        faulthandler.cancel_dump_traceback_later()


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Show where a test hangs for five minutes.

    pytest's own timeout starts a thread for each test, which takes more time than most tests do.
    """
    watch = item.config.stash[WATCH]
    if time.monotonic() > watch["since"] + 60:
        watch["since"] = time.monotonic()
        # faulthandler waits in a thread, which some platforms lack
        with contextlib.suppress(AttributeError, RuntimeError):
            faulthandler.dump_traceback_later(360, file=watch["terminal"])


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call() -> Generator[None, object, object]:
    """Skip a test that passes but meets a deprecation warning."""
    with warnings.catch_warnings(record=True) as met:
        result = yield
    if met:
        pytest.skip(f"passes, but {met[0].category.__name__}: {met[0].message}")
    return result
