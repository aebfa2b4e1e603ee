"""Origin: where a tape begins, and the enclosing tape."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar

import attrs

from tapegrad.core.callables import first_line, label
from tapegrad.face.lines import users_place


# a dict takes a third of the time of frozen slots, and each recording makes an Origin
@attrs.frozen(eq=False, slots=False)
class Origin:
    """Where a tape begins; all records of a tape share it.

    Attributes
    ----------
    label
        What is recorded, for error messages.
    compiling
        Whether only shapes and dtypes may be read from the records.
    line
        The line of source where the recorded function begins; 0 if there is none.
    place
        A function that is called when a record is written and returns its place in the caller's
        source; None if places are not wanted.
    around
        The Origin of the enclosing tape, around the body of a loop for instance, whose records may
        be used here.
    doing
        Why only shapes and dtypes may be read, for error messages.
    """

    label: str = "a Tape()"
    compiling: bool = False
    line: int = 0
    place: Callable[[], Any] | None = None
    around: Origin | None = None
    doing: str = "compiling"
    index: ClassVar[int] = -1
    __tree_leaf__: ClassVar[bool] = True

    @property
    def origin(self) -> Origin:
        """Itself, so that an empty tape reads like any other."""
        return self

    @property
    def lines(self) -> bool:
        """Whether each record keeps the line of source that it was written for."""
        return self.place is users_place

    def inner(self, fn: Callable[..., Any]) -> Origin:
        """Where the tape of a function inside this one begins, written on the same terms."""
        place = users_place if self.lines else None
        return Origin(label(fn), self.compiling, first_line(fn), place, self, self.doing)

    def is_within(self, other: Origin) -> bool:
        """Whether this tape is the other, or is recorded inside it."""
        here: Origin | None = self
        while here is not None and here is not other:
            here = here.around
        return here is not None
