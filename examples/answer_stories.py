"""Train a network to answer questions about stories, and show which sentences it looks at.

    1 Ada walked to the library.
    2 Ben went back to the attic.
    3 Where is Ada? <TAB>library<TAB>1

It is the end-to-end memory network of Sukhbaatar et al. (2015, arXiv:1503.08895): each
sentence becomes a vector, the question looks for the sentences that matter by a softmax
over products with these vectors, and what it finds is added to it, once for each hop.

    python examples/answer_stories.py
    python examples/answer_stories.py --facts 2
    python examples/answer_stories.py --data qa1_train.txt --test qa1_test.txt

Everything here is a value or a pure function of values. The model is a frozen description, its
parameters are a tree of arrays that is passed from one step to the next, and a step of training is
a function from parameters to parameters.
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
from common.answer_stories_options import NAME, Settings, Task, read_task
from common.babi import Question, words
from common.batches import endless
from common.command_line import InputError, check_finite, exit_status
from common.plots import draw, open_plot

import tapegrad as tg

Array = npt.NDArray[Any]


# --- stories as numbers -----------------------------------------------------------------------


@attrs.frozen(eq=False)
class Batch:
    """Some questions as word numbers, 0 for no word.

    Attributes
    ----------
    story
        Of shape (questions, sentences, words), the newest sentence first.
    question
        Of shape (questions, words).
    answer
        Of shape (questions,), the numbers of the answers; -1 for one that is unknown.
    """

    story: Array
    question: Array
    answer: Array


@attrs.frozen
class Vocabulary:
    """All words and all answers, in alphabetical order, and the longest story and sentence."""

    words: tuple[str, ...]
    answers: tuple[str, ...]
    sentences: int
    length: int

    @classmethod
    def of(cls, questions: Sequence[Question]) -> Vocabulary:
        """The vocabulary of some questions and their stories."""
        texts = [words(text) for q in questions for text in (*q.facts, q.text)]
        return cls(
            tuple(sorted(set(itertools.chain.from_iterable(texts)))),
            tuple(sorted({q.answer for q in questions})),
            max(1, *(len(q.facts) for q in questions)),
            max(1, *map(len, texts)),
        )

    def encode(self, questions: Sequence[Question]) -> Batch:
        """Questions as numbers. A longer story keeps its newest sentences.

        A word that is not in the vocabulary reads as no word.
        """
        numbers = {word: i for i, word in enumerate(self.words, start=1)}
        answers = {answer: i for i, answer in enumerate(self.answers)}

        def row(text: str) -> list[int]:
            found = [numbers.get(word, 0) for word in words(text)[: self.length]]
            return found + [0] * (self.length - len(found))

        story = np.zeros((len(questions), self.sentences, self.length), np.intp)
        for i, q in enumerate(questions):
            for j, text in enumerate(reversed(q.facts[-self.sentences :])):
                story[i, j] = row(text)
        return Batch(
            story,
            np.array([row(q.text) for q in questions]),
            np.array([answers.get(q.answer, -1) for q in questions]),
        )


# --- the model --------------------------------------------------------------------------------


@attrs.frozen
class Params:
    """The parameters of `MemoryNetwork`.

    Attributes
    ----------
    words
        Tables of a vector for each word, one for each hop and one more.
    ages
        As many tables of a vector for each place in the story, counted from the newest.
    answer
        Of the layer from the last hop to the answers.
    """

    words: Any
    ages: Any
    answer: Any


@attrs.frozen
class MemoryNetwork:
    """Answers a question by looking at a story, once for each hop.

    A sentence is read as the sum of its words' vectors and one for its age. A sentence's value in
    one hop is its key in the next, and the question is read like the first keys ("adjacent"
    weights in the paper).

    It holds no parameters: `init` draws them, and a call is a pure function of them.
    """

    vocabulary: int
    sentences: int
    answers: int
    width: int
    hops: int

    @property
    def output(self) -> tg.nn.Linear:
        """The layer from the last hop to the answers."""
        return tg.nn.Linear(self.width, self.answers)

    def init(self, key: Any) -> Params:
        """Initial parameters; the same key gives the same parameters."""
        words, ages, answer = tg.random.split(key, 3)
        tables = self.hops + 1

        def normal(key: Any, rows: int) -> Any:
            return 0.1 * tg.random.normal(key, (tables, rows, self.width), np.float32)

        return Params(
            normal(words, self.vocabulary),
            normal(ages, self.sentences),
            self.output.init(answer, np.float32),
        )

    def __call__(self, params: Params, story: Any, question: Any) -> tuple[Any, Any]:
        """Logits (questions, answers) and the attention (questions, hops, sentences)."""

        def read(text: Any, table: int) -> Any:
            known = np.expand_dims(text > 0, -1)
            return np.sum(np.where(known, params.words[table][text], 0.0), axis=-2)

        memories = [read(story, i) + params.ages[i] for i in range(self.hops + 1)]
        is_told = np.any(story > 0, axis=-1)
        state = read(question, 0)
        attention = []
        for keys, values in itertools.pairwise(memories):
            scores = np.where(is_told, np.einsum("qsw,qw->qs", keys, state), -1e9)
            attention.append(tg.softmax(scores))
            state = state + np.einsum("qs,qsw->qw", attention[-1], values)
        return self.output(params.answer, state), np.stack(attention, axis=1)


# --- training ---------------------------------------------------------------------------------


@attrs.frozen
class Training:
    """Everything that changes in training, as one tree, which is saved and resumed as it is."""

    params: Params
    optimizer: tg.optim.AdamState
    key: Any

    @property
    def step(self) -> int:
        """The number of steps so far."""
        return int(self.optimizer.step)


Step = Callable[[Training, Batch], tuple[Any, Any, Training]]


def make_optimizer(settings: Settings) -> tg.optim.Adam:
    """Adam, with a rate that rises for a twentieth of the steps and then falls to 0."""
    steps = settings.steps
    return tg.optim.Adam(tg.optim.warmup_cosine(settings.learning_rate, steps // 20, steps))


def begin(model: MemoryNetwork, optimizer: tg.optim.Adam, seed: int) -> Training:
    """The state of training before the first step."""
    first, batches = tg.random.split(seed)
    params = model.init(first)
    return Training(params, optimizer.init(params), batches)


def make_step(model: MemoryNetwork, optimizer: tg.optim.Adam) -> Step:
    """A step of training: (training, batch) -> (loss, accuracy, training).

    The loss and the accuracy are those of the parameters that came in.
    """

    def loss_of(params: Params, batch: Batch) -> tuple[Any, Any]:
        logits, _ = model(params, batch.story, batch.question)
        loss = tg.nn.cross_entropy_loss(logits, batch.answer)
        return loss, tg.nn.accuracy(logits, batch.answer)

    def step(training: Training, batch: Batch) -> tuple[Any, Any, Training]:
        value_and_grad = tg.value_and_grad(loss_of, has_aux=True)
        (loss, accuracy), grads = value_and_grad(training.params, batch)
        grads, _ = tg.optim.clip_by_global_norm(grads, 1.0)
        params, state = optimizer.update(training.params, grads, training.optimizer)
        return loss, accuracy, Training(params, state, training.key)

    return step


def train(
    step: Step, training: Training, batches: Iterable[Batch], steps: int
) -> Iterator[tuple[float, float, Training]]:
    """The loss, the accuracy and the state of training after each remaining step."""
    for batch in itertools.islice(batches, training.step, steps):
        loss, accuracy, training = step(training, batch)
        yield float(loss), float(accuracy), training


def count_right(model: MemoryNetwork, params: Params, batch: Batch) -> int:
    """The number of questions answered correctly."""
    right = 0
    for part in tg.data.batches(None, batch, 1000):
        logits, _ = model(params, part.story, part.question)
        right += int(np.count_nonzero(logits.argmax(axis=-1) == part.answer))
    return right


# --- the command ------------------------------------------------------------------------------


def run(task: Task) -> None:
    """Train, and print the progress, what some answers rest on, and how many are correct."""
    settings = task.settings
    figure = open_plot(task.plot)
    vocabulary = Vocabulary.of(task.training)
    data = vocabulary.encode(task.training)
    sizes = len(vocabulary.words) + 1, vocabulary.sentences, len(vocabulary.answers)
    model = MemoryNetwork(*sizes, settings.width, settings.hops)
    optimizer = make_optimizer(settings)
    training = begin(model, optimizer, settings.seed)
    if task.resume is not None:
        training = resumed(task, training)
    print(
        f"training on {len(task.training)} questions, {len(vocabulary.words)} words, "
        f"{tg.tree.size(training.params)} parameters, {settings.batch} questions a step"
    )

    begun = training
    losses: list[float] = []
    accuracies: list[float] = []
    since = time.perf_counter()
    step = tg.compile(make_step(model, optimizer))
    batches = endless(training.key, data, settings.batch)
    for loss, accuracy, training in train(step, begun, batches, settings.steps):
        check_finite(loss, training.step)
        losses.append(loss)
        accuracies.append(accuracy)
        if training.step % task.every == 0 or training.step == settings.steps:
            recent = min(len(losses), (training.step - 1) % task.every + 1)
            left = (time.perf_counter() - since) / len(losses) * (settings.steps - training.step)
            print(
                f"step {training.step:5d}  loss {np.mean(losses[-recent:]):.4f}  "
                f"accuracy {np.mean(accuracies[-recent:]):.3f}  "
                f"rate {optimizer.rate(training.optimizer):.5f}  {left:.0f} s left",
                flush=True,
            )
            save(task, training)

    some = task.held_out or task.training
    # questions late in their stories, which have more sentences to look at
    for question in sorted(some[:25], key=lambda q: -len(q.facts))[:3]:
        show(vocabulary, model, training.params, question)
    draw(figure, losses, task.plot, begun.step + 1)
    print_accuracy(vocabulary, model, training.params, task.held_out)


def resumed(task: Task, like: Training) -> Training:
    """The state of training, as it was saved."""
    path = str(task.resume)
    try:
        task.check_resumes(path, tg.load_metadata(path))
        training: Training = tg.load(path, like)
    except (tg.errors.FileError, ImportError) as error:
        raise InputError(str(error).replace("\n", " ")) from None
    except OSError as error:
        raise InputError(f"{path}: {error.strerror}") from None
    if training.step < 0:
        raise InputError(f"{path}: it says that {training.step} steps were made")
    return training


def save(task: Task, training: Training) -> None:
    """Write the training to a file, if one is asked for."""
    if task.save is None:
        return
    try:
        tg.save(task.save, training, **task.metadata())
    except ImportError as error:
        raise InputError(f"{task.save}: {error}") from None
    except OSError as error:
        raise InputError(f"{task.save}: {error.strerror}") from None


def show(vocabulary: Vocabulary, model: MemoryNetwork, params: Params, question: Question) -> None:
    """Print a story with the attention of each hop to each sentence, and the answer."""
    batch = vocabulary.encode([question])
    logits, attention = model(params, batch.story, batch.question)
    facts = question.facts[-vocabulary.sentences :]
    print()
    for age, fact in reversed(list(enumerate(reversed(facts)))):
        looks = "  ".join(f"{share:4.2f}" for share in attention[0, :, age])
        print(f"  {looks}  {fact}")
    answer = vocabulary.answers[int(logits.argmax())]
    judged = "right" if answer == question.answer else f"wrong: {question.answer}"
    print(f"{question.text} {answer} ({judged})")


def print_accuracy(
    vocabulary: Vocabulary, model: MemoryNetwork, params: Params, questions: Sequence[Question]
) -> None:
    """Print the share of held-out questions that are answered right."""
    print()
    if not questions:
        print("held out: no questions")
        return
    right = count_right(model, params, vocabulary.encode(questions))
    print(f"held out: accuracy {right / len(questions):.3f}  ({len(questions)} questions)")


def main(arguments: Sequence[str] | None = None) -> int:
    """The command; it returns the exit status."""
    return exit_status(NAME, lambda: run(read_task(arguments)))


if __name__ == "__main__":
    ctrl_c.run(main)
