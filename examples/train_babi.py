"""Train a recurrent language model on stories like those of bAbI task 1.

A line of a story is a fact or a question,

    1 Ada walked to the library.
    2 Ben went back to the attic.
    3 Where is Ada? <TAB>library<TAB>1

and the model reads the line's first five words to predict the sixth. Without options, the script
makes up stories and trains on them:

    python examples/train_babi.py
    python examples/train_babi.py --data qa1_train.txt --test qa1_test.txt
    python examples/train_babi.py --preset notebook --data qa1_train.txt

Everything here is a value or a pure function of values. The model is a frozen description, its
parameters are a tree of arrays that is passed from one step to the next, and a step of training is
a function from parameters to parameters.

How well can it do? A line does not say where anybody was before, so the sixth word is partly a
matter of luck: a fact ends with one of six equally likely places (a loss of log 6 = 1.79, one in
six right), and a question is answered by one of some sixty pairs of a place and a line number (a
loss of about 4). With two facts for each question, that is a mean loss of about 2.5 and an
accuracy of about 0.13; a model that does better on the lines that it trains on has learnt them by
heart.
"""

from __future__ import annotations

if __name__ == "__main__":
    from common import ctrl_c

    ctrl_c.during_imports()

import itertools
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import attrs
import numpy as np
import numpy.typing as npt
from common import babi
from common.batches import endless
from common.command_line import check_finite, exit_status
from common.plots import draw, open_plot
from common.train_babi_options import NAME, Settings, Task, read_task

import tapegrad as tg

Array = npt.NDArray[Any]
Step = Callable[[Any, Any, Array], tuple[Any, Any, Any, Any]]

PADDING = "-"  # the word number 0 of every vocabulary
LENGTH = 6


# --- words as numbers ---------------------------------------------------------------------


def words_of(line: babi.Line) -> tuple[str, ...]:
    """The words of a line: in lower case, split on single spaces.

    The answer of a question and the number of the fact it rests on stay one word,
    tabs and all.
    """
    return tuple(line.text.lower().split(" "))


@attrs.frozen
class Vocabulary:
    """All words, each with its number; the padding is number 0."""

    words: tuple[str, ...]

    @classmethod
    def of(cls, lines: Iterable[babi.Line]) -> Vocabulary:
        """The words of some lines, in the order in which they come."""
        words = itertools.chain.from_iterable(words_of(line) for line in lines)
        return cls(tuple(dict.fromkeys([PADDING, *words])))

    def encode(self, lines: Sequence[babi.Line]) -> Array:
        """A row of `LENGTH` word numbers for each line, a read-only array.

        A shorter line is padded on the left; a longer one keeps its last words. A word that is not
        in the vocabulary reads as padding.
        """
        numbers = {word: i for i, word in enumerate(self.words)}
        read = [[numbers.get(w, 0) for w in words_of(line)[-LENGTH:]] for line in lines]
        rows = [[0] * (LENGTH - len(row)) + row for row in read]
        tokens = np.array(rows, dtype=np.intp)
        tokens.flags.writeable = False
        return tokens

    def unknown(self, lines: Sequence[babi.Line]) -> int:
        """The number of distinct words in some lines that are not in the vocabulary."""
        return len({word for line in lines for word in words_of(line)} - set(self.words))


# --- the model --------------------------------------------------------------------------


@attrs.frozen
class Params:
    """The parameters of `LanguageModel`."""

    embedding: Any
    cell: Any


@attrs.frozen
class LanguageModel:
    """A recurrent network that reads words one by one and predicts the next.

    It holds no parameters: `init` draws them, and a call is a pure function of them.
    """

    embedding: tg.nn.Embedding
    cell: tg.nn.RNNCell

    def init(self, seed: int) -> Params:
        """Initial parameters; the same seed gives the same parameters."""
        embedding, cell = np.random.SeedSequence(seed).spawn(2)
        return Params(self.embedding.init(embedding), self.cell.init(cell))

    def __call__(self, params: Params, context: Any) -> Any:
        """Logits for the word after the context, whose shape is (lines, words)."""
        lines, words = context.shape
        hidden = self.cell.initial_hidden(lines)
        for word in range(words):
            vectors = self.embedding(params.embedding, context[:, word])
            logits, hidden = self.cell(params.cell, vectors, hidden)
        return logits


def make_model(vocabulary: Vocabulary, settings: Settings) -> LanguageModel:
    """The model for a vocabulary."""
    size = len(vocabulary.words)
    return LanguageModel(
        tg.nn.Embedding(size, settings.embedding),
        tg.nn.RNNCell(settings.embedding, settings.hidden, size, "sigmoid"),
    )


# --- training -----------------------------------------------------------------------------


