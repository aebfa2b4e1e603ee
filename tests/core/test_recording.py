"""No gradient is cut off in silence, and a recording leaves nothing behind, however it ends."""

import asyncio
import sys
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from types import FrameType
from typing import Any

import numpy as np
import pytest
from depth import THOROUGH
from hypothesis import given
from mappings import FLOATS
from tapes import check_tape, nothing_is_being_recorded
from trees import Params

import tapegrad as tg
from tapegrad.core.writing import CURRENT
from tapegrad.errors import TapeError
from tapegrad.types import Array

# --- parameters -----------------------------------------------------------------------


def test_every_floating_leaf_is_a_parameter():
    def fn(p, x, n, *, scale, text):
        assert (n, text) == (3, "t")
        assert np.shares_memory(p["counts"], counts)
        assert not p["counts"].flags.writeable
        return tg.sum(p["layer"].weight * x) + p["list"][0] * scale

    counts = np.array([1, 2])
    p = {"layer": Params(np.ones(2), None), "list": [2.0, True], "counts": counts}
    output, tape = tg.record(fn)(p, np.float32(3), 3, scale=5.0, text="t")
    check_tape(tape)
    assert output is tape.last
    assert output.value == 16.0
    names = [q.name for q in tape.parameters]
    assert names == ["p.layer.weight", "p.list.0", "x", "scale"]
    assert tape.parameters[2].dtype == np.float32
    gradients = tg.reverse_sweep(tape, output)
    assert [np.sum(gradients[q]) for q in tape.parameters] == [6.0, 5.0, 2.0, 2.0]


@given(FLOATS, FLOATS)
def test_tape_written_by_hand_equals_recorded_tape(a, b):
    output, recorded = tg.record(lambda a, b: tg.sin(a * b) + b)(np.array(a), np.array(b))
    tape, x = tg.Tape().parameter(np.array(a), name="a")
    tape, y = tape.parameter(np.array(b), name="b")
    tape, z = tape.write(tg.multiply, x, y)
    tape, z = tape.write(tg.sin, z)
    tape, z = tape.write(tg.add, z, y)
    assert str(tape) == str(recorded)
    written = tg.reverse_sweep(tape, z)
    wanted = tg.reverse_sweep(recorded, output)
    for p, q in zip(tape.parameters, recorded.parameters, strict=True):
        assert written[p].tobytes() == wanted[q].tobytes()


# --- no gradient is cut off in silence ------------------------------------------------


READ = [float, complex, np.asarray, lambda t: t.item(), lambda t: t.tolist()]
ROUNDS = tg.custom_op(vjps=(None,), name="rounds")(np.round)


@pytest.mark.parametrize(
    ("fn", "loses_gradient"),
    [
        (lambda x: x[0], True),  # its rule is for any number of operands
        (lambda x: x[0] * 2.0, True),
        (lambda x: np.concatenate([x[:1], x[:1]])[1], True),
        (lambda x: tg.stop_gradient(x)[0], True),
        (lambda x: tg.stop_gradient(x[0]), False),
        (lambda x: x[0] > 1.0, False),
        # integers, by ops that have rules
        (lambda x: np.argsort(x)[0], False),
        (lambda x: np.argmax(x) + 1, False),
        (lambda x: x.astype(int)[0], False),
        # an op without a rule
        (lambda x: ROUNDS(x[0]), False),
    ],
)
def test_conversion_raises_only_where_a_gradient_is_lost(fn, loses_gradient):
    def read_all(x):
        for read in READ:
            if loses_gradient:
                with pytest.raises(TypeError, match=r"gradient.*t\.value"):
                    read(fn(x))
                with pytest.raises((TypeError, IndexError)):
                    np.ones(9)[fn(x)]
            else:
                np.testing.assert_array_equal(read(fn(x)), np.asarray(fn(np.array([3.0, 1.0]))))
        return np.sum(x)

    tg.grad(read_all)(np.array([3.0, 1.0]))


def test_bool_int_and_index_work_without_a_gradient():
    def fn(x):
        n = tg.argmax(x)
        assert ["a", "b", "c"][n] == "c"
        assert int(n) == 2
        assert type(int(n)) is int
        assert n.item() == 2
        assert list(range(n)) == [0, 1]
        assert bool(x[0] < x[1])
        assert not x[0] > x[1]
        assert (x > 0).value.all()
        with pytest.raises(ValueError, match="ambiguous"):
            bool(x > 0)
        picked = x[n] if x[n] > 0 else x[0]
        table = np.array([10.0, 20.0, 30.0])
        return picked * table[n]

    np.testing.assert_array_equal(tg.grad(fn)(np.array([1.0, 2.0, 3.0])), [0.0, 0.0, 30.0])


# --- exceptions -------------------------------------------------------------------------


class OopsError(Exception):
    pass


def test_error_in_an_op_writes_no_record():
    def fn(x):
        with pytest.raises(ValueError, match="add"):
            x + np.ones(4)
        return x * 2

    _, tape = tg.record(fn)(np.ones(3))
    check_tape(tape)
    assert len(tape) == 2


def test_caught_error_leaves_outer_recordings_unchanged():
    def fn(x):
        y = x * 2
        with pytest.raises(OopsError):
            tg.grad(raise_oops)(y)
        return y * x

    assert tg.grad(tg.grad(fn))(3.0) == 4.0
    assert nothing_is_being_recorded()


