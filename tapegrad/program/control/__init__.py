"""Loops and branches as ops: each holds its bodies as programs.

`LOOPS` and `COND` are ops like any other: each has a record, a VJP rule and a rule for tangents.
Their option is a frozen `Loop` or `Branch`, whose bodies are programs
(`tapegrad.program.ir.Code`), in which passes find all that they need. Their result is a `Parts`,
and `PART` takes one value out of it.
"""
