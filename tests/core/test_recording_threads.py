"""Recordings in threads and tasks."""

import asyncio
import contextvars
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
from tapes import check_tape, nothing_is_being_recorded

import tapegrad as tg
from tapegrad.errors import TapeError


def slow(wait: Any, x: Any) -> Any:
    """A function whose every step lets another recording in between."""
    for k in range(1, 20):
        wait()
        x = x * (1.0 + 1.0 / k)
    return x


def test_two_threads_record_at_once():
    barrier = threading.Barrier(2)

    def run(x):
        output, tape = tg.record(lambda x: slow(lambda: barrier.wait(300), x))(x)
        check_tape(tape)
        assert len(tape) == 20
        return tg.reverse_sweep(tape, output)[tape.parameters[0]], output.value

    with ThreadPoolExecutor(2) as pool:
        results = list(pool.map(run, [1.0, 2.0]))
    np.testing.assert_allclose([g for g, _ in results], [20.0, 20.0])
    np.testing.assert_allclose([y for _, y in results], [20.0, 40.0])


def test_many_threads_differentiate_at_once():
    def run(k):
        return tg.grad(tg.grad(lambda x: tg.sin(x) * x**2 * k))(np.array(0.5))

    alone = [run(k) for k in range(40)]
    with ThreadPoolExecutor(4) as pool:
        together = list(pool.map(run, range(40)))
    np.testing.assert_array_equal(together, alone)


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


def test_two_tasks_record_at_once():
    async def run(x):
        def begin(x):
            tape, p = tg.Tape().parameter(x)
            return tape, p

        # each task steps its own recording, by hand and threaded
        tape, p = begin(x)
        y = p
        for k in range(1, 20):
            await asyncio.sleep(0)
            tape, y = tape.write(tg.multiply, y, 1.0 + 1.0 / k)
            assert tg.grad(lambda x, k=k: x * k)(x) == k
        return tg.reverse_sweep(tape, y)[p], y.value

    async def both():
        return await asyncio.gather(run(1.0), run(2.0))

    results = asyncio.run(both())
    np.testing.assert_allclose(results, [(20.0, 20.0), (20.0, 40.0)])


def test_two_tasks_with_a_recording_open_in_each_keep_apart():
    # record() is synchronous; a step function awaits by handing control to the loop's other task
    order = []

    async def run(name, x):
        loop = asyncio.get_running_loop()
        context = contextvars.copy_context()

        def recorded():
            return tg.record(lambda x: slow(lambda: order.append(name), x))(x)

        return await loop.run_in_executor(None, context.run, recorded)

    async def both():
        return await asyncio.gather(run("a", 1.0), run("b", 2.0))

    for (output, tape), want in zip(asyncio.run(both()), (20.0, 40.0), strict=True):
        check_tape(tape)
        assert len(tape) == 20
        np.testing.assert_allclose(output.value, want)


def test_what_a_child_task_writes_is_refused_by_its_parent():
    def fn(x):
        async def child():
            return tg.sin(x * 2)

        async def parent():
            return await asyncio.gather(child(), child())

        a, b = asyncio.run(parent())
        return a + b

    with pytest.raises(TapeError):
        tg.grad(fn)(2.0)
    assert nothing_is_being_recorded()


def doubled_by_a_child_task(x):
    async def child():
        return x * 2

    async def parent():
        return await asyncio.create_task(child())

    return asyncio.run(parent())


def test_what_a_child_task_wrote_is_refused_however_late_it_is_used():
    def fn(x):
        y = doubled_by_a_child_task(x)
        for _ in range(5):
            x = x * 1.0
        return x + y  # the line that y claims is taken by another record

    with pytest.raises(TapeError):
        tg.grad(fn)(2.0)
    assert nothing_is_being_recorded()


def test_what_a_child_task_wrote_is_refused_by_an_inner_gradient():
    def fn(x):
        y = doubled_by_a_child_task(x)
        for _ in range(5):
            x = x * 1.0
        return tg.grad(lambda a: a * a)(y)

    with pytest.raises(TapeError):
        tg.grad(fn)(2.0)


def test_a_recording_in_a_child_task_does_not_touch_the_parents():
    def fn(x):
        async def child():
            return tg.grad(lambda y: y * y)(3.0)

        async def parent():
            return await asyncio.create_task(child())

        c = asyncio.run(parent())
        c = c.value if isinstance(c, tg.Tensor) else c
        return x * c

    assert tg.grad(fn)(2.0) == 6.0


def test_a_child_task_of_no_recording_is_free_to_record():
    async def child(x):
        await asyncio.sleep(0)
        return tg.grad(lambda y: y * y)(x)

    async def parent():
        return await asyncio.gather(*(child(float(k)) for k in range(5)))

    assert asyncio.run(parent()) == [0.0, 2.0, 4.0, 6.0, 8.0]
