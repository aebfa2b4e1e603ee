"""The benchmark runs; what it measures is not a matter of tests."""

import benchmark
from bench.ablation import NAMES


def test_the_benchmark_prints_a_table_of_checked_implementations(monkeypatch, capsys):
    options = ["--workloads", "xor,per_example,tall,transforms", "--seconds", "0.02", "--no-peers"]
    monkeypatch.setattr("sys.argv", ["benchmark.py", *options])
    # the script would begin again as another process, and start eight more
    monkeypatch.setattr(benchmark, "hold_threads", lambda threads: None)
    monkeypatch.setattr(benchmark, "import_time", lambda: 1.0)
    benchmark.main()
    rows = {line[:22].strip(): line[22:].split() for line in capsys.readouterr().out.splitlines()}
    for name in ("tapegrad recorded", "NumPy by hand", "jvp, recorded", "hvp, compiled"):
        median, minimum, *ratios = map(float, rows[name])
        assert median >= minimum > 0
        assert all(ratio > 0 for ratio in ratios)


def test_the_benchmark_prints_what_each_pass_is_worth(monkeypatch, capsys):
    monkeypatch.setattr(
        "sys.argv", ["benchmark.py", "--passes", "--workloads", "xor", "--seconds", "0.02"]
    )
    monkeypatch.setattr(benchmark, "hold_threads", lambda threads: None)
    benchmark.main()
    rows = [line.split() for line in capsys.readouterr().out.splitlines()]
    worth = {row[0]: float(row[1]) for row in rows if len(row) == 2 and row[0] in NAMES}
    assert set(worth) == set(NAMES)
    assert all(ratio > 0 for ratio in worth.values())
