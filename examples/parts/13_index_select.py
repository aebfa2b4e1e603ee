# %% [markdown]
# # Part 13. Selecting rows
#
# Words become numbers, and numbers select rows of a table. A sentence can have the same
# word twice, so the same row is selected twice, as in part 3: its gradient is the sum over
# its uses.

# %%
import numpy as np

import tapegrad as tg

table = np.eye(5)
indices = np.array([[1, 2, 3], [2, 3, 4]])

# %% [markdown]
# ## The stateful way
#
# Forward is `table[indices]`. Backward must add each row of the gradient to the row that was
# selected, and the first idea is to add in place:

# %%
gradient = np.ones((2, 3, 5))
grad = np.zeros((5, 5))
grad[indices] += gradient
print(grad[:, 0])
assert np.array_equal(grad[:, 0], [0, 1, 1, 1, 1])

# %% [markdown]
# The fault: rows 2 and 3 were selected twice and should be 2. `a[i] += b` means
# `a[i] = a[i] + b`: NumPy reads all rows before it writes, and the last write wins. It is hard
# to reason about changes in place, even within one line.
#
# ## With tapegrad
#
# `index_select(x, indices)`, or `x[indices]`, is an op like any other. Its rule sums the
# gradients of a row that is selected several times.

# %%
output, tape = tg.record(lambda x: tg.index_select(x, indices))(table)
print(tape)

selected = tg.reverse_sweep(tape, output, cotangent=gradient)[tape.parameters[0]]
print(selected)

# %% [markdown]
# To change an element of an array, tapegrad has `at`, which returns a new array. Its `add`
# adds every contribution of a repeated index:

# %%
print(tg.at(np.zeros(3))[[0, 0, 1]].add(1.0))

# %% [markdown]
# ## Your guess
#
# Select with `[0, 0, 0, 2]`. Which gradients do the table's five rows get if the cotangent
# is all ones? Each row has the same number in all its columns: give a list of five numbers.

# %%
guess = ...

# %%
assert np.array_equal(output.value, table[indices])
assert np.array_equal(selected, np.repeat([[0], [1], [2], [2], [1]], 5, axis=1))
tg.testing.check_grads(lambda x: x[indices], (table,))

answer = tg.grad(lambda x: tg.sum(x[[0, 0, 0, 2]]))(table)[:, 0]
if guess is ...:
    print("No guess yet: fill one in above, and run this file again.")
else:
    assert np.array_equal(guess, answer), f"not {guess}: count how often each row is selected"
    print("Your guess is right.")
