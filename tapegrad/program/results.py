"""The results of a program, read-only and packed in their tree."""

from __future__ import annotations

import types
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import lru_cache
from types import CodeType
from typing import Any

from tapegrad import tree
from tapegrad.declare.parts import is_numeric
from tapegrad.errors.words import as_text
from tapegrad.ops.indexing import getitem
from tapegrad.program.expressions import Names, takes_out
from tapegrad.program.ir import Code, Instruction, Ref
from tapegrad.program.static import static_key
from tapegrad.tree.opaque import refuse_hidden
from tapegrad.tree.ownership import LARGE


def sealed(program: Code) -> Mapping[Ref, tuple[Ref, ...]]:
    """Small arrays whose every element is returned, and the rows that make up each result.

    Each result is returned once, and nothing else needs it.

    Such an array is new in each run, and the results are disjoint views of it, which NumPy refuses
    to make writeable.
    """
    rows: dict[Ref, list[tuple[int, int, Ref]]] = {}
    used = {x for instruction in program.instructions for x in instruction.operands}
    times: dict[Any, int] = {}
    for x in program.outputs:
        if type(x) is Ref and x not in used:
            times[x] = times.get(x, 0) + 1
    for x in [x for x, n in times.items() if n == 1]:
        instruction = program.of(x) if x.kind == "instruction" else None
        if (
            type(instruction) is Instruction
            and instruction.op is getitem
            and len(instruction.operands) == 1
        ):
            of = instruction.operands[0]
            place = _rows(instruction)
            if type(of) is Ref and of.kind == "instruction" and place:
                rows.setdefault(of, []).append((*place, x))
    by_root, results = {}, program.results
    for of, parts in rows.items():
        instruction = program.of(of)
        parts.sort()
        ends = [0, *[stop for _, stop, _ in parts]]
        whole = [start for start, _, _ in parts] == ends[:-1] and ends[-1] == instruction.shape[0]
        small = instruction.nbytes < LARGE
        if whole and small and takes_out(program, instruction) and of not in results:
            by_root[of] = tuple([x for _, _, x in parts])
    return by_root


def _rows(value: Any) -> tuple[int, int] | None:
    """Where the rows that make up a value begin and end, if it is made of rows."""
    index = value.options["index"]
    if value.shape == () or len(index) != 1:
        return None
    (part,) = index
    if type(part) is int and part >= 0:
        return part, part + 1
    if type(part) is slice and part.step is None and type(part.start) is int:
        return (part.start, part.stop) if type(part.stop) is int and part.start >= 0 else None
    return None


def check_results(structure: tree.Structure, leaves: Sequence[Any], function: str) -> None:
    """Raise for a result that would be stale if a program returned it again.

    A program returns static values, and arrays and numbers that it computes anew. A pullback, a
    tape, a generator or a function of Tensors belongs to the one recording in which it was made.
    """
    what = f"what {function} returns"
    for x in leaves:
        refuse_hidden(x, what, recordings=False)
        if not is_numeric(x):
            static_key(x, what)
    check_keys(structure, what)


def check_keys(structure: tree.Structure, what: str) -> None:
    """Raise for a dict whose keys are not static."""
    if structure.node is dict:
        for key in structure.keys:
            static_key(key, f"a dict's key in {what}")
    for child in structure.children:
        check_keys(child, what)


def packed(structure: tree.Structure, leaves: Sequence[str], names: Names) -> str:
    """The expression that assembles a tree from the names of its leaves."""
    return _packed(structure, iter(leaves), names, {})


def _packed(
    structure: tree.Structure,
    rest: Iterator[str],
    names: Names,
    makers: dict[Any, Callable[..., Any] | None],
) -> str:
    node = structure.node
    if node is None:
        return next(rest)
    if node is type(None):
        return "None"
    if structure.is_static:
        return names.of(structure.keys[0], f"the_{node.__name__.lower()}")
    parts = [_packed(child, rest, names, makers) for child in structure.children]
    if node is dict:
        keys = [_key(key, names) for key in structure.keys]
        pairs = [f"{key}: {part}" for key, part in zip(keys, parts, strict=True)]
        return f"{{{', '.join(pairs)}}}"
    if node is list:
        return f"[{', '.join(parts)}]"
    if node is tuple:
        return f"({', '.join(parts)},)" if len(parts) == 1 else f"({', '.join(parts)})"
    if structure.keys:
        if node not in makers:
            makers[node] = _maker(node)
        make = makers[node]
        if make is not None:
            return f"{names.of(make, f'new_{node.__name__}')}({', '.join(parts)})"
        named = zip(tree.fields_of(node) or (), parts, strict=True)
        # by position as far as possible, which is faster
        places = iter(_positional(node))
        parts = [
            part if next(places, None) == name else f"{name}={part}" for (_, name), part in named
        ]
    return f"{names.of(node, node.__name__)}({', '.join(parts)})"


def _maker(node: Any) -> Callable[..., Any] | None:
    """A function that makes a plain record in two thirds of the time of its ``__init__``.

    None for a class whose ``__init__`` is not attrs's, or does more than set the fields: one with
    converters, validators, hooks or caches, or without slots.
    """
    fields = getattr(node, "__attrs_attrs__", ())
    names = [field.name for field in fields]
    slots = {x for part in node.__mro__[:-1] for x in part.__dict__.get("__slots__", ("__dict__",))}
    written = getattr(node.__init__, "__code__", None)
    is_plain = (
        slots - {"__weakref__"} == set(names)
        and node.__new__ is object.__new__
        and written is not None
        and written.co_filename.startswith("<attrs generated")
        and not hasattr(node, "__attrs_pre_init__")
        and not hasattr(node, "__attrs_post_init__")
        and all(x.init and x.converter is None and x.validator is None for x in fields)
    )
    places: list[Any] = [getattr(node, name, None) for name in names]
    if not (is_plain and names and {*map(type, places)} == {types.MemberDescriptorType}):
        return None
    namespace: dict[str, Any] = {"__name__": __name__, "new": object.__new__, "node": node}
    for i, place in enumerate(places):
        namespace[f"set_x{i}"] = place.__set__
    exec(_making(len(places)), namespace)
    # which holds the namespace
    make: Callable[..., Any] = namespace.pop("make")
    return make


@lru_cache
def _making(n: int) -> CodeType:
    """The code that defines a function which makes a record of n fields."""
    names = [f"x{i}" for i in range(n)]
    lines = [f"def make({', '.join(names)}):", "    made = new(node)"]
    lines += [f"    set_{x}(made, {x})" for x in names]
    return compile("\n".join([*lines, "    return made"]), "<string>", "exec")


def _positional(node: Any) -> tuple[str, ...]:
    """The leading fields that the class takes by position."""
    code = getattr(node.__init__, "__code__", None)
    taken = code.co_varnames[1 : code.co_argcount] if code is not None else ()
    names = [name for _, name in tree.fields_of(node) or ()]
    n = next((i for i, name in enumerate(names) if taken[i : i + 1] != (name,)), len(names))
    return tuple(names[:n])


def _key(key: Any, names: Names) -> str:
    """A dict's key as it is written; a user's class has no influence on that."""
    return as_text(key) if type(key) in (str, bytes, int, bool) else names.of(key, "key")
