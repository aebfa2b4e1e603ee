# %% [markdown]
# # Part 17. A recurrent network
#
# A recurrent cell reads a sentence word by word. Its hidden state, a summary of the words so
# far, goes in with each word and comes out changed.

# %%
import sys
from pathlib import Path

import numpy as np

here = Path(__file__).parent if "__file__" in globals() else Path.cwd()
sys.path.append(str(here.parent))  # stateful.py and train_babi.py are one folder up

import stateful
import train_babi
from common import babi

import tapegrad as tg

# %% [markdown]
# ## The stateful way
#
# A hidden state that is kept for the next batch remembers how it was made. The backward
# pass of the second batch continues into the first, whose counts are used up:

# %%
np.random.seed(0)
cell = stateful.RNNCell(2, 4, 3)
word = stateful.Tensor(np.ones((1, 2)), autograd=True)
output, hidden = cell(word, cell.init_hidden(1))
output.sum(0).backward()
output, hidden = cell(word, hidden)
try:
    output.sum(0).backward()
except RuntimeError as error:
    print("RuntimeError:", error)
else:
    raise AssertionError("no error")

# %% [markdown]
# And `backward` calls itself at each op, so a long text exceeds Python's recursion limit:

# %%
hidden = cell.init_hidden(1)
for _ in range(300):
    output, hidden = cell(word, hidden)
try:
    output.sum(0).backward()
except RecursionError as error:
    print("RecursionError:", error)
else:
    raise AssertionError("no error")

# %% [markdown]
# ## With tapegrad
#
# `(params, x, hidden) -> (output, hidden)`: the state is an argument and a result. A state
# that you pass to the next call is a plain array, and its history is not part of that call's
# gradient. The sweep is a loop, so a tape can be as long as memory allows.

# %%
cell = tg.nn.RNNCell(2, 4, 3)
params = cell.init(0)
word = np.ones((1, 2))


def read(params, hidden, n_words):
    for _ in range(n_words):
        output, hidden = cell(params, word, hidden)
    return tg.sum(output)


output, tape = tg.record(lambda params: read(params, cell.initial_hidden(1), 1))(params)
print(tape)

output, long_tape = tg.record(lambda params: read(params, cell.initial_hidden(1), 300))(params)
gradients = tg.reverse_sweep(long_tape, output)
print("300 words:", len(long_tape), "records")
assert all(np.isfinite(gradients[parameter]).all() for parameter in long_tape.parameters)

# %% [markdown]
# ## Your guess
#
# The tape above reads a single word, and begins with a hidden state of zeros. Which gradient
# has `w_hh.weight`, which multiplies the old state? All its elements are the same: give one
# number.

# %%
guess = ...

# %% [markdown]
# ## A language model
#
# The model reads five words and predicts the sixth. The lines are generated in the form of
# the first bAbI task, and their words are numbered as in `train_babi.py`, the larger example.
# There are 100 lines, read 1000 times. The step is compiled, so this takes only a moment.

# %%
lines = babi.read_text(babi.make_stories(7, 0), "stories")[:100]
vocabulary = train_babi.Vocabulary.of(lines)
tokens = vocabulary.encode(lines)
size = len(vocabulary.words)
embedding, reader = tg.nn.Embedding(size, 16), tg.nn.RNNCell(16, 16, size, "sigmoid")
optimizer = tg.optim.SGD(learning_rate=5.0)


def loss_of(params, tokens):
    hidden = reader.initial_hidden(len(tokens))
    for i in range(5):
        vectors = embedding(params["embedding"], tokens[:, i])
        logits, hidden = reader(params["reader"], vectors, hidden)
    return tg.nn.cross_entropy_loss(logits, tokens[:, 5]), logits


@tg.compile
def step(params, state, tokens):
    (loss, logits), gradients = tg.value_and_grad(loss_of, has_aux=True)(params, tokens)
    params, state = optimizer.update(params, gradients, state)
    return loss, logits, params, state


weights = {"embedding": embedding.init(1), "reader": reader.init(2)}
state = optimizer.init(weights)
losses = []
for _ in range(1000):
    loss, logits, weights, state = step(weights, state, tokens)
    losses.append(float(loss))
accuracy = np.mean(np.argmax(logits, axis=1) == tokens[:, 5])
print(f"loss {losses[0]:.2f} to {losses[-1]:.2f}, accuracy {accuracy:.2f}, {size} words")

# %% [markdown]
# The loss begins near `log(size)`, the loss of blind guesses. On the first 100 lines of bAbI's
# own text, the same training goes from about 4.7 to 1.37, with an accuracy of about 0.37: run
# `python examples/train_babi.py --preset notebook --data FILE` if you have that file.

# %% [markdown]
# ## The memory of five steps
#
# All values of all steps stay in memory until the sweep passes them, the last step first.
# `tg.profile` measures the memory and the time of each line of the source; print the profile
# to see the times.

# %%
profile = tg.profile(lambda weights: loss_of(weights, tokens)[0])(weights)
for place, kept in sorted(profile.by_place().items(), key=lambda pair: -pair[1].bytes)[:3]:
    print(f"{kept.bytes:7} bytes in {kept.n:2} lines: {place.text}")

# %% [markdown]
# ## How far back a word is heard
#
# `tg.scan` is the same loop as one record, and `step.inside` of the sweep opens it: a tape for
# each step, the last word first, with its cotangents. The cotangent of the hidden state shrinks
# from word to word, so the first words hardly count. (`print(tape.show(output))` prints the last
# step, and if a number is not finite, `check_finite=True` names the step.)


# %%
def read_by_scan(params, words):
    def read_word(hidden, word):
        output, hidden = cell(params, word, hidden)
        return hidden, output

    return tg.sum(tg.scan(read_word, cell.initial_hidden(1), words)[1][-1])


output, tape = tg.record(lambda params: read_by_scan(params, np.ones((5, 1, 2))))(params)
for step in tg.sweep_steps(tape, output):
    for run in step.inside:
        (cotangent,) = [s.cotangent for s in run.steps if s.record.name == "hidden"]
        print("word", run.step + 1, "hears", np.round(np.max(np.abs(cotangent)), 6))

# %%
assert abs(losses[0] - np.log(size)) < 0.5
assert losses[-1] < 0.6 * losses[0]
assert accuracy > 0.3
assert all(row.freed_at == row.line for row in profile.rows if row.name == "sigmoid")
tg.testing.check_grads(lambda params: read(params, np.full((1, 4), 0.5), 3), (params,))

single = tg.grad(lambda params: read(params, cell.initial_hidden(1), 1))(params)
answer = single.w_hh.weight[0, 0]
reasons = tg.why_zero(lambda params: read(params, cell.initial_hidden(1), 1), params)
assert (single.w_hh.weight == answer).all()
if guess is ...:
    print("No guess yet: fill one in above, and run this file again.")
else:
    assert guess == answer, f"not {guess}: {reasons['params.w_hh.weight']}"
    print("Your guess is right.")
