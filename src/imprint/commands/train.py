"""`imprint train`: one run, from its recipe to its report."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from imprint.commands.console import Sets, Trusted, console, say, success_table

if TYPE_CHECKING:
    from imprint.runs.run import Run


def _show_keys(wanted: bool) -> None:
    if not wanted:
        return
    from imprint.recipe import all_keys

    for name, default, meaning in all_keys():
        say(f"{name}: {default}" + (f"\n    {meaning}" if meaning else ""))
    say("env.*: anything else\n    The world's own options, e.g. env.max_turns; `imprint envs show` takes them too.")
    raise typer.Exit


def train(
    recipe: Annotated[Path, typer.Argument(help="A recipe: a file, or one of `imprint recipes`, e.g. demo.")],
    out: Annotated[
        Path | None, typer.Option(help="The run's folder.  [default: runs/NAME-sSEED]", show_default=False)
    ] = None,
    changes: Sets = None,
    trust: Trusted = None,
    seed: Annotated[int | None, typer.Option(help="In place of the recipe's seed.")] = None,
    resume: Annotated[
        bool,
        typer.Option(
            "--resume/--fresh",
            help="Resume the run in the folder, or remove what that run has written and start anew.",
        ),
    ] = True,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="No progress, only the result.")] = False,
    keys: Annotated[
        bool, typer.Option("--keys", callback=_show_keys, is_eager=True, help="List every key of a recipe, and leave.")
    ] = False,
) -> None:
    """Train by a recipe, test with and without skills, and write the report.

    A stopped run resumes from its last checkpoint: give the same command again.

    Example: `imprint train demo --seed 1 --set steps=20`
    """
    from imprint.jobs.train import run_name, train_run
    from imprint.recipe import load_recipe
    from imprint.report.page import write_report
    from imprint.runs.run import Run

    config = load_recipe(recipe, [*(changes or []), *([] if seed is None else [f"seed={seed}"])])
    folder = out or Path("runs") / run_name(config.name, config.seed)
    try:
        if not train_run(config, folder, quiet=quiet, trust=trust or [], fresh=not resume):
            say(f"{folder}: this run is finished already; --fresh trains it anew", stderr=True)
    except KeyboardInterrupt as error:
        raise KeyboardInterrupt(_kept(folder)) from error
    print_result(Run.open(folder))
    say(f"report: {write_report(folder)}")


def _kept(folder: Path) -> str:
    """What is left of a run that was stopped."""
    from imprint.runs.folder import is_run
    from imprint.runs.run import Run

    steps = Run.open(folder).checkpoint_steps() if is_run(folder) else []
    if steps:
        return f"stopped; the same command resumes after step {steps[-1]}, from the checkpoint in {folder}"
    if is_run(folder):
        return f"stopped before the first checkpoint; the same command starts {folder} again from step 0"
    return f"stopped before anything was written to {folder}; the same command starts it"


def print_result(run: Run) -> None:
    """The last test of a run, or its last validation if it has no test."""
    from imprint.report.records import run_evaluations

    rows = run_evaluations(run)
    split = "test" if any(row.split == "test" for row in rows) else "validation"
    rows = [row for row in rows if row.split == split]
    if not rows:
        say("nothing was evaluated")
        return
    step = max(row.step for row in rows)
    title = f"{run.recipe.get('name')}: {split} after {step} steps"
    console().print(success_table([row.to_record() for row in rows if row.step == step], title))
