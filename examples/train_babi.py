"""Train a recurrent language model on stories like those of bAbI task 1.

A line of a story is a fact or a question,

    1 Ada walked to the library.
    2 Ben went back to the attic.
    3 Where is Ada? <TAB>library<TAB>1

and the model reads the line's first five words to predict the sixth. Started
with nothing, the script makes stories of its own and trains on them:

    python examples/train_babi.py
    python examples/train_babi.py --data qa1_train.txt --test qa1_test.txt
    python examples/train_babi.py --preset notebook --data qa1_train.txt

Everything here is a value or a pure function of values. The model is a frozen
description, its parameters are a tree of arrays that is handed from one step to
the next, and a step of training is a function from parameters to parameters.

How well can it do? A line does not say where anybody was before, so the sixth
word is partly a matter of luck: one of six places, each as likely, ends a fact
(a loss of log 6 = 1.79, one in six right), and a question is answered by one of
some sixty pairs of a place and a line number (a loss of about 4). With two facts
to a question, that is a mean loss of about 2.5 and an accuracy of about 0.13; a
model that does better on the lines that it trains on has learnt them by heart.
"""

from __future__ import annotations

import os
import signal
import sys

if __name__ == "__main__":

    def _leave(*_: object) -> None:
        """End with one line and the status after Ctrl-C, whatever is under way."""
        os.write(2, b"train_babi.py: interrupted\n")
        os._exit(130)

    # the imports that follow take a while; `main` sees to Ctrl-C after them
    _interruptible = signal.getsignal(signal.SIGINT) is signal.default_int_handler
    if _interruptible:
        signal.signal(signal.SIGINT, _leave)

import argparse
import contextlib
import errno
import importlib
import io
import itertools
import math
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, NoReturn

import attrs
import numpy as np
import numpy.typing as npt

import tapegrad as tg

Array = npt.NDArray[Any]
Step = Callable[[Any, Any, Array], tuple[Any, Any, Any, Any]]

PADDING = "-"  # the word number 0 of every vocabulary
LENGTH = 6


@attrs.frozen
class Settings:
    """What a training is determined by, beside the text.

    Attributes
    ----------
    steps, batch
        How many steps there are, and how many lines each reads.
    learning_rate, momentum
        Of the optimizer.
    embedding, hidden
        The length of a word's vector, and of the hidden state.
    lines
        How many lines of the text to train on; None leaves it to the text.
    fixed_batch
        Whether every step reads the first lines, not others each time.
    seed
        What all random draws are made from.
    """

    steps: int = 1500
    batch: int = 100
    learning_rate: float = 0.05
    momentum: float = 0.9
    embedding: int = 16
    hidden: int = 16
    lines: int | None = None
    fixed_batch: bool = False
    seed: int = 0


PRESETS = {
    "default": Settings(),
    "notebook": Settings(steps=1000, learning_rate=5.0, momentum=0.0, lines=1000, fixed_batch=True),
}


class InputError(Exception):
    """A text or an option that cannot be worked with; the message is one line."""


def key(seed: int, purpose: str) -> np.random.SeedSequence:
    """A key for one purpose, so that one draw does not depend on another."""
    return np.random.SeedSequence([seed, *purpose.encode()])


# --- stories --------------------------------------------------------------------------

PEOPLE = ("Ada", "Ben", "Cleo", "Dan")
MOVES = ("walked", "ran", "hurried", "went back")
PLACES = ("attic", "cellar", "courtyard", "library", "studio", "workshop")
QUESTIONS = 5  # in a story, each after two facts


def make_stories(count: int, seed: np.random.SeedSequence | int) -> str:
    """The text of some stories: people move, and after each two facts one is asked for."""
    rng = np.random.default_rng(seed)
    return "".join(make_story(rng) for _ in range(count))


