"""The arguments of a program: those of the recorded call, without their values."""

from __future__ import annotations

import enum
import types
from collections.abc import Mapping, Sequence
from typing import Any

import attrs
import numpy as np

from tapegrad import tree
from tapegrad.core.tensor import Tensor
from tapegrad.errors.words import a_kind, as_text
from tapegrad.program.entry import Signature, Static
from tapegrad.program.ir import Input
from tapegrad.program.static import parts


@attrs.frozen
class Argument:
    """One argument of a program.

    Attributes
    ----------
    name
        Its position, or the keyword that it is passed by.
    structure
        Its tree.
    statics
        For each leaf, None if it varies; else what it is, in words (see `described`).
    """

    name: int | str
    structure: tree.Structure
    statics: tuple[str | None, ...]

    @property
    def is_static(self) -> bool:
        """Whether all of it is one static value."""
        return self.structure.node is None and self.statics[0] is not None


def arguments_of(signature: Signature) -> tuple[Argument, ...]:
    """The arguments of the calls that have a signature."""
    rest = iter(signature.leaves)
    arguments = []
    for name, structure in signature.structures:
        leaves = [next(rest) for _ in range(structure.size)]
        statics = [described(x.value) if isinstance(x, Static) else None for x in leaves]
        arguments.append(Argument(name, structure, tuple(statics)))
    return tuple(arguments)


def described(x: Any) -> str:
    """A static value in words that do not depend on the process.

    Plain values that differ are described in different words. A function or a class is described
    by its name, and a record by its class and its fields.
    """
    if isinstance(x, enum.Enum):
        return f"{type(x).__qualname__}.{x.name}"
    if not isinstance(x, types.MethodType | types.BuiltinFunctionType):
        name = getattr(x, "__qualname__", None) or getattr(x, "__name__", None)
        if isinstance(name, str):
            return name
    inside = parts(x)
    if inside is None:
        return as_text(sorted(map(described, x)) if isinstance(x, frozenset) else x, ascii)
    return f"{type(x).__qualname__}({', '.join(map(described, inside))})"


def values_of(
    arguments: Sequence[Argument],
    inputs: Sequence[Input],
    args: tuple[Any, ...],
    kwargs: Mapping[str, Any],
) -> list[Any]:
    """The leaves of a call's arguments that vary, one an input.

    Raises
    ------
    TypeError
        If the call is not one that the program was made for: an argument is missing or
        superfluous, or differs in its tree, in a dtype or in a static value.
    ValueError
        If an array differs in its shape.
    """
    by_name: dict[Any, Any] = {**dict(enumerate(args)), **kwargs}
    wanted = [x.name for x in arguments]
    if set(by_name) != set(wanted):
        raise TypeError(
            f"the program was made for the arguments {_listed(wanted)}; got {_listed(by_name)}"
        )
    rest = iter(inputs)
    values = []
    for argument in arguments:
        x = by_name[argument.name]
        leaves, structure = ([x], tree.LEAF) if argument.is_static else tree.flatten(x)
        if structure != argument.structure:
            raise TypeError(
                f"argument {argument.name} is the tree {structure}; the program was made for "
                f"{argument.structure}"
            )
        for leaf, static in zip(leaves, argument.statics, strict=True):
            if static is None:
                values.append(_checked(leaf, next(rest)))
            elif leaf is not ... and described(leaf) != static:
                raise TypeError(
                    f"argument {argument.name} holds {described(leaf)} where the program was made "
                    f"for {static}; pass that, or ... in its place"
                )
    return values


def _checked(leaf: Any, wanted: Input) -> Any:
    """A leaf, checked against its input."""
    if wanted.number is not None:
        if type(leaf).__name__ != wanted.number or type(leaf) not in (int, float, complex):
            raise TypeError(f"{wanted.path} must be a Python {wanted.number}; got {a_kind(leaf)}")
        return leaf
    if type(leaf) is Tensor:
        raise TypeError(
            f"{wanted.path} is a Tensor; a program runs on arrays and records nothing: call the "
            "recorded function itself"
        )
    if not isinstance(leaf, np.ndarray | np.generic):
        raise TypeError(f"{wanted.path} must be an array; got {a_kind(leaf)}")
    if leaf.dtype != wanted.dtype:
        raise TypeError(f"{wanted.path} must be {wanted.dtype}; got {leaf.dtype}")
    if leaf.shape != wanted.shape:
        raise ValueError(f"{wanted.path} must have shape {wanted.shape}; got {leaf.shape}")
    return leaf


def _listed(names: Any) -> str:
    return ", ".join(map(str, names)) or "none"
