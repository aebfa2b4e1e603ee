"""Threads and tasks each have their own recording, and refuse the Tensors of others."""

import asyncio
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
from tapes import check_tape, nothing_is_being_recorded

import tapegrad as tg
from tapegrad.errors import TapeError


def test_two_threads_record_at_once():
    barrier = threading.Barrier(2)

    def run(x):
        def slow(x):
            for k in range(1, 20):
                # every step lets the other recording in between
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


def test_a_thread_cannot_use_the_tensor_of_another():
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


def in_child_tasks(fn: Any, *args: Any) -> list[Any]:
    """The results of a function of each argument, in tasks that start tasks of their own."""

    async def child(x: Any) -> Any:
        await asyncio.sleep(0)
        return fn(x)

    async def parent() -> Any:
        return await asyncio.gather(*[child(x) for x in args])

    return asyncio.run(parent())


def later(x: Any) -> Any:
    """A record that takes the line which another claims."""
    for _ in range(5):
        x = x * 1.0
    return x


USES: dict[str, Any] = {
    "at once": lambda x, a, b: a + b,
    "however late": lambda x, a, b: later(x) + a,
    "in an inner gradient": lambda x, a, b: (later(x), tg.grad(lambda y: y * y)(a))[1],
}


@pytest.mark.parametrize("use", USES)
def test_what_a_child_task_writes_is_refused_by_its_parent(use):
    def fn(x):
        a, b = in_child_tasks(lambda x: x * 2, x, x)
        return USES[use](x, a, b)

    with pytest.raises(TapeError):
        tg.grad(fn)(2.0)
    assert nothing_is_being_recorded()


def test_a_recording_in_a_child_task_does_not_touch_the_parents():
    def slope(x):
        return tg.grad(lambda y: y * y)(x)

    def fn(x):
        (c,) = in_child_tasks(slope, 3.0)
        return x * (c.value if isinstance(c, tg.Tensor) else c)

    assert in_child_tasks(slope, 1.0, 2.0, 3.0) == [2.0, 4.0, 6.0]
    assert tg.grad(fn)(2.0) == 6.0
