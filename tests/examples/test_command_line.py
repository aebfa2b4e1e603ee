"""The command lines of the example scripts: bad files, plots, Ctrl-C and closed output."""

import contextlib
import os
import signal
import subprocess
import sys
from pathlib import Path

import answer_stories
import pytest
import train_babi
from scripts import STORY, run, write_file

ROOT = str(Path(__file__).parents[2])


@pytest.fixture(params=[train_babi, answer_stories], ids=lambda module: module.__name__)
def script(request):
    return request.param


@pytest.fixture
def command(script, capsys):
    """Run a command in this process; return its exit status, output and error lines."""
    return lambda *arguments: run(script.main, capsys, *arguments)


# few stories, which are generated quickly
FEW = ("--stories", "7")


# --- files --------------------------------------------------------------------------------


def options_to_read(option):
    """Return the options to read a file; with --test, training stories are generated."""
    return (option,) if option == "--data" else (*FEW, option)


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
def test_malformed_line_is_named_by_one_error(command, tmp_path, text, line, option):
    path = write_file(tmp_path, text)
    status, _, errors = command(*options_to_read(option), path)
    assert status == 2
    assert len(errors) == 1
    assert f"{path}, line {line}: " in errors[0]


@pytest.mark.parametrize("option", ["--data", "--test"])
def test_missing_or_empty_file_is_one_error(command, script, tmp_path, option):
    empty, blank = write_file(tmp_path, "", "empty.txt"), write_file(tmp_path, "\n \n", "blank.txt")
    for path in (empty, blank, tmp_path / "nowhere.txt", tmp_path):
        status, _, errors = command(*options_to_read(option), path)
        assert status == 2
        assert len(errors) == 1
        assert errors[0].startswith(f"{script.NAME}: error: ")
        assert str(path) in errors[0]
        assert errors[0].endswith("the file has no lines") == (path in (empty, blank))


@pytest.mark.parametrize("option", ["--plot", "--save"])
def test_unwritable_path_is_an_error_before_training(capsys, tmp_path, option):
    script = answer_stories if option == "--save" else train_babi
    for path in (tmp_path, tmp_path / "nowhere" / "file.png", tmp_path / ("n" * 500)):
        status, output, errors = run(script.main, capsys, *FEW, option, path)
        assert (status, output) == (2, "")
        assert len(errors) == 1
        assert str(path) in errors[0]


# --- options --------------------------------------------------------------------------------


BAD_TRAIN_BABI_OPTIONS = [
    ("--steps", "0"),
    ("--steps", "9" * 5000),
    ("--embedding", "99999999999999999999"),
    ("--data", ""),
    ("--learning-rate", "nan"),
    ("--preset", "unheard-of"),
]
BAD_ANSWER_STORIES_OPTIONS = [
    ("--facts", "3"),
    ("--width", "-1"),
    ("--batch", "200", "--stories", "3"),
    ("--stories", "3", "--data", __file__),
]


@pytest.mark.parametrize(
    ("script", "options"),
    [(train_babi, options) for options in BAD_TRAIN_BABI_OPTIONS]
    + [(answer_stories, options) for options in BAD_ANSWER_STORIES_OPTIONS],
    ids=lambda x: " ".join(x)[:30] if isinstance(x, tuple) else x.NAME,
)
def test_bad_option_is_named_by_one_error(capsys, script, options):
    status, _, errors = run(script.main, capsys, *options)
    assert status == 2
    assert len(errors) == 1
    assert options[0] in errors[0]


def test_non_finite_loss_ends_training(command, script):
    rate = "1e308" if script is train_babi else "1e38"
    status, _, errors = command("--learning-rate", rate, "--steps", 50, "--stories", 20)
    assert status == 1
    assert len(errors) == 1
    assert "--learning-rate" in errors[0]


# --- as a process ---------------------------------------------------------------------------


@contextlib.contextmanager
def start_script(*arguments):
    """Start one of the scripts as a subprocess; all scripts end alike."""
    with subprocess.Popen(
        [sys.executable, train_babi.__file__, *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        encoding="utf-8",
        errors="backslashreplace",
        env={**os.environ, "PYTHONPATH": ROOT},
    ) as process:
        try:
            yield process
        finally:
            process.kill()


posix = pytest.mark.skipif(os.name == "nt", reason="Windows has other signals and pipes")


def test_script_runs_as_a_process():
    with start_script("--steps", "20", "--stories", "10") as process:
        output, errors = process.communicate()
    assert (process.returncode, errors) == (0, "")
    assert "held out: " in output


# child processes ignore SIGINT too if these tests run in the background
interruptible = pytest.mark.skipif(
    os.name == "nt" or signal.getsignal(signal.SIGINT) is signal.SIG_IGN,
    reason="SIGINT is ignored",
)


@pytest.mark.thorough
@interruptible
def test_ctrl_c_prints_one_line_and_exits_with_130():
    with start_script(*FEW, "--steps", "100000", "--every", "10") as process:
        assert any(line.startswith("step") for line in process.stdout)
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate()
    assert process.returncode == 130
    assert errors.splitlines() == [f"{train_babi.NAME}: interrupted"]


@pytest.mark.thorough
@posix
def test_closed_output_prints_no_traceback():
    with start_script(*FEW, "--steps", "1000", "--every", "1") as process:
        process.stdout.readline()
        process.stdout.close()
        errors = process.stderr.read()
        process.wait()
    assert (process.returncode, errors) == (1, "")