def make_story(rng: np.random.Generator) -> str:
    """One story, its lines numbered from 1."""

    def pick(options: Sequence[str]) -> str:
        return options[int(rng.integers(len(options)))]

    lines: list[str] = []
    seen: dict[str, tuple[str, int]] = {}  # where everybody is, and the line that says so
    for _ in range(QUESTIONS):
        for _ in range(2):
            person = pick(PEOPLE)
            here, _ = seen.get(person, ("", 0))
            place = pick([p for p in PLACES if p != here])
            lines.append(f"{person} {pick(MOVES)} to the {place}.")
            seen[person] = place, len(lines)
        person = pick(tuple(seen))
        place, line = seen[person]
        lines.append(f"Where is {person}? \t{place}\t{line}")
    return "".join(f"{number} {line}\n" for number, line in enumerate(lines, start=1))


# --- reading --------------------------------------------------------------------------


@attrs.frozen
class Line:
    """A line of a story: its number and its words."""

    number: int
    words: tuple[str, ...]


def read_file(path: str) -> tuple[Line, ...]:
    """The lines of a file.

    Raises
    ------
    InputError
        If there is no such text, with the file and the line.
    """
    try:
        data = Path(path).read_bytes()
    except OSError as error:
        raise InputError(f"{path}: {error.strerror}") from None
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise InputError(f"{path}, line {line}: not UTF-8 text") from None
    return read_text(text, path)


def read_text(text: str, name: str) -> tuple[Line, ...]:
    r"""The lines of a text; `name` is what errors call it. Blank lines are passed over.

    Examples
    --------
    >>> read_text("1 Ada ran to the attic.\n2 Where is Ada? \tattic\t1\n", "a story")[1]
    Line(number=2, words=('where', 'is', 'ada?', '\tattic\t1'))
    """
    rows = text.replace("\r\n", "\n").split("\n")
    lines = tuple(
        parse(row, f"{name}, line {i}") for i, row in enumerate(rows, start=1) if row.strip()
    )
    if not lines:
        raise InputError(f"{name}: the file has no lines")
    return lines


def parse(row: str, where: str) -> Line:
    """The number of a line and its words: in lower case, split on single spaces.

    The answer of a question and the number of the fact it rests on stay one word,
    tabs and all.
    """
    number, _, sentence = row.partition(" ")
    if not (number.isascii() and number.isdigit() and len(number) < 10):
        raise InputError(f"{where}: it begins with no line number: {shortened(row)}")
    if not sentence.strip():
        raise InputError(f"{where}: nothing follows the line number: {shortened(row)}")
    if "\t" in sentence:
        question, *answer = sentence.split("\t")
        facts = answer[1].split() if len(answer) == 2 else []
        if not (question.strip() and facts and all(fact.isdigit() for fact in facts)):
            raise InputError(
                f"{where}: a question is followed by a tab, the answer, a tab and the numbers of "
                f"the lines it rests on, unlike {shortened(row)}"
            )
    return Line(int(number), tuple(sentence.rstrip().lower().split(" ")))


def shortened(row: str) -> str:
    """The beginning of a line, quoted."""
    return repr(row if len(row) <= 40 else row[:37] + "...")


def cut(lines: tuple[Line, ...], count: int | None) -> tuple[tuple[Line, ...], tuple[Line, ...]]:
    """Lines to train on and lines to hold out.

    The first `count` and the rest; or all but the last tenth of the stories.
    """
    if count is None:
        starts = [i for i, line in enumerate(lines) if line.number == 1]
        stories = len(starts) // 10
        count = starts[-stories] if stories else len(lines)
    return lines[:count], lines[count:]


@attrs.frozen
class Vocabulary:
    """All words, each with its number; the padding is number 0."""

    words: tuple[str, ...]

    @classmethod
    def of(cls, lines: Iterable[Line]) -> Vocabulary:
        """The words of some lines, in the order in which they come."""
        words = itertools.chain.from_iterable(line.words for line in lines)
        return cls(tuple(dict.fromkeys([PADDING, *words])))

    def encode(self, lines: Sequence[Line]) -> Array:
        """A row of `LENGTH` word numbers for each line, a read-only array.

        A shorter line is filled up with padding on the left; of a longer one the
        last words stay. A word that is not in the vocabulary reads as padding.
        """
        numbers = {word: i for i, word in enumerate(self.words)}
        rows = [
            [0] * (LENGTH - len(line.words)) + [numbers.get(w, 0) for w in line.words[-LENGTH:]]
            for line in lines
        ]
        tokens = np.array(rows, dtype=np.intp)
        tokens.flags.writeable = False
        return tokens

    def unknown(self, lines: Sequence[Line]) -> int:
        """How many words of some lines are not in the vocabulary, one that repeats once."""
        return len({word for line in lines for word in line.words} - set(self.words))


