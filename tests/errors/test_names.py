"""A name that a module lacks is answered with ours, if there is one that is meant."""

import re
from operator import attrgetter

import pytest

import tapegrad as tg
from tapegrad.errors.names import _MODULES as MODULES
from tapegrad.errors.names import ELSEWHERE


def refused(module: str, name: str) -> str:
    """The message for a name, after the part that Python has too."""
    with pytest.raises(AttributeError) as caught:
        attrgetter(f"{module}.{name}".lstrip("."))(tg)
    head = f"module '{'.'.join(filter(None, ['tapegrad', module]))}' has no attribute {name!r}"
    assert str(caught.value).startswith(head)
    return str(caught.value).removeprefix(head)


def test_names_of_other_libraries_lead_to_ours() -> None:
    # a module that is imported by name, and is no attribute until then
    for name, advice in ELSEWHERE.items() - {("scipy", ELSEWHERE["scipy"])}:
        assert refused("", name) == refused("optim", name) == advice
        for path in re.findall(r"\btg\.([\w.]*\w)", advice):
            attrgetter(path)(tg)
    assert refused("", "Linear") == ": write tg.nn.Linear"
    assert refused("nn", "argmax") == ": write tg.argmax"
    assert refused("nn", "relu") == ": write tg.relu"  # the function, not the layer
    assert refused("", "zeros") == ": write np.zeros"
    assert refused("", "qwxyz") == refused("nn", "_lacking_") == ""


@pytest.mark.parametrize("module", MODULES)
def test_a_name_in_another_case_or_one_letter_off_leads_to_ours(module: str) -> None:
    name = max(dir(attrgetter(module)(tg) if module else tg), key=len)
    ours = ".".join(filter(None, ["tg", module, name]))
    assert refused(module, f"{name.swapcase()}_") == f": write {ours}"
    assert refused(module, name[:3] + name[4:]) == f"; did you mean {ours}?"
