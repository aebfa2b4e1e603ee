"""Picklable objects reach other processes by pickle, multiprocessing and joblib."""

import pickle
import subprocess
import sys
from importlib import import_module
from pathlib import Path
from typing import Any

import attrs
import pickled
import pytest

import tapegrad as tg

TESTS = Path(__file__).parent
ROOT = TESTS.parent


def run_script(folder: Path, *command: object) -> str:
    """Run a script in a subprocess, where a warning is an error; return its output."""
    env = {"PYTHONPATH": str(ROOT), "PYTHONWARNINGS": "error", "PATH": ""}
    words = [sys.executable, *map(str, command)]
    done = subprocess.run(words, cwd=folder, env=env, capture_output=True, text=True, timeout=300)
    assert done.stderr == ""
    return done.stdout


@pytest.mark.thorough
def test_another_process_unpickles_everything(tmp_path: Path) -> None:
    (tmp_path / "things").write_bytes(pickled.write())
    text = run_script(tmp_path, TESTS / "support" / "pickled.py", "read", "things")
    assert f" read {len(pickled.things())} things of " in text


def test_check_of_pickles_finds_a_changed_object() -> None:
    objects = pickle.loads(pickled.write())
    assert pickled.read(pickle.dumps(objects)) == len(objects)
    objects["key"] = tg.random.key(8)
    with pytest.raises(AssertionError, match=r"^key: "):
        pickled.read(pickle.dumps(objects))


NAMED = [pickled.step, pickled.gradient, pickled.cube, pickled.steep, pickled.hidden]
NAMED += [tg.add, tg.sum, tg.matmul, tg.getitem, tg.softmax]


@pytest.mark.parametrize("function", NAMED)
def test_op_and_decorated_function_pickle_by_name(function: Any) -> None:
    for protocol in range(2, pickle.HIGHEST_PROTOCOL + 1):
        text = pickle.dumps(function, protocol)
        assert pickle.loads(text) is function
        assert len(text) < 100


def test_function_not_found_by_name_pickles_its_parts() -> None:
    other = tg.compile(pickled.loss)
    assert pickle.loads(pickle.dumps(other)).fn is pickled.loss
    local = tg.compile(lambda x: x)
    with pytest.raises((AttributeError, pickle.PicklingError), match="lambda"):
        pickle.dumps(local)


SCRIPT = """
import multiprocessing
import sys
import numpy as np
import tapegrad as tg

@tg.custom_op(vjps=(lambda g, y, x: g * 3 * x**2,))
def cube(x):
    return x**3

@tg.checkpoint
def twice(x):
    return cube(x) * 2

@tg.compile
def step(x):
    return tg.grad(lambda x: np.sum(twice(x)))(x)

@tg.value_and_grad
def both(x):
    return np.sum(step(x))

# large ones reach joblib's workers as files that are mapped into memory
INPUTS = [np.full(300_000, float(i)) for i in range(2)]

if __name__ == "__main__":
    if sys.argv[1] == "spawn":
        with multiprocessing.get_context("spawn").Pool(1) as pool:
            steps, values = pool.map(step, INPUTS), pool.map(both, INPUTS)
    else:
        from joblib import Parallel, delayed
        with Parallel(2) as parallel:
            steps = parallel(delayed(step)(x) for x in INPUTS)
            values = parallel(delayed(both)(x) for x in INPUTS)
    for x, got, (value, gradient) in zip(INPUTS, steps, values):
        assert (got == step(x)).all()
        assert value == both(x)[0] and (gradient == both(x)[1]).all()
    print("the same")
"""


@pytest.mark.thorough
@pytest.mark.parametrize("how", ["spawn", "joblib"])
def test_workers_receive_functions_compiled_in_a_script(how: str, tmp_path: Path) -> None:
    if how == "joblib":
        pytest.importorskip("joblib")
    script = tmp_path / "script.py"
    script.write_text(SCRIPT)
    assert run_script(tmp_path, script, how) == "the same\n"


@pytest.mark.parametrize(
    ("module", "name", "fields"),
    [
        ("tapegrad.arraylike.pickling", "_restored", None),
        ("tapegrad.transforms.implicit", "_Rule", ("f", "linear_solve", "judge")),
        (
            "tapegrad.transforms.products",
            "Pushforward",
            ("tape", "output", "marked", "checking"),
        ),
    ],
)
def test_names_in_older_pickles_are_found(
    module: str, name: str, fields: tuple[str, ...] | None
) -> None:
    cls = getattr(import_module(module), name)
    assert fields is None or tuple(x.name for x in attrs.fields(cls)) == fields
