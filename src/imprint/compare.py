"""Compare methods: train every recipe with every seed, and say what their tests show, with intervals.

    <out>/
      runs/<method>-s<seed>/      one run each, with <method>-s<seed>.log beside it
      compare.json                one row per (method, seed, split, family, arm), after every finished run; the split
                                is `test`, or `real` for what was played on real games
      table.md, compare.png, compare.svg

A method is called by its recipe's `name`. What was stopped goes on where it was: finished runs are kept, an
interrupted one resumes from its checkpoint.
"""

from __future__ import annotations

import json
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
from typing import Any, Protocol

from imprint.compare_table import Grid, Row, comparison_tables
from imprint.errors import CheckpointError, RecipeError, TrustError
from imprint.files import atomic_write, read_jsonl
from imprint.progress import Progress
from imprint.recipe import Recipe, load_recipe, parse_recipe
from imprint.runs.comparison import compare_plot
from imprint.runs.run import ARMS, Run, recipe_differences
from imprint.runs.trust import overridden
from imprint.skills.library import load_library
from imprint.skills.vetting import Override, vet
from imprint.train import check_endpoint, run_name

KEYS = ("split", "family", "arm", "episodes", "successes", "context_tokens", "turns", "env_steps")
TEST, REAL, ALL = "test", "real", "all"  # splits, and the family that is all of them
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


# --- what to do ---


def plan(
    recipes: Sequence[Path],
    seeds: Sequence[int],
    out: Path,
    overrides: Sequence[str] = (),
    trust: Sequence[str] = (),
) -> list[Job]:
    """One job per recipe and seed; all methods with the first seed come first.

    Raises:
        TrustError: a skill of a recipe is refused and not named in `trust`, or a name there is no recipe's skill.
        RecipeError: a recipe does not load or has no test, two have the same name, or a seed is given twice.
        CheckpointError: a run in `out` was made by another recipe (the keys are named), or `out` is a file.
    """
    if out.exists() and not out.is_dir():
        raise CheckpointError("is a file, not a folder", where=out, mend="choose another --out")
    if not recipes or not seeds or len(set(seeds)) < len(seeds) or len(set(recipes)) < len(recipes):
        raise RecipeError(
            f"{len(recipes)} recipes with the seeds {list(seeds)}", mend="give one or more, each recipe and seed once"
        )
    owners: dict[str, Path] = {}
    jobs = []
    for seed in seeds:
        for path in recipes:
            recipe = load_recipe(path, [*overrides, f"seed={seed}"])
            check_endpoint(recipe)
            if owners.setdefault(run_name(recipe.name, 0), path) != path:
                raise RecipeError(
                    f"the name {recipe.name!r} is that of {owners[run_name(recipe.name, 0)]} too",
                    where=path,
                    key="name",
                    mend="give every recipe a name of its own",
                )
            if not recipe.evaluation.test_tasks:
                raise RecipeError(
                    "there is no test to compare",
                    where=path,
                    key="evaluation.test_tasks",
                    mend="set it above 0",
                )
            folder = out / "runs" / run_name(recipe.name, seed)
            _refuse_other_run(folder, recipe)
            trusted = _vetted(recipe, folder, trust)
            changes = tuple(overrides)
            jobs.append(Job(path, recipe.name, seed, folder, recipe.steps, recipe.env_steps, changes, trusted))
    for name in trust:
        if not any(name in job.trust for job in jobs):
            raise TrustError(f"no skill of any recipe is called {name!r}", key="--trust", mend="check the name")
    return jobs


def unlike_tests(jobs: Sequence[Job]) -> list[str]:
    """The differences between the recipes in what decides the test: their figures are not of the same tasks."""
    sections = ("env", "skills", "context", "evaluation", "rollout", "model", "dtype", "endpoint")
    recipes: dict[str, dict[str, Any]] = {}
    for job in jobs:
        values = load_recipe(job.recipe, job.overrides).model_dump(mode="json")
        values["evaluation"] = {key: values["evaluation"][key] for key in ("test_tasks", "temperature")}
        values["rollout"] = {"max_new_tokens": values["rollout"]["max_new_tokens"]}
        values["endpoint"] = {key: (values["endpoint"] or {}).get(key) for key in ("base_url", "extra")}
        recipes[job.method] = {key: values[key] for key in sections}
    (first, values), *others = recipes.items()
    return [
        line.replace(" here, ", f" in {first}, ").replace(" given", f" in {name}")
        for name, other in others
        for line in recipe_differences(values, other)
    ]


def _vetted(recipe: Recipe, folder: Path, trust: Sequence[str]) -> tuple[str, ...]:
    """The names of `trust` that are skills of this recipe, once none of its skills is refused."""
    library = load_library(recipe.skills, lenient=recipe.lenient)
    mine = tuple(name for name in trust if name in library)
    vet(library, recipe.trust, Override(mine, overridden(folder)))
    return mine


