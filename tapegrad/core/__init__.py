"""The idea, in reading order: tensor, tape, op, sweep, forward; beside them small helpers."""
