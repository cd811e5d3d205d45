"""The runs of a comparison as processes of their own: started, watched, stopped, and how far each is."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from imprint.measurement.conditions import WITH, WITHOUT
from imprint.runs.folder import is_run
from imprint.runs.run import Run
from imprint.support.files import read_jsonl
from imprint.support.progress import Progress

REAL = "real"  # the split of what was played on real games
TAIL = 15  # lines of a failed run's log
GRACE = 20.0  # seconds that a run has to write where it stopped


@dataclass(frozen=True, slots=True)
class Job:
    """One run of the comparison."""

    recipe: Path
    method: str
    seed: int
    folder: Path
    steps: int
    env_steps: int | None = None
    overrides: tuple[str, ...] = ()
    trust: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        return self.folder.name

    @property
    def log(self) -> Path:
        return self.folder.with_name(f"{self.name}.log")


@dataclass(frozen=True, slots=True)
class Failure:
    """A run that ended with another status than 0, and the end of its log."""

    job: Job
    status: int
    tail: str


class Process(Protocol):
    """What `subprocess.Popen` offers and a comparison needs."""

    def poll(self) -> int | None: ...

    def send_signal(self, sig: int) -> None: ...

    def wait(self, timeout: float | None = None) -> int: ...

    def kill(self) -> None: ...


Start = Callable[[Job], Process]


def threads_each(workers: int) -> int:
    """Threads for each of so many runs at a time."""
    return max(1, (os.cpu_count() or 1) // workers)


def is_finished(job: Job) -> bool:
    """Whether the job's run is finished."""
    return is_run(job.folder) and Run.open(job.folder).status().get("state") == "finished"


def steps_done(job: Job) -> int:
    """How many training steps the job's run has done, by its budget if it has one; all once it is finished."""
    if is_finished(job):
        return max(1, job.steps)
    rows = read_jsonl(job.folder / "metrics.jsonl", missing_ok=True)
    if job.env_steps is None:
        done = int(rows[-1].get("step", 0)) if rows else 0
    else:
        used = max((row["env_steps"] for row in rows if "env_steps" in row), default=0)
        done = int(job.steps * used / job.env_steps)
    return min(done, max(0, job.steps - 1))


def games_played(job: Job) -> int:
    """1 if the job's final policy has played real games in both arms (`imprint eval --games --record`), else 0.

    What is recorded ends with the evaluations: the trials, thousands of rows, need not be read at every look.
    """
    arms = {row.get("arm") for row in Run.open(job.folder).rows("evaluations") if row.get("split") == REAL}
    return int({WITH.name, WITHOUT.name} <= arms)


def start_training(job: Job, threads: int) -> Process:
    """`imprint train` in a process of its own, whose output goes to the job's log."""
    changes = [part for change in job.overrides for part in ("--set", change)]
    changes += [part for name in job.trust for part in ("--trust", name)]
    return _start(job, ["train", str(job.recipe), "--out", str(job.folder), "--seed", str(job.seed), *changes], threads)


def start_games(job: Job, games: Path, threads: int) -> Process:
    """`imprint eval --games` of the job's final policy, likewise; its figures go into the run."""
    return _start(job, ["eval", str(job.folder), "--games", str(games), "--record", "--quiet"], threads)


def _start(job: Job, command: Sequence[str], threads: int) -> Process:
    # The number of threads is not part of the recipe: a comparison may resume with another number of processes.
    environment = os.environ | {"OMP_NUM_THREADS": str(threads), "MKL_NUM_THREADS": str(threads)}
    job.log.parent.mkdir(parents=True, exist_ok=True)
    with job.log.open("ab") as log:
        return subprocess.Popen(
            [sys.executable, "-m", "imprint.cli", *command],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            env=environment,
            start_new_session=True,  # an interruption reaches us first, and we pass it on
        )


