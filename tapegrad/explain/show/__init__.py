"""Looking at a tape: a page to step through, graphs; and a plot of losses."""

from tapegrad.explain.show.graphs import dot as dot
from tapegrad.explain.show.graphs import mermaid as mermaid
from tapegrad.explain.show.page import html as html
from tapegrad.explain.show.plot import loss as loss

__all__ = ["dot", "html", "loss", "mermaid"]
__dir__ = __all__.copy
