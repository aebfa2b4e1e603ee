"""The idea alone. It imports two subpackages, `errors` and `tree`, and types.

Each file imports only files before it in this reading order: `primitive`, how values, cotangents
and tangents are computed; `tensor`, the record of one application of a primitive; `messages`, the
errors about records; `writing`, how a record is written; `op`, the functions that write; `tape`,
records in order; `recording`, the tape of a function; `broadcasting`, which the sweeps undo; and
the two sweeps, `sweep` in reverse and `forward`.
"""
