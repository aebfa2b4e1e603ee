# %% [markdown]
# # Part 1. Tensors
#
# To differentiate a computation we have to remember it. A tensor is an array that
# remembers which op made it, and from which operands. The question of this part: may a
# tensor change after it has been made?

# %%
import numpy as np

import tapegrad as tg

# %% [markdown]
# ## The stateful way
#
# A class around an array, with a `+` that returns another tensor.


# %%
class Tensor:
    def __init__(self, data):
        self.data = np.array(data)

    def __add__(self, other):
        return Tensor(self.data + other.data)


x = Tensor([1, 2, 3, 4, 5])
y = x + x
print(y.data)

# %% [markdown]
# The fault: anyone who holds `x` can change it. Then `y` is no longer `x + x`, without
# an error. Every later result of `x` and `y` together is wrong.

# %%
x.data += 10
print("x + x should be", x.data + x.data, "but y is", y.data)
assert not np.array_equal(y.data, x.data + x.data)

# %% [markdown]
# ## With tapegrad
#
# A tensor is a frozen record on a tape. Writing on a tape gives a new tape and the
# record; it changes neither the old tape nor any record on it.

# %%
short, x = tg.Tape().parameter([1.0, 2.0, 3.0, 4.0, 5.0], name="x")
longer, y = short.write(tg.add, x, x)
print(longer)

# %% [markdown]
# Read the last line of the table: record 1 was written by `add`, from record 0 and
# record 0. Nobody can change the record or its value:

# %%
try:
    x.value[0] = 100.0
except ValueError as error:
    print("ValueError:", error)

# %% [markdown]
# Usually you do not write tapes by hand. `tg.record` runs a plain function and
# returns its tape along with its output.

# %%
output, tape = tg.record(lambda x: x + x)(np.array([1.0, 2.0, 3.0, 4.0, 5.0]))
print(tape)

# %% [markdown]
# ## Your guess
#
# `longer` was made by writing on `short`. How many records does `short` have now?
# Put a number in the place of the three dots before you run the next cell.

# %%
guess = ...

# %%
assert np.array_equal(output.value, [2, 4, 6, 8, 10])
assert np.array_equal(y.value, output.value)
assert len(longer) == 2

answer = len(short)
if guess is ...:
    print("No guess yet: fill one in above, and run this file again.")
else:
    assert guess == answer, f"not {guess}: writing made a new tape, and left this one alone"
    print("Your guess is right.")
