# %% [markdown]
# # Part 14. An embedding
#
# A layer whose weight is a table with a row for each word. For a new word the table must
# grow. That tests who holds the weights.

# %%
import sys
from pathlib import Path

import numpy as np

here = Path(__file__).parent if "__file__" in globals() else Path.cwd()
sys.path.append(str(here.parent))  # stateful.py is one folder up

import stateful

import tapegrad as tg

indices = np.array([[1, 2, 3], [2, 3, 4]])

# %% [markdown]
# ## The stateful way
#
# The layer holds a table, and so does the optimizer. For a sixth word, the layer gets a
# larger table.

# %%
np.random.seed(0)
layer = stateful.Embedding(5, 3)
optimizer = stateful.SGD(layer.parameters, alpha=0.1)
layer(indices).sum(0).backward()
optimizer.step()

larger = np.concatenate([layer.weight.data, np.zeros((1, 3))])
layer.weight = stateful.Tensor(larger.copy(), autograd=True)
layer(np.array([5, 5])).sum(0).backward()
optimizer.step()
print("the new row after a step:", layer.weight.data[5], " its gradient:", layer.weight.grad[5])
assert np.array_equal(layer.weight.data, larger)

# %% [markdown]
# The fault: the optimizer still holds the *old* table. It updates a table that nobody uses,
# and the model stops learning. Each object by itself is right.
#
# ## With tapegrad
#
# Neither the layer nor the optimizer holds a table. There is one table, an argument, and a
# new one is the result.

# %%
layer = tg.nn.Embedding(5, 5)
params = layer.init(0)
output, tape = tg.record(lambda params: layer(params, indices))(params)
print(tape)

gradient = tg.grad(lambda params: tg.sum(layer(params, indices)))(params)
print(gradient.weight)

# %%
optimizer = tg.optim.SGD(learning_rate=0.1)
wider = tg.tree.map(lambda table: np.concatenate([table, np.zeros((1, 5))]), params)
layer = tg.nn.Embedding(6, 5)
new_gradient = tg.grad(lambda params: tg.sum(layer(params, np.array([5, 5]))))(wider)
updated, _ = optimizer.update(wider, new_gradient, optimizer.init(wider))
print("the new row after a step:", updated.weight[5])

# %% [markdown]
# ## Your guess
#
# Look at the gradient above, for the words 1 to 4. Which rows of the larger table had a
# gradient of zero in the last step, with the words 5 and 5? Give a list of row numbers.

# %%
guess = ...

# %%
assert np.array_equal(output.value, params.weight[indices])
assert np.array_equal(gradient.weight, np.repeat([[0], [1], [2], [2], [1]], 5, axis=1))
assert np.allclose(updated.weight[5], -0.2)

answer = np.flatnonzero(~new_gradient.weight.any(axis=1))
if guess is ...:
    print("No guess yet: fill one in above, and run this file again.")
else:
    assert np.array_equal(guess, answer), f"not {guess}: a row that is not selected has gradient 0"
    print("Your guess is right.")
