"""Loops and branches that are one record: `scan`, `fori_loop`, `while_loop`, `cond`."""

from tapegrad.loops.cond import cond as cond
from tapegrad.loops.scan import scan as scan
from tapegrad.loops.while_loop import fori_loop as fori_loop
from tapegrad.loops.while_loop import while_loop as while_loop
