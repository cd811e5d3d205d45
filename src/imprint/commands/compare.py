"""`imprint compare`: methods against each other, over seeds."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from imprint.commands.console import Sets, Trusted, console, grid, say
from imprint.commands.playing import parse_seeds
from imprint.errors import RecipeError

if TYPE_CHECKING:
    from imprint.jobs.processes import Failure


def compare(
    recipes: Annotated[
        list[Path],
        typer.Argument(help="Recipes: files, or of `imprint recipes`; their names are the methods of the table."),
    ],
    seeds: Annotated[str, typer.Option(help="Comma-separated; ranges as 0-4.")] = "0,1,2,3,4",
    out: Annotated[Path, typer.Option(help="Where runs, table and figure go.")] = Path("runs/compare"),
    jobs: Annotated[int, typer.Option(min=1, help="Runs at a time; each gets cores/JOBS threads.")] = 1,
    games: Annotated[
        Path | None,
        typer.Option(
            help="Play these real games (`alfworld`, or its json_2.1.1) with every finished policy too.",
            show_default=False,
        ),
    ] = None,
    beside: Annotated[
        Path | None,
        typer.Option(
            metavar="COMPARE_JSON",
            help="Show the runs of an earlier comparison too (other methods or seeds); its tests must have been the "
            "same.",
            show_default=False,
        ),
    ] = None,
    env_steps: Annotated[
        str | None,
        typer.Option(
            help="Train every recipe with these numbers of environment steps too, e.g. 2500,5000,10000: the sample "
            "efficiency.",
            show_default=False,
        ),
    ] = None,
    changes: Sets = None,
    trust: Trusted = None,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="No progress, only the tables.")] = False,
) -> None:
    """Train every recipe with every seed, and print one table with intervals.

    A stopped comparison resumes with the same command: finished runs are kept, an interrupted one continues.

    Example: `imprint compare recipes/household/*.yaml --seeds 0-4 --jobs 2`
    """
    from imprint.jobs import compare as comparison
    from imprint.jobs import efficiency
    from imprint.jobs import processes as running
    from imprint.support.progress import Progress

    planned = comparison.plan(recipes, parse_seeds(seeds), out, changes or [], trust or [])
    budgets = [] if env_steps is None else efficiency.read_budgets(env_steps)
    shorter = efficiency.plan_budgets(recipes, parse_seeds(seeds), out, budgets, changes or [], trust or [])
    notes = [f"Not tested alike: {line}." for line in comparison.unlike_tests(planned)]
    earlier = [] if beside is None else comparison.earlier_rows(beside, planned)
    for note in notes:
        say(f"note: {note}", stderr=True)
    if games is not None and str(games) != "alfworld" and not games.is_dir():
        raise RecipeError(
            "is not a folder of games", where=games, key="--games", hint="give `alfworld`, or its json_2.1.1"
        )
    threads = running.threads_each(jobs)
    with resume_hint(out), Progress("compare", quiet=quiet) as progress:
        failures = running.run_all(
            planned,
            lambda one: running.start_training(one, threads),
            workers=jobs,
            progress=progress,
            finished=lambda one: comparison.write_results(out, planned, (), notes, earlier),
        )
    if games is not None:
        with resume_hint(out), Progress("real games", quiet=quiet) as progress:
            failures += running.run_all(
                [one for one in planned if running.is_finished(one)],
                lambda one: running.start_games(one, games, threads),
                workers=jobs,
                progress=progress,
                steps=lambda one: (running.games_played(one), 1),
            )
    for budget, runs in shorter.items():
        with resume_hint(out), Progress(f"{budget:,} environment steps", quiet=quiet) as progress:
            failures += running.run_all(
                runs,
                lambda one: running.start_training(one, threads),
                workers=jobs,
                progress=progress,
                finished=lambda one: efficiency.write_efficiency(out, shorter),
            )
    tables = comparison.write_results(out, planned, failures, notes, earlier)
    if shorter:
        tables += efficiency.write_efficiency(
            out, shorter, [*comparison.test_rows(earlier), *comparison.collect(planned)]
        )
    for table in tables:
        console().print(grid(table.title, table.header, table.rows))
        say(table.note + "\n")
    if tables:
        say(f"{out / 'table.md'}, {out / 'compare.json'}, {out / 'compare.png'}")
    exit_after(failures)


def exit_after(failures: Sequence[Failure]) -> None:
    """Say which runs failed and how, and exit with status 1, if any did."""
    for failure in failures:
        say(f"\n{failure.job.name} failed with status {failure.status}", stderr=True)
        say(f"the end of {failure.job.log}:\n{failure.tail}", stderr=True)
    if failures:
        raise typer.Exit(1)


@contextmanager
def resume_hint(out: Path) -> Iterator[None]:
    """On an interrupt, explain how to resume."""
    try:
        yield
    except KeyboardInterrupt as error:
        raise KeyboardInterrupt(f"stopped; the same command resumes with what is in {out}") from error
