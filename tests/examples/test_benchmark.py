"""The benchmark checks every implementation against NumPy, and writes its tables."""

import re
from pathlib import Path

import attrs
import benchmark
import pytest
from bench.peers import own_entries
from bench.solvers import check_solvers, solver_entries
from bench.timing import check
from bench.workloads import WORKLOADS

import tapegrad as tg

FIGURES = Path(benchmark.__file__).parent / "figures.md"
MARKED = re.compile(r"(<!-- ([a-z ]+), threads (\d) -->\n)(.*?)(<!-- end -->)", re.S)


QUICK = ("residual", "language", "gaussian", "physics", "sparse")


@pytest.mark.parametrize(
    "name",
    [x if x in QUICK else pytest.param(x, marks=pytest.mark.thorough) for x in WORKLOADS],
)
def test_workloads_agree_with_numpy_by_hand(name):
    w = WORKLOADS[name]()
    entry, compiled, *_ = own_entries(name, w)
    check(w, entry)
    check(w, compiled)
    loss, gradients = w.by_hand(w.leaves, *w.data)
    twice = loss, [2 * g for g in gradients]
    wrong = attrs.evolve(w, by_hand=lambda *args: twice)
    with pytest.raises(SystemExit, match="disagrees with NumPy in result 0"):
        check(wrong, entry)


def test_gradients_through_solvers_agree():
    pytest.importorskip("scipy")
    w, entries = solver_entries([], grid=8)
    check_solvers(w, entries)
    wrong = [attrs.evolve(e, step=lambda x, f=e.step: (f(x)[0], x)) for e in entries[1:2]]
    with pytest.raises(SystemExit, match="disagree"):
        check_solvers(w, [*wrong, *entries[2:]])


@pytest.mark.thorough
def test_benchmark_prints_and_writes_tables_of_checked_implementations(
    monkeypatch, capsys, tmp_path
):
    options = ["--workloads", "xor,per_example,tall,transforms", "--seconds", "0.02", "--no-peers"]
    path = tmp_path / "figures.md"
    path.write_text(FIGURES.read_text())
    options += ["--write", str(path)]
    monkeypatch.setattr("sys.argv", ["benchmark.py", *options])
    # otherwise the script would restart as another process, and start eight more
    monkeypatch.setattr(benchmark, "hold_threads", lambda threads: None)
    monkeypatch.setattr(benchmark, "import_time", lambda: 1.0)
    benchmark.main()
    rows = {line[:22].strip(): line[22:].split() for line in capsys.readouterr().out.splitlines()}
    for name in ("tapegrad recorded", "NumPy by hand", "jvp, recorded", "hvp, compiled"):
        median, minimum, *ratios = map(float, rows[name])
        assert median >= minimum > 0
        # rounded to hundredths
        assert all(ratio >= 0 for ratio in ratios)
    before, after = FIGURES.read_text(), path.read_text()
    assert MARKED.sub("", before) == MARKED.sub("", after)
    tables = {(name, threads): text for _, name, threads, text, _ in MARKED.findall(after)}
    old = {(name, threads): text for _, name, threads, text, _ in MARKED.findall(before)}
    assert tables["steps", "2"] == old["steps", "2"]
    for name in ("steps", "first calls", "memory", "costs"):
        origin, *rows = [line for line in tables[name, "1"].splitlines() if line]
        assert origin.startswith(f"tapegrad {tg.__version__}")
        assert len(rows) == 2 + (8 if name == "costs" else 3)
        assert {row.count("|") for row in rows} == {rows[0].count("|")}
