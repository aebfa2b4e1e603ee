"""What each pass of the compiler is worth: a workload compiled without it, beside the whole."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import tapegrad as tg
from bench.peers.tapegrad import COMPILED, tapegrad_start, tapegrad_step
from bench.timing import Timing
from bench.workload import Entry, Workload
from tapegrad.program import PASSES

NAMES = tuple(dict.fromkeys(x.__name__ for x in PASSES))


def ablation_entries(w: Workload) -> list[Entry]:
    """Compile a workload with all passes, and without each of them, in loops' bodies too."""
    return [_without(w, COMPILED, ""), *[_without(w, name, name) for name in NAMES]]


def _without(w: Workload, label: str, left_out: str) -> Entry:
    passes = tuple(x for x in PASSES if x.__name__ != left_out)
    step: Any = tg.compile(tapegrad_step(w), passes=passes)
    start = tapegrad_start(w, w.params)
    step(start, *w.data)
    return Entry(label, lambda: start, step, w.data, w.read)


def ablation_table(found: Mapping[str, Mapping[str, Timing]]) -> str:
    """For each pass and workload, the time without the pass over that with it, by medians."""
    lines = [f"{'':20}" + "".join(f"{name[:9]:>10}" for name in found)]
    for name in NAMES:
        ratios: Sequence[float] = [t[name].median / t[COMPILED].median for t in found.values()]
        lines.append(f"{name:20}" + "".join(f"{ratio:10.2f}" for ratio in ratios))
    return "\n".join(lines)