def _refuse_other_run(folder: Path, recipe: Recipe) -> None:
    if not (folder / "recipe.yaml").exists():
        return
    stored = parse_recipe(Run.open(folder).recipe, folder / "recipe.yaml")  # a key that is younger has its default
    differences = recipe_differences(stored.model_dump(mode="json"), recipe.model_dump(mode="json"))
    if differences:
        raise CheckpointError(
            f"this run was made by another recipe: {'; '.join(differences[:3])}",
            where=folder,
            mend="choose another --out, or remove the run",
        )


def is_finished(job: Job) -> bool:
    """Whether the job's run says that it is at its end."""
    return (job.folder / "recipe.yaml").exists() and Run.open(job.folder).status().get("state") == "finished"


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
    """1 if the job's final policy has played real games in both arms (`imprint eval --games --record`), else 0."""
    arms = {row["arm"] for row in Run.open(job.folder).rows("evaluations") if row.get("split") == REAL}
    return int(set(ARMS) <= arms)


# --- doing it ---


def start_training(job: Job, threads: int) -> Process:
    """`imprint train` in a process of its own, whose output goes to the job's log."""
    changes = [part for change in job.overrides for part in ("--set", change)]
    changes += [part for name in job.trust for part in ("--trust", name)]
    return _start(job, ["train", str(job.recipe), "--out", str(job.folder), "--seed", str(job.seed), *changes], threads)


def start_games(job: Job, games: Path, threads: int) -> Process:
    """`imprint eval --games` of the job's final policy, likewise; its figures go into the run."""
    return _start(job, ["eval", str(job.folder), "--games", str(games), "--record", "--quiet"], threads)


def _start(job: Job, command: Sequence[str], threads: int) -> Process:
    # The number of threads is not part of the recipe: a comparison may go on with another number of processes.
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
    """Run what is not finished, `workers` at a time; `finished` is told of every run that ends well.

    `steps` says how many steps of a job are done, and of how many; it is finished when all are.

    A failure is recorded and the others go on. An interruption is passed on to the running ones, which then
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
                progress.note(f"{job.name}: {'goes on' if work.of(job)[0] else 'begins'} (log: {job.log})")
                live[job] = start(job)
            ended = [(job, status) for job, process in live.items() if (status := process.poll()) is not None]
            for job, status in ended:
                del live[job]
                if status == 0 and work.is_done(job):
                    progress.note(f"{job.name}: finished")
                    finished(job)
                else:
                    failures.append(Failure(job, status, log_tail(job)))
                    progress.note(f"{job.name}: failed with status {status}; the others go on")
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
    """How far jobs are, by what `steps` says of each; what is done stays done, and is not looked at again."""

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


# --- what it shows ---


def collect(jobs: Sequence[Job], split: str = TEST) -> list[Row]:
    """The rows of `split` of every finished run, in the order of methods, seeds, families and arms.

    Raises:
        CheckpointError: a finished run has no rows of its test.
    """
    methods = list(dict.fromkeys(job.method for job in jobs))
    ordered = sorted(jobs, key=lambda job: (methods.index(job.method), job.seed))
    return [row for job in ordered if is_finished(job) for row in _rows_of(job, split)]


def _rows_of(job: Job, split: str) -> list[Row]:
    last: dict[tuple[str, str], Row] = {}
    run = Run.open(job.folder)
    for row in run.rows("evaluations"):
        if row.get("split") == split:
            last[row["family"], row["arm"]] = row  # a test that was played again counts once
    if split == TEST and not {(ALL, arm) for arm in ARMS} <= set(last):
        raise CheckpointError(
            f"the run is finished but lacks its {split} figures",
            where=run.record_path("evaluations"),
            mend="remove the run's folder and compare again",
        )
    order = sorted(last, key=lambda key: (key[0] != ALL, key[0], ARMS.index(key[1])))
    return [{"method": job.method, "seed": job.seed, **{key: last[place][key] for key in KEYS}} for place in order]


def write_results(
    out: Path, jobs: Sequence[Job], failures: Sequence[Failure] = (), notes: Sequence[str] = ()
) -> list[Grid]:
    """Write compare.json, table.md and the figure from what is finished; gives the tables.

    Rows of real games, where they were played, follow those of the test.
    """
    rows, real = collect(jobs), collect(jobs, REAL)
    atomic_write(out / "compare.json", json.dumps([*rows, *real], indent=1) + "\n")
    missing = [job.name for job in jobs if not is_finished(job)]
    lines = [f"Not finished: {', '.join(missing)}." if missing else "", *notes]
    lines += [f"Failed: {failure.job.name} (status {failure.status})." for failure in failures]
    tables = [*comparison_tables(rows), *comparison_tables(real, "real games")]
    text = "\n\n".join(["# Comparison", *filter(None, lines), *(table.markdown() for table in tables)])
    atomic_write(out / "table.md", text.rstrip() + "\n")
    if rows:
        compare_plot(rows, out / "compare")
    return tables
