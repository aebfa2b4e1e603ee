"""What becomes of warnings in a run of the tests."""

import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

TESTS = Path(__file__).parent


@pytest.fixture
def results(tmp_path):
    """Runs tests beside our conftest, under our settings: what pytest says of them."""

    def run(code: str) -> str:
        (tmp_path / "conftest.py").write_text((TESTS / "conftest.py").read_text())
        (tmp_path / "test_it.py").write_text(textwrap.dedent(code))
        settings = ["-c", str(TESTS.parent / "pyproject.toml"), "--rootdir", str(tmp_path)]
        done = subprocess.run(
            [sys.executable, "-m", "pytest", *settings, "-p", "no:cacheprovider", str(tmp_path)],
            capture_output=True,
            text=True,
            check=False,
            timeout=300,
        )
        return done.stdout

    return run


CATEGORIES = [
    "DeprecationWarning",
    "PendingDeprecationWarning",
    "FutureWarning",
    "np.exceptions.VisibleDeprecationWarning",
]


@pytest.mark.parametrize("category", CATEGORIES)
def test_a_deprecation_is_a_skip_that_says_so(results, category):
    said = results(f"""
        import warnings
        import numpy as np
        from hypothesis import given, strategies as st

        def deprecated():
            warnings.warn("numpy.old is deprecated", {category}, stacklevel=2)

        def test_that_calls():
            deprecated()

        @given(st.integers())
        def test_that_calls_for_an_example(n):
            deprecated()

        def test_that_takes_every_exception_for_a_failure():
            try:
                deprecated()
            except Exception:
                raise AssertionError

        def test_that_has_nothing_to_do_with_it():
            pass
    """)
    assert "1 passed, 3 skipped in" in said
    assert f"passes, but {category.split('.')[-1]}: numpy.old is deprecated" in said


def test_a_deprecation_beside_a_test_breaks_nothing(results):
    said = results("""
        import warnings
        import pytest

        warnings.warn("numpy.old is deprecated", DeprecationWarning)

        @pytest.fixture
        def old():
            warnings.warn("numpy.old is deprecated", DeprecationWarning)

        def test_that_passes(old):
            pass
    """)
    assert "1 passed, 2 warnings in" in said


def test_other_warnings_and_errors_fail(results):
    said = results("""
        import warnings

        def test_of_a_warning():
            warnings.warn("overflow", RuntimeWarning)

        def test_of_an_error_after_a_deprecation():
            warnings.warn("numpy.old is deprecated", DeprecationWarning)
            raise AssertionError
    """)
    assert "2 failed in" in said
