# %% [markdown]
# # Part 12. Tanh and sigmoid
#
# Two linear layers in sequence are one linear layer. The function between them must not be
# linear: tanh, or the sigmoid `1 / (1 + exp(-x))`. Formulas from a textbook are right for
# real numbers. A computer has floats.

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
# It uses the textbook formula. `exp(1000)` is too large for a float, so NumPy warns of an
# overflow. Here the result is still right, since 1 divided by infinity is 0; in the softmax of
# part 16 it will be wrong. We ask NumPy to raise an error at the overflow:

# %%
far = np.array([-1000.0, 0.0, 1000.0])
try:
    with np.errstate(over="raise"):
        stateful.Tensor(far).sigmoid()
except FloatingPointError as error:
    print("FloatingPointError:", error)
else:
    raise AssertionError("no overflow")

# %% [markdown]
# ## With tapegrad
#
# The same function, computed with an exponential that cannot overflow. The gradient far
# out is 0, as it should be, and not `nan`.


# %%
def total(x):
    return tg.sum(tg.sigmoid(x))


with np.errstate(all="raise", under="ignore"):
    print(tg.sigmoid(far), tg.grad(total)(far))
    print(tg.why_zero(total, far[[0, 2]]))

# %% [markdown]
# In float32, `exp` overflows much sooner. Two runs should agree and do not: on which line do
# they part? `tg.compare_tapes` finds the first line whose operands agree and whose values
# differ:


# %%
def textbook(x):
    return tg.sum(tg.log(1 + tg.exp(x)))


with np.errstate(over="ignore"):
    narrow = tg.record(textbook)(np.array([-1.0, 0.0, 100.0], np.float32))[1]
wide = tg.record(textbook)(np.array([-1.0, 0.0, 100.0]))[1]
difference = tg.compare_tapes(narrow, wide).first
print(difference)

# %% [markdown]
# ## Training

# %%
x = np.array([[0.0, 0.0], [0.0, 1.0], [1.0, 0.0], [1.0, 1.0]])
y = np.array([[0.0], [1.0], [0.0], [1.0]])

np.random.seed(0)
stateful.Tensor(x), stateful.Tensor(y)
old = stateful.Sequential([stateful.Linear(2, 3), stateful.Linear(3, 1)])
model = tg.nn.Sequential(tg.nn.Linear(2, 3), tg.nn.Tanh(), tg.nn.Linear(3, 1), tg.nn.Sigmoid())
_, structure = tg.tree.flatten(model.init(0))
params = tg.tree.unflatten(structure, [p.data for p in old.parameters])


def loss_of(params):
    return tg.nn.mse_loss(model(params, x), y, reduction="sum")


output, tape = tg.record(loss_of)(params)
print(tape)

optimizer = tg.optim.SGD(learning_rate=1.0)
state = optimizer.init(params)
losses = []
for _ in range(10):
    loss, gradients = tg.value_and_grad(loss_of)(params)
    params, state = optimizer.update(params, gradients, state)
    losses.append(float(loss))
print(np.round(losses, 8))

# %% [markdown]
# ## A dead ReLU
#
# `relu(h)` is 0 where `h` is 0 or less, and passes no gradient there. If `h` is 0 or less for
# every example, the unit has no gradient, so no step changes it: it is dead. There is no error,
# but the loss stays constant. `tg.why_zero` names the record:


# %%
def loss_of_unit(unit):
    h = x @ unit["w"] + unit["b"]
    return tg.nn.mse_loss(tg.relu(h), y)


dead = {"w": np.full((2, 1), 0.5), "b": np.float64(-2.0)}
for path, reason in tg.why_zero(loss_of_unit, dead).items():
    print(path, "-", reason)
revived = {**dead, "b": np.float64(0.25)}
print(tg.why_zero(loss_of_unit, revived), tg.grad(loss_of_unit)(revived))

# %% [markdown]
# ## Your guess
#
# The derivative of the sigmoid is shortest with its *output* `y`. Write its VJP rule, a
# function of the cotangent `g`, the output `y` and the operand `x`. (The rule of tanh is
# `g * (1 - y**2)`.)

# %%
guess = ...  # lambda g, y, x: ...

# %%
FIGURES = [1.06372865, 0.75148144, 0.57384259, 0.39574294, 0.2482279]
FIGURES += [0.15515294, 0.10423398, 0.07571169, 0.05837623, 0.04700013]
assert np.round(losses, 8).tolist() == FIGURES
assert np.array_equal(tg.sigmoid(far), [0, 0.5, 1])
assert difference.a.op is tg.exp
assert list(tg.why_zero(loss_of_unit, dead)) == ["unit.w", "unit.b"]
assert tg.why_zero(loss_of_unit, revived) == {}
tg.testing.check_grads(
    tg.custom_op(vjps=(lambda g, y, x: g * (1 - y**2),))(np.tanh), (np.array([-2.0, 0.0, 0.5]),)
)

if guess is ...:
    print("No guess yet: fill one in above, and run this file again.")
else:
    your_sigmoid = tg.custom_op(vjps=(guess,))(lambda x: 1 / (1 + np.exp(-x)))
    tg.testing.check_grads(your_sigmoid, (np.array([-2.0, 0.0, 0.5]),))
    print("Your rule is right.")
