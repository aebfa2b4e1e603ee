"""The idea alone. It imports two rooms, `errors` and `tree`, and reads without any other.

In reading order: `tensor`, a record; `rules`, how values, cotangents and tangents pass through one;
`writing`, how one is written; `op`, the functions that write; `tape`, records in order, and
`recording`, the tape of a function; then the two sweeps, `sweep` in reverse, which undoes
`broadcasting`, and `forward`. `messages` has the errors that they raise.
"""
