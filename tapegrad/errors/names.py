"""Messages for names that a module lacks: tapegrad's name for the same thing, or a similar name."""

from __future__ import annotations

from collections.abc import Container
from importlib import import_module
from operator import attrgetter
from types import ModuleType
from typing import Any, NoReturn

import numpy as np

from tapegrad.errors.remedies import ATTRIBUTES, NAMES, PARAMETERS, TREE_FUNCTIONS

_MODULES = ["", "nn", "optim", "random", "tree", "linalg", "fft", "data", "testing"]
_MODULES += ["nn.initializers", "polynomial"]


def load_module(path: str) -> ModuleType:
    """Import a module of the package by its full name.

    No module of this subpackage imports a later subpackage. A module that lists its names here
    says which modules to load, and messages about missing names search the public modules.
    """
    return import_module(path)


def list_names(module: dict[str, Any], public: str = "", **later: str) -> None:
    """Have a public module list its names in `dir`, and raise with advice for a missing name.

    Parameters
    ----------
    module
        The module's dictionary. A name in ``__all__`` without an entry is imported as a module.
    public
        The module's name below ``tapegrad``, such as "linalg", if it differs from the file's.
    **later
        The modules of names that are imported at the first access.
    """
    path, names = module["__name__"], module["__all__"]

    # a type checker, which would take any name then, must not see it
    def look_up(name: str) -> Any:
        if name in later:
            return getattr(load_module(later[name]), name)
        if name in names:
            return load_module(f"{path}.{name}")
        refuse(public or path.removeprefix("tapegrad."), name)

    module.update(__dir__=names.copy, __getattr__=look_up)


def refuse(module: str, name: str) -> NoReturn:
    """Raise for a name that a public module lacks, such as "nn"; the package itself is ""."""
    of = ".".join(filter(None, ("tapegrad", module)))
    raise AttributeError(f"module {of!r} has no attribute {name!r}{_instead(module, name)}")


def name_attributes(cls: type[Any], kind: str) -> None:
    """Raise with advice for attributes that an object of this kind has in other libraries.

    Parameters
    ----------
    cls
        The class, which has no ``__getattr__``.
    kind
        "optimizer", "layer" or "record", a class of parameters or of a state.
    """

    def refuse_attribute(self: object, name: str) -> NoReturn:
        code = ATTRIBUTES[kind].get(name)
        advice = f": write {code}" if code else ""
        raise AttributeError(
            f"{type(self).__name__!r} object has no attribute {name!r}{advice}", name=name, obj=self
        )

    # a type checker, which would take any name then, must not see it
    cls.__getattr__ = refuse_attribute


def describe_parameter(name: str, parameters: Container[str]) -> str:
    """Return advice for a parameter that a class lacks: the name to write, or ""."""
    ours = PARAMETERS.get(name, "")
    return f": write {ours}" if ours.split(" and ")[0] in parameters else ""


def _instead(module: str, name: str) -> str:
    """Return advice for a name that a module lacks: the name to write, or ""."""
    if name.startswith("_"):
        return ""
    if module.startswith("scipy"):
        names = sorted(load_module(f"tapegrad.{module}").__all__)
        return (
            f"; it has {', '.join(names)}. Compose it of these and of functions of np.* and tg.*, "
            "declare it with tg.custom_op, or call SciPy's on values (t.value)"
        )
    if name == "scipy":
        return ": import tapegrad.scipy first, which needs SciPy"
    remedy = NAMES.get(name) or (TREE_FUNCTIONS.get(name) if module == "tree" else None)
    if remedy:
        return f": write {remedy}"
    own = _names(module)
    # a function of arrays comes before a layer or an initializer of the same name
    everywhere = load_module("tapegrad")
    if name in dir(everywhere):
        return f": write tg.{name}"
    if not module and name in np.__all__:
        return f": write np.{name}"
    same = own.get(_plain(name))
    for other in () if same else _MODULES:
        same = same or _names(other).get(_plain(name))
    if same:
        return f": write {same}"
    # few programs need it
    from difflib import get_close_matches

    matches = get_close_matches(_plain(name), own, n=1, cutoff=0.7)
    return f"; did you mean {own[matches[0]]}?" if matches else ""


def _plain(name: str) -> str:
    return name.replace("_", "").lower()


def _names(module: str) -> dict[str, str]:
    """Return a module's public names, by the same names without case and underscores."""
    tg = load_module("tapegrad")
    names = dir(attrgetter(module)(tg) if module else tg)
    return {_plain(name): ".".join(filter(None, ("tg", module, name))) for name in names}
