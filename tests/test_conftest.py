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
        import pytest
        from hypothesis import given, strategies as st

        def deprecated():
            warnings.warn("numpy.old is deprecated", {category}, stacklevel=2)

        @pytest.fixture
        def old():
            deprecated()

        def test_that_calls():
            deprecated()

        @given(st.integers())
        def test_that_calls_for_an_example(n):
            deprecated()

        @given(st.booleans())
        def test_that_calls_in_two_places(flag):
            if flag:
                deprecated()
            else:
                deprecated()

        def test_of_a_fixture_that_calls(old):
            pass
    """)
    assert "4 skipped in" in said
    assert "deprecated: numpy.old is deprecated" in said


def test_a_deprecation_while_a_file_is_imported_breaks_nothing(results):
    said = results("""
        import warnings

        warnings.warn("numpy.old is deprecated", DeprecationWarning)

        def test_that_passes():
            pass
    """)
    assert "1 passed, 1 warning in" in said


def test_other_warnings_and_errors_fail(results):
    said = results("""
        import warnings
        from hypothesis import given, strategies as st

        def test_of_a_warning():
            warnings.warn("overflow", RuntimeWarning)

        @given(st.booleans())
        def test_of_an_error_beside_a_deprecation(flag):
            if flag:
                warnings.warn("numpy.old is deprecated", DeprecationWarning)
            raise AssertionError(flag)
    """)
    assert "2 failed in" in said
