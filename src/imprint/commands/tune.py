"""`imprint tune`: a random search over the settings of recipes, on validation tasks alone."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from imprint.commands.console import Sets, Trusted, console, grid, say
from imprint.commands.playing import parse_seeds


def tune(
    recipes: Annotated[list[Path], typer.Argument(help="Recipes: files, or of `imprint recipes`.")],
    space: Annotated[
        Path,
        typer.Option(
            help="A YAML file of recipe keys: {key: [values]} or {key: {low, high, log}}; or a folder with such a file "
            "for each recipe, called by its name."
        ),
    ],
    trials: Annotated[int, typer.Option(min=1, help="How many points of the space are trained.")] = 8,
    out: Annotated[
        Path,
        typer.Option(help="Where runs, trials.json and best.yaml go; of several recipes, in a folder for each."),
    ] = Path("runs/tune"),
    seeds: Annotated[str, typer.Option(help="Each trial is trained with these; take none of a comparison's.")] = "1000",
    seed: Annotated[int, typer.Option(help="Of the draws.")] = 0,
    jobs: Annotated[int, typer.Option(min=1, help="Runs at a time; each gets cores/JOBS threads.")] = 1,
    changes: Sets = None,
    trust: Trusted = None,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="No progress, only the tables.")] = False,
) -> None:
    """Train recipes with settings drawn from a space, and keep the best of each by validation success without skills.

    No test task is played. A stopped search resumes with the same command; with more trials it goes on.

    Example: `imprint tune household/grpo --space space.yaml --trials 8 --out runs/tune-grpo`
    """
    from imprint.commands.compare import exit_after, resume_hint
    from imprint.jobs import processes as running
    from imprint.jobs import tune as tuning
    from imprint.support.progress import Progress

    searches = tuning.read_searches(recipes, space, changes or [], seed)
    if left := len(recipes) - len(searches):
        say(f"note: {left} of the recipes train nothing and are left out", stderr=True)
    parts = []
    for search in searches:
        folder = out if len(searches) == 1 else out / search.folder
        parts.append((search, tuning.plan_trials(search, trials, parse_seeds(seeds), folder, trust or []), folder))
    # The first trial of each recipe comes before the second of any: a stopped search has been fair so far.
    rows = zip(*(planned for _, planned, _ in parts), strict=True)
    planned_jobs = [job for row in rows for trial in row for job in trial.jobs]
    part_of = {job.folder: part for part in parts for trial in part[1] for job in trial.jobs}
    threads = running.threads_each(jobs)
    with resume_hint(out), Progress("tune", quiet=quiet) as progress:
        failures = running.run_all(
            planned_jobs,
            lambda one: running.start_training(one, threads),
            workers=jobs,
            progress=progress,
            finished=lambda one: tuning.write_trials(*part_of[one.folder]),
        )
    for search, planned, folder in parts:
        table = tuning.write_trials(search, planned, folder)
        console().print(grid(table.title, table.header, table.rows))
        say(table.note + "\n")
        if table.rows:
            say(f"{folder / 'trials.json'}, {folder / 'best.yaml'}")
    exit_after(failures)
