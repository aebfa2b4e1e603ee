"""Loops and branches as ops: each holds its bodies as programs.

`LOOP` and `COND` are ops like others: a record, a VJP rule, a rule for tangents. Their option
is a frozen `Loop` or `Branch`, whose bodies are programs (`tapegrad.program.ir.Code`): a pass
over programs finds there all that it needs. Their result is a `Parts`, and `PART` takes one
value out of it.
"""
