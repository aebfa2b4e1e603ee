# %% [markdown]
# # Part 7. Two matrices, by hand and by tape
#
# The first training: two matrices learn to map four rows of inputs to four targets. First
# with a backward pass written by hand, then with a recorded one, then as the program that
# tapegrad writes: the same computation three times, to compare side by side.

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

# the first weights of the stateful framework, whose tensors draw an id from the same stream
np.random.seed(0)
stateful.Tensor(x), stateful.Tensor(y)
w0 = stateful.Tensor(np.random.rand(2, 3)).data
w1 = stateful.Tensor(np.random.rand(3, 1)).data

# the losses that all three should compute
FIGURES = [0.58128304, 0.48988149, 0.41375111, 0.34489412, 0.28210124]
FIGURES += [0.2254484, 0.17538853, 0.1324231, 0.09682769, 0.06849361]

# %% [markdown]
# ## By hand
#
# The forward pass keeps the values that the backward pass needs; the backward pass has a
# line for each forward line, in reverse order. This is all that an autodiff library does.


# %%
def step_by_hand(w0, w1):
    hidden = x @ w0
    error = hidden @ w1 - y
    loss = np.sum(error**2)

    d_error = 2 * error
    d_w1 = hidden.T @ d_error
    d_hidden = d_error @ w1.T
    d_w0 = x.T @ d_hidden
    return loss, w0 - 0.1 * d_w0, w1 - 0.1 * d_w1


losses_by_hand, a, b = [], w0, w1
for _ in range(10):
    loss, a, b = step_by_hand(a, b)
    losses_by_hand.append(loss)
print(np.round(losses_by_hand, 8))

# %% [markdown]
# ## The stateful way, and its fault
#
# `backward` reads the current `.data`, not the factor of the product. Change it in between
# (to normalize weights, to clip them, to try a smaller step), and the gradient is silently
# wrong.

# %%
a, b = stateful.Tensor(w0, autograd=True), stateful.Tensor(w1.copy(), autograd=True)
targets = stateful.Tensor(y, autograd=True)
error = stateful.Tensor(x, autograd=True).mm(a).mm(b) - targets
loss = (error * error).sum(0)
b.data += 1.0  # after the forward pass, before the backward pass
loss.backward()

by_hand = x.T @ (2 * (x @ w0 @ w1 - y) @ w1.T)
print("the gradient of w0 should be")
print(by_hand)
print("and the stateful version says")
print(a.grad)
assert not np.allclose(a.grad, by_hand)

# %% [markdown]
# ## By tape
#
# Write the forward pass alone.


# %%
def loss_of(w0, w1):
    error = x @ w0 @ w1 - y
    return np.sum(error**2)


output, tape = tg.record(loss_of)(w0, w1)
print(tape)

gradients = tg.reverse_sweep(tape, output)
d_w0, d_w1 = (gradients[parameter] for parameter in tape.parameters)
print(d_w0)

# %% [markdown]
# The values on a tape are read-only, and recording copies your arrays. There is no "in
# between" in which a value could change.
#
# A step of training is then a function from parameters to parameters:


# %%
def step(w0, w1):
    loss, (d_w0, d_w1) = tg.value_and_grad(loss_of, argnums=(0, 1))(w0, w1)
    return loss, w0 - 0.1 * d_w0, w1 - 0.1 * d_w1


losses, a, b = [], w0, w1
for _ in range(10):
    loss, a, b = step(a, b)
    losses.append(float(loss))
print(np.round(losses, 8))

# %% [markdown]
# ## The program
#
# `tg.compile` records the step once and writes it as NumPy source. Compare it with
# `step_by_hand`: every line of the one has its line in the other. (`.dot` is `@` with an array
# for the result; `np.sum(error**2)` has become the product of `error` with itself.)

# %%
compiled = tg.compile(step)
print(compiled.program(w0, w1))

losses_compiled, a, b = [], w0, w1
for _ in range(10):
    loss, a, b = compiled(a, b)
    losses_compiled.append(float(loss))

# %% [markdown]
# ## Your guess
#
# The step has 5 matrix products, forward and backward together: count every `@` of
# `step_by_hand`, or every `.dot` of the program except the last of the forward pass, the loss.
# How many would it have with a third matrix, `x @ w0 @ w1 @ w2 - y`?

# %%
guess = ...


# %%
def deeper(w0, w1, w2):
    return np.sum((x @ w0 @ w1 @ w2 - y) ** 2)


# the gradient is recorded too, so its products are on the tape, line by line
_, full_tape = tg.record(tg.grad(deeper, argnums=(0, 1, 2)))(w0, w1, np.ones((1, 1)))
if guess is not ...:
    print(full_tape)

# %%
assert np.round(losses_by_hand, 8).tolist() == FIGURES
assert np.round(losses, 8).tolist() == FIGURES
assert np.round(losses_compiled, 8).tolist() == FIGURES
assert np.allclose(d_w0, by_hand)

answer = sum(record.op is tg.matmul for record in full_tape)
if guess is ...:
    print("No guess yet: fill one in above, and run this file again.")
else:
    assert guess == answer, f"not {guess}: each further matrix brings one forward, two backward"
    print("Your guess is right.")
