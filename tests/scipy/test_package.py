"""How `tapegrad.scipy` is imported, and what it says where SciPy is not installed."""

import pytest
from scripts import printed

import tapegrad as tg


@pytest.mark.thorough
def test_without_scipy_it_says_how_to_install_it() -> None:
    # as if SciPy were not installed
    said = printed(
        "import sys; sys.modules['scipy'] = None\n"
        "import tapegrad\n"
        "try: import tapegrad.scipy\n"
        "except ImportError as error: print(error)"
    )
    assert said == "tapegrad.scipy needs SciPy: python -m pip install 'tapegrad[scipy]'\n"


@pytest.mark.thorough
def test_it_is_imported_by_name_alone_and_its_modules_when_they_are_asked_for() -> None:
    pytest.importorskip("scipy")
    said = printed(
        "import sys, tapegrad\n"
        "try: tapegrad.scipy\n"
        "except AttributeError as error: print(error)\n"
        "import tapegrad.scipy\n"
        "names = tapegrad.scipy.__all__\n"
        "print([x for x in names if f'tapegrad.scipy.{x}' in sys.modules])\n"
        "print(all(getattr(tapegrad.scipy, x) is sys.modules[f'tapegrad.scipy.{x}'] for x in names))"
    )
    advice, *rest = said.splitlines()
    assert advice.endswith("import tapegrad.scipy first, which needs SciPy")
    assert rest == ["[]", "True"]


def test_what_it_has_not_is_an_attribute_error() -> None:
    pytest.importorskip("scipy")
    import tapegrad.scipy

    assert "scipy" not in dir(tg)
    with pytest.raises(AttributeError, match="no attribute 'cluster'"):
        _ = tapegrad.scipy.cluster