# --- the model --------------------------------------------------------------------------


@attrs.frozen
class Params:
    """The parameters of `LanguageModel`."""

    embedding: Any
    cell: Any


@attrs.frozen
class LanguageModel:
    """A recurrent network that reads words one by one and predicts the next.

    It holds no parameters: `init` draws them, a call is a pure function of them.
    """

    embedding: tg.nn.Embedding
    cell: tg.nn.RNNCell

    def init(self, seed: int) -> Params:
        """Parameters to begin with: the same seed, the same parameters."""
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


def batches(tokens: Array, size: int, seed: np.random.SeedSequence | int) -> Iterator[Array]:
    """Batches of lines without end, in a new order each time that all were read."""
    rng = np.random.default_rng(seed)
    while True:
        order = rng.permutation(len(tokens))
        for start in range(0, len(tokens) - size + 1, size):
            yield tokens[order[start : start + size]]


@attrs.frozen(eq=False)
class Moment:
    """A training after one of its steps.

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
    """The moments of a training, one for each step."""
    for number, tokens in enumerate(itertools.islice(batches, steps), start=1):
        loss, logits, params, state = step(params, state, tokens)
        yield Moment(number, float(loss), logits, tokens, params)


def count_right(logits: Array, targets: Array) -> int:
    """How many predictions are right; that of an unknown word never is."""
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


# --- the command ----------------------------------------------------------------------------


@attrs.frozen(eq=False)
class Task:
    """Lines to train on, lines to evaluate only, and what to do with them."""

    training: tuple[Line, ...]
    held_out: tuple[Line, ...]
    settings: Settings
    every: int
    plot: str | None = None
    compiled: bool = True


def run(task: Task) -> None:
    """Train, and print how it goes and what comes of it."""
    settings = task.settings
    figure = open_plot(task.plot) if task.plot else None
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
        else batches(tokens, settings.batch, key(settings.seed, "batches"))
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
        if not math.isfinite(moment.loss):
            raise FloatingPointError(
                f"the loss is {moment.loss} at step {moment.number}; "
                "a smaller --learning-rate may help"
            )
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
    if task.plot and figure is not None:
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


def open_plot(path: str) -> Any:
    """An empty figure; None, and a word about it, if there is nothing to draw with.

    What would go wrong in the end is found out here, before the training.
    """
    target = Path(path)
    try:
        if target.is_dir():
            raise InputError(f"{path}: Is a directory")
        if not target.parent.is_dir():
            raise InputError(f"{path}: there is no directory {target.parent}")
        if not os.access(target if target.exists() else target.parent, os.W_OK):
            raise InputError(f"{path}: Permission denied")
    except OSError as error:  # a name that is too long
        raise InputError(f"{path}: {error.strerror}") from None
    try:  # imported here, for it takes longer than many a training
        figure = importlib.import_module("matplotlib.figure").Figure()
    except ImportError:
        print("to draw the loss curve: pip install 'tapegrad[plot]'", file=sys.stderr)
        return None
    formats = figure.canvas.get_supported_filetypes()
    if target.suffix and target.suffix[1:].lower() not in formats:
        raise InputError(f"{path}: the format is none of {', '.join(sorted(formats))}")
    return figure


def draw(figure: Any, losses: Sequence[float], path: str) -> None:
    """The loss over the steps, into a file."""
    axes = figure.add_subplot(xlabel="step", ylabel="mean cross entropy of the batch")
    axes.plot(range(1, len(losses) + 1), losses, linewidth=1)
    try:
        figure.savefig(path, format=Path(path).suffix[1:].lower() or "png")
    except OSError as error:
        raise InputError(f"{path}: {error.strerror or error}") from None
    print(f"loss curve: {path}")


class Parser(argparse.ArgumentParser):
    """A parser whose errors are one line, and whose help is written or is an error."""

    def print_help(self, file: Any = None) -> None:
        """Print the help now, so that what is wrong with the output is known here."""
        print(self.format_help(), end="", file=file, flush=True)

    def error(self, message: str) -> NoReturn:
        """Leave with status 2."""
        self.exit(2, f"{self.prog}: error: {message}\n")


MOST = 10**9  # the product of two sizes is one that an array may have


def _file(text: str) -> str:
    if not text:
        raise argparse.ArgumentTypeError("the name of a file is needed, not ''")
    return text


def _positive(text: str) -> int:
    return _integer(text, f"an integer from 1 to {MOST}", lambda n: 1 <= n <= MOST)


def _not_negative(text: str) -> int:
    return _integer(text, "an integer from 0", lambda n: n >= 0)


def _integer(text: str, needed: str, fits: Callable[[int], bool]) -> int:
    try:
        number = int(text)
    except ValueError:
        number = -1
    if not fits(number):
        raise argparse.ArgumentTypeError(f"{needed} is needed, not {text!r}")
    return number


def _rate(text: str) -> float:
    return _number(text, "a number above 0", lambda x: 0 < x < math.inf)


def _momentum(text: str) -> float:
    return _number(text, "a number from 0 to below 1", lambda x: 0 <= x < 1)


def _number(text: str, needed: str, fits: Callable[[float], bool]) -> float:
    try:
        number = float(text)
    except ValueError:
        number = math.nan
    if not fits(number):
        raise argparse.ArgumentTypeError(f"{needed} is needed, not {text!r}")
    return number


def make_parser() -> Parser:
    """The command line."""
    default, notebook = PRESETS["default"], PRESETS["notebook"]

    def both(name: str) -> str:
        """What an option is when it is not given."""
        first, second = getattr(default, name), getattr(notebook, name)
        other = "" if first == second else f"; notebook: {second}"
        return f" (default: {first}{other})"

    parser = Parser(
        prog="train_babi.py",
        description="Train a recurrent language model on stories in the form of bAbI task 1: "
        "it reads the first five words of a line and predicts the sixth.",
        epilog="A line of FILE is a number and a sentence, or a number and a question, a tab, the "
        "answer, a tab and the number of the line that it rests on; numbers begin again at 1 "
        "with each story. Lines are read in lower case and split on single spaces, so that an "
        "answer and its number are one word; blank lines are passed over. Lines shorter than "
        "six words are filled up on the left with '-', of longer ones the last six words are "
        "read. A word that training never saw reads as '-', and predicting it counts as "
        "wrong. Exit status: 0; 2 for a bad file or option; 1 if the loss is no longer finite "
        "or the output cannot be written; 130 after Ctrl-C.",
    )
    text = parser.add_argument_group("text")
    text.add_argument(
        "--data", type=_file, metavar="FILE", help="train on this text, not on made-up stories"
    )
    text.add_argument(
        "--test",
        type=_file,
        metavar="FILE",
        help="a text to evaluate only. Without it, the lines of --data after those trained on "
        "are held out; for made-up stories, as many other ones",
    )
    text.add_argument(
        "--stories",
        type=_positive,
        metavar="N",
        help="how many stories of 15 lines to make up (default: 200)",
    )
    text.add_argument(
        "--lines",
        type=_positive,
        metavar="N",
        help="train on the first N lines only (default: with --data and no --test, all but the "
        "last tenth of the stories; otherwise all; notebook: 1000, or all if there are fewer)",
    )
    training = parser.add_argument_group("training")
    training.add_argument(
        "--preset",
        choices=[name for name in PRESETS if name != "default"],
        help="settings to begin with: 'notebook' trains on the first 100 lines over and over, "
        "by plain gradient descent. Options that are given override it",
    )
    training.add_argument(
        "--steps", type=_positive, metavar="N", help="updates of the parameters" + both("steps")
    )
    training.add_argument(
        "--batch",
        type=_positive,
        metavar="N",
        help="lines that a step reads" + both("batch") + ", or all lines if there are fewer",
    )
    training.add_argument(
        "--fixed-batch",
        action=argparse.BooleanOptionalAction,
        help="read the first lines at every step, not lines in random order" + both("fixed_batch"),
    )
    training.add_argument(
        "--learning-rate",
        type=_rate,
        metavar="R",
        help="how far a step goes along the gradient of the mean loss" + both("learning_rate"),
    )
    training.add_argument(
        "--momentum",
        type=_momentum,
        metavar="M",
        help="how much of the last step is kept, from 0 to below 1" + both("momentum"),
    )
    training.add_argument(
        "--embedding",
        type=_positive,
        metavar="N",
        help="length of a word's vector" + both("embedding"),
    )
    training.add_argument(
        "--hidden", type=_positive, metavar="N", help="length of the hidden state" + both("hidden")
    )
    training.add_argument(
        "--seed",
        type=_not_negative,
        metavar="N",
        help="the same seed gives the same stories, parameters and batches" + both("seed"),
    )
    training.add_argument(
        "--compile",
        action=argparse.BooleanOptionalAction,
        default=True,
        help="run the step as straight-line NumPy, not recorded anew each time (default: yes)",
    )
    output = parser.add_argument_group("output")
    output.add_argument(
        "--every",
        type=_positive,
        metavar="N",
        help="steps from one line of progress to the next (default: a tenth of all)",
    )
    output.add_argument(
        "--plot",
        type=_file,
        metavar="FILE",
        help="draw the loss curve into FILE (needs matplotlib)",
    )
    return parser


def make_task(options: argparse.Namespace) -> Task:
    """The task that the options ask for, its texts read."""
    given = {
        field.name: value
        for field in attrs.fields(Settings)
        if (value := getattr(options, field.name)) is not None
    }
    settings = attrs.evolve(PRESETS[options.preset or "default"], **given)

    if options.data is None:
        stories = options.stories or 200
        source = "the made-up stories"
        text = make_stories(stories, key(settings.seed, "stories"))
        others = make_stories(stories, key(settings.seed, "held out"))
        lines, held_out = read_text(text, source), read_text(others, source)
    else:
        if options.stories is not None:
            raise InputError("--stories: there are none to make up with --data")
        source = options.data
        lines, held_out = read_file(source), ()
    if options.lines is not None and options.lines > len(lines):
        raise InputError(f"--lines {options.lines}: there are {len(lines)} in {source}")
    if options.data is None or options.test is not None:
        training = lines[: settings.lines]
    else:
        training, held_out = cut(lines, settings.lines)
    if options.test is not None:
        held_out = read_file(options.test)

    if options.batch is not None and options.batch > len(training):
        raise InputError(f"--batch {options.batch}: there are {len(training)} lines to train on")
    return Task(
        training,
        held_out,
        attrs.evolve(settings, batch=min(settings.batch, len(training))),
        options.every or max(1, settings.steps // 10),
        options.plot,
        options.compile,
    )


def main(arguments: Sequence[str] | None = None) -> int:
    """The command; what it returns is the exit status."""
    parser = make_parser()
    try:
        if sys.stdout is None:  # closed before Python began
            raise OSError(errno.EBADF, os.strerror(errno.EBADF))
        if isinstance(sys.stdout, io.TextIOWrapper):
            # words that its encoding lacks
            sys.stdout.reconfigure(errors="backslashreplace")
        # a loss that is not finite is reported once, and not by NumPy
        with np.errstate(all="ignore"):
            run(make_task(parser.parse_args(arguments)))
            sys.stdout.flush()
    except InputError as error:
        status, message = 2, f"error: {error}"
    except MemoryError:
        status, message = 2, "error: out of memory; a smaller --batch, --hidden or --embedding?"
    except FloatingPointError as error:
        status, message = 1, f"error: {error}"
    except KeyboardInterrupt:
        status, message = 130, "interrupted"
    except OSError as error:  # of standard output, to which Python writes the rest as it leaves
        if sys.stdout is not None:
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        if isinstance(error, BrokenPipeError):  # nobody reads on, as with `| head`
            return 1
        status, message = 1, f"error: standard output: {error.strerror}"
    else:
        return 0
    with contextlib.suppress(OSError):  # the status is left to tell it
        print(f"{parser.prog}: {message}", file=sys.stderr)
    return status


if __name__ == "__main__":
    try:
        if _interruptible:
            signal.signal(signal.SIGINT, signal.default_int_handler)
        sys.exit(main())
    except KeyboardInterrupt:  # before or after what `main` sees to
        _leave()
