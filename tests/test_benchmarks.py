"""Every benchmark runs, in its quick form, as a user starts it."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

FOLDER = Path(__file__).parents[1] / "benchmarks"
BENCHMARKS = sorted(FOLDER.glob("*.py"))


def test_there_are_benchmarks():
    assert len(BENCHMARKS) >= 3


@pytest.mark.parametrize("file", BENCHMARKS, ids=lambda file: file.stem)
def test_a_benchmark_runs_and_keeps_its_figures(file, tmp_path):
    out = tmp_path / "figures.json"
    done = subprocess.run(
        [sys.executable, str(file), "--quick", "--json", str(out)], capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr
    if done.stdout.startswith("skipped: "):
        pytest.skip(done.stdout.strip())
    kept = json.loads(out.read_text())
    assert kept["benchmark"]
    assert kept["quick"] is True
    assert kept["figures"]
    assert kept["machine"]["cores"] >= 1
