"""Depth and size: time and memory are linear in the records, and all is freed when dropped."""

import platform

import pytest
from counting import calls_of
from depth import THOROUGH
from scripts import print_of_script

import tapegrad as tg


def run_program(code: str) -> list[float]:
    """Run a program in a subprocess; return the numbers that it prints."""
    return [float(word) for word in print_of_script(code).split()]


@pytest.mark.thorough
def test_deep_tape_takes_at_most_1200_bytes_a_record():
    # the peak of the process, which misses nothing and slows nothing down; Linux hands
    # ru_maxrss on from the process that starts this one, but not VmHWM
    depth, g, value, bytes_each = run_program(f"""
        import re
        import resource
        import sys
        from pathlib import Path
        import tapegrad as tg

        n = {1_000_000 if THOROUGH else 100_000}
        status = Path("/proc/self/status")

        def peak():
            if status.exists():
                return int(re.search(r"VmHWM:\\s*(\\d+)", status.read_text())[1]) * 1024
            unit = 1 if sys.platform == "darwin" else 1024
            return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit

        def chain(x):
            y = x
            for _ in range(n):
                y = y + x
            return y

        tg.value_and_grad(lambda x: x * x)(1.0)
        before = peak()
        value, g = tg.value_and_grad(chain)(0.5)
        print(n, g, value, (peak() - before) / n)
    """)
    assert g == depth + 1
    assert value == (depth + 1) / 2
    assert 100 < bytes_each <= 1200


@pytest.mark.thorough
@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="other allocators keep it anyway")
@pytest.mark.parametrize("kept", [True, False])
def test_memory_of_freed_tape_is_reused_unless_switched_off(kept):
    (pages,) = run_program(f"""
        import os
        os.environ["TAPEGRAD_KEEP_MEMORY"] = "{int(kept)}"
        import resource
        import numpy as np
        import tapegrad as tg

        def fn(x):
            for _ in range(40):
                x = np.sin(x)
            return np.sum(x)

        x = np.ones(1 << 16)
        faults = []
        for _ in range(4):
            tg.grad(fn)(x)
            faults.append(resource.getrusage(resource.RUSAGE_SELF).ru_minflt)
        print(faults[-1] - faults[-2])
    """)
    # a tape of 40 times 128 pages
    assert (pages < 40 * 128 / 4) is kept


@pytest.mark.thorough
def test_training_leaves_nothing_behind():
    # the collector is off; after each period a collection counts the cycles
    grown, peak, cycles, left = run_program(f"""
        import contextlib
        import gc
        import sys
        import tracemalloc
        import numpy as np
        import tapegrad as tg

        # where Python keeps the names of attributes that it looked up, those of errors too
        forget = getattr(sys, "_clear_internal_caches", None) or sys._clear_type_cache

        n = {500 if THOROUGH else 40}
        x, y = np.array([[0.0, 0], [0, 1], [1, 0], [1, 1]]), np.array([[0.0], [1], [0], [1]])
        model = tg.nn.Sequential(tg.nn.Linear(2, 1), tg.nn.Sigmoid())
        optimizer = tg.optim.SGD(0.01, momentum=0.5)
        params = model.init(0)
        state = optimizer.init(params)

        def loss(params):
            return tg.nn.mse_loss(model(params, x), y)

        def train(steps):
            global params, state
            for _ in range(steps):
                tg.hvp(loss, (params,), (params,))
                tg.jacobian(lambda p: model(p, x[:2]))(params)
                for bad in (lambda p: p[0].weight @ np.ones((7, 7)), lambda p: p[9]):
                    with contextlib.suppress(ValueError, IndexError):
                        tg.grad(bad)(params)
                output, pullback = tg.vjp(loss, params)
                params, state = optimizer.update(params, pullback(1.0)[0], state)

        train(30)
        gc.collect()
        gc.disable()
        tracemalloc.start()
        train(30)
        cycles = gc.collect()
        forget()
        before, _ = tracemalloc.get_traced_memory()
        grown, peaks, left = [], [], []
        for _ in range(4):
            tracemalloc.reset_peak()
            train(n)
            last, peak = tracemalloc.get_traced_memory()
            cycles += gc.collect()
            forget()
            after, _ = tracemalloc.get_traced_memory()
            grown.append(last - before)
            peaks.append(peak - before)
            left.append(after - before)
            before = after
        print(max(grown), peaks[-1] - peaks[0], cycles, min(left))
    """)
    # Python keeps some freed tuples and the like for reuse until a collection
    assert grown <= 500_000
    assert peak <= 500_000
    assert cycles == 0
    # permanent memory is taken once; a leak of each step shows in every period
    assert left <= 500


def make_chain(n):
    def chain(x):
        y = x
        for _ in range(n):
            y = y * 0.999 + 0.001
        return y

    return lambda: tg.value_and_grad(chain)(0.5)


def make_nested_gradients(n):
    def outer(x):
        for _ in range(n):
            x = x - 0.001 * tg.grad(lambda y: y * y)(x)
        return x

    return lambda: tg.grad(outer)(0.5)


@pytest.mark.parametrize("make_call", [make_chain, make_nested_gradients])
def test_work_is_linear_in_depth(make_call):
    calls_of(make_call(10))
    assert calls_of(make_call(800)) <= 4.5 * calls_of(make_call(200))
