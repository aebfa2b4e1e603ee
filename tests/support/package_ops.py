"""Every op that a module of the package holds, found without a list."""

import importlib
import pkgutil
from functools import cache
from types import ModuleType

import tapegrad as tg
from tapegrad.core.primitive import Primitive


def package_modules() -> list[ModuleType]:
    """The modules of the package, without those that need a library which is not here."""
    found = []
    # a package without its library is no reason to stop
    for info in pkgutil.walk_packages(tg.__path__, "tapegrad.", onerror=lambda name: None):
        if not info.name.endswith("__main__"):
            try:
                found.append(importlib.import_module(info.name))
            except ImportError:
                continue
    return found


@cache
def package_ops() -> tuple[Primitive, ...]:
    """The ops, each once, with those that take the place of one for complex operands."""
    held = [x for module in package_modules() for x in vars(module).values()]
    ops = [x for x in held if isinstance(x, Primitive)]
    return tuple(
        dict.fromkeys([*ops, *[x.complex for x in ops if isinstance(x.complex, Primitive)]])
    )
