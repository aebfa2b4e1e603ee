"""The example of the README: its reading, its learning, its saving and resuming."""

import re

import answer_stories
import numpy as np
import pytest
from common import babi
from depth import THOROUGH
from scripts import run, write_file

PROGRESS = re.compile(
    r"^step +(\d+)  loss (\d\.\d{4})  accuracy ([01]\.\d{3})  rate (0\.\d{5})  \d+ s left$", re.M
)
LAST = re.compile(r"^held out: accuracy ([01]\.\d{3})  \((\d+) questions\)$")


@pytest.fixture
def command(capsys):
    """Run the command in this process; return its exit status, output and error lines."""
    return lambda *arguments: run(answer_stories.main, capsys, *arguments)


def questions(stories, seed, facts=1):
    return tuple(babi.questions(babi.read_text(babi.make_stories(stories, seed, facts), "stories")))


# --- the model --------------------------------------------------------------------------------


@pytest.mark.parametrize("hops", [1, 3])
def test_model_computes_the_formulas_of_the_paper(hops):
    asked = questions(3, 0, 2)
    vocabulary = answer_stories.Vocabulary.of(asked)
    sizes = len(vocabulary.words) + 1, vocabulary.sentences, len(vocabulary.answers)
    model, batch = answer_stories.MemoryNetwork(*sizes, 5, hops), vocabulary.encode(asked)
    params = model.init(0)
    words, ages = params.words, params.ages
    logits, attention = model(params, batch.story, batch.question)
    for i, question in enumerate(batch.question):
        sentences = [row for row in batch.story[i] if row.any()]
        u = sum(words[0][w] for w in question if w)
        for k in range(model.hops):
            m, c = (
                np.array(
                    [
                        sum(words[j][w] for w in s if w) + ages[j][age]
                        for age, s in enumerate(sentences)
                    ]
                )
                for j in (k, k + 1)
            )
            p = np.exp(m @ u) / np.sum(np.exp(m @ u))
            np.testing.assert_allclose(attention[i, k, : len(p)], p, rtol=1e-4)
            u = u + p @ c
        expected = u @ params.answer.weight + params.answer.bias
        np.testing.assert_allclose(logits[i], expected, rtol=1e-4, atol=1e-5)


# --- the command ------------------------------------------------------------------------------


# reasoning over two facts takes longer to learn
@pytest.mark.parametrize(("facts", "steps"), [(1, 250), (2, 600)][: 2 if THOROUGH else 1])
def test_model_learns_to_answer(command, facts, steps):
    arguments = ("--facts", facts, "--stories", 500, "--steps", steps, "--every", 150)
    status, output, errors = command(*arguments)
    assert (status, errors) == (0, [])
    assert [int(m[0]) for m in PROGRESS.findall(output)] == [*range(150, steps, 150), steps]
    accuracy, count = LAST.search(output.splitlines()[-1]).groups()
    assert count == "1000"
    assert float(accuracy) > 0.93
    # the fact that implies the answer has most of the last hop's attention
    stories = output.split("\n\n")[1:-1]
    assert len(stories) == 3
    for story in stories:
        *facts_of_story, question = story.splitlines()
        shares = [float(line.split()[2 * facts - 2]) for line in facts_of_story]
        assert sum(shares) == pytest.approx(1, abs=0.06)
        place = re.search(r"\? (\w+) \(", question)[1]
        assert f" {place}." in facts_of_story[int(np.argmax(shares))]


def test_last_stories_of_a_file_are_held_out(command, tmp_path):
    path = write_file(tmp_path, babi.make_stories(20, 0))
    status, output, _ = command("--data", path, "--steps", 2)
    assert status == 0
    assert output.startswith("training on 90 questions")
    assert LAST.search(output.splitlines()[-1])[2] == "10"


# --- saving and resuming ----------------------------------------------------------------------


SMALL = ("--stories", 10, "--steps", 12, "--batch", 20, "--every", 3)


@pytest.mark.thorough
@pytest.mark.parametrize("saves", [1, 2])
def test_resumed_training_ends_as_uninterrupted_training(command, tmp_path, monkeypatch, saves):
    whole, parts = tmp_path / "whole.npz", tmp_path / "parts.npz"
    status, expected, _ = command(*SMALL, "--save", whole)
    assert status == 0

    save, calls = answer_stories.save, []

    def save_then_stop(task, training):
        save(task, training)
        calls.append(training.step)
        if len(calls) == saves:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(answer_stories, "save", save_then_stop)
        assert command(*SMALL, "--save", parts)[0] == 130
    status, output, _ = command(*SMALL, "--resume", parts, "--save", parts)
    assert status == 0
    # with 2.5 batches an epoch, training resumes within an epoch
    assert [int(m[0]) for m in PROGRESS.findall(output)] == [3, 6, 9, 12][saves:]
    assert parts.read_bytes() == whole.read_bytes()
    assert output.split("\n\n")[1:] == expected.split("\n\n")[1:]


@pytest.mark.thorough
def test_resuming_with_other_options_raises_one_error_that_names_them(command, tmp_path):
    path = tmp_path / "model.npz"
    assert command(*SMALL, "--save", path)[0] == 0
    for other, named in (
        (("--seed", 1), "--seed 0, not 1"),
        (("--facts", 2), "--hops 1, not 3"),
        (("--learning-rate", 0.5), "--learning-rate 0.01, not 0.5"),
        (("--stories", 11), "other stories"),
    ):
        status, _, (error,) = command(*SMALL, *other, "--resume", path)
        assert status == 2
        assert str(path) in error
        assert named in error
