"""A record as a NumPy array: operators, reading out, protocols, the table, advice."""
