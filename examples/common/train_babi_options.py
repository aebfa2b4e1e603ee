"""The settings of train_babi.py, and the command line that gives them."""

from __future__ import annotations

import argparse
from collections.abc import Sequence

import attrs

from common import babi
from common.command_line import (
    STATUS,
    InputError,
    Parser,
    file_name,
    not_negative,
    positive,
    rate,
    share,
)

NAME = "train_babi.py"


@attrs.frozen
class Settings:
    """What determines a training, besides the text.

    Attributes
    ----------
    steps, batch
        The number of steps, and of lines that each reads.
    learning_rate, momentum
        Of the optimizer.
    embedding, hidden
        The length of a word's vector, and of the hidden state.
    lines
        The number of lines of the text to train on; None lets the text decide.
    fixed_batch
        Whether every step reads the first lines, rather than new ones each time.
    seed
        The seed of all random draws.
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


@attrs.frozen(eq=False)
class Task:
    """Lines to train on, lines only to evaluate, and what to do with them."""

    training: tuple[babi.Line, ...]
    held_out: tuple[babi.Line, ...]
    settings: Settings
    every: int
    plot: str | None = None
    compiled: bool = True


def read_task(arguments: Sequence[str] | None = None) -> Task:
    """Read the task that the arguments of the command ask for."""
    options = make_parser().parse_args(arguments)
    given = {
        field.name: value
        for field in attrs.fields(Settings)
        if (value := getattr(options, field.name)) is not None
    }
    settings = attrs.evolve(PRESETS[options.preset or "default"], **given)

    if options.data is None:
        stories = options.stories or 200
        source = "the made-up stories"
        text = babi.make_stories(stories, babi.key(settings.seed, "stories"))
        others = babi.make_stories(stories, babi.key(settings.seed, "held out"))
        lines, held_out = babi.read_text(text, source), babi.read_text(others, source)
    else:
        if options.stories is not None:
            raise InputError("--stories: there are none to make up with --data")
        source = options.data
        lines, held_out = babi.read_text(babi.read_file(source), source), ()
    if options.lines is not None and options.lines > len(lines):
        raise InputError(f"--lines {options.lines}: there are {len(lines)} in {source}")
    if options.data is None or options.test is not None:
        training = lines[: settings.lines]
    else:
        training, held_out = babi.cut(lines, settings.lines)
    if options.test is not None:
        held_out = babi.read_text(babi.read_file(options.test), options.test)

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


def make_parser() -> Parser:
    """The command line."""
    default, notebook = PRESETS["default"], PRESETS["notebook"]

    def both(name: str) -> str:
        """The default values of an option, in words."""
        first, second = getattr(default, name), getattr(notebook, name)
        other = "" if first == second else f"; notebook: {second}"
        return f" (default: {first}{other})"

    parser = Parser(
        prog="train_babi.py",
        description="Train a recurrent language model on stories in the form of bAbI task 1: "
        "it reads the first five words of a line and predicts the sixth.",
        epilog=f"{babi.FORMAT} Lines are read in lower case and split on single spaces, so that an "
        "answer and its number are one word; blank lines are passed over. Lines shorter than "
        "six words are filled up on the left with '-', of longer ones the last six words are "
        "read. A word that training never saw reads as '-', and predicting it counts as "
        f"wrong. {STATUS}",
    )
    text = parser.add_argument_group("text")
    text.add_argument(
        "--data", type=file_name, metavar="FILE", help="train on this text, not on made-up stories"
    )
    text.add_argument(
        "--test",
        type=file_name,
        metavar="FILE",
        help="a text to evaluate only. Without it, the lines of --data after those trained on "
        "are held out; for made-up stories, as many other ones",
    )
    text.add_argument(
        "--stories",
        type=positive,
        metavar="N",
        help="how many stories of 15 lines to make up (default: 200)",
    )
    text.add_argument(
        "--lines",
        type=positive,
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
        "--steps", type=positive, metavar="N", help="updates of the parameters" + both("steps")
    )
    training.add_argument(
        "--batch",
        type=positive,
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
        type=rate,
        metavar="R",
        help="how far a step goes along the gradient of the mean loss" + both("learning_rate"),
    )
    training.add_argument(
        "--momentum",
        type=share,
        metavar="M",
        help="how much of the last step is kept, from 0 to below 1" + both("momentum"),
    )
    training.add_argument(
        "--embedding",
        type=positive,
        metavar="N",
        help="length of a word's vector" + both("embedding"),
    )
    training.add_argument(
        "--hidden", type=positive, metavar="N", help="length of the hidden state" + both("hidden")
    )
    training.add_argument(
        "--seed",
        type=not_negative,
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
        type=positive,
        metavar="N",
        help="steps from one line of progress to the next (default: a tenth of all)",
    )
    output.add_argument(
        "--plot",
        type=file_name,
        metavar="FILE",
        help="draw the loss curve into FILE (needs matplotlib)",
    )
    return parser
