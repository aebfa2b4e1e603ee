"""The printed report: tables, the machine and the versions."""

from __future__ import annotations

import importlib.metadata
import os
import platform
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from bench.peers.tapegrad import ANSWERS, COMPILED, RECORDED
from bench.timing import Timing


def table(timings: Mapping[str, Timing]) -> str:
    """Medians, minima, and each median over those of the references."""
    references = [name for name in (RECORDED, COMPILED, ANSWERS) if name in timings]
    heads = ["", "median us", "min us", *(f"/ {name.split()[-1]}" for name in references)]
    heads = [head.replace("/ hand", "/ NumPy") for head in heads]
    lines = [f"{heads[0]:22}" + "".join(f"{head:>12}" for head in heads[1:])]
    for name, t in timings.items():
        ratios = "".join(f"{t.median / timings[r].median:12.2f}" for r in references)
        lines.append(f"{name:22}{t.median:12.1f}{t.minimum:12.1f}{ratios}")
    return "\n".join(lines)


def transforms_table(timings: Mapping[str, Timing]) -> str:
    """Medians, minima, and both over those of the forward evaluation of the same kind."""
    lines = [
        f"{'':30}" + "".join(f"{h:>12}" for h in ("median us", "min us", "/ forward", "(min)"))
    ]
    for name, t in timings.items():
        forward = timings[f"forward, {name.split(', ')[1]}"]
        ratios = f"{t.median / forward.median:12.2f}{t.minimum / forward.minimum:12.2f}"
        lines.append(f"{name:30}{t.median:12.1f}{t.minimum:12.1f}{ratios}")
    return "\n".join(lines)


def machine(threads: int) -> dict[str, Any]:
    """Describe the machine on which the figures are measured."""
    info = Path("/proc/cpuinfo")
    models = [
        line.split(":")[1].strip()
        for line in (info.read_text().splitlines() if info.exists() else [])
        if line.startswith("model name")
    ]
    return {
        "processor": models[0] if models else platform.processor() or platform.machine(),
        "cpus": os.cpu_count(),
        "threads": threads,
        "python": platform.python_version(),
    }


def versions(names: Sequence[str]) -> dict[str, str | None]:
    """Look up the version of each distribution, None where it is not installed."""
    found: dict[str, str | None] = {}
    for name in names:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            found[name] = None
    return found
