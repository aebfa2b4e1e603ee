"""Modules that depend on the tape and that its methods call."""

from __future__ import annotations

from importlib import import_module
from typing import Any


def later(module: str, name: str) -> Any:
    """An attribute of a module, which is imported only now, when it is needed."""
    return getattr(import_module(module), name)
