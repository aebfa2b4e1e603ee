# %% [markdown]
# # Part 3. A tensor used twice
#
# In `(a + b) + (b + c)` the tensor `b` is used twice. If `b` grows by 1, each
# use adds 1 to the result, so the result grows by 2. The gradient of `b` is the *sum*
# of the contributions of its uses. That is the whole chain rule here, and the first thing
# that home-made frameworks get wrong.

# %%
import numpy as np

import tapegrad as tg

# %% [markdown]
# ## The stateful way
#
# The class of part 2, unchanged.


# %%
class Tensor:
    def __init__(self, data, creators=()):
        self.data = np.array(data)
        self.creators = creators
        self.grad = None

    def __add__(self, other):
        return Tensor(self.data + other.data, (self, other))

    def backward(self, grad):
        self.grad = grad  # here is the fault
        for creator in self.creators:
            creator.backward(grad)


a, b, c = Tensor([1, 2, 3, 4, 5]), Tensor([2, 2, 2, 2, 2]), Tensor([5, 4, 3, 2, 1])
((a + b) + (b + c)).backward(np.ones(5))
print("the stateful gradient of b:", b.grad, "and it should be all 2")
assert np.array_equal(b.grad, np.ones(5))

# %% [markdown]
# `backward` visits `b` twice, and the second visit overwrites the gradient of the first.
#
# ## With tapegrad

# %%
a, b, c = np.array([[1.0, 2, 3, 4, 5], [2, 2, 2, 2, 2], [5, 4, 3, 2, 1]])
output, tape = tg.record(lambda a, b, c: (a + b) + (b + c))(a, b, c)
print(tape)

# %% [markdown]
# Look for `%1`, which is `b`, among the operands: it is on lines 3 and 4. The sweep
# begins at line 5 and goes up. At line 4 it notes a contribution to `b`; at line 3 it
# adds another. Only then does it reach line 1, and by then the cotangent of `b` is
# complete: all lines that use a record are below it.

# %%
for step in tg.sweep_steps(tape, output, cotangent=np.ones(5)):
    print(step)

# %% [markdown]
# To see the sweep in a browser, step by step, remove the `# ` from this line and open the page:

# %%
# tg.show.html(tape, output, "used_twice.html", cotangent=np.ones(5))

# %% [markdown]
# `b` gets ones twice, which makes twos. `reverse_sweep` is the same loop without the text:

# %%
gradients = tg.reverse_sweep(tape, output, cotangent=np.ones(5))
for parameter in tape.parameters:
    print(parameter.name, gradients[parameter])

# %% [markdown]
# ## Your guess
#
# Which gradient does `b` get in `((a + b) + (b + c)) + b`? All five elements are the
# same; give one number, or an array of five.

# %%
guess = ...

# %%
assert np.array_equal(gradients[tape.parameters[1]], [2, 2, 2, 2, 2])

_, pullback = tg.vjp(lambda a, b, c: ((a + b) + (b + c)) + b, a, b, c)
_, of_b, _ = pullback(np.ones(5))
answer = np.asarray(of_b)
if guess is ...:
    print("No guess yet: fill one in above, and run this file again.")
else:
    right = np.shape(guess) in ((), answer.shape) and np.all(guess == answer)
    assert right, f"not {guess}: count how often b is used"
    print("Your guess is right.")
