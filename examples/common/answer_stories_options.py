"""The settings of answer_stories.py, and the command line that gives them."""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from typing import Any

import attrs

from common import babi
from common.command_line import (
    STATUS,
    InputError,
    Parser,
    check_writable,
    file_name,
    not_negative,
    positive,
    rate,
)

NAME = "answer_stories.py"


@attrs.frozen
class Settings:
    """What determines a training, besides the text.

    Attributes
    ----------
    hops
        The number of times that the network looks at the story.
    width
        The length of a sentence's vector.
    steps, batch
        The number of steps, and of questions that each reads.
    learning_rate
        The highest rate, after a warm-up; it falls to 0 in the end.
    seed
        The seed of all random draws.
    """

    hops: int = 1
    width: int = 32
    steps: int = 1500
    batch: int = 50
    learning_rate: float = 0.01
    seed: int = 0


@attrs.frozen(eq=False)
class Task:
    """Questions to train on, questions only to evaluate, and what to do with them.

    Attributes
    ----------
    text
        A checksum of the text that is trained on.
    every
        Steps from one line of progress to the next.
    """

    training: tuple[babi.Question, ...]
    held_out: tuple[babi.Question, ...]
    settings: Settings
    text: int
    every: int
    save: str | None = None
    resume: str | None = None
    plot: str | None = None

    def metadata(self) -> dict[str, Any]:
        """What a file says about its training, and has to say to resume it.

        The number of steps may differ, so that training can continue for longer.
        """
        settings = attrs.asdict(self.settings)
        del settings["steps"]
        return {**settings, "text": self.text}

    def check_resumes(self, path: str, metadata: dict[str, Any]) -> None:
        """Raise unless a file comes from a training with the same options."""
        for name, ours in self.metadata().items():
            theirs = metadata.get(name)
            if theirs == ours:
                continue
            if name == "text":
                raise InputError(f"{path}: it was trained on other stories")
            option = "--" + name.replace("_", "-")
            raise InputError(f"{path}: it was trained with {option} {theirs!r}, not {ours!r}")


def read_task(arguments: Sequence[str] | None = None) -> Task:
    """Read the task that the arguments of the command ask for."""
    options = make_parser().parse_args(arguments)
    given = {
        field.name: value
        for field in attrs.fields(Settings)
        if (value := getattr(options, field.name)) is not None
    }
    settings = Settings(**{"hops": 1 if options.facts == 1 else 3, **given})

    if options.data is None:
        source, stories = "the made-up stories", options.stories or 1000
        text, others = (
            babi.make_stories(count, babi.key(settings.seed, purpose), options.facts)
            for count, purpose in ((stories, "stories"), (200, "held out"))
        )
        lines, held_out = babi.read_text(text, source), babi.read_text(others, source)
    else:
        if options.stories is not None:
            raise InputError("--stories: there are none to make up with --data")
        source, text = options.data, babi.read_file(options.data)
        lines, held_out = babi.read_text(text, source), ()
        if options.test is None:
            lines, held_out = babi.cut(lines, None)
    if options.test is not None:
        held_out = babi.read_text(babi.read_file(options.test), options.test)

    training = tuple(babi.questions(lines))
    if not training:
        raise InputError(f"{source}: there are no questions to train on")
    if options.batch is not None and options.batch > len(training):
        raise InputError(f"--batch {options.batch}: there are {len(training)} questions")
    if options.save is not None:
        check_writable(options.save)
    return Task(
        training,
        tuple(babi.questions(held_out)),
        attrs.evolve(settings, batch=min(settings.batch, len(training))),
        zlib.crc32(text.encode()),
        options.every or max(1, settings.steps // 10),
        options.save,
        options.resume,
        options.plot,
    )


def make_parser() -> Parser:
    """The command line."""
    default = Settings()
    parser = Parser(
        prog=NAME,
        description="Train an end-to-end memory network to answer questions about stories in the "
        "form of bAbI, and show which sentences it looks at.",
        epilog=f"{babi.FORMAT} A story's questions are no part of what is remembered. {STATUS}",
    )
    text = parser.add_argument_group("text")
    text.add_argument(
        "--data", type=file_name, metavar="FILE", help="train on this text, not on made-up stories"
    )
    text.add_argument(
        "--test",
        type=file_name,
        metavar="FILE",
        help="a text to evaluate only (default: the last tenth of the stories of --data, or 200 "
        "other made-up stories)",
    )
    text.add_argument(
        "--stories",
        type=positive,
        metavar="N",
        help="how many stories to make up, each with 5 questions (default: 1000)",
    )
    text.add_argument(
        "--facts",
        type=int,
        choices=(1, 2),
        default=1,
        help="how many facts a question of the made-up stories rests on: with 2, who took the "
        "ball, and where that person is (default: 1)",
    )
    training = parser.add_argument_group("training")
    training.add_argument(
        "--hops",
        type=positive,
        metavar="N",
        help="how many times the network looks at the story (default: 1; with --facts 2: 3)",
    )
    training.add_argument(
        "--width",
        type=positive,
        metavar="N",
        help=f"length of a sentence's vector (default: {default.width})",
    )
    training.add_argument(
        "--steps",
        type=positive,
        metavar="N",
        help=f"updates of the parameters (default: {default.steps})",
    )
    training.add_argument(
        "--batch",
        type=positive,
        metavar="N",
        help=f"questions that a step reads (default: {default.batch}, or all if there are fewer)",
    )
    training.add_argument(
        "--learning-rate",
        type=rate,
        metavar="R",
        help="the highest learning rate of Adam; it rises for a twentieth of the steps and then "
        f"falls to 0 (default: {default.learning_rate})",
    )
    training.add_argument(
        "--seed",
        type=not_negative,
        metavar="N",
        help="the same seed gives the same stories, parameters and batches "
        f"(default: {default.seed})",
    )
    output = parser.add_argument_group("output")
    output.add_argument(
        "--every",
        type=positive,
        metavar="N",
        help="steps from one line of progress to the next (default: a tenth of all)",
    )
    output.add_argument(
        "--save",
        type=file_name,
        metavar="FILE",
        help="save the training into FILE (.npz) with every line of progress",
    )
    output.add_argument(
        "--resume",
        type=file_name,
        metavar="FILE",
        help="go on from a saved training; the other options are those that it was begun with, "
        "though --steps may be more",
    )
    output.add_argument(
        "--plot",
        type=file_name,
        metavar="FILE",
        help="draw the loss curve into FILE (needs matplotlib)",
    )
    return parser
