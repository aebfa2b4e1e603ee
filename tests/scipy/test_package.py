"""How `tapegrad.scipy` is imported, and what it says where SciPy is not installed."""

import pytest
from scripts import print_of_script

import tapegrad as tg


@pytest.mark.thorough
def test_without_scipy_it_says_how_to_install_it() -> None:
    # as if SciPy were not installed
    said = print_of_script(
        "import sys; sys.modules['scipy'] = None\n"
        "import tapegrad\n"
        "try: import tapegrad.scipy\n"
        "except ImportError as error: print(error)"
    )
    assert said == "tapegrad.scipy needs SciPy: python -m pip install 'tapegrad[scipy]'\n"


@pytest.mark.thorough
def test_it_is_imported_by_name_alone_and_its_modules_when_they_are_asked_for() -> None:
    pytest.importorskip("scipy")
    said = print_of_script(
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


def test_a_name_that_a_module_lacks_is_answered_with_those_it_has() -> None:
    scipy = pytest.importorskip("tapegrad.scipy", exc_type=ImportError)
    assert "scipy" not in dir(tg)
    modules = [scipy, scipy.sparse.linalg, *[getattr(scipy, name) for name in scipy.__all__]]
    for module in modules:
        path = module.__name__
        message = (
            f"module '{path}' has no attribute 'moyal'; it has {', '.join(sorted(dir(module)))}. "
            "Compose it of "
        )
        with pytest.raises(AttributeError) as read:
            _ = module.moyal
        with pytest.raises(ImportError, match=f"cannot import name 'moyal' from '{path}'"):
            exec(f"from {path} import {dir(module)[0]}, moyal")
        assert str(read.value).startswith(message)
        assert not hasattr(module, "moyal")
        with pytest.raises(AttributeError, match=r"no attribute '_moyal'$"):
            _ = module._moyal
