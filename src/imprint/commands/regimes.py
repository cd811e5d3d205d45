"""`imprint regimes`: the same recipes on several bases, as a map."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from imprint.commands.compare import exit_after, resume_hint
from imprint.commands.console import Sets, Trusted, console, grid, say
from imprint.commands.playing import parse_seeds


def regimes(
    file: Annotated[
        Path,
        typer.Argument(
            metavar="REGIMES",
            help="YAML: of each regime its name and the recipe keys that it changes, as `blank: {model: FOLDER}`.",
        ),
    ],
    recipes: Annotated[
        list[Path],
        typer.Argument(
            help="Recipes: files, or of `imprint recipes`. One without steps shows the bases; the first that trains is "
            "set against the others.",
        ),
    ],
    seeds: Annotated[str, typer.Option(help="Comma-separated; ranges as 0-2.")] = "0",
    out: Annotated[Path, typer.Option(help="Where runs, table and map go.")] = Path("runs/regimes"),
    jobs: Annotated[int, typer.Option(min=1, help="Runs at a time; each gets cores/JOBS threads.")] = 1,
    changes: Sets = None,
    trust: Trusted = None,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="No progress, only the table.")] = False,
) -> None:
    """Train every recipe in every regime, and draw where each method works.

    A regime is a base policy, or another change that decides how much is known before training and how well skills are
    read. The table and the map say where each lies: the success of its untrained base without skills and with them.
    A stopped map resumes with the same command.

    Example: `imprint regimes bases.yaml search/skill0 search/grpo search/skillrl search/zero_shot --seeds 0-2`
    """
    from imprint.jobs import processes as running
    from imprint.jobs import regimes as mapping
    from imprint.support.progress import Progress

    planned = mapping.plan_regimes(
        recipes, parse_seeds(seeds), out, mapping.read_regimes(file), changes or [], trust or []
    )
    threads = running.threads_each(jobs)
    with resume_hint(out), Progress("regimes", quiet=quiet) as progress:
        failures = running.run_all(
            [job for one in planned.values() for job in one],
            lambda one: running.start_training(one, threads),
            workers=jobs,
            progress=progress,
            finished=lambda one: mapping.write_regimes(out, planned),
        )
    for table in mapping.write_regimes(out, planned):
        console().print(grid(table.title, table.header, table.rows))
        say(table.note + "\n")
        say(f"{out / 'regimes.md'}, {out / 'regimes.json'}, {out / 'regimes.png'}")
    exit_after(failures)
