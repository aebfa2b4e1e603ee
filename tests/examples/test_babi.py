"""Generated stories are read as written, and their answers follow from their facts."""

import doctest

import pytest
from common import babi
from hypothesis import given
from hypothesis import strategies as st
from scripts import STORY, write_file

# --- stories ----------------------------------------------------------------------------


@given(st.integers(0, 2**32), st.sampled_from([1, 2]))
def test_generated_stories_are_read_as_written(seed, facts):
    lines = babi.read_text(babi.make_stories(2, seed, facts), "stories")
    assert [line.number for line in lines] == [*range(1, 16), *range(1, 16)]
    assert all((line.answer is not None) == (line.number % 3 == 0) for line in lines)
    assert all(line.sentence.endswith("?" if line.number % 3 == 0 else ".") for line in lines)


def last_fact_about(facts, verb, word):
    """Return the number and words of the last fact with a word, with the verb or without."""
    found = [
        (number, words)
        for number, fact in facts
        if word in (words := babi.words(fact)) and ("took" in words) == (verb == "took")
    ]
    return found[-1]


@given(st.integers(0, 2**32), st.sampled_from([1, 2]))
def test_answer_follows_from_the_last_facts(seed, facts):
    facts_so_far = []
    n_questions = 0
    for line in babi.read_text(babi.make_stories(1, seed, facts), "story"):
        if line.answer is None:
            facts_so_far.append((line.number, line.sentence))
            continue
        subject = babi.words(line.sentence)[-1]
        evidence = []
        if facts == 2:
            number, (subject, *_) = last_fact_about(facts_so_far, "took", subject)
            evidence.append(number)
        number, (*_, place) = last_fact_about(facts_so_far, "went", subject)
        evidence.append(number)
        assert line.answer == place
        assert line.text.split("\t")[2] == " ".join(map(str, evidence))
        n_questions += 1
    assert n_questions == babi.QUESTIONS


# --- reading ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    "text",
    [
        STORY.replace("\n", "\r\n"),
        "\ufeff" + STORY,
        STORY.replace("\n", "\n\n"),
        STORY[:-1],
        STORY.replace(".\n", ". \n"),
    ],
    ids=["crlf", "bom", "blank lines", "no last newline", "trailing spaces"],
)
def test_line_ends_and_blanks_are_ignored(tmp_path, text):
    read = babi.read_file(str(write_file(tmp_path, text)))
    assert babi.read_text(read, "a file") == babi.read_text(STORY, "a story")


def test_stories_are_held_out_whole():
    lines = babi.read_text(babi.make_stories(20, 0), "stories")
    training, held_out = babi.cut(lines, None)
    assert training + held_out == lines
    assert len(held_out) == 2 * 15
    assert held_out[0].number == 1


def test_question_has_earlier_facts_of_its_story():
    text = STORY + "4 Ben ran to the cellar.\n5 Where is Ben? \tcellar\t4\n"
    first, second, other = babi.questions(babi.read_text(text + STORY, "stories"))
    assert first.facts == other.facts == ("Ada ran to the attic.", "Ben ran to the studio.")
    assert second.facts == (*first.facts, "Ben ran to the cellar.")
    assert (second.text, second.answer) == ("Where is Ben?", "cellar")


def test_documented_examples_hold():
    assert doctest.testmod(babi) == (0, 2)
