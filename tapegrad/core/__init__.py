"""The idea, in reading order: tensor, writing, tape, op, sweep, forward."""
