"""How the implementations are checked and timed."""

from __future__ import annotations

import gc
import os
import random
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from typing import Any

import attrs
import numpy as np

from bench.workload import EPSILON, WARM_UP, Entry, Workload

BURST_SECONDS = 0.003


@attrs.frozen
class Timing:
    """Microseconds for a call, over the bursts."""

    median: float
    minimum: float
    calls: int
    bursts: int
    first: float | None = None  # the first call, which may compile
    peak: int | None = None  # bytes that a call holds at most, beside its input


def check(w: Workload, entry: Entry) -> None:
    """Exit unless a step agrees with NumPy, to a fraction of the update."""
    tolerance = 1e-10 if all(p.dtype == np.float64 for p in w.leaves) else 1e-3
    loss, gradients = w.by_hand(w.leaves, *w.data)
    before: Sequence[Any] = w.leaves if w.rate is not None else np.zeros(len(w.leaves)).tolist()
    rate = -1 if w.rate is None else w.rate
    if w.decay is not None:
        # divided by its own moments, a first step keeps only the sign
        gradients = [
            g / (np.abs(g) + EPSILON) + w.decay * p for p, g in zip(before, gradients, strict=True)
        ]
    got_loss, result = entry.step(entry.start(), *entry.data)
    arrays = entry.read(result)
    wanted: list[tuple[str, Any, Any, Any]] = [("the loss", 0, loss, got_loss)]
    for i, (p, g, got) in enumerate(zip(before, gradients, arrays, strict=True)):
        wanted.append((f"result {i}", p, -rate * g, got))
    for what, old, change, got in wanted:
        got = np.asarray(got)
        error = np.max(np.abs(got - (old + change))) / np.max(np.abs(change))
        if got.shape != change.shape or got.dtype != change.dtype or not error <= tolerance:
            sys.exit(
                f"{entry.name} disagrees with NumPy in {what}: relative error {error:.2g}, "
                f"{got.dtype} {got.shape} for {change.dtype} {change.shape}"
            )


def burst(entry: Entry, calls: int, carry: bool) -> float:
    """Seconds for a number of calls in a row, after some to warm up."""
    step, data = entry.step, entry.data
    state = entry.start()
    for _ in range(WARM_UP):
        result = step(state, *data)
        if carry:
            state = result[1]
    entry.wait(result)
    begin = time.perf_counter()
    for _ in range(calls):
        result = step(state, *data)
        if carry:
            state = result[1]
    entry.wait(result)
    return time.perf_counter() - begin


def calibrate(entry: Entry, carry: bool) -> int:
    """The number of calls in a burst."""
    calls = 1
    while (seconds := burst(entry, calls, carry)) < BURST_SECONDS / 2:
        calls *= 2
    return max(1, round(calls * BURST_SECONDS / seconds))


def measure(w: Workload, entries: Sequence[Entry], seconds: float) -> dict[str, Timing]:
    """Time the entries in rounds of random order, at least three rounds."""
    carry = w.rate is not None
    calls = {entry.name: calibrate(entry, carry) for entry in entries}
    times: dict[str, list[float]] = {entry.name: [] for entry in entries}
    shuffled = random.Random(0)
    gc.collect()
    gc.freeze()  # so that collections do not walk over another library's objects
    end = time.perf_counter() + seconds
    while time.perf_counter() < end or len(times[entries[0].name]) < 3:
        for entry in shuffled.sample(list(entries), len(entries)):
            n = calls[entry.name]
            times[entry.name].append(burst(entry, n, carry) / n * 1e6)
    return {
        name: Timing(statistics.median(t), min(t), calls[name], len(t)) for name, t in times.items()
    }


def first_call(entry: Entry) -> float:
    """Microseconds of a step's first call, which records and compiles where that is done."""
    times: list[float] = []
    while len(times) < 3 and sum(times) < 3:
        step, state = entry.begin(), entry.start()
        begin = time.perf_counter()
        entry.wait(step(state, *entry.data))
        times.append(time.perf_counter() - begin)
        step(entry.start(), *entry.data)  # tapegrad warns of what is compiled for one call
    return statistics.median(times) * 1e6


def import_time() -> float:
    """Milliseconds that importing tapegrad takes after NumPy and attrs."""
    code = (
        "import time, numpy, attrs; begin = time.perf_counter(); import tapegrad; "
        "print(time.perf_counter() - begin)"
    )
    run = [sys.executable, "-c", code]
    with tempfile.TemporaryDirectory() as bytecode:
        # as an installed package is imported: compiled once, by the first run
        environment = {
            **{k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"},
            "PYTHONPATH": os.pathsep.join([p for p in sys.path if p]),
            "PYTHONPYCACHEPREFIX": bytecode,
        }
        times = [
            float(subprocess.run(run, env=environment, capture_output=True, check=True).stdout)
            for _ in range(8)
        ]
    return statistics.median(times[1:]) * 1e3
