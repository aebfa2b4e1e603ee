"""The process that measures: its threads, its cores."""

from __future__ import annotations

import os
import sys
import time


def hold_threads(threads: int) -> None:
    """Restart with the libraries limited to a number of threads and cores.

    They read their settings when they are imported, so the process is replaced.
    """
    names = ("OPENBLAS", "OMP", "MKL", "BLIS", "NUMEXPR")
    wanted = {f"{name}_NUM_THREADS": str(threads) for name in names}
    wanted |= {"VECLIB_MAXIMUM_THREADS": str(threads), "JAX_PLATFORMS": "cpu"}
    if all(os.environ.get(name) == value for name, value in wanted.items()):
        return
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0), key=_spin)[:threads])
    sys.stdout.flush()
    os.execve(sys.executable, [sys.executable, *sys.orig_argv[1:]], {**os.environ, **wanted})


def _spin(core: int) -> float:
    """How long a core takes for some work; a busy core takes longer."""
    os.sched_setaffinity(0, {core})
    begin = time.perf_counter()
    sum(range(2_000_000))
    return time.perf_counter() - begin
