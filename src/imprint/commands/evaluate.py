"""`imprint eval`: a model's success with and without skills."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from imprint.commands.gate import check_gate, evaluate_gate
from imprint.commands.seeds import check_seeds, evaluate_seeds
from imprint.commands.shared import EndpointUrl, Sets, Subject, Trusted, console, say, success_table, write_figures

if TYPE_CHECKING:
    from imprint.engine.base import Engine
    from imprint.types import Episode, Task

REAL_TURNS = 50  # of an episode of ALFWorld, by its published protocol
REAL_SPLIT = "valid_seen"  # of ALFWorld's published games; the methods' figures are on it


class Arm(StrEnum):
    """Which arms to play."""

    WITH = "with"
    WITHOUT = "without"
    BOTH = "both"


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
    split: Annotated[
        str | None,
        typer.Option(help=f"Which tasks.  [default: test; with --games {REAL_SPLIT}]", show_default=False),
    ] = None,
    tasks: Annotated[
        int | None,
        typer.Option(min=1, help="How many.  [default: the recipe's test_tasks; with --games all]", show_default=False),
    ] = None,
    arm: Annotated[Arm, typer.Option(help="With the skills in the context, without, or both.")] = Arm.BOTH,
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
    output: Annotated[Path | None, typer.Option("--json", help="Write the figures to this file too.")] = None,
    record: Annotated[
        bool,
        typer.Option("--record", help="Keep the figures of --games in the run, as the split `real`, for its report."),
    ] = False,
    gate: Annotated[
        bool,
        typer.Option("--gate", help="Skills never, always, and where a first attempt looks difficult, side by side."),
    ] = False,
    withdrawn: Annotated[
        Path | None,
        typer.Option(
            metavar="RUN",
            help="With --gate: this run's last policy too, which has the skills in its weights.",
            show_default=False,
        ),
    ] = None,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="No progress.")] = False,
) -> None:
    """Measure success with and without skills, on the same tasks with the same seeds.

    Example: `imprint eval runs/demo --tasks 60`

    On ALFWorld's own games, with the 50 turns of its protocol: `imprint eval runs/demo --games alfworld --seeds 0-2`

    Skills where a first attempt looks difficult: `imprint eval imprint-tiny --recipe recipes/household/adaptmi.yaml
    --gate --seeds 0-4`

    A served model: `imprint eval qwen3-8b --endpoint http://localhost:8000/v1 --recipe recipes/demo.yaml --tasks 60`;
    stopped, the same command goes on, and no finished episode is asked for twice.
    """
    several = check_seeds(seeds, seed, record)
    overrides = [*(changes or []), *([] if seed is None else [f"seed={seed}"])]
    subject = Subject(model, recipe, on_games(games, overrides), endpoint, trust)
    _check_record(record, subject, games)
    check_gate(gate, withdrawn, record=record, arm=arm is not Arm.BOTH)
    from imprint.engine import make_engine

    engine = make_engine(subject.recipe, subject.model, subject.trust)
    chosen_split = split or ("test" if games is None else REAL_SPLIT)
    count = tasks if tasks is not None or games is not None else subject.recipe.evaluation.test_tasks or None
    played = spread(engine, chosen_split, count)
    if gate:
        chosen_seeds = [engine.recipe.seed] if several is None else several
        evaluate_gate(
            engine, subject, played, chosen_seeds, split=chosen_split, withdrawn=withdrawn, output=output, quiet=quiet
        )
        return
    if several is not None:
        evaluate_seeds(engine, subject, played, several, split=chosen_split, arm=arm, output=output, quiet=quiet)
        return
    arms = play_arms(engine, played, arm, subject.title, quiet)
    rows = outcome_rows(arms, step=subject.step, split=chosen_split, env_steps=subject.env_steps)
    console().print(success_table(rows, f"{subject.title} on {chosen_split}"))
    difference = _difference(arms)
    if difference:
        say(difference["text"])
    if output is not None:
        write_figures(output, subject, chosen_split, rows, difference, engine.meter)
    if record:
        _record(subject, rows)


def on_games(games: Path | None, overrides: Sequence[str]) -> list[str]:
    """The overrides of a recipe that is to play stored games, by their published protocol unless told otherwise."""
    if games is None:
        return list(overrides)
    chosen = [f"env.games={json.dumps(str(games))}", "env.splits=as-stored"]
    return [f"env.max_turns={REAL_TURNS}", *overrides, *chosen]


def spread(engine: Engine, split: str, count: int | None) -> list[Task]:
    """`count` tasks of a split, the families in turn: the games of a folder are sorted by family.

    Raises:
        RecipeError: there are fewer.
    """
    engine.tasks(split, count)
    tasks, ranks = engine.tasks(split), Counter[str]()
    order = []
    for place, task in enumerate(tasks):
        order.append((ranks[task.category], place))
        ranks[task.category] += 1
    return [tasks[place] for place in sorted(place for _, place in sorted(order)[:count])]


def play_arms(engine: Engine, tasks: Sequence[Task], arm: Arm, title: str, quiet: bool) -> dict[str, list[Episode]]:
    """The episodes of each arm asked for, in the order of `tasks`."""
    evaluator, names = engine.evaluator, engine.library.names
    shown = {"with": names, "without": ()}
    wanted = [name for name in ("with", "without") if arm in (Arm.BOTH, name)]
    pairs = {name: [(task, evaluator.shown(task, shown[name])) for task in tasks] for name in wanted}
    count = len({(task.id, skills) for listed in pairs.values() for task, skills in listed})
    with playing(engine, title, count, quiet) as advance:
        played = evaluator.play([pair for listed in pairs.values() for pair in listed], advance)
    return {name: [played[task.id, skills] for task, skills in listed] for name, listed in pairs.items()}


@contextmanager
def playing(engine: Engine, title: str, episodes: int, quiet: bool) -> Iterator[Callable[[int], None]]:
    """A progress bar over episodes; what to tell it of each. An endpoint's use is told at the end, come what may."""
    from imprint.support.progress import Progress

    meter = engine.meter
    with Progress(title, quiet=quiet) as progress:
        progress.begin(episodes)
        try:
            yield lambda turns: progress.advance(
                f"{turns} turns in the last episode" if meter is None else meter.line()
            )
        finally:
            if meter is not None:
                say(meter.sentences(), stderr=True)


