"""Loops and branches as ops: each holds what it repeats, or chooses, as a program.

`LOOP` and `COND` are ops like others: a record, a VJP rule, a rule for tangents. Their
option is a frozen `Loop` or `Branch`, which has programs (`tapegrad.program.ir.Code`) for
bodies: whoever transforms programs finds there all that it needs. Their result is a
`Parts`, of which `PART` takes one out.
"""
