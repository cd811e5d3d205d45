"""`imprint eval`: a model's success with and without skills."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from imprint.commands.adaptive import check_adaptive, evaluate_adaptive
from imprint.commands.console import EndpointUrl, Json, Sets, Trusted, say, success_table
from imprint.commands.playing import BOTH, REAL_SPLIT, conditions_of, on_games, play_conditions, spread
from imprint.commands.seeds import check_seeds, evaluate_seeds
from imprint.commands.subject import Output, Subject

if TYPE_CHECKING:
    from imprint.types import Trial


def evaluate(
    model: Annotated[
        str,
        typer.Argument(
            metavar="MODEL_OR_RUN",
            help="A run's folder, a model's folder, `imprint-tiny`, a hub name, or a served model's name.",
        ),
    ],
    endpoint: EndpointUrl = None,
    recipe: Annotated[
        Path | None,
        typer.Option(help="World, skills and settings.  [default: the run's]", show_default=False),
    ] = None,
    best: Annotated[
        bool,
        typer.Option("--best", help="Of a run with keep_best: its best checkpoint on validation, not its newest."),
    ] = False,
    split: Annotated[
        str | None,
        typer.Option(help=f"Which tasks.  [default: test; with --games {REAL_SPLIT}]", show_default=False),
    ] = None,
    tasks: Annotated[
        int | None,
        typer.Option(min=1, help="How many.  [default: the recipe's test_tasks; with --games all]", show_default=False),
    ] = None,
    condition: Annotated[
        str,
        typer.Option(
            "--condition",
            "--arm",
            help="What is shown: `with` all skills, `without`, `both`, or the names of skills to show alone, with "
            "commas between.",
        ),
    ] = BOTH,
    games: Annotated[
        Path | None,
        typer.Option(
            help="Stored games: `alfworld`, a folder in its layout (real or made), or a table.", show_default=False
        ),
    ] = None,
    seed: Annotated[
        int | None, typer.Option(help="Of the sampling.  [default: the recipe's]", show_default=False)
    ] = None,
    seeds: Annotated[
        str | None,
        typer.Option(help="Several, e.g. 0-2: success by family as the mean over them.", show_default=False),
    ] = None,
    changes: Sets = None,
    trust: Trusted = None,
    as_json: Json = False,
    out: Annotated[
        Path | None,
        typer.Option(
            "--out", metavar="FILE", help="Write the document of --json to this file too.", show_default=False
        ),
    ] = None,
    record: Annotated[
        bool,
        typer.Option("--record", help="Keep the figures of --games in the run, as the split `real`, for its report."),
    ] = False,
    adaptive: Annotated[
        bool,
        typer.Option(
            "--adaptive",
            "--gate",
            help="Skills never, always, and where a first attempt looks difficult, side by side.",
        ),
    ] = False,
    trained_run: Annotated[
        Path | None,
        typer.Option(
            "--trained-run",
            "--withdrawn",
            metavar="RUN",
            help="With --adaptive: this run's last policy too, which has the skills in its weights.",
            show_default=False,
        ),
    ] = None,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="No progress.")] = False,
) -> None:
    """Measure success under several conditions, by default with and without skills, on the same tasks and seeds.

    Example: `imprint eval runs/demo --tasks 60`

    On ALFWorld's own games, with the 50 turns of its protocol: `imprint eval runs/demo --games alfworld --seeds 0-2`

    Skills where a first attempt looks difficult: `imprint eval imprint-tiny --recipe household/adaptmi
    --adaptive --seeds 0-4`

    A served model: `imprint eval qwen3-8b --endpoint http://localhost:8000/v1 --recipe demo --tasks 60`;
    stopped, the same command resumes, and no finished episode is asked for twice.
    Those of a local model are not kept.
    """
    output = Output(as_json, out)
    several = check_seeds(seeds, seed, record)
    overrides = [*(changes or []), *([] if seed is None else [f"seed={seed}"])]
    subject = Subject(model, recipe, on_games(games, overrides), endpoint, trust, best=best)
    _check_record(record, subject, games)
    check_adaptive(adaptive, trained_run, record=record, condition=condition != BOTH)
    from imprint.engine import make_engine
    from imprint.measurement.trials import evaluations, trials_of

    engine = make_engine(subject.recipe, subject.model, subject.trust)
    chosen_split = split or ("test" if games is None else REAL_SPLIT)
    count = tasks if tasks is not None or games is not None else subject.recipe.evaluation.test_tasks or None
    played = spread(engine, chosen_split, count)
    conditions = conditions_of(condition, engine.library)
    if adaptive:
        chosen_seeds = [engine.recipe.seed] if several is None else several
        evaluate_adaptive(
            engine,
            subject,
            played,
            chosen_seeds,
            split=chosen_split,
            trained_run=trained_run,
            output=output,
            quiet=quiet,
        )
        return
    if several is not None:
        evaluate_seeds(
            engine, subject, played, several, split=chosen_split, conditions=conditions, output=output, quiet=quiet
        )
        return
    episodes = play_conditions(engine, played, conditions, subject.title, quiet)
    trials = trials_of(episodes, split=chosen_split, step=subject.step, env_steps=subject.env_steps)
    rows = [row.to_record() for row in evaluations(trials)]
    difference = _difference(trials, [one.name for one in conditions])
    output.publish(
        subject,
        chosen_split,
        rows,
        table=success_table(rows, f"{subject.title} on {chosen_split}"),
        difference=difference,
        meter=engine.meter,
    )
    if record:
        _record(subject, trials)


def _difference(trials: Sequence[Trial], names: Sequence[str]) -> dict[str, Any] | None:
    """The paired difference of two conditions, as numbers and as a sentence; None of one, or of more."""
    from imprint.measurement.trials import paired
    from imprint.support.stats import mcnemar

    if len(names) != 2:
        return None
    first, second = ([trial for trial in trials if trial.condition == name] for name in names)
    found = paired(first, second)
    pairs = [(a.success, b.success) for a, b in zip(first, second, strict=True)]
    gained, lost = sum(a and not b for a, b in pairs), sum(b and not a for a, b in pairs)
    p = mcnemar(gained, lost)
    text = (
        f"{names[0]} - {names[1]}: {100 * found.estimate:+.1f} points "
        f"[{100 * found.low:+.1f}, {100 * found.high:+.1f}] "
        f"(95%, {found.n} pairs; {gained} only {names[0]}, {lost} only {names[1]}; McNemar p = {p:.2g})"
    )
    return {**found.to_record(), "gained": gained, "lost": lost, "p": p, "text": text}


def _check_record(record: bool, subject: Subject, games: Path | None) -> None:
    from imprint.errors import CheckpointError, RecipeError

    if record and games is None:
        raise RecipeError(
            "records figures on real games, and none are given",
            key="--record",
            hint="add --games FOLDER, or leave it out",
        )

    if record and subject.run is None:
        raise CheckpointError(
            "is not a run, so there is no place to record in", where=subject.model, hint="leave out --record"
        )


def _record(subject: Subject, trials: Sequence[Trial]) -> None:
    """Put the trials and their evaluations into the run, in place of those of an earlier `--record`."""
    from imprint.measurement.trials import evaluations
    from imprint.runs.run import Run

    assert subject.run is not None
    with Run.create(subject.run.path, subject.run.recipe_text, resume=True) as run:
        real = [replace(trial, split="real") for trial in trials]
        names = {trial.condition for trial in real}
        run.drop("trials", lambda row: row.get("split") == "real" and row.get("condition") in names)
        run.drop("evaluations", lambda row: row.get("split") == "real" and row.get("arm") in names)
        run.append("trials", [trial.to_record() for trial in real])
        run.append("evaluations", [row.to_record() for row in evaluations(real)])
    say(f"recorded in {subject.run.path}; `imprint report {subject.run.path}` shows it", stderr=True)
