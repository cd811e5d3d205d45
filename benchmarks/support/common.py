"""What the benchmarks share: options, repeated timing, tables and the machine's facts."""

from __future__ import annotations

import argparse
import gc
import json
import os
import statistics
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from imprint.support.machine import machine

Clock = Callable[[], float]


def parser(text: str) -> argparse.ArgumentParser:
    """An argument parser with the options that every benchmark has."""
    made = argparse.ArgumentParser(description=text, formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    made.add_argument("--quick", action="store_true", help="a second or two, to see that it runs; no figures to keep")
    made.add_argument("--json", type=Path, metavar="FILE", help="also write every figure and the machine's facts here")
    return made


def seconds(work: Callable[[], object], clock: Clock = time.perf_counter) -> float:
    """How long one call takes."""
    start = clock()
    work()
    return clock() - start


def repeat(work: Callable[[], object], times: int, warm_up: int = 1, clock: Clock = time.perf_counter) -> list[float]:
    """The seconds of `times` calls, after `warm_up` that do not count."""
    for _ in range(warm_up):
        work()
    gc.collect()
    return [seconds(work, clock) for _ in range(times)]


def spread(values: Sequence[float], digits: int = 2) -> str:
    """Median, and the least and greatest value."""
    return f"{statistics.median(values):.{digits}f} ({min(values):.{digits}f} to {max(values):.{digits}f})"


def table(rows: Sequence[Sequence[object]]) -> None:
    """Print rows in columns; the first row is the heading."""
    texts = [[str(cell) for cell in row] for row in rows]
    widths = [max(len(row[column]) for row in texts) for column in range(len(texts[0]))]
    for row in texts:
        print("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())


def report(name: str, figures: dict[str, Any], options: argparse.Namespace) -> None:
    """Print the machine's facts and, if asked, write everything as JSON."""
    facts = machine() | {"load": round(os.getloadavg()[0], 1)}
    print("machine  " + ", ".join(f"{key} {value}" for key, value in facts.items()))
    if options.json is not None:
        content = {"benchmark": name, "quick": options.quick, "machine": facts, "figures": figures}
        options.json.write_text(json.dumps(content, indent=2) + "\n")
