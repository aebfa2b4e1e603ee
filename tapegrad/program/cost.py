"""Thresholds: the sizes from which another form of a program is faster or smaller.

The comment above each number gives its measurement, or the bound that it ensures. Times are ratios:
the time of the chosen form divided by the time of the other, on one core (x86, NumPy 2.4,
OpenBLAS, float64), the fastest of interleaved runs. The numbers decide the speed and memory of a
program; its results change only by rounding.
"""

from tapegrad.tree.ownership import LARGE

# --- how results are written ----------------------------------------------------------------

CACHE_LINE = 64  # bytes

# Elements up to which a row is copied into all rows of an array, so that NumPy need not broadcast.
# With rows of 16: 0.66 of the time of broadcasting for 2**8 elements, 0.87 for 2**10, 0.97 for
# 2**12, 1.00 for 2**14.
FILLED_ELEMENTS = 1 << 12

# Bytes up to which the parts of a concatenation are copied one by one. For two parts: 0.35 of the
# time of NumPy's call for 2**10 bytes, 0.39 for 2**12, 0.77 for 2**16. Each part takes a line.
FILLED_BYTES = 1 << 12

# Elements from which successive ufuncs run block by block, and the bytes of a block. If the caches
# are smaller than the arrays: 0.36 to 0.53 of the time (three ufuncs of a million numbers). If a
# cache holds the arrays: 1.0 to 1.1 up to 2**18 elements, with less memory.
BLOCKED_ELEMENTS = 1 << 17
BLOCK_BYTES = 1 << 17

# A loop outside a program is compiled, not interpreted, if it runs this many lines in all, and each
# line this often. The gradient of a scan with 4, 31 and 121 lines a step: 1.50, 1.02 and 0.96 of
# the time for 50 steps, 1.06, 0.80 and 0.65 for 100, 0.81, 0.58 and 0.49 for 200.
WRITTEN_LINES = 256
WRITTEN_RUNS = 48

# --- memory ---------------------------------------------------------------------------------

# Bytes from which an array without a buffer is deleted after its last use; a smaller array lives
# until the call returns. Without this, LeNet takes 1.36 times the memory.
DROPPED_BYTES = LARGE

# Bytes from which an array lies in an arena, and bytes from which an arena is made. Without arenas
# memory is 1.27 to 1.55 times as large; smaller arrays are a small part of it.
PLACED_BYTES = 1 << 12
ARENA_BYTES = 1 << 16

# Instructions are reordered to save memory if all values together have this many bytes and there
# are at most this many instructions. Without reordering, memory is 1.14 (LeNet) to 1.23 (attention)
# times as large; unrolled networks of 800 instructions and more gain nothing. A value counts if it
# has at least 1/ORDERED_SHARE of all bytes: with 1/64 the memory of attention is 1.07 times as
# large, with 1/512 it is no smaller.
ORDERED_BYTES = 1 << 21
ORDERED_LENGTH = 512
ORDERED_SHARE = 128

# --- passes ---------------------------------------------------------------------------------

# The least ratio of a table's rows to its updated rows. The update of rows takes 0.63 of the time
# of the whole table's update at a ratio of 16, 0.78 at 4, 0.85 at 1; but rows with several
# updates are added up first.
TABLE_PER_ROWS = 4

# Elements from which the maximum of each row is found by argmax. 0.81 of the time for 2**6 elements
# in rows of 16, 0.66 for 2**8, 0.30 for 2**14.
ARGMAX_ELEMENTS = 1 << 8

# Terms up to which a sum of rows is a product with ones, which adds them one by one: 0.32 of the
# time for 16 rows, 0.14 for 4096. With more terms the rounding error grows, since a sum adds in
# pairs. The products of more elements are added up in parts.
PRODUCT_TERMS = 1 << 16

# Outer products use einsum if they have this many elements, in rows of at most this length. 1.0 of
# the time for 2**13 elements, 0.86 for 2**15, 0.77 for 2**17; for 2**17 elements 0.67 in rows of
# 256 and 0.65 in rows of 2048; for 2**18 elements 1.8 in rows of 8192.
EINSUM_ELEMENTS = 1 << 13
EINSUM_ROW = 1 << 11

# Rows up to which two products by one matrix are stacked into one: 1.1 of the time of two products
# for 16 to 4096 rows, but each step of a sum over steps has one line less (RNN 0.73 of the time,
# ODE 0.56).
STACKED_ROWS = 1 << 10

# Rows of products up to which a transpose on their right is copied first: 0.67 of the time for 32
# rows by 64 columns, 0.77 for 128, 0.98 for 256.
STRAIGHT_ROWS = 256

# Elements up to which a value that depends on constants alone is computed at compile time. This
# limits each such constant, in memory and in a file, to 32 KB.
FOLDED_ELEMENTS = 1 << 12

# Limits of values that are computed for all steps of a loop at once: elements of a step's value and
# rows of a step's product, up to which the start of a call takes most of its time; elements of all
# steps together; elements of a sum's term. Without fission: 1.35 to 1.68 times as long (an ODE and
# a cell by scan).
SPLIT_ELEMENTS = 1 << 11
SPLIT_ROWS = 64
SPLIT_HELD = 1 << 22
SPLIT_TERM = 1 << 8
