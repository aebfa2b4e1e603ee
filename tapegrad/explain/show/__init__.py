"""Show a tape as a page to step through or as a graph, and plot losses."""

from tapegrad.explain.show.drawing import dot as dot
from tapegrad.explain.show.drawing import loss as loss
from tapegrad.explain.show.drawing import mermaid as mermaid
from tapegrad.explain.show.page import html as html

__all__ = ["dot", "html", "loss", "mermaid"]
__dir__ = __all__.copy
