"""Programs run in a process of their own, and commands of the example scripts in this one."""

import os
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]

STORY = "1 Ada ran to the attic.\n2 Ben ran to the studio.\n3 Where is Ada? \tattic\t1\n"


def run(main, capsys, *arguments):
    """The exit status, the output and the error lines of a command."""
    try:
        status = main([str(a) for a in arguments])
    except SystemExit as leave:
        status = leave.code
    output, errors = capsys.readouterr()
    return status, output, errors.splitlines()


def write_file(folder, text, name="story.txt"):
    """A file with a text."""
    path = folder / name
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def print_of_script(code: str, *arguments: Any, **environment: str) -> str:
    """The text that a program prints, run from the project's folder."""
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code), *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=300,
        cwd=ROOT,
        env=os.environ | environment,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout
