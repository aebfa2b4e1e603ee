"""A test that passes but meets a deprecation is skipped; one that meets another warning fails."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

TESTS = Path(__file__).parent
CATEGORIES = [
    *("DeprecationWarning", "PendingDeprecationWarning", "FutureWarning"),
    "np.exceptions.VisibleDeprecationWarning",
]
RUN = """
import warnings
import numpy as np
import pytest
from hypothesis import given, strategies as st

warnings.warn("a module is deprecated", DeprecationWarning)
categories = pytest.mark.parametrize("category", CATEGORIES)

def deprecated(category):
    warnings.warn("numpy.old is deprecated", eval(category), stacklevel=2)

@pytest.fixture
def old():
    warnings.warn("a fixture is deprecated", DeprecationWarning)

@categories
def test_skipped_for_a_call(category):
    deprecated(category)

@categories
@given(n=st.integers())
def test_skipped_for_an_example(category, n):
    deprecated(category)

@categories
def test_skipped_where_every_exception_is_a_failure(category):
    try:
        deprecated(category)
    except Exception:
        raise AssertionError

def test_passed(old):
    pass

def test_failed_for_a_warning():
    warnings.warn("overflow", RuntimeWarning)

def test_failed_after_a_deprecation():
    deprecated("DeprecationWarning")
    raise AssertionError
"""
# as where Python is compiled to WebAssembly
NO_THREADS = """
def no_thread(*args, **options):
    raise RuntimeError("can't start new thread")

faulthandler.dump_traceback_later = no_thread
"""


@pytest.mark.thorough  # a run inside the run
def test_the_outcome_of_each_test_of_a_run_is_the_one_in_its_name(tmp_path: Path) -> None:
    (tmp_path / "conftest.py").write_text((TESTS / "conftest.py").read_text() + NO_THREADS)
    (tmp_path / "test_run.py").write_text(RUN.replace("CATEGORIES", str(CATEGORIES)))
    settings = ["-c", str(TESTS.parent / "pyproject.toml"), "--rootdir", str(tmp_path)]
    done = subprocess.run(
        [sys.executable, "-m", "pytest", *settings, "-rA", "-p", "no:cacheprovider", str(tmp_path)],
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    outcomes = re.findall(r"^(PASSED|FAILED) .*::test_(passed|failed)", done.stdout, re.M)
    assert sorted(outcomes) == [("FAILED", "failed")] * 2 + [("PASSED", "passed")]
    for category in CATEGORIES:
        reason = rf"passes, but {category.split('.')[-1]}: numpy.old is deprecated"
        assert re.search(rf"^SKIPPED \[3\] .*: {reason}$", done.stdout, re.M)
    for thing in ("a module", "a fixture"):
        assert f"DeprecationWarning: {thing} is deprecated" in done.stdout
    assert "2 failed, 1 passed, 12 skipped, 2 warnings in" in done.stdout
