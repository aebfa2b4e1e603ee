# %% [markdown]
# # Part 15. An embedding in a network
#
# Words, a table, a tanh, a layer, a sigmoid: all our ops together. Here a framework shows
# whether its backward pass works for *any* graph.

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
# Part 4 made it count: a tensor waits until its children have sent their gradients. Each
# op has to name the sender. Addition does; the author of `tanh` forgot. Nobody noticed,
# since in a plain sequence of layers each tensor is used once. Here `h` is used twice:

# %%
x = stateful.Tensor([0.0], autograd=True)
h = x.sigmoid()
(h.tanh() + h.tanh()).backward()
print("x.grad", x.grad)

value = np.array([0.0])
gradient = tg.grad(lambda x: tg.sum(tg.tanh(tg.sigmoid(x)) + tg.tanh(tg.sigmoid(x))))(value)
print("it should be", gradient)
assert np.allclose(x.grad, 1.5 * gradient)

# %% [markdown]
# The fault: `h` passes on its first contribution at once, and after the second the *sum of
# both*. The first counts twice. There is no error, and the network still learns something.
#
# ## With tapegrad
#
# An op cannot forget, because nobody asks it. Its rule maps a cotangent to cotangents of
# the operands; only the sweep handles the order and the sum.


# %%
def twice(x):
    h = tg.sigmoid(x)
    return tg.sum(tg.tanh(h) + tg.tanh(h))


output, tape = tg.record(twice)(value)
print(tape)
print(tg.reverse_sweep(tape, output)[tape.parameters[0]])

# %% [markdown]
# ## Training

# %%
indices = np.array([1, 2, 1, 2])
y = np.array([[0.0], [1.0], [0.0], [1.0]])

np.random.seed(0)
stateful.Tensor(indices), stateful.Tensor(y)
old = stateful.Sequential([stateful.Embedding(5, 3), stateful.Linear(3, 1)])
model = tg.nn.Sequential(tg.nn.Embedding(5, 3), tg.nn.Tanh(), tg.nn.Linear(3, 1), tg.nn.Sigmoid())
_, structure = tg.tree.flatten(model.init(0))
start = params = tg.tree.unflatten(structure, [p.data for p in old.parameters])

optimizer = tg.optim.SGD(learning_rate=0.5)
state = optimizer.init(params)
losses = []
for _ in range(10):
    loss, gradients = tg.value_and_grad(
        lambda params: tg.nn.mse_loss(model(params, indices), y, reduction="sum")
    )(params)
    params, state = optimizer.update(params, gradients, state)
    losses.append(float(loss))
print(np.round(losses, 8))

# %% [markdown]
# ## Your guess
#
# The table has five rows, and the batch is the words 1, 2, 1, 2. How many rows have
# changed after ten steps?

# %%
guess = ...

# %%
FIGURES = [0.98874126, 0.6658868, 0.45639889, 0.31608168, 0.2260925]
FIGURES += [0.16877423, 0.13120515, 0.10555487, 0.08731868, 0.07387834]
assert np.round(losses, 8).tolist() == FIGURES
tg.testing.check_grads(twice, (value,))

answer = np.count_nonzero((params[0].weight != start[0].weight).any(axis=1))
if guess is ...:
    print("No guess yet: fill one in above, and run this file again.")
else:
    assert guess == answer, f"not {guess}: only rows that were selected have a gradient"
    print("Your guess is right.")
