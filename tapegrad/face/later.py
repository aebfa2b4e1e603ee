"""What stands above the tape and is called from its methods."""

from __future__ import annotations

from importlib import import_module
from typing import Any


def later(module: str, name: str) -> Any:
    """A thing of a module that is imported now, when it is asked for."""
    return getattr(import_module(module), name)
