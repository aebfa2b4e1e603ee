# %% [markdown]
# # Part 6. Shapes: sums, copies, transposes and products
#
# A network needs few ops: subtraction, multiplication, sums over an axis, copies along a
# new axis, transposes and matrix products. Their rules come in pairs: the gradient of a sum is
# copied, and the gradient of copies is summed.

# %%
import sys
from pathlib import Path

import numpy as np

here = Path(__file__).parent if "__file__" in globals() else Path.cwd()
sys.path.append(str(here.parent))  # stateful.py is one folder up

import stateful

import tapegrad as tg

m = np.array([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]])

# %% [markdown]
# ## The stateful way
#
# The ops are there. The fault is in who may take part: a result is recorded only if
# *all* its operands were made with `autograd=True`.

# %%
w = stateful.Tensor(m, autograd=True)
scale = stateful.Tensor(np.full((2, 3), 10.0))  # a constant: who wants its gradient?
(w * scale).sum(0).backward()
print("w.grad", w.grad)
assert w.grad is None

# %% [markdown]
# One constant, and every gradient behind it is silently gone. In an optimizer `None` may
# raise an error; a gradient that is partly cut off does not.
#
# ## With tapegrad
#
# An op is recorded if *any* of its operands is on the tape. Constants are operands without
# a line on the tape:

# %%
output, tape = tg.record(lambda w: tg.sum(w * np.full((2, 3), 10.0), 0))(m)
print(tape)
print(tg.reverse_sweep(tape, output, cotangent=np.ones(3))[tape.parameters[0]])

# %% [markdown]
# A gradient can still be zero for a reason in your function. Ask for the reason:


# %%
def rounded(w, scale):
    return tg.sum(w * np.round(scale))


def forgotten(w):
    return tg.sum(m * 10.0)


print(tg.why_zero(rounded, m, np.full((2, 3), 1.5)))
print(tg.why_zero(forgotten, m))

# %% [markdown]
# The ops of this part, under NumPy's names. `tg.expand(x, axis, copies)` repeats an
# array along a new axis.

# %%
print("sum over axis 0  ", tg.sum(m, 0))
print("sum over axis 1  ", tg.sum(m, 1))
print("expand(m, 2, 4)  ", tg.expand(m, 2, 4).shape)

_, pullback = tg.vjp(lambda x: tg.sum(x, 0), m)
print("the gradient of a sum is copied:")
print(pullback(np.array([1.0, 2.0, 3.0]))[0])

_, pullback = tg.vjp(lambda x: tg.expand(x, 2, 4), m)
print("the gradient of 4 copies is summed:")
print(pullback(np.ones((2, 3, 4)))[0])

# %% [markdown]
# NumPy's broadcasting makes copies too, and so its gradient is summed. Here one bias is
# added to each of 2 rows:

# %%
bias = np.zeros(3)
_, pullback = tg.vjp(lambda x, bias: x + bias, m, bias)
d_m, d_bias = pullback(np.ones((2, 3)))
print(d_m.shape, d_bias)

# %% [markdown]
# ## Your guess
#
# For `y = x @ w` with `x` of shape (2, 3) and `w` of shape (3, 5), the cotangent `g` has
# the shape of `y`, (2, 5). The gradient of `w` must have the shape of `w`. There is only
# one product of `g` and `x` with this shape: write it, as a function of `g`, `x` and `w`.

# %%
guess = ...  # lambda g, x, w: ...

# %%
assert np.array_equal(tg.sum(m, 0), [5, 7, 9])
assert np.array_equal(tg.sum(m, 1), [6, 15])
assert tg.expand(m, 2, 4).shape == (2, 3, 4)
assert np.array_equal(d_bias, [2, 2, 2])
assert "ends at an op without a rule" in tg.why_zero(np.round, np.float64(1.5))["a"]
tg.testing.check_grads(lambda x: tg.expand(x, 2, 4), (m,))
tg.testing.check_grads(tg.matmul, (m, m.T))

if guess is ...:
    print("No guess yet: fill one in above, and run this file again.")
else:
    w = np.arange(15.0).reshape(3, 5)
    g = np.array([[1.0, 0, 2, 0, 1], [0, 3, 0, 1, 0]])
    answer = tg.vjp(lambda w: m @ w, w)[1](g)[0]
    found = np.asarray(guess(g, m, w))
    assert found.shape == w.shape, f"a gradient of shape {found.shape} for w of shape {w.shape}"
    assert np.allclose(found, answer), f"the shape is right, the numbers should be\n{answer}"
    print("Your rule is right.")
