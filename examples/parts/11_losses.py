# %% [markdown]
# # Part 11. A loss
#
# A loss turns predictions and targets into one number. Squared errors can be summed or
# averaged. The choice looks like a matter of taste, but it decides the size of the steps.

# %%
import sys
from pathlib import Path

import numpy as np

here = Path(__file__).parent if "__file__" in globals() else Path.cwd()
sys.path.append(str(here.parent))  # stateful.py is one folder up

import stateful

import tapegrad as tg

x = np.array([[0.0, 0.0], [0.0, 1.0], [1.0, 0.0], [1.0, 1.0]])
y = np.array([[0.0], [1.0], [0.0], [1.0]])
w = np.array([[0.5], [-0.5]])

# %% [markdown]
# ## The stateful way
#
# A batch does not fit into memory, so it is split in two, and the gradients add up in
# `.grad`. With a *mean* as loss, this gives twice the gradient of the whole batch: the sum
# of two means is not the mean. The program shows no sum, so nobody misses the division.


# %%
def mean_loss(weight, x, y):
    error = stateful.Tensor(x, autograd=True).mm(weight) - stateful.Tensor(y, autograd=True)
    share = stateful.Tensor(np.full(y.shape, 1 / len(y)), autograd=True)
    return (error * error * share).sum(0)


whole = stateful.Tensor(w, autograd=True)
mean_loss(whole, x, y).backward()

halves = stateful.Tensor(w, autograd=True)
mean_loss(halves, x[:2], y[:2]).backward()
mean_loss(halves, x[2:], y[2:]).backward()

print("whole batch", whole.grad.T, " two halves", halves.grad.T)
assert np.allclose(halves.grad, 2 * whole.grad)

# %% [markdown]
# ## With tapegrad
#
# The call of `mse_loss` names its `reduction`: "mean", "sum" or "none". To add gradients
# you write the addition, and see the missing division beside it.


# %%
def loss_of(w, x, y, reduction="mean"):
    return tg.nn.mse_loss(x @ w, y, reduction=reduction)


output, tape = tg.record(loss_of)(w, x, y)
print(tape)

gradient = tg.grad(loss_of)(w, x, y)
parts = [tg.grad(loss_of)(w, x[:2], y[:2]), tg.grad(loss_of)(w, x[2:], y[2:])]
print("whole batch", gradient.T, " mean of two halves", ((parts[0] + parts[1]) / 2).T)

# %% [markdown]
# ## Training
#
# The model of part 10, with the sum as its loss.

# %%
np.random.seed(0)
stateful.Tensor(x), stateful.Tensor(y)
old = stateful.Sequential([stateful.Linear(2, 3), stateful.Linear(3, 1)])
model = tg.nn.Sequential(tg.nn.Linear(2, 3), tg.nn.Linear(3, 1))
_, structure = tg.tree.flatten(model.init(0))
params = tg.tree.unflatten(structure, [p.data for p in old.parameters])

optimizer = tg.optim.SGD(learning_rate=0.05)
state = optimizer.init(params)
losses = []
for _ in range(10):
    loss, gradients = tg.value_and_grad(
        lambda params: tg.nn.mse_loss(model(params, x), y, reduction="sum")
    )(params)
    params, state = optimizer.update(params, gradients, state)
    losses.append(float(loss))
print(np.round(losses, 8))

# %% [markdown]
# ## Your guess
#
# There are four rows with one prediction each. The training above used the sum and a
# learning rate of 0.05. With the mean as loss, which learning rate takes the same steps?

# %%
guess = ...

# %%
FIGURES = [2.33428272, 0.06743796, 0.0521849, 0.04079507, 0.03184365]
FIGURES += [0.02479336, 0.01925443, 0.01491699, 0.01153118, 0.00889602]
assert np.round(losses, 8).tolist() == FIGURES
assert np.allclose((parts[0] + parts[1]) / 2, gradient)

ratio = tg.grad(loss_of)(w, x, y, reduction="sum") / gradient
answer = 0.05 * ratio[0, 0]
if guess is ...:
    print("No guess yet: fill one in above, and run this file again.")
else:
    assert np.isclose(guess, answer), f"not {guess}: the mean's gradient is a quarter of the sum's"
    print("Your guess is right.")
