"""Looking at a tape: a page to step through, graphs; and a plot of losses."""

import sys as _sys
from types import ModuleType as _ModuleType
from typing import Any as _Any
from typing import NoReturn as _NoReturn

from tapegrad.explain.show.drawing import dot as dot
from tapegrad.explain.show.drawing import loss as loss
from tapegrad.explain.show.drawing import mermaid as mermaid
from tapegrad.explain.show.page import html as html

__all__ = ["dot", "html", "loss", "mermaid"]
__dir__ = __all__.copy


class _Show(_ModuleType):
    def __call__(self, *args: _Any, **kwargs: _Any) -> _NoReturn:
        raise TypeError(
            "tg.show is a module: call tg.show.html(tape, output) for a page, tg.show.dot(tape) or "
            "tg.show.mermaid(tape) for a graph, or print(tape.show()) for the lines"
        )


_sys.modules[__name__].__class__ = _Show
