"""Combined shapes for the operands of a function, as lines of source."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence

import attrs

__all__ = ["REGULAR", "Form", "general", "in_brackets", "symbolic"]

Shape = tuple[str, ...]

_MOST = 4000  # the most shapes that are tried


@attrs.frozen
class Form:
    """Shapes of the operands: lines that choose them, an expression for each, and a description.

    Attributes
    ----------
    lines, shapes, says
        These.
    sides
        The shapes in terms of named sides, if they have names.
    of
        The expression for an array of a shape, unless any numbers will do.
    """

    lines: tuple[str, ...]
    shapes: tuple[str, ...]
    says: str
    sides: tuple[Shape, ...] = ()
    of: str = ""

    def is_case_of(self, other: Form) -> bool:
        """Whether these are shapes of another form with some sides equal."""
        if [*map(len, self.sides)] != [*map(len, other.sides)]:
            return False
        pairs = zip(itertools.chain(*other.sides), itertools.chain(*self.sides), strict=True)
        named: dict[str, str] = {}
        return all(named.setdefault(theirs, ours) == ours for theirs, ours in pairs)


def general(n: int) -> Iterator[Form]:
    """Shapes that only have to broadcast, or that are all the same."""
    if n == 0:
        yield Form((), (), "numbers alone")
        return
    if n > 1:
        each = tuple(f"shapes[{i}]" for i in range(n))
        yield Form((f"shapes = choose.broadcastable({n})",), each, "shapes that broadcast")
    same = "one shape for all" if n > 1 else "any shape"
    for dims, side in ((0, 0), (0, 1), (1, 0), (1, 1), (2, 0), (2, 1)):
        least = [f"min_dims={dims}"] * (dims > 0) + [f"min_side={side}"] * (side > 0)
        limits = [f"at least {dims}-d"] * (dims > 0) + ["not empty"] * (side > 0)
        yield Form(
            (f"shape = choose.shape({', '.join(least)})",),
            ("shape",) * n,
            ", ".join([same, *limits]),
        )


def symbolic(n: int) -> Iterator[Form]:
    """Shapes that share some sides, those with the most sides first."""
    vocabulary: list[Shape] = [
        *[("m", "k"), ("n", "m"), ("k", "m"), ("m", "n"), ("n", "n")],
        *[("k",), ("m",), ("n",), ()],
    ]

    def differing(shapes: tuple[Shape, ...]) -> tuple[int, int]:
        sides = [side for shape in shapes for side in shape]
        return -len(set(sides)), -len(sides)

    tried = itertools.islice(itertools.product(vocabulary, repeat=n), _MOST)
    for shapes in sorted(tried, key=differing):
        order = list(dict.fromkeys(side for shape in shapes for side in shape))
        # the same shapes under other names
        if order != [*"nmk"[: len(order)]]:
            continue
        lines = tuple(f"{side} = choose.integer(2, 4)" for side in order)
        written = tuple([in_brackets(shape) for shape in shapes])
        yield Form(lines, written, f"shapes {' and '.join(written)}", shapes)


def in_brackets(parts: Sequence[str]) -> str:
    """A tuple as source."""
    return f"({', '.join(parts)}{',' * (len(parts) == 1)})"


# for an op on one matrix, which must not be singular
REGULAR = tuple(
    Form(
        ("n = choose.integer(1, 3)",),
        ("",),
        says,
        of=f"matrix(choose, n, n{stack})",
    )
    for says, stack in (
        ("stacks of regular square matrices", ", choose.among(STACKS)"),
        ("regular square matrices", ""),
    )
)
