"""Stories in the form of bAbI (Weston et al. 2015, arXiv:1502.05698): made up, or read.

A line of a story is a fact or a question, with its answer and the facts it rests on:

    1 Ada walked to the library.
    2 Ben went back to the attic.
    3 Where is Ada? <TAB>library<TAB>1

Numbers begin again at 1 with each story.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TypeVar

import attrs
import numpy as np

from common.command_line import InputError

T = TypeVar("T")

FORMAT = (
    "A line of FILE is a number and a sentence, or a number and a question, a tab, the answer, a "
    "tab and the numbers of the lines that it rests on; numbers begin again at 1 with each story."
)


def key(seed: int, purpose: str) -> np.random.SeedSequence:
    """A key for one purpose, so that one draw does not depend on another."""
    return np.random.SeedSequence([seed, *purpose.encode()])


# --- stories made up --------------------------------------------------------------------------

PEOPLE = ("Ada", "Ben", "Cleo", "Dan")
MOVES = ("walked", "ran", "hurried", "went back")
PLACES = ("attic", "cellar", "courtyard", "library", "studio", "workshop")
THINGS = ("ball", "lamp", "map")
QUESTIONS = 5  # in a story, each after two facts


def make_stories(count: int, seed: np.random.SeedSequence | int, facts: int = 1) -> str:
    """The text of some stories, in which a question rests on one fact or on two.

    With one, people move, and a person is asked for. With two, people also take things along, and
    a thing is asked for: it is where the person who took it last went last.
    """
    rng = np.random.default_rng(seed)
    return "".join(make_story(rng, facts) for _ in range(count))


def make_story(rng: np.random.Generator, facts: int = 1) -> str:
    """One story, its lines numbered from 1."""

    def pick(options: Sequence[T]) -> T:
        return options[int(rng.integers(len(options)))]

    lines: list[str] = []
    places: dict[str, tuple[str, int]] = {}  # where each person is, and the line that says so
    holders: dict[str, tuple[str, int]] = {}  # who has what, and the line that says so

    def move() -> None:
        person = pick(PEOPLE)
        here, _ = places.get(person, ("", 0))
        place = pick([p for p in PLACES if p != here])
        lines.append(f"{person} {pick(MOVES)} to the {place}.")
        places[person] = place, len(lines)

    def take() -> None:
        thing = pick(THINGS)
        owner, _ = holders.get(thing, ("", 0))
        takers = [p for p in places if p != owner]
        if not takers:
            move()
            return
        person = pick(takers)
        lines.append(f"{person} took the {thing}.")
        holders[thing] = person, len(lines)

    for question in range(QUESTIONS):
        move()
        # there is something to ask for from the first question on
        (take if facts == 2 and (question == 0 or pick((True, False))) else move)()
        thing = pick(tuple(holders if facts == 2 else places))
        person, *taken = holders[thing] if facts == 2 else (thing,)
        place, moved = places[person]
        rests_on = " ".join(map(str, [*taken, moved]))
        name = f"the {thing}" if facts == 2 else thing
        lines.append(f"Where is {name}? \t{place}\t{rests_on}")
    return "".join(f"{number} {line}\n" for number, line in enumerate(lines, start=1))


# --- reading ----------------------------------------------------------------------------------


@attrs.frozen
class Line:
    """A line of a story.

    Attributes
    ----------
    number
        Its number in the story.
    text
        What follows the number, tabs and all.
    """

    number: int
    text: str

    @property
    def sentence(self) -> str:
        """The fact or the question by itself."""
        return self.text.partition("\t")[0].strip()

    @property
    def answer(self) -> str | None:
        """The answer of a question."""
        return self.text.split("\t")[1].strip() if "\t" in self.text else None


@attrs.frozen
class Question:
    """A question, its answer, and the facts that the story told before it, the oldest first."""

    facts: tuple[str, ...]
    text: str
    answer: str


def read_file(path: str) -> str:
    """The text of a file, which is UTF-8.

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
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise InputError(f"{path}, line {line}: not UTF-8 text") from None


def read_text(text: str, name: str) -> tuple[Line, ...]:
    r"""The lines of a text, called `name` in errors. Blank lines are skipped.

    Examples
    --------
    >>> read_text("1 Ada ran to the attic.\n2 Where is Ada? \tattic\t1\n", "a story")[1]
    Line(number=2, text='Where is Ada? \tattic\t1')
    """
    rows = text.replace("\r\n", "\n").split("\n")
    lines = tuple(
        parse(row, f"{name}, line {i}") for i, row in enumerate(rows, start=1) if row.strip()
    )
    if not lines:
        raise InputError(f"{name}: the file has no lines")
    return lines


def parse(row: str, where: str) -> Line:
    """A row of a text as a line of a story."""
    number, _, text = row.partition(" ")
    if not (number.isascii() and number.isdigit() and len(number) < 10):
        raise InputError(f"{where}: it begins with no line number: {shortened(row)}")
    if not text.strip():
        raise InputError(f"{where}: nothing follows the line number: {shortened(row)}")
    if "\t" in text:
        question, *answer = text.split("\t")
        facts = answer[1].split() if len(answer) == 2 else []
        if not (question.strip() and facts and all(fact.isdigit() for fact in facts)):
            raise InputError(
                f"{where}: a question is followed by a tab, the answer, a tab and the numbers of "
                f"the lines it rests on, unlike {shortened(row)}"
            )
    return Line(int(number), text.rstrip())


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


def questions(lines: Sequence[Line]) -> Iterator[Question]:
    """The questions of some stories, each with the facts before it."""
    facts: tuple[str, ...] = ()
    for before, line in itertools.pairwise([Line(0, ""), *lines]):
        if line.number <= before.number:
            facts = ()
        if line.answer is None:
            facts = (*facts, line.sentence)
        else:
            yield Question(facts, line.sentence, line.answer)


def words(sentence: str) -> list[str]:
    """The words of a sentence, in lower case and without punctuation.

    Examples
    --------
    >>> words("Where is Ada?")
    ['where', 'is', 'ada']
    """
    return re.findall(r"[^\s.,;:!?]+", sentence.lower())
