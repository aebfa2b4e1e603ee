"""The sizes at which another way to write a program becomes the quicker or the smaller one.

Each number has the measurement that it rests on, or the bound that it keeps. Times are of one core
(x86, NumPy 2.4, OpenBLAS, float64), the quickest of interleaved runs, given as the time of the
way chosen over that of the other. They decide how quick a program is and how much
memory it takes, and what it computes only within rounding.
"""

from tapegrad.tree.ownership import LARGE

# --- how results are written ----------------------------------------------------------------

CACHE_LINE = 64  # bytes

# Elements up to which a row is written to all of an array, which then goes through NumPy in order.
# With rows of 16: 0.66 of the time of broadcasting for 2**8 elements, 0.87 for 2**10, 0.97 for
# 2**12, 1.00 for 2**14.
FILLED_ELEMENTS = 1 << 12

# Bytes up to which the parts of a concatenation are copied one by one. Of two: 0.35 of the time of
# NumPy's call for 2**10 bytes, 0.39 for 2**12, 0.77 for 2**16; each part more is a line more.
FILLED_BYTES = 1 << 12

# Elements from which successive ufuncs go block by block, in blocks of so many bytes. With caches
# smaller than the arrays 0.36 to 0.53 of the time (three ufuncs of a million numbers); with a
# cache that holds them all 1.0 to 1.1 up to 2**18 elements, and a block less of memory each.
BLOCKED_ELEMENTS = 1 << 17
BLOCK_BYTES = 1 << 17

# Lines run from which a loop outside a program is written out, not interpreted: so many, and each
# line so often. Of the time of the gradient of a scan with 4, 31 and 121 lines a step: 1.50, 1.02
# and 0.96 for 50 steps, 1.06, 0.80 and 0.65 for 100, 0.81, 0.58 and 0.49 for 200.
WRITTEN_LINES = 256
WRITTEN_RUNS = 48

# --- memory ---------------------------------------------------------------------------------

# Bytes from which an array without a buffer is dropped with its last use; a smaller one is gone
# when the call returns. LeNet takes 1.36 times the memory without.
DROPPED_BYTES = LARGE

# Bytes of an array that gets a place in an arena, and of all of them together. Memory without
# arenas is 1.27 to 1.55 times as large; smaller arrays are little of it.
PLACED_BYTES = 1 << 12
ARENA_BYTES = 1 << 16

# Bytes of all values together from which their order matters, and instructions up to which it is
# changed. Memory without is 1.14 (LeNet) to 1.23 (attention) times as large; unrolled nets of 800
# instructions and more gain nothing. A value counts that takes such a part of all: the memory of
# attention is 1.07 times as large with a part of 64, and no less with one of 512.
ORDERED_BYTES = 1 << 21
ORDERED_LENGTH = 512
ORDERED_SHARE = 128

# --- passes ---------------------------------------------------------------------------------

# How many times the rows that are updated a table must have. Of the time of the whole table's
# update, 0.63 if it has 16 times as many, 0.78 if 4, 0.85 if as many; but what is updated many
# times is added up first.
TABLE_PER_ROWS = 4

# Elements of rows from which their largest is looked for by argmax. 0.81 of the time for 2**6
# elements in rows of 16, 0.66 for 2**8, 0.30 for 2**14.
ARGMAX_ELEMENTS = 1 << 8

# Terms up to which a sum of rows is a product with ones, which adds one by one: 0.32 of the time
# for 16 rows, 0.14 for 4096. Beyond that the error grows: a sum adds in pairs. The products of more
# elements are added up in parts.
PRODUCT_TERMS = 1 << 16

# Elements of outer products from which, and of rows up to which, einsum is quicker: 1.0 of the
# time for 2**13 elements, 0.86 for 2**15, 0.77 for 2**17; of 2**17 elements 0.67 in rows of 256,
# 0.65 in rows of 2048, and 1.8 of 2**18 in rows of 8192.
EINSUM_ELEMENTS = 1 << 13
EINSUM_ROW = 1 << 11

# Rows up to which products by one matrix are stacked: 1.1 of the time of two alone for 16 to 4096
# rows, and a line less in each step of a sum over steps (RNN 0.73 of the time, ODE 0.56).
STACKED_ROWS = 1 << 10

# Rows of products up to which a transpose on their right is copied first: 0.67 of the time for 32
# rows by 64 columns, 0.77 for 128, 0.98 for 256.
STRAIGHT_ROWS = 256

# Elements up to which what is made of constants alone is computed when compiled. It bounds what a
# program keeps, and what its file holds, at 32 KB for each.
FOLDED_ELEMENTS = 1 << 12

# A step's values that are computed for all steps at once: elements up to which starting a call
# takes most of its time, rows of a product for the same, elements of all steps together, and of a
# sum's term. Without: 1.35 to 1.68 times as long (an ODE and a cell by scan).
SPLIT_ELEMENTS = 1 << 11
SPLIT_ROWS = 64
SPLIT_HELD = 1 << 22
SPLIT_TERM = 1 << 8
