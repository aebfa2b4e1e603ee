"""What becomes of warnings in a run of the tests."""

import re
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

TESTS = Path(__file__).parent
pytestmark = pytest.mark.thorough  # a run inside the run

CATEGORIES = [
    "DeprecationWarning",
    "PendingDeprecationWarning",
    "FutureWarning",
    "np.exceptions.VisibleDeprecationWarning",
]

DEPRECATED = """
    import warnings
    import numpy as np
    import pytest
    from hypothesis import given, strategies as st

    categories = pytest.mark.parametrize("category", CATEGORIES)

    def deprecated(category):
        warnings.warn("numpy.old is deprecated", eval(category), stacklevel=2)

    @categories
    def test_that_calls(category):
        deprecated(category)

    @categories
    @given(n=st.integers())
    def test_that_calls_for_an_example(category, n):
        deprecated(category)

    @categories
    def test_that_takes_every_exception_for_a_failure(category):
        try:
            deprecated(category)
        except Exception:
            raise AssertionError

    def test_that_has_nothing_to_do_with_it():
        pass
"""

BESIDE = """
    import warnings
    import pytest

    warnings.warn("a module is deprecated", DeprecationWarning)

    @pytest.fixture
    def old():
        warnings.warn("a fixture is deprecated", DeprecationWarning)

    def test_that_passes(old):
        pass
"""

OTHER = """
    import warnings

    def test_of_a_warning():
        warnings.warn("overflow", RuntimeWarning)

    def test_of_an_error_after_a_deprecation():
        warnings.warn("numpy.old is deprecated", DeprecationWarning)
        raise AssertionError
"""


# as where Python is compiled to WebAssembly
NO_THREADS = """
def no_thread(*args, **options):
    raise RuntimeError("can't start new thread")

faulthandler.dump_traceback_later = no_thread
"""


@pytest.fixture(scope="module")
def said(tmp_path_factory):
    """What pytest says of tests beside our conftest, under our settings; all in one run."""
    folder = tmp_path_factory.mktemp("run")
    (folder / "conftest.py").write_text((TESTS / "conftest.py").read_text() + NO_THREADS)
    deprecated = DEPRECATED.replace("CATEGORIES", str(CATEGORIES))
    for name, code in {"deprecated": deprecated, "beside": BESIDE, "other": OTHER}.items():
        (folder / f"test_{name}.py").write_text(textwrap.dedent(code))
    settings = ["-c", str(TESTS.parent / "pyproject.toml"), "--rootdir", str(folder)]
    done = subprocess.run(
        [sys.executable, "-m", "pytest", *settings, "-rA", "-p", "no:cacheprovider", str(folder)],
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    return done.stdout


def results(said, outcome, file):
    """The lines of the summary on the tests of a file."""
    return re.findall(rf"^{outcome} .*\btest_{file}\.py\b.*$", said, re.M)


@pytest.mark.parametrize("category", CATEGORIES)
def test_a_deprecation_is_a_skip_that_says_so(said, category):
    # lines alike are counted: one for each way to meet it
    reason = rf"passes, but {category.split('.')[-1]}: numpy.old is deprecated"
    assert re.search(rf"^SKIPPED \[3\] .*: {reason}$", said, re.M)
    assert len(results(said, "PASSED", "deprecated")) == 1
    assert not results(said, "FAILED", "deprecated")


def test_a_deprecation_beside_a_test_breaks_nothing(said):
    assert len(results(said, "PASSED", "beside")) == 1
    for what in ("a module", "a fixture"):
        assert f"DeprecationWarning: {what} is deprecated" in said


def test_other_warnings_and_errors_fail(said):
    assert len(results(said, "FAILED", "other")) == 2
    assert not results(said, "PASSED", "other")
    assert "2 failed, 2 passed, 12 skipped, 2 warnings in" in said
