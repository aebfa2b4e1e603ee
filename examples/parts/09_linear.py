# %% [markdown]
# # Part 9. A layer
#
# `x @ weight + bias`, with random initial weights. Somebody has to draw the random
# numbers, and somebody has to hold the weights.

# %%
import sys
from pathlib import Path

import numpy as np

here = Path(__file__).parent if "__file__" in globals() else Path.cwd()
sys.path.append(str(here.parent))  # stateful.py is one folder up

import stateful

import tapegrad as tg

# %% [markdown]
# ## The stateful way
#
# The layer draws its weights from NumPy's global stream when it is made, and holds
# them. The seed is set, so the run can be repeated. Or can it? Somebody adds an unused
# tensor to the program, before the layer:

# %%
np.random.seed(0)
before = stateful.Linear(2, 3).weight.data

np.random.seed(0)
stateful.Tensor("a note for the log")
after = stateful.Linear(2, 3).weight.data

print(before)
print(after)
assert not np.allclose(before, after)

# %% [markdown]
# Every tensor draws an id from the same stream. So does every shuffle, every dropout and
# every other layer: the weights depend on every earlier draw.
#
# ## With tapegrad
#
# A layer is a description, and holds no weights. `init` draws them with a key: same key,
# same weights, whatever else the program does. To call the layer, pass the weights.

# %%
layer = tg.nn.Linear(2, 3)
params = layer.init(0)
print(layer)
print(params)

# %%
x = np.array([[0.0, 0.0], [0.0, 1.0], [1.0, 0.0], [1.0, 1.0]])
output, tape = tg.record(layer)(params, x)
print(tape)

# %% [markdown]
# The gradient with respect to a layer's parameters has their structure: a record with a
# weight and a bias.

# %%
gradient = tg.grad(lambda params: tg.sum(layer(params, x)))(params)
print(gradient)

# %% [markdown]
# ## Your guess
#
# Above, the four rows of `x` are summed. Now think of a batch of 10 rows. Which gradient
# does the bias get? Give a list of three numbers.

# %%
guess = ...

# %%
assert tg.tree.all_close(layer.init(0), params)
assert np.array_equal(gradient.bias, [4, 4, 4])
tg.testing.check_grads(layer, (params, x))

answer = tg.grad(lambda params: tg.sum(layer(params, np.ones((10, 2)))))(params).bias
if guess is ...:
    print("No guess yet: fill one in above, and run this file again.")
else:
    assert np.array_equal(guess, answer), f"not {guess}: the bias is added to every row"
    print("Your guess is right.")