def make_step(model: LanguageModel, optimizer: tg.optim.SGD) -> Step:
    """A step of training: (params, state, tokens) -> (loss, logits, params, state).

    The loss and the logits are those of the parameters that came in.
    """

    def loss_of(params: Params, tokens: Any) -> tuple[Any, Any]:
        logits = model(params, tokens[:, :-1])
        return tg.nn.cross_entropy_loss(logits, tokens[:, -1]), logits

    value_and_grad = tg.value_and_grad(loss_of, has_aux=True)

    def step(params: Params, state: Any, tokens: Any) -> tuple[Any, Any, Params, Any]:
        (loss, logits), gradients = value_and_grad(params, tokens)
        params, state = optimizer.update(params, gradients, state)
        return loss, logits, params, state

    return step


@attrs.frozen(eq=False)
class Moment:
    """The state of training after a step.

    Attributes
    ----------
    number
        Of the step, from 1.
    loss, logits, tokens
        Of the step's batch, before the parameters moved.
    params
        The parameters after it.
    """

    number: int
    loss: float
    logits: Array
    tokens: Array
    params: Params


def train(
    step: Step, params: Params, state: Any, batches: Iterable[Array], steps: int
) -> Iterator[Moment]:
    """The states of training, one after each step."""
    for number, tokens in enumerate(itertools.islice(batches, steps), start=1):
        loss, logits, params, state = step(params, state, tokens)
        yield Moment(number, float(loss), logits, tokens, params)


def count_right(logits: Array, targets: Array) -> int:
    """The number of correct predictions; predicting an unknown word never counts as correct."""
    return int(np.count_nonzero((logits.argmax(axis=-1) == targets) & (targets != 0)))


def evaluate(model: LanguageModel, params: Params, tokens: Array) -> tuple[float, float]:
    """The mean loss and the accuracy on any number of lines."""
    loss, right = 0.0, 0
    for start in range(0, len(tokens), 1000):
        part = tokens[start : start + 1000]
        logits, targets = model(params, part[:, :-1]), part[:, -1]
        loss += float(tg.nn.cross_entropy_loss(logits, targets, reduction="sum"))
        right += count_right(logits, targets)
    return loss / len(tokens), right / len(tokens)


def run(task: Task) -> None:
    """Train, and print the progress and the results."""
    settings = task.settings
    figure = open_plot(task.plot)
    vocabulary = Vocabulary.of(task.training)
    tokens = vocabulary.encode(task.training)
    if settings.fixed_batch:
        tokens = tokens[: settings.batch]
    print(
        f"training on {len(tokens)} lines, {len(vocabulary.words)} words, "
        f"{settings.batch} lines a step"
    )

    model = make_model(vocabulary, settings)
    optimizer = tg.optim.SGD(settings.learning_rate, settings.momentum)
    params = model.init(settings.seed)
    feed = (
        itertools.repeat(tokens)
        if settings.fixed_batch
        else endless(babi.key(settings.seed, "batches"), tokens, settings.batch)
    )
    losses: list[float] = []
    since = time.perf_counter()
    step = make_step(model, optimizer)
    if task.compiled:
        step = tg.compile(step)
    training = train(step, params, optimizer.init(params), feed, settings.steps)
    for moment in training:
        losses.append(moment.loss)
        params = moment.params
        check_finite(moment.loss, moment.number)
        if moment.number % task.every == 0 or moment.number == settings.steps:
            now = time.perf_counter()
            steps = (moment.number - 1) % task.every + 1
            print_progress(moment, steps / max(now - since, 1e-9))
            since = now

    print_sample(vocabulary, model, params, tokens[0])
    print_figures("training", evaluate(model, params, tokens), len(tokens))
    if task.held_out:
        figures = evaluate(model, params, vocabulary.encode(task.held_out))
        unknown = vocabulary.unknown(task.held_out)
        print_figures("held out", figures, len(task.held_out), unknown)
    else:
        print("held out: no lines")
    draw(figure, losses, task.plot)


def print_progress(moment: Moment, rate: float) -> None:
    """A line about the batch of one step."""
    accuracy = count_right(moment.logits, moment.tokens[:, -1]) / len(moment.tokens)
    print(
        f"step {moment.number:5d}  loss {moment.loss:.4f}  accuracy {accuracy:.3f}  "
        f"{rate:.0f} steps/s",
        flush=True,
    )


def print_sample(vocabulary: Vocabulary, model: LanguageModel, params: Params, line: Array) -> None:
    """The prediction for one line."""
    words = [word.replace("\t", " ").strip() for word in vocabulary.words]
    predicted = int(model(params, line[None, :-1]).argmax())
    print("Context:", *[words[i] for i in line[:-1]])
    print("True:", words[line[-1]])
    print("Pred:", words[predicted])


def print_figures(name: str, figures: tuple[float, float], lines: int, unknown: int = 0) -> None:
    """A line with a loss and an accuracy."""
    loss, accuracy = figures
    words = f", {unknown} unknown word{'s' * (unknown > 1)}" if unknown else ""
    print(f"{name}: loss {loss:.4f}  accuracy {accuracy:.3f}  ({lines} lines{words})")


def main(arguments: Sequence[str] | None = None) -> int:
    """The command; it returns the exit status."""
    return exit_status(NAME, lambda: run(read_task(arguments)))


if __name__ == "__main__":
    ctrl_c.run(main)
