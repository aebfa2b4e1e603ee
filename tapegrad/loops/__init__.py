"""Loops and branches that are one record: `scan`, `fori_loop`, `while_loop`, `cond`."""

from tapegrad.loops.scan import scan as scan
