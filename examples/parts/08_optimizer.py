# %% [markdown]
# # Part 8. An optimizer
#
# `w - 0.1 * d_w` for each parameter: with hundreds of parameters you want to write this
# once. The question: who keeps which values from one step to the next?

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
# The optimizer keeps the parameters, `step` overwrites them, and `zero` clears the
# gradients of the last `backward`. The fault: somebody must call `zero`.
# Here nobody does. The loss is `w + w + w + w`, whose gradient is always 4. What does
# `w.grad` hold after the third step?

# %%
guess = ...

# %%
w = stateful.Tensor([1.0], autograd=True)
optimizer = stateful.SGD([w], alpha=0.1)
grads = []
for _ in range(3):
    ((w + w) + (w + w)).backward()
    optimizer.step()
    grads.append(float(w.grad[0]))
if guess is not ...:
    print("w.grad after each step:", grads)
assert grads[0] == 4
assert grads[2] != 4

# %% [markdown]
# The steps grow, the loss still falls for a while, and no error is ever raised.
#
# ## With tapegrad
#
# `update` takes parameters, gradients and a state, and returns new parameters and a new
# state. `tg.grad` returns the gradients; nothing is left anywhere, so there is nothing to
# clear. The old parameters do not change: keep them, compare them, go back.

# %%
optimizer = tg.optim.SGD(learning_rate=0.1)
start = np.array([1.0])
params, state = start, optimizer.init(start)
for _ in range(3):
    gradient = tg.grad(lambda w: tg.sum((w + w) + (w + w)))(params)
    params, state = optimizer.update(params, gradient, state)
    print("gradient", gradient, " parameters", params)
assert gradient[0] == 4
assert start[0] == 1

# %%
output, tape = tg.record(lambda w: tg.sum((w + w) + (w + w)))(start)
print(tape)

# %% [markdown]
# ## The training of part 7, with an optimizer
#
# The parameters are a list of two matrices. They could be any tree (JAX calls it a pytree):
# lists, tuples, dictionaries and records of arrays.

# %%
x = np.array([[0.0, 0.0], [0.0, 1.0], [1.0, 0.0], [1.0, 1.0]])
y = np.array([[0.0], [1.0], [0.0], [1.0]])
np.random.seed(0)
stateful.Tensor(x), stateful.Tensor(y)
params = [stateful.Tensor(np.random.rand(*shape)).data for shape in ((2, 3), (3, 1))]


def loss_of(params):
    w0, w1 = params
    return np.sum((x @ w0 @ w1 - y) ** 2)


state = optimizer.init(params)
losses = []
for _ in range(10):
    loss, gradients = tg.value_and_grad(loss_of)(params)
    params, state = optimizer.update(params, gradients, state)
    losses.append(float(loss))
print(np.round(losses, 8))

# %%
FIGURES = [0.58128304, 0.48988149, 0.41375111, 0.34489412, 0.28210124]
FIGURES += [0.2254484, 0.17538853, 0.1324231, 0.09682769, 0.06849361]
assert np.round(losses, 8).tolist() == FIGURES

answer = grads[2]
if guess is ...:
    print("No guess yet: fill one in above, and run this file again.")
else:
    assert guess == answer, f"not {guess}: each backward adds 4 to the gradient"
    print("Your guess is right.")
