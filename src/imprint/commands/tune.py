"""`imprint tune`: a random search over the settings of a recipe, on validation tasks alone."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer

from imprint.commands.console import Sets, Trusted, console, grid, say
from imprint.commands.playing import parse_seeds


def tune(
    recipe: Annotated[Path, typer.Argument(help="A recipe: a file, or one of `imprint recipes`.")],
    space: Annotated[
        Path, typer.Option(help="A YAML file of recipe keys: {key: [values]} or {key: {low, high, log}}.")
    ],
    trials: Annotated[int, typer.Option(min=1, help="How many points of the space are trained.")] = 8,
    out: Annotated[Path, typer.Option(help="Where runs, trials.json and best.yaml go.")] = Path("runs/tune"),
    seeds: Annotated[str, typer.Option(help="Each trial is trained with these; take none of a comparison's.")] = "1000",
    seed: Annotated[int, typer.Option(help="Of the draws.")] = 0,
    jobs: Annotated[int, typer.Option(min=1, help="Runs at a time; each gets cores/JOBS threads.")] = 1,
    changes: Sets = None,
    trust: Trusted = None,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="No progress, only the table.")] = False,
) -> None:
    """Train a recipe with settings drawn from a space, and keep the best by validation success without skills.

    No test task is played. A stopped search resumes with the same command; with more trials it goes on.

    Example: `imprint tune household/grpo --space space.yaml --trials 8 --out runs/tune-grpo`
    """
    from imprint.commands.compare import exit_after, resume_hint
    from imprint.jobs import processes as running
    from imprint.jobs import tune as tuning
    from imprint.support.progress import Progress

    search = tuning.Search(recipe, tuning.read_space(space), tuple(changes or ()), seed)
    planned = tuning.plan_trials(search, trials, parse_seeds(seeds), out, trust or [])
    threads = max(1, (os.cpu_count() or 1) // jobs)
    with resume_hint(out), Progress("tune", quiet=quiet) as progress:
        failures = running.run_all(
            [job for trial in planned for job in trial.jobs],
            lambda one: running.start_training(one, threads),
            workers=jobs,
            progress=progress,
            finished=lambda one: tuning.write_trials(search, planned, out),
        )
    table = tuning.write_trials(search, planned, out)
    console().print(grid(table.title, table.header, table.rows))
    say(table.note + "\n")
    if table.rows:
        say(f"{out / 'trials.json'}, {out / 'best.yaml'}")
    exit_after(failures)