def raise_oops(x):
    raise OopsError


INTERRUPTED_FILES = ("tape.py", "recording.py", "writing.py", "checkpoint.py", "custom.py")
INTERRUPTED_FILES += ("gradients.py", "products.py", __file__)


def is_interrupted(call: Callable[..., Any], at: int) -> bool:
    """Call with an interrupt before the at-th instruction of recording; return whether it occurred.

    Python writes an interrupt in a closing generator to standard error, and continues.
    """
    remaining = at

    def step(frame: FrameType, event: str, _: Any) -> Any:
        nonlocal remaining
        if event == "opcode":
            remaining -= 1
            if remaining < 0:
                raise KeyboardInterrupt
        return step

    def enter(frame: FrameType, event: str, _: Any) -> Any:
        if not frame.f_code.co_filename.endswith(INTERRUPTED_FILES):
            return None
        frame.f_trace_opcodes, frame.f_trace_lines = True, False
        return step

    before = sys.gettrace()
    # Python 3.12 traces instructions only if a frame asked for them before
    sys._getframe().f_trace_opcodes = True
    sys.settrace(enter)
    try:
        call()
    except KeyboardInterrupt:
        pass
    finally:
        sys.settrace(before)
    return remaining < 0


@tg.custom_vjp(lambda g, y, x: (2 * g * x,))
def square(x: Array) -> Array:
    return x * x


INTERRUPTED = {
    "grad": lambda: tg.grad(lambda x: x * x)(3.0),
    "record": lambda: tg.record(lambda x: x * x)(3.0),
    "jvp": lambda: tg.jvp(lambda x: x * x, (3.0,), (1.0,)),
    "checkpoint": lambda: tg.grad(tg.checkpoint(lambda x: x * x))(3.0),
    "custom_vjp": lambda: tg.grad(square)(3.0),
}


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize("name", sorted(INTERRUPTED) if THOROUGH else ["grad", "checkpoint"])
def test_interrupt_at_any_instruction_ends_the_recording(name):
    at, errors = 0, np.geterr()
    # Python 3.13 may not trace the instructions of code that it traces for the first time
    assert not is_interrupted(INTERRUPTED[name], 1_000_000)
    while is_interrupted(INTERRUPTED[name], at):
        assert CURRENT.get() is None
        assert np.geterr() == errors
        at += 1
    assert at > 100
    assert tg.grad(lambda x: x * x)(3.0) == 6.0


# --- threads and tasks record separately ------------------------------------------------------


def test_two_threads_record_at_once():
    barrier = threading.Barrier(2)

    def run(x):
        def slow(x):
            for k in range(1, 20):
                # the two threads alternate
                barrier.wait(300)
                x = x * (1.0 + 1.0 / k)
            return x

        output, tape = tg.record(slow)(x)
        check_tape(tape)
        assert len(tape) == 20
        return tg.reverse_sweep(tape, output)[tape.parameters[0]], output.value

    with ThreadPoolExecutor(2) as pool:
        results = list(pool.map(run, [1.0, 2.0]))
    np.testing.assert_allclose(results, [(20.0, 20.0), (20.0, 40.0)])


def test_thread_cannot_use_tensor_of_another_thread():
    def fn(x):
        with ThreadPoolExecutor(1) as pool:
            with pytest.raises(TapeError, match="thread"):
                pool.submit(lambda: x * 2).result()
            with pytest.raises(TapeError):
                pool.submit(lambda: tg.grad(lambda y: y * x)(1.0)).result()
            with pytest.raises(TapeError):
                pool.submit(lambda: tg.grad(lambda y: y * y)(x)).result()
            assert pool.submit(lambda: tg.grad(lambda y: y * y)(x.value)).result() == 4.0
        return x * x

    assert tg.grad(fn)(2.0) == 4.0


def run_in_child_tasks(fn: Callable[..., Any], *args: Any) -> list[Any]:
    """Return a function's result for each argument, computed in child tasks."""

    async def child(x: Any) -> Any:
        await asyncio.sleep(0)
        return fn(x)

    async def parent() -> Any:
        return await asyncio.gather(*[child(x) for x in args])

    return asyncio.run(parent())


def write_five_records(x: Array) -> Array:
    """Write records on lines that another task's records have."""
    for _ in range(5):
        x = x * 1.0
    return x


USES: dict[str, Any] = {
    "at once": lambda x, a, b: a + b,
    "however late": lambda x, a, b: write_five_records(x) + a,
    "in an inner gradient": lambda x, a, b: (write_five_records(x), tg.grad(lambda y: y * y)(a))[1],
}


@pytest.mark.parametrize("use", USES)
def test_record_of_a_child_task_raises_in_its_parent(use):
    def fn(x):
        a, b = run_in_child_tasks(lambda x: x * 2, x, x)
        return USES[use](x, a, b)

    with pytest.raises(TapeError):
        tg.grad(fn)(2.0)
    assert nothing_is_being_recorded()


def test_recording_in_a_child_task_is_separate():
    def slope(x):
        return tg.grad(lambda y: y * y)(x)

    def fn(x):
        (c,) = run_in_child_tasks(slope, 3.0)
        return x * (c.value if isinstance(c, tg.Tensor) else c)

    assert run_in_child_tasks(slope, 1.0, 2.0, 3.0) == [2.0, 4.0, 6.0]
    assert tg.grad(fn)(2.0) == 6.0
