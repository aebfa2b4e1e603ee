# %% [markdown]
# # Part 16. Cross entropy
#
# To choose one of several classes, a network computes a number for each, its logit. The softmax
# turns logits into probabilities; the loss is minus the log of the right class's probability.

# %%
import sys
from pathlib import Path

import numpy as np

here = Path(__file__).parent if "__file__" in globals() else Path.cwd()
sys.path.append(str(here.parent))  # stateful.py is one folder up

import stateful

import tapegrad as tg

logits = np.array([[1.0, 2.0, 0.5], [0.0, -1.0, 3.0], [0.0, 0.0, 0.0], [2.0, 1.0, 0.0]])
targets = np.array([0, 2, 1, 0])

# %% [markdown]
# ## The stateful way
#
# Everybody knows the gradient: softmax minus one-hot. So the code has this formula. But it is
# the gradient of the *sum*, and the printed loss is the *mean*. And the code ignores the
# incoming gradient: make the loss ten times as large, and its gradient does not change.

# %%
x = stateful.Tensor(logits, autograd=True)
x.cross_entropy(targets).backward()
plain = x.grad

x = stateful.Tensor(logits, autograd=True)
(x.cross_entropy(targets) * stateful.Tensor(10.0, autograd=True)).backward()
print("10 times the loss has the same gradient:", np.array_equal(x.grad, plain))
assert np.array_equal(x.grad, plain)

with np.errstate(all="ignore"):
    overflowed = stateful.Tensor(np.array([[1000.0, 0.0]])).cross_entropy(np.array([0])).data
print("the loss of a confident and right prediction:", overflowed)
assert np.isnan(overflowed)

# %% [markdown]
# Three faults in one op, and the training still works, with a learning rate found by trial.
#
# ## With tapegrad
#
# The loss is composed of ops, each with its rule, and cannot overflow.

# %%
output, tape = tg.record(tg.nn.cross_entropy_loss)(logits, targets)
print(tape)

true = tg.grad(tg.nn.cross_entropy_loss)(logits, targets)
ten = tg.grad(lambda logits: 10.0 * tg.nn.cross_entropy_loss(logits, targets))(logits)
print("ten times the loss, ten times the gradient:", np.allclose(ten, 10 * true))
print(tg.nn.cross_entropy_loss(np.array([[1000.0, 0.0]]), np.array([0])))

# %% [markdown]
# ## Your guess
#
# The stateful version trains on a batch of 4 with a learning rate of 0.1. Which learning rate
# takes the same steps with the true gradient of the mean?

# %%
guess = ...

# %% [markdown]
# ## Training

# %%
indices, classes = np.array([1, 2, 1, 2]), np.array([0, 1, 0, 1])
np.random.seed(0)
stateful.Tensor(indices), stateful.Tensor(classes)
old = stateful.Sequential([stateful.Embedding(3, 3), stateful.Tensor.tanh, stateful.Linear(3, 4)])
model = tg.nn.Sequential(tg.nn.Embedding(3, 3), tg.nn.Tanh(), tg.nn.Linear(3, 4))
_, structure = tg.tree.flatten(model.init(0))
params = tg.tree.unflatten(structure, [p.data.copy() for p in old.parameters])

optimizer = stateful.SGD(old.parameters, alpha=0.1)
old_losses = []
for _ in range(10):
    loss = old(indices).cross_entropy(classes)
    loss.backward()
    optimizer.step()
    optimizer.zero()
    old_losses.append(float(loss.data))

answer = 0.1 * (plain / true)[0, 0]
optimizer = tg.optim.SGD(learning_rate=answer)
state = optimizer.init(params)
losses = []
for _ in range(10):
    loss, gradients = tg.value_and_grad(
        lambda params: tg.nn.cross_entropy_loss(model(params, indices), classes)
    )(params)
    params, state = optimizer.update(params, gradients, state)
    losses.append(float(loss))
print(np.round(losses, 8))

# %%
FIGURES = [1.3885032434928422, 0.9558181509266036, 0.6823083585795604, 0.509525996749312]
FIGURES += [0.39574491472895856, 0.3175252728534828, 0.26172228619642157]
FIGURES += [0.22061283923954234, 0.18946427334830074, 0.16527389263866676]
assert np.allclose(losses, FIGURES, rtol=1e-12, atol=0)
assert np.allclose(old_losses, FIGURES, rtol=1e-12, atol=0)
tg.testing.check_grads(lambda logits: tg.nn.cross_entropy_loss(logits, targets), (logits,))

if guess is ...:
    print("No guess yet: fill one in above, and run this file again.")
else:
    assert np.isclose(guess, answer), f"not {guess}: the mean has a factor of 1/4"
    print("Your guess is right.")