def outcome_rows(arms: dict[str, list[Episode]], *, step: int, split: str, env_steps: int) -> list[dict[str, Any]]:
    """`Outcome` records of each arm, by family and in all."""
    from imprint.measure.evaluate import outcomes

    return [
        outcome.to_record()
        for arm, episodes in arms.items()
        for outcome in outcomes(episodes, step=step, split=split, arm=arm, env_steps=env_steps)
    ]


def _difference(arms: dict[str, list[Episode]]) -> dict[str, Any] | None:
    """The paired difference of the two arms, as numbers and as a sentence."""
    from imprint.support.stats import mcnemar, paired_difference

    if len(arms) < 2:
        return None
    pairs = [(a.success, b.success) for a, b in zip(arms["with"], arms["without"], strict=True)]
    found = paired_difference([a for a, _ in pairs], [b for _, b in pairs])
    gained, lost = sum(a and not b for a, b in pairs), sum(b and not a for a, b in pairs)
    p = mcnemar(gained, lost)
    text = (
        f"with - without: {100 * found.estimate:+.1f} points "
        f"[{100 * found.low:+.1f}, {100 * found.high:+.1f}] "
        f"(95%, {found.n} pairs; {gained} only with, {lost} only without; McNemar p = {p:.2g})"
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


def _record(subject: Subject, rows: list[dict[str, Any]]) -> None:
    """Put the rows into the run in place of those of an earlier `--record`."""
    from imprint.runs.run import Run

    assert subject.run is not None
    with Run.create(subject.run.path, subject.run.recipe_text, resume=True) as run:
        arms = {row["arm"] for row in rows}
        run.drop("evaluations", lambda row: row.get("split") == "real" and row.get("arm") in arms)
        run.append("evaluations", [{**row, "split": "real"} for row in rows])
    say(f"recorded in {subject.run.path}; `imprint report {subject.run.path}` shows it")
