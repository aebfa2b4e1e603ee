# %% [markdown]
# # Part 2. Backward
#
# A gradient says how much a result changes when an input changes a little. To find
# it, we go from the result back to the inputs. At each op we ask: given the
# gradient of the op's output, which gradient does each operand get? For an addition
# the answer is easy: each operand gets the gradient of the output.

# %%
import numpy as np

import tapegrad as tg

# %% [markdown]
# ## The stateful way
#
# A tensor knows its creators and the name of the op, and `backward` calls itself on
# the creators. It leaves the gradient in `.grad`.


# %%
class Tensor:
    def __init__(self, data, creators=(), op=""):
        self.data = np.array(data)
        self.creators = creators
        self.op = op
        self.grad = None

    def __add__(self, other):
        return Tensor(self.data + other.data, (self, other), "add")

    def backward(self, grad):
        self.grad = grad
        if self.op == "add":
            for creator in self.creators:
                creator.backward(grad)


x, y = Tensor([1, 2, 3, 4, 5]), Tensor([2, 2, 2, 2, 2])
z = x + y
z.backward(np.ones(5))
print(x.grad, y.grad)
assert np.array_equal(x.grad, np.ones(5))

# %% [markdown]
# The fault: `x.grad` does not say *which* result it belongs to. Ask for the gradient
# of a second result, and the first answer is gone.

# %%
grad_of_z = x.grad
(x + y).backward(np.full(5, 10.0))
print("the gradient of z was", grad_of_z, "and x.grad is now", x.grad)
assert not np.array_equal(x.grad, grad_of_z)

# %% [markdown]
# ## With tapegrad
#
# The tape is a list of records in the order in which they were written. A reverse
# sweep reads it from the last record to the first. The gradient of a record is called
# its *cotangent*. The sweep begins with the cotangent of the output.

# %%
tape, x = tg.Tape().parameter([1.0, 2.0, 3.0, 4.0, 5.0], name="x")
tape, y = tape.parameter([2.0, 2.0, 2.0, 2.0, 2.0], name="y")
tape, z = tape.write(tg.add, x, y)
print(tape)

gradients = tg.reverse_sweep(tape, z, cotangent=np.ones(5))
print(gradients[x], gradients[y])

# %% [markdown]
# `tape.show` prints the cotangents beside the values. Read that column from bottom to top,
# as the sweep does.

# %%
print(tape.show(z, cotangent=np.ones(5)))

# %% [markdown]
# The result is a mapping from parameters to gradients. It is a value: a second sweep
# returns a second mapping and does not change the first.
#
# ## Your guess
#
# The same tape, swept with another cotangent: element 0 of `z` weighs 1, element 1
# weighs 2, and so on. Which gradient does `y` get? Give a list of five numbers.

# %%
guess = ...

# %%
weighed = tg.reverse_sweep(tape, z, cotangent=np.array([1.0, 2.0, 3.0, 4.0, 5.0]))

assert np.array_equal(gradients[x], np.ones(5))
assert np.array_equal(gradients[y], np.ones(5))

answer = weighed[y]
if guess is ...:
    print("No guess yet: fill one in above, and run this file again.")
else:
    assert np.array_equal(guess, answer), f"not {guess}: an addition passes its cotangent on"
    print("Your guess is right.")
