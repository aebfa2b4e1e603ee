"""The benchmark runs; what it measures is not a matter of tests."""

import subprocess
import sys
from pathlib import Path

BENCHMARK = Path(__file__).parents[2] / "examples" / "benchmark.py"


def test_the_benchmark_prints_a_table_of_checked_implementations():
    options = ["--workloads", "xor,per_example,tall,transforms", "--seconds", "0.2", "--no-peers"]
    run = subprocess.run(
        [sys.executable, str(BENCHMARK), *options],
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    assert run.returncode == 0, run.stderr
    rows = {line[:22].strip(): line[22:].split() for line in run.stdout.splitlines()}
    for name in ("tapegrad recorded", "NumPy by hand", "jvp, recorded", "hvp, compiled"):
        median, minimum, *ratios = map(float, rows[name])
        assert median >= minimum > 0
        assert all(ratio > 0 for ratio in ratios)
