"""What a training step costs when PyTorch's threads soon sleep while they wait, or spin, alone and beside other work.

    python benchmarks/waiting.py

The command line sets `GOMP_SPINCOUNT=3000` where the user has set nothing. Two processes, one with that setting and
one without, do the same training step in turns; then again while as many other processes as there are cores keep
the machine busy.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from support.common import parser, report, seconds, spread, table

WAYS = {"sleep": {"GOMP_SPINCOUNT": "3000"}, "spin": {}}
BUSY = [sys.executable, "-c", "while True: pass"]


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure both ways in turns, and print times and ratios."""
    options = _options(arguments)
    if options.worker:
        return work(options)
    rows: list[Sequence[object]] = [("other work", "sleeping, s", "spinning, s", "times faster")]
    figures = {}
    for name, others in (("none", 0), ("one process a core", 0 if options.quick else os.cpu_count() or 1)):
        with busy(others):
            taken = measured(options)
        ratios = [spin / sleep for sleep, spin in zip(taken["sleep"], taken["spin"], strict=True)]
        rows.append((name, spread(taken["sleep"]), spread(taken["spin"]), spread(ratios)))
        figures[name] = taken
    table(rows)
    report("waiting", figures, options)
    return 0


def measured(options: argparse.Namespace) -> dict[str, list[float]]:
    """The seconds of a step each way, after one that does not count."""
    command = [sys.executable, __file__, "--worker", *(["--quick"] if options.quick else [])]
    inherited = {key: value for key, value in os.environ.items() if key not in ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT")}
    workers = {
        way: subprocess.Popen(
            command, env={**inherited, **changed}, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        for way, changed in WAYS.items()
    }
    taken: dict[str, list[float]] = {way: [] for way in WAYS}
    try:
        for turn in range(options.repeats + 1):
            for way, worker in workers.items():
                assert worker.stdin and worker.stdout
                print("step", file=worker.stdin, flush=True)
                took = float(worker.stdout.readline())
                if turn:
                    taken[way].append(took)
    finally:
        for worker in workers.values():
            worker.kill()
            worker.communicate()
    return taken


def work(options: argparse.Namespace) -> int:
    """Do a step for each line that is read, and say how long it took."""
    import training_speed
    from support.policies import chosen_policy

    step = training_speed.Step(
        chosen_policy("auto", quick=options.quick), training_speed._options(["--quick"] if options.quick else [])
    )
    for _ in sys.stdin:
        print(seconds(step.play) + seconds(step.learn), flush=True)
    return 0


@contextmanager
def busy(count: int) -> Iterator[None]:
    """`count` processes that compute all the time."""
    others = [subprocess.Popen(BUSY) for _ in range(count)]
    try:
        yield
    finally:
        for other in others:
            other.kill()
            other.wait()


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    made = parser(__doc__.splitlines()[0])
    made.add_argument("--repeats", type=int, default=5)
    made.add_argument("--worker", action="store_true", help=argparse.SUPPRESS)
    options = made.parse_args(arguments)
    if options.quick:
        options.repeats = 1
    return options


if __name__ == "__main__":
    sys.exit(main())