def run_all(
    jobs: Sequence[Job],
    start: Start,
    *,
    workers: int = 1,
    progress: Progress | None = None,
    finished: Callable[[Job], object] = lambda job: None,
    steps: Callable[[Job], tuple[int, int]] = lambda job: (steps_done(job), max(1, job.steps)),
    pause: float = 1.0,
) -> list[Failure]:
    """Run what is not finished, `workers` at a time; `finished` is called with every run that ends well.

    `steps` gives how many steps of a job are done, and of how many; it is finished when all are.

    A failure is recorded and the others continue. An interruption is passed on to the running ones, which then
    write where they are, before it is raised here.
    """
    progress = progress or Progress("compare", quiet=True)
    work = _Work(jobs, steps)
    waiting = deque(job for job in jobs if not work.is_done(job))
    live: dict[Job, Process] = {}
    failures: list[Failure] = []
    done = first = work.done
    total, began = work.total, time.monotonic()
    progress.begin(total, done)
    try:
        while waiting or live:
            while waiting and len(live) < workers:
                job = waiting.popleft()
                progress.note(f"{job.name}: {'resumes' if work.of(job)[0] else 'begins'} (log: {job.log})")
                live[job] = start(job)
            ended = [(job, status) for job, process in live.items() if (status := process.poll()) is not None]
            for job, status in ended:
                del live[job]
                if status == 0 and work.is_done(job):
                    progress.note(f"{job.name}: finished")
                    finished(job)
                else:
                    failures.append(Failure(job, status, log_tail(job)))
                    progress.note(f"{job.name}: failed with status {status}; the others continue")
            now = work.done
            if now != done:
                rate = _rate(now - first, total - now, began)
                progress.advance(f"{work.where(live)}; {rate}", by=now - done)
                done = now
            if not ended and live:
                time.sleep(pause)
    finally:
        _stop(live)
    return failures


class _Work:
    """How far jobs are, by `steps` of each; what is done stays done, and is not read again."""

    def __init__(self, jobs: Sequence[Job], steps: Callable[[Job], tuple[int, int]]) -> None:
        self.jobs, self.steps = jobs, steps
        self._ended: dict[Job, tuple[int, int]] = {}

    def of(self, job: Job) -> tuple[int, int]:
        """Steps done, and in all."""
        found = self._ended.get(job) or self.steps(job)
        if found[0] >= found[1]:
            self._ended[job] = found
        return found

    def is_done(self, job: Job) -> bool:
        done, total = self.of(job)
        return done >= total

    @property
    def done(self) -> int:
        return sum(self.of(job)[0] for job in self.jobs)

    @property
    def total(self) -> int:
        return sum(self.of(job)[1] for job in self.jobs)

    def where(self, live: Mapping[Job, Process]) -> str:
        running = ", ".join(f"{job.name} {done}/{total}" for job in live for done, total in [self.of(job)])
        finished = f"{sum(map(self.is_done, self.jobs))} of {len(self.jobs)} runs finished"
        return f"{finished}; {running}" if running else finished


def _rate(gained: int, left: int, began: float) -> str:
    """How fast it goes since `began`, and how long the rest takes at that speed."""
    seconds = time.monotonic() - began
    if gained <= 0 or seconds <= 0:
        return "no step yet"
    minutes = round(left * seconds / gained / 60)
    rest = f"{minutes // 60} h {minutes % 60} min" if minutes >= 60 else f"{minutes} min"
    return f"{60 * gained / seconds:.1f} steps a minute, about {rest} left"


def _stop(live: Mapping[Job, Process]) -> None:
    """Interrupt the running ones and wait; one that does not listen is killed (its checkpoint stays)."""
    for process in live.values():
        with suppress(ProcessLookupError):
            process.send_signal(signal.SIGTERM)  # heard too where interruptions are ignored, as in the background
    until = time.monotonic() + GRACE
    for process in live.values():
        try:
            process.wait(timeout=max(0.1, until - time.monotonic()))
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def log_tail(job: Job, lines: int = TAIL) -> str:
    """The last lines of a job's log."""
    try:
        text = job.log.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return "(no log)"
    return "\n".join(text.splitlines()[-lines:]) or "(the log is empty)"
