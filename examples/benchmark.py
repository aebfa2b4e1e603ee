"""Timings of tapegrad beside NumPy by hand, HIPS autograd, MyGrad, PyTorch and JAX.

Run ``python examples/benchmark.py``; ``--help`` lists the options. The extra
``bench`` installs the peers, and those that are missing are left out.

All implementations of a workload run in one process, in rounds of random order. At its turn each
warms up, and then makes calls for a few milliseconds. Before anything is timed, each must agree
with the NumPy code: in its loss, and in its new parameters to a fraction of the update.

A call is a training step: forward, backward and the update of plain SGD, or of Adam for `lenet`
and AdamW for `adamw`. tapegrad and NumPy return new parameters and keep the old. The peers run in
their best form: JAX under ``jit`` with the parameters donated, PyTorch with one in-place update of
all parameters, MyGrad with its memory guard and without. "tapegrad recorded" differentiates the
same function of a list of arrays as the peers; "tapegrad compiled" runs a model of its own layers,
with trees of parameters going in and coming out. Each workload is a file in ``bench/workloads``,
and each library one in ``bench/peers``. Some have no update: `per_example` is a gradient for each
example of a batch, `tall` a Jacobian with many rows, and `chain` ``sum(tanh(a * x) * exp(-(x *
x)))`` with its gradient. The last two time
derivatives in forward evaluations: `transforms` a gradient, a jvp and an hvp, recorded and
compiled, and `solvers` gradients through SciPy's solvers. `sparsity` has sparse Jacobians and
Hessians beside dense ones, and beside asdex where that is installed.

Beside the times stand the first call of a step that has not been called before, by libraries that
have, and the memory that one step holds at most beside its input: by tracemalloc for libraries on
NumPy, with what a compiled step keeps between calls, by XLA's plan for JAX, and by the profiler's
record of the allocator for PyTorch.

With ``--passes``, each workload is compiled without each pass of the compiler in turn, and the
table says what the pass is worth.

Importing tapegrad lets freed memory stay with the process (`tapegrad.tree.ownership`), which
can halve the time of code that makes many arrays. All libraries here run in one process, so this
helps the peers too. With ``--threads 2``, leave the machine alone: threads that wait for a busy
core make products take a hundred times as long.
"""

from __future__ import annotations

import argparse
import importlib
import json
from pathlib import Path
from typing import Any

import attrs
from bench.ablation import ablation_entries, ablation_table
from bench.peers import MAKERS, own_entries
from bench.process import hold_threads
from bench.report import (
    costs,
    grid,
    machine,
    own_version,
    table,
    transforms_table,
    versions,
    write_figures,
)
from bench.solvers import check_solvers, solver_entries
from bench.sparsity import COLUMNS, sparse_rows
from bench.timing import check, first_call, import_time, measure
from bench.transforms import check_transforms, transform_entries
from bench.workload import PEERS
from bench.workloads import WORKLOADS
from bench.workloads.embedding import embedding

TRANSFORMS, SOLVERS, SPARSITY = "transforms", "solvers", "sparsity"


def arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    known = [*WORKLOADS, TRANSFORMS, *([SOLVERS, SPARSITY] if "sparse" in WORKLOADS else [])]
    parser.add_argument("--workloads", default=",".join(known), help="names, by commas")
    parser.add_argument("--threads", type=int, choices=(1, 2), default=1)
    parser.add_argument("--seconds", type=float, default=3.0, help="for each workload")
    parser.add_argument("--zipf", action="store_true", help="repeat the embedding's rows")
    parser.add_argument("--no-peers", action="store_true", help="only tapegrad and NumPy")
    parser.add_argument(
        "--passes", action="store_true", help="time each workload without each pass, and no more"
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures here too")
    parser.add_argument(
        "--write",
        type=Path,
        metavar="FILE",
        help="put the tables into FILE, as examples/figures.md",
    )
    options = parser.parse_args()
    options.workloads = options.workloads.split(",")
    unknown = set(options.workloads) - set(known)
    if unknown:
        parser.error(f"no workload {', '.join(sorted(unknown))}; there are {', '.join(known)}")
    return options


def main() -> None:
    """Check, time and print."""
    options = arguments()
    hold_threads(options.threads)
    found = versions(["numpy", "attrs", "scipy", *PEERS])
    peers = [] if options.no_peers else [name for name in PEERS if found[name]]
    if "torch" in peers:
        importlib.import_module("torch").set_num_threads(options.threads)
    report: dict[str, Any] = {"machine": machine(options.threads), "versions": found}
    report["tapegrad"] = own_version()
    print(", ".join(f"{key} {value}" for key, value in report["machine"].items()))
    print(", ".join(f"{name} {version or 'not installed'}" for name, version in found.items()))
    if options.passes:
        named = [name for name in options.workloads if name in WORKLOADS]
        print_ablation(named, options.seconds)
        return
    report["import_ms"] = import_time()
    print(f"import tapegrad, after NumPy and attrs: {report['import_ms']:.1f} ms")
    report["workloads"] = {}
    if SPARSITY in options.workloads:
        options.workloads.remove(SPARSITY)
        rows = sparse_rows([] if options.no_peers else ["asdex"], options.seconds)
        report["grids"] = {"sparse derivatives": grid(COLUMNS, rows)}
        print(
            f"\n{SPARSITY}: first calls in ms, later ones in us\n{grid(COLUMNS, rows)}", flush=True
        )
    for name in options.workloads:
        if name in (TRANSFORMS, SOLVERS):
            w, entries = transform_entries() if name == TRANSFORMS else solver_entries(peers)
            (check_transforms if name == TRANSFORMS else check_solvers)(w, entries)
        else:
            w = embedding(options.zipf) if name == "embedding" else WORKLOADS[name]()
            entries = list(own_entries(name, w))
            for peer in w.peers:
                entries += MAKERS[peer](name, w) if peer in peers else ()
            for entry in entries:
                check(w, entry)
        timings = measure(w, entries, options.seconds)
        more: dict[str, Any] = {}
        if name in (TRANSFORMS, SOLVERS):
            shown, more = transforms_table(timings), {"costs": costs(timings)}
        else:
            for entry in entries:
                first, peak = first_call(entry), entry.peak(entry)
                timings[entry.name] = attrs.evolve(timings[entry.name], first=first, peak=peak)
            shown = table(timings)
        print(f"\n{name}: {w.title}\n{shown}", flush=True)
        figures = {entry: attrs.asdict(timing) for entry, timing in timings.items()}
        report["workloads"][name] = {"title": w.title, "microseconds": figures, **more}
    if options.json is not None:
        options.json.write_text(json.dumps(report, indent=2) + "\n")
    if options.write is not None:
        write_figures(options.write, report)


def print_ablation(names: list[str], seconds: float) -> None:
    """Print what each pass is worth: the time without it over that with it."""
    timings = {}
    for name in names:
        w = WORKLOADS[name]()
        entries = ablation_entries(w)
        for entry in entries:
            check(w, entry)
        timings[name] = measure(w, entries, seconds)
    print(f"\ntime without a pass / with it; below 1.03 is noise\n{ablation_table(timings)}")


if __name__ == "__main__":
    main()
