"""Programs in files, and files with something changed in them."""

import copy
import json
import re
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import tapegrad as tg
from tapegrad.types import Array, PyTree


def save_and_load(program: tg.Program, folder: Path, using: Any = ()) -> tg.Program:
    path = folder / "program.npz"
    program.save(path)
    return tg.load_program(path, using)


def assert_same(again: tg.Program, program: tg.Program) -> None:
    assert again == program
    # names and notes, which equality leaves out
    assert str(again) == re.sub(" *# gradient of: .*\n", "", str(program))  # the source stays here


def loop_with_branch(w: Array, xs: Array) -> tuple[PyTree, PyTree]:
    """A loop with a branch in it, and its gradient."""

    def loss(w: Array) -> Array:
        def step(carry: Array, x: Array) -> tuple[Array, Array]:
            carry = np.tanh(w @ carry + x)
            return carry, tg.cond(np.sum(carry) > 0, np.sin, lambda y: y * np.arange(2.0), carry)

        last, rows = tg.scan(step, np.zeros(2), xs, reverse=True)
        return np.sum(last) + np.sum(rows)

    slope = tg.grad(lambda x: np.sin(tg.fori_loop(0, 3, lambda i, y: y * x, 1.0)) * x)
    return tg.value_and_grad(loss)(w), slope(w[0, 1])


def loops_of_each_kind(w: Array, xs: Array) -> tuple[PyTree, PyTree, PyTree]:
    """Loops of each kind."""
    grown = tg.while_loop(lambda s: np.sum(s) < 50.0, lambda s: s * 1.5 + 1.0, w * w)
    return loop_with_branch(w, xs), grown, tg.fori_loop(0, 4, lambda i, s: s * w[0] + i, xs[0])


LOOPED = np.array([[0.5, -0.25], [0.75, 1.0]]), np.linspace(-1, 1, 6).reshape(3, 2)


def content(path: Path) -> dict[str, Any]:
    with zipfile.ZipFile(path) as archive:
        return json.loads(archive.read("program.json"))


def write_changed_copy(path: Path, new: Path, text: str, drop: str = "") -> Path:
    """A copy of a file with another text."""
    with zipfile.ZipFile(path) as old, zipfile.ZipFile(new, "w") as archive:
        for name in old.namelist():
            if name not in ("program.json", drop):
                archive.writestr(name, old.read(name))
        archive.writestr("program.json", text)
    return new


def assert_load_fails(path: Path, match: str | None = None) -> None:
    with pytest.raises(tg.FileError, match=match) as error:
        tg.load_program(path)
    assert str(path) in str(error.value)


def replace_at(x: Any, path: tuple[Any, ...], change: Callable[[Any], Any]) -> Any:
    if not path:
        return change(x)
    new = copy.copy(x)
    new[path[0]] = replace_at(x[path[0]], path[1:], change)
    return new
