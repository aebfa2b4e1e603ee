# %% [markdown]
# # Part 10. Layers one after another
#
# A model is a sequence of layers. Most faults here have nothing to do with calculus, and
# everything with the owner of the list.

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
# `Sequential(layers=[])` looks harmless. But Python makes that default list once,
# when it defines the function, and every model that is made without layers gets the same.

# %%
encoder = stateful.Sequential()
decoder = stateful.Sequential()
encoder.layers.append(stateful.Linear(2, 3))
print("layers appended to the decoder: 0, layers it has:", len(decoder.layers))
assert decoder.layers is encoder.layers
encoder.layers.clear()  # or every model below would have it, too

# %% [markdown]
# ## With tapegrad
#
# A `Sequential` is frozen and holds a tuple. You cannot append a layer, and models share
# nothing. Its parameters are a tuple with an entry for each layer.

# %%
model = tg.nn.Sequential(tg.nn.Linear(2, 3), tg.nn.Linear(3, 1))
print(tg.tree.paths(model.init(0)))
try:
    model.layers.append(tg.nn.Linear(1, 1))
except AttributeError as error:
    print("AttributeError:", error)

# %% [markdown]
# ## Training
#
# To compare the two designs, both begin with the weights of the stateful layers, copied into
# the tree of the model's parameters.

# %%
x = np.array([[0.0, 0.0], [0.0, 1.0], [1.0, 0.0], [1.0, 1.0]])
y = np.array([[0.0], [1.0], [0.0], [1.0]])

np.random.seed(0)
inputs, targets = stateful.Tensor(x, autograd=True), stateful.Tensor(y, autograd=True)
old = stateful.Sequential([stateful.Linear(2, 3), stateful.Linear(3, 1)])

_, structure = tg.tree.flatten(model.init(0))
params = tg.tree.unflatten(structure, [p.data.copy() for p in old.parameters])


def loss_of(params):
    return tg.sum((model(params, x) - y) ** 2)


output, tape = tg.record(loss_of)(params)
print(tape)

# %%
optimizer = stateful.SGD(old.parameters, alpha=0.05)
old_losses = []
for _ in range(10):
    loss = stateful.mse_loss(old(inputs), targets)
    loss.backward()
    optimizer.step()
    optimizer.zero()
    old_losses.append(float(loss.data[0]))

optimizer = tg.optim.SGD(learning_rate=0.05)
state = optimizer.init(params)
losses = []
for _ in range(10):
    loss, gradients = tg.value_and_grad(loss_of)(params)
    params, state = optimizer.update(params, gradients, state)
    losses.append(float(loss))
print(np.round(losses, 8))

# %% [markdown]
# ## Your guess
#
# A tanh comes between the two layers: `Sequential(Linear(2, 3), Tanh(), Linear(3, 1))`.
# How many arrays do its parameters have?

# %%
guess = ...

# %%
FIGURES = [2.33428272, 0.06743796, 0.0521849, 0.04079507, 0.03184365]
FIGURES += [0.02479336, 0.01925443, 0.01491699, 0.01153118, 0.00889602]
assert np.round(losses, 8).tolist() == FIGURES
assert np.round(old_losses, 8).tolist() == FIGURES

with_tanh = tg.nn.Sequential(tg.nn.Linear(2, 3), tg.nn.Tanh(), tg.nn.Linear(3, 1))
answer = len(tg.tree.leaves(with_tanh.init(0)))
if guess is ...:
    print("No guess yet: fill one in above, and run this file again.")
else:
    assert guess == answer, f"not {guess}: they are {tg.tree.paths(with_tanh.init(0))}"
    print("Your guess is right.")
