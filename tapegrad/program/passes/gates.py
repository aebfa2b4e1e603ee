"""What is done alike to several parts of one array is done once, to a stack of them.

The gates of a recurrent cell are parts of one sum, and most of them pass through the same function.
Where arrays are small, the start of a call takes longer than the rest of it.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any

import attrs

from tapegrad.ops.indexing import getitem
from tapegrad.ops.joining import stack
from tapegrad.program.builder import Builder
from tapegrad.program.improvement import improvement
from tapegrad.program.ir import Instruction, Ref
from tapegrad.program.passes.common import content
from tapegrad.program.passes.regroup import New, regroup

# elements of a stack from which the start of a call matters no more
_MOST = 1 << 15


@attrs.define(eq=False)
class _Alike:
    """Instructions that do the same, each to its own part.

    Attributes
    ----------
    first
        The group that reads the parts themselves, whose results are stacked; None for that group.
    operands
        What they use: a group, for its member of the same part, or what they have in common.
    members
        Their numbers, by part.
    """

    first: _Alike | None
    operands: tuple[Any, ...]
    members: dict[int, int] = attrs.Factory(dict)


@improvement
def stack_alike(builder: Builder) -> None:
    """Functions of parts, and functions of these, become one of a stack each.

    Fires on the sigmoids of gates and on their slopes: a sigmoid takes four calls.
    """
    if not builder.has((getitem,)):
        return
    found = [group for group in _groups(builder) if group.first is not None]
    if found:
        _reorder(builder, {i: group for group in found for i in group.members.values()})


def _groups(builder: Builder) -> list[_Alike]:
    """The groups that are complete, each after those that it uses."""
    known: dict[Any, _Alike] = {}
    # the group of a value, and its part
    place: dict[Any, tuple[_Alike, int]] = {}
    for i, made in builder.in_order():
        if not made.is_elementwise or not _is_small(made):
            continue
        used = [place[x] for x in made.operands if x in place]
        if len({k for _, k in used}) > 1 or len({id(g.first or g) for g, _ in used}) > 1:
            continue
        parts = [x for x in made.operands if _is_part(builder, x, made)]
        if used:
            if any(builder.shape(x) != made.shape for x in made.operands if x in place):
                continue
            operands: tuple[Any, ...] = tuple([place.get(x, (x,))[0] for x in made.operands])
            first, k = used[0][0].first or used[0][0], used[0][1]
        elif len(parts) == 1 and all(x in parts or _is_fixed(x) for x in made.operands):
            source = builder.source(parts[0])
            assert source is not None
            operands = tuple([source.operands if x in parts else x for x in made.operands])
            first, k = None, -1
        else:
            continue
        named = tuple([("of", id(x)) if type(x) is _Alike else x for x in operands])
        key = (content(made, named), made.shape, made.dtype)
        group = known.setdefault(key, _Alike(first, operands))
        if first is None:
            k = len(group.members)
        if k not in group.members:
            group.members[k] = i
            place[builder.refs[i]] = group, k
    return _complete(builder, list(known.values()))


def _complete(builder: Builder, groups: list[_Alike]) -> list[_Alike]:
    """Those that have a member for each of several parts, and what they use."""
    users = builder.users()
    kept: list[_Alike] = []
    good: set[int] = set()
    for group in groups:
        size = len((group.first or group).members)
        returned = any(-1 in users.get(builder.refs[i], ()) for i in group.members.values())
        whole = len(group.members) == size > 1 and not returned
        if whole and all(id(x) in good for x in group.operands if type(x) is _Alike):
            good.add(id(group))
            kept.append(group)
    return kept


def _is_small(made: Instruction) -> bool:
    return made.dtype.char in "fd" and 0 < math.prod(made.shape) <= _MOST and made.shape != ()


def _is_part(builder: Builder, x: Any, made: Instruction) -> bool:
    """Whether a value is a part of an array, of the shape and dtype of the result."""
    part = builder.source(x, getitem)
    alike = part is not None and len(part.operands) == 1 and part.shape == made.shape
    return alike and builder.dtype(x) == made.dtype


def _is_fixed(x: Any) -> bool:
    return type(x) is not Ref or x.kind == "constant"


def _reorder(builder: Builder, groups: Mapping[int, _Alike]) -> None:
    """Compute each group where its first member stood, after all that the members use."""
    stacks: dict[int, Ref] = {}

    def needs(i: int) -> list[Any]:
        members = groups[i].members.values() if i in groups else (i,)
        return [x for j in members for x in builder.instructions[j].operands]

    def whole(group: Any, new: New) -> Any:
        if type(group) is not _Alike:
            return new(group)
        if id(group) not in stacks:
            parts = [builder.refs[group.members[k]] for k in range(len(group.members))]
            stacks[id(group)] = builder.emit(stack, *parts)
        return stacks[id(group)]

    def join(i: int, new: New) -> Iterator[tuple[int, Ref]]:
        made, group = builder.instructions[i], groups[i]
        operands = tuple([whole(x, new) for x in group.operands])
        shape = (len(group.members), *made.shape)
        # what `emit` would infer is known
        result = builder.append(made.but(operands=operands, shape=shape, name="", note=""))
        stacks[id(group)] = result
        for k, j in group.members.items():
            x = builder.instructions[j]
            part = {"index": (k,)}, x.shape, x.dtype
            row = Instruction(getitem, (result,), *part, name=x.name, stage=made.stage)
            yield j, builder.append(row)

    regroup(builder, groups, needs, join)
