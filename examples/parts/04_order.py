# %% [markdown]
# # Part 4. The order of the sweep
#
# Part 3 needs two things: contributions must be added, and a gradient may be passed on
# only when it is complete. How does a recursive `backward` know that?

# %%
import sys
from pathlib import Path

import numpy as np

here = Path(__file__).parent if "__file__" in globals() else Path.cwd()
sys.path.append(str(here.parent))  # stateful.py is one folder up

import stateful

import tapegrad as tg

# %% [markdown]
# ## Bet on it
#
# Perhaps it need not know. Here is the class of part 3 with the simplest repair: it adds
# each contribution, and passes it on at once.


# %%
class Tensor:
    def __init__(self, data, creators=()):
        self.data = data
        self.creators = creators
        self.grad = 0.0
        self.visits = 0

    def __add__(self, other):
        return Tensor(self.data + other.data, (self, other))

    def backward(self, grad):
        self.grad += grad
        self.visits += 1
        for creator in self.creators:
            creator.backward(grad)


first = Tensor(1.0)
last = first + first
last.backward(1.0)
print("x + x: gradient", first.grad, "visits", first.visits)

# %% [markdown]
# The gradient is right. Now a chain of ten such layers, `x = x + x` ten times over. How
# often does `backward` visit the first tensor?

# %%
guess = ...

# %%
first = x = Tensor(1.0)
for _ in range(10):
    x = x + x
x.backward(1.0)
output, tape = tg.record(lambda x: [x := x + x for _ in range(10)][-1])(1.0)
if guess is not ...:
    print("10 layers: gradient", first.grad, "visits", first.visits)
    print("The tape of the same chain has", len(tape), "records, and each is visited once.")
    print("With 25 layers it would be 33 million visits, many seconds; the tape has 26 records.")

# %% [markdown]
# ## The stateful way
#
# So each tensor counts its children, and passes its gradient on when every child has sent one.

# %%
a, b, c = (
    stateful.Tensor([1, 2, 3, 4, 5], autograd=True),
    stateful.Tensor([2, 2, 2, 2, 2], autograd=True),
    stateful.Tensor([5, 4, 3, 2, 1], autograd=True),
)
z = (a + b) + (b + c)
z.backward()
print("b.grad", b.grad)
assert np.array_equal(b.grad, [2, 2, 2, 2, 2])

# %% [markdown]
# That is right, once. The first fault: the counts are used up, so `z` has no second
# gradient. The second: a random id below 100,000 identifies each child, and among a
# thousand tensors some have the same id.

# %%
try:
    z.backward()
except RuntimeError as error:
    print("RuntimeError:", error)

np.random.seed(0)
ids = [stateful.Tensor(0.0).id for _ in range(1000)]
print("1000 tensors,", len(set(ids)), "ids")
assert len(set(ids)) < 1000

# %% [markdown]
# ## With tapegrad
#
# No counting is needed. A record is written after its operands, so every line that uses a
# record is below it. Read the tape from bottom to top, and each cotangent is complete when
# you reach it. And reading does not use up the tape.

# %%
a, b, c = np.array([[1.0, 2, 3, 4, 5], [2, 2, 2, 2, 2], [5, 4, 3, 2, 1]])
output, tape = tg.record(lambda a, b, c: (a + b) + (b + c))(a, b, c)
print(tape)
print([step.record.index for step in tg.sweep_steps(tape, output, cotangent=np.ones(5))])
for _ in range(3):
    gradients = tg.reverse_sweep(tape, output, cotangent=np.ones(5))
    print(gradients[tape.parameters[1]])
    assert np.array_equal(gradients[tape.parameters[1]], [2, 2, 2, 2, 2])

# %%
answer = first.visits
if guess is ...:
    print("No guess yet: fill one in above, and run this file again.")
else:
    assert guess == answer, f"not {guess}: every layer doubles the number of visits"
    print("Your guess is right.")
