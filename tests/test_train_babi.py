"""The training example: its stories, its reader, its figures and its errors."""

import contextlib
import doctest
import importlib.util
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import tapegrad as tg

SCRIPT = Path(__file__).parents[1] / "examples" / "train_babi.py"


def _load():
    spec = importlib.util.spec_from_file_location("train_babi", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


babi = _load()

FIGURES = re.compile(
    r"^(training|held out): loss (\S+)  accuracy (\S+)  \((\d+) lines(.*)\)$", re.M
)
PROGRESS = re.compile(r"^step +(\d+)  loss (\S+)  accuracy (\S+)  (\d+) steps/s$", re.M)
STORY = "1 Ada ran to the attic.\n2 Ben ran to the studio.\n3 Where is Ada? \tattic\t1\n"
words = st.text(st.characters(codec="utf-8", exclude_categories=["Z", "C"]), min_size=1)


@pytest.fixture
def command(capsys):
    """Run the command in this process: its exit status, output and error lines."""

    def run(*arguments):
        try:
            status = babi.main([str(a) for a in arguments])
        except SystemExit as leave:
            status = leave.code
        output, errors = capsys.readouterr()
        return status, output, errors.splitlines()

    return run


@pytest.fixture
def story(tmp_path):
    """Write a text to a file."""

    def write(text, name="story.txt"):
        path = tmp_path / name
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return path

    return write


def figures(output):
    """Loss, accuracy and number of lines by name."""
    return {m[0]: (float(m[1]), float(m[2]), int(m[3])) for m in FIGURES.findall(output)}


# --- stories ----------------------------------------------------------------------------


@given(st.integers(0, 2**32), st.integers(1, 4))
def test_the_same_seed_makes_the_same_stories(seed, count):
    assert babi.make_stories(count, seed) == babi.make_stories(count, seed)


def test_another_seed_makes_other_stories():
    assert babi.make_stories(2, 0) != babi.make_stories(2, 1)


@given(st.integers(0, 2**32))
def test_made_up_stories_are_read_as_they_are_written(seed):
    lines = babi.read_text(babi.make_stories(2, seed), "stories")
    assert [line.number for line in lines] == [*range(1, 16), *range(1, 16)]
    assert all(("where" in line.words) == (line.number % 3 == 0) for line in lines)
    assert all(3 < len(line.words) <= babi.LENGTH for line in lines)


@given(st.integers(0, 2**32))
def test_answers_follow_from_the_last_fact_about_a_person(seed):
    lines = babi.read_text(babi.make_stories(1, seed), "story")
    for question in lines[2::3]:
        _, _, person, answer = question.words
        _, place, number = answer.split("\t")
        about = [
            line
            for line in lines[: question.number]
            if line.words[0] == person.rstrip("?") and line is not question
        ]
        assert about[-1].number == int(number)
        assert about[-1].words[-1] == place + "."


# --- reading ----------------------------------------------------------------------------


def test_documented_examples_hold():
    assert doctest.testmod(babi) == (0, 1)


@given(st.lists(st.lists(words, min_size=1, max_size=9), min_size=1, max_size=9))
def test_lines_of_any_words_survive_encoding(sentences):
    text = "".join(f"{i} {' '.join(s)}\n" for i, s in enumerate(sentences, start=1))
    lines = babi.read_text(text, "text")
    assert [line.words for line in lines] == [tuple(" ".join(s).lower().split()) for s in sentences]
    vocabulary = babi.Vocabulary.of(lines)
    tokens = vocabulary.encode(lines)
    assert tokens.shape == (len(lines), babi.LENGTH)
    for line, row in zip(lines, tokens, strict=True):
        read = line.words[-babi.LENGTH :]
        filled = [babi.PADDING] * (babi.LENGTH - len(read)) + list(read)
        assert [vocabulary.words[i] for i in row] == filled


def test_an_answer_and_its_number_are_one_word():
    vocabulary = babi.Vocabulary.of(babi.read_text(STORY, "story"))
    assert vocabulary.words[0] == babi.PADDING
    assert "\tattic\t1" in vocabulary.words


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
def test_line_ends_and_blanks_do_not_matter(story, text):
    assert babi.read_file(story(text)) == babi.read_text(STORY, "story")


def test_stories_are_held_out_whole():
    lines = babi.read_text(babi.make_stories(20, 0), "stories")
    training, held_out = babi.cut(lines, None)
    assert training + held_out == lines
    assert len(held_out) == 2 * 15
    assert held_out[0].number == 1


def test_a_short_text_is_trained_on_whole():
    lines = babi.read_text(STORY, "story")
    assert babi.cut(lines, None) == (lines, ())


# --- the step -----------------------------------------------------------------------------


@pytest.fixture
def small():
    lines = babi.read_text(babi.make_stories(2, 0), "stories")
    vocabulary = babi.Vocabulary.of(lines)
    model = babi.make_model(vocabulary, babi.Settings(embedding=3, hidden=4))
    optimizer = tg.optim.SGD(0.5, 0.9)
    params = model.init(0)
    step = babi.make_step(model, optimizer)
    return model, step, params, optimizer.init(params), vocabulary.encode(lines)


def test_a_step_changes_nothing_and_repeats_itself(small):
    _, step, params, state, tokens = small
    before = [p.copy() for p in tg.tree.leaves(params)]
    first, second = step(params, state, tokens), step(params, state, tokens)
    for a, b in zip(before, tg.tree.leaves(params), strict=True):
        np.testing.assert_array_equal(a, b)
    for a, b in zip(tg.tree.leaves(first), tg.tree.leaves(second), strict=True):
        np.testing.assert_array_equal(a, b)


def test_a_step_reads_no_value_of_what_it_records(small):
    _, step, params, state, tokens = small
    recorded, tape = tg.record(step)(params, state, tokens)
    assert len(tape) > 0
    for a, b in zip(
        tg.tree.leaves(recorded), tg.tree.leaves(step(params, state, tokens)), strict=True
    ):
        # the count of steps is a whole number, which is no parameter of the recording
        np.testing.assert_allclose(a.value if isinstance(a, tg.Tensor) else a, b, rtol=1e-12)


def test_a_step_reports_the_loss_of_the_parameters_it_was_given(small):
    model, step, params, state, tokens = small
    loss, logits, _, _ = step(params, state, tokens)
    mean, accuracy = babi.evaluate(model, params, tokens)
    np.testing.assert_allclose(float(loss), mean, rtol=1e-12)
    assert babi.count_right(logits, tokens[:, -1]) / len(tokens) == accuracy


def test_a_figure_does_not_depend_on_how_lines_are_parted(small):
    model, _, params, _, tokens = small
    many = np.concatenate([tokens] * 40)  # more than are evaluated at a time
    np.testing.assert_allclose(
        babi.evaluate(model, params, many), babi.evaluate(model, params, tokens), rtol=1e-12
    )


def test_an_unknown_word_is_never_predicted():
    logits = np.array([[1.0, 0.0], [0.0, 1.0]])
    assert babi.count_right(logits, np.array([0, 1])) == 1


@given(st.integers(1, 12), st.integers(0, 99))
def test_batches_read_each_line_at_most_once_in_a_round(size, seed):
    tokens = np.arange(12)[:, None]
    feed = babi.batches(tokens, size, seed)
    read = [int(i) for _ in range(12 // size) for i in next(feed)[:, 0]]
    assert len(read) == len(set(read)) == 12 // size * size


# --- the command ----------------------------------------------------------------------------


def test_a_run_prints_progress_a_sample_and_held_out_figures(command):
    status, output, errors = command("--stories", 20, "--steps", 150, "--every", 60)
    assert (status, errors) == (0, [])
    assert [int(m[0]) for m in PROGRESS.findall(output)] == [60, 120, 150]
    assert re.search(r"^Context: .*\nTrue: \S+\nPred: \S+$", output, re.M)
    found = figures(output)
    assert found["training"][2] == found["held out"][2] == 20 * 15
    assert 0 < found["held out"][0] < np.log(80)
    assert 0 <= found["held out"][1] <= 1


def test_the_loss_falls_and_the_same_command_trains_the_same(command):
    arguments = ("--stories", 20, "--steps", 200, "--every", 1, "--seed", 3)
    first, second = command(*arguments)[1], command(*arguments)[1]
    losses = [float(m[1]) for m in PROGRESS.findall(first)]
    assert np.mean(losses[-20:]) < np.mean(losses[:20]) - 0.5
    assert losses == [float(m[1]) for m in PROGRESS.findall(second)]
    assert figures(first) == figures(second)


def test_the_notebook_preset_learns_its_batch_by_heart(command):
    status, output, _ = command("--preset", "notebook", "--steps", 400)
    assert status == 0
    found = figures(output)
    assert found["training"][2] == 100
    assert found["training"][0] < 2
    assert found["training"][1] > 0.25
    assert found["held out"][2] == 3000


def test_options_override_the_preset(command):
    _, output, _ = command(
        "--preset", "notebook", "--batch", 30, "--steps", 3, "--lines", 60, "--no-fixed-batch"
    )
    assert output.startswith("training on 60 lines")
    assert "30 lines a step" in output
    assert PROGRESS.findall(output)[-1][0] == "3"


def test_a_file_is_trained_on_and_its_last_stories_held_out(command, story):
    path = story(babi.make_stories(20, 0))
    status, output, _ = command("--data", path, "--steps", 2)
    assert status == 0
    assert figures(output)["training"][2] == 18 * 15
    assert figures(output)["held out"][2] == 2 * 15


def test_a_second_file_is_evaluated_with_its_unknown_words(command, story):
    data = story(babi.make_stories(10, 0))
    test = story(STORY.replace("studio", "moon"), "test.txt")
    status, output, _ = command("--data", data, "--test", test, "--steps", 2)
    assert status == 0
    assert figures(output)["training"][2] == 150
    assert figures(output)["held out"][2] == 3
    assert "3 lines, 1 unknown word)" in output


def test_help_names_every_option(command):
    status, output, _ = command("--help")
    assert status == 0
    for option in ("data", "test", "preset", "steps", "batch", "learning-rate", "momentum"):
        assert f"--{option} " in output
    for option in ("hidden", "embedding", "seed", "plot", "lines", "stories", "every"):
        assert f"--{option} " in output


# --- errors ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("Ada ran to the attic.\n", 1),
        (STORY + "Ada ran to the attic.\n", 4),
        (STORY + "4\n", 4),
        (STORY + "4 \n", 4),
        (STORY + "9" * 5000 + " Ada ran to the attic.\n", 4),
        ("\n" + STORY + "4 Where is Ada? \tattic\n", 5),
        (STORY + "4 Where is Ada? \tattic\there\n", 4),
        (STORY.encode() + b"4 \xff\xfe\n", 4),
    ],
    ids=["first", "last", "bare", "blank", "huge number", "one tab", "no number", "binary"],
)
@pytest.mark.parametrize("option", ["--data", "--test"])
def test_a_malformed_line_is_one_error_that_names_it(command, story, text, line, option):
    path = story(text)
    status, _, errors = command(option, path)
    assert status == 2
    assert len(errors) == 1
    assert f"{path}, line {line}: " in errors[0]


@pytest.mark.parametrize("option", ["--data", "--test"])
@pytest.mark.parametrize("text", ["", "\n \n"], ids=["empty", "blank"])
def test_an_empty_file_is_one_error(command, story, text, option):
    path = story(text)
    assert command(option, path) == (
        2,
        "",
        [f"train_babi.py: error: {path}: the file has no lines"],
    )


@pytest.mark.parametrize("option", ["--data", "--test"])
def test_a_missing_file_and_a_directory_are_one_error_each(command, tmp_path, option):
    for path in (tmp_path / "nowhere.txt", tmp_path):
        status, _, errors = command(option, path)
        assert status == 2
        assert len(errors) == 1
        assert str(path) in errors[0]


@pytest.mark.parametrize(
    "arguments",
    [
        ("--steps", "0"),
        ("--steps", "-3"),
        ("--steps", "many"),
        ("--batch", "0"),
        ("--hidden", "0"),
        ("--embedding", "-1"),
        ("--embedding", "99999999999999999999"),
        ("--hidden", "1000000001"),
        ("--steps", "99999999999999999999"),
        ("--steps", "9" * 5000),
        ("--plot", ""),
        ("--data", ""),
        ("--test", ""),
        ("--every", "0"),
        ("--lines", "0"),
        ("--seed", "-1"),
        ("--learning-rate", "0"),
        ("--learning-rate", "nan"),
        ("--learning-rate", "inf"),
        ("--momentum", "1"),
        ("--momentum", "-0.1"),
        ("--preset", "unheard-of"),
        ("--no-such-option",),
    ],
    ids=lambda arguments: " ".join(arguments)[:30],
)
def test_a_bad_option_is_one_error_that_names_it(command, arguments):
    status, _, errors = command(*arguments)
    assert status == 2
    assert len(errors) == 1
    assert arguments[0] in errors[0]


def test_more_lines_than_there_are_is_one_error(command, story):
    path = story(STORY)
    for arguments in (("--batch", 4), ("--lines", 4)):
        status, _, errors = command("--data", path, *arguments)
        assert status == 2
        assert len(errors) == 1
        assert arguments[0] in errors[0]
        assert "3" in errors[0]


def test_a_batch_not_asked_for_is_no_larger_than_the_text(command, story):
    status, output, _ = command("--data", story(STORY), "--steps", 2)
    assert status == 0
    assert "3 lines a step" in output
    assert "held out: no lines" in output


def test_a_loss_that_is_not_finite_ends_the_training(command):
    status, _, errors = command("--learning-rate", "1e308", "--steps", 50)
    assert status == 1
    assert len(errors) == 1
    assert "--learning-rate" in errors[0]


def test_a_plot_that_cannot_be_written_is_found_out_before_training(command, tmp_path):
    for path in (tmp_path, tmp_path / "nowhere" / "loss.png", tmp_path / ("n" * 500)):
        status, output, errors = command("--plot", path)
        assert (status, output) == (2, "")
        assert len(errors) == 1
        assert str(path) in errors[0]


def test_a_plot_without_matplotlib_says_how_to_install_it(command, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    status, output, errors = command("--stories", 7, "--steps", 2, "--plot", tmp_path / "loss.png")
    assert status == 0
    assert len(errors) == 1
    assert "pip install 'tapegrad[plot]'" in errors[0]
    assert "held out" in figures(output)
    assert not (tmp_path / "loss.png").exists()


class _Figure:
    """What the example asks of matplotlib, which tests must do without."""

    def __init__(self):
        self.canvas = self
        self.drawn = None

    def get_supported_filetypes(self):
        return {"png": "an image"}

    def add_subplot(self, **labels):
        return self

    def plot(self, x, y, **style):
        self.drawn = list(zip(x, y, strict=True))

    def savefig(self, path, format):
        Path(path).write_text(f"{format} of {len(self.drawn)} losses")


@pytest.fixture
def plotting(monkeypatch):
    module = type(sys)("matplotlib.figure")
    module.Figure = _Figure
    monkeypatch.setitem(sys.modules, "matplotlib", type(sys)("matplotlib"))
    monkeypatch.setitem(sys.modules, "matplotlib.figure", module)


@pytest.mark.parametrize("name", ["loss.png", "loss"])
def test_a_plot_shows_the_loss_of_every_step(command, tmp_path, plotting, name):
    path = tmp_path / name
    status, output, errors = command("--stories", 7, "--steps", 5, "--plot", path)
    assert (status, errors) == (0, [])
    assert path.read_text() == "png of 5 losses"
    assert output.endswith(f"loss curve: {path}\n")


def test_an_unknown_plot_format_is_one_error(command, tmp_path, plotting):
    status, output, errors = command("--plot", tmp_path / "loss.doc")
    assert (status, output) == (2, "")
    assert len(errors) == 1
    assert "png" in errors[0]


# --- as a process ---------------------------------------------------------------------------


# What a process is asked to do comes to an end by itself, and it is killed when its test ends:
# none is waited for longer than it runs, and none outlives a test that fails.


@contextlib.contextmanager
def _start(*arguments, path=(), stdout=subprocess.PIPE, **environment):
    """The script in a process of its own."""
    paths = os.pathsep.join(map(str, (*path, SCRIPT.parents[1])))
    with subprocess.Popen(
        [sys.executable, str(SCRIPT), *arguments],
        stdout=stdout,
        stderr=subprocess.PIPE,
        encoding="utf-8",
        errors="backslashreplace",
        env={**os.environ, "PYTHONPATH": paths, **environment},
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def _ended(*arguments, **settings):
    """Its exit status, output and error lines."""
    with _start(*arguments, **settings) as process:
        output, errors = process.communicate()
    return process.returncode, output, errors.splitlines()


posix = pytest.mark.skipif(os.name == "nt", reason="signals and pipes are others there")


def test_the_script_runs_as_a_process():
    status, output, errors = _ended("--steps", "20", "--stories", "10")
    assert (status, errors) == (0, [])
    assert "held out" in figures(output)


def test_a_bad_file_ends_the_process_with_status_2(tmp_path):
    status, _, errors = _ended("--data", str(tmp_path / "nowhere.txt"))
    assert status == 2
    assert len(errors) == 1


# children ignore it too where these tests are started in the background
interruptible = pytest.mark.skipif(
    os.name == "nt" or signal.getsignal(signal.SIGINT) is signal.SIG_IGN,
    reason="Ctrl-C does not come here",
)
INTERRUPTED = ["train_babi.py: interrupted"]


@interruptible
def test_ctrl_c_is_one_line_and_status_130():
    with _start("--steps", "100000", "--every", "10") as process:
        assert any(line.startswith("step") for line in process.stdout)
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate()
    assert process.returncode == 130
    assert errors.splitlines() == INTERRUPTED


@interruptible
@pytest.mark.parametrize("name", ["argparse", "attrs", "numpy", "tapegrad"])
def test_ctrl_c_during_the_imports_is_one_line_and_status_130(tmp_path, name):
    # a module of that name that presses it, and then would run for ever but for an end
    (tmp_path / f"{name}.py").write_text(
        "import os, signal\n"
        "os.kill(os.getpid(), signal.SIGINT)\n"
        "for _ in range(1000):\n    pass\n"
        "raise ImportError('it went on')\n"
    )
    status, output, errors = _ended(path=[tmp_path])
    assert (status, output, errors) == (130, "", INTERRUPTED)


@posix
def test_output_that_nobody_reads_is_no_traceback():
    with _start("--steps", "1000", "--every", "1") as process:
        process.stdout.readline()
        process.stdout.close()
        errors = process.stderr.read()
        process.wait()
    assert (process.returncode, errors) == (1, "")


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="no device that is full")
@pytest.mark.parametrize("arguments", [(), ("--help",)], ids=["run", "help"])
@pytest.mark.parametrize("unbuffered", ["", "1"], ids=["buffered", "unbuffered"])
def test_output_that_cannot_be_written_is_one_line_and_status_1(arguments, unbuffered):
    with open("/dev/full", "w") as full:
        status, _, errors = _ended(
            "--steps", "2", "--stories", "7", *arguments, stdout=full, PYTHONUNBUFFERED=unbuffered
        )
    assert status == 1
    assert len(errors) == 1
    assert "standard output" in errors[0]


@posix
@pytest.mark.parametrize("arguments", ["--steps 2 --stories 7", "--help"])
def test_a_closed_output_is_one_line_and_status_1(arguments):
    command = f'"{sys.executable}" "{SCRIPT}" {arguments} >&-'
    ended = subprocess.run(
        ["/bin/sh", "-c", command],
        stderr=subprocess.PIPE,
        encoding="utf-8",
        env={**os.environ, "PYTHONPATH": str(SCRIPT.parents[1])},
        check=False,
    )
    assert ended.returncode == 1
    assert len(ended.stderr.splitlines()) == 1
    assert "standard output" in ended.stderr


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "utf-8"])
def test_words_that_the_output_cannot_encode_are_escaped(story, encoding):
    path = story("1 Ada ran to the \u6771.\n2 Ben ran to the caf\xe9.\n")
    status, output, errors = _ended(
        *("--data", str(path), "--steps", "2"), PYTHONIOENCODING=f"{encoding}:strict"
    )
    assert (status, errors) == (0, [])
    assert ("True: \u6771." if encoding == "utf-8" else "True: \\u6771.") in output
