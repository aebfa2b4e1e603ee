# %% [markdown]
# # Part 5. Another op: negation
#
# A framework grows op by op. Each op brings two things: its computation, and the rule that
# turns the gradient of its output into the gradients of its operands. Where is the rule kept?

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
# A tensor remembers the *name* of its op, and `backward` compares the name in a long
# sequence of `if`s. Here is negation:

# %%
a = stateful.Tensor([1.0, 2, 3, 4, 5], autograd=True)
b = stateful.Tensor([2.0, 2, 2, 2, 2], autograd=True)
c = stateful.Tensor([5.0, 4, 3, 2, 1], autograd=True)
((a + -b) + (-b + c)).backward()
print("b.grad", b.grad)
assert np.array_equal(b.grad, [-2, -2, -2, -2, -2])

# %% [markdown]
# The fault: some names are looked for with `in`, since `sum_0` and `sum_1` share a
# branch. A new op, the sum of squares along an axis, is called `sumsquares_0`. It
# has no rule yet, and ought to fail. Instead it runs the branch of the sum:

# %%
x = stateful.Tensor([1.0, 2.0, 3.0], autograd=True)
x.make((x.data**2).sum(0), "sumsquares_0").backward()
print("x.grad", x.grad, "and it should be [2. 4. 6.]")
assert np.array_equal(x.grad, [1, 1, 1])

# %% [markdown]
# ## With tapegrad
#
# A record holds the op itself instead of a name, and the op holds its rules. A rule is
# called a VJP: a function of the cotangent `g` of the output, the output `y` and the operands.

# %%
output, tape = tg.record(lambda a, b, c: (a + -b) + (-b + c))(a.data, b.data, c.data)
print(tape)
gradients = tg.reverse_sweep(tape, output, cotangent=np.ones(5))
print("the gradient of b:", gradients[tape.parameters[1]])

# %% [markdown]
# An op of your own is a function on arrays, and a rule for each operand. The sum
# of squares has the rule `2 * g * x`. You cannot forget the rule: `custom_op` asks for it.


# %%
@tg.custom_op(vjps=(lambda g, y, x: 2 * g * x,))
def sum_of_squares(x):
    return np.sum(x**2)


print(tg.grad(sum_of_squares)(np.array([1.0, 2.0, 3.0])))

# %% [markdown]
# ## Your guess
#
# Write the rule of negation, `y = -x`: a function of `g`, `y` and `x`, as above. The last
# cell makes an op with it, and compares its gradient with finite differences of the op.

# %%
guess = ...  # lambda g, y, x: ...

# %%
assert np.array_equal(gradients[tape.parameters[1]], [-2, -2, -2, -2, -2])
tg.testing.check_grads(sum_of_squares, (np.array([1.0, 2.0, 3.0]),))

if guess is ...:
    print("No guess yet: fill one in above, and run this file again.")
else:
    negation = tg.custom_op(vjps=(guess,))(lambda x: -x)
    tg.testing.check_grads(negation, (np.array([1.0, -2.0, 3.0]),))
    print("Your rule is right.")
