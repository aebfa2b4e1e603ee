"""The printed report: tables, the machine and the versions."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import tapegrad as tg
from bench.peers.tapegrad import ANSWERS, COMPILED, ON_JAX, RECORDED
from bench.timing import Timing


def table(timings: Mapping[str, Timing]) -> str:
    """Medians, minima, and each median over those of the references."""
    references = [name for name in (RECORDED, COMPILED, ANSWERS) if name in timings]
    heads = ["", "median us", "min us", *(f"/ {name.split()[-1]}" for name in references)]
    heads += ["first ms", "peak MB"]
    heads = [head.replace("/ hand", "/ NumPy") for head in heads]
    lines = [f"{heads[0]:22}" + "".join(f"{head:>12}" for head in heads[1:])]
    for name, t in timings.items():
        ratios = "".join(f"{t.median / timings[r].median:12.2f}" for r in references)
        more = f"{(t.first or 0) / 1e3:12.2f}{(t.peak or 0) / 1e6:12.3f}"
        lines.append(f"{name:22}{t.median:12.1f}{t.minimum:12.1f}{ratios}{more}")
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


STEPS = (RECORDED, COMPILED, ANSWERS, ON_JAX, "jax.jit", "torch", "MyGrad", "autograd")
# of each table in figures.md: what is in its cells, its columns, and the unit of its numbers
TABLES: Mapping[str, tuple[str, Sequence[str], float]] = {
    "steps": ("median", STEPS, 1.0),
    "first calls": ("first", (COMPILED, ON_JAX, "jax.jit", "torch"), 1e3),
    "memory": ("peak", (RECORDED, COMPILED, ANSWERS, "jax.jit", "torch", "autograd"), 1e6),
}


def write_figures(path: Path, report: Mapping[str, Any]) -> None:
    """Put the tables of a report between the marks in a file that name them."""
    threads = report["machine"]["threads"]
    text = path.read_text()
    for name, found in _markdown(report).items():
        before, mark, after = text.partition(f"<!-- {name}, threads {threads} -->\n")
        if mark:
            _, end, rest = after.partition("<!-- end -->")
            text = f"{before}{mark}\n{_origin(report)}\n\n{found}\n\n{end}{rest}"
    path.write_text(text)


def _markdown(report: Mapping[str, Any]) -> dict[str, str]:
    tables: dict[str, str] = dict(report.get("grids", {}))
    parts: Mapping[str, Any] = report["workloads"]
    steps = {w["title"]: w["microseconds"] for w in parts.values() if "costs" not in w}
    for name, (cell, columns, unit) in TABLES.items():
        rows = [[title, *_cells(t, cell, columns, unit)] for title, t in steps.items()]
        if rows:
            tables[name] = grid(["step", *columns], rows)
    costs = [
        [name, f"{t['median']:.0f}", f"{w['costs'][name]:.2f}"]
        for w in parts.values()
        if "costs" in w
        for name, t in w["microseconds"].items()
    ]
    if costs:
        tables["costs"] = grid(["", "median", "/ forward"], costs)
    return tables


def _cells(timings: Any, cell: str, columns: Sequence[str], unit: float) -> list[str]:
    # of the forms of a library, that which is fastest
    cells = []
    for column in columns:
        forms = [t for name, t in timings.items() if name.startswith(column)]
        best = min(forms, key=lambda t: t["median"], default=None)
        value = None if best is None else best[cell] / unit
        cells.append("" if value is None else f"{value:.{0 if value >= 100 else 2}f}")
    return cells


def grid(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Lay out a table of Markdown."""
    lines = [heads, ["---"] * len(heads), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _origin(report: Mapping[str, Any]) -> str:
    # which version on which machine beside which others
    m, found = report["machine"], report["versions"]
    cores = "one core" if m["threads"] == 1 else f"{m['threads']} cores"
    others = ", ".join(f"{name} {version}" for name, version in found.items() if version)
    own = f"tapegrad {report['tapegrad']}, {cores} of {m['processor']}"
    return f"{own}, Python {m['python']}, {others}."


def own_version() -> str:
    """The version of tapegrad and, in a checkout, its commit."""
    command = ["git", "-C", str(Path(__file__).parent), "rev-parse", "--short", "HEAD"]
    try:
        commit = subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return tg.__version__
    return f"{tg.__version__} at {commit}"


def costs(timings: Mapping[str, Timing]) -> dict[str, float]:
    """Each median over that of the forward evaluation of the same kind."""
    return {
        name: t.median / timings[f"forward, {name.split(', ')[1]}"].median
        for name, t in timings.items()
    }


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
