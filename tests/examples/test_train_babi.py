"""The training example: its model, its step, its figures and its errors."""

import re

import numpy as np
import pytest
import train_babi
from common import babi
from scripts import STORY, run, write_file

import tapegrad as tg

FIGURES = re.compile(
    r"^(training|held out): loss (\S+)  accuracy (\S+)  \((\d+) lines(.*)\)$", re.M
)
PROGRESS = re.compile(r"^step +(\d+)  loss (\S+)  accuracy (\S+)  (\d+) steps/s$", re.M)


@pytest.fixture
def command(capsys):
    """Run the command in this process; return its exit status, output and error lines."""
    return lambda *arguments: run(train_babi.main, capsys, *arguments)


def figures(output):
    """Return loss, accuracy and number of lines by name."""
    return {m[0]: (float(m[1]), float(m[2]), int(m[3])) for m in FIGURES.findall(output)}


# --- the step -----------------------------------------------------------------------------


def test_step_returns_the_loss_of_its_parameters():
    lines = babi.read_text(babi.make_stories(2, 0), "stories")
    vocabulary = train_babi.Vocabulary.of(lines)
    model = train_babi.make_model(vocabulary, train_babi.Settings(embedding=3, hidden=4))
    optimizer = tg.optim.SGD(0.5, 0.9)
    params, tokens = model.init(0), vocabulary.encode(lines)
    step = train_babi.make_step(model, optimizer)
    loss, logits, _, _ = step(params, optimizer.init(params), tokens)
    mean, accuracy = train_babi.evaluate(model, params, tokens)
    np.testing.assert_allclose(float(loss), mean, rtol=1e-12)
    assert train_babi.count_right(logits, tokens[:, -1]) / len(tokens) == accuracy


# --- the command ----------------------------------------------------------------------------


def test_run_prints_progress_sample_and_held_out_figures(command):
    status, output, errors = command("--stories", 20, "--steps", 150, "--every", 60)
    assert (status, errors) == (0, [])
    assert [int(m[0]) for m in PROGRESS.findall(output)] == [60, 120, 150]
    assert re.search(r"^Context: .*\nTrue: \S+\nPred: \S+$", output, re.M)
    found = figures(output)
    assert found["training"][2] == found["held out"][2] == 20 * 15
    assert 0 < found["held out"][0] < np.log(80)
    assert 0 <= found["held out"][1] <= 1


def test_loss_falls_and_training_is_reproducible(command):
    arguments = ("--stories", 20, "--steps", 200, "--every", 1, "--seed", 3)
    first, second = command(*arguments)[1], command(*arguments)[1]
    losses = [float(m[1]) for m in PROGRESS.findall(first)]
    assert np.mean(losses[-20:]) < np.mean(losses[:20]) - 0.5
    assert losses == [float(m[1]) for m in PROGRESS.findall(second)]
    assert figures(first) == figures(second)


@pytest.mark.thorough
def test_notebook_preset_overfits_its_batch(command):
    status, output, _ = command("--preset", "notebook", "--steps", 400)
    assert status == 0
    found = figures(output)
    assert found["training"][2] == 100
    assert found["training"][0] < 2
    assert found["training"][1] > 0.25
    assert found["held out"][2] == 3000


def test_second_file_is_evaluated_with_its_unknown_words(command, tmp_path):
    data = write_file(tmp_path, babi.make_stories(10, 0))
    test = write_file(tmp_path, STORY.replace("studio", "moon"), "test.txt")
    status, output, _ = command("--data", data, "--test", test, "--steps", 2)
    assert status == 0
    assert figures(output)["training"][2] == 150
    assert figures(output)["held out"][2] == 3
    assert "3 lines, 1 unknown word)" in output
