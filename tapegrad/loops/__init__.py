"""Loops and branches as one record: `scan`, `fori_loop`, `while_loop`, `cond`, `switch`."""

from tapegrad.loops.branching import cond as cond
from tapegrad.loops.branching import switch as switch
from tapegrad.loops.repeating import fori_loop as fori_loop
from tapegrad.loops.repeating import scan as scan
from tapegrad.loops.repeating import while_loop as while_loop
